//! Files that decide who is let in: who else can open them, and whether they have changed.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::libc;
use thiserror::Error;

/// The longest file of secrets, tokens or certificates: a bundle of all public authorities has a quarter of it.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// What changes when a file is written or replaced, or when others may read it than before.
pub type Stamp = Option<(i64, i64, u64, u64, u32)>;

/// The stamp of the file at `path`; `None` when there is none.
#[must_use]
pub fn stamp(path: &Path) -> Stamp {
    fs::metadata(path)
        .ok()
        .map(|meta| (meta.ctime(), meta.ctime_nsec(), meta.len(), meta.ino(), meta.mode()))
}

/// Looks from time to time whether files have changed since they were read.
#[derive(Debug)]
pub(crate) struct FileWatch {
    interval: Duration,
    looked_at: Instant,
    /// What the files were like when they were read.
    read: Vec<Stamp>,
    /// What they were like when they could not be read, which was told.
    failed: Option<Vec<Stamp>>,
}

impl FileWatch {
    /// Watches files that were read when they were like `read`.
    pub(crate) fn new(read: Vec<Stamp>, interval: Duration) -> Self {
        Self {
            interval,
            looked_at: Instant::now(),
            read,
            failed: None,
        }
    }

    /// What the files are like now, when it is time to look and that is not what was read.
    pub(crate) fn changed(&mut self, stamps: impl FnOnce() -> Vec<Stamp>) -> Option<Vec<Stamp>> {
        if self.looked_at.elapsed() < self.interval {
            return None;
        }
        self.looked_at = Instant::now();
        Some(stamps()).filter(|stamps| *stamps != self.read)
    }

    /// They were read when they were like `stamps`.
    pub(crate) fn was_read(&mut self, stamps: Vec<Stamp>) {
        self.read = stamps;
        self.failed = None;
    }

    /// They could not be read; the next look tries again. True when nobody was told of that yet.
    pub(crate) fn has_failed(&mut self, stamps: Vec<Stamp>) -> bool {
        let is_new = self.failed.as_ref() != Some(&stamps);
        self.failed = Some(stamps);
        is_new
    }
}

/// Why a file cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read, or is no regular file.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is too long to be what it should be.
    #[error("{path} has more than {FILE_BYTES_MAX} bytes: is it the right file?")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Others can read or write it, so it holds no secret.
    #[error("{path} holds a secret, and others than its owner can open it (mode {mode:03o}): run chmod 600 on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Reads the file at `path`, which anybody may read.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    open(path).and_then(|(file, _)| all(path, file))
}

/// Reads the file at `path`, which holds a secret. Its group may read it: that is how secrets are handed to a service.
/// Others may not, and nobody but its owner may write it.
///
/// # Errors
/// [`FileError`].
pub fn read_secret(path: &Path) -> Result<Vec<u8>, FileError> {
    let (file, mode) = open(path)?;
    if mode & 0o027 != 0 {
        let path = path.to_owned();
        return Err(FileError::Exposed { path, mode });
    }
    all(path, file)
}

/// The regular file at `path` and its permissions, which are those of what is then read. A pipe that nobody writes to
/// holds up nobody.
pub(crate) fn open(path: &Path) -> Result<(File, u32), FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    // Without it, opening a pipe waits for somebody who writes; reads of regular files are the same with it.
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        let what = "it is no regular file";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
    }
    Ok((file, meta.mode() & 0o777))
}

/// All that is in the file at `path`, which is open.
pub(crate) fn all(path: &Path, file: File) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let path = || path.to_owned();
    match file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        Err(source) => Err(FileError::Read { path: path(), source }),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => Err(FileError::TooLong { path: path() }),
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_replaced_or_opened_to_others_has_another_stamp() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("list");
        let mut stamps = vec![stamp(&path)];
        let mut note = |what: &str| {
            let now = stamp(&path);
            assert!(!stamps.contains(&now), "{what}: {now:?} in {stamps:?}");
            stamps.push(now);
        };
        fs::write(&path, "192.0.2.1").expect("it is our directory");
        note("it is there");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is our file");
        note("it is closed");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).expect("it is our file");
        note("it is open");
        fs::write(dir.path().join("new"), "192.0.2.1").expect("it is our directory");
        fs::rename(dir.path().join("new"), &path).expect("it is our directory");
        note("another took its place");
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        for result in [read(&path), read_secret(&path)] {
            assert!(
                matches!(&result, Err(FileError::Read { source, .. })
                if source.to_string() == "it is no regular file"),
                "{result:?}"
            );
        }
    }

    #[test]
    fn what_could_not_be_read_is_tried_again_and_told_once() {
        let (old, new) = (vec![Some((1, 0, 1, 1, 0o600))], vec![Some((2, 0, 1, 1, 0o600))]);
        let mut watch = FileWatch::new(old.clone(), Duration::ZERO);
        assert_eq!(watch.changed(|| old.clone()), None);
        assert_eq!(watch.changed(|| new.clone()), Some(new.clone()));
        assert!(watch.has_failed(new.clone()));
        assert_eq!(watch.changed(|| new.clone()), Some(new.clone()), "it is still not read");
        assert!(!watch.has_failed(new.clone()), "nobody wants to hear it every second");
        watch.was_read(new.clone());
        assert_eq!(watch.changed(|| new.clone()), None);
        assert!(watch.has_failed(old), "another failure is told");
        let mut slow = FileWatch::new(new.clone(), Duration::from_secs(3_600));
        assert_eq!(slow.changed(|| vec![None]), None, "it is not time to look");
    }
}
