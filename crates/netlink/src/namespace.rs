//! Network namespaces of the calling thread, and user namespaces for callers without privilege.
//!
//! It never changes the namespaces of another thread or process.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};
use thiserror::Error;

use crate::link::{LinkError, Links};

/// Why a namespace could not be made or entered.
#[derive(Debug, Error)]
pub enum NamespaceError {
    /// The kernel does not let this process make a user namespace.
    #[error("cannot make a user namespace: {}", why_no_user_namespace(*source))]
    User {
        /// The cause.
        source: Errno,
    },
    /// The kernel does not let this thread make a network namespace.
    #[error("cannot make a network namespace: {}", why_no_net_namespace(*source))]
    Net {
        /// The cause.
        source: Errno,
    },
    /// The user namespace was made but identities could not be mapped into it.
    #[error("cannot write {}: the kernel forbids mapping this user into its user namespace", path.display())]
    Map {
        /// The file that could not be written.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A namespace file could not be opened.
    #[error("cannot open the namespace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The namespace exists but this thread may not enter it.
    #[error("cannot enter the network namespace: CAP_SYS_ADMIN is needed here and in the user namespace that owns it")]
    Enter {
        /// The cause.
        source: Errno,
    },
    /// The loopback interface of a new namespace could not be set up.
    #[error("cannot set the loopback interface up")]
    Loopback {
        /// The cause.
        source: LinkError,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread {
        /// The cause.
        source: io::Error,
    },
}

/// An open handle of a network namespace, which keeps it alive.
#[derive(Debug)]
pub struct NetNs {
    file: File,
}

impl NetNs {
    /// Opens the namespace the calling thread is in.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Open`].
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Opens a namespace by its file, such as `/run/netns/<name>` or `/proc/<pid>/ns/net`.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Open`].
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let file = File::open(path).map_err(|source| NamespaceError::Open {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self { file })
    }

    /// Moves the calling thread, and no other, into this namespace.
    ///
    /// # Errors
    ///
    /// [`NamespaceError::Enter`].
    pub fn enter(&self) -> Result<(), NamespaceError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|source| NamespaceError::Enter { source })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling thread, and no other, into a new and empty network namespace. Its loopback is down.
///
/// # Errors
///
/// [`NamespaceError::Net`].
pub fn enter_new_net() -> Result<(), NamespaceError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|source| NamespaceError::Net { source })
}

/// Moves the process into a new user namespace, where it is root, and a new network namespace that it owns.
///
/// It must be called while the process has one thread; the kernel refuses otherwise. It needs no privilege where the
/// system allows user namespaces.
///
/// # Errors
///
/// [`NamespaceError::User`] changes nothing. After [`NamespaceError::Map`] the process is in the new namespaces without
/// an identity, and should end.
pub fn enter_user_and_net() -> Result<(), NamespaceError> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|source| NamespaceError::User { source })?;
    // The kernel lets an unprivileged process map its group only after it gave up setgroups(2).
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write("/proc/self/gid_map", &format!("0 {group} 1"))
}

/// Runs `work` on a thread of its own in a new network namespace with its loopback up, and returns what it returns.
///
/// The namespace goes away when nothing holds it any more: no thread, no handle, no socket, no moved link.
///
/// # Errors
///
/// [`NamespaceError`] when the namespace could not be made; `work` did not run then.
///
/// # Panics
///
/// A panic of `work` continues on the calling thread.
pub fn run_in_new_net<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let task = || {
        enter_new_net()?;
        let loopback = Links::open(TIMEOUT).and_then(|mut links| links.set_up("lo"));
        loopback.map_err(|source| NamespaceError::Loopback { source })?;
        Ok(work())
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("new-net".to_owned())
            .spawn_scoped(scope, task);
        let thread = thread.map_err(|source| NamespaceError::Thread { source })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn write(path: &str, text: &str) -> Result<(), NamespaceError> {
    fs::write(path, text).map_err(|source| NamespaceError::Map {
        path: path.into(),
        source,
    })
}

fn why_no_user_namespace(errno: Errno) -> String {
    match errno {
        Errno::EPERM => "the kernel forbids it to this user; see the sysctls kernel.unprivileged_userns_clone and \
                         kernel.apparmor_restrict_unprivileged_userns, or run as root"
            .to_owned(),
        Errno::ENOSPC | Errno::EUSERS => {
            "the limit of user or network namespaces is reached; see the sysctls user.max_user_namespaces and \
             user.max_net_namespaces"
                .to_owned()
        }
        Errno::EINVAL => "the process has more than one thread, or the kernel has no user namespaces".to_owned(),
        other => other.to_string(),
    }
}

fn why_no_net_namespace(errno: Errno) -> String {
    match errno {
        Errno::EPERM => "CAP_SYS_ADMIN is needed, or a user namespace of one's own".to_owned(),
        Errno::ENOSPC => "the limit is reached; see the sysctl user.max_net_namespaces".to_owned(),
        Errno::EINVAL => "the kernel has no network namespaces".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_sysctl_that_decides() {
        let text = NamespaceError::User { source: Errno::EPERM }.to_string();
        assert!(text.contains("kernel.unprivileged_userns_clone"), "{text}");
        assert!(text.contains("kernel.apparmor_restrict_unprivileged_userns"), "{text}");
        let text = NamespaceError::User { source: Errno::ENOSPC }.to_string();
        assert!(text.contains("user.max_user_namespaces"), "{text}");
        assert!(
            NamespaceError::Net { source: Errno::EPERM }
                .to_string()
                .contains("CAP_SYS_ADMIN")
        );
    }

    #[test]
    fn a_process_with_threads_is_told_why_it_cannot_have_a_user_namespace() {
        // The test harness runs every test on a thread of its own, so there are at least two.
        std::thread::scope(|scope| {
            let error = scope.spawn(enter_user_and_net).join().unwrap().unwrap_err();
            assert!(matches!(error, NamespaceError::User { .. }), "{error}");
        });
    }
}
