//! The graph as a picture that needs nothing else, and is read without colour: what a box is stands in it, dashed is
//! inferred.
//!
//! Every text goes through [`safe`]: attackers name their processes and files. What has no room is cut where that can
//! be seen, a path in its middle, and is whole in the title that shows when it is pointed at.

use std::fmt::Write as _;

use staunch_model::{Printable, Timestamp};

use super::layout::{Direction, WIDTH, layout};
use super::{Basis, Graph, Kind, Node};
use crate::backtest::html::escape;
use crate::output::day_and_time;

/// Around everything.
const MARGIN: i64 = 16;

/// From one line to the next.
const LINE: i64 = 14;

/// Before and after the words in a box.
const INSIDE: i64 = 9;

/// The sizes of text.
const SIZE: i64 = 11;
const KIND_SIZE: i64 = 9;
const LABEL_SIZE: i64 = 12;
const WORDS_SIZE: i64 = 10;

/// From one line of the words of an edge to the next.
const WORDS_LINE: i64 = 11;

/// The room for the words of an edge, on each of their lines.
const WORDS_WIDTH: i64 = 92;

/// Lines of facts in a box; the other formats have them all.
const FACTS_MAX: usize = 3;

/// Every rule names the class, because in a page a style holds for all of it.
const STYLE: &str = "\
.graph text{font:11px system-ui,sans-serif;fill:#000}.graph .kind{font-size:9px}.graph .label{font-weight:600;font-size:12px}\
.graph .what{font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round;text-anchor:middle}\
.graph .title{font-size:15px;font-weight:600}.graph .box{fill:#fff;stroke:#000;stroke-width:1.2}.graph .end{stroke-width:3.2}\
.graph .more{stroke-dasharray:2 3}.graph .edge{fill:none;stroke:#000;stroke-width:1.2}.graph .inferred{stroke-dasharray:5 4}";

/// A file of its own, which prints as large as paper lets it.
pub(super) fn draw(graph: &Graph) -> String {
    let inline = inline(graph);
    let is_wide = size_of(&inline).is_some_and(|(width, height)| width > height);
    let paper = if is_wide { "A4 landscape" } else { "A4 portrait" };
    let print = format!(
        "<style>@page{{size:{paper};margin:10mm}}@media print{{svg.graph{{width:100%;height:auto;max-height:100vh}}}}</style>\n<defs>"
    );
    let named = "<svg xmlns=\"http://www.w3.org/2000/svg\" ";
    inline.replacen("<svg ", named, 1).replacen("<defs>", &print, 1)
}

/// The width and the height of a picture.
fn size_of(svg: &str) -> Option<(i64, i64)> {
    let number = |name: &str| {
        let (_, rest) = svg.split_once(name)?;
        rest.split('"').next()?.parse().ok()
    };
    Some((number(" width=\"")?, number(" height=\"")?))
}

