//! What goes wrong while acting, and how it is undone and proved clean.

use staunch_engine::transaction::name;
use staunch_model::{Cause, FailureKind, NoticeLevel, Record, Span, State, StateKind};

use crate::build::{self, REMOTE_IN_FLIGHT, adjust_playbook};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

const IN_FORCE: &str = "planned > pre-checking > executing > post-checking > in-force";
const AGAIN: &str = "planned > pre-checking > executing > post-checking > executing > post-checking > in-force";
const ROLLED_BACK: &str = "planned > pre-checking > executing > post-checking > rolling-back > settling > rolled-back";
const AGAIN_ROLLED_BACK: &str = "planned > pre-checking > executing > post-checking > executing > post-checking > rolling-back > settling > rolled-back";

/// One act that meets `faults`: the path it takes, and how often the act was sent.
#[track_caller]
fn check(mut sim: Sim, faults: &[Fault], path: &str, acts: usize) -> Sim {
    sim.faults(Verb::Execute, faults);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(1));
    sim.expect_path(1, path);
    assert_eq!(sim.acts.len(), acts);
    assert_eq!(
        sim.is_blocked(IP),
        path.ends_with("in-force"),
        "the end is what the world holds"
    );
    sim
}

#[test]
fn every_fault_of_an_act_comes_to_the_right_end() {
    use Fault::{Fails, InDoubt, InDoubtLanded, LandsLate, Lies, RepliesTwice, ReplyLate, ReplyLost, RequestLost};
    let late = Span::from_secs(20);
    let cases: &[(&[Fault], &str, usize)] = &[
        (&[], IN_FORCE, 1),
        (&[RepliesTwice], IN_FORCE, 1),
        (&[InDoubtLanded], IN_FORCE, 1),
        (&[ReplyLost], IN_FORCE, 1),
        (&[ReplyLate(late)], IN_FORCE, 1),
        (&[InDoubt], AGAIN, 2),
        (&[RequestLost], AGAIN, 2),
        (&[InDoubt, InDoubt], AGAIN_ROLLED_BACK, 2),
        (&[RequestLost, ReplyLost], AGAIN, 2),
        (&[RequestLost, RequestLost], AGAIN_ROLLED_BACK, 2),
        (&[Lies], ROLLED_BACK, 1),
        (&[Fails(FailureKind::Denied)], ROLLED_BACK, 1),
        (&[Fails(FailureKind::Full)], ROLLED_BACK, 1),
        (&[Fails(FailureKind::Invalid)], ROLLED_BACK, 1),
        (&[Fails(FailureKind::Unavailable)], AGAIN, 2),
        (&[Fails(FailureKind::Conflict)], AGAIN, 2),
        (&[Fails(FailureKind::TimedOut)], AGAIN, 2),
        (&[Fails(FailureKind::Interrupted)], AGAIN, 2),
        (&[Fails(FailureKind::Gone)], ROLLED_BACK, 1),
        (
            &[Fails(FailureKind::Unavailable), Fails(FailureKind::Unavailable)],
            AGAIN_ROLLED_BACK,
            2,
        ),
        (&[LandsLate(Span::from_millis(90))], AGAIN, 2),
    ];
    for (faults, path, acts) in cases {
        check(Sim::usual(), faults, path, *acts).ends_clean();
    }
}

#[test]
fn the_causes_name_what_happened() {
    let sim = check(Sim::usual(), &[Fault::Lies], ROLLED_BACK, 1);
    assert_eq!(
        sim.cause(1),
        Cause::PostCheckFailed {
            found: "nothing is in place".into()
        }
    );
    let sim = check(Sim::usual(), &[Fault::Fails(FailureKind::Denied)], ROLLED_BACK, 1);
    assert!(matches!(sim.cause(1), Cause::ExecuteFailed(failure) if failure.kind == FailureKind::Denied));
    assert_eq!(
        sim.told(NoticeLevel::Page),
        [format!(
            "INC-1 (enforce, {IP}): rolled-back: the act failed: the driver says no"
        )]
    );
}

