//! Health watches until they have ended. Never says what a reading means: the record that ends a watch does.

use staunch_model::{Failure, HealthReading, IncidentId, Timestamp, Watch, WatchId, WatchOver, WatchPlan, WatchState};

use super::effects::read_health;
use super::ids::{free, number};
use super::incidents::must_be_there;
use super::{ApplyError, Next};
use crate::state::EngineState;

/// A watch whose signal was asked for once, at `now`. That of a recovery runs from then on; that of a containment first
/// learns how things are without it.
pub(super) fn new_watch(
    id: WatchId,
    incident: IncidentId,
    over: WatchOver,
    plan: WatchPlan,
    answer_by: Timestamp,
    now: Timestamp,
) -> Watch {
    let running = |lasts| WatchState::Running { until: now + lasts };
    Watch {
        id,
        incident,
        over,
        state: match over {
            WatchOver::Containment(_) => WatchState::Baseline,
            WatchOver::Recovery(_) => running(plan.lasts),
        },
        plan,
        ticket: 1,
        asked: true,
        due: Some(answer_by),
        unhealthy: 0,
    }
}

/// A signal is to be watched.
pub(super) fn planned(state: &mut EngineState, planned: Watch, next: &mut Next<'_>) -> Result<(), ApplyError> {
    let (incident, id) = (planned.incident, planned.id);
    must_be_there(state, incident)?;
    free(&id, !state.watches.contains_key(&(incident, id)))?;
    number(&id, id.0, &mut state.last_watch)?;
    next.add(|| Some(read_health(&planned)));
    state.index.enter_watch(&planned);
    state.index.touch(incident);
    state.watches.insert((incident, id), Box::new(planned));
    Ok(())
}

/// The signal was read, or could not be; it is read again at a time.
pub(super) fn read(
    state: &mut EngineState,
    incident: IncidentId,
    id: WatchId,
    result: &Result<HealthReading, Failure>,
    again: Option<Timestamp>,
) -> Result<(), ApplyError> {
    change_watch(state, incident, id, |it| {
        it.asked = false;
        it.due = again;
        match result {
            Ok(reading) if reading.healthy => it.unhealthy = 0,
            Ok(_) => it.unhealthy = it.unhealthy.saturating_add(1),
            Err(_) => {}
        }
        if it.state == WatchState::Baseline {
            it.state = WatchState::Ready;
            it.unhealthy = 0;
        }
    })
}

/// The signal is asked for again.
pub(super) fn asked(
    state: &mut EngineState,
    incident: IncidentId,
    id: WatchId,
    answer_by: Timestamp,
    next: &mut Next<'_>,
) -> Result<(), ApplyError> {
    change_watch(state, incident, id, |it| {
        it.asked = true;
        it.ticket = it.ticket.wrapping_add(1);
        it.due = Some(answer_by);
    })?;
    next.add(|| state.watches.get(&(incident, id)).map(|it| read_health(it)));
    Ok(())
}

/// What is watched is in force, so that the watch runs.
pub(super) fn started(
    state: &mut EngineState,
    incident: IncidentId,
    id: WatchId,
    until: Timestamp,
    first: Timestamp,
) -> Result<(), ApplyError> {
    change_watch(state, incident, id, |it| {
        it.state = WatchState::Running { until };
        it.due = Some(first);
    })
}

/// The watch is over.
pub(super) fn ended(state: &mut EngineState, incident: IncidentId, id: WatchId) -> Result<(), ApplyError> {
    let ended = state.watches.remove(&(incident, id));
    let ended = ended.ok_or(ApplyError::NoWatch(id))?;
    state.index.leave_watch(&ended);
    state.index.touch(incident);
    state.ask_anew(incident);
    Ok(())
}

/// Changes a watch and the index with it; its incident is looked at again.
fn change_watch(
    state: &mut EngineState,
    incident: IncidentId,
    id: WatchId,
    change: impl FnOnce(&mut Watch),
) -> Result<(), ApplyError> {
    let it = state.watches.get_mut(&(incident, id)).ok_or(ApplyError::NoWatch(id))?;
    state.index.leave_watch(it);
    change(it);
    state.index.enter_watch(it);
    state.index.touch(incident);
    state.ask_anew(incident);
    Ok(())
}
