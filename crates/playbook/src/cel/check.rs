//! From syntax to tests: names, functions, numbers of arguments and types are all settled here.

mod constant;
mod function;
mod list;
mod operand;

use std::ops::Range;

use staunch_model::Severity;

use super::Reporter;
use super::field::{Field, Type};
use super::parse::{Comparison, Syntax, SyntaxKind};
use super::test::{AddressTest, Condition, ConditionKind, Number, Test};
use operand::{Operand, Value};

/// Checks that `syntax` is a condition. `None` when a mistake was reported.
pub(crate) fn condition(syntax: &Syntax, reporter: &mut Reporter<'_, '_>) -> Option<Condition> {
    Checker { reporter }.condition(syntax)
}

/// Checks that `syntax` is a field. `None` when a mistake was reported.
pub(crate) fn field(syntax: &Syntax, reporter: &mut Reporter<'_, '_>) -> Option<Field> {
    let mut checker = Checker { reporter };
    match checker.operand(syntax)?.value {
        Value::Field {
            field,
            lower: false,
            size: false,
        } if !field.is_around() => Some(field),
        _ => {
            let hint = "write a field such as event.source.ip";
            checker
                .reporter
                .error_with_hint("P050", &syntax.span, "this is not a field of the event", hint);
            None
        }
    }
}

struct Checker<'c, 'r, 'a> {
    reporter: &'c mut Reporter<'r, 'a>,
}

