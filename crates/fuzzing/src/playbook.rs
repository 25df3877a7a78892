//! The playbook language: reading, checking, and what a person is told. What follows a NUL is the file of snippets.
//!
//! What holds: a refusal names at least one error, inside the file, at the line and column that it says, in words that
//! can be shown; a playbook that is accepted keeps the limits, is the same each time, survives the journal, and can be
//! run on any event; written out without snippets it is the same plan.

use std::collections::BTreeSet;

use serde_json::Value;
use staunch_connectors::json::Document;
use staunch_model::{ContentHash, Playbook, Severity};
use staunch_playbook::{
    CheckContext, Compiled, Diagnostic, Severity as Level, Snippets, Source, compile, compile_source, compile_sources,
    edit, limits, test_file, written_out,
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
    // No file that is read has a NUL.
    let (text, snippets) = text
        .split_once('\0')
        .map_or((text, None), |(text, snippets)| (text, Some(snippets)));
    let snippets = snippets.map(|text| Snippets::read("snippets.yaml", text));
    if let Err(found) = test_file::parse("fuzz.test.yaml", text) {
        assert!(!found.is_empty(), "refused without a reason");
        assert_diagnostics(&found, text);
    }
    assert_edits(text);
    let context = CheckContext::default();
    let source = Source {
        file: "fuzz.yaml",
        text,
        snippets: snippets.as_ref(),
    };
    if let Some(snippets) = &snippets {
        assert_snippets(snippets);
    }
    match compile_source(source, &context) {
        Err(found) => {
            assert!(
                found.iter().any(|it| it.severity == Level::Error),
                "refused without a reason"
            );
            assert_in_files(&found, source);
        }
        Ok(compiled) => {
            assert!(compiled.warnings.iter().all(|it| it.severity == Level::Warning));
            assert_in_files(&compiled.warnings, source);
            assert_playbook(&compiled, text, &context);
            let again = compile_source(source, &context).expect("it was accepted once");
            assert_eq!(again.program.playbook, compiled.program.playbook);
            let other = Source {
                file: "other.yaml",
                ..source
            };
            let twice = compile_sources([source, other], &context).expect_err("one name, two files");
            assert!(twice.iter().any(|it| it.code == "P027"));
            run_on_events(&compiled);
            assert_environments(&compiled, source);
            assert_written_out(&compiled, source, &context);
        }
    }
}

/// A change of one value changes one line or adds one, and no other byte.
fn assert_edits(text: &str) {
    use edit::Step::{Item, Key, Named, Only};
    let paths: [&[edit::Step<'_>]; 5] = [
        &[Key("summary")],
        &[Key("guards"), Key("event_age_max")],
        &[Key("guards"), Key("impact"), Key("traffic_share_max")],
        &[Key("preserve"), Named("flows", 0), Only, Key("deadline")],
        &[Key("contain"), Item(0), Only, Key("lease")],
    ];
    for path in paths {
        let Some(changed) = edit::set(text, path, "3m") else {
            continue;
        };
        let (old, new): (Vec<&str>, Vec<&str>) = (text.split('\n').collect(), changed.split('\n').collect());
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let rest = match new.len() - old.len() {
            0 => same + 1,
            1 => same,
            more => panic!("{more} lines more"),
        };
        assert!(changed.contains("3m"));
        assert!(
            old.get(rest..).is_none_or(|rest| new.ends_with(rest)),
            "{text:?} to {changed:?}"
        );
    }
}

/// What is accepted is accepted in every environment that it names, and its hash tells whether values differ.
fn assert_environments(compiled: &Compiled, source: Source<'_>) {
    assert!(compiled.environments.len() <= limits::ENVIRONMENTS_MAX);
    assert!(compiled.parameters.len() <= limits::PARAMETERS_MAX);
    for environment in &compiled.environments {
        let context = CheckContext {
            environment: Some(environment.to_string()),
            ..CheckContext::default()
        };
        let there = compile_source(source, &context).expect("it is accepted in every environment");
        let of = |it: &Compiled| it.parameters.iter().map(|it| it.value.clone()).collect::<Vec<_>>();
        let same = of(&there) == of(compiled);
        assert_eq!(there.program.playbook.hash == compiled.program.playbook.hash, same);
    }
}

/// What holds of a file of snippets by itself.
fn assert_snippets(snippets: &Snippets) {
    let (_, text) = snippets.source();
    assert!(snippets.diagnostics().iter().all(|it| it.severity == Level::Error));
    assert_diagnostics(snippets.diagnostics(), text);
    let unused = snippets.unused(&BTreeSet::new());
    assert_eq!(unused.len(), snippets.names().count().min(DIAGNOSTICS_MAX));
    assert_diagnostics(&unused, text);
}

/// A diagnostic is about the playbook or about the snippets.
fn assert_in_files(found: &[Diagnostic], source: Source<'_>) {
    let (own, others): (Vec<_>, Vec<_>) = found.iter().cloned().partition(|it| *it.file == *source.file);
    assert_diagnostics(&own, source.text);
    if !others.is_empty() {
        let (file, text) = source.snippets.expect("there is another file").source();
        assert!(others.iter().all(|it| *it.file == *file));
        assert_diagnostics(&others, text);
    }
}

/// Without snippets it is the same plan, unless an expression has become too long or too deep for one.
fn assert_written_out(compiled: &Compiled, source: Source<'_>, context: &CheckContext) {
    let names: Vec<_> = source.snippets.iter().flat_map(|it| it.names()).collect();
    assert!(compiled.snippets.iter().all(|it| names.contains(it)));
    assert_eq!(compiled.snippets.is_empty(), compiled.contributed.is_empty());
    let text = written_out(source, context).expect("it was accepted");
    match compile("written.yaml", &text, context) {
        Ok(written) => {
            let plan = |it: &Compiled| Playbook {
                hash: ContentHash::of(b""),
                ..(*it.program.playbook).clone()
            };
            assert_eq!(plan(&written), plan(compiled), "{text}");
            assert!(written.contributed.is_empty());
        }
        Err(found) => {
            let errors = found.iter().filter(|it| it.severity == Level::Error);
            for it in errors {
                assert!(
                    !compiled.snippets.is_empty() && matches!(it.code, "P002" | "P041"),
                    "{it}: {text}"
                );
            }
        }
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

fn assert_playbook(compiled: &Compiled, text: &str, context: &CheckContext) {
    let playbook = &*compiled.program.playbook;
    assert_eq!(
        playbook.hash,
        ContentHash::of(&[text.as_bytes(), &compiled.contributed].concat()),
        "the hash is that of the text and of what snippets contribute"
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
