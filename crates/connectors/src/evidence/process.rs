//! Takes one process and what it has started: command line, environment, maps, open files, limits, group, and the hash
//! of its program.
//!
//! Never stops a process, never reads its memory, and never takes another process that has got its number.
//!
//! # Expected flow
//! Opens the directory of the process, checks when it started, and reads all through that directory; then
//! its descendants the same way
//!
//! # Guarantees
//! All that is said of a process is of that process; a program that was deleted is hashed too
//!
//! # Assumptions
//! `/proc` is mounted
//!
//! # Caveats
//! The environment is what the process was started with, unless it has written over that; a descendant that
//! lost its parent is not known as one; reading a program changes when it was last read, where that cannot
//! be avoided
//!
//! # Errors
//! `Conflict` when it has ended or its number is another's, `Denied`, `TimedOut`

use std::io::Read as _;
use std::path::PathBuf;

use ring::digest;
use rustix::fs::Statx;
use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Process, Span, Target};
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document, Problems};
use super::facts::{Facts, Told, lines, split};
use super::limits::{Deadline, no_target};
use super::procdir::ProcessDir;
use super::redaction::{Redaction, Shown};
use super::value::{Hex, Text};
use crate::proc::Proc;

const KIND: EvidenceKind = EvidenceKind::Process;
const TAKES_MAX: Span = Span::from_secs(30);

/// Processes that are taken, with the one that is asked for.
const PROCESSES_MAX: usize = 256;

/// Bytes of a command line or an environment; the kernel takes 2 MiB of both together by default.
const ARGUMENT_BYTES_MAX: usize = 4 << 20;

/// Bytes of maps: each has about 100, and a process 65,530 of them by default.
const MAPS_BYTES_MAX: usize = 8 << 20;

/// Open files that are listed of one process.
const FILES_MAX: usize = 4_096;

/// Bytes of other files of the kernel: what it says of an open file grows with what a process makes of it, and is cut.
const FILE_BYTES_MAX: usize = 4 << 10;

/// Bytes of a program that are hashed. The largest are some hundred megabytes; it bounds what a sparse file costs.
const PROGRAM_BYTES_MAX: u64 = 1 << 30;

/// See the module.
#[derive(Clone, Debug)]
pub struct ProcessCollector {
    proc: PathBuf,
    redaction: Redaction,
    /// Whether this server finds out by itself when the processes of events started.
    are_told: bool,
}

/// A process with all that is told of it.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    told: Told<'a>,
    #[serde(flatten)]
    links: Links<'a>,
    executable: Result<&'a Executable, &'a str>,
    environment: Option<Vec<Shown<'a>>>,
    maps: Option<Vec<Text<'a>>>,
    limits: Vec<Text<'a>>,
    files: &'a [OpenFile],
}

#[derive(Serialize)]
struct Links<'a> {
    working_directory: Option<Text<'a>>,
    root: Option<Text<'a>>,
}

/// The file that a process runs.
#[derive(Clone, Serialize)]
struct Executable {
    sha256: Option<String>,
    bytes: u64,
    device: String,
    inode: u64,
    modified: String,
    changed: String,
    mode: String,
    user: u32,
    group: u32,
    links: u32,
}

/// A file that a process has open.
#[derive(Serialize)]
struct OpenFile {
    number: u32,
    #[serde(serialize_with = "text")]
    target: Vec<u8>,
    /// The lines of its `fdinfo`: offset, flags, mount, inode.
    #[serde(serialize_with = "text_lines")]
    about: Vec<u8>,
}

impl ProcessCollector {
    /// Makes one that finds the kernel's files of processes in `proc`, and hides what `redaction` says.
    #[must_use]
    pub fn new(proc: PathBuf, redaction: Redaction) -> Self {
        Self {
            proc,
            redaction,
            are_told: false,
        }
    }

    /// The same, of a server that finds out by itself when the processes of events started, if `are_told`.
    #[must_use]
    pub const fn with_processes_told(mut self, are_told: bool) -> Self {
        self.are_told = are_told;
        self
    }

