//! The preserve phase: containment waits for its evidence, but not for ever.

use staunch_engine::EngineState;
use staunch_engine::apply::{ApplyError, apply};
use staunch_engine::limits::{COLLECT_ATTEMPTS_MAX, PRESERVE_DEADLINE_MAX};
use staunch_model::{
    EvidenceId, EvidenceKind, FailureKind, IncidentId, IncidentOutcome, IncidentStatus, Match, MatchedStep,
    NoticeLevel, PreserveStep, Record, Span, StateKind, TransactionId,
};

use crate::build::{self, adjust_playbook, target};
use crate::life::IP;
use crate::sim::{Fault, Sim, Verb};

const DEADLINE: Span = Span::from_secs(5);

/// A world whose playbook `enforce` preserves flows before it contains.
fn preserving() -> Sim {
    preserving_for(DEADLINE, EvidenceKind::Flows)
}

fn preserving_for(deadline: Span, evidence: EvidenceKind) -> Sim {
    Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            let step = PreserveStep {
                evidence,
                target: "event.source.ip".into(),
                options: Box::default(),
                deadline,
            };
            it.preserve = vec![step; 6];
        });
    }))
}

/// An event about `ip` whose evidence is about these targets.
fn event(sim: &mut Sim, ip: &str, preserve: &[Option<&str>]) {
    let preserve = preserve.iter().enumerate().map(|(at, of)| MatchedStep {
        step: at as u16,
        target: of.map(target),
    });
    let matches = vec![Match {
        preserve: preserve.collect(),
        ..build::matched("enforce", ip, &[ip])
    }];
    let event = build::event(Some(sim.now)).into();
    sim.input(staunch_model::Input::Event { event, matches });
}

/// One piece of evidence is sealed, and containment waits for another.
pub(crate) fn halfway_kept() -> EngineState {
    let mut sim = preserving();
    sim.faults(Verb::Collect, &[Fault::None, Fault::Slow(Span::from_secs(2))]);
    event(&mut sim, IP, &[Some(IP), Some(IP)]);
    sim.run(Span::from_secs(1));
    sim.state().clone()
}

#[test]
fn what_waits_for_evidence_is_asked_once_and_then_when_that_is_there() {
    let mut sim = preserving_for(PRESERVE_DEADLINE_MAX, EvidenceKind::Flows);
    sim.faults(Verb::Collect, &[Fault::Slow(Span::from_secs(60)); 6]);
    for at in 0..6 {
        let ip = format!("203.0.113.{at}");
        event(&mut sim, &ip, &[Some(&ip)]);
        assert_eq!(
            (sim.state().index.queue.len(), sim.state().index.candidates.len()),
            (at + 1, 0)
        );
    }
    // After a start all of them are asked again.
    sim.crash(Span::ZERO);
    let index = &sim.state().index;
    assert_eq!((index.queue.len(), index.candidates.len()), (6, 0));
    sim.run(Span::from_mins(2));
    assert_eq!(sim.state().index.queue.len(), 0, "{}", sim.story());
    assert!(
        (1..=6).all(|id| sim.kind(id) == Some(StateKind::InForce)),
        "{}",
        sim.story()
    );
    sim.ends_clean();
}

#[test]
fn what_an_incident_had_joined_may_be_forgotten_while_its_evidence_is_awaited() {
    let mut sim = preserving_for(PRESERVE_DEADLINE_MAX, EvidenceKind::Flows);
    sim.event("other", IP);
    sim.run(Span::from_mins(59));
    sim.faults(Verb::Collect, &[Fault::RequestLost; 40]);
    event(&mut sim, IP, &[Some(IP)]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.transaction(1).holders(), 2);
    assert_eq!(sim.incident(2).outcome, Some(IncidentOutcome::Contained));
    sim.run(Span::from_mins(1));
    assert!(
        !sim.state().incidents.contains_key(&IncidentId(1)),
        "the lease has ended"
    );
    assert_eq!(sim.incident(2).status, IncidentStatus::Open, "its evidence is awaited");
    sim.run(PRESERVE_DEADLINE_MAX);
    let outcomes = sim.records().filter_map(|it| match it {
        Record::OutcomeReached { incident, outcome } if *incident == IncidentId(2) => Some(*outcome),
        _ => None,
    });
    assert_eq!(outcomes.collect::<Vec<_>>(), [IncidentOutcome::Contained]);
    // What was lifted when its lease had ended shields nobody.
    sim.no_more_faults();
    event(&mut sim, IP, &[Some(IP)]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(2), Some(StateKind::InForce));
    sim.ends_clean();
}

