//! Health signals: what tells whether the business is well, and for how long it is watched.
//!
//! A signal is named in the configuration, which says how it is read, or is a condition over a query of Prometheus. A
//! driver says whether it is healthy; what that means for a containment is for the engine alone.

use serde::{Deserialize, Serialize};

use crate::id::{IncidentId, TransactionId, WatchId};
use crate::text::clip;
use crate::time::{Span, Timestamp};

mod condition;

pub use condition::{CONDITION_CHARS_MAX, Comparison, Condition};

/// Bytes of what a signal says about itself.
pub const SAYS_BYTES_MAX: usize = 200;

/// What a health signal says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReading {
    /// Whether it is within its bound.
    pub healthy: bool,
    /// The figure and the bound, or the status that was answered; safe to show.
    pub says: Box<str>,
}

impl HealthReading {
    /// A reading. Unsafe characters in what the signal says are escaped, and it is cut to [`SAYS_BYTES_MAX`].
    #[must_use]
    pub fn new(healthy: bool, says: &str) -> Self {
        Self {
            healthy,
            says: clip(&crate::Printable(says).to_string(), SAYS_BYTES_MAX).into(),
        }
    }
}

/// What is watched, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WatchPlan {
    /// The signal's name in the configuration, or the text of a [`Condition`].
    pub signal: Box<str>,
    /// How long it is watched.
    pub lasts: Span,
    /// The time between two readings.
    pub every: Span,
}

impl WatchPlan {
    /// What is watched over a containment, safe to show.
    #[must_use]
    pub fn words(&self) -> String {
        let (signal, lasts, every) = (&self.signal, self.lasts, self.every);
        format!("{signal} is read before, and watched for {lasts}, every {every}; what hurts is lifted")
    }
}

/// What a watch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchOver {
    /// A containment, which is lifted when the signal says that it hurts.
    Containment(TransactionId),
    /// The recovery of the incident, at this step of it.
    Recovery(u16),
}

/// How far a watch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchState {
    /// The signal is read before the act: what is unhealthy by then says nothing about the act.
    Baseline,
    /// It was healthy, and what is watched has not begun.
    Ready,
    /// It is read until this time.
    Running {
        /// Until when.
        until: Timestamp,
    },
}

/// How a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchVerdict {
    /// The signal was healthy to the end.
    Healthy,
    /// It became unhealthy.
    Hurt,
    /// It was unhealthy or could not be read before the act, so that it cannot tell what the act does.
    NoBaseline,
    /// It could not be read.
    Blind,
    /// What it was over has ended.
    Moot,
}

impl WatchVerdict {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Healthy, Self::Hurt, Self::NoBaseline, Self::Blind, Self::Moot];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Hurt => "hurt",
            Self::NoBaseline => "no-baseline",
            Self::Blind => "blind",
            Self::Moot => "moot",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Healthy => "healthy to the end",
            Self::Hurt => "it HURTS",
            Self::NoBaseline => "it was not healthy before, and tells nothing",
            Self::Blind => "it could not be read",
            Self::Moot => "what it watched is over",
        }
    }
}

/// A watch as the engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Its id.
    pub id: WatchId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// What it is over.
    pub over: WatchOver,
    /// What is watched, and for how long.
    pub plan: WatchPlan,
    /// How far it is.
    pub state: WatchState,
    /// The number of the newest reading that was asked for.
    pub ticket: u32,
    /// Whether the answer to it is awaited.
    pub asked: bool,
    /// When an answer is given up, or the signal is read again; `None` while nothing is to be read.
    pub due: Option<Timestamp>,
    /// How many readings in a row were unhealthy.
    pub unhealthy: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_signal_says_is_cut() {
        let reading = HealthReading::new(true, &"é".repeat(SAYS_BYTES_MAX));
        assert!(reading.says.len() <= SAYS_BYTES_MAX, "{}", reading.says.len());
        assert!(reading.says.starts_with('é'));
        assert_eq!(*HealthReading::new(false, "31 \u{1b}[2J%").says, *"31 \\u{1b}[2J%");
    }
}
