//! Every change that the journal makes to its directory goes through here, so that tests can watch it and make it fail.
//!
//! Never decides anything: what an error means is the caller's question.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One change to the journal's directory. Names are relative to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOp<'a> {
    /// A file is created when it does not exist.
    Create {
        /// The file.
        name: &'a str,
    },
    /// Bytes are written; they are not durable before the next `Sync` of the file.
    Write {
        /// The file.
        name: &'a str,
        /// Where the bytes go.
        offset: u64,
        /// The bytes.
        data: &'a [u8],
    },
    /// A file is cut, or made longer with a hole.
    SetLen {
        /// The file.
        name: &'a str,
        /// Its length afterwards.
        len: u64,
    },
    /// The content of a file is made durable.
    Sync {
        /// The file.
        name: &'a str,
    },
    /// A file gets another name; not durable before the next `SyncDir`.
    Rename {
        /// The old name.
        from: &'a str,
        /// The new name, replaced when it exists.
        to: &'a str,
    },
    /// A file is deleted; not durable before the next `SyncDir`.
    Remove {
        /// The file.
        name: &'a str,
    },
    /// The names in the directory are made durable.
    SyncDir,
}

/// Sees every change before it is made and may make it fail. For crash and fault tests.
pub trait DiskHook: Send + Sync {
    /// Is called before `op`. An error is returned to the journal in place of carrying `op` out.
    ///
    /// # Errors
    /// Whatever the test wants the disk to answer.
    fn before(&self, op: &DiskOp<'_>) -> io::Result<()>;
}

/// The journal's directory, to be written to.
#[derive(Clone)]
pub(super) struct Disk {
    dir: PathBuf,
    hook: Option<Arc<dyn DiskHook>>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("dir", &self.dir)
            .field("hook", &self.hook.is_some())
            .finish()
    }
}

/// Whoever owns the directory cannot have root write elsewhere, which rebuilds the index say: every file of a journal
/// lies in its directory.
const NO_LINK: i32 = nix::libc::O_NOFOLLOW;

impl Disk {
    pub(super) fn new(dir: &Path, hook: Option<Arc<dyn DiskHook>>) -> Self {
        Self {
            dir: dir.to_owned(),
            hook,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Opens `name` for reading and writing and creates it, readable for its owner only, when it is missing.
    pub(super) fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.ask(&DiskOp::Create { name })?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(NO_LINK).open(self.path(name))
    }

    /// Opens an existing file for reading and writing.
    pub(super) fn open(&self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(NO_LINK)
            .open(self.path(name))
    }

    pub(super) fn write_at(&self, file: &File, name: &str, data: &[u8], offset: u64) -> io::Result<()> {
        self.ask(&DiskOp::Write { name, offset, data })?;
        file.write_all_at(data, offset)
    }

    pub(super) fn set_len(&self, file: &File, name: &str, len: u64) -> io::Result<()> {
        self.ask(&DiskOp::SetLen { name, len })?;
        file.set_len(len)
    }

    /// Makes content and length of a file durable; times of access and change need not be.
    pub(super) fn sync(&self, file: &File, name: &str) -> io::Result<()> {
        self.ask(&DiskOp::Sync { name })?;
        file.sync_data()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask(&DiskOp::Rename { from, to })?;
        fs::rename(self.path(from), self.path(to))
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.ask(&DiskOp::Remove { name })?;
        fs::remove_file(self.path(name))
    }

    pub(super) fn sync_dir(&self) -> io::Result<()> {
        self.ask(&DiskOp::SyncDir)?;
        File::open(&self.dir)?.sync_all()
    }

    fn ask(&self, op: &DiskOp<'_>) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook.before(op))
    }
}

/// Reads until `buffer` is full or the file ends, and returns how much was read.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// True for the answers of a disk, a quota or a limit that has no room left.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::StorageFull | K::QuotaExceeded | K::FileTooLarge)
}
