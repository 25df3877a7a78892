//! A trigger explained to people, clause by clause.

use staunch_model::{Clause, ClauseKind, ClauseValue, EventView};

use super::field::Field;
use super::test::{Condition, ConditionKind, Test};

/// Explains `condition`, written in `text`, for `event`.
pub(crate) fn explain(condition: &Condition, text: &str, event: &EventView<'_>) -> Vec<Clause> {
    let mut clauses = Vec::new();
    match &condition.kind {
        ConditionKind::All(operands) => operands.iter().for_each(|it| add(it, text, event, 0, &mut clauses)),
        _ => add(condition, text, event, 0, &mut clauses),
    }
    clauses
}

fn add(condition: &Condition, text: &str, event: &EventView<'_>, depth: usize, clauses: &mut Vec<Clause>) {
    let written = text.get(condition.span.clone()).unwrap_or(text);
    let written = written.split_whitespace().collect::<Vec<_>>().join(" ");
    let inner: &[Condition] = match &condition.kind {
        ConditionKind::All(inner) | ConditionKind::Any(inner) => inner,
        ConditionKind::Not(inner) if inner.span != condition.span => std::slice::from_ref(inner),
        _ => &[],
    };
    let reason = if inner.is_empty() {
        reason(condition, event)
    } else {
        String::new()
    };
    let kind = match &condition.kind {
        _ if inner.is_empty() => ClauseKind::Test,
        ConditionKind::All(_) => ClauseKind::All,
        ConditionKind::Any(_) => ClauseKind::Any,
        _ => ClauseKind::Not,
    };
    clauses.push(Clause {
        depth,
        kind,
        text: written,
        value: ClauseValue::of(value(condition, event)),
        reason,
    });
    for it in inner {
        add(it, text, event, depth + 1, clauses);
    }
}

/// The value of `condition` by the rules of three-valued logic.
pub(crate) fn value(condition: &Condition, event: &EventView<'_>) -> Option<bool> {
    match &condition.kind {
        ConditionKind::Constant(value) => Some(*value),
        ConditionKind::Not(inner) => value(inner, event).map(|value| !value),
        ConditionKind::All(inner) => join(inner, event, false),
        ConditionKind::Any(inner) => join(inner, event, true),
        ConditionKind::Test(field, test) => test.value(field, event),
    }
}

/// `decides` when one operand is, else unknown when one is, else the opposite.
fn join(conditions: &[Condition], event: &EventView<'_>, decides: bool) -> Option<bool> {
    let mut result = Some(!decides);
    for condition in conditions {
        match value(condition, event) {
            Some(value) if value == decides => return Some(decides),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn reason(condition: &Condition, event: &EventView<'_>) -> String {
    match &condition.kind {
        ConditionKind::Constant(_) => "always so".to_owned(),
        ConditionKind::Not(inner) => reason(inner, event),
        ConditionKind::Test(field, Test::Same(other)) => format!("{}, {}", field.show(event), other.show(event)),
        ConditionKind::Test(field @ Field::Raw(_), test @ Test::Member { .. }) => match test.value(field, event) {
            Some(true) => format!("{}, and it is among them", field.show(event)),
            _ => field.show(event),
        },
        ConditionKind::Test(field, test) if test.value(field, event).is_none() && field.is_present(event) => {
            format!("{}, which this test cannot be made on", field.show(event))
        }
        ConditionKind::Test(field, _) => field.show(event),
        ConditionKind::All(_) | ConditionKind::Any(_) => String::new(),
    }
}
