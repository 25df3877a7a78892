//! What few transactions have, so that an open lease has a pointer for all of it.
//!
//! Stored as if each were a field of the transaction.

use serde::{Deserialize, Serialize, Serializer};

use super::{Await, State, Transaction};
use crate::action::{ActionKind, Failure};
use crate::few::Seldom;
use crate::id::{IncidentId, TransactionId};
use crate::playbook::Mode;
use crate::target::Target;
use crate::time::{Span, Timestamp};

/// See the methods of [`Transaction`] of the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras(Option<Box<Present>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Present {
    /// `None` when it is the transaction's own id.
    label: Option<TransactionId>,
    failure: Option<Failure>,
    approved_by: Option<Box<str>>,
    renewing: Option<Timestamp>,
    joined: Seldom<IncidentId>,
}

impl Extras {
    /// Changes what there is. Nothing is left of it when there is nothing any more, so that what is equal looks equal.
    fn change(&mut self, change: impl FnOnce(&mut Present)) {
        let mut present = self.0.take().unwrap_or_default();
        change(&mut present);
        self.0 = (*present != Present::default()).then_some(present);
    }
}

impl Transaction {
    /// The transaction on the object's label: its own id, but for an orphan.
    #[must_use]
    pub fn label(&self) -> TransactionId {
        let other = self.extras.0.as_ref().and_then(|it| it.label);
        other.unwrap_or(self.id)
    }

    /// Sets the transaction on the object's label.
    pub fn set_label(&mut self, label: TransactionId) {
        if label != self.label() {
            let other = (label != self.id).then_some(label);
            self.extras.change(|it| it.label = other);
        }
    }

    /// The last failure of the present check, act or undo; `None` when the driver reported success.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.extras.0.as_ref()?.failure.as_ref()
    }

    /// Sets the last failure.
    pub fn set_failure(&mut self, failure: Option<Failure>) {
        if failure.is_some() || self.failure().is_some() {
            self.extras.change(|it| it.failure = failure);
        }
    }

    /// Who approved it.
    #[must_use]
    pub fn approved_by(&self) -> Option<&str> {
        self.extras.0.as_ref()?.approved_by.as_deref()
    }

    /// Sets who approved it.
    pub fn set_approved_by(&mut self, person: Box<str>) {
        self.extras.change(|it| it.approved_by = Some(person));
    }

    /// A renewal that is under way: the end of the lease asked for.
    #[must_use]
    pub fn renewing(&self) -> Option<Timestamp> {
        self.extras.0.as_ref()?.renewing
    }

    /// Sets the renewal that is under way.
    pub fn set_renewing(&mut self, until: Option<Timestamp>) {
        if until != self.renewing() {
            self.extras.change(|it| it.renewing = until);
        }
    }

    /// Further incidents that hold it.
    #[must_use]
    pub fn joined(&self) -> &[IncidentId] {
        self.extras.0.as_ref().map_or(&[], |it| &it.joined)
    }

    /// Enters a further incident that holds it, once.
    pub fn join(&mut self, incident: IncidentId) {
        if !self.joined().contains(&incident) {
            self.extras.change(|it| it.joined.push(incident));
        }
    }

    /// Takes out a further incident that holds it.
    pub fn leave(&mut self, incident: IncidentId) {
        if self.joined().contains(&incident) {
            self.extras.change(|it| it.joined.retain(|other| *other != incident));
        }
    }
}

/// A transaction as it is stored. The order of the fields is the format.
#[derive(Deserialize)]
pub(super) struct Stored {
    id: TransactionId,
    incident: IncidentId,
    label: TransactionId,
    step: u16,
    kind: ActionKind,
    target: Target,
    lease: Span,
    state: State,
    awaits: Await,
    deadline: Timestamp,
    ticket: u32,
    executions: u16,
    attempts: u16,
    undone: bool,
    mode: Mode,
    in_flight_until: Option<Timestamp>,
    failure: Option<Failure>,
    approved_by: Option<Box<str>>,
    lease_until: Option<Timestamp>,
    renewing: Option<Timestamp>,
    verified_at: Option<Timestamp>,
    completed: u64,
    held: bool,
    joined: Seldom<IncidentId>,
}

impl From<Stored> for Transaction {
    fn from(it: Stored) -> Self {
        let present = Present {
            label: (it.label != it.id).then_some(it.label),
            failure: it.failure,
            approved_by: it.approved_by,
            renewing: it.renewing,
            joined: it.joined,
        };
        Self {
            id: it.id,
            incident: it.incident,
            step: it.step,
            kind: it.kind,
            target: it.target,
            lease: it.lease,
            state: it.state,
            awaits: it.awaits,
            deadline: it.deadline,
            ticket: it.ticket,
            executions: it.executions,
            attempts: it.attempts,
            undone: it.undone,
            mode: it.mode,
            in_flight_until: it.in_flight_until,
            lease_until: it.lease_until,
            verified_at: it.verified_at,
            completed: it.completed,
            held: it.held,
            extras: Extras((present != Present::default()).then(|| Box::new(present))),
        }
    }
}

