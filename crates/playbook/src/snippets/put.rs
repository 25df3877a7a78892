//! Snippets in the places of their names.

use std::collections::BTreeSet;
use std::ops::Range;

use staunch_model::Printable;

use super::{IN_EXPRESSIONS, SnippetKind, SnippetName, Snippets, USE, unknown};
use crate::cel::Reporter;
use crate::cel::parse::{Syntax, SyntaxKind};
use crate::cel::scalar::Scalar;
use crate::diagnostic::Report;
use crate::limits;
use crate::yaml::{Kind, Node};

/// The keys at the top of a playbook in whose values no block can stand: a name that the configuration knows, and
/// values that have names of their own.
const WRITTEN_OUT: [&str; 2] = ["playbook", "parameters"];

/// `root`, a playbook, with blocks in the places of their names. Which were there is added to `used`.
pub(crate) fn put_into<'a>(
    root: &Node,
    snippets: Option<&'a Snippets>,
    used: &mut BTreeSet<SnippetName>,
    report: &mut Report<'a>,
) -> Node {
    let Kind::Mapping(pairs) = &root.kind else {
        return root.clone();
    };
    let mut putting = Putting {
        snippets,
        used,
        report,
        values: 0,
        full: false,
    };
    let mut put = |(key, value): &(Node, Node)| {
        let value = match key.text() {
            Some(name) if WRITTEN_OUT.contains(&name) => value.clone(),
            _ => putting.node(value, 0, 1),
        };
        (key.clone(), value)
    };
    Node {
        kind: Kind::Mapping(pairs.iter().map(&mut put).collect()),
        ..root.clone()
    }
}

/// The name in a mapping that stands for a block.
pub(super) fn block_of(node: &Node) -> Option<&Node> {
    match &node.kind {
        Kind::Mapping(pairs) => pairs
            .iter()
            .find(|(key, _)| key.text() == Some(USE))
            .map(|(_, name)| name),
        _ => None,
    }
}

/// The name of a condition that a node of an expression is, and where it stands in the expression.
pub(super) fn condition_of(syntax: &Syntax) -> Option<(&str, Range<usize>)> {
    match &syntax.kind {
        SyntaxKind::Path(segments) if &*segments[0].key == IN_EXPRESSIONS => match &segments[..] {
            [_, member] => Some((&member.key, member.span.clone())),
            _ => Some(("", syntax.span.clone())),
        },
        _ => None,
    }
}

struct Putting<'p, 'a> {
    snippets: Option<&'a Snippets>,
    used: &'p mut BTreeSet<SnippetName>,
    report: &'p mut Report<'a>,
    /// The values that blocks have put in.
    values: usize,
    /// Whether it was said that there are too many.
    full: bool,
}

