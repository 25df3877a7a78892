//! What a full disk has left is logged when there is room again, without a restart.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use staunch_ports::journal::NewFrame;
use staunch_ports::{Journal as _, Purpose};
use staunch_runtime::telemetry::LogReading;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::vault::{DirVaultOptions, HandlingLog};
use staunch_store::{DirVault, FileHook, FileOp, JournalOptions, SegmentJournal};

use staunch_testkit::contract::vault::{record, store};

use super::*;
use crate::files::read_bounded;

/// A disk that has no room for records while it is full.
#[derive(Default)]
struct Full(AtomicBool);

impl FileHook for Full {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        match op {
            FileOp::Link { to, .. } if to.starts_with("records/") && self.0.load(Ordering::Relaxed) => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}

fn serve(dir: &Path, disk: Arc<Full>) -> (Arc<dyn Vault>, LogVerifier) {
    serve_with(dir, disk, Arc::default())
}

fn serve_with(dir: &Path, disk: Arc<Full>, meter: Arc<LogMeter>) -> (Arc<dyn Vault>, LogVerifier) {
    let options = DirVaultOptions {
        is_immutable: false,
        hook: Some(disk),
        ..DirVaultOptions::default()
    };
    let vault: Arc<dyn Vault> = Arc::new(DirVault::open(&dir.join("vault"), options).expect("the vault opens"));
    let parts = LogbookParts {
        dir: dir.join("log"),
        key: dir.join("key"),
        public_key: dir.join("key.pub"),
        name: "web-1/staunch".into(),
        journal: dir.join("journal"),
        handling: HandlingLog::in_folder(dir),
    };
    let key = parts.open_key().expect("there is a key");
    let logged = LoggedVault::start(vault, key, parts, meter).expect("there is a log");
    let key = logged.key().clone();
    (Arc::new(logged), key)
}

/// Waits until the log has so many entries.
fn wait_for(dir: &Path, key: &LogVerifier, entries: u64) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let note = read_bounded(&dir.join("log").join(CHECKPOINT), NOTE_BYTES_MAX).unwrap_or_default();
        let size = key.checkpoint(&note).map_or(0, |it| it.size);
        if size >= entries {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the log has {size} entries, and not {entries}"
        );
        thread::yield_now();
    }
}

/// Seals one artefact and its record.
fn seal(vault: &dyn Vault, evidence: u64) -> Result<Sha256Hash, Failure> {
    let sealed = store(vault, 1, evidence, b"evidence");
    vault.put_record(&record(&sealed))
}

#[test]
fn manifests_without_a_record_are_logged_when_the_record_has_no_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(Full::default());
    let (vault, key) = serve(dir.path(), Arc::clone(&disk));
    disk.0.store(true, Ordering::Relaxed);
    let failure = seal(&*vault, 1).expect_err("there is no room");
    assert_eq!(failure.kind, FailureKind::Full, "{failure}");
    assert!(!failure.to_string().contains("records/"), "{failure}");
    // The manifest is there, and nothing else comes that would have it logged.
    wait_for(dir.path(), &key, 1);
}

/// A journal with these frames.
fn written(dir: &Path, payloads: &[&[u8]]) -> SegmentJournal {
    let mut journal = SegmentJournal::open(dir, JournalOptions::default()).expect("it opens");
    journal.open_epoch().expect("an epoch");
    let (now_us, tail) = (1_700_000, journal.tail());
    let frames: Vec<NewFrame<'_>> = payloads.iter().map(|payload| NewFrame { now_us, payload }).collect();
    let appended = journal.append(tail.epoch, tail.lsn, Purpose::Intake, &frames);
    appended.expect("there is room");
    journal
}

/// Waits until the meter says so.
fn wait_until(meter: &LogMeter, what: &str, is_so: impl Fn(LogReading) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so(meter.reading()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", meter.reading());
        thread::yield_now();
    }
}

