//! Every change that the vault and the transparency log make to their directories goes through here, so that tests can
//! watch it and cut it off.
//!
//! Never decides anything, and never follows a link at the end of a name. Names are relative to the root and are made
//! of numbers and hashes only.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{IFlags, OFlags, ioctl_getflags, ioctl_setflags};
use staunch_model::{Failure, FailureKind, Printable};

/// Directories that are remembered to be durable; beyond, they are synced anew.
const DURABLE_MAX: usize = 4_096;

/// One change to a directory of evidence. Names are relative to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOp<'a> {
    /// A directory is made.
    MakeDir {
        /// The directory.
        name: &'a str,
    },
    /// A file is made that was not there.
    Create {
        /// The file.
        name: &'a str,
    },
    /// Bytes are written at the end of a file.
    Write {
        /// The file.
        name: &'a str,
        /// The bytes.
        data: &'a [u8],
    },
    /// The content of a file is made durable.
    Sync {
        /// The file.
        name: &'a str,
    },
    /// A file gets a second name, which was not there.
    Link {
        /// The name that it has.
        from: &'a str,
        /// The one that it gets.
        to: &'a str,
    },
    /// A file gets another name, and takes the place of what had it.
    Rename {
        /// The old name.
        from: &'a str,
        /// The new name.
        to: &'a str,
    },
    /// A name is removed.
    Remove {
        /// The file.
        name: &'a str,
    },
    /// The names in a directory are made durable.
    SyncDir {
        /// The directory.
        name: &'a str,
    },
    /// A file is made unchangeable.
    Freeze {
        /// The file.
        name: &'a str,
    },
}

/// Sees every change before it is made and may make it fail. For crash and fault tests.
pub trait FileHook: Send + Sync {
    /// Is called before `op`. An error is returned in place of carrying `op` out.
    ///
    /// # Errors
    /// Whatever the test wants the disk to answer.
    fn before(&self, op: &FileOp<'_>) -> io::Result<()>;
}

/// A directory of evidence.
#[derive(Clone)]
pub(crate) struct Files {
    root: PathBuf,
    hook: Option<Arc<dyn FileHook>>,
    /// Directories whose names, and those of all above them, this process has made durable.
    durable: Arc<Mutex<HashSet<Box<str>>>>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("root", &self.root)
            .field("hook", &self.hook.is_some())
            .finish()
    }
}