#[test]
fn the_world_may_move_between_the_look_and_the_act() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(50))]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(20));
    assert_eq!(sim.kind(1), Some(StateKind::Executing));
    sim.foreign(IP);
    sim.run(Span::from_secs(5));
    sim.expect_path(1, ROLLED_BACK);
    assert!(sim.is_blocked(IP), "what is not ours stays");
    sim.ends_clean();
    assert!(sim.is_blocked(IP));

    // Somebody came and went: the version moved, the act is refused, and the second attempt knows the new version.
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(50))]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(20));
    sim.foreign(IP);
    sim.vanish(IP);
    sim.run(Span::from_secs(5));
    sim.expect_path(1, AGAIN);
    sim.ends_clean();
}

#[test]
fn rules_that_do_not_enforce_are_not_containment() {
    let mut sim = Sim::usual();
    sim.world.enforcing = false;
    sim.event("enforce", IP);
    sim.run(Span::from_secs(5));
    sim.expect_path(1, ROLLED_BACK);
    let found = "it is in place, but the rules that enforce it are not".into();
    assert_eq!(sim.cause(1), Cause::PostCheckFailed { found });
    assert!(!sim.is_blocked(IP));
    sim.ends_clean();
}

#[test]
fn an_enforcement_point_that_fills_up_after_the_look_leads_to_a_rollback() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(50))]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(20));
    sim.world.capacity_max = 0;
    sim.run(Span::from_secs(5));
    sim.expect_path(1, ROLLED_BACK);
    sim.ends_clean();
}

#[test]
fn a_rollback_is_over_only_when_no_request_can_be_under_way() {
    for at in [100, 1_000, 1_999] {
        let mut sim = Sim::remote();
        sim.faults(
            Verb::Execute,
            &[Fault::InDoubt, Fault::LandsLate(Span::from_millis(at))],
        );
        sim.event("enforce", IP);
        sim.run(Span::from_secs(20));
        let rolled_back = AGAIN_ROLLED_BACK.trim_end_matches("rolled-back");
        sim.expect_path(1, &format!("{rolled_back}rolling-back > settling > rolled-back"));
        assert_eq!(
            (sim.undos.len(), sim.changes(1, "probed-present")),
            (2, 1),
            "it was found and undone again"
        );
        let sent = sim.acts.last().unwrap().0;
        let ended = sim
            .frames
            .iter()
            .find(|(_, frame)| format!("{frame:?}").contains("ProbedAbsent"))
            .unwrap()
            .0;
        assert!(ended.since(sent) > REMOTE_IN_FLIGHT, "{}", ended.since(sent));
        sim.ends_clean();
    }
}

/// A driver may have it waiting for as long as the engine waits for the answer, less the longest time in flight.
#[test]
fn an_act_that_its_driver_sends_late_is_settled_too() {
    let mut sim = Sim::remote();
    sim.faults(Verb::Execute, &[Fault::Slow(Span::from_millis(6_900))]);
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.release(1).unwrap();
    sim.run(Span::from_secs(4));
    assert_eq!(sim.kind(1), Some(StateKind::Settling));
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
    assert!(!sim.is_blocked(IP), "what landed late was undone");
    sim.ends_clean();
}

/// A client or a proxy that sends again by itself.
#[test]
fn a_duplicate_that_lands_after_the_release_is_lifted_too() {
    let mut sim = Sim::remote();
    sim.faults(Verb::Execute, &[Fault::LandsTwice(Span::from_millis(1_500))]);
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    sim.release(1).unwrap();
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    assert!(!sim.is_blocked(IP), "the duplicate was lifted");
    sim.ends_clean();
}

#[test]
fn a_release_right_after_a_second_attempt_waits_for_the_first() {
    let mut sim = Sim::remote();
    sim.world.versioned = false;
    sim.faults(Verb::Execute, &[Fault::LandsLate(Span::from_millis(1_500))]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(100));
    sim.expect_path(1, AGAIN);
    sim.release(1).unwrap();
    sim.run(Span::from_secs(1));
    assert_eq!(
        sim.kind(1),
        Some(StateKind::Releasing),
        "the first request may still land"
    );
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    assert_eq!(sim.undos.len(), 2);
    assert!(!sim.is_blocked(IP));
    sim.ends_clean();
}

