//! Takes what the journal of systemd holds of the last while, the newest first.
//!
//! Never writes to it, and starts no shell: `journalctl` is run with options that are fixed but for the time and the
//! units.
//!
//! # Expected flow
//! Runs `journalctl --output=json --all --reverse` and hands on its lines; ends it at the deadline
//!
//! # Guarantees
//! What is kept are whole entries, one a line, bytes that are no text as numbers; what is cut off is the
//! oldest, and that is recorded
//!
//! # Assumptions
//! `journalctl` is the one of this machine: it is found by an absolute path
//!
//! # Caveats
//! Entries are as whoever wrote them wants them, but for the fields that begin with `_`
//!
//! # Errors
//! `Invalid` when there is no `journalctl` or no journal, `Unavailable` when it cannot be read, `TimedOut`

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Sha256Hash, Span};
use staunch_ports::clock::SystemClock;
use staunch_ports::{About, Clock as _, CollectRequest, Collected, Collector, Collects, Sink};

use super::document::of_sink;
use super::limits::Deadline;

const KIND: EvidenceKind = EvidenceKind::Journal;
const TAKES_MAX: Span = Span::from_mins(2);

/// How far back it reaches when nobody says.
const WINDOW: Span = Span::from_mins(60);

/// Bytes of one entry. The journal takes up to 768 MiB; what is longer ends the reading.
const ENTRY_BYTES_MAX: usize = 16 << 20;

/// Bytes of what the program says of its troubles.
const COMPLAINT_BYTES_MAX: usize = 1 << 10;

/// Bytes of the program: `journalctl` has some 100 KiB.
const PROGRAM_BYTES_MAX: u64 = 64 << 20;

const NAME: &str = "journal.jsonl";

/// Where journald keeps the journal of a machine: for good, and until it is shut down
/// (<https://www.freedesktop.org/software/systemd/man/latest/systemd-journald.service.html>).
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// See the module.
#[derive(Clone, Debug)]
pub struct JournalCollector {
    program: PathBuf,
    directory: Option<PathBuf>,
    /// Where the journal of this machine is, when it has one.
    places: Vec<PathBuf>,
}

/// The program that is running; it is ended with this.
struct Running {
    child: Child,
    entries: ChildStdout,
    complaints: ChildStderr,
    complaint: Vec<u8>,
    has_complaints: bool,
}

/// What has become of the reading.
enum End {
    /// Everything was read: so many bytes.
    Whole(u64),
    /// What is older was left out, and why.
    Cut(Failure),
}

impl JournalCollector {
    /// Makes one that runs `program`, which reads the journal in `directory`, or that of this machine.
    #[must_use]
    pub fn new(program: PathBuf, directory: Option<PathBuf>) -> Self {
        Self {
            program,
            directory,
            places: JOURNALS.map(PathBuf::from).into(),
        }
    }

    /// The same, of a machine whose journal is in one of `places`.
    #[must_use]
    pub fn of_machine(mut self, places: Vec<PathBuf>) -> Self {
        self.places = places;
        self
    }

    /// `journalctl` says nothing, and does not fail, on a machine where nobody keeps a journal: that is no journal
    /// without entries.
    fn there_is_one(&self) -> Result<(), Failure> {
        // Each machine has a directory of its own in it.
        let has_any = |place: &PathBuf| fs::read_dir(place).is_ok_and(|mut it| it.next().is_some());
        if self.directory.is_some() || self.places.iter().any(has_any) {
            return Ok(());
        }
        let places: Vec<String> = self.places.iter().map(|it| it.display().to_string()).collect();
        let what = format!(
            "this machine keeps no journal: there is none in {}",
            places.join(" or ")
        );
        // There is none a moment later either.
        Err(Failure::new(FailureKind::Invalid, &what))
    }