    /// Opens the directory of the process that is asked for.
    fn open(&self, target: Option<&Target>) -> Result<(Process, ProcessDir), Failure> {
        let Some(process) = target.and_then(Target::process) else {
            return Err(no_target(KIND, target));
        };
        if process.started == 0 {
            let hint = if self.are_told {
                "it may have ended before this server could look"
            } else {
                "`[processes] enabled = true` lets this server find out when it started"
            };
            let what = format!(
                "process {} was not told from others that have had its number; {hint}",
                process.pid
            );
            return Err(Failure::new(FailureKind::Invalid, &what));
        }
        let unavailable = |error| {
            Failure::new(
                FailureKind::Unavailable,
                &format!("cannot read process {}: {error}", process.pid),
            )
        };
        // It does not come back: there is nothing to try again.
        let gone = |what: &str| Failure::new(FailureKind::Invalid, &format!("process {}: {what}", process.pid));
        if Proc::new(&self.proc).boot().map_err(unavailable)? != process.boot {
            return Err(gone("the machine has booted since"));
        }
        let opened = ProcessDir::open(&self.proc, process.pid).map_err(unavailable)?;
        let opened = opened.ok_or_else(|| gone("it has ended"))?;
        if !opened.stat.is(process) {
            return Err(gone("its number is another process's"));
        }
        Ok((process, opened))
    }

    fn write(
        &self,
        document: &mut Document<'_>,
        deadline: Deadline,
        first: &ProcessDir,
        collected: &mut Collected,
    ) -> Result<(), Failure> {
        let pid = first.stat.pid;
        let mut programs = Programs::default();
        let mut problems = Problems::default();
        document.begin_list("processes")?;
        self.take(document, deadline, first, &mut programs, &mut problems)?;
        let everybody = Proc::new(&self.proc).everybody();
        let below = match &everybody {
            Ok(table) => table.descendants(&[pid]),
            Err(error) => {
                problems.add(&format!("cannot read who descends from process {pid}: {error}"));
                Vec::new()
            }
        };
        for (taken, stat) in below.iter().enumerate() {
            if deadline.is_over() || taken + 1 == PROCESSES_MAX {
                problems.add(&format!("{} descendants are left out", below.len() - taken));
                break;
            }
            match ProcessDir::open(&self.proc, stat.pid) {
                Ok(Some(process)) if process.stat.started == stat.started => {
                    self.take(document, deadline, &process, &mut programs, &mut problems)?;
                }
                // It has ended.
                Ok(_) => {}
                Err(error) => problems.add(&format!("cannot read process {}: {error}", stat.pid)),
            }
        }
        document.end_list();
        document.problems(&problems);
        collected.changes.append(&mut programs.changes);
        Ok(())
    }

    fn take(
        &self,
        document: &mut Document<'_>,
        deadline: Deadline,
        process: &ProcessDir,
        programs: &mut Programs,
        problems: &mut Problems,
    ) -> Result<(), Failure> {
        let pid = process.stat.pid;
        let facts = match Facts::read(process, ARGUMENT_BYTES_MAX) {
            Ok(facts) => facts,
            Err(error) => {
                problems.add(&format!("cannot read process {pid}: {error}"));
                return Ok(());
            }
        };
        let mut read = |name: &str, bytes_max| match process.read(name, bytes_max) {
            Ok((bytes, is_cut)) => {
                if is_cut {
                    problems.add(&format!("process {pid}: {name} is cut at {bytes_max} bytes"));
                }
                Some(bytes)
            }
            Err(error) => {
                problems.add(&format!("cannot read {name} of process {pid}: {error}"));
                None
            }
        };
        let environment = read("environ", ARGUMENT_BYTES_MAX);
        let maps = read("maps", MAPS_BYTES_MAX);
        let limits = read("limits", FILE_BYTES_MAX).unwrap_or_default();
        let files = files(process, deadline, problems);
        let (directory, root) = (process.link("cwd").ok(), process.link("root").ok());
        // Last, because it takes longest and is least volatile.
        let executable = programs.of(process, deadline);
        let whole = Whole {
            told: facts.tell(process, &self.redaction),
            links: Links {
                working_directory: directory.as_deref().map(Text),
                root: root.as_deref().map(Text),
            },
            executable: executable.as_ref().map_err(String::as_str),
            environment: environment
                .as_ref()
                .map(|it| split(it).iter().map(|it| self.redaction.variable(it)).collect()),
            maps: maps.as_ref().map(|it| lines(it).map(Text).collect()),
            limits: lines(&limits).map(Text).collect(),
            files: &files,
        };
        document.item(&whole)
    }
}

