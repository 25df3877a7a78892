//! What of the evidence in a folder is in its log.
//!
//! Never proves the whole of it, as `staunch evidence verify` does: the entries of the log are held against its
//! checkpoint, and that against a key. Without a key nothing counts as logged.

use std::collections::BTreeSet;
use std::path::Path;

use staunch_model::{Printable, Sha256Hash};
use staunch_store::LogVerifier;
use staunch_store::vault::logged::logged_in;

use super::KEY_BYTES_MAX;
use super::verify::verifier;
use crate::cli::DataArgs;
use crate::exit::Fault;
use crate::files::read_bounded;
use crate::wiring;

/// The manifests and records that a signed log stands for.
pub(super) struct InLog {
    /// Their hashes; why nothing of them is proved, in words that are safe to show.
    pub(super) hashes: Result<BTreeSet<Sha256Hash>, String>,
}

impl InLog {
    /// Those of the log in `folder`, by the key that is named or that of this machine.
    ///
    /// # Errors
    /// When what is named is no key.
    pub(super) fn of(folder: &Path, named: Option<&str>, data: &DataArgs) -> Result<Self, Fault> {
        let key = match named {
            Some(_) => Some(verifier(named, data)?),
            None => own_key(data),
        };
        let Some(key) = key else {
            let why = "there is no public key on this machine to hold the log against: name the one that was kept, with --key";
            return Ok(Self {
                hashes: Err(why.to_owned()),
            });
        };
        let hashes = logged_in(&folder.join(wiring::LOG), Some(&key));
        Ok(Self {
            hashes: hashes.map_err(|error| Printable(&error.to_string()).to_string()),
        })
    }

    /// Whether all of them are in the log; `None` when that is not proved.
    pub(super) fn has_all(&self, mut hashes: impl Iterator<Item = Sha256Hash>) -> Option<bool> {
        let known = self.hashes.as_ref().ok()?;
        Some(hashes.all(|it| known.contains(&it)))
    }
}

/// The key of this machine, when it has one.
fn own_key(data: &DataArgs) -> Option<LogVerifier> {
    let file = super::super::load(data).ok()?.evidence_key_file();
    LogVerifier::parse(read_bounded(&file, KEY_BYTES_MAX).ok()?.trim())
}