#[test]
fn containment_starts_when_all_evidence_is_sealed() {
    let mut sim = preserving();
    sim.faults(Verb::Collect, &[Fault::None, Fault::Slow(Span::from_secs(2))]);
    event(&mut sim, IP, &[Some(IP), Some(IP)]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::Planned), "one of two is sealed");
    let waiting = [1, 2].map(|it| sim.state().waiting_for(EvidenceId(it)));
    assert_eq!(waiting, [None, Some(TransactionId(1))]);
    sim.run(Span::from_millis(1_100));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(
        sim.state()
            .evidence
            .values()
            .all(|it| it.sealed.is_some() && it.missed.is_none())
    );
    sim.ends_clean();
    assert!(sim.state().evidence.is_empty(), "it is forgotten with its incident");
}

/// An incident under `key` whose playbook keeps the flows of [`IP`] and contains `contained`.
fn keeping(key: &str, contained: &str) -> Match {
    let preserve = vec![MatchedStep {
        step: 0,
        target: Some(target(IP)),
    }];
    Match {
        preserve,
        ..build::matched("enforce", key, &[contained])
    }
}

/// An event of now that all of these answer.
fn happens(sim: &mut Sim, matches: Vec<Match>) {
    let event = build::event(Some(sim.now)).into();
    sim.input(staunch_model::Input::Event { event, matches });
}

#[test]
fn an_act_waits_for_what_another_incident_keeps_of_its_target() {
    // It waits also where the second contains something else, and so does not hold it.
    for (contained, planned) in [(IP, 1), ("203.0.113.99", 2)] {
        let mut sim = preserving();
        sim.faults(Verb::Collect, &[Fault::Slow(Span::from_secs(2))]);
        let acts_at_once = build::matched("other", IP, &[IP]);
        happens(&mut sim, vec![acts_at_once, keeping(contained, contained)]);
        sim.run(Span::from_secs(1));
        assert_eq!(sim.transactions(), planned);
        assert_eq!(sim.kind(1), Some(StateKind::Planned), "{contained}");
        sim.run(Span::from_millis(1_100));
        assert_eq!(sim.kind(1), Some(StateKind::InForce), "{contained}");
        assert!(sim.state().evidence[&EvidenceId(1)].sealed.is_some());
        sim.ends_clean();
    }
}

#[test]
fn incidents_that_open_later_hold_nothing_up() {
    let mut sim = preserving();
    sim.faults(Verb::Collect, &[Fault::Slow(Span::from_secs(2))]);
    happens(&mut sim, vec![keeping(IP, IP)]);
    sim.run(Span::from_secs(1));
    // Its evidence would be there a second after that of the first.
    sim.faults(Verb::Collect, &[Fault::Slow(Span::from_secs(2))]);
    happens(&mut sim, vec![keeping("another key", IP)]);
    sim.run(Span::from_millis(1_100));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert!(sim.state().evidence[&EvidenceId(2)].is_open());
    sim.ends_clean();
}

#[test]
fn what_is_not_there_by_its_deadline_is_missed_and_said_so() {
    let mut sim = preserving();
    sim.faults(Verb::Collect, &[Fault::Slow(Span::from_secs(9))]);
    event(&mut sim, IP, &[Some(IP)]);
    sim.run(Span::from_millis(4_990));
    assert_eq!(sim.kind(1), Some(StateKind::Planned));
    sim.run(Span::from_millis(20));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    let told = sim.told(NoticeLevel::Warning);
    assert!(
        told[0].contains(
            "INC-1 goes on without its evidence (flows of 203.0.113.7: it was not there within its deadline)"
        ),
        "{told:?}"
    );
    sim.run(Span::from_secs(10));
    let it = &sim.state().evidence[&EvidenceId(1)];
    assert!(it.sealed.is_some(), "late evidence is kept");
    assert!(it.missed.is_some(), "and containment went on without it");
    sim.ends_clean();
}