impl<'a> Putting<'_, 'a> {
    /// `node` with its spans moved by `start`, at this depth.
    fn node(&mut self, node: &Node, start: usize, depth: usize) -> Node {
        let kind = match &node.kind {
            Kind::Mapping(pairs) => {
                if let Some(name) = block_of(node) {
                    return self.with_block(node, pairs, name, start, depth);
                }
                Kind::Mapping(self.pairs(pairs, start, depth))
            }
            Kind::List(items) => Kind::List(self.items(items, start, depth)),
            Kind::Scalar { .. } | Kind::Refused => node.kind.clone(),
        };
        Node {
            span: moved(&node.span, start),
            kind,
            put_at: node.put_at.clone(),
        }
    }

    fn pairs(&mut self, pairs: &[(Node, Node)], start: usize, depth: usize) -> Vec<(Node, Node)> {
        let mut put =
            |(key, value): &(Node, Node)| (self.node(key, start, depth + 1), self.node(value, start, depth + 1));
        pairs.iter().map(&mut put).collect()
    }

    /// A list that stands for an item is as many items.
    fn items(&mut self, items: &[Node], start: usize, depth: usize) -> Vec<Node> {
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            let put = self.node(item, start, depth + 1);
            match put.kind {
                Kind::List(items) if block_of(item).is_some() => all.extend(items),
                _ => all.push(put),
            }
        }
        all
    }

    /// What a mapping with the name of a block stands for. Keys beside the name are instead of those in the block.
    fn with_block(&mut self, node: &Node, pairs: &[(Node, Node)], name: &Node, start: usize, depth: usize) -> Node {
        let refused = Node {
            span: moved(&node.span, start),
            kind: Kind::Refused,
            put_at: None,
        };
        let others: Vec<_> = pairs
            .iter()
            .filter(|(key, _)| key.text() != Some(USE))
            .cloned()
            .collect();
        let Some(block) = self.block(name, start, depth) else {
            self.pairs(&others, start, depth);
            return refused;
        };
        let others = self.pairs(&others, start, depth);
        if others.is_empty() {
            return block;
        }
        match block.kind {
            Kind::Mapping(inner) => {
                let is_other = |key: &Node| others.iter().any(|(other, _)| other.text() == key.text());
                let mut all: Vec<_> = inner.into_iter().filter(|(key, _)| !is_other(key)).collect();
                all.extend(others);
                Node {
                    span: block.span,
                    kind: Kind::Mapping(all),
                    put_at: None,
                }
            }
            Kind::Refused => refused,
            _ => {
                let message = format!(
                    "the block `{}` is {}, which has no keys to stand beside",
                    Printable(name.text().unwrap_or_default()),
                    block.describe()
                );
                let hint = format!("leave `{USE}` alone here, or use a block that is a mapping");
                self.report.error_with_hint("P089", others[0].0.point(), message, hint);
                refused
            }
        }
    }

    /// The block of that name with the blocks in it. `None` when a mistake was reported.
    fn block(&mut self, name_: &Node, start: usize, depth: usize) -> Option<Node> {
        let at = moved(&name_.point(), start);
        let name = match name_.text() {
            Some(name) if !name_.is_null() => name,
            _ => {
                if !matches!(name_.kind, Kind::Refused) {
                    let message = format!("`{USE}` is the name of a block, and this is {}", name_.describe());
                    self.report
                        .error_with_hint("P089", at, message, format!("write for example `{USE}: careful`"));
                }
                return None;
            }
        };
        let block = self
            .snippets
            .and_then(|it| it.blocks.get(name).map(|block| (it, block)));
        let Some((snippets, block)) = block else {
            // Of names in a file with mistakes, nothing is known.
            if self.snippets.is_none_or(|it| it.found.is_empty()) {
                let known = self.snippets.iter().flat_map(|it| it.blocks.keys());
                let (message, hint) = unknown(SnippetKind::Block, name, known);
                self.report.error_with_hint("P085", at, message, hint);
            }
            return None;
        };
        if start == 0 {
            // Those in it are counted with it.
            self.values = self.values.saturating_add(block.values);
        }
        let fits = self.values <= limits::SNIPPET_VALUES_MAX && depth + block.depth <= limits::NESTING_MAX;
        let moved_by = fits
            .then(|| self.report.put_in(snippets.source(), at.clone()))
            .flatten();
        let Some(by) = moved_by else {
            if std::mem::replace(&mut self.full, true) {
                return None;
            }
            let message = format!("the block `{name}` is too much here");
            let hint = format!(
                "snippets stand for at most {} values in {} places of a playbook, nested {} deep",
                limits::SNIPPET_VALUES_MAX,
                limits::SNIPPET_USES_MAX,
                limits::NESTING_MAX
            );
            self.report.error_with_hint("P088", at, message, hint);
            return None;
        };
        self.used.insert(SnippetName {
            kind: SnippetKind::Block,
            name: name.into(),
        });
        Some(self.node(&block.value, by, depth))
    }
}

