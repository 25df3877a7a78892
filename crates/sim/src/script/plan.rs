//! What may be written down beforehand: what a run starts with, what happens, and what goes wrong.
//!
//! Never plays any of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use staunch_model::{
    ContextTable, Event, EventContext, EvidenceKind, FailureKind, Found, Match, Mode, Policy, Span, Target, Timestamp,
};

use crate::world::WorldKind;

/// What a run starts with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The kind of enforcement point.
    pub world: WorldKind,
    /// When it starts.
    pub start: Timestamp,
    /// The share of the traffic of each target, in basis points; `None` when it is unknown.
    pub shares: BTreeMap<Target, Option<u64>>,
    /// The share of all other targets.
    pub share_of_others: Option<u64>,
    /// What goes wrong. Of several that fit a request, the first happens.
    pub faults: Vec<Fault>,
}

/// Something that happens from outside.
#[derive(Clone, Debug)]
pub enum Happening {
    /// An event that matched.
    Event {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
    },
    /// The same, and what was known around it.
    EventInContext {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
        /// What was known.
        context: Arc<EventContext>,
    },
    /// The table of the context guard.
    ContextTable(Arc<ContextTable>),
    /// What a process is that the events after it name.
    Found(Found),
    /// An operator asks for something.
    Ask(Ask),
    /// Somebody else puts something at a target, or with `None` removes what is there.
    Tamper(Target, Option<Box<str>>),
    /// Somebody else removes everything.
    Flush,
    /// The rules that act on what is in place are there, or not.
    Enforcing(bool),
    /// There is room for so many objects.
    Room(u64),
    /// A health signal is healthy or not from now on; with `None` it cannot be read.
    Signal(Box<str>, Option<bool>),
    /// The process ends without a word, and starts again after so long.
    Crash(Span),
}

/// What an operator asks for, of the newest transaction at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Approve it.
    Approve(Target),
    /// Deny it.
    Deny(Target),
    /// Release it.
    Release(Target),
    /// Renew it for so long.
    Renew(Target, Span),
    /// Release everything.
    ReleaseAll,
    /// Start the recovery of its incident.
    Recover(Target),
    /// Stop that recovery.
    StopRecovery(Target),
    /// Set the mode.
    Mode(Mode),
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// With which request.
    pub at: Point,
    /// Where; `None` for every target.
    pub of: Option<Target>,
    /// Of evidence: of which kind; `None` for every one.
    pub evidence: Option<EvidenceKind>,
    /// What.
    pub mishap: Mishap,
    /// How many requests meet it; `None` for all of them.
    pub times: Option<u32>,
}

/// Where in the life of an incident something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The taking of evidence.
    Preserve,
    /// The look before the act.
    PreCheck,
    /// The act.
    Execute,
    /// The look after it.
    PostCheck,
    /// The act that moves the end of a containment in force.
    Renew,
    /// The undo.
    Undo,
    /// The look after an undo.
    Probe,
    /// Telling people.
    Notify,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The driver says so, and nothing was done.
    Fails(FailureKind),
    /// It never arrives, and nobody answers.
    RequestLost,
    /// It is carried out, and nobody answers.
    ReplyLost,
    /// The driver gives up without knowing; it was not carried out.
    InDoubt,
    /// The driver gives up without knowing; it was carried out.
    InDoubtLanded,
    /// The driver says that it was carried out, or the opposite of what it sees.
    Lies,
    /// The process ends after the request has left, for so long.
    Crash(Span),
    /// It is carried out, and the answer comes so much later.
    ReplyLate(Span),
}
