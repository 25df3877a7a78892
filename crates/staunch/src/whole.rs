//! Files that have their name when they are whole, and never before.
//!
//! What is written stands beside the name until it is durable. When it cannot be written, a disk is full say, nothing
//! is left of it, and what had the name before has it still.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What the mask of the process leaves of it, for everybody.
pub(crate) const FOR_ALL: u32 = 0o666;

/// For the owner alone.
pub(crate) const FOR_OWNER: u32 = 0o600;

/// As many links as Linux follows itself (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The prefix of the file that `text` stands in until it has its name.
const PREFIX: &str = ".staunch.";

/// Makes the file `path` with `text`, and `mode` less what the mask of the process takes away.
///
/// # Errors
/// When it cannot be written, or somebody has the name already.
pub(crate) fn make(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    written(path, text.as_bytes(), mode)?.persist_noclobber(path)?;
    sync_folder_of(path)
}

/// Gives the file `path` the content `text`. Who may do what with one that is there stays as it is; a new one has
/// `mode`, less what the mask of the process takes away. A link keeps leading where it leads. What is no file, such as
/// a terminal or a pipe, is written to.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let there = match fs::metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return replace(&end_of_links(path), text, mode),
        Err(error) => return Err(error),
    };
    // Below `/dev` and `/proc` are names for what a shell has open, which a file in its place would not be.
    if !there.is_file() || path.starts_with("/dev") || path.starts_with("/proc") {
        return fs::write(path, text);
    }
    let path = fs::canonicalize(path)?;
    let part = written(&path, text.as_bytes(), FOR_OWNER)?;
    part.as_file()
        .set_permissions(Permissions::from_mode(there.permissions().mode() & 0o777))?;
    part.persist(&path)?;
    sync_folder_of(&path)
}

/// Where a link leads that leads to nothing so far; the path itself when it is no link.
fn end_of_links(path: &Path) -> PathBuf {
    let mut end = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(next) = fs::read_link(&end) else { break };
        end = folder_of(&end).join(next);
    }
    end
}

/// Puts a file with `text` in the place of `path`, whatever has the name, a link too.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    written(path, text.as_bytes(), mode)?.persist(path)?;
    sync_folder_of(path)
}

/// Keeps `content`, of this process and for its user alone, in the file `path`: after a crash it has this content or
/// the one before.
///
/// # Errors
/// When it cannot be written, or not be made durable.
pub(crate) fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    written(path, content, FOR_OWNER)?.persist(path)?;
    File::open(folder_of(path))?.sync_all()
}

/// A durable file beside `path` with `content`; it goes away unless it is given a name.
fn written(path: &Path, content: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let mut part = part_beside(path, PREFIX.as_ref(), mode)?;
    part.write_all(content)?;
    part.as_file().sync_all()?;
    Ok(part)
}

/// An empty file beside `path`, under a name that nobody can have prepared.
pub(crate) fn part_beside(path: &Path, prefix: &OsStr, mode: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(prefix)
        .suffix(".part")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder_of(path))
}

/// Makes the names in the folder of `path` durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    match File::open(folder_of(path)) {
        // Who may only write there makes the file, and cannot make its name durable.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened.and_then(|folder| folder.sync_all()),
    }
}

/// The folder that `path` is in.
fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}
