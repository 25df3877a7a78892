//! Takes all processes of this machine, and who started whom.
//!
//! Never stops a process, and believes nothing that one says of itself: names, arguments and paths are kept as they
//! are.
//!
//! # Expected flow
//! Opens the directory of each process once and reads its small files through it
//!
//! # Guarantees
//! All that is said of one process is of that process, also when its number goes to another one meanwhile
//!
//! # Assumptions
//! `/proc` is mounted without `hidepid`, or this user may see everybody
//!
//! # Caveats
//! Processes that begin and end while they are read may be missing; arguments are cut at 4 KiB
//!
//! # Errors
//! `Unavailable` when there is no `/proc`, `TimedOut`

use std::fs;
use std::path::PathBuf;

use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Span};
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document};
use super::facts::Facts;
use super::limits::Deadline;
use super::procdir::ProcessDir;
use super::redaction::Redaction;

const KIND: EvidenceKind = EvidenceKind::Processes;
const TAKES_MAX: Span = Span::from_secs(30);

/// Bytes of one command line.
const COMMAND_BYTES_MAX: usize = 4 << 10;

/// Processes that are taken; the highest number that the kernel gives is 4,194,304.
const PROCESSES_MAX: usize = 131_072;

/// See the module.
#[derive(Clone, Debug)]
pub struct ProcessesCollector {
    proc: PathBuf,
    redaction: Redaction,
}

impl ProcessesCollector {
    /// Makes one that finds the kernel's files of processes in `proc`, and hides in command lines what `redaction`
    /// says.
    #[must_use]
    pub fn new(proc: PathBuf, redaction: Redaction) -> Self {
        Self { proc, redaction }
    }

    fn write(&self, document: &mut Document<'_>, deadline: Deadline) -> Result<(), Failure> {
        let pids = numbers(&self.proc)?;
        document.begin_list("processes")?;
        let mut problems = Vec::new();
        for (taken, pid) in pids.iter().copied().enumerate() {
            if deadline.is_over() || taken == PROCESSES_MAX {
                problems.push(format!("{} processes are left out", pids.len() - taken));
                break;
            }
            let read = ProcessDir::open(&self.proc, pid).and_then(|process| {
                let Some(process) = process else { return Ok(None) };
                Ok(Some((Facts::read(&process, COMMAND_BYTES_MAX)?, process)))
            });
            match read {
                Ok(Some((facts, process))) => document.item(&facts.tell(&process, &self.redaction))?,
                Ok(None) => {}
                Err(error) if crate::proc::is_gone(&error) => {}
                Err(error) => problems.push(format!("cannot read process {pid}: {error}")),
            }
        }
        document.end_list();
        problems.iter().for_each(|it| document.problem(it));
        Ok(())
    }
}

impl Collector for ProcessesCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/processes",
            kind: KIND,
            needs: &["CAP_SYS_PTRACE, for the programs and namespaces of processes of other users"],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        match fs::metadata(self.proc.join("self/stat")) {
            Ok(_) => Ok(()),
            Err(error) => Err(no_proc(&self.proc, &error)),
        }
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let method =
            "open and read of stat, status, cmdline and cgroup, readlink of exe and ns/*, relative to /proc/PID";
        let about = document::about(KIND, &self.proc.display().to_string(), method);
        document::write(KIND, about, sink, |document| {
            deadline.check("processes")?;
            self.write(document, deadline)
        })?;
        Ok(Collected::default())
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

/// The numbers of all processes, from the lowest.
pub(super) fn numbers(proc: &std::path::Path) -> Result<Vec<u32>, Failure> {
    let entries = fs::read_dir(proc).map_err(|error| no_proc(proc, &error))?;
    let names = entries.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = names.collect();
    found.sort_unstable();
    if found.is_empty() {
        return Err(Failure::new(
            FailureKind::Unavailable,
            &format!("{} shows no process", proc.display()),
        ));
    }
    Ok(found)
}

fn no_proc(proc: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(
        FailureKind::Unavailable,
        &format!("cannot read {}: {error}", proc.display()),
    )
}
