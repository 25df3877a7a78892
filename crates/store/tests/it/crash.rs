//! Power cuts at every change of the directory, on a disk that persists unsynced sectors and names as it likes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use staunch_ports::{Epoch, Journal, Purpose, StoredFrame};
use staunch_store::journal::{DiskHook, DiskOp};
use staunch_store::{JournalOptions, SegmentJournal};

use crate::{append, append_ok, frames, payload, quick_dir};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
enum Event {
    Create(String),
    Write(String, usize, Vec<u8>),
    SetLen(String, usize),
    Sync(String),
    Rename(String, String),
    Remove(String),
    SyncDir,
    /// The writer was told that so many frames are durable.
    Acknowledged(usize),
    /// The writer was given this epoch.
    Epoch(Epoch),
}

/// Writes down every change, and what the writer was told.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
    /// Syncs of segments fail without having done anything.
    broken: AtomicBool,
    /// The next name of a segment is the last change that the writer lives to make.
    dies_naming: AtomicBool,
    dead: AtomicBool,
    /// There is no room for a next segment.
    full: AtomicBool,
}

impl Recorder {
    fn note(&self, event: Event) {
        self.events.lock().expect("nothing panics in here").push(event);
    }

    /// Notes what is about to be done; an error from the moment on at which the writer has died.
    fn note_change(&self, event: Event) -> io::Result<()> {
        let mut events = self.events.lock().expect("nothing panics in here");
        if self.dead.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Other.into());
        }
        let names_a_segment = matches!(&event, Event::Rename(_, to) if to.ends_with(".seg"));
        let dies = names_a_segment && self.dies_naming.swap(false, Ordering::Relaxed);
        self.dead.store(dies, Ordering::Relaxed);
        events.push(event);
        Ok(())
    }
}

impl DiskHook for Recorder {
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) && matches!(op, DiskOp::Sync { name } if name.ends_with(".seg")) {
            return Err(io::ErrorKind::Other.into());
        }
        if self.full.load(Ordering::Relaxed) && matches!(op, DiskOp::Create { name: "spare" }) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let index = |offset: u64| usize::try_from(offset).expect("small files");
        self.note_change(match *op {
            DiskOp::Create { name } => Event::Create(name.to_owned()),
            DiskOp::Write { name, offset, data } => Event::Write(name.to_owned(), index(offset), data.to_vec()),
            DiskOp::SetLen { name, len } => Event::SetLen(name.to_owned(), index(len)),
            DiskOp::Sync { name } => Event::Sync(name.to_owned()),
            DiskOp::Rename { from, to } => Event::Rename(from.to_owned(), to.to_owned()),
            DiskOp::Remove { name } => Event::Remove(name.to_owned()),
            DiskOp::SyncDir => Event::SyncDir,
        })
    }
}

/// A file as the disk and as the cache of the kernel has it.
#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    /// Pieces of at most one sector, or a new length.
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Sector(usize, Vec<u8>),
    Len(usize),
}

impl Inode {
    fn write(&mut self, mut at: usize, mut data: &[u8]) {
        while !data.is_empty() {
            let piece = data.len().min(SECTOR_BYTES - at % SECTOR_BYTES);
            self.pending.push(Pending::Sector(at, data[..piece].to_vec()));
            (at, data) = (at + piece, &data[piece..]);
        }
    }

    /// Makes those pending changes durable that `keep` chooses, and forgets the others.
    fn settle(&mut self, mut keep: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            if !keep() {
                continue;
            }
            match change {
                Pending::Sector(at, data) => {
                    let end = at + data.len();
                    self.durable.resize(self.durable.len().max(end), 0);
                    self.durable[at..end].copy_from_slice(&data);
                }
                Pending::Len(len) => self.durable.resize(len, 0),
            }
        }
    }
}

/// A disk that forgets. Names persist in order, as in a journaling file system; sectors persist in any order.
#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// What the names were after each change since the last sync of the directory. The first is the durable state.
    pending_names: Vec<BTreeMap<String, usize>>,
}

impl Disk {
    /// The disk with just what is in `dir`, all of it durable.
    fn found(dir: &Path) -> Self {
        let mut disk = Self::default();
        for entry in std::fs::read_dir(dir).expect("it is there") {
            let entry = entry.expect("it can be read");
            let name = entry.file_name().into_string().expect("names are ASCII");
            disk.names.insert(name, disk.inodes.len());
            disk.inodes.push(Inode {
                durable: std::fs::read(entry.path()).expect("it can be read"),
                pending: Vec::new(),
            });
        }
        disk.pending_names.push(disk.names.clone());
        disk
    }

