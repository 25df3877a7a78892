//! The handling log: what is appended stays as it is, and what was changed shows.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;

use staunch_model::{EvidenceId, Handled, Handling, HandlingAction, IncidentId, Sha256Hash, Timestamp};
use staunch_store::vault::{Handles, HandlingLog};

use crate::temp_dir;

const INCIDENT: Option<IncidentId> = Some(IncidentId(3));

fn handles(reason: &str) -> Handles {
    Handles {
        evidence: Some(EvidenceId(17)),
        artefact: Some(Sha256Hash::of(b"evidence")),
        handling: Handling {
            at: Timestamp::from_micros(1_764_000_000_000_000),
            actor: "alice@web-1".into(),
            action: HandlingAction::Open,
            reason: reason.into(),
            from: None,
            to: None,
        },
        outcome: None,
    }
}

fn append(folder: &Path, reason: &str) -> Handled {
    let log = HandlingLog::in_folder(folder);
    log.append(INCIDENT, handles(reason)).expect("there is room")
}

/// The lines, and what is wrong with them.
fn read(folder: &Path) -> (Vec<Handled>, Vec<String>) {
    let (mut lines, mut wrong) = (Vec::new(), Vec::new());
    let log = HandlingLog::in_folder(folder);
    log.read(INCIDENT, &mut |it| lines.push(it), &mut |what| wrong.push(what))
        .expect("it can be read");
    (lines, wrong)
}

#[test]
fn lines_follow_on_each_other() {
    let dir = temp_dir();
    assert_eq!(read(dir.path()), (Vec::new(), Vec::new()));
    let appended = ["one", "two \u{7} \n three", "\u{1f600}"].map(|it| append(dir.path(), it));
    assert_eq!(appended[0].previous, None);
    assert_eq!(appended[1].previous, Some(Sha256Hash::of(&appended[0].to_bytes())));
    assert_eq!(read(dir.path()), (appended.to_vec(), Vec::new()));
    let log = HandlingLog::in_folder(dir.path());
    let file = log.file(INCIDENT);
    assert_eq!(file, dir.path().join("handling/INC-3.jsonl"));
    assert_eq!(
        fs::metadata(&file).expect("it is there").permissions().mode() & 0o777,
        0o600
    );
    let bytes: Vec<u8> = appended.iter().flat_map(Handled::to_bytes).collect();
    assert_eq!(log.bytes(INCIDENT).expect("it can be read"), Some(bytes));
    assert_eq!(log.bytes(None).expect("it can be read"), None);
    log.append(None, handles("all")).expect("there is room");
    assert_eq!(
        log.logs(&mut |it| panic!("{it}")).expect("they can be listed"),
        [None, INCIDENT]
    );
}

#[test]
fn many_append_at_once() {
    let dir = temp_dir();
    thread::scope(|scope| {
        for thread in 0..4 {
            let folder = dir.path();
            scope.spawn(move || {
                for number in 0..25 {
                    append(folder, &format!("{thread}-{number}"));
                }
            });
        }
    });
    let (lines, wrong) = read(dir.path());
    assert_eq!((lines.len(), wrong), (100, Vec::new()));
}

#[test]
fn what_was_changed_or_taken_out_shows() {
    let dir = temp_dir();
    for number in 0..4 {
        append(dir.path(), &format!("reason {number}"));
    }
    let file = HandlingLog::in_folder(dir.path()).file(INCIDENT);
    let sound = fs::read_to_string(&file).expect("it is there");
    let wrong = |text: &str| {
        fs::write(&file, text).expect("it is ours");
        read(dir.path()).1
    };
    assert_eq!(wrong(&sound), Vec::<String>::new());
    let changed = wrong(&sound.replace("reason 1", "reason 9"));
    assert!(changed[0].contains("line 3 does not follow"), "{changed:?}");
    let lines: Vec<&str> = sound.lines().collect();
    let without = format!("{}\n{}\n{}\n", lines[0], lines[2], lines[3]);
    assert!(wrong(&without)[0].contains("line 2 does not follow"));
    let first = format!("{}\n{}\n", lines[1], lines[2]);
    assert!(wrong(&first)[0].contains("line 1 does not follow"));
    let garbage = wrong(&sound.replace(lines[1], "{}"));
    for expected in ["line 2 is none", "line 3 does not"] {
        assert!(garbage.iter().any(|what| what.contains(expected)), "{garbage:?}");
    }
}

