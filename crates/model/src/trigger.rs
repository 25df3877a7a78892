//! Why a playbook's trigger holds for an event or does not, clause by clause, for people.
//!
//! Never part of a decision: triage runs the trigger itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The value of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClauseValue {
    /// It holds.
    True,
    /// It does not.
    False,
    /// A field is missing or of another type. Its negation is unknown too, and an unknown trigger does not fire.
    Unknown,
}

impl ClauseValue {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
        }
    }

    /// The value of three-valued logic that it stands for.
    #[must_use]
    pub const fn of(value: Option<bool>) -> Self {
        match value {
            Some(true) => Self::True,
            Some(false) => Self::False,
            None => Self::Unknown,
        }
    }
}

/// What a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClauseKind {
    /// A test of the event.
    Test,
    /// All of the clauses below it, joined by `&&`.
    All,
    /// Any of the clauses below it, joined by `||`.
    Any,
    /// The opposite of the clause below it.
    Not,
}

/// One clause of a trigger with its value for one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clause {
    /// How deep it is nested: 0 for the operands of the outermost `&&`.
    pub depth: usize,
    /// What it is.
    pub kind: ClauseKind,
    /// The clause as written, its blanks joined.
    pub text: String,
    /// Its value.
    pub value: ClauseValue,
    /// What the event has: `event.severity is medium`. Empty for a clause that has others below it. Safe to show.
    pub reason: String,
}

/// A playbook's look at one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The clauses of its trigger, in the order in which they are written.
    pub clauses: Vec<Clause>,
    /// What the event has for the incident key: `event.source.ip is missing`. Safe to show.
    pub key: String,
    /// The values of the playbook's parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterValue>,
}

/// A parameter of a playbook with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParameterValue {
    /// Its name.
    pub name: String,
    /// Its value as written.
    pub value: String,
    /// Where the value is from: `the default`, `environment staging` or `the configuration`.
    pub from: String,
}

/// What became of an event at one playbook, in the order in which people ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TriggerOutcome {
    /// It matches.
    Matches,
    /// The trigger holds, but the event has no incident key: nothing follows.
    WithoutKey,
    /// The trigger holds, but the event matches as many playbooks as one event may: nothing follows.
    BeyondLimit,
    /// The trigger does not hold.
    DoesNotHold,
    /// The playbook does not look at events of this system.
    OtherSystem,
    /// The event is no alert, and nothing else is looked at.
    NotAnAlert,
}

/// How one playbook took one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TriggerReport {
    /// The playbook.
    pub playbook: String,
    /// What became of the event.
    pub outcome: TriggerOutcome,
    /// The systems that the playbook looks at.
    pub systems: Vec<String>,
    /// Its look at the event; empty when it did not look.
    pub explanation: Explanation,
}
