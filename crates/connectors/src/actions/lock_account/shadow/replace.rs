//! The lock of the password files, and replacing one of them as a whole.
//!
//! Never leaves half a file in place: a new one is written beside it, synced, and renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{Gid, Uid, fchown};
use staunch_model::{Failure, FailureKind};
use thiserror::Error;

use super::{Stopped, failure};

/// The time between two tries to take the lock. The tools of passwd hold it for milliseconds.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// Bytes of the value of one extended attribute that is kept. A context of SELinux has some 40, an access list some
/// 100.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// The lock that lckpwdf(3) takes. It is given back when this goes away.
pub(super) struct PasswordLock(File);

/// Gives it back now: a process that another thread is just starting still has the file open until it runs its program,
/// and would hold the lock that long.
impl Drop for PasswordLock {
    fn drop(&mut self) {
        // What cannot be given back is when the file is closed, which follows.
        let _ = fcntl(&self.0, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
    }
}

/// A lock of this kind on all of a file.
fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

impl PasswordLock {
    /// Takes it; `None` when somebody else holds it `until` then.
    pub(super) fn take(path: &Path, until: Instant) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        // Of the open file and not of the process, so that two threads exclude each other too; it excludes the locks of
        // lckpwdf(3) all the same (fcntl(2), "Open file description locks").
        let lock = whole_file(libc::F_WRLCK);
        loop {
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
                Ok(_) => return Ok(Some(Self(file))),
                Err(Errno::EAGAIN | Errno::EACCES | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            thread::sleep(left.min(TRY_AGAIN));
        }
    }
}

/// Why a file was not replaced.
#[derive(Debug, Error)]
#[error("cannot {doing} {}", path.display())]
pub(super) struct ReplaceError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
    /// Whether the new file is in place, and may not last.
    has_changed: bool,
}

impl ReplaceError {
    /// What it means for what was being done.
    pub(super) fn stopped(&self, doing: &str) -> Stopped {
        Stopped {
            failure: self.failure(doing),
            has_changed: self.has_changed,
        }
    }

    /// What an operator is told of it.
    fn failure(&self, doing: &str) -> Failure {
        let told = failure(
            &format!("{doing}: cannot {} {}", self.doing, self.path.display()),
            &self.source,
        );
        match self.source.kind() {
            io::ErrorKind::StaleNetworkFileHandle => Failure::new(FailureKind::Conflict, &told.what),
            _ => told,
        }
    }
}

/// Where what takes the place of the file at `path` stands until it does.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.staunch"))
}

/// Removes what a crash has left of a replacement of the file at `path`: a copy of everything in it. Leaves it while
/// somebody holds `lock`, who may be about to put it in place.
pub(super) fn remove_left(path: &Path, lock: &Path) -> io::Result<()> {
    let left = beside(path);
    if left.symlink_metadata().is_err() {
        return Ok(());
    }
    match PasswordLock::take(lock, Instant::now())? {
        Some(_held) => fs::remove_file(left),
        None => Ok(()),
    }
}

/// Puts `new` in place of the file at `path`, which holds `old`, with its owner, group, mode and extended attributes.
pub(super) fn replace(path: &Path, old: &[u8], new: &[u8]) -> Result<(), ReplaceError> {
    let failed = |doing, path: &Path, source| ReplaceError {
        doing,
        path: path.to_owned(),
        source,
        has_changed: false,
    };
    let directory = path.parent().unwrap_or(path);
    let beside = beside(path);
    let result = (|| {
        let (mut current, metadata) = open(path).map_err(|error| failed("read", path, error))?;
        let mut file = make(&beside).map_err(|error| failed("make", &beside, error))?;
        // All of it before there is anything in it to be read.
        copy_attributes(&current, &file).map_err(|error| failed("copy extended attributes to", &beside, error))?;
        own(&file, &metadata).map_err(|error| failed("give its owner and mode to", &beside, error))?;
        let written = file.write_all(new).and_then(|()| file.sync_all());
        written.map_err(|error| failed("write", &beside, error))?;
        // Who does not care for the lock may have changed it.
        let is_same = is_unchanged(path, &mut current, &metadata, old);
        if !is_same.map_err(|error| failed("read", path, error))? {
            let why = io::Error::new(
                io::ErrorKind::StaleNetworkFileHandle,
                "somebody has changed it meanwhile",
            );
            return Err(failed("replace", path, why));
        }
        fs::rename(&beside, path).map_err(|error| failed("replace", path, error))
    })();
    if let Err(error) = result {
        // What is left of it is replaced the next time.
        drop(fs::remove_file(&beside));
        return Err(error);
    }
    let synced = File::open(directory).and_then(|it| it.sync_all());
    synced.map_err(|source| ReplaceError {
        has_changed: true,
        ..failed("sync", directory, source)
    })
}