impl Files {
    pub(crate) fn new(root: &Path, hook: Option<Arc<dyn FileHook>>) -> Self {
        Self {
            root: root.to_owned(),
            hook,
            durable: Arc::default(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the root and what is above it where they are missing.
    pub(crate) fn make_root(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)
    }

    /// Makes the directory `name`, and those above it below the root. They are durable with the first
    /// [`Files::sync_dir`] of what is in them: nothing is lost that was reported before, and one commit of the file
    /// system takes them all.
    pub(crate) fn make_dirs(&self, name: &str) -> io::Result<()> {
        if self.path(name).is_dir() {
            return Ok(());
        }
        let above = parent(name);
        if !above.is_empty() {
            self.make_dirs(above)?;
        }
        self.ask(&FileOp::MakeDir { name })?;
        match DirBuilder::new().mode(0o700).create(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes a file for its owner alone.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        self.ask(&FileOp::Create { name })?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path(name))
    }

    pub(crate) fn write(&self, mut file: &File, name: &str, data: &[u8]) -> io::Result<()> {
        self.ask(&FileOp::Write { name, data })?;
        file.write_all(data)
    }

    pub(crate) fn sync(&self, file: &File, name: &str) -> io::Result<()> {
        self.ask(&FileOp::Sync { name })?;
        file.sync_all()
    }

    pub(crate) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask(&FileOp::Link { from, to })?;
        fs::hard_link(self.path(from), self.path(to))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask(&FileOp::Rename { from, to })?;
        fs::rename(self.path(from), self.path(to))
    }

    /// Removes a directory that is empty; `Ok` when it is not there.
    pub(crate) fn remove_dir(&self, name: &str) -> io::Result<()> {
        self.ask(&FileOp::Remove { name })?;
        match fs::remove_dir(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a file; `Ok` when it is not there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.ask(&FileOp::Remove { name })?;
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Makes the names in the directory `name` durable, the root when it is empty; and its own and those of all above
    /// it where this process has not done so: who made them may have been killed before.
    pub(crate) fn sync_dir(&self, name: &str) -> io::Result<()> {
        let sync = |name: &str| {
            self.ask(&FileOp::SyncDir { name })?;
            File::open(self.path(name))?.sync_all()
        };
        sync(name)?;
        let not_yet: Vec<&str> = {
            let durable = self.durable();
            above_and(name).take_while(|it| !durable.contains(*it)).collect()
        };
        for it in &not_yet {
            sync(parent(it))?;
        }
        let mut durable = self.durable();
        if durable.len() >= DURABLE_MAX {
            durable.clear();
        }
        durable.extend(not_yet.into_iter().map(Box::from));
        Ok(())
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the immutable flag of a file, and tells whether it has it then.
    pub(crate) fn freeze(&self, name: &str) -> io::Result<bool> {
        self.ask(&FileOp::Freeze { name })?;
        let file = self.open(name)?;
        // File systems without the flag, and processes without the capability, are told apart from nothing else: what
        // counts is what is read back.
        let _ = ioctl_getflags(&file).and_then(|flags| ioctl_setflags(&file, flags | IFlags::IMMUTABLE));
        Ok(ioctl_getflags(&file).is_ok_and(|flags| flags.contains(IFlags::IMMUTABLE)))
    }

    /// Takes the immutable flag away: from a probe, or from an artefact that a bucket keeps.
    pub(crate) fn thaw(&self, name: &str) -> io::Result<()> {
        let file = self.open(name)?;
        let flags = ioctl_getflags(&file)?;
        if flags.contains(IFlags::IMMUTABLE) {
            ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
        }
        Ok(())
    }

    /// Opens a plain file to be read.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        open_plain(&self.path(name))
    }

    /// The whole of a file of at most `max` bytes.
    pub(crate) fn read(&self, name: &str, max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name)?.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any"));
        }
        Ok(bytes)
    }

    /// Writes a whole file that nobody changes again, under a name that was not there. It is durable afterwards.
    pub(crate) fn put_new(&self, staged: &str, name: &str, data: &[u8]) -> io::Result<()> {
        self.stage(staged, data, 0o400)?;
        let linked = self.link(staged, name);
        let removed = self.remove(staged);
        linked?;
        removed?;
        self.sync_dir(parent(name))
    }

    /// Writes a whole file in place of the one that has the name. It is durable afterwards.
    pub(crate) fn replace(&self, staged: &str, name: &str, data: &[u8], mode: u32) -> io::Result<()> {
        self.stage(staged, data, mode)?;
        self.rename(staged, name)?;
        self.sync_dir(parent(name))
    }

    fn stage(&self, staged: &str, data: &[u8], mode: u32) -> io::Result<()> {
        let file = self.create_new(staged)?;
        let write = || {
            self.write(&file, staged, data)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            self.sync(&file, staged)
        };
        write().inspect_err(|_| drop(self.remove(staged)))
    }

    /// The names in the directory `name`; none when it is not there.
    pub(crate) fn list(&self, name: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is no text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn ask(&self, op: &FileOp<'_>) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook.before(op))
    }
}

/// Keeps other writers out for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of a directory; `None` when somebody has it.
    pub(crate) fn take(files: &Files) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(files.path("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    /// Unlocks by name: a child process that is being started has a copy of the file until it runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock a directory of evidence");
        }
    }
}

/// Opens a plain file to be read: nothing that a link leads to, no pipe and no device.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).expect("flags are few bits");
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => {
            io::Error::new(io::ErrorKind::InvalidData, "it is a link, and none is followed")
        }
        _ => error,
    })?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "it is no plain file"))
    }
}

/// The directory that `name` is in; empty for the root.
pub(crate) fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// `name` and those above it, without the root.
fn above_and(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(parent(name))).take_while(|name| !name.is_empty())
}

/// What an error of the disk means to who wanted something stored.
#[must_use]
pub fn failure(doing: &str, path: &Path, error: &io::Error) -> Failure {
    use io::ErrorKind as K;
    let kind = match error.kind() {
        K::StorageFull | K::QuotaExceeded => FailureKind::Full,
        K::PermissionDenied | K::ReadOnlyFilesystem => FailureKind::Denied,
        K::AlreadyExists | K::InvalidData => FailureKind::Conflict,
        K::FileTooLarge => FailureKind::Invalid,
        K::TimedOut => FailureKind::TimedOut,
        _ => FailureKind::Unavailable,
    };
    let path = path.display().to_string();
    Failure::new(kind, &format!("cannot {doing} {}: {error}", Printable(&path)))
}
