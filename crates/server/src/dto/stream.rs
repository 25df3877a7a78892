//! What happens live.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{IncidentId, Timestamp, TransactionId};

/// What to be told, as a query string. The default is everything that happens from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// What happened after this frame, too; 0 for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only what this incident and its transactions are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamEntry {
    /// The frame that says so; of what is about the stream itself, the last one that was told.
    pub lsn: u64,
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: StreamKind,
    /// The incident; for a transaction, the one that planned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// The transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
    /// What, in a few words, safe to show.
    pub what: String,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// What was concluded.
    Incident,
    /// What was done, and what was found of it.
    Transaction,
    /// What people are told.
    Notice,
    /// What people asked for.
    Command,
    /// Staunch as a whole: its mode, its circuit breaker, what is never touched.
    Installation,
    /// This stream itself, which is no part of the record: that it has fallen behind, and that it goes on.
    Stream,
}

impl StreamKind {
    /// The name of the event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Transaction => "transaction",
            Self::Notice => "notice",
            Self::Command => "command",
            Self::Installation => "installation",
            Self::Stream => "stream",
        }
    }
}
