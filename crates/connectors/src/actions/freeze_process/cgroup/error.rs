//! What an operator is told of errors.

use std::io;

use nix::libc;
use staunch_model::{Failure, FailureKind, WithCauses};

use super::group::GroupError;
use super::mount::RootError;

/// The failure that an error with a group is, while `doing` something.
pub(in crate::actions) fn failure(doing: &str, error: &GroupError) -> Failure {
    let (kind, more) = meaning(&error.source);
    Failure::new(kind, &format!("cannot {doing}: {error}: {}{more}", error.source))
}

/// The failure of a look at `/proc`.
pub(super) fn unreadable(what: &str, error: &io::Error) -> Failure {
    let (kind, _) = meaning(error);
    Failure::new(kind, &format!("cannot read {what}: {error}"))
}

/// The failure of finding where to look.
pub(in crate::actions) fn no_root(error: &RootError) -> Failure {
    Failure::new(FailureKind::Unavailable, &WithCauses(error).to_string())
}

/// The class of an error of the kernel, and what it means here.
fn meaning(error: &io::Error) -> (FailureKind, &'static str) {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => (
            FailureKind::Denied,
            " (it takes root or CAP_DAC_OVERRIDE, and a tree that may be written to)",
        ),
        Some(libc::EOPNOTSUPP) => (
            FailureKind::Conflict,
            " (it is in a threaded cgroup, whose processes cannot be moved as a whole)",
        ),
        Some(libc::EBUSY | libc::ENOTEMPTY) => (
            FailureKind::Conflict,
            " (the cgroup is in use: controllers were enabled in it, or somebody made cgroups in it)",
        ),
        Some(libc::EAGAIN | libc::ENOSPC | libc::EDQUOT) => (
            FailureKind::Full,
            " (cgroup.max.depth or cgroup.max.descendants allows no more cgroups)",
        ),
        Some(libc::ENOENT | libc::ENODEV | libc::ESRCH) => (FailureKind::Conflict, ""),
        _ => (FailureKind::Unavailable, ""),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn of(number: i32) -> Failure {
        let source = io::Error::from_raw_os_error(number);
        let error = GroupError::new("write", Path::new("/sys/fs/cgroup/a/cgroup.procs"), source);
        failure("freeze pid:7", &error)
    }

    #[test]
    fn an_error_names_the_file_and_says_what_it_takes() {
        for (number, kind, says) in [
            (libc::EACCES, FailureKind::Denied, "CAP_DAC_OVERRIDE"),
            (libc::EPERM, FailureKind::Denied, "CAP_DAC_OVERRIDE"),
            (libc::EOPNOTSUPP, FailureKind::Conflict, "threaded"),
            (libc::EBUSY, FailureKind::Conflict, "controllers"),
            (libc::EAGAIN, FailureKind::Full, "cgroup.max"),
            (libc::EIO, FailureKind::Unavailable, "os error"),
        ] {
            let failure = of(number);
            assert_eq!(failure.kind, kind, "{failure}");
            assert!(failure.what.contains(says), "{failure}");
            assert!(failure.what.contains("/sys/fs/cgroup/a/cgroup.procs"), "{failure}");
            assert!(failure.what.contains("freeze pid:7"), "{failure}");
        }
    }
}
