//! Crashes at every change of the directory, and full disks.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use staunch_model::FailureKind;
use staunch_store::tlog::merkle::leaf_hash;
use staunch_store::{Checkpoint, FileHook, FileOp, TransparencyLog};

use super::merkle::defined;
use super::{entries, open};
use crate::{log_key, quick_dir};

/// Lets so many changes happen and none after them, and writes down every checkpoint that was signed.
struct Cut {
    left: AtomicUsize,
    signed: Mutex<Vec<Checkpoint>>,
}

impl FileHook for Cut {
    fn before(&self, op: &FileOp<'_>) -> io::Result<()> {
        // It was signed before it is written, whether it ever is or not.
        if let FileOp::Write { data, .. } = op
            && let Ok(text) = std::str::from_utf8(data)
            && let Ok(checkpoint) = log_key().verifier().checkpoint(text)
        {
            self.signed.lock().expect("nothing panics in here").push(checkpoint);
        }
        let counted = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted.map(drop).map_err(|_| io::ErrorKind::Other.into())
    }
}

/// Appends until it is cut off; what was acknowledged.
fn write(dir: &Path, changes: usize, batches: &[Vec<Vec<u8>>]) -> (Vec<Vec<u8>>, Vec<Checkpoint>, bool) {
    let hook = Arc::new(Cut {
        left: AtomicUsize::new(changes),
        signed: Mutex::default(),
    });
    let mut acknowledged = Vec::new();
    let mut is_whole = false;
    if let Ok(mut log) = TransparencyLog::open(dir, log_key(), Some(Arc::<Cut>::clone(&hook))) {
        is_whole = batches.iter().all(|batch| {
            let is_done = log.append(batch).is_ok();
            if is_done {
                acknowledged.extend(batch.iter().cloned());
            }
            is_done
        });
    }
    let signed = hook.signed.lock().expect("nothing panics in here").clone();
    (acknowledged, signed, is_whole)
}

#[test]
fn no_crash_makes_a_log_contradict_itself() {
    let label =
        |name: &str, count: u64| -> Vec<Vec<u8>> { (0..count).map(|it| format!("{name} {it}").into_bytes()).collect() };
    let first = [label("a", 3), label("b", 250), label("c", 10), label("d", 260)];
    let second = [label("e", 2), label("f", 300)];
    let mut cuts = 0;
    // The second writer is cut off as well, sooner or later.
    for changes in 0.. {
        let dir = quick_dir();
        let (mut kept, mut signed, is_whole) = write(dir.path(), changes, &first);
        let (more, again, _) = write(dir.path(), changes * 7 % 90, &second);
        kept.extend(more);
        signed.extend(again);
        let mut log = open(dir.path());
        log.append(&label("g", 1)).expect("it goes on");
        kept.push(b"g 0".to_vec());
        let mut all = Vec::new();
        let mut visit = |_, entry: &[u8]| {
            all.push(entry.to_vec());
            ControlFlow::Continue(())
        };
        log.reader().entries(0, &mut visit).expect("it can be read");
        let leaves: Vec<_> = all.iter().map(|it| leaf_hash(it)).collect();
        assert_eq!(log.checkpoint().root, defined(&leaves), "cut after {changes}");
        for checkpoint in signed {
            let size = usize::try_from(checkpoint.size).expect("small");
            assert!(size <= all.len(), "cut after {changes}: {size} were signed");
            assert_eq!(
                checkpoint.root,
                defined(&leaves[..size]),
                "cut after {changes}: {size} were signed otherwise"
            );
        }
        // What was acknowledged is there, in its order.
        let mut rest = all.iter();
        for entry in &kept {
            assert!(rest.any(|it| it == entry), "cut after {changes}: an entry is lost");
        }
        cuts += 1;
        if is_whole {
            break;
        }
    }
    assert!(cuts > 60, "only {cuts} changes were cut off");
}

/// The same log goes on by itself after a disk was full.
#[test]
fn a_full_disk_stops_an_append_and_not_the_log() {
    struct Full(AtomicUsize);
    impl FileHook for Full {
        fn before(&self, _: &FileOp<'_>) -> io::Result<()> {
            if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }
    for at in 1..60 {
        let dir = quick_dir();
        let hook = Arc::new(Full(AtomicUsize::new(usize::MAX)));
        let mut log = TransparencyLog::open(dir.path(), log_key(), Some(Arc::<Full>::clone(&hook))).expect("it opens");
        log.append(&entries(0, 200)).expect("there is room");
        hook.0.store(at, Ordering::Relaxed);
        let first = log.append(&entries(200, 100)).map(drop);
        if let Err(error) = &first {
            assert_eq!(error.to_failure().kind, FailureKind::Full, "{error}");
        }
        hook.0.store(usize::MAX, Ordering::Relaxed);
        log.append(&[b"after"]).expect("it goes on");
        let size = log.checkpoint().size;
        assert!(size >= 201 && (first.is_err() || size == 301), "{size}");
        assert_eq!(log.reader().root().expect("it can be read"), log.checkpoint().root);
    }
}
