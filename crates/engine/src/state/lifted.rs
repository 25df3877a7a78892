//! What was lifted of late. Never stored, and nothing is decided by it but what a reading of the drift sweep means.

use std::collections::BTreeMap;

use staunch_model::{Timestamp, TransactionId};

use crate::limits;

/// When what was lifted of late ended, by its label, where the transaction is forgotten already: a reading of the drift
/// sweep that began before may still show it.
///
/// Only such readings are held against it, and they end with the process. So it is not stored, nothing is decided by
/// it, and states that differ in it alone are equal.
#[derive(Clone, Debug, Default)]
pub struct Lifted(BTreeMap<TransactionId, Timestamp>);

impl PartialEq for Lifted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lifted {}

impl Lifted {
    /// When what carried `label` ended; `None` when nothing of late did.
    #[must_use]
    pub fn ended(&self, label: TransactionId) -> Option<Timestamp> {
        self.0.get(&label).copied()
    }

    /// True when nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers that what carried `label` has `ended`.
    pub(crate) fn add(&mut self, label: TransactionId, ended: Timestamp) {
        self.0.insert(label, ended);
    }

    /// Drops what ended before any reading that may be under way began.
    pub(crate) fn trim(&mut self, now: Timestamp) {
        self.0.retain(|_, ended| now.since(*ended) <= limits::SWEEP_READING_MAX);
    }
}
