//! Enters what is told of an incident, of a transaction, or of the installation.

use rusqlite::params;
use staunch_model::Record;

use super::values::packed;
use super::{Entry, int};

impl Entry<'_> {
    pub(super) fn on_incident(&self, incident: u64, what: &str, detail: &Record) -> rusqlite::Result<()> {
        self.timeline(Some(int(incident)), None, what, detail)
    }

    /// What concerns no incident: it is told live and in no incident's timeline.
    pub(super) fn on_installation(&self, what: &str, detail: &Record) -> rusqlite::Result<()> {
        self.timeline(None, None, what, detail)
    }

    pub(super) fn on_transaction(&self, transaction: u64, what: &str, detail: &Record) -> rusqlite::Result<()> {
        self.timeline(None, Some(int(transaction)), what, detail)
    }

    pub(super) fn timeline(
        &self,
        incident: Option<i64>,
        transaction: Option<i64>,
        what: &str,
        detail: &Record,
    ) -> rusqlite::Result<()> {
        self.db
            .prepare_cached(
                "INSERT INTO timeline (lsn, at, incident, tx, what, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![self.lsn, self.now, incident, transaction, what, packed(detail)])
            .map(drop)
    }
}
