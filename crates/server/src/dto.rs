//! What the API takes and gives: the one definition for the server and for whoever calls it.
//!
//! Never does anything. Ids are text (`INC-17`, `TX-17`), times are RFC 3339, spans are text such as `1h30m`. Text that
//! came from outside is as it came, so it must be escaped before it is shown on a terminal or in a page.

use serde::{Deserialize, Serialize};
use staunch_model::{
    ActionKind, Description, Endpoint, EventKind, IncidentId, InstallationId, Judgement, Mode, NoticeId, ReleaseScope,
    Severity, Span, StateKind, Timestamp, TransactionId,
};

pub use staunch_model::CommandReply;
pub use staunch_store::index::{
    CommandRow, EventRow, IncidentDetail, IncidentRow, NoticeRow, TimelineEntry, TransactionRow,
};

/// The paths of the API.
pub mod path {
    /// `POST` a body of events to this path followed by the source's name: [`super::Taken`].
    pub const EVENTS: &str = "/v1/events/";
    /// `POST` one event to this path followed by the source's name: [`super::EventPlan`].
    pub const PLAN: &str = "/v1/plan/";
    /// `GET`: [`super::Status`].
    pub const STATUS: &str = "/v1/status";
    /// `GET`, without a token: [`super::Health`].
    pub const HEALTH: &str = "/v1/health";
    /// `GET`: [`super::Containments`].
    pub const CONTAINMENTS: &str = "/v1/containments";
    /// `GET`: [`super::Approvals`].
    pub const APPROVALS: &str = "/v1/approvals";
    /// `GET` with [`super::IncidentQuery`]: [`super::Incidents`]. Followed by `/INC-17`: [`super::IncidentAnswer`].
    pub const INCIDENTS: &str = "/v1/incidents";
    /// `GET` with [`super::TransactionQuery`]: [`super::Transactions`].
    pub const TRANSACTIONS: &str = "/v1/transactions";
    /// `GET` with [`super::CommandQuery`]: [`super::Commands`].
    pub const COMMANDS: &str = "/v1/commands";
    /// `GET` with [`super::NoticeQuery`]: [`super::Notices`].
    pub const NOTICES: &str = "/v1/notices";
    /// `POST` a [`super::ReleaseRequest`]: [`super::CommandReply`].
    pub const RELEASE: &str = "/v1/release";
    /// `POST` a [`super::RenewRequest`]: [`super::CommandReply`].
    pub const RENEW: &str = "/v1/renew";
    /// `POST` a [`super::DecisionRequest`]: [`super::CommandReply`].
    pub const APPROVE: &str = "/v1/approve";
    /// `POST` a [`super::DecisionRequest`]: [`super::CommandReply`].
    pub const DENY: &str = "/v1/deny";
    /// `GET`: [`super::ModeView`]. `POST` a [`super::ModeRequest`]: [`super::CommandReply`].
    pub const MODE: &str = "/v1/mode";
}

/// The most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 500;

/// The content type of [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// The header of answers from the index that says how many frames it is behind the journal, when that is known.
pub const INDEX_LAG_HEADER: &str = "staunch-index-lag";

// ---------------------------------------------------------------------------------------------------------- problems

/// Why a request was not carried out, after RFC 9457. The answer to every request that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:staunch:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words; the same for every problem of its type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time, safe to show.
    pub detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The byte of the body where reading failed, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Elements of the body that could not be read, when all of them could not be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ElementError>,
    /// What could have been named instead, such as the known sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
}

impl Problem {
    /// What [`Problem::kind`] begins with.
    pub const TYPE_PREFIX: &str = "urn:staunch:problem:";

    /// The code: the last part of the type, such as `queue-full`.
    #[must_use]
    pub fn code(&self) -> &str {
        self.kind.strip_prefix(Self::TYPE_PREFIX).unwrap_or(&self.kind)
    }
}

// ------------------------------------------------------------------------------------------------------------ events

/// What was taken of a body. The sender may forget the events that it counts as accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Events that were read. Those that matched are durable; the others are known to match nothing.
    pub accepted: u64,
    /// Of those, events that matched a playbook.
    pub matched: u64,
    /// Of those, sample and test findings, which are never acted on.
    pub samples: u64,
    /// Playbooks whose trigger held for one of the events that has nothing to tell its incident by: nothing follows.
    #[serde(default)]
    pub without_key: u64,
    /// Playbooks that matched one of the events beyond the limit of matches for one event: nothing follows.
    #[serde(default)]
    pub beyond_limit: u64,
    /// Elements that are not events by the format or the configuration.
    pub ignored: u64,
    /// Elements that could not be read.
    pub malformed: u64,
    /// The first 100 of them.
    pub errors: Vec<ElementError>,
    /// The incidents that the matched events opened or joined, each once.
    pub incidents: Vec<IncidentId>,
}

