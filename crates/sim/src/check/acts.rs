//! What must hold when an act is about to be sent: whom it may touch, and how much may be done.
//!
//! Never asks what came of one: see `changes.rs`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use staunch_model::{
    Judgement, Limits, Mode, OnFailure, Playbook, Policy, Span, Target, Timestamp, TransactionId, Verdict,
};

use super::evidence::Piece;
use super::look::may_be_unknown;
use super::networks::{covers, is_special};
use super::{Act, Case, Found, Group, Invariant, Model, Status, Tx, fail};

/// How often an act may be sent.
pub(super) const SENDS_MAX: u32 = 2;

const HOUR: Span = Span::from_hours(1);

/// The engine counts acts by the minute, and never too few: it may count those of one minute more.
pub(super) const COUNTED_FOR: Span = Span::from_mins(61);

/// How far the clock of an event may be ahead.
const AHEAD_MAX: Span = Span::from_mins(5);

impl Model {
    /// Everything that must hold when an act is about to be sent.
    pub(super) fn act(&mut self, id: TransactionId, judgement: Option<&Judgement>, now: Timestamp) -> Found {
        let Some(it) = self.transactions.get(&id) else {
            return Ok(());
        };
        let Some(policy) = self.policy.clone() else {
            return fail(Invariant::Mode, format!("{id} acts without a policy"));
        };
        if let Some(why) = self.protection(&it.target, &policy, now) {
            return fail(Invariant::NeverTouch, format!("{id} acts on {}, {why}", it.target));
        }
        if it.sends >= SENDS_MAX {
            return fail(
                Invariant::OneAct,
                format!("{id} sends its act more than {SENDS_MAX} times"),
            );
        }
        let Some(case) = self.incidents.get(&it.incident) else {
            return Ok(());
        };
        self.has_preserved(id, it, case)?;
        if let Some(failed) = self.failed_beside(id, it) {
            let what = format!("{id} acts although {failed} has failed");
            return fail(Invariant::AllOrNothing, what);
        }
        self.breaker_is_shut(id, &policy, now)?;
        let playbook = self.playbooks.get(&case.playbook).cloned();
        let asks = judgement.is_some_and(|it| it.guards.iter().any(|guard| guard.verdict == Verdict::Ask))
            || playbook
                .as_ref()
                .is_some_and(|playbook| self.is_below_risk_min(it, playbook, now));
        is_allowed(id, it, self.mode_of(it, case, &policy), asks)?;
        if let Some(playbook) = &playbook {
            is_fresh(id, self.staleness(id, it, case, playbook, now))?;
        }
        if it.sends > 0 {
            return Ok(());
        }
        let act = Act {
            at: now,
            playbook: case.playbook,
            kind: it.action,
            group: group(&it.target),
        };
        let of_playbook = playbook.map_or(u32::MAX, |it| it.guards.acts_per_hour_max);
        self.debited(id, act, policy.limits, of_playbook)
    }

    /// What the act of `id` would destroy is preserved.
    fn has_preserved(&self, id: TransactionId, it: &Tx, case: &Case) -> Found {
        let lost = |piece: &Piece| !piece.done && it.action.is_some_and(|action| piece.kind.is_destroyed_by(action));
        let mut pieces = case.evidence.iter();
        match pieces.find(|evidence| self.evidence.get(evidence).is_some_and(lost)) {
            Some(evidence) => fail(Invariant::EvidenceFirst, format!("{id} acts before {evidence}")),
            None => Ok(()),
        }
    }

    /// The breaker is shut, and there were not so many failures that it has to be open.
    fn breaker_is_shut(&self, id: TransactionId, policy: &Policy, now: Timestamp) -> Found {
        if self.breaker_open {
            return fail(Invariant::Breaker, format!("{id} acts while the breaker is open"));
        }
        let lately = |at: &&Timestamp| **at + policy.limits.breaker_window > now;
        let recent = self.failures.iter().filter(lately).count();
        if recent >= policy.limits.breaker_failures as usize {
            return fail(Invariant::Breaker, format!("{id} acts after {recent} failures"));
        }
        Ok(())
    }

    /// Counts `act`, of `id`, which stays within every budget.
    fn debited(&mut self, id: TransactionId, act: Act, limits: Limits, of_playbook: u32) -> Found {
        let now = act.at;
        self.acts.push_back(act);
        while self.acts.front().is_some_and(|first| first.at + COUNTED_FOR <= now) {
            self.acts.pop_front();
        }
        let lately = |other: &&Act| other.at + HOUR > now;
        let count = |same: &dyn Fn(&Act) -> bool| self.acts.iter().filter(lately).filter(|it| same(it)).count();
        let budgets = [
            ("in all", count(&|_| true), limits.acts_per_hour_max),
            (
                "of the action",
                count(&|it| it.kind == act.kind),
                limits.acts_per_action_hour_max,
            ),
            (
                "in the neighbourhood",
                count(&|it| it.group == act.group),
                limits.acts_per_group_hour_max,
            ),
            ("of the playbook", count(&|it| it.playbook == act.playbook), of_playbook),
        ];
        match budgets.into_iter().find(|(_, count, max)| *count > *max as usize) {
            Some((which, count, max)) => fail(
                Invariant::Budgets,
                format!("{id} is act {count} {which} in an hour, {max} are allowed"),
            ),
            None => Ok(()),
        }
    }