#[test]
fn an_undo_is_tried_eight_times_and_then_a_person_is_paged() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Unavailable); 8]);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(5));
    assert_eq!(sim.kind(1), Some(StateKind::Stuck));
    assert_eq!(sim.undos.len(), 8);
    let pauses: Vec<_> = sim
        .undos
        .windows(2)
        .map(|pair| pair[1].0.since(pair[0].0).as_micros() / 1_000)
        .collect();
    assert_eq!(pauses, [502, 1_002, 2_002, 4_002, 8_002, 16_002, 30_002]);
    let State::Stuck(reason) = sim.last(1) else {
        unreachable!()
    };
    assert_eq!((reason.trying, reason.attempts), (StateKind::RollingBack, 8));
    let page = format!(
        "block-ip on {IP} is stuck while rolling-back after 8 attempts: the driver says no. Look at the target, then \
         run `staunch release TX-1`"
    );
    assert!(sim.told(NoticeLevel::Page).contains(&&*page), "{:?}", sim.told);

    sim.run(Span::from_hours(24));
    assert_eq!(
        (sim.kind(1), sim.undos.len()),
        (Some(StateKind::Stuck), 8),
        "it waits for a person"
    );
    sim.event("other", IP);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::Planned), "nobody else touches the target");
    assert_eq!(sim.release(1), Ok(vec![staunch_model::TransactionId(1)]));
    sim.run(Span::from_secs(5));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    assert_eq!(sim.kind(2), Some(StateKind::InForce), "then it is free");
    sim.ends_clean();
}

#[test]
fn what_waits_for_a_stuck_target_does_not_wait_for_ever() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Unavailable); 8]);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(5));
    sim.event("other", IP);
    sim.run(Span::from_mins(6));
    assert_eq!(sim.refusal(2), "QueueTimeout");
    sim.ends_clean();
}

#[test]
fn an_undo_that_lands_without_an_answer_is_found_by_the_next_look() {
    for fault in [
        Fault::ReplyLost,
        Fault::InDoubtLanded,
        Fault::InDoubt,
        Fault::RequestLost,
        Fault::Lies,
    ] {
        for release in [true, false] {
            let mut sim = Sim::usual();
            sim.faults(Verb::Undo, &[fault]);
            sim.event("enforce", IP);
            if !release {
                sim.world.enforcing = false;
            }
            sim.run(Span::from_secs(1));
            if release {
                sim.release(1).unwrap();
            }
            sim.run(Span::from_mins(1));
            let end = if release {
                StateKind::Released
            } else {
                StateKind::RolledBack
            };
            assert_eq!(sim.kind(1), Some(end), "{fault:?}\n{}", sim.story());
            assert!(!sim.is_blocked(IP));
            sim.ends_clean();
        }
    }
}

#[test]
fn a_probe_that_fails_is_tried_again() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.faults(
        Verb::Observe,
        &[Fault::Fails(FailureKind::Unavailable), Fault::RequestLost],
    );
    sim.release(1).unwrap();
    sim.run(Span::from_mins(1));
    assert_eq!((sim.kind(1), sim.undos.len()), (Some(StateKind::Released), 1));

    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Observe, &[Fault::Fails(FailureKind::Unavailable); 8]);
    sim.release(1).unwrap();
    sim.run(Span::from_mins(5));
    assert_eq!(sim.kind(1), Some(StateKind::Stuck), "it cannot be proved clean");
    assert_eq!(sim.incident(1).status, staunch_model::IncidentStatus::Open);
    sim.ends_clean();
}

#[test]
fn a_post_check_that_cannot_look_rolls_back() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Observe, &[Fault::None]);
    sim.faults(Verb::Observe, &[Fault::Fails(FailureKind::Unavailable); 3]);
    sim.event("enforce", IP);
    sim.run(Span::from_mins(1));
    sim.expect_path(1, ROLLED_BACK);
    assert!(matches!(sim.cause(1), Cause::PostCheckFailed { found } if found.contains("cannot be looked at")));
    sim.ends_clean();
}

