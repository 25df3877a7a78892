//! What is said of a record that does not fit. Never decides what becomes of it: see `misfits.rs`.

use std::fmt;

use staunch_model::{EvidenceId, IncidentId, TransactionId, WatchId};

use crate::transaction::IllegalChange;

/// Why a record does not fit the state: the journal was written by something that decides differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The change is not in the table.
    Illegal {
        /// Whose change.
        transaction: TransactionId,
        /// What is illegal.
        illegal: IllegalChange,
    },
    /// There is no such transaction.
    NoTransaction(TransactionId),
    /// There is no such incident.
    NoIncident(IncidentId),
    /// There is no such evidence.
    NoEvidence(EvidenceId),
    /// There is no such watch.
    NoWatch(WatchId),
    /// The incident has no recovery.
    NoRecovery(IncidentId),
    /// Transactions that an incident planned have not ended, so that it cannot be forgotten.
    NotEnded(IncidentId),
    /// Something new has the id of something else, or one that is out of all proportion to the last one.
    Misnumbered(Box<str>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Illegal { transaction, illegal } => write!(f, "{transaction}: {illegal}"),
            Self::NoTransaction(transaction) => write!(f, "there is no {transaction}"),
            Self::NoIncident(incident) => write!(f, "there is no {incident}"),
            Self::NoEvidence(evidence) => write!(f, "there is no {evidence}"),
            Self::NoWatch(watch) => write!(f, "there is no {watch}"),
            Self::NoRecovery(incident) => write!(f, "{incident} has no recovery"),
            Self::NotEnded(incident) => write!(f, "{incident} cannot be forgotten before its transactions have ended"),
            Self::Misnumbered(id) => write!(f, "{id} cannot be the id of something new"),
        }
    }
}

impl std::error::Error for ApplyError {}
