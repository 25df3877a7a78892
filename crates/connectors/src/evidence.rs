//! Collectors: what is preserved of a Linux host before an incident is contained, one module for each kind of evidence.
//!
//! Never acts: they read through the kernel's own interfaces, start no shell, and record what reading itself changed.
//! What they read is written by attackers; it is kept as it is, and never believed.
//!
//! # The form of the documents
//! Most kinds are one JSON object. Text is a string where it is UTF-8, and `{"hex": "..."}` where it is not, so that
//! nothing of it is lost. `complete` is false when `problems` says what is missing.

mod capture;
mod document;
mod facts;
mod files;
mod flows;
mod holders;
mod journal;
mod limits;
mod logins;
mod modules;
mod network;
mod procdir;
mod process;
mod processes;
mod redaction;
mod ruleset;
mod sockets;
mod value;

use std::path::PathBuf;

use staunch_ports::Collector;

pub use capture::CaptureCollector;
pub use files::FilesCollector;
pub use flows::FlowsCollector;
pub use journal::JournalCollector;
pub use logins::{LoginFiles, LoginRecord, LoginsCollector, RECORD_BYTES as LOGIN_RECORD_BYTES, parse_logins};
pub use modules::ModulesCollector;
pub use network::NetworkCollector;
pub use process::ProcessCollector;
pub use processes::ProcessesCollector;
pub use redaction::Redaction;
pub use ruleset::RulesetCollector;
pub use sockets::SocketsCollector;

/// Where the things are that collectors of a host read, and what they hide.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where the kernel's files of processes are.
    pub proc: PathBuf,
    /// Where its files of devices and modules are.
    pub sys: PathBuf,
    /// Where logins are recorded.
    pub logins: LoginFiles,
    /// The program that reads the journal of systemd.
    pub journalctl: PathBuf,
    /// The directory of the journal; with none, that of this machine.
    pub journal: Option<PathBuf>,
    /// What is hidden in command lines and environments.
    pub redaction: Redaction,
    /// Whether this server finds out when the processes of events started.
    pub processes_are_told: bool,
}

impl HostOptions {
    /// Those of this machine. `key` is the one of the hashes that stand for hidden values, see [`Redaction`].
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            logins: LoginFiles::default(),
            journalctl: "/usr/bin/journalctl".into(),
            journal: None,
            redaction: Redaction::usual(key),
            processes_are_told: false,
        }
    }
}

/// A collector of each kind for this machine, in the order in which they are taken.
///
/// What is about the network is of the network namespace of the thread that calls a collector.
#[must_use]
pub fn host(options: HostOptions) -> Vec<Box<dyn Collector>> {
    let proc = || options.proc.clone();
    vec![
        Box::new(NetworkCollector::new(proc())),
        Box::new(FlowsCollector::new(proc())),
        Box::new(SocketsCollector::new(proc())),
        Box::new(
            ProcessCollector::new(proc(), options.redaction.clone()).with_processes_told(options.processes_are_told),
        ),
        Box::new(ProcessesCollector::new(proc(), options.redaction.clone())),
        Box::new(LoginsCollector::new(options.logins)),
        Box::new(ModulesCollector::new(proc(), options.sys)),
        Box::new(RulesetCollector::new(proc())),
        Box::new(CaptureCollector::new()),
        Box::new(JournalCollector::new(options.journalctl, options.journal)),
        Box::new(FilesCollector::new()),
    ]
}
