//! What can go wrong, by class, and how often.

use std::fmt;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Fault {
    /// The request never arrives, and nobody answers.
    RequestLost,
    /// It is carried out, and nobody answers.
    ReplyLost,
    /// It is carried out at once and answered long after the deadline.
    ReplyLate,
    /// The answer comes twice.
    ReplyTwice,
    /// The request lands twice, the second time later: a client or a proxy sends again.
    Duplicated,
    /// It waits in the driver's queue, perhaps until it is too late to send it.
    SentLate,
    /// It takes its time, so that others overtake it.
    Reordered,
    /// The driver says that a permission is missing.
    Denied,
    /// The driver is throttled or cannot reach its system.
    Unavailable,
    /// The driver says that the world has moved.
    Conflict,
    /// The driver says that there is no room.
    Full,
    /// The driver says that the request is malformed.
    Invalid,
    /// The driver gives up without knowing; the request never landed.
    InDoubt,
    /// The driver gives up without knowing; the request had landed.
    InDoubtLanded,
    /// The driver gives up without knowing; the request lands later.
    InDoubtLate,
    /// The driver says it landed, and did nothing.
    LyingAct,
    /// The driver says the opposite of what it sees.
    LyingLook,
    /// Somebody else removes or replaces what is in place, or everything.
    Tampered,
    /// The rules that act on what is in place are gone for a while.
    Unenforced,
    /// The enforcement point has room for little only.
    Crowded,
    /// The process ends without a word.
    Crash,
    /// It ends again while it takes up its work.
    CrashInRecovery,
    /// What was not synced is lost.
    TailLost,
    /// What was not synced is there in part, torn or with bits flipped.
    TailTorn,
    /// What was not synced is there after all.
    TailKept,
    /// The disk has no room for new work.
    DiskFull,
    /// A sync fails, and whether the frames are there is open.
    SyncFailed,
    /// Syncs take long.
    SyncSlow,
    /// A clock is set forward.
    ClockForward,
    /// A clock is set back.
    ClockBack,
    /// A process stands still, perhaps until another one has taken over.
    Paused,
    /// Events come many at once, the same again and nearly the same.
    Storm,
    /// A sweep cannot read the world.
    SweepFailed,
}

impl Fault {
    /// How many classes there are.
    pub const COUNT: usize = 33;

    /// All classes.
    pub const ALL: [Self; Self::COUNT] = [
        Self::RequestLost,
        Self::ReplyLost,
        Self::ReplyLate,
        Self::ReplyTwice,
        Self::Duplicated,
        Self::SentLate,
        Self::Reordered,
        Self::Denied,
        Self::Unavailable,
        Self::Conflict,
        Self::Full,
        Self::Invalid,
        Self::InDoubt,
        Self::InDoubtLanded,
        Self::InDoubtLate,
        Self::LyingAct,
        Self::LyingLook,
        Self::Tampered,
        Self::Unenforced,
        Self::Crowded,
        Self::Crash,
        Self::CrashInRecovery,
        Self::TailLost,
        Self::TailTorn,
        Self::TailKept,
        Self::DiskFull,
        Self::SyncFailed,
        Self::SyncSlow,
        Self::ClockForward,
        Self::ClockBack,
        Self::Paused,
        Self::Storm,
        Self::SweepFailed,
    ];

    /// The classes that meet a single effect; they come first in [`Fault::ALL`].
    pub const OF_EFFECTS: usize = 17;

    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestLost => "request-lost",
            Self::ReplyLost => "reply-lost",
            Self::ReplyLate => "reply-late",
            Self::ReplyTwice => "reply-twice",
            Self::Duplicated => "duplicated",
            Self::SentLate => "sent-late",
            Self::Reordered => "reordered",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Full => "full",
            Self::Invalid => "invalid",
            Self::InDoubt => "in-doubt",
            Self::InDoubtLanded => "in-doubt-landed",
            Self::InDoubtLate => "in-doubt-late",
            Self::LyingAct => "lying-act",
            Self::LyingLook => "lying-look",
            Self::Tampered => "tampered",
            Self::Unenforced => "unenforced",
            Self::Crowded => "crowded",
            Self::Crash => "crash",
            Self::CrashInRecovery => "crash-in-recovery",
            Self::TailLost => "tail-lost",
            Self::TailTorn => "tail-torn",
            Self::TailKept => "tail-kept",
            Self::DiskFull => "disk-full",
            Self::SyncFailed => "sync-failed",
            Self::SyncSlow => "sync-slow",
            Self::ClockForward => "clock-forward",
            Self::ClockBack => "clock-back",
            Self::Paused => "paused",
            Self::Storm => "storm",
            Self::SweepFailed => "sweep-failed",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many faults of each class there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([u64; Fault::COUNT]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Fault::COUNT])
    }
}

impl Counts {
    /// Counts one fault.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Adds what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Faults of this class.
    #[must_use]
    pub const fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// All faults.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// How often an effect meets each class of faults, of ten thousand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates(pub [u16; Fault::OF_EFFECTS]);

impl Rates {
    /// Nothing goes wrong.
    pub const NONE: Self = Self([0; Fault::OF_EFFECTS]);
}

const _: () = assert!(Fault::SweepFailed as usize + 1 == Fault::COUNT);
const _: () = assert!(Fault::LyingLook as usize + 1 == Fault::OF_EFFECTS);
