//! Which of those that wait are to be asked whether they can start.

use staunch_model::TransactionId;

use crate::compact::CompactSet;

/// Those of the queue that may have nothing left to wait for. All that have nothing are among them: one is entered when
/// it is planned, and whenever something that it may have waited for is over. One that is found to wait is dropped, so
/// that what waits costs nothing until then, however much of it there is.
///
/// What starts does not depend on it, only how quickly it is found. So it is not stored, and states that differ in it
/// alone are equal.
#[derive(Clone, Debug, Default)]
pub struct Candidates(CompactSet<TransactionId>);

impl PartialEq for Candidates {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Candidates {}

impl Candidates {
    /// How many are to be asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing that waits can start.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, id: TransactionId) {
        self.0.add(id);
    }

    pub(crate) fn take(&mut self, id: TransactionId) {
        self.0.take(&id);
    }

    /// The one that has waited longest.
    pub(crate) fn first(&self) -> Option<TransactionId> {
        self.0.first().copied()
    }
}
