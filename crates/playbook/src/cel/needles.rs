//! What must stand in an event for a condition to be true: texts that triage can look for in one pass for all
//! playbooks.
//!
//! Never says that a condition is true, only that it cannot be.

use staunch_model::Needles;

use super::field::Field;
use super::test::{Condition, ConditionKind, LowerTest, Test, TextTest};

/// Texts of which an event has at least one whenever `condition` is true; `None` when nothing of the kind is known.
pub(crate) fn needles(condition: &Condition) -> Option<Needles> {
    find(condition, true)
}

/// The texts of which an event has at least one whenever `condition` is `want`.
fn find(condition: &Condition, want: bool) -> Option<Needles> {
    match (&condition.kind, want) {
        (ConditionKind::Constant(value), _) => (*value != want).then(Needles::default),
        (ConditionKind::Not(inner), _) => find(inner, !want),
        // Each part must hold, so each part's texts would do; the longest tell the most.
        (ConditionKind::All(parts), true) | (ConditionKind::Any(parts), false) => {
            let known = parts.iter().filter_map(|part| find(part, want));
            known.max_by_key(|needles| all(needles).map(str::len).min().unwrap_or(usize::MAX))
        }
        (ConditionKind::Any(parts), true) | (ConditionKind::All(parts), false) => {
            let mut together = Needles::default();
            for part in parts {
                let mut needles = find(part, want)?;
                together.signature.append(&mut needles.signature);
                together.category.append(&mut needles.category);
            }
            Some(together)
        }
        (ConditionKind::Test(field, Test::Text(test)), true) => {
            let mut needles = Needles::default();
            match field {
                Field::Signature => needles.signature = of_text(test)?,
                Field::Category => needles.category = of_text(test)?,
                _ => return None,
            }
            // An empty text is in every text.
            let tells = all(&needles).all(|it| !it.is_empty());
            tells.then_some(needles)
        }
        (ConditionKind::Test(..), _) => None,
    }
}

fn all(needles: &Needles) -> impl Iterator<Item = &str> {
    needles.signature.iter().chain(&needles.category).map(AsRef::as_ref)
}

fn of_text(test: &TextTest) -> Option<Vec<Box<str>>> {
    let one = |text: &[u8]| std::str::from_utf8(text).ok().map(|text| vec![text.into()]);
    match test {
        TextTest::Contains(finder) => one(finder.needle()),
        TextTest::Lower(LowerTest::Contains(finder)) => one(finder.needle()),
        TextTest::Is(text) | TextTest::StartsWith(text) | TextTest::EndsWith(text) => Some(vec![text.clone()]),
        TextTest::Lower(LowerTest::Is(text) | LowerTest::StartsWith(text) | LowerTest::EndsWith(text)) => {
            Some(vec![text.clone()])
        }
        TextTest::OneOf(texts) | TextTest::Lower(LowerTest::OneOf(texts)) => Some(texts.to_vec()),
        TextTest::Matches(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of a trigger: the texts for the signature, then those for the category.
    fn check(when: &str, expect: Option<(&[&str], &[&str])>) {
        let text = format!(
            "playbook: a\nsummary: A.\ntrigger:\n  sources: [suricata]\n  when: '{when}'\n  incident: event.source.ip\n\
             contain:\n  - block-ip: {{ target: event.source.ip, lease: 1h }}\nmode: {{ low: enforce }}\n"
        );
        let compiled = crate::compile("a.yaml", &text, &crate::CheckContext::default()).expect("it is a playbook");
        let boxed = |texts: &[&str]| texts.iter().map(|it| Box::from(*it)).collect();
        let expect = expect.map(|(signature, category)| Needles {
            signature: boxed(signature),
            category: boxed(category),
        });
        assert_eq!(compiled.program.needles, expect, "{when}");
    }

    #[test]
    fn the_texts_that_a_trigger_cannot_do_without_are_found() {
        check(
            r#"event.severity >= high && event.signature.contains("abc")"#,
            Some((&["abc"], &[])),
        );
        check(
            r#"event.signature.contains("ab") && event.category.startsWith("abc")"#,
            Some((&[], &["abc"])),
        );
        check(
            r#"event.signature.lowerAscii().contains("a") || event.category in ["b", "c"]"#,
            Some((&["a"], &["b", "c"])),
        );
        check(
            r#"!(event.signature != "a" && !event.signature.endsWith("b"))"#,
            Some((&["a", "b"], &[])),
        );
    }

    #[test]
    fn nothing_is_said_where_a_trigger_may_hold_without_any() {
        for when in [
            r#"event.severity >= high"#,
            r#"!event.signature.contains("a")"#,
            r#"event.signature.contains("a") || event.severity >= high"#,
            r#"event.signature.contains("a") || event.host == "h""#,
            r#"event.signature.matches("a+")"#,
            r#"event.host.contains("a")"#,
        ] {
            check(when, None);
        }
    }
}