#[test]
fn what_a_crash_has_cut_off_is_gone_on_after() {
    let dir = temp_dir();
    append(dir.path(), "one");
    let file = HandlingLog::in_folder(dir.path()).file(INCIDENT);
    let mut cut = OpenOptions::new().append(true).open(&file).expect("it is ours");
    cut.write_all(b"{\"schema_version\":1,\"prev").expect("there is room");
    append(dir.path(), "two");
    append(dir.path(), "three");
    let (lines, wrong) = read(dir.path());
    let reasons: Vec<&str> = lines.iter().map(|it| &*it.handling.reason).collect();
    assert_eq!(reasons, ["one", "two", "three"]);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(wrong[0].contains("line 2 is none"), "{wrong:?}");
}

#[test]
fn lines_have_a_bound_and_links_are_not_followed() {
    let dir = temp_dir();
    append(dir.path(), "one");
    let log = HandlingLog::in_folder(dir.path());
    let long = log.append(INCIDENT, handles(&"x".repeat(20_000)));
    assert_eq!(
        long.expect_err("it is too long").kind(),
        std::io::ErrorKind::FileTooLarge
    );
    assert_eq!(read(dir.path()).0.len(), 1);
    let elsewhere = dir.path().join("elsewhere");
    fs::write(&elsewhere, "").expect("it is ours");
    std::os::unix::fs::symlink(&elsewhere, log.file(None)).expect("it is ours");
    log.append(None, handles("one")).expect_err("it is a link");
    assert_eq!(fs::read(&elsewhere).expect("it is there"), b"");
}

#[test]
fn nothing_is_made_or_given_away_where_a_link_leads() {
    let (dir, elsewhere) = (temp_dir(), temp_dir());
    let log = HandlingLog::in_folder(dir.path());
    let handling = dir.path().join("handling");
    std::os::unix::fs::symlink(elsewhere.path(), &handling).expect("it is ours");
    log.append(INCIDENT, handles("one"))
        .expect_err("the directory is a link");
    let is_empty = || fs::read_dir(elsewhere.path()).expect("it is there").next().is_none();
    assert!(is_empty(), "something was made elsewhere");
    // Nor is anything read from there.
    fs::write(elsewhere.path().join("INC-3.jsonl"), "{}\n").expect("it is ours");
    log.bytes(INCIDENT).expect_err("the directory is a link");
    log.logs(&mut |_| {}).expect_err("the directory is a link");
    fs::remove_file(&handling).expect("it is ours");

    // A second name, and a pipe that nobody reads.
    append(dir.path(), "one");
    let target = elsewhere.path().join("other");
    fs::write(&target, "").expect("it is ours");
    fs::hard_link(&target, log.file(None)).expect("it is ours");
    log.append(None, handles("one")).expect_err("it has another name");
    assert_eq!(fs::read(&target).expect("it is there"), b"");
    fs::remove_file(log.file(None)).expect("it is ours");
    fs::create_dir(log.file(None)).expect("it is ours");
    log.append(None, handles("one")).expect_err("it is a directory");
}

#[test]
fn what_the_superuser_makes_belongs_to_the_owner_of_the_folder_and_to_nobody_else() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let dir = temp_dir();
    // In a namespace with one user there is nobody else to give it to.
    if chown(dir.path(), Some(4_711), Some(4_712)).is_err() {
        return staunch_testkit::skip("handling::superuser", "only the superuser gives files to others");
    }
    append(dir.path(), "one");
    let owners = |path: &Path| {
        let about = fs::symlink_metadata(path).expect("it is there");
        (about.uid(), about.gid())
    };
    let log = HandlingLog::in_folder(dir.path());
    let handling = dir.path().join("handling");
    assert_eq!(owners(&handling), (4_711, 4_712));
    assert_eq!(owners(&log.file(INCIDENT)), (4_711, 4_712));
    // What belongs to a third is not written to.
    chown(log.file(INCIDENT), Some(4_713), None).expect("we may");
    let refused = log.append(INCIDENT, handles("two"));
    assert_eq!(
        refused.expect_err("it is not ours").kind(),
        std::io::ErrorKind::InvalidData
    );
    fs::remove_file(log.file(INCIDENT)).expect("it is there");
    chown(&handling, Some(4_713), None).expect("we may");
    log.append(INCIDENT, handles("two")).expect_err("it is not ours");
}
