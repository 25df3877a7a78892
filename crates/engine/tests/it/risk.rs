//! The table of risks, and what is known of targets.

use std::sync::Arc;

use staunch_model::{
    Context, GuardName, GuardResult, Input, Known, Record, Reputation, Risk, RiskTable, Score, Span, Standing,
    StateKind, Verdict,
};

use crate::build::{self, target};
use crate::life::IP;
use crate::sim::Sim;

fn known(sim: &mut Sim, ip: &str, standing: Standing) {
    sim.input(Input::Known(Known {
        target: target(ip),
        standing,
    }));
}

fn named(sim: &Sim, thousandths: u16) -> Standing {
    Ok(Some(Reputation {
        score: Score::from_thousandths(thousandths),
        confidence: 90,
        feed: "drop".into(),
        network: "203.0.113.0/24".parse().unwrap(),
        label: "SBL1\u{1b}".into(),
        as_of: sim.now - Span::from_hours(3),
        expires: sim.now + Span::from_hours(1),
    }))
}

fn asking_for(risk: Option<Risk>, attack: &str) -> Sim {
    let mut sim = Sim::new(build::policy(|it| {
        for playbook in &mut it.playbooks {
            let playbook = Arc::make_mut(playbook);
            playbook.attack = vec![attack.into()];
            playbook.context.extend(risk.map(Context::RiskMin));
        }
    }));
    sim.input(Input::Risk(Arc::new(RiskTable::default())));
    sim
}

fn judged(sim: &Sim, id: u64) -> Option<GuardResult> {
    let judgement = sim.judgement(id);
    judgement.guards.into_iter().find(|it| it.guard == GuardName::Risk)
}

#[test]
fn the_judgement_says_which_row_decided_and_below_what_a_person_is_asked() {
    let check = |risk, attack, standing: fn(&Sim) -> Standing, kind, verdict, measured, why: &str| {
        let mut sim = asking_for(risk, attack);
        let standing = standing(&sim);
        known(&mut sim, IP, standing);
        sim.event("enforce", IP);
        sim.run_until_kind(1, kind);
        let result = judged(&sim, 1).unwrap();
        assert_eq!(
            (result.verdict, result.measured, &*result.why),
            (verdict, measured, why)
        );
    };
    let (act, ask) = (StateKind::InForce, StateKind::AwaitingApproval);
    let (high, no) = (Some(Risk::High), None);
    let said = "by \"drop\", which names 203.0.113.0/24 as SBL1\\u{1b}, 90 % sure, 3h ago";
    check(
        high,
        "T1190",
        |sim| named(sim, 950),
        act,
        Verdict::Passed,
        Some(950),
        &format!(
            "the risk is critical, by row 2 of the table (a very high score): score 0.95 {said}; at least high is asked for"
        ),
    );
    check(
        high,
        "T1110.001",
        |sim| named(sim, 500),
        act,
        Verdict::Passed,
        Some(500),
        &format!(
            "the risk is high, by row 3 of the table (brute force, with a score): score 0.5 {said}; at least high is asked for"
        ),
    );
    check(
        high,
        "T1190",
        |_| Ok(None),
        ask,
        Verdict::Ask,
        Some(0),
        "the risk is medium, because no row of the table holds: no feed names it; below high a person is asked",
    );
    check(
        high,
        "T1190",
        |_| Err("the feed is \u{1b}gone".into()),
        ask,
        Verdict::Ask,
        None,
        "the risk is medium, because no row of the table holds: the score is unknown: the feed is \\u{1b}gone; below high a \
         person is asked",
    );
    // A playbook that asks for nothing is shown the risk all the same.
    let why = "the risk is medium, because no row of the table holds: no feed names it";
    check(no, "T1190", |_| Ok(None), act, Verdict::Passed, Some(0), why);
}

#[test]
fn what_a_feed_said_counts_until_it_expires_and_through_a_crash() {
    let mut sim = asking_for(Some(Risk::Critical), "T1190");
    let standing = named(&sim, 950);
    known(&mut sim, IP, standing);
    sim.crash(Span::from_mins(5));
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    sim.run(Span::from_hours(2));
    sim.event("enforce", IP);
    sim.run_until_kind(2, StateKind::AwaitingApproval);
    let why = judged(&sim, 2).unwrap().why;
    assert!(
        why.contains("the score is unknown: what drop said of it has expired"),
        "{why}"
    );
}

#[test]
fn without_a_table_and_without_asking_nothing_is_said_of_it() {
    let mut sim = Sim::usual();
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    assert_eq!(
        judged(&sim, 1),
        None,
        "what was decided before there were tables is decided again in the same way"
    );
}

#[test]
fn that_no_feed_names_a_target_counts_for_an_hour_and_is_said_anew() {
    let mut sim = asking_for(Some(Risk::Medium), "T1190");
    known(&mut sim, IP, Ok(None));
    sim.run(Span::from_hours(2));
    sim.event("enforce", IP);
    sim.run_until_kind(1, StateKind::InForce);
    let why = judged(&sim, 1).unwrap().why;
    assert!(
        why.contains("the score is unknown: that no feed names it was said 2h"),
        "{why}"
    );

    // What is said again and again is one record in half an hour.
    let records = |sim: &Sim| sim.records().filter(|it| matches!(it, Record::Known(_))).count();
    let before = records(&sim);
    for _ in 0..3 {
        known(&mut sim, IP, Ok(None));
        sim.run(Span::from_mins(1));
    }
    assert_eq!(records(&sim), before + 1);
}
