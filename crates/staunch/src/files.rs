//! Reading files that a person named: never more than they can sensibly be.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;

use crate::exit::{Exit, Fault};

/// Opens the regular file at `path`. A pipe that nobody writes to holds up nobody.
///
/// # Errors
/// When it cannot be opened, or is something else.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    // Without it, opening a pipe waits for somebody who writes; reads of regular files are the same with it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(file)
}

/// The text of the file at `path`, when it has at most `bytes_max` bytes. It is a regular one; below `/dev` and `/proc`,
/// where a shell has what it gives a command to read, also a device or a pipe, which is read no further either.
///
/// # Errors
/// When it cannot be read, is longer, or is not UTF-8.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let file = if path.starts_with("/dev") || path.starts_with("/proc") {
        File::open(path)?
    } else {
        open_regular(path)?
    };
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let what = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(text)
}

/// The fault of what could not be read: that this user may not is told as such.
pub(crate) fn cannot_read(what: &str, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Fault::doing(Exit::Denied, what, error).hint("run it as a user who may read that")
        }
        io::ErrorKind::NotFound => Fault::doing(Exit::NotFound, what, error),
        _ => Fault::doing(Exit::Failed, what, error),
    }
}

/// The fault of what could not be written: that a disk is full is told as such.
pub(crate) fn cannot_write(what: &str, error: &io::Error) -> Fault {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    if full.contains(&error.kind()) {
        return Fault::doing(Exit::Busy, what, error).hint("make room on that disk, or name a place on another");
    }
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Exit::Denied,
        _ => Exit::Failed,
    };
    Fault::doing(exit, what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_files_are_read_to_the_bound_only() {
        let error = read_bounded(Path::new("/dev/zero"), 1_000).expect_err("it never ends");
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
        assert_eq!(read_bounded(Path::new("/dev/null"), 0).expect("an empty text"), "");
    }

    #[test]
    fn a_pipe_that_nobody_writes_to_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        for path in [&path, &link, dir.path()] as [&Path; 3] {
            let error = read_bounded(path, 10).expect_err("it is no file");
            assert_eq!(error.to_string(), "it is no regular file");
        }
        let file = dir.path().join("file");
        std::fs::write(&file, "text").expect("a file");
        assert_eq!(read_bounded(&file, 4).expect("it is one"), "text");
    }
}
