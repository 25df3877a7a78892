//! What may become true of one transaction. Never says when it may: `staunch_engine::transaction` does.

use serde::{Deserialize, Serialize};

use crate::action::Failure;
use crate::id::IncidentId;
use crate::time::{Span, Timestamp};
use crate::transaction::{Cause, RefusalReason, StuckReason};
use crate::verdict::Judgement;

/// A fact about one transaction. `staunch_engine::transaction::after` says which states it is legal in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The pre-check was sent.
    PreCheckStarted(Dispatch),
    /// A guard, a failed check or a person said no.
    Refused {
        /// Why.
        reason: Box<RefusalReason>,
        /// What was concluded, when it came to that.
        judgement: Option<Box<Judgement>>,
    },
    /// Observe mode: this is what would have been done.
    WouldExecute {
        /// What was concluded.
        judgement: Box<Judgement>,
    },
    /// A person was asked.
    ApprovalRequested {
        /// When the question lapses.
        expires: Timestamp,
        /// What was concluded.
        judgement: Box<Judgement>,
    },
    /// A person said yes. The pre-check is made again before the act.
    Approved {
        /// Who.
        by: Box<str>,
    },
    /// The act is about to be sent.
    ExecuteIntended {
        /// The effect.
        dispatch: Dispatch,
        /// The version of the world it is conditional on.
        version: u64,
        /// How long the enforcement point keeps it by itself: the lease plus a margin.
        hold: Span,
        /// What was concluded; `None` for a further attempt.
        judgement: Option<Box<Judgement>>,
    },
    /// The act was carried out, says the driver. The post-check is sent.
    Landed(Dispatch),
    /// The act did not work, or its outcome is unknown. The post-check is sent: query, then decide.
    Unproved {
        /// What is known.
        failure: Failure,
        /// The post-check.
        dispatch: Dispatch,
    },
    /// A check, undo or probe did not work, and is tried again at a later time.
    Postponed {
        /// Why it did not work.
        failure: Failure,
        /// When it is tried again.
        until: Timestamp,
    },
    /// The present check, undo or probe was sent again.
    Resent(Dispatch),
    /// The world is as intended.
    PostCheckPassed {
        /// When the lease ends.
        lease_until: Timestamp,
    },
    /// It is being undone.
    RollbackStarted {
        /// Why.
        cause: Box<Cause>,
        /// The undo.
        dispatch: Dispatch,
    },
    /// The undo was carried out; the next look is at this time.
    UndoLanded {
        /// When no request can be in flight any more.
        settled_at: Timestamp,
    },
    /// The look after settling found it still there, and ours.
    ProbedPresent(Dispatch),
    /// The look after settling found nothing of ours.
    ProbedAbsent,
    /// It cannot be proved clean: every undo has failed, or a record of it does not fit.
    GaveUp(Box<StuckReason>),
    /// It is being lifted.
    ReleaseStarted {
        /// Why.
        cause: Box<Cause>,
        /// The undo.
        dispatch: Dispatch,
    },
    /// The undo was carried out; a last look was sent.
    Lifted(Dispatch),
    /// Nothing of ours is left.
    ReleaseVerified,
    /// A new end is being set at the enforcement point.
    RenewStarted {
        /// The effect.
        dispatch: Dispatch,
        /// The end of the lease asked for.
        until: Timestamp,
        /// How long the enforcement point keeps it by itself.
        hold: Span,
        /// Who asked.
        by: Box<str>,
    },
    /// The new lease is in place, by what was seen.
    Renewed {
        /// When the lease ends.
        lease_until: Timestamp,
    },
    /// The new lease could not be set, or was not found in place; the old one stands.
    RenewFailed(Failure),
    /// Another incident holds it too.
    Joined(IncidentId),
    /// An incident no longer holds it.
    LetGo(IncidentId),
    /// A reply came to an effect that is not the newest.
    StaleReply {
        /// The effect it answers.
        ticket: u32,
    },
    /// The renewal was carried out, or that is not known. A look at the world was sent.
    RenewCheckStarted {
        /// What is known of a renewal whose driver did not report success.
        failure: Option<Failure>,
        /// The look.
        dispatch: Dispatch,
    },
}

/// An effect that was sent: the number its reply must carry, and until when that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dispatch {
    /// The effect's number within its transaction.
    pub ticket: u32,
    /// When the reply is given up.
    pub deadline: Timestamp,
}
