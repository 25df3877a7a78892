//! The event loop against a journal and a driver that the test holds in its hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod archive;
mod followers;
mod in_place;
mod journal;
mod preserve;
mod put_back;
mod recovery;
mod world;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use staunch_engine::EngineState;
use staunch_model::{
    ActionKind, Command, CommandReply, ContentHash, DrillFault, DrillId, Endpoint, Event, Frame, IncidentStatus, Input,
    InstallationId, Limits, Match, MatchedStep, Mode, Modes, OnFailure, Operator, Phase, Playbook, PlaybookGuards,
    Policy, Protection, ReleaseScope, Severity, Span, State, StateKind, Step, Target, TransactionId,
};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Clock, Journal as _, Lsn, StoredFrame};
use staunch_runtime::{Busy, EventReply, Handle, Parts, Preserver, Recorded, Runtime, Settings, Submission};

use journal::GatedJournal;
use world::{Fault, World};

const LIMIT: Duration = Duration::from_secs(20);

fn playbook() -> Playbook {
    Playbook {
        name: "test".into(),
        summary: "blocks".into(),
        hash: ContentHash::of(b"test"),
        attack: Vec::new(),
        deduplicate: Span::from_mins(10),
        context: Vec::new(),
        guards: PlaybookGuards::default(),
        preserve: Vec::new(),
        steps: vec![Step {
            phase: Phase::Contain,
            action: ActionKind::BlockIp,
            target: "event.source.ip".into(),
            lease: Span::from_hours(1),
        }],
        notify: Vec::new(),
        modes: Modes {
            low: Mode::Enforce,
            medium: Mode::Enforce,
            high: Mode::Enforce,
        },
        on_failure: OnFailure::Rollback,
    }
}

fn start(journal: &GatedJournal, world: &World) -> Runtime {
    start_with(journal, world, playbook(), None)
}

fn start_with(journal: &GatedJournal, world: &World, playbook: Playbook, preserver: Option<Preserver>) -> Runtime {
    let parts = Parts {
        preserver,
        ..parts(journal, world)
    };
    start_of(parts, playbook)
}

/// The parts of a runtime that nobody follows and that preserves nothing.
fn parts(journal: &GatedJournal, world: &World) -> Parts {
    Parts {
        journal: Box::new(journal.clone()),
        actions: vec![Box::new(world.driver())],
        traffic: None,
        notifiers: Vec::new(),
        preserver: None,
        signals: staunch_runtime::HealthSignals::default(),
        followers: Vec::new(),
        log: None,
        clock: Arc::new(SystemClock),
        lost: Vec::new(),
        released_before: None,
        installation: InstallationId([7; 8]),
        build: "test".into(),
    }
}

fn start_of(parts: Parts, playbook: Playbook) -> Runtime {
    start_as(parts, playbook, Settings::default())
}

fn start_as(parts: Parts, playbook: Playbook, settings: Settings) -> Runtime {
    start_within(parts, playbook, settings, staunch_engine::limits::DEFAULT)
}

fn start_within(parts: Parts, playbook: Playbook, settings: Settings, limits: Limits) -> Runtime {
    let policy = Policy {
        limits,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks: vec![Arc::new(playbook)],
        drivers: Vec::new(),
    };
    Runtime::start(parts, settings, policy).expect("it starts")
}

fn submit(handle: &Handle, ip: &str) -> Receiver<Result<Vec<EventReply>, Busy>> {
    submit_all(handle, &[ip.parse().expect("an address")])
}

/// Submits an event from each of `addresses` in one body.
fn submit_all(handle: &Handle, addresses: &[IpAddr]) -> Receiver<Result<Vec<EventReply>, Busy>> {
    let (sender, receiver) = bounded(1);
    let reply = Box::new(move |result| sender.send(result).expect("the test waits"));
    let events = addresses.iter().copied().map(event).collect();
    handle
        .submit(Submission {
            known: Vec::new(),
            found: Vec::new(),
            contexts: Vec::new(),
            events,
            reply,
        })
        .expect("the queue has room");
    receiver
}

