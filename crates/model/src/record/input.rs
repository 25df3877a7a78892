//! What comes into the engine. Never says what is made of it: the records do.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, Failure, Observation, Outcome};
use crate::command::{Command, Operator};
use crate::event::Event;
use crate::evidence::Sealed;
use crate::health::HealthReading;
use crate::id::{EvidenceId, IncidentId, InstallationId, NoticeId, TransactionId, WatchId};
use crate::listed::ListChange;
use crate::playbook::Match;
use crate::policy::Policy;
use crate::risk::{Known, RiskTable};
use crate::surroundings::{ContextTable, EventContext};
use crate::target::{Found, Target};
use crate::verdict::Facts;

/// Something that happened outside. One input makes one frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// The process started on this journal.
    Started {
        /// Whose journal it is.
        installation: InstallationId,
        /// The version of the program.
        build: Box<str>,
    },
    /// The policy that holds from here on.
    Policy(Arc<Policy>),
    /// An event matched at least one playbook.
    Event {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
    },
    /// A driver has looked at the world.
    Observed {
        /// For which transaction.
        transaction: TransactionId,
        /// The effect this answers.
        ticket: u32,
        /// What it saw.
        result: Result<Observation, Failure>,
        /// What the enrichers know, when they were asked.
        facts: Facts,
    },
    /// A driver has tried to act.
    Executed {
        /// For which transaction.
        transaction: TransactionId,
        /// The effect this answers.
        ticket: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// A driver has tried to undo.
    Undone {
        /// For which transaction.
        transaction: TransactionId,
        /// The effect this answers.
        ticket: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// A notifier has tried to tell people.
    Notified {
        /// Which notice.
        notice: NoticeId,
        /// Whether it was taken.
        result: Result<(), Failure>,
    },
    /// The drift sweep has compared the world with the state.
    Swept(SweepFindings),
    /// An operator asks for something.
    Operator {
        /// Who.
        by: Operator,
        /// What.
        command: Command,
    },
    /// Time has passed and something is due.
    Tick,
    /// A collector has tried to preserve evidence.
    Collected {
        /// Which evidence.
        evidence: EvidenceId,
        /// What was stored.
        result: Result<Sealed, Failure>,
    },
    /// Something is wrong with this process itself, which people must be told of.
    Trouble(Box<str>),
    /// A file lists other networks than before, all of which or a part of which is here.
    Listed(Arc<ListChange>),
    /// The table of risks that holds from here on.
    Risk(Arc<RiskTable>),
    /// What feeds say of a target, for events that come after it.
    Known(Known),
    /// What a process is that the events after it name.
    Found(Found),
    /// An event matched at least one playbook, and something is kept that may know of what it names.
    EventInContext {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
        /// What was known around it: what its triggers were asked with.
        context: Arc<EventContext>,
    },
    /// The table of the context guard that holds from here on.
    ContextTable(Arc<ContextTable>),
    /// A health signal was read, or could not be.
    HealthRead {
        /// The incident whose watch asked for it.
        incident: IncidentId,
        /// For which watch.
        watch: WatchId,
        /// The reading this answers.
        ticket: u32,
        /// What it says.
        result: Result<HealthReading, Failure>,
    },
}

impl Input {
    /// The event that came, and what it matched; `None` when this is something else.
    #[must_use]
    pub fn event(&self) -> Option<(&Arc<Event>, &[Match])> {
        match self {
            Self::Event { event, matches } | Self::EventInContext { event, matches, .. } => Some((event, matches)),
            _ => None,
        }
    }

    /// An event that `matches`, with what is known around it, if anything may be.
    #[must_use]
    pub fn of_event(event: Arc<Event>, matches: Vec<Match>, context: Option<Arc<EventContext>>) -> Self {
        match context {
            Some(context) => Self::EventInContext {
                event,
                matches,
                context,
            },
            None => Self::Event { event, matches },
        }
    }
}

/// What the drift sweep found, by comparison with the engine's state. Everything in force that is not named here was
/// found in place, ours and enforced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepFindings {
    /// The kinds whose enforcement point was read.
    pub swept: Vec<ActionKind>,
    /// The kinds whose enforcement point could not be read.
    pub failed: Vec<(ActionKind, Failure)>,
    /// Containments that are not there as they should be, and what was found instead.
    pub vanished: Vec<(TransactionId, Box<str>)>,
    /// Objects labelled as ours that no live transaction owns: the transaction on the label, and where.
    pub orphans: Vec<(TransactionId, ActionKind, Target)>,
}

impl SweepFindings {
    /// The same findings in parts of at most `max` containments and objects, to be taken one after the other.
    ///
    /// The first part, which there always is, says what was read and what could not be; the others only go on with
    /// what was found. A `max` of 0 counts as 1.
    #[must_use]
    pub fn parts(self, max: usize) -> Vec<Self> {
        let max = max.max(1);
        let mut part = Self {
            swept: self.swept,
            failed: self.failed,
            ..Self::default()
        };
        let mut parts = Vec::new();
        for vanished in self.vanished {
            if part.vanished.len() >= max {
                parts.push(std::mem::take(&mut part));
            }
            part.vanished.push(vanished);
        }
        for orphan in self.orphans {
            if part.vanished.len() + part.orphans.len() >= max {
                parts.push(std::mem::take(&mut part));
            }
            part.orphans.push(orphan);
        }
        parts.push(part);
        parts
    }
}
