//! Budgets: how many acts there were in the last hour, for each scope that is limited.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use staunch_model::{ActionKind, Aim, ContentHash, Span, Target, Timestamp};

use crate::limits;
use crate::mutant::{Mutant, is};

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// All acts.
    Total,
    /// Acts of one kind.
    Action(ActionKind),
    /// Acts of one playbook.
    Playbook(ContentHash),
    /// Acts in one /24 or /48, by its first address.
    Group(IpAddr),
    /// Acts on targets of one kind, of which none are neighbours.
    Aim(Aim),
    /// Failures, for the circuit breaker.
    Failures,
}

/// The group of `target` that shares a budget: the /24 or /48 around an address, or all targets of its kind.
#[must_use]
pub fn group(target: &Target) -> Scope {
    match target {
        Target::Address(IpAddr::V4(v4)) => Scope::Group(IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & 0xffff_ff00))),
        Target::Address(IpAddr::V6(v6)) if is(Mutant::GroupNarrow) => {
            Scope::Group(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))))
        }
        Target::Address(IpAddr::V6(v6)) => {
            Scope::Group(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 80))))
        }
        other => Scope::Aim(other.aim()),
    }
}

/// Counts by minute. A window's count includes the whole of its first minute, so it never counts too few.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budgets {
    counts: BTreeMap<Scope, VecDeque<(u32, u32)>>,
    pruned_minute: u32,
}

impl Budgets {
    /// Counts one act at `now` in `scope`.
    pub fn debit(&mut self, scope: Scope, now: Timestamp) {
        let minute = minute_of(now);
        self.prune(minute);
        let minutes = self.counts.entry(scope).or_default();
        match minutes.back_mut() {
            Some((last, count)) if *last >= minute => *count = count.saturating_add(1),
            _ => minutes.push_back((minute, 1)),
        }
    }

    /// Acts in `scope` within `window` before `now`.
    #[must_use]
    pub fn spent(&self, scope: Scope, window: Span, now: Timestamp) -> u64 {
        let minutes = if scope == Scope::Failures {
            // Asked for with every turn. There is nothing behind it.
            let last = self.counts.last_key_value();
            last.filter(|(last, _)| **last == scope).map(|(_, minutes)| minutes)
        } else {
            self.counts.get(&scope)
        };
        minutes.map_or(0, |minutes| {
            let first = minute_of(now - window);
            minutes
                .iter()
                .filter(|(minute, _)| *minute >= first)
                .map(|(_, n)| u64::from(*n))
                .sum()
        })
    }

    /// Forgets what was counted in `scope`.
    pub fn clear(&mut self, scope: Scope) {
        self.counts.remove(&scope);
    }

    /// Forgets minutes that no window reaches any more, once a minute.
    fn prune(&mut self, minute: u32) {
        if minute == self.pruned_minute {
            return;
        }
        self.pruned_minute = minute;
        let first = minute.saturating_sub(minute_of(Timestamp::EPOCH + limits::BUDGET_WINDOW));
        self.counts.retain(|_, minutes| {
            while minutes.front().is_some_and(|(at, _)| *at < first) {
                minutes.pop_front();
            }
            !minutes.is_empty()
        });
    }
}

fn minute_of(time: Timestamp) -> u32 {
    u32::try_from(time.as_micros() / 60_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets_what_lies_before_it_and_never_counts_too_few() {
        let mut budgets = Budgets::default();
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        for second in 0..120 {
            budgets.debit(Scope::Total, start + Span::from_secs(second * 60));
        }
        let end = start + Span::from_secs(119 * 60);
        assert_eq!(budgets.spent(Scope::Total, Span::from_hours(1), end), 61);
        assert_eq!(
            budgets.spent(Scope::Total, Span::from_hours(1), end + Span::from_hours(2)),
            0
        );
        assert_eq!(budgets.spent(Scope::Failures, Span::from_hours(1), end), 0);
        budgets.debit(Scope::Failures, end + Span::from_hours(3));
        assert_eq!(budgets.counts.len(), 1, "old scopes are forgotten");
    }

    #[test]
    fn neighbours_share_a_group() {
        let group_of = |text: &str| group(&Target::Address(text.parse().expect("an address")));
        assert_eq!(group_of("192.0.2.1"), group_of("192.0.2.254"));
        assert_ne!(group_of("192.0.2.1"), group_of("192.0.3.1"));
        assert_eq!(group_of("2001:db8:1:2::3"), group_of("2001:db8:1:ffff::1"));
        assert_ne!(group_of("2001:db8:1::1"), group_of("2001:db8:2::1"));
    }
}
