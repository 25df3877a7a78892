//! Acts on processes: only on what is known and not protected.

use std::sync::Arc;

use staunch_model::{
    ActionKind, Command, Found, GuardName, IncidentId, Input, NoticeLevel, Policy, Record, ReleaseScope, RiskClass,
    Span, StateKind, Target, TargetFacts, TransactionId, Verdict,
};

use crate::build;
use crate::sim::Sim;

const MINER: &str = "pid:4242@153452.0000002a";

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn freezing(adjust: impl FnOnce(&mut Policy)) -> Sim {
    acting_with(ActionKind::FreezeProcess, adjust)
}

fn acting_with(kind: ActionKind, adjust: impl FnOnce(&mut Policy)) -> Sim {
    Sim::new(build::policy(|it| {
        it.drivers[0].kind = kind;
        it.drivers[0].risk = RiskClass::Medium;
        for playbook in &mut it.playbooks {
            for step in &mut Arc::make_mut(playbook).steps {
                step.action = kind;
            }
        }
        adjust(it);
    }))
}

fn facts(protected: Option<&str>) -> Result<TargetFacts, Box<str>> {
    Ok(TargetFacts {
        what: "/tmp/\u{1b}[2Jxmrig of user 33".into(),
        protected: protected.map(Into::into),
    })
}

fn found(sim: &mut Sim, text: &str, facts: Result<TargetFacts, Box<str>>) {
    sim.input(Input::Found(Found {
        target: target(text),
        facts,
    }));
}

#[test]
fn only_what_is_known_and_not_protected_is_frozen() {
    let check = |target: &str, known: Option<Result<TargetFacts, Box<str>>>, kind, why: &str| {
        let mut sim = freezing(|_| {});
        if let Some(facts) = known {
            found(&mut sim, target, facts);
        }
        sim.event("enforce", target);
        sim.run_until_kind(1, kind);
        let judgement = sim.judgement(1);
        assert_eq!(judgement.risk, RiskClass::Medium);
        let never = &judgement.guards[0];
        let verdict = if kind == StateKind::InForce {
            Verdict::Passed
        } else {
            Verdict::Refused
        };
        assert_eq!(
            (never.guard, never.verdict, &*never.why),
            (GuardName::NeverTouch, verdict, why)
        );
        assert!(
            judgement.guards.iter().all(|it| it.guard != GuardName::PrefixWidth),
            "a process has no width"
        );
        let acts = sim.world.elements.len();
        assert_eq!(acts, usize::from(kind == StateKind::InForce), "{why}");
    };
    let shown = "/tmp/\\u{1b}[2Jxmrig";
    check(
        MINER,
        Some(facts(None)),
        StateKind::InForce,
        &format!("{MINER} ({shown} of user 33) is not protected"),
    );
    check(
        MINER,
        Some(facts(Some("it is the \u{7}way in"))),
        StateKind::Refused,
        &format!("{MINER} ({shown} of user 33) is never touched: it is the \\u{{7}}way in"),
    );
    check(
        MINER,
        Some(Err("it has \u{7}ended".into())),
        StateKind::Refused,
        &format!("{MINER} cannot be told from others: it has \\u{{7}}ended"),
    );
    check(
        MINER,
        None,
        StateKind::Refused,
        &format!("nothing is known of {MINER}, and what is not known is not touched"),
    );
    // A number alone is no process, whatever is said of it.
    check(
        "pid:4242",
        Some(facts(None)),
        StateKind::Refused,
        "nothing is known of pid:4242, and what is not known is not touched",
    );
}

#[test]
fn who_approves_is_held_to_what_the_process_is_by_then() {
    for later in [facts(Some("it is the way in")), Err("it has ended".into())] {
        let mut sim = freezing(|_| {});
        found(&mut sim, MINER, facts(None));
        sim.event("approve", MINER);
        sim.run_until_kind(1, StateKind::AwaitingApproval);
        found(&mut sim, MINER, later);
        assert_eq!(
            sim.command(Command::Approve(TransactionId(1))),
            Ok(vec![TransactionId(1)])
        );
        sim.run_until_kind(1, StateKind::Refused);
        let judgement = sim.judgement(1);
        assert_eq!(judgement.refusal().map(|it| it.guard), Some(GuardName::NeverTouch));
        assert!(sim.world.elements.is_empty());
    }
}

#[test]
fn an_act_is_given_no_target_of_another_kind() {
    let mut sim = freezing(|_| {});
    sim.event("enforce", "203.0.113.7");
    assert!(
        sim.records()
            .any(|it| matches!(it, Record::StepWithoutTarget { step: 0, .. }))
    );
    assert!(sim.state().transactions.is_empty());
    let mut sim = Sim::new(build::policy(|_| {}));
    found(&mut sim, MINER, facts(None));
    sim.event("enforce", MINER);
    assert!(sim.state().transactions.is_empty());
}

#[test]
fn the_share_of_traffic_says_nothing_of_a_process() {
    let mut sim = freezing(|_| {});
    found(&mut sim, MINER, facts(None));
    sim.facts = build::traffic(90);
    sim.event("enforce", MINER);
    sim.run_until_kind(1, StateKind::InForce);
    let judgement = sim.judgement(1);
    let impact = judgement.guards.iter().find(|it| it.guard == GuardName::Impact);
    assert_eq!(
        impact.map(|it| (it.verdict, &*it.why)),
        Some((
            Verdict::Passed,
            "shares of traffic are counted by address, not by process"
        ))
    );
}

