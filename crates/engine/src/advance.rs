//! What is due: deadlines, the queue, incidents whose transactions have moved on, and the circuit breaker.

use std::sync::Arc;

use staunch_model::text::Sentence;
use staunch_model::{
    Await, Cause, Change, Failure, FailureKind, GuardName, Incident, IncidentId, IncidentOutcome, IncidentStatus,
    MatchedStep, NoticeId, NoticeLevel, OnFailure, Playbook, Record, RefusalReason, Span, State, StateKind, Timestamp,
    Transaction, TransactionId,
};

use crate::budget::Scope;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::react::is_renewal_sent;
use crate::state::Subject;
use crate::transaction::is_failure;
use crate::turn::Turn;

impl Turn<'_> {
    /// Does what is due, until nothing is or the turn is full.
    pub(crate) fn advance(&mut self) {
        loop {
            self.expire();
            self.open_breaker();
            if self.state.index.dirty.is_empty() && !self.start_next() {
                break;
            }
            // All of them before anything is forgotten: what one has planned, others may have joined.
            while let Some((incident, ())) = self.state.index.dirty.pop_first() {
                self.look_after(incident);
            }
        }
    }

    /// Everything whose deadline has passed, as far as there is room for it in this turn. Each leaves with a later
    /// deadline or none, so that what is left is the next turn's.
    fn expire(&mut self) {
        while let Some((at, subject)) = self.state.index.deadlines.first().filter(|(at, _)| *at <= self.now)
            && self.size() < limits::WORK_PER_TURN_MAX
        {
            match subject {
                Subject::Transaction(id) => {
                    let it = self.state.transactions[&id].clone();
                    self.on_deadline(&it);
                }
                Subject::Incident(incident) => self.put(Record::IncidentForgotten { incident }),
                Subject::Notice(notice) => self.on_notice_due(notice),
                Subject::Evidence(evidence) => self.on_evidence_due(evidence),
                Subject::Watch(incident, watch) => self.on_watch_due(incident, watch),
            }
            debug_assert_ne!(
                self.state.index.deadlines.first(),
                Some((at, subject)),
                "a deadline must be dealt with"
            );
        }
    }

    fn on_deadline(&mut self, it: &Transaction) {
        let late = || Failure::new(FailureKind::TimedOut, "no answer within the deadline");
        match (it.state.kind(), it.awaits) {
            (StateKind::Planned, _) => self.refuse(it.id, RefusalReason::QueueTimeout),
            (StateKind::AwaitingApproval, _) => self.refuse(it.id, RefusalReason::ApprovalExpired),
            (StateKind::PreChecking, Await::Reply) => self.pre_check_failed(it, &late()),
            (StateKind::Executing, _) => self.unproved(it, late()),
            (StateKind::PostChecking, Await::Reply) => self.post_check_failed(it, &late()),
            (StateKind::InForce, _) if it.renewing().is_none() || it.lease_until.is_none_or(|end| end <= self.now) => {
                self.start_release(it, Cause::LeaseEnded);
            }
            (StateKind::InForce, Await::Reply) if is_renewal_sent(it) => self.check_renewal(it, Some(late())),
            (StateKind::InForce, Await::Reply) => self.renewal_check_failed(it, &late()),
            (StateKind::Releasing | StateKind::RollingBack | StateKind::Settling, Await::Reply) => {
                self.retry_undo(it, &late());
            }
            (
                StateKind::PreChecking | StateKind::PostChecking | StateKind::InForce | StateKind::Settling,
                Await::Timer,
            ) => {
                let dispatch = self.look(it);
                self.change(it.id, Change::Resent(dispatch));
            }
            (StateKind::Releasing | StateKind::RollingBack, Await::Timer) => {
                let dispatch = if it.undone { self.look(it) } else { self.act(it) };
                self.change(it.id, Change::Resent(dispatch));
            }
            (
                StateKind::Refused
                | StateKind::Released
                | StateKind::RolledBack
                | StateKind::Stuck
                | StateKind::WouldExecute,
                _,
            ) => unreachable!("an ended transaction has no deadline"),
        }
    }

    /// Sends a notice again, or gives up its reply.
    fn on_notice_due(&mut self, notice: NoticeId) {
        if self.state.notices[&notice].retry_at.is_some() {
            self.put(Record::NoticeResent { notice });
        } else {
            let late = Failure::new(FailureKind::TimedOut, "no answer within the deadline");
            self.on_notified(notice, &Err(late));
        }
    }

    fn refuse(&mut self, id: TransactionId, reason: RefusalReason) {
        self.change(
            id,
            Change::Refused {
                reason: Box::new(reason),
                judgement: None,
            },
        );
    }

    /// Starts the first waiting transaction whose target is free, if there is room in flight.
    fn start_next(&mut self) -> bool {
        if self.state.index.in_flight >= self.state.limits().actions_in_flight_max && !is(Mutant::ConcurrencyIgnored) {
            return false;
        }
        while let Some(id) = self.state.index.candidates.first() {
            if self.can_start(id) {
                let dispatch = self.look(&self.state.transactions[&id]);
                self.change(id, Change::PreCheckStarted(dispatch));
                return true;
            }
            self.state.index.candidates.take(id);
        }
        debug_assert!(
            !self.state.index.queue.keys().any(|id| self.can_start(*id)),
            "what can start is a candidate"
        );
        false
    }

    /// True when nothing acts at the target of `id`, and what has to come before its act is there.
    fn can_start(&self, id: TransactionId) -> bool {
        if is(Mutant::QueueStops) && self.state.index.queue.first() != Some(&id) {
            return false;
        }
        let it = &self.state.transactions[&id];
        self.state.index.owns_target(it) && self.state.is_preserved(it) && !self.state.awaits_baseline(it)
    }

    /// Opens the circuit breaker when failures pile up.
    fn open_breaker(&mut self) {
        if self.state.breaker_open.is_some() || is(Mutant::BreakerShut) {
            return;
        }
        let limits = self.state.limits();
        let failures = self
            .state
            .budgets
            .spent(Scope::Failures, limits.breaker_window, self.now);
        if failures < u64::from(limits.breaker_failures) {
            return;
        }
        let failures = u32::try_from(failures).unwrap_or(u32::MAX);
        self.put(Record::BreakerOpened { failures });
        let text = format!(
            "{failures} failures in {}: everything only observes until a person runs `staunch mode`",
            limits.breaker_window
        );
        if !is(Mutant::BreakerSilently) {
            self.notice(NoticeLevel::Page, None, None, &text);
        }
    }

    /// Looks after an incident whose transactions have changed: siblings of a failure, the outcome, and its end.
    fn look_after(&mut self, id: IncidentId) {
        // One that has let go of what it contained is closed, and what it watches may still come into force.
        if !self.state.watches.is_empty() {
            self.look_after_watches(id);
        }
        if !self.state.recoveries.is_empty() && self.open_incident(id).is_some() {
            self.look_after_recovery(id);
        }
        let Some(incident) = self.open_incident(id) else {
            return;
        };
        if self.is_under_way(incident) {
            debug_assert!(
                matches!(self.follows(incident), Follows::Nothing),
                "what is under way is waited for"
            );
            return;
        }
        match self.follows(incident) {
            Follows::Step(playbook, step) => self.plan_step(id, &playbook, &step),
            Follows::Refusal(it) => self.refuse(it, RefusalReason::Abandoned),
            Follows::RollBack(it, failed) => self.roll_back(&it, Cause::Sibling(failed)),
            Follows::News { news, end } => {
                if let Some((outcome, text)) = news {
                    self.tell_outcome(id, outcome, text.as_deref());
                }
                if let Some(absorbs_until) = end {
                    self.put(Record::IncidentClosed {
                        incident: id,
                        absorbs_until,
                    });
                }
            }
            Follows::Nothing => {}
        }
    }

    fn open_incident(&self, id: IncidentId) -> Option<&Incident> {
        let incident = self.state.incidents.get(&id)?;
        (incident.status != IncidentStatus::Closed).then_some(incident)
    }

    /// True when it is quickly seen that nothing follows: something of `incident` is under way, nothing has failed, and
    /// nothing is judged anew. So it is for most changes of a transaction.
    fn is_under_way(&self, incident: &Incident) -> bool {
        let kept = |id| self.state.transactions.get(id);
        let waits = |it: &Transaction| {
            let under_way = matches!(stands(it.state.kind()), Stands::UnderWay);
            under_way && it.is_held_by(incident.id) && !self.state.is_recovering(it)
        };
        let is_newest = |it: &Transaction| {
            let newer = incident.transactions.iter().filter(|other| **other > it.id);
            !newer.filter_map(kept).any(|other| is_newer_at_place(other, it))
        };
        let mut under_way = false;
        // What was planned last is the newest of its place, and mostly under way as long as anything is.
        for it in incident.transactions.iter().rev().filter_map(kept) {
            if has_failed(it) || (it.incident != incident.id && another_may_act(it)) {
                return false;
            }
            under_way = under_way || (waits(it) && is_newest(it));
        }
        under_way
    }

    /// What follows from how the transactions of `incident` stand. All of it is decided before anything is changed:
    /// what is told and whether it is closed depend on the transactions as they stand.
    fn follows(&self, incident: &Incident) -> Follows {
        let mut transactions = self.transactions_of(incident);
        if let Some((playbook, step)) = self.planned_anew(incident, &transactions) {
            return Follows::Step(playbook, step);
        }
        self.keep_what_speaks(incident, &mut transactions);
        if let Some(follows) = self.sibling_to_undo(incident, &transactions) {
            return follows;
        }
        match (self.news(incident, &transactions), self.end_of(incident, &transactions)) {
            (None, None) => Follows::Nothing,
            (news, end) => Follows::News { news, end },
        }
    }

    fn transactions_of(&self, incident: &Incident) -> Vec<&Transaction> {
        let mut transactions = Vec::with_capacity(incident.transactions.len());
        let kept = |id| self.state.transactions.get(id);
        transactions.extend(incident.transactions.iter().filter_map(kept));
        transactions
    }

    /// Drops those of `transactions` that say nothing about the contain phase of `incident`.
    fn keep_what_speaks(&self, incident: &Incident, transactions: &mut Vec<&Transaction>) {
        // What gets back to normal contains nothing, and its failure undoes nothing.
        transactions.retain(|it| it.incident != incident.id || !self.state.is_recovering(it));
        leave_out_judged_anew(transactions);
    }

    /// The step that has failed of the only incident that holds `it`, so that `it` must not act: it would be undone at
    /// once, or could not be.
    pub(crate) fn failed_beside(&self, it: &Transaction) -> Option<TransactionId> {
        let incident = self.state.incidents.get(&it.only_holder()?)?;
        let mut transactions = self.transactions_of(incident);
        self.keep_what_speaks(incident, &mut transactions);
        // What gets back to normal, and what a newer one stands for, has no siblings.
        let speaks = transactions.iter().any(|other| other.id == it.id);
        let failed = self.failed_of(incident, &transactions);
        failed.filter(|_| speaks && !is(Mutant::SentInVain))
    }

    /// The step of `incident` that has failed so that the others have to go; `None` when its playbook keeps them.
    fn failed_of(&self, incident: &Incident, transactions: &[&Transaction]) -> Option<TransactionId> {
        let failed = transactions.iter().find(|it| has_failed(it))?.id;
        let playbook = self.state.playbooks.get(&*incident.playbook)?;
        (playbook.on_failure != OnFailure::Keep && !is(Mutant::SiblingsKept)).then_some(failed)
    }

    /// A step that joined another incident's transaction which then did not act is judged by its own playbook: one
    /// that only observes, or refuses for a reason of its own, does not stop another from containing.
    ///
    /// When something is planned, the incident is then looked at again.
    fn planned_anew(&self, incident: &Incident, transactions: &[&Transaction]) -> Option<(Arc<Playbook>, MatchedStep)> {
        let it = transactions.iter().find(|it| {
            it.incident != incident.id
                && it.is_held_by(incident.id)
                && another_may_act(it)
                && !is_judged_anew(it, transactions)
        })?;
        let playbook = self.state.playbooks.get(&*incident.playbook)?;
        let (_, step) = incident.joined_steps.iter().find(|(joined, _)| *joined == it.id)?;
        if playbook.steps.get(usize::from(*step)).map(|step| step.action) != Some(it.kind) {
            return None;
        }
        let step = MatchedStep {
            step: *step,
            target: Some(it.target.clone()),
        };
        Some((playbook.clone(), step))
    }

    /// When one step has failed, the others are undone in reverse order of completion, one after the other.
    ///
    /// When something is done, the incident is then looked at again.
    fn sibling_to_undo(&self, incident: &Incident, transactions: &[&Transaction]) -> Option<Follows> {
        let failed = self.failed_of(incident, transactions)?;
        let waits = |it: &&&Transaction| {
            matches!(
                it.state.kind(),
                StateKind::Planned | StateKind::PreChecking | StateKind::AwaitingApproval
            ) && it.held_only_by(incident.id)
                && !(is(Mutant::QuestionKept) && it.state.kind() == StateKind::AwaitingApproval)
        };
        if let Some(it) = transactions.iter().find(waits) {
            return Some(Follows::Refusal(it.id));
        }
        let busy = transactions.iter().any(|it| {
            matches!(
                it.state.kind(),
                StateKind::RollingBack | StateKind::Settling | StateKind::Releasing
            )
        });
        let last = transactions
            .iter()
            .filter(|it| it.state.kind() == StateKind::InForce && it.held_only_by(incident.id))
            .filter(|it| !self.state.is_for_good(it))
            .max_by_key(|it| {
                if is(Mutant::RollbackOrder) {
                    u64::MAX - it.completed
                } else {
                    it.completed
                }
            });
        match last {
            Some(it) if !busy => {
                let because = if is(Mutant::SiblingMistaken) { it.id } else { failed };
                Some(Follows::RollBack(Box::new(Transaction::clone(it)), because))
            }
            _ => None,
        }
    }

    /// How the incident stands, when its contain phase has settled and that is news; and what people are told of it,
    /// when the playbook says that they are.
    fn news(&self, incident: &Incident, transactions: &[&Transaction]) -> Option<(IncidentOutcome, Option<Box<str>>)> {
        // What becomes of one that it has let go of is the concern of those who hold it.
        let held = |it: &&Transaction| it.is_held_by(incident.id) || is(Mutant::LetGoCounts);
        let held = transactions.iter().copied().filter(held);
        let outcome = if transactions.is_empty() && !self.has_forgotten(incident) {
            // None of its steps has a target, so that it is refused as a whole.
            Some(IncidentOutcome::Refused)
        } else {
            outcome(held.clone())
        };
        let outcome = outcome.filter(|outcome| incident.outcome != Some(*outcome))?;
        if is(Mutant::OutcomeOnce) && incident.outcome.is_some() {
            return None;
        }
        let playbook = self.state.playbooks.get(&*incident.playbook);
        let tells = |playbook: &&Arc<Playbook>| playbook.notify.iter().any(|step| step.when.contains(&outcome));
        let text = playbook.filter(tells).map(|playbook| {
            let mut text = Sentence::new();
            text.show(incident.id).text(" (").text(&playbook.name).text(", ");
            text.show(staunch_model::Printable(&incident.key));
            text.text("): ").text(outcome.name());
            if let Some(reason) = first_reason(held) {
                text.text(": ").text(&reason);
            }
            text.boxed()
        });
        Some((outcome, text))
    }

    /// Whether something that `incident` has joined is forgotten: it has ended, and so has who planned it.
    fn has_forgotten(&self, incident: &Incident) -> bool {
        let is_kept = |id| self.state.transactions.contains_key(id);
        !incident.transactions.iter().all(is_kept)
    }

    /// Takes note of how the incident stands, and tells people when there is a `text` for them.
    fn tell_outcome(&mut self, id: IncidentId, outcome: IncidentOutcome, text: Option<&str>) {
        self.put(Record::OutcomeReached { incident: id, outcome });
        if let Some(text) = text {
            let level = match outcome {
                IncidentOutcome::Stuck | IncidentOutcome::AwaitingApproval | IncidentOutcome::RolledBack => {
                    NoticeLevel::Page
                }
                IncidentOutcome::Refused => NoticeLevel::Warning,
                IncidentOutcome::Contained | IncidentOutcome::WouldContain => NoticeLevel::Info,
            };
            self.notice(level, Some(id), None, text);
        }
    }

    /// An incident is closed when all its transactions have ended: this is until when further events still join it. An
    /// incident that did not contain must not shield its attacker: only what a person said holds for the whole time.
    fn end_of(&self, incident: &Incident, transactions: &[&Transaction]) -> Option<Timestamp> {
        let ended = |it: &Transaction| it.state.kind().is_terminal() && it.state.kind() != StateKind::Stuck;
        // One that was let go of is no longer this incident's concern.
        if !transactions.iter().all(|it| ended(it) || !it.is_held_by(incident.id))
            || !(self.state.is_collected(incident.id) || is(Mutant::ClosedEarly))
            || !self.state.has_left_recovery(incident.id)
        {
            return None;
        }
        let end = incident.absorbs_until.max(self.now);
        // What has hurt would hurt again, whatever became of the others.
        if transactions.iter().copied().any(has_hurt) && !is(Mutant::HurtsAtOnce) {
            let playbook = self.state.playbooks.get(&*incident.playbook);
            let pause = playbook.map_or(limits::REJUDGE_PAUSE, |it| it.deduplicate);
            return Some(end.max(self.now + pause));
        }
        // What it had joined and is forgotten with those who planned it was lifted.
        let lifted = self.has_forgotten(incident).then_some(end.min(self.now));
        let absorbs_until = transactions
            .iter()
            .map(|it| match rejudged_after(it) {
                Some(_) if is(Mutant::AttackerShielded) => end,
                Some(pause) => end.min(self.now + pause),
                None => end,
            })
            .chain(lifted)
            .min();
        Some(absorbs_until.unwrap_or(end))
    }
}