/// A part of a page, which needs no namespace.
pub(super) fn inline(graph: &Graph) -> String {
    let texts: Vec<Vec<Line>> = graph.nodes.iter().map(|it| lines(graph, it)).collect();
    let heights: Vec<i64> = texts.iter().map(|it| length(it.len()) * LINE + 10).collect();
    let laid = layout(graph, &heights);
    let notes = graph.notes();
    let width = (laid.width + 2 * MARGIN).max(640);
    let top = MARGIN + 60;
    let notes: Vec<Line> = notes.iter().map(|it| Line::fit(it, SIZE, width - 2 * MARGIN)).collect();
    let height = top + laid.height + 2 * MARGIN + length(notes.len()) * LINE;
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n"
    );
    let title = match (&graph.first_cause, graph.contained_by.is_empty()) {
        (Some(_), false) => format!("{}: from the first known cause to the contained effect", graph.incident),
        _ => format!("{}: what is known to have led to what", graph.incident),
    };
    let _ = writeln!(svg, "<title>{}</title><style>{STYLE}</style>", safe(&title));
    svg.push_str(
        "<defs><marker id=\"graph-to\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\"/></marker></defs>\n",
    );
    let _ = writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>");
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
        MARGIN + 12,
        safe(&title)
    );
    for (y, text) in [
        (30, "A line is observed; a dashed one is inferred. Times are UTC."),
        (
            30 + LINE,
            "Thick: the first known cause, and what contained. Who only started others is no cause.",
        ),
    ] {
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{}\">{text}</text>", MARGIN + y);
    }
    let _ = writeln!(svg, "<g transform=\"translate({MARGIN} {top})\">");
    for (edge, route) in graph.edges.iter().zip(&laid.routes) {
        let class = match edge.basis {
            Basis::Observed | Basis::Stated => "edge",
            Basis::Inferred => "edge inferred",
        };
        let _ = write!(svg, "<path class=\"{class}\" marker-end=\"url(#graph-to)\" d=\"");
        for (at, (x, y)) in route.iter().enumerate() {
            let Some((before_x, before_y)) = at.checked_sub(1).and_then(|at| route.get(at)) else {
                let _ = write!(svg, "M{x} {y}");
                continue;
            };
            // Through a layer, it goes straight.
            let _ = match laid.direction {
                Direction::Right if y == before_y => write!(svg, "H{x}"),
                Direction::Right => {
                    let middle = i64::midpoint(*x, *before_x);
                    write!(svg, "C{middle} {before_y} {middle} {y} {x} {y}")
                }
                Direction::Down if x == before_x => write!(svg, "V{y}"),
                Direction::Down => {
                    let middle = i64::midpoint(*y, *before_y);
                    write!(svg, "C{before_x} {middle} {x} {middle} {x} {y}")
                }
            };
        }
        svg.push_str("\"/>\n");
    }
    for ((node, (x, y)), (height, lines)) in graph.nodes.iter().zip(&laid.boxes).zip(heights.iter().zip(&texts)) {
        let class = match (graph.role(node), node.kind) {
            (Some(role), _) if role.is_end() => "box end",
            (_, Kind::More) => "box more",
            _ => "box",
        };
        let round = match node.kind {
            Kind::Address | Kind::Account => 14,
            Kind::Event => 6,
            _ => 0,
        };
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\" rx=\"{round}\"/>"
        );
        // Fonts differ: what is wider than it was taken for ends at the frame of its own.
        let _ = write!(svg, "<svg x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\">");
        for (number, line) in lines.iter().enumerate() {
            let class = match number {
                0 => " class=\"kind\"",
                1 => " class=\"label\"",
                _ => "",
            };
            let y = 14 + length(number) * LINE;
            let _ = write!(svg, "<text{class} x=\"{INSIDE}\" y=\"{y}\">{}</text>", line.markup());
        }
        svg.push_str("</svg>\n");
    }
    // Last, so that no line goes through words.
    let mut taken: Vec<Place> = Vec::new();
    for (edge, route) in graph.edges.iter().zip(&laid.routes) {
        let (Some(last), Some(before)) = (route.last(), route.iter().rev().nth(1)) else {
            continue;
        };
        let words: Vec<Line> = halves(&edge.what)
            .iter()
            .map(|it| Line::fit(it, WORDS_SIZE, WORDS_WIDTH))
            .collect();
        let widest = words.iter().map(|it| wide(&it.shown, WORDS_SIZE)).max().unwrap_or(0);
        let size = (widest, WORDS_LINE * length(words.len()));
        let mut places = ALONG.iter().map(|at| {
            let middle = point(laid.direction, *before, *last, *at);
            let above = match laid.direction {
                Direction::Right => size.1 / 2 + 3,
                // On the line, which goes down.
                Direction::Down => 0,
            };
            Place {
                middle: (middle.0, middle.1 - above),
                size,
            }
        });
        let first = places.next().unwrap_or_default();
        let is_free = |it: &Place| !taken.iter().any(|other| it.meets(other));
        // Where nothing is free, words stand over others.
        let place = if is_free(&first) {
            first
        } else {
            places.find(is_free).unwrap_or(first)
        };
        let top = place.middle.1 - size.1 / 2;
        for (number, word) in (1..).zip(&words) {
            let (x, y) = (place.middle.0, top + WORDS_LINE * number - 3);
            let _ = writeln!(svg, "<text class=\"what\" x=\"{x}\" y=\"{y}\">{}</text>", word.markup());
        }
        taken.push(place);
    }
    svg.push_str("</g>\n");
    for (number, note) in notes.iter().enumerate() {
        let y = top + laid.height + 2 * MARGIN + length(number) * LINE;
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\">{}</text>", note.markup());
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where the words of an edge may be, in eighths of its way; the earlier ones are better.
const ALONG: [i64; 5] = [4, 3, 5, 2, 6];

