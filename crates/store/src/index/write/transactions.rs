//! Enters what changes about a transaction, and which incidents hold it.

use rusqlite::params;
use staunch_model::{Change, Judgement};

use super::values::packed;
use super::{Entry, int, time};
use crate::index::words::{self, Next};

impl Entry<'_> {
    pub(super) fn hold(&self, incident: i64, transaction: i64) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("INSERT OR IGNORE INTO holders VALUES (?1, ?2)")?
            .execute(params![incident, transaction])
            .map(drop)
    }

    pub(super) fn change(&self, id: i64, change: &Change) -> rusqlite::Result<()> {
        let mut row = Update::default();
        match change {
            Change::Refused { judgement, .. } | Change::ExecuteIntended { judgement, .. } => {
                row.judged(judgement.as_deref());
            }
            Change::WouldExecute { judgement } => row.judged(Some(judgement)),
            Change::ApprovalRequested { expires, judgement } => {
                row.judged(Some(judgement));
                row.approval_expires = Some(time(*expires));
            }
            Change::Approved { by } => row.approved_by = Some(by),
            Change::PostCheckPassed { lease_until } => {
                row.in_force_at = Some(self.now);
                row.lease_until = Some(time(*lease_until));
            }
            Change::Renewed { lease_until } => row.lease_until = Some(time(*lease_until)),
            Change::ReleaseVerified | Change::ProbedAbsent => row.released_at = Some(self.now),
            Change::Joined(incident) => self.hold(int(incident.0), id)?,
            _ => {}
        }
        let (state, back_to_undo) = match words::next(change) {
            Next::Becomes(state) => (Some(state.name()), false),
            Next::Stays => (None, false),
            Next::BackToUndo => (None, true),
        };
        self.db
            .prepare_cached(
                "UPDATE transactions SET
                    state = CASE WHEN ?2 AND state = 'settling' THEN 'rolling-back' ELSE coalesce(?3, state) END,
                    reason = coalesce(?4, reason),
                    mode = coalesce(?5, mode),
                    lease_until = coalesce(?6, lease_until),
                    in_force_at = coalesce(?7, in_force_at),
                    released_at = coalesce(?8, released_at),
                    approved_by = coalesce(?9, approved_by),
                    approval_expires = coalesce(?10, approval_expires),
                    judgement = coalesce(?11, judgement),
                    updated = ?12,
                    hurt = hurt OR ?13
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                back_to_undo,
                state,
                words::reason(change),
                row.mode,
                row.lease_until,
                row.in_force_at,
                row.released_at,
                row.approved_by,
                row.approval_expires,
                row.judgement,
                self.now,
                words::hurts(change),
            ])
            .map(drop)
    }
}

/// What a change sets besides the state; `None` leaves a column as it is.
#[derive(Default)]
struct Update<'a> {
    mode: Option<&'static str>,
    lease_until: Option<i64>,
    in_force_at: Option<i64>,
    released_at: Option<i64>,
    approved_by: Option<&'a str>,
    approval_expires: Option<i64>,
    judgement: Option<Vec<u8>>,
}

impl Update<'_> {
    fn judged(&mut self, judgement: Option<&Judgement>) {
        self.mode = judgement.map(|it| it.mode.name());
        self.judgement = judgement.map(packed);
    }
}
