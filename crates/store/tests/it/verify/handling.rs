//! What is found in handling logs that somebody has tampered with.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use staunch_model::{Failure, FailureKind, Handling, HandlingAction, IncidentId, Timestamp};
use staunch_store::LogKey;
use staunch_store::vault::logged::Logbook;
use staunch_store::vault::{EvidenceSummary, Finding, Handles, HandlingLog};

use super::folder::{Folder, open_log};
use crate::log_key;

const INCIDENT: Option<IncidentId> = Some(IncidentId(1));

const NAME: &str = "handling/INC-1.jsonl";

/// What is over by then is not held up. Each log that was waited for by itself would take a second.
const DEADLINE: Duration = Duration::from_secs(60);

fn handles(reason: &str) -> Handles {
    Handles {
        evidence: None,
        artefact: None,
        handling: Handling {
            at: Timestamp::from_micros(1_764_000_000_000_000),
            actor: "alice@web-1".into(),
            action: HandlingAction::Copy,
            reason: reason.into(),
            from: None,
            to: None,
        },
        outcome: None,
    }
}

/// A folder whose evidence was handled.
struct Handled {
    folder: Folder,
    log: HandlingLog,
}

impl Handled {
    fn new() -> Self {
        let folder = Folder::new();
        let log = HandlingLog::in_folder(folder.dir.path());
        Self { folder, log }
    }

    /// Appends a line, signed by nobody when there is no key.
    fn append(&self, reason: &str, key: Option<LogKey>) {
        let log = self.log.clone().signed_with(key.map(Arc::new));
        log.append(INCIDENT, handles(reason)).expect("there is room");
    }

    /// Has the transparency log stand for what is there. Returns how many entries that were.
    fn logged(&self) -> (u64, Vec<Failure>) {
        let log = open_log(&self.folder.path("log"));
        let mut book = Logbook::new(log).expect("it can be read");
        let mut failed = Vec::new();
        let taken = book.take_handling(&self.log, &mut |failure| failed.push(failure));
        (taken.expect("it can be written"), failed)
    }

    fn file(&self) -> PathBuf {
        self.log.file(INCIDENT)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("it is there")
    }

    fn verify(&self) -> (EvidenceSummary, Vec<Finding>) {
        self.folder.verify_with(&log_key().verifier(), None)
    }

    /// What is found when the log has this text; the lines that are proved, and those that are not.
    fn with(&self, text: &str) -> (u64, u64, Vec<Finding>) {
        let sound = self.text();
        fs::write(self.file(), text).expect("it is ours");
        let (summary, findings) = self.verify();
        fs::write(self.file(), sound).expect("it is ours");
        (summary.lines, summary.unlogged.lines, findings)
    }
}

#[test]
fn no_line_that_was_signed_can_be_changed() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    it.append("two", Some(log_key()));
    let text = it.text();
    assert_eq!(it.with(&text), (2, 0, Vec::new()));
    for (line, word) in [(1, "one"), (2, "two")] {
        let (_, _, findings) = it.with(&text.replace(word, "none"));
        assert!(
            matches!(&findings[0], Finding::LineNotProved { line: at, .. } if *at == line),
            "{findings:?}"
        );
    }
    // Written anew by somebody who has another key, or none.
    for key in [Some(LogKey::from_seed("web-1/staunch", &[9; 32])), None] {
        let other = Handled::new();
        other.append("never", key);
        let (lines, unproved, findings) = it.with(&other.text());
        assert_eq!((lines, unproved), (0, 1));
        assert!(
            matches!(&findings[..], [Finding::LinesUnsigned { first: 1, last: 1, .. }]),
            "{findings:?}"
        );
    }
    // With the name and the number of the key, and without its secret.
    let (head, signature) = text.trim_end().rsplit_once(' ').expect("it is a line");
    let forged = format!(
        "{head} {}\n",
        signature.replace(|it: char| it.is_ascii_lowercase(), "q")
    );
    let (_, _, findings) = it.with(&forged);
    assert!(
        matches!(
            &findings[..],
            [Finding::LineNotProved { line: 2, .. }, ..] | [Finding::LinesUnreadable { first: 2, last: 2, .. }]
        ),
        "{findings:?}"
    );
}

