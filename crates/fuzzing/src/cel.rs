//! Expressions: an expression on the first line, an event as JSON on the others.
//!
//! What holds: a trigger fires exactly when every clause that is explained to people is true; an unknown clause never
//! fires; what a trigger is said to have looked at is so in the event; what is the key of an incident and what an act
//! is aimed at are the same, where the same expression makes both; targets are canonical.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use staunch_connectors::json::Document;
use staunch_model::{
    ClauseValue, Endpoint, EventKind, EventView, FieldValue, NothingKnown, RawFields, Severity, Target,
};
use staunch_playbook::{CheckContext, Compiled, Seen, SeenField, SeenTest, compile};

use crate::playbook::assert_diagnostics;
use crate::shown::assert_line;

/// Compiles an expression as a trigger and as a target, and runs both.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(expression) = std::str::from_utf8(&data[..end]) else {
        return;
    };
    let document = Document::parse(data.get(end + 1..).unwrap_or_default()).ok();
    let nothing = Document::parse(b"{}").expect("an event");
    let document = document.as_ref().unwrap_or(&nothing);
    for text in [trigger(expression), target(expression)] {
        match compile("fuzz.yaml", &text, &CheckContext::default()) {
            Err(found) => {
                assert!(!found.is_empty());
                assert_diagnostics(&found, &text);
            }
            Ok(compiled) => {
                assert_diagnostics(&compiled.warnings, &text);
                for severity in [Severity::Unknown, Severity::High] {
                    assert_runs(&compiled, &alert(document, severity));
                }
                assert_runs(&compiled, &bare(document));
                for event in [alert(document, Severity::High), bare(document)] {
                    assert_one(&compiled, &event);
                }
            }
        }
    }
}

/// A playbook with `when` as its trigger.
fn trigger(when: &str) -> String {
    format!(
        "playbook: fuzz\nsummary: An example.\ntrigger:\n  sources: [suricata, falco]\n  when: |2-\n    {when}\n  \
         incident: event.source.ip\ncontain:\n  - block-ip: {{ target: event.source.ip, lease: 1h }}\n"
    )
}

/// A playbook with `value` as its incident and as its target.
fn target(value: &str) -> String {
    format!(
        "playbook: fuzz\nsummary: An example.\ntrigger:\n  sources: [suricata, falco]\n  when: event.severity >= high\n  \
         incident: |2-\n    {value}\ncontain:\n  - block-ip:\n      target: |2-\n        {value}\n      lease: 1h\n"
    )
}

/// An alert with most fields, and `raw` as what the source sent.
pub(crate) fn alert<'a>(raw: &'a dyn RawFields, severity: Severity) -> EventView<'a> {
    EventView {
        system: "suricata",
        kind: EventKind::Alert,
        id: Some("e1"),
        time: None,
        severity,
        signature: "ET SCAN SSH Brute Force login",
        category: "Attempted Login",
        source: Endpoint {
            ip: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))),
            port: Some(40_000),
        },
        destination: Endpoint {
            ip: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5))),
            port: Some(22),
        },
        user: Some("root"),
        host: Some("web-1"),
        raw,
        around: &NothingKnown,
    }
}

/// An event that says nothing but what the source sent.
fn bare(raw: &dyn RawFields) -> EventView<'_> {
    EventView {
        id: None,
        signature: "",
        category: "",
        source: Endpoint::default(),
        destination: Endpoint::default(),
        user: None,
        host: None,
        ..alert(raw, Severity::Unknown)
    }
}

