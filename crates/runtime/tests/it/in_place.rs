//! What the thread of the event loop carries out itself, and what that must never cost.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use staunch_model::{Command, ReleaseScope, StateKind, TransactionId};
use staunch_runtime::{Busy, EventReply, Handle, Runtime, Settings, Submission};

use crate::journal::GatedJournal;
use crate::world::{Call, Fault, Verb, World};
use crate::{LIMIT, command, event, parts, playbook, start, start_as, submit, submit_all, wait_for, wait_for_sweep};

/// The most requests that are carried out in place at a time.
const IN_PLACE_MAX: usize = 8;

/// An event's answer, once there is one.
type Answer = Receiver<Result<Vec<EventReply>, Busy>>;

/// An address for each transaction, each in a network of its own.
fn address(number: u64) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + (u32::try_from(number).expect("few") << 8)).into()
}

/// A runtime whose first sweep is over, so that its driver has time.
fn started(journal: &GatedJournal, world: &World) -> (Runtime, Handle) {
    let runtime = start(journal, world);
    let handle = runtime.handle();
    wait_for_sweep(&handle);
    (runtime, handle)
}

/// Submits one event after the other, with `before` called before each, until `found` says that the transaction took
/// the way that the test is about: a machine under load may take the other one. Returns the transaction's number and
/// the answer to its event.
fn submit_until(
    handle: &Handle,
    before: impl Fn(),
    found: impl Fn(u64) -> bool,
    otherwise: impl Fn(),
) -> (u64, Answer) {
    let begun = Instant::now();
    for number in 1.. {
        before();
        let answer = submit(handle, &address(number).to_string());
        if found(number) {
            return (number, answer);
        }
        otherwise();
        answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
        wait_for(handle, number, StateKind::InForce);
        assert!(begun.elapsed() < LIMIT, "nothing was carried out in place");
    }
    unreachable!("there are many numbers")
}

/// Submits events until the engine's own thread hangs in `verb`; returns the number of its transaction and the answer.
fn hang_in_place(handle: &Handle, world: &World, verb: Verb) -> (u64, Answer) {
    submit_until(
        handle,
        || world.hang(verb),
        |_| world.wait_until_held(LIMIT).in_place,
        || world.let_go(),
    )
}

