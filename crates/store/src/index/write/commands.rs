//! Enters what operators ask for, and what was answered.

use rusqlite::params;
use staunch_model::{Command, Operator, Record, ReleaseScope, TransactionId};

use super::values::json;
use super::{Entry, int};
use crate::index::words;

impl Entry<'_> {
    /// Tells live what somebody asked for, and what was answered.
    pub(super) fn command_told(&self, by: &Operator, command: &Command, records: &[Record]) -> rusqlite::Result<()> {
        match records.iter().rev().find(is_answer) {
            Some(answer) => self.on_installation(&words::command(by, command, answer), answer),
            None => Ok(()),
        }
    }

    /// Enters a command, and whom it is about.
    pub(super) fn command(&self, by: &Operator, command: &Command, records: &[Record]) -> rusqlite::Result<()> {
        let (affected, refused) = records.iter().rev().find_map(answer).unwrap_or((&[], None));
        self.db
            .prepare_cached("INSERT INTO commands VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(params![
                self.lsn,
                self.now,
                &*by.name,
                &*by.from,
                &*by.reason,
                json(command),
                json(&affected),
                refused,
            ])?;
        let (incident, named) = match command {
            Command::Release(scope) | Command::ReleaseTrusting { scope, .. } => match scope {
                ReleaseScope::Incident(incident) => (Some(*incident), None),
                ReleaseScope::Transaction(id) => (None, Some(*id)),
                ReleaseScope::All | ReleaseScope::Former => (None, None),
            },
            Command::Approve(id) | Command::Deny(id) => (None, Some(*id)),
            Command::Renew { transaction, .. } => (None, Some(*transaction)),
            Command::Recover(id) | Command::StopRecovery(id) => (Some(*id), None),
            Command::SetMode(_)
            | Command::Protect { .. }
            | Command::Unprotect { .. }
            | Command::Reload { .. }
            | Command::Drill { .. }
            | Command::StopDrill
            | Command::EndDrill { .. } => (None, None),
        };
        let also = named.filter(|id| !affected.contains(id));
        let touched = affected.iter().copied().chain(also).map(|id| (None, Some(int(id.0))));
        for (incident, tx) in touched.chain(incident.map(|id| (Some(int(id.0)), None))) {
            self.db
                .prepare_cached("INSERT INTO command_targets VALUES (?1, ?2, ?3)")?
                .execute(params![self.lsn, incident, tx])?;
        }
        Ok(())
    }
}

fn is_answer(record: &&Record) -> bool {
    answer(record).is_some()
}

fn answer(record: &Record) -> Option<(&[TransactionId], Option<&str>)> {
    match record {
        Record::CommandDone { affected } => Some((affected, None)),
        Record::CommandRefused { why } => Some((&[], Some(why))),
        _ => None,
    }
}
