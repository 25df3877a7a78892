//! The transparency log: the vectors of others, another implementation, and crashes at every change of the directory.

mod crash;
mod merkle;
mod others;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use staunch_model::{FailureKind, LogEntry, Logged};
use staunch_ports::Journal as _;
use staunch_store::tlog::CHECKPOINT;
use staunch_store::tlog::merkle::{empty_root, leaf_hash};
use staunch_store::tlog::put_back::signed_beyond;
use staunch_store::tlog::tile::{ENTRY_BYTES_MAX, Tile};
use staunch_store::vault::logged::Logbook;
use staunch_store::{DirVault, DirVaultOptions, FileHook, FileOp, LogError, LogKey, MemoryJournal, TransparencyLog};
use staunch_testkit::contract::vault::{record, store};

use self::merkle::defined;
use crate::{ORIGIN, append_ok, log_key, quick_dir};

fn open(dir: &Path) -> TransparencyLog {
    TransparencyLog::open(dir, log_key(), None).expect("the log opens")
}

fn entries(from: u64, count: u64) -> Vec<Vec<u8>> {
    (from..from + count)
        .map(|it| format!("entry {it}\n").into_bytes())
        .collect()
}

#[test]
fn what_is_appended_is_read_back_by_its_number() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    assert_eq!((log.checkpoint().size, log.checkpoint().root), (0, empty_root()));
    let all = entries(0, 1_500);
    let mut at = 0;
    for count in (0..).map(|it| it * 7 % 50) {
        let end = (at + count).min(all.len());
        log.append(&all[at..end]).expect("there is room");
        at = end;
        if at == all.len() {
            break;
        }
        if count % 3 == 0 {
            drop(log);
            log = open(dir.path());
        }
    }
    let leaves: Vec<_> = all.iter().map(|it| leaf_hash(it)).collect();
    assert_eq!(log.checkpoint().root, defined(&leaves));
    let read = |first: u64| {
        let mut read = BTreeMap::new();
        let mut visit = |number, entry: &[u8]| {
            read.insert(number, entry.to_vec());
            ControlFlow::Continue(())
        };
        log.reader().entries(first, &mut visit).expect("it can be read");
        read
    };
    assert!(read(0).into_iter().eq((0..).zip(all.clone())));
    assert!(read(300).into_iter().eq((300..).zip(all[300..].to_vec())));
    // Partial tiles are gone where full ones have taken their place.
    assert!(!dir.path().join("tile/0/000.p").exists() && !dir.path().join("tile/entries/004.p").exists());
    assert!(dir.path().join("tile/0/005.p/220").exists());
    assert!(dir.path().join("tile/1/000.p/5").exists());
}

#[test]
fn an_entry_that_is_too_long_is_refused_with_all_beside_it() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    log.append(&[vec![1; ENTRY_BYTES_MAX], Vec::new()]).expect("it fits");
    let refused = log.append(&[vec![2], vec![1; ENTRY_BYTES_MAX + 1]]);
    assert!(matches!(refused, Err(LogError::TooLong { .. })));
    assert_eq!(log.checkpoint().size, 2);
    log.append(&[b"x"]).expect("it goes on");
}

#[test]
fn one_process_writes_with_one_key() {
    let dir = quick_dir();
    let log = open(dir.path());
    let second = TransparencyLog::open(dir.path(), log_key(), None);
    assert!(matches!(second, Err(LogError::Locked { .. })));
    drop(log);
    let other = LogKey::from_seed(ORIGIN, &[8; 32]);
    let other = TransparencyLog::open(dir.path(), other, None).expect_err("it is another's");
    assert_eq!(other.to_failure().kind, FailureKind::Conflict, "{other}");
    open(dir.path());
}

/// Nothing is signed over what is not the log that was signed before.
#[test]
fn a_damaged_log_is_not_gone_on_with() {
    let names = [
        "tile/0/000",
        "tile/1/000.p/1",
        "tile/0/001.p/44",
        "tile/entries/001.p/44",
        "checkpoint",
    ];
    for name in names {
        for what in ["changed", "cut", "gone"] {
            let dir = quick_dir();
            let mut log = open(dir.path());
            log.append(&entries(0, 300)).expect("there is room");
            drop(log);
            let path = dir.path().join(name);
            let mut bytes = fs::read(&path).expect("it is there");
            fs::remove_file(&path).expect("the directory is ours");
            match what {
                "changed" => bytes[10] ^= 1,
                "cut" => bytes.truncate(20),
                _ => bytes.clear(),
            }
            if what != "gone" {
                fs::write(&path, bytes).expect("the directory is ours");
            }
            let opened = TransparencyLog::open(dir.path(), log_key(), None);
            let is_found = opened.is_err();
            // The start reads the right edge only, and the rest is for who verifies.
            assert_eq!(is_found, name != "tile/0/000", "{name} {what}");
        }
    }
}

fn open_again(book: Logbook, dir: &Path) -> TransparencyLog {
    drop(book);
    open(dir)
}