    /// What has failed so that `it` must not act: a transaction that speaks for the only incident that holds it.
    pub(super) fn failed_beside(&self, id: TransactionId, it: &Tx) -> Option<TransactionId> {
        let holder = it.only_holder()?;
        let case = self.incidents.get(&holder)?;
        let keeps = |playbook: &Playbook| playbook.on_failure == OnFailure::Keep;
        if self.playbook_of(holder).is_none_or(keeps) {
            return None;
        }
        // What others have planned is forgotten with them.
        let is_known = |it: &Tx| {
            let planner = self.incidents.get(&it.incident);
            planner.is_some_and(|case| case.status != Status::Forgotten)
        };
        let speaking = self.speaking_of(holder, case);
        // What says nothing of the incident has no siblings.
        speaking.iter().find(|(speaks, _)| *speaks == id)?;
        let failed = |(other, it): &&(TransactionId, &Tx)| *other != id && it.failed && is_known(it);
        speaking.iter().find(failed).map(|(other, _)| *other)
    }

    /// The time of what `id` answers: of its event, or of the decision of a recovery.
    pub(super) fn dated(&self, id: TransactionId, case: &Case) -> Option<Timestamp> {
        self.recoveries.decided(id).or(case.event_time)
    }

    /// What keeps what `id` answers from being fresh. A person who has approved it knows how old it was then.
    pub(super) fn staleness(
        &self,
        id: TransactionId,
        it: &Tx,
        case: &Case,
        playbook: &Playbook,
        now: Timestamp,
    ) -> Option<Stale> {
        let Some(time) = self.dated(id, case) else {
            return (!may_be_unknown(playbook, it.approved)).then_some(Stale::Undated);
        };
        let arrived = if it.approved {
            self.recoveries.decided(id).unwrap_or(case.opened)
        } else {
            now
        };
        let (age, ahead) = (arrived.since(time), time.since(arrived));
        if age > playbook.guards.event_age_max {
            Some(Stale::Old(age))
        } else {
            (ahead > AHEAD_MAX).then_some(Stale::Ahead(ahead))
        }
    }

    /// Why `target` must never be touched.
    pub(super) fn protection(&self, target: &Target, policy: &Policy, now: Timestamp) -> Option<Protected> {
        let ip = match target {
            Target::Address(ip) => *ip,
            _ => {
                return match self.found.get(target) {
                    Some(Ok(facts)) => facts.protected.is_some().then_some(Protected::ByItself),
                    Some(Err(_)) => Some(Protected::Indistinct),
                    None => Some(Protected::Unknown),
                };
            }
        };
        if is_special(ip) {
            return Some(Protected::ByItself);
        }
        if let Some(protection) = policy.never_touch.iter().find(|it| covers(&it.network, ip)) {
            return Some(Protected::ByPolicy(protection.network));
        }
        let exempt = |(network, until): &(&IpNet, &Option<Timestamp>)| {
            covers(network, ip) && until.is_none_or(|until| now < until)
        };
        if let Some((network, _)) = self.exempt.iter().find(exempt) {
            return Some(Protected::ByPerson(*network));
        }
        let listed = self.listed.iter().find(|it| covers(it, ip));
        listed.map(|network| Protected::ByFile(*network))
    }
}

/// Under `mode` something may be done, and `id` has the approval that it needs, in time.
fn is_allowed(id: TransactionId, it: &Tx, mode: Mode, asks: bool) -> Found {
    if mode == Mode::Observe {
        return fail(Invariant::Mode, format!("{id} acts while everything only observes"));
    }
    if (mode == Mode::Approve || asks) && !it.approved && it.sends == 0 {
        return fail(Invariant::Approval, format!("{id} acts without an approval"));
    }
    if it.approved_late {
        return fail(
            Invariant::Approval,
            format!("{id} acts on an approval that had expired"),
        );
    }
    Ok(())
}

/// Why a target must never be touched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Protected {
    ByPolicy(IpNet),
    ByPerson(IpNet),
    ByFile(IpNet),
    /// By what it is.
    ByItself,
    /// It could be another.
    Indistinct,
    Unknown,
}

impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByPolicy(network) => write!(f, "which is in {network}"),
            Self::ByPerson(network) => write!(f, "and a person protects {network}"),
            Self::ByFile(network) => write!(f, "and a file lists {network}"),
            Self::ByItself => f.write_str("which is protected"),
            Self::Indistinct => f.write_str("which could not be told from others"),
            Self::Unknown => f.write_str("of which nothing is known"),
        }
    }
}

/// Why an event leads to nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stale {
    /// It has no time, and its playbook does not let that pass.
    Undated,
    Old(Span),
    Ahead(Span),
}

/// `id` acts on an event that nothing speaks against.
fn is_fresh(id: TransactionId, stale: Option<Stale>) -> Found {
    let what = match stale {
        None => return Ok(()),
        Some(Stale::Undated) => "without a time".to_owned(),
        Some(Stale::Old(age)) => format!("that is {age} old"),
        Some(Stale::Ahead(ahead)) => format!("that is {ahead} in the future"),
    };
    fail(Invariant::EventIsFresh, format!("{id} acts on an event {what}"))
}

/// What shares a budget with `target`: the addresses of its network, or all targets of its kind.
pub(super) fn group(target: &Target) -> Group {
    match target {
        Target::Address(IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            Group::Network(IpAddr::V4([a, b, c, 0].into()))
        }
        Target::Address(IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            Group::Network(IpAddr::V6([a, b, c, 0, 0, 0, 0, 0].into()))
        }
        other => Group::Kind(other.aim()),
    }
}
