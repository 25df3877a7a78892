//! Disks that fail, and disks that are full.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use staunch_ports::{AppendError, Journal, Lsn, Purpose};
use staunch_store::journal::{DiskHook, DiskOp};
use staunch_store::{JournalOptions, OpenError, SegmentJournal};

use crate::{Faults, append, append_ok, frames, open, payload, segments, small, temp_dir, with_epoch};

/// Lets one kind of change fail once, and checks that nothing is accepted from then on, until a restart.
fn check_poisoned(name: &str, fails: fn(&DiskOp<'_>) -> bool) {
    let dir = temp_dir();
    let faults = Faults::new();
    let (mut journal, epoch) = with_epoch(SegmentJournal::open(dir.path(), faults.options()).expect("it opens"));
    let mut failed_once = false;
    append_ok(&mut journal, &[b"acknowledged"]);
    faults.set(move |op| {
        let fail = !failed_once && fails(op);
        failed_once |= fail;
        fail.then_some(io::ErrorKind::Other)
    });
    let mut acknowledged = 1;
    let reason = loop {
        match append(&mut journal, Purpose::Intake, &[&payload(acknowledged, 1_000)]) {
            Ok(_) => acknowledged += 1,
            Err(AppendError::Poisoned { reason }) => break reason,
            Err(other) => panic!("{name}: {other}"),
        }
        assert!(acknowledged < 100, "{name}: the fault never showed");
    };
    assert_eq!(journal.tail().lsn, Lsn(acknowledged), "{name}");
    assert!(!journal.has_room(1), "{name}");
    let answers = [
        append(&mut journal, Purpose::Settle, &[b"more"]).map(drop),
        journal.append(epoch, Lsn(acknowledged), Purpose::Settle, &[]).map(drop),
        journal.open_epoch().map(drop),
        journal.put_snapshot(Lsn(1), b"state"),
    ];
    for answer in answers {
        assert!(
            matches!(answer, Err(AppendError::Poisoned { reason: ref it }) if *it == reason),
            "{name}: {answer:?}"
        );
    }
    assert_eq!(
        frames(&journal).len() as u64,
        acknowledged,
        "{name}: acknowledged frames can still be read"
    );
    drop(journal);
    let mut journal = open(dir.path());
    let found = journal.tail().lsn.0;
    assert!(
        found == acknowledged || found == acknowledged + 1,
        "{name}: {found} of {acknowledged}"
    );
    append_ok(&mut journal, &[b"after a restart"]);
}

#[test]
fn after_a_failed_change_nothing_is_accepted() {
    check_poisoned(
        "write",
        |op| matches!(op, DiskOp::Write { name, .. } if name.ends_with(".seg")),
    );
    check_poisoned(
        "sync",
        |op| matches!(op, DiskOp::Sync { name } if name.ends_with(".seg")),
    );
    check_poisoned(
        "header of the next segment",
        |op| matches!(op, DiskOp::Write { name: "spare", data, .. } if data.starts_with(b"staunchJ")),
    );
    check_poisoned("name of the next segment", |op| matches!(op, DiskOp::Rename { .. }));
}

#[test]
fn a_segment_is_not_acted_upon_before_its_name_is_durable() {
    let dir = temp_dir();
    let faults = Faults::new();
    let (mut journal, _) = with_epoch(SegmentJournal::open(dir.path(), faults.options()).expect("it opens"));
    let mut is_named = false;
    faults.set(move |op| {
        let is_dead = is_named;
        is_named |= matches!(op, DiskOp::Rename { to, .. } if to.ends_with(".seg"));
        is_dead.then_some(io::ErrorKind::Other)
    });
    let appended = (0..100).find(|it| append(&mut journal, Purpose::Intake, &[&payload(*it, 1_000)]).is_err());
    assert!(appended.is_some(), "the segment never was full");
    drop(journal);
    assert_eq!(segments(dir.path()).len(), 2, "the second one has its name");
    // What another thread does, it may do too late.
    let (this, steps) = (thread::current().id(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&steps);
    faults.set(move |op| {
        if thread::current().id() == this {
            noted.lock().expect("nothing panics in here").push(format!("{op:?}"));
        }
        None
    });
    let mut journal = SegmentJournal::open(dir.path(), faults.options()).expect("it opens");
    append_ok(&mut journal, &[b"acknowledged"]);
    let steps = steps.lock().expect("nothing panics in here");
    let first = |what: &str| steps.iter().position(|step| step.contains(what));
    let (named, used) = (first("SyncDir"), first(".seg"));
    assert!(named.is_some() && named < used, "{steps:#?}");
}

#[test]
fn a_failed_epoch_is_not_given_out() {
    let dir = temp_dir();
    let faults = Faults::new();
    let (mut journal, epoch) = with_epoch(SegmentJournal::open(dir.path(), faults.options()).expect("it opens"));
    faults.set(|op| matches!(op, DiskOp::Sync { name: "epoch" }).then_some(io::ErrorKind::Other));
    assert!(matches!(journal.open_epoch(), Err(AppendError::Poisoned { .. })));
    assert_eq!(journal.tail().epoch, epoch);
    drop(journal);
    let (_, next) = with_epoch(open(dir.path()));
    assert!(next > epoch);
}

#[test]
fn a_failed_snapshot_harms_nothing() {
    let dir = temp_dir();
    let faults = Faults::new();
    let (mut journal, _) = with_epoch(SegmentJournal::open(dir.path(), faults.options()).expect("it opens"));
    append_ok(&mut journal, &[b"1"]);
    journal.put_snapshot(Lsn(0), b"old").expect("a snapshot");
    for (kind, full) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::Other, false)] {
        faults.set(move |op| matches!(op, DiskOp::Sync { name: "snapshot.tmp" }).then_some(kind));
        let answer = journal.put_snapshot(Lsn(1), b"new");
        assert_eq!(matches!(answer, Err(AppendError::Full { .. })), full, "{answer:?}");
        assert_eq!(matches!(answer, Err(AppendError::InDoubt)), !full, "{answer:?}");
        assert!(!dir.path().join("snapshot.tmp").exists());
    }
    faults.clear();
    append_ok(&mut journal, &[b"2"]);
    assert_eq!(
        journal.newest_snapshot().expect("readable"),
        Some((Lsn(0), b"old".to_vec()))
    );
}

