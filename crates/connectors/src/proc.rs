//! Reads `/proc`: which processes there are, who started whom, and what tells one from another.
//!
//! Believes nothing that a process says of itself: names, arguments and paths are bytes of an attacker's choosing, and
//! what decides here is what the kernel counts (numbers, parents, start times, flags).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use staunch_model::Process;

/// Processes that one look reads. A busy server has some thousands; it bounds the time of a look.
const PROCESSES_MAX: usize = 131_072;

/// Bytes that are read of one file of a process; `stat` has about 300, `status` 1.5 KB, a path of a group 4 KB at the
/// most.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// The flag of kernel threads in field 9 of `stat` (`PF_KTHREAD` in the kernel's `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// The kernel's parent of kernel threads, which is one itself.
const KTHREADD: u32 = 2;

/// One process, as `/proc/PID/stat` has it (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its number.
    pub pid: u32,
    /// The number of the process that started it, or that took it over.
    pub parent: u32,
    state: u8,
    flags: u64,
    threads: u64,
    /// See [`Process::started`].
    pub started: u64,
}

impl Stat {
    /// Reads one line. The name stands in parentheses and may hold anything, parentheses and line ends too; nothing
    /// after it can hold one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse::<u64>().ok();
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let pid = number(text.get(..open)?.trim_ascii())?;
        // The first of these is field 3.
        let fields: Vec<&[u8]> = text
            .get(close + 1..)?
            .trim_ascii()
            .split(|byte| *byte == b' ')
            .take(20)
            .collect();
        let field = |at: usize| fields.get(at - 3).copied();
        Some(Self {
            pid: u32::try_from(pid).ok()?,
            parent: u32::try_from(number(field(4)?)?).ok()?,
            state: *field(3)?.first()?,
            flags: number(field(9)?)?,
            threads: number(field(20)?)?,
            started: number(field(22)?)?,
        })
    }

    /// The name in a line; anything at all may be in it.
    #[must_use]
    pub fn name(text: &[u8]) -> Option<&[u8]> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        text.get(open + 1..close)
    }

    /// The letter of its state, such as `R` or `Z`.
    #[must_use]
    pub fn state(&self) -> char {
        char::from(self.state)
    }

    /// How many threads it has.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.threads
    }

    /// Whether nothing of it can run any more. A process whose first thread has ended looks like one that has ended,
    /// and goes on with its others.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }

    /// Whether it is a part of the kernel.
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.pid == KTHREADD || self.flags & KERNEL_THREAD != 0
    }

    /// Whether it is `process`, in the boot in which it was read.
    #[must_use]
    pub fn is(&self, process: Process) -> bool {
        self.pid == process.pid && self.started == process.started
    }
}

/// `/proc`, or a copy of it.
#[derive(Clone, Debug)]
pub(crate) struct Proc(PathBuf);

impl Proc {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path of a file of a process.
    pub(crate) fn of(&self, pid: u32, name: &str) -> PathBuf {
        self.0.join(pid.to_string()).join(name)
    }

    /// The beginning of a file.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Most files have less; each further call would make the kernel write the file anew.
        let mut bytes = Vec::with_capacity(4 << 10);
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A process; `None` when there is none with this number, or none that this user may see.
    pub(crate) fn stat(&self, pid: u32) -> io::Result<Option<Stat>> {
        let text = match self.read(&self.of(pid, "stat")) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = Stat::parse(&text).filter(|it| it.pid == pid);
        stat.map(Some)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not of the form of proc_pid_stat(5)"))
    }

    /// The first 32 bits of the boot id; see [`Process::boot`].
    pub(crate) fn boot(&self) -> io::Result<u32> {
        let text = self.read(&self.path("sys/kernel/random/boot_id"))?;
        let hex = text.get(..8).and_then(|it| std::str::from_utf8(it).ok());
        hex.and_then(|it| u32::from_str_radix(it, 16).ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it holds no boot id"))
    }

    /// The group of a process in the hierarchy of cgroup v2, as the kernel writes it; `None` when the process has
    /// ended.
    pub(crate) fn cgroup(&self, pid: u32) -> io::Result<Option<PathBuf>> {
        let text = match self.read(&self.of(pid, "cgroup")) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // No name of a group has a line end in it: the kernel makes none.
        let line = text
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(b"0::"));
        line.map(|path| Some(PathBuf::from(std::ffi::OsStr::from_bytes(path))))
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it names no group of cgroup v2"))
    }

