//! Follows the journal of systemd, through `journalctl`, whose output is the stable way to read it without its library.
//!
//! An entry's place is kept only after it was taken: after a crash, entries are handed on again rather than lost. The
//! program is started again when it ends, and is ended with this inlet.

pub mod entry;

use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use staunch_model::{Printable, Timestamp};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Clock as _, InletTally};

use super::file::Begin;
use super::kept::{KEEP_INTERVAL, Kept};
use super::syslog::HandOn;
use super::thread::Stop;
use super::{Added, Batch, Cut, Cutter, Framing, InletThread, Overlong, Seldom, Sink};
use crate::json::EVENT_BYTES_MAX;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Bytes of an entry as it is written: bytes that are no text are written as numbers, four times as long.
const ENTRY_BYTES_MAX: usize = 4 * EVENT_BYTES_MAX + (64 << 10);

/// How long to wait before the program is started again: at first, and at the most.
const RESTART_PAUSE: Duration = Duration::from_millis(500);
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long the program has to run to be taken for one that works, when no entry comes.
const WORKS_AFTER: Duration = Duration::from_secs(2);

/// Bytes of what the program says of its troubles that are remembered.
const COMPLAINT_BYTES_MAX: usize = 1 << 10;

/// Which entries, and where to begin.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// The program, with the options of `journalctl`.
    pub program: PathBuf,
    /// The directory of the journal; with none, that of this machine.
    pub directory: Option<PathBuf>,
    /// The units whose entries are taken. With none, all of them.
    pub units: Vec<String>,
    /// The identifiers, such as `sshd`, whose entries are taken. With none, all of them.
    pub identifiers: Vec<String>,
    /// What is handed on.
    pub hand_on: HandOn,
    /// The file that keeps the place up to which it was read. Its directory is made when it is not there.
    pub place: PathBuf,
    /// Where to begin when no place was kept.
    pub begin: Begin,
}

/// Starts a thread that hands the entries to `sink`.
///
/// # Errors
/// When there can be no thread. A program that is not there, or ends, is started again.
pub fn start(settings: JournalSettings, tally: Arc<InletTally>, sink: Sink) -> io::Result<InletThread> {
    InletThread::start("journal", move |stop| Follower::new(settings, tally, sink).run(&stop))
}

/// The place up to which a journal was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// Up to this entry.
    Cursor(String),
    /// None was read yet; it begins with what was written since.
    Since(Timestamp),
    /// None was read yet; it begins with the first.
    Start,
}

struct Follower {
    settings: JournalSettings,
    tally: Arc<InletTally>,
    sink: Sink,
    batch: Batch,
    place: Place,
    kept: Kept<Place>,
    malformed: Seldom,
    overlong: Overlong,
}

/// The program that is running.
struct Running {
    child: Child,
    entries: ChildStdout,
    complaints: Option<ChildStderr>,
    complaint: Vec<u8>,
}

/// How the reading of one run ended.
enum End {
    /// It is to stop.
    Stop,
    /// The program has ended, after entries or without.
    Ended { had_entries: bool },
}

impl Follower {
    fn new(settings: JournalSettings, tally: Arc<InletTally>, sink: Sink) -> Self {
        let mut kept = Kept::new(settings.place.clone(), tally.follows().to_owned());
        let place = kept.load().cloned().unwrap_or_else(|| match settings.begin {
            Begin::Start => Place::Start,
            Begin::End => Place::Since(SystemClock.now()),
        });
        Self {
            settings,
            tally,
            sink,
            batch: Batch::default(),
            place,
            kept,
            malformed: Seldom::default(),
            overlong: Overlong::new(EVENT_BYTES_MAX),
        }
    }

    fn run(mut self, stop: &Stop) {
        // What is written while this one is down is read also when nothing has come before.
        self.keep();
        let mut pause = RESTART_PAUSE;
        loop {
            let why = match self.spawn() {
                Ok(mut running) => {
                    let end = self.read(&mut running, stop);
                    let why = running.end();
                    self.keep();
                    match end {
                        End::Stop => return,
                        End::Ended { had_entries: true } => pause = RESTART_PAUSE,
                        End::Ended { had_entries: false } => {}
                    }
                    why
                }
                Err(error) => error.to_string(),
            };
            let program = self.settings.program.display().to_string();
            if self.tally.reading().failing.is_none() {
                tracing::warn!(
                    program,
                    why,
                    inlet = self.tally.follows(),
                    "the journal cannot be followed; the program is started again from time to time"
                );
            }
            self.tally.fails(Some(&format!("{program}: {why}")));
            if stop.within(pause) {
                return;
            }
            pause = (pause * 2).min(RESTART_PAUSE_MAX);
        }
    }