fn event(ip: IpAddr) -> (Arc<Event>, Vec<Match>) {
    let now = SystemClock.now();
    let event = Event {
        system: "test".into(),
        id: None,
        time: Some(now),
        received: now,
        severity: Severity::High,
        signature: "brute force".into(),
        category: "".into(),
        source: Endpoint {
            ip: Some(ip),
            port: None,
        },
        destination: Endpoint::default(),
        user: None,
        host: None,
        raw: b"{}".as_slice().into(),
    };
    let steps = vec![MatchedStep {
        step: 0,
        target: Some(Target::Address(ip)),
    }];
    let matches = vec![Match {
        playbook: playbook().hash,
        key: ip.to_string().into(),
        preserve: Vec::new(),
        steps,
    }];
    (Arc::new(event), matches)
}

fn command(handle: &Handle, command: Command) -> CommandReply {
    try_command(handle, command).expect("it was taken")
}

fn try_command(handle: &Handle, command: Command) -> Result<CommandReply, Busy> {
    let (sender, receiver) = bounded(1);
    let by = Operator {
        name: "ann".into(),
        from: "127.0.0.1".into(),
        reason: "".into(),
    };
    let reply = Box::new(move |result: Result<Recorded, Busy>| {
        sender.send(result.map(|it| it.reply)).expect("the test waits");
    });
    handle.command(by, command, reply).expect("it runs");
    receiver.recv_timeout(LIMIT).expect("an answer")
}

/// Waits until transaction `id` is in `state`.
fn wait_for(handle: &Handle, id: u64, state: StateKind) {
    let begun = std::time::Instant::now();
    loop {
        let seen = handle
            .query(move |engine| engine.transactions.get(&TransactionId(id)).map(|it| it.state.kind()))
            .expect("it runs");
        if seen == Some(state) {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "TX-{id} is {seen:?}, not {state}");
        std::thread::yield_now();
    }
}

#[test]
fn nothing_leaves_before_its_frame_is_durable_but_reads() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    wait_for_sweep(&handle);
    let gate = journal.close();
    let answer = submit(&handle, "198.51.100.1");
    gate.wait_for_writer(LIMIT);
    // The loop stands in front of the closed journal: the look has gone out, the act and the answer have not.
    world.wait_until(LIMIT, |log| log.observed >= 1);
    assert_eq!(world.log().executed, 0, "an act left before its intent was durable");
    assert!(answer.is_empty(), "an answer left before its frame was durable");
    let (asked, told) = bounded(1);
    let asking = std::thread::spawn({
        let handle = handle.clone();
        move || {
            asked
                .send(handle.query(|state| state.incidents.len()).expect("it runs"))
                .expect("the test waits");
        }
    });
    assert!(
        told.recv_timeout(Duration::from_millis(100)).is_err(),
        "a question was answered from what is not durable"
    );
    gate.open();
    let replies = answer.recv_timeout(LIMIT).expect("an answer").expect("taken");
    assert_eq!(replies[0].incidents.len(), 1);
    assert_eq!(told.recv_timeout(LIMIT), Ok(1));
    asking.join().expect("it asked");
    wait_for(&handle, 1, StateKind::InForce);
    assert_eq!(world.log().executed, 1);
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn check_and_intent_share_one_sync() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    wait_for_sweep(&handle);
    let before = journal.appends();
    submit(&handle, "198.51.100.1")
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    wait_for(&handle, 1, StateKind::InForce);
    // A machine under load may miss the linger time once; what counts is that four frames do not take four syncs.
    assert!(
        journal.appends() - before <= 4,
        "{} appends for one transaction",
        journal.appends() - before
    );
    assert_eq!(
        journal.frames_of_last_appends(before).iter().sum::<usize>(),
        4,
        "event, check, act, check"
    );
    runtime.stop().expect("it stops cleanly");
}

fn wait_for_sweep(handle: &Handle) {
    let begun = std::time::Instant::now();
    while handle.query(|state| state.swept_at.is_empty()).expect("it runs") {
        assert!(begun.elapsed() < LIMIT, "no sweep");
        std::thread::yield_now();
    }
}

