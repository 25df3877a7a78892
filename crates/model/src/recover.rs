//! The recover phase: what is done, in order, to get back to normal after an incident was contained.

use serde::{Deserialize, Serialize};

use crate::action::ActionKind;
use crate::health::{WatchOver, WatchPlan};
use crate::id::{IncidentId, TransactionId, WatchId};
use crate::playbook::Playbook;
use crate::record::Record;
use crate::target::Target;
use crate::text::Printable;
use crate::time::Timestamp;

/// A step of the recover phase. They are taken one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoverStep {
    /// An act, as a transaction of its own: it is done when it is verified.
    Act {
        /// Its position among the playbook's steps.
        step: u16,
    },
    /// What contains the incident is lifted, one after the other, each verified before the next.
    Release {
        /// Of these kinds, in this order; all in reverse order of completion when there are none.
        kinds: Vec<ActionKind>,
    },
    /// A signal is watched, and must be healthy to the end.
    Soak {
        /// What is watched, and for how long.
        watch: WatchPlan,
        /// Whether what this recovery has lifted is contained again when it is not.
        back: bool,
    },
    /// People are asked for a change.
    RequestChange {
        /// What is to be changed, safe to show.
        text: Box<str>,
    },
}

impl RecoverStep {
    /// What it does in a recovery by `playbook`, whose acts are aimed at `targets` by their position among its steps.
    /// Safe to show.
    #[must_use]
    pub fn words(&self, playbook: &Playbook, targets: &[(u16, Option<Target>)]) -> String {
        match self {
            Self::Act { step } => {
                let action = playbook
                    .steps
                    .get(usize::from(*step))
                    .map_or("nothing", |it| it.action.name());
                let target = targets.iter().find(|(of, _)| of == step);
                match target.and_then(|(_, target)| target.as_ref()) {
                    Some(target) => format!("{action} on {}", Printable(&target.to_string())),
                    None => format!("{action} on nothing: the event names none"),
                }
            }
            Self::Release { kinds } if kinds.is_empty() => {
                "release all, in reverse order of completion, each verified".to_owned()
            }
            Self::Release { kinds } => {
                let names: Vec<&str> = kinds.iter().map(|it| it.name()).collect();
                format!("release {}, in this order, each verified", names.join(", "))
            }
            Self::Soak { watch, back } => {
                let otherwise = if *back { "contain again" } else { "stop" };
                let (signal, lasts) = (&watch.signal, watch.lasts);
                format!("{signal} has to be healthy for {lasts}; otherwise {otherwise} and page")
            }
            Self::RequestChange { text } => format!("ask people for a change: {text}"),
        }
    }
}

/// What a recovery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryWait {
    /// An act of its own, until it is verified.
    Act(TransactionId),
    /// A containment that is being lifted.
    Release(TransactionId),
    /// A watch.
    Soak(WatchId),
}

/// How a recovery ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryEnd {
    /// Every step was taken.
    Recovered,
    /// A step failed.
    Failed {
        /// Why, safe to show.
        why: Box<str>,
    },
    /// A signal was not healthy, and what had been lifted is contained again.
    Back {
        /// Why, safe to show.
        why: Box<str>,
    },
    /// A person stopped it.
    Stopped {
        /// Who.
        by: Box<str>,
    },
}

impl RecoveryEnd {
    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Failed { .. } => "failed",
            Self::Back { .. } => "back",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// How far the recovery of an incident is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecoveryState {
    /// Nobody has started it.
    Waiting,
    /// It is under way.
    Running {
        /// Who started it.
        by: Box<str>,
        /// The step it is at.
        at: u16,
        /// What it waits for; `None` before the step is begun.
        waits: Option<RecoveryWait>,
    },
    /// It has ended.
    Ended(RecoveryEnd),
}

/// The recovery of an incident as the engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// What its acts are aimed at, by their position among the playbook's steps.
    pub targets: Vec<(u16, Option<Target>)>,
    /// How far it is.
    pub state: RecoveryState,
    /// Its acts, which are no containment, and when each was planned.
    pub acts: Vec<(TransactionId, Timestamp)>,
    /// What it has lifted.
    pub lifted: Vec<TransactionId>,
    /// What was contained again, and when that was decided.
    pub again: Vec<(TransactionId, Timestamp)>,
    /// How many of its steps were taken when it ended; 0 before.
    pub taken: u16,
    /// When it ended; `None` before.
    pub ended: Option<Timestamp>,
}

impl Recovery {
    /// True while it is under way.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        matches!(self.state, RecoveryState::Running { .. })
    }

    /// When it was decided that `transaction` is done, whatever the age of the event; `None` when this recovery did
    /// not.
    #[must_use]
    pub fn decided(&self, transaction: TransactionId) -> Option<Timestamp> {
        let mut own = self.acts.iter().chain(&self.again);
        own.find(|(id, _)| *id == transaction).map(|(_, at)| *at)
    }
}

/// What `record` says of a health watch or of a recovery, and of which incident; `None` for a record of anything else.
/// Escape it before it is shown.
#[must_use]
pub fn words(record: &Record) -> Option<(IncidentId, String)> {
    let (incident, text) = match record {
        Record::WatchPlanned {
            watch,
            incident,
            over,
            plan,
            ..
        } => {
            let (signal, lasts) = (&plan.signal, plan.lasts);
            let text = match over {
                WatchOver::Containment(id) => format!("{watch}: the health signal {signal} is read before {id}"),
                WatchOver::Recovery(_) => format!("{watch}: the health signal {signal} is watched for {lasts}"),
            };
            (incident, text)
        }
        Record::WatchRead {
            incident,
            watch,
            result,
            ..
        } => match result {
            Ok(reading) if reading.healthy => (incident, format!("{watch} is healthy: {}", reading.says)),
            Ok(reading) => (incident, format!("{watch} is NOT healthy: {}", reading.says)),
            Err(failure) => (incident, format!("{watch} could not be read: {failure}")),
        },
        Record::WatchAsked { incident, watch, .. } => (incident, format!("{watch} is read again")),
        Record::WatchStarted {
            incident, watch, until, ..
        } => (incident, format!("{watch} goes on until {until}")),
        Record::WatchEnded {
            incident,
            watch,
            verdict,
        } => (incident, format!("{watch} ended: {}", verdict.meaning())),
        Record::RecoveryPlanned { incident, .. } => (incident, "its recovery waits for a person".to_owned()),
        Record::RecoveryStarted { incident, by } => (incident, format!("recovery started by {by}")),
        Record::RecoveryAt { incident, at, waits } => {
            let step = u32::from(*at) + 1;
            let text = match waits {
                None => format!("recovery is at step {step}"),
                Some(RecoveryWait::Act(id)) => format!("recovery, step {step}: {id} acts"),
                Some(RecoveryWait::Release(id)) => format!("recovery, step {step}: {id} is lifted"),
                Some(RecoveryWait::Soak(watch)) => format!("recovery, step {step}: {watch} has to be healthy"),
            };
            (incident, text)
        }
        Record::ContainedAgain { incident, transaction } => (incident, format!("{transaction} contains again")),
        Record::RecoveryEnded { incident, end } => {
            let text = match end {
                RecoveryEnd::Recovered => "recovered".to_owned(),
                RecoveryEnd::Failed { why } => format!("recovery FAILED at {why}"),
                RecoveryEnd::Back { why } => format!("recovery taken BACK, contained again: {why}"),
                RecoveryEnd::Stopped { by } => format!("recovery stopped by {by}"),
            };
            (incident, text)
        }
        _ => return None,
    };
    Some((*incident, text))
}
