//! Actions: the four verbs of a driver. Drivers observe and act; only the engine judges.

use staunch_model::{Description, EffectKey, Failure, Observation, Outcome, Span, Target, TransactionId};

/// A request to act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecuteRequest {
    /// The transaction, which becomes part of the ownership label.
    pub transaction: TransactionId,
    /// The idempotency key: a second request with the same key must achieve no more than the first.
    pub key: EffectKey,
    /// What to act on.
    pub target: Target,
    /// The version that `observe` saw; 0 when the system has none.
    pub version: u64,
    /// How long the enforcement point is to keep the containment by itself, where it can count down.
    pub hold: Span,
    /// True when the containment is in force and only its end is to be moved. It is an error when it is not there.
    pub renewal: bool,
}

/// A request to undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndoRequest {
    /// The transaction on the object's label: nothing else may be removed.
    pub transaction: TransactionId,
    /// The key under which it was executed.
    pub key: EffectKey,
    /// Where.
    pub target: Target,
    /// Whether it was in force, verified, until its lease ended: nobody takes it back, and nothing is wrong with it.
    pub lease_ended: bool,
}

/// An object that carries our label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTarget {
    /// The transaction on its label.
    pub transaction: TransactionId,
    /// Where it is.
    pub target: Target,
}

/// What the drift sweep reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// Every object that carries this installation's label.
    pub targets: Vec<OwnedTarget>,
    /// Whether the enforcement point acts on them; see [`staunch_model::Observation::enforcing`].
    pub enforcing: bool,
    /// Where an object of ours may be that could not be looked at, and why: it counts neither as there nor as gone, and
    /// says nothing of the others.
    pub unread: Vec<(Target, Failure)>,
}

/// An object with a label of Staunch, of another installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// Where it is.
    pub target: Target,
    /// The whole label.
    pub label: Box<str>,
    /// When the enforcement point removes it by itself; `None` when it does not say.
    pub expires_in: Option<Span>,
}

/// A driver. All verbs take batches and answer in the order asked, one answer for each request.
///
/// Each call is bounded in time by the driver itself, and every target is of the kind that its action aims at. A driver
/// never asks whether Staunch observes or enforces.
pub trait Action: Send {
    /// Static facts.
    fn describe(&self) -> Description;

    /// Reads the world. Changes nothing.
    ///
    /// # Errors
    /// One [`Failure`] for each target that could not be read.
    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>>;

    /// Acts. Idempotent under the key; owned; conditional on what `observe` saw: a world that moved in between is
    /// [`staunch_model::FailureKind::Conflict`].
    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome>;

    /// Restores. Conditional and owned: removes only what carries the request's label. `Landed` when nothing of ours
    /// is there, whether or not the act ever landed.
    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome>;

    /// Every object that carries this installation's label, for the drift sweep.
    ///
    /// # Errors
    /// When the enforcement point cannot be read.
    fn owned(&mut self) -> Result<Owned, Failure>;

    /// What other installations of Staunch have left there, as the newest [`Action::owned`] found it. An installation
    /// whose data directory was lost or moved away is another one. Without such objects by default.
    fn former(&self) -> Vec<Former> {
        Vec::new()
    }

    /// Removes all of [`Action::former`] as it is by then, and returns how many there were. What carries no label of
    /// Staunch is never removed.
    ///
    /// # Errors
    /// When not all of it could be removed.
    fn lift_former(&mut self) -> Result<u64, Failure> {
        Ok(0)
    }
}
