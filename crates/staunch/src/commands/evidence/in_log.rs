//! What of the evidence in a folder is in its log.
//!
//! Never proves the log: only its entries are held against its checkpoint, and that against the key of this machine where
//! the folder is its own. `staunch evidence verify` proves it.

use std::collections::BTreeSet;
use std::path::Path;

use staunch_model::{Printable, Sha256Hash};
use staunch_store::LogVerifier;
use staunch_store::vault::logged::logged_in;

use super::KEY_BYTES_MAX;
use crate::cli::DataArgs;
use crate::files::read_bounded;
use crate::wiring;

/// The manifests and records that a log stands for.
pub(super) struct InLog {
    /// Their hashes; why they are not known, in words that are safe to show.
    pub(super) hashes: Result<BTreeSet<Sha256Hash>, String>,
}

impl InLog {
    /// Those of the log in `folder`, which `named` says when it is not the one of the configuration.
    pub(super) fn of(folder: &Path, named: Option<&Path>, data: &DataArgs) -> Self {
        let key = match named {
            None => super::super::load(data).ok().and_then(|it| {
                let text = read_bounded(&it.evidence_key_file(), KEY_BYTES_MAX).ok()?;
                LogVerifier::parse(text.trim())
            }),
            // Its key has to come from elsewhere.
            Some(_) => None,
        };
        let hashes = logged_in(&folder.join(wiring::LOG), key.as_ref());
        Self {
            hashes: hashes.map_err(|error| Printable(&error.to_string()).to_string()),
        }
    }

    /// Whether all of them are in the log; `None` when nobody can tell.
    pub(super) fn has_all(&self, mut hashes: impl Iterator<Item = Sha256Hash>) -> Option<bool> {
        let known = self.hashes.as_ref().ok()?;
        Some(hashes.all(|it| known.contains(&it)))
    }
}
