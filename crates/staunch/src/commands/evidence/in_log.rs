//! What of the evidence in a folder is in its log.
//!
//! Never proves the whole of it, as `staunch evidence verify` does: the entries of the log are held against its
//! checkpoint, and that against a key. Without a key nothing counts as logged.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use staunch_model::{IncidentId, Printable, Sha256Hash, Span};
use staunch_store::LogVerifier;
use staunch_store::tlog::CHECKPOINT;
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use staunch_store::tlog::put_back::signed_beyond;
use staunch_store::vault::logged::{LoggedUpTo, logged_in};

use super::KEY_BYTES_MAX;
use super::handled::{Custody, is_at_work};
use super::verify::verifier;
use crate::cli::DataArgs;
use crate::exit::Fault;
use crate::files::read_bounded;
use crate::output::warn_wrapped;
use crate::{anchors, wiring};

/// The pause between two looks at the checkpoint. A server writes one within a few milliseconds of the record.
const LOOK: Duration = Duration::from_millis(20);

/// The manifests and records that a signed log stands for.
pub(super) struct InLog {
    /// Which, and where; why nothing of them is proved, in words that are safe to show.
    pub(super) known: Result<LoggedUpTo, String>,
    folder: PathBuf,
    /// What it is held against; `None` when there is nothing.
    key: Option<LogVerifier>,
    /// The most entries that it was signed with while this command looked.
    most: u64,
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
            most: 0,
        };
        log.read();
        Ok(log)
    }

    /// What it is held against; `None` when there is nothing.
    pub(super) const fn key(&self) -> Option<&LogVerifier> {
        self.key.as_ref()
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
        self.most = self.most.max(self.size());
    }

    /// The entries that it is signed with, as far as that is proved.
    pub(super) fn size(&self) -> u64 {
        let known = self.known.as_ref().ok();
        known.and_then(|it| it.checkpoint.as_ref()).map_or(0, |it| it.size)
    }

    /// What the handling log is told of it: with how many entries it was signed; `None` when that is not proved.
    pub(super) fn noted(&self) -> Option<String> {
        self.known.as_ref().ok()?.checkpoint.as_ref()?;
        Some(note_of(self.key.as_ref()?, self.size()))
    }

    /// Says that the log was put back, and by what: it is signed with fewer entries than it was before, as this command
    /// has seen, an anchor has kept, its own files prove, or `custody` says of an earlier command about `incident`.
    /// Reads the log again, after all of them, so that one that grows meanwhile is not taken for one that shrank.
    pub(super) fn put_back(&mut self, custody: &Custody, incident: Option<IncidentId>) -> Option<String> {
        let key = self.key.clone()?;
        self.known.as_ref().ok()?;
        let mut noted = Noted::of(&key);
        custody.outcomes(incident, &key, &mut |outcome| noted.take(outcome));
        let mut before = noted.and_kept_elsewhere(&self.folder, self.size());
        before.push((self.most, "this command has seen one"));
        self.read();
        self.known.as_ref().ok()?;
        put_back_by(before, self.size())
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

/// A size that a log was signed at, and who says so.
type Signed = (u64, &'static str);

/// The largest size of a log that lines of the handling log tell of.
pub(super) struct Noted<'a> {
    key: &'a LogVerifier,
    size: u64,
}

impl<'a> Noted<'a> {
    /// That of the log of `key`.
    pub(super) const fn of(key: &'a LogVerifier) -> Self {
        Self { key, size: 0 }
    }

    /// Takes note of what came of a deed, as its line says.
    pub(super) fn take(&mut self, outcome: &str) {
        self.size = self.size.max(size_of_note(self.key, outcome).unwrap_or_default());
    }

    /// That, and the sizes beyond `size` that anchors have kept and that the files of the log in `folder` are left of.
    /// The checkpoint is read after them to be held against all: a log that grows is not taken for one that shrank.
    pub(super) fn and_kept_elsewhere(&self, folder: &Path, size: u64) -> Vec<Signed> {
        let mut before = vec![(self.size, "the handling log tells of one")];
        match anchors::largest(folder, self.key) {
            Ok(size) => before.extend(size.map(|size| (size, "an anchor has kept one"))),
            Err(error) => warn_wrapped(&format!("the anchors cannot be read: {error}")),
        }
        match signed_beyond(&folder.join(wiring::LOG), size) {
            Ok(size) => before.extend(size.map(|size| (size, "its own files are those of one"))),
            Err(error) => warn_wrapped(&Printable(&error.to_string()).to_string()),
        }
        before
    }
}

/// Why a log whose checkpoint now stands for `size` entries was put back; `None` when none of `before` is more.
pub(super) fn put_back_by(before: Vec<Signed>, size: u64) -> Option<String> {
    let (most, who) = before.into_iter().max_by_key(|(size, _)| *size)?;
    (most > size).then(|| format!("its checkpoint stands for {size} entries, and {who} that stands for {most}"))
}

/// How many entries the checkpoint of the log in `folder` stands for; `None` when it is not one of `key`.
pub(super) fn signed_size(folder: &Path, key: &LogVerifier) -> Option<u64> {
    let note = read_bounded(&folder.join(wiring::LOG).join(CHECKPOINT), NOTE_BYTES_MAX).ok()?;
    key.checkpoint(&note).ok().map(|it| it.size)
}

/// How the handling log names a log and its size.
pub(super) fn note_of(key: &LogVerifier, entries: u64) -> String {
    format!("log {} has {entries} entries", id_of(key))
}

/// The size that a line of the handling log names, of the log of `key`.
fn size_of_note(key: &LogVerifier, outcome: &str) -> Option<u64> {
    let (_, rest) = outcome.rsplit_once(&format!("log {} has ", id_of(key)))?;
    rest.strip_suffix(" entries")?.parse().ok()
}

/// Eight hexadecimal digits that tell the key from others.
fn id_of(key: &LogVerifier) -> String {
    key.to_string().split('+').nth(1).unwrap_or_default().to_owned()
}

/// The key of this machine, when it has one.
fn own_key(data: &DataArgs) -> Option<LogVerifier> {
    let file = super::super::load(data).ok()?.evidence_key_file();
    LogVerifier::parse(read_bounded(&file, KEY_BYTES_MAX).ok()?.trim())
}

#[cfg(test)]
mod tests {
    use staunch_store::LogKey;

    use super::*;

    #[test]
    fn the_size_that_is_noted_is_that_of_one_log() {
        let [own, other] = [1, 2].map(|seed| LogKey::from_seed("web-1/staunch", &[seed; 32]).verifier());
        let outcome = format!("done, 5 bytes; {}", note_of(&own, 14));
        assert_eq!(size_of_note(&own, &outcome), Some(14));
        assert_eq!(size_of_note(&other, &outcome), None);
        for outcome in ["done, 5 bytes", "", &format!("{} and more", note_of(&own, 14))] {
            assert_eq!(size_of_note(&own, outcome), None, "{outcome}");
        }
    }
}
