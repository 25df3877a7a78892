//! What stands on a side of a comparison.

use std::ops::Range;

use staunch_model::{Printable, Severity};

use super::super::field::{AROUND, AROUND_ROOTS, FIELDS, Field, Type, kind_name};
use super::super::parse::{Segment, Syntax, SyntaxKind};
use super::super::test::{KINDS, Number};
use super::Checker;
use crate::suggest;

/// A side of a comparison.
pub(super) struct Operand {
    pub(super) value: Value,
    pub(super) span: Range<usize>,
}

/// What a side of a comparison is.
pub(super) enum Value {
    Field {
        field: Field,
        /// `.lowerAscii()` was called on it.
        lower: bool,
        /// `.size()` was called on it.
        size: bool,
    },
    /// A bare name, such as that of a severity.
    Word(String),
    Text(String),
    Number(Number),
    Bool(bool),
    Null,
    List(Vec<Operand>),
}

impl Checker<'_, '_, '_> {
    pub(super) fn operand(&mut self, syntax: &Syntax) -> Option<Operand> {
        let value = match &syntax.kind {
            SyntaxKind::Null => Value::Null,
            SyntaxKind::Bool(value) => Value::Bool(*value),
            SyntaxKind::Int(value) => Value::Number(Number::Int(*value)),
            SyntaxKind::Float(value) => Value::Number(Number::Float(*value)),
            SyntaxKind::Text(text) => Value::Text(text.clone()),
            SyntaxKind::List(items) => {
                let items: Vec<_> = items.iter().map(|it| self.item(it)).collect();
                Value::List(items.into_iter().collect::<Option<_>>()?)
            }
            SyntaxKind::Path(segments) => self.path(segments)?,
            SyntaxKind::Call {
                receiver,
                name,
                name_span,
                arguments,
            } => self.value_function(receiver.as_deref(), name, name_span, arguments)?,
            SyntaxKind::Has(_)
            | SyntaxKind::And(_)
            | SyntaxKind::Or(_)
            | SyntaxKind::Not(_)
            | SyntaxKind::Compare(..)
            | SyntaxKind::In(..) => {
                let hint = "a condition is true or false by itself; join conditions with && and ||";
                self.reporter
                    .error_with_hint("P046", &syntax.span, "a condition cannot be compared", hint);
                return None;
            }
        };
        Some(Operand {
            value,
            span: syntax.span.clone(),
        })
    }

    /// A member of a list: a constant.
    fn item(&mut self, syntax: &Syntax) -> Option<Operand> {
        let operand = self.operand(syntax)?;
        if matches!(operand.value, Value::Text(_) | Value::Number(_) | Value::Word(_)) {
            return Some(operand);
        }
        self.reporter.error_with_hint(
            "P046",
            &syntax.span,
            "a list holds constants",
            "write texts, numbers or severities",
        );
        None
    }

    fn path(&mut self, segments: &[Segment]) -> Option<Value> {
        let (root, members) = segments.split_first()?;
        if AROUND_ROOTS.contains(&&*root.key) {
            return self.around(segments);
        }
        if &*root.key != "event" {
            if members.is_empty() {
                return self.word(root);
            }
            let roots = std::iter::once("event").chain(AROUND_ROOTS);
            let hint = match suggest::nearest(&root.key, roots) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "fields start with `event.`, those of the source with `event.raw.`".to_owned(),
            };
            let message = format!("nothing is named `{}`", Printable(&root.key));
            self.reporter.error_with_hint("P043", &root.span, message, hint);
            return None;
        }
        let plain = |field| {
            Some(Value::Field {
                field,
                lower: false,
                size: false,
            })
        };
        match members {
            [] => {
                let hint = "name one of its fields, such as event.severity";
                self.reporter
                    .error_with_hint("P043", &root.span, "`event` is not a field", hint);
                None
            }
            [raw] if &*raw.key == "raw" => {
                let hint = "name a field of what the source sent, such as event.raw.alert.gid";
                self.reporter
                    .error_with_hint("P043", &raw.span, "`event.raw` is not a field", hint);
                None
            }
            [raw, path @ ..] if &*raw.key == "raw" => {
                plain(Field::Raw(path.iter().map(|segment| segment.key.clone()).collect()))
            }
            _ => {
                let name = members
                    .iter()
                    .map(|segment| &*segment.key)
                    .collect::<Vec<_>>()
                    .join(".");
                match FIELDS.into_iter().find(|(known, _)| *known == name) {
                    Some((_, field)) => plain(field),
                    None => self.unknown_field(&name, members),
                }
            }
        }
    }

    /// A field of what is known around the event.
    fn around(&mut self, segments: &[Segment]) -> Option<Value> {
        let name = segments
            .iter()
            .map(|segment| &*segment.key)
            .collect::<Vec<_>>()
            .join(".");
        if let Some((_, field)) = AROUND.into_iter().find(|(known, _)| *known == name) {
            return Some(Value::Field {
                field,
                lower: false,
                size: false,
            });
        }
        let span = segments.first()?.span.start..segments.last()?.span.end;
        let root = segments.first()?;
        let known = AROUND.iter().map(|(known, _)| *known);
        let hint = match suggest::nearest(&name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let of_root = known.filter(|it| it.split('.').next() == Some(&*root.key));
                format!("known are {}", of_root.collect::<Vec<_>>().join(", "))
            }
        };
        let message = format!("there is no field `{}`", Printable(&name));
        self.reporter.error_with_hint("P043", &span, message, hint);
        None
    }

    fn unknown_field(&mut self, name: &str, members: &[Segment]) -> Option<Value> {
        let span = members.first()?.span.start..members.last()?.span.end;
        let known = FIELDS.iter().map(|(known, _)| *known);
        let raw = format!(
            "what the source sent is under event.raw, such as event.raw.{}",
            Printable(name)
        );
        let hint = match suggest::nearest(name, known) {
            Some(near) => format!("did you mean `event.{near}`? {raw}"),
            None => raw,
        };
        self.reporter.error_with_hint(
            "P043",
            &span,
            format!("there is no field `event.{}`", Printable(name)),
            hint,
        );
        None
    }

    /// A bare name: that of a severity or of a kind. Whether it fits is known only beside a field.
    fn word(&mut self, segment: &Segment) -> Option<Value> {
        let known = Severity::ALL
            .map(Severity::name)
            .into_iter()
            .chain(KINDS.map(kind_name));
        if known.clone().any(|word| word == &*segment.key) || suggest::nearest(&segment.key, known).is_some() {
            return Some(Value::Word(segment.key.to_string()));
        }
        let written = Printable(&segment.key);
        let hint = match suggest::nearest(&segment.key, FIELDS.iter().map(|(name, _)| *name)) {
            Some(field) => format!("did you mean `event.{field}`? texts stand in quotes: \"{written}\""),
            None => format!("texts stand in quotes: \"{written}\""),
        };
        self.reporter
            .error_with_hint("P043", &segment.span, format!("nothing is named `{written}`"), hint);
        None
    }

    /// `x.lowerAscii()`, `x.size()`, `size(x)`: functions that yield a value.
    fn value_function(
        &mut self,
        receiver: Option<&Syntax>,
        name: &str,
        name_span: &Range<usize>,
        arguments: &[Syntax],
    ) -> Option<Value> {
        let global_size = receiver.is_none() && name == "size";
        if global_size && arguments.len() != 1 {
            self.reporter.error(
                "P045",
                name_span,
                format!("size() takes 1 argument, not {}", arguments.len()),
            );
            return None;
        }
        let subject = if global_size { arguments.first() } else { receiver };
        match (subject, name) {
            (Some(subject), "lowerAscii" | "size") => {
                if !global_size {
                    self.arity(name, name_span, arguments, 0)?;
                }
                let operand = self.operand(subject)?;
                let Value::Field {
                    field,
                    lower,
                    size: false,
                } = operand.value
                else {
                    self.reporter.error_with_hint(
                        "P046",
                        &subject.span,
                        format!("{name}() is called on a field"),
                        "write event.signature.lowerAscii()",
                    );
                    return None;
                };
                if !matches!(field.kind(), Type::Text | Type::Any) {
                    let message = format!("{field} is {}, not a text", field.kind().name());
                    self.reporter
                        .error_with_hint("P046", &subject.span, message, "this function takes a text");
                    return None;
                }
                Some(Value::Field {
                    field,
                    lower: lower || name == "lowerAscii",
                    size: name == "size",
                })
            }
            _ => {
                self.not_a_value(receiver, name, name_span);
                None
            }
        }
    }
}
