//! Finds files by a path in which `*` stands for any part of one name, without following a symbolic link.
//!
//! Never opens a file to find it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxFlags};
use staunch_model::{Failure, FailureKind};

/// Names that are looked at in one directory.
const NAMES_MAX: usize = 65_536;

/// Directories that one path leads through.
const DIRECTORIES_MAX: usize = 4_096;

/// Bytes of a path.
const PATH_BYTES_MAX: usize = 4_096;

/// A path with `*`.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: Box<str>,
}

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Found {
    directory: Rc<OwnedFd>,
    name: Vec<u8>,
    pub(super) path: Vec<u8>,
}

impl Pattern {
    /// Reads one: absolute, and without `.`, `..` and empty names.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let invalid = |why: &str| Failure::new(FailureKind::Invalid, &format!("{text} is no path of a file: {why}"));
        let rest = text.strip_prefix('/').ok_or_else(|| invalid("it is not absolute"))?;
        if text.len() > PATH_BYTES_MAX || text.contains('\0') {
            return Err(invalid("no file has such a name"));
        }
        if rest.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err(invalid("one of its names is empty, . or .."));
        }
        Ok(Self { text: text.into() })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What is there with such a path, at most `max` and one, in the order of the names. It need not be a file.
    ///
    /// # Errors
    /// When a directory without `*` in its name cannot be walked to, other than that it is not there.
    pub(super) fn find(&self, max: usize) -> io::Result<Vec<Found>> {
        let root = rustix::fs::openat(CWD, "/", DIRECTORY, Mode::empty())?;
        let mut level = vec![(Rc::new(root), Vec::new())];
        let names: Vec<&str> = self.text[1..].split('/').collect();
        let (last, directories) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        for name in directories {
            let mut next = Vec::new();
            for (directory, path) in &level {
                for entry in matching(directory, name)? {
                    let mut path: Vec<u8> = path.clone();
                    path.push(b'/');
                    path.extend(&entry);
                    match enter(directory, &entry) {
                        Ok(inner) if next.len() < DIRECTORIES_MAX => next.push((Rc::new(inner), path)),
                        Ok(_) => return Err(io::Error::other("it leads through too many directories")),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        // Not every name that fits is meant.
                        Err(_) if name.contains('*') => {}
                        Err(error) => {
                            let path = String::from_utf8_lossy(&path).into_owned();
                            return Err(io::Error::new(error.kind(), format!("{path}: {error}")));
                        }
                    }
                }
            }
            level = next;
        }
        let mut found = Vec::new();
        for (directory, path) in level {
            for entry in matching(&directory, last)? {
                if found.len() > max {
                    return Ok(found);
                }
                let there = rustix::fs::statx(
                    &*directory,
                    OsStr::from_bytes(&entry),
                    AtFlags::SYMLINK_NOFOLLOW,
                    StatxFlags::TYPE,
                );
                if there.is_err_and(|error| error == rustix::io::Errno::NOENT) {
                    continue;
                }
                let mut path = path.clone();
                path.push(b'/');
                path.extend(&entry);
                found.push(Found {
                    directory: Rc::clone(&directory),
                    name: entry,
                    path,
                });
            }
        }
        Ok(found)
    }
}

impl Found {
    /// Opens it for reading, and says what it is. What is no regular file is not opened at all.
    pub(super) fn open(&self) -> io::Result<(File, Statx)> {
        let name = OsStr::from_bytes(&self.name);
        let before = rustix::fs::statx(
            &*self.directory,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS,
        )?;
        refuse_others(&before)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&*self.directory, name, flags | OFlags::NOATIME, Mode::empty()) {
            // Only its owner, and who has CAP_FOWNER, may read a file without a trace.
            Err(rustix::io::Errno::PERM) => rustix::fs::openat(&*self.directory, name, flags, Mode::empty()),
            other => other,
        };
        let file = File::from(opened?);
        let stat = super::stat(&file)?;
        refuse_others(&stat)?;
        Ok((file, stat))
    }
}

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn refuse_others(stat: &Statx) -> io::Result<()> {
    match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a symbolic link; name the file itself",
        )),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

fn enter(directory: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let name = OsStr::from_bytes(name);
    rustix::fs::openat(directory, name, DIRECTORY, Mode::empty()).map_err(|error| {
        let stat = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
        let is_link = stat.is_ok_and(|it| FileType::from_raw_mode(u32::from(it.stx_mode)) == FileType::Symlink);
        if is_link {
            let what = "it is a symbolic link; name the directory itself";
            return io::Error::new(io::ErrorKind::InvalidInput, what);
        }
        error.into()
    })
}

/// The names in a directory that `pattern` stands for; itself when there is no `*` in it.
fn matching(directory: &OwnedFd, pattern: &str) -> io::Result<Vec<Vec<u8>>> {
    if !pattern.contains('*') {
        return Ok(vec![pattern.as_bytes().to_vec()]);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(directory, ".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(rustix::io::Errno::PERM) => rustix::fs::openat(directory, ".", flags, Mode::empty()),
        other => other,
    };
    let mut names = Vec::new();
    for (looked_at, entry) in Dir::new(opened?)?.enumerate() {
        if looked_at == NAMES_MAX {
            return Err(io::Error::other("there are too many names in a directory"));
        }
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        // As in a shell, those that begin with a dot have to be named so.
        let is_hidden = name.starts_with(b".") && !pattern.starts_with('.');
        if !is_hidden && name != b"." && name != b".." && fits(pattern.as_bytes(), name) {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether `name` is what `pattern` says, where each `*` is any bytes or none.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let parts: Vec<&[u8]> = pattern.split(|byte| *byte == b'*').collect();
    let [first, middle @ .., last] = &*parts else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(*first).and_then(|it| it.strip_suffix(*last)) else {
        return false;
    };
    for part in middle {
        // The first place is as good as any later one.
        let Some(at) = memchr::memmem::find(rest, part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("*.log", "auth.log", true),
            ("*.log", ".log", true),
            ("*.log", "auth.log.1", false),
            ("auth*", "auth", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn only_absolute_paths_without_detours_are_paths() {
        for text in ["/var/log/*.log", "/a", "/a*/b"] {
            assert!(Pattern::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "/",
            "a",
            "/a/../b",
            "/a//b",
            "/a/",
            "/./a",
            "/a\0b",
            &format!("/{}", "a".repeat(5_000)),
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
