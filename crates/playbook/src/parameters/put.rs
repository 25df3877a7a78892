//! Puts values in the places of their names: in scalars, and in expressions.

use std::collections::BTreeSet;

use staunch_model::Printable;

use super::names::reference;
use super::{KEY, Values};
use crate::cel::Reporter;
use crate::cel::parse::{Syntax, SyntaxKind};
use crate::diagnostic::Report;
use crate::suggest;
use crate::yaml::{Kind, Node};

/// The name in expressions that they are members of.
const IN_EXPRESSIONS: &str = "parameter";

impl Values {
    /// `node` with the values in the places of their names. Which were there is added to `used`.
    pub(crate) fn put_into(&self, node: &Node, used: &mut BTreeSet<String>, report: &mut Report<'_>) -> Node {
        self.put(node, true, used, report)
    }

    fn put(&self, node: &Node, top: bool, used: &mut BTreeSet<String>, report: &mut Report<'_>) -> Node {
        let kind = match &node.kind {
            Kind::Mapping(pairs) => {
                let mut put = |(key, value): &(Node, Node)| {
                    // What they are is looked at before.
                    let value = match key.text() {
                        Some(KEY) if top => value.clone(),
                        _ => self.put(value, false, used, report),
                    };
                    (key.clone(), value)
                };
                Kind::Mapping(pairs.iter().map(&mut put).collect())
            }
            Kind::List(items) => Kind::List(items.iter().map(|it| self.put(it, false, used, report)).collect()),
            Kind::Scalar { text, .. } => {
                let Some(name) = reference(text) else {
                    return node.clone();
                };
                let Some(value) = self.all.get(name) else {
                    if !self.mistaken {
                        let (message, hint) = self.unknown(name);
                        report.error_with_hint("P080", node.span.clone(), message, hint);
                    }
                    return Node {
                        kind: Kind::Refused,
                        ..node.clone()
                    };
                };
                used.insert(name.to_owned());
                return Node {
                    span: value.span.clone().unwrap_or_else(|| node.span.clone()),
                    kind: Kind::Scalar {
                        text: value.text.clone(),
                        style: value.style,
                    },
                    put_at: Some(node.span.clone()),
                };
            }
            Kind::Refused => Kind::Refused,
        };
        Node { kind, ..node.clone() }
    }

    /// Makes constants of the members of `parameter` in `syntax`. `None` when a mistake was reported.
    pub(crate) fn resolve(
        &self,
        syntax: &mut Syntax,
        used: &mut BTreeSet<String>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Option<()> {
        match &mut syntax.kind {
            SyntaxKind::Path(segments) if &*segments[0].key == IN_EXPRESSIONS => {
                let [_, member] = &segments[..] else {
                    let hint = format!("write for example {IN_EXPRESSIONS}.least");
                    let message = "this is not a parameter";
                    reporter.error_with_hint("P080", &syntax.span, message, hint);
                    return None;
                };
                let Some(value) = self.all.get(&*member.key) else {
                    if !self.mistaken {
                        let (message, hint) = self.unknown(&member.key);
                        reporter.error_with_hint("P080", &member.span, message, hint);
                    }
                    return None;
                };
                used.insert(member.key.to_string());
                syntax.kind = SyntaxKind::Text(value.text.clone());
                Some(())
            }
            SyntaxKind::And(parts) | SyntaxKind::Or(parts) | SyntaxKind::List(parts) => {
                self.resolve_all(parts.iter_mut(), used, reporter)
            }
            SyntaxKind::Not(part) | SyntaxKind::Has(part) => self.resolve(part, used, reporter),
            SyntaxKind::Compare(_, left, right) | SyntaxKind::In(left, right) => {
                self.resolve_all([&mut **left, &mut **right].into_iter(), used, reporter)
            }
            SyntaxKind::Call {
                receiver, arguments, ..
            } => {
                let parts = receiver.as_deref_mut().into_iter().chain(arguments);
                self.resolve_all(parts, used, reporter)
            }
            SyntaxKind::Null
            | SyntaxKind::Bool(_)
            | SyntaxKind::Int(_)
            | SyntaxKind::Float(_)
            | SyntaxKind::Text(_)
            | SyntaxKind::Path(_) => Some(()),
        }
    }

    fn resolve_all<'s>(
        &self,
        parts: impl Iterator<Item = &'s mut Syntax>,
        used: &mut BTreeSet<String>,
        reporter: &mut Reporter<'_, '_>,
    ) -> Option<()> {
        let all: Vec<_> = parts.map(|it| self.resolve(it, used, reporter)).collect();
        all.into_iter().collect()
    }

    fn unknown(&self, name: &str) -> (String, String) {
        let known: Vec<&str> = self.all.keys().map(String::as_str).collect();
        let hint = if known.is_empty() {
            format!("declare it: `{KEY}: {{ name: value }}`")
        } else {
            suggest::hint(name, &known, "parameters of this playbook")
        };
        (format!("there is no parameter `{}`", Printable(name)), hint)
    }
}

/// Refuses a value in a place where there can be none.
pub(crate) fn refuse(node: &Node, what: &str, hint: &str, report: &mut Report<'_>) -> Option<()> {
    let Some(at) = &node.put_at else { return Some(()) };
    report.error_with_hint("P082", at.clone(), format!("{what} cannot be a parameter"), hint);
    None
}