/// What follows from how the transactions of an incident stand.
enum Follows {
    /// A step is planned that had joined what then did not act.
    Step(Arc<Playbook>, MatchedStep),
    /// One does not act, because another step has failed.
    Refusal(TransactionId),
    /// One is undone, because of this other one, which has failed.
    RollBack(Box<Transaction>, TransactionId),
    /// People are told, or the incident is closed and absorbs events until then, or both.
    News {
        news: Option<(IncidentOutcome, Option<Box<str>>)>,
        end: Option<Timestamp>,
    },
    /// There is nothing to do.
    Nothing,
}

/// Drops those that say nothing about the incident any more.
fn leave_out_judged_anew(transactions: &mut Vec<&Transaction>) {
    if transactions.iter().any(|it| is_judged_anew(it, transactions)) {
        let all = transactions.clone();
        transactions.retain(|it| !is_judged_anew(it, &all));
    }
}

/// True when `it` is or was lifted because it hurt.
pub(crate) fn has_hurt(it: &Transaction) -> bool {
    let (State::Releasing(cause) | State::Released(cause)) = &it.state else {
        return false;
    };
    matches!(**cause, Cause::Hurts { .. })
}

/// How long after `it` ended an event of the same key is judged anew; `None` for the playbook's whole time.
pub(crate) fn rejudged_after(it: &Transaction) -> Option<Span> {
    match &it.state {
        State::Released(cause) | State::RolledBack(cause) => match &**cause {
            // The containment has run its course, or was taken away.
            Cause::LeaseEnded | Cause::Vanished { .. } | Cause::Orphan => Some(Span::ZERO),
            Cause::ExecuteFailed(_) | Cause::PostCheckFailed { .. } | Cause::Sibling(_) => Some(limits::REJUDGE_PAUSE),
            // It would hurt again.
            Cause::Operator { .. } | Cause::Hurts { .. } => None,
        },
        State::Refused(reason) => match &**reason {
            // An old event says nothing about a new one.
            RefusalReason::Guard { guard, .. } if *guard == GuardName::Freshness => Some(Span::ZERO),
            RefusalReason::Guard { .. }
            | RefusalReason::CheckFailed(_)
            | RefusalReason::ApprovalExpired
            | RefusalReason::QueueTimeout
            | RefusalReason::Abandoned => Some(limits::REJUDGE_PAUSE),
            RefusalReason::NoTarget | RefusalReason::Denied { .. } | RefusalReason::Cancelled { .. } => None,
        },
        _ => None,
    }
}