    fn run(&mut self, event: &Event) {
        match event {
            Event::Create(name) if self.names.contains_key(name) => {}
            Event::Create(name) => {
                self.inodes.push(Inode::default());
                let inode = self.inodes.len() - 1;
                self.rename_with(|names| names.extend([(name.clone(), inode)]));
            }
            Event::Rename(from, to) => self.rename_with(|names| {
                let inode = names.remove(from).expect("only existing files are renamed");
                names.insert(to.clone(), inode);
            }),
            Event::Remove(name) => self.rename_with(|names| names.retain(|other, _| other != name)),
            Event::Write(name, at, data) => self.inode(name).write(*at, data),
            Event::SetLen(name, len) => self.inode(name).pending.push(Pending::Len(*len)),
            Event::Sync(name) => self.inode(name).settle(|| true),
            Event::SyncDir => self.pending_names = vec![self.names.clone()],
            Event::Acknowledged(_) | Event::Epoch(_) => {}
        }
    }

    fn inode(&mut self, name: &str) -> &mut Inode {
        &mut self.inodes[self.names[name]]
    }

    fn rename_with(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        if self.pending_names.is_empty() {
            self.pending_names.push(BTreeMap::new());
        }
        change(&mut self.names);
        self.pending_names.push(self.names.clone());
    }

    /// What is found after the power comes back, written into `dir`.
    fn power_cut(mut self, dir: &Path, dice: &mut Dice) {
        let names = match self.pending_names.len() {
            0 => BTreeMap::new(),
            states => self.pending_names.swap_remove(dice.below(states)),
        };
        // Sometimes nearly all, sometimes nearly none of the sectors make it.
        let odds = dice.below(9) + 1;
        for (name, inode) in names {
            let inode = &mut self.inodes[inode];
            inode.settle(|| dice.below(10) < odds);
            std::fs::write(dir.join(name), &inode.durable).expect("written");
        }
    }
}

/// A small generator of numbers (xorshift64), so that a failing case has one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).expect("48 bits") % limit
    }
}

fn options(hook: Option<Arc<dyn DiskHook>>) -> JournalOptions {
    JournalOptions {
        segment_bytes: 10 << 10,
        reserve_bytes: 1 << 10,
        payload_bytes_max: 2 << 10,
        hook,
        ..JournalOptions::default()
    }
}