/// A point of the last part of an edge.
fn point(direction: Direction, from: (i64, i64), to: (i64, i64), eighths: i64) -> (i64, i64) {
    let (first, second) = match direction {
        Direction::Right => {
            let middle = i64::midpoint(from.0, to.0);
            ((middle, from.1), (middle, to.1))
        }
        Direction::Down => {
            let middle = i64::midpoint(from.1, to.1);
            ((from.0, middle), (to.0, middle))
        }
    };
    let (done, left) = (eighths, 8 - eighths);
    let curve = |a: i64, b: i64, c: i64, d: i64| {
        (left * left * left * a + 3 * left * left * done * b + 3 * left * done * done * c + done * done * done * d)
            / 512
    };
    (
        curve(from.0, first.0, second.0, to.0),
        curve(from.1, first.1, second.1, to.1),
    )
}

/// What words take.
#[derive(Clone, Copy, Default)]
struct Place {
    middle: (i64, i64),
    size: (i64, i64),
}

impl Place {
    fn meets(&self, other: &Self) -> bool {
        let is_near = |a: i64, b: i64, sizes: i64| (a - b).abs() * 2 < sizes;
        is_near(self.middle.0, other.middle.0, self.size.0 + other.size.0)
            && is_near(self.middle.1, other.middle.1, self.size.1 + other.size.1)
    }
}

/// What stands in a box.
fn lines(graph: &Graph, node: &Node) -> Vec<Line> {
    let role = graph
        .role(node)
        .map_or_else(String::new, |it| format!(": {}", it.name()));
    let room = WIDTH - 2 * INSIDE;
    let mut lines = vec![
        Line::fit(&format!("{}{role}", node.kind.name()), KIND_SIZE, room),
        // It is set bolder, too.
        Line::fit(&node.label, LABEL_SIZE, room * 9 / 10),
    ];
    lines.extend(node.facts.iter().take(FACTS_MAX).map(|it| Line::fit(it, SIZE, room)));
    lines.extend(node.at.map(|it| Line::fit(&when(it), SIZE, room)));
    lines
}

/// A time without what is below milliseconds.
fn when(at: Timestamp) -> String {
    let (day, time) = day_and_time(at);
    format!("{day} {time}")
}

/// A line of text, as much of it as there is room for.
struct Line {
    shown: String,
    /// All of it, when that is more.
    whole: Option<String>,
}

impl Line {
    fn fit(text: &str, size: i64, room: i64) -> Self {
        if wide(text, size) <= room {
            return Self {
                shown: text.to_owned(),
                whole: None,
            };
        }
        let letters: Vec<char> = text.chars().collect();
        let left = room - wide("…", size);
        // The end of a path is the name of a file, and tells more than its beginning.
        let at_end = if text.contains('/') { left * 3 / 4 } else { 0 };
        let within = |letters: &mut dyn Iterator<Item = &char>, room: i64| {
            let mut taken = 0;
            letters
                .take_while(|it| {
                    taken += letter(**it) * size;
                    taken <= room * 100
                })
                .count()
        };
        let end = within(&mut letters.iter().rev(), at_end);
        let begin = within(&mut letters.iter(), left - at_end);
        let shown: String = letters[..begin]
            .iter()
            .chain(&['…'])
            .chain(&letters[letters.len() - end..])
            .collect();
        Self {
            shown,
            whole: Some(text.to_owned()),
        }
    }

