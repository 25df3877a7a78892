//! Copies checkpoints into a bucket of S3 that locks what is put there (Object Lock).
//!
//! # Expected flow
//! Proves that the bucket locks, puts `ORIGIN/SIZE.checkpoint` with its retention, and reads back how it is kept
//!
//! # Guarantees
//! Nothing counts as anchored that the bucket does not say it keeps until then, with the legal hold that was asked for.
//! A checkpoint is never put in the place of another
//!
//! # Assumptions
//! As those of `staunch_store::s3`
//!
//! # Caveats
//! Who may bypass governance can delete what it keeps; nobody can delete what compliance keeps, also not its owner
//!
//! # Errors
//! `Unavailable` or `TimedOut` (tried again), `Denied` (no safe connection, the key, a bucket that does not
//! lock), `Conflict` (another checkpoint of the same size is there)

use staunch_model::{Failure, FailureKind, Sha256Hash};
use staunch_store::s3::Payload;

use super::Work;
use crate::bucket;

/// What the file of a version ends with.
const VERSION: &str = "version";

/// Puts the checkpoint there. `has_proved` says whether the bucket has shown that it locks, and becomes true when
/// it does.
///
/// # Errors
/// See the module.
pub(super) fn put(work: &Work<'_>, has_proved: &mut bool) -> Result<(), Failure> {
    let bucket = bucket::of_anchor(work.settings)?;
    if !*has_proved {
        bucket.prove(work.until)?;
        *has_proved = true;
    }
    let name = format!("{}/{}.checkpoint", work.checkpoint.origin, work.checkpoint.size);
    let note = work.note.as_bytes();
    let (until, sha256) = (bucket.retain_until(), Sha256Hash::of(note));
    let put = bucket.put_or_confirm(&name, Payload::Bytes(note), sha256, until, work.until);
    // What is there may be of an attempt whose answer was lost, or of another history of the same size.
    let version = put.map_err(|failure| match failure.kind {
        FailureKind::Conflict => {
            let what = format!("{name} is there and is another: the log was put back");
            Failure::new(FailureKind::Conflict, &what)
        }
        _ => failure,
    })?;
    work.keep(VERSION, version.as_bytes())
}
