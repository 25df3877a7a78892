//! Evidence vaults: where artefacts are kept, written once, under their hash.

pub mod dir;
pub(crate) mod hashing;
pub mod logged;
pub mod verify;

pub use dir::{DirVault, DirVaultOptions};
pub use verify::{EvidenceFolder, EvidenceSummary, Finding, Progress, verify_evidence};
