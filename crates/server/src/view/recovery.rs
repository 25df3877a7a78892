//! How a recovery is shown.

use staunch_engine::EngineState;
use staunch_model::{IncidentId, Printable, RecoveryEnd, RecoveryState, WatchOver};

use crate::dto::{RecoveryPhase, RecoveryStepPhase, RecoveryStepView, RecoveryView, WatchView};

/// The recovery of `id`; `None` when it has none.
pub(crate) fn recovery(state: &EngineState, id: IncidentId) -> Option<RecoveryView> {
    let recovery = state.recoveries.get(&id)?;
    let playbook = state.playbooks.get(&*state.incidents.get(&id)?.playbook)?;
    let (phase, by, why) = match &recovery.state {
        RecoveryState::Waiting => (RecoveryPhase::Waiting, None, None),
        RecoveryState::Running { by, .. } => (RecoveryPhase::Running, Some(by), None),
        RecoveryState::Ended(end) => match end {
            RecoveryEnd::Recovered => (RecoveryPhase::Recovered, None, None),
            RecoveryEnd::Failed { why } => (RecoveryPhase::Failed, None, Some(why)),
            RecoveryEnd::Back { why } => (RecoveryPhase::Back, None, Some(why)),
            RecoveryEnd::Stopped { by } => (RecoveryPhase::Stopped, Some(by), None),
        },
    };
    let (taken, under_way) = match recovery.state {
        RecoveryState::Running { at, .. } => (at, Some(at)),
        RecoveryState::Waiting | RecoveryState::Ended(_) => (recovery.taken, None),
    };
    let steps = (0_u16..).zip(playbook.recover()).map(|(at, step)| RecoveryStepView {
        what: step.words(playbook, &recovery.targets),
        state: if at < taken {
            RecoveryStepPhase::Done
        } else if Some(at) == under_way {
            RecoveryStepPhase::Now
        } else {
            RecoveryStepPhase::Ahead
        },
    });
    let watches = state
        .watches
        .values()
        .filter(|it| it.incident == id)
        .map(|it| WatchView {
            watch: it.id,
            signal: it.plan.signal.to_string(),
            over: match it.over {
                WatchOver::Containment(transaction) => transaction.to_string(),
                WatchOver::Recovery(at) => format!("step {} of the recovery", u32::from(at) + 1),
            },
            unhealthy: it.unhealthy,
        });
    Some(RecoveryView {
        incident: id,
        playbook: playbook.name.to_string(),
        state: phase,
        ended: recovery.ended,
        by: by.map(|it| Printable(it).to_string()),
        why: why.map(ToString::to_string),
        steps: steps.collect(),
        watches: watches.collect(),
        held_by_others: match phase {
            RecoveryPhase::Waiting => Vec::new(),
            _ => state.left_to_others(id).map(|it| it.id).collect(),
        },
    })
}
