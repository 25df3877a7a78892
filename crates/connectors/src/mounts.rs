//! The list of mounts of a process, as `proc_pid_mountinfo(5)` describes it. Reads no file.

use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Which part of it is mounted.
    pub(crate) part: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
    /// Its type.
    pub(crate) kind: Vec<u8>,
    /// Its own options, which for cgroup v1 are its controllers.
    pub(crate) options: Vec<u8>,
}

impl Mount {
    /// The directory of a control group as `/proc/PID/cgroup` names it; `None` when it is outside of what is mounted
    /// here.
    pub(crate) fn directory(&self, group: &Path) -> Option<PathBuf> {
        let rest = group.strip_prefix(&self.part).ok()?;
        // What is outside of the cgroup namespace is written as a way up.
        rest.components()
            .all(|it| matches!(it, Component::Normal(_)))
            .then(|| self.point.join(rest))
    }

    /// True when `option` is among its options.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options
            .split(|byte| *byte == b',')
            .any(|it| it == option.as_bytes())
    }
}

/// The mounts of `text`, in its order. Lines that are none are left out.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    let mounts = text.split(|byte| *byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let end = fields.iter().position(|it| *it == b"-")?;
        let path = |at: usize| Some(PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.get(at)?))));
        Some(Mount {
            part: path(3)?,
            point: path(4)?,
            kind: fields.get(end + 1)?.to_vec(),
            options: fields.get(end + 3).copied().unwrap_or_default().to_vec(),
        })
    });
    mounts.collect()
}

/// The mount of the whole tree of cgroup v2 among `mounts`, or of a part of it when there is no other.
pub(crate) fn cgroup2(mounts: &[Mount]) -> Option<&Mount> {
    let trees = || mounts.iter().filter(|it| it.kind == b"cgroup2");
    trees().find(|it| it.part == Path::new("/")).or_else(|| trees().next())
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
                      37 31 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      40 31 0:38 /system.slice /part rw shared:1 master:2 - cgroup2 cgroup2 rw\n\
                      41 31 0:38 / /sys/fs/a\\040b\\134c rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let mounts = parse(lines);
        assert_eq!(mounts.len(), 4);
        assert!(mounts[1].has("cpu") && mounts[1].has("cpuacct") && !mounts[1].has("cpus"));
        let mount = cgroup2(&mounts).expect("there is one");
        assert_eq!(mount.point, Path::new("/sys/fs/a b\\c"));
        let whole = |group: &str| mount.directory(Path::new(group));
        assert_eq!(whole("/"), Some(PathBuf::from("/sys/fs/a b\\c/")));
        assert_eq!(whole("/x/y"), Some(PathBuf::from("/sys/fs/a b\\c/x/y")));
        assert_eq!(whole("/../../x"), None);
        let part = cgroup2(&mounts[..3]).expect("a part of it");
        assert_eq!(
            part.directory(Path::new("/system.slice/x")),
            Some(PathBuf::from("/part/x"))
        );
        assert_eq!(part.directory(Path::new("/user.slice/x")), None);
        assert_eq!(
            cgroup2(&parse(b"31 23 0:28 / /x rw - tmpfs cgroup2 rw\nnonsense\n\n")),
            None
        );
    }
}
