//! Transactions: planned, changed, and forgotten when they are nobody's. What counts for budgets and for leases that
//! grow is counted here, because only a change of a transaction does.
//!
//! Never says which change is legal: the table in `transaction.rs` does.

use staunch_model::{
    Cause, Change, Dispatch, FailureKind, Incident, IncidentId, State, StateKind, Timestamp, Transaction, TransactionId,
};

use super::effects::{effect_of, undo};
use super::ids::{free, number};
use super::incidents::incident_mut;
use super::update::{send, update};
use super::{ApplyError, Next};
use crate::budget::{self, Budgets, Scope};
use crate::compact::Compact;
use crate::mutant::{Mutant, is};
use crate::state::{EngineState, driver, in_flight_max};
use crate::transaction;

/// A step of an incident is to be carried out.
pub(super) fn planned(state: &mut EngineState, planned: Transaction) -> Result<(), ApplyError> {
    let (id, incident) = (planned.id, planned.incident);
    incident_mut(state, incident)?;
    free(&id, !state.transactions.contains_key(&id))?;
    number(&id, id.0, &mut state.last_transaction)?;
    let planning = incident_mut(state, incident)?;
    planning.transactions.push(id);
    planning.next_step = planned.step.saturating_add(1);
    state.index.enter(&planned, &state.transactions);
    state.index.touch(incident);
    state.transactions.insert(id, planned);
    Ok(())
}

/// Something of ours was found in the world of which nothing is known: it is undone.
pub(super) fn adopted(
    state: &mut EngineState,
    mut orphan: Transaction,
    dispatch: Dispatch,
    next: &mut Next<'_>,
) -> Result<(), ApplyError> {
    let id = orphan.id;
    free(&id, !state.transactions.contains_key(&id))?;
    number(&id, id.0, &mut state.last_transaction)?;
    orphan.state = State::Releasing(Box::new(Cause::Orphan));
    send(&mut orphan, dispatch);
    orphan.attempts = 1;
    next.add(|| Some(undo(state, &orphan)));
    state.index.enter(&orphan, &state.transactions);
    state.transactions.insert(id, orphan);
    Ok(())
}

/// Its target has come back, which changes nothing but has to be about something.
pub(super) fn came_back(state: &EngineState, id: TransactionId) -> Result<(), ApplyError> {
    if state.transactions.contains_key(&id) {
        return Ok(());
    }
    Err(ApplyError::NoTransaction(id))
}

pub(super) fn changed(
    state: &mut EngineState,
    id: TransactionId,
    change: &Change,
    now: Timestamp,
    next: &mut Next<'_>,
) -> Result<(), ApplyError> {
    let EngineState {
        transactions,
        incidents,
        policy,
        budgets,
        index,
        completions,
        ..
    } = state;
    let it = transactions.get_mut(&id).ok_or(ApplyError::NoTransaction(id))?;
    let after = transaction::after(&it.state, change).map_err(|illegal| ApplyError::Illegal {
        transaction: id,
        illegal,
    })?;
    let ends = after.kind().is_terminal() && after.kind() != StateKind::Stuck;
    let before = (it.state.kind(), it.deadline);
    it.state = after;
    let driver = policy.as_ref().and_then(|policy| driver(policy, it.kind));
    let lands_by = match (change, driver) {
        // The kernel has done it once, and no proxy sends it again.
        (Change::Landed(_), Some(driver)) if driver.local => now,
        _ => now + in_flight_max(driver),
    };
    update(it, change, now, lands_by);
    if let Change::PostCheckPassed { .. } = change {
        *completions = completions.saturating_add(1);
        it.completed = *completions;
    }
    account(budgets, incidents, it, change, now);
    index.follow(before, it, ends);
    index.touch(it.incident);
    for incident in it.joined() {
        index.touch(*incident);
    }
    if let Change::LetGo(incident) = change {
        index.touch(*incident);
        if it.state.kind() == StateKind::Planned {
            // What that incident preserves is no longer waited for.
            index.candidates.add(id);
        }
    }
    let (incident, label) = (it.incident, it.label());
    if let Change::Joined(incident) = change {
        join(state, *incident, id);
    }
    if let Change::ReleaseVerified = change {
        count_return(state, id, now);
    }
    if let Change::GaveUp(_) = change {
        state.quarantined.remove(&id);
    }
    next.add(|| effect_of(state, state.transactions.get(&id)?, change));
    if ends && incident == IncidentId(0) {
        state.lifted.add(label, now);
        state.transactions.remove(&id);
        return Ok(());
    }
    if ends {
        state.enter_incident(incident);
    }
    Ok(())
}

