//! Counters of look-ups: what services answer about addresses, how quickly, and how often nobody had to be asked.
//!
//! Never names an address.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use staunch_model::Timestamp;

/// The first bound of the histogram, in seconds; each further one is twice as large, up to eight seconds.
const FIRST_BUCKET: f64 = 0.001;

/// The bounds of the histogram.
const BUCKETS: u16 = 14;

/// The first bound of the histogram of waits, in seconds; each further one is twice as large, up to five seconds.
const FIRST_WAIT_BUCKET: f64 = 0.000_01;

/// The bounds of that histogram.
const WAIT_BUCKETS: u16 = 20;

/// A look-up and what became of a question to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LookupResult {
    /// What it is called.
    pub lookup: String,
    /// What became of it.
    pub result: &'static str,
}

/// A look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LookupName {
    /// What it is called.
    pub lookup: String,
}

/// How a look-up stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupReading {
    /// Why the last question was not answered; `None` when it was, or none was asked.
    pub failed: Option<Box<str>>,
    /// Until when it is not asked, by the machine's clock.
    pub paused_until: Option<Timestamp>,
}

/// What can become of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has said a score.
    Answered,
    /// It cannot be reached, or says that it cannot answer.
    Down,
    /// It has not answered for so long that nobody listens any more.
    TimedOut,
    /// It has answered too much already.
    OverQuota,
    /// It does not take the key.
    Denied,
    /// What it says is no answer.
    Nonsense,
    /// So many questions are under way that it was not asked.
    Busy,
    /// It is left alone for a while, and was not asked.
    Paused,
    /// It was asked and has not answered within the deadline: who asked went on without.
    Late,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Down,
        Self::TimedOut,
        Self::OverQuota,
        Self::Denied,
        Self::Nonsense,
        Self::Busy,
        Self::Paused,
        Self::Late,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Down => "down",
            Self::TimedOut => "timed-out",
            Self::OverQuota => "over-quota",
            Self::Denied => "denied",
            Self::Nonsense => "nonsense",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::Late => "late",
        }
    }
}

/// Counts what becomes of questions to services.
#[derive(Debug)]
pub struct LookupMeter {
    /// Questions, by look-up and by what became of them. One that is late counts again when its answer comes.
    pub results: Family<LookupResult, Counter>,
    /// Questions of which the answer was there.
    pub hits: Family<LookupName, Counter>,
    /// Questions of which it was not.
    pub misses: Family<LookupName, Counter>,
    /// Seconds that services took.
    pub seconds: Family<LookupName, Histogram, fn() -> Histogram>,
    /// Seconds until it was known what all look-ups say of the addresses of a body, those in the cache among them.
    pub waits: Histogram,
    readings: Mutex<BTreeMap<Box<str>, LookupReading>>,
}

impl LookupMeter {
    /// Counters of the look-ups of these names, at zero.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let meter = Self {
            results: Family::default(),
            hits: Family::default(),
            misses: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(FIRST_BUCKET, 2.0, BUCKETS))),
            waits: Histogram::new(exponential_buckets(FIRST_WAIT_BUCKET, 2.0, WAIT_BUCKETS)),
            readings: Mutex::default(),
        };
        for name in names {
            for outcome in Outcome::ALL {
                drop(meter.results.get_or_create(&result(name, outcome)));
            }
            drop(meter.hits.get_or_create(&label(name)));
            drop(meter.misses.get_or_create(&label(name)));
            drop(meter.seconds.get_or_create(&label(name)));
            meter.readings().insert(name.into(), LookupReading::default());
        }
        meter
    }

    /// Counts what became of a question to the look-up `name`.
    pub fn count(&self, name: &str, outcome: Outcome) {
        self.results.get_or_create(&result(name, outcome)).inc();
    }

    /// Counts questions whose answers were there, and others.
    pub fn cached(&self, name: &str, hits: u64, misses: u64) {
        self.hits.get_or_create(&label(name)).inc_by(hits);
        self.misses.get_or_create(&label(name)).inc_by(misses);
    }

    /// Notes how long the look-up `name` took to answer.
    pub fn took(&self, name: &str, time: Duration) {
        self.seconds.get_or_create(&label(name)).observe(time.as_secs_f64());
    }

    /// How many questions there were to the look-up `name` whose answers were there, and others.
    #[must_use]
    pub fn of_cache(&self, name: &str) -> (u64, u64) {
        let hits = self.hits.get_or_create(&label(name)).get();
        (hits, self.misses.get_or_create(&label(name)).get())
    }

    /// How many questions to the look-up `name` came out like that.
    #[must_use]
    pub fn counted(&self, name: &str, outcome: Outcome) -> u64 {
        self.results.get_or_create(&result(name, outcome)).get()
    }

    /// How the look-ups stand, by their names.
    pub fn readings(&self) -> MutexGuard<'_, BTreeMap<Box<str>, LookupReading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn label(name: &str) -> LookupName {
    LookupName {
        lookup: name.to_owned(),
    }
}

fn result(name: &str, outcome: Outcome) -> LookupResult {
    LookupResult {
        lookup: name.to_owned(),
        result: outcome.name(),
    }
}