#[test]
fn a_restart_takes_up_an_act_whose_answer_never_came() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    world.next(Fault::ActAndPanic);
    submit(&handle, "198.51.100.1")
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    // The panicking driver is in doubt: the engine asks the world and finds the block.
    wait_for(&handle, 1, StateKind::InForce);
    assert_eq!(world.log().executed, 1, "it was not done twice");
    runtime.stop().expect("it stops cleanly");

    {
        let runtime = start(&journal, &world);
        let handle = runtime.handle();
        assert_eq!(runtime.recovered().open, 1);
        wait_for(&handle, 1, StateKind::InForce);
        let reply = command(&handle, Command::Release(ReleaseScope::All));
        assert_eq!(reply.affected, [TransactionId(1)]);
        wait_for(&handle, 1, StateKind::Released);
        assert!(world.is_empty());
        runtime.stop().expect("it stops cleanly");
    }
    // The stop wrote a snapshot of the live state; every frame from the first on makes the same.
    let live = staunch_runtime::recover(&journal).expect("it recovers");
    assert_eq!(live.frames, 0, "the snapshot is of the end");
    journal.forget_snapshots();
    let recovered = staunch_runtime::recover(&journal).expect("it recovers");
    let incidents: Vec<_> = recovered
        .engine
        .state()
        .incidents
        .values()
        .map(|it| it.status)
        .collect();
    assert_eq!(incidents, [IncidentStatus::Closed]);
    assert_eq!(
        recovered.frames,
        journal.frames_of_last_appends(0).iter().sum::<usize>() as u64,
        "all were replayed"
    );
    assert_eq!(
        recovered.engine.state().hash(),
        live.engine.state().hash(),
        "replayed and live state differ"
    );
}

#[test]
fn a_journal_that_fails_ends_the_loop_and_answers_nobody() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    wait_for_sweep(&handle);
    journal.fail_next();
    let answer = submit(&handle, "198.51.100.1");
    assert!(
        answer.recv_timeout(LIMIT).is_err(),
        "an event was acknowledged that is not durable"
    );
    let begun = std::time::Instant::now();
    while !runtime.has_failed() {
        assert!(begun.elapsed() < LIMIT, "the loop went on without its journal");
        std::thread::yield_now();
    }
    assert_eq!(
        world.log().executed,
        0,
        "an act left although its intent is not durable"
    );
    let error = runtime.stop().expect_err("the failure is reported");
    assert!(error.to_string().contains("journal"), "{error}");
}

