//! Where things stand: in layers, each thing behind what led to it. Layers go to the right or down, as the picture is
//! narrower: a chain of processes is long, and a page is not wide.
//!
//! It is the method of Sugiyama, Tagawa and Toda (1981) at its plainest: break cycles, give layers, order each layer by
//! the middle of its neighbours. Whole numbers only, so that the same graph is the same picture everywhere.

use std::collections::BTreeMap;

use super::Graph;

/// The width of a box.
pub(super) const WIDTH: i64 = 168;

/// Between two layers, for the words of edges, which are wider than high.
const GAP: i64 = 78;
const GAP_DOWN: i64 = 56;

/// Between two boxes of a layer.
const BETWEEN: i64 = 16;

/// The room that a passing edge takes.
const PASSING: i64 = 12;

/// How often each layer is put in order.
const SWEEPS: usize = 8;

/// Where layers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Right,
    Down,
}

pub(super) struct Layout {
    pub(super) direction: Direction,
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
    /// How much of its layer it takes.
    extent: i64,
    /// Where in its layer its middle is.
    middle: i64,
    left: Vec<usize>,
    right: Vec<usize>,
}

/// Lays out `graph`, whose nodes are `heights` high, as narrow as it can be.
pub(super) fn layout(graph: &Graph, heights: &[i64]) -> Layout {
    let [right, down] = [Direction::Right, Direction::Down].map(|it| towards(it, graph, heights));
    if down.width < right.width { down } else { right }
}

pub(super) fn towards(direction: Direction, graph: &Graph, heights: &[i64]) -> Layout {
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
            extent: match direction {
                Direction::Right => *height,
                Direction::Down => WIDTH,
            },
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
                extent: PASSING,
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
    let laid = Laid {
        direction,
        heights,
        items: &items,
        count,
    };
    laid.place(&ways, &turned)
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
    let all: i64 = column.iter().map(|at| items[*at].extent + BETWEEN).sum();
    let mut y = -all / 2;
    for at in column {
        items[*at].middle = y + items[*at].extent / 2;
        y += items[*at].extent + BETWEEN;
    }
}

/// Pushes apart what would overlap, and keeps the middle of the column where it was wanted.
fn settle(items: &mut [Item], column: &[usize]) {
    let count = i64::try_from(column.len()).unwrap_or(1).max(1);
    let wanted: i64 = column.iter().map(|at| items[*at].middle).sum::<i64>() / count;
    let mut free = i64::MIN;
    for at in column {
        let item = &mut items[*at];
        item.middle = item.middle.max(free.saturating_add(item.extent / 2));
        free = item.middle + (item.extent + 1) / 2 + BETWEEN;
    }
    let became: i64 = column.iter().map(|at| items[*at].middle).sum::<i64>() / count;
    for at in column {
        items[*at].middle -= became - wanted;
    }
}

/// What has its order in every layer.
struct Laid<'a> {
    direction: Direction,
    heights: &'a [i64],
    /// The nodes, and behind them the passing edges.
    items: &'a [Item],
    /// How many layers there are.
    count: usize,
}

impl Laid<'_> {
    fn place(&self, ways: &[Vec<usize>], turned: &[bool]) -> Layout {
        let first = self.items.iter().map(|it| it.middle - it.extent / 2).min();
        let first = first.unwrap_or(0);
        let last = self.items.iter().map(|it| it.middle + (it.extent + 1) / 2).max();
        let across = last.unwrap_or(0) - first;
        let (begins, along) = self.layers();
        let nodes = &self.items[..self.heights.len()];
        let boxes = nodes
            .iter()
            .map(|it| self.turned((begins[it.layer].0, it.middle - it.extent / 2 - first)))
            .collect();
        let route = |way: &Vec<usize>, is_turned: bool| {
            let mut route = Vec::new();
            for (number, at) in way.iter().enumerate() {
                let it = &self.items[*at];
                let (begin, end) = begins[it.layer];
                // A box may end before its layer does.
                let end = match (self.direction, self.heights.get(*at)) {
                    (Direction::Down, Some(height)) => begin + height,
                    _ => end,
                };
                let middle = it.middle - first;
                if number > 0 {
                    route.push(self.turned((begin, middle)));
                }
                if number + 1 < way.len() {
                    route.push(self.turned((end, middle)));
                }
            }
            if is_turned {
                route.reverse();
            }
            route
        };
        let routes = ways
            .iter()
            .zip(turned)
            .map(|(way, turned)| route(way, *turned))
            .collect();
        let (width, height) = self.turned((along, across));
        Layout {
            direction: self.direction,
            boxes,
            routes,
            width,
            height,
        }
    }

    /// Where each layer begins and ends, and how long all of them are.
    fn layers(&self) -> (Vec<(i64, i64)>, i64) {
        let (mut layers, mut at, mut end) = (Vec::new(), 0, 0);
        for layer in 0..self.count {
            let nodes = self.items.iter().zip(self.heights).filter(|(it, _)| it.layer == layer);
            let (extent, gap) = match self.direction {
                Direction::Right => (WIDTH, GAP),
                Direction::Down => (nodes.map(|(_, height)| *height).max().unwrap_or(0), GAP_DOWN),
            };
            end = at + extent;
            layers.push((at, end));
            at = end + gap;
        }
        (layers, end)
    }

    /// A place along the layers and one across them as x and y.
    const fn turned(&self, (along, across): (i64, i64)) -> (i64, i64) {
        match self.direction {
            Direction::Right => (along, across),
            Direction::Down => (across, along),
        }
    }
}
