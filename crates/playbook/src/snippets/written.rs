//! A playbook written out: every snippet in the place of its name.

use std::fmt::Write as _;
use std::ops::Range;

use saphyr_parser::ScalarStyle;

use super::{Snippets, put};
use crate::cel::Reporter;
use crate::cel::parse::{self, Syntax};
use crate::cel::scalar::Scalar;
use crate::diagnostic::Report;
use crate::schema::shape::{Form, PLAYBOOK};
use crate::yaml::{Kind, Node};

/// `root`, a playbook without mistakes in which blocks stand, as YAML with the conditions in their places too. Comments
/// are not in it.
pub(crate) fn write(root: &Node, snippets: Option<&Snippets>, report: &mut Report<'_>) -> String {
    let mut writing = Writing {
        snippets,
        report,
        text: String::new(),
    };
    writing.members(root, Some(&Form::Mapping(&PLAYBOOK)), 0);
    writing.text
}

struct Writing<'w, 'a> {
    snippets: Option<&'w Snippets>,
    report: &'w mut Report<'a>,
    text: String,
}

impl Writing<'_, '_> {
    /// The members of a mapping or a list, each on lines of its own, the first one where the text is.
    fn members(&mut self, node: &Node, form: Option<&Form>, indent: usize) {
        let mut first = true;
        let mut start = |text: &mut String| {
            if !std::mem::replace(&mut first, false) {
                text.push_str(&" ".repeat(indent));
            }
        };
        match &node.kind {
            Kind::Mapping(pairs) => {
                for (key, value) in pairs {
                    start(&mut self.text);
                    let name = key.text().unwrap_or_default();
                    self.scalar(key, name, indent);
                    self.text.push(':');
                    self.value(value, of_key(form, name).as_ref(), indent + 2);
                }
            }
            Kind::List(items) => {
                for item in items {
                    start(&mut self.text);
                    self.text.push('-');
                    let form = of_item(form);
                    if is_empty(item) || item.text().is_some() {
                        self.value(item, form, indent + 2);
                    } else {
                        self.text.push(' ');
                        self.members(item, form, indent + 2);
                    }
                }
            }
            Kind::Scalar { .. } | Kind::Refused => {}
        }
    }

    /// What stands behind a key or a dash.
    fn value(&mut self, node: &Node, form: Option<&Form>, indent: usize) {
        match &node.kind {
            Kind::Scalar { text, .. } => {
                let text = match form {
                    Some(Form::Expression) => self.expression(node).unwrap_or_else(|| text.clone()),
                    _ => text.clone(),
                };
                self.text.push(' ');
                self.scalar(node, &text, indent);
                self.text.push('\n');
            }
            Kind::Mapping(_) if is_empty(node) => self.text.push_str(" {}\n"),
            _ if is_empty(node) => self.text.push_str(" []\n"),
            _ => {
                self.text.push('\n');
                self.text.push_str(&" ".repeat(indent));
                self.members(node, form, indent);
            }
        }
    }

    /// `text` in a form that is read as it is.
    fn scalar(&mut self, node: &Node, text: &str, indent: usize) {
        let Kind::Scalar { text: was, style } = &node.kind else {
            return;
        };
        let strange = |c: char| c != '\n' && staunch_model::text::is_unsafe_to_show(c);
        let lines = text.contains('\n');
        if *style == ScalarStyle::Plain && was == text && !lines && !text.contains(strange) {
            self.text.push_str(text);
        } else if text.contains(strange) || (lines && text.trim() != text) {
            self.text.push('"');
            for c in text.chars() {
                match c {
                    '"' | '\\' => self.text.extend(['\\', c]),
                    '\n' => self.text.push_str("\\n"),
                    c if strange(c) => {
                        // Writing into a text cannot fail.
                        let _ = write!(self.text, "\\U{:08X}", u32::from(c));
                    }
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        } else if lines {
            self.text.push_str("|-");
            for line in text.split('\n') {
                self.text.push('\n');
                if !line.is_empty() {
                    self.text.push_str(&" ".repeat(indent.max(2)));
                    self.text.push_str(line);
                }
            }
        } else {
            self.text.push('\'');
            self.text.push_str(&text.replace('\'', "''"));
            self.text.push('\'');
        }
    }

    /// The text of an expression with its conditions in brackets. `None` when it has none.
    fn expression(&mut self, node: &Node) -> Option<String> {
        let (text, start) = self.report.source(&node.span);
        let scalar = Scalar::new(node, text, start)?;
        let mut reporter = Reporter {
            scalar: &scalar,
            report: self.report,
        };
        let mut syntax = parse::parse(&mut reporter)?;
        self.snippets?.with_conditions(&scalar.text, &mut syntax)
    }
}

impl Snippets {
    /// `text`, which is `syntax`, with its conditions in brackets. `None` when it has none. No condition uses itself.
    fn with_conditions(&self, text: &str, syntax: &mut Syntax) -> Option<String> {
        let mut places = Vec::new();
        find(syntax, &mut places);
        if places.is_empty() {
            return None;
        }
        places.sort_by_key(|(span, _)| span.start);
        let mut whole = String::new();
        let mut at = 0;
        for (span, name) in places {
            let condition = self.conditions.get(name.as_str())?;
            let own = condition.value.text()?;
            let own = self
                .with_conditions(own, &mut condition.syntax.clone())
                .unwrap_or_else(|| own.to_owned());
            // A comment ends with its line.
            let end = if own.contains("//") { "\n)" } else { ")" };
            whole.push_str(&text[at..span.start]);
            whole.push('(');
            whole.push_str(own.trim());
            whole.push_str(end);
            at = span.end;
        }
        whole.push_str(&text[at..]);
        Some(whole)
    }
}

fn find(syntax: &mut Syntax, places: &mut Vec<(Range<usize>, String)>) {
    if let Some((name, _)) = put::condition_of(syntax) {
        places.push((syntax.span.clone(), name.to_owned()));
    }
    for part in syntax.parts_mut() {
        find(part, places);
    }
}

fn is_empty(node: &Node) -> bool {
    match &node.kind {
        Kind::Mapping(pairs) => pairs.is_empty(),
        Kind::List(items) => items.is_empty(),
        Kind::Scalar { .. } | Kind::Refused => false,
    }
}

/// The form of the value of a key of `form`.
fn of_key(form: Option<&Form>, name: &str) -> Option<Form> {
    match form? {
        Form::Mapping(shape) => {
            let key = shape.keys.iter().find(|it| it.name == name)?;
            Some(match &key.form {
                Form::Expression => Form::Expression,
                Form::Mapping(shape) => Form::Mapping(shape),
                Form::List(of, least, most) => Form::List(of, *least, *most),
                Form::Either(forms) => Form::Either(forms),
                _ => Form::Any,
            })
        }
        Form::Named(_, shape) => Some(Form::Mapping(shape)),
        Form::Either(forms) => forms.iter().find_map(|it| of_key(Some(it), name)),
        _ => None,
    }
}

/// The form of the members of a list of `form`.
fn of_item(form: Option<&Form>) -> Option<&Form> {
    match form? {
        Form::List(of, ..) => Some(of),
        Form::Either(forms) => forms.iter().find_map(|it| of_item(Some(it))),
        _ => None,
    }
}
