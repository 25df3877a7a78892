//! Objects in a bucket of S3 that locks them (Object Lock): put once, kept until a time, read back.
//!
//! Never opens a connection and never reads a key: a [`Link`] does both. What a bucket says of a lock is not believed
//! until a request to delete a locked version was refused. Who has refused it is not known: the lock, or a key that may
//! delete nothing, which is the better key. Then what shows the lock is the word of the bucket alone.
//!
//! # Expected flow
//! [`Bucket::prove`] once, then [`Bucket::put`] and [`Bucket::check_kept`] for each object
//!
//! # Guarantees
//! An object is never put where another is, but for a further version over what is proved not to be it, or not to be
//! kept; what was there stays as the version before. Nothing counts as kept that the bucket does not say it keeps as it
//! was asked to: mode, time, legal hold, and the hash of what it took
//!
//! # Assumptions
//! The bucket has versions and Object Lock; the key may put objects with a retention, and read versions and their
//! locks. It need not, and better may not, delete versions
//!
//! # Caveats
//! Who may bypass governance can delete what it keeps; nobody can delete what compliance keeps, also not its owner
//!
//! # Errors
//! `Unavailable` or `TimedOut` (to be tried again), `Denied` (no safe connection, the key, a bucket that does not
//! lock), `Conflict` (another object has the name)

mod bucket;
mod kept;
mod put;
mod sign;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::Duration;

use staunch_model::{Failure, FailureKind, Span, WriteOnce};

pub use bucket::Bucket;
pub(crate) use kept::Doubt;
pub use put::Put;
pub use sign::Credentials;

/// The most bytes of one object that is put at once: 5 GiB
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
pub const OBJECT_BYTES_MAX: u64 = 5 << 30;

/// Whether nobody was there to answer, so that it is worth asking again by itself.
pub(crate) const fn is_outage(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut)
}

/// How a bucket is reached.
pub trait Link: Send + Sync {
    /// The key, which may be another each time.
    ///
    /// # Errors
    /// `Denied` when it cannot be read.
    fn credentials(&self) -> Result<Credentials, Failure>;

    /// Asks the bucket. A status is an answer like any other.
    ///
    /// # Errors
    /// `Denied` without a safe connection; `TimedOut` or `Unavailable` without an answer.
    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure>;
}

/// What is asked of a bucket.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'static str,
    /// The path and the query, as they are signed.
    pub target: String,
    /// The headers, with names in lower case; `host` is one of them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Payload<'a>,
    /// How long it may take, with all of the answer.
    pub within: Duration,
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// There is none.
    Empty,
    /// Bytes.
    Bytes(&'a [u8]),
    /// A file, from where it stands to its end, which is so many bytes away.
    File(&'a File, u64),
}

/// What a bucket answers.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

/// Who may delete what a bucket keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Those with a permission of their own.
    Governance,
    /// Nobody.
    Compliance,
}

impl LockMode {
    /// What the header says.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }

    /// What a manifest says.
    #[must_use]
    pub const fn write_once(self) -> WriteOnce {
        match self {
            Self::Governance => WriteOnce::LockGovernance,
            Self::Compliance => WriteOnce::LockCompliance,
        }
    }
}

/// A bucket, and how what is put there is kept.
#[derive(Clone, Debug)]
pub struct BucketSettings {
    /// Its host, with the port where it is not that of the scheme: it is signed.
    pub host: String,
    /// What stands before the name of each object in a path, without `/` at its ends; the bucket, when the host is not
    /// its own.
    pub base: String,
    /// What stands before the name of each object in an address, such as `s3://bucket/prefix/`.
    pub place: String,
    /// The region.
    pub region: String,
    /// Who may delete what is there.
    pub mode: LockMode,
    /// How long it is kept.
    pub retain: Span,
    /// Whether it is kept beyond that until somebody takes the hold away.
    pub legal_hold: bool,
    /// The most bytes of one object: [`OBJECT_BYTES_MAX`], and less in tests.
    pub object_bytes_max: u64,
}
