//! What a look at the world means: before an act, after it, and after a renewal.
//!
//! Never believes a driver: an act is in force when the world shows it, enforced and for long enough.

use staunch_model::{
    Cause, Change, Failure, FailureKind, Observation, Owner, Presence, RefusalReason, Span, Timestamp, Transaction,
};

use crate::guard::{self, Question, Ruling};
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::turn::Turn;

impl Turn<'_> {
    pub(super) fn judge_pre_check(&mut self, it: &Transaction, seen: &Observation, facts: &staunch_model::Facts) {
        let Some(question) = self.question(it) else { return };
        let judgement = Box::new(guard::judge(self.state, &question, Some(seen), facts, self.now));
        match guard::rule(&judgement, it.approved_by().is_some()) {
            Ruling::Refuse(result) => {
                let reason = Box::new(RefusalReason::Guard {
                    guard: result.guard,
                    why: result.why,
                });
                self.change(
                    it.id,
                    Change::Refused {
                        reason,
                        judgement: Some(judgement),
                    },
                );
            }
            Ruling::Observe => self.change(it.id, Change::WouldExecute { judgement }),
            Ruling::Ask => {
                let expires = self.now + self.state.limits().approval_expiry;
                let expires = stretched(Mutant::QuestionStretched, expires);
                self.change(it.id, Change::ApprovalRequested { expires, judgement });
            }
            Ruling::Act => {
                let dispatch = self.act(it);
                let mut hold = it.lease + limits::HOLD_MARGIN;
                if is(Mutant::HoldStretched) {
                    hold = hold + Span::from_hours(1);
                }
                let change = Change::ExecuteIntended {
                    dispatch,
                    version: seen.version,
                    hold,
                    judgement: Some(judgement),
                };
                self.change(it.id, change);
            }
        }
    }

    fn question(&self, it: &Transaction) -> Option<Question> {
        let incident = self.state.incidents.get(&it.incident);
        let recovery = self.state.recoveries.get(&it.incident);
        let decided = recovery.and_then(|recovery| recovery.decided(it.id));
        Some(Question {
            playbook: self.state.playbook_of(it)?.clone(),
            transaction: Some(it.id),
            kind: it.kind,
            target: it.target.clone(),
            // What a recovery decides is as fresh as its decision.
            event_time: decided.or_else(|| incident.and_then(|it| it.event_time)),
            arrived: it
                .approved_by()
                .and_then(|_| decided.or_else(|| incident.map(|it| it.opened))),
            debited: it.executions > 0,
            standing: None,
            found: None,
            around: None,
        })
    }

    pub(super) fn judge_post_check(&mut self, it: &Transaction, seen: &Observation) {
        if is(Mutant::NeverTouchAfter) && self.protection(&it.target).is_some() {
            let found = "it is protected".into();
            self.roll_back(it, Cause::PostCheckFailed { found });
            return;
        }
        let Some(found) = missing(it, seen, it.lease) else {
            // What ends by itself a little early has its lease end with it.
            let lease = match seen.presence {
                Presence::Present {
                    expires_in: Some(left), ..
                } => it.lease.min(left),
                _ => it.lease,
            };
            let lease_until = stretched(Mutant::LeaseStretched, self.now + lease);
            self.change(it.id, Change::PostCheckPassed { lease_until });
            return;
        };
        match it.failure().cloned() {
            // The driver reported success.
            None => {
                if it.attempts < self.post_checks_max(it) {
                    let failure = Failure::new(FailureKind::Conflict, &found);
                    let until = self.now + limits::POST_CHECK_PAUSE;
                    self.change(it.id, Change::Postponed { failure, until });
                } else {
                    self.roll_back(it, Cause::PostCheckFailed { found: found.into() });
                }
            }
            Some(failure) => {
                let retryable = matches!(
                    failure.kind,
                    FailureKind::Unavailable | FailureKind::Conflict | FailureKind::TimedOut | FailureKind::Interrupted
                );
                let again = it.executions < limits::EXECUTE_ATTEMPTS_MAX || is(Mutant::ExecuteForEver);
                let again = again && !is(Mutant::ExecuteOnce);
                if !retryable || !again || seen.presence != Presence::Absent {
                    self.roll_back(it, Cause::ExecuteFailed(failure));
                } else if let Some(failed) = self.failed_beside(it) {
                    self.roll_back(it, Cause::Sibling(failed));
                } else {
                    self.execute_again(it, seen, failure);
                }
            }
        }
    }

    /// Sends the act once more, if the guards still agree with the world as it is found.
    fn execute_again(&mut self, it: &Transaction, seen: &Observation, failure: Failure) {
        let Some(question) = self.question(it) else { return };
        let touch = guard::judge(self.state, &question, Some(seen), &Default::default(), self.now);
        let refused = touch.guards.iter().find(|result| {
            result.verdict == staunch_model::Verdict::Refused && result.guard != staunch_model::GuardName::Impact
        });
        if refused.is_some() || touch.mode == staunch_model::Mode::Observe {
            self.roll_back(it, Cause::ExecuteFailed(failure));
            return;
        }
        let dispatch = self.act(it);
        let hold = it.lease + limits::HOLD_MARGIN;
        self.change(
            it.id,
            Change::ExecuteIntended {
                dispatch,
                version: seen.version,
                hold,
                judgement: None,
            },
        );
    }

    pub(super) fn judge_renewal(&mut self, it: &Transaction, seen: &Observation) {
        let until = it.renewing().unwrap_or(self.now);
        let Some(found) = missing(it, seen, until.since(self.now)) else {
            // As after an act: what ends by itself a little early has its lease end with it.
            let lease_until = match seen.presence {
                Presence::Present {
                    expires_in: Some(left), ..
                } => until.min(self.now + left),
                _ => until,
            };
            let lease_until = stretched(Mutant::RenewalStretched, lease_until);
            self.change(it.id, Change::Renewed { lease_until });
            return;
        };
        match it.failure() {
            None if it.attempts < self.post_checks_max(it) => {
                let failure = Failure::new(FailureKind::Conflict, &found);
                let until = self.now + limits::POST_CHECK_PAUSE;
                self.change(it.id, Change::Postponed { failure, until });
            }
            None => self.renewal_failed(it, Failure::new(FailureKind::Conflict, &found)),
            Some(failure) => {
                let failure = Failure::new(failure.kind, &format!("{failure}; by a look, {found}"));
                self.renewal_failed(it, failure);
            }
        }
    }

    /// How often an act that the driver reported is looked for: a remote one may need time to show, a local one has
    /// none.
    fn post_checks_max(&self, it: &Transaction) -> u16 {
        match self.state.driver(it.kind) {
            Some(driver) if driver.local || is(Mutant::MissedAtOnce) => 1,
            _ => limits::POST_CHECK_ATTEMPTS_REMOTE_MAX,
        }
    }
}

