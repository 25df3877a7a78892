//! Safety transactions as values. How they change is `staunch_engine::transaction`'s business.

mod extras;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, Failure};
use crate::id::{IncidentId, TransactionId};
use crate::playbook::Mode;
use crate::target::Target;
use crate::time::{Span, Timestamp};
use crate::verdict::GuardName;

pub use self::extras::Extras;

/// Why a transaction was refused: nothing was touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// A guard said no.
    Guard {
        /// Which guard.
        guard: GuardName,
        /// Its conclusion, with the numbers.
        why: Box<str>,
    },
    /// The event names nothing that the step could be aimed at.
    NoTarget,
    /// The world could not be looked at.
    CheckFailed(Failure),
    /// A person said no.
    Denied {
        /// Who.
        by: Box<str>,
    },
    /// Nobody approved in time.
    ApprovalExpired,
    /// A person released it before it acted.
    Cancelled {
        /// Who.
        by: Box<str>,
    },
    /// It waited too long for its turn.
    QueueTimeout,
    /// Another step of the same incident failed before this one acted.
    Abandoned,
}

impl RefusalReason {
    /// The words of all kinds but guards.
    pub const NAMES: [&str; 7] = [
        "no-target",
        "check-failed",
        "denied",
        "approval-expired",
        "cancelled",
        "queue-timeout",
        "abandoned",
    ];

    /// The guard that refused, or the word for what else did.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Guard { guard, .. } => guard.name(),
            Self::NoTarget => "no-target",
            Self::CheckFailed(_) => "check-failed",
            Self::Denied { .. } => "denied",
            Self::ApprovalExpired => "approval-expired",
            Self::Cancelled { .. } => "cancelled",
            Self::QueueTimeout => "queue-timeout",
            Self::Abandoned => "abandoned",
        }
    }
}

/// For people, as the end of a sentence. Escape it before it is shown.
impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard { guard, why } => write!(f, "{guard}: {why}"),
            Self::NoTarget => f.write_str("the event names nothing to act on"),
            Self::CheckFailed(failure) => write!(f, "the target could not be looked at: {failure}"),
            Self::Denied { by } => write!(f, "denied by {by}"),
            Self::ApprovalExpired => f.write_str("nobody approved in time"),
            Self::Cancelled { by } => write!(f, "cancelled by {by}"),
            Self::QueueTimeout => f.write_str("it waited too long for its turn"),
            Self::Abandoned => f.write_str("another step of the incident failed"),
        }
    }
}

/// Why a containment is lifted or rolled back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its lease ended.
    LeaseEnded,
    /// A person asked for it.
    Operator {
        /// Who.
        by: Box<str>,
    },
    /// The act did not work.
    ExecuteFailed(Failure),
    /// The post-check did not find what the act had reported.
    PostCheckFailed {
        /// What it found instead.
        found: Box<str>,
    },
    /// Another step of the same incident failed.
    Sibling(TransactionId),
    /// No transaction that should be in force owns it.
    Orphan,
    /// The drift sweep did not find it as it should be: somebody else removed or replaced it.
    Vanished {
        /// What was found instead.
        found: Box<str>,
    },
    /// A health signal that is watched says that it hurts the business.
    Hurts {
        /// The signal's name in the configuration.
        signal: Box<str>,
        /// What it says.
        says: Box<str>,
    },
}

impl Cause {
    /// The words of all kinds.
    pub const NAMES: [&str; 8] = [
        "lease-ended",
        "operator",
        "execute-failed",
        "post-check-failed",
        "sibling",
        "orphan",
        "vanished",
        "hurts",
    ];

    /// The word for its kind.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LeaseEnded => "lease-ended",
            Self::Operator { .. } => "operator",
            Self::ExecuteFailed(_) => "execute-failed",
            Self::PostCheckFailed { .. } => "post-check-failed",
            Self::Sibling(_) => "sibling",
            Self::Orphan => "orphan",
            Self::Vanished { .. } => "vanished",
            Self::Hurts { .. } => "hurts",
        }
    }
}

/// For people, as the end of a sentence. Escape it before it is shown.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseEnded => f.write_str("the lease ended"),
            Self::Operator { by } => write!(f, "released by {by}"),
            Self::ExecuteFailed(failure) => write!(f, "the act failed: {failure}"),
            Self::PostCheckFailed { found } => write!(f, "the post-check failed: {found}"),
            Self::Sibling(other) => write!(f, "{other} of the same incident failed"),
            Self::Orphan => f.write_str("no transaction owned it"),
            Self::Vanished { found } => write!(f, "somebody else removed or replaced it: {found}"),
            Self::Hurts { signal, says } => write!(f, "it hurt: the health signal {signal} says {says}"),
        }
    }
}

/// What kept a transaction from being proved clean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StuckReason {
    /// What was tried.
    pub trying: StateKind,
    /// How often.
    pub attempts: u16,
    /// The last failure.
    pub last: Failure,
}

