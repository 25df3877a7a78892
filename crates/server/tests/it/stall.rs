//! What is answered when the engine cannot take or keep anything.

use std::fs;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use staunch_ports::{Journal as _, Lsn, StoredFrame};
use staunch_server::HttpLimits;
use staunch_server::dto::{CommandReply, Health, Status, Taken, path};

use super::client::{Answer, Client};
use super::{Options, PATIENCE, Staunch, until};

const EVENTS: &str = "/v1/events/test";
const BRUTE: &str = r#"{"rule": "brute", "ip": "203.0.113.7"}"#;

/// Posts in the background.
fn post(client: Client, path: &'static str, body: &'static str) -> Receiver<Answer> {
    let (sender, receiver) = channel();
    thread::spawn(move || drop(sender.send(client.post(path, body))));
    receiver
}

/// Closes the gate and waits until the loop stands before it.
fn stall(staunch: &Staunch) -> Receiver<Answer> {
    staunch.gate.close();
    let command = post(
        staunch.client(),
        path::MODE,
        r#"{"mode": "enforce", "reason": "a test"}"#,
    );
    staunch.gate.wait_for_arrivals(1);
    command
}

fn queued(staunch: &Staunch) {
    let handle = staunch.runtime.as_ref().expect("it runs").handle();
    until("the event is queued", || handle.queue_depth() == 1);
}

#[test]
fn an_event_is_accepted_only_when_it_is_durable() {
    let staunch = Staunch::start(Options::default());
    let command = stall(&staunch);
    let event = post(staunch.client(), EVENTS, BRUTE);
    queued(&staunch);
    // The loop takes the event up and decides. Its frame is not durable, so nobody is told.
    staunch.gate.let_one_pass();
    staunch.gate.wait_for_arrivals(2);
    assert_eq!(staunch.runtime.as_ref().expect("it runs").handle().queue_depth(), 0);
    assert_eq!(event.try_recv().err(), Some(TryRecvError::Empty));
    assert!(!staunch.world.is_blocked("203.0.113.7"));
    staunch.gate.open();
    let answer = event.recv_timeout(PATIENCE).expect("it is answered");
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json::<Taken>().matched, 1);
    let _: CommandReply = command.recv_timeout(PATIENCE).expect("it is answered").json();
}

#[test]
fn a_body_counts_until_its_events_are_durable() {
    let http = HttpLimits {
        answer_timeout: Duration::from_millis(100),
        buffered_bytes_max: 4 << 10,
        ..HttpLimits::default()
    };
    let staunch = Staunch::start(Options {
        http,
        ..Options::default()
    });
    let command = stall(&staunch);
    command
        .recv_timeout(PATIENCE)
        .expect("it is answered")
        .problem(503, "in-doubt");
    let large = format!("{BRUTE}{}", "\n".repeat((4 << 10) - BRUTE.len()));
    staunch.client().post(EVENTS, &large).problem(503, "in-doubt");
    // The client was sent away, and its event waits in memory all the same.
    staunch.client().post(EVENTS, BRUTE).problem(429, "crowded");
    staunch.gate.open();
    until("the memory is given back", || {
        staunch.client().post(EVENTS, &large).status == 202
    });
}

#[test]
fn questions_to_an_index_that_hangs_hold_up_none_to_the_engine() {
    let staunch = Staunch::start(Options::default());
    // Opening a pipe waits for somebody who writes. Nothing was asked yet, so that no file is open already.
    let (pipe, index) = (staunch.dir.path().join("pipe"), staunch.dir.path().join("index.sqlite"));
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    fs::remove_file(&index).expect("removed");
    fs::hard_link(&pipe, &index).expect("linked");
    let questions: Vec<_> = (0..16)
        .map(|_| {
            let client = staunch.client();
            thread::spawn(move || client.get(path::INCIDENTS))
        })
        .collect();
    for question in questions {
        question.join().expect("it is answered").problem(503, "slow-index");
    }
    // Nobody waits for them any more, and all of them hang still.
    let health: Health = staunch.stranger().get(path::HEALTH).json();
    assert_eq!(health.status, "ok");
    assert_eq!(staunch.client().get(path::STATUS).status, 200);
    let mut either_end = fs::OpenOptions::new();
    drop(either_end.read(true).write(true).open(&pipe).expect("it opens"));
}

