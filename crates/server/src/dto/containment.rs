//! What holds something in the world, and what a person must decide.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{ActionKind, IncidentId, Judgement, Mode, Span, StateKind, Timestamp, TransactionId};
use staunch_store::index::ROWS_MAX;

/// Which part of a list by transaction, as a query string. Without a limit it is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// How many at most, up to 1,000; left out, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 1, "maximum" = ROWS_MAX))]
    pub limit: Option<u32>,
    /// Only those of transactions with a higher id: `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TransactionId>,
}

/// Everything that holds something in the world or may do so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Containments {
    /// The time of the engine that they are as of.
    pub now: Timestamp,
    /// By transaction.
    pub containments: Vec<Containment>,
    /// What to give as `after` for the next page; `None` when there is none.
    #[serde(default)]
    pub next: Option<TransactionId>,
    /// What other installations have left; none of it is counted or lifted with the rest. On the first page.
    #[serde(default)]
    pub former: Vec<FormerView>,
}

/// Something that another installation of Staunch has put in force. An installation whose data directory was lost or
/// moved away is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormerView {
    /// The kind of action.
    pub action: ActionKind,
    /// What it holds.
    pub target: String,
    /// Its whole label: whose it is.
    pub label: String,
    /// For how long from the newest sweep on the enforcement point keeps it; `None` when it does not say.
    pub expires_in: Option<Span>,
}

/// A containment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Containment {
    /// Its transaction.
    pub transaction: TransactionId,
    /// The incident that planned it; `INC-0` for an orphan that is being lifted.
    pub incident: IncidentId,
    /// What it does.
    pub action: ActionKind,
    /// What it is aimed at, as text.
    pub target: String,
    /// Its state.
    pub state: StateKind,
    /// The mode under which it acts.
    pub mode: Mode,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// The playbook; `None` for an orphan.
    pub playbook: Option<String>,
    /// When it came to be asked for: when its incident was opened.
    pub opened: Option<Timestamp>,
    /// When its lease ends; `None` before it is in force.
    pub lease_until: Option<Timestamp>,
    /// The end of the lease that a renewal under way asks for.
    pub renewing: Option<Timestamp>,
    /// When it was last found in place.
    pub verified_at: Option<Timestamp>,
    /// Whether it is still there; `None` in a state in which that is not known by a sweep.
    pub drift: Option<DriftView>,
    /// Why that is not `verified`.
    pub drift_reason: Option<String>,
    /// The incidents that hold it.
    pub holders: Vec<IncidentId>,
    /// Why it is in its state, when the state does not say it all.
    pub reason: Option<String>,
    /// What protects its target by the policy of the present; the one that it was judged by did not.
    #[serde(default)]
    pub protected: Option<Protected>,
}

/// What holds a target that is never touched. It is not lifted by itself: a person must say which of the two is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Protected {
    /// The transaction that holds it.
    pub transaction: TransactionId,
    /// The narrowest protected network around the target.
    pub network: String,
    /// Why that network is protected.
    pub reason: String,
}

/// What is known of whether a containment is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftView {
    /// It was there, ours and enforced, within the last three sweep intervals.
    Verified,
    /// It could not be verified lately.
    Stale,
    /// It was not there, or not enforced.
    Missing,
}

impl DriftView {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// What a person must decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approvals {
    /// The time of the engine that they are as of.
    pub now: Timestamp,
    /// By transaction.
    pub approvals: Vec<Approval>,
    /// What to give as `after` for the next page; `None` when there is none.
    #[serde(default)]
    pub next: Option<TransactionId>,
}

/// A transaction that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its incident.
    pub incident: IncidentId,
    /// The playbook.
    pub playbook: Option<String>,
    /// The incident key.
    pub key: Option<String>,
    /// What it would do.
    pub action: ActionKind,
    /// What it is aimed at, as text.
    pub target: String,
    /// How long it would stay in force.
    pub lease: Span,
    /// When the question lapses.
    pub expires: Timestamp,
    /// What was concluded about it; `None` when the index does not have it yet.
    pub judgement: Option<Judgement>,
}
