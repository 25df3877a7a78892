//! The graph as a picture that needs nothing else, and is read without colour: what a box is stands in it, dashed is inferred.
//!
//! Every text goes through [`safe`]: attackers name their processes and files.

use std::fmt::Write as _;

use staunch_model::{Printable, Timestamp};

use super::layout::{WIDTH, layout};
use super::{Basis, Graph, Kind, Node};
use crate::backtest::html::escape;
use crate::output::day_and_time;

/// Around everything.
const MARGIN: i64 = 16;

/// From one line to the next.
const LINE: i64 = 14;

/// Characters in a line of a box.
const LINE_CHARS: usize = 25;

/// Characters in the name of a box, which is set larger and bolder.
const LABEL_CHARS: usize = 20;

/// Lines of facts in a box; the other formats have them all.
const FACTS_MAX: usize = 3;

/// Every rule names the class, because in a page a style holds for all of it.
const STYLE: &str = "\
.graph text{font:11px system-ui,sans-serif;fill:#000}.graph .kind{font-size:9px}.graph .label{font-weight:600;font-size:12px}\
.graph .what{font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round;text-anchor:middle}\
.graph .title{font-size:15px;font-weight:600}.graph .box{fill:#fff;stroke:#000;stroke-width:1.2}.graph .end{stroke-width:3.2}\
.graph .more{stroke-dasharray:2 3}.graph .edge{fill:none;stroke:#000;stroke-width:1.2}.graph .inferred{stroke-dasharray:5 4}";

/// A file of its own.
pub(super) fn draw(graph: &Graph) -> String {
    let named = "<svg xmlns=\"http://www.w3.org/2000/svg\" ";
    inline(graph).replacen("<svg ", named, 1)
}

/// A part of a page, which needs no namespace.
pub(super) fn inline(graph: &Graph) -> String {
    let texts: Vec<Vec<String>> = graph.nodes.iter().map(|it| lines(graph, it)).collect();
    let heights: Vec<i64> = texts.iter().map(|it| length(it.len()) * LINE + 10).collect();
    let laid = layout(graph, &heights);
    let notes = graph.notes();
    let width = (laid.width + 2 * MARGIN).max(640);
    let top = MARGIN + 46;
    let chars = usize::try_from(width / 6).unwrap_or(100);
    let notes: Vec<String> = notes.iter().map(|it| cut(it, chars)).collect();
    let height = top + laid.height + 2 * MARGIN + length(notes.len()) * LINE;
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n"
    );
    let title = format!("{}: from the first known cause to the contained effect", graph.incident);
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
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"{}\">A line is observed; a dashed one is inferred. Thick: the first known cause, and what \
         contained. Times are UTC.</text>",
        MARGIN + 30
    );
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
            let middle = i64::midpoint(*x, *before_x);
            // Through a layer, it goes straight.
            if y == before_y {
                let _ = write!(svg, "H{x}");
            } else {
                let _ = write!(svg, "C{middle} {before_y} {middle} {y} {x} {y}");
            }
        }
        svg.push_str("\"/>\n");
    }
    for ((node, (x, y)), (height, lines)) in graph.nodes.iter().zip(&laid.boxes).zip(heights.iter().zip(&texts)) {
        let class = match (graph.role(node), node.kind) {
            (Some(_), _) => "box end",
            (None, Kind::More) => "box more",
            (None, _) => "box",
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
        // What is wider than a letter is cut by the frame of its own.
        let _ = write!(svg, "<svg x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\">");
        for (number, line) in lines.iter().enumerate() {
            let class = match number {
                0 => " class=\"kind\"",
                1 => " class=\"label\"",
                _ => "",
            };
            let y = 14 + length(number) * LINE;
            let _ = write!(svg, "<text{class} x=\"9\" y=\"{y}\">{}</text>", safe(line));
        }
        svg.push_str("</svg>\n");
    }
    // Last, so that no line goes through words.
    for (edge, route) in graph.edges.iter().zip(&laid.routes) {
        let (Some(last), Some(before)) = (route.last(), route.iter().rev().nth(1)) else {
            continue;
        };
        let (x, y) = (i64::midpoint(last.0, before.0), i64::midpoint(last.1, before.1));
        let words = halves(&edge.what);
        for (number, word) in words.iter().enumerate() {
            let y = y - 3 - 11 * length(words.len() - 1 - number);
            let _ = writeln!(svg, "<text class=\"what\" x=\"{x}\" y=\"{y}\">{}</text>", safe(word));
        }
    }
    svg.push_str("</g>\n");
    for (number, note) in notes.iter().enumerate() {
        let y = top + laid.height + 2 * MARGIN + length(number) * LINE;
        let _ = writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\">{}</text>", safe(note));
    }
    svg.push_str("</svg>\n");
    svg
}

/// What stands in a box.
fn lines(graph: &Graph, node: &Node) -> Vec<String> {
    let role = graph.role(node).map_or_else(String::new, |it| format!(": {it}"));
    let mut lines = vec![format!("{}{role}", node.kind.name()), cut(&node.label, LABEL_CHARS)];
    lines.extend(node.facts.iter().take(FACTS_MAX).map(|it| cut(it, LINE_CHARS)));
    lines.extend(node.at.map(when));
    lines
}

/// A time without what is below milliseconds.
fn when(at: Timestamp) -> String {
    let (day, time) = day_and_time(at);
    format!("{day} {time}")
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let begin: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{begin}…")
}

/// In two lines, when it has words enough.
fn halves(words: &str) -> Vec<String> {
    let words = cut(words, 24);
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
