//! Incidents, and what is known around them.
//!
//! Never changes a transaction, and forgets those of an incident only with it.

use staunch_model::{
    Asset, Brief, ContentHash, Few, Incident, IncidentId, IncidentOutcome, IncidentStatus, KnownAccount, Seldom,
    StateKind, Target, Timestamp, Transaction, Watch,
};

use super::ApplyError;
use super::ids::{free, number};
use crate::limits;
use crate::state::{EngineState, Subject, key_hash};

/// There is something to conclude from an event.
pub(super) fn opened(
    state: &mut EngineState,
    id: IncidentId,
    playbook: ContentHash,
    key: &str,
    event_time: Option<Timestamp>,
    absorbs_until: Timestamp,
    now: Timestamp,
) -> Result<(), ApplyError> {
    free(&id, !state.incidents.contains_key(&id))?;
    number(&id, id.0, &mut state.last_incident)?;
    state.index.enter_key(key_hash(playbook, key), id);
    state.index.touch(id);
    state.index.incidents_open += 1;
    let opened = Incident {
        id,
        playbook: state.index.shared_hash(playbook),
        key: Brief::from(key),
        status: IncidentStatus::Open,
        opened: now,
        absorbs_until,
        event_time,
        events: 1,
        transactions: Few::new(),
        outcome: None,
        joined_steps: Seldom::new(),
        next_step: 0,
        evidence: Seldom::new(),
    };
    state.incidents.insert(id, opened);
    Ok(())
}

/// One more event belongs to it.
pub(super) fn event_joined(state: &mut EngineState, id: IncidentId) -> Result<(), ApplyError> {
    let joined = incident_mut(state, id)?;
    joined.events = joined.events.saturating_add(1);
    Ok(())
}

/// Its event names no target for a step.
pub(super) fn step_left_out(state: &mut EngineState, id: IncidentId, step: u16) -> Result<(), ApplyError> {
    incident_mut(state, id)?.next_step = step.saturating_add(1);
    state.index.touch(id);
    Ok(())
}

/// What is known of the targets and the account that its event names.
pub(super) fn around_known(
    state: &mut EngineState,
    id: IncidentId,
    targets: &[(Target, Option<Asset>)],
    account: Option<&KnownAccount>,
) -> Result<(), ApplyError> {
    must_be_there(state, id)?;
    state.around.add(id, targets, account);
    Ok(())
}

/// The assets that its event names.
pub(super) fn assets_known(state: &mut EngineState, id: IncidentId, assets: &[Asset]) -> Result<(), ApplyError> {
    must_be_there(state, id)?;
    state.around.name(id, assets);
    Ok(())
}

/// It is plain what has become of it.
pub(super) fn outcome_reached(
    state: &mut EngineState,
    id: IncidentId,
    outcome: IncidentOutcome,
) -> Result<(), ApplyError> {
    incident_mut(state, id)?.outcome = Some(outcome);
    Ok(())
}

/// Nothing of it is under way any more.
pub(super) fn closed(state: &mut EngineState, id: IncidentId, absorbs_until: Timestamp) -> Result<(), ApplyError> {
    let closed = incident_mut(state, id)?;
    let was = std::mem::replace(&mut closed.status, IncidentStatus::Closed);
    closed.absorbs_until = absorbs_until;
    state.index.incidents_open -= u64::from(was == IncidentStatus::Open);
    state.enter_incident(id);
    Ok(())
}

/// Drops a closed incident and the transactions that it planned, which have all ended.
pub(super) fn forgotten(state: &mut EngineState, id: IncidentId, now: Timestamp) -> Result<(), ApplyError> {
    let forgotten = state.incidents.get(&id).ok_or(ApplyError::NoIncident(id))?;
    let lives = |it: &Transaction| !it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck;
    let mut planned = forgotten
        .transactions
        .iter()
        .filter_map(|it| state.transactions.get(it));
    if planned.any(|it| it.incident == id && lives(it)) {
        return Err(ApplyError::NotEnded(id));
    }
    let incident = state.incidents.remove(&id).ok_or(ApplyError::NoIncident(id))?;
    state.around.forget(id);
    state.recoveries.remove(&id);
    let watches: Vec<Watch> = state.watches_of(id).cloned().collect();
    for it in watches {
        state.index.leave_watch(&it);
        state.watches.remove(&(id, it.id));
    }
    state.index.incidents_open -= u64::from(incident.status == IncidentStatus::Open);
    state
        .index
        .deadlines
        .remove(&(incident.absorbs_until, Subject::Incident(id)));
    state.index.leave_key(key_hash(*incident.playbook, &incident.key), id);
    for evidence in &incident.evidence {
        if let Some(it) = state.evidence.remove(evidence) {
            state.index.leave_evidence(&it);
        }
    }
    for transaction in &incident.transactions {
        if state.transactions.get(transaction).is_some_and(|it| it.incident == id)
            && let Some(it) = state.transactions.remove(transaction)
            && it.executions > 0
            && now.since(it.deadline) <= limits::SWEEP_READING_MAX
        {
            // The deadline of a transaction that has ended is when it did.
            state.lifted.add(it.label(), it.deadline);
        }
    }
    Ok(())
}

pub(super) fn incident_mut(state: &mut EngineState, id: IncidentId) -> Result<&mut Incident, ApplyError> {
    state.incidents.get_mut(&id).ok_or(ApplyError::NoIncident(id))
}

/// Refuses what is about an incident that is not there.
pub(super) fn must_be_there(state: &EngineState, id: IncidentId) -> Result<(), ApplyError> {
    if state.incidents.contains_key(&id) {
        return Ok(());
    }
    Err(ApplyError::NoIncident(id))
}
