//! Recoveries, from when one is planned until its incident is forgotten. Never starts one, nor lifts anything: a person
//! does, and the records of the transactions say what was lifted.

use staunch_model::{IncidentId, Recovery, RecoveryEnd, RecoveryState, RecoveryWait, Target, Timestamp, TransactionId};

use super::ApplyError;
use super::incidents::must_be_there;
use crate::recover;
use crate::state::EngineState;

/// An incident may be recovered from.
pub(super) fn planned(
    state: &mut EngineState,
    incident: IncidentId,
    targets: &[(u16, Option<Target>)],
) -> Result<(), ApplyError> {
    must_be_there(state, incident)?;
    let planned = Recovery {
        targets: targets.to_vec(),
        state: RecoveryState::Waiting,
        acts: Vec::new(),
        lifted: Vec::new(),
        again: Vec::new(),
        taken: 0,
        ended: None,
    };
    state.recoveries.insert(incident, Box::new(planned));
    Ok(())
}

/// A person has started it.
pub(super) fn started(state: &mut EngineState, incident: IncidentId, by: &str) -> Result<(), ApplyError> {
    change_recovery(state, incident, |it| {
        (it.taken, it.ended) = (0, None);
        it.state = RecoveryState::Running {
            by: by.into(),
            at: 0,
            waits: None,
        };
    })
}

/// It has come to a step.
pub(super) fn at(
    state: &mut EngineState,
    incident: IncidentId,
    at: u16,
    waits: Option<RecoveryWait>,
    now: Timestamp,
) -> Result<(), ApplyError> {
    change_recovery(state, incident, |it| recover::go_to(it, at, waits, now))
}

/// What it had lifted is to be contained again, by a transaction of its own.
pub(super) fn contained_again(
    state: &mut EngineState,
    incident: IncidentId,
    transaction: TransactionId,
    now: Timestamp,
) -> Result<(), ApplyError> {
    change_recovery(state, incident, |it| it.again.push((transaction, now)))
}

/// It is over.
pub(super) fn ended(
    state: &mut EngineState,
    incident: IncidentId,
    end: &RecoveryEnd,
    now: Timestamp,
) -> Result<(), ApplyError> {
    change_recovery(state, incident, |it| {
        // What an earlier try has lifted is lifted until it is contained again.
        if matches!(end, RecoveryEnd::Recovered | RecoveryEnd::Back { .. }) {
            it.lifted.clear();
        }
        if let RecoveryState::Running { at, .. } = it.state {
            it.taken = at;
        }
        it.ended = Some(now);
        it.state = RecoveryState::Ended(end.clone());
    })
}

/// Changes a recovery; its incident is looked at again.
fn change_recovery(
    state: &mut EngineState,
    id: IncidentId,
    change: impl FnOnce(&mut Recovery),
) -> Result<(), ApplyError> {
    let it = state.recoveries.get_mut(&id).ok_or(ApplyError::NoRecovery(id))?;
    change(it);
    state.index.touch(id);
    Ok(())
}
