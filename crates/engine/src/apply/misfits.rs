//! Records that do not fit this build: what becomes of their transaction, and that somebody is told.
//!
//! Never repairs one: it is left out as a whole.

use staunch_model::{Change, Notice, Record, StateKind};

use super::ApplyError;
use super::ids::number;
use crate::state::EngineState;

/// True when `record` is about a quarantined transaction, so that it does not count.
///
/// That it was given up counts: it leaves the transaction to a person, whoever wrote it and why.
pub(crate) fn is_quarantined(state: &EngineState, record: &Record) -> bool {
    match record {
        Record::Transaction {
            change: Change::GaveUp(_),
            ..
        } => false,
        Record::Transaction { transaction, .. } => state.quarantined.contains_key(transaction),
        // It waits for the end of what it planned, which is now as far off as a person's release.
        Record::IncidentForgotten { incident } => state
            .quarantined
            .keys()
            .any(|id| state.transactions.get(id).is_some_and(|it| it.incident == *incident)),
        _ => false,
    }
}

/// Leaves out a `record` that could not be applied: quarantines its transaction, or counts it.
pub(crate) fn leave_out(state: &mut EngineState, record: &Record, error: &ApplyError) {
    if let Record::Transaction { transaction, .. } | Record::TransactionPlanned { transaction, .. } = record {
        // The world may hold something with this label, so that no other transaction may have it. A number out of all
        // proportion is never reached.
        drop(number(transaction, transaction.0, &mut state.last_transaction));
    }
    if let ApplyError::Illegal { transaction, .. } = error
        && let Some(it) = state.transactions.get(transaction)
        && (!it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck)
    {
        state.quarantined.insert(*transaction, error.to_string().into());
    } else {
        state.unfit.count = state.unfit.count.saturating_add(1);
        state.unfit.first.get_or_insert_with(|| error.to_string().into());
    }
}

/// What a page about records that were left out says, besides their number; it is also what marks them as told.
pub(crate) const UNFIT: &str = "record(s) of the journal do not fit this build and were left out";

pub(super) fn tells_of_unfit(notice: &Notice) -> bool {
    notice.incident.is_none() && notice.transaction.is_none() && notice.text.contains(UNFIT)
}
