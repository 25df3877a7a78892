//! The index has its own copy of the engine's table of states, and tells the reasons of them. They must agree.

use std::sync::Arc;

use staunch_engine::{Engine, transaction};
use staunch_model::{
    Cause, Change, Dispatch, Endpoint, Event, Facts, Failure, FailureKind, GuardName, IncidentId, Input, Judgement,
    Match, MatchedStep, Mode, Policy, RefusalReason, RiskClass, Severity, Span, State, StateKind, StuckReason, Target,
    Timestamp, TransactionId,
};
use staunch_store::index::{reason, state_after};

fn failure() -> Failure {
    Failure::new(FailureKind::TimedOut, "no answer")
}

fn judgement() -> Box<Judgement> {
    let (mode, risk) = (Mode::Enforce, RiskClass::Low);
    Box::new(Judgement {
        mode,
        risk,
        guards: Vec::new(),
        facts: Facts::default(),
        observation: None,
    })
}

fn stuck() -> Box<StuckReason> {
    Box::new(StuckReason {
        trying: StateKind::RollingBack,
        attempts: 8,
        last: failure(),
    })
}

fn states() -> Vec<State> {
    let cause = || Box::new(Cause::LeaseEnded);
    let states = vec![
        State::Planned,
        State::PreChecking,
        State::Refused(Box::new(RefusalReason::NoTarget)),
        State::AwaitingApproval,
        State::Executing,
        State::PostChecking,
        State::InForce,
        State::Releasing(cause()),
        State::Released(cause()),
        State::RollingBack(cause()),
        State::Settling(cause()),
        State::RolledBack(cause()),
        State::Stuck(stuck()),
        State::WouldExecute,
    ];
    assert!(states.iter().map(State::kind).eq(StateKind::ALL), "every state once");
    states
}

fn causes() -> Vec<Cause> {
    vec![
        Cause::LeaseEnded,
        Cause::Operator { by: "ada".into() },
        Cause::ExecuteFailed(failure()),
        Cause::PostCheckFailed {
            found: "nothing is in place".into(),
        },
        Cause::Sibling(TransactionId(3)),
        Cause::Orphan,
        Cause::Vanished {
            found: "nothing of ours is in place".into(),
        },
    ]
}

fn refusals() -> Vec<RefusalReason> {
    vec![
        RefusalReason::Guard {
            guard: GuardName::Impact,
            why: "40 % of the traffic".into(),
        },
        RefusalReason::NoTarget,
        RefusalReason::CheckFailed(failure()),
        RefusalReason::Denied { by: "ada".into() },
        RefusalReason::ApprovalExpired,
        RefusalReason::Cancelled { by: "ada".into() },
        RefusalReason::QueueTimeout,
        RefusalReason::Abandoned,
    ]
}

fn changes() -> Vec<Change> {
    let dispatch = Dispatch {
        ticket: 1,
        deadline: Timestamp::EPOCH,
    };
    let time = Timestamp::EPOCH;
    let mut changes = vec![
        Change::PreCheckStarted(dispatch),
        Change::WouldExecute { judgement: judgement() },
        Change::ApprovalRequested {
            expires: time,
            judgement: judgement(),
        },
        Change::Approved { by: "ada".into() },
        Change::ExecuteIntended {
            dispatch,
            version: 1,
            hold: Span::ZERO,
            judgement: None,
        },
        Change::Landed(dispatch),
        Change::Unproved {
            failure: failure(),
            dispatch,
        },
        Change::Postponed {
            failure: failure(),
            until: time,
        },
        Change::Resent(dispatch),
        Change::PostCheckPassed { lease_until: time },
        Change::UndoLanded { settled_at: time },
        Change::ProbedPresent(dispatch),
        Change::ProbedAbsent,
        Change::GaveUp(stuck()),
        Change::Lifted(dispatch),
        Change::ReleaseVerified,
        Change::RenewStarted {
            dispatch,
            until: time,
            hold: Span::ZERO,
            by: "ada".into(),
        },
        Change::Renewed { lease_until: time },
        Change::RenewFailed(failure()),
        Change::Joined(IncidentId(2)),
        Change::LetGo(IncidentId(2)),
        Change::StaleReply { ticket: 1 },
        Change::RenewCheckStarted {
            failure: None,
            dispatch,
        },
        Change::RenewCheckStarted {
            failure: Some(failure()),
            dispatch,
        },
    ];
    let refused = |reason| Change::Refused {
        reason: Box::new(reason),
        judgement: None,
    };
    changes.extend(refusals().into_iter().map(refused));
    changes.extend(causes().into_iter().map(|cause| Change::RollbackStarted {
        cause: Box::new(cause),
        dispatch,
    }));
    changes.extend(causes().into_iter().map(|cause| Change::ReleaseStarted {
        cause: Box::new(cause),
        dispatch,
    }));
    changes
}

#[test]
fn the_states_of_the_index_are_those_of_the_engine() {
    let mut legal = std::collections::BTreeSet::new();
    for state in states() {
        for change in changes() {
            if let Ok(next) = transaction::after(&state, &change) {
                let shown = state_after(state.kind(), &change);
                assert_eq!(
                    shown,
                    next.kind(),
                    "{} after {}",
                    state.kind(),
                    transaction::name(&change)
                );
                legal.insert(transaction::name(&change));
            }
        }
    }
    let named: std::collections::BTreeSet<_> = changes().iter().map(transaction::name).collect();
    assert_eq!(
        legal, named,
        "every change is legal somewhere, so that all of them were compared"
    );
    assert_eq!(named.len(), 26, "a new change needs a line here and in the index");
}

#[test]
fn the_reasons_of_the_index_are_those_of_the_engine() {
    let mut it = planned();
    for state in states() {
        for change in changes() {
            let Ok(next) = transaction::after(&state, &change) else {
                continue;
            };
            let Some(shown) = reason(&change) else { continue };
            it.state = next;
            assert_eq!(
                Some(shown),
                staunch_engine::advance::reason(&it),
                "{}",
                transaction::name(&change)
            );
        }
    }
}

/// A transaction as the engine plans it.
fn planned() -> staunch_model::Transaction {
    let playbooks = super::world::playbooks();
    let matched = Match {
        playbook: playbooks[0].hash,
        key: "key".into(),
        preserve: Vec::new(),
        steps: vec![MatchedStep {
            step: 0,
            target: Some(Target::Address([203, 0, 113, 7].into())),
        }],
    };
    let policy = Policy {
        limits: staunch_engine::limits::DEFAULT,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks,
        drivers: Vec::new(),
    };
    let event = Event {
        system: "test".into(),
        id: None,
        time: None,
        received: Timestamp::EPOCH,
        severity: Severity::High,
        signature: "brute".into(),
        category: "".into(),
        source: Endpoint::default(),
        destination: Endpoint::default(),
        user: None,
        host: None,
        raw: Arc::from(&b""[..]),
    };
    let mut engine = Engine::new();
    engine.step(&Input::Policy(Arc::new(policy)), Timestamp::EPOCH);
    engine.step(
        &Input::Event {
            event: Arc::new(event),
            matches: vec![matched],
        },
        Timestamp::EPOCH,
    );
    let it = engine.state().transactions.values().next().expect("one is planned");
    (*it).clone()
}
