//! What is told of every process: who it is, what it runs, for whom, and where it is contained.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::procdir::ProcessDir;
use super::redaction::{Redaction, Shown};
use super::value::Text;

/// Bytes that are read of the files of the kernel; they have some kilobytes at the most.
const FILE_BYTES_MAX: usize = 64 << 10;

/// The namespaces of a process.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// The lines of `status` that are kept of every process.
const STATUS: [&str; 13] = [
    "Uid",
    "Gid",
    "Groups",
    "NSpid",
    "TracerPid",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "VmRSS",
];

/// The bytes that were read of a process.
#[derive(Debug)]
pub(super) struct Facts {
    status: Vec<u8>,
    command: Result<(Vec<u8>, bool), String>,
    groups: Vec<u8>,
    program: Result<Vec<u8>, String>,
    namespaces: BTreeMap<&'static str, String>,
}

/// A process as it is written.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    pid: u32,
    parent: u32,
    /// In ticks since the machine booted.
    started: u64,
    state: char,
    threads: u64,
    kernel_thread: bool,
    name: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program_unread: Option<&'a str>,
    command: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "is_false")]
    command_is_cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_unread: Option<&'a str>,
    #[serde(flatten)]
    status: BTreeMap<&'a str, Text<'a>>,
    cgroups: Vec<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
    namespaces: &'a BTreeMap<&'static str, String>,
}

impl Facts {
    /// Reads them; `command_bytes_max` bytes of the command line.
    ///
    /// # Errors
    /// When the process has ended, or may not be looked at by this user.
    pub(super) fn read(process: &ProcessDir, command_bytes_max: usize) -> io::Result<Self> {
        let (status, _) = process.read("status", FILE_BYTES_MAX)?;
        let is_kernel = process.stat.is_kernel_thread();
        let command = if is_kernel {
            Ok((Vec::new(), false))
        } else {
            process
                .read("cmdline", command_bytes_max)
                .map_err(|error| error.to_string())
        };
        let program = process.link("exe").map_err(|error| error.to_string());
        let mut namespaces = BTreeMap::new();
        for name in NAMESPACES {
            // Kernels without one of these, and processes of others, have none to show.
            if let Ok(link) = process.link(&format!("ns/{name}")) {
                let number = link.split(|byte| !byte.is_ascii_digit()).find(|it| !it.is_empty());
                let number = number.and_then(|it| std::str::from_utf8(it).ok()).unwrap_or_default();
                namespaces.insert(name, number.to_owned());
            }
        }
        Ok(Self {
            status,
            command,
            groups: process
                .read("cgroup", FILE_BYTES_MAX)
                .map(|it| it.0)
                .unwrap_or_default(),
            program,
            namespaces,
        })
    }

    pub(super) fn tell<'a>(&'a self, process: &'a ProcessDir, redaction: &'a Redaction) -> Told<'a> {
        let stat = process.stat;
        let arguments = self.command.as_ref().map(|(bytes, _)| split(bytes)).unwrap_or_default();
        Told {
            pid: stat.pid,
            parent: stat.parent,
            started: stat.started,
            state: stat.state(),
            threads: stat.threads(),
            kernel_thread: stat.is_kernel_thread(),
            name: Text(&process.name),
            program: self.program.as_deref().ok().map(Text),
            // Kernel threads run no program.
            program_unread: self
                .program
                .as_ref()
                .err()
                .map(String::as_str)
                .filter(|_| !stat.is_kernel_thread()),
            command: redaction.arguments(&arguments),
            command_is_cut: self.command.as_ref().is_ok_and(|it| it.1),
            command_unread: self.command.as_ref().err().map(String::as_str),
            status: status_lines(&self.status),
            cgroups: lines(&self.groups).map(Text).collect(),
            container: container(&self.groups),
            namespaces: &self.namespaces,
        }
    }
}

/// Strings that each end with a NUL.
pub(super) fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).collect()
}

/// Lines that are not empty.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The lines of `status` with these names. The name of the process is escaped there: no line begins within it.
fn status_lines(status: &[u8]) -> BTreeMap<&str, Text<'_>> {
    let mut found = BTreeMap::new();
    for line in lines(status) {
        let Some(at) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = std::str::from_utf8(&line[..at]).unwrap_or_default();
        if STATUS.contains(&name) {
            found.insert(name, Text(line[at + 1..].trim_ascii()));
        }
    }
    found
}

/// The id of the container that a group belongs to: Docker, containerd, CRI-O and Podman all write its 64 hexadecimal
/// digits. It is the last one, of the innermost container.
pub(super) fn container(groups: &[u8]) -> Option<&str> {
    const DIGITS: usize = 64;
    let mut runs = groups.split(|byte| !byte.is_ascii_hexdigit());
    let id = runs.rfind(|run| run.len() == DIGITS)?;
    std::str::from_utf8(id).ok()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(it: &bool) -> bool {
    !it
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_group() {
        let id = "0123456789abcdef".repeat(4);
        for group in [
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("12:pids:/docker/{id}\n0::/\n"),
            format!("0::/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-{id}.scope\n"),
            format!("0::/machine.slice/libpod-{id}.scope/container\n"),
        ] {
            assert_eq!(container(group.as_bytes()), Some(&*id), "{group}");
        }
        for group in [
            "0::/init.scope\n",
            &format!("0::/a-{id}0\n"),
            &format!("0::/{}\n", &id[1..]),
        ] {
            assert_eq!(container(group.as_bytes()), None, "{group}");
        }
    }

    #[test]
    fn a_name_makes_no_line_of_its_status() {
        let status = b"Name:\ta\\nUid:\\t7\nUid:\t0\t0\t0\t0\nNope\nSeccomp:\t2\n";
        let found = status_lines(status);
        assert_eq!(found.len(), 2);
        assert_eq!(found["Uid"].0, b"0\t0\t0\t0");
    }

    #[test]
    fn arguments_that_are_empty_are_kept() {
        assert_eq!(split(b"a\0\0b\0"), [&b"a"[..], b"", b"b"]);
        assert_eq!(split(b"a b"), [b"a b"]);
        assert!(split(b"").is_empty());
    }
}
