//! A file of snippets by itself: names, shape, sizes, and what uses itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use staunch_model::Printable;

use super::{Block, Condition, SnippetKind, put, unknown};
use crate::cel::Reporter;
use crate::cel::parse::{self, Syntax};
use crate::cel::scalar::Scalar;
use crate::diagnostic::Report;
use crate::schema::shape::SNIPPETS;
use crate::yaml::{self, Kind, Node};
use crate::{limits, parameters, suggest};

/// Conditions and blocks by their names.
type Read = (BTreeMap<Box<str>, Condition>, BTreeMap<Box<str>, Block>);

/// Reads a file. What is mistaken is reported; what uses itself is left out.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Read {
    let mut read = Read::default();
    let mut declared = BTreeSet::new();
    let Some(root) = yaml::parse(text, report) else {
        return read;
    };
    let Kind::Mapping(pairs) = &root.kind else {
        let message = format!("{} is a mapping, and this is {}", SNIPPETS.what, root.describe());
        let hint = format!("its keys: {}", SNIPPETS.names().join(", "));
        report.error_with_hint("P006", root.point(), message, hint);
        return read;
    };
    for (key, value) in pairs {
        if let Kind::Mapping(pairs) = &value.kind {
            declared.extend(pairs.iter().filter_map(|(name, _)| Some((key.text()?, name.text()?))));
        }
        match key.text() {
            Some(name) if name == SnippetKind::Condition.key() => read.0 = conditions(key, value, text, report),
            Some(name) if name == SnippetKind::Block.key() => read.1 = blocks(key, value, report),
            Some(name) => {
                let message = format!("{} has no key `{}`", SNIPPETS.what, Printable(name));
                let hint = suggest::hint(name, &SNIPPETS.names(), "allowed here");
                report.error_with_hint("P010", key.span.clone(), message, hint);
            }
            None if matches!(key.kind, Kind::Refused) => {}
            None => {
                let message = format!("a key of {} is a text, and this is {}", SNIPPETS.what, key.describe());
                report.error("P006", key.point(), message);
            }
        }
    }
    measure_conditions(&mut read.0, &declared, report);
    measure_blocks(&mut read.1, &declared, report);
    read
}

/// The members of `conditions` or `blocks`, with their names.
fn members<'n>(
    key: &Node,
    node: &'n Node,
    kind: SnippetKind,
    report: &mut Report<'_>,
) -> Vec<(&'n str, &'n (Node, Node))> {
    let Kind::Mapping(pairs) = &node.kind else {
        if !matches!(node.kind, Kind::Refused) {
            let message = format!("`{}s` is a mapping, and this is {}", kind.name(), node.describe());
            let at = if node.is_null() { key.span.clone() } else { node.point() };
            report.error_with_hint("P006", at, message, "write a name and what it stands for: `name: ...`");
        }
        return Vec::new();
    };
    if let Some((key, _)) = pairs.get(limits::SNIPPETS_MAX) {
        let message = format!("{} {}s, more than {}", pairs.len(), kind.name(), limits::SNIPPETS_MAX);
        report.error("P023", key.point(), message);
    }
    let mut found = Vec::new();
    for pair in pairs.iter().take(limits::SNIPPETS_MAX) {
        let (key, value) = pair;
        let name = match kind {
            SnippetKind::Condition => parameters::a_name(
                key,
                parameters::is_name,
                "a condition",
                "small letters, digits and _: from_outside",
                report,
            ),
            SnippetKind::Block => parameters::a_name(
                key,
                parameters::is_environment,
                "a block",
                "small letters, digits and single hyphens: page-the-team",
                report,
            ),
        };
        let Some(name) = name else { continue };
        if value.is_null() {
            let message = format!("the {} `{name}` has no value", kind.name());
            report.error_with_hint("P006", key.span.clone(), message, "give it a value or remove it");
            continue;
        }
        found.push((name, pair));
    }
    found
}

fn conditions(key: &Node, node: &Node, text: &str, report: &mut Report<'_>) -> BTreeMap<Box<str>, Condition> {
    let mut found = BTreeMap::new();
    for (name, (key, value)) in members(key, node, SnippetKind::Condition, report) {
        let Some(scalar) = Scalar::new(value, text, 0) else {
            if !matches!(value.kind, Kind::Refused) {
                let message = format!("a condition is a text, and this is {}", value.describe());
                report.error_with_hint(
                    "P006",
                    value.point(),
                    message,
                    "write an expression: event.severity >= high",
                );
            }
            continue;
        };
        let mut reporter = Reporter {
            scalar: &scalar,
            report,
        };
        let Some(syntax) = parse::parse(&mut reporter) else {
            continue;
        };
        let condition = Condition {
            key: key.clone(),
            value: value.clone(),
            syntax,
            nodes: 0,
            depth: 0,
        };
        found.insert(name.into(), condition);
    }
    found
}

fn blocks(key: &Node, node: &Node, report: &mut Report<'_>) -> BTreeMap<Box<str>, Block> {
    let of = |(name, (key, value)): (&str, &(Node, Node))| {
        let block = Block {
            key: key.clone(),
            value: value.clone(),
            values: 0,
            depth: 0,
        };
        (name.into(), block)
    };
    members(key, node, SnippetKind::Block, report)
        .into_iter()
        .map(of)
        .collect()
}

/// How large something is, and how deep.
#[derive(Clone, Copy, Default)]
struct Size {
    count: usize,
    depth: usize,
}

/// What a name is used in, and where.
struct Uses {
    own: Size,
    /// The names, where they stand, and how deep.
    names: Vec<(Box<str>, Range<usize>, usize)>,
}

