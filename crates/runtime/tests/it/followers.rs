//! Who follows the journal: each from a place of its own.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use staunch_model::{Command, Frame, Mode, StateKind, Timestamp};
use staunch_ports::{Follower, Journal as _, Lsn};
use staunch_runtime::Parts;
use staunch_runtime::telemetry::LogMeter;

use super::journal::GatedJournal;
use super::world::World;
use super::{LIMIT, command, parts, playbook, start_of, submit, wait_for, wait_for_sweep};

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
    // The first frame is no gap; of all the others it fell behind once, and it is asked once more in the end.
    let asked: Vec<Lsn> = (2..=end.0 + 1).map(Lsn).collect();
    assert_eq!(*missed.lock().expect("nobody panics with it"), asked);
    assert_eq!(counts().follower_gaps, 1);
    assert_eq!(log.ask(), end.0, "what is durable does not hang on a follower");
}

/// Takes the first frame when it may, and whatever it is told to catch up with.
struct Slow {
    may: Receiver<()>,
    position: Arc<Mutex<Lsn>>,
}

impl Follower for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn follow(&mut self, lsn: Lsn, _: Timestamp, _: &Frame) {
        if lsn == Lsn(1) {
            self.may.recv().expect("the test lets it go on");
        }
        *self.position.lock().expect("nobody panics with it") = lsn;
    }

    fn position(&self) -> Lsn {
        *self.position.lock().expect("nobody panics with it")
    }

    fn catch_up(&mut self, until: Lsn) {
        *self.position.lock().expect("nobody panics with it") = Lsn(until.0 - 1);
    }
}

/// More than there is room for on the way, and nothing comes behind it.
#[test]
fn the_end_of_a_burst_is_followed_without_another_frame() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (go_on, may) = bounded(1);
    let position = Arc::default();
    let slow = Slow {
        may,
        position: Arc::clone(&position),
    };
    let parts = Parts {
        followers: vec![Box::new(slow)],
        ..parts(&journal, &world)
    };
    let runtime = start_of(parts, playbook());
    let handle = runtime.handle();
    wait_for_sweep(&handle);
    // Each is a frame, and has nothing done after it.
    for _ in 0..3_000 {
        command(&handle, Command::SetMode(Mode::Enforce));
    }
    go_on.send(()).expect("it waits");
    runtime.stop().expect("it stops cleanly");
    assert_eq!(*position.lock().expect("nobody panics with it"), journal.tail().lsn);
}

/// What a follower took, what it was told to show of that, and how often.
#[derive(Default)]
struct Shown {
    taken: Lsn,
    shown: Lsn,
    times: u128,
}

struct Shows(Arc<Mutex<Shown>>);

impl Follower for Shows {
    fn name(&self) -> &'static str {
        "shows"
    }

    fn follow(&mut self, lsn: Lsn, _: Timestamp, _: &Frame) {
        self.0.lock().expect("nobody panics with it").taken = lsn;
    }

    fn position(&self) -> Lsn {
        self.0.lock().expect("nobody panics with it").taken
    }

    fn flush(&mut self) {
        let mut it = self.0.lock().expect("nobody panics with it");
        it.shown = it.taken;
        it.times += 1;
    }

    fn catch_up(&mut self, until: Lsn) {
        self.0.lock().expect("nobody panics with it").taken = Lsn(until.0 - 1);
    }
}

#[test]
fn what_keeps_coming_is_flushed_a_hundred_times_a_second_and_all_of_it_in_the_end() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let shown = Arc::default();
    let begun = Instant::now();
    let parts = Parts {
        followers: vec![Box::new(Shows(Arc::clone(&shown)))],
        ..parts(&journal, &world)
    };
    let runtime = start_of(parts, playbook());
    let handle = runtime.handle();
    for _ in 0..1_000 {
        command(&handle, Command::SetMode(Mode::Enforce));
    }
    runtime.stop().expect("it stops cleanly");
    let it = shown.lock().expect("nobody panics with it");
    assert_eq!(it.shown, journal.tail().lsn);
    // The first at once, and the last two when it ends.
    let most = begun.elapsed().as_millis() / 10 + 3;
    assert!(it.times <= most, "{} of at most {most}", it.times);
}
