//! `staunch incident graph`: what led to what, from the first cause that is known to the contained effect.
//!
//! It is made of the events of an incident, of its acts, and of the evidence that was sealed for it. Nothing is guessed
//! beyond that: an edge that is concluded says so, and what is missing is named.

mod build;
mod dot;
pub(super) mod facts;
mod layout;
mod svg;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use staunch_model::{IncidentId, Printable, Timestamp};
use staunch_server::dto::IncidentDetail;

use self::facts::Facts;
use super::sealed::{self, Read};
use super::timeline::{Basis, write_new};
use crate::cli::GraphFormat;
use crate::commands::evidence::reading::Reading;
use crate::exit::Fault;
use crate::output::{Output, Tone, json, print, wrap};

/// The things in the picture of a timeline.
const NODES_MAX: usize = 60;

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Address,
    Account,
    Process,
    Connection,
    File,
    /// What a source said, as often as it said it.
    Event,
    /// A host or a domain that something was aimed at.
    Target,
    /// A safety transaction.
    Act,
    /// Several of a kind that are not shown one by one.
    More,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Account => "account",
            Self::Process => "process",
            Self::Connection => "connection",
            Self::File => "file",
            Self::Event => "event",
            Self::Target => "target",
            Self::Act => "act",
            Self::More => "more",
        }
    }
}

/// Something that took part. All text is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Node {
    /// Its name in this graph.
    id: String,
    kind: Kind,
    label: String,
    /// What else is known of it, a line each.
    facts: Vec<String>,
    /// When it began, for what has a beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    /// The pieces of evidence, events and transactions that tell of it.
    said_by: Vec<String>,
}

/// That one led to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Edge {
    from: String,
    to: String,
    what: String,
    basis: Basis,
    /// When it happened, or else when it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    said_by: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Graph {
    incident: IncidentId,
    /// The oldest thing that the incident is about, and that is known to have led to an act.
    first_cause: Option<String>,
    /// The oldest process that is known to have started others, when it is another. It may be no cause.
    oldest_ancestor: Option<String>,
    /// The acts that came into force.
    contained_by: Vec<String>,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// Nodes that the bound left no room for, beside those that are folded.
    left_out: u64,
    /// What is not known, and why.
    missing: Vec<String>,
}

/// What a thing is to the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    FirstCause,
    Contained,
    /// Where what is known of parents ends.
    OldestAncestor,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::FirstCause => "first known cause",
            Self::Contained => "contained",
            Self::OldestAncestor => "oldest known ancestor",
        }
    }

    /// Whether it is an end of the story.
    const fn is_end(self) -> bool {
        matches!(self, Self::FirstCause | Self::Contained)
    }
}

/// Shows the graph of an incident, or writes it into a file that is not there. `vault` has its evidence.
///
/// # Errors
/// When stdout or the file cannot be written.
pub(super) fn show(
    detail: &IncidentDetail,
    vault: Result<&Reading, String>,
    nodes_max: usize,
    format: GraphFormat,
    file: Option<&Path>,
) -> Result<(), Fault> {
    let graph = graph(detail, read(vault), nodes_max);
    let shown = match format {
        GraphFormat::Text if file.is_some() => text(&Output::plain(), &graph),
        GraphFormat::Text => text(&Output::new(false), &graph),
        GraphFormat::Json => json(&graph)?,
        GraphFormat::Dot => dot::write(&graph),
        GraphFormat::Svg => svg::draw(&graph),
    };
    match file {
        Some(file) => write_new(file, &shown, "the graph"),
        None => print(&shown),
    }
}

/// The picture of it.
pub(super) fn picture(detail: &IncidentDetail, vault: Result<&Reading, String>) -> String {
    svg::inline(&graph(detail, read(vault), NODES_MAX))
}

fn read(vault: Result<&Reading, String>) -> Read {
    match vault {
        Ok(reading) => sealed::read(reading),
        Err(why) => Read {
            missing: vec![why],
            ..Read::default()
        },
    }
}

fn graph(detail: &IncidentDetail, read: Read, nodes_max: usize) -> Graph {
    let mut facts = Facts::of(&read.sealed);
    facts.unread_kinds = read.unread;
    build::graph(detail, &facts, read.missing, nodes_max)
}

/// Each thing, and under it what it led to.
fn text(output: &Output, graph: &Graph) -> String {
    let title = format!("Causes of {}", graph.incident);
    let mut text = format!("{}\n", output.paint(Tone::Strong, &title));
    text.push_str(&format!(
        "  {} concluded by Staunch; all else was observed\n",
        Basis::Inferred.mark()
    ));
    for node in &graph.nodes {
        let role = graph
            .role(node)
            .map_or_else(String::new, |it| format!("  ({})", it.name()));
        let at = node.at.map_or_else(String::new, |at| format!("  {at}"));
        let head = format!("{} {} {}", node.id, node.kind.name(), Printable(&node.label));
        let head = wrap(&format!("{head}{role}{at}"), 4);
        text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, &head)));
        for fact in &node.facts {
            text.push_str(&format!("    {}\n", wrap(fact, 6)));
        }
        if !node.said_by.is_empty() {
            text.push_str(&format!("    from {}\n", wrap(&node.said_by.join(", "), 9)));
        }
        for edge in graph.edges.iter().filter(|it| it.from == node.id) {
            let to = graph.nodes.iter().find(|it| it.id == edge.to);
            let to = to.map_or_else(String::new, |it| format!("{} {}", it.id, it.label));
            let line = format!("{} -> {to}", edge.what);
            text.push_str(&format!("  {} {}\n", edge.basis.mark(), wrap(&line, 6)));
        }
    }
    for line in graph.notes() {
        text.push_str(&format!("\n  - {}\n", wrap(&line, 4)));
    }
    text
}

impl Graph {
    /// What is said under every picture of it.
    fn notes(&self) -> Vec<String> {
        let mut notes = self.missing.clone();
        if self.left_out > 0 {
            notes.push(format!("{} more are left out; `--nodes` makes room", self.left_out));
        }
        notes
    }

    /// What a node is to the story.
    fn role(&self, node: &Node) -> Option<Role> {
        if self.first_cause.as_ref() == Some(&node.id) {
            Some(Role::FirstCause)
        } else if self.contained_by.contains(&node.id) {
            Some(Role::Contained)
        } else if self.oldest_ancestor.as_ref() == Some(&node.id) {
            Some(Role::OldestAncestor)
        } else {
            None
        }
    }
}
