//! Triggers that can never match, or that always do.
//!
//! Sound and simple: every combination of severity, kind of event and configured source is tried, with all other tests
//! taken as open; and within each `&&`, what is said of one number or one text must be possible at once. Whatever this
//! does not see is taken as possible.

use staunch_model::{EventKind, Severity};

use super::field::Field;
use super::parse::Comparison;
use super::test::{Condition, ConditionKind, KINDS, Number, Test, TextTest};

/// What can be said of a trigger without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// No event makes it true.
    Never,
    /// Every event makes it true.
    Always,
    /// It depends.
    Sometimes,
}

/// Looks at a trigger of a playbook for events of `systems`.
pub(crate) fn find(condition: &Condition, systems: &[&str]) -> Finding {
    let tree = normal(condition, true);
    // Samples are never triaged, so no trigger sees one.
    let kinds = KINDS.iter().filter(|kind| **kind != EventKind::Sample);
    let mut all = Possible {
        true_: false,
        other: false,
    };
    for kind in kinds {
        for severity in Severity::ALL {
            for system in systems {
                let known = Known {
                    severity,
                    kind: *kind,
                    system,
                };
                let possible = tree.possible(&known);
                all = Possible {
                    true_: all.true_ | possible.true_,
                    other: all.other | possible.other,
                };
            }
        }
    }
    match (all.true_, all.other) {
        (false, _) => Finding::Never,
        (true, false) => Finding::Always,
        (true, true) => Finding::Sometimes,
    }
}

/// What one combination fixes.
struct Known<'a> {
    severity: Severity,
    kind: EventKind,
    system: &'a str,
}

/// Which values are possible: true, or something else (false or unknown).
#[derive(Clone, Copy)]
struct Possible {
    true_: bool,
    other: bool,
}

/// A condition whose negations stand at the tests only.
enum Normal<'c> {
    Constant(bool),
    All {
        operands: Vec<Normal<'c>>,
        contradicts: bool,
    },
    Any(Vec<Normal<'c>>),
    Test {
        field: &'c Field,
        test: &'c Test,
        want: bool,
    },
}

fn normal(condition: &Condition, want: bool) -> Normal<'_> {
    match (&condition.kind, want) {
        (ConditionKind::Constant(value), _) => Normal::Constant(*value == want),
        (ConditionKind::Not(inner), _) => normal(inner, !want),
        (ConditionKind::All(inner), true) | (ConditionKind::Any(inner), false) => {
            // What stands in an inner `&&` holds together with what stands here.
            let flat = |it| match normal(it, want) {
                Normal::All { operands, .. } => operands,
                other => vec![other],
            };
            let operands: Vec<_> = inner.iter().flat_map(flat).collect();
            let contradicts = contradict(&operands);
            Normal::All { operands, contradicts }
        }
        (ConditionKind::Any(inner), true) | (ConditionKind::All(inner), false) => {
            Normal::Any(inner.iter().map(|it| normal(it, want)).collect())
        }
        (ConditionKind::Test(field, test), _) => {
            let test = Normal::Test { field, test, want };
            if contradict(std::slice::from_ref(&test)) {
                Normal::Constant(false)
            } else {
                test
            }
        }
    }
}

impl Normal<'_> {
    fn possible(&self, known: &Known<'_>) -> Possible {
        let exactly = |value: bool| Possible {
            true_: value,
            other: !value,
        };
        match self {
            Self::Constant(value) => exactly(*value),
            Self::All { operands, contradicts } => {
                let parts = || operands.iter().map(|it| it.possible(known));
                Possible {
                    true_: !contradicts && parts().all(|it| it.true_),
                    other: *contradicts || parts().any(|it| it.other),
                }
            }
            Self::Any(operands) => {
                let parts = || operands.iter().map(|it| it.possible(known));
                Possible {
                    true_: parts().any(|it| it.true_),
                    other: parts().all(|it| it.other),
                }
            }
            Self::Test { field, test, want } => match (field, test) {
                (_, Test::Severity(mask)) => exactly((mask & (1 << known.severity as u8) != 0) == *want),
                (_, Test::Kind(mask)) => {
                    let bit = KINDS.iter().position(|kind| *kind == known.kind).unwrap_or_default();
                    exactly((mask & (1 << bit) != 0) == *want)
                }
                (Field::System, Test::Text(test)) => exactly(test.holds(known.system) == *want),
                (Field::System | Field::Kind | Field::Severity, Test::Present) => exactly(*want),
                _ => Possible {
                    true_: true,
                    other: true,
                },
            },
        }
    }
}