#[test]
fn how_far_the_log_is_behind_the_journal_is_told() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (journal, moved) = (dir.path().join("journal"), dir.path().join("moved"));
    let journal_of_two = written(&journal, &[b"one", b"two"]);
    let tail = journal_of_two.tail().lsn.0;
    let meter = Arc::new(LogMeter::default());
    let (vault, _) = serve_with(dir.path(), Arc::default(), Arc::clone(&meter));
    assert_eq!(meter.reading().behind_by, None, "nobody has said what is durable");
    assert!(!meter.reading().behind_for.is_zero());
    meter.durable_up_to(tail - 1);
    assert_eq!(meter.reading().behind_by, Some(tail - 1));
    // What is sealed has the frames logged as well, up to the last that is durable.
    seal(&*vault, 1).expect("there is room");
    wait_until(&meter, "it is level", |it| {
        it.behind_by == Some(0) && it.behind_for.is_zero()
    });

    // A journal that cannot be read leaves the log behind, and says so.
    std::fs::rename(&journal, &moved).expect("it is ours");
    meter.durable_up_to(tail);
    seal(&*vault, 2).expect("there is room");
    wait_until(&meter, "it is behind", |it| it.behind_by == Some(1));
    std::fs::rename(&moved, &journal).expect("it is ours");
    seal(&*vault, 3).expect("there is room");
    wait_until(&meter, "it is level again", |it| it.behind_for.is_zero());
}

#[test]
fn a_log_with_more_than_the_journal_is_not_level() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let journal = dir.path().join("journal");
    let journal_of_two = written(&journal, &[b"one", b"two"]);
    let tail = journal_of_two.tail().lsn.0;
    let meter = Arc::new(LogMeter::default());
    let (vault, _) = serve_with(dir.path(), Arc::default(), Arc::clone(&meter));
    meter.durable_up_to(tail);
    seal(&*vault, 1).expect("there is room");
    wait_until(&meter, "it is level", |it| it.behind_for.is_zero());
    drop(journal_of_two);

    // Another journal, which is shorter, stands in its place.
    std::fs::remove_dir_all(&journal).expect("it is ours");
    let shorter = written(&journal, &[b"one"]);
    meter.durable_up_to(shorter.tail().lsn.0);
    seal(&*vault, 2).expect("there is room");
    wait_until(&meter, "it is told", |it| !it.behind_for.is_zero());
}

#[test]
fn who_is_left_is_tried_again_later_and_later() {
    let mut left = Left::default();
    assert_eq!((left.due(), left.pause()), (Vec::new(), ROUND));
    let full = Failure::new(FailureKind::Full, "full");
    left.took(IncidentId(1), Err(full.clone()));
    left.took(IncidentId(2), Err(full.clone()));
    assert!(left.pause() <= RETRY && left.due().is_empty());
    left.again = Some(Instant::now());
    assert_eq!(left.due(), [IncidentId(1), IncidentId(2)]);
    assert!(left.pause() > RETRY);
    left.took(IncidentId(1), Ok(1));
    left.took(IncidentId(2), Err(full));
    assert!(left.pause() > RETRY, "what fails again does not begin anew");
    left.took(IncidentId(2), Ok(3));
    assert_eq!((left.due(), left.pause()), (Vec::new(), ROUND));
}

#[test]
fn the_public_key_has_its_name_when_it_is_whole_and_another_one_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("evidence.pub");
    // What somebody has put beside it, or an earlier version has left, stands in nobody's way.
    std::fs::create_dir(file.with_extension("pub.new")).expect("it is our directory");
    for _ in 0..2 {
        tell_key(&file, "a key\n").expect("there is room");
    }
    let read = || std::fs::read_to_string(&file).expect("it is there");
    assert_eq!(read(), "a key\n");
    let failure = tell_key(&file, "another\n").expect_err("it is another");
    assert_eq!((failure.kind, &*read()), (FailureKind::Conflict, "a key\n"));
    let names = std::fs::read_dir(dir.path()).expect("it is there").count();
    assert_eq!(names, 2, "nothing is left beside it");
}
