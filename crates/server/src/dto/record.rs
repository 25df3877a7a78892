//! What was, from the index: incidents, transactions, commands and notices.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{IncidentId, NoticeId, StateKind, Timestamp, TransactionId};
use staunch_store::index::ROWS_MAX;

use super::{CommandRow, IncidentDetail, IncidentRow, IndexView, NoticeRow, Protected, ProtectionView, TransactionRow};

/// Which incidents, as a query string. What is left out does not narrow the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentQuery {
    /// `open` or `closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<staunch_model::IncidentStatus>,
    /// How the contain phase stands: `contained`, `would-contain`, `awaiting-approval`, `refused`, `rolled-back` or
    /// `stuck`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<staunch_model::IncidentOutcome>,
    /// The name of the playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// Text that the incident key or the target of one of its transactions contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Incidents opened at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How many; default 100, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = ROWS_MAX))]
    pub limit: Option<u32>,
    /// Only incidents with a lower id: [`Incidents::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<IncidentId>,
}

/// A page of incidents, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incidents {
    /// The incidents.
    pub incidents: Vec<IncidentRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<IncidentId>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// One incident with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentAnswer {
    /// The incident with its transactions, events and timeline.
    #[serde(flatten)]
    pub detail: IncidentDetail,
    /// Those of its transactions that hold a target which is never touched at present.
    #[serde(default)]
    pub protected: Vec<Protected>,
    /// What people keep from being contained at present around its targets: while one of these holds, events are noted
    /// and nothing is contained there.
    #[serde(default)]
    pub exempted: Vec<ProtectionView>,
    /// Until when further events of it are counted in it and nothing follows from them, although it is closed; `None`
    /// when the next one opens a new incident, and while it is open.
    #[serde(default)]
    pub absorbs_until: Option<Timestamp>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// Which transactions, as a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactionQuery {
    /// The state, such as `in-force`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateKind>,
    /// The target, as text, exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// How many; default 100, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = ROWS_MAX))]
    pub limit: Option<u32>,
    /// Only transactions with a lower id: [`Transactions::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TransactionId>,
}

/// A page of transactions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transactions {
    /// The transactions.
    pub transactions: Vec<TransactionRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<TransactionId>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// Which commands, as a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandQuery {
    /// How many; default 100, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = ROWS_MAX))]
    pub limit: Option<u32>,
    /// Only commands in an earlier frame: [`Commands::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// A page of commands, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    /// The commands.
    pub commands: Vec<CommandRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<u64>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// Which notices, as a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoticeQuery {
    /// How many; default 100, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = ROWS_MAX))]
    pub limit: Option<u32>,
    /// Only notices with a lower id: [`Notices::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<NoticeId>,
}

/// A page of notices, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notices {
    /// The notices.
    pub notices: Vec<NoticeRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<NoticeId>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}
