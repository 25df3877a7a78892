//! What an operator asks for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{Mode, ReleaseScope, Span, TransactionId};

use super::{Mistake, REASON_BYTES_MAX, REASON_PATTERN};

/// Lift containment; stop what is waiting or under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// What: `{"transaction": "TX-17"}`, `{"incident": "INC-17"}` or `"all"`.
    pub scope: ReleaseScope,
    /// For how long from now what is let go is exempt from containment, such as `2h`; left out, for no time. Only with
    /// a transaction or an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Span>,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// Let a containment in force run for this long from now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Which.
    pub transaction: TransactionId,
    /// How long from now, such as `1h30m`.
    pub lease: Span,
    /// Whether it may end before the present lease does; left out, such a renewal is refused.
    #[serde(default)]
    pub shorten: bool,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// Approve or deny a transaction that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Which.
    pub transaction: TransactionId,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// Set how far any playbook may go, and close the circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeRequest {
    /// How far.
    pub mode: Mode,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// Read playbooks, protections, the table of risks and the context of the configuration again, as `SIGHUP` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// What was read again, and is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// How many playbooks there are.
    pub playbooks: u64,
    /// How many networks the configuration protects, with what this machine depends on.
    pub protected: u64,
    /// How many networks the lists have that were read.
    pub listed: u64,
    /// Lists that could not be used: what each said before stays in force.
    pub refused: Vec<Mistake>,
    /// What is strange in a playbook and no mistake.
    pub warnings: Vec<Mistake>,
    /// Keys of the configuration that have changed since the start and take effect with the next one only, at most 100
    /// and then how many more.
    pub at_next_start: Vec<String>,
}
