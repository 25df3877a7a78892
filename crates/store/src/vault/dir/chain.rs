//! The chain of the manifests of one piece of evidence: each holds the hash of the one before it.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use staunch_model::custody::{CUSTODY_SCHEMA_VERSION, MANIFEST_BYTES_MAX};
use staunch_model::{
    EvidenceId, Failure, FailureKind, IncidentId, Manifest, ManifestDraft, Sha256Hash, Taken, Timestamp,
};
use staunch_ports::SealedManifest;

use super::{Shared, fits, sequence_of};
use crate::files::failure;
use crate::vault::hashing::Hashing;

/// Chains of evidence are told apart by so many locks, so that collections do not wait for the disk of each other.
const STRIPES: usize = 16;

/// Ends of chains that are remembered for each of them; beyond, they are read anew.
const HEADS_MAX: usize = 1_024;

/// The ends of chains, by their evidence.
type Heads = HashMap<(IncidentId, EvidenceId), Head>;

/// The ends of chains that are known.
#[derive(Debug, Default)]
pub(super) struct Chains([Mutex<Heads>; STRIPES]);

impl Chains {
    /// Those that the chain of this evidence is among: whoever holds them is the only one to go on with it.
    fn of(&self, evidence: EvidenceId) -> MutexGuard<'_, Heads> {
        let stripe = usize::try_from(evidence.0 % STRIPES as u64).expect("it is below the number of stripes");
        self.0[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a chain of manifests.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    sequence: u64,
    hash: Option<Sha256Hash>,
}

/// A UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, and 74 random bits.
fn uuid_of(at: Timestamp) -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        let what = format!("this machine gives no random numbers: {error}");
        Failure::new(FailureKind::Unavailable, &what)
    })?;
    let millis = u128::from(at.as_micros() / 1_000) & ((1 << 48) - 1);
    let (version, variant) = (7_u128 << 76, 2_u128 << 62);
    let kept = u128::from_be_bytes(random) & !(u128::MAX << 80) & !(0xf << 76) & !(3 << 62);
    let text = format!("{:032x}", millis << 80 | version | variant | kept);
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    Ok(parts.join("-"))
}

impl Shared {
    /// Writes the next manifest of its evidence.
    pub(super) fn put_manifest(&self, custody: ManifestDraft, taken: Taken) -> Result<SealedManifest, Failure> {
        let key = (custody.incident, custody.evidence);
        let mut heads = self.chains.of(key.1);
        let dir = format!("manifests/{}/{}", key.0, key.1);
        // It is remembered again when it is known what is on the disk.
        let head = match heads.remove(&key) {
            Some(head) => head,
            None => self
                .head(&dir)
                .map_err(|error| failure("read", &self.files.path(&dir), &error))?,
        };
        let mut manifest = Manifest {
            schema_version: CUSTODY_SCHEMA_VERSION,
            sequence: head.sequence + 1,
            previous: head.hash,
            uuid: Some(uuid_of(custody.collected_at)?.into()),
            custody,
            taken,
            signature: None,
        };
        if let Some(key) = &self.key {
            manifest.signature = Some(key.signature(&manifest.signed_text()).into());
        }
        let bytes = manifest.to_bytes();
        fits(bytes.len() as u64, MANIFEST_BYTES_MAX, "manifest")?;
        let hash = Sha256Hash::of(&bytes);
        let name = format!("{dir}/{:08}.json", manifest.sequence);
        let put = || {
            self.files.make_dirs(&dir)?;
            let _queueing = self.queueing();
            self.queue_document(&name)?;
            self.files.put_new(&self.staged(), &name, &bytes)?;
            self.freeze(&name)
        };
        put().map_err(|error| failure("store the manifest in", self.files.root(), &error))?;
        if heads.len() >= HEADS_MAX {
            heads.clear();
        }
        let head = Head {
            sequence: manifest.sequence,
            hash: Some(hash),
        };
        heads.insert(key, head);
        Ok(SealedManifest { hash, manifest })
    }

    /// The end of the chain in `dir`. What is there is hashed as it is: damage is found by who verifies, and is no
    /// reason to store nothing more.
    fn head(&self, dir: &str) -> io::Result<Head> {
        let Some(sequence) = self.files.list(dir)?.iter().filter_map(|name| sequence_of(name)).max() else {
            return Ok(Head::default());
        };
        let mut hashing = Hashing::new(self.files.open(&format!("{dir}/{sequence:08}.json"))?);
        io::copy(&mut hashing, &mut io::sink())?;
        Ok(Head {
            sequence,
            hash: Some(hashing.finish().0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_of_version_7_and_has_the_time() {
        // The time of the example in RFC 9562, appendix A.6.
        let at = Timestamp::from_micros(0x017f_22e2_79b0 * 1_000 + 999);
        let (one, other) = (
            uuid_of(at).expect("random numbers"),
            uuid_of(at).expect("random numbers"),
        );
        assert_ne!(one, other);
        for uuid in [one, other] {
            assert!(uuid.starts_with("017f22e2-79b0-7"), "{uuid}");
            let bytes = uuid.as_bytes();
            assert!(
                uuid.len() == 36 && [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-'),
                "{uuid}"
            );
            assert!(matches!(bytes[19], b'8' | b'9' | b'a' | b'b'), "{uuid}");
        }
    }
}
