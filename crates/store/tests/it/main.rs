//! The journals of `staunch-store`, held to their contract and then broken in every way we could think of.

mod archive;
mod contract;
mod crash;
mod damage;
mod disk;
mod epoch_and_snapshot;
mod export;
mod handling;
mod in_bucket;
mod in_parts;
mod index;
mod lock;
mod memory;
mod outbox;
mod reader;
mod tlog;
mod vault;
mod vault_age;
mod vault_s3;
mod verify;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use staunch_ports::journal::NewFrame;
use staunch_ports::{AppendError, Epoch, Journal, Lsn, Purpose, StoredFrame};
use staunch_store::journal::{DiskHook, DiskOp};
use staunch_store::{JournalOptions, LogKey, SegmentJournal};

/// The origin of the logs that tests make.
const ORIGIN: &str = "staunch.example/0102";

/// The key of these logs.
fn log_key() -> LogKey {
    LogKey::from_seed(ORIGIN, &[7; 32])
}

/// Segments of 16 KiB: small enough to be written many times a second.
fn small() -> JournalOptions {
    JournalOptions {
        segment_bytes: 16 << 10,
        reserve_bytes: 2 << 10,
        payload_bytes_max: 4 << 10,
        ..JournalOptions::default()
    }
}

fn open(dir: &Path) -> SegmentJournal {
    SegmentJournal::open(dir, small()).expect("the journal opens")
}

fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// A directory that costs no syncs, where there is one: hundreds of runs sync dozens of files each, and what is durable
/// is the business of other tests.
fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| temp_dir())
}

/// Appends one batch in the newest epoch.
fn append(journal: &mut dyn Journal, purpose: Purpose, payloads: &[&[u8]]) -> Result<Lsn, AppendError> {
    let tail = journal.tail();
    let frames: Vec<_> = payloads
        .iter()
        .map(|payload| NewFrame {
            now_us: 1_700_000,
            payload,
        })
        .collect();
    journal.append(tail.epoch, tail.lsn, purpose, &frames)
}

fn append_ok(journal: &mut dyn Journal, payloads: &[&[u8]]) {
    append(journal, Purpose::Intake, payloads).expect("there is room");
}

fn frames(journal: &dyn Journal) -> Vec<StoredFrame> {
    let mut all = Vec::new();
    journal
        .read(Lsn(1), &mut |frame| all.push(frame))
        .expect("the journal can be read");
    all
}

/// A payload of `bytes` bytes, none of them zero, that differs from frame to frame.
fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let numbers = (number * 31..).map(|it| u8::try_from(it % 255).expect("below 255") + 1);
    numbers.take(bytes).collect()
}

/// The segment files of a journal, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the directory exists");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "seg"));
    paths.sort();
    paths
}

/// Copies what makes up the log, without the spare.
fn copy_log(from: &Path, to: &Path) {
    for path in segments(from).into_iter().chain([from.join("epoch")]) {
        fs::copy(&path, to.join(path.file_name().expect("a file has a name"))).expect("copied");
    }
}

/// Makes changes of the directory fail when a test says so.
#[derive(Default)]
struct Faults {
    rule: Mutex<Option<Rule>>,
}

type Rule = Box<dyn FnMut(&DiskOp<'_>) -> Option<io::ErrorKind> + Send>;

impl Faults {
    fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn options(self: &Arc<Self>) -> JournalOptions {
        JournalOptions {
            hook: Some(Arc::<Self>::clone(self)),
            ..small()
        }
    }

    fn set(&self, rule: impl FnMut(&DiskOp<'_>) -> Option<io::ErrorKind> + Send + 'static) {
        *self.rule.lock().expect("no test panics in here") = Some(Box::new(rule));
    }

    fn clear(&self) {
        *self.rule.lock().expect("no test panics in here") = None;
    }
}

impl DiskHook for Faults {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        let mut rule = self.rule.lock().expect("no test panics in here");
        rule.as_mut()
            .and_then(|rule| rule(op))
            .map_or(Ok(()), |kind| Err(kind.into()))
    }
}

/// The journal after its first epoch was opened.
fn with_epoch(mut journal: SegmentJournal) -> (SegmentJournal, Epoch) {
    let epoch = journal.open_epoch().expect("an epoch");
    (journal, epoch)
}
