//! That what does not act is refused, only observed or given up for a reason that holds: containment that stays out is
//! a failure too.
//!
//! Never says what must not act: see `acts.rs`.

use staunch_model::{
    Cause, Change, Command, Facts, FailureKind, Frame, GuardName, Input, Judgement, Mode, Observation, Owner, Playbook,
    Policy, Presence, RefusalReason, ReleaseScope, Span, StateKind, Target, Timestamp, TransactionId, Verdict,
    WhenUnknown,
};

use super::acts::{COUNTED_FOR, SENDS_MAX, group};
use super::changes::{LOOKS_MIN, is_same_place, shows};
use super::look::{answer, is_more, share_told};
use super::{Act, Case, Found, Invariant, Model, Tx, fail};

/// How long something may wait for its turn.
const WAITS_MAX: Span = Span::from_mins(5);

/// How often what a remote driver has done is looked for before it counts as not there.
const LOOKS_REMOTE_MIN: u32 = 5;

/// How much earlier than its lease something may end by itself.
const HOLD_TOLERANCE: Span = Span::from_secs(30);

/// What a transaction is judged by when it has been looked at.
struct Look<'a> {
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
        let look = || self.look(frame, id, it, now);
        match change {
            Change::Refused { reason, judgement } => match &**reason {
                RefusalReason::Guard { guard, .. } => self.guards_hold(&look()?, *guard, judgement.as_deref()),
                reason => self.is_refused_for(frame, id, it, reason, now),
            },
            Change::WouldExecute { .. } if !self.only_observes(&look()?) => {
                idle(format!("{id} is only observed, and may act"))
            }
            Change::RollbackStarted { cause, .. } => match &**cause {
                Cause::ExecuteFailed(failure) => self.may_not_try_again(&look()?, failure.kind),
                Cause::PostCheckFailed { .. } => self.is_missing(frame, id, it),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Every guard that refuses has a reason to, the `named` one among them.
    fn guards_hold(&self, look: &Look<'_>, named: GuardName, judgement: Option<&Judgement>) -> Found {
        let results = judgement.into_iter().flat_map(|it| &it.guards);
        let refusing = results.filter(|result| result.verdict == Verdict::Refused);
        let mut all = refusing.map(|result| result.guard).chain([named]);
        match all.find(|guard| !self.refuses(*guard, look)) {
            Some(guard) => idle(format!("{} is refused by {guard:?}, which has no reason to", look.id)),
            None => Ok(()),
        }
    }

    /// What refuses `id` besides guards is so.
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
        let names = |scope: &ReleaseScope| match scope {
            ReleaseScope::Transaction(named) => *named == id,
            ReleaseScope::Incident(holder) => it.is_held_by(*holder),
            ReleaseScope::All => true,
            ReleaseScope::Former => false,
        };
        let holds = match reason {
            RefusalReason::ApprovalExpired => it.approval_expires.is_some_and(|expires| expires <= now),
            RefusalReason::QueueTimeout => it.waits_since + WAITS_MAX <= now,
            RefusalReason::Abandoned => self.failed_beside(id, it).is_some(),
            RefusalReason::Denied { .. } => matches!(command, Some(Command::Deny(denied)) if *denied == id),
            RefusalReason::Cancelled { .. } => match command {
                Some(Command::Release(scope) | Command::ReleaseTrusting { scope, .. }) => names(scope),
                _ => false,
            },
            // How often it was looked at is asked for in `changes.rs`.
            RefusalReason::CheckFailed(_) => !matches!(answer(frame, id, it), Some((Ok(_), _))),
            RefusalReason::NoTarget | RefusalReason::Guard { .. } => false,
        };
        if holds {
            return Ok(());
        }
        idle(format!("{id} is refused for nothing: {reason}"))
    }

    /// An act that failed is given up only when another try would fail as well, or must not be made.
    fn may_not_try_again(&self, look: &Look<'_>, failed: FailureKind) -> Found {
        let passes = matches!(
            failed,
            FailureKind::Unavailable | FailureKind::Conflict | FailureKind::TimedOut | FailureKind::Interrupted
        );
        let is_refused = || {
            let mut guards = GuardName::ALL.into_iter().filter(|guard| *guard != GuardName::Impact);
            guards.any(|guard| self.refuses(guard, look))
        };
        if !passes
            || look.it.sends >= SENDS_MAX
            || look.seen.presence != Presence::Absent
            || self.only_observes(look)
            || is_refused()
        {
            return Ok(());
        }
        idle(format!("{} is given up, and its act may be sent once more", look.id))
    }

    /// What is rolled back because it is not in place was looked for often enough, and is not.
    fn is_missing(&self, frame: &Frame, id: TransactionId, it: &Tx) -> Found {
        let is_local = |policy: &Policy| {
            let mut drivers = policy.drivers.iter();
            drivers.any(|driver| Some(driver.kind) == it.action && driver.local)
        };
        let (looks, is_there) = match answer(frame, id, it) {
            Some((Ok(seen), _)) => {
                let looks = if self.policy.as_deref().is_some_and(is_local) {
                    1
                } else {
                    LOOKS_REMOTE_MIN
                };
                (looks, is_in_force(seen, id, it.lease))
            }
            // The look failed, or was not answered in time.
            Some((Err(_), _)) | None => (LOOKS_MIN, false),
        };
        if is_there {
            return idle(format!("{id} is rolled back as missing, and is in place"));
        }
        if it.tries < looks {
            return idle(format!("{id} is rolled back as missing after {} looks", it.tries));
        }
        Ok(())
    }

    /// What `id` is judged by, by the look that `frame` brings.
    fn look<'a>(
        &'a self,
        frame: &'a Frame,
        id: TransactionId,
        it: &'a Tx,
        now: Timestamp,
    ) -> Result<Look<'a>, (Invariant, String)> {
        let Some((Ok(seen), facts)) = answer(frame, id, it) else {
            return Err((Invariant::RefusedForReason, format!("{id} is judged without a look")));
        };
        let case = self.incidents.get(&it.incident);
        let playbook = case.and_then(|case| self.playbooks.get(&case.playbook));
        match (case, playbook, &self.policy) {
            (Some(case), Some(playbook), Some(policy)) => Ok(Look {
                id,
                it,
                case,
                playbook,
                policy,
                seen,
                facts,
                now,
            }),
            _ => Err((
                Invariant::RefusedForReason,
                format!("{id} is judged without a playbook or a policy"),
            )),
        }
    }

    fn only_observes(&self, look: &Look<'_>) -> bool {
        self.breaker_open || self.mode_of(look.it, look.case, look.policy) == Mode::Observe
    }

    /// Whether `guard` has a reason to refuse.
    fn refuses(&self, guard: GuardName, look: &Look<'_>) -> bool {
        let Look {
            id,
            it,
            case,
            playbook,
            policy,
            seen,
            facts,
            now,
        } = *look;
        let limits = policy.limits;
        let refuses_unknown = playbook.guards.when_unknown == WhenUnknown::Refuse;
        match guard {
            GuardName::NeverTouch => self.protection(&it.target, policy, now).is_some(),
            GuardName::Freshness => match self.dated(id, case) {
                Some(_) => self.staleness(id, it, case, playbook, now).is_some(),
                None => refuses_unknown,
            },
            GuardName::TargetBusy => {
                let is_stuck = |(other, tx): (&TransactionId, &Tx)| {
                    *other != id && tx.kind == StateKind::Stuck && is_same_place(tx, it)
                };
                let is_anothers = seen.presence != Presence::Absent && !shows(seen, id);
                is_anothers || self.transactions.iter().any(is_stuck)
            }
            GuardName::Capacity => seen.capacity.is_some_and(|room| room.used >= room.max),
            GuardName::Impact => match (playbook.guards.traffic_share_max_bp, &it.target) {
                (Some(most), Target::Address(_)) => {
                    share_told(playbook, facts).map_or(refuses_unknown, |share| is_more(share, most))
                }
                _ => false,
            },
            GuardName::BudgetTotal => self.are_spent(look, limits.acts_per_hour_max, |_| true),
            GuardName::BudgetAction => {
                self.are_spent(look, limits.acts_per_action_hour_max, |act| act.kind == it.action)
            }
            GuardName::BudgetGroup => {
                let group = group(&it.target);
                self.are_spent(look, limits.acts_per_group_hour_max, |act| act.group == group)
            }
            GuardName::BudgetPlaybook => self.are_spent(look, playbook.guards.acts_per_hour_max, |act| {
                act.playbook == case.playbook
            }),
            // What its rows ask for is not worked out here.
            GuardName::Context => self.has_context_rows,
            // No target is wide, and no event a sample; the others make a question or an observation of an act.
            GuardName::PrefixWidth | GuardName::Sample | GuardName::Breaker | GuardName::Risk => false,
        }
    }

    /// Whether `max` acts that are `alike` may have been done in the last hour, besides a first try of its own.
    fn are_spent(&self, look: &Look<'_>, max: u32, alike: impl Fn(&Act) -> bool) -> bool {
        let lately = |act: &&Act| act.at + COUNTED_FOR > look.now;
        let acts = self.acts.iter().filter(lately).filter(|act| alike(act)).count();
        acts.saturating_sub(usize::from(look.it.sends > 0)) >= max as usize
    }
}

fn idle(what: String) -> Found {
    fail(Invariant::RefusedForReason, what)
}

/// Whether `seen` shows the act of `id`, enforced, and for long enough.
fn is_in_force(seen: &Observation, id: TransactionId, lease: Span) -> bool {
    let lasts = match &seen.presence {
        Presence::Present {
            owner: Owner::Ours(label),
            expires_in,
        } if *label == id => expires_in.is_none_or(|left| left + HOLD_TOLERANCE >= lease),
        _ => false,
    };
    seen.enforcing && lasts
}