/// An element that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElementError {
    /// Its position in the body, from 0.
    pub index: u64,
    /// The byte of the body where reading failed, from 0.
    pub offset: u64,
    /// What is wrong, safe to show.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// The plan for one event, with how the event was understood. Nothing was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventPlan {
    /// The event, as triggers see it.
    pub event: Understood,
    /// What would be done.
    pub plan: Plan,
}

/// How an event was understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Understood {
    /// The system it came from.
    pub system: String,
    /// What it is about.
    pub kind: EventKind,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// How bad it is.
    pub severity: Severity,
    /// The rule that fired, safe to show.
    pub signature: String,
    /// The attacking side.
    pub source: Endpoint,
    /// The attacked side.
    pub destination: Endpoint,
    /// Why that side was taken as the attacking one, or none was.
    pub because: Option<String>,
}

/// What would be done about one event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// One entry for each playbook that matched; empty when none did.
    pub responses: Vec<Response>,
}

/// What one playbook would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The playbook.
    pub playbook: String,
    /// What it is for.
    pub summary: String,
    /// The incident key.
    pub key: String,
    /// The open incident that it would join.
    pub joins: Option<IncidentId>,
    /// Its steps.
    pub steps: Vec<PlannedStep>,
}

/// What one step would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The action.
    pub action: ActionKind,
    /// What it is aimed at, as text; `None` when the event names nothing.
    pub target: Option<String>,
    /// How long it would stay in force.
    pub lease: Span,
    /// What would happen.
    pub ruling: Ruling,
    /// The refusal, or the transaction joined.
    pub why: Option<String>,
    /// Everything that was concluded.
    pub judgement: Option<Judgement>,
    /// Why the driver could not look, if it could not.
    pub look_failed: Option<String>,
    /// How it would be done and undone.
    pub driver: Option<Description>,
}

/// What would happen to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// It would act.
    Act,
    /// A person would be asked.
    Ask,
    /// It would be written down as what would have been done.
    Observe,
    /// It would be refused.
    Refuse,
    /// It would join a transaction that acts on the target already.
    Join,
}

impl Ruling {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Ask => "ask",
            Self::Observe => "observe",
            Self::Refuse => "refuse",
            Self::Join => "join",
        }
    }
}

// ------------------------------------------------------------------------------------------------------------ status

/// Whether Staunch is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`: the engine answers. A dead one is answered with a [`Problem`] and status 503.
    pub status: String,
}

/// How Staunch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// Whose journal it is.
    pub installation: InstallationId,
    /// When it started.
    pub started: Timestamp,
    /// How long ago that was.
    pub uptime: Span,
    /// How far it goes by itself.
    pub mode: ModeView,
    /// The playbooks in force, by name.
    pub playbooks: Vec<String>,
    /// The sources that events may be posted to, by name.
    pub sources: Vec<String>,
    /// What was counted since it started.
    pub counts: Counts,
    /// Submissions waiting to be taken up.
    pub queue_depth: u64,
    /// Incidents that are open.
    pub incidents_open: u64,
    /// Containments in force.
    pub in_force: u64,
    /// Of those, the ones that are not verified: stale or missing.
    pub unverified: u64,
    /// Transactions being carried out, lifted or rolled back.
    pub under_way: u64,
    /// Transactions that a person must approve or deny.
    pub awaiting_approval: u64,
    /// Transactions that a person must look at.
    pub stuck: u64,
    /// Notices that nobody has taken yet.
    pub notices_pending: u64,
    /// When containments were last verified; `None` before the first sweep.
    pub swept_at: Option<Timestamp>,
    /// The kinds of action whose containments could not be verified in the last sweep, and why.
    pub sweep_failures: Vec<SweepFailure>,
    /// The last frame of the journal, when that is known.
    pub journal_lsn: Option<u64>,
    /// The query index; `None` when there is none.
    pub index: Option<IndexView>,
}

/// A kind of action whose containments could not be verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepFailure {
    /// The kind.
    pub action: ActionKind,
    /// Why.
    pub why: String,
}