fn moved(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

impl Snippets {
    /// Puts conditions into the places of their names in `syntax`, and their texts behind that of `scalar`. `None` when
    /// a mistake was reported.
    pub(crate) fn put_conditions<'a>(
        of: Option<&'a Self>,
        (scalar, syntax): (&mut Scalar<'_>, &mut Syntax),
        used: &mut BTreeSet<SnippetName>,
        report: &mut Report<'a>,
    ) -> Option<()> {
        let mut putting = PuttingConditions {
            snippets: of,
            scalar,
            used,
            report,
            nodes: 0,
            full: false,
        };
        putting.nodes = count(syntax);
        putting.node(syntax, 1)
    }
}

fn count(syntax: &mut Syntax) -> usize {
    1 + syntax.parts_mut().into_iter().map(count).sum::<usize>()
}

struct PuttingConditions<'p, 's, 'a> {
    snippets: Option<&'a Snippets>,
    scalar: &'p mut Scalar<'s>,
    used: &'p mut BTreeSet<SnippetName>,
    report: &'p mut Report<'a>,
    /// The nodes of the expression with those that were put in.
    nodes: usize,
    /// Whether it was said that there are too many.
    full: bool,
}

impl PuttingConditions<'_, '_, '_> {
    fn error(&mut self, code: &'static str, span: &Range<usize>, message: String, hint: String) -> Option<()> {
        let mut reporter = Reporter {
            scalar: self.scalar,
            report: self.report,
        };
        reporter.error_with_hint(code, span, message, hint);
        None
    }

    fn node(&mut self, syntax: &mut Syntax, depth: usize) -> Option<()> {
        let Some((name, at)) = condition_of(syntax) else {
            let parts: Vec<_> = syntax
                .parts_mut()
                .into_iter()
                .map(|it| self.node(it, depth + 1))
                .collect();
            return parts.into_iter().collect();
        };
        let condition = self
            .snippets
            .and_then(|it| it.conditions.get(name).map(|condition| (it, condition)));
        let Some((snippets, condition)) = condition else {
            if self.snippets.is_some_and(|it| !it.found.is_empty()) {
                return None;
            }
            let known = self.snippets.iter().flat_map(|it| it.conditions.keys());
            let (mut message, hint) = unknown(SnippetKind::Condition, name, known);
            if name.is_empty() {
                message = format!("this is not a condition: write {IN_EXPRESSIONS}.NAME");
            }
            return self.error("P085", &at, message, hint);
        };
        // Those in it are counted when they are put in.
        let mut own = condition.syntax.clone();
        self.nodes = self.nodes.saturating_add(count(&mut own));
        let place = self.scalar.place(&syntax.span).0;
        let fits = self.nodes <= limits::EXPRESSION_NODES_MAX
            && depth + condition.depth <= limits::EXPRESSION_EXPANDED_DEPTH_MAX;
        let by = fits.then(|| self.report.put_in(snippets.source(), place)).flatten();
        let put = by.and_then(|by| Some((by, Scalar::new(&condition.value, &snippets.text, 0)?)));
        let Some((by, text)) = put else {
            if std::mem::replace(&mut self.full, true) {
                return None;
            }
            let hint = format!(
                "an expression has at most {} parts, nested {} deep, and a playbook uses snippets in at most {} places",
                limits::EXPRESSION_NODES_MAX,
                limits::EXPRESSION_EXPANDED_DEPTH_MAX,
                limits::SNIPPET_USES_MAX
            );
            let message = format!("the condition `{}` is too much here", Printable(name));
            return self.error("P088", &at, message, hint);
        };
        self.used.insert(SnippetName {
            kind: SnippetKind::Condition,
            name: name.into(),
        });
        own.shift(self.scalar.append(&text, by));
        let sound = self.node(&mut own, depth + 1);
        // To people it is what is written where its name is, and its parts are what stands in its file.
        let span = syntax.span.clone();
        syntax.kind = match own.kind {
            SyntaxKind::And(_) | SyntaxKind::Or(_) => own.kind,
            _ => SyntaxKind::And(vec![own]),
        };
        syntax.span = span;
        sound
    }
}