/// For people, as the end of a sentence. Escape it before it is shown.
impl fmt::Display for StuckReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.trying.is_undo() {
            write!(f, "{} failed {} times: {}", self.trying, self.attempts, self.last)
        } else {
            write!(f, "{}", self.last)
        }
    }
}

/// The state of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waiting for its turn.
    Planned,
    /// The world is being looked at.
    PreChecking,
    /// Ended: a guard or a person said no. Nothing was touched.
    Refused(Box<RefusalReason>),
    /// A person must decide.
    AwaitingApproval,
    /// The act is under way: its intent is durable.
    Executing,
    /// The world is being asked whether the act took effect.
    PostChecking,
    /// Verified, until the lease ends.
    InForce,
    /// Being lifted.
    Releasing(Box<Cause>),
    /// Ended: lifted and verified.
    Released(Box<Cause>),
    /// Being undone because something failed.
    RollingBack(Box<Cause>),
    /// Undone; waiting until no request can be in flight any more, to look again.
    Settling(Box<Cause>),
    /// Ended: undone and verified.
    RolledBack(Box<Cause>),
    /// It cannot be proved clean. A person must look at it; `release` tries again.
    Stuck(Box<StuckReason>),
    /// Ended: observe mode. All checks passed and nothing was done.
    WouldExecute,
}

/// A state without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StateKind {
    /// See [`State::Planned`].
    Planned,
    /// See [`State::PreChecking`].
    PreChecking,
    /// See [`State::Refused`].
    Refused,
    /// See [`State::AwaitingApproval`].
    AwaitingApproval,
    /// See [`State::Executing`].
    Executing,
    /// See [`State::PostChecking`].
    PostChecking,
    /// See [`State::InForce`].
    InForce,
    /// See [`State::Releasing`].
    Releasing,
    /// See [`State::Released`].
    Released,
    /// See [`State::RollingBack`].
    RollingBack,
    /// See [`State::Settling`].
    Settling,
    /// See [`State::RolledBack`].
    RolledBack,
    /// See [`State::Stuck`].
    Stuck,
    /// See [`State::WouldExecute`].
    WouldExecute,
}

impl StateKind {
    /// All states, in the order of a transaction's life.
    pub const ALL: [Self; 14] = [
        Self::Planned,
        Self::PreChecking,
        Self::Refused,
        Self::AwaitingApproval,
        Self::Executing,
        Self::PostChecking,
        Self::InForce,
        Self::Releasing,
        Self::Released,
        Self::RollingBack,
        Self::Settling,
        Self::RolledBack,
        Self::Stuck,
        Self::WouldExecute,
    ];

    /// The name in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::PreChecking => "pre-checking",
            Self::Refused => "refused",
            Self::AwaitingApproval => "awaiting-approval",
            Self::Executing => "executing",
            Self::PostChecking => "post-checking",
            Self::InForce => "in-force",
            Self::Releasing => "releasing",
            Self::Released => "released",
            Self::RollingBack => "rolling-back",
            Self::Settling => "settling",
            Self::RolledBack => "rolled-back",
            Self::Stuck => "stuck",
            Self::WouldExecute => "would-execute",
        }
    }

    /// True when nothing more happens by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Refused | Self::Released | Self::RolledBack | Self::Stuck | Self::WouldExecute
        )
    }

    /// True in the states that end when every undo has failed; what is stuck from another one was given up at a start.
    #[must_use]
    pub const fn is_undo(self) -> bool {
        matches!(self, Self::Releasing | Self::RollingBack | Self::Settling)
    }

    /// True while the action is being carried out: these count against the limit on actions in flight.
    #[must_use]
    pub const fn is_in_flight(self) -> bool {
        matches!(self, Self::PreChecking | Self::Executing | Self::PostChecking)
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl State {
    /// The state without its details.
    #[must_use]
    pub const fn kind(&self) -> StateKind {
        match self {
            Self::Planned => StateKind::Planned,
            Self::PreChecking => StateKind::PreChecking,
            Self::Refused(_) => StateKind::Refused,
            Self::AwaitingApproval => StateKind::AwaitingApproval,
            Self::Executing => StateKind::Executing,
            Self::PostChecking => StateKind::PostChecking,
            Self::InForce => StateKind::InForce,
            Self::Releasing(_) => StateKind::Releasing,
            Self::Released(_) => StateKind::Released,
            Self::RollingBack(_) => StateKind::RollingBack,
            Self::Settling(_) => StateKind::Settling,
            Self::RolledBack(_) => StateKind::RolledBack,
            Self::Stuck(_) => StateKind::Stuck,
            Self::WouldExecute => StateKind::WouldExecute,
        }
    }
}

/// What a transaction is waiting for, besides its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Await {
    /// The reply to the effect with the current ticket.
    #[default]
    Reply,
    /// The time of its deadline: to try again, to look again, or for its lease to end.
    Timer,
}