/// A reading of all counters, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events that were received and could be read.
    pub events_accepted: u64,
    /// Of those, events that matched a playbook.
    pub events_matched: u64,
    /// Events that could not be read.
    pub events_malformed: u64,
    /// Sample and test findings, which are never acted on.
    pub events_sample: u64,
    /// Events turned away because a queue or the journal was full.
    pub events_turned_away: u64,
    /// Events that matched nothing and were archived.
    pub events_archived: u64,
    /// Events that matched nothing and for which the archive had no room or no time.
    pub events_archive_dropped: u64,
    /// Frames made durable.
    pub frames: u64,
    /// Times the journal was synced for them.
    pub commits: u64,
    /// Effects carried out.
    pub effects: u64,
    /// Drift sweeps.
    pub sweeps: u64,
    /// Frames the followers had to fetch from the journal because they were too slow.
    pub follower_gaps: u64,
}

/// How far the index has followed the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexView {
    /// The last frame in it.
    pub position: u64,
    /// Frames of the journal that are not in it yet; `None` when the journal's end is not known.
    pub lag: Option<u64>,
}

/// How far Staunch goes by itself, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeView {
    /// The furthest that any playbook may go at present.
    pub mode: Mode,
    /// Who says so.
    pub because: ModeBecause,
    /// When the circuit breaker opened; `None` while it is closed.
    pub breaker_open: Option<Timestamp>,
    /// The mode set by a person; `None` while the policy's word holds.
    pub set: Option<Mode>,
    /// The policy's word.
    pub policy: Mode,
    /// All of that in a sentence.
    pub explanation: String,
}

/// Who says how far Staunch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeBecause {
    /// The circuit breaker is open.
    Breaker,
    /// A person set it.
    Operator,
    /// The configuration.
    Policy,
}

// ------------------------------------------------------------------------------------------------------ containments

/// Everything that holds something in the world or may do so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Containments {
    /// The time of the engine that they are as of.
    pub now: Timestamp,
    /// By transaction.
    pub containments: Vec<Containment>,
}

/// A containment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// What is known of whether a containment is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    /// The time of the engine that they are as of.
    pub now: Timestamp,
    /// By transaction.
    pub approvals: Vec<Approval>,
}

/// A transaction that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

// -------------------------------------------------------------------------------------------------------- the record

/// Which incidents, as a query string. What is left out does not narrow the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentQuery {
    /// `open` or `closed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<staunch_model::IncidentStatus>,
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
    pub limit: Option<u32>,
    /// Only incidents with a lower id: [`Incidents::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<IncidentId>,
}

/// A page of incidents, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incidents {
    /// The incidents.
    pub incidents: Vec<IncidentRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<IncidentId>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// One incident with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentAnswer {
    /// The incident with its transactions, events and timeline.
    #[serde(flatten)]
    pub detail: IncidentDetail,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// Which transactions, as a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub limit: Option<u32>,
    /// Only transactions with a lower id: [`Transactions::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TransactionId>,
}

/// A page of transactions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transactions {
    /// The transactions.
    pub transactions: Vec<TransactionRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<TransactionId>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// Which commands, as a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandQuery {
    /// How many; default 100, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only commands in an earlier frame: [`Commands::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// A page of commands, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// The commands.
    pub commands: Vec<CommandRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<u64>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

/// Which notices, as a query string.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoticeQuery {
    /// How many; default 100, at most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only notices with a lower id: [`Notices::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<NoticeId>,
}

/// A page of notices, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// The notices.
    pub notices: Vec<NoticeRow>,
    /// What to give as `before` for the next page; `None` when there is none.
    pub next: Option<NoticeId>,
    /// How far the answer follows the journal.
    pub index: IndexView,
}

// ---------------------------------------------------------------------------------------------------------- commands

/// Lift containment; stop what is waiting or under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// What: `{"transaction": "TX-17"}`, `{"incident": "INC-17"}` or `"all"`.
    pub scope: ReleaseScope,
    /// Why, at most [`REASON_BYTES_MAX`] bytes; may be left out.
    #[serde(default)]
    pub reason: String,
}

/// Let a containment in force run for this long from now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// Which.
    pub transaction: TransactionId,
    /// How long from now, such as `1h30m`.
    pub lease: Span,
    /// Why, at most [`REASON_BYTES_MAX`] bytes; may be left out.
    #[serde(default)]
    pub reason: String,
}

/// Approve or deny a transaction that waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Which.
    pub transaction: TransactionId,
    /// Why, at most [`REASON_BYTES_MAX`] bytes; may be left out.
    #[serde(default)]
    pub reason: String,
}

/// Set how far any playbook may go, and close the circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeRequest {
    /// How far.
    pub mode: Mode,
    /// Why, at most [`REASON_BYTES_MAX`] bytes; may be left out.
    #[serde(default)]
    pub reason: String,
}
