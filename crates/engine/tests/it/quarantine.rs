//! A journal with records that do not fit this build: what they are about waits for a person, everything else goes on.

use staunch_engine::apply::ApplyError;
use staunch_engine::{Engine, EngineState};
use staunch_model::{
    Change, Command, Dispatch, Effect, Frame, IncidentId, Input, InstallationId, Notice, NoticeLevel, Operator, Record,
    ReleaseScope, Span, StateKind, Timestamp, TransactionId,
};

use crate::build;
use crate::sim::{OPERATOR, Sim};

const BAD: TransactionId = TransactionId(2);

type Journal = Vec<(Timestamp, Frame)>;

/// The journal of three containments, one after the other.
fn three() -> Sim {
    let mut sim = Sim::usual();
    for host in 1..=3 {
        sim.event("enforce", &format!("203.0.113.{host}"));
        sim.run(Span::from_secs(1));
    }
    assert!((1..=3).all(|id| sim.kind(id) == Some(StateKind::InForce)));
    sim
}

fn replay(journal: &Journal) -> (Engine, Vec<ApplyError>) {
    let mut engine = Engine::new();
    let errors = journal
        .iter()
        .filter_map(|(now, frame)| engine.replay(frame, *now).err())
        .collect();
    (engine, errors)
}

/// Takes one step, journals it, and checks that replay and the snapshot come to the same state.
fn step(engine: &mut Engine, journal: &mut Journal, input: Input, now: Timestamp) -> Vec<Effect> {
    let step = engine.step(&input, now);
    let records = step.records;
    journal.push((step.now, Frame { input, records }));
    assert_eq!(replay(journal).0.state(), engine.state(), "replay equals live");
    assert_eq!(&EngineState::decode(&engine.state().encode()).unwrap(), engine.state());
    step.effects
}

fn start() -> Input {
    Input::Started {
        installation: InstallationId([7; 8]),
        build: "test".into(),
    }
}

fn command(command: Command) -> Input {
    let by = Operator {
        name: OPERATOR.into(),
        from: "192.0.2.9".into(),
        reason: "test".into(),
    };
    Input::Operator { by, command }
}

fn pages(effects: &[Effect]) -> Vec<&Notice> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Notify(notice) if notice.level == NoticeLevel::Page => Some(notice),
            _ => None,
        })
        .collect()
}

fn kinds(engine: &Engine) -> Vec<StateKind> {
    engine.state().transactions.values().map(|it| it.state.kind()).collect()
}

/// Replaces the change called `name` of `BAD` by one that is legal nowhere there.
fn spoil(journal: &mut Journal, name: &str) {
    let records = journal.iter_mut().flat_map(|(_, frame)| &mut frame.records);
    let record = records
        .filter_map(|record| match record {
            Record::Transaction { transaction, change } if *transaction == BAD => Some(change),
            _ => None,
        })
        .find(|change| staunch_engine::transaction::name(change) == name)
        .unwrap();
    *record = Change::ReleaseVerified;
}

#[test]
fn one_bad_transaction_is_stuck_and_paged_and_the_others_are_taken_up() {
    for name in ["pre-check-started", "execute-intended", "landed", "post-check-passed"] {
        let sim = three();
        let mut journal = sim.frames.clone();
        spoil(&mut journal, name);
        let (mut engine, errors) = replay(&journal);
        assert!(
            matches!(errors[..], [ApplyError::Illegal { transaction: BAD, .. }]),
            "{errors:?}"
        );
        assert_eq!(
            engine.state().quarantined.len(),
            1,
            "what follows is left out without a word"
        );

        let now = sim.now + Span::from_secs(1);
        let effects = step(&mut engine, &mut journal, start(), now);
        assert_eq!(
            kinds(&engine),
            [StateKind::InForce, StateKind::Stuck, StateKind::InForce],
            "{name}"
        );
        let told = pages(&effects);
        let page = told.iter().find(|it| it.transaction == Some(BAD)).unwrap();
        assert!(
            page.text
                .contains("TX-2 (block-ip on 203.0.113.2) is stuck: a record of it does not fit"),
            "{page:?}"
        );
        assert!(page.text.ends_with("run `staunch release TX-2`"));
        assert!(engine.state().quarantined.is_empty(), "its reason says it from now on");

        // A second start says nothing of it again, and an end of a lease does not move it.
        let told = step(&mut engine, &mut journal, start(), now + Span::from_secs(1));
        assert!(pages(&told).iter().all(|it| told_before(it, page)), "{told:?}");
        step(&mut engine, &mut journal, Input::Tick, now + Span::from_hours(2));
        assert_eq!(engine.state().transactions[&BAD].state.kind(), StateKind::Stuck);

        // A person's release goes on as ever.
        let release = command(Command::Release(ReleaseScope::Transaction(BAD)));
        let effects = step(&mut engine, &mut journal, release, now + Span::from_hours(2));
        let undone = |it: &Effect| matches!(it, Effect::Undo { label, .. } if *label == BAD);
        assert!(effects.iter().any(undone));
        assert_eq!(engine.state().transactions[&BAD].state.kind(), StateKind::Releasing);
    }
}

fn told_before(again: &Notice, page: &Notice) -> bool {
    again.id <= page.id || again.transaction != Some(BAD)
}

