//! The small files beside the segments: lost, damaged, left over.

use std::fs;
use std::ops::ControlFlow;

use staunch_ports::{Epoch, Journal, Lsn};
use staunch_store::{OpenError, ReadOnlyJournal, SegmentJournal, verify};

use crate::{append_ok, open, segments, small, temp_dir, with_epoch};

#[test]
fn a_lost_or_damaged_epoch_is_taken_from_the_frames() {
    let damages: [fn(&std::path::Path); 3] = [
        |path| fs::remove_file(path).expect("removed"),
        |path| fs::write(path, [0xEE; 8192]).expect("written"),
        |path| fs::write(path, b"short").expect("written"),
    ];
    for damage in damages {
        let dir = temp_dir();
        let (mut journal, _) = with_epoch(open(dir.path()));
        journal.open_epoch().expect("a second epoch");
        append_ok(&mut journal, &[b"in epoch 2"]);
        drop(journal);
        damage(&dir.path().join("epoch"));
        let (journal, epoch) = with_epoch(open(dir.path()));
        assert_eq!(epoch, Epoch(3));
        drop(journal);
        assert_eq!(open(dir.path()).tail().epoch, Epoch(3));
    }
}

#[test]
fn a_torn_epoch_leaves_the_one_before() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    let second = journal.open_epoch().expect("a second epoch");
    journal.open_epoch().expect("a third epoch");
    drop(journal);
    let path = dir.path().join("epoch");
    let mut bytes = fs::read(&path).expect("readable");
    bytes[4096 + 9] ^= 1;
    fs::write(&path, bytes).expect("written");
    assert_eq!(open(dir.path()).tail().epoch, second);
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_only_two_are_kept() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    append_ok(&mut journal, &[b"1", b"2", b"3"]);
    for lsn in 1..=3 {
        journal.put_snapshot(Lsn(lsn), &[7; 500]).expect("a snapshot");
    }
    let names: Vec<_> = fs::read_dir(dir.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("plain names"))
        .filter(|name| name.starts_with("snapshot"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let path = dir.path().join("snapshot-00000000000000000003.bin");
    let whole = fs::read(&path).expect("the newest");
    for at in 0..whole.len() {
        // The eight bytes that mean nothing may be anything.
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, bytes).expect("written");
        let expect = if (12..16).contains(&at) { Lsn(3) } else { Lsn(2) };
        assert_eq!(
            journal.newest_snapshot().expect("readable").map(|it| it.0),
            Some(expect),
            "byte {at}"
        );
    }
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).expect("written");
        assert_eq!(
            journal.newest_snapshot().expect("readable").map(|it| it.0),
            Some(Lsn(2)),
            "cut to {len}"
        );
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_is_passed_over() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    append_ok(&mut journal, &[b"1", b"2", b"3"]);
    for lsn in 1..=2 {
        journal.put_snapshot(Lsn(lsn), b"state").expect("a snapshot");
    }
    drop(journal);
    let path = |lsn: u64| dir.path().join(format!("snapshot-{lsn:020}.bin"));
    // The one opens and cannot be read, and the other does not open.
    fs::create_dir(path(3)).expect("made");
    fs::remove_file(path(2)).expect("removed");
    std::os::unix::fs::symlink(path(2), path(2)).expect("made");
    let journal = SegmentJournal::open(dir.path(), small()).expect("a snapshot costs time only");
    let newest = Some((Lsn(1), b"state".to_vec()));
    assert_eq!(journal.newest_snapshot().expect("it is passed over"), newest);
    let report = verify(dir.path()).expect("it can be read");
    assert_eq!((report.frames, report.corruption.is_none()), (3, true));
}

#[test]
fn a_snapshot_of_a_later_position_proves_that_frames_are_missing() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    append_ok(&mut journal, &[b"1"]);
    append_ok(&mut journal, &[b"2"]);
    journal.put_snapshot(Lsn(2), b"state").expect("a snapshot");
    drop(journal);
    // Damage to the last write alone would pass for a torn write.
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).expect("readable");
    bytes[4096 + 49 + 48] ^= 1;
    fs::write(&path, bytes).expect("written");
    let error = SegmentJournal::open(dir.path(), small()).expect_err("frame 2 was acknowledged");
    assert!(
        error
            .to_string()
            .contains("the journal ends with 1: frames are missing"),
        "{error}"
    );
    // Whoever only reads it is told the same.
    let report = verify(dir.path()).expect("it can be read");
    assert_eq!((report.frames, report.tail.lsn), (1, Lsn(1)));
    let found = report.corruption.expect("frame 2 is missing");
    assert!(found.what.contains("frames are missing"), "{found:?}");
    assert!(found.file.display().to_string().contains("snapshot"), "{found:?}");
    let reader = ReadOnlyJournal::open(dir.path()).expect("there is a journal");
    let mut seen = Vec::new();
    let all = reader.read_all(&mut |stored| {
        seen.push(stored.lsn);
        ControlFlow::Continue(())
    });
    let error = all.expect_err("frame 2 is missing").to_string();
    assert!(error.contains("frames are missing"), "{error}");
    assert_eq!(seen, [Lsn(1)]);
    // Whoever wants the first frame only has not been to the end.
    assert_eq!(reader.read_all(&mut |_| ControlFlow::Break(())).ok(), Some(()));
}

#[test]
fn losing_all_segments_is_not_a_fresh_start() {
    let dir = temp_dir();
    drop(with_epoch(open(dir.path())));
    for path in segments(dir.path()) {
        fs::remove_file(path).expect("removed");
    }
    let error = SegmentJournal::open(dir.path(), small()).expect_err("it has been in use");
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}
