//! A file of snippets: conditions and blocks with names, for all playbooks beside it.
//!
//! Never pastes text into text. A block takes the place of a whole value, a condition that of a node of an expression;
//! and every name is settled when playbooks are compiled, so nothing is looked up on an event.

mod check;
mod put;
mod written;

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::ScalarStyle;
use serde::Serialize;
use staunch_model::Printable;

use crate::cel::parse::Syntax;
use crate::diagnostic::{Diagnostic, Report};
use crate::suggest;
use crate::yaml::{Kind, Node};

pub(crate) use put::put_into;
pub(crate) use written::write;

/// The name of the file beside playbooks that holds their snippets.
pub const SNIPPETS_FILE: &str = "snippets.yaml";

/// The key whose value is the name of a block.
pub(crate) const USE: &str = "use";

/// The name in expressions that conditions are members of.
const IN_EXPRESSIONS: &str = "condition";

/// What a snippet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnippetKind {
    /// A condition, for expressions.
    Condition,
    /// A value, for any key.
    Block,
}

impl SnippetKind {
    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Block => "block",
        }
    }

    /// The key that it stands under.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Condition => "conditions",
            Self::Block => "blocks",
        }
    }
}

/// Which snippet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SnippetName {
    /// What it is.
    pub kind: SnippetKind,
    /// Its name, which others of another kind may have too.
    pub name: Box<str>,
}

/// The snippets of a file, read once for all playbooks that may use them.
#[derive(Clone, Debug)]
pub struct Snippets {
    file: Box<str>,
    text: Box<str>,
    conditions: BTreeMap<Box<str>, Condition>,
    blocks: BTreeMap<Box<str>, Block>,
    /// What is wrong in the file.
    found: Vec<Diagnostic>,
}

/// A condition.
#[derive(Clone, Debug)]
struct Condition {
    key: Node,
    value: Node,
    syntax: Syntax,
    /// The nodes that it stands for, those of the conditions in it among them.
    nodes: usize,
    /// The nesting of those.
    depth: usize,
}

/// A block.
#[derive(Clone, Debug)]
struct Block {
    key: Node,
    value: Node,
    /// The values that it stands for, those of the blocks in it among them.
    values: usize,
    /// The nesting of those.
    depth: usize,
}

impl Snippets {
    /// Reads the snippets in `text`. What is wrong with them is in [`Snippets::diagnostics`].
    #[must_use]
    pub fn read(file: &str, text: &str) -> Self {
        let mut report = Report::new(file, text);
        let (conditions, blocks) = check::read(text, &mut report);
        Self {
            file: file.into(),
            text: text.into(),
            conditions,
            blocks,
            found: report.finish(),
        }
    }

    /// The file's name and its text.
    #[must_use]
    pub fn source(&self) -> (&str, &str) {
        (&self.file, &self.text)
    }

    /// Every mistake in the file, in its order. With one, no playbook that may use the file can be used.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.found
    }

    /// Every snippet, in the order of kinds and names.
    pub fn names(&self) -> impl Iterator<Item = SnippetName> {
        let conditions = self.conditions.keys().map(|name| (SnippetKind::Condition, name));
        let blocks = self.blocks.keys().map(|name| (SnippetKind::Block, name));
        conditions.chain(blocks).map(|(kind, name)| SnippetName {
            kind,
            name: name.clone(),
        })
    }

    /// Says which of them are not `used`.
    #[must_use]
    pub fn unused(&self, used: &BTreeSet<&SnippetName>) -> Vec<Diagnostic> {
        let mut report = Report::new(&self.file, &self.text);
        for it in self.names().filter(|it| !used.contains(it)) {
            let (key, how) = match it.kind {
                SnippetKind::Condition => (&self.conditions[&it.name].key, format!("{IN_EXPRESSIONS}.{}", it.name)),
                SnippetKind::Block => (&self.blocks[&it.name].key, format!("{{ {USE}: {} }}", it.name)),
            };
            let message = format!("no playbook beside it uses the {} `{}`", it.kind.name(), it.name);
            let hint = format!("remove it, or write {how} where it is to stand");
            report.warning("P086", key.span.clone(), message, hint);
        }
        report.finish()
    }

    /// `used` in a form of its own: the same only where the same names stand for the same.
    pub(crate) fn contribution(&self, used: &BTreeSet<SnippetName>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for SnippetName { kind, name } in used {
            let value = match kind {
                SnippetKind::Condition => self.conditions.get(name).map(|it| &it.value),
                SnippetKind::Block => self.blocks.get(name).map(|it| &it.value),
            };
            let mut canonical = Vec::new();
            if let Some(value) = value {
                write_canonical(value, &mut canonical);
            }
            // No text of a playbook and no value of a parameter starts like this: those have no NUL, and a name.
            let head = format!("\0\0{} {name}\0{}\0", kind.name(), canonical.len());
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(&canonical);
        }
        bytes
    }
}

/// Writes every value with its length, so that two trees are written alike only if they are.
fn write_canonical(node: &Node, bytes: &mut Vec<u8>) {
    match &node.kind {
        Kind::Scalar { text, style } => {
            // A plain `null` is another value than the text.
            let plain = *style == ScalarStyle::Plain;
            bytes.extend_from_slice(format!("{}{}:{text}", if plain { 'p' } else { 't' }, text.len()).as_bytes());
        }
        Kind::List(items) => {
            bytes.extend_from_slice(format!("l{}:", items.len()).as_bytes());
            items.iter().for_each(|it| write_canonical(it, bytes));
        }
        Kind::Mapping(pairs) => {
            bytes.extend_from_slice(format!("m{}:", pairs.len()).as_bytes());
            for (key, value) in pairs {
                write_canonical(key, bytes);
                write_canonical(value, bytes);
            }
        }
        Kind::Refused => bytes.push(b'r'),
    }
}

/// What is said of a name that no snippet has.
fn unknown<'k>(kind: SnippetKind, name: &str, known: impl Iterator<Item = &'k Box<str>>) -> (String, String) {
    let known: Vec<&str> = known.map(|it| &**it).collect();
    let hint = if known.is_empty() {
        format!(
            "write it under `{}s` in {SNIPPETS_FILE} beside the playbooks",
            kind.name()
        )
    } else {
        suggest::hint(name, &known, &format!("{}s in {SNIPPETS_FILE}", kind.name()))
    };
    (format!("there is no {} `{}`", kind.name(), Printable(name)), hint)
}