#[test]
fn a_full_journal_turns_events_away_and_still_lifts_containment() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    submit(&handle, "198.51.100.1")
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    wait_for(&handle, 1, StateKind::InForce);
    journal.set_full(true);
    let refused = submit(&handle, "198.51.100.2").recv_timeout(LIMIT).expect("an answer");
    assert_eq!(refused, Err(Busy::JournalFull));
    assert_eq!(handle.telemetry().counts().events_turned_away, 1);
    let since = handle.journal_full().expect("it is told");
    // A drill has more contained, and is not ordered; to end one, there is room.
    let drill = Command::Drill {
        fault: DrillFault::Lie,
        lasts: Span::from_mins(1),
    };
    assert_eq!(try_command(&handle, drill), Err(Busy::JournalFull));
    command(&handle, Command::EndDrill { drill: DrillId(1) });
    command(&handle, Command::Release(ReleaseScope::Transaction(TransactionId(1))));
    wait_for(&handle, 1, StateKind::Released);
    assert!(world.is_empty());
    // However often something is refused, it has begun once, and one page is about it.
    let refused = submit(&handle, "198.51.100.3").recv_timeout(LIMIT).expect("an answer");
    assert_eq!(refused, Err(Busy::JournalFull));
    assert_eq!(handle.journal_full(), Some(since));
    let pages = || {
        let mut pages = 0;
        let count = &mut |stored: StoredFrame| {
            let frame: Frame = postcard::from_bytes(&stored.payload).expect("ours");
            pages += usize::from(matches!(&frame.input, Input::Trouble(what) if what.contains("the journal is full")));
        };
        journal.read(Lsn(1), count).expect("it can be read");
        pages
    };
    command(&handle, Command::SetMode(Mode::Observe));
    assert_eq!(pages(), 1);

    journal.set_full(false);
    let begun = std::time::Instant::now();
    while handle.journal_full().is_some() {
        assert!(begun.elapsed() < LIMIT, "it is never seen that there is room");
        let answer = submit(&handle, "198.51.100.4").recv_timeout(LIMIT).expect("an answer");
        assert!(answer.is_ok(), "{answer:?}");
    }
    // It fills up again soon after: that is told in the status, and not in a page of its own.
    journal.set_full(true);
    let refused = submit(&handle, "198.51.100.5").recv_timeout(LIMIT).expect("an answer");
    assert_eq!(refused, Err(Busy::JournalFull));
    assert!(handle.journal_full().is_some());
    command(&handle, Command::SetMode(Mode::Enforce));
    assert_eq!(pages(), 1);
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn a_policy_that_no_frame_holds_is_refused_and_the_loop_goes_on() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let runtime = start(&journal, &world);
    let handle = runtime.handle();
    let policy = || {
        handle
            .query(|state| state.policy.clone())
            .expect("it runs")
            .expect("pinned")
    };
    let before = policy();
    let with = |networks: u32| {
        let network = |at: u32| Protection {
            network: IpAddr::from(Ipv4Addr::from_bits(at)).into(),
            reason: "office".into(),
        };
        Arc::new(Policy {
            never_touch: (0..networks).map(network).collect(),
            ..(*before).clone()
        })
    };
    let refused = handle.set_policy(with(100_000)).expect_err("it is too large");
    let max = journal::PAYLOAD_BYTES_MAX / 2;
    assert!(
        matches!(refused, Busy::TooLarge { bytes, max: most } if bytes > max && most == max),
        "{refused:?}"
    );
    assert_eq!(policy(), before);
    handle.set_policy(with(1_000)).expect("it fits");
    assert_eq!(policy().never_touch.len(), 1_000);
    let answer = submit(&handle, "198.51.100.1").recv_timeout(LIMIT).expect("an answer");
    assert!(answer.is_ok(), "{answer:?}");
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn what_a_list_misses_and_a_look_finds_stays_in_force() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let limits = Limits {
        sweep_interval: Span::from_millis(20),
        ..staunch_engine::limits::DEFAULT
    };
    let runtime = start_within(parts(&journal, &world), playbook(), Settings::default(), limits);
    let handle = runtime.handle();
    let sweeps = |more: u64| {
        let (begun, before) = (std::time::Instant::now(), handle.telemetry().counts().sweeps);
        while handle.telemetry().counts().sweeps < before + more {
            assert!(begun.elapsed() < LIMIT, "there are no sweeps");
            std::thread::yield_now();
        }
    };
    submit(&handle, "198.51.100.1")
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    wait_for(&handle, 1, StateKind::InForce);
    world.unlist(true);
    sweeps(3);
    let kind = |state: &EngineState| state.transactions[&TransactionId(1)].state.kind();
    assert_eq!(handle.query(kind).expect("it runs"), StateKind::InForce);
    assert!(!world.is_empty());
    // What cannot be looked at is not known to have vanished.
    world.blind(true);
    let is_told = |state: &EngineState| state.sweep_failed.values().any(|why| why.what.contains("it is dark"));
    let begun = std::time::Instant::now();
    while !handle.query(is_told).expect("it runs") {
        assert!(begun.elapsed() < LIMIT, "nobody says that it was not looked at");
        std::thread::yield_now();
    }
    assert_eq!(handle.query(kind).expect("it runs"), StateKind::InForce);
    world.blind(false);
    world.flush();
    // What has vanished is rolled back, and its incident forgotten.
    let (begun, is_kept) = (std::time::Instant::now(), |state: &EngineState| {
        !state.transactions.is_empty()
    });
    while handle.query(is_kept).expect("it runs") {
        assert!(begun.elapsed() < LIMIT, "what has vanished counts as in force");
        std::thread::yield_now();
    }
    runtime.stop().expect("it stops cleanly");
}

#[test]
fn an_act_without_a_driver_is_refused_at_once() {
    let (journal, world) = (GatedJournal::default(), World::default());
    let mut playbook = playbook();
    playbook.steps[0].action = ActionKind::RateLimitIp;
    let runtime = start_with(&journal, &world, playbook, None);
    let handle = runtime.handle();
    submit(&handle, "198.51.100.1")
        .recv_timeout(LIMIT)
        .expect("an answer")
        .expect("taken");
    wait_for(&handle, 1, StateKind::Refused);
    let why = handle.query(|engine| match &engine.transactions[&TransactionId(1)].state {
        State::Refused(reason) => reason.to_string(),
        other => format!("{other:?}"),
    });
    let why = why.expect("it runs");
    assert!(why.contains("no driver is running for this action"), "{why}");
    assert_eq!(world.log().executed, 0);
    runtime.stop().expect("it stops cleanly");
}
