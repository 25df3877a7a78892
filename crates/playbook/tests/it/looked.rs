//! What a trigger looked at in an event, for rules in other languages.

use staunch_playbook::{Looked, SeenField, SeenTest};

use crate::event::{alert, raw};
use crate::{check, playbook};

/// What the trigger `when` looked at, a line each.
fn looked(when: &str) -> Vec<String> {
    let compiled = check(&playbook(when)).unwrap_or_else(|found| panic!("{when}: {found:?}"));
    let raw = raw();
    let event = alert(&raw);
    assert!((compiled.program.when)(&event), "{when} holds");
    let Looked { all, none, left_out } = compiled.looked.at(&event);
    let shown = |(word, seen): (&str, staunch_playbook::Seen)| {
        let field = match &seen.field {
            SeenField::Decoded { name, value } => format!("{name} ({value})"),
            SeenField::Raw(path) => path.join("/"),
        };
        match &seen.test {
            SeenTest::Number(how, number) => format!("{word} {field} {how} {number}"),
            other => format!("{word} {field} {other:?}"),
        }
    };
    let all = all.into_iter().map(|it| ("+", it));
    let seen = all.chain(none.into_iter().map(|it| ("-", it))).map(shown);
    seen.chain(left_out.into_iter().map(|it| format!("? {it}"))).collect()
}

#[test]
fn every_test_of_a_field_is_told_and_what_no_rule_can_say_by_its_text() {
    assert_eq!(
        looked(r#"event.severity >= high && event.signature.contains("Brute Force") && event.destination.port == 22"#),
        [
            r#"+ event.signature (ET SCAN SSH Brute Force login) Contains(["Brute Force"])"#,
            r#"+ event.destination.port (22) Equals(["22"])"#,
            "? event.severity >= high",
        ]
    );
    assert_eq!(
        looked(
            r#"!event.signature.startsWith("GPL") && event.source.ip != "192.0.2.1" && event.host in ["web-1", "b"]"#
        ),
        [
            r#"+ event.host (web-1) Equals(["b", "web-1"])"#,
            r#"- event.signature (ET SCAN SSH Brute Force login) StartsWith(["GPL"])"#,
            r#"- event.source.ip (203.0.113.7) Equals(["192.0.2.1"])"#,
        ]
    );
}

#[test]
fn of_alternatives_those_are_told_that_hold_with_their_like() {
    let when = r#"event.user == "root" || event.signature.lowerAscii().contains("bruteforce")
        || event.signature.lowerAscii().contains("brute force") || event.category.contains("Login")"#;
    assert_eq!(
        looked(when),
        [r#"+ event.signature (ET SCAN SSH Brute Force login) Contains(["brute force", "bruteforce"])"#]
    );
    let nothing_of_the_event = r#"has(event.signature) && (event.severity >= high || geo.source.country == "DE")"#;
    let found = looked(nothing_of_the_event);
    assert!(found.contains(&"? event.severity >= high".to_owned()), "{found:?}");
}
