//! Files that were torn, cut, zeroed, flipped, renamed or lost.

use std::fs::{self, OpenOptions};
use std::path::Path;

use proptest::prelude::*;
use staunch_ports::{Journal as _, Lsn, ReadError, StoredFrame};
use staunch_store::journal::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use staunch_store::{OpenError, SegmentJournal, verify};

use crate::{append_ok, copy_log, frames, open, payload, segments, small, temp_dir, with_epoch};

/// A journal of one segment: what is in it and where each frame begins; the last offset is the end.
struct Written {
    dir: tempfile::TempDir,
    frames: Vec<StoredFrame>,
    offsets: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes one frame per number, `groups` frames to each append.
fn write(groups: &[usize], payload_bytes: usize) -> Written {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    let mut number = 0;
    for group in groups {
        let payloads: Vec<_> = (number..)
            .take(*group)
            .map(|number| payload(number, payload_bytes))
            .collect();
        append_ok(&mut journal, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
        number += *group as u64;
    }
    let frames = frames(&journal);
    drop(journal);
    let step = FRAME_HEADER_BYTES + payload_bytes;
    let offsets = (0..=frames.len()).map(|index| usize::try_from(SEGMENT_HEADER_BYTES).expect("small") + index * step);
    let offsets = offsets.collect();
    let bytes = fs::read(&segments(dir.path())[0]).expect("a segment");
    Written {
        dir,
        frames,
        offsets,
        bytes,
    }
}

/// Opens the journal with `bytes` as its only segment. `Ok` is the number of frames recovered.
fn recover(written: &Written, bytes: &[u8]) -> Result<usize, (u64, String)> {
    let dir = temp_dir();
    copy_log(written.dir.path(), dir.path());
    let path = segments(dir.path()).remove(0);
    fs::write(&path, bytes).expect("written");
    let mut journal = match SegmentJournal::open(dir.path(), small()) {
        Ok(journal) => journal,
        Err(OpenError::Corrupt { path: at, offset, what }) => {
            assert_eq!(at, path);
            assert_eq!(
                fs::read(&path).expect("a segment"),
                bytes,
                "a damaged segment was changed"
            );
            let corruption = verify(dir.path())
                .expect("readable")
                .corruption
                .expect("verify sees the damage too");
            assert_eq!((corruption.offset, &corruption.what), (offset, &what));
            return Err((offset, what));
        }
        Err(other) => panic!("unexpected: {other}"),
    };
    let found = frames(&journal);
    assert_eq!(
        found,
        written.frames[..found.len()],
        "what was recovered is not a prefix"
    );
    // The log goes on from there, and what was cut stays cut.
    append_ok(&mut journal, &[b"after"]);
    let grown = frames(&journal);
    drop(journal);
    let again = open(dir.path());
    assert_eq!(again.recovered().torn_bytes, 0);
    assert_eq!(frames(&again), grown);
    assert_eq!(grown.len(), found.len() + 1);
    Ok(found.len())
}

/// The index of the frame that holds the byte at `offset`.
fn frame_at(written: &Written, offset: usize) -> usize {
    written.offsets.partition_point(|start| *start <= offset) - 1
}

#[test]
fn cut_at_every_byte_of_the_last_frames() {
    let written = write(&[1, 1, 1, 2], 9);
    for cut in written.offsets[2]..=written.offsets[5] {
        assert_eq!(
            recover(&written, &written.bytes[..cut]),
            Ok(frame_at(&written, cut)),
            "cut at {cut}"
        );
    }
}

/// The search for a later write ends soon after the last byte that is not zero, which is before the end of this frame.
#[test]
fn a_later_write_that_ends_with_zeros_tells_damage_from_a_torn_end() {
    let mut written = write(&[1, 1], 9);
    let (mut journal, _) = with_epoch(open(written.dir.path()));
    append_ok(&mut journal, &[&[0; 3_000]]);
    written.frames = frames(&journal);
    drop(journal);
    let mut bytes = fs::read(&segments(written.dir.path())[0]).expect("a segment");
    assert_eq!(recover(&written, &bytes), Ok(3));
    bytes[written.offsets[1] + FRAME_HEADER_BYTES] ^= 1;
    let (offset, what) = recover(&written, &bytes).expect_err("a frame of a later write follows");
    assert_eq!(offset, written.offsets[1] as u64);
    assert!(what.contains("frame 3, written after it"), "{what}");
}

#[test]
fn zeroed_from_every_byte_of_the_last_frames_on() {
    let written = write(&[1, 1, 1, 2], 9);
    for from in written.offsets[2]..written.offsets[5] {
        let mut bytes = written.bytes.clone();
        bytes[from..].fill(0);
        assert_eq!(
            recover(&written, &bytes),
            Ok(frame_at(&written, from)),
            "zeros from {from}"
        );
    }
}

#[test]
fn every_flipped_byte_of_a_last_write_cuts_and_of_an_earlier_write_is_corruption() {
    // The last write has two frames: damage to the first of them looks like a write whose sectors arrived out of order.
    let written = write(&[1, 1, 1, 2], 9);
    for at in written.offsets[1]..written.offsets[5] {
        let mut bytes = written.bytes.clone();
        bytes[at] ^= 0x41;
        let frame = frame_at(&written, at);
        let found = recover(&written, &bytes);
        if frame >= 3 {
            assert_eq!(found, Ok(frame), "flip at {at}");
        } else {
            let (offset, what) = found.expect_err("a later write proves that the frame was durable");
            assert_eq!(offset, written.offsets[frame] as u64, "flip at {at}: {what}");
            assert!(
                what.contains(&format!("frame {}", written.frames[frame + 1].lsn)),
                "flip at {at}: {what}"
            );
        }
    }
}

/// What was proved when the journal was opened is not proved again when it is replayed, but what has become of it since
/// is told.
#[test]
fn damage_since_the_opening_ends_a_replay() {
    let written = write(&[1, 1, 1, 1], 9);
    let (second, third) = (written.offsets[1], written.offsets[2]);
    let mut flipped = written.bytes.clone();
    flipped[third + FRAME_HEADER_BYTES] ^= 1;
    let mut repeated = written.bytes.clone();
    repeated.copy_within(second..third, third);
    let cases = [
        ("a flipped bit", flipped, "checksum"),
        ("a frame at the place of another", repeated, "frame 2 is out of place"),
    ];
    for (name, bytes, expect) in cases {
        let path = segments(written.dir.path()).remove(0);
        let journal = open(written.dir.path());
        fs::write(&path, &bytes).expect("written");
        let mut replayed = Vec::new();
        let result = journal.replay(Lsn(1), &mut |frame| replayed.push(frame.lsn));
        fs::write(&path, &written.bytes).expect("written");
        let Err(ReadError::Corrupt { offset, what, .. }) = result else {
            panic!("{name}: {result:?}");
        };
        assert_eq!((offset, replayed), (third as u64, vec![Lsn(1), Lsn(2)]), "{name}");
        assert!(what.contains(expect), "{name}: {what}");
    }
}

#[test]
fn garbage_after_the_end_is_cut() {
    let written = write(&[1, 3], 50);
    let mut bytes = written.bytes.clone();
    let end = written.offsets[4];
    bytes[end + 700..end + 900].fill(0xEE);
    assert_eq!(recover(&written, &bytes), Ok(4));
}

#[test]
fn a_copy_of_an_earlier_frame_after_the_end_is_corruption() {
    let written = write(&[1, 1, 1], 50);
    let mut bytes = written.bytes.clone();
    let (start, end) = (written.offsets[1], written.offsets[3]);
    bytes.copy_within(start..written.offsets[2], end);
    let (offset, what) = recover(&written, &bytes).expect_err("no torn write leaves a whole frame");
    assert_eq!(offset, end as u64);
    assert_eq!(what, "frame 2 is out of place");
}

#[test]
fn a_frame_inside_a_payload_is_not_taken_for_a_frame() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    append_ok(&mut journal, &[b"one"]);
    // Somebody sends us a frame of a journal that is further on than ours.
    let other = write(&[1, 1, 1, 1, 1, 1], 9);
    let stolen = &other.bytes[other.offsets[5]..other.offsets[6]];
    append_ok(&mut journal, &[&[stolen, &[9; 100]].concat()]);
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).expect("a segment");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("frames");
    bytes[last - 50..].fill(0);
    fs::write(&path, bytes).expect("written");
    assert_eq!(frames(&open(dir.path())).len(), 1);
}