    /// The options, without the program.
    fn arguments(&self, request: &CollectRequest) -> Vec<String> {
        let window = request.options.window.unwrap_or(WINDOW);
        let since = SystemClock.now().as_micros().saturating_sub(window.as_micros());
        let mut arguments: Vec<String> = ["--output=json", "--all", "--no-pager", "--quiet", "--reverse"]
            .map(str::to_owned)
            .into();
        arguments.push(format!("--since=@{}.{:06}", since / 1_000_000, since % 1_000_000));
        if let Some(directory) = &self.directory {
            arguments.push(format!("--directory={}", directory.display()));
        }
        // A name cannot pass for an option: it stands behind the sign.
        arguments.extend(request.options.units.iter().map(|unit| format!("--unit={unit}")));
        arguments
    }

    fn spawn(&self, arguments: &[String]) -> Result<Running, Failure> {
        let unavailable = |error: &io::Error| {
            let what = format!("cannot run {}: {error}", self.program.display());
            Failure::new(FailureKind::Unavailable, &what)
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| unavailable(&error))?;
        match (child.stdout.take(), child.stderr.take()) {
            (Some(entries), Some(complaints)) => Ok(Running {
                child,
                entries,
                complaints,
                complaint: Vec::new(),
                has_complaints: true,
            }),
            _ => Err(unavailable(&io::Error::other("it has no output"))),
        }
    }
}

impl Collector for JournalCollector {
    /// The program by its hash: running it to be told its version would be one more thing that can hang.
    fn tools(&self) -> Vec<Box<str>> {
        let read = || {
            let mut bytes = Vec::new();
            File::open(&self.program)?
                .take(PROGRAM_BYTES_MAX)
                .read_to_end(&mut bytes)?;
            io::Result::Ok(Sha256Hash::of(&bytes))
        };
        let hash = read().map_or_else(|error| error.to_string(), |hash| format!("SHA-256 {hash}"));
        vec![format!("{}: {hash}", self.program.display()).into()]
    }

