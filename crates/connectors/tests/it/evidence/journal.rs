//! The journal of systemd, read by the real `journalctl`, and by scripts in its place.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use staunch_connectors::evidence::JournalCollector;
use staunch_model::{EvidenceOptions, FailureKind, Span};
use staunch_ports::{CollectRequest, Collector as _};
use staunch_testkit::contract::collector::{Fault, Kept};
use tempfile::TempDir;

use super::{is_installed, request, take};

/// A program in the place of `journalctl`.
pub(super) fn script(folder: &TempDir, body: &str) -> PathBuf {
    let path = folder.path().join("script");
    let text = format!("#!/bin/sh\necho $$ > {}\n{body}\n", folder.path().join("pid").display());
    let plain = folder.path().join("plain");
    fs::write(&plain, text).unwrap();
    fs::set_permissions(&plain, Permissions::from_mode(0o700)).unwrap();
    // A process of its own writes it: what this one has open for writing may be open in children of other tests.
    super::run(&format!("cp -p {} {}", plain.display(), path.display()));
    path
}

#[test]
fn entries_of_a_real_journal_are_taken_the_newest_first() {
    if !is_installed(
        "entries_of_a_real_journal_are_taken_the_newest_first",
        "/usr/bin/journalctl",
    ) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal");
    let packed = fs::read_dir(data)
        .unwrap()
        .map(|it| it.unwrap().path())
        .find(|it| it.extension().is_some_and(|it| it == "zst"));
    let bytes = zstd::decode_all(&fs::read(packed.unwrap()).unwrap()[..]).unwrap();
    fs::write(folder.path().join("one.journal"), bytes).unwrap();
    let mut collector = JournalCollector::new("/usr/bin/journalctl".into(), Some(folder.path().to_owned()));
    let all = CollectRequest {
        options: EvidenceOptions {
            window: Some(Span::from_hours(24 * 365 * 50)),
            ..EvidenceOptions::default()
        },
        ..request(None)
    };
    collector.observe(&all).unwrap();
    let (kept, _) = take(&mut collector, &all);
    let text = String::from_utf8(kept.artefact("journal.jsonl").bytes.clone()).unwrap();
    let times: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|it| it["__REALTIME_TIMESTAMP"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(!times.is_empty() && times.is_sorted_by(|a, b| a >= b), "{times:?}");
    assert!(kept.missed.is_empty());
    // Of a unit that has none, there is nothing, and that is no failure.
    let none = CollectRequest {
        options: EvidenceOptions {
            units: vec!["--flush".into()],
            ..all.options.clone()
        },
        ..all
    };
    let mut kept = Kept::default();
    if collector.execute(&none, &mut kept).is_ok() {
        assert!(kept.artefact("journal.jsonl").bytes.is_empty());
    }
}

#[test]
fn a_program_that_does_not_end_is_ended_and_what_it_wrote_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(
        &folder,
        "echo '{\"a\":1}'; echo '{\"b\":2}'; printf '{\"torn'; exec sleep 1000",
    );
    let mut collector = JournalCollector::new(program, None);
    let hurried = CollectRequest {
        time_left: Span::from_secs(2),
        ..request(None)
    };
    let (kept, _) = take(&mut collector, &hurried);
    assert_eq!(kept.artefact("journal.jsonl").bytes, b"{\"a\":1}\n{\"b\":2}\n");
    assert_eq!(kept.missed.len(), 1);
    assert_eq!(
        (&*kept.missed[0].0.name, kept.missed[0].1.kind),
        ("journal-older.jsonl", FailureKind::TimedOut)
    );
    let pid = fs::read_to_string(folder.path().join("pid")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it still runs");
}

#[test]
fn a_machine_without_a_journal_is_told_from_one_without_entries() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(&folder, "exit 0");
    let journal = folder.path().join("journal");
    let of = |program: PathBuf| JournalCollector::new(program, None).of_machine(vec![journal.clone()]);
    let mut kept = Kept::default();
    let failure = of(program).execute(&request(None), &mut kept).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid, "it is not tried again");
    assert!(failure.what.contains("this machine keeps no journal"), "{failure}");
    assert!(kept.sealed.is_empty() && kept.missed.len() == 1);
    let fails = script(&folder, "echo 'No journal files were found.' >&2; exit 1");
    let failure = of(fails).execute(&request(None), &mut Kept::default()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
    let program = script(&folder, "exit 0");
    fs::create_dir_all(journal.join("0123456789abcdef")).unwrap();
    let (kept, _) = take(&mut of(program), &request(None));
    assert!(kept.artefact("journal.jsonl").bytes.is_empty());
}

#[test]
fn what_does_not_fit_is_cut_between_entries() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(&folder, "echo '{\"a\":1}'; echo '{\"b\":2}'; echo '{\"c\":3}'");
    let mut collector = JournalCollector::new(program, None);
    let bounded = CollectRequest {
        options: EvidenceOptions {
            bytes_max: Some(20),
            ..EvidenceOptions::default()
        },
        ..request(None)
    };
    let (kept, _) = take(&mut collector, &bounded);
    assert_eq!(kept.artefact("journal.jsonl").bytes, b"{\"a\":1}\n{\"b\":2}\n");
    assert_eq!(kept.missed[0].1.kind, FailureKind::Full);
}

#[test]
fn a_program_that_fails_is_told_with_its_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(&folder, "echo '{\"a\":1}'; echo 'no\x1b[2J journal' >&2; exit 1");
    let mut kept = Kept::default();
    let failure = JournalCollector::new(program, None)
        .execute(&request(None), &mut kept)
        .unwrap_err();
    assert!(
        failure.what.contains("no\\u{1b}[2J journal") || !failure.what.contains('\x1b'),
        "{failure}"
    );
    assert!(failure.what.contains("journal"), "{failure}");
    assert!(kept.sealed.is_empty() && kept.missed.len() == 1);
    let mut absent = JournalCollector::new("/nowhere/journalctl".into(), None);
    assert_eq!(absent.observe(&request(None)).unwrap_err().kind, FailureKind::Invalid);
    let mut nowhere = JournalCollector::new(script(&folder, "exit 0"), Some("/nowhere".into()));
    assert_eq!(nowhere.observe(&request(None)).unwrap_err().kind, FailureKind::Invalid);
    let mut relative = JournalCollector::new("journalctl".into(), None);
    assert!(
        relative.observe(&request(None)).is_err(),
        "who is in PATH decides nothing"
    );
    // A sink that takes no more ends it too.
    let program = script(&folder, "while :; do echo '{\"a\":1}'; done");
    let mut kept = Kept::failing(Fault::TimedOut(100_000));
    let failure = JournalCollector::new(program, None)
        .execute(&request(None), &mut kept)
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
}
