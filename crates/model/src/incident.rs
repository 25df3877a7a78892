//! Incidents: what Staunch concluded from events.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::brief::Brief;
use crate::few::{Few, Seldom};
use crate::id::{EvidenceId, IncidentId, TransactionId};
use crate::shared::SharedHash;
use crate::time::Timestamp;

/// Whether an incident still needs anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// A transaction of it is under way, waiting, in force or stuck.
    Open,
    /// Every transaction has ended.
    Closed,
}

/// How the contain phase of an incident turned out. The worst transaction decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentOutcome {
    /// All steps are in force.
    Contained,
    /// Observe mode: nothing was done, and this is what would have been.
    WouldContain,
    /// A person must approve.
    AwaitingApproval,
    /// A guard said no.
    Refused,
    /// A step failed and was rolled back.
    RolledBack,
    /// A step needs a person.
    Stuck,
}

impl IncidentOutcome {
    /// All outcomes, best first.
    pub const ALL: [Self; 6] = [
        Self::Contained,
        Self::WouldContain,
        Self::AwaitingApproval,
        Self::Refused,
        Self::RolledBack,
        Self::Stuck,
    ];

    /// The name in playbooks and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contained => "contained",
            Self::WouldContain => "would-contain",
            Self::AwaitingApproval => "awaiting-approval",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::Stuck => "stuck",
        }
    }
}

impl fmt::Display for IncidentOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An incident as the engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The playbook that answers it.
    pub playbook: SharedHash,
    /// What makes it one: the value of the playbook's incident expression.
    pub key: Brief,
    /// Open or closed.
    pub status: IncidentStatus,
    /// When it was opened.
    pub opened: Timestamp,
    /// Until when further events of the same key join it although it is closed.
    pub absorbs_until: Timestamp,
    /// When the event that opened it happened, on the engine's clock; `None` if the source gave no time.
    pub event_time: Option<Timestamp>,
    /// Events seen, the first included.
    pub events: u64,
    /// Its transactions, and those of others that it joined.
    pub transactions: Few<TransactionId>,
    /// The outcome last told to people.
    pub outcome: Option<IncidentOutcome>,
    /// The step for which each transaction of another incident was joined.
    pub joined_steps: Seldom<(TransactionId, u16)>,
    /// The step of the playbook that the next record of a step is about.
    pub next_step: u16,
    /// What is preserved before it is contained.
    pub evidence: Seldom<EvidenceId>,
}
