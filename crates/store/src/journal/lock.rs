//! Lets one process at a time write to a journal.
//!
//! The lock is `flock`: the kernel lets go of it when the process dies, so there is no stale lock to clean up. The
//! process id inside is for people.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use super::disk::Disk;
use super::error::OpenError;

pub(super) const NAME: &str = "lock";

/// How often the lock is tried, with these pauses: for half a second, in which [`Free`] lets go of it.
const TRIES: usize = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    pub(super) fn take(disk: &Disk) -> Result<Self, OpenError> {
        let path = disk.path(NAME);
        let mut file = disk
            .open_or_create(NAME)
            .map_err(|error| OpenError::io("open the lock", &path, 0, error))?;
        for left in (0..TRIES).rev() {
            match file.try_lock() {
                Ok(()) => break,
                // Who keeps it free for a moment is none that has it.
                Err(TryLockError::WouldBlock) if left > 0 => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::Locked {
                        dir: disk.dir().to_owned(),
                        pid: holder(&mut file),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(OpenError::io("lock", &path, 0, error)),
            }
        }
        // The width is fixed so that the file never has to grow again: a restart on a full disk must not fail here.
        if let Err(error) = file.write_all_at(format!("{:>10}\n", process::id()).as_bytes(), 0) {
            tracing::warn!(%error, path = %path.display(), "cannot write the process id into the lock");
        }
        Ok(Self { file })
    }

    /// Fails when another process has the journal in `dir`. None can take it while what this returns lives.
    pub(super) fn look(dir: &Path) -> Result<Free, OpenError> {
        let path = dir.join(NAME);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Free(None)),
            Err(error) => return Err(OpenError::io("open the lock", &path, 0, error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Free(Some(file))),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
                dir: dir.to_owned(),
                pid: holder(&mut file),
            }),
            Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path, 0, error)),
        }
    }

    /// The file that is locked.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Keeps a journal free: as long as it lives, nobody takes it. One that has never been opened is kept by nothing.
#[derive(Debug)]
pub struct Free(Option<File>);

impl Drop for Free {
    /// Unlocks by name, because a child process may have a copy of the file for a moment.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(File::unlock) {
            tracing::warn!(%error, "cannot unlock the journal");
        }
    }
}

/// The process that has the lock, as it has written down.
fn holder(file: &mut File) -> Option<u32> {
    let mut holder = String::new();
    file.read_to_string(&mut holder).ok()?;
    holder.trim().parse().ok()
}

impl Drop for Lock {
    /// Unlocks by name. Closing is not enough: a child process that is being started at this moment has a copy of the
    /// file until it runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "cannot unlock the journal");
        }
    }
}
