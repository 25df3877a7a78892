//! The playbook language: reading, checking, and what a person is told.
//!
//! What holds: a refusal names at least one error, inside the file, at the line and column that it says, in words that
//! can be shown; a playbook that is accepted keeps the limits, is the same each time, survives the journal, and can be
//! run on any event.

use serde_json::Value;
use staunch_connectors::json::Document;
use staunch_model::{ContentHash, Playbook, Severity};
use staunch_playbook::{
    CheckContext, Compiled, Diagnostic, Severity as Level, compile, compile_all, limits, test_file,
};

use crate::cel::{alert, assert_runs};
use crate::shown::{assert_line, assert_lines, assert_position};

/// Diagnostics of each severity that are kept of one file.
const DIAGNOSTICS_MAX: usize = 100;

/// Compiles a file, and reads it as a file of tests.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(found) = test_file::parse("fuzz.test.yaml", text) {
        assert!(!found.is_empty(), "refused without a reason");
        assert_diagnostics(&found, text);
    }
    let context = CheckContext::default();
    match compile("fuzz.yaml", text, &context) {
        Err(found) => {
            assert!(
                found.iter().any(|it| it.severity == Level::Error),
                "refused without a reason"
            );
            assert_diagnostics(&found, text);
        }
        Ok(compiled) => {
            assert!(compiled.warnings.iter().all(|it| it.severity == Level::Warning));
            assert_diagnostics(&compiled.warnings, text);
            assert_playbook(&compiled.program.playbook, text, &context);
            let again = compile("fuzz.yaml", text, &context).expect("it was accepted once");
            assert_eq!(again.program.playbook, compiled.program.playbook);
            let twice = compile_all([("a.yaml", text), ("b.yaml", text)], &context).expect_err("one name, two files");
            assert!(twice.iter().any(|it| it.code == "P027"));
            run_on_events(&compiled);
            assert_environments(&compiled, text);
        }
    }
}

/// What is accepted is accepted in every environment that it names, and its hash tells whether values differ.
fn assert_environments(compiled: &Compiled, text: &str) {
    assert!(compiled.environments.len() <= limits::ENVIRONMENTS_MAX);
    assert!(compiled.parameters.len() <= limits::PARAMETERS_MAX);
    for environment in &compiled.environments {
        let context = CheckContext {
            environment: Some(environment.to_string()),
            ..CheckContext::default()
        };
        let there = compile("fuzz.yaml", text, &context).expect("it is accepted in every environment");
        let of = |it: &Compiled| it.parameters.iter().map(|it| it.value.clone()).collect::<Vec<_>>();
        let same = of(&there) == of(compiled);
        assert_eq!(there.program.playbook.hash == compiled.program.playbook.hash, same);
    }
}

fn run_on_events(compiled: &Compiled) {
    const EVENTS: [&str; 3] = [
        "{}",
        r#"{"alert":{"signature":"ET SCAN SSH","severity":1,"metadata":{"tag":["x"]}},"src_ip":"203.0.113.7","n":[1,2.5,null,true]}"#,
        r#"{"output_fields":{"fd.rip":"::ffff:203.0.113.7","fd.name":"<NA>"},"tags":["T1110"],"big":18446744073709551615}"#,
    ];
    for text in EVENTS {
        let document = Document::parse(text.as_bytes()).expect("an event");
        assert_runs(compiled, &alert(&document, Severity::High));
    }
}

fn assert_playbook(playbook: &Playbook, text: &str, context: &CheckContext) {
    assert_eq!(
        playbook.hash,
        ContentHash::of(text.as_bytes()),
        "the hash is that of the text"
    );
    assert!(!playbook.name.is_empty() && playbook.name.chars().count() <= limits::NAME_CHARS_MAX);
    assert_line(&playbook.name);
    assert!(playbook.summary.chars().count() <= limits::SUMMARY_CHARS_MAX);
    assert_line(&playbook.summary);
    assert!(playbook.steps.len() <= limits::STEPS_MAX && playbook.notify.len() <= limits::NOTICES_MAX);
    assert!(
        playbook
            .steps
            .iter()
            .all(|step| step.lease <= context.lease_max && step.lease.as_micros() > 0)
    );
    for (at, step) in (0..).zip(&playbook.steps) {
        let mut leases = playbook.leases_then(at).collect::<Vec<_>>();
        assert!(leases.len() <= limits::LEASES_THEN_MAX && leases.is_empty() != playbook.returns_within(at).is_some());
        leases.insert(0, step.lease);
        assert!(leases.is_sorted_by(|a, b| a < b) && leases.iter().all(|it| *it <= context.lease_max));
    }
    assert!(playbook.guards.acts_per_hour_max <= limits::ACTS_PER_HOUR_MAX);
    assert!(playbook.guards.event_age_max <= limits::EVENT_AGE_MAX && playbook.deduplicate <= limits::DEDUPLICATE_MAX);
    assert!(playbook.guards.traffic_share_max_bp.is_none_or(|share| share <= 10_000));
    let stored = postcard::to_stdvec(playbook).expect("a playbook can be stored");
    assert_eq!(
        &postcard::from_bytes::<Playbook>(&stored).expect("and read back"),
        playbook
    );
    let json: Value = serde_json::to_value(playbook).expect("a playbook can be shown");
    assert_eq!(
        &serde_json::from_value::<Playbook>(json).expect("and read back"),
        playbook
    );
}

/// Asserts what holds of everything that a person is told about `text`.
pub(crate) fn assert_diagnostics(found: &[Diagnostic], text: &str) {
    assert!(found.len() <= 2 * DIAGNOSTICS_MAX);
    for it in found {
        assert!(text.get(it.span.clone()).is_some(), "{it:?} lies outside of the file");
        assert_position(text, it.span.start, (it.line, it.column));
        assert!(!it.message.is_empty());
        assert_line(&it.message);
        assert_line(it.hint.as_deref().unwrap_or_default());
        assert_line(&it.to_string());
        let shown = it.render(text, false);
        assert!(shown.contains(it.code), "{shown}");
        assert_lines(&shown);
    }
}