#[test]
fn a_full_queue_says_try_again() {
    let staunch = Staunch::start(Options {
        queue_max: 1,
        ..Options::default()
    });
    let _command = stall(&staunch);
    let first = post(staunch.client(), EVENTS, BRUTE);
    queued(&staunch);
    let answer = staunch.client().post(EVENTS, BRUTE);
    answer.problem(429, "queue-full");
    assert!(answer.has("retry-after: 1"), "{answer:?}");
    // What matches nothing needs no room.
    assert_eq!(staunch.client().post(EVENTS, r#"{"rule": "harmless"}"#).status, 202);
    staunch.gate.open();
    assert_eq!(first.recv_timeout(PATIENCE).expect("it is answered").status, 202);
}

#[test]
fn an_engine_that_does_not_answer_in_time_leaves_it_open() {
    let http = HttpLimits {
        answer_timeout: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    let staunch = Staunch::start(Options {
        http,
        ..Options::default()
    });
    let command = stall(&staunch);
    staunch.client().post(EVENTS, BRUTE).problem(503, "in-doubt");
    command
        .recv_timeout(PATIENCE)
        .expect("it is answered")
        .problem(503, "in-doubt");
    staunch.gate.open();
    until("it was taken nevertheless", || staunch.world.is_blocked("203.0.113.7"));
}

#[test]
fn a_full_journal_refuses_events_and_lets_containment_be_lifted() {
    let staunch = Staunch::start(Options::default());
    assert_eq!(staunch.client().post(EVENTS, BRUTE).status, 202);
    until("nothing more is to be written", || {
        let status: Status = staunch.client().get(path::STATUS).json();
        status.in_force == 1 && status.notices_pending == 0 && status.counts.sweeps > 0
    });
    // Room for a few settling frames, but not for a whole transaction.
    staunch.journal.set_capacity(used(&staunch) + 6_000);
    let answer = staunch
        .client()
        .post(EVENTS, r#"{"rule": "brute", "ip": "203.0.113.8"}"#);
    answer.problem(503, "journal-full");
    let health = || staunch.stranger().get(path::HEALTH).json::<Health>().status;
    let full_since = || staunch.client().get(path::STATUS).json::<Status>().journal_full;
    let metrics = || staunch.client().get(path::METRICS).body;
    assert_eq!(health(), "journal-full");
    assert!(full_since().is_some());
    assert!(metrics().contains("staunch_journal_full 1"), "{}", metrics());
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    // The sender sends it again: what is turned away with its events is counted when it comes with them again.
    let with_others = "{\"rule\": \"brute\", \"ip\": \"203.0.113.8\"}\nnonsense\nsample";
    staunch.client().post(EVENTS, with_others).problem(503, "journal-full");
    let counted = || staunch.client().get(path::STATUS).json::<Status>().counts;
    assert_eq!((counted().events_malformed, counted().events_sample), (0, 0));
    let reply: CommandReply = staunch
        .client()
        .post(path::RELEASE, r#"{"scope": "all", "reason": "a test"}"#)
        .json();
    assert_eq!(reply.affected.len(), 1);
    until("it is lifted", || !staunch.world.is_blocked("203.0.113.7"));
    staunch.journal.set_capacity(u64::MAX);
    until("there is room again", || {
        staunch.client().post(EVENTS, with_others).status == 202
    });
    assert_eq!((counted().events_malformed, counted().events_sample), (1, 1));
    until("it is told that there is room", || {
        let event = r#"{"rule": "brute", "ip": "203.0.113.9"}"#;
        staunch.client().post(EVENTS, event).status == 202 && full_since().is_none()
    });
    assert_eq!(health(), "ok");
    assert!(metrics().contains("staunch_journal_full 0"), "{}", metrics());
}

/// Bytes of the journal, with more than a header takes for each frame.
fn used(staunch: &Staunch) -> u64 {
    let mut bytes = 0;
    let add = &mut |frame: StoredFrame| bytes += frame.payload.len() as u64 + 64;
    staunch.journal.read(Lsn(1), add).expect("it can be read");
    bytes
}

#[test]
fn a_staunch_that_stops_says_so() {
    let mut staunch = Staunch::start(Options::default());
    let runtime = staunch.runtime.take().expect("it runs");
    // It waits for the server to let go of it.
    let stopping = thread::spawn(move || runtime.stop());
    until("the loop has ended", || {
        staunch.stranger().get(path::HEALTH).status == 503
    });
    staunch.stranger().get(path::HEALTH).problem(503, "stopping");
    let answer = staunch.client().post(EVENTS, BRUTE);
    answer.problem(503, "stopping");
    assert!(answer.head.contains("retry-after: "), "{answer:?}");
    staunch
        .client()
        .post(path::RELEASE, r#"{"scope": "all", "reason": "a test"}"#)
        .problem(503, "stopping");
    staunch.client().get(path::STATUS).problem(503, "stopping");
    staunch
        .server
        .take()
        .expect("it runs")
        .stop()
        .expect("the server stops");
    stopping.join().expect("no panic").expect("the runtime stops");
}