/// Names with the keys that they stand under, mistaken ones too.
type Declared<'n> = BTreeSet<(&'n str, &'n str)>;

fn measure_conditions(all: &mut BTreeMap<Box<str>, Condition>, declared: &Declared<'_>, report: &mut Report<'_>) {
    let mut uses = BTreeMap::new();
    for (name, it) in all.iter_mut() {
        let Some(scalar) = Scalar::new(&it.value, report.source(&(0..0)).0, 0) else {
            continue;
        };
        let mut own = Uses {
            own: Size::default(),
            names: Vec::new(),
        };
        look(&mut it.syntax, 1, &mut own, &scalar);
        uses.insert(name.clone(), own);
    }
    let most = Size {
        count: limits::EXPRESSION_NODES_MAX,
        depth: limits::EXPRESSION_EXPANDED_DEPTH_MAX,
    };
    let sizes = measure(SnippetKind::Condition, &uses, declared, most, report);
    all.retain(|name, _| sizes.contains_key(name));
    for (name, it) in all {
        (it.nodes, it.depth) = (sizes[name].count, sizes[name].depth);
    }
}

fn look(syntax: &mut Syntax, depth: usize, found: &mut Uses, scalar: &Scalar<'_>) {
    found.own.count += 1;
    found.own.depth = found.own.depth.max(depth);
    if let Some((name, span)) = put::condition_of(syntax) {
        found.names.push((name.into(), scalar.place(&span).0, depth));
    }
    for part in syntax.parts_mut() {
        look(part, depth + 1, found, scalar);
    }
}

fn measure_blocks(all: &mut BTreeMap<Box<str>, Block>, declared: &Declared<'_>, report: &mut Report<'_>) {
    let mut uses = BTreeMap::new();
    for (name, it) in all.iter() {
        let mut own = Uses {
            own: Size::default(),
            names: Vec::new(),
        };
        look_at(&it.value, 1, &mut own);
        uses.insert(name.clone(), own);
    }
    let most = Size {
        count: limits::SNIPPET_VALUES_MAX,
        depth: limits::NESTING_MAX,
    };
    let sizes = measure(SnippetKind::Block, &uses, declared, most, report);
    all.retain(|name, _| sizes.contains_key(name));
    for (name, it) in all {
        (it.values, it.depth) = (sizes[name].count, sizes[name].depth);
    }
}

fn look_at(node: &Node, depth: usize, found: &mut Uses) {
    found.own.count += 1;
    found.own.depth = found.own.depth.max(depth);
    if let Some(used) = put::block_of(node)
        && let Some(name) = used.text()
    {
        found.names.push((name.into(), used.span.clone(), depth));
    }
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|it| look_at(it, depth + 1, found)),
        Kind::Mapping(pairs) => pairs.iter().for_each(|(_, value)| look_at(value, depth + 1, found)),
        Kind::Scalar { .. } | Kind::Refused => {}
    }
}

/// The size of each with all that it stands for. Those that are not known, use themselves or are too large are
/// reported, and are not among what is returned, nor what uses them.
fn measure(
    kind: SnippetKind,
    uses: &BTreeMap<Box<str>, Uses>,
    declared: &Declared<'_>,
    most: Size,
    report: &mut Report<'_>,
) -> BTreeMap<Box<str>, Size> {
    let mut measuring = Measuring {
        kind,
        uses,
        declared,
        most,
        known: BTreeMap::new(),
        path: Vec::new(),
    };
    for name in uses.keys() {
        measuring.size(name, report);
    }
    measuring
        .known
        .into_iter()
        .filter_map(|(name, size)| Some((name, size?)))
        .collect()
}

struct Measuring<'u> {
    kind: SnippetKind,
    uses: &'u BTreeMap<Box<str>, Uses>,
    declared: &'u Declared<'u>,
    most: Size,
    /// `None` for those that are mistaken.
    known: BTreeMap<Box<str>, Option<Size>>,
    /// Those that are being measured, each used by the one before.
    path: Vec<Box<str>>,
}

impl Measuring<'_> {
    /// The path is as long as there are snippets at most.
    fn size(&mut self, name: &str, report: &mut Report<'_>) -> Option<Size> {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let uses = self.uses.get(name)?;
        self.path.push(name.into());
        let mut size = Some(uses.own);
        for (used, at, depth) in &uses.names {
            let of = if let Some(first) = self.path.iter().position(|it| it == used) {
                let around: Vec<&str> = self.path[first..].iter().map(|it| &**it).chain([&**used]).collect();
                let message = format!("the {} `{used}` uses itself: {}", self.kind.name(), around.join(" -> "));
                report.error_with_hint("P087", at.clone(), message, "write out what one of them stands for");
                None
            } else if self.uses.contains_key(used) {
                self.size(used, report)
            } else if self.declared.contains(&(self.kind.key(), used)) {
                // What is wrong with it was said.
                None
            } else {
                let (message, hint) = unknown(self.kind, used, self.uses.keys());
                report.error_with_hint("P085", at.clone(), message, hint);
                None
            };
            size = size.zip(of).map(|(size, of)| Size {
                count: size.count.saturating_add(of.count),
                depth: size.depth.max(depth.saturating_add(of.depth)),
            });
        }
        self.path.pop();
        if let Some(it) = size
            && (it.count > self.most.count || it.depth > self.most.depth)
        {
            let message = format!(
                "the {} `{name}` stands for more than {} values or more than {} levels of them",
                self.kind.name(),
                self.most.count,
                self.most.depth
            );
            let at = uses.names.first().map_or(0..0, |(_, at, _)| at.clone());
            report.error_with_hint("P088", at, message, "use fewer snippets in each other");
            size = None;
        }
        self.known.insert(name.into(), size);
        size
    }
}
