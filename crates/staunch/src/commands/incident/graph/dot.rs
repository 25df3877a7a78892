//! The graph in the language of Graphviz (<https://graphviz.org/doc/info/lang.html>).
//!
//! Every text is a double-quoted string: there, only a quote and a backslash mean something.

use std::fmt::Write as _;

use super::{Basis, Graph, Kind};

pub(super) fn write(graph: &Graph) -> String {
    let mut dot = format!("digraph {} {{\n", quoted(&[&graph.incident.to_string()]));
    dot.push_str("  rankdir=LR;\n  node [fontname=\"sans-serif\", fontsize=10];\n");
    dot.push_str("  edge [fontname=\"sans-serif\", fontsize=9];\n");
    for node in &graph.nodes {
        let shape = match node.kind {
            Kind::Address => "ellipse",
            Kind::Account => "house",
            Kind::Process => "box",
            Kind::Connection => "hexagon",
            Kind::File => "note",
            Kind::Event => "octagon",
            Kind::Target => "component",
            Kind::Act => "doubleoctagon",
            Kind::More => "plaintext",
        };
        let at = node.at.map(|at| at.to_string());
        let mut lines = vec![node.kind.name(), &node.label];
        lines.extend(node.facts.iter().map(String::as_str));
        lines.extend(at.as_deref());
        let role = graph.role(node);
        lines.extend(role.map(super::Role::name));
        let is_end = role.is_some_and(super::Role::is_end);
        let width = if is_end { ", penwidth=3" } else { "" };
        let _ = writeln!(
            dot,
            "  {} [shape={shape}, label={}{width}];",
            quoted(&[&node.id]),
            quoted(&lines)
        );
    }
    for edge in &graph.edges {
        let style = match edge.basis {
            Basis::Observed | Basis::Stated => "solid",
            Basis::Inferred => "dashed",
        };
        let (from, to) = (quoted(&[&edge.from]), quoted(&[&edge.to]));
        let _ = writeln!(
            dot,
            "  {from} -> {to} [label={}, style={style}];",
            quoted(&[&edge.what])
        );
    }
    dot.push_str("}\n");
    dot
}

/// Lines as one string.
fn quoted(lines: &[&str]) -> String {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.replace('\\', "\\\\").replace('"', "\\\""))
        .collect();
    format!("\"{}\"", lines.join("\\n"))
}