#[test]
fn what_was_not_logged_is_logged_later_and_once() {
    let dir = quick_dir();
    let options = DirVaultOptions {
        is_immutable: false,
        ..DirVaultOptions::default()
    };
    let vault = DirVault::open(&dir.path().join("vault"), options).expect("the vault opens");
    let mut book = Logbook::new(open(&dir.path().join("log"))).expect("it is empty");
    let sealed: Vec<_> = (0..300_u64)
        .map(|it| store(&vault, it % 3, it % 7, &it.to_le_bytes()))
        .collect();
    let hash = staunch_ports::Vault::put_record(&vault, &record(&sealed[0])).expect("it is stored");
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(301)
    );
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(0)
    );
    store(&vault, 1, 1, b"later");
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(1)
    );

    let mut journal = MemoryJournal::new();
    journal.open_epoch().expect("an epoch");
    append_ok(&mut journal, &[b"one", b"two"]);
    book.take_frames(|from, visit| journal.read(from, visit))
        .expect("it is logged");
    book.take_frames(|from, visit| journal.read(from, visit))
        .expect("there is nothing to log");
    append_ok(&mut journal, &[b"three"]);
    book.take_frames(|from, visit| journal.read(from, visit))
        .expect("it is logged");
    // Whoever begins anew knows what is logged.
    let mut book = Logbook::new(open_again(book, &dir.path().join("log"))).expect("it can be read");
    assert_eq!(
        book.take_all(&vault, &mut |incident, failure| panic!("{incident}: {failure}")),
        Ok(0)
    );
    assert_eq!(
        book.take_frames(|from, visit| journal.read(from, visit)),
        Ok(journal.tail().lsn)
    );
    let log = book.log();
    assert_eq!(log.checkpoint().size, 304);
    let mut frames = Vec::new();
    let mut records = Vec::new();
    let mut visit = |_, entry: &[u8]| {
        match LogEntry::parse(entry).expect("it is one of ours").logged {
            Logged::Frames { first, last, chain } => frames.push((first, last, chain.0)),
            Logged::Collection { record, .. } => records.push(record),
            Logged::Manifest { .. } | Logged::Handling { .. } => {}
        }
        ControlFlow::Continue(())
    };
    log.reader().entries(0, &mut visit).expect("it can be read");
    let tail = journal.tail();
    assert_eq!(records, [hash]);
    assert_eq!((frames[0].0, frames[0].1), (1, tail.lsn.0 - 1));
    assert_eq!(frames[1], (tail.lsn.0, tail.lsn.0, tail.hash));
}

#[test]
fn names_in_the_log_are_those_of_tiles() {
    let dir = quick_dir();
    let mut log = open(dir.path());
    log.append(&entries(0, 1_000)).expect("there is room");
    let mut stack = vec![dir.path().join("tile")];
    let mut tiles = 0;
    while let Some(path) = stack.pop() {
        if path.is_dir() {
            stack.extend(
                fs::read_dir(&path)
                    .expect("a directory")
                    .map(|it| it.expect("an entry").path()),
            );
        } else {
            let name = path
                .strip_prefix(dir.path())
                .expect("it is below")
                .to_str()
                .expect("text");
            assert!(Tile::parse(name).is_some(), "{name}");
            tiles += 1;
        }
    }
    assert_eq!(tiles, 9);
}

/// The note of the log in `dir`.
fn checkpoint_of(dir: &Path) -> Vec<u8> {
    fs::read(dir.join(CHECKPOINT)).expect("it is there")
}

#[test]
fn a_checkpoint_that_was_put_back_is_told_by_the_tiles_of_those_after_it() {
    for (first, more) in [(2, [3, 4, 0]), (2, [300, 1, 2]), (255, [2, 2, 0])] {
        let dir = quick_dir();
        let mut log = open(dir.path());
        let (mut size, mut sizes) = (0, Vec::new());
        let mut notes = Vec::new();
        for count in [first].into_iter().chain(more).filter(|it| *it > 0) {
            log.append(&entries(size, count)).expect("there is room");
            size += count;
            sizes.push(size);
            notes.push(checkpoint_of(dir.path()));
            assert_eq!(signed_beyond(dir.path(), size).expect("it lists"), None);
        }
        let before_last = sizes[sizes.len() - 2];
        fs::remove_file(dir.path().join(CHECKPOINT)).expect("it is ours");
        fs::write(dir.path().join(CHECKPOINT), &notes[0]).expect("it is ours");
        let beyond = signed_beyond(dir.path(), first).expect("it lists");
        assert_eq!(beyond, Some(before_last), "{first} and {more:?}");
        assert_eq!(
            signed_beyond(dir.path(), before_last).expect("it lists"),
            None,
            "the last may not have been signed"
        );
    }
}

/// A disk that takes no checkpoint while it is full.
#[derive(Debug, Default)]
struct NoCheckpoint(AtomicBool);

impl FileHook for NoCheckpoint {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        match op {
            FileOp::Rename { to, .. } if *to == CHECKPOINT && self.0.load(Ordering::Relaxed) => {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => Ok(()),
        }
    }
}

#[test]
fn a_log_that_finds_no_room_for_its_checkpoint_was_not_put_back() {
    let dir = quick_dir();
    let disk = Arc::new(NoCheckpoint::default());
    let hook: Arc<dyn FileHook> = disk.clone();
    let mut log = TransparencyLog::open(dir.path(), log_key(), Some(hook)).expect("the log opens");
    log.append(&entries(0, 2)).expect("there is room");
    disk.0.store(true, Ordering::Relaxed);
    for at in [2, 5, 9] {
        log.append(&entries(at, 3))
            .expect_err("there is no room for the checkpoint");
        assert_eq!(signed_beyond(dir.path(), 2).expect("it lists"), None);
    }
    disk.0.store(false, Ordering::Relaxed);
    log.append(&entries(5, 3)).expect("there is room");
    assert_eq!(log.checkpoint().size, 8);
}