#[test]
fn what_the_log_stands_for_can_be_neither_cut_off_nor_written_anew() {
    let it = Handled::new();
    for reason in ["one", "two", "three"] {
        it.append(reason, Some(log_key()));
    }
    let text = it.text();
    let first = text.split_inclusive('\n').next().expect("there are three").to_owned();
    // Before it is logged, nobody knows that there was more.
    assert_eq!(it.with(&first), (1, 0, Vec::new()));
    assert_eq!((it.logged(), it.logged()), ((1, Vec::new()), (0, Vec::new())));
    assert_eq!(it.with(&text), (3, 0, Vec::new()));
    let cut = |found: u64| Finding::HandlingCutOff {
        name: NAME.into(),
        number: 314,
        bytes: text.len() as u64,
        found,
    };
    assert_eq!(it.with(&first).2, [cut(first.len() as u64)]);
    assert_eq!(it.with("").2, [cut(0)]);
    fs::rename(it.file(), it.folder.path("elsewhere")).expect("it is ours");
    assert_eq!(it.verify().1, [cut(0)]);
    // All of the logs.
    fs::remove_dir(it.folder.path("handling")).expect("it is empty");
    assert_eq!(it.verify().1, [cut(0)]);
    fs::create_dir(it.folder.path("handling")).expect("it is ours");
    fs::rename(it.folder.path("elsewhere"), it.file()).expect("it is ours");
    // By somebody who has the key: as long, and longer.
    let anew = Handled::new();
    for reason in ["nil", "two", "three", "four"] {
        anew.append(reason, Some(log_key()));
    }
    let changed = Finding::HandlingChanged {
        name: NAME.into(),
        number: 314,
        bytes: text.len() as u64,
    };
    let anew = anew.text();
    assert_eq!(it.with(&anew[..text.len()]).2, std::slice::from_ref(&changed));
    assert_eq!(it.with(&anew).2, [changed]);
}

#[test]
fn a_line_without_a_signature_is_nobodys_word_whoever_logs_or_follows_it() {
    let it = Handled::new();
    let unsigned = |first, last| Finding::LinesUnsigned {
        name: NAME.into(),
        first,
        last,
    };
    assert!(unsigned(2, 3).is_nobodys_word() && !unsigned(2, 3).may_be_left_behind());
    it.append("never", None);
    assert_eq!(it.with(&it.text()), (0, 1, vec![unsigned(1, 1)]));
    it.append("one", Some(log_key()));
    it.append("never", None);
    it.append("never", None);
    assert_eq!(it.with(&it.text()), (1, 3, vec![unsigned(1, 1), unsigned(3, 4)]));
    assert_eq!(it.logged(), (1, Vec::new()));
    it.append("two", Some(log_key()));
    assert_eq!(it.with(&it.text()), (2, 3, vec![unsigned(1, 1), unsigned(3, 4)]));
}

#[test]
fn what_else_is_beside_the_logs_was_put_there() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    for name in ["notes.txt", "INC-01.jsonl"] {
        fs::write(it.folder.path("handling").join(name), "").expect("it is ours");
    }
    let foreign = |name: &str| Finding::Foreign {
        name: format!("handling/{name}"),
    };
    assert_eq!(it.verify().1, [foreign("INC-01.jsonl"), foreign("notes.txt")]);
}

#[test]
fn the_lines_of_one_log_are_none_of_another() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    it.append("two", Some(log_key()));
    for other in [Some(IncidentId(2)), None] {
        fs::write(it.log.file(other), it.text()).expect("it is ours");
        let findings = it.verify().1;
        assert!(
            matches!(
                &findings[..],
                [
                    Finding::LineNotProved { line: 1, .. },
                    Finding::LineNotProved { line: 2, .. }
                ]
            ),
            "{other:?}: {findings:?}"
        );
        fs::remove_file(it.log.file(other)).expect("it is there");
    }
}

#[test]
fn who_holds_the_lock_of_a_log_for_ever_keeps_it_from_nothing() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    let held = fs::File::open(it.file()).expect("it is there");
    held.lock().expect("nobody has it");
    assert_eq!(it.logged(), (1, Vec::new()));
    assert_eq!(it.verify().1, []);
    // Nor do many, which are waited for together, and looked at once as long as they stay so.
    let junk: Vec<fs::File> = (100..160)
        .map(|number| {
            let file = it.log.file(Some(IncidentId(number)));
            fs::write(&file, "x\n").expect("it is ours");
            let held = fs::File::open(&file).expect("it is there");
            held.lock().expect("nobody has it");
            held
        })
        .collect();
    let begun = Instant::now();
    let log = open_log(&it.folder.path("log"));
    let mut book = Logbook::new(log).expect("it can be read");
    for _ in 0..20 {
        let taken = book.take_handling(&it.log, &mut |failure| panic!("{failure}"));
        assert_eq!(taken, Ok(0));
    }
    assert_eq!(it.verify().1.len(), junk.len());
    assert!(begun.elapsed() < DEADLINE, "a lock was waited for again and again");
}

