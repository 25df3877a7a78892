//! What can be found wrong with an archive, in the words of an operator.

use crate::tlog::NotProved;
use crate::vault::Finding;

/// What is not as it was exported, sealed and signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveFinding {
    /// It ends too early.
    #[error("the archive is cut off after {after}: what followed is missing")]
    Truncated {
        /// The last file that is whole, or the beginning.
        after: String,
    },
    /// It is not packed as archives are.
    #[error("the archive cannot be read on after {after}: {what}")]
    Malformed {
        /// The last file that is whole, or the beginning.
        after: String,
        /// What is wrong.
        what: String,
    },
    /// The signed inventory is not there.
    #[error("INVENTORY was removed: nothing shows what else is missing, and nothing else was looked at")]
    InventoryMissing,
    /// The inventory is not of this key.
    #[error("INVENTORY is not proved, and nothing else was looked at: {why}")]
    InventoryNotProved {
        /// Why.
        why: NotProved,
    },
    /// The list of files is not the one that was signed.
    #[error("SHA256SUMS was removed or changed, and nothing else was looked at: INVENTORY has another hash for it")]
    SumsChanged,
    /// A file is not the one in the list.
    #[error("{name} was changed")]
    Changed {
        /// The file.
        name: String,
    },
    /// A file is not there.
    #[error("{name} was removed")]
    Removed {
        /// The file.
        name: String,
    },
    /// A file is not in the list.
    #[error("{name} is no part of the archive: it was put there, or it is there twice")]
    Foreign {
        /// The file.
        name: String,
    },
    /// A file says what cannot be.
    #[error("{name} is not what it should be: {what}")]
    Wrong {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A proof does not prove its file.
    #[error("{name} does not prove what it stands beside: {why}")]
    ProofWrong {
        /// The proof.
        name: String,
        /// Why.
        why: String,
    },
    /// A manifest or record has no proof that it was logged.
    #[error("{name} has no proof beside it")]
    NoProof {
        /// The file.
        name: String,
    },
    /// The log and the evidence do not fit together.
    #[error(transparent)]
    Log(#[from] Finding),
}

impl ArchiveFinding {
    /// As [`Finding::is_nobodys_word`].
    #[must_use]
    pub const fn is_nobodys_word(&self) -> bool {
        matches!(self, Self::Log(finding) if finding.is_nobodys_word())
    }
}
