//! The segment journal gives back what was appended, and after any cut a beginning of it.

use std::fs::{self, OpenOptions};

use proptest::prelude::*;
use staunch_engine::EngineState;
use staunch_fuzzing::format;
use staunch_model::Frame;
use staunch_ports::journal::NewFrame;
use staunch_ports::{Journal as _, Lsn, Purpose, StoredFrame};
use staunch_store::SegmentJournal;
use staunch_store::journal::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};

use crate::payload::{any_state, any_value};

/// Appends of one to three frames each.
fn history() -> impl Strategy<Value = Vec<Vec<Frame>>> {
    let frame = any_value::<Frame>().prop_filter("it fits into these small segments", |frame| {
        postcard::to_stdvec(frame).is_ok_and(|bytes| bytes.len() <= format::options().payload_bytes_max)
    });
    prop::collection::vec(prop::collection::vec(frame, 1..4), 1..12)
}

fn write(journal: &mut SegmentJournal, history: &[Vec<Frame>]) {
    let epoch = journal.open_epoch().expect("an epoch");
    for append in history {
        let payloads: Vec<Vec<u8>> = append
            .iter()
            .map(|frame| postcard::to_stdvec(frame).expect("every frame can be stored"))
            .collect();
        for payload in payloads.chunks(2) {
            let frames: Vec<NewFrame<'_>> = payload.iter().map(|payload| NewFrame { now_us: 7, payload }).collect();
            let tail = journal.tail().lsn;
            journal
                .append(epoch, tail, Purpose::Settle, &frames)
                .expect("the next segment is made when it is needed");
        }
    }
}

fn stored(journal: &SegmentJournal) -> Vec<StoredFrame> {
    let mut found = Vec::new();
    journal.read(Lsn(1), &mut |frame| found.push(frame)).expect("readable");
    found
}

fn decoded(stored: &[StoredFrame]) -> Vec<Frame> {
    let decode = |it: &StoredFrame| postcard::from_bytes(&it.payload).expect("a frame");
    stored.iter().map(decode).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_come_back_as_they_were(history in history()) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut journal = SegmentJournal::open(dir.path(), format::options()).expect("a new journal");
        write(&mut journal, &history);
        let written: Vec<Frame> = history.concat();
        prop_assert_eq!(decoded(&stored(&journal)), &written[..]);
        drop(journal);
        let journal = SegmentJournal::open(dir.path(), format::options()).expect("a journal that was closed");
        let found = stored(&journal);
        prop_assert_eq!(decoded(&found), written);
        prop_assert!(found.iter().all(|frame| format::chain(frame) == frame.hash));
    }

    #[test]
    fn any_cut_leaves_a_beginning(history in history(), at in any::<prop::sample::Index>(), near in 0..FRAME_HEADER_BYTES) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut journal = SegmentJournal::open(dir.path(), format::options()).expect("a new journal");
        write(&mut journal, &history);
        let written = stored(&journal);
        drop(journal);
        let last = format::segments(dir.path()).pop().expect("a segment");
        let bytes = fs::read(&last).expect("readable");
        let here = format::frames(&bytes);
        let before = written.len() - here.len();
        // Half of the cuts are near the start of a frame; the others are anywhere in the frames, or in the header.
        let ends: Vec<usize> = here
            .iter()
            .scan(usize::try_from(SEGMENT_HEADER_BYTES).expect("small"), |end, frame| {
                *end += FRAME_HEADER_BYTES + frame.payload.len();
                Some(*end)
            })
            .collect();
        let end = ends.last().copied().unwrap_or(0);
        let cut = if near % 2 == 0 { ends.get(at.index(ends.len().max(1))).map_or(0, |end| end - near) } else { at.index(end + 1) };
        OpenOptions::new().write(true).open(&last).expect("writable").set_len(cut as u64).expect("cut");
        match SegmentJournal::open(dir.path(), format::options()) {
            Ok(journal) => {
                let found = stored(&journal);
                let whole = ends.iter().filter(|end| **end <= cut).count();
                prop_assert_eq!(&found[..], &written[..before + whole]);
            }
            Err(error) => prop_assert!(cut < 60, "only the header, which is synced first, cannot be cut: {}", error),
        }
    }

    #[test]
    fn snapshots_come_back_as_they_were(state in any_state(), history in history()) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut journal = SegmentJournal::open(dir.path(), format::options()).expect("a new journal");
        write(&mut journal, &history);
        let lsn = journal.tail().lsn;
        let bytes = state.encode();
        journal.put_snapshot(lsn, &bytes).expect("there is room");
        drop(journal);
        let journal = SegmentJournal::open(dir.path(), format::options()).expect("a journal that was closed");
        let (found, stored) = journal.newest_snapshot().expect("readable").expect("there is one");
        prop_assert_eq!(found, lsn);
        prop_assert_eq!(EngineState::decode(&stored).expect("a state").encode(), bytes);
    }
}
