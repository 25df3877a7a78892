//! Why an act stopped, and what is said of it.

use std::io;

use staunch_model::{Failure, FailureKind, Outcome, Target};

use super::ShadowOptions;

/// Why an act stopped.
pub(super) struct Stopped {
    pub(super) failure: Failure,
    /// Whether something is not as it was before.
    pub(super) has_changed: bool,
}

impl Stopped {
    pub(super) fn into_outcome(self) -> Outcome {
        match self.has_changed {
            true => Outcome::InDoubt(self.failure),
            false => Outcome::DidNotHappen(self.failure),
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            has_changed: false,
        }
    }
}

/// A line that cannot be told. Never shows it.
pub(super) fn no_line(target: &Target, options: &ShadowOptions, why: &str) -> Failure {
    let what = format!("cannot tell {target} in {}: {why}", options.shadow.display());
    Failure::new(FailureKind::Invalid, &what)
}

/// The failure that an error of the system is, while `doing` something.
pub(super) fn failure(doing: &str, error: &io::Error) -> Failure {
    use io::ErrorKind as E;
    let (kind, more) = match error.kind() {
        E::PermissionDenied | E::ReadOnlyFilesystem => (
            FailureKind::Denied,
            " (it takes root or CAP_DAC_OVERRIDE and CAP_CHOWN, and a /etc that may be written to)",
        ),
        E::StorageFull | E::QuotaExceeded => (FailureKind::Full, ""),
        E::InvalidInput | E::FileTooLarge => (FailureKind::Invalid, ""),
        E::ResourceBusy => (
            FailureKind::Invalid,
            " (it is mounted by itself, and cannot be replaced)",
        ),
        _ => (FailureKind::Unavailable, ""),
    };
    Failure::new(kind, &format!("cannot {doing}: {error}{more}"))
}
