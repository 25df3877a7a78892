//! Counters of a running Staunch. Reading them disturbs nothing.

mod log;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::metrics::counter::Counter as Counted;
use prometheus_client::metrics::family::Family;
use serde::Serialize;
use staunch_model::{EvidenceKind, Failure, Span, Timestamp};

use crate::lookups::LookupMeter;
use crate::meter::{EvidenceResult, MISSED, Meter, SEALED};

pub use self::log::{LogMeter, LogReading};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has become of the spans of traces.
#[derive(Debug, Default)]
pub struct SpanTally {
    /// Spans that a receiver has taken.
    pub sent: Counter,
    /// Spans that no receiver has: there was no room for them, it refused them, or the end came first.
    pub lost: Counter,
}

/// How a file of protected networks stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListReading {
    /// Networks that it protects.
    pub networks: u64,
    /// When the content in force was read, by the engine's clock.
    pub read_at: Timestamp,
    /// Why the file as it is now is not in force; `None` when it is.
    pub refused: Option<Box<str>>,
    /// How often it was refused since the start.
    pub refusals: u64,
}

/// How a file stands that says what assets or accounts are, or where addresses are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextReading {
    /// What it names; of a database, the nodes of its tree, and 0 while it was never read.
    pub entries: u64,
    /// When the content in force was read, by the engine's clock.
    pub read_at: Timestamp,
    /// Why the file as it is now is not in force; `None` when it is.
    pub refused: Option<Box<str>>,
    /// How often it was refused since the start.
    pub refusals: u64,
}

/// How a feed stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedReading {
    /// Networks that it names.
    pub networks: u64,
    /// When what counts was made or fetched, by the machine's clock; `None` when it was never read.
    pub as_of: Option<Timestamp>,
    /// How long that counts.
    pub lasts: Span,
    /// Why the feed as it is now cannot be used; `None` when it can.
    pub failed: Option<Box<str>>,
}

/// How a place stands that evidence, or what proves it, is brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReading {
    /// When something last arrived there, by the machine's clock; `None` when nothing has.
    pub at: Option<Timestamp>,
    /// Whether the last attempt has failed.
    pub is_failing: bool,
    /// Attempts that have failed since the start.
    pub failures: u64,
    /// What waited to be brought there after the last attempt; `None` when nobody knows.
    pub waiting: Option<u64>,
}

/// How the places stand that evidence, or what proves it, is brought to.
#[derive(Debug, Default)]
pub struct CopyMeter {
    anchors: Mutex<BTreeMap<Box<str>, CopyReading>>,
    bucket: Mutex<Option<CopyReading>>,
}

impl CopyMeter {
    /// Those of checkpoints, by the names of their anchors.
    pub fn anchors(&self) -> MutexGuard<'_, BTreeMap<Box<str>, CopyReading>> {
        self.anchors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of artefacts; `None` when they stay where they are.
    pub fn bucket(&self) -> MutexGuard<'_, Option<CopyReading>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How the vault stands that evidence is kept in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultReading {
    /// Why there is none; `None` when there is one, or when none is wanted.
    pub absent: Option<Box<str>>,
    /// Pieces missed because of the vault since it sealed the last one.
    pub missed: u64,
    /// Why the last of those was.
    pub failure: Option<Box<str>>,
    /// Pieces missed because of the vault since the start.
    pub missed_total: u64,
}

impl VaultReading {
    /// Whether the next piece will be missed as well, as far as anybody knows.
    #[must_use]
    pub const fn is_failing(&self) -> bool {
        self.absent.is_some() || self.missed > 0
    }
}

/// How the vault stands, as those tell it who use it.
#[derive(Debug)]
pub struct VaultMeter {
    /// Artefacts by what became of them. Those of a try that left nothing in the vault and is followed by another are
    /// not among them; what a try has sealed counts again when the next one seals it.
    pub artefacts: Family<EvidenceResult, Counted>,
    reading: Mutex<VaultReading>,
}

impl Default for VaultMeter {
    /// Everything at zero, and there: what appears with its first count is no increase for who watches.
    fn default() -> Self {
        let meter = Self {
            artefacts: Family::default(),
            reading: Mutex::default(),
        };
        for kind in EvidenceKind::ALL {
            meter.count(kind, 0, 0);
        }
        meter
    }
}

impl VaultMeter {
    /// The reading.
    pub fn reading(&self) -> MutexGuard<'_, VaultReading> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many artefacts of a piece were sealed, and so many were not taken.
    pub(crate) fn count(&self, kind: EvidenceKind, sealed: usize, missed: usize) {
        for (result, count) in [(SEALED, sealed), (MISSED, missed)] {
            let kind = kind.name();
            let labels = EvidenceResult { kind, result };
            self.artefacts.get_or_create(&labels).inc_by(count as u64);
        }
    }

    /// A piece was missed because of the vault.
    pub(crate) fn missed(&self, why: &Failure) {
        let mut reading = self.reading();
        reading.missed += 1;
        reading.missed_total += 1;
        reading.failure = Some(why.what.clone());
    }

