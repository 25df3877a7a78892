//! What an input means: the replies of drivers, events and findings. What operators ask for is in `command.rs`.

use staunch_model::{
    Cause, Change, Event, Failure, FailureKind, IncidentId, IncidentStatus, Match, MatchedStep, NoticeId, NoticeLevel,
    Observation, Outcome, Owner, Phase, Playbook, Presence, Record, RefusalReason, Span, StateKind, Step, StuckReason,
    SweepFindings, Target, Timestamp, Transaction, TransactionId, WatchOver,
};

use crate::guard::{self, Question, Ruling};
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::repeat::{self, Served};
use crate::state::expects;
use crate::transaction::can_be_held;
use crate::turn::Turn;

impl Turn<'_> {
    /// An event matched `matched`: it joins the open incident of its key or opens a new one.
    /// Takes what an event matched, and returns the incident that it opened or joined.
    pub(crate) fn on_match(&mut self, event: &Event, matched: &Match) -> Option<IncidentId> {
        let playbook = self.state.playbooks.get(&matched.playbook).cloned()?;
        if let Some(incident) = self.absorbing(matched) {
            self.put(Record::EventJoined { incident });
            return Some(incident);
        }
        if self.state.incidents.len() >= limits::INCIDENTS_MAX {
            return None;
        }
        let incident = IncidentId(self.state.last_incident + 1);
        self.put(Record::IncidentOpened {
            incident,
            playbook: matched.playbook,
            key: matched.key.clone(),
            event_time: event
                .time
                .map(|time| guard::on_our_clock(time, event.received, self.now)),
            absorbs_until: self.now + playbook.deduplicate,
        });
        for step in matched.preserve.iter().take(limits::EVIDENCE_PER_PLAYBOOK_MAX) {
            self.plan_evidence(incident, &playbook, step);
        }
        self.tell_missed(incident);
        let contains = |it: &&MatchedStep| {
            let step = playbook.steps.get(usize::from(it.step));
            step.is_none_or(|step| step.phase != Phase::Recover)
        };
        for step in matched
            .steps
            .iter()
            .filter(contains)
            .take(limits::STEPS_PER_PLAYBOOK_MAX)
        {
            self.plan_step(incident, &playbook, step);
        }
        self.plan_recovery(incident, &playbook, matched);
        Some(incident)
    }

    /// The incident that takes up a further event of this key.
    fn absorbing(&self, matched: &Match) -> Option<IncidentId> {
        let incident = self.state.newest_of(matched.playbook, &matched.key)?;
        (incident.status == IncidentStatus::Open || self.now < incident.absorbs_until).then_some(incident.id)
    }

    /// Plans a step, unless its incident joins what is there already.
    pub(crate) fn plan_step(&mut self, incident: IncidentId, playbook: &Playbook, matched: &MatchedStep) {
        let Some((step, target)) = self.aimed(incident, playbook, matched) else {
            return;
        };
        let at_place = self.state.holder_of(step.action, target).into_iter();
        let holder = at_place
            .chain(self.state.index.waiting_for(step.action, target))
            .find(|id| self.can_join(*id));
        if let Some(holder) = holder {
            // Also when it is held already: the steps of a match are told apart by counting their records.
            self.change(holder, Change::Joined(incident));
            return;
        }
        let transaction = self.plan(incident, playbook, matched.step, step, target);
        if let Some(watch) = playbook.watch_of(matched.step) {
            self.plan_watch(incident, WatchOver::Containment(transaction), watch.clone());
        }
    }

    /// Plans a step as a transaction of its own: it waits until what is there has ended. `None` when there is nothing that
    /// it could be aimed at.
    pub(crate) fn plan_apart(
        &mut self,
        incident: IncidentId,
        playbook: &Playbook,
        matched: &MatchedStep,
    ) -> Option<TransactionId> {
        let (step, target) = self.aimed(incident, playbook, matched)?;
        Some(self.plan(incident, playbook, matched.step, step, target))
    }

    /// The step that was matched, and what it is aimed at. A driver is never given what it cannot act on.
    fn aimed<'p>(
        &mut self,
        incident: IncidentId,
        playbook: &'p Playbook,
        matched: &'p MatchedStep,
    ) -> Option<(&'p Step, &'p Target)> {
        let step = playbook.steps.get(usize::from(matched.step))?;
        let target = matched.target.as_ref().filter(|it| it.aim() == step.action.aims_at());
        if target.is_none() {
            self.put(Record::StepWithoutTarget {
                incident,
                step: matched.step,
            });
        }
        Some((step, target?))
    }

    fn plan(
        &mut self,
        incident: IncidentId,
        playbook: &Playbook,
        at: u16,
        step: &Step,
        target: &Target,
    ) -> TransactionId {
        let transaction = TransactionId(self.state.last_transaction + 1);
        let key = staunch_model::EffectKey::new(self.state.installation, incident, playbook.hash, transaction);
        let (lease, served) = repeat::lease(self.state, playbook, at, target, self.now).unwrap_or((step.lease, None));
        self.put(Record::TransactionPlanned {
            transaction,
            incident,
            step: at,
            kind: step.action,
            target: target.clone(),
            lease,
            key,
            deadline: self.now + limits::QUEUE_WAIT_MAX,
        });
        if let Some(Served { times, ended, .. }) = served {
            self.put(Record::CameBack {
                transaction,
                times,
                ended,
            });
        }
        transaction
    }

    fn can_join(&self, id: TransactionId) -> bool {
        self.state
            .transactions
            .get(&id)
            .is_some_and(|it| can_be_held(it.state.kind()))
            && !self.state.quarantined.contains_key(&id)
    }

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

    fn judge_pre_check(&mut self, it: &Transaction, seen: &Observation, facts: &staunch_model::Facts) {
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
                self.change(it.id, Change::ApprovalRequested { expires, judgement });
            }
            Ruling::Act => {
                let dispatch = self.act(it);
                let hold = it.lease + limits::HOLD_MARGIN;
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

    pub(crate) fn pre_check_failed(&mut self, it: &Transaction, failure: &Failure) {
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

    fn judge_post_check(&mut self, it: &Transaction, seen: &Observation) {
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
            let lease_until = self.now + lease;
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
                if retryable && again && seen.presence == Presence::Absent {
                    self.execute_again(it, seen, failure);
                } else {
                    self.roll_back(it, Cause::ExecuteFailed(failure));
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

    fn judge_renewal(&mut self, it: &Transaction, seen: &Observation) {
        let until = it.renewing().unwrap_or(self.now);
        let Some(found) = missing(it, seen, until.since(self.now)) else {
            // As after an act: what ends by itself a little early has its lease end with it.
            let lease_until = match seen.presence {
                Presence::Present {
                    expires_in: Some(left), ..
                } => until.min(self.now + left),
                _ => until,
            };
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

    /// How often an act that the driver reported is looked for: a remote one may need time to show, a local one has
    /// none.
    fn post_checks_max(&self, it: &Transaction) -> u16 {
        match self.state.driver(it.kind) {
            Some(driver) if driver.local => 1,
            _ => limits::POST_CHECK_ATTEMPTS_REMOTE_MAX,
        }
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
        if it.attempts >= limits::UNDO_ATTEMPTS_MAX {
            self.give_up(it, failure.clone());
            return;
        }
        let pause = limits::UNDO_PAUSE
            .times(1 << it.attempts.min(16))
            .min(limits::UNDO_PAUSE_MAX);
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
                let again = pending.attempts < limits::NOTICE_ATTEMPTS_MAX;
                let pause = limits::NOTICE_PAUSE.times(1 << pending.attempts.min(16));
                let retry_at = again.then_some(self.now + pause);
                self.put(Record::NoticeFailed { notice, retry_at });
            }
        }
    }

    /// The drift sweep has compared the world with the state.
    pub(crate) fn on_swept(&mut self, findings: &SweepFindings) {
        if !findings.swept.is_empty() {
            self.put(Record::SweepDone {
                kinds: findings.swept.clone(),
            });
        }
        for (kind, failure) in &findings.failed {
            let known = self.state.sweep_failed.contains_key(kind);
            self.put(Record::SweepFailed {
                kind: *kind,
                failure: failure.clone(),
            });
            if !known {
                let text = format!("containments of {kind} cannot be verified: {failure}");
                self.notice(NoticeLevel::Page, None, None, &text);
            }
        }
        let mut vanished = Vec::new();
        for (id, found) in findings.vanished.iter().filter(|_| !is(Mutant::SweepBlind)) {
            let Some(it) = self
                .state
                .transactions
                .get(id)
                .filter(|it| it.state.kind() == StateKind::InForce)
            else {
                continue;
            };
            let it = it.clone();
            vanished.push(format!("{} ({}: {found})", it.target, it.id));
            self.roll_back(&it, Cause::Vanished { found: found.clone() });
        }
        if !vanished.is_empty() {
            let text = format!(
                "{} containment(s) in force were removed or replaced by somebody else: {}",
                vanished.len(),
                list(&vanished)
            );
            self.notice(NoticeLevel::Page, None, None, &text);
        }
        let mut orphans = Vec::new();
        for (label, kind, target) in findings.orphans.iter().filter(|_| !is(Mutant::OrphansLeft)) {
            if self.state.holder_of(*kind, target).is_some() {
                continue;
            }
            let transaction = TransactionId(self.state.last_transaction + 1);
            let deadline = self.now + self.in_flight_max(*kind) + limits::ACT_DEADLINE_MARGIN;
            let dispatch = staunch_model::Dispatch { ticket: 1, deadline };
            orphans.push(format!("{target} ({label})"));
            self.put(Record::OrphanAdopted {
                transaction,
                label: *label,
                kind: *kind,
                target: target.clone(),
                dispatch,
            });
        }
        if !orphans.is_empty() {
            let text = format!(
                "{} object(s) of ours without a transaction were found and are being removed: {}",
                orphans.len(),
                list(&orphans)
            );
            self.notice(NoticeLevel::Warning, None, None, &text);
        }
    }
}

/// True when what is in place carries the label of `it`.
fn is_ours(it: &Transaction, seen: &Observation) -> bool {
    matches!(seen.presence, Presence::Present { owner: Owner::Ours(label), .. } if label == it.label())
}

/// True while the renewal of `it` that is under way was sent and not answered; after that a look at the world is.
pub(crate) fn is_renewal_sent(it: &Transaction) -> bool {
    it.renewing().is_some() && it.attempts == 0
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
        } if *left + limits::HOLD_TOLERANCE < lease => {
            Some(format!("it ends by itself in {left}, before the lease of {lease}"))
        }
        Presence::Present { .. } => None,
    }
}

/// The first few of `items`, and how many more there are.
pub(crate) fn list(items: &[String]) -> String {
    let shown = items
        .iter()
        .take(limits::NAMED_IN_NOTICE_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match items.len().saturating_sub(limits::NAMED_IN_NOTICE_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
