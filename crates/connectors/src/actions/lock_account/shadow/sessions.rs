//! What runs in the sessions of an account: the cgroup that `systemd-logind` makes for its user.
//!
//! Never moves or ends a process, and freezes nothing but that one group.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use staunch_model::{AccountName, Failure, FailureKind};

use super::super::super::freeze_process::RootError;
use super::super::super::freeze_process::cgroup::error::{failure, no_root};
use super::super::super::freeze_process::cgroup::group::{Group, GroupError};
use super::super::super::freeze_process::cgroup2_mount;
use crate::proc::Proc;

/// Processes that are looked through for those outside of the slice.
const PROCESSES_MAX: usize = 65_536;

/// Bytes that are read of what a group says of itself.
const EVENTS_BYTES_MAX: u64 = 4 << 10;

/// The slices of users.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    /// The tree; where it is mounted when it is not said.
    tree: Option<PathBuf>,
    proc: Proc,
    frozen_within: Duration,
}

impl Sessions {
    pub(super) fn new(tree: Option<PathBuf>, proc: &Path, frozen_within: Duration) -> Self {
        Self {
            tree,
            proc: Proc::new(proc),
            frozen_within,
        }
    }

    /// Whether the slice of `uid` is set to be frozen; not when there is none.
    pub(super) fn is_frozen(&self, uid: u32) -> Result<bool, Failure> {
        match self.slice(uid)? {
            Some(slice) => or_gone(slice.is_set(), false).map_err(|error| failed("tell whether", uid, &error)),
            None => Ok(false),
        }
    }

    /// Whether nothing runs in the slice of `uid`: it is frozen, or empty, or not there.
    pub(super) fn are_stopped(&self, uid: u32) -> Result<bool, Failure> {
        let Some(slice) = self.slice(uid)? else {
            return Ok(true);
        };
        let is_set = or_gone(slice.is_set(), false).map_err(|error| failed("tell whether", uid, &error))?;
        let frozen = is_set && self.await_frozen(&slice, uid, Duration::ZERO)?;
        Ok(frozen || !is_populated(&slice).map_err(|error| unreadable(uid, &error))?)
    }

    /// Freezes the slice of `uid`, when there is one, and waits until all in it stands still.
    pub(super) fn freeze(&self, uid: u32) -> Result<(), Failure> {
        let Some(slice) = self.slice(uid)? else {
            return Ok(());
        };
        or_gone(slice.set_frozen(true), ()).map_err(|error| failed("freeze", uid, &error))?;
        if self.await_frozen(&slice, uid, self.frozen_within)?
            || !is_populated(&slice).map_err(|error| unreadable(uid, &error))?
        {
            return Ok(());
        }
        let what = format!(
            "the account is locked, but not all of its sessions (user-{uid}.slice) were frozen within {:?}; a process is in \
             a system call that does not end",
            self.frozen_within
        );
        Err(Failure::new(FailureKind::TimedOut, &what))
    }

    /// Lets the slice of `uid` go on, when there is one.
    pub(super) fn thaw(&self, uid: u32) -> Result<(), Failure> {
        match self.slice(uid)? {
            Some(slice) => or_gone(slice.set_frozen(false), ()).map_err(|error| failed("thaw", uid, &error)),
            None => Ok(()),
        }
    }

    /// Says what of `name` goes on although its sessions stand still.
    pub(super) fn tell_of_others(&self, name: &AccountName, uid: u32) {
        match self.outside(uid) {
            Ok(0) => {}
            Ok(processes) => tracing::warn!(
                account = %name,
                processes,
                "the account is locked; processes of it that are outside of its sessions go on"
            ),
            Err(error) => tracing::warn!(
                account = %name,
                %error,
                "the account is locked; whether processes of it go on outside of its sessions cannot be told"
            ),
        }
    }

    /// How many processes of `uid` are outside of its slice.
    fn outside(&self, uid: u32) -> io::Result<usize> {
        let within = PathBuf::from(format!("/user.slice/user-{uid}.slice"));
        let mut outside = 0;
        for entry in fs::read_dir(self.proc.path(""))?.take(PROCESSES_MAX) {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else {
                continue;
            };
            // The directory belongs to the user that the process runs as. One that has ended is nobody's.
            if !entry.metadata().is_ok_and(|it| it.uid() == uid) {
                continue;
            }
            match self.proc.cgroup(pid) {
                Ok(None) => {}
                Ok(Some(group)) if group.starts_with(&within) => {}
                Ok(Some(_)) | Err(_) => outside += 1,
            }
        }
        Ok(outside)
    }

    fn await_frozen(&self, slice: &Group, uid: u32, within: Duration) -> Result<bool, Failure> {
        let frozen = slice.await_frozen(Instant::now() + within);
        or_gone(frozen, true).map_err(|error| failed("tell whether", uid, &error))
    }

    /// The slice of `uid`; `None` when there is none, as when nobody is logged in, or nothing makes slices.
    fn slice(&self, uid: u32) -> Result<Option<Group>, Failure> {
        let tree = match &self.tree {
            Some(tree) => tree.clone(),
            None => match cgroup2_mount(&self.proc.path("")) {
                Ok(tree) => tree,
                Err(RootError::NoCgroup2) => return Ok(None),
                Err(error) => return Err(no_root(&error)),
            },
        };
        let path = tree.join("user.slice").join(format!("user-{uid}.slice"));
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(Some(Group::at(path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(uid, &error)),
        }
    }
}

/// What is asked of a group that has gone meanwhile has the answer `gone`.
fn or_gone<T>(result: Result<T, GroupError>, gone: T) -> Result<T, GroupError> {
    match result {
        Err(error) if error.is_gone() => Ok(gone),
        result => result,
    }
}

/// Whether a process is in a group, or in one below it.
fn is_populated(slice: &Group) -> io::Result<bool> {
    let mut text = Vec::new();
    let read =
        File::open(slice.path().join("cgroup.events")).and_then(|it| it.take(EVENTS_BYTES_MAX).read_to_end(&mut text));
    match read {
        Err(error) if crate::proc::is_gone(&error) || error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(!text.split(|byte| *byte == b'\n').any(|line| line == b"populated 0")),
    }
}

fn failed(doing: &str, uid: u32, error: &GroupError) -> Failure {
    failure(&format!("{doing} the sessions of user {uid}"), error)
}

fn unreadable(uid: u32, error: &io::Error) -> Failure {
    let what = format!("cannot look at the sessions of user {uid}: {error}");
    Failure::new(FailureKind::Unavailable, &what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_outside_of_the_slice_is_counted() {
        let proc = tempfile::tempdir().expect("a directory");
        let uid = nix::unistd::geteuid().as_raw();
        for (pid, group) in [
            (
                "7",
                format!("1:name=systemd:/x\n0::/user.slice/user-{uid}.slice/session-1.scope\n"),
            ),
            ("8", "0::/system.slice/cron.service\n".to_owned()),
            ("9", format!("0::/user.slice/user-{uid}0.slice\n")),
            ("none", "0::/\n".to_owned()),
        ] {
            fs::create_dir(proc.path().join(pid)).expect("made");
            fs::write(proc.path().join(pid).join("cgroup"), group).expect("written");
        }
        let sessions = Sessions::new(None, proc.path(), Duration::ZERO);
        assert_eq!(sessions.outside(uid).expect("readable"), 2);
        assert_eq!(sessions.outside(uid + 1).expect("readable"), 0);
    }
}
