//! How much one turn does: what is more is left to the next, and a frame stays within what every journal takes.

use staunch_engine::limits::{DEFAULT, HOLDERS_MAX, WORK_PER_TURN_MAX};
use staunch_model::{Change, IncidentStatus, Input, Record, Span, StateKind};

use crate::build::{self, LEASE, adjust_playbook};
use crate::sim::Sim;

/// The smallest limit that a journal may have for its frames, in bytes.
const FRAME_BYTES: usize = 2 << 20;

fn address(at: usize) -> String {
    format!("10.{}.{}.{}", at >> 16, (at >> 8) & 0xff, at & 0xff)
}

/// The longest key whose text is as long as a notice may be.
fn key(at: usize) -> String {
    format!("{at:06}{}", "\u{1b}".repeat(250))
}

/// A world in which every incident is told of, and nothing limits their number.
fn unlimited() -> Sim {
    let mut sim = Sim::new(build::policy(|policy| {
        policy.limits.acts_per_hour_max = 1_000_000;
        policy.limits.acts_per_action_hour_max = 1_000_000;
        policy.limits.acts_per_group_hour_max = 1_000_000;
        policy.limits.actions_in_flight_max = 1_000;
        for name in ["enforce", "approve"] {
            adjust_playbook(policy, name, |it| it.guards.acts_per_hour_max = 1_000_000);
        }
    }));
    sim.invariants.compare_every = 2_000;
    sim
}

/// The frames since the one with the number `from`, each within the limit.
fn frames_since(sim: &Sim, from: usize) -> usize {
    let frames = &sim.frames[from..];
    for (_, frame) in frames {
        let bytes = postcard::to_stdvec(frame).unwrap().len();
        assert!(bytes < FRAME_BYTES, "a frame of {bytes} bytes for {:?}", frame.input);
    }
    frames.len()
}

fn of_kind(sim: &Sim, kind: StateKind) -> usize {
    let all = sim.state().transactions.values();
    all.filter(|it| it.state.kind() == kind).count()
}

#[test]
fn what_is_due_after_a_long_stop_is_done_in_turns_of_bounded_size() {
    let mut sim = unlimited();
    let count = WORK_PER_TURN_MAX + 100;
    for at in 0..count {
        sim.event_about("approve", &key(at), &[&address(at)]);
    }
    sim.run(Span::from_secs(1));
    assert_eq!(of_kind(&sim, StateKind::AwaitingApproval), count);
    let before = sim.frames.len();
    sim.crash(DEFAULT.approval_expiry);
    let left = of_kind(&sim, StateKind::AwaitingApproval);
    assert!(
        (1..count).contains(&left),
        "one turn does some of it, and leaves {left}"
    );
    sim.run(Span::ZERO);
    assert_eq!(
        of_kind(&sim, StateKind::AwaitingApproval),
        0,
        "the rest is done at once"
    );
    let turns = frames_since(&sim, before);
    assert!(turns > 2, "{turns} turns");
    let open = sim
        .state()
        .incidents
        .values()
        .filter(|it| it.status == IncidentStatus::Open);
    assert_eq!(open.count(), 0);
    sim.ends_clean();
}

#[test]
fn what_more_incidents_want_than_may_hold_one_transaction_waits_in_another() {
    let mut sim = unlimited();
    for at in 0..=HOLDERS_MAX {
        sim.event_about("approve", &key(at), &["203.0.113.7"]);
    }
    sim.run(Span::from_secs(1));
    assert_eq!(
        (sim.kind(1), sim.kind(2)),
        (Some(StateKind::AwaitingApproval), Some(StateKind::Planned))
    );
    assert_eq!(
        (sim.transaction(1).holders(), sim.transaction(2).holders()),
        (HOLDERS_MAX, 1)
    );
    let before = sim.frames.len();
    sim.deny(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::AwaitingApproval), "its target is free");
    frames_since(&sim, before);
    sim.approve(2).unwrap();
    sim.run(Span::from_secs(1));
    assert!(sim.is_in_place(2));
    sim.run(LEASE);
    sim.ends_clean();
}

#[test]
fn everything_that_waits_is_called_off_in_turns_of_bounded_size() {
    let mut sim = unlimited();
    let count = WORK_PER_TURN_MAX;
    for at in 0..count {
        sim.event_about("approve", &key(at), &[&address(at)]);
    }
    sim.run(Span::from_secs(1));
    let before = sim.frames.len();
    let mut released = 0;
    while released < count {
        let more = sim.release_all().len();
        assert!(more > 0, "{released} of {count} are called off");
        released += more;
    }
    assert!(frames_since(&sim, before) > 1);
    sim.ends_clean();
}

#[test]
fn a_start_sends_so_many_undos_again_and_the_rest_when_their_answers_are_late() {
    let mut sim = unlimited();
    let count = WORK_PER_TURN_MAX + 1;
    for at in 0..count {
        sim.event("enforce", &address(at));
        if at % 200 == 0 {
            sim.run(Span::from_millis(10));
        }
    }
    sim.run(Span::from_secs(1));
    assert_eq!(of_kind(&sim, StateKind::InForce), count);
    while !sim.release_all().is_empty() {}
    assert_eq!(of_kind(&sim, StateKind::Releasing), count);
    let before = sim.frames.len();
    sim.crash(Span::ZERO);
    let resent = |frames: &[(staunch_model::Timestamp, staunch_model::Frame)]| {
        let records = frames.iter().flat_map(|(_, frame)| &frame.records);
        let sent = records.filter(|it| {
            matches!(
                it,
                Record::Transaction {
                    change: Change::Resent(_),
                    ..
                }
            )
        });
        sent.count()
    };
    assert!(matches!(sim.frames[before].1.input, Input::Started { .. }));
    assert_eq!(resent(&sim.frames[before..]), WORK_PER_TURN_MAX);
    frames_since(&sim, before);
    sim.run(Span::from_mins(1));
    assert_eq!(of_kind(&sim, StateKind::Releasing), 0, "all of them are lifted");
    assert!(sim.world.elements.is_empty());
    sim.ends_clean();
}