#[test]
fn a_failed_collection_is_tried_again_and_a_hopeless_one_is_not() {
    let mut sim = preserving();
    sim.faults(Verb::Collect, &[Fault::Fails(FailureKind::Unavailable), Fault::None]);
    event(&mut sim, IP, &[Some(IP)]);
    sim.run(Span::from_millis(100));
    assert_eq!(sim.kind(1), Some(StateKind::Planned));
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(1), Some(StateKind::InForce));
    assert_eq!(sim.state().evidence[&EvidenceId(1)].attempts, 2);
    sim.ends_clean();

    let mut sim = preserving();
    sim.faults(Verb::Collect, &[Fault::Fails(FailureKind::Denied)]);
    event(&mut sim, IP, &[Some(IP), None]);
    sim.run(Span::from_millis(100));
    assert_eq!(
        sim.kind(1),
        Some(StateKind::InForce),
        "nobody waits for what cannot come"
    );
    assert_eq!(
        sim.told(NoticeLevel::Warning),
        [
            "INC-1 goes on without its evidence (flows of 203.0.113.7: the collector says no; \
          flows: the event names nothing to take it of)"
        ]
    );
    sim.ends_clean();
}

/// The times at which evidence was asked for again, from the first time on, and when it was given up.
fn asked_again(deadline: Span) -> (Vec<Span>, Span) {
    let mut sim = Sim::new(build::policy(|policy| {
        adjust_playbook(policy, "enforce", |it| {
            it.preserve = vec![PreserveStep {
                evidence: EvidenceKind::Flows,
                target: "event.source.ip".into(),
                options: Box::default(),
                deadline,
            }];
        });
    }));
    sim.faults(Verb::Collect, &[Fault::Fails(FailureKind::Unavailable); 300]);
    let began = sim.now;
    event(&mut sim, IP, &[Some(IP)]);
    let mut asked = Vec::new();
    let mut attempts = 1;
    sim.run_until("it is missed", deadline + Span::from_secs(1), |sim| {
        sim.state().evidence[&EvidenceId(1)].missed.is_some()
    });
    let given_up = sim.now.since(began);
    for record in sim.records() {
        match record {
            Record::EvidencePostponed { until, .. } => asked.push(until.since(began)),
            Record::EvidenceResent { .. } => attempts += 1,
            _ => {}
        }
    }
    assert_eq!(asked.len() + 1, attempts, "each pause is followed by a try");
    assert!(
        attempts <= usize::from(COLLECT_ATTEMPTS_MAX),
        "{attempts} tries: {asked:?}"
    );
    (asked, given_up)
}

#[test]
fn the_pauses_between_tries_grow_and_the_last_try_is_shortly_before_the_deadline() {
    let (asked, given_up) = asked_again(PRESERVE_DEADLINE_MAX);
    let near = |span: Span, ms: u64| span >= Span::from_millis(ms) && span < Span::from_millis(ms + 400);
    let planned = [
        500, 1_500, 3_500, 7_500, 15_500, 31_500, 51_500, 71_500, 91_500, 111_500, 119_500,
    ];
    assert_eq!(asked.len(), planned.len(), "{asked:?}");
    assert!(asked.iter().zip(planned).all(|(it, ms)| near(*it, ms)), "{asked:?}");
    assert!(given_up < PRESERVE_DEADLINE_MAX, "{given_up}");

    // What is in memory: two seconds.
    let (asked, _) = asked_again(Span::from_secs(2));
    assert!(asked.len() == 2 && near(asked[1], 1_500), "{asked:?}");
    let (asked, _) = asked_again(Span::from_millis(100));
    assert_eq!(asked, [], "no time is left for another");
}

#[test]
fn what_an_incident_goes_on_without_is_told_once_when_all_of_it_is_known() {
    let full = Fault::Fails(FailureKind::Full);
    let six = [Some(IP); 6];

    let mut sim = preserving();
    sim.faults(Verb::Collect, &[full; 6]);
    event(&mut sim, IP, &six);
    sim.run(Span::from_secs(1));
    let flows = ["flows of 203.0.113.7"; 4].join(", ");
    assert_eq!(
        sim.told(NoticeLevel::Warning),
        [format!(
            "INC-1 goes on without its evidence ({flows}, 2 more: the collector says no)"
        )]
    );
    sim.ends_clean();

    // One that is missed at once, and one that comes late.
    let mut sim = preserving();
    sim.faults(Verb::Collect, &[full, Fault::Slow(Span::from_secs(2))]);
    event(&mut sim, IP, &[Some(IP), Some(IP)]);
    sim.run(Span::from_secs(1));
    assert_eq!(sim.told(NoticeLevel::Warning), [""; 0], "more may be missed");
    sim.crash(Span::ZERO);
    sim.run(Span::from_secs(3));
    assert_eq!(
        sim.told(NoticeLevel::Warning),
        ["INC-1 goes on without 1 of its 2 pieces of evidence (flows of 203.0.113.7: the collector says no)"]
    );
    sim.ends_clean();
}

