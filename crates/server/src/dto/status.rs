//! How Staunch stands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{ActionKind, InstallationId, Mode, Span, Timestamp};
use staunch_ports::InletReading;

use super::{CommandRow, DrillUnderWay, ProtectionView};

/// Whether Staunch is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`: the engine answers. `journal-full` and `journal-lost`: it answers, takes no events and contains nothing
    /// new; a restart does not help. A dead one is answered with a [`super::Problem`] and status 503.
    pub status: String,
}

/// How Staunch stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// What goes wrong on purpose at present; `None` when nothing does.
    #[serde(default)]
    pub drill: Option<DrillUnderWay>,
    /// Whether everybody on its machine may do everything without a token, as `--allow-unauthenticated-loopback` has
    /// it.
    #[serde(default)]
    pub open_to_loopback: bool,
    /// When the configuration was last read and found good; `None` when it cannot be read again.
    #[serde(default)]
    pub configuration_read: Option<Timestamp>,
    /// Keys of it that had changed since the start when it was read, and take effect with the next one only.
    #[serde(default)]
    pub at_next_start: Vec<String>,
    /// The playbooks in force, by name.
    pub playbooks: Vec<String>,
    /// The sources that events may be posted to, by name.
    pub sources: Vec<String>,
    /// The ways in which events come without being posted.
    #[serde(default)]
    pub inlets: Vec<InletReading>,
    /// The files that list what is never touched.
    #[serde(default)]
    pub lists: Vec<ListView>,
    /// The files that say what assets and accounts are.
    #[serde(default)]
    pub context: Vec<ContextView>,
    /// The feeds.
    #[serde(default)]
    pub feeds: Vec<FeedView>,
    /// The services that are asked about addresses.
    #[serde(default)]
    pub lookups: Vec<LookupView>,
    /// How evidence stands.
    #[serde(default)]
    pub evidence: EvidenceView,
    /// What was counted since it started.
    pub counts: Counts,
    /// Submissions waiting to be taken up.
    pub queue_depth: u64,
    /// Incidents that are open.
    pub incidents_open: u64,
    /// Containments in force.
    pub in_force: u64,
    /// The same by the kind of action, those without any left out.
    #[serde(default)]
    pub in_force_by: Vec<ActionCount>,
    /// Of those, the ones that are not verified: stale or missing.
    pub unverified: u64,
    /// Transactions being carried out, lifted or rolled back.
    pub under_way: u64,
    /// Transactions that a person must approve or deny.
    pub awaiting_approval: u64,
    /// Transactions that a person must look at.
    pub stuck: u64,
    /// What other installations have left at the enforcement points.
    #[serde(default)]
    pub former: u64,
    /// Networks that people keep from being contained at present: `staunch protect add` and `staunch release --trust`.
    #[serde(default)]
    pub exemptions: u64,
    /// The newest of those, at most 4.
    #[serde(default)]
    pub exempted: Vec<ProtectionView>,
    /// Acts that were refused since the start, by what refused them, most first.
    #[serde(default)]
    pub refusals: Vec<ReasonCount>,
    /// Rollbacks that were begun since the start, by their cause, most first.
    #[serde(default)]
    pub rollbacks: Vec<ReasonCount>,
    /// Notices that nobody has taken yet.
    pub notices_pending: u64,
    /// When containments were last verified; `None` before the first sweep.
    pub swept_at: Option<Timestamp>,
    /// The kinds of action whose containments could not be verified in the last sweep, and why.
    pub sweep_failures: Vec<SweepFailure>,
    /// The last frame of the journal, when that is known.
    pub journal_lsn: Option<u64>,
    /// What has become of the journal's files, when they are not where they should be: no events are taken then.
    #[serde(default)]
    pub journal_lost: Option<String>,
    /// Since when the journal has no room for events, which are refused; `None` while it has.
    #[serde(default)]
    pub journal_full: Option<Timestamp>,
    /// What the kernel does not hold the process to, of the sandbox that it was to have; empty when there is nothing,
    /// and where it is to have none.
    #[serde(default)]
    pub sandbox_gaps: Vec<String>,
    /// The query index; `None` when there is none.
    pub index: Option<IndexView>,
}

/// How a file stands that lists what is never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListView {
    /// Its path.
    pub path: String,
    /// Networks that it protects.
    pub networks: u64,
    /// When what is in force was read.
    pub read_at: Timestamp,
    /// Why the file as it is now is not in force; `None` when it is.
    pub refused: Option<String>,
    /// How often it was refused since the start.
    pub refusals: u64,
}

/// How a file stands that says what assets or accounts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextView {
    /// What it is about: `assets`, `identities`, or `geo` for where addresses are.
    pub kind: String,
    /// Its path.
    pub path: String,
    /// What it names; of a database, the nodes of its tree, and 0 while it was never read.
    pub entries: u64,
    /// When what is in force was read.
    pub read_at: Timestamp,
    /// Why the file as it is now is not in force; `None` when it is.
    pub refused: Option<String>,
    /// How often it was refused since the start.
    pub refusals: u64,
}

