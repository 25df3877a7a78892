//! Has jobs run from outside of the sandbox.
//!
//! In the sandbox of a server no program is run, so that one thread stays outside and starts others that do. It takes
//! nothing but what the driver asks for, which is of the configuration but for what is put into arguments. Each job
//! enters a sandbox of its own, tighter than that of the server.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::{io, thread};

use staunch_connectors::actions::exec_job::{Ended, Launch, Launcher, Report, Runs, launch};

use crate::config::Config;
use crate::exit::{Exit, Fault};

/// The argument with which this program is what starts a job; no command that people use.
pub(crate) const LAUNCH: &str = "launch-job";

/// Jobs that may wait; the driver asks for fewer at the same time.
const WAITING_MAX: usize = 16;

/// Who runs jobs where this process is in no sandbox.
pub(crate) fn launcher() -> Launcher {
    // Also when the file was replaced: it is what this process runs.
    Launcher::new("/proc/self/exe".into(), vec![LAUNCH.into()])
}

/// Starts the thread that jobs are run from; nothing when there are none. Start it before the sandbox is entered.
///
/// # Errors
/// When there can be no thread.
pub(crate) fn start(config: &Config) -> Result<Option<Arc<dyn Runs>>, Fault> {
    if config.jobs.is_empty() {
        return Ok(None);
    }
    let outside = Outside::start().map_err(|error| Fault::doing(Exit::Failed, "cannot start a thread", &error))?;
    Ok(Some(Arc::new(outside)))
}

/// The way to the thread.
struct Outside(SyncSender<Asked>);

struct Asked {
    launch: Launch,
    answer: SyncSender<Report>,
}

impl Outside {
    fn start() -> io::Result<Self> {
        let (sender, asked): (_, Receiver<Asked>) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("jobs".into()).spawn(move || {
            launch::end_left();
            for Asked { launch, answer } in asked {
                // A thread for each, which is outside as well. Without one, who asked hears of nobody.
                let run = move || drop(answer.send(launcher().run(launch)));
                if let Err(error) = thread::Builder::new().name("job".into()).spawn(run) {
                    tracing::error!(%error, "there is no thread for a job");
                }
            }
        })?;
        Ok(Self(sender))
    }
}

impl Runs for Outside {
    fn run(&self, launch: Launch) -> Report {
        let (answer, report) = sync_channel(1);
        if self.0.send(Asked { launch, answer }).is_err() {
            return Report::bare(Ended::NotStarted("who starts jobs has ended".into()));
        }
        // The launcher is bounded in time.
        report.recv().unwrap_or_else(|_| Report::bare(Ended::Abandoned))
    }
}
