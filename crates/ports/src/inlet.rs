//! What is known of an inlet: a way in which events come to Staunch without being posted to it.
//!
//! The inlet and whoever takes its lines count; `status` reads. Nothing is decided by these numbers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::Timestamp;

/// What one inlet follows, and what has come of it since the start.
#[derive(Debug)]
pub struct InletTally {
    kind: &'static str,
    follows: Box<str>,
    source: Box<str>,
    lines: AtomicU64,
    malformed: AtomicU64,
    dropped: AtomicU64,
    passed_over: AtomicU64,
    /// In microseconds; 0 before the first line.
    last_line: AtomicU64,
    failures: AtomicU64,
    absent: AtomicBool,
    waiting: Mutex<Option<Box<str>>>,
    failing: Mutex<Option<Box<str>>>,
}

/// A reading of an [`InletTally`]. Its text is as it came, so it must be escaped before it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InletReading {
    /// What it is: `file`, `syslog`, `socket`, `stdin` or `journal`.
    pub kind: String,
    /// What it follows: a path, an address.
    pub follows: String,
    /// The source that reads its lines.
    pub source: String,
    /// Lines that were taken.
    pub lines: u64,
    /// Of what came, what could not be read.
    pub malformed: u64,
    /// What was lost: it came too fast, was too long, or came from somebody who may not send. What is gone without a
    /// number, such as the end of a file that was removed while nobody read it, counts as one.
    pub dropped: u64,
    /// What the configuration says to leave out.
    pub passed_over: u64,
    /// When a line was last taken.
    pub last_line: Option<Timestamp>,
    /// Whether there is no file under the name that it follows.
    #[serde(default)]
    pub absent: bool,
    /// Why its lines cannot be taken at present.
    pub waiting: Option<String>,
    /// Why nothing can be read at present.
    pub failing: Option<String>,
    /// How often that has begun.
    #[serde(default)]
    pub failures: u64,
}

impl InletTally {
    /// A tally of the inlet of `kind` that follows `follows`, whose lines `source` reads. Both are safe to show.
    #[must_use]
    pub fn new(kind: &'static str, follows: &str, source: &str) -> Self {
        Self {
            kind,
            follows: follows.into(),
            source: source.into(),
            lines: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            passed_over: AtomicU64::new(0),
            last_line: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            absent: AtomicBool::new(false),
            waiting: Mutex::new(None),
            failing: Mutex::new(None),
        }
    }

    /// What the inlet is.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// What the inlet follows.
    #[must_use]
    pub const fn follows(&self) -> &str {
        &self.follows
    }

    /// The source that reads its lines.
    #[must_use]
    pub const fn source(&self) -> &str {
        &self.source
    }

    /// `lines` were taken.
    pub fn took(&self, lines: u64, now: Timestamp) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        self.last_line.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    /// `count` messages or lines could not be read.
    pub fn malformed(&self, count: u64) {
        self.malformed.fetch_add(count, Ordering::Relaxed);
    }

    /// `count` messages were lost.
    pub fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// `count` messages are none of ours by the configuration.
    pub fn passed_over(&self, count: u64) {
        self.passed_over.fetch_add(count, Ordering::Relaxed);
    }

    /// Whether what it follows is not there.
    pub fn absent(&self, absent: bool) {
        self.absent.store(absent, Ordering::Relaxed);
    }

    /// Lines wait because of `why`; with `None`, no longer.
    pub fn waits(&self, why: Option<&str>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = why.map(Into::into);
    }

    /// Nothing can be read because of `why`; with `None`, it can.
    pub fn fails(&self, why: Option<&str>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.is_none() && why.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        *failing = why.map(Into::into);
    }

    /// How it stands.
    #[must_use]
    pub fn reading(&self) -> InletReading {
        let number = |it: &AtomicU64| it.load(Ordering::Relaxed);
        let text = |it: &Mutex<Option<Box<str>>>| {
            let it = it.lock().unwrap_or_else(PoisonError::into_inner);
            it.as_deref().map(str::to_owned)
        };
        let last_line = number(&self.last_line);
        InletReading {
            kind: self.kind.to_owned(),
            follows: self.follows.to_string(),
            source: self.source.to_string(),
            lines: number(&self.lines),
            malformed: number(&self.malformed),
            dropped: number(&self.dropped),
            passed_over: number(&self.passed_over),
            last_line: (last_line > 0).then(|| Timestamp::from_micros(last_line)),
            absent: self.absent.load(Ordering::Relaxed),
            waiting: text(&self.waiting),
            failing: text(&self.failing),
            failures: number(&self.failures),
        }
    }
}
