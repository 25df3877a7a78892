//! From tests to closures.
//!
//! A condition is true, false or unknown, and a trigger fires only when it is true. So each condition becomes one of
//! two closures, "is true" or "is false", and `!` exchanges them: nothing three-valued is left at run time, and unknown
//! is what neither closure says.

use std::sync::Arc;

use staunch_model::{
    Aim, Event, EventView, Extractor, FieldValue, JobTarget, Predicate, Process, Target, TargetExtractor,
};

use super::field::{Field, Type};
use super::test::{AddressTest, Condition, ConditionKind, LowerTest, Test, TextTest};

type Closure = Box<dyn Fn(&EventView<'_>) -> bool + Send + Sync>;

/// The condition as a closure that says whether it is true.
pub(crate) fn predicate(condition: &Condition) -> Predicate {
    Arc::from(closure(condition, true))
}

/// The fields as a text: the key of an incident. `None` where one of them has no value.
pub(crate) fn extractor(fields: Box<[Field]>) -> Extractor {
    Arc::new(move |event| match &*fields {
        [field] => value_text(field, event),
        fields => {
            let parts: Option<Vec<String>> = fields.iter().map(|it| Some(part(&value_text(it, event)?))).collect();
            Some(parts?.join(BETWEEN_PARTS))
        }
    })
}

/// Stands between the values of several fields.
const BETWEEN_PARTS: &str = "|";

/// A value that stands beside others: no text of an attacker makes two keys of one, or one of two.
fn part(value: &str) -> String {
    value.replace('\\', "\\\\").replace(BETWEEN_PARTS, "\\|")
}

/// The field as a text. Long texts are cut like those of kept events.
fn value_text(field: &Field, event: &EventView<'_>) -> Option<String> {
    let text = match field.kind() {
        Type::Address => field.address(event)?.to_string(),
        Type::Number => match field.value(event)? {
            FieldValue::Int(number) => number.to_string(),
            _ => return None,
        },
        _ => match (field.text(event), field.value(event)) {
            (Some(text), _) if !text.is_empty() => staunch_model::text::clip(text, Event::TEXT_BYTES_MAX).to_owned(),
            (None, Some(FieldValue::Int(number))) => number.to_string(),
            (None, Some(FieldValue::UInt(number))) => number.to_string(),
            _ => return None,
        },
    };
    Some(text)
}

/// The field as the target of an act.
pub(crate) fn target(field: Field, aim: Aim) -> TargetExtractor {
    match aim {
        Aim::Address => Arc::new(move |event| field.address(event).map(|ip| Target::Address(ip.to_canonical()))),
        Aim::Account => named(field, Target::Account),
        Aim::Host => named(field, Target::Host),
        Aim::Domain => named(field, Target::Domain),
        // Which one is for the step to say: see `job`.
        Aim::Job => Arc::new(|_| None),
        // Which process has the number is for the machine to say.
        Aim::Process => Arc::new(move |event| {
            process_number(&field, event)
                .map(Process::unidentified)
                .map(Target::Process)
        }),
    }
}

/// The job of this name, about the field where there is one. A text that cannot be a subject is no target.
pub(crate) fn job(name: &str, field: Option<Field>) -> TargetExtractor {
    let name: Box<str> = name.into();
    let Some(field) = field else {
        return Arc::new(move |_| JobTarget::new(&name, "").map(Target::Job));
    };
    let subject = extractor([field].into());
    // What was to be named and is not is never taken for the machine as a whole.
    Arc::new(move |event| {
        let subject = subject(event).filter(|it| !it.is_empty())?;
        JobTarget::new(&name, &subject).map(Target::Job)
    })
}

/// The name that the field holds, when it is one.
fn named<N: std::str::FromStr + 'static>(field: Field, target: fn(N) -> Target) -> TargetExtractor {
    Arc::new(move |event| field.text(event)?.parse().ok().map(target))
}

