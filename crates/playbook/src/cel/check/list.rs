//! `in`.

use staunch_model::Severity;

use super::super::field::{Field, Type};
use super::super::parse::Comparison;
use super::super::test::{AddressTest, ConditionKind, LowerTest, Number, Test, TextTest};
use super::operand::{Operand, Value};
use super::{Checker, mask};
use crate::limits;

impl Checker<'_, '_, '_> {
    pub(super) fn contained(&mut self, left: Operand, right: Operand) -> Option<ConditionKind> {
        match (left.value, right.value) {
            (
                Value::Field {
                    field,
                    lower,
                    size: false,
                },
                Value::List(items),
            ) => {
                if items.is_empty() {
                    self.pointless(&right.span, "an empty list contains nothing")?;
                }
                self.one_of(field, lower, &items)
            }
            (
                Value::Field {
                    field,
                    lower: false,
                    size: false,
                },
                Value::Field {
                    field: Field::Raw(path),
                    lower: false,
                    size: false,
                },
            ) => Some(member_of(&path, Test::Same(field))),
            (
                value @ (Value::Text(_) | Value::Number(Number::Int(_))),
                Value::Field {
                    field: Field::Raw(path),
                    lower: false,
                    size: false,
                },
            ) => {
                let test = match value {
                    Value::Text(text) => Test::Text(TextTest::Is(text.into())),
                    Value::Number(number) => Test::Number(Comparison::Equal, number),
                    _ => return None,
                };
                Some(member_of(&path, test))
            }
            (Value::Field { .. }, Value::Text(_)) => self.mismatch(
                &right.span,
                "`in` takes a list",
                "write [\"a\", \"b\"], or .inNetwork(\"10.0.0.0/8\") for a network",
            ),
            (_, Value::List(_)) => self.mismatch(
                &left.span,
                "`in` takes a field on its left",
                "write for example event.user in [\"root\"]",
            ),
            _ => self.mismatch(
                &right.span,
                "`in` takes a list of constants or a list of the raw event",
                "write [\"a\", \"b\"] or event.raw.tags",
            ),
        }
    }

    /// `field in [constants]`
    fn one_of(&mut self, field: Field, lower: bool, items: &[Operand]) -> Option<ConditionKind> {
        let numbers = matches!(items.first().map(|it| &it.value), Some(Value::Number(_)));
        let test = match field.kind() {
            Type::Severity => {
                let named: Vec<_> = items.iter().map(|it| self.severity(it)).collect();
                let named = named.into_iter().collect::<Option<Vec<_>>>()?;
                Test::Severity(mask(Severity::ALL.iter().map(|it| named.contains(it))))
            }
            Type::Kind => {
                let masks: Vec<_> = items.iter().map(|it| self.kind_mask(it)).collect();
                Test::Kind(masks.into_iter().try_fold(0, |all, it| it.map(|it| all | it))?)
            }
            Type::Address => {
                let addresses: Vec<_> = items.iter().map(|it| self.address(it)).collect();
                Test::Address(AddressTest::OneOf(addresses.into_iter().collect::<Option<_>>()?))
            }
            Type::Number | Type::Any if numbers || field.kind() == Type::Number => {
                let mut whole = Vec::with_capacity(items.len());
                for item in items {
                    match item.value {
                        Value::Number(Number::Int(number)) => whole.push(number),
                        _ => {
                            return self.mismatch(
                                &item.span,
                                "this is not a whole number like its neighbours",
                                "write whole numbers only",
                            );
                        }
                    }
                }
                Test::NumberIn(whole.into())
            }
            Type::Score | Type::Bool => {
                let hint = "compare it by itself, for example with == or >";
                let message = format!(
                    "{field} is {}, and `in` takes texts, numbers or words",
                    field.kind().name()
                );
                return self.mismatch(&items.first()?.span, message, hint);
            }
            Type::Text | Type::Any | Type::Number => {
                let texts: Vec<_> = items.iter().map(|it| self.constant_text(&field, it, lower)).collect();
                let mut texts = texts.into_iter().collect::<Option<Vec<Box<str>>>>()?;
                texts.sort_unstable();
                texts.dedup();
                let texts = texts.into();
                Test::Text(if lower {
                    TextTest::Lower(LowerTest::OneOf(texts))
                } else {
                    TextTest::OneOf(texts)
                })
            }
        };
        Some(ConditionKind::Test(field, test))
    }
}

/// `test` on each of the first members of the list at `path`.
fn member_of(path: &[Box<str>], test: Test) -> ConditionKind {
    let member = |index: usize| Field::Raw(path.iter().cloned().chain([index.to_string().into()]).collect());
    let members = (0..limits::LIST_MEMBERS_MAX).map(member).collect();
    ConditionKind::Test(
        Field::Raw(path.into()),
        Test::Member {
            members,
            test: Box::new(test),
        },
    )
}