/// Runs three writers, one after the other, and returns everything that happened, and the whole history.
///
/// The first and the last die with frames written that were not synced, and the second dies when it has just named a
/// segment. The next one finds what they left and acts upon it.
fn record(batches: &[Vec<usize>]) -> (Vec<Event>, Vec<StoredFrame>) {
    let dir = quick_dir();
    let recorder = Arc::new(Recorder::default());
    let mut number = 0;
    let mut history = Vec::new();
    for (writer, run) in batches.chunks(batches.len().div_ceil(3)).enumerate() {
        recorder.broken.store(false, Ordering::Relaxed);
        recorder.dead.store(false, Ordering::Relaxed);
        // Making the next segment would make the name of this one durable, too.
        recorder.full.store(writer == 2, Ordering::Relaxed);
        let hook: Arc<dyn DiskHook> = Arc::<Recorder>::clone(&recorder);
        let mut journal = SegmentJournal::open(dir.path(), options(Some(hook))).expect("it opens");
        recorder.note(Event::Acknowledged(frames(&journal).len()));
        recorder.note(Event::Epoch(journal.open_epoch().expect("an epoch")));
        for sizes in run {
            let payloads: Vec<_> = (number..)
                .zip(sizes)
                .map(|(number, size)| payload(number, *size))
                .collect();
            append_ok(&mut journal, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
            number += sizes.len() as u64;
            recorder.note(Event::Acknowledged(
                usize::try_from(journal.tail().lsn.0).expect("small"),
            ));
            if recorder.full.swap(false, Ordering::Relaxed) {
                assert!(journal.allocate_now());
            }
        }
        if writer == 1 {
            recorder.dies_naming.store(true, Ordering::Relaxed);
            while append(&mut journal, Purpose::Intake, &[&payload(number, 900)]).is_ok() {
                number += 1;
                let tail = usize::try_from(journal.tail().lsn.0).expect("small");
                recorder.note(Event::Acknowledged(tail));
            }
            assert!(recorder.dead.load(Ordering::Relaxed), "it died of something else");
            history = frames(&journal);
            number += 1;
            continue;
        }
        history = frames(&journal);
        recorder.broken.store(true, Ordering::Relaxed);
        let unsynced: [&[u8]; 2] = [&payload(number, 700), &payload(number + 1, 600)];
        append(&mut journal, Purpose::Intake, &unsynced).expect_err("the sync fails");
        number += 2;
    }
    // What the last writer left unsynced belongs to the history too.
    recorder.broken.store(false, Ordering::Relaxed);
    let events = recorder.events.lock().expect("nothing panics in here").clone();
    let last = SegmentJournal::open(dir.path(), options(None)).expect("it opens");
    let found = frames(&last);
    assert_eq!(found[..history.len()], history);
    (events, found)
}

/// Cuts the power after `events` and checks what a restart finds.
fn check(events: &[Event], history: &[StoredFrame], dice: &mut Dice) {
    check_from(Disk::default(), events, history, dice);
}

/// Cuts the power after `events`, and once more at some moment of what the next writer does about it.
fn check_twice(events: &[Event], dice: &mut Dice) {
    let (mut disk, mut told) = (Disk::default(), Vec::new());
    for event in events {
        disk.run(event);
        if matches!(event, Event::Acknowledged(_) | Event::Epoch(_)) {
            told.push(event.clone());
        }
    }
    let dir = quick_dir();
    disk.power_cut(dir.path(), dice);
    let disk = Disk::found(dir.path());
    let recorder = Arc::new(Recorder::default());
    let hook: Arc<dyn DiskHook> = Arc::<Recorder>::clone(&recorder);
    let mut journal = SegmentJournal::open(dir.path(), options(Some(hook))).expect("it opens");
    recorder.note(Event::Acknowledged(frames(&journal).len()));
    recorder.note(Event::Epoch(journal.open_epoch().expect("an epoch")));
    for number in 0..3 {
        append_ok(&mut journal, &[&payload(number, 900)]);
        let tail = usize::try_from(journal.tail().lsn.0).expect("small");
        recorder.note(Event::Acknowledged(tail));
    }
    let history = frames(&journal);
    drop(journal);
    let done = recorder.events.lock().expect("nothing panics in here").clone();
    for _ in 0..2 {
        let end = dice.below(done.len() + 1);
        let both = [&told[..], &done[..end]].concat();
        check_from(disk.clone(), &both, &history, dice);
    }
}

fn check_from(mut disk: Disk, events: &[Event], history: &[StoredFrame], dice: &mut Dice) {
    let (mut acknowledged, mut epoch) = (0, Epoch(0));
    for event in events {
        disk.run(event);
        match event {
            Event::Acknowledged(frames) => acknowledged = *frames,
            Event::Epoch(newest) => epoch = *newest,
            _ => {}
        }
    }
    let dir = quick_dir();
    disk.power_cut(dir.path(), dice);
    let context = || format!("after {} events, the last {:?}", events.len(), events.last());
    let mut journal =
        SegmentJournal::open(dir.path(), options(None)).unwrap_or_else(|error| panic!("{error} {}", context()));
    let found = frames(&journal);
    assert!(
        found.len() >= acknowledged,
        "{} of {acknowledged} frames, {}",
        found.len(),
        context()
    );
    assert!(
        found.len() <= history.len() && found == history[..found.len()],
        "another history, {}",
        context()
    );
    assert!(
        journal.tail().epoch >= epoch,
        "epoch {epoch} was given out, {}",
        context()
    );
    journal.open_epoch().expect("an epoch");
    append_ok(&mut journal, &[b"after the power cut"]);
    let grown = frames(&journal);
    drop(journal);
    let journal = SegmentJournal::open(dir.path(), options(None)).expect("nothing is left of what was cut");
    assert_eq!(frames(&journal), grown, "{}", context());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_at_any_moment_leaves_a_prefix_with_all_that_was_acknowledged(
        batches in prop::collection::vec(prop::collection::vec(1_usize..1_200, 1..5), 6..16),
        seed in 1..u64::MAX,
    ) {
        let (events, history) = record(&batches);
        let mut dice = Dice(seed);
        for end in 0..=events.len() {
            for _ in 0..2 {
                check(&events[..end], &history, &mut dice);
            }
        }
    }

    #[test]
    fn a_second_power_cut_while_the_first_is_mended_loses_no_more(
        batches in prop::collection::vec(prop::collection::vec(1_usize..1_200, 1..5), 6..16),
        seed in 1..u64::MAX,
    ) {
        let (events, _) = record(&batches);
        let mut dice = Dice(seed);
        for _ in 0..60 {
            let end = dice.below(events.len() + 1);
            check_twice(&events[..end], &mut dice);
        }
    }
}
