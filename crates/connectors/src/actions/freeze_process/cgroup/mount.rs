//! Where the tree of cgroup v2 is mounted.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use thiserror::Error;

use crate::proc::Proc;

/// Bytes that are read of the list of mounts. A machine with many containers has some thousands of 200 bytes.
const MOUNTS_BYTES_MAX: u64 = 16 << 20;

/// Why there is no tree to freeze in.
#[derive(Debug, Error)]
pub enum RootError {
    /// The list of mounts could not be read.
    #[error("cannot read {}", path.display())]
    Mounts {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It lists no cgroup v2.
    #[error("this machine has no cgroup v2 mounted, without which no process can be frozen")]
    NoCgroup2,
}

/// A mount of cgroup v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which part of the tree is mounted.
    pub(super) part: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
}

impl Mount {
    pub(super) fn find(proc: &Proc) -> Result<Self, RootError> {
        let path = proc.path("self/mountinfo");
        let mut text = Vec::new();
        File::open(&path)
            .and_then(|it| it.take(MOUNTS_BYTES_MAX).read_to_end(&mut text))
            .map_err(|source| RootError::Mounts { path, source })?;
        parse(&text).ok_or(RootError::NoCgroup2)
    }

    /// The directory of a group as `/proc/PID/cgroup` names it; `None` when it is outside of what is mounted here.
    pub(super) fn directory(&self, group: &Path) -> Option<PathBuf> {
        let rest = group.strip_prefix(&self.part).ok()?;
        // What is outside of the cgroup namespace is written as a way up.
        rest.components()
            .all(|it| matches!(it, Component::Normal(_)))
            .then(|| self.point.join(rest))
    }
}

/// The mount of the whole tree, or of a part of it when there is no other; see `proc_pid_mountinfo(5)`.
fn parse(text: &[u8]) -> Option<Mount> {
    let mounts = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let end = fields.iter().position(|it| *it == b"-")?;
        let is_cgroup2 = *fields.get(end + 1)? == b"cgroup2";
        let path = |at: usize| Some(PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(at)?))));
        is_cgroup2
            .then(|| {
                Some(Mount {
                    part: path(3)?,
                    point: path(4)?,
                })
            })
            .flatten()
    });
    let mounts: Vec<Mount> = mounts.collect();
    let whole = mounts.iter().find(|it| it.part == Path::new("/"));
    whole.or(mounts.first()).cloned()
}

/// Spaces, tabs, line ends and backslashes are written as octal numbers.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|it| std::str::from_utf8(it).ok());
        match octal
            .and_then(|it| u8::from_str_radix(it, 8).ok())
            .filter(|_| *first == b'\\')
        {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_among_others() {
        let lines = b"31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                      37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                      40 31 0:38 /system.slice /part rw shared:1 master:2 - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/a\\040b\\134c rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let mount = parse(lines).expect("there is one");
        assert_eq!(mount.point, Path::new("/sys/fs/a b\\c"));
        let whole = |group: &str| mount.directory(Path::new(group));
        assert_eq!(whole("/"), Some(PathBuf::from("/sys/fs/a b\\c/")));
        assert_eq!(whole("/x/y"), Some(PathBuf::from("/sys/fs/a b\\c/x/y")));
        assert_eq!(whole("/../../x"), None);
        let part = Mount {
            part: PathBuf::from("/system.slice"),
            point: PathBuf::from("/part"),
        };
        assert_eq!(
            part.directory(Path::new("/system.slice/x")),
            Some(PathBuf::from("/part/x"))
        );
        assert_eq!(part.directory(Path::new("/user.slice/x")), None);
        assert_eq!(parse(b"31 23 0:28 / /x rw - tmpfs cgroup2 rw\nnonsense\n\n"), None);
    }
}
