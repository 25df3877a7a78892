//! That what does not act is refused, only observed or given up for a reason that holds: containment that stays out is
//! a failure too.
//!
//! Never says what must not act: see `acts.rs`.

use staunch_model::{
    Cause, Change, Command, Facts, FailureKind, Frame, GuardName, Input, Judgement, Mode, Observation, Owner, Playbook,
    Policy, Presence, RefusalReason, Span, StateKind, Target, Timestamp, TransactionId, Verdict, WhenUnknown,
};

use super::acts::{COUNTED_FOR, SENDS_MAX, group, is_fresh};
use super::changes::is_same_place;
use super::look::{is_more, share_told};
use super::{Act, Case, Found, Invariant, Model, Tx, fail};

/// How long something may wait for its turn.
const WAITS_MAX: Span = Span::from_mins(5);

/// What a transaction is judged by.
struct Grounds<'a> {
    id: TransactionId,
    it: &'a Tx,
    case: &'a Case,
    playbook: &'a Playbook,
    policy: &'a Policy,
    seen: &'a Observation,
    facts: &'a Facts,
    now: Timestamp,
}

impl Model {
    /// A change of `id` by which it will not act, or not again, is for a reason that holds.
    pub(super) fn stays_out_for_a_reason(
        &self,
        frame: &Frame,
        id: TransactionId,
        it: &Tx,
        change: &Change,
        now: Timestamp,
    ) -> Found {
        match change {
            Change::Refused { reason, judgement } => match &**reason {
                RefusalReason::Guard { guard, .. } => self.guards_hold(frame, id, it, *guard, judgement, now),
                reason => self.is_refused_for(frame, id, it, reason, now),
            },
            Change::WouldExecute { .. } => match self.grounds(frame, id, it, now) {
                Some(grounds) if !self.only_observes(&grounds) => fail(
                    Invariant::RefusedForReason,
                    format!("{id} is only observed, and may act"),
                ),
                _ => Ok(()),
            },
            Change::RollbackStarted { cause, .. } => match &**cause {
                Cause::ExecuteFailed(failure) => self.may_not_try_again(frame, id, it, failure.kind, now),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Every guard that refuses has a reason to, the named one among them.
    fn guards_hold(
        &self,
        frame: &Frame,
        id: TransactionId,
        it: &Tx,
        named: GuardName,
        judgement: &Option<Box<Judgement>>,
        now: Timestamp,
    ) -> Found {
        let Some(grounds) = self.grounds(frame, id, it, now) else {
            return Ok(());
        };
        let results = judgement.iter().flat_map(|it| &it.guards);
        let refusing = results.filter(|result| result.verdict == Verdict::Refused);
        let mut all = refusing.map(|result| result.guard).chain([named]);
        match all.find(|guard| !self.refuses(*guard, &grounds)) {
            Some(guard) => fail(
                Invariant::RefusedForReason,
                format!("{id} is refused by {guard:?}, which has no reason to"),
            ),
            None => Ok(()),
        }
    }

    fn is_refused_for(
        &self,
        frame: &Frame,
        id: TransactionId,
        it: &Tx,
        reason: &RefusalReason,
        now: Timestamp,
    ) -> Found {
        let command = match &frame.input {
            Input::Operator { command, .. } => Some(command),
            _ => None,
        };
        let holds = match reason {
            RefusalReason::ApprovalExpired => it.approval_expires.is_some_and(|expires| expires <= now),
            RefusalReason::QueueTimeout => it.waits_since + WAITS_MAX <= now,
            RefusalReason::Abandoned => self.failed_beside(id, it).is_some(),
            RefusalReason::Denied { .. } => matches!(command, Some(Command::Deny(denied)) if *denied == id),
            RefusalReason::Cancelled { .. } => {
                matches!(command, Some(Command::Release(_) | Command::ReleaseTrusting { .. }))
            }
            // How often it was looked at is asked for elsewhere.
            RefusalReason::CheckFailed(_) => true,
            RefusalReason::NoTarget | RefusalReason::Guard { .. } => false,
        };
        if holds {
            return Ok(());
        }
        fail(
            Invariant::RefusedForReason,
            format!("{id} is refused for nothing: {reason}"),
        )
    }

    /// An act that failed is given up only when another try would fail as well, or must not be made.
    fn may_not_try_again(
        &self,
        frame: &Frame,
        id: TransactionId,
        it: &Tx,
        failed: FailureKind,
        now: Timestamp,
    ) -> Found {
        let passes = matches!(
            failed,
            FailureKind::Unavailable | FailureKind::Conflict | FailureKind::TimedOut | FailureKind::Interrupted
        );
        if !passes || it.sends >= SENDS_MAX {
            return Ok(());
        }
        let Some(grounds) = self.grounds(frame, id, it, now) else {
            return Ok(());
        };
        let is_absent = grounds.seen.presence == Presence::Absent;
        let is_refused = || {
            let mut guards = GuardName::ALL.into_iter().filter(|guard| *guard != GuardName::Impact);
            guards.any(|guard| self.refuses(guard, &grounds))
        };
        if !is_absent || self.only_observes(&grounds) || self.failed_beside(id, it).is_some() || is_refused() {
            return Ok(());
        }
        fail(
            Invariant::RefusedForReason,
            format!("{id} is given up, and its act may be sent once more"),
        )
    }

    /// What `id` is judged by, by the look that `frame` brings.
    fn grounds<'a>(&'a self, frame: &'a Frame, id: TransactionId, it: &'a Tx, now: Timestamp) -> Option<Grounds<'a>> {
        let Input::Observed {
            transaction,
            result: Ok(seen),
            facts,
            ..
        } = &frame.input
        else {
            return None;
        };
        if *transaction != id {
            return None;
        }
        let case = self.incidents.get(&it.incident)?;
        Some(Grounds {
            id,
            it,
            case,
            playbook: self.playbooks.get(&case.playbook)?,
            policy: self.policy.as_ref()?,
            seen,
            facts,
            now,
        })
    }

    fn only_observes(&self, grounds: &Grounds<'_>) -> bool {
        self.breaker_open || self.mode_of(grounds.it, grounds.case, grounds.policy) == Mode::Observe
    }

    /// Whether `guard` has a reason to refuse.
    fn refuses(&self, guard: GuardName, grounds: &Grounds<'_>) -> bool {
        let Grounds {
            id,
            it,
            case,
            playbook,
            policy,
            seen,
            facts,
            now,
        } = *grounds;
        let limits = policy.limits;
        let refuses_unknown = playbook.guards.when_unknown == WhenUnknown::Refuse;
        match guard {
            GuardName::NeverTouch => self.protection(&it.target, policy, now).is_some(),
            // The decision of a recovery grows old as an event does.
            GuardName::Freshness if self.recoveries.decided(id) => true,
            GuardName::Freshness if case.event_time.is_none() => refuses_unknown,
            GuardName::Freshness => is_fresh(id, it, case, playbook, now).is_err(),
            GuardName::TargetBusy => {
                let is_stuck = |(other, tx): (&TransactionId, &Tx)| {
                    *other != id && tx.kind == StateKind::Stuck && is_same_place(tx, it)
                };
                let is_anothers = match &seen.presence {
                    Presence::Absent => false,
                    Presence::Present { owner, .. } => *owner != Owner::Ours(id),
                };
                is_anothers || self.transactions.iter().any(is_stuck)
            }
            GuardName::Capacity => seen.capacity.is_some_and(|room| room.used >= room.max),
            GuardName::Impact => match (playbook.guards.traffic_share_max_bp, &it.target) {
                (Some(most), Target::Address(_)) => {
                    share_told(playbook, facts).map_or(refuses_unknown, |share| is_more(share, most))
                }
                _ => false,
            },
            GuardName::BudgetTotal => self.are_spent(grounds, limits.acts_per_hour_max, |_| true),
            GuardName::BudgetAction => {
                self.are_spent(grounds, limits.acts_per_action_hour_max, |act| act.kind == it.action)
            }
            GuardName::BudgetGroup => {
                let group = group(&it.target);
                self.are_spent(grounds, limits.acts_per_group_hour_max, |act| act.group == group)
            }
            GuardName::BudgetPlaybook => self.are_spent(grounds, playbook.guards.acts_per_hour_max, |act| {
                act.playbook == case.playbook
            }),
            // No target is wide, and no event a sample; the others make a question or an observation of an act.
            GuardName::PrefixWidth | GuardName::Sample | GuardName::Breaker | GuardName::Risk | GuardName::Context => {
                false
            }
        }
    }

    /// Whether `max` acts that are `alike` may have been done in the last hour, besides a first try of its own.
    fn are_spent(&self, grounds: &Grounds<'_>, max: u32, alike: impl Fn(&Act) -> bool) -> bool {
        let lately = |act: &&Act| act.at + COUNTED_FOR > grounds.now;
        let acts = self.acts.iter().filter(lately).filter(|act| alike(act)).count();
        acts.saturating_sub(usize::from(grounds.it.sends > 0)) >= max as usize
    }
}