fn open(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Makes a file that nobody else can read. One that a crash has left is removed.
fn make(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// What is made from the content of a file, by the kernel.
const OF_THE_CONTENT: [&[u8]; 2] = [b"security.ima", b"security.evm"];

/// Copies what SELinux, access lists and others keep beside a file.
fn copy_attributes(from: &File, to: &File) -> io::Result<()> {
    let mut names = vec![0; ATTRIBUTE_BYTES_MAX];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    let names = names[..length].split(|byte| *byte == 0);
    for name in names.filter(|name| !name.is_empty() && !OF_THE_CONTENT.contains(name)) {
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        let length = rustix::fs::fgetxattr(from, name, &mut value)?;
        rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

fn own(file: &File, like: &fs::Metadata) -> io::Result<()> {
    // As its owner by now, which this process need not be afterwards.
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        fchown(file, Some(Uid::from_raw(like.uid())), Some(Gid::from_raw(like.gid())))?;
    }
    Ok(())
}

/// Whether what `path` names is still the file that was opened, with `old` in it.
fn is_unchanged(path: &Path, current: &mut File, opened: &fs::Metadata, old: &[u8]) -> io::Result<bool> {
    let there = fs::symlink_metadata(path)?;
    if (there.dev(), there.ino()) != (opened.dev(), opened.ino()) || there.len() != old.len() as u64 {
        return Ok(false);
    }
    let mut text = Vec::with_capacity(old.len());
    current.take(old.len() as u64 + 1).read_to_end(&mut text)?;
    Ok(text == old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        let names = entries.map(|it| it.expect("readable").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_with_all_that_is_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("shadow");
        fs::write(&path, "old\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        // Where the file system keeps any.
        let attribute = rustix::fs::setxattr(&path, "user.staunch", b"kept", rustix::fs::XattrFlags::empty());
        let group = if Uid::effective().is_root() {
            42
        } else {
            Gid::effective().as_raw()
        };
        nix::unistd::chown(&path, None, Some(Gid::from_raw(group))).expect("it may be given");
        // What a crash has left is no hindrance.
        fs::write(directory.path().join(".shadow.staunch"), "half").expect("written");
        replace(&path, b"old\n", b"new\n").expect("it can be replaced");
        assert_eq!(fs::read(&path).expect("readable"), b"new\n");
        let metadata = fs::metadata(&path).expect("readable");
        assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o640, group));
        if attribute.is_ok() {
            let mut value = [0; 16];
            let length = rustix::fs::getxattr(&path, "user.staunch", &mut value);
            assert_eq!(length.map(|length| value[..length].to_vec()), Ok(b"kept".to_vec()));
        }
        assert_eq!(names(directory.path()), ["shadow"]);
    }

    #[test]
    fn what_has_changed_meanwhile_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("shadow");
        for there in ["other", "longer than the old one", ""] {
            fs::write(&path, there).expect("written");
            let error = replace(&path, b"old!!", b"new").expect_err("it is another one");
            assert_eq!(error.failure("lock").kind, FailureKind::Conflict, "{there}");
            assert!(!error.has_changed);
            assert_eq!(fs::read_to_string(&path).expect("readable"), there);
        }
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("made");
        assert!(replace(&link, b"", b"new").is_err(), "a link is not followed");
        assert_eq!(names(directory.path()), ["link", "shadow"]);
    }

    #[test]
    fn the_lock_is_held_by_one_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(".pwd.lock");
        let take = || PasswordLock::take(&path, Instant::now()).expect("it can be tried");
        let held = take().expect("nobody holds it");
        assert!(take().is_none());
        drop(held);
        assert!(take().is_some());
    }
}
