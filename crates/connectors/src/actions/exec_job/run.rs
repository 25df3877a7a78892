//! Starts programs for the driver.
//!
//! Who starts them may be on a thread of its own: a server has one outside of its sandbox, inside of which no program
//! is run.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::launch::{Ended, Launch, Report};

/// How much longer than the job its supervisor may take, which kills its processes meanwhile.
pub const SUPERVISOR_MARGIN: Duration = Duration::from_secs(2);

/// The most that a supervisor says beside what the job has written, each byte of which may become six.
const REPORT_BYTES_MAX: u64 = 64 * 1024;

/// Who runs jobs.
pub trait Runs: Send + Sync {
    /// Runs one, and says how it has ended. Bounded in time by the launch itself.
    fn run(&self, launch: Launch) -> Report;
}

/// Starts a supervisor as a process of its own.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// With the program that calls [`super::launch::main`], and the arguments before those that are for it.
    #[must_use]
    pub const fn new(program: PathBuf, arguments: Vec<OsString>) -> Self {
        Self { program, arguments }
    }

    fn try_run(&self, launch: &Launch) -> Result<Report, Lost> {
        let not_started = |error: io::Error| Lost::NotStarted(format!("cannot start a supervisor: {error}"));
        let mut line = serde_json::to_vec(launch).map_err(|error| Lost::NotStarted(error.to_string()))?;
        line.push(b'\n');
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(not_started)?;
        let lost = |what: &str| Lost::InDoubt(format!("its supervisor {what}"));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(output)) = (input, output) else {
            return Err(lost("cannot be spoken to"));
        };
        let most = REPORT_BYTES_MAX.saturating_add(launch.output_bytes_max.saturating_mul(12));
        let (said, report) = sync_channel(1);
        let reader = thread::Builder::new().name("job-report".into()).spawn(move || {
            let mut text = Vec::new();
            let read = output.take(most).read_to_end(&mut text);
            drop(said.send(read.map(|_| text)));
        });
        let report = match reader {
            Ok(_) if input.write_all(&line).is_ok() => {
                let within = Duration::from_millis(launch.timeout_ms).saturating_add(SUPERVISOR_MARGIN);
                report.recv_timeout(within).map_err(|_| lost("did not report in time"))
            }
            Ok(_) => Err(lost("did not listen")),
            Err(_) => Err(lost("cannot be listened to: there is no thread")),
        };
        if report.is_err() {
            // Which ends what it supervises.
            let _ = child.kill();
        }
        drop(input);
        // It has said all it had to say, or was killed.
        let _ = child.wait();
        let text = report?.map_err(|_| lost("could not be heard"))?;
        serde_json::from_slice(&text).map_err(|_| lost("ended without a report"))
    }
}

enum Lost {
    NotStarted(String),
    InDoubt(String),
}

impl Runs for Launcher {
    fn run(&self, launch: Launch) -> Report {
        self.try_run(&launch).unwrap_or_else(|lost| {
            let (ended, errors) = match lost {
                Lost::NotStarted(why) => (Ended::NotStarted(why.into()), String::new()),
                Lost::InDoubt(why) => (Ended::Abandoned, why),
            };
            Report {
                errors,
                ..Report::bare(ended)
            }
        })
    }
}
