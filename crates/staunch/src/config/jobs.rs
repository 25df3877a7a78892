//! Settings of jobs: programs of the operator's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use staunch_connectors::actions::exec_job::{Confinement, JobSpec};
use staunch_model::{RiskClass, Span};

/// A program of yours that playbooks may run (`exec-job`): see [jobs](../guide/jobs.md). The name has 1 to 64
/// lower-case letters, digits and `-`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobSettings {
    /// The program, a whole path. Nobody but root should be able to write it. Since v0.1.
    pub(crate) program: PathBuf,
    /// The SHA-256 that it must have to be run, as `sha256sum` prints it. Default none: whatever is there is run. Since
    /// v0.1.
    #[serde(default)]
    pub(crate) sha256: Option<String>,
    /// Its arguments to look, in which `{subject}` is replaced. Since v0.1.
    pub(crate) observe: Vec<String>,
    /// Its arguments to act, in which `{subject}`, `{transaction}`, `{key}` and `{label}` are replaced. Since v0.1.
    pub(crate) execute: Vec<String>,
    /// Its arguments to take the act back; the same are replaced. Since v0.1.
    pub(crate) undo: Vec<String>,
    /// Subjects that it is never run for, whatever their case. Default none. Since v0.1.
    #[serde(default)]
    pub(crate) protected: Vec<String>,
    /// The user that it runs as; another one than the server's takes `CAP_SETUID`, `CAP_SETGID` and `CAP_KILL`. Default
    /// the server's own. Since v0.1.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// How long one run may take; then it is killed, with all that it has started.
    /// To look it has 4 s at the most. Default `10s`; `1s` to `5m`. Since v0.1.
    #[serde(default = "timeout")]
    pub(crate) timeout: Span,
    /// How long after a run has ended its effect can still come. Default `1s`; at most `1h`. Since v0.1.
    #[serde(default = "in_flight_max")]
    pub(crate) in_flight_max: Span,
    /// Memory of all its processes together, by a control group; without one, the address space of each. Default 512;
    /// 16 to 65536. Since v0.1.
    #[serde(default = "memory_mib_max")]
    pub(crate) memory_mib_max: u64,
    /// Processes and threads at the same time, by a control group. Without one it holds with a `user` of its own only,
    /// of whom all are counted. Default 64; 1 to 4096. Since v0.1.
    #[serde(default = "processes_max")]
    pub(crate) processes_max: u64,
    /// Processor time, in percent of one processor, by a control group; without one nothing bounds it. Default 100; 1
    /// to 10000. Since v0.1.
    #[serde(default = "cpu_percent_max")]
    pub(crate) cpu_percent_max: u64,
    /// The most that it may write to its standard output, and to its standard error; then it is killed. Default 64; 1
    /// to 1024. Since v0.1.
    #[serde(default = "output_kib_max")]
    pub(crate) output_kib_max: u64,
    /// Files and directories that it may read beside those of installed programs, as whole paths. Default none. Since
    /// v0.1.
    #[serde(default)]
    pub(crate) read: Vec<PathBuf>,
    /// Files and directories that it may read and change, as whole paths. Default none. Since v0.1.
    #[serde(default)]
    pub(crate) write: Vec<PathBuf>,
    /// Whether it may open sockets. Default `false`. Since v0.1.
    #[serde(default)]
    pub(crate) network: bool,
    /// Its environment, beside `PATH`. Secrets are better in a file that it may read. Default none. Since v0.1.
    #[serde(default)]
    pub(crate) environment: BTreeMap<Box<str>, Box<str>>,
    /// Whether what it has put in place stays when its lease ends, as a remediation does: then `undo` is run for a
    /// release, a rollback and what else takes it back before, and not for the end of the lease. Default `false`. Since
    /// v0.1.
    #[serde(default)]
    pub(crate) permanent: bool,
    /// How much it can hurt: `low`, `medium` or `high`. All jobs have that of the highest. Default `high`. Since v0.1.
    #[serde(default = "risk")]
    pub(crate) risk: RiskClass,
}

const fn timeout() -> Span {
    Span::from_secs(10)
}

const fn in_flight_max() -> Span {
    Span::from_secs(1)
}

const fn memory_mib_max() -> u64 {
    512
}

const fn processes_max() -> u64 {
    64
}

const fn cpu_percent_max() -> u64 {
    100
}

const fn output_kib_max() -> u64 {
    64
}

const fn risk() -> RiskClass {
    RiskClass::High
}

impl JobSettings {
    /// What the driver needs to know.
    pub(crate) fn spec(&self) -> JobSpec {
        JobSpec {
            program: self.program.clone(),
            sha256: self.sha256.as_deref().map(Into::into),
            observe: self.observe.clone(),
            execute: self.execute.clone(),
            undo: self.undo.clone(),
            timeout: self.timeout.to_std(),
            in_flight_max: self.in_flight_max.to_std(),
            risk: self.risk,
            permanent: self.permanent,
            output_bytes_max: self.output_kib_max << 10,
            confinement: Confinement {
                user: self.user.as_deref().map(Into::into),
                memory_mib_max: self.memory_mib_max,
                processes_max: self.processes_max,
                cpu_percent_max: self.cpu_percent_max,
                read: self.read.clone(),
                write: self.write.clone(),
                network: self.network,
                environment: self.environment.clone(),
            },
        }
    }
}
