//! One entry of a timeline: whose it is, where it is known from, and its words.

use serde::Serialize;
use staunch_connectors::logs::{Kind, Same};
use staunch_model::{Change, GuardResult, Record, Timestamp, TransactionId};

use crate::output::day_and_time;

/// That another source says the same is concluded.
pub(super) const JOINED: &str = "joined";

/// Who an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lane {
    /// What a source said to Staunch.
    Event,
    /// What a log says.
    Log,
    /// What sealed evidence says.
    Found,
    /// What was concluded.
    Incident,
    /// What was preserved, and what could not be.
    Evidence,
    /// What was done, and what was found of it.
    Transaction,
    /// What people were told.
    Notice,
    /// What people said.
    Person,
}

impl Lane {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Log => "log",
            Self::Found => "found",
            Self::Incident => "incident",
            Self::Evidence => "evidence",
            Self::Transaction => "transaction",
            Self::Notice => "notice",
            Self::Person => "person",
        }
    }
}

/// Where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::commands::incident) enum Basis {
    /// Staunch saw it: a source, a driver, a collector or a person told it so.
    Observed,
    /// A log or a file says so, which Staunch did not see happen.
    Stated,
    /// Staunch concluded or decided it from what was observed, or supplied a part of its time.
    Inferred,
}

impl Basis {
    pub(in crate::commands::incident) const fn name(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Stated => "stated",
            Self::Inferred => "inferred",
        }
    }

    pub(in crate::commands::incident) const fn mark(self) -> char {
        match self {
            Self::Observed => ' ',
            Self::Stated => '"',
            Self::Inferred => '~',
        }
    }

    /// The class of a mark in a picture.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Observed => "mark",
            Self::Stated => "mark stated",
            Self::Inferred => "mark inferred",
        }
    }

    /// What `record` rests on.
    pub(super) const fn of(record: &Record) -> Self {
        match record {
            Record::EvidenceSealed { .. } | Record::EvidencePostponed { .. } | Record::OrphanAdopted { .. } => {
                Self::Observed
            }
            // What files of assets and accounts say.
            Record::AroundKnown { .. } | Record::AssetsKnown { .. } => Self::Stated,
            _ => Self::Inferred,
        }
    }

    #[rustfmt::skip]
    pub(super) const fn of_change(change: &Change) -> Self {
        use Change as C;
        match change {
            C::Approved { .. }
            | C::Postponed { .. } | C::Landed(_) | C::Unproved { .. } | C::PostCheckPassed { .. }
            | C::RenewCheckStarted { .. } | C::Renewed { .. } | C::RenewFailed(_)
            | C::UndoLanded { .. } | C::Lifted(_) | C::ProbedAbsent | C::ProbedPresent(_) | C::ReleaseVerified
            | C::StaleReply { .. } => Self::Observed,
            C::PreCheckStarted(_) | C::Refused { .. } | C::WouldExecute { .. } | C::ApprovalRequested { .. }
            | C::ExecuteIntended { .. } | C::Resent(_) | C::RollbackStarted { .. } | C::GaveUp(_)
            | C::ReleaseStarted { .. } | C::RenewStarted { .. } | C::Joined(_) | C::LetGo(_) => Self::Inferred,
        }
    }
}

/// One entry. Its text is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// Its place in the order, from one on.
    #[serde(skip)]
    pub(super) number: usize,
    /// When, by the clock of this installation; of logs, by that of the source, corrected by what is stated of it.
    pub(super) at: Timestamp,
    /// Since the first entry of the journal, in microseconds; negative before it.
    pub(super) elapsed_us: i64,
    /// The frame of the journal that says so; none of logs and evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lsn: Option<u64>,
    pub(super) lane: Lane,
    pub(super) basis: Basis,
    /// What of it is inferred, whatever its basis is: `year`, `zone`, `joined`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) inferred: Vec<&'static str>,
    /// The source that said so, for events and logs. Safe to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) system: Option<String>,
    /// The file or the evidence that has it. Safe to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    /// What it is about, of logs and evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transaction: Option<TransactionId>,
    /// When it happened by the clock of its source, for what says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source_time: Option<Timestamp>,
    pub(super) what: String,
    /// The guards that decided it, with their numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) guards: Vec<GuardResult>,
    /// Who else says the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) also: Vec<Also>,
    /// How many more say so, who are not named.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) also_more: u64,
    /// What makes it the same as what others say.
    #[serde(skip)]
    pub(super) same: Option<Same>,
}

/// Another source of the same fact. Its text is safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Also {
    pub(super) system: String,
    pub(super) origin: String,
    /// When by that source, corrected likewise.
    pub(super) at: Timestamp,
    /// What it says.
    pub(super) what: String,
}

impl Also {
    /// Who it is, and when by it, under the heading of a `day`.
    pub(super) fn words(&self, day: &str) -> String {
        format!("{} ({}) at {}", self.system, self.origin, time_on(day, self.at))
    }
}

impl Entry {
    pub(super) fn new(at: Timestamp, (lane, basis, what): (Lane, Basis, String)) -> Self {
        Self {
            number: 0,
            at,
            elapsed_us: 0,
            lsn: None,
            lane,
            basis,
            inferred: Vec::new(),
            system: None,
            origin: None,
            kind: None,
            transaction: None,
            source_time: None,
            what,
            guards: Vec::new(),
            also: Vec::new(),
            also_more: 0,
            same: None,
        }
    }

    /// Its basis, and what of it is inferred.
    pub(super) fn based(&self) -> String {
        match (self.basis, self.inferred.as_slice()) {
            (basis, []) => basis.name().to_owned(),
            (Basis::Inferred, parts) => format!("inferred: {}", parts.join(", ")),
            (basis, parts) => format!("{}; inferred: {}", basis.name(), parts.join(", ")),
        }
    }

    /// All that is said of it under the heading of a `day`.
    pub(super) fn sentence(&self, day: &str) -> String {
        let whose = self.transaction.map_or_else(String::new, |id| format!("{id} "));
        let is_moved = |time: &Timestamp| self.lane == Lane::Event || *time != self.at;
        let said = self
            .source_time
            .filter(is_moved)
            .map_or_else(String::new, |time| format!(" (by its clock {})", time_on(day, time)));
        let supplied: Vec<&str> = self.inferred.iter().copied().filter(|it| *it != JOINED).collect();
        let supplied = match supplied.as_slice() {
            [] => String::new(),
            parts => format!(" ({} inferred)", parts.join(" and ")),
        };
        let also: String = self
            .also
            .iter()
            .map(|it| format!("; taken for the same: {}", it.words(day)))
            .collect();
        let more = match self.also_more {
            0 => String::new(),
            more => format!("; and {more} more that are not named"),
        };
        format!("{whose}{}{said}{supplied}{also}{more}", self.what)
    }
}

/// Whether there is nothing to tell of a number.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A time under the heading of a `day`.
fn time_on(day: &str, at: Timestamp) -> String {
    match day_and_time(at) {
        (date, time) if date == day => time,
        _ => at.to_string(),
    }
}