/// A transaction as the engine keeps it. What few have is asked for by methods.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "extras::Stored")]
pub struct Transaction {
    /// Its id.
    pub id: TransactionId,
    /// The incident that planned it; `INC-0` for an orphan that was taken up.
    pub incident: IncidentId,
    /// The step's position in the playbook.
    pub step: u16,
    /// What it does.
    pub kind: ActionKind,
    /// What it is aimed at.
    pub target: Target,
    /// How long it stays in force.
    pub lease: Span,
    /// Its state.
    pub state: State,
    /// What it is waiting for.
    pub awaits: Await,
    /// When the engine looks at it again by itself. In an ended transaction: when it ended.
    pub deadline: Timestamp,
    /// The number of the newest effect; replies to older ones are stale.
    pub ticket: u32,
    /// How often the act was sent.
    pub executions: u16,
    /// How often the present check, undo or probe was tried.
    pub attempts: u16,
    /// Whether the undo was carried out, so that what is left is to look.
    pub undone: bool,
    /// The mode under which it acts.
    pub mode: Mode,
    /// When no request to act can be under way any more; `None` before one was sent.
    pub in_flight_until: Option<Timestamp>,
    /// When its lease ends; `None` before it is in force.
    pub lease_until: Option<Timestamp>,
    /// When it was last verified by itself; the drift sweep may have verified it later.
    pub verified_at: Option<Timestamp>,
    /// Its place in the order of completion, for rolling back in reverse; 0 before it completed.
    pub completed: u64,
    /// Whether the incident that planned it still holds it.
    pub held: bool,
    /// Its label, failure, approval, renewal and further holders, as far as there are any.
    pub extras: Extras,
}

impl Transaction {
    /// True when nobody else but `incident` holds it.
    #[must_use]
    pub fn held_only_by(&self, incident: IncidentId) -> bool {
        if incident == self.incident {
            self.joined().is_empty()
        } else {
            !self.held && self.joined().iter().all(|holder| *holder == incident)
        }
    }

    /// The incident that holds it, when no other does.
    #[must_use]
    pub fn only_holder(&self) -> Option<IncidentId> {
        match self.joined() {
            [] => self.held.then_some(self.incident),
            [holder] if !self.held => Some(*holder),
            _ => None,
        }
    }

    /// How many incidents hold it.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.joined().len() + usize::from(self.held)
    }

    /// True when `incident` holds it.
    #[must_use]
    pub fn is_held_by(&self, incident: IncidentId) -> bool {
        (incident == self.incident && self.held) || self.joined().contains(&incident)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind that is added has no arm here, and so does not compile until its word is among the names.
    fn place_of_cause(cause: &Cause) -> usize {
        match cause {
            Cause::LeaseEnded => 0,
            Cause::Operator { .. } => 1,
            Cause::ExecuteFailed(_) => 2,
            Cause::PostCheckFailed { .. } => 3,
            Cause::Sibling(_) => 4,
            Cause::Orphan => 5,
            Cause::Vanished { .. } => 6,
            Cause::Hurts { .. } => 7,
        }
    }

    fn place_of_refusal(reason: &RefusalReason) -> Option<usize> {
        match reason {
            RefusalReason::Guard { .. } => None,
            RefusalReason::NoTarget => Some(0),
            RefusalReason::CheckFailed(_) => Some(1),
            RefusalReason::Denied { .. } => Some(2),
            RefusalReason::ApprovalExpired => Some(3),
            RefusalReason::Cancelled { .. } => Some(4),
            RefusalReason::QueueTimeout => Some(5),
            RefusalReason::Abandoned => Some(6),
        }
    }

    #[test]
    fn every_word_is_among_the_names() {
        let failure = || Failure::new(crate::FailureKind::Full, "why");
        let (by, found) = (|| "ann".into(), || "nothing".into());
        let causes = [
            Cause::LeaseEnded,
            Cause::Operator { by: by() },
            Cause::ExecuteFailed(failure()),
            Cause::PostCheckFailed { found: found() },
            Cause::Sibling(TransactionId(1)),
            Cause::Orphan,
            Cause::Vanished { found: found() },
            Cause::Hurts {
                signal: by(),
                says: found(),
            },
        ];
        for cause in causes {
            assert_eq!(Cause::NAMES[place_of_cause(&cause)], cause.name());
        }
        let refusals = [
            RefusalReason::NoTarget,
            RefusalReason::CheckFailed(failure()),
            RefusalReason::Denied { by: by() },
            RefusalReason::ApprovalExpired,
            RefusalReason::Cancelled { by: by() },
            RefusalReason::QueueTimeout,
            RefusalReason::Abandoned,
        ];
        for reason in refusals {
            let place = place_of_refusal(&reason).expect("it is no guard");
            assert_eq!(RefusalReason::NAMES[place], reason.name());
        }
        let guard = RefusalReason::Guard {
            guard: GuardName::Impact,
            why: "too much".into(),
        };
        assert_eq!((place_of_refusal(&guard), guard.name()), (None, "impact"));
    }
}
