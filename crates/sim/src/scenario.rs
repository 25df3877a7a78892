//! What happens in a run, as data: drawn from a seed, or written down for a test.
//!
//! Never runs anything: `run` does.

mod besides;
mod draw;
mod grounds;
mod places;
mod policies;

use std::sync::Arc;

use staunch_model::{Mode, Policy, Span};

use crate::fault::Rates;
use crate::world::WorldKind;

pub(crate) use grounds::risk_table;
pub use places::{FOREIGN, PLACES, address, found, key, place, process};
pub(crate) use policies::{ACTS_AT_ONCE, PRESERVES};
pub use policies::{PLAYBOOKS, policy};

/// Something that happens outside the engine's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A source sends an event, perhaps several times.
    Event {
        /// The playbook it matches, by position in the policy.
        playbook: u8,
        /// Its key.
        key: u8,
        /// What its steps are aimed at, by number; `None` where it names nothing.
        targets: Vec<Option<u8>>,
        /// When it happened, as it says itself.
        dated: Dated,
        /// How often it comes.
        copies: u8,
    },
    /// An operator asks for something.
    Command(Order),
    /// The leader ends without a word, and starts again after a while.
    Crash {
        /// How long it is away.
        outage: Span,
        /// How many frames after the start it ends once more; 0 for never.
        again_after: u8,
    },
    /// The leader stands still.
    Pause(Span),
    /// The drift sweep reads the world.
    Sweep,
    /// The drift sweep cannot read the world.
    SweepInVain,
    /// Somebody else touches the world.
    Tamper(Tamper),
    /// The leader's machine has its clock set by so many microseconds.
    SetClock(i64),
    /// The disk has no room for new work, for so long.
    DiskFull(Span),
    /// The next sync fails.
    FailSync,
    /// Syncs take long, for so long.
    SlowSync(Span),
    /// The policy is replaced by another one of the run's.
    Policy(u8),
    /// The rules that act on what is in place are gone, for so long.
    Unenforced(Span),
    /// There is room for so many objects only, for so long.
    Crowded(u8, Span),
    /// The file of protected networks lists these places from here on.
    List(Vec<u8>),
    /// Feeds say this of a place from here on.
    Said(u8, Said),
    /// The table that makes a risk of what feeds say is the usual one, or another.
    RiskTable(bool),
    /// Health signals are unhealthy, or `None` unreadable, for so long.
    Health(Option<bool>, Span),
}

/// The time that an event gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dated {
    /// So long before it comes.
    Ago(Span),
    /// So long after it comes, by a clock that is ahead.
    Ahead(Span),
    /// None that can be read.
    Never,
}

/// What feeds say of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nobody knows: a feed cannot be read.
    Unknown,
    /// None names it.
    Unnamed,
    /// One does, with a score in thousandths, which counts for so long.
    Named(u16, Span),
}

/// What an operator asks for. Transactions and incidents are told by a number that is taken modulo those there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Release a transaction.
    Release(u64),
    /// Release what an incident holds.
    ReleaseIncident(u64),
    /// Release everything.
    ReleaseAll,
    /// Renew a transaction for so long.
    Renew(u64, Span),
    /// Approve a transaction.
    Approve(u64),
    /// Approve a transaction at the very moment at which the question lapses.
    ApproveLate(u64),
    /// Deny a transaction.
    Deny(u64),
    /// Set the mode.
    Mode(Mode),
    /// Protect a place for so long.
    Protect(u8, Span),
    /// Protect all the neighbours of a place for so long.
    ProtectAround(u8, Span),
    /// Protect a place no longer.
    Unprotect(u8),
    /// Release a transaction or an incident, and trust its targets for so long.
    ReleaseTrusting(u64, Span),
    /// Recover an incident.
    Recover(u64),
    /// Stop the recovery of an incident.
    StopRecovery(u64),
}

/// What somebody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// Removes what is at a place.
    Remove(u8),
    /// Puts something of theirs at a place, or in the place of ours.
    Replace(u8),
    /// Removes everything.
    Flush,
}

/// The process ends at a certain frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When the journal holds so many frames or more.
    pub frames: usize,
    /// How far that frame has come.
    pub when: When,
    /// How long the process is away.
    pub outage: Span,
}

/// How far a frame has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is written, and not synced.
    Written,
    /// It is synced, and nothing that follows from it has left.
    Synced,
    /// What follows from it has left.
    Sent,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What every draw during the run depends on.
    pub seed: u64,
    /// The kind of enforcement point.
    pub world: WorldKind,
    /// How many processes contend for the lead.
    pub replicas: u8,
    /// How often effects meet faults.
    pub rates: Rates,
    /// How often, in percent, an adversary undoes what was just done.
    pub adversary_percent: u8,
    /// How long a sync takes; zero for at once.
    pub sync: Span,
    /// Whether processes go by their machine's clock as it is, so that time may go back a little under the engine's
    /// feet.
    pub raw_clock: bool,
    /// How long a sweep takes to read one half after the other; zero for all at once.
    pub sweep_takes: Span,
    /// Whether acts stop more of the traffic or less, and whether that is known at all; it is little otherwise.
    pub traffic_varies: bool,
    /// Whether feeds are asked about what events name.
    pub asks_feeds: bool,
    /// The policies that the run changes between; the first holds at the start.
    pub policies: Vec<Arc<Policy>>,
    /// Where the leading process ends, in this order.
    pub cuts: Vec<Cut>,
    /// What happens, and when.
    pub happenings: Vec<(Span, Happening)>,
}
