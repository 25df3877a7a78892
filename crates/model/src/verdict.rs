//! Facts that guards look at, and what they concluded: always a number and the limit it is held against.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{Capacity, Observation, RiskClass};
use crate::playbook::Mode;
use crate::time::Span;

/// A fact with its source and age, or the reason why it is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact<T> {
    /// The value, or why there is none.
    pub value: Result<T, Box<str>>,
    /// Where it comes from.
    pub source: Box<str>,
    /// How old it is.
    pub age: Span,
}

/// The part of this host's traffic that belongs to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrafficShare {
    /// Established flows with the address.
    pub flows: u64,
    /// All established flows.
    pub flows_total: u64,
    /// Bytes of those flows, when the kernel counts them.
    pub bytes: Option<u64>,
    /// Bytes of all flows, when the kernel counts them.
    pub bytes_total: Option<u64>,
}

impl TrafficShare {
    /// The larger of the share of flows and the share of bytes, in basis points (1/100 %).
    #[must_use]
    pub fn basis_points(&self) -> u64 {
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0
            } else {
                u64::try_from(u128::from(part) * 10_000 / u128::from(whole)).unwrap_or(10_000)
            }
        };
        let bytes = self
            .bytes
            .zip(self.bytes_total)
            .map_or(0, |(part, whole)| share(part, whole));
        share(self.flows, self.flows_total).max(bytes)
    }
}

/// Everything known about a target when it was judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Its share of the traffic; `None` when the playbook did not ask.
    pub traffic: Option<Fact<TrafficShare>>,
}

/// The guards, in the order in which they are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GuardName {
    /// The target is in a network that is never touched.
    NeverTouch,
    /// The target is wider than automation may touch.
    PrefixWidth,
    /// The event is too old, or from the future.
    Freshness,
    /// The event is a sample or test.
    Sample,
    /// Something foreign is in place at the target, or a transaction there is stuck.
    TargetBusy,
    /// The enforcement point is full.
    Capacity,
    /// Too much traffic would stop.
    Impact,
    /// Too many actions of this kind in the last hour.
    BudgetAction,
    /// Too many actions of this playbook in the last hour.
    BudgetPlaybook,
    /// Too many actions in the target's neighbourhood (/24, /48) in the last hour.
    BudgetGroup,
    /// Too many actions in all in the last hour.
    BudgetTotal,
    /// The circuit breaker is open after repeated failures.
    Breaker,
    /// The incident is less dangerous than the playbook asks for.
    Risk,
    /// What is known of the target or of an account asks for a person, or forbids the act.
    Context,
}

impl GuardName {
    /// All of them, in order.
    pub const ALL: [Self; 14] = [
        Self::NeverTouch,
        Self::PrefixWidth,
        Self::Freshness,
        Self::Sample,
        Self::TargetBusy,
        Self::Capacity,
        Self::Impact,
        Self::BudgetAction,
        Self::BudgetPlaybook,
        Self::BudgetGroup,
        Self::BudgetTotal,
        Self::Breaker,
        Self::Risk,
        Self::Context,
    ];

    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverTouch => "never-touch",
            Self::PrefixWidth => "prefix-width",
            Self::Freshness => "freshness",
            Self::Sample => "sample",
            Self::TargetBusy => "target-busy",
            Self::Capacity => "capacity",
            Self::Impact => "impact",
            Self::BudgetAction => "budget-action",
            Self::BudgetPlaybook => "budget-playbook",
            Self::BudgetGroup => "budget-group",
            Self::BudgetTotal => "budget-total",
            Self::Breaker => "breaker",
            Self::Risk => "risk",
            Self::Context => "context",
        }
    }
}

impl fmt::Display for GuardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a guard's numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Basis points, 1/100 %.
    BasisPoints,
    /// Microseconds.
    Micros,
    /// Prefix length in bits.
    PrefixBits,
    /// Things.
    Count,
    /// Thousandths of a score.
    Thousandths,
}

/// What a guard says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The number is within the limit.
    Passed,
    /// A fact is missing and the playbook lets that pass.
    Unknown,
    /// A person must decide: a fact is missing.
    Ask,
    /// Demoted to observing: the breaker is open.
    ObserveOnly,
    /// The limit is crossed.
    Refused,
}

/// One guard's conclusion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuardResult {
    /// Which guard.
    pub guard: GuardName,
    /// What it says.
    pub verdict: Verdict,
    /// What it measured; `None` when that is unknown.
    pub measured: Option<u64>,
    /// The limit.
    pub limit: Option<u64>,
    /// What both count.
    pub unit: Unit,
    /// The conclusion as a sentence fragment with the numbers in it, safe to show.
    pub why: Box<str>,
}

/// Everything that was concluded about one step before it: the heart of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// The mode that applies after all demotions.
    pub mode: Mode,
    /// The risk class that chose the mode.
    pub risk: RiskClass,
    /// Every guard, in order.
    pub guards: Vec<GuardResult>,
    /// What was known about the target.
    pub facts: Facts,
    /// What the driver saw; `None` when it could not look.
    pub observation: Option<Observation>,
}

impl Judgement {
    /// The first guard that refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&GuardResult> {
        self.guards.iter().find(|result| result.verdict == Verdict::Refused)
    }

    /// The room at the enforcement point.
    #[must_use]
    pub fn capacity(&self) -> Option<Capacity> {
        self.observation.as_ref().and_then(|seen| seen.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_the_larger_of_flows_and_bytes() {
        let share = TrafficShare {
            flows: 1,
            flows_total: 10,
            bytes: Some(40),
            bytes_total: Some(100),
        };
        assert_eq!(share.basis_points(), 4_000);
        let flows_only = TrafficShare {
            flows: 1,
            flows_total: 3,
            bytes: None,
            bytes_total: None,
        };
        assert_eq!(flows_only.basis_points(), 3_333);
        let silent = TrafficShare {
            flows: 0,
            flows_total: 0,
            bytes: Some(0),
            bytes_total: Some(0),
        };
        assert_eq!(silent.basis_points(), 0);
    }
}
