//! Audit records: what became of the events in each file, and how records are put together.

use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;
use staunch_connectors::sources::Auditd;
use staunch_model::{Event, EventView, FieldValue, Printable, Timestamp};
use staunch_ports::{Sighting, Source as _};

use super::recorded::row;

fn files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/auditd");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).expect("readable")));
        }
    }
    files.sort();
    files
}

fn constructed() -> Vec<u8> {
    files()
        .into_iter()
        .find(|(name, _)| name == "constructed")
        .expect("it is there")
        .1
}

/// Calls `look` with each event of `body`.
fn events(body: &[u8], mut look: impl FnMut(&EventView<'_>)) {
    let read = Auditd.read(body, &mut |_, sighting| {
        if let Sighting::Event(view) = sighting {
            look(view);
        }
    });
    read.expect("a body is read element by element");
}

fn kept(body: &[u8]) -> Vec<Event> {
    let mut found = Vec::new();
    events(body, |view| found.push(Event::keep(view, Timestamp::EPOCH)));
    found
}

#[test]
fn recorded_events_decode_to_these_tables() {
    let files = files();
    assert_eq!(files.len(), 5);
    for (name, body) in files {
        let mut table = String::new();
        let read = Auditd.read(&body, &mut |index, sighting| match sighting {
            Sighting::Event(view) => {
                let why = Auditd.explain(view.raw.bytes()).expect("it is an event by itself");
                row(&mut table, index + 1, view, &why);
            }
            Sighting::Ignored(reason) => drop(writeln!(table, "{:>3} ignored: {reason}", index + 1)),
            Sighting::Malformed(it) => {
                let _ = writeln!(
                    table,
                    "{:>3} malformed at byte {}: {}",
                    index + 1,
                    it.offset,
                    Printable(&it.what)
                );
            }
        });
        read.expect("a body is read element by element");
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("auditd-{name}"), table);
        });
    }
}

#[test]
fn records_of_one_event_are_put_together_and_their_fields_are_found() {
    let mut seen = 0;
    events(&constructed(), |view| {
        if view.id != Some("1763632800.001:11") {
            return;
        }
        seen += 1;
        let at = |path: &[&str]| {
            view.raw
                .field(&path.iter().map(|key| (*key).into()).collect::<Vec<Box<str>>>())
        };
        let text = |path: &[&str]| match at(path) {
            Some(FieldValue::Text(text)) => Some(text.to_owned()),
            _ => None,
        };
        assert_eq!(text(&["PROCTITLE", "proctitle"]).as_deref(), Some("/bin/sh -c id"));
        assert_eq!(text(&["SYSCALL", "exe"]).as_deref(), Some("/usr/bin/dash"));
        assert_eq!(
            text(&["SYSCALL", "a0"]).as_deref(),
            Some("61"),
            "a number, not an argument"
        );
        assert_eq!(text(&["SYSCALL", "UID"]).as_deref(), Some("www-data"));
        assert_eq!(text(&["EXECVE", "a2"]).as_deref(), Some("id > /tmp/x"));
        assert_eq!(text(&["PATH", "1", "name"]).as_deref(), Some("/tmp/a b"));
        assert_eq!(at(&["PATH"]), Some(FieldValue::List(2)));
        assert_eq!(at(&["CWD"]), None);
        assert_eq!(
            view.raw.bytes().iter().filter(|byte| **byte == b'\n').count(),
            5,
            "six records"
        );
    });
    assert_eq!(seen, 1);
}

/// Found by libFuzzer: the name of a node went on into the next line, so that the record was cut before it.
#[test]
fn a_record_that_ends_like_the_name_of_a_node_is_whole() {
    let first = "node=web-1 type=USER_LOGIN msg=audit(1763632801.500:7): pid=1 node=1";
    let second = "node=web-1 type=USER_LOGIN msg=audit(1763632801.500:7): acct=\"root\" addr=203.0.113.95";
    for between in ["\n", " "] {
        let body = format!("{first}{between}{second}\n");
        let mut found = Vec::new();
        let read = Auditd.read(body.as_bytes(), &mut |_, sighting| match sighting {
            Sighting::Event(view) => found.push(view.raw.bytes().to_vec()),
            Sighting::Ignored(reason) => panic!("{reason}"),
            Sighting::Malformed(it) => panic!("{it:?}"),
        });
        read.expect("a body is read element by element");
        assert_eq!(found, [format!("{first}\n{second}").into_bytes()], "{between:?}");
    }
}

/// Each was looked at for the beginning of a record, with all that stand behind it.
#[test]
fn many_names_of_nodes_are_read_once() {
    let body = "node= ".repeat(200_000);
    let mut malformed = 0;
    let read = Auditd.read(body.as_bytes(), &mut |_, sighting| {
        malformed += usize::from(matches!(sighting, Sighting::Malformed(_)));
    });
    read.expect("a body is read element by element");
    assert_eq!(malformed, 1);
}

#[test]
fn what_is_kept_of_an_event_reads_the_same_by_itself_with_blanks_for_line_ends_too() {
    for (name, body) in files() {
        for event in kept(&body) {
            let again = kept(&event.raw);
            assert_eq!(again, std::slice::from_ref(&event), "{name}");
            let line: Vec<u8> = event
                .raw
                .iter()
                .map(|byte| if *byte == b'\n' { b' ' } else { *byte })
                .collect();
            assert_eq!(
                kept(&line),
                std::slice::from_ref(&event),
                "{name}: as the archive has it"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_safe(
        line in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..4), 0_usize..12, any::<prop::sample::Index>()), 0..6),
    ) {
        let body = constructed();
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').collect();
        let line = line.index(lines.len());
        let mut body = lines[line..lines.len().min(line + 4)].join(&b'\n');
        for (bytes, replaced, place) in changes {
            let start = place.index(body.len() + 1);
            let end = body.len().min(start + replaced);
            body.splice(start..end, bytes);
        }
        for event in kept(&body) {
            prop_assert_eq!(kept(&event.raw), [event]);
        }
        let _ = Auditd.explain(&body);
    }
}
