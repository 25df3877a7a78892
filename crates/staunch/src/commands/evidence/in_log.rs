//! What of the evidence in a folder is in its log.
//!
//! Never proves the whole of it, as `staunch evidence verify` does: the entries of the log are held against its
//! checkpoint, and that against a key. Without a key nothing counts as logged.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use staunch_model::{Printable, Sha256Hash, Span};
use staunch_store::LogVerifier;
use staunch_store::tlog::CHECKPOINT;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::vault::logged::{LoggedUpTo, logged_in};

use super::KEY_BYTES_MAX;
use super::handled::is_at_work;
use super::verify::verifier;
use crate::cli::DataArgs;
use crate::exit::Fault;
use crate::files::read_bounded;
use crate::wiring;

/// The pause between two looks at the checkpoint. A server writes one within a few milliseconds of the record.
const LOOK: Duration = Duration::from_millis(20);

/// The manifests and records that a signed log stands for.
pub(super) struct InLog {
    /// Which, and where; why nothing of them is proved, in words that are safe to show.
    pub(super) known: Result<LoggedUpTo, String>,
    folder: PathBuf,
    /// What it is held against; `None` when there is nothing.
    key: Option<LogVerifier>,
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
        let mut log = Self {
            known: Ok(LoggedUpTo::default()),
            folder: folder.to_owned(),
            key,
        };
        log.read();
        Ok(log)
    }

    /// Reads what is in it by now.
    fn read(&mut self) {
        let Some(key) = &self.key else {
            let why = "there is no public key on this machine to hold the log against: name the one that was kept, with --key";
            self.known = Err(why.to_owned());
            return;
        };
        let known = logged_in(&self.folder.join(wiring::LOG), Some(key));
        self.known = known.map_err(|error| Printable(&error.to_string()).to_string());
    }

    /// Whether one of them is in the log; `None` when that is not proved.
    pub(super) fn has_any(&self, hashes: &[Sha256Hash]) -> Option<bool> {
        let known = self.known.as_ref().ok()?;
        Some(hashes.iter().any(|it| known.has(it)))
    }

    /// Waits until one of `hashes` is in the log, for `wait` at the most, and no longer than a server holds the folder:
    /// nobody else writes to the log. Calls `tell` before it begins to. Whether they are is then asked as ever.
    pub(super) fn await_any(&mut self, hashes: &[Sha256Hash], wait: Span, tell: impl FnOnce()) {
        if self.has_any(hashes) != Some(false) {
            return;
        }
        let begun = Instant::now();
        let folder = self.folder.clone();
        let is_over = || begun.elapsed() >= wait.to_std() || !is_at_work(&folder);
        // Each look comes after the question whether it is the last: what a server writes before it lets go is seen.
        let mut is_last = is_over();
        // What was read may be older than the artefact, which was long in the writing.
        let mut last = self.checkpoint();
        self.read();
        if self.has_any(hashes) != Some(false) || is_last {
            return;
        }
        tell();
        while !is_last {
            thread::sleep(LOOK);
            is_last = is_over();
            // Only a new checkpoint stands for more, and a log is read whole.
            let checkpoint = self.checkpoint();
            if checkpoint != last {
                last = checkpoint;
                self.read();
                if self.has_any(hashes) == Some(true) {
                    return;
                }
            }
        }
    }

    /// The bytes of the checkpoint, to tell it from another. One that cannot be read is told by [`Self::read`].
    fn checkpoint(&self) -> Option<String> {
        read_bounded(&self.folder.join(wiring::LOG).join(CHECKPOINT), NOTE_BYTES_MAX).ok()
    }

    /// Whether all of them are in the log; `None` when that is not proved.
    pub(super) fn has_all(&self, mut hashes: impl Iterator<Item = Sha256Hash>) -> Option<bool> {
        let known = self.known.as_ref().ok()?;
        Some(hashes.all(|it| known.has(&it)))
    }
}

/// The key of this machine, when it has one.
fn own_key(data: &DataArgs) -> Option<LogVerifier> {
    let file = super::super::load(data).ok()?.evidence_key_file();
    LogVerifier::parse(read_bounded(&file, KEY_BYTES_MAX).ok()?.trim())
}