    /// The children of a process; `None` when the kernel was built without lists of them (`CONFIG_PROC_CHILDREN`). Only
    /// of one that is frozen, whose children do not come and go meanwhile, is the list whole (proc_pid_task(5)).
    pub(crate) fn children(&self, pid: u32) -> io::Result<Option<Vec<u32>>> {
        let mut found = Vec::new();
        let threads = match fs::read_dir(self.of(pid, "task")) {
            Ok(threads) => threads,
            Err(error) if is_gone(&error) => return Ok(Some(found)),
            Err(error) => return Err(error),
        };
        for thread in threads {
            let thread = thread?.path();
            let text = match self.read(&thread.join("children")) {
                Ok(text) => text,
                Err(error) if is_gone(&error) && thread.exists() => return Ok(None),
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            if text.len() as u64 == FILE_BYTES_MAX {
                return Ok(None);
            }
            let numbers = text.split(|byte| *byte == b' ');
            found.extend(numbers.filter_map(|it| std::str::from_utf8(it).ok()?.parse::<u32>().ok()));
        }
        Ok(Some(found))
    }

    /// Everybody there is.
    pub(crate) fn everybody(&self) -> io::Result<Table> {
        let mut processes = BTreeMap::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|it| it.parse::<u32>().ok()) else {
                continue;
            };
            if processes.len() >= PROCESSES_MAX {
                let what = format!("there are more than {PROCESSES_MAX} processes");
                return Err(io::Error::other(what));
            }
            if let Some(stat) = self.stat(pid)? {
                processes.insert(pid, stat);
            }
        }
        Ok(Table { processes })
    }
}

/// Whether an error says that a process has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}

/// Every process at about one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    processes: BTreeMap<u32, Stat>,
}

impl Table {
    pub(crate) fn get(&self, pid: u32) -> Option<&Stat> {
        self.processes.get(&pid)
    }

    /// Those that descend from any of `roots`, which are not among them; parents before their children.
    pub(crate) fn descendants(&self, roots: &[u32]) -> Vec<Stat> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for it in self.processes.values() {
            children.entry(it.parent).or_default().push(it.pid);
        }
        let mut seen: BTreeSet<u32> = roots.iter().copied().collect();
        let mut found: Vec<Stat> = Vec::new();
        let mut open = roots.to_vec();
        while !open.is_empty() {
            let of_these = open.iter().filter_map(|pid| children.get(pid)).flatten();
            // A table that changed while it was read may have a circle in it.
            open = of_these.copied().filter(|pid| seen.insert(*pid)).collect();
            found.extend(open.iter().filter_map(|pid| self.get(*pid)));
        }
        found
    }

    /// The parent of `pid`, its parent, and so on.
    pub(crate) fn ancestors(&self, pid: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut at = pid;
        while let Some(parent) = self.get(at).map(|it| it.parent).filter(|it| *it != 0) {
            if !found.insert(parent) {
                break;
            }
            at = parent;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pid: u32, name: &str, rest: &str) -> Vec<u8> {
        format!("{pid} ({name}) {rest}\n").into_bytes()
    }

    const REST: &str = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 153452 41070592 2837";

    #[test]
    fn a_name_cannot_pass_for_fields() {
        for name in [
            "cat",
            "a b",
            ") R 1 1 1",
            "x) Z 1 (y",
            "\n1 (init) S 0",
            "",
            "((",
            "))",
            "\u{fffd}",
        ] {
            let stat = Stat::parse(&line(4242, name, REST)).unwrap_or_else(|| panic!("{name:?}"));
            assert_eq!(
                (stat.pid, stat.parent, stat.started, stat.threads),
                (4242, 7, 153_452, 3),
                "{name:?}"
            );
            assert!(!stat.has_ended() && !stat.is_kernel_thread(), "{name:?}");
        }
        for bad in ["", "1", "1 (", "1 (a) S", "1 (a) S 1 2 3", "x (a) S 7 1 1 0 -1 4 1 2"] {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_first_thread_that_has_ended_is_not_the_end() {
        let zombie = |threads: u32| {
            let rest = format!("Z 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 153452 0 0");
            Stat::parse(&line(9, "a", &rest)).expect("it is a line").has_ended()
        };
        assert!(zombie(1));
        assert!(!zombie(2));
    }

    #[test]
    fn descent_is_followed_however_the_table_looks() {
        let entry = |pid, parent| {
            let stat = Stat {
                pid,
                parent,
                state: b'S',
                flags: 0,
                threads: 1,
                started: 1,
            };
            (pid, stat)
        };
        // 5 and 6 are each other's parents, as in a table that changed while it was read.
        let table = Table {
            processes: [(1, 0), (2, 1), (3, 2), (4, 2), (5, 6), (6, 5), (7, 4)]
                .map(|(a, b)| entry(a, b))
                .into(),
        };
        let below = |pids: &[u32]| -> Vec<u32> { table.descendants(pids).iter().map(|it| it.pid).collect() };
        assert_eq!(below(&[2]), [3, 4, 7]);
        assert_eq!(below(&[3, 4]), [7]);
        assert_eq!(below(&[5]), [6]);
        assert_eq!(below(&[99]), [0; 0]);
        assert_eq!(table.ancestors(7), [1, 2, 4].into());
        assert_eq!(table.ancestors(5), [5, 6].into());
    }
}
