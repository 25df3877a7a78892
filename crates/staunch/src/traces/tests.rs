//! What becomes of frames that the tracer was too slow for.

use std::path::Path;

use staunch_model::{Cause, Dispatch, Input};
use staunch_ports::{Journal as _, NewFrame, Purpose};
use staunch_store::{JournalOptions, SegmentJournal};

use super::*;

const TX: TransactionId = TransactionId(7);

fn frame(change: Change) -> Frame {
    Frame {
        input: Input::Tick,
        records: vec![Record::Transaction {
            transaction: TX,
            change,
        }],
    }
}

fn release_begins() -> Frame {
    frame(Change::ReleaseStarted {
        cause: Box::new(Cause::LeaseEnded),
        dispatch: Dispatch {
            ticket: 1,
            deadline: Timestamp::EPOCH,
        },
    })
}

/// A journal in which a release begins at the second 1, and is verified at 2.
fn journal(dir: &Path) -> SegmentJournal {
    let mut journal = SegmentJournal::open(dir, JournalOptions::default()).expect("it opens");
    journal.open_epoch().expect("an epoch");
    for (second, frame) in (1..).zip([release_begins(), frame(Change::ReleaseVerified)]) {
        let payload = postcard::to_allocvec(&frame).expect("it can be written");
        let tail = journal.tail();
        let new = NewFrame {
            now_us: second * 1_000_000,
            payload: &payload,
        };
        journal
            .append(tail.epoch, tail.lsn, Purpose::Settle, &[new])
            .expect("there is room");
    }
    journal
}

#[test]
fn what_was_passed_over_is_in_the_trace_all_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let end = journal(dir.path()).tail().lsn;
    let (outbox, sent) = Outbox::for_a_test();
    let before = Lsn(end.0 - 2);
    let mut tracer = Tracer::new(
        dir.path().to_owned(),
        before,
        InstallationId::default(),
        BTreeMap::new(),
        Arc::new(OnceLock::from(Actions::from([(TX, ActionKind::KillProcess)]))),
        outbox,
    );
    tracer.catch_up(end.next());
    assert_eq!(tracer.position(), end);
    let spans = sent.try_recv().expect("the trace has ended");
    let told: Vec<_> = spans.iter().map(|it| (it.name, it.start, it.end)).collect();
    let at = |second: u64| Timestamp::from_micros(second * 1_000_000);
    assert_eq!(told, [("release", at(1), at(2))]);
    // What it does was told once at the start, and that nothing undoes it is known.
    for (name, value) in [
        ("staunch.action", "kill-process"),
        ("staunch.result", "nothing-to-release"),
    ] {
        assert!(spans[0].attributes.contains(&text(name, value)), "{name}: {spans:?}");
    }
}

#[test]
fn traces_that_cannot_be_followed_any_more_are_counted_as_lost() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (outbox, sent) = Outbox::for_a_test();
    let nowhere = dir.path().join("nowhere");
    let mut tracer = Tracer::new(
        nowhere,
        Lsn(0),
        InstallationId::default(),
        BTreeMap::new(),
        Arc::default(),
        outbox,
    );
    tracer.follow(Lsn(1), Timestamp::EPOCH, &release_begins());
    tracer.catch_up(Lsn(9));
    assert_eq!(tracer.outbox.lost(), 1);
    // It goes on with what is told next, and does not make up an end of what it has not seen.
    assert_eq!(tracer.position().next(), Lsn(9));
    tracer.follow(Lsn(9), Timestamp::EPOCH, &frame(Change::ReleaseVerified));
    assert!(sent.try_recv().is_err());
}