/// Enters `it` into the incident that joins it, with the step for which it does.
///
/// Every step of a match makes one record, in the playbook's order; so the step is the one after that of the record
/// before. One that is judged anew keeps the step of the transaction that was at the same place.
fn join(state: &mut EngineState, id: IncidentId, transaction: TransactionId) {
    let (Some(joining), Some(it)) = (state.incidents.get_mut(&id), state.transactions.get(&transaction)) else {
        return;
    };
    let same_place = |other: &TransactionId| {
        *other != it.id
            && state
                .transactions
                .get(other)
                .is_some_and(|other| (other.kind, &other.target) == (it.kind, &it.target))
    };
    let before = joining
        .joined_steps
        .iter()
        .find(|(other, _)| same_place(other))
        .map(|(_, step)| *step);
    let step = before.unwrap_or(joining.next_step);
    joining.next_step = joining.next_step.saturating_add(1);
    if !joining.transactions.contains(&it.id) {
        joining.transactions.push(it.id);
        joining.joined_steps.push((it.id, step));
    }
}

/// A containment of a playbook whose leases grow has ended.
fn count_return(state: &mut EngineState, id: TransactionId, now: Timestamp) {
    let playbook = state
        .transactions
        .get(&id)
        .and_then(|it| state.playbook_of(it))
        .cloned();
    let (Some(playbook), Some(it)) = (playbook, state.transactions.get(&id)) else {
        return;
    };
    let (Some(within), State::Released(cause)) = (playbook.returns_within(it.step), &it.state) else {
        return;
    };
    match &**cause {
        Cause::LeaseEnded => state.repeats.serve(&playbook, it, now, within),
        Cause::Operator { .. } => state.repeats.pardon(&playbook, it),
        _ => {}
    }
}

/// Debits budgets: an act when it is first sent, a failure when it has ended.
fn account(
    budgets: &mut Budgets,
    incidents: &Compact<IncidentId, Incident>,
    it: &Transaction,
    change: &Change,
    now: Timestamp,
) {
    match change {
        Change::ExecuteIntended { .. } if it.executions == 1 => {
            budgets.debit(Scope::Total, now);
            budgets.debit(Scope::Action(it.kind), now);
            if is(Mutant::BudgetCountsTwice) {
                budgets.debit(Scope::Action(it.kind), now);
            }
            if !is(Mutant::GroupBudgetIgnored) {
                budgets.debit(budget::group(&it.target), now);
            }
            if let Some(incident) = incidents.get(&it.incident) {
                budgets.debit(Scope::Playbook(*incident.playbook), now);
            }
        }
        // A record that does not fit says nothing about the drivers either.
        Change::GaveUp(reason) if reason.trying.is_undo() => budgets.debit(Scope::Failures, now),
        Change::ProbedAbsent => {
            // The breaker is for drivers that fail. Being stopped or killed says nothing about them, nor does a target
            // that has ended: an attacker ends as many processes as it likes.
            let says_nothing = |cause: &Cause| {
                let Cause::ExecuteFailed(it) = cause else { return false };
                it.kind == FailureKind::Interrupted || (it.kind == FailureKind::Gone)
            };
            if let State::RolledBack(cause) = &it.state
                && transaction::is_failure(cause)
                && !says_nothing(cause)
            {
                budgets.debit(Scope::Failures, now);
            }
        }
        _ => {}
    }
}