/// A journal of four segments. Histories of different `first` numbers differ.
fn several_segments(dir: &Path, first: u64) -> Vec<StoredFrame> {
    let (mut journal, _) = with_epoch(open(dir));
    let mut number = first;
    while segments(dir).len() < 4 {
        append_ok(&mut journal, &[&payload(number, 1_500), &payload(number + 1, 800)]);
        number += 2;
    }
    frames(&journal)
}

#[test]
fn a_journal_of_many_segments_recovers_whole() {
    let dir = temp_dir();
    let written = several_segments(dir.path(), 0);
    let journal = open(dir.path());
    assert_eq!(frames(&journal), written);
    assert_eq!(
        (journal.recovered().segments, journal.recovered().frames),
        (4, written.len() as u64)
    );
    let report = verify(dir.path()).expect("readable");
    assert_eq!(
        (report.segments, report.frames, report.torn_bytes),
        (4, written.len() as u64, 0)
    );
    assert_eq!(
        (report.tail.hash, report.corruption),
        (written.last().expect("frames").hash, None)
    );
}

/// Breaks a journal of four segments and checks where it says that it is corrupt.
fn check_corrupt(name: &str, breaks: impl Fn(&[std::path::PathBuf]), segment: usize, offset: u64, expect: &str) {
    let dir = temp_dir();
    several_segments(dir.path(), 0);
    let paths = segments(dir.path());
    breaks(&paths);
    match SegmentJournal::open(dir.path(), small()) {
        Err(OpenError::Corrupt { path, offset: at, what }) => {
            assert_eq!((&path, at), (&paths[segment], offset), "{name}: {what}");
            assert!(what.contains(expect), "{name}: {what}");
        }
        other => panic!("{name}: {other:?}"),
    }
    let corruption = verify(dir.path())
        .expect("readable")
        .corruption
        .expect("verify sees the damage too");
    assert_eq!(
        (&corruption.file, corruption.offset),
        (&paths[segment], offset),
        "{name}"
    );
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn sealed_segments_must_be_whole() {
    let first = SEGMENT_HEADER_BYTES;
    let second_frame = first + (FRAME_HEADER_BYTES + 1_500) as u64;
    check_corrupt("flip", |it| flip(&it[1], 4096 + 60), 1, first, "checksum");
    check_corrupt(
        "flip of a second frame",
        |it| flip(&it[2], 4096 + 1_548 + 3),
        2,
        second_frame,
        "impossible",
    );
    check_corrupt("header", |it| flip(&it[1], 40), 1, 0, "header");
    check_corrupt("magic", |it| flip(&it[3], 2), 3, 0, "not a journal segment");
    check_corrupt(
        "first lost",
        |it| fs::remove_file(&it[0]).expect("removed"),
        1,
        0,
        "begins with frame",
    );
    check_corrupt(
        "one lost",
        |it| fs::remove_file(&it[1]).expect("removed"),
        2,
        0,
        "begins with frame",
    );
    check_corrupt(
        "renamed",
        |it| fs::copy(&it[2], &it[1]).map(drop).expect("copied"),
        1,
        0,
        "named wrongly",
    );
    let empty = |it: &[std::path::PathBuf]| OpenOptions::new().write(true).truncate(true).open(&it[3]).map(drop);
    check_corrupt("emptied", |it| empty(it).expect("emptied"), 3, 0, "too short");
}

#[test]
fn the_end_of_a_sealed_segment_cannot_be_zeroed() {
    let dir = temp_dir();
    several_segments(dir.path(), 0);
    let path = segments(dir.path()).remove(1);
    let mut bytes = fs::read(&path).expect("readable");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("frames");
    bytes[last - 847..].fill(0);
    fs::write(&path, bytes).expect("written");
    let error = SegmentJournal::open(dir.path(), small()).expect_err("frames are missing");
    assert!(
        error.to_string().contains("but the frames before it end with"),
        "{error}"
    );
}

#[test]
fn a_segment_of_another_history_does_not_fit() {
    // The same positions in the same files, but another first payload.
    let (one, two) = (temp_dir(), temp_dir());
    several_segments(one.path(), 0);
    several_segments(two.path(), 1);
    let (ours, theirs) = (segments(one.path()), segments(two.path()));
    assert_eq!(ours[1].file_name(), theirs[1].file_name());
    fs::copy(&theirs[1], &ours[1]).expect("copied");
    let error = SegmentJournal::open(one.path(), small()).expect_err("the chain is broken");
    assert!(
        matches!(&error, OpenError::Corrupt { path, offset: 0, .. } if *path == ours[1]),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = temp_dir();
    drop(with_epoch(open(dir.path())));
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 9;
    fs::write(&path, bytes).expect("written");
    let error = SegmentJournal::open(dir.path(), small()).expect_err("a format of the future");
    assert!(
        matches!(
            error,
            OpenError::Version {
                found: 9,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.hint().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_prefix_of_the_bytes_is_a_prefix_of_the_history(
        groups in prop::collection::vec(1_usize..5, 1..6),
        payload_bytes in 1_usize..200,
        cut in 0.0..1.0_f64,
    ) {
        let written = write(&groups, payload_bytes);
        let span = written.offsets[written.frames.len()] - written.offsets[0];
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let at = written.offsets[0] + (span as f64 * cut) as usize;
        prop_assert_eq!(recover(&written, &written.bytes[..at]), Ok(frame_at(&written, at)));
    }
}
