//! What the tests that run jobs share: programs in a directory of their own.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use staunch_connectors::actions::exec_job::{Confinement, ExecJob, ExecJobOptions, JobSpec, Launch, Launcher};
use staunch_model::{EffectKey, InstallationId, JobTarget, RiskClass, Span, Target, TransactionId};
use staunch_ports::{ExecuteRequest, UndoRequest};
use tempfile::TempDir;

pub(crate) const OURS: InstallationId = InstallationId([0xa0; 8]);

/// A directory with what jobs keep, and the records of a driver.
pub(crate) struct Place {
    dir: TempDir,
}

pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobs").join(name)
}

/// Who starts jobs.
pub(crate) fn launcher() -> Launcher {
    Launcher::new(env!("CARGO_BIN_EXE_staunch-job-launcher").into(), Vec::new())
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(place.state()).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn confinement(&self) -> Confinement {
        let state = self.state().to_str().unwrap().to_owned();
        Confinement {
            memory_mib_max: 256,
            processes_max: 64,
            cpu_percent_max: 100,
            write: vec![self.state()],
            environment: BTreeMap::from([("STATE".into(), state.into())]),
            ..Confinement::default()
        }
    }

    /// The job that the program of this name in `tests/jobs` is.
    pub(crate) fn job(&self, name: &str) -> JobSpec {
        let arguments = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
        JobSpec {
            program: program(name),
            sha256: None,
            observe: arguments(&["observe", "{subject}"]),
            execute: arguments(&["execute", "{subject}", "{label}", "{transaction}/{key}"]),
            undo: arguments(&["undo", "{subject}", "{label}"]),
            timeout: Duration::from_secs(20),
            in_flight_max: Duration::from_secs(1),
            risk: RiskClass::High,
            permanent: false,
            output_bytes_max: 64 * 1024,
            confinement: self.confinement(),
        }
    }

    pub(crate) fn driver(&self, installation: InstallationId, job: JobSpec) -> ExecJob {
        let options = ExecJobOptions {
            installation,
            records: self.path("records"),
            jobs: BTreeMap::from([("a-job".into(), job)]),
        };
        ExecJob::new(options, Arc::new(launcher()))
    }

    /// One run of a program, as a supervisor is told.
    pub(crate) fn launch(&self, program: PathBuf, arguments: &[&str]) -> Launch {
        Launch {
            program,
            sha256: None,
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            input: String::new(),
            timeout_ms: 20_000,
            output_bytes_max: 64 * 1024,
            confinement: self.confinement(),
        }
    }
}

pub(crate) fn target(subject: &str) -> Target {
    Target::Job(JobTarget::new("a-job", subject).unwrap())
}

pub(crate) fn request(subject: &str) -> ExecuteRequest {
    ExecuteRequest {
        transaction: TransactionId(1),
        key: EffectKey::default(),
        target: target(subject),
        version: 0,
        hold: Span::from_hours(1),
        renewal: false,
    }
}

pub(crate) fn undo_of(subject: &str) -> UndoRequest {
    UndoRequest {
        transaction: TransactionId(1),
        key: EffectKey::default(),
        target: target(subject),
        lease_ended: false,
    }
}
