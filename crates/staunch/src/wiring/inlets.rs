//! The inlets of a configuration.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use staunch_connectors::inlets::InletThread;
use staunch_connectors::inlets::file::{self, Begin, FileSettings};
use staunch_connectors::inlets::journald::{self, JournalSettings};
use staunch_connectors::inlets::socket::{LineSocket, SocketSettings};
use staunch_connectors::inlets::stdin::{self, Done};
use staunch_connectors::inlets::syslog::{SyslogSettings, SyslogSocket};
use staunch_model::{ContentHash, Printable};
use staunch_ports::InletTally;
use staunch_runtime::Intake;

use crate::config::{Config, JournaldSource};
use crate::exit::{Exit, Fault};
use crate::inlets::Summed;

/// The program that reads the journal of systemd, looked for where programs are.
const JOURNALCTL: &str = "journalctl";
/// The inlets of a server.
pub(crate) struct Inlets {
    threads: Vec<InletThread>,
    intake: Arc<Intake>,
}

impl Inlets {
    /// Ends them all, and waits for that.
    pub(crate) fn stop(self) {
        for thread in self.threads {
            thread.stop();
        }
    }

    /// Reads `input` too, whose lines `source` understands, and adds up in `sum`; `done` is called at its end.
    pub(crate) fn stdin(
        &mut self,
        source: &str,
        input: OwnedFd,
        sum: Summed,
        done: Done,
    ) -> Result<Arc<InletTally>, Fault> {
        let tally = self.tally("stdin", "stdin", source);
        let sink = crate::inlets::sink(self.intake.clone(), tally.clone(), Some(sum));
        self.push(stdin::start(input, tally.clone(), sink, done))?;
        Ok(tally)
    }

    /// Counts for an inlet that follows `follows`.
    fn tally(&mut self, kind: &'static str, follows: &str, source: &str) -> Arc<InletTally> {
        tracing::info!(kind, follows, source, "following");
        let tally = Arc::new(InletTally::new(kind, follows, source));
        self.intake.add_inlet(tally.clone());
        tally
    }

    fn push(&mut self, started: io::Result<InletThread>) -> Result<(), Fault> {
        let started =
            started.map_err(|error| Fault::doing(Exit::Failed, "cannot start the thread of an inlet", &error));
        self.threads.push(started?);
        Ok(())
    }
}

/// Starts the inlets of `config`: all sockets are made before the first line is taken.
///
/// # Errors
/// When a socket cannot be made, or there can be no thread.
pub(crate) fn start(config: &Config, intake: &Arc<Intake>) -> Result<Inlets, Fault> {
    let sources = &config.sources;
    let mut syslog = Vec::new();
    for it in &sources.syslog {
        let settings = SyslogSettings {
            listen: it.listen,
            from: it.from.clone(),
            app_names: it.app_names.clone(),
            hand_on: it.hand_on,
        };
        let socket = SyslogSocket::bind(settings).map_err(|error| cannot_listen(&it.listen.to_string(), &error))?;
        syslog.push((socket, it));
    }
    let mut sockets = Vec::new();
    for it in &sources.sockets {
        let shown = Printable(&it.path.display().to_string()).to_string();
        let settings = SocketSettings {
            path: it.path.clone(),
            mode: it.mode,
            group: it.group.clone(),
        };
        let socket = LineSocket::bind(&settings).map_err(|error| cannot_listen(&shown, &error))?;
        sockets.push((socket, shown, it));
    }

    let mut inlets = Inlets {
        threads: Vec::new(),
        intake: intake.clone(),
    };
    let sink = |tally: &Arc<InletTally>| crate::inlets::sink(intake.clone(), tally.clone(), None);
    for (socket, it) in syslog {
        let tally = inlets.tally("syslog", &socket.listen().to_string(), &it.source);
        let sink = sink(&tally);
        inlets.push(socket.start(tally, sink))?;
    }
    for (socket, shown, it) in sockets {
        let tally = inlets.tally("socket", &shown, &it.source);
        let sink = sink(&tally);
        inlets.push(socket.start(tally, sink))?;
    }
    for it in &sources.files {
        let shown = Printable(&it.path.display().to_string()).to_string();
        // A file goes on where it was also when its place in the configuration is another one.
        let name = ContentHash::of(it.path.as_os_str().as_encoded_bytes()).to_string();
        let is_there = it.path.exists();
        let settings = FileSettings {
            path: it.path.clone(),
            place: config.places_dir().join(name),
            // What appears between this look and the first one of the reader is read as what is said of it below.
            begin: if is_there { it.begin } else { Begin::Start },
        };
        let tally = inlets.tally("file", &shown, &it.source);
        if !is_there {
            tracing::warn!(
                file = shown,
                "the file is not there: it is read, from its beginning, once it appears"
            );
        }
        let sink = sink(&tally);
        inlets.push(file::start(settings, tally, sink))?;
    }
    for it in &sources.journald {
        // As with files; JSON tells where one name ends and the next begins.
        let key = serde_json::to_vec(&it.key()).map_err(|error| Fault::of(Exit::Failed, &error))?;
        let settings = JournalSettings {
            program: JOURNALCTL.into(),
            directory: it.directory.clone(),
            units: it.units.clone(),
            identifiers: it.identifiers.clone(),
            hand_on: it.hand_on,
            place: config.places_dir().join(ContentHash::of(&key).to_string()),
            begin: it.begin,
        };
        let tally = inlets.tally("journal", &entries_of(it), &it.source);
        let sink = sink(&tally);
        inlets.push(journald::start(settings, tally, sink))?;
    }
    Ok(inlets)
}

/// What is followed of a journal, in words that are safe to show.
fn entries_of(it: &JournaldSource) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(it.directory.iter().map(|directory| directory.display().to_string()));
    parts.extend(it.units.iter().cloned());
    parts.extend(it.identifiers.iter().cloned());
    if parts.is_empty() {
        return "all entries".to_owned();
    }
    Printable(&parts.join(" ")).to_string()
}

fn cannot_listen(what: &str, error: &io::Error) -> Fault {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        io::ErrorKind::AddrInUse => Exit::InUse,
        _ => Exit::Failed,
    };
    Fault::doing(exit, format!("cannot listen on {what}"), error).hint("choose another under [sources]")
}
