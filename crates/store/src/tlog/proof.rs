//! Proofs of one entry that are checked without the log (<https://c2sp.org/tlog-proof>).
//!
//! Never believes a proof by itself: it holds against a key that came another way.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::Sha256Hash;

use super::merkle::{PROOF_HASHES_MAX, is_included, leaf_hash};
use super::note::NOTE_BYTES_MAX;
use super::tile::ENTRY_BYTES_MAX;
use super::{Checkpoint, LogVerifier, NotProved};

/// The first line of a proof.
const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The most bytes of a proof: its note, an entry in base64, and the hashes.
pub const PROOF_BYTES_MAX: u64 = NOTE_BYTES_MAX + ENTRY_BYTES_MAX as u64 * 4 / 3 + (PROOF_HASHES_MAX as u64 + 4) * 64;

/// That an entry is in a log, with the checkpoint that it is proved against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// The entry itself, of which nothing is believed but that it has the hash that is proved.
    pub entry: Vec<u8>,
    /// Its number.
    pub index: u64,
    /// The hashes from its sibling to the child of the root.
    pub hashes: Vec<Sha256Hash>,
    /// The checkpoint, as it was signed.
    pub note: String,
}

impl LogProof {
    /// Reads what is written in the one way in which it is written here; `None` when it is not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() as u64 > PROOF_BYTES_MAX {
            return None;
        }
        let (head, note) = text.split_once("\n\n")?;
        let mut lines = head.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let entry = STANDARD.decode(lines.next()?.strip_prefix("extra ")?).ok()?;
        let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
        let mut hashes = Vec::new();
        for line in lines {
            let hash: [u8; 32] = STANDARD.decode(line).ok()?.try_into().ok()?;
            hashes.push(Sha256Hash(hash));
        }
        let note = note.to_owned();
        let proof = Self {
            entry,
            index,
            hashes,
            note,
        };
        (proof.to_string() == text).then_some(proof)
    }

    /// The checkpoint, when `verifier` has signed it and the entry is proved to be in it.
    ///
    /// # Errors
    /// See [`NotProved`].
    pub fn check(&self, verifier: &LogVerifier) -> Result<Checkpoint, NotProved> {
        let checkpoint = verifier.checkpoint(&self.note)?;
        self.check_against(&checkpoint).map(|()| checkpoint)
    }

    /// Holds it against a checkpoint that was proved before, which spares another look at the signature.
    ///
    /// # Errors
    /// When the entry is not proved to be in it.
    pub fn check_against(&self, checkpoint: &Checkpoint) -> Result<(), NotProved> {
        let (size, root) = (checkpoint.size, checkpoint.root);
        if is_included(leaf_hash(&self.entry), self.index, size, root, &self.hashes) {
            Ok(())
        } else {
            Err(NotProved::NotIncluded { index: self.index })
        }
    }
}

/// The written form.
impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\nextra {}", STANDARD.encode(&self.entry))?;
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.note)
    }
}