/// How a feed stands that says which addresses are bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FeedView {
    /// What it is called.
    pub name: String,
    /// Networks that it names.
    pub networks: u64,
    /// When what counts was made or fetched; `None` when nothing of it was read since the start.
    pub as_of: Option<Timestamp>,
    /// When it counts no longer.
    pub expires: Option<Timestamp>,
    /// Why the feed as it is now cannot be used; `None` when it can.
    pub failed: Option<String>,
}

/// How a service stands that is asked about addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LookupView {
    /// What it is called.
    pub name: String,
    /// Questions whose answers were there already.
    pub hits: u64,
    /// Questions whose answers were not.
    pub misses: u64,
    /// Why the last question to it was not answered; `None` when it was, or none was asked.
    pub failed: Option<String>,
    /// Until when it is left alone; `None` when it is asked.
    pub paused_until: Option<Timestamp>,
}

/// How evidence stands. Pieces are collections of one kind for one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceView {
    /// Pieces that are being taken and were not missed.
    pub preserving: u64,
    /// Pieces sealed since the start.
    pub sealed: u64,
    /// Pieces missed since the start: containment went on without them. One that came late is sealed, too.
    pub missed: u64,
    /// Bytes of what was sealed since the start, before compression.
    pub bytes: u64,
    /// The places that checkpoints of the transparency log are brought to.
    pub anchors: Vec<CopyView>,
    /// The bucket that artefacts are brought to; `None` when they stay in the vault's directory.
    pub bucket: Option<CopyView>,
    /// Why there is no vault, so that every piece is missed; `None` when there is one, or when no evidence is kept.
    #[serde(default)]
    pub no_vault: Option<String>,
    /// Pieces that were missed because of the vault since it sealed the last one.
    #[serde(default)]
    pub vault_missed: u64,
    /// Why the last of those was; `None` when there is none.
    #[serde(default)]
    pub vault_failure: Option<String>,
}

/// How a place stands that evidence, or what proves it, is brought to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CopyView {
    /// What it is called; empty for the bucket, of which there is one.
    pub name: String,
    /// When something last arrived there, as far as is known; `None` when nothing has.
    pub at: Option<Timestamp>,
    /// Whether the last attempt has failed.
    pub is_failing: bool,
    /// What waited to be brought there after the last attempt; `None` when nobody knows.
    pub waiting: Option<u64>,
}

/// A kind of action whose containments could not be verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SweepFailure {
    /// The kind.
    pub action: ActionKind,
    /// Why.
    pub why: String,
}

/// How many containments there are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActionCount {
    /// The kind.
    pub action: ActionKind,
    /// Who carries it out, such as `nftables`; empty when nobody does any more.
    pub driver: String,
    /// How many.
    pub count: u64,
}

/// How often something was not done, or was undone, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReasonCount {
    /// The word for it, as in the metrics.
    pub reason: String,
    /// How often since the start.
    pub count: u64,
}

/// A reading of all counters, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Events that were received and could be read.
    pub events_accepted: u64,
    /// Of those, events that matched a playbook.
    pub events_matched: u64,
    /// Events that could not be read.
    pub events_malformed: u64,
    /// Sample and test findings, which are never acted on.
    pub events_sample: u64,
    /// Events turned away because a queue or the journal was full, or because a body held too many.
    pub events_turned_away: u64,
    /// Requests with events whose sender did not prove who it is: no token, a wrong one, or a signature that is not
    /// good.
    #[serde(default)]
    pub requests_unproved: u64,
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
    /// Times that who follows the journal (index, log, traces) fell behind and had to fetch frames from it.
    pub follower_gaps: u64,
    /// Spans that a receiver of traces has taken.
    #[serde(default)]
    pub spans_sent: u64,
    /// Spans that no receiver has.
    #[serde(default)]
    pub spans_lost: u64,
}

/// How far the index has followed the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexView {
    /// The last frame in it.
    pub position: u64,
    /// Frames of the journal that are not in it yet; `None` when the journal's end is not known.
    pub lag: Option<u64>,
    /// Why frames cannot be entered, such as a disk that is full; `null` while they can. Safe to show.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// How far Staunch goes by itself, and who says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModeView {
    /// The furthest that any playbook may go at present.
    pub mode: Mode,
    /// Who says so.
    pub because: ModeBecause,
    /// When the circuit breaker opened; `None` while it is closed.
    pub breaker_open: Option<Timestamp>,
    /// The mode set by a person; `None` while the policy's word holds.
    pub set: Option<Mode>,
    /// The command that set it; `None` as long as the index does not have it, and while no person's word holds.
    #[serde(default)]
    pub set_by: Option<CommandRow>,
    /// The policy's word.
    pub policy: Mode,
    /// All of that in a sentence.
    pub explanation: String,
}

/// Who says how far Staunch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModeBecause {
    /// The circuit breaker is open.
    Breaker,
    /// A person set it.
    Operator,
    /// The configuration.
    Policy,
}