/// True when two operands of an `&&` cannot be true at once.
fn contradict(operands: &[Normal<'_>]) -> bool {
    operands.iter().enumerate().any(|(at, operand)| {
        let Normal::Test { field, .. } = operand else {
            return false;
        };
        let same = |it: &&Normal<'_>| matches!(it, Normal::Test { field: other, .. } if other == field);
        // Each field is looked at once, at its first test.
        if operands[..at].iter().any(|it| same(&it)) {
            return false;
        }
        let tests: Vec<_> = operands.iter().filter(same).collect();
        numbers_exclude(&tests, is_port(field)) || texts_exclude(&tests) || presence_excludes(&tests)
    })
}

const fn is_port(field: &Field) -> bool {
    matches!(field, Field::SourcePort | Field::DestinationPort)
}

/// Whether no whole number passes all tests on numbers.
fn numbers_exclude(tests: &[&Normal<'_>], port: bool) -> bool {
    let (mut least, mut most) = if port {
        (0, i128::from(u16::MAX))
    } else {
        (i128::MIN, i128::MAX)
    };
    let mut lists: Vec<(&[i128], bool)> = Vec::new();
    let mut differs = Vec::new();
    let mut any = false;
    for test in tests {
        let Normal::Test { test, want, .. } = test else {
            continue;
        };
        match test {
            Test::Number(comparison, Number::Int(number)) => {
                any = true;
                match if *want { *comparison } else { comparison.negated() } {
                    Comparison::Equal => (least, most) = (least.max(*number), most.min(*number)),
                    Comparison::NotEqual => differs.push(*number),
                    Comparison::Less => most = most.min(number.saturating_sub(1)),
                    Comparison::LessOrEqual => most = most.min(*number),
                    Comparison::Greater => least = least.max(number.saturating_add(1)),
                    Comparison::GreaterOrEqual => least = least.max(*number),
                }
            }
            Test::NumberIn(numbers) => {
                any = true;
                lists.push((numbers, *want));
            }
            _ => {}
        }
    }
    let passes = |number: i128| {
        (least..=most).contains(&number)
            && !differs.contains(&number)
            && lists.iter().all(|(numbers, want)| numbers.contains(&number) == *want)
    };
    let listed = lists.iter().find(|(_, want)| *want);
    match listed {
        Some((numbers, _)) => !numbers.iter().any(|number| passes(*number)),
        None => any && (least > most || (least == most && !passes(least))),
    }
}

/// Whether no text passes all tests, when at least one names the texts that pass.
fn texts_exclude(tests: &[&Normal<'_>]) -> bool {
    let texts = || {
        tests.iter().filter_map(|test| match test {
            Normal::Test {
                test: Test::Text(test),
                want,
                ..
            } => Some((test, *want)),
            _ => None,
        })
    };
    let passes = |text: &str| texts().all(|(test, want)| test.holds(text) == want);
    texts().any(|(test, want)| match (test, want) {
        (TextTest::Is(text), true) => !passes(text),
        (TextTest::OneOf(list), true) => !list.iter().any(|text| passes(text)),
        _ => false,
    })
}

/// Whether the field must be missing and have a value at once.
fn presence_excludes(tests: &[&Normal<'_>]) -> bool {
    let absent = tests.iter().any(|test| {
        matches!(
            test,
            Normal::Test {
                test: Test::Present,
                want: false,
                ..
            }
        )
    });
    absent
        && tests.iter().any(|test| {
            !matches!(
                test,
                Normal::Test {
                    test: Test::Present,
                    want: false,
                    ..
                }
            )
        })
}
