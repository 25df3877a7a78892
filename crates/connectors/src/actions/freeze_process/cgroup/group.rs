//! One group of cgroup v2: its files, read and written.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::super::Label;

/// Bytes that are read of a list of processes, which is far more than as many as are ever moved.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The longest time between two looks at a group that is about to freeze. The kernel tells of changes every 10 ms at
/// the most.
const LOOK_AGAIN_MAX: Duration = Duration::from_millis(32);

/// Why something could not be done with a group.
#[derive(Debug, Error)]
#[error("cannot {doing} {}", path.display())]
pub(in crate::actions) struct GroupError {
    /// What, as in `write`.
    doing: &'static str,
    /// The file.
    path: PathBuf,
    /// The cause.
    #[source]
    pub(super) source: io::Error,
}

impl GroupError {
    pub(super) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the group is not there.
    pub(in crate::actions) fn is_gone(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(nix::libc::ENOENT | nix::libc::ENODEV))
    }

    /// Whether the process that was to be moved has ended.
    pub(super) fn is_ended(&self) -> bool {
        self.source.raw_os_error() == Some(nix::libc::ESRCH)
    }

    /// Whether the group is in use.
    pub(super) fn is_busy(&self) -> bool {
        matches!(
            self.source.raw_os_error(),
            Some(nix::libc::EBUSY | nix::libc::ENOTEMPTY)
        )
    }
}

/// A group, by the path of its directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::actions) struct Group(PathBuf);

impl Group {
    pub(in crate::actions) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(in crate::actions) fn path(&self) -> &Path {
        &self.0
    }

    /// The name of its directory, as text that may hold anything.
    pub(super) fn name(&self) -> String {
        self.0.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The group that it is in.
    pub(super) fn parent(&self) -> Self {
        Self(self.0.parent().unwrap_or(&self.0).to_owned())
    }

    /// The group called `name` in it.
    pub(super) fn child(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }

    /// Makes it, unless it is there.
    pub(super) fn make(&self) -> Result<(), GroupError> {
        match fs::create_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(|error| GroupError::new("make", &self.0, error)),
        }
    }

    /// Removes it, unless it is not there.
    pub(super) fn remove(&self) -> Result<(), GroupError> {
        match fs::remove_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|error| GroupError::new("remove", &self.0, error)),
        }
    }

    /// Whether it was made by this user or by root, so that what it says is to be believed. A user to whom a part of
    /// the tree is delegated makes groups of any name there.
    pub(super) fn is_trusted(&self) -> bool {
        let owner = fs::symlink_metadata(&self.0).map(|it| it.uid());
        owner.is_ok_and(|owner| owner == 0 || owner == nix::unistd::geteuid().as_raw())
    }

    /// Its label, when it is one of Staunch's.
    pub(super) fn label(&self) -> Option<Label> {
        label_of(self.0.file_name()?).filter(|_| self.is_trusted())
    }

    /// Sets whether it is to be frozen.
    pub(in crate::actions) fn set_frozen(&self, frozen: bool) -> Result<(), GroupError> {
        self.write("cgroup.freeze", if frozen { "1" } else { "0" })
    }

    /// Whether it is set to be frozen. The group at the root of everything never is.
    pub(in crate::actions) fn is_set(&self) -> Result<bool, GroupError> {
        match self.read("cgroup.freeze") {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(false),
            text => Ok(text?.trim_ascii() == b"1"),
        }
    }

    /// Ends every process in it and in the groups below it, frozen or not.
    pub(in crate::actions) fn kill(&self) -> Result<(), GroupError> {
        self.write("cgroup.kill", "1")
    }

    /// Waits until no process is left in it nor in the groups below it, until `until` at the latest. Returns whether
    /// none is.
    pub(in crate::actions) fn await_empty(&self, until: Instant) -> Result<bool, GroupError> {
        self.await_event(b"populated 0", until)
    }

    /// Waits until everything in it is frozen, until `until` at the latest. Returns whether it is.
    pub(in crate::actions) fn await_frozen(&self, until: Instant) -> Result<bool, GroupError> {
        self.await_event(b"frozen 1", until)
    }

    /// Waits until the kernel says `event` of it.
    fn await_event(&self, event: &[u8], until: Instant) -> Result<bool, GroupError> {
        let path = self.0.join("cgroup.events");
        let failed = |error| GroupError::new("read", &path, error);
        let mut file = File::open(&path).map_err(failed)?;
        let mut again = Duration::from_millis(1);
        loop {
            let mut text = Vec::new();
            file.rewind().map_err(failed)?;
            Read::by_ref(&mut file)
                .take(LIST_BYTES_MAX)
                .read_to_end(&mut text)
                .map_err(failed)?;
            if text.split(|byte| *byte == b'\n').any(|line| line == event) {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // Told of changes since it was read; what it is told says nothing, the next look does.
            let wait = u16::try_from(again.min(left).as_millis().max(1)).unwrap_or(u16::MAX);
            let mut awaited = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut awaited, PollTimeout::from(wait)) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            again = (again * 2).min(LOOK_AGAIN_MAX);
        }
    }

    /// Moves a process into it, with all its threads.
    pub(super) fn take(&self, pid: u32) -> Result<(), GroupError> {
        self.write("cgroup.procs", &pid.to_string())
    }

    /// The processes in it, without those in the groups below it.
    pub(super) fn processes(&self) -> Result<Vec<u32>, GroupError> {
        let text = self.read("cgroup.procs")?;
        // A list that is cut off ends in the middle of a number.
        let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let pids = text[..whole].split(|byte| *byte == b'\n');
        let pids = pids.filter_map(|line| std::str::from_utf8(line).ok()?.parse::<u32>().ok());
        // What is out of the sight of this PID namespace is listed as 0.
        Ok(pids.filter(|pid| *pid != 0).collect())
    }

    /// The groups in it.
    pub(super) fn children(&self) -> Result<Vec<Self>, GroupError> {
        let failed = |error| GroupError::new("read", &self.0, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                found.push(Self(entry.path()));
            }
        }
        Ok(found)
    }

    /// Whether it has no groups in it, as far as the number of links tells; false when that is not known.
    pub(super) fn is_leaf(&self) -> bool {
        fs::symlink_metadata(&self.0).is_ok_and(|it| it.nlink() == 2)
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, GroupError> {
        let path = self.0.join(file);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|it| it.take(LIST_BYTES_MAX).read_to_end(&mut bytes))
            .map_err(|error| GroupError::new("read", &path, error))?;
        Ok(bytes)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), GroupError> {
        let path = self.0.join(file);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut it| it.write_all(text.as_bytes()))
            .map_err(|error| GroupError::new("write", &path, error))
    }
}

/// The label that a name is.
pub(super) fn label_of(name: &OsStr) -> Option<Label> {
    Label::parse(name.to_str()?)
}