#[test]
fn a_disk_without_room_for_the_first_segment_is_not_left_full() {
    let faults = Faults::new();
    faults.set(|op| {
        let is_late = matches!(op, DiskOp::Write { name: "spare", offset, .. } if *offset > 0);
        is_late.then_some(io::ErrorKind::StorageFull)
    });
    let dir = temp_dir();
    let options = JournalOptions {
        segment_bytes: 4 << 20,
        ..faults.options()
    };
    let error = SegmentJournal::open(dir.path(), options).expect_err("the fault");
    assert!(matches!(error, OpenError::NoSpace { .. }), "{error:?}");
    assert!(!dir.path().join("spare").exists());
}

#[test]
fn errors_of_opening_say_what_to_do() {
    let check = |kind, expect: fn(&OpenError) -> bool| {
        let faults = Faults::new();
        faults.set(move |op| matches!(op, DiskOp::Create { name: "spare" }).then_some(kind));
        let dir = temp_dir();
        let error = SegmentJournal::open(dir.path(), faults.options()).expect_err("the fault");
        assert!(expect(&error), "{error:?}");
        assert!(!error.hint().is_empty());
    };
    check(io::ErrorKind::PermissionDenied, |it| {
        matches!(it, OpenError::Denied { .. })
    });
    check(io::ErrorKind::ReadOnlyFilesystem, |it| {
        matches!(it, OpenError::ReadOnly { .. })
    });
    check(
        io::ErrorKind::StorageFull,
        |it| matches!(it, OpenError::NoSpace { needed, .. } if *needed == 16 << 10),
    );
    check(io::ErrorKind::Other, |it| matches!(it, OpenError::Io { .. }));
    let dir = temp_dir();
    let options = JournalOptions {
        segment_bytes: 8 << 10,
        ..small()
    };
    assert!(matches!(
        SegmentJournal::open(dir.path(), options),
        Err(OpenError::Options { .. })
    ));
}