impl Serialize for Transaction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// The same as [`Stored`], without copies.
        #[derive(Serialize)]
        #[serde(rename = "Transaction")]
        struct Lent<'a> {
            id: TransactionId,
            incident: IncidentId,
            label: TransactionId,
            step: u16,
            kind: ActionKind,
            target: &'a Target,
            lease: Span,
            state: &'a State,
            awaits: Await,
            deadline: Timestamp,
            ticket: u32,
            executions: u16,
            attempts: u16,
            undone: bool,
            mode: Mode,
            in_flight_until: Option<Timestamp>,
            failure: Option<&'a Failure>,
            approved_by: Option<&'a str>,
            lease_until: Option<Timestamp>,
            renewing: Option<Timestamp>,
            verified_at: Option<Timestamp>,
            completed: u64,
            held: bool,
            joined: &'a [IncidentId],
        }
        let lent = Lent {
            id: self.id,
            incident: self.incident,
            label: self.label(),
            step: self.step,
            kind: self.kind,
            target: &self.target,
            lease: self.lease,
            state: &self.state,
            awaits: self.awaits,
            deadline: self.deadline,
            ticket: self.ticket,
            executions: self.executions,
            attempts: self.attempts,
            undone: self.undone,
            mode: self.mode,
            in_flight_until: self.in_flight_until,
            failure: self.failure(),
            approved_by: self.approved_by(),
            lease_until: self.lease_until,
            renewing: self.renewing(),
            verified_at: self.verified_at,
            completed: self.completed,
            held: self.held,
            joined: self.joined(),
        };
        lent.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::FailureKind;

    fn plain() -> Transaction {
        Transaction {
            id: TransactionId(7),
            incident: IncidentId(3),
            step: 1,
            kind: ActionKind::BlockIp,
            target: Target::Address([192, 0, 2, 1].into()),
            lease: Span::from_secs(60),
            state: State::InForce,
            awaits: Await::Timer,
            deadline: Timestamp::from_micros(5),
            ticket: 2,
            executions: 1,
            attempts: 1,
            undone: false,
            mode: Mode::Enforce,
            in_flight_until: None,
            lease_until: Some(Timestamp::from_micros(9)),
            verified_at: None,
            completed: 4,
            held: true,
            extras: Extras::default(),
        }
    }

    fn read_back(it: &Transaction) -> Transaction {
        let bytes = postcard::to_stdvec(it).expect("serialises");
        let json = serde_json::to_string(it).expect("serialises");
        let read = postcard::from_bytes(&bytes).expect("reads back");
        assert_eq!(serde_json::from_str::<Transaction>(&json).expect("reads back"), read);
        read
    }

    #[test]
    fn what_is_taken_away_again_leaves_nothing() {
        let mut it = plain();
        assert!(it.extras.0.is_none() && it.label() == it.id && it.joined().is_empty());
        it.set_failure(None);
        it.set_renewing(None);
        it.set_label(it.id);
        it.leave(IncidentId(8));
        assert!(it.extras.0.is_none(), "nothing was there to be taken away");

        it.set_label(TransactionId(2));
        it.set_failure(Some(Failure::new(FailureKind::Full, "why")));
        it.set_renewing(Some(Timestamp::from_micros(11)));
        it.join(IncidentId(8));
        it.join(IncidentId(8));
        assert_eq!(
            (it.label(), it.renewing(), it.joined()),
            (TransactionId(2), Some(Timestamp::from_micros(11)), &[IncidentId(8)][..])
        );
        assert_eq!(it.failure().map(|it| it.kind), Some(FailureKind::Full));
        assert_eq!(read_back(&it), it);

        it.set_label(it.id);
        it.set_failure(None);
        it.set_renewing(None);
        it.leave(IncidentId(8));
        assert_eq!(it, plain());
        assert!(it.extras.0.is_none());
        it.set_approved_by("ann".into());
        assert_eq!(it.approved_by(), Some("ann"));
        assert_eq!(read_back(&it), it);
    }

    /// Snapshots hold these bytes: what is kept apart lies where it lay as a field.
    #[test]
    fn the_order_of_what_is_stored_is_the_format() {
        let mut it = plain();
        it.set_label(TransactionId(2));
        it.set_failure(Some(Failure::new(FailureKind::Full, "why")));
        it.set_approved_by("ann".into());
        it.set_renewing(Some(Timestamp::from_micros(11)));
        it.join(IncidentId(8));
        let bytes = postcard::to_stdvec(&it).expect("serialises");
        let names = serde_json::to_value(&it).expect("serialises");
        assert_eq!(names.as_object().expect("a map").len(), 24);
        assert_eq!(bytes[..4], [7, 3, 2, 1], "id, incident, label, step");
        let end = [b'y', 1, 3, b'a', b'n', b'n', 1, 9, 1, 11, 0, 4, 1, 1, 8];
        assert_eq!(
            bytes[bytes.len() - end.len()..],
            end,
            "from the last letter of the failure on"
        );
    }
}
