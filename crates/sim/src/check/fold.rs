//! What a change makes of what the model knows of a transaction. Never judges it: that was done before.

use staunch_model::{Cause, Change, FailureKind, StateKind, Timestamp, TransactionId};

use super::Model;
use super::events::{judged_anew_after, judged_anew_when};

impl Model {
    pub(super) fn fold(&mut self, id: TransactionId, change: &Change, now: Timestamp) {
        let completions = &mut self.completions;
        let Some(it) = self.transactions.get_mut(&id) else {
            return;
        };
        let before = it.kind;
        match change {
            Change::PreCheckStarted(dispatch) => {
                it.kind = StateKind::PreChecking;
                it.tries = 1;
                it.ticket = dispatch.ticket;
            }
            Change::Refused { reason, .. } => {
                it.kind = StateKind::Refused;
                it.judged_anew_after = judged_anew_after(reason);
            }
            Change::WouldExecute { .. } => it.kind = StateKind::WouldExecute,
            Change::ApprovalRequested { expires, .. } => {
                it.kind = StateKind::AwaitingApproval;
                it.approval_expires = Some(*expires);
            }
            Change::Approved { .. } => {
                it.kind = StateKind::Planned;
                it.approved = true;
                it.waits_since = now;
                self.waiting.push(id);
                it.approved_late = it.approval_expires.is_some_and(|expires| expires <= now);
            }
            Change::ExecuteIntended { dispatch, .. } => {
                it.kind = StateKind::Executing;
                it.ticket = dispatch.ticket;
                it.sends += 1;
            }
            Change::Landed(dispatch) | Change::Unproved { dispatch, .. } => {
                it.kind = StateKind::PostChecking;
                it.ticket = dispatch.ticket;
                it.tries = 1;
            }
            Change::PostCheckPassed { lease_until } => {
                it.kind = StateKind::InForce;
                *completions += 1;
                it.completed = *completions;
                it.lease_until = Some(*lease_until);
            }
            Change::RollbackStarted { cause, dispatch } => {
                it.judged_anew_after = judged_anew_when(cause);
                it.kind = StateKind::RollingBack;
                it.tries = 1;
                it.ticket = dispatch.ticket;
                if matches!(**cause, Cause::ExecuteFailed(_) | Cause::PostCheckFailed { .. }) {
                    it.failed = true;
                    self.failed.push(id);
                }
                it.counts = match &**cause {
                    Cause::ExecuteFailed(failure) => {
                        !matches!(failure.kind, FailureKind::Interrupted | FailureKind::Gone)
                    }
                    Cause::PostCheckFailed { .. } => true,
                    _ => false,
                };
            }
            Change::UndoLanded { .. } => it.kind = StateKind::Settling,
            Change::ProbedPresent(dispatch) => {
                if it.kind == StateKind::Settling {
                    it.kind = StateKind::RollingBack;
                }
                it.tries += 1;
                it.ticket = dispatch.ticket;
            }
            Change::ProbedAbsent => {
                it.kind = StateKind::RolledBack;
                if it.counts {
                    self.failures.push_back(now);
                }
            }
            Change::GaveUp(reason) => {
                let undo = matches!(
                    reason.trying,
                    StateKind::Releasing | StateKind::RollingBack | StateKind::Settling
                );
                it.kind = StateKind::Stuck;
                it.failed |= matches!(reason.trying, StateKind::RollingBack | StateKind::Settling);
                if undo {
                    self.failures.push_back(now);
                }
            }
            Change::ReleaseStarted { cause, dispatch } => {
                it.judged_anew_after = judged_anew_when(cause);
                it.kind = StateKind::Releasing;
                it.failed = false;
                it.tries = 1;
                it.ticket = dispatch.ticket;
            }
            Change::ReleaseVerified => it.kind = StateKind::Released,
            Change::RenewStarted { dispatch, until, .. } => {
                it.ticket = dispatch.ticket;
                it.renews = Some(*until);
            }
            Change::Resent(dispatch) => {
                it.ticket = dispatch.ticket;
                it.tries += 1;
            }
            // The look after an undo belongs to its try.
            Change::Lifted(dispatch) => it.ticket = dispatch.ticket,
            Change::RenewCheckStarted { dispatch, .. } => {
                it.ticket = dispatch.ticket;
                it.tries = 1;
            }
            Change::Renewed { lease_until } => {
                it.lease_until = Some(*lease_until);
                it.renews = None;
            }
            Change::RenewFailed(_) => it.renews = None,
            Change::Joined(incident) if *incident == it.incident => it.held = true,
            Change::Joined(incident) => {
                it.joined.insert(*incident);
                if let Some(case) = self.incidents.get_mut(incident) {
                    case.transactions.insert(id);
                }
            }
            Change::LetGo(incident) if *incident == it.incident => it.held = false,
            Change::LetGo(incident) => drop(it.joined.remove(incident)),
            _ => {}
        }
        if let Some(it) = self.transactions.get_mut(&id).filter(|it| it.kind != before) {
            it.since = now;
            self.in_flight += usize::from(it.kind.is_in_flight());
            self.in_flight -= usize::from(before.is_in_flight());
        }
    }
}
