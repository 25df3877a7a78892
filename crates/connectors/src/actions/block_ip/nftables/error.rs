//! What errors of the packet filter mean to the engine and to an operator.

use staunch_model::{Failure, FailureKind, Outcome, WithCauses};
use staunch_netlink::nftables::NftError;
use staunch_netlink::socket::SocketError;
use thiserror::Error;

/// What to do about a missing permission.
const HINT_DENIED: &str = "Staunch needs CAP_NET_ADMIN to block addresses: run it as root, or give the program the \
                           capability with `setcap cap_net_admin+ep <path of staunch>`, or set \
                           `AmbientCapabilities=CAP_NET_ADMIN` in its systemd unit";
/// What to do about a table that is not as Staunch makes it.
const HINT_MISMATCH: &str = "look at it with `nft list table inet <table>`; if nothing else uses it, delete it and \
                             start again, or choose another table name in the configuration";
/// What to do about anything else.
const HINT_OTHER: &str = "check that the kernel has nf_tables (`modprobe nf_tables`), and that this runs in the \
                          network namespace it is to protect";

/// Why the driver cannot start.
#[derive(Debug, Error)]
#[error("cannot make the table \"inet {table}\"")]
pub struct StartError {
    /// The table.
    pub table: String,
    /// The cause.
    pub source: NftError,
}

impl StartError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        hint(&self.source)
    }
}

/// Why not everything could be released.
#[derive(Debug, Error)]
#[error("cannot release everything in the table \"inet {table}\": {released} were released before this")]
pub struct ReleaseError {
    /// The table.
    pub table: String,
    /// How many were released.
    pub released: usize,
    /// The cause.
    pub source: NftError,
}

impl ReleaseError {
    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        hint(&self.source)
    }
}

fn hint(source: &NftError) -> &'static str {
    match source {
        NftError::Denied { .. } => HINT_DENIED,
        NftError::Mismatch { .. } => HINT_MISMATCH,
        _ => HINT_OTHER,
    }
}

/// The failure that an error is.
pub(in crate::actions) fn failure(error: &NftError) -> Failure {
    Failure::new(kind(error), &WithCauses(error).to_string())
}

/// What became of a change that ended in an error.
pub(in crate::actions) fn outcome(error: &NftError) -> Outcome {
    match error {
        // A change reads too, before and after it writes, so even a read that timed out leaves it open.
        NftError::Timeout { .. } | NftError::OutcomeUnknown { .. } => Outcome::InDoubt(failure(error)),
        _ => Outcome::DidNotHappen(failure(error)),
    }
}

fn kind(error: &NftError) -> FailureKind {
    match error {
        NftError::Denied { .. } => FailureKind::Denied,
        NftError::Full { .. } => FailureKind::Full,
        NftError::Timeout { .. }
        | NftError::OutcomeUnknown {
            source: SocketError::Timeout { .. },
            ..
        } => FailureKind::TimedOut,
        NftError::Exists { .. } | NftError::Absent { .. } | NftError::Foreign { .. } | NftError::Mismatch { .. } => {
            FailureKind::Conflict
        }
        NftError::TooMany { .. }
        | NftError::TooManyAllowed { .. }
        | NftError::TimeoutInvalid { .. }
        | NftError::CommentInvalid { .. }
        | NftError::CutInvalid { .. } => FailureKind::Invalid,
        NftError::OutcomeUnknown { .. }
        | NftError::Missing { .. }
        | NftError::Moved { .. }
        | NftError::Busy { .. }
        | NftError::Failed { .. } => FailureKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn doing() -> String {
        "add 192.0.2.1".to_owned()
    }

    #[test]
    fn only_lost_answers_leave_doubt() {
        let timeout = NftError::Timeout {
            doing: doing(),
            after: Duration::from_secs(1),
        };
        let lost = NftError::OutcomeUnknown {
            doing: doing(),
            source: SocketError::Overrun,
        };
        let late = SocketError::Timeout {
            after: Duration::from_secs(1),
        };
        let late = NftError::OutcomeUnknown {
            doing: doing(),
            source: late,
        };
        for (error, expect) in [
            (timeout, FailureKind::TimedOut),
            (lost, FailureKind::Unavailable),
            (late, FailureKind::TimedOut),
        ] {
            assert!(
                matches!(outcome(&error), Outcome::InDoubt(it) if it.kind == expect),
                "{error}"
            );
        }
        for (error, expect) in [
            (NftError::Denied { doing: doing() }, FailureKind::Denied),
            (NftError::Busy { doing: doing() }, FailureKind::Unavailable),
            (NftError::Moved { doing: doing() }, FailureKind::Unavailable),
        ] {
            assert!(
                matches!(outcome(&error), Outcome::DidNotHappen(it) if it.kind == expect),
                "{error}"
            );
        }
    }

    #[test]
    fn a_missing_permission_says_what_to_do() {
        let error = StartError {
            table: "staunch".to_owned(),
            source: NftError::Denied { doing: doing() },
        };
        for part in ["root", "setcap cap_net_admin+ep", "AmbientCapabilities=CAP_NET_ADMIN"] {
            assert!(error.hint().contains(part), "{part}");
        }
    }

    #[test]
    fn a_failure_tells_the_whole_chain() {
        let error = NftError::OutcomeUnknown {
            doing: doing(),
            source: SocketError::Overrun,
        };
        let text = failure(&error).what;
        assert!(
            text.contains("add 192.0.2.1") && text.contains("receive buffer"),
            "{text}"
        );
    }
}
