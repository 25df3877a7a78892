//! What is due when. Never says what is to be done then, nor what time it is.

use std::collections::BTreeSet;

use staunch_model::{EvidenceId, IncidentId, NoticeId, Timestamp, TransactionId, WatchId};

use crate::compact::CompactSet;

/// Something with a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A transaction.
    Transaction(TransactionId),
    /// A closed incident, at the end of its absorbing time.
    Incident(IncidentId),
    /// A notice to be sent again.
    Notice(NoticeId),
    /// Evidence to be asked for again, or given up.
    Evidence(EvidenceId),
    /// A health signal to be read again, or whose answer is given up.
    Watch(IncidentId, WatchId),
}

/// What is due when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    transactions: CompactSet<Due>,
    incidents: CompactSet<Due>,
    notices: CompactSet<Due>,
    evidence: BTreeSet<(Timestamp, EvidenceId)>,
    watches: BTreeSet<(Timestamp, IncidentId, WatchId)>,
}

impl Deadlines {
    /// What is due first, and when; of several at the same time, a transaction before an incident before a notice
    /// before evidence before a watch.
    #[must_use]
    pub fn first(&self) -> Option<(Timestamp, Subject)> {
        let mut first = self
            .transactions
            .first()
            .map(|it| (due_at(*it), Subject::Transaction(TransactionId(due_number(*it)))));
        let mut consider = |time: Timestamp, subject: Subject| {
            if first.is_none_or(|(other, _)| time < other) {
                first = Some((time, subject));
            }
        };
        if let Some(it) = self.incidents.first() {
            consider(due_at(*it), Subject::Incident(IncidentId(due_number(*it))));
        }
        if let Some(it) = self.notices.first() {
            consider(due_at(*it), Subject::Notice(NoticeId(due_number(*it))));
        }
        if let Some((time, id)) = self.evidence.first() {
            consider(*time, Subject::Evidence(*id));
        }
        if let Some((time, incident, watch)) = self.watches.first() {
            consider(*time, Subject::Watch(*incident, *watch));
        }
        first
    }

    /// True when `subject` is entered with `time`.
    #[must_use]
    pub fn contains(&self, (time, subject): &(Timestamp, Subject)) -> bool {
        match *subject {
            Subject::Transaction(id) => self.transactions.contains(&due(*time, id.0)),
            Subject::Incident(id) => self.incidents.contains(&due(*time, id.0)),
            Subject::Notice(id) => self.notices.contains(&due(*time, id.0)),
            Subject::Evidence(id) => self.evidence.contains(&(*time, id)),
            Subject::Watch(incident, id) => self.watches.contains(&(*time, incident, id)),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len() + self.incidents.len() + self.notices.len() + self.evidence.len() + self.watches.len()
    }

    /// True when nothing is ever due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, (time, subject): (Timestamp, Subject)) -> bool {
        match subject {
            Subject::Transaction(id) => self.transactions.add(due(time, id.0)),
            Subject::Incident(id) => self.incidents.add(due(time, id.0)),
            Subject::Notice(id) => self.notices.add(due(time, id.0)),
            Subject::Evidence(id) => self.evidence.insert((time, id)),
            Subject::Watch(incident, id) => self.watches.insert((time, incident, id)),
        }
    }

    /// Has a transaction, entered with `before`, due at `after`.
    pub(crate) fn reschedule(&mut self, id: TransactionId, before: Timestamp, after: Timestamp) {
        self.transactions.replace(&due(before, id.0), due(after, id.0));
    }

    pub(crate) fn remove(&mut self, (time, subject): &(Timestamp, Subject)) -> bool {
        match *subject {
            Subject::Transaction(id) => self.transactions.take(&due(*time, id.0)),
            Subject::Incident(id) => self.incidents.take(&due(*time, id.0)),
            Subject::Notice(id) => self.notices.take(&due(*time, id.0)),
            Subject::Evidence(id) => self.evidence.remove(&(*time, id)),
            Subject::Watch(incident, id) => self.watches.remove(&(*time, incident, id)),
        }
    }
}

/// A time and the number of what is due then, as one number that is in their order: two of them are compared at once.
type Due = u128;

fn due(time: Timestamp, number: u64) -> Due {
    Due::from(time.as_micros()) << u64::BITS | Due::from(number)
}

fn due_at(due: Due) -> Timestamp {
    Timestamp::from_micros(u64::try_from(due >> u64::BITS).unwrap_or(u64::MAX))
}

fn due_number(due: Due) -> u64 {
    u64::try_from(due & Due::from(u64::MAX)).unwrap_or(u64::MAX)
}
