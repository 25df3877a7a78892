//! What must hold when an act is about to be sent: whom it may touch, and how much may be done.
//!
//! Never asks what came of one: see `changes.rs`.

use std::net::IpAddr;

use ipnet::IpNet;
use staunch_model::{Judgement, Mode, OnFailure, Playbook, Policy, Span, Target, Timestamp, TransactionId, Verdict};

use super::evidence::Piece;
use super::look::may_be_unknown;
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
        for evidence in &case.evidence {
            let lost =
                |piece: &Piece| !piece.done && it.action.is_some_and(|action| piece.kind.is_destroyed_by(action));
            if self.evidence.get(evidence).is_some_and(lost) {
                return fail(Invariant::EvidenceFirst, format!("{id} acts before {evidence}"));
            }
        }
        if let Some(failed) = self.failed_beside(id, it) {
            let what = format!("{id} acts although {failed} has failed");
            return fail(Invariant::AllOrNothing, what);
        }
        if self.breaker_open {
            return fail(Invariant::Breaker, format!("{id} acts while the breaker is open"));
        }
        let recent = self
            .failures
            .iter()
            .filter(|at| **at + policy.limits.breaker_window > now)
            .count();
        if recent >= policy.limits.breaker_failures as usize {
            return fail(Invariant::Breaker, format!("{id} acts after {recent} failures"));
        }
        let playbook = self.playbooks.get(&case.playbook).cloned();
        let mode = self.mode_of(it, case, &policy);
        if mode == Mode::Observe {
            return fail(Invariant::Mode, format!("{id} acts while everything only observes"));
        }
        let asked = judgement.is_some_and(|it| it.guards.iter().any(|guard| guard.verdict == Verdict::Ask))
            || playbook
                .as_ref()
                .is_some_and(|playbook| self.is_too_harmless(it, playbook, now));
        if (mode == Mode::Approve || asked) && !it.approved && it.sends == 0 {
            return fail(Invariant::Approval, format!("{id} acts without an approval"));
        }
        if it.approved_late {
            return fail(
                Invariant::Approval,
                format!("{id} acts on an approval that had expired"),
            );
        }
        if let Some(playbook) = &playbook
            && !self.recoveries.decided(id)
        {
            is_fresh(id, it, case, playbook, now)?;
        }
        if it.sends == 0 {
            let act = Act {
                at: now,
                playbook: case.playbook,
                kind: it.action,
                group: group(&it.target),
            };
            self.acts.push_back(act);
            while self.acts.front().is_some_and(|first| first.at + COUNTED_FOR <= now) {
                self.acts.pop_front();
            }
            let lately = |other: &&Act| other.at + HOUR > now;
            let count = |same: &dyn Fn(&Act) -> bool| self.acts.iter().filter(lately).filter(|it| same(it)).count();
            let limits = policy.limits;
            let of_playbook = playbook.as_ref().map_or(u32::MAX, |it| it.guards.acts_per_hour_max);
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
            for (which, count, max) in budgets {
                if count > max as usize {
                    return fail(
                        Invariant::Budgets,
                        format!("{id} is act {count} {which} in an hour, {max} are allowed"),
                    );
                }
            }
        }
        Ok(())
    }

    /// What has failed so that `it` must not act: a transaction of the only incident that holds it, for which nothing
    /// newer stands.
    pub(super) fn failed_beside(&self, id: TransactionId, it: &Tx) -> Option<TransactionId> {
        let holder = it.only_holder()?;
        let case = self.incidents.get(&holder)?;
        let keeps = |playbook: &Playbook| playbook.on_failure == OnFailure::Keep;
        if self.recoveries.acts(id) || self.playbook_of(holder).is_none_or(keeps) {
            return None;
        }
        // What others have planned is forgotten with them.
        let is_known = |it: &Tx| {
            let planner = self.incidents.get(&it.incident);
            planner.is_some_and(|case| case.status != Status::Forgotten)
        };
        let own = case.transactions.iter().filter(|other| **other != id);
        let has_failed = |other: &&TransactionId| {
            let it = self.transactions.get(other);
            // What gets back to normal contains nothing, and its failure undoes nothing of its own incident.
            let contains = |it: &Tx| it.incident != holder || !self.recoveries.acts(**other);
            it.is_some_and(|it| it.failed && is_known(it) && contains(it))
        };
        let mut failed = own.filter(has_failed);
        failed.find(|other| !self.is_replaced(**other, case)).copied()
    }

    /// Why `target` must never be touched.
    pub(super) fn protection(&self, target: &Target, policy: &Policy, now: Timestamp) -> Option<String> {
        let ip = match target {
            Target::Address(ip) => *ip,
            _ => {
                return match self.found.get(target) {
                    Some(Ok(facts)) => facts.protected.is_some().then(|| "which is protected".to_owned()),
                    Some(Err(_)) => Some("which could not be told from others".to_owned()),
                    None => Some("of which nothing is known".to_owned()),
                };
            }
        };
        if let Some(protection) = policy.never_touch.iter().find(|it| it.network.contains(&ip)) {
            return Some(format!("which is in {}", protection.network));
        }
        let exempt = |(network, until): &(&IpNet, &Option<Timestamp>)| {
            network.contains(&ip) && until.is_none_or(|until| now < until)
        };
        if let Some((network, _)) = self.exempt.iter().find(exempt) {
            return Some(format!("and a person protects {network}"));
        }
        let listed = self.listed.iter().find(|it| it.contains(&ip))?;
        Some(format!("and a file lists {listed}"))
    }
}

/// Its event is not old, not from the future, and has a time. A person who has approved it knows how old it was then.
pub(super) fn is_fresh(id: TransactionId, it: &Tx, case: &Case, playbook: &Playbook, now: Timestamp) -> Found {
    let what = match case.event_time {
        None if may_be_unknown(playbook, it.approved) => return Ok(()),
        None => "without a time".to_owned(),
        Some(time) => {
            // A person who approves decides knowing the event, so its age is what it was when it came.
            let arrived = if it.approved { case.opened } else { now };
            let (age, ahead) = (arrived.since(time), time.since(arrived));
            if age > playbook.guards.event_age_max {
                format!("that is {age} old")
            } else if ahead > AHEAD_MAX {
                format!("that is {ahead} in the future")
            } else {
                return Ok(());
            }
        }
    };
    fail(Invariant::EventIsFresh, format!("{id} acts on an event {what}"))
}

/// An address of the business itself (RFC 1918, RFC 4193) or of one link.
pub(super) fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => matches!(v6.segments()[0], 0xfc00..=0xfdff | 0xfe80..=0xfebf),
    }
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