#[test]
fn a_second_attempt_is_judged_again() {
    // The breaker opens, or a person stops everything, between the first attempt and the second.
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::InDoubt]);
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::PostChecking);
    sim.set_mode(staunch_model::Mode::Observe);
    sim.run(Span::from_secs(5));
    sim.expect_path(1, ROLLED_BACK);
    assert_eq!(sim.acts.len(), 1);
    sim.ends_clean();

    // The event is too old by the time of the second attempt.
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::RequestLost]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(100));
    sim.crash(Span::from_hours(2));
    sim.run(Span::from_secs(5));
    sim.expect_path(1, ROLLED_BACK);
    sim.ends_clean();

    // The first attempt no longer counts in any budget when the second is judged.
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| it.guards.event_age_max = Span::from_hours(24));
    }));
    sim.faults(Verb::Execute, &[Fault::RequestLost]);
    sim.event("enforce", IP);
    sim.run(Span::from_millis(100));
    sim.crash(Span::from_hours(2));
    sim.run(Span::from_secs(5));
    sim.expect_path(1, AGAIN);
    sim.ends_clean();
}

#[test]
fn siblings_are_rolled_back_in_reverse_order_of_completion() {
    let ips = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    let mut sim = Sim::usual();
    // The second step comes into force before the first, and the third fails.
    sim.faults(
        Verb::Execute,
        &[
            Fault::Slow(Span::from_millis(40)),
            Fault::None,
            Fault::Fails(FailureKind::Denied),
        ],
    );
    sim.faults(Verb::Undo, &[Fault::Slow(Span::from_millis(90))]);
    sim.event_about("enforce", "three", &ips);
    sim.run(Span::from_secs(10));
    for id in 1..=3 {
        assert_eq!(sim.kind(id), Some(StateKind::RolledBack), "{}", sim.story());
    }
    let order: Vec<_> = sim.undos.iter().map(|(_, id, _)| id.0).collect();
    assert_eq!(order, [3, 1, 2]);
    assert!(matches!(sim.cause(1), Cause::Sibling(failed) if failed.0 == 3));
    assert!(sim.world.elements.is_empty());
    sim.ends_clean();
}

#[test]
fn the_next_sibling_is_undone_when_the_one_before_is_verified_as_gone() {
    for mut sim in [Sim::usual(), Sim::remote()] {
        sim.faults(
            Verb::Execute,
            &[Fault::None, Fault::None, Fault::Fails(FailureKind::Denied)],
        );
        // The undo of the second is a lie, which a look finds out.
        sim.faults(Verb::Undo, &[Fault::None, Fault::Lies]);
        sim.event_about("enforce", "three", &["203.0.113.1", "203.0.113.2", "203.0.113.3"]);
        sim.run(Span::from_mins(1));
        let starts_and_proofs: Vec<_> = sim
            .records()
            .filter_map(|record| match record {
                Record::Transaction { transaction, change } => Some((transaction.0, name(change))),
                _ => None,
            })
            .filter(|(_, change)| ["rollback-started", "probed-present", "probed-absent"].contains(change))
            .collect();
        assert_eq!(
            starts_and_proofs,
            [
                (3, "rollback-started"),
                (3, "probed-absent"),
                (2, "rollback-started"),
                (2, "probed-present"),
                (2, "probed-absent"),
                (1, "rollback-started"),
                (1, "probed-absent"),
            ],
            "{}",
            sim.story()
        );
        sim.ends_clean();
    }
}

#[test]
fn a_playbook_may_keep_what_worked() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &[Fault::None, Fault::Fails(FailureKind::Denied)]);
    sim.event_about("keep", "two", &["203.0.113.1", "203.0.113.2"]);
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert_eq!(sim.kind(2), Some(StateKind::RolledBack));
    sim.ends_clean();
}

#[test]
fn a_sibling_that_waits_for_its_turn_never_acts() {
    let mut sim = Sim::new(build::policy(|it| it.limits.actions_in_flight_max = 1));
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.event_about("enforce", "two", &["203.0.113.1", "203.0.113.2"]);
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
    assert_eq!(sim.refusal(2), "Abandoned");
    assert_eq!(sim.acts.len(), 1);
    sim.ends_clean();
}

