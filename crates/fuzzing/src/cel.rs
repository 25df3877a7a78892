//! Expressions: an expression on the first line, an event as JSON on the others.
//!
//! What holds: a trigger fires exactly when every clause that is explained to people is true; an unknown clause never
//! fires; the same event always gives the same answer; keys and targets are as the event has them, and canonical.

use std::net::{IpAddr, Ipv4Addr};

use staunch_connectors::json::Document;
use staunch_model::{ClauseValue, Endpoint, EventKind, EventView, NothingKnown, RawFields, Severity, Target};
use staunch_playbook::{CheckContext, Compiled, compile};

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
    assert_eq!((program.when)(event), fires);
    let explanation = (program.explain)(event);
    let clauses = explanation.clauses;
    assert_line(&explanation.key);
    assert!(!clauses.is_empty());
    let outermost = clauses.iter().filter(|clause| clause.depth == 0);
    let all_true = outermost.clone().all(|clause| clause.value == ClauseValue::True);
    assert_eq!(fires, all_true, "what is explained is what happens: {clauses:?}");
    if fires {
        assert_eq!(compiled.looked.at(event), compiled.looked.at(event));
    }
    for clause in &clauses {
        assert_line(&clause.text);
        assert_line(&clause.reason);
    }
    assert_eq!((program.incident)(event), (program.incident)(event));
    for target in &program.targets {
        let found = target(event);
        assert_eq!(target(event), found);
        if let Some(Target::Address(ip)) = found {
            assert_eq!(ip, ip.to_canonical(), "an IPv4 address in IPv6 is an IPv4 address");
        }
    }
}