/// True when `it` ended without acting, for a reason that need not hold for another playbook.
fn another_may_act(it: &Transaction) -> bool {
    match &it.state {
        State::WouldExecute => true,
        State::Refused(reason) => matches!(**reason, RefusalReason::Guard { .. } | RefusalReason::ApprovalExpired),
        _ => false,
    }
}

/// True when a newer one of `transactions` is where `it` is: then `it` says nothing about the incident any more.
fn is_judged_anew(it: &Transaction, transactions: &[&Transaction]) -> bool {
    transactions.iter().any(|other| is_newer_at_place(other, it))
}

fn is_newer_at_place(other: &Transaction, it: &Transaction) -> bool {
    other.id > it.id && (other.kind, &other.target) == (it.kind, &it.target)
}

/// True when `it` failed, so that its siblings are to be undone.
fn has_failed(it: &Transaction) -> bool {
    match &it.state {
        State::Stuck(reason) if is(Mutant::StuckReleaseFails) => reason.trying.is_undo(),
        State::Stuck(reason) => matches!(reason.trying, StateKind::RollingBack | StateKind::Settling),
        State::RollingBack(cause) | State::Settling(cause) | State::RolledBack(cause) => is_failure(cause),
        State::Refused(_) => is(Mutant::RefusalIsFailure),
        _ => false,
    }
}