/// Takes in frames until the journal refuses, and returns how many it took.
fn fill(journal: &mut dyn Journal, purpose: Purpose) -> u64 {
    for count in 0..10_000 {
        match append(journal, purpose, &[&payload(count, 500)]) {
            Ok(_) => {}
            Err(AppendError::Full { .. }) => return count,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the journal never gets full");
}

fn no_more_spares(op: &DiskOp<'_>) -> Option<io::ErrorKind> {
    matches!(op, DiskOp::Create { name: "spare" }).then_some(io::ErrorKind::StorageFull)
}

#[test]
fn intake_comes_back_when_an_operator_makes_room() {
    let dir = temp_dir();
    let faults = Faults::new();
    let options = JournalOptions {
        retry_first: Duration::from_secs(3_600),
        ..faults.options()
    };
    let options = JournalOptions {
        retry_max: Duration::from_secs(3_600),
        ..options
    };
    let (mut journal, _) = with_epoch(SegmentJournal::open(dir.path(), options).expect("it opens"));
    assert!(journal.allocate_now());
    faults.set(no_more_spares);
    assert!(fill(&mut journal, Purpose::Intake) > 20, "the spare is used first");
    assert!(!journal.has_room(500));
    assert!(!journal.allocate_now());
    assert!(
        fill(&mut journal, Purpose::Settle) >= 3,
        "a reserve of 2 KiB holds three frames"
    );
    faults.clear();
    assert!(!journal.has_room(500), "the next attempt is an hour away");
    assert!(journal.allocate_now());
    assert!(journal.has_room(500));
    append_ok(&mut journal, &[&payload(0, 500)]);
}

#[test]
fn intake_comes_back_by_itself() {
    let dir = temp_dir();
    let faults = Faults::new();
    let milli = Duration::from_millis(1);
    let options = JournalOptions {
        retry_first: milli,
        retry_max: milli,
        ..faults.options()
    };
    let (mut journal, _) = with_epoch(SegmentJournal::open(dir.path(), options).expect("it opens"));
    assert!(journal.allocate_now());
    faults.set(no_more_spares);
    fill(&mut journal, Purpose::Intake);
    faults.clear();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !journal.has_room(500) {
        assert!(Instant::now() < deadline, "nobody tried again");
        thread::yield_now();
    }
    append_ok(&mut journal, &[&payload(0, 500)]);
}

/// Holds up the preparation of every segment after the first until a test says how it ends.
struct Gate {
    spares: AtomicUsize,
    verdict: Mutex<Receiver<Option<io::ErrorKind>>>,
}

impl DiskHook for Gate {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        if !matches!(op, DiskOp::Create { name: "spare" }) || self.spares.fetch_add(1, Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let verdict = self.verdict.lock().expect("one thread prepares").recv();
        verdict.ok().flatten().map_or(Ok(()), |kind| Err(kind.into()))
    }
}

/// Asks for room that only the next segment can give while that is being prepared, and lets that end with `verdict`.
fn ask_while_preparing(verdict: Option<io::ErrorKind>, check: impl FnOnce(bool, &mut SegmentJournal)) {
    let dir = temp_dir();
    let (end, verdicts) = channel();
    let hour = Duration::from_secs(3_600);
    let options = JournalOptions {
        hook: Some(Arc::new(Gate {
            spares: AtomicUsize::new(0),
            verdict: Mutex::new(verdicts),
        })),
        retry_first: hour,
        retry_max: hour,
        ..small()
    };
    let (mut journal, _) = with_epoch(SegmentJournal::open(dir.path(), options).expect("it opens"));
    for number in 0..9 {
        append_ok(&mut journal, &[&payload(number, 1_000)]);
    }
    assert!(journal.has_room(100), "what fits beside the reserve waits for nothing");
    let answer = thread::scope(|scope| {
        let (told, answer) = channel();
        let asked = &journal;
        scope.spawn(move || told.send(asked.has_room(1_000)));
        // No answer is right before it is known whether there is a next segment; the wait only gives a wrong one time.
        let early = answer.recv_timeout(Duration::from_millis(200));
        end.send(verdict).expect("the journal prepares a segment");
        assert_eq!(early, Err(RecvTimeoutError::Timeout), "answered before it was known");
        answer.recv().expect("it answers")
    });
    check(answer, &mut journal);
}

#[test]
fn room_in_a_segment_that_cannot_be_prepared_is_not_promised() {
    ask_while_preparing(Some(io::ErrorKind::StorageFull), |answer, journal| {
        assert!(!answer, "what was promised would come out of the reserve");
        assert!(!journal.has_room(1_000), "nor is it promised afterwards");
        assert!(matches!(
            append(journal, Purpose::Intake, &[&payload(0, 1_000)]),
            Err(AppendError::Full { .. })
        ));
        for number in 0..2 {
            append(journal, Purpose::Settle, &[&payload(number, 900)]).expect("the whole reserve is there");
        }
    });
}

#[test]
fn room_in_a_segment_that_is_prepared_meanwhile_is_promised_and_kept() {
    ask_while_preparing(None, |answer, journal| {
        assert!(answer, "the segment was prepared");
        append_ok(journal, &[&payload(0, 1_000)]);
        append_ok(journal, &[&payload(1, 1_000)]);
    });
}

#[test]
fn files_that_vanish_are_noticed_and_appends_go_on() {
    let parent = temp_dir();
    let dir = parent.path().join("journal");
    let (mut journal, _) = with_epoch(open(&dir));
    for number in 0..20 {
        append_ok(&mut journal, &[&payload(number, 1_000)]);
    }
    assert!(segments(&dir).len() > 1, "one is sealed");
    assert_eq!(journal.lost(), None);
    let away = parent.path().join("away");
    for path in segments(&dir).into_iter().chain([dir.join("lock")]) {
        fs::rename(&path, &away).expect("moved");
        let what = journal.lost().expect("it is gone");
        assert!(
            what.contains(&*path.file_name().expect("a name").to_string_lossy()),
            "{what}"
        );
        fs::copy(&away, &path).expect("copied");
        let sealed = segments(&dir).first() == Some(&path);
        assert_eq!(journal.lost().is_some(), !sealed, "a copy is not what is written to");
        fs::rename(&away, &path).expect("moved back");
        assert_eq!(journal.lost(), None);
    }
    fs::rename(&dir, &away).expect("moved");
    assert!(journal.lost().is_some());
    append(&mut journal, Purpose::Settle, &[b"lifted"]).expect("open files take frames");
    fs::rename(&away, &dir).expect("moved back");
    assert_eq!(journal.lost(), None);
}

const FULL_DISK: &str = "STAUNCH_TEST_FULL_DISK";

#[test]
fn a_disk_that_is_really_full_still_lets_us_settle() {
    const NAME: &str = "disk::a_disk_that_is_really_full_still_lets_us_settle";
    if let Some(mount) = env::var_os(FULL_DISK) {
        return on_a_full_disk(Path::new(&mount));
    }
    let mount = temp_dir();
    let run = |script: &str| {
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args([
                mount.path().as_os_str(),
                env::current_exe().expect("this test").as_os_str(),
                NAME.as_ref(),
            ])
            .env(FULL_DISK, mount.path())
            .output()
    };
    match run("mount -t tmpfs -o size=320k staunch-test \"$1\"") {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => return staunch_testkit::skip(NAME, String::from_utf8_lossy(&tried.stderr).trim()),
        Err(error) => return staunch_testkit::skip(NAME, &format!("cannot run unshare: {error}")),
    }
    let script = "mount -t tmpfs -o size=320k staunch-test \"$1\" && exec \"$2\" --exact \"$3\"";
    let child = run(script).expect("it ran before");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

fn on_a_full_disk(mount: &Path) {
    let (dir, ballast) = (mount.join("journal"), mount.join("ballast"));
    fs::write(&ballast, vec![1; 100 << 10]).expect("there is room");
    let options = JournalOptions {
        segment_bytes: 64 << 10,
        reserve_bytes: 8 << 10,
        ..small()
    };
    let (mut journal, _) = with_epoch(SegmentJournal::open(&dir, options.clone()).expect("there is room"));
    let taken_in = fill(&mut journal, Purpose::Intake);
    assert!(
        taken_in > 200,
        "three segments fit on the disk, {taken_in} frames were taken"
    );
    // Others take what is left.
    fs::write(mount.join("more"), vec![1; 1 << 20]).expect_err("the disk is full");
    append(&mut journal, Purpose::Settle, &[&payload(0, 500)]).expect("the reserve");
    assert!(matches!(
        journal.put_snapshot(Lsn(1), &[1; 8192]),
        Err(AppendError::Full { .. })
    ));
    drop(journal);
    // A crash on a full disk: start again, take over, finish what is under way.
    let (mut journal, _) = with_epoch(SegmentJournal::open(&dir, options).expect("a restart needs no room"));
    assert_eq!(journal.tail().lsn, Lsn(taken_in + 1));
    append(&mut journal, Purpose::Intake, &[&payload(0, 500)]).expect_err("there is no room for new work");
    assert!(
        fill(&mut journal, Purpose::Settle) >= 12,
        "a reserve of 8 KiB holds fourteen frames"
    );
    fs::remove_file(&ballast).expect("removed");
    assert!(journal.allocate_now());
    append_ok(&mut journal, &[&payload(0, 500)]);
}