    /// A piece was sealed.
    pub(crate) fn sealed(&self) {
        let mut reading = self.reading();
        reading.missed = 0;
        reading.failure = None;
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Events that were received and could be read.
    pub events_accepted: Counter,
    /// Of those, events that matched a playbook.
    pub events_matched: Counter,
    /// Events that could not be read.
    pub events_malformed: Counter,
    /// Sample and test findings, which are never acted on.
    pub events_sample: Counter,
    /// Events turned away because a queue or the journal was full, or because a body held too many.
    pub events_turned_away: Counter,
    /// Requests with events whose sender did not prove who it is: no token, a wrong one, or a signature that is not
    /// good. What was in them is not known.
    pub requests_unproved: Counter,
    /// Events that matched nothing and were archived.
    pub events_archived: Counter,
    /// Events that matched nothing and for which the archive had no room or no time.
    pub events_archive_dropped: Counter,
    /// Frames made durable.
    pub frames: Counter,
    /// Times the journal was synced for them.
    pub commits: Counter,
    /// Effects carried out.
    pub effects: Counter,
    /// Drift sweeps.
    pub sweeps: Counter,
    /// Times that a follower fell behind, so that it had to fetch frames from the journal.
    pub follower_gaps: Counter,
    /// The spans of traces, where they are sent.
    pub spans: OnceLock<Arc<SpanTally>>,
    /// What services answer about addresses, where they are asked.
    pub lookups: OnceLock<Arc<LookupMeter>>,
    /// How the places stand that evidence is brought to, where it is brought anywhere.
    pub copies: OnceLock<Arc<CopyMeter>>,
    /// How the vault stands, where evidence is kept.
    pub vault: OnceLock<Arc<VaultMeter>>,
    /// How far the transparency log is behind the journal, where evidence is kept.
    pub log: OnceLock<Arc<LogMeter>>,
    /// What becomes of transactions, and how long it takes.
    pub meter: Meter,
    /// How the files stand that list protected networks, by their paths.
    pub(crate) lists: Mutex<BTreeMap<Box<str>, ListReading>>,
    /// How the files of context stand, by their kinds and paths.
    pub(crate) context: Mutex<BTreeMap<(&'static str, Box<str>), ContextReading>>,
    /// How the feeds stand, by their names.
    pub(crate) feeds: Mutex<BTreeMap<Box<str>, FeedReading>>,
    /// What has become of the journal's files, when they are not where they should be.
    pub(crate) journal_lost: Mutex<Option<Box<str>>>,
    /// Since when the journal has no room for events; `None` while it has.
    pub(crate) journal_full: Mutex<Option<Timestamp>>,
}

/// A reading of all counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// See [`Telemetry`].
    pub events_accepted: u64,
    /// See [`Telemetry`].
    pub events_matched: u64,
    /// See [`Telemetry`].
    pub events_malformed: u64,
    /// See [`Telemetry`].
    pub events_sample: u64,
    /// See [`Telemetry`].
    pub events_turned_away: u64,
    /// See [`Telemetry`].
    pub requests_unproved: u64,
    /// See [`Telemetry`].
    pub events_archived: u64,
    /// See [`Telemetry`].
    pub events_archive_dropped: u64,
    /// See [`Telemetry`].
    pub frames: u64,
    /// See [`Telemetry`].
    pub commits: u64,
    /// See [`Telemetry`].
    pub effects: u64,
    /// See [`Telemetry`].
    pub sweeps: u64,
    /// See [`Telemetry`].
    pub follower_gaps: u64,
    /// See [`SpanTally`].
    pub spans_sent: u64,
    /// See [`SpanTally`].
    pub spans_lost: u64,
}

impl Telemetry {
    /// How the feeds stand, by their names.
    pub fn feeds(&self) -> MutexGuard<'_, BTreeMap<Box<str>, FeedReading>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the files of context stand, by their kinds and paths.
    pub fn context(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Box<str>), ContextReading>> {
        self.context.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the files stand that list protected networks, by their paths.
    pub fn lists(&self) -> MutexGuard<'_, BTreeMap<Box<str>, ListReading>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads every counter.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let spans = self.spans.get();
        Counts {
            events_accepted: self.events_accepted.value(),
            events_matched: self.events_matched.value(),
            events_malformed: self.events_malformed.value(),
            events_sample: self.events_sample.value(),
            events_turned_away: self.events_turned_away.value(),
            requests_unproved: self.requests_unproved.value(),
            events_archived: self.events_archived.value(),
            events_archive_dropped: self.events_archive_dropped.value(),
            frames: self.frames.value(),
            commits: self.commits.value(),
            effects: self.effects.value(),
            sweeps: self.sweeps.value(),
            follower_gaps: self.follower_gaps.value(),
            spans_sent: spans.map_or(0, |it| it.sent.value()),
            spans_lost: spans.map_or(0, |it| it.lost.value()),
        }
    }
}
