//! Who follows the journal: each from a place of its own.

use std::sync::{Arc, Mutex};

use staunch_model::{Frame, StateKind, Timestamp};
use staunch_ports::{Follower, Journal as _, Lsn};
use staunch_runtime::Parts;
use staunch_runtime::telemetry::LogMeter;

use super::journal::GatedJournal;
use super::world::World;
use super::{LIMIT, parts, playbook, start_of, submit, wait_for};

/// Remembers the frames that it was given.
struct Takes(Arc<Mutex<Vec<Lsn>>>);

impl Follower for Takes {
    fn name(&self) -> &'static str {
        "takes"
    }

    fn follow(&mut self, lsn: Lsn, _: Timestamp, _: &Frame) {
        self.0.lock().expect("nobody panics with it").push(lsn);
    }

    fn position(&self) -> Lsn {
        let taken = self.0.lock().expect("nobody panics with it");
        taken.last().copied().unwrap_or(Lsn(0))
    }

    fn catch_up(&mut self, until: Lsn) {
        panic!("nothing was passed over before {until}");
    }
}

/// Takes nothing, as on a disk that is full, and remembers what it should have caught up with.
struct Stuck(Arc<Mutex<Vec<Lsn>>>);

impl Follower for Stuck {
    fn name(&self) -> &'static str {
        "stuck"
    }

    fn follow(&mut self, _: Lsn, _: Timestamp, _: &Frame) {}

    fn position(&self) -> Lsn {
        Lsn(0)
    }

    fn catch_up(&mut self, until: Lsn) {
        self.0.lock().expect("nobody panics with it").push(until);
    }
}

#[test]
fn one_that_takes_nothing_keeps_no_other_from_what_happens() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (taken, missed) = (Arc::default(), Arc::default());
    let log = Arc::new(LogMeter::default());
    let parts = Parts {
        followers: vec![
            Box::new(Stuck(Arc::clone(&missed))),
            Box::new(Takes(Arc::clone(&taken))),
        ],
        log: Some(Arc::clone(&log)),
        ..parts(&journal, &world)
    };
    let runtime = start_of(parts, playbook());
    let handle = runtime.handle();
    let answer = submit(&handle, "198.51.100.1").recv_timeout(LIMIT);
    answer.expect("an answer").expect("taken");
    wait_for(&handle, 1, StateKind::InForce);
    let counts = || handle.telemetry().counts();
    runtime.stop().expect("it stops cleanly");

    // Followers have ended with the runtime, so everything was told.
    let end = journal.tail().lsn;
    let all: Vec<Lsn> = (1..=end.0).map(Lsn).collect();
    assert_eq!(*taken.lock().expect("nobody panics with it"), all);
    // The first frame is no gap; of all the others it fell behind once.
    assert_eq!(*missed.lock().expect("nobody panics with it"), all[1..]);
    assert_eq!(counts().follower_gaps, 1);
    assert_eq!(log.ask(), end.0, "what is durable does not hang on a follower");
}
