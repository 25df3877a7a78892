//! Where things stand: in layers from left to right, each thing to the right of what led to it.
//!
//! It is the method of Sugiyama, Tagawa and Toda (1981) at its plainest: break cycles, give layers, order each layer by the
//! middle of its neighbours. Whole numbers only, so that the same graph is the same picture everywhere.

use std::collections::BTreeMap;

use super::Graph;

/// The width of a box.
pub(super) const WIDTH: i64 = 168;

/// Between two layers, for the words of edges.
const GAP: i64 = 78;

/// Between two boxes of a layer.
const BETWEEN: i64 = 16;

/// The height that a passing edge takes.
const PASSING: i64 = 12;

/// How often each layer is put in order.
const SWEEPS: usize = 8;

pub(super) struct Layout {
    /// The upper left corner of each node.
    pub(super) boxes: Vec<(i64, i64)>,
    /// The points of each edge, from its beginning to its end.
    pub(super) routes: Vec<Vec<(i64, i64)>>,
    pub(super) width: i64,
    pub(super) height: i64,
}

/// A node, or the place where an edge passes through a layer.
struct Item {
    layer: usize,
    height: i64,
    middle: i64,
    left: Vec<usize>,
    right: Vec<usize>,
}

/// Lays out `graph`, whose nodes are `heights` high.
pub(super) fn layout(graph: &Graph, heights: &[i64]) -> Layout {
    let places: BTreeMap<&str, usize> = graph.nodes.iter().enumerate().map(|(at, it)| (&*it.id, at)).collect();
    let ends: Vec<(usize, usize)> = graph
        .edges
        .iter()
        .filter_map(|it| Some((*places.get(&*it.from)?, *places.get(&*it.to)?)))
        .collect();
    let (layers, turned) = layers(heights.len(), &ends);
    let mut items: Vec<Item> = heights
        .iter()
        .zip(&layers)
        .map(|(height, layer)| Item {
            layer: *layer,
            height: *height,
            middle: 0,
            left: Vec::new(),
            right: Vec::new(),
        })
        .collect();
    let mut ways = Vec::new();
    for ((from, to), turned) in ends.iter().zip(&turned) {
        let (from, to) = if *turned { (*to, *from) } else { (*from, *to) };
        let mut way = vec![from];
        for layer in layers[from] + 1..layers[to] {
            items.push(Item {
                layer,
                height: PASSING,
                middle: 0,
                left: Vec::new(),
                right: Vec::new(),
            });
            way.push(items.len() - 1);
        }
        way.push(to);
        for pair in way.windows(2) {
            if let [left, right] = *pair {
                items[left].right.push(right);
                items[right].left.push(left);
            }
        }
        ways.push(way);
    }
    let count = layers.iter().max().map_or(0, |last| last + 1);
    let mut columns: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, item) in items.iter().enumerate() {
        columns[item.layer].push(at);
    }
    order(&mut items, &mut columns);
    place(heights.len(), &items, &ways, &turned, count)
}

/// The layer of each node, and which edges must be turned so that all go to the right.
fn layers(count: usize, ends: &[(usize, usize)]) -> (Vec<usize>, Vec<bool>) {
    let mut turned = vec![false; ends.len()];
    let mut state = vec![0_u8; count];
    for start in 0..count {
        if state[start] != 0 {
            continue;
        }
        // Depth first, by hand: what leads back to where it came from is turned.
        let mut path = vec![(start, 0)];
        state[start] = 1;
        while let Some((at, next)) = path.pop() {
            let found = ends.iter().enumerate().skip(next).find(|(_, it)| it.0 == at);
            let Some((edge, (_, to))) = found else {
                state[at] = 2;
                continue;
            };
            path.push((at, edge + 1));
            match state[*to] {
                0 => {
                    state[*to] = 1;
                    path.push((*to, 0));
                }
                1 => turned[edge] = true,
                _ => {}
            }
        }
    }
    let ways: Vec<(usize, usize)> = ends
        .iter()
        .zip(&turned)
        .filter(|((from, to), _)| from != to)
        .map(|((from, to), turned)| if *turned { (*to, *from) } else { (*from, *to) })
        .collect();
    let mut layers = vec![0; count];
    // Without cycles, the longest way has fewer edges than there are nodes.
    for _ in 0..count {
        let mut is_same = true;
        for (from, to) in &ways {
            if layers[*to] <= layers[*from] {
                layers[*to] = layers[*from] + 1;
                is_same = false;
            }
        }
        if is_same {
            break;
        }
    }
    // What nothing led to stands beside what it led to.
    for at in 0..count {
        if !ways.iter().any(|it| it.1 == at) {
            let nearest = ways.iter().filter(|it| it.0 == at).map(|it| layers[it.1]).min();
            layers[at] = nearest.map_or(layers[at], |it| it - 1);
        }
    }
    (layers, turned)
}

