//! What was in force when the machine was started anew.

use crossbeam_channel::{Receiver, Sender, unbounded};
use staunch_model::{ActionKind, Notice, StateKind};
use staunch_ports::notifier::{About, Notifier, NotifyError};
use staunch_runtime::{Parts, Runtime};

use crate::journal::GatedJournal;
use crate::world::{Fault, World};
use crate::{LIMIT, parts, playbook, start, start_of, submit, wait_for, wait_for_sweep};

/// The journal of a server that had contained one address.
fn contained() -> GatedJournal {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let answer = submit(&runtime.handle(), "198.51.100.1");
    answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
    wait_for(&runtime.handle(), 1, StateKind::InForce);
    runtime.stop().expect("it stops cleanly");
    journal
}

/// Hands what people are told to the test.
struct Told(Sender<String>);

impl Notifier for Told {
    fn name(&self) -> &str {
        "test"
    }

    fn notify(&mut self, notice: &Notice, _: &About) -> Result<(), NotifyError> {
        self.0.send(notice.text.to_string()).expect("the test waits");
        Ok(())
    }
}

/// A server on `journal` after a start of the machine, whose tables `world` is, and what it tells people.
fn started_anew(journal: &GatedJournal, world: &World) -> (Runtime, Receiver<String>) {
    let (sender, told) = unbounded();
    let parts = Parts {
        lost: vec![ActionKind::BlockIp],
        notifiers: vec![Box::new(Told(sender))],
        ..parts(journal, world)
    };
    (start_of(parts, playbook()), told)
}

#[test]
fn what_was_in_force_is_put_back_and_nobody_is_told() {
    let (journal, world) = (contained(), World::default());
    let (runtime, told) = started_anew(&journal, &world);
    assert_eq!((world.log().executed, world.is_empty()), (1, false));
    wait_for_sweep(&runtime.handle());
    runtime.stop().expect("it stops cleanly");
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_cannot_be_put_back_is_told_with_its_reason_before_a_sweep_misses_it() {
    let (journal, world) = (contained(), World::default());
    world.next(Fault::Refuse);
    let (runtime, told) = started_anew(&journal, &world);
    let first = told.recv_timeout(LIMIT).expect("people are told");
    for part in [
        "block-ip: 1 in force, 1 not known to be back: ",
        "not permitted",
        "Nobody else has removed them",
    ] {
        assert!(first.contains(part), "{first}");
    }
    let second = told.recv_timeout(LIMIT).expect("the sweep tells");
    assert!(second.contains("TX-1"), "{second}");
    runtime.stop().expect("it stops cleanly");
}