/// Runs every expression of `compiled` on `event`.
pub(crate) fn assert_runs(compiled: &Compiled, event: &EventView<'_>) {
    let program = &compiled.program;
    let fires = (program.when)(event);
    let explanation = (program.explain)(event);
    let clauses = explanation.clauses;
    assert_line(&explanation.key);
    assert!(!clauses.is_empty());
    let outermost = clauses.iter().filter(|clause| clause.depth == 0);
    let all_true = outermost.clone().all(|clause| clause.value == ClauseValue::True);
    assert_eq!(fires, all_true, "what is explained is what happens: {clauses:?}");
    if fires {
        let looked = compiled.looked.at(event);
        for seen in &looked.all {
            assert!(holds(seen, event, false) != Some(false), "it is said to hold: {seen:?}");
        }
        for seen in &looked.none {
            assert!(
                holds(seen, event, true) != Some(true),
                "it is said not to hold: {seen:?}"
            );
        }
    }
    for clause in &clauses {
        assert_line(&clause.text);
        assert_line(&clause.reason);
    }
    for target in &program.targets {
        let found = target(event);
        if let Some(Target::Address(ip)) = found {
            assert_eq!(ip, ip.to_canonical(), "an IPv4 address in IPv6 is an IPv4 address");
        }
    }
}

/// Where one expression makes the key of the incident and the target of the act, both are the same address.
fn assert_one(compiled: &Compiled, event: &EventView<'_>) {
    let key = (compiled.program.incident)(event);
    for target in &compiled.program.targets {
        if let (Some(key), Some(Target::Address(ip))) = (&key, target(event)) {
            let of_key = key.to_string().parse::<IpAddr>().map(|it| it.to_canonical());
            assert_eq!(of_key, Ok(ip), "the incident is of somebody else");
        }
    }
}

/// Whether a test that a trigger is said to have made holds, by this second reading of it; `None` where this does not
/// say: a regular expression, and what is no text, number or truth value. Some triggers make letters small, and numbers
/// are rounded here: with `is_cased` it says so only when it holds without that.
fn holds(seen: &Seen, event: &EventView<'_>, is_cased: bool) -> Option<bool> {
    let found = match &seen.field {
        SeenField::Decoded { value, .. } => Some(value.clone()),
        SeenField::Raw(path) => {
            let path: Vec<Box<str>> = path.iter().map(|it| it.as_str().into()).collect();
            match event.raw.field(&path) {
                None => None,
                Some(FieldValue::Text(text)) => Some(text.to_owned()),
                Some(FieldValue::Int(number)) => Some(number.to_string()),
                Some(FieldValue::UInt(number)) => Some(number.to_string()),
                Some(FieldValue::Bool(truth)) => Some(truth.to_string()),
                Some(_) if matches!(seen.test, SeenTest::Present) => return Some(true),
                Some(_) => return None,
            }
        }
    };
    let Some(found) = found else { return Some(false) };
    let same = |text: &str| if is_cased { text.to_owned() } else { text.to_lowercase() };
    let mine = same(&found);
    let any = |texts: &[String], holds: &dyn Fn(&str) -> bool| Some(texts.iter().any(|it| holds(&same(it))));
    match &seen.test {
        SeenTest::Equals(texts) => {
            let ip = found.parse::<IpAddr>().ok().map(|it| it.to_canonical());
            let number = found.parse::<f64>().ok();
            any(texts, &|it| {
                mine == it
                    || (ip.is_some() && it.parse().ok().map(|it: IpAddr| it.to_canonical()) == ip)
                    || (!is_cased && number.is_some() && it.parse::<f64>().ok() == number)
            })
        }
        SeenTest::Contains(texts) => any(texts, &|it| mine.contains(it)),
        SeenTest::StartsWith(texts) => any(texts, &|it| mine.starts_with(it)),
        SeenTest::EndsWith(texts) => any(texts, &|it| mine.ends_with(it)),
        SeenTest::Matches(_) => None,
        SeenTest::InNetwork(networks) => {
            let ip = found.parse::<IpAddr>().ok()?.to_canonical();
            any(networks, &|it| {
                it.parse::<IpNet>().is_ok_and(|network| network.contains(&ip))
            })
        }
        SeenTest::Number(word, bound) => {
            let (number, bound): (f64, f64) = (found.parse().ok()?, bound.parse().ok()?);
            Some(match *word {
                // Whole numbers beyond 2^53 are rounded here: then either may be.
                "lt" | "lte" if is_cased => number < bound,
                "gt" | "gte" if is_cased => number > bound,
                "lt" | "lte" => number <= bound,
                "gt" | "gte" => number >= bound,
                other => panic!("{other} is no comparison"),
            })
        }
        SeenTest::Present => Some(true),
    }
}