fn order(items: &mut [Item], columns: &mut [Vec<usize>]) {
    for column in columns.iter() {
        stack(items, column);
    }
    for sweep in 0..SWEEPS {
        let is_right = sweep % 2 == 0;
        let mut numbers: Vec<usize> = (0..columns.len()).collect();
        if !is_right {
            numbers.reverse();
        }
        for number in numbers {
            let wanted: BTreeMap<usize, i64> = columns[number]
                .iter()
                .map(|at| {
                    let item = &items[*at];
                    let near = if is_right { &item.left } else { &item.right };
                    let sum: i64 = near.iter().map(|it| items[*it].middle).sum();
                    let middle = i64::try_from(near.len()).ok().filter(|count| *count > 0);
                    (*at, middle.map_or(item.middle, |count| sum / count))
                })
                .collect();
            columns[number].sort_by_key(|at| (wanted[at], *at));
            for (at, middle) in wanted {
                items[at].middle = middle;
            }
            settle(items, &columns[number]);
        }
    }
}

/// One below the other, around the middle.
fn stack(items: &mut [Item], column: &[usize]) {
    let all: i64 = column.iter().map(|at| items[*at].height + BETWEEN).sum();
    let mut y = -all / 2;
    for at in column {
        items[*at].middle = y + items[*at].height / 2;
        y += items[*at].height + BETWEEN;
    }
}

/// Pushes apart what would overlap, and keeps the middle of the column where it was wanted.
fn settle(items: &mut [Item], column: &[usize]) {
    let count = i64::try_from(column.len()).unwrap_or(1).max(1);
    let wanted: i64 = column.iter().map(|at| items[*at].middle).sum::<i64>() / count;
    let mut free = i64::MIN;
    for at in column {
        let item = &mut items[*at];
        item.middle = item.middle.max(free.saturating_add(item.height / 2));
        free = item.middle + (item.height + 1) / 2 + BETWEEN;
    }
    let became: i64 = column.iter().map(|at| items[*at].middle).sum::<i64>() / count;
    for at in column {
        items[*at].middle -= became - wanted;
    }
}

fn place(nodes: usize, items: &[Item], ways: &[Vec<usize>], turned: &[bool], count: usize) -> Layout {
    let top = items.iter().map(|it| it.middle - it.height / 2).min().unwrap_or(0);
    let bottom = items
        .iter()
        .map(|it| it.middle + (it.height + 1) / 2)
        .max()
        .unwrap_or(0);
    let step = |layer: usize| i64::try_from(layer).unwrap_or(0) * (WIDTH + GAP);
    let boxes = items[..nodes]
        .iter()
        .map(|it| (step(it.layer), it.middle - it.height / 2 - top))
        .collect();
    let routes = ways
        .iter()
        .zip(turned)
        .map(|(way, turned)| {
            let mut route = Vec::new();
            for (number, at) in way.iter().enumerate() {
                let (x, y) = (step(items[*at].layer), items[*at].middle - top);
                if number > 0 {
                    route.push((x, y));
                }
                if number + 1 < way.len() {
                    route.push((x + WIDTH, y));
                }
            }
            if *turned {
                route.reverse();
            }
            route
        })
        .collect();
    Layout {
        boxes,
        routes,
        width: step(count.saturating_sub(1)) + WIDTH,
        height: bottom - top,
    }
}
