//! What is special about the journal in memory: faults, shared handles, restarts.

use staunch_ports::{AppendError, Journal, Lsn, Purpose};
use staunch_store::MemoryJournal;
use staunch_store::journal::memory::Fault;

use crate::{append, append_ok};

/// Two frames meet `fault`; returns the answer, the position seen then, and the position after a restart.
fn check(fault: Fault) -> (AppendError, Lsn, Lsn) {
    let mut journal = MemoryJournal::new();
    journal.open_epoch().expect("an epoch");
    append_ok(&mut journal, &[b"one"]);
    journal.fail_next(fault);
    let error = append(&mut journal, Purpose::Settle, &[b"two", b"three"]).expect_err("the fault");
    let seen = journal.tail().lsn;
    let further = append(&mut journal, Purpose::Settle, &[b"more"]);
    if matches!(error, AppendError::Poisoned { .. }) {
        assert!(
            matches!(further, Err(AppendError::Poisoned { .. })),
            "{fault:?}: {further:?}"
        );
        assert!(!journal.has_room(1));
    } else {
        further.expect("only one append fails");
        return (error, seen, seen);
    }
    let mut restarted = journal.restart();
    let after = restarted.tail().lsn;
    append_ok(&mut restarted, &[b"goes on"]);
    (error, seen, after)
}

#[test]
fn every_fault_does_what_it_says() {
    assert!(matches!(check(Fault::Full), (AppendError::Full { .. }, Lsn(1), _)));
    assert!(matches!(check(Fault::InDoubtLanded), (AppendError::InDoubt, Lsn(3), _)));
    assert!(matches!(check(Fault::InDoubtLost), (AppendError::InDoubt, Lsn(1), _)));
    assert!(matches!(
        check(Fault::PoisonedLost),
        (AppendError::Poisoned { .. }, Lsn(1), Lsn(1))
    ));
    assert!(matches!(
        check(Fault::PoisonedLanded),
        (AppendError::Poisoned { .. }, Lsn(1), Lsn(3))
    ));
    assert!(matches!(
        check(Fault::PoisonedTorn(1)),
        (AppendError::Poisoned { .. }, Lsn(1), Lsn(2))
    ));
}

#[test]
fn a_second_handle_fences_the_first() {
    let mut zombie = MemoryJournal::new();
    let old = zombie.open_epoch().expect("an epoch");
    let mut heir = zombie.clone();
    let new = heir.open_epoch().expect("an epoch");
    let refused = zombie.append(old, Lsn(0), Purpose::Settle, &[]);
    assert!(
        matches!(refused, Err(AppendError::Fenced { current }) if current == new),
        "{refused:?}"
    );
}

#[test]
fn room_comes_back() {
    let mut journal = MemoryJournal::with_capacity(300, 100);
    journal.open_epoch().expect("an epoch");
    append_ok(&mut journal, &[&[1; 100]]);
    assert!(!journal.has_room(100));
    append(&mut journal, Purpose::Settle, &[&[1; 100]]).expect("the reserve");
    journal.set_capacity(1_000);
    assert!(journal.has_room(100));
    append_ok(&mut journal, &[&[1; 100]]);
}