/// What one transaction says of its incident.
enum Stands {
    UnderWay,
    /// Nothing: what was lifted is past.
    Lifted,
    At(IncidentOutcome),
}

const fn stands(kind: StateKind) -> Stands {
    match kind {
        StateKind::InForce => Stands::At(IncidentOutcome::Contained),
        StateKind::WouldExecute => Stands::At(IncidentOutcome::WouldContain),
        StateKind::AwaitingApproval => Stands::At(IncidentOutcome::AwaitingApproval),
        StateKind::Refused => Stands::At(IncidentOutcome::Refused),
        StateKind::RolledBack => Stands::At(IncidentOutcome::RolledBack),
        StateKind::Stuck => Stands::At(IncidentOutcome::Stuck),
        StateKind::Released => Stands::Lifted,
        StateKind::Planned
        | StateKind::PreChecking
        | StateKind::Executing
        | StateKind::PostChecking
        | StateKind::Releasing
        | StateKind::RollingBack
        | StateKind::Settling => Stands::UnderWay,
    }
}

/// How the transactions stand together; `None` while one of them is under way, and when all were lifted.
fn outcome<'a>(transactions: impl Iterator<Item = &'a Transaction>) -> Option<IncidentOutcome> {
    let mut worst = None;
    for it in transactions {
        match stands(it.state.kind()) {
            Stands::UnderWay => return None,
            Stands::Lifted => {}
            Stands::At(one) if is(Mutant::BestTold) => worst = worst.min(Some(one)).or(Some(one)),
            Stands::At(one) => worst = worst.max(Some(one)),
        }
    }
    worst
}

/// Why the first transaction that did not come into force did not.
fn first_reason<'a>(transactions: impl Iterator<Item = &'a Transaction>) -> Option<String> {
    let mut transactions = transactions.peekable();
    if transactions.peek().is_none() {
        return Some(RefusalReason::NoTarget.to_string());
    }
    transactions.find_map(reason)
}

/// Why `it` is where it is, for people; `None` when the state says it all.
#[must_use]
pub fn reason(it: &Transaction) -> Option<String> {
    match &it.state {
        State::Refused(reason) => Some(reason.to_string()),
        State::Stuck(stuck) => Some(stuck.to_string()),
        State::RollingBack(cause)
        | State::Settling(cause)
        | State::RolledBack(cause)
        | State::Releasing(cause)
        | State::Released(cause) => Some(cause.to_string()),
        _ => None,
    }
}
