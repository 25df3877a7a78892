//! Any bytes as a segment of a journal: sixty bytes of a header, then what follows the header block.
//!
//! What holds, by comparison with [`crate::format`]: nobody is shown a frame whose checksum, position or chain is
//! wrong; what is shown begins with the first frame and has no gap; a journal that opens holds every frame that
//! verifies and can be written to; and one that does not open is left as it was.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use staunch_ports::journal::NewFrame;
use staunch_ports::{Journal, Lsn, Purpose, StoredFrame};
use staunch_store::journal::SEGMENT_HEADER_BYTES;
use staunch_store::{OpenError, ReadOnlyJournal, SegmentJournal, verify};

use crate::format::{self, SegmentHead};

/// Bytes of the header that are read.
const HEAD_USED: usize = 60;

/// Reads a segment.
pub fn run(data: &[u8]) {
    let (head, rest) = data.split_at(HEAD_USED.min(data.len()));
    let mut file = head.to_vec();
    if head.len() == HEAD_USED {
        file.resize(usize::try_from(SEGMENT_HEADER_BYTES).expect("a small number"), 0);
        file.extend(rest);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join(SegmentHead::first().file_name()), file).expect("it is our directory");
    let _ = history(dir.path());
}

/// Reads the journal in `dir` in every way there is, holds them to the same history, and returns it when the journal
/// opens.
pub(crate) fn history(dir: &Path) -> Option<Vec<StoredFrame>> {
    let from_first = provable(dir, 1);
    let provable = provable(dir, 0);
    let verified = verify(dir).ok().map(|report| {
        let count = usize::try_from(report.frames).expect("fewer frames than bytes");
        assert!(count <= provable.len(), "{report:?}");
        let last = count.checked_sub(1).map(|last| &provable[last]);
        assert_eq!(report.tail.lsn.0, report.frames);
        assert_eq!(report.tail.hash, last.map(|it| it.hash).unwrap_or_default());
        if report.corruption.is_none() {
            assert_eq!(count, provable.len(), "nothing that verifies is left out: {report:?}");
        }
        report.corruption.is_none()
    });
    let whole = verified.unwrap_or(false);

    let mut seen = Vec::new();
    let mut visit = |frame: StoredFrame| {
        seen.push(frame);
        ControlFlow::Continue(())
    };
    let read = ReadOnlyJournal::open(dir).map(|journal| journal.read(Lsn(1), &mut visit));
    // A reader looks at no segment before the one that it begins with.
    assert_prefix(&seen, &from_first);
    if whole && !format::segments(dir).is_empty() {
        assert!(matches!(read, Ok(Ok(()))), "verified, but not read: {read:?}");
        assert_eq!(seen.len(), provable.len());
    }

    let before = contents(dir);
    match SegmentJournal::open(dir, format::options()) {
        Ok(journal) => {
            assert!(whole, "it opens, but does not verify");
            assert_eq!(journal.recovered().frames, provable.len() as u64);
            let sizes = contents(dir).into_iter().map(|(path, bytes)| (path, bytes.len()));
            for (path, size) in sizes {
                let most = before.get(&path).map_or(0, Vec::len).max(format::SEGMENT_BYTES);
                assert!(size <= most, "{size} bytes, because a number in the file says so");
            }
            write_on(journal, dir, &provable);
            Some(provable)
        }
        Err(error) => {
            assert!(
                !whole || !matches!(error, OpenError::Corrupt { .. }),
                "it verifies, but does not open: {error}"
            );
            assert_eq!(
                contents(dir),
                before,
                "a journal that does not open is left as it was: {error}"
            );
            None
        }
    }
}

/// Appends a frame, opens the journal again, and finds both.
fn write_on(mut journal: SegmentJournal, dir: &Path, known: &[StoredFrame]) {
    assert_eq!(frames(&journal), known);
    let Ok(epoch) = journal.open_epoch() else {
        return;
    };
    let new = NewFrame {
        now_us: 7,
        payload: b"one more",
    };
    let tail = journal.tail();
    let appended = journal.append(epoch, tail.lsn, Purpose::Settle, &[new]);
    assert_eq!(appended.expect("there is room for one frame"), tail.lsn.next());
    drop(journal);
    let journal = SegmentJournal::open(dir, format::options()).expect("a journal that was closed opens");
    assert_eq!(journal.recovered().torn_bytes, 0);
    let mut now = frames(&journal);
    let last = now.pop().expect("a frame was appended");
    assert_eq!((last.lsn, &*last.payload), (tail.lsn.next(), &b"one more"[..]));
    assert_eq!(now, known);
}

fn frames(journal: &SegmentJournal) -> Vec<StoredFrame> {
    let mut found = Vec::new();
    journal
        .read(Lsn(1), &mut |frame| found.push(frame))
        .expect("an open journal can be read");
    found
}

/// The longest history that the files of `dir` prove, from the first frame on. Files of positions before `least` are
/// left out.
fn provable(dir: &Path, least: u64) -> Vec<StoredFrame> {
    let mut known: Vec<StoredFrame> = Vec::new();
    let first = format!("{least:020}.seg");
    for path in format::segments(dir) {
        if path.file_name().is_some_and(|name| *name < *first) {
            continue;
        }
        let file = fs::read(&path).expect("it is our directory");
        let Some(head) = SegmentHead::decode(&file) else {
            break;
        };
        let (lsn, prev, epoch) = known
            .last()
            .map_or((0, [0; 16], 0), |it| (it.lsn.0, it.hash, it.epoch.0));
        let named = path.file_name().is_some_and(|name| *name == *head.file_name());
        if !named || head.first_lsn != lsn + 1 || head.prev != prev {
            break;
        }
        let found = format::frames(&file);
        if found.first().is_some_and(|first| first.epoch.0 < epoch) {
            break;
        }
        known.extend(found);
    }
    known
}

pub(crate) fn assert_prefix(found: &[StoredFrame], of: &[StoredFrame]) {
    for frame in found {
        assert_eq!(
            format::chain(frame),
            frame.hash,
            "a frame with a wrong chain value is shown"
        );
    }
    assert!(
        of.starts_with(found),
        "{} frames are shown that are no beginning of the log",
        found.len()
    );
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("it is our directory");
        (path, bytes)
    };
    format::segments(dir).into_iter().map(read).collect()
}
