//! How a recovery is shown.

use staunch_engine::EngineState;
use staunch_model::{IncidentId, Printable, RecoveryEnd, RecoveryState, WatchOver};

use crate::dto::{RecoveryPhase, RecoveryStepPhase, RecoveryStepView, RecoveryView, WatchView};

/// The recovery of `id`; `None` when it has none.
pub(crate) fn recovery(state: &EngineState, id: IncidentId) -> Option<RecoveryView> {
    let recovery = state.recoveries.get(&id)?;
    let playbook = state.playbooks.get(&*state.incidents.get(&id)?.playbook)?;
    let (phase, by, why, reached) = match &recovery.state {
        RecoveryState::Waiting => (RecoveryPhase::Waiting, None, None, None),
        RecoveryState::Running { by, at, .. } => (RecoveryPhase::Running, Some(by), None, Some(*at)),
        RecoveryState::Ended(end) => match end {
            RecoveryEnd::Recovered => (RecoveryPhase::Recovered, None, None, Some(u16::MAX)),
            RecoveryEnd::Failed { why } => (RecoveryPhase::Failed, None, Some(why), None),
            RecoveryEnd::Back { why } => (RecoveryPhase::Back, None, Some(why), None),
            RecoveryEnd::Stopped { by } => (RecoveryPhase::Stopped, Some(by), None, None),
        },
    };
    let steps = (0_u16..).zip(playbook.recover()).map(|(at, step)| RecoveryStepView {
        what: step.words(playbook, &recovery.targets),
        state: match reached {
            Some(reached) if at < reached => RecoveryStepPhase::Done,
            Some(reached) if at == reached => RecoveryStepPhase::Now,
            _ => RecoveryStepPhase::Ahead,
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