#[test]
fn an_act_that_was_lost_is_not_sent_again_when_a_sibling_has_failed_meanwhile() {
    let faults = [Fault::RequestLost, Fault::Fails(FailureKind::Denied)];
    let ips = ["203.0.113.1", "203.0.113.2"];
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &faults);
    sim.event_about("enforce", "two", &ips);
    sim.run(Span::from_mins(1));
    sim.expect_path(1, ROLLED_BACK);
    assert!(matches!(sim.cause(1), Cause::Sibling(failed) if failed.0 == 2));
    assert_eq!(sim.acts.len(), 2, "{}", sim.story());
    sim.ends_clean();

    // A playbook that keeps what worked is worth another try.
    let mut sim = Sim::usual();
    sim.faults(Verb::Execute, &faults);
    sim.event_about("keep", "two", &ips);
    sim.run(Span::from_mins(1));
    sim.expect_path(1, AGAIN);
    sim.ends_clean();
}

#[test]
fn a_sibling_that_is_still_being_looked_at_does_not_act() {
    let mut sim = Sim::usual();
    sim.faults(Verb::Observe, &[Fault::None, Fault::Slow(Span::from_millis(90))]);
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.event_about("enforce", "key", &[IP, "203.0.113.8"]);
    sim.run_until_kind(1, StateKind::RollingBack);
    assert_eq!(sim.refusal(2), "Abandoned");
    sim.run(Span::from_secs(5));
    assert_eq!(sim.acts.len(), 1);
    sim.expect_path(2, "planned > pre-checking > refused");
    sim.ends_clean();
}

/// The lease is over by the clock that was set forward, and what is under way knows nothing of clocks.
#[test]
fn what_was_sent_before_a_start_is_waited_for_whatever_the_clock_says() {
    let late = Span::from_millis(1_500);
    // An earlier try, and a duplicate of the only one.
    for fault in [Fault::LandsLate(late), Fault::LandsTwice(late)] {
        let mut sim = Sim::remote();
        sim.world.versioned = false;
        sim.faults(Verb::Execute, &[fault]);
        sim.event("enforce", IP);
        sim.run_until_kind(1, StateKind::InForce);
        sim.crash_and_set_clock(Span::from_hours(2));
        sim.run(Span::from_millis(500));
        assert_eq!(sim.kind(1), Some(StateKind::Releasing), "{fault:?}: one may still land");
        sim.run(Span::from_secs(10));
        assert_eq!(sim.kind(1), Some(StateKind::Released), "{fault:?}");
        assert!(!sim.is_blocked(IP), "{fault:?}");
        sim.ends_clean();
    }
}

#[test]
fn what_had_landed_when_it_was_verified_is_not_waited_for_after_a_start() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    sim.crash_and_set_clock(Span::from_hours(2));
    sim.run(Span::from_millis(50));
    assert_eq!(sim.kind(1), Some(StateKind::Released));
    sim.ends_clean();
}

#[test]
fn what_waits_for_a_person_is_refused_when_its_sibling_fails() {
    let mut sim = Sim::usual();
    sim.event_about("approve", "k", &["203.0.113.1", "203.0.113.2"]);
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Execute, &[Fault::Fails(FailureKind::Denied)]);
    sim.approve(1).unwrap();
    sim.run(Span::from_secs(10));
    assert_eq!(sim.kind(1), Some(StateKind::RolledBack));
    sim.expect_path(2, "planned > pre-checking > awaiting-approval > refused");
    sim.ends_clean();
}

#[test]
fn a_release_that_is_stuck_takes_no_sibling_along() {
    let mut sim = Sim::usual();
    sim.event_about("enforce", "k", &["203.0.113.1", "203.0.113.2"]);
    sim.run(Span::from_secs(1));
    sim.faults(Verb::Undo, &[Fault::Fails(FailureKind::Denied); 9]);
    sim.release(1).unwrap();
    sim.run(Span::from_mins(3));
    assert_eq!(sim.kind(1), Some(StateKind::Stuck));
    assert_eq!(sim.kind(2), Some(StateKind::InForce), "{}", sim.path(2));
    sim.no_more_faults();
    sim.release(1).unwrap();
    sim.ends_clean();
}