#[test]
fn all_processes_share_the_budget_of_a_neighbourhood() {
    let mut sim = freezing(|it| it.limits.acts_per_group_hour_max = 2);
    for number in 1..=3 {
        let target = format!("pid:{number}@153452.0000002a");
        found(&mut sim, &target, facts(None));
        sim.event("enforce", &target);
    }
    sim.run_until_kind(3, StateKind::Refused);
    let judgement = sim.judgement(3);
    let refusal = judgement.refusal().unwrap();
    assert_eq!((refusal.guard, refusal.measured), (GuardName::BudgetGroup, Some(2)));
}

#[test]
fn what_is_said_again_is_not_written_again() {
    let mut sim = freezing(|_| {});
    let records = |sim: &Sim| sim.records().filter(|it| matches!(it, Record::Found(_))).count();
    found(&mut sim, MINER, facts(None));
    found(&mut sim, MINER, facts(None));
    assert_eq!(records(&sim), 1);
    found(&mut sim, MINER, facts(Some("it is the way in")));
    assert_eq!(records(&sim), 2);
}

#[test]
fn trust_is_for_addresses() {
    let mut sim = freezing(|_| {});
    found(&mut sim, MINER, facts(None));
    sim.event("enforce", MINER);
    sim.run_until_kind(1, StateKind::InForce);
    let scope = ReleaseScope::Transaction(TransactionId(1));
    let trust = Span::from_hours(1);
    let refused = sim.command(Command::ReleaseTrusting { scope, trust });
    assert_eq!(
        refused,
        Err("trust is given to addresses: release without trust what is none".into())
    );
    assert_eq!(
        sim.state().transactions[&TransactionId(1)].state.kind(),
        StateKind::InForce
    );
    assert_eq!(sim.command(Command::Release(scope)), Ok(vec![TransactionId(1)]));
    assert!(sim.told(NoticeLevel::Page).is_empty());
}

#[test]
fn what_an_incident_has_let_go_of_keeps_no_trust_from_the_rest() {
    let mut sim = freezing(|_| {});
    found(&mut sim, MINER, facts(None));
    sim.event("enforce", MINER);
    sim.run_until_kind(1, StateKind::InForce);
    sim.event("other", MINER);
    let second = ReleaseScope::Incident(IncidentId(2));
    let trusting = Command::ReleaseTrusting {
        scope: second,
        trust: Span::from_hours(1),
    };
    assert!(sim.command(trusting).is_err(), "it holds the process");
    assert_eq!(
        sim.command(Command::Release(second)),
        Ok(Vec::new()),
        "the first still does"
    );
    assert_eq!(sim.command(trusting), Ok(Vec::new()));
    assert_eq!(
        sim.state().transactions[&TransactionId(1)].state.kind(),
        StateKind::InForce
    );
}

#[test]
fn what_has_ended_keeps_no_trust_from_the_rest() {
    let mut sim = freezing(|_| {});
    found(&mut sim, MINER, facts(Some("it is the way in")));
    sim.event("enforce", MINER);
    sim.run_until_kind(1, StateKind::Refused);
    let trusting = Command::ReleaseTrusting {
        scope: ReleaseScope::Incident(IncidentId(1)),
        trust: Span::from_hours(1),
    };
    assert_eq!(sim.command(trusting), Ok(Vec::new()));

    let mut sim = freezing(|_| {});
    found(&mut sim, MINER, facts(None));
    sim.event("enforce", MINER);
    sim.run_until_kind(1, StateKind::InForce);
    assert!(sim.command(trusting).is_err(), "it holds the process");
    let all = Command::Release(ReleaseScope::Incident(IncidentId(1)));
    assert_eq!(sim.command(all), Ok(vec![TransactionId(1)]));
    sim.run_until_kind(1, StateKind::Released);
    assert_eq!(sim.command(trusting), Ok(Vec::new()));
}

/// Nothing is known of an account, a host or a domain by its name alone either.
#[test]
fn accounts_hosts_and_domains_are_held_to_what_is_known_of_them() {
    let known = |protected: Option<&str>| {
        Some(Ok(TargetFacts {
            what: "as it is".into(),
            protected: protected.map(Into::into),
        }))
    };
    for (kind, text) in [
        (ActionKind::LockAccount, "account:alice"),
        (ActionKind::IsolateHost, "host:web-1"),
        (ActionKind::SinkholeDomain, "domain:evil.example"),
    ] {
        for (facts, expected) in [
            (None, StateKind::Refused),
            (Some(Err("it is of another machine".into())), StateKind::Refused),
            (known(Some("people need it")), StateKind::Refused),
            (known(None), StateKind::InForce),
        ] {
            let mut sim = acting_with(kind, |_| {});
            if let Some(facts) = facts.clone() {
                found(&mut sim, text, facts);
            }
            sim.event("enforce", text);
            sim.run_until_kind(1, expected);
            let never = &sim.judgement(1).guards[0];
            assert_eq!(never.guard, GuardName::NeverTouch);
            assert_eq!(
                never.verdict == Verdict::Passed,
                expected == StateKind::InForce,
                "{facts:?}"
            );
        }
    }
}