/// True when what is in place carries the label of `it`.
pub(super) fn is_ours(it: &Transaction, seen: &Observation) -> bool {
    matches!(seen.presence, Presence::Present { owner: Owner::Ours(label), .. } if label == it.label())
}

/// What keeps `it` from being in force for `lease` in the world as it was seen; `None` when nothing does.
fn missing(it: &Transaction, seen: &Observation, lease: Span) -> Option<String> {
    match &seen.presence {
        Presence::Absent => Some("nothing is in place".to_owned()),
        Presence::Present {
            owner: Owner::Foreign(_),
            ..
        } if is(Mutant::ForeignAccepted) => None,
        Presence::Present {
            owner: Owner::Foreign(label),
            ..
        } => Some(format!(
            "somebody else's object is in place ({})",
            staunch_model::Printable(label)
        )),
        Presence::Present {
            owner: Owner::Ours(label),
            ..
        } if *label != it.label() => Some(format!("an object of {label} is in place")),
        Presence::Present { .. } if !seen.enforcing && !is(Mutant::EnforcingIgnored) => {
            Some("it is in place, but the rules that enforce it are not".to_owned())
        }
        Presence::Present {
            expires_in: Some(left), ..
        } if *left + limits::HOLD_TOLERANCE < lease || is(Mutant::FoundIsMissing) => {
            Some(format!("it ends by itself in {left}, before the lease of {lease}"))
        }
        Presence::Present { .. } => None,
    }
}

/// When a lease or a question ends, unless `mutant` has it end later.
fn stretched(mutant: Mutant, until: Timestamp) -> Timestamp {
    if is(mutant) { until + Span::from_hours(1) } else { until }
}