#[test]
fn one_that_is_under_way_elsewhere_is_asked_about_as_usual() {
    let mut sim = three();
    sim.event("enforce", "203.0.113.4");
    sim.run_until_kind(4, StateKind::Executing);
    let mut journal = sim.frames.clone();
    spoil(&mut journal, "landed");
    let (mut engine, _) = replay(&journal);
    let effects = step(&mut engine, &mut journal, start(), sim.now);
    assert_eq!(
        kinds(&engine)[1..],
        [StateKind::Stuck, StateKind::InForce, StateKind::PostChecking]
    );
    let looks = |it: &Effect| matches!(it, Effect::Observe { transaction, .. } if transaction.0 == 4);
    assert!(effects.iter().any(looks));
}

#[test]
fn what_the_journal_says_later_of_a_bad_transaction_is_left_out() {
    // It was lifted, its incident was forgotten, and its target was contained again.
    let mut sim = three();
    sim.release(2).unwrap();
    sim.run(Span::from_mins(30));
    assert!(!sim.state().transactions.contains_key(&BAD));
    sim.event("enforce", "203.0.113.2");
    sim.run(Span::from_secs(1));
    assert_eq!(sim.kind(4), Some(StateKind::InForce));
    let mut journal = sim.frames.clone();
    spoil(&mut journal, "landed");
    let (mut engine, errors) = replay(&journal);
    assert_eq!(errors.len(), 1, "{errors:?}");
    step(&mut engine, &mut journal, start(), sim.now);
    assert_eq!(
        kinds(&engine),
        [
            StateKind::InForce,
            StateKind::Stuck,
            StateKind::InForce,
            StateKind::InForce
        ]
    );
    // A further event neither joins the stuck one nor is lost.
    let event = Input::Event {
        event: build::event(Some(sim.now)).into(),
        matches: vec![build::matched("other", "key", &["203.0.113.2"])],
    };
    step(&mut engine, &mut journal, event, sim.now);
    assert_eq!(engine.state().transactions[&TransactionId(4)].joined().len(), 1);
    let effects = step(
        &mut engine,
        &mut journal,
        command(Command::Release(ReleaseScope::All)),
        sim.now,
    );
    let undone = effects.iter().filter(|it| matches!(it, Effect::Undo { .. })).count();
    assert_eq!(undone, 4);
}

#[test]
fn records_of_nothing_are_counted_and_told_once() {
    let sim = three();
    let mut journal = sim.frames.clone();
    let dispatch = Dispatch {
        ticket: 1,
        deadline: sim.now,
    };
    let records = vec![
        Record::EventJoined {
            incident: IncidentId(77),
        },
        Record::Transaction {
            transaction: TransactionId(88),
            change: Change::Landed(dispatch),
        },
        Record::IncidentForgotten {
            incident: IncidentId(78),
        },
    ];
    let frame = Frame {
        input: Input::Tick,
        records,
    };
    journal.insert(4, (journal[4].0, frame));
    // The build that wrote them started again without minding.
    let mut writer = sim.engine.clone();
    let started = writer.step(&start(), sim.now);
    let records = started.records;
    journal.push((
        started.now,
        Frame {
            input: start(),
            records,
        },
    ));

    let (mut engine, errors) = replay(&journal);
    assert_eq!(errors, [ApplyError::NoIncident(IncidentId(77))], "one for each frame");
    assert_eq!(engine.state().unfit.count, 3);
    let effects = step(&mut engine, &mut journal, start(), sim.now);
    assert_eq!(kinds(&engine), [StateKind::InForce; 3]);
    let told: Vec<_> = pages(&effects).iter().map(|it| it.text.to_string()).collect();
    assert_eq!(
        told,
        ["3 record(s) of the journal do not fit this build and were left out; the first: there is no INC-77"]
    );
    assert_eq!(engine.state().unfit.count, 0);
    assert_eq!(engine.state().last_transaction, 88, "its label is not given out again");
    let before = engine.state().last_notice;
    step(&mut engine, &mut journal, start(), sim.now + Span::from_secs(1));
    assert_eq!(engine.state().last_notice, before, "no new notice");
}

#[test]
fn the_siblings_of_a_bad_transaction_stand_and_the_breaker_stays_closed() {
    let mut sim = Sim::usual();
    let targets: Vec<_> = (1..=8).map(|host| format!("203.0.113.{host}")).collect();
    for (at, pair) in targets.chunks(2).enumerate() {
        let pair: Vec<_> = pair.iter().map(String::as_str).collect();
        sim.event_about("enforce", &at.to_string(), &pair);
        sim.run(Span::from_secs(1));
    }
    let mut journal = sim.frames.clone();
    spoil(&mut journal, "post-check-passed");
    let (mut engine, _) = replay(&journal);
    step(&mut engine, &mut journal, start(), sim.now);
    let stuck = kinds(&engine).iter().filter(|kind| **kind == StateKind::Stuck).count();
    let in_force = kinds(&engine)
        .iter()
        .filter(|kind| **kind == StateKind::InForce)
        .count();
    assert_eq!((stuck, in_force), (1, 7));
    assert!(engine.state().breaker_open.is_none());
}