impl Checker<'_, '_, '_> {
    fn condition(&mut self, syntax: &Syntax) -> Option<Condition> {
        let span = syntax.span.clone();
        let kind = match &syntax.kind {
            SyntaxKind::Bool(value) => ConditionKind::Constant(*value),
            SyntaxKind::And(operands) => ConditionKind::All(self.conditions(operands)?),
            SyntaxKind::Or(operands) => ConditionKind::Any(self.conditions(operands)?),
            SyntaxKind::Not(operand) => ConditionKind::Not(Box::new(self.condition(operand)?)),
            SyntaxKind::Compare(comparison, left, right) => {
                let (left, right) = (self.operand(left), self.operand(right));
                self.compare(*comparison, left?, right?, &span)?
            }
            SyntaxKind::In(left, right) => {
                let (left, right) = (self.operand(left), self.operand(right));
                self.contained(left?, right?)?
            }
            SyntaxKind::Has(path) => match self.operand(path)?.value {
                Value::Field { field, .. } => ConditionKind::Test(field, Test::Present),
                _ => return self.not_a_condition(syntax),
            },
            SyntaxKind::Call {
                receiver: Some(receiver),
                name,
                name_span,
                arguments,
            } if function::is_test(name) => self.function(receiver, name, name_span, arguments, &span)?,
            SyntaxKind::Path(_) => match self.operand(syntax)?.value {
                Value::Field { field, .. } if matches!(field.kind(), Type::Any | Type::Bool) => {
                    ConditionKind::Test(field, Test::Bool(true))
                }
                _ => return self.not_a_condition(syntax),
            },
            _ => {
                self.operand(syntax)?;
                return self.not_a_condition(syntax);
            }
        };
        Some(Condition { span, kind })
    }

    /// All operands, each checked even when another one is wrong.
    fn conditions(&mut self, operands: &[Syntax]) -> Option<Vec<Condition>> {
        let checked: Vec<_> = operands.iter().map(|it| self.condition(it)).collect();
        checked.into_iter().collect()
    }

    fn not_a_condition(&mut self, syntax: &Syntax) -> Option<Condition> {
        let hint = "compare it with something, for example with == or .contains(\"text\")";
        self.reporter
            .error_with_hint("P049", &syntax.span, "this is neither true nor false", hint);
        None
    }

    fn mismatch(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<ConditionKind> {
        self.reporter.error_with_hint("P046", span, message, hint);
        None
    }

    fn compare(
        &mut self,
        comparison: Comparison,
        left: Operand,
        right: Operand,
        span: &Range<usize>,
    ) -> Option<ConditionKind> {
        match (left.value, right.value) {
            (
                Value::Field { field, lower, size },
                Value::Field {
                    field: other,
                    lower: lower_other,
                    size: size_other,
                },
            ) => {
                if lower || size || lower_other || size_other {
                    let hint = "compare the result of a function with a constant";
                    return self.mismatch(span, "this is not supported between two fields", hint);
                }
                self.compare_fields(comparison, field, other, span)
            }
            (Value::Field { field, lower, size }, value) => self.compare_value(
                comparison,
                field,
                (lower, size),
                &Operand {
                    value,
                    span: right.span,
                },
                span,
            ),
            (value, Value::Field { field, lower, size }) => self.compare_value(
                comparison.flipped(),
                field,
                (lower, size),
                &Operand { value, span: left.span },
                span,
            ),
            (left, right) => self.fold(comparison, &left, &right, span),
        }
    }

    /// Two constants.
    fn fold(
        &mut self,
        comparison: Comparison,
        left: &Value,
        right: &Value,
        span: &Range<usize>,
    ) -> Option<ConditionKind> {
        let ordering = match (left, right) {
            (Value::Number(Number::Int(left)), Value::Number(Number::Int(right))) => Some(left.cmp(right)),
            (Value::Number(Number::Float(left)), Value::Number(Number::Float(right))) => left.partial_cmp(right),
            (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match ordering {
            Some(ordering) => Some(ConditionKind::Constant(comparison.holds(ordering))),
            None => self.mismatch(
                span,
                "neither side is a field of the event",
                "write a field such as event.severity on one side",
            ),
        }
    }

    fn compare_fields(
        &mut self,
        comparison: Comparison,
        left: Field,
        right: Field,
        span: &Range<usize>,
    ) -> Option<ConditionKind> {
        let fits = match (left.kind(), right.kind()) {
            (Type::Any, Type::Severity | Type::Kind) | (Type::Severity | Type::Kind, _) => false,
            // Scores are compared as whole thousandths.
            (Type::Score, _) | (_, Type::Score) => false,
            (left, right) => left == right || left == Type::Any || right == Type::Any,
        };
        if !fits {
            let message = format!("{} cannot be compared with {}", left.kind().name(), right.kind().name());
            return self.mismatch(span, message, "compare fields of the same type");
        }
        if left == right {
            return self.pointless(span, "a field is compared with itself");
        }
        self.only_equality(comparison, span, "two fields")?;
        Some(negate_if(
            comparison,
            span,
            ConditionKind::Test(left, Test::Same(right)),
        ))
    }

    fn compare_value(
        &mut self,
        comparison: Comparison,
        field: Field,
        (lower, size): (bool, bool),
        other: &Operand,
        span: &Range<usize>,
    ) -> Option<ConditionKind> {
        if size {
            let Value::Number(Number::Int(number)) = &other.value else {
                return self.mismatch(
                    &other.span,
                    "a size is compared with a whole number",
                    "write for example .size() > 10",
                );
            };
            return Some(ConditionKind::Test(field, Test::Size(comparison, *number)));
        }
        if matches!(other.value, Value::Null) {
            self.only_equality(comparison, span, "null")?;
            let present = ConditionKind::Test(field, Test::Present);
            return Some(negate_if(comparison.negated(), span, present));
        }
        let test = match field.kind() {
            Type::Severity => {
                let severity = self.severity(other)?;
                let passes = |it: &Severity| comparison.holds(it.cmp(&severity));
                return Some(ConditionKind::Test(
                    field,
                    Test::Severity(mask(Severity::ALL.iter().map(passes))),
                ));
            }
            Type::Number => match &other.value {
                Value::Number(number) => return Some(ConditionKind::Test(field, Test::Number(comparison, *number))),
                _ => {
                    return self.mismatch(
                        &other.span,
                        format!("{field} is a whole number"),
                        "write a number without quotes",
                    );
                }
            },
            Type::Score => {
                let thousandths = self.score(other)?;
                return Some(ConditionKind::Test(field, Test::Number(comparison, thousandths)));
            }
            Type::Bool => match &other.value {
                Value::Bool(value) => Test::Bool(*value),
                _ => {
                    return self.mismatch(
                        &other.span,
                        format!("{field} is true or false"),
                        "compare it with true or false, or write it alone",
                    );
                }
            },
            Type::Any => match &other.value {
                Value::Number(number) => return Some(ConditionKind::Test(field, Test::Number(comparison, *number))),
                Value::Bool(value) => Test::Bool(*value),
                _ => Test::Text(self.text_is(&field, other, lower)?),
            },
            Type::Kind => Test::Kind(self.kind_mask(other)?),
            Type::Text => Test::Text(self.text_is(&field, other, lower)?),
            Type::Address => Test::Address(AddressTest::Is(self.address(other)?)),
        };
        self.only_equality(comparison, span, field.kind().name())?;
        Some(negate_if(comparison, span, ConditionKind::Test(field, test)))
    }

    fn only_equality(&mut self, comparison: Comparison, span: &Range<usize>, what: &str) -> Option<()> {
        if matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            return Some(());
        }
        self.mismatch(
            span,
            format!("{what} can be compared with == and != only"),
            "severities and numbers have an order; nothing else has",
        );
        None
    }

    fn pointless(&mut self, span: &Range<usize>, message: &str) -> Option<ConditionKind> {
        let hint = "remove it, or compare with what was meant";
        self.reporter.error_with_hint("P052", span, message, hint);
        None
    }
}

fn negate_if(comparison: Comparison, span: &Range<usize>, kind: ConditionKind) -> ConditionKind {
    if comparison == Comparison::NotEqual {
        return ConditionKind::Not(Box::new(Condition {
            span: span.clone(),
            kind,
        }));
    }
    kind
}

/// The bits of what passes.
fn mask(passes: impl Iterator<Item = bool>) -> u8 {
    passes
        .enumerate()
        .fold(0, |mask, (bit, passes)| mask | u8::from(passes) << bit)
}
