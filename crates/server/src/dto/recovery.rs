//! The recovery of an incident.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{IncidentId, Timestamp, TransactionId, WatchId};

use super::{REASON_BYTES_MAX, REASON_PATTERN};

/// Start the recovery of an incident, or stop it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// Which.
    pub incident: IncidentId,
    /// Whether it is to stop where it is; left out, it is started.
    #[serde(default)]
    pub stop: bool,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryPhase {
    /// Nobody has started it.
    Waiting,
    /// It is under way.
    Running,
    /// Every step was taken.
    Recovered,
    /// A step failed.
    Failed,
    /// What it had lifted is contained again.
    Back,
    /// A person stopped it.
    Stopped,
}

/// How far a step of a recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryStepPhase {
    /// It was taken.
    Done,
    /// It is being taken.
    Now,
    /// It lies ahead, or the recovery ended before it was taken.
    Ahead,
}

/// A step of a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryStepView {
    /// What it does, safe to show.
    pub what: String,
    /// How far it is.
    pub state: RecoveryStepPhase,
}

/// A health watch that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WatchView {
    /// Its id.
    pub watch: WatchId,
    /// The signal's name in the configuration.
    pub signal: String,
    /// What it is over, safe to show.
    pub over: String,
    /// How many of the newest readings in a row were unhealthy.
    pub unhealthy: u16,
}

/// The recovery of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryView {
    /// Its incident.
    pub incident: IncidentId,
    /// The playbook that has it.
    pub playbook: String,
    /// How far it is.
    pub state: RecoveryPhase,
    /// When it ended; `null` while it has not.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Who started it, or stopped it; `null` while nobody has.
    pub by: Option<String>,
    /// Why it ended before its last step; `null` otherwise. Safe to show.
    pub why: Option<String>,
    /// Its steps, in order. Those of a recovery that has ended are `done` or `ahead` as it left them: what was taken
    /// stays `done` also when what it had lifted is contained again.
    pub steps: Vec<RecoveryStepView>,
    /// The health watches of the incident that have not ended.
    pub watches: Vec<WatchView>,
    /// What it has let go of, and what stays in force because other incidents hold it too.
    #[serde(default)]
    pub held_by_others: Vec<TransactionId>,
}
