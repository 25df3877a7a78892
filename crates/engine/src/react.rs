//! What the reply of a driver or a notifier means: which step of a transaction comes next.
//!
//! Never takes a reply for the world: what a look shows is judged in `judged`. What an event plans is in `matched`,
//! what a sweep finds in `swept`, and what operators ask for in `command.rs`.

mod judged;
mod matched;
mod swept;

use staunch_model::{
    Cause, Change, Failure, FailureKind, NoticeId, NoticeLevel, Observation, Outcome, Record, RefusalReason, Span,
    StateKind, StuckReason, Timestamp, Transaction, TransactionId,
};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::expects;
use crate::turn::Turn;

use judged::is_ours;

impl Turn<'_> {
    /// A driver has looked at the world.
    pub(crate) fn on_observed(
        &mut self,
        id: TransactionId,
        ticket: u32,
        result: &Result<Observation, Failure>,
        facts: &staunch_model::Facts,
    ) {
        let Some(it) = self.awaited(id, ticket) else { return };
        match (it.state.kind(), result) {
            (StateKind::PreChecking, Ok(seen)) => self.judge_pre_check(&it, seen, facts),
            (StateKind::PreChecking, Err(failure)) => self.pre_check_failed(&it, failure),
            (StateKind::PostChecking, Ok(seen)) => self.judge_post_check(&it, seen),
            (StateKind::PostChecking, Err(failure)) => self.post_check_failed(&it, failure),
            (StateKind::InForce, Ok(seen)) => self.judge_renewal(&it, seen),
            (StateKind::InForce, Err(failure)) => self.renewal_check_failed(&it, failure),
            (StateKind::Settling, Ok(seen)) if is_ours(&it, seen) => self.still_there(&it),
            (StateKind::Settling, Ok(_)) => self.change(id, Change::ProbedAbsent),
            (StateKind::Releasing, Ok(seen)) if is_ours(&it, seen) => self.still_there(&it),
            (StateKind::Releasing, Ok(_)) => self.verify_release(&it),
            (StateKind::Settling | StateKind::Releasing, Err(failure)) => self.retry_undo(&it, failure),
            _ => self.change(id, Change::StaleReply { ticket }),
        }
    }

    pub(crate) fn pre_check_failed(&mut self, it: &Transaction, failure: &Failure) {
        if it.attempts < limits::OBSERVE_ATTEMPTS_MAX && !is(Mutant::LookOnce) {
            let until = self.now + limits::POST_CHECK_PAUSE;
            self.change(
                it.id,
                Change::Postponed {
                    failure: failure.clone(),
                    until,
                },
            );
        } else {
            let reason = Box::new(RefusalReason::CheckFailed(failure.clone()));
            self.change(
                it.id,
                Change::Refused {
                    reason,
                    judgement: None,
                },
            );
        }
    }

    pub(crate) fn post_check_failed(&mut self, it: &Transaction, failure: &Failure) {
        if it.attempts < limits::OBSERVE_ATTEMPTS_MAX {
            let until = self.now + limits::POST_CHECK_PAUSE;
            self.change(
                it.id,
                Change::Postponed {
                    failure: failure.clone(),
                    until,
                },
            );
        } else {
            let found = format!("the world cannot be looked at: {failure}");
            self.roll_back(it, Cause::PostCheckFailed { found: found.into() });
        }
    }

    pub(crate) fn roll_back(&mut self, it: &Transaction, cause: Cause) {
        let dispatch = self.act(it);
        self.change(
            it.id,
            Change::RollbackStarted {
                cause: Box::new(cause),
                dispatch,
            },
        );
    }

    pub(crate) fn start_release(&mut self, it: &Transaction, cause: Cause) {
        let dispatch = self.act(it);
        self.change(
            it.id,
            Change::ReleaseStarted {
                cause: Box::new(cause),
                dispatch,
            },
        );
    }

    /// Nothing of `it` is left, unless one of its requests is still under way: then the look is made again. A request
    /// that was answered may have a duplicate, from a client or a proxy that sends again by itself.
    fn verify_release(&mut self, it: &Transaction) {
        if it.in_flight_until.is_some_and(|until| until > self.now) {
            let settled_at = self.settled_at(it);
            let failure = Failure::new(FailureKind::TimedOut, "a request may still be under way");
            self.change(
                it.id,
                Change::Postponed {
                    failure,
                    until: settled_at,
                },
            );
        } else {
            self.change(it.id, Change::ReleaseVerified);
        }
    }

    /// When no request of `it` can be under way any more.
    pub(crate) fn settled_at(&self, it: &Transaction) -> Timestamp {
        if is(Mutant::NoSettle) {
            return self.now;
        }
        let mut in_flight = it.in_flight_until.map_or(self.now, |at| at + limits::SETTLE_MARGIN);
        if is(Mutant::SettleTooShort) {
            in_flight = self.now + Span::from_micros(in_flight.since(self.now).as_micros() / 2);
        }
        self.now.max(in_flight)
    }

    fn still_there(&mut self, it: &Transaction) {
        if it.attempts < limits::UNDO_ATTEMPTS_MAX {
            let dispatch = self.act(it);
            self.change(it.id, Change::ProbedPresent(dispatch));
        } else {
            self.give_up(
                it,
                Failure::new(FailureKind::Conflict, "it is still in place after every undo"),
            );
        }
    }

    /// A driver has tried to act.
    pub(crate) fn on_executed(&mut self, id: TransactionId, ticket: u32, outcome: &Outcome) {
        let Some(it) = self.awaited(id, ticket) else { return };
        match (it.state.kind(), outcome) {
            (StateKind::Executing, Outcome::Landed) => {
                let dispatch = self.look(&it);
                self.change(id, Change::Landed(dispatch));
                if is(Mutant::ActBelieved) {
                    let lease_until = self.now + it.lease;
                    self.change(id, Change::PostCheckPassed { lease_until });
                }
            }
            (StateKind::Executing, Outcome::InDoubt(_)) if is(Mutant::InDoubtIsFailure) => {
                self.change(id, Change::ProbedAbsent);
            }
            (StateKind::Executing, Outcome::DidNotHappen(failure) | Outcome::InDoubt(failure)) => {
                self.unproved(&it, failure.clone());
            }
            (StateKind::InForce, Outcome::Landed) => self.check_renewal(&it, None),
            (StateKind::InForce, Outcome::InDoubt(failure)) => self.check_renewal(&it, Some(failure.clone())),
            (StateKind::InForce, Outcome::DidNotHappen(failure)) => self.renewal_failed(&it, failure.clone()),
            _ => self.change(id, Change::StaleReply { ticket }),
        }
    }

    /// The renewal of `it` was sent; only a look tells whether it took effect.
    pub(crate) fn check_renewal(&mut self, it: &Transaction, failure: Option<Failure>) {
        let dispatch = self.look(it);
        self.change(it.id, Change::RenewCheckStarted { failure, dispatch });
    }

    pub(crate) fn renewal_check_failed(&mut self, it: &Transaction, failure: &Failure) {
        if it.attempts < limits::OBSERVE_ATTEMPTS_MAX {
            let failure = failure.clone();
            let until = self.now + limits::POST_CHECK_PAUSE;
            self.change(it.id, Change::Postponed { failure, until });
        } else {
            let what = format!("the world cannot be looked at: {failure}");
            self.renewal_failed(it, Failure::new(failure.kind, &what));
        }
    }

    fn renewal_failed(&mut self, it: &Transaction, failure: Failure) {
        let text = format!(
            "the lease of {} on {} could not be renewed: {failure}",
            it.id, it.target
        );
        self.change(it.id, Change::RenewFailed(failure));
        self.notice(NoticeLevel::Warning, Some(it.incident), Some(it.id), &text);
    }

    pub(crate) fn unproved(&mut self, it: &Transaction, failure: Failure) {
        let dispatch = self.look(it);
        self.change(it.id, Change::Unproved { failure, dispatch });
    }

    /// A driver has tried to undo.
    pub(crate) fn on_undone(&mut self, id: TransactionId, ticket: u32, outcome: &Outcome) {
        let Some(it) = self.awaited(id, ticket) else { return };
        match (it.state.kind(), outcome) {
            (StateKind::RollingBack, Outcome::Landed) => {
                let settled_at = self.settled_at(&it);
                self.change(id, Change::UndoLanded { settled_at });
                if is(Mutant::NoProbe) {
                    self.change(id, Change::ProbedAbsent);
                }
            }
            (StateKind::Releasing, Outcome::Landed) => {
                let dispatch = self.look(&it);
                self.change(id, Change::Lifted(dispatch));
                if is(Mutant::UndoBelieved) {
                    self.change(id, Change::ReleaseVerified);
                }
            }
            (
                StateKind::RollingBack | StateKind::Releasing,
                Outcome::DidNotHappen(failure) | Outcome::InDoubt(failure),
            ) => self.retry_undo(&it, failure),
            _ => self.change(id, Change::StaleReply { ticket }),
        }
    }

    /// An undo or the look after it did not work: again later, or stuck.
    pub(crate) fn retry_undo(&mut self, it: &Transaction, failure: &Failure) {
        if it.attempts >= limits::UNDO_ATTEMPTS_MAX || is(Mutant::UndoOnce) {
            self.give_up(it, failure.clone());
            return;
        }
        let mut pause = limits::UNDO_PAUSE.times(1 << it.attempts.min(16));
        if !is(Mutant::PauseUnbounded) {
            pause = pause.min(limits::UNDO_PAUSE_MAX);
        }
        self.change(
            it.id,
            Change::Postponed {
                failure: failure.clone(),
                until: self.now + pause,
            },
        );
    }

    fn give_up(&mut self, it: &Transaction, last: Failure) {
        let text = format!(
            "{} on {} is stuck while {} after {} attempts: {last}. Look at the target, then run `staunch release {}`",
            it.kind,
            it.target,
            it.state.kind(),
            it.attempts,
            it.id
        );
        let reason = StuckReason {
            trying: it.state.kind(),
            attempts: it.attempts,
            last,
        };
        self.change(it.id, Change::GaveUp(Box::new(reason)));
        if is(Mutant::StuckSilently) {
            return;
        }
        self.notice(NoticeLevel::Page, Some(it.incident), Some(it.id), &text);
    }

    /// The transaction that waits for this reply; a stale reply is recorded and goes no further.
    fn awaited(&mut self, id: TransactionId, ticket: u32) -> Option<Transaction> {
        let it = self.state.transactions.get(&id)?;
        if expects(it, ticket) {
            return Some(it.clone());
        }
        self.change(id, Change::StaleReply { ticket });
        None
    }

    /// A notifier has tried to tell people.
    pub(crate) fn on_notified(&mut self, notice: NoticeId, result: &Result<(), Failure>) {
        let Some(pending) = self.state.notices.get(&notice) else {
            return;
        };
        match result {
            Ok(()) => self.put(Record::NoticeSent { notice }),
            // A second answer to the same attempt changes nothing.
            Err(_) if pending.retry_at.is_some() => {}
            Err(_) => {
                let attempts_max = if pending.notice.level == NoticeLevel::Page {
                    limits::PAGE_ATTEMPTS_MAX
                } else {
                    limits::NOTICE_ATTEMPTS_MAX
                };
                let again = pending.attempts < attempts_max && !is(Mutant::NoticeOnce);
                let pause = limits::NOTICE_PAUSE.times(1 << pending.attempts.min(16));
                let retry_at = again.then_some(self.now + pause.min(limits::NOTICE_PAUSE_MAX));
                self.put(Record::NoticeFailed { notice, retry_at });
            }
        }
    }
}

/// True while the renewal of `it` that is under way was sent and not answered; after that a look at the world is.
pub(crate) fn is_renewal_sent(it: &Transaction) -> bool {
    it.renewing().is_some() && it.attempts == 0
}
