//! What may be done, and to whom never: the policy, the mode, and what files list.
//!
//! Changes nothing that is in force: what was judged under the policy before stays as it was judged.

use std::collections::BTreeSet;
use std::sync::Arc;

use staunch_model::{ContentHash, IncidentId, IncidentOutcome, IncidentStatus, ListChange, Mode, Policy, Timestamp};

use super::ApplyError;
use super::incidents::incident_mut;
use crate::budget::Scope;
use crate::lists::ListedNetworks;
use crate::mutant::{Mutant, is};
use crate::networks::Networks;
use crate::state::{EngineState, Subject};

/// A policy is in force from here on.
pub(super) fn pinned(state: &mut EngineState, policy: &Arc<Policy>) {
    if state.policy.as_ref().is_some_and(|old| old.mode_max != policy.mode_max) {
        state.mode_set = None;
    }
    for playbook in &policy.playbooks {
        state.playbooks.insert(playbook.hash, playbook.clone());
    }
    let in_use: BTreeSet<_> = state.incidents.values().map(|incident| *incident.playbook).collect();
    // Events that were triaged under the policy before this one may still be on their way in.
    let before = state.policy.take();
    let pins = |policy: &Policy, hash: &ContentHash| policy.playbooks.iter().any(|playbook| playbook.hash == *hash);
    state.playbooks.retain(|hash, _| {
        in_use.contains(hash) || pins(policy, hash) || before.as_ref().is_some_and(|before| pins(before, hash))
    });
    state.index.share_hashes(&state.playbooks);
    state.index.never_touch = Networks::new(&policy.never_touch);
    state.policy = Some(policy.clone());
}

/// A person has said how far any playbook may go.
pub(super) fn mode_set(state: &mut EngineState, mode: Mode, now: Timestamp) -> Result<(), ApplyError> {
    state.mode_set = Some(mode);
    state.breaker_open = None;
    if !is(Mutant::FailuresKept) {
        state.budgets.clear(Scope::Failures);
    }
    // What was only observed was judged under the mode before: its next event is judged under this one.
    let observed: Vec<IncidentId> = state
        .incidents
        .values()
        .filter(|it| it.status == IncidentStatus::Closed && it.outcome == Some(IncidentOutcome::WouldContain))
        .map(|it| it.id)
        .collect();
    for id in observed {
        let incident = incident_mut(state, id)?;
        let before = std::mem::replace(&mut incident.absorbs_until, now);
        state.index.deadlines.remove(&(before, Subject::Incident(id)));
        state.enter_incident(id);
    }
    Ok(())
}

/// A file lists other networks than before.
pub(super) fn list_changed(state: &mut EngineState, change: &ListChange) {
    state.lists.change(change);
    state.index.listed = ListedNetworks::of(&state.lists);
}
