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
//! was asked to: mode, time, legal hold, and the hash of what it took; what is in parts, and has none, is read back.
//! Of a large object one part at a time is in memory, and an upload that does not end with the object is aborted, but
//! for one whose beginning was not answered. A request by which no object is sent or read has 30 seconds for its answer
//!
//! # Assumptions
//! The bucket has versions and Object Lock; the key may put objects with a retention, and read versions and their
//! locks. It need not, and better may not, delete versions. It need not list: then 403 to a look at a name may mean
//! that nothing is there
//!
//! # Caveats
//! Who may bypass governance can delete what it keeps; nobody can delete what compliance keeps, also not its owner. Of
//! an object in parts the bucket tells no hash of its bytes, but one of the hashes of its parts
//!
//! # Errors
//! `Unavailable` or `TimedOut` (to be tried again), `Denied` (no safe connection, the key, a bucket that does not
//! lock), `Conflict` (another object has the name)

mod answered;
mod bucket;
mod complete;
mod kept;
mod parts;
mod put;
mod sign;
mod unfinished;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use staunch_model::{Failure, FailureKind, Span, WriteOnce};

pub use bucket::Bucket;
pub(crate) use kept::{Doubt, Untold};
pub use parts::PartSizes;
pub use put::Put;
pub use sign::Credentials;
pub use unfinished::{Unfinished, UnfinishedList};

/// The most bytes of one object: 5 TiB, which servers of others take as well. AWS takes more
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html>).
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// The most bytes of one request that puts something: 5 GiB (the same page).
const PUT_BYTES_MAX: u64 = 5 << 30;

/// How long a small request may take.
pub(crate) const SMALL_WITHIN: Duration = Duration::from_secs(30);

/// The slowest connection over which a large one arrives: bytes in a second. It is 2 Mbit/s, as the way up of a slow
/// line has: a day brings 21 GiB over it.
pub(crate) const RATE_MIN: u64 = 256 << 10;

/// How long a request with so many bytes may take.
pub(crate) const fn within(bytes: u64) -> Duration {
    Duration::from_secs(SMALL_WITHIN.as_secs() + bytes / RATE_MIN)
}

/// By when a small request is answered, of something that is all done `by` then.
fn soon(by: Instant) -> Instant {
    by.min(Instant::now() + SMALL_WITHIN)
}

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
    /// What of that is the bucket, and no part of the names of its objects; empty when the host is its own.
    pub bucket_in_path: String,
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
    /// What is put in parts: [`PartSizes::S3`], and less in tests.
    pub parts: PartSizes,
}
