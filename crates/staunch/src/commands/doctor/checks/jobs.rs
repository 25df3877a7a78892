//! Whether jobs can be run as they are described. None of them is: in their place something is that does nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use staunch_connectors::actions::exec_job::{Ended, Launch, Runs as _};

use super::super::{Finding, Health};
use crate::config::{Config, JobSettings};

const CHECK: &str = "jobs";

/// What is run in the place of a job.
const NOTHING: &str = "/bin/true";

pub(super) fn all(config: &Config) -> Vec<Finding> {
    config.jobs.iter().map(|(name, job)| one(name, job)).collect()
}

fn one(name: &str, job: &JobSettings) -> Finding {
    let spec = job.spec();
    let shown = job.program.display();
    let problem = |text: String, fix: &str| Finding::new(CHECK, Health::Problem, text).fix(fix);
    let metadata = match fs::metadata(&job.program) {
        Ok(metadata) if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 => metadata,
        Ok(_) => return problem(format!("job {name}: {shown} cannot be executed"), "chmod 0755 it"),
        Err(error) => {
            let text = format!("job {name}: cannot look at {shown}: {error}");
            return problem(text, "install the program, or correct its path");
        }
    };
    let mut launch = Launch {
        program: NOTHING.into(),
        sha256: None,
        arguments: Vec::new(),
        input: String::new(),
        timeout_ms: 10_000,
        output_bytes_max: 1024,
        confinement: spec.confinement,
    };
    let report = crate::jobs::launcher().run(launch.clone());
    if report.ended != Ended::Exited(0) {
        let why = match &report.ended {
            Ended::NotStarted(why) => why.to_string(),
            ended => format!("{ended:?} {}", report.errors),
        };
        let text = format!("job {name}: nothing can be run in its sandbox: {why}");
        return problem(
            text,
            "give the server what its `user` takes, and a kernel with Landlock (Linux 5.13)",
        );
    }
    if let Some(hash) = spec.sha256 {
        // Read and compared, and not executed.
        launch.program.clone_from(&job.program);
        launch.sha256 = Some(hash);
        if let Err(why) = staunch_connectors::actions::exec_job::launch::check_pinned(&launch) {
            let fix = "if that is meant, write the hash that sha256sum prints into the configuration";
            return problem(format!("job {name}: {why}"), fix);
        }
    }
    if let Some(who) = writable_by_others(&job.program, &metadata) {
        let text = format!("job {name}: {who} is not only root's to write, and what is in it is run");
        return Finding::new(CHECK, Health::Warning, text).fix("chown root and chmod go-w it, or pin its sha256");
    }
    let mut weaker = Vec::new();
    if job.sha256.is_none() {
        weaker.push("its program is not pinned (sha256)");
    }
    if job.user.is_none() && !report.held.processes {
        weaker.push("it has no user of its own and no control group, so that its processes are not counted");
    }
    if !report.held.memory {
        weaker.push("its memory is counted for each of its processes, because no control group can be made");
    }
    if !report.held.cpu {
        weaker.push("nothing bounds its processor time but `timeout`, because no control group can be made");
    }
    let text = format!("job {name} can be run");
    if weaker.is_empty() {
        return Finding::new(CHECK, Health::Ok, text);
    }
    Finding::new(CHECK, Health::Ok, format!("{text}; {}", weaker.join("; ")))
}

/// What of the program and its directory somebody but root may write.
fn writable_by_others(program: &Path, metadata: &fs::Metadata) -> Option<String> {
    let is_open = |it: &fs::Metadata| it.uid() != 0 || it.permissions().mode() & 0o022 != 0;
    if is_open(metadata) {
        return Some(program.display().to_string());
    }
    let dir = program.parent()?;
    // One with the sticky bit lets nobody replace what is root's.
    let in_dir = fs::metadata(dir).ok()?;
    (is_open(&in_dir) && in_dir.permissions().mode() & 0o1000 == 0).then(|| dir.display().to_string())
}