#[test]
fn what_nobody_has_signed_is_not_logged() {
    let it = Handled::new();
    it.append("never", None);
    fs::write(it.log.file(Some(IncidentId(9))), "x\n").expect("it is ours");
    assert_eq!(it.logged(), (0, Vec::new()));
    it.append("one", Some(log_key()));
    let signed = it.text();
    it.append("never", None);
    assert_eq!(it.logged(), (1, Vec::new()));
    // Up to the line that is signed.
    assert!(it.with(&signed).2.iter().all(Finding::is_nobodys_word));
}

#[test]
fn a_line_has_one_signature_and_nothing_beside_it() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    let text = it.text();
    let (line, end) = text.rsplit_once("\"}").expect("it is JSON");
    for more in [
        "\\n\u{2014} somebody/else AAAAAAAAAAAAAAAA",
        "\\n",
        "\\n\\n\u{2014} somebody/else AAAAAAAAAAAAAAAA",
    ] {
        let (lines, _, findings) = it.with(&format!("{line}{more}\"}}{end}"));
        assert!(
            lines == 0 && matches!(&findings[..], [Finding::LineNotProved { line: 1, .. }]),
            "{more}: {findings:?}"
        );
    }
}

#[test]
fn a_log_that_is_longer_than_any_is_not_believed() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    let file = fs::OpenOptions::new().write(true).open(it.file()).expect("it is ours");
    file.set_len(65 << 20).expect("a hole");
    let findings = it.verify().1;
    assert!(
        matches!(&findings[..], [Finding::Unreadable { what, .. }] if what == "it is longer than any"),
        "{findings:?}"
    );
}

#[test]
fn a_log_that_was_changed_is_logged_no_more_and_the_others_are() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    assert_eq!(it.logged(), (1, Vec::new()));
    let sound = it.text();
    fs::write(it.file(), sound.replace("one", "two")).expect("it is ours");
    // Of the same length, which nobody looks into before something is appended.
    it.append("three", Some(log_key()));
    for other in [Some(IncidentId(2)), None] {
        let log = it.log.clone().signed_with(Some(Arc::new(log_key())));
        log.append(other, handles("two")).expect("there is room");
    }
    let conflict = |told: &(u64, Vec<Failure>)| {
        let (taken, failed) = told;
        assert!(
            matches!(&failed[..], [it] if it.kind == FailureKind::Conflict
                && it.to_string().contains("INC-1.jsonl does not begin as it was logged")),
            "{failed:?}"
        );
        *taken
    };
    // The others were logged beside it.
    assert_eq!(conflict(&it.logged()), 2);
    let (summary, findings) = it.verify();
    assert_eq!(summary.entries, 317);
    assert!(
        findings
            .iter()
            .any(|it| matches!(it, Finding::HandlingChanged { number: 314, .. })),
        "{findings:?}"
    );
    assert_eq!(conflict(&it.logged()), 0);
    fs::remove_file(it.file()).expect("it is there");
    assert_eq!(conflict(&it.logged()), 0);
    assert_eq!(it.verify().0.entries, 317);
}

#[test]
fn half_a_line_proves_nothing_and_is_not_logged() {
    let it = Handled::new();
    it.append("one", Some(log_key()));
    let one = it.text();
    let half = format!("{one}{{\"schema_version\":1,\"prev");
    let (lines, unproved, findings) = it.with(&half);
    assert_eq!((lines, unproved), (1, 1));
    assert!(
        matches!(&findings[..], [Finding::LinesUnreadable { first: 2, last: 2, .. }]),
        "{findings:?}"
    );
    assert!(findings[0].is_nobodys_word());
    fs::write(it.file(), &half).expect("it is ours");
    assert_eq!(it.logged(), (1, Vec::new()));
    // What comes after it does not say what it was.
    it.append("two", Some(log_key()));
    let (summary, findings) = it.verify();
    assert_eq!((summary.lines, summary.unlogged.lines, findings.len()), (2, 1, 1));
    // The entry stands for the line before it, which is gone with this.
    assert!(matches!(it.with("{}\n").2[..], [_, Finding::HandlingCutOff { .. }]));
    // Those in a row are one finding, and hide no other.
    let many = it.with(&"{}\n".repeat(1_000)).2;
    assert!(
        matches!(
            &many[..],
            [
                Finding::HandlingChanged { .. },
                Finding::LinesUnreadable {
                    first: 1,
                    last: 1_000,
                    ..
                }
            ]
        ),
        "{many:?}"
    );
}
