//! The way into a running Staunch, for the HTTP server and the wiring.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use staunch_engine::EngineState;
use staunch_model::{
    ActionKind, Command, CommandReply, ContextTable, Event, EventContext, Facts, Failure, FailureKind, Found,
    IncidentId, Input, Known, ListChange, Match, Observation, Operator, Policy, RiskTable, Target,
};
use staunch_ports::{Clock, Former, Lsn};
use thiserror::Error;

use crate::drivers::{DriverRequest, Drivers, NO_DRIVER};
use crate::second_look::Swept;
use crate::telemetry::Telemetry;

/// How long the removal of what former installations have left may take: an element takes a tenth of a millisecond.
const LIFT_DEADLINE: Duration = Duration::from_secs(25);

/// Why something was not taken. Nothing of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Busy {
    /// The queue is full: try again in a moment.
    #[error("the queue is full")]
    QueueFull,
    /// The disk is full: only lifting containment goes on.
    #[error("the journal is full; only lifting containment goes on")]
    JournalFull,
    /// The journal's files are not where they should be: nothing that is taken would survive a restart.
    #[error("the files of the journal were deleted or moved away; only lifting containment goes on")]
    JournalLost,
    /// It does not fit into a frame, or leaves no room in it for anything else.
    #[error("it takes {bytes} bytes in the journal, where one change may take {max}")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What it may take.
        max: usize,
    },
    /// Staunch is stopping or has stopped.
    #[error("staunch is stopping")]
    Stopping,
}

/// What became of an event that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventReply {
    /// The incidents that it opened or joined.
    pub incidents: Vec<IncidentId>,
}

/// A command that is in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The frame that holds it; the first one, when it took several.
    pub frame: Lsn,
    /// What became of it.
    pub reply: CommandReply,
}

/// Called once the frames are durable, or when it is certain that they were not taken.
pub type Replier<T> = Box<dyn FnOnce(Result<T, Busy>) + Send>;

/// Events that matched, and whom to tell when they are durable.
pub struct Submission {
    /// What feeds say of their targets.
    pub known: Vec<Known>,
    /// What those targets are that are no addresses.
    pub found: Vec<Found>,
    /// The events with what they matched.
    pub events: Vec<(Arc<Event>, Vec<Match>)>,
    /// What is known around each of them, in their order; none when nothing is kept that could know of them.
    pub contexts: Vec<Arc<EventContext>>,
    /// Called with one reply for each event, in their order.
    pub reply: Replier<Vec<EventReply>>,
}

/// A question to the engine's state.
pub(crate) type Query = Box<dyn FnOnce(&EngineState) + Send>;

pub(crate) enum Message {
    Events(Box<Submission>),
    Command {
        by: Operator,
        command: Command,
        reply: Replier<Recorded>,
    },
    Policy {
        policy: Arc<Policy>,
        reply: Replier<()>,
    },
    Pin {
        input: Input,
        reply: Replier<()>,
    },
    Query(Query),
    Sweep(Swept),
    Stop,
}

/// A handle to a running Staunch. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inbox: Sender<Box<Submission>>,
    pub(crate) commands: Sender<Message>,
    pub(crate) drivers: Arc<Drivers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) machine: Arc<dyn Clock>,
    pub(crate) telemetry: Arc<Telemetry>,
}

impl Handle {
    /// Hands over events that matched. Returns at once; the reply comes when they are durable.
    ///
    /// # Errors
    /// [`Busy`] when nothing was taken; the reply is not called then.
    pub fn submit(&self, submission: Submission) -> Result<(), Busy> {
        self.inbox.try_send(Box::new(submission)).map_err(|error| match error {
            TrySendError::Full(_) => Busy::QueueFull,
            TrySendError::Disconnected(_) => Busy::Stopping,
        })
    }

    /// Hands over a command. It never waits behind events.
    ///
    /// # Errors
    /// [`Busy::Stopping`]; the reply is not called then.
    pub fn command(&self, by: Operator, command: Command, reply: Replier<Recorded>) -> Result<(), Busy> {
        self.commands
            .send(Message::Command { by, command, reply })
            .map_err(|_| Busy::Stopping)
    }