    fn describe(&self) -> Collects {
        Collects {
            name: "linux/journal",
            kind: KIND,
            needs: &["journalctl, and to read the journal: root or the group systemd-journal"],
            changes: &["the times at which the files of the journal were last read"],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        runnable(&self.program)?;
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        if directory.is_dir() {
            return Ok(());
        }
        let what = format!("there is no journal in {}", directory.display());
        Err(Failure::new(FailureKind::Invalid, &what))
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        deadline.check("the journal")?;
        let arguments = self.arguments(request);
        let locator = self
            .directory
            .as_ref()
            .map_or("the journal of systemd".into(), |it| it.display().to_string());
        let about = About {
            name: NAME.into(),
            media_type: "application/x-ndjson",
            locator: locator.into(),
            method: format!("{} {}", self.program.display(), arguments.join(" ")).into(),
            modified: None,
        };
        let mut running = self.spawn(&arguments)?;
        let bytes_max = request.options.bytes_max.unwrap_or(u64::MAX);
        let taken = sink
            .begin(about.clone())
            .map_err(|error| of_sink(NAME, &error))
            .and_then(|()| running.read(sink, deadline, bytes_max))
            .and_then(|end| {
                if let End::Whole(bytes) = end {
                    // Without a journal it may fail, or say nothing.
                    running
                        .end(deadline)
                        .or_else(|failure| self.there_is_one().and(Err(failure)))?;
                    if bytes == 0 {
                        self.there_is_one()?;
                    }
                }
                sink.end().map_err(|error| of_sink(NAME, &error))?;
                Ok(end)
            });
        match taken {
            Ok(End::Whole(_)) => {}
            Ok(End::Cut(why)) => {
                let rest = About {
                    name: "journal-older.jsonl".into(),
                    ..about
                };
                sink.missed(rest, why);
            }
            Err(failure) => {
                sink.missed(about, failure.clone());
                return Err(failure);
            }
        }
        Ok(Collected::default())
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

impl Running {
    /// Hands on whole lines until there are no more, or no more time or room.
    fn read(&mut self, sink: &mut dyn Sink, deadline: Deadline, bytes_max: u64) -> Result<End, Failure> {
        let mut line = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        let mut written = 0;
        let cut = |kind, what: &str| Ok(End::Cut(Failure::new(kind, what)));
        loop {
            if deadline.is_over() {
                return cut(FailureKind::TimedOut, "older entries were not read in time");
            }
            if !self.wait(deadline.left()) {
                continue;
            }
            let read = match self.entries.read(&mut buffer) {
                // It ends each line; a rest without an end is torn.
                Ok(0) => return Ok(End::Whole(written)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Failure::new(
                        FailureKind::Unavailable,
                        &format!("cannot read the journal: {error}"),
                    ));
                }
            };
            line.extend(&buffer[..read]);
            let Some(end) = line.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1) else {
                if line.len() > ENTRY_BYTES_MAX {
                    return cut(
                        FailureKind::Full,
                        "an entry is longer than 16 MiB; it and older ones are left out",
                    );
                }
                continue;
            };
            let room = usize::try_from(bytes_max - written).unwrap_or(usize::MAX);
            let fits = if end <= room {
                end
            } else {
                line[..room]
                    .iter()
                    .rposition(|byte| *byte == b'\n')
                    .map_or(0, |at| at + 1)
            };
            sink.write_all(&line[..fits]).map_err(|error| of_sink(NAME, &error))?;
            written += fits as u64;
            if fits < end {
                return cut(FailureKind::Full, "older entries are beyond the bound of an artefact");
            }
            line.drain(..end);
        }
    }

    /// Waits for entries and reads complaints, which nobody else does.
    fn wait(&mut self, time: Duration) -> bool {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut wanted = vec![PollFd::new(self.entries.as_fd(), PollFlags::POLLIN)];
        if self.has_complaints {
            wanted.push(PollFd::new(self.complaints.as_fd(), PollFlags::POLLIN));
        }
        // When it is interrupted, nothing is ready.
        let _ = poll(&mut wanted, timeout);
        let is_ready = |at: usize| wanted.get(at).is_some_and(|it| it.any().unwrap_or(false));
        let (entries, complaints) = (is_ready(0), is_ready(1));
        if complaints {
            self.listen();
        }
        entries
    }

    fn wait_for_complaints(&mut self, time: Duration) {
        if self.has_complaints {
            let mut wanted = [PollFd::new(self.complaints.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
            if poll(&mut wanted, timeout).is_ok_and(|ready| ready > 0) {
                self.listen();
            }
        }
    }

    fn listen(&mut self) {
        let mut text = [0; COMPLAINT_BYTES_MAX];
        match self.complaints.read(&mut text) {
            Ok(read @ 1..) => {
                self.complaint.extend_from_slice(&text[..read]);
                let more = self.complaint.len().saturating_sub(COMPLAINT_BYTES_MAX);
                self.complaint.drain(..more);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.has_complaints = false,
        }
    }

    /// Waits for the program, whose output has ended, and fails when it did.
    fn end(&mut self, deadline: Deadline) -> Result<(), Failure> {
        const LOOK_EVERY: Duration = Duration::from_millis(1);
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if deadline.is_over() => {
                    let what = "journalctl did not end in time";
                    return Err(Failure::new(FailureKind::TimedOut, what));
                }
                // A pipe that is at its end is always ready.
                Ok(None) if self.has_complaints => self.wait_for_complaints(LOOK_EVERY),
                Ok(None) => std::thread::park_timeout(LOOK_EVERY),
                ended => break ended.map(Option::unwrap_or_default),
            }
        };
        self.wait_for_complaints(Duration::ZERO);
        if status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&self.complaint);
        let why = match (complaint.trim().lines().last(), status) {
            (Some(line), _) => line.to_owned(),
            (None, Ok(status)) => format!("it has ended with {status}"),
            (None, Err(error)) => error.to_string(),
        };
        Err(Failure::new(
            FailureKind::Unavailable,
            &format!("the journal cannot be read: {why}"),
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn runnable(program: &Path) -> Result<(), Failure> {
    let failed = |kind, why: &str| Failure::new(kind, &format!("cannot run {}: {why}", program.display()));
    if !program.is_absolute() {
        return Err(failed(FailureKind::Invalid, "it is no absolute path"));
    }
    rustix::fs::access(program, rustix::fs::Access::EXEC_OK).map_err(|error| {
        let kind = match io::Error::from(error).kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FailureKind::Invalid,
            io::ErrorKind::PermissionDenied => FailureKind::Denied,
            _ => FailureKind::Unavailable,
        };
        failed(kind, &error.to_string())
    })
}
