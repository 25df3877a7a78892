//! Reading files that a person named: never more than they can sensibly be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc;
use staunch_model::Printable;

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

/// The text of the file at `path`, when it has at most `bytes_max` bytes. It is a regular one; below `/dev` and
/// `/proc`, where a shell has what it gives a command to read, also a device or a pipe, which is read no further
/// either.
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

/// Whether a path with this error leads nowhere.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes sure that each of `paths`, which a person named, is there. Anything else that may be wrong with it shows when
/// it is read.
///
/// # Errors
/// [`Exit::NotFound`] with the first that is not, and `hint`.
pub(crate) fn must_be_there(paths: &[PathBuf], hint: &str) -> Result<(), Fault> {
    for path in paths {
        if let Some(error) = fs::metadata(path).err().filter(is_missing) {
            let shown = path.display().to_string();
            return Err(cannot_read(&format!("cannot read {}", Printable(&shown)), &error).hint(hint));
        }
    }
    Ok(())
}

/// Makes sure that the folder is there that `file` is to be made in: before the work whose result it is to hold.
///
/// # Errors
/// [`Exit::NotFound`] when it is not, with `hint`.
pub(crate) fn folder_must_be_there(file: &Path, hint: &str) -> Result<(), Fault> {
    match file.parent().filter(|it| !it.as_os_str().is_empty()) {
        Some(folder) => must_be_there(&[folder.to_owned()], hint),
        None => Ok(()),
    }
}

/// Makes sure that the data directory `dir` is there, for who is about to read what is in it.
///
/// # Errors
/// [`Exit::NotFound`] when it is not.
pub(crate) fn data_dir_must_be_there(dir: &Path) -> Result<(), Fault> {
    match fs::metadata(dir) {
        Err(error) if is_missing(&error) => {
            let what = format!("there is no data directory {}", Printable(&dir.display().to_string()));
            Err(Fault::new(Exit::NotFound, what)
                .hint("name that of the server with --data-dir; `staunch serve` makes it at its first start"))
        }
        _ => Ok(()),
    }
}

/// The fault of what could not be read: that this user may not, or that it is not there, is told as such.
pub(crate) fn cannot_read(what: &str, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Fault::doing(Exit::Denied, what, error).hint("run it as a user who may read that")
        }
        _ if is_missing(error) => Fault::doing(Exit::NotFound, what, error),
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
        _ if is_missing(error) => Exit::NotFound,
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
        fs::write(&file, "text").expect("a file");
        assert_eq!(read_bounded(&file, 4).expect("it is one"), "text");
    }
}
