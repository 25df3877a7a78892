//! Reading a journal that somebody else writes to.

use std::ops::ControlFlow;
use std::thread;

use staunch_ports::{Journal, Lsn};
use staunch_store::{ReadOnlyJournal, verify};

use crate::{append_ok, frames, open, payload, temp_dir, with_epoch};

#[test]
fn a_running_writer_is_never_taken_for_damage() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    let writer = thread::spawn(move || {
        for number in 0..150 {
            append_ok(
                &mut journal,
                &[&payload(number, 700), &payload(number, 90), &payload(number, 300)],
            );
        }
        journal
    });
    let reader = ReadOnlyJournal::open(dir.path()).expect("a journal");
    let mut before = 0;
    while !writer.is_finished() {
        let report = verify(dir.path()).expect("readable");
        assert_eq!(report.corruption, None);
        assert!(report.frames >= before, "{} frames after {before}", report.frames);
        before = report.frames;
        let mut expected = Lsn(1);
        let visit = &mut |frame: staunch_ports::StoredFrame| {
            assert_eq!(frame.lsn, expected);
            expected = expected.next();
            ControlFlow::Continue(())
        };
        reader.read(Lsn(1), visit).expect("readable");
        assert!(expected.0 > before);
    }
    let journal = writer.join().expect("the writer is well");
    assert_eq!(verify(dir.path()).expect("readable").tail.hash, journal.tail().hash);
}

#[test]
fn reading_starts_and_stops_where_it_is_told() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    for number in 0..60 {
        append_ok(&mut journal, &[&payload(number, 1_000)]);
    }
    let all = frames(&journal);
    let reader = ReadOnlyJournal::open(dir.path()).expect("a journal");
    for from in 1..=60_u64 {
        let mut seen = Vec::new();
        let visit = &mut |frame| {
            seen.push(frame);
            if seen.len() == 3 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        reader.read(Lsn(from), visit).expect("readable");
        let start = usize::try_from(from).expect("small") - 1;
        assert_eq!(seen, all[start..(start + 3).min(60)], "from {from}");
    }
}

#[test]
fn an_empty_directory_is_no_journal() {
    let dir = temp_dir();
    assert!(ReadOnlyJournal::open(dir.path()).is_err());
    assert_eq!(verify(dir.path()).expect("readable").segments, 0);
}

#[test]
fn a_log_without_its_first_segment_is_refused() {
    let dir = temp_dir();
    let (mut journal, _) = with_epoch(open(dir.path()));
    for number in 0..60 {
        append_ok(&mut journal, &[&payload(number, 1_000)]);
    }
    drop(journal);
    let files = crate::segments(dir.path());
    std::fs::remove_file(&files[0]).expect("it is our directory");
    let reader = ReadOnlyJournal::open(dir.path()).expect("a journal");
    let mut seen = 0;
    let visit = &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    };
    let error = reader.read(Lsn(1), visit).expect_err("frames are missing");
    assert!(error.to_string().contains("frames before it are missing"), "{error}");
    assert_eq!(seen, 0);
    reader
        .read(Lsn(60), &mut |_| ControlFlow::Continue(()))
        .expect("the last frames are there");
}