#[test]
fn a_crash_asks_again_and_containment_still_waits() {
    for outage in [Span::ZERO, Span::from_secs(20)] {
        let mut sim = preserving();
        sim.faults(Verb::Collect, &[Fault::RequestLost]);
        event(&mut sim, IP, &[Some(IP)]);
        sim.run(Span::from_millis(10));
        sim.crash(outage);
        sim.run(Span::from_millis(100));
        assert_eq!(sim.kind(1), Some(StateKind::InForce));
        let missed = sim.state().evidence[&EvidenceId(1)].missed.is_some();
        assert_eq!(missed, outage > DEADLINE);
        sim.ends_clean();
    }
}

#[test]
fn evidence_has_an_id_of_its_own() {
    let kept = halfway_kept();
    let again = |evidence| Record::EvidencePlanned {
        evidence: EvidenceId(evidence),
        incident: IncidentId(1),
        kind: EvidenceKind::Flows,
        target: Some(target("203.0.113.9")),
        options: Box::default(),
        deadline: kept.now + DEADLINE,
    };
    for (evidence, is_new) in [(0, false), (1, false), (2, false), (3, true), (u64::MAX, false)] {
        let mut state = kept.clone();
        let applied = apply(&mut state, &again(evidence), kept.now, &mut Vec::new());
        if is_new {
            assert_eq!(applied, Ok(()));
            assert_eq!(state.last_evidence, evidence);
        } else {
            let misnumbered = ApplyError::Misnumbered(format!("EV-{evidence}").into());
            assert_eq!(applied, Err(misnumbered));
            assert_eq!(state.encode(), kept.encode(), "the state is as before");
        }
    }
}

#[test]
fn a_snapshot_with_evidence_of_nothing_is_refused() {
    let spoilt: [fn(&mut EngineState); 4] = [
        |state| {
            let it = state.evidence.remove(&EvidenceId(2)).expect("two were planned");
            state.evidence.insert(EvidenceId(1), it);
        },
        |state| state.last_evidence = 1,
        |state| state.last_evidence = u64::MAX,
        |state| {
            let it = state.evidence.get_mut(&EvidenceId(1)).expect("two were planned");
            it.incident = IncidentId(9);
        },
    ];
    assert!(EngineState::decode(&halfway_kept().encode()).is_ok());
    for (at, spoil) in spoilt.iter().enumerate() {
        let mut state = halfway_kept();
        spoil(&mut state);
        assert!(EngineState::decode(&state.encode()).is_err(), "{at}");
    }
}

#[test]
fn an_incident_is_open_while_its_evidence_is_being_taken() {
    let mut sim = preserving_for(Span::from_mins(2), EvidenceKind::Files);
    sim.faults(Verb::Collect, &[Fault::Slow(Span::from_secs(90))]);
    // What is refused for its age is judged anew at once, so that the incident could be closed and forgotten.
    event(&mut sim, "198.51.100.7", &[Some(IP)]);
    sim.run(Span::from_secs(80));
    assert_eq!(sim.kind(1), Some(StateKind::Refused));
    assert_eq!(sim.incident(1).status, IncidentStatus::Open);
    sim.run(Span::from_mins(3));
    assert!(sim.records().any(|it| matches!(it, Record::EvidenceSealed { .. })));
}

#[test]
fn evidence_that_the_event_names_nothing_for_is_told() {
    let mut sim = preserving();
    event(&mut sim, IP, &[None, None]);
    sim.run(Span::from_secs(1));
    let told = sim.told(NoticeLevel::Warning);
    assert!(
        told.iter().any(|it| it.contains("goes on without its evidence")),
        "{told:?}"
    );
    sim.ends_clean();
}
