//! Runs programs of the operator's own, which the configuration names, under the same guarantees as every other action.
//!
//! [`driver`] holds the driver, [`answer`] reads what a program says it has seen, [`run`] starts programs and
//! [`launch`] is what runs in the process that is started. Never gives anything to a shell, and never believes a
//! program that its act worked: what counts is what it observes afterwards.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use staunch_model::RiskClass;

pub mod answer;
pub mod driver;
pub mod launch;
mod records;
pub mod run;
mod words;

pub use answer::{ANSWER_BYTES_MAX, Answer};
pub use driver::{ExecJob, ExecJobOptions};
pub use launch::{Ended, Held, Launch, Report};
pub use run::{Launcher, Runs};
pub use words::{PLACEHOLDERS, unknown_placeholder};

/// A program that may be run, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    /// The program, an absolute path.
    pub program: PathBuf,
    /// The SHA-256 that it must have, in lower-case hexadecimal digits; it may have any when there is none.
    pub sha256: Option<Box<str>>,
    /// Its arguments to look: `{subject}` is put in.
    pub observe: Vec<String>,
    /// Its arguments to act: `{subject}`, `{transaction}`, `{key}` and `{label}` are put in.
    pub execute: Vec<String>,
    /// Its arguments to take the act back; the same are put in.
    pub undo: Vec<String>,
    /// How long one run of it may take.
    pub timeout: Duration,
    /// How long after a run has ended its effect can still come.
    pub in_flight_max: Duration,
    /// How much it can hurt.
    pub risk: RiskClass,
    /// Whether what it has put in place stays there when its lease ends, as a remediation does. Until then it is taken
    /// back like any other.
    pub permanent: bool,
    /// The most bytes that it may write to its standard output, and to its standard error.
    pub output_bytes_max: u64,
    /// What it is confined to.
    pub confinement: Confinement,
}

/// What a job may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The user that it runs as; the server's own when there is none.
    pub user: Option<Box<str>>,
    /// Memory of all its processes together in MiB; where no control group can be made, the address space of each of
    /// them.
    pub memory_mib_max: u64,
    /// Processes and threads at the same time.
    pub processes_max: u64,
    /// Processor time of all of them, in percent of one processor. Nothing bounds it where no control group can be
    /// made.
    pub cpu_percent_max: u64,
    /// Files and directories that it may read, beside those of installed programs.
    pub read: Vec<PathBuf>,
    /// Files and directories that it may change.
    pub write: Vec<PathBuf>,
    /// Whether it may open sockets.
    pub network: bool,
    /// Its environment, beside `PATH`.
    pub environment: BTreeMap<Box<str>, Box<str>>,
}