#[test]
fn a_thread_that_takes_over_stores_nothing_that_is_not_durable() {
    let (journal, world) = (GatedJournal::default(), World::default());
    // A snapshot is due whenever the loop begins anew, also when another thread has it begin.
    let settings = Settings {
        snapshot_every: 0,
        ..Settings::default()
    };
    let runtime = start_as(parts(&journal, &world), playbook(), settings);
    let handle = runtime.handle();
    wait_for_sweep(&handle);
    let (held, answer) = hang_in_place(&handle, &world, Verb::Observe);
    answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
    world.let_go();
    wait_for(&handle, held, StateKind::InForce);
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn one_transaction_needs_no_other_thread() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    submit_until(
        &handle,
        || (),
        |number| {
            // The look after the act is the last call.
            world.wait_until(LIMIT, |log| log.observed as u64 == 2 * number);
            world.calls().iter().rev().take(3).all(|call| call.in_place)
        },
        || (),
    );
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn an_act_in_place_leaves_before_the_answer() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    let begun = Instant::now();
    for number in 1.. {
        let (told, answered) = bounded(1);
        let log = world.clone();
        let reply = Box::new(move |_| told.send(log.calls()).expect("the test waits"));
        let events = vec![event(address(number))];
        handle
            .submit(Submission {
                known: Vec::new(),
                found: Vec::new(),
                contexts: Vec::new(),
                events,
                reply,
            })
            .expect("the queue has room");
        let before = answered.recv_timeout(LIMIT).expect("an answer");
        wait_for(&handle, number, StateKind::InForce);
        let mut acts = before.iter().filter(|call| call.verb == Verb::Execute);
        if acts.clone().count() as u64 == number && acts.next_back().is_some_and(|call| call.in_place) {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "no act in place left before the answer");
    }
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn an_act_that_hangs_in_place_holds_up_nobody() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    let (held, answer) = hang_in_place(&handle, &world, Verb::Execute);
    answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
    let other = address(held + 1).to_string();
    let replies = submit(&handle, &other).recv_timeout(LIMIT).expect("an answer");
    assert_eq!(replies.expect("taken").len(), 1);
    let nothing = command(&handle, Command::Release(ReleaseScope::Transaction(TransactionId(999))));
    assert!(nothing.refused.is_some());
    let state = handle
        .query(move |state| state.transactions[&TransactionId(held)].state.kind())
        .expect("it runs");
    assert_eq!(state, StateKind::Executing);
    world.let_go();
    wait_for(&handle, held, StateKind::InForce);
    wait_for(&handle, held + 1, StateKind::InForce);
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn a_look_that_hangs_in_place_does_not_keep_its_event_from_the_journal() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    let (held, answer) = hang_in_place(&handle, &world, Verb::Observe);
    answer
        .recv_timeout(LIMIT)
        .expect("the event waits for the look")
        .expect("taken");
    assert_eq!(world.log().executed as u64, held - 1, "an act left without its check");
    world.let_go();
    wait_for(&handle, held, StateKind::InForce);
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn a_driver_that_panics_in_place_costs_its_answers_and_nothing_else() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    let (panicked, answer) = submit_until(
        &handle,
        || world.next(Fault::ActAndPanic),
        |number| {
            world.wait_until(LIMIT, |log| log.executed as u64 == number);
            let calls = world.calls();
            calls
                .iter()
                .rev()
                .find(|call| call.verb == Verb::Execute)
                .is_some_and(|call| call.in_place)
        },
        || (),
    );
    answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
    // In doubt: the engine looks, and finds that it happened.
    wait_for(&handle, panicked, StateKind::InForce);
    let next = panicked + 1;
    submit(&handle, &address(next).to_string())
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    wait_for(&handle, next, StateKind::InForce);
    assert_eq!(world.log().executed as u64, next, "nothing was done twice");
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn many_requests_are_left_to_the_thread_of_the_driver() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    let addresses: Vec<IpAddr> = (1..=40).map(address).collect();
    submit_all(&handle, &addresses)
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    for number in 1..=40 {
        wait_for(&handle, number, StateKind::InForce);
    }
    let calls = world.calls();
    let (here, there): (Vec<Call>, Vec<Call>) = calls.iter().partition(|call| call.in_place);
    let looks = there.iter().filter(|call| call.verb == Verb::Observe);
    assert!(
        looks.map(|call| call.requests).sum::<usize>() > IN_PLACE_MAX,
        "the thread of the driver did nothing: {calls:?}"
    );
    let largest = here.iter().map(|call| call.requests).max();
    assert!(
        largest.is_none_or(|it| it <= IN_PLACE_MAX),
        "too much in place: {calls:?}"
    );
    runtime.stop().expect("it stops cleanly");
}

/// The program gives the whole stop twice as long, and ends then, whether or not the driver has answered.
#[test]
fn a_stop_waits_only_so_long_for_an_act_that_hangs() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let (runtime, handle) = started(&journal, &world);
    world.hang(Verb::Execute);
    let answer = submit(&handle, &address(1).to_string());
    world.wait_until_held(LIMIT);
    answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
    journal.forget_snapshots();
    let stopping = std::thread::spawn(move || runtime.stop());
    // The last thing that the engine does.
    journal.wait_for_snapshot(LIMIT);
    assert_eq!(world.log().executed, 0, "the act still hangs");
    world.let_go();
    stopping.join().expect("no panic").expect("it stops cleanly");
    let again = start(&journal, &world);
    wait_for(&again.handle(), 1, StateKind::InForce);
    again.stop().expect("it stops cleanly");
}
