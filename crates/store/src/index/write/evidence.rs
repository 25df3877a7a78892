//! Tells of a piece of evidence in the timeline of its incident.

use rusqlite::{OptionalExtension, params};
use staunch_model::{EvidenceId, Record};

use super::{Entry, int};
use crate::index::words;

impl Entry<'_> {
    /// What concerns a piece of evidence, in the words that `what` makes of it.
    pub(super) fn on_evidence(
        &self,
        evidence: EvidenceId,
        what: impl FnOnce(&str) -> String,
        detail: &Record,
    ) -> rusqlite::Result<()> {
        match self.of_evidence(evidence, what)? {
            Some((incident, what)) => self.timeline(Some(incident), None, &what, detail),
            None => Ok(()),
        }
    }

    /// The same, unless these words stand there already.
    pub(super) fn on_evidence_once(
        &self,
        evidence: EvidenceId,
        what: impl FnOnce(&str) -> String,
        detail: &Record,
    ) -> rusqlite::Result<()> {
        let Some((incident, what)) = self.of_evidence(evidence, what)? else {
            return Ok(());
        };
        let stands = self
            .db
            .prepare_cached("SELECT 1 FROM timeline WHERE incident = ?1 AND what = ?2 LIMIT 1")?
            .exists(params![incident, what])?;
        if stands {
            return Ok(());
        }
        self.timeline(Some(incident), None, &what, detail)
    }

    /// The incident of a piece of evidence, and the words that `what` makes of it; `None` when it is not known.
    fn of_evidence(
        &self,
        evidence: EvidenceId,
        what: impl FnOnce(&str) -> String,
    ) -> rusqlite::Result<Option<(i64, String)>> {
        let known: Option<(i64, String, Option<String>)> = self
            .db
            .prepare_cached("SELECT incident, kind, target FROM evidence WHERE id = ?1")?
            .query_row(params![int(evidence.0)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .optional()?;
        Ok(known.map(|(incident, kind, target)| {
            let of = words::evidence(&kind, target.as_deref());
            (incident, format!("{evidence} {}", what(&of)))
        }))
    }
}
