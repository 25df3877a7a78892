//! How the driver works, and for how long it waits.

use std::path::PathBuf;
use std::time::Duration;

use staunch_model::InstallationId;

/// How the driver works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowOptions {
    /// Whose locks are ours.
    pub installation: InstallationId,
    /// The directory of the records of what was there before. Nobody but this driver writes in it.
    pub records: PathBuf,
    /// Default: `/etc/shadow`.
    pub shadow: PathBuf,
    /// Default: `/etc/passwd`.
    pub passwd: PathBuf,
    /// Default: `/etc/group`.
    pub group: PathBuf,
    /// The file that lckpwdf(3) locks. Default: `/etc/.pwd.lock`.
    pub lock: PathBuf,
    /// The tree of cgroup v2 that `user.slice` is in. Default: where it is mounted.
    pub cgroups: Option<PathBuf>,
    /// Where the processes are. Default: `/proc`.
    pub proc: PathBuf,
    /// The longest time that one call waits for the lock of the password files, and after which it begins with no other
    /// of its requests. Default: 5 s. lckpwdf(3) waits for 15 s; a lock that is held for longer than 5 s is held by a
    /// person with an editor, and acts are tried again.
    pub lock_within: Duration,
    /// How long it is awaited that all of an account's sessions are frozen. Default: 500 ms.
    pub frozen_within: Duration,
}

impl ShadowOptions {
    /// The defaults for `installation`, with `records`.
    #[must_use]
    pub fn new(installation: InstallationId, records: PathBuf) -> Self {
        Self {
            installation,
            records,
            shadow: PathBuf::from("/etc/shadow"),
            passwd: PathBuf::from("/etc/passwd"),
            group: PathBuf::from("/etc/group"),
            lock: PathBuf::from("/etc/.pwd.lock"),
            cgroups: None,
            proc: PathBuf::from("/proc"),
            lock_within: Duration::from_secs(5),
            frozen_within: Duration::from_millis(500),
        }
    }
}
