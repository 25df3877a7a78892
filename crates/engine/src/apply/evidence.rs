//! Evidence from when it is planned until it is sealed or missed.
//!
//! Never holds any of it, nor keeps containment waiting by itself: the state is asked what is still open.

use staunch_model::{
    Evidence, EvidenceId, EvidenceKind, EvidenceOptions, Failure, IncidentId, Sealed, Target, Timestamp,
};

use super::effects::collect;
use super::ids::{free, number};
use super::incidents::{incident_mut, must_be_there};
use super::{ApplyError, Next};
use crate::state::EngineState;

/// Evidence that was asked for once, and has not been answered.
pub(super) fn new_evidence(
    id: EvidenceId,
    incident: IncidentId,
    kind: EvidenceKind,
    target: Option<Target>,
    options: Box<EvidenceOptions>,
    deadline: Timestamp,
) -> Evidence {
    Evidence {
        id,
        incident,
        kind,
        target,
        options,
        deadline,
        attempts: 1,
        retry_at: None,
        sealed: None,
        missed: None,
    }
}

/// Something is to be preserved.
pub(super) fn planned(state: &mut EngineState, planned: Evidence, next: &mut Next<'_>) -> Result<(), ApplyError> {
    must_be_there(state, planned.incident)?;
    free(&planned.id, !state.evidence.contains_key(&planned.id))?;
    number(&planned.id, planned.id.0, &mut state.last_evidence)?;
    incident_mut(state, planned.incident)?.evidence.push(planned.id);
    next.add(|| collect(state, &planned));
    state.index.enter_evidence(&planned);
    state.evidence.insert(planned.id, Box::new(planned));
    Ok(())
}

/// It was not preserved; it is asked for again at a time.
pub(super) fn postponed(state: &mut EngineState, id: EvidenceId, until: Timestamp) -> Result<(), ApplyError> {
    change_evidence(state, id, |it| it.retry_at = Some(until))
}

/// It is asked for again.
pub(super) fn resent(state: &mut EngineState, id: EvidenceId, next: &mut Next<'_>) -> Result<(), ApplyError> {
    change_evidence(state, id, |it| {
        it.retry_at = None;
        it.attempts = it.attempts.saturating_add(1);
    })?;
    next.add(|| collect(state, state.evidence.get(&id)?));
    Ok(())
}

/// It is stored durably.
pub(super) fn sealed(state: &mut EngineState, id: EvidenceId, sealed: Sealed) -> Result<(), ApplyError> {
    change_evidence(state, id, |it| it.sealed = Some(sealed))
}

/// It is given up.
pub(super) fn missed(state: &mut EngineState, id: EvidenceId, failure: &Failure) -> Result<(), ApplyError> {
    change_evidence(state, id, |it| it.missed = Some(Box::new(failure.clone())))
}

/// Changes a piece of evidence and the index with it; its incident is looked at again.
fn change_evidence(
    state: &mut EngineState,
    id: EvidenceId,
    change: impl FnOnce(&mut Evidence),
) -> Result<(), ApplyError> {
    let it = state.evidence.get_mut(&id).ok_or(ApplyError::NoEvidence(id))?;
    state.index.leave_evidence(it);
    change(it);
    state.index.enter_evidence(it);
    state.index.touch(it.incident);
    if !it.is_open() {
        let incident = it.incident;
        state.ask_anew(incident);
    }
    Ok(())
}
