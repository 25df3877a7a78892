//! What a change makes of a transaction, but for its state.

use staunch_model::{
    Await, Change, Dispatch, Extras, FailureKind, IncidentId, Span, State, StateKind, Timestamp, Transaction,
    TransactionId,
};

use crate::limits;
use crate::mutant::{Mutant, is};

/// Updates everything of a transaction but its state. What its driver has sent until now has landed by `lands_by`.
pub(super) fn update(it: &mut Transaction, change: &Change, now: Timestamp, lands_by: Timestamp) {
    match change {
        Change::PreCheckStarted(dispatch) => {
            send(it, *dispatch);
            it.attempts = 1;
            it.set_failure(None);
        }
        Change::Refused { .. } | Change::WouldExecute { .. } | Change::ProbedAbsent | Change::ReleaseVerified => {
            it.deadline = now;
            it.awaits = Await::Timer;
        }
        Change::GaveUp(reason) => {
            it.deadline = now;
            it.awaits = Await::Timer;
            it.set_failure(Some(reason.last.clone()));
        }
        Change::ApprovalRequested { expires, .. } => wait(it, *expires),
        Change::Approved { by } => {
            it.set_approved_by(by.clone());
            wait(it, now + limits::QUEUE_WAIT_MAX);
        }
        Change::ExecuteIntended {
            dispatch, judgement, ..
        } => {
            send(it, *dispatch);
            it.executions = it.executions.saturating_add(1);
            // It is sent in time to land before its reply is given up: see `Effect::Execute::send_by`.
            let until = if is(Mutant::SettleFromIntent) {
                lands_by
            } else {
                dispatch.deadline
            };
            it.in_flight_until = it.in_flight_until.max(Some(until));
            it.set_failure(None);
            if let Some(judgement) = judgement {
                it.mode = judgement.mode;
            }
        }
        Change::Landed(dispatch) => {
            answered(it, lands_by);
            send(it, *dispatch);
            it.attempts = 1;
            it.set_failure(None);
        }
        Change::Unproved { failure, dispatch } => {
            // Nobody has answered when the process ended: another one, paused, may still send it.
            if failure.kind != FailureKind::Interrupted {
                answered(it, lands_by);
            }
            send(it, *dispatch);
            it.attempts = 1;
            it.set_failure(Some(failure.clone()));
        }
        Change::Postponed { failure, until } => {
            // In a post-check `failure` is the driver's own report of the act, which a failed look does not replace.
            if !matches!(it.state.kind(), StateKind::PostChecking | StateKind::InForce) {
                it.set_failure(Some(failure.clone()));
            }
            wait(it, *until);
            end_with_lease(it);
        }
        Change::Resent(dispatch) => {
            send(it, *dispatch);
            it.attempts = it.attempts.saturating_add(1);
            end_with_lease(it);
        }
        Change::PostCheckPassed { lease_until } => {
            it.lease_until = Some(*lease_until);
            it.verified_at = Some(now);
            it.set_failure(None);
            wait(it, *lease_until);
        }
        Change::RollbackStarted { dispatch, .. } | Change::ReleaseStarted { dispatch, .. } => {
            send(it, *dispatch);
            it.attempts = 1;
            it.undone = false;
            it.set_renewing(None);
            it.set_failure(None);
        }
        Change::UndoLanded { settled_at } => {
            it.undone = true;
            it.set_failure(None);
            wait(it, *settled_at);
        }
        Change::Lifted(dispatch) => {
            send(it, *dispatch);
            it.undone = true;
            it.set_failure(None);
        }
        Change::ProbedPresent(dispatch) => {
            send(it, *dispatch);
            it.attempts = it.attempts.saturating_add(1);
            it.undone = false;
        }
        Change::RenewStarted { dispatch, until, .. } => {
            send(it, *dispatch);
            it.attempts = 0;
            it.set_failure(None);
            it.set_renewing(Some(*until));
            end_with_lease(it);
        }
        Change::RenewCheckStarted { failure, dispatch } => {
            send(it, *dispatch);
            it.attempts = 1;
            it.set_failure(failure.clone());
            end_with_lease(it);
        }
        Change::Renewed { lease_until } => {
            it.set_renewing(None);
            it.set_failure(None);
            it.lease_until = Some(*lease_until);
            it.verified_at = Some(now);
            wait(it, *lease_until);
        }
        Change::RenewFailed(failure) => {
            it.set_renewing(None);
            it.set_failure(Some(failure.clone()));
            wait(it, it.lease_until.unwrap_or(now));
        }
        Change::Joined(incident) => {
            if *incident == it.incident {
                it.held = true;
            } else {
                it.join(*incident);
            }
        }
        Change::LetGo(incident) => {
            if *incident == it.incident {
                it.held = false;
            } else {
                it.leave(*incident);
            }
        }
        Change::StaleReply { .. } => {}
    }
}

/// The driver has answered, so it sends the request no more.
fn answered(it: &mut Transaction, lands_by: Timestamp) {
    // Of two requests, the first may be the one that is still to come.
    if it.executions == 1 {
        it.in_flight_until = it.in_flight_until.map(|before| before.min(lands_by));
    }
}

/// Something was sent, and its answer is waited for.
pub(super) fn send(it: &mut Transaction, dispatch: Dispatch) {
    it.ticket = dispatch.ticket;
    it.deadline = dispatch.deadline;
    it.awaits = Await::Reply;
}

/// A renewal that is under way does not keep the present lease from ending.
fn end_with_lease(it: &mut Transaction) {
    if it.state.kind() == StateKind::InForce {
        it.deadline = it.deadline.min(it.lease_until.unwrap_or(it.deadline));
    }
}

fn wait(it: &mut Transaction, until: Timestamp) {
    it.deadline = until;
    it.awaits = Await::Timer;
}

/// A transaction that nothing has become of yet.
pub(crate) fn new_transaction(
    id: TransactionId,
    label: TransactionId,
    incident: IncidentId,
    kind: staunch_model::ActionKind,
    target: staunch_model::Target,
) -> Transaction {
    let mut it = Transaction {
        id,
        incident,
        step: 0,
        kind,
        target,
        lease: Span::ZERO,
        state: State::Planned,
        awaits: Await::Timer,
        deadline: Timestamp::EPOCH,
        ticket: 0,
        executions: 0,
        attempts: 0,
        undone: false,
        mode: staunch_model::Mode::Observe,
        in_flight_until: None,
        lease_until: None,
        verified_at: None,
        completed: 0,
        held: true,
        extras: Extras::default(),
    };
    it.set_label(label);
    it
}
