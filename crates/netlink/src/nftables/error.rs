//! What can go wrong with a table of nf_tables.

use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use thiserror::Error;

use super::batch::{BatchError, is_moved};
use super::element::{COMMENT_BYTES_MAX, TIMEOUT_MIN};
use super::{ALLOWED_MAX, Defect, ELEMENTS_PER_BATCH_MAX};
use crate::socket::SocketError;

/// Why the table could not be read or changed. Unless it says otherwise, nothing was changed.
#[derive(Debug, Error)]
pub enum NftError {
    /// The process lacks `CAP_NET_ADMIN` in this network namespace.
    #[error("cannot {doing}: CAP_NET_ADMIN is needed")]
    Denied {
        /// What was being done.
        doing: String,
    },
    /// The table, or the set, chain or rule in it, is missing.
    #[error("cannot {doing}: the table, or what it should hold, is missing")]
    Missing {
        /// What was being done.
        doing: String,
    },
    /// An element to be added is already there.
    #[error("cannot add {address}: it is already in its set")]
    Exists {
        /// The address.
        address: IpAddr,
    },
    /// An element to be deleted or renewed is not there.
    #[error("{address} is not in its set")]
    Absent {
        /// The address.
        address: IpAddr,
    },
    /// An element to be renewed belongs to somebody else.
    #[error("{address} is in its set with another comment: {comment:?}")]
    Foreign {
        /// The address.
        address: IpAddr,
        /// The comment it has.
        comment: Option<String>,
    },
    /// The ruleset is of another generation than expected.
    #[error("cannot {doing}: the ruleset changed meanwhile")]
    Moved {
        /// What was being done.
        doing: String,
    },
    /// The object is in use, or the kernel is busy with it.
    #[error("cannot {doing}: it is busy")]
    Busy {
        /// What was being done.
        doing: String,
    },
    /// The set has as many elements as it may have.
    #[error("cannot add {address}: its set is full")]
    Full {
        /// The first address that found no place.
        address: IpAddr,
    },
    /// Too many elements for one batch.
    #[error("{count} elements are too many for one batch of at most {ELEMENTS_PER_BATCH_MAX}")]
    TooMany {
        /// How many there were.
        count: usize,
    },
    /// More is to stay reachable than a chain should hold.
    #[error("{count} networks and services are more than the {ALLOWED_MAX} that can stay reachable")]
    TooManyAllowed {
        /// How many there were.
        count: usize,
    },
    /// The elements of a table that isolates cannot be given this end or comment.
    #[error("a machine cannot be isolated for {timeout:?} with the comment {comment:?}")]
    CutInvalid {
        /// The timeout.
        timeout: Duration,
        /// The comment.
        comment: String,
    },
    /// A timeout that is zero, too short for the clock of the kernel, or longer than it can count.
    #[error("the timeout {timeout:?} of {address} is shorter than {TIMEOUT_MIN:?} or too long")]
    TimeoutInvalid {
        /// The address.
        address: IpAddr,
        /// The timeout.
        timeout: Duration,
    },
    /// A comment that is too long, or that could not be written in a ruleset file.
    #[error("the comment of {address} is longer than {COMMENT_BYTES_MAX} bytes or has a quote or control character")]
    CommentInvalid {
        /// The address.
        address: IpAddr,
    },
    /// The table holds an object of our name that is not what we would have made.
    #[error("the table cannot be used: {}", defects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Mismatch {
        /// What is different.
        defects: Vec<Defect>,
    },
    /// A read was not answered in time.
    #[error("cannot {doing}: the kernel did not answer within {after:?}")]
    Timeout {
        /// What was being done.
        doing: String,
        /// How long was waited.
        after: Duration,
    },
    /// A change was sent and its answer lost: it happened or it did not.
    #[error("it is unknown whether this took effect: {doing}")]
    OutcomeUnknown {
        /// What was being done.
        doing: String,
        /// The cause.
        source: SocketError,
    },
    /// Anything else.
    #[error("cannot {doing}")]
    Failed {
        /// What was being done.
        doing: String,
        /// The cause.
        source: SocketError,
    },
}

impl NftError {
    /// Explains why a read failed.
    pub(super) fn of_read(doing: String, error: SocketError) -> Self {
        match error {
            SocketError::Interrupted => Self::Moved { doing },
            SocketError::Timeout { after } => Self::Timeout { doing, after },
            other => Self::of_errno(doing, other),
        }
    }

    /// Explains why a change failed.
    pub(super) fn of_change(doing: String, error: BatchError) -> Self {
        match error {
            BatchError::Refused { refusal, .. } if is_moved(&refusal) => Self::Moved { doing },
            BatchError::Refused { refusal, .. } => Self::of_errno(doing, refusal),
            BatchError::NotSent(source) => Self::of_errno(doing, source),
            BatchError::Unknown(source) => Self::OutcomeUnknown { doing, source },
        }
    }

    fn of_errno(doing: String, source: SocketError) -> Self {
        match source.errno() {
            Some(Errno::EPERM | Errno::EACCES) => Self::Denied { doing },
            Some(Errno::ENOENT) => Self::Missing { doing },
            Some(Errno::EBUSY | Errno::EAGAIN) => Self::Busy { doing },
            _ => Self::Failed { doing, source },
        }
    }
}
