//! Mappings with known keys, and lists.

use std::ops::Range;

use staunch_model::Printable;

use super::Walk;
use super::shape::Shape;
use crate::yaml::{Kind, Node};
use crate::{limits, suggest};

/// Keys that other response tools or later versions have; their absence deserves a clear word.
const ELSEWHERE: [&str; 8] = [
    "recover",
    "ticket",
    "phases",
    "enrich",
    "eradicate",
    "approve",
    "rollback",
    "conditions",
];

/// The values of a mapping by their keys.
pub(super) struct Fields<'n> {
    pairs: Vec<(&'n str, &'n Node)>,
    /// Keys that are misspelt here, in their right spelling.
    misspelt: Vec<String>,
    /// What the mapping is, for messages.
    pub(super) what: &'static str,
    /// Where to point at when something is missing in it.
    pub(super) point: Range<usize>,
}

impl<'n> Fields<'n> {
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        self.misspelt.iter().any(|it| it == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, node)| *node)
    }
}

impl Walk<'_, '_> {
    /// The fields of a mapping of this shape.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, shape: &Shape) -> Option<Fields<'n>> {
        let (what, allowed) = (shape.what, shape.names());
        let Kind::Mapping(pairs) = &node.kind else {
            if !matches!(node.kind, Kind::Refused) {
                let message = format!("{what} is a mapping, and this is {}", node.describe());
                self.report.error_with_hint(
                    "P006",
                    node.point(),
                    message,
                    format!("its keys: {}", allowed.join(", ")),
                );
            }
            return None;
        };
        let mut known = Vec::with_capacity(pairs.len());
        let mut misspelt = Vec::new();
        for (key, value) in pairs {
            match key.text() {
                Some(name) if allowed.contains(&name) => {
                    if value.is_null() {
                        let message = format!("the key `{name}` has no value");
                        self.report
                            .error_with_hint("P006", key.span.clone(), message, "give it a value or remove it");
                    }
                    known.push((name, value));
                }
                Some(name) => {
                    self.unknown_key(key, name, what, &allowed);
                    misspelt.extend(suggest::nearest(name, allowed.iter().copied()).map(str::to_owned));
                }
                None if matches!(key.kind, Kind::Refused) => {}
                None => self.report.error(
                    "P006",
                    key.point(),
                    format!("a key of {what} is a text, and this is {}", key.describe()),
                ),
            }
        }
        Some(Fields {
            pairs: known,
            misspelt,
            what,
            point: node.point(),
        })
    }

    fn unknown_key(&mut self, key: &Node, name: &str, what: &'static str, allowed: &[&str]) {
        let hint = if ELSEWHERE.contains(&name) {
            format!(
                "nothing of that name exists in this version; allowed here: {}",
                allowed.join(", ")
            )
        } else {
            suggest::hint(name, allowed, "allowed here")
        };
        let message = format!("{what} has no key `{}`", Printable(name));
        self.report.error_with_hint("P010", key.span.clone(), message, hint);
    }

    /// Each member of a list through `each`. All are looked at even when one is wrong.
    pub(super) fn entries<T>(
        &mut self,
        node: &Node,
        key: &str,
        each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.entries_up_to(node, key, limits::ENTRIES_MAX, each)
    }

    /// The same, of at most `max`.
    pub(super) fn entries_up_to<T>(
        &mut self,
        node: &Node,
        key: &str,
        max: usize,
        mut each: impl FnMut(&mut Self, &Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.list(node, key, max)?;
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            if item.is_null() {
                let message = format!("an entry of `{key}` has no value");
                self.report
                    .error_with_hint("P006", item.span.clone(), message, "give it a value or remove it");
                all.push(None);
            } else {
                all.push(each(self, item));
            }
        }
        all.into_iter().collect()
    }

    /// The members of a list of at most `max`.
    pub(super) fn list<'n>(&mut self, node: &'n Node, key: &str, max: usize) -> Option<&'n [Node]> {
        let Kind::List(items) = &node.kind else {
            if !matches!(node.kind, Kind::Refused) && !node.is_null() {
                let message = format!("`{key}` is a list, and this is {}", node.describe());
                self.report.error_with_hint(
                    "P006",
                    node.point(),
                    message,
                    format!("write `{key}: [ ... ]`, or one line with `- ` for each"),
                );
            }
            return None;
        };
        if items.len() > max {
            let message = format!("`{key}` has {} entries, more than {max}", items.len());
            self.report.error("P023", items[max].point(), message);
            return None;
        }
        Some(items)
    }

    /// The text of a scalar.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        match &node.kind {
            // A key without a value was reported with its mapping.
            _ if node.is_null() => None,
            Kind::Scalar { text, .. } => Some(text),
            Kind::Refused => None,
            _ => {
                let message = format!("`{key}` is a text, and this is {}", node.describe());
                self.report.error("P006", node.point(), message);
                None
            }
        }
    }
}
