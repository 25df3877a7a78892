//! Actions: what can be done to the world, and what a driver reports about it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::TransactionId;
use crate::target::Aim;
use crate::time::Span;
use crate::transaction::StateKind;

/// The kinds of action there are. A kind says what is achieved; a driver says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Drops all traffic from and to one address.
    BlockIp,
    /// Stops one process and those that descend from it, which keep all they have and can go on.
    FreezeProcess,
    /// Drops the traffic from and to one address that is above a rate.
    RateLimitIp,
    /// Ends one process and those that descend from it.
    KillProcess,
    /// Cuts this machine off from all but those that manage it and what Staunch needs.
    IsolateHost,
    /// Lets nobody log in as one account of this machine, and stops what runs in its sessions.
    LockAccount,
    /// Has the resolver deny that one domain, and all below it, exists.
    SinkholeDomain,
    /// Runs a program of the operator's own, which the configuration names.
    ExecJob,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::BlockIp,
        Self::FreezeProcess,
        Self::RateLimitIp,
        Self::KillProcess,
        Self::IsolateHost,
        Self::LockAccount,
        Self::SinkholeDomain,
        Self::ExecJob,
    ];

    /// The name in playbooks and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockIp => "block-ip",
            Self::FreezeProcess => "freeze-process",
            Self::RateLimitIp => "rate-limit-ip",
            Self::KillProcess => "kill-process",
            Self::IsolateHost => "isolate-host",
            Self::LockAccount => "lock-account",
            Self::SinkholeDomain => "sinkhole-domain",
            Self::ExecJob => "exec-job",
        }
    }

    /// Whether nothing undoes it, whatever the driver. A playbook has to say that it knows.
    #[must_use]
    pub const fn is_irreversible(self) -> bool {
        matches!(self, Self::KillProcess)
    }

    /// What is said to have become of one that is in this state, to who counts. What nothing undoes is never released:
    /// when its lease ends, or a person takes it off the list, there was nothing to release.
    #[must_use]
    pub const fn result(self, state: StateKind) -> &'static str {
        match state {
            StateKind::Released if self.is_irreversible() => "nothing-to-release",
            state => state.name(),
        }
    }

    /// What it is aimed at.
    #[must_use]
    pub const fn aims_at(self) -> Aim {
        match self {
            Self::BlockIp | Self::RateLimitIp => Aim::Address,
            Self::FreezeProcess | Self::KillProcess => Aim::Process,
            Self::IsolateHost => Aim::Host,
            Self::LockAccount => Aim::Account,
            Self::SinkholeDomain => Aim::Domain,
            Self::ExecJob => Aim::Job,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much an action can hurt if it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RiskClass {
    /// One outside party loses access for a while.
    Low,
    /// A part of the business may notice.
    Medium,
    /// Many users or systems may notice.
    High,
}

/// What undoing an action means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UndoClass {
    /// The action adds an object labelled as ours; undo removes it if it is still ours.
    Owned,
    /// The action replaces a value; undo restores the captured one if ours is still in place.
    Restores,
    /// It cannot be undone, and the playbook must say so.
    None,
}

/// The permissions a driver needs, in the words of the system it drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Permissions {
    /// To execute.
    pub act: Box<str>,
    /// To observe.
    pub check: Box<str>,
    /// To undo.
    pub undo: Box<str>,
}

/// Static facts about a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// What it does.
    pub kind: ActionKind,
    /// The driver's name, such as `nftables`.
    pub driver: Box<str>,
    /// How much it can hurt.
    pub risk: RiskClass,
    /// What undo means.
    pub undo: UndoClass,
    /// Whether connections that exist already are cut too.
    pub cuts_established: bool,
    /// The longest time between sending a request and its last possible effect.
    pub in_flight_max: Span,
    /// The MITRE D3FEND technique of the act, such as `D3-ITF`.
    pub d3fend: Box<str>,
    /// What it must be allowed to do.
    pub permissions: Permissions,
    /// True when the driver speaks to this machine's kernel: it answers in microseconds, so that the engine may wait
    /// for `observe` before it syncs the journal, and an act that it reports as landed cannot land once more.
    pub local: bool,
}

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// Labelled by this installation, for this transaction.
    Ours(TransactionId),
    /// Somebody else's, or another installation's. The text is its label, escaped and cut.
    Foreign(Box<str>),
}

/// Whether the desired state is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// Nothing is there.
    Absent,
    /// Something is there.
    Present {
        /// Whose it is.
        owner: Owner,
        /// How long it stays there by itself; `None` without an end.
        expires_in: Option<Span>,
    },
}

/// The room at an enforcement point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Objects in place.
    pub used: u64,
    /// Objects it takes at the most.
    pub max: u64,
}

/// What a driver saw. It judges nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    /// Whether the desired state is there, and whose it is.
    pub presence: Presence,
    /// Whether the enforcement point would act on it: for a packet filter, whether its rules are all in place.
    pub enforcing: bool,
    /// The version of what was read; `execute` is conditional on it. 0 when the system has none.
    pub version: u64,
    /// The room at the enforcement point, when it is known.
    pub capacity: Option<Capacity>,
    /// Packets that the containment has stopped, when they are counted.
    pub stopped_packets: Option<u64>,
}

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A permission is missing.
    Denied,
    /// The system cannot be reached or is busy.
    Unavailable,
    /// The world is not as `observe` saw it, or something is in the way.
    Conflict,
    /// The enforcement point is full.
    Full,
    /// The system refuses the request as malformed.
    Invalid,
    /// No answer in time.
    TimedOut,
    /// Staunch was stopped or killed before the answer.
    Interrupted,
    /// The target has ended by itself, and nothing was done: it says nothing about the driver.
    Gone,
}

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its class.
    pub kind: FailureKind,
    /// What happened, in the words of an operator; safe to show.
    pub what: Box<str>,
}

impl Failure {
    /// A failure of class `kind`. Unsafe characters in `what` are escaped and it is cut to a bound.
    #[must_use]
    pub fn new(kind: FailureKind, what: &str) -> Self {
        Self {
            kind,
            what: crate::Printable(what).to_string().into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What became of a request to change the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was carried out, or had been under the same key before.
    Landed,
    /// It was provably not carried out.
    DidNotHappen(Failure),
    /// It may or may not have been carried out, or may still be.
    InDoubt(Failure),
}

/// What the drift sweep last found of a containment in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drift {
    /// It was there, ours, and enforced.
    #[default]
    Verified,
    /// It could not be verified; the reason says why.
    Stale(Box<str>),
    /// It is not there, or not enforced; the reason says what was found instead.
    Missing(Box<str>),
}

impl Drift {
    /// The word for it in output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Stale(_) => "stale",
            Self::Missing(_) => "missing",
        }
    }
}