impl Collector for ProcessCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/process",
            kind: KIND,
            needs: &["CAP_SYS_PTRACE, for processes of other users"],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, request: &CollectRequest) -> Result<(), Failure> {
        let (process, opened) = self.open(request.target.as_ref())?;
        match opened.link("exe") {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Failure::new(
                FailureKind::Denied,
                &format!("CAP_SYS_PTRACE is needed to look into process {}", process.pid),
            )),
            // It has ended or is a part of the kernel; what there is can be taken.
            _ => Ok(()),
        }
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        deadline.check("the process")?;
        let (process, opened) = self.open(request.target.as_ref())?;
        let locator = self.proc.join(process.pid.to_string()).display().to_string();
        let method = "open and read of stat, status, cmdline, cgroup, environ, maps, limits and fdinfo/*, readlink of exe, cwd, \
                      root, ns/* and fd/*, SHA-256 of what is read through exe; the same of its descendants";
        let mut collected = Collected::default();
        document::write(KIND, document::about(KIND, &locator, method), sink, |document| {
            document.field("process", &process)?;
            self.write(document, deadline, &opened, &mut collected)
        })?;
        Ok(collected)
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

/// The programs that were hashed. Descendants often run the same.
#[derive(Default)]
struct Programs {
    known: Vec<Executable>,
    changes: Vec<Box<str>>,
}

impl Programs {
    fn of(&mut self, process: &ProcessDir, deadline: Deadline) -> Result<Executable, String> {
        let before = process.target("exe").map_err(|error| error.to_string())?;
        let mut found = Executable::of(&before);
        let same = |it: &&Executable| {
            (&it.device, it.inode, &it.changed, it.bytes) == (&found.device, found.inode, &found.changed, found.bytes)
        };
        if let Some(known) = self.known.iter().find(same) {
            return Ok(known.clone());
        }
        let (mut file, spares_time) = process.open_target("exe").map_err(|error| error.to_string())?;
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 256 << 10];
        let mut read_bytes = 0;
        let is_whole = loop {
            if deadline.is_over() || read_bytes > PROGRAM_BYTES_MAX {
                break false;
            }
            match file.read(&mut buffer) {
                Ok(0) => break true,
                Ok(read) => {
                    context.update(&buffer[..read]);
                    read_bytes += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        };
        if is_whole {
            found.sha256 = Some(Hex(context.finish().as_ref()).to_string());
            self.known.push(found.clone());
        }
        let read_at = |it: &Statx| (it.stx_atime.tv_sec, it.stx_atime.tv_nsec);
        if !spares_time
            && process
                .target("exe")
                .is_ok_and(|after| read_at(&after) != read_at(&before))
        {
            let program = process.link("exe").unwrap_or_default();
            let line = format!("the time of the last read of {}", String::from_utf8_lossy(&program));
            self.changes.push(staunch_model::Printable(&line).to_string().into());
        }
        Ok(found)
    }
}

impl Executable {
    fn of(stat: &Statx) -> Self {
        let time = |it: rustix::fs::StatxTimestamp| format!("{}.{:09}", it.tv_sec, it.tv_nsec);
        Self {
            sha256: None,
            bytes: stat.stx_size,
            device: format!("{}:{}", stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            modified: time(stat.stx_mtime),
            changed: time(stat.stx_ctime),
            mode: format!("{:o}", stat.stx_mode),
            user: stat.stx_uid,
            group: stat.stx_gid,
            links: stat.stx_nlink,
        }
    }
}

fn files(process: &ProcessDir, deadline: Deadline, problems: &mut Problems) -> Vec<OpenFile> {
    let pid = process.stat.pid;
    let (mut numbers, more) = match process.numbers("fd", FILES_MAX) {
        Ok(found) => found,
        Err(error) => {
            problems.add(&format!("cannot list the open files of process {pid}: {error}"));
            return Vec::new();
        }
    };
    numbers.sort_unstable();
    let mut found = Vec::with_capacity(numbers.len());
    let mut is_cut = more;
    for number in numbers {
        if deadline.is_over() {
            is_cut = true;
            break;
        }
        // One that is closed meanwhile is none.
        let Ok(target) = process.link(&format!("fd/{number}")) else {
            continue;
        };
        let about = process.read(&format!("fdinfo/{number}"), FILE_BYTES_MAX);
        found.push(OpenFile {
            number,
            target,
            about: about.map(|it| it.0).unwrap_or_default(),
        });
    }
    if is_cut {
        problems.add(&format!(
            "process {pid}: open files after the first {} are left out",
            found.len()
        ));
    }
    found
}

fn text<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    Text(bytes).serialize(to)
}

fn text_lines<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(lines(bytes).map(Text))
}
