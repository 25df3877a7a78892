//! Evidence vaults: where artefacts are kept, written once, under their hash.

pub mod dir;
mod hashing;
pub mod logged;

pub use dir::{DirVault, DirVaultOptions};