    /// As the content of an element, with all of it as its title when not all of it is shown.
    fn markup(&self) -> String {
        let title = self
            .whole
            .as_ref()
            .map_or_else(String::new, |it| format!("<title>{}</title>", safe(it)));
        format!("{title}{}", safe(&self.shown))
    }
}

/// How wide a text is at most, in a font as wide as those of screens are.
fn wide(text: &str, size: i64) -> i64 {
    text.chars().map(|it| letter(it) * size).sum::<i64>() / 100
}

/// The width of a letter in hundredths of its size, by DejaVu Sans, the widest of the fonts that are everywhere.
const fn letter(it: char) -> i64 {
    match it {
        'i' | 'j' | 'l' | 'I' => 30,
        ' ' | '.' | ',' | ':' | ';' | '/' | '\\' | '|' | '\'' | 'f' | '-' => 36,
        '(' | ')' | '[' | ']' | '!' | 't' | 'r' => 41,
        's' | 'c' | 'z' | 'J' | '_' | '*' => 56,
        'm' | 'M' | 'w' | 'W' | '@' | '%' | '…' => 100,
        '+' | '=' | '<' | '>' | '~' | '#' | '&' | 'G' | 'O' | 'Q' | 'N' | 'D' | 'H' => 84,
        'A'..='Z' => 70,
        ' '..='~' => 64,
        _ => 100,
    }
}

/// In two lines, when it has words enough.
fn halves(words: &str) -> Vec<String> {
    let words = words.to_owned();
    if words.chars().count() <= 12 {
        return vec![words];
    }
    match words.split_once(' ') {
        Some((first, rest)) if rest.len() > 8 && first.len() < 4 => match rest.split_once(' ') {
            Some((second, rest)) => vec![format!("{first} {second}"), rest.to_owned()],
            None => vec![words],
        },
        Some((first, rest)) => vec![first.to_owned(), rest.to_owned()],
        None => vec![words],
    }
}

/// Text as the content of an element: no markup, and no character that XML 1.0 forbids.
fn safe(text: &str) -> String {
    let allowed = |c: char| !matches!(c, '\u{fffe}' | '\u{ffff}');
    let text: String = text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect();
    escape(&Printable(&text).to_string())
}

fn length(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_cut_where_it_shows_and_is_whole_in_its_title() {
        let path = "/usr/lib/x86_64-linux-gnu/systemd/systemd-journald";
        let cut = Line::fit(path, SIZE, 150);
        assert!(
            cut.shown.starts_with("/usr/") && cut.shown.ends_with("md-journald"),
            "{}",
            cut.shown
        );
        assert!(
            cut.shown.contains('…') && wide(&cut.shown, SIZE) <= 150,
            "{}",
            cut.shown
        );
        assert_eq!(cut.markup(), format!("<title>{path}</title>{}", cut.shown));
        // Wide letters take more room.
        let wide = Line::fit(&"W".repeat(20), SIZE, 150);
        assert!(
            wide.shown.ends_with('…') && wide.shown.chars().count() < 15,
            "{}",
            wide.shown
        );
        let short = Line::fit("/tmp/x", SIZE, 150);
        assert_eq!((short.markup().as_str(), short.whole), ("/tmp/x", None));
        assert_eq!(
            Line::fit("a<b".repeat(20).as_str(), SIZE, 20)
                .markup()
                .matches("<b")
                .count(),
            0
        );
    }
}
