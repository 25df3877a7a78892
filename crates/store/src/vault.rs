//! Evidence vaults: where artefacts are kept, written once, under their hash.

pub mod dir;
pub mod handling;
pub(crate) mod hashing;
pub mod logged;
pub mod verify;

pub use dir::{Arrived, DirVault, DirVaultOptions, Sent, Waiting, unfinished};
pub use handling::{Handles, HandlingLog};
pub use verify::{EvidenceFolder, EvidenceSummary, Finding, Progress, Unlogged, verify_evidence};
