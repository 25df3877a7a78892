//! What the index answers. Every text that came from outside is as it came: escape it before it is shown.

mod standing;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{
    ActionKind, Command, ContentHash, EvidenceId, EvidenceKind, IncidentId, IncidentOutcome, IncidentStatus, Judgement,
    Mode, NoticeId, NoticeLevel, Record, Severity, Span, StateKind, Timestamp, TransactionId,
};

use super::words;

pub use self::standing::Acts;

/// An incident, without what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentRow {
    /// Its id.
    pub id: IncidentId,
    /// The name of the playbook that answers it; empty when the journal does not tell.
    pub playbook: String,
    /// The hash of that playbook's text.
    pub playbook_hash: ContentHash,
    /// What makes it one incident: the value of the playbook's incident expression.
    pub key: String,
    /// Open or closed.
    pub status: IncidentStatus,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was closed.
    pub closed: Option<Timestamp>,
    /// How its contain phase stands, once that is settled.
    pub outcome: Option<IncidentOutcome>,
    /// Events seen, the first included.
    pub events: u64,
    /// The system that its first event came from.
    pub system: String,
    /// The rule that fired in its first event.
    pub signature: String,
    /// How bad its first event was.
    pub severity: Severity,
    /// The attacking address of its first event.
    pub source: Option<String>,
    /// The attacked address of its first event.
    pub destination: Option<String>,
    /// Whether something of it was lifted because it hurt the business, and nothing of it is in force.
    #[serde(default)]
    pub lifted_because_hurt: bool,
    /// How its acts stand, but those of its recovery.
    #[serde(default)]
    pub acts: Acts,
    /// Whether its newest recovery has taken every step.
    #[serde(default)]
    pub recovered: bool,
}

/// A safety transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransactionRow {
    /// Its id.
    pub id: TransactionId,
    /// The incident that planned it; `INC-0` for an orphan that was taken up.
    pub incident: IncidentId,
    /// The step's position in the playbook.
    pub step: u16,
    /// What it does.
    pub kind: ActionKind,
    /// What it is aimed at, as text.
    pub target: String,
    /// Its state.
    pub state: StateKind,
    /// Why it is in that state, when the state does not say it all.
    pub reason: Option<String>,
    /// The mode that applied when it was judged; `None` before that.
    pub mode: Option<Mode>,
    /// How long it was to stay in force; zero for an orphan.
    pub lease: Span,
    /// When its lease ends.
    pub lease_until: Option<Timestamp>,
    /// When it was planned.
    pub created: Timestamp,
    /// When something last became true of it.
    pub updated: Timestamp,
    /// When it came into force.
    pub in_force_at: Option<Timestamp>,
    /// When it was lifted or rolled back, and that was verified.
    pub released_at: Option<Timestamp>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When the question whether to act lapses, or lapsed.
    pub approval_expires: Option<Timestamp>,
    /// The newest judgement.
    pub judgement: Option<Judgement>,
}

/// An event of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventRow {
    /// The frame of the journal that holds all of it.
    pub lsn: u64,
    /// When it happened, by the source's clock.
    pub time: Option<Timestamp>,
    /// When it was received.
    pub received: Timestamp,
    /// The system it came from.
    pub system: String,
    /// The rule that fired.
    pub signature: String,
    /// How bad it is.
    pub severity: Severity,
    /// The attacking address.
    pub source: Option<String>,
    /// The attacked address.
    pub destination: Option<String>,
}

/// One thing that became true of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// The frame that says so.
    pub lsn: u64,
    /// When.
    pub at: Timestamp,
    /// Of which transaction; `None` when it concerns the incident as a whole.
    pub transaction: Option<TransactionId>,
    /// What, in a few words, safe to show.
    pub what: String,
    /// All of it, as it is in the journal.
    pub detail: serde_json::Value,
}

/// Where one is in the order of everything that happened: before which frame, and which entry of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The frame.
    pub lsn: u64,
    /// The entry, by its number in the index. An index that is made anew by another version may number otherwise.
    pub entry: u64,
}

/// One thing that happened, of whatever incident or of none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// Where it is in the order.
    pub place: Place,
    /// When.
    pub at: Timestamp,
    /// The incident it is about; for a transaction, the one that planned it.
    pub incident: Option<IncidentId>,
    /// The transaction it is about.
    pub transaction: Option<TransactionId>,
    /// What, in a few words, safe to show.
    pub what: String,
    /// All of it.
    pub detail: Record,
}

/// An incident with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentDetail {
    /// The incident.
    pub incident: IncidentRow,
    /// Its transactions, and those of others that it joined, by id.
    pub transactions: Vec<TransactionRow>,
    /// The commands that named it or one of its transactions, or affected one, oldest first; at most the first 1,000.
    #[serde(default)]
    pub commands: Vec<CommandRow>,
    /// The evidence that was asked for before it was contained, by id.
    #[serde(default)]
    pub evidence: Vec<EvidenceRow>,
    /// Its first 100 events. `incident.events` counts all of them.
    pub events: Vec<EventRow>,
    /// What became true of it, oldest first; at most the first 1,000 entries.
    pub timeline: Vec<TimelineEntry>,
    /// Entries of the timeline in all.
    pub timeline_count: u64,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRow {
    /// Its id.
    pub id: EvidenceId,
    /// What it is.
    pub kind: EvidenceKind,
    /// Of what, as text; `None` when it is of the machine as a whole, or when the event named nothing.
    pub target: Option<String>,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Until when acts that could destroy it waited for it.
    pub deadline: Timestamp,
    /// When it was sealed.
    pub sealed_at: Option<Timestamp>,
    /// The SHA-256 of the record of its collection, in hexadecimal digits.
    pub record: Option<ContentHash>,
    /// The bytes of its artefacts.
    pub bytes: Option<u64>,
    /// How many artefacts there are.
    pub artefacts: Option<u64>,
    /// When containment went on without it. It may have been sealed later.
    pub missed_at: Option<Timestamp>,
    /// Why.
    pub why: Option<String>,
}

/// A command of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRow {
    /// The frame that holds it.
    pub lsn: u64,
    /// When it was given.
    pub at: Timestamp,
    /// Who gave it.
    pub by: String,
    /// Where the request came from.
    pub from: String,
    /// The reason given.
    pub reason: String,
    /// What was asked for, as it is in the journal.
    pub command: serde_json::Value,
    /// The transactions it affected.
    pub affected: Vec<TransactionId>,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

impl CommandRow {
    /// Who asked for what, from where, why, and what became of it when it was refused. Safe to show.
    #[must_use]
    pub fn words(&self) -> String {
        let what = serde_json::from_value::<Command>(self.command.clone())
            .map_or_else(|_| self.command.to_string(), |command| command.to_string());
        words::asked(&self.by, &self.from, &what, &self.reason, self.refused.as_deref())
    }
}

/// A notice to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoticeRow {
    /// Its id.
    pub id: NoticeId,
    /// When it was queued.
    pub at: Timestamp,
    /// How urgent it is.
    pub level: NoticeLevel,
    /// The incident it is about.
    pub incident: Option<IncidentId>,
    /// The transaction it is about.
    pub transaction: Option<TransactionId>,
    /// What it says.
    pub text: String,
    /// When it was taken.
    pub sent_at: Option<Timestamp>,
    /// Whether it was given up.
    pub given_up: bool,
}