    fn spawn(&self) -> io::Result<Running> {
        let it = &self.settings;
        let mut command = Command::new(&it.program);
        command.args([
            "--output=json",
            "--all",
            "--follow",
            "--no-tail",
            "--no-pager",
            "--quiet",
        ]);
        match &self.place {
            // This entry comes once more, if it is still there. `--after-cursor` would leave out another one if it is
            // not.
            Place::Cursor(cursor) => command.arg(format!("--cursor={cursor}")),
            Place::Since(time) => {
                let micros = time.as_micros();
                command.arg(format!("--since=@{}.{:06}", micros / 1_000_000, micros % 1_000_000))
            }
            Place::Start => &mut command,
        };
        if it.hand_on == HandOn::Message {
            command.arg("--output-fields=MESSAGE");
        }
        if let Some(directory) = &it.directory {
            command.arg("--directory").arg(directory);
        }
        command.args(it.units.iter().map(|unit| format!("--unit={unit}")));
        command.args(it.identifiers.iter().map(|it| format!("--identifier={it}")));
        let mut child = command
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let complaints = child.stderr.take();
        match child.stdout.take() {
            Some(entries) => Ok(Running {
                child,
                entries,
                complaints,
                complaint: Vec::new(),
            }),
            None => Err(io::Error::other("it has no output")),
        }
    }

    /// Takes what the program writes until it ends, or until this is to stop.
    fn read(&mut self, running: &mut Running, stop: &Stop) -> End {
        let mut cutter = Cutter::new(Framing::Lines, ENTRY_BYTES_MAX);
        let mut buffer = vec![0; READ_BYTES];
        let begun = Instant::now();
        let mut had_entries = false;
        let mut last = match &self.place {
            Place::Cursor(cursor) => Some(cursor.clone()),
            Place::Since(_) | Place::Start => None,
        };
        let resumed = last.clone();
        loop {
            let works = had_entries || begun.elapsed() >= WORKS_AFTER;
            if works {
                self.tally.fails(None);
            }
            // Until then it is not known whether it works; and a place that has changed is kept before long.
            let timeout = if !works || self.kept.place() != Some(&self.place) {
                Some(KEEP_INTERVAL)
            } else {
                None
            };
            let (asked, ready) = running.wait(stop, timeout);
            if asked {
                return End::Stop;
            }
            running.listen();
            if !ready {
                self.keep();
                continue;
            }
            let read = match running.entries.read(&mut buffer) {
                Ok(0) => return End::Ended { had_entries },
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return End::Ended { had_entries },
            };
            cutter.push(&buffer[..read]);
            while let Some(cut) = cutter.next() {
                match cut {
                    Cut::Message(line) => self.open(line, &mut last),
                    Cut::TooLong => self.overlong.add(&self.tally),
                }
                if self.batch.is_full() && !self.hand_on(last.as_ref(), stop) {
                    return End::Stop;
                }
            }
            had_entries |= last != resumed;
            if !self.hand_on(last.as_ref(), stop) {
                return End::Stop;
            }
        }
    }

