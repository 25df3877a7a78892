//! What is to be done about a change that has been applied.

use staunch_model::{
    Cause, Change, Context, Effect, Evidence, ObservePurpose, Span, State, StateKind, Transaction, Watch,
};

use crate::state::EngineState;

/// What is to be done about `change`, which has been applied to `it`.
pub(super) fn effect_of(state: &EngineState, it: &Transaction, change: &Change) -> Option<Effect> {
    match change {
        Change::PreCheckStarted(_) => Some(observe(state, it, ObservePurpose::PreCheck)),
        Change::Landed(_) | Change::Unproved { .. } | Change::RenewCheckStarted { .. } => {
            Some(observe(state, it, ObservePurpose::PostCheck))
        }
        Change::Lifted(_) => Some(observe(state, it, ObservePurpose::Probe)),
        Change::ExecuteIntended { version, hold, .. } => Some(execute(state, it, *version, *hold, false)),
        Change::RenewStarted { hold, .. } => Some(execute(state, it, 0, *hold, true)),
        Change::RollbackStarted { .. } | Change::ReleaseStarted { .. } | Change::ProbedPresent(_) => {
            Some(undo(state, it))
        }
        Change::Resent(_) => match it.state.kind() {
            StateKind::PreChecking => Some(observe(state, it, ObservePurpose::PreCheck)),
            StateKind::PostChecking | StateKind::InForce => Some(observe(state, it, ObservePurpose::PostCheck)),
            _ if it.undone => Some(observe(state, it, ObservePurpose::Probe)),
            _ => Some(undo(state, it)),
        },
        _ => None,
    }
}

fn observe(state: &EngineState, it: &Transaction, purpose: ObservePurpose) -> Effect {
    let asks = state
        .playbook_of(it)
        .is_some_and(|playbook| playbook.context.contains(&Context::TrafficShare));
    Effect::Observe {
        transaction: it.id,
        ticket: it.ticket,
        purpose,
        kind: it.kind,
        target: it.target.clone(),
        traffic: asks && purpose == ObservePurpose::PreCheck,
        deadline: it.deadline,
    }
}

fn execute(state: &EngineState, it: &Transaction, version: u64, hold: Span, renewal: bool) -> Effect {
    Effect::Execute {
        transaction: it.id,
        ticket: it.ticket,
        kind: it.kind,
        target: it.target.clone(),
        key: state.effect_key(it),
        version,
        hold,
        renewal,
        send_by: it.deadline - state.in_flight_max(it.kind),
        deadline: it.deadline,
    }
}

/// The undo of `it`.
pub(super) fn undo(state: &EngineState, it: &Transaction) -> Effect {
    Effect::Undo {
        label: it.label(),
        transaction: it.id,
        ticket: it.ticket,
        kind: it.kind,
        target: it.target.clone(),
        key: state.effect_key(it),
        lease_ended: matches!(&it.state, State::Releasing(cause) if **cause == Cause::LeaseEnded),
        deadline: it.deadline,
    }
}

/// The reading that `it` asks for.
pub(super) fn read_health(it: &Watch) -> Effect {
    Effect::ReadHealth {
        incident: it.incident,
        watch: it.id,
        ticket: it.ticket,
        signal: it.plan.signal.clone(),
        deadline: it.due.unwrap_or_default(),
    }
}

/// What is to be collected; `None` when there is nothing to collect it from.
pub(super) fn collect(state: &EngineState, it: &Evidence) -> Option<Effect> {
    let hash = *state.incidents.get(&it.incident)?.playbook;
    (it.target.is_some() || it.kind.aims_at().is_none()).then(|| Effect::Collect {
        evidence: it.id,
        incident: it.incident,
        kind: it.kind,
        target: it.target.clone(),
        options: it.options.clone(),
        playbook: state
            .playbooks
            .get(&hash)
            .map_or_else(Box::default, |it| it.name.clone()),
        playbook_hash: hash,
        deadline: it.deadline,
    })
}