/// The number of a process: a whole number, or a text that is one. 0 is none.
fn process_number(field: &Field, event: &EventView<'_>) -> Option<u32> {
    let number = match field.value(event)? {
        FieldValue::Int(number) => u32::try_from(number).ok(),
        FieldValue::UInt(number) => u32::try_from(number).ok(),
        FieldValue::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number.filter(|number| *number != 0)
}

/// A closure that says whether `condition` is `want`; false when that is unknown.
fn closure(condition: &Condition, want: bool) -> Closure {
    match (&condition.kind, want) {
        (ConditionKind::Constant(value), _) => {
            let holds = *value == want;
            Box::new(move |_| holds)
        }
        (ConditionKind::Not(inner), _) => closure(inner, !want),
        (ConditionKind::All(_), true) | (ConditionKind::Any(_), false) => all(&operands(condition), want),
        (ConditionKind::Any(_), true) | (ConditionKind::All(_), false) => any(&operands(condition), want),
        (ConditionKind::Test(field, test), _) => leaf(field, test, want),
    }
}

/// The operands of `&&` or `||`, with those of the same operator in their places: a condition that is named runs as if
/// it were written where its name is.
fn operands(condition: &Condition) -> Vec<&Condition> {
    fn add<'c>(of: &'c Condition, conjunction: bool, found: &mut Vec<&'c Condition>) {
        match &of.kind {
            ConditionKind::All(inner) if conjunction || inner.len() == 1 => {
                inner.iter().for_each(|it| add(it, conjunction, found));
            }
            ConditionKind::Any(inner) if !conjunction || inner.len() == 1 => {
                inner.iter().for_each(|it| add(it, conjunction, found));
            }
            _ => found.push(of),
        }
    }
    let mut found = Vec::new();
    add(condition, matches!(condition.kind, ConditionKind::All(_)), &mut found);
    found
}

fn all(conditions: &[&Condition], want: bool) -> Closure {
    let mut closures: Vec<Closure> = conditions.iter().map(|it| closure(it, want)).collect();
    match (closures.pop(), closures.pop(), closures.is_empty()) {
        (Some(last), None, _) => last,
        (Some(second), Some(first), true) => Box::new(move |event| first(event) && second(event)),
        (last, before, _) => {
            closures.extend(before);
            closures.extend(last);
            let closures = closures.into_boxed_slice();
            Box::new(move |event| closures.iter().all(|it| it(event)))
        }
    }
}

fn any(conditions: &[&Condition], want: bool) -> Closure {
    let mut closures: Vec<Closure> = conditions.iter().map(|it| closure(it, want)).collect();
    if closures.len() == 1
        && let Some(only) = closures.pop()
    {
        return only;
    }
    let closures = closures.into_boxed_slice();
    Box::new(move |event| closures.iter().any(|it| it(event)))
}

fn leaf(field: &Field, test: &Test, want: bool) -> Closure {
    match test.clone() {
        Test::Severity(mask) => {
            let mask = if want { mask } else { !mask };
            Box::new(move |event| mask & (1 << event.severity as u8) != 0)
        }
        Test::Text(test) => text(field.clone(), test, want),
        Test::Address(test) => address(field.clone(), test, want),
        test => {
            let field = field.clone();
            Box::new(move |event| test.value(&field, event) == Some(want))
        }
    }
}

/// One closure for each kind of test, so that the test itself is not looked up at run time.
fn text(field: Field, test: TextTest, want: bool) -> Closure {
    match test {
        TextTest::Is(expect) => on_text(field, want, move |text| text == &*expect),
        TextTest::Contains(finder) => on_text(field, want, move |text| finder.find(text.as_bytes()).is_some()),
        TextTest::StartsWith(start) => on_text(field, want, move |text| text.starts_with(&*start)),
        TextTest::EndsWith(end) => on_text(field, want, move |text| text.ends_with(&*end)),
        TextTest::Matches(regex) => on_text(field, want, move |text| regex.is_match(text)),
        TextTest::Lower(LowerTest::Contains(finder)) => on_text(field, want, move |text| finder.is_in(text.as_bytes())),
        test @ (TextTest::OneOf(_) | TextTest::Lower(_)) => on_text(field, want, move |text| test.holds(text)),
    }
}

/// One closure for each of the fields that triggers look at most.
fn on_text(field: Field, want: bool, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Closure {
    match field {
        Field::Signature => Box::new(move |event| !event.signature.is_empty() && test(event.signature) == want),
        Field::Category => Box::new(move |event| !event.category.is_empty() && test(event.category) == want),
        Field::Raw(path) => {
            Box::new(move |event| matches!(event.raw.field(&path), Some(FieldValue::Text(text)) if test(text) == want))
        }
        field => Box::new(move |event| field.text(event).is_some_and(|text| test(text) == want)),
    }
}

fn address(field: Field, test: AddressTest, want: bool) -> Closure {
    match field {
        Field::SourceIp => Box::new(move |event| event.source.ip.is_some_and(|ip| test.holds(ip) == want)),
        field => Box::new(move |event| field.address(event).is_some_and(|ip| test.holds(ip) == want)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_several_fields_are_told_apart() {
        let key = |parts: [&str; 2]| parts.map(part).join(BETWEEN_PARTS);
        let keys = [
            ["a|b", "c"],
            ["a", "b|c"],
            ["a\\", "b|c"],
            ["a\\|b", "c"],
            ["a\\\\", "b|c"],
        ]
        .map(key);
        for (at, one) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(one), "{keys:?}");
        }
        assert_eq!(key(["web-1", "4242"]), "web-1|4242");
    }
}