    /// Adds what is in an entry to what is handed on. `last` is the entry before, and becomes this one.
    fn open(&mut self, line: &[u8], last: &mut Option<String>) {
        let entry = match entry::read(line) {
            Ok(entry) => entry,
            Err(why) => return self.malformed(why),
        };
        if last.as_deref() == Some(&*entry.cursor) {
            return;
        }
        *last = Some(entry.cursor);
        match self.settings.hand_on {
            HandOn::Entry => self.add(line),
            HandOn::Message if entry.is_cut => self.overlong.add(&self.tally),
            HandOn::Message if entry.messages.is_empty() => self.malformed("there is no MESSAGE in it"),
            HandOn::Message => {
                for message in entry.messages {
                    self.add(&message);
                }
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        match self.batch.add(line) {
            // An empty one is none.
            Added::Line | Added::Nothing => {}
            Added::TooLong => self.overlong.add(&self.tally),
        }
    }

    fn malformed(&mut self, why: &str) {
        self.tally.malformed(1);
        if let Some(entries) = self.malformed.add(1) {
            tracing::warn!(
                inlet = self.tally.follows(),
                entries,
                last = why,
                "entries that cannot be read"
            );
        }
    }

    /// Hands on what is waiting; its place is `last`. False when it is to stop before that.
    fn hand_on(&mut self, last: Option<&String>, stop: &Stop) -> bool {
        if !self.batch.hand_on(&mut self.sink, stop) {
            return false;
        }
        if let Some(cursor) = last {
            self.place = Place::Cursor(cursor.clone());
        }
        if self.kept.is_due() {
            self.keep();
        }
        true
    }

    fn keep(&mut self) {
        self.kept.keep(Ok(self.place.clone()));
    }
}

impl Running {
    /// Waits for something to read: whether it is to stop, and whether there are entries.
    fn wait(&self, stop: &Stop, timeout: Option<Duration>) -> (bool, bool) {
        let timeout = timeout.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        let mut wanted = vec![
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.entries.as_fd(), PollFlags::POLLIN),
        ];
        let complaints = self.complaints.iter();
        wanted.extend(complaints.map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)));
        // When it is interrupted, nothing is ready.
        let _ = poll(&mut wanted, timeout);
        let is_ready = |at: usize| wanted[at].any().unwrap_or(false);
        (is_ready(0), is_ready(1))
    }

    /// Reads what the program says of its troubles, if there is something.
    fn listen(&mut self) {
        let Some(complaints) = &mut self.complaints else { return };
        let mut wanted = [PollFd::new(complaints.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            return;
        }
        let mut text = [0; COMPLAINT_BYTES_MAX];
        match complaints.read(&mut text) {
            Ok(read @ 1..) => {
                self.complaint.extend_from_slice(&text[..read]);
                let more = self.complaint.len().saturating_sub(COMPLAINT_BYTES_MAX);
                self.complaint.drain(..more);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.complaints = None,
        }
    }

    /// Ends the program, waits for that, and says why it ended if it did so by itself.
    fn end(mut self) -> String {
        // It says why before it ends.
        self.listen();
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let status = self.child.wait();
        let complaint = String::from_utf8_lossy(&self.complaint);
        let complaint = complaint.trim().lines().last().unwrap_or_default();
        match status {
            _ if !complaint.is_empty() => Printable(complaint).to_string(),
            Ok(status) => format!("it has ended with {status}"),
            Err(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::testing::Taker;
    use super::*;
    use crate::testing::warnings;

    fn follower(directory: &Path, hand_on: HandOn) -> (Follower, Taker) {
        let (taker, sink) = Taker::new();
        let settings = JournalSettings {
            program: "/nowhere/journalctl".into(),
            directory: None,
            units: Vec::new(),
            identifiers: Vec::new(),
            hand_on,
            place: directory.join("place"),
            begin: Begin::Start,
        };
        (Follower::new(settings, taker.tally.clone(), sink), taker)
    }

    fn entry(number: usize, message: &str) -> String {
        format!(r#"{{"__CURSOR":"c{number}","MESSAGE":{message}}}"#)
    }

    #[test]
    fn overlong_entries_are_counted_and_told_together_and_their_place_is_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = format!("\"{}\"", "x".repeat(EVENT_BYTES_MAX + 1));
        for (hand_on, messages) in [(HandOn::Message, [&*long, "null"]), (HandOn::Entry, [&*long, &*long])] {
            let (mut follower, taker) = follower(directory.path(), hand_on);
            let mut last = None;
            let told = warnings(|| {
                for (number, message) in messages.iter().enumerate() {
                    follower.open(entry(number, message).as_bytes(), &mut last);
                }
            });
            assert_eq!(last.as_deref(), Some("c1"));
            assert_eq!(follower.batch.lines, 0, "{hand_on:?}");
            assert_eq!(taker.tally.reading().dropped, 2);
            assert_eq!(told, 1);
        }
    }
}