    /// Pins `policy` from here on.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn set_policy(&self, policy: Arc<Policy>) -> Result<(), Busy> {
        self.told(|reply| Message::Policy { policy, reply })
    }

    /// Sends what `message` makes of a way to reply, and waits for the reply.
    fn told(&self, message: impl FnOnce(Replier<()>) -> Message) -> Result<(), Busy> {
        let (done, wait) = bounded(1);
        let reply: Replier<()> = Box::new(move |result| {
            // Nobody waits any more when the receiver is gone.
            let _ = done.send(result);
        });
        self.commands.send(message(reply)).map_err(|_| Busy::Stopping)?;
        wait.recv().map_err(|_| Busy::Stopping)?
    }

    /// Takes a part of a change to a list of protected networks, and returns when it is durable. Events are taken
    /// between the parts.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn change_list(&self, change: ListChange) -> Result<(), Busy> {
        let input = Input::Listed(Arc::new(change));
        self.told(|reply| Message::Pin { input, reply })
    }

    /// Pins the table of risks from here on.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn set_risk(&self, table: Arc<RiskTable>) -> Result<(), Busy> {
        let input = Input::Risk(table);
        self.told(|reply| Message::Pin { input, reply })
    }

    /// Says what a target is by now, and returns when that is durable.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn tell_found(&self, found: Found) -> Result<(), Busy> {
        let input = Input::Found(found);
        self.told(|reply| Message::Pin { input, reply })
    }

    /// Pins the table of the context guard from here on.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn set_context_table(&self, table: Arc<ContextTable>) -> Result<(), Busy> {
        let input = Input::ContextTable(table);
        self.told(|reply| Message::Pin { input, reply })
    }

    /// Asks the engine's state. Blocks for the answer.
    ///
    /// # Errors
    /// [`Busy::Stopping`].
    pub fn query<R: Send + 'static>(&self, ask: impl FnOnce(&EngineState) -> R + Send + 'static) -> Result<R, Busy> {
        let (done, wait) = bounded(1);
        let query = Box::new(move |state: &EngineState| drop(done.send(ask(state))));
        self.commands.send(Message::Query(query)).map_err(|_| Busy::Stopping)?;
        wait.recv().map_err(|_| Busy::Stopping)
    }

    /// Looks at `target` through the driver of `kind`, and asks the enrichers if `traffic`. Changes nothing. Blocks.
    ///
    /// # Errors
    /// [`Failure`] when there is no driver or it cannot look.
    pub fn look(&self, kind: ActionKind, target: Target, traffic: bool) -> (Result<Observation, Failure>, Facts) {
        let (done, wait) = bounded(1);
        let request = DriverRequest::Look {
            target,
            traffic,
            reply: Box::new(move |seen| drop(done.send(seen))),
        };
        let nobody = |what| (Err(Failure::new(FailureKind::Unavailable, what)), Facts::default());
        if !self.drivers.send(kind, request) {
            return nobody(NO_DRIVER);
        }
        wait.recv_timeout(staunch_engine::limits::OBSERVE_DEADLINE.to_std())
            .unwrap_or_else(|_| nobody("the driver did not answer within its deadline"))
    }

    /// What other installations have left at the enforcement points, as the newest sweep found it.
    #[must_use]
    pub fn former(&self) -> Vec<(ActionKind, Former)> {
        self.drivers.former()
    }

    /// Has every driver remove what other installations have left, and returns how much that was. Blocks.
    ///
    /// # Errors
    /// [`Failure`] of the first driver that could not; the others have been asked all the same.
    pub fn lift_former(&self) -> Result<u64, Failure> {
        let mut result = Ok(0);
        for kind in self.drivers.kinds() {
            let (reply, wait) = bounded(1);
            let unanswered = |what| Err(Failure::new(FailureKind::Unavailable, what));
            let lifted = if self.drivers.send(kind, DriverRequest::LiftFormer { reply }) {
                wait.recv_timeout(LIFT_DEADLINE)
                    .unwrap_or_else(|_| unanswered("the driver did not answer within its deadline"))
            } else {
                unanswered(NO_DRIVER)
            };
            result = match (result, lifted) {
                (Ok(count), Ok(more)) => Ok(count + more),
                (Err(first), _) => Err(first),
                (Ok(_), Err(failure)) => Err(failure),
            };
        }
        result
    }

    /// The time, by the clock that the engine is given.
    #[must_use]
    pub fn now(&self) -> staunch_model::Timestamp {
        self.clock.now()
    }

    /// The machine's time, by which sources and people go. It may jump.
    #[must_use]
    pub fn machine_now(&self) -> staunch_model::Timestamp {
        self.machine.now()
    }

    /// What has become of the journal's files, when they are not where they should be.
    #[must_use]
    pub fn journal_lost(&self) -> Option<Box<str>> {
        self.telemetry
            .journal_lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Since when events are refused because the journal is full.
    #[must_use]
    pub fn journal_full(&self) -> Option<staunch_model::Timestamp> {
        *self
            .telemetry
            .journal_full
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Events waiting to be taken up.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.inbox.len()
    }

    /// Events that may wait at the same time.
    #[must_use]
    pub fn queue_capacity(&self) -> usize {
        self.inbox.capacity().unwrap_or(usize::MAX)
    }
}
