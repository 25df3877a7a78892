//! What the API takes and gives: the one definition for the server and for whoever calls it.
//!
//! Never does anything. Ids are text (`INC-17`, `TX-17`), times are RFC 3339, spans are text such as `1h30m`. Text that
//! came from outside is as it came, so it must be escaped before it is shown on a terminal or in a page.

mod command;
mod containment;
mod drill;
mod event;
mod problem;
mod protection;
mod record;
mod recovery;
mod status;
mod stream;

pub use command::{DecisionRequest, ModeRequest, ReleaseRequest, ReloadRequest, Reloaded, RenewRequest};
pub use containment::{Approval, Approvals, Containment, Containments, DriftView, FormerView, PageQuery, Protected};
pub use drill::{DRILL_LASTS_MAX, DrillRequest, DrillStopRequest, DrillStopped, DrillUnderWay, DrillView};
pub use event::{ElementError, EventPlan, Plan, PlannedEvidence, PlannedStep, Response, Ruling, Taken, Understood};
pub use problem::{Mistake, Problem};
pub use protection::{
    ProtectRequest, ProtectionOrigin, ProtectionQuery, ProtectionView, Protections, UnprotectRequest,
};
pub use record::{
    CommandQuery, Commands, IncidentAnswer, IncidentQuery, Incidents, NoticeQuery, Notices, TransactionQuery,
    Transactions,
};
pub use recovery::{RecoverRequest, RecoveryPhase, RecoveryStepPhase, RecoveryStepView, RecoveryView, WatchView};
pub use status::{
    ActionCount, ContextView, CopyView, Counts, EvidenceView, FeedView, Health, IndexView, ListView, LookupView,
    ModeBecause, ModeView, ReasonCount, Status, SweepFailure,
};
pub use staunch_model::{
    Clause, ClauseKind, ClauseValue, CommandReply, DrillFault, Explanation, TriggerOutcome, TriggerReport,
};
pub use staunch_ports::InletReading;
pub use staunch_store::index::{
    CommandRow, EventRow, EvidenceRow, IncidentDetail, IncidentRow, NoticeRow, TimelineEntry, TransactionRow,
};
pub use stream::{StreamEntry, StreamKind, StreamQuery};

/// The paths of the API.
pub mod path {
    /// `POST` a body of events to this path followed by the source's name: [`super::Taken`].
    pub const EVENTS: &str = "/v1/events/";
    /// `POST` one event to this path followed by the source's name: [`super::EventPlan`].
    pub const PLAN: &str = "/v1/plan/";
    /// `GET`: [`super::Status`].
    pub const STATUS: &str = "/v1/status";
    /// `GET`: the text format of Prometheus, version 0.0.4.
    pub const METRICS: &str = "/metrics";
    /// `GET`, without a token: [`super::Health`].
    pub const HEALTH: &str = "/v1/health";
    /// `GET` with [`super::PageQuery`]: [`super::Containments`].
    pub const CONTAINMENTS: &str = "/v1/containments";
    /// `GET` with [`super::PageQuery`]: [`super::Approvals`].
    pub const APPROVALS: &str = "/v1/approvals";
    /// `GET` with [`super::IncidentQuery`]: [`super::Incidents`]. Followed by `/INC-17`: [`super::IncidentAnswer`].
    pub const INCIDENTS: &str = "/v1/incidents";
    /// `GET` with [`super::TransactionQuery`]: [`super::Transactions`].
    pub const TRANSACTIONS: &str = "/v1/transactions";
    /// `GET` with [`super::CommandQuery`]: [`super::Commands`].
    pub const COMMANDS: &str = "/v1/commands";
    /// `GET` with [`super::NoticeQuery`]: [`super::Notices`].
    pub const NOTICES: &str = "/v1/notices";
    /// `GET` with [`super::StreamQuery`]: server-sent events, each a [`super::StreamEntry`] as JSON under the name of
    /// its kind. Who sends `Last-Event-ID` goes on behind that event.
    pub const STREAM: &str = "/v1/stream";
    /// `GET`, without a token: this API as OpenAPI 3.1.
    pub const OPENAPI: &str = "/v1/openapi.json";
    /// `GET`, without a token: the same as a page for people.
    pub const DOCS: &str = "/v1/docs";
    /// `POST` a [`super::ReleaseRequest`]: [`super::CommandReply`].
    pub const RELEASE: &str = "/v1/release";
    /// `POST` a [`super::RenewRequest`]: [`super::CommandReply`].
    pub const RENEW: &str = "/v1/renew";
    /// Followed by `/INC-17`, `GET`: [`super::RecoveryView`].
    pub const RECOVERIES: &str = "/v1/recoveries";
    /// `POST` a [`super::RecoverRequest`]: [`super::CommandReply`].
    pub const RECOVER: &str = "/v1/recover";
    /// `POST` a [`super::DecisionRequest`]: [`super::CommandReply`].
    pub const APPROVE: &str = "/v1/approve";
    /// `POST` a [`super::DecisionRequest`]: [`super::CommandReply`].
    pub const DENY: &str = "/v1/deny";
    /// `GET`: [`super::ModeView`]. `POST` a [`super::ModeRequest`]: [`super::CommandReply`].
    pub const MODE: &str = "/v1/mode";
    /// `GET` with [`super::ProtectionQuery`]: [`super::Protections`].
    pub const PROTECTIONS: &str = "/v1/protections";
    /// `POST` a [`super::ProtectRequest`]: [`super::CommandReply`].
    pub const PROTECT: &str = "/v1/protect";
    /// `POST` a [`super::UnprotectRequest`]: [`super::CommandReply`].
    pub const UNPROTECT: &str = "/v1/unprotect";
    /// `POST` a [`super::ReloadRequest`]: [`super::Reloaded`].
    pub const RELOAD: &str = "/v1/reload";
    /// `GET`: [`super::DrillView`]. `POST` a [`super::DrillRequest`]: the same. There only where a scope for drills is
    /// declared.
    pub const DRILL: &str = "/v1/drill";
    /// `POST` a [`super::DrillStopRequest`]: [`super::DrillStopped`]. There only where a scope for drills is declared.
    pub const DRILL_STOP: &str = "/v1/drill/stop";
}

/// The most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 500;

/// What [`is_blank`] asks for, as a regular expression of JSON Schema (ECMA-262), but for the tags beyond U+E0000,
/// which it has no short form for.
pub(crate) const REASON_PATTERN: &str =
    r"[^\s\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]";

/// Whether a reason says nothing: there is no character in it that can be seen.
#[must_use]
pub fn is_blank(reason: &str) -> bool {
    reason
        .chars()
        .all(|c| c.is_whitespace() || staunch_model::text::is_unsafe_to_show(c))
}

/// The most mistakes that an answer names.
pub const MISTAKES_MAX: usize = 100;

/// The most exemptions that [`Status`] names.
pub const STATUS_EXEMPTIONS_MAX: usize = 4;

/// The content type of [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// The header of answers from the index that says how many frames it is behind the journal, when that is known.
pub const INDEX_LAG_HEADER: &str = "staunch-index-lag";

/// The header of answers from the index that says why frames cannot be entered into it, while that is so.
pub const INDEX_TROUBLE_HEADER: &str = "staunch-index-trouble";
