//! What runs in the process that is started for a job: a supervisor, and below it the job in its sandbox.
//!
//! # Expected flow
//! The supervisor reads one [`Launch`] from its standard input, starts itself once more as what becomes the job, waits
//! for that or for the time to be over, ends every process that descends from it, and writes one [`Report`]. What
//! becomes the job gives up whatever the job is not to have, and executes the program in its place.
//!
//! # Guarantees
//! No process of the job outlives its report: the supervisor is the subreaper of all of them (prctl(2)), and ends them
//! until there is none. So it does when whoever started it goes away. A control group bounds what all of them together
//! take, where one can be made. Where a hash is pinned, the program is read once into a sealed file in memory, and what
//! was hashed is what is executed. A sandbox that cannot be entered whole is a job that is not started. What a job has
//! in its environment is in no command line, which all users of a machine can read.
//!
//! # Caveats
//! Who kills the supervisor kills the job too, and leaves what the job has started, which the next run of any job ends
//! where there are control groups. A job that runs as the user of the server may signal the supervisor where Landlock
//! does not scope signals (before Linux 6.12). Without a control group memory is bounded for each process, and the
//! limit of processes counts all of a user's, so that it is set for jobs with a user of their own only.

mod group;
mod inner;
mod tree;

use std::fs::File;
use std::io::{self, BufRead as _, Read, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use super::Confinement;
pub use group::Held;
use group::{Entry, Groups};

/// The argument with which what becomes the job is started.
const INNER: &str = "inner";

/// One run of a job, as the supervisor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// The SHA-256 that it must have.
    pub sha256: Option<Box<str>>,
    /// Its arguments, with everything put in.
    pub arguments: Vec<String>,
    /// What it finds on its standard input.
    pub input: String,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// The most bytes of its standard output, and of its standard error.
    pub output_bytes_max: u64,
    /// What it is confined to.
    pub confinement: Confinement,
}

/// How a run has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It took too long, and was killed.
    TimedOut,
    /// It wrote too much, and was killed.
    TooMuchOutput,
    /// It needed more memory than it may have, and the kernel killed it or a part of it.
    OutOfMemory,
    /// Whoever asked went away, and it was killed.
    Abandoned,
    /// It ran, and how it has ended could not be told.
    Unknown,
    /// The program was never executed, and why.
    NotStarted(Box<str>),
}

/// What the supervisor says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it has ended.
    pub ended: Ended,
    /// Its standard output; bytes that are no text are replaced.
    pub output: String,
    /// Its standard error; the same.
    pub errors: String,
    /// Which of its limits control groups held.
    #[serde(default)]
    pub held: Held,
}

impl Report {
    /// One of a run that has written nothing.
    #[must_use]
    pub fn bare(ended: Ended) -> Self {
        Self {
            ended,
            output: String::new(),
            errors: String::new(),
            held: Held::default(),
        }
    }
}

/// The supervisor, or with the argument `inner` what becomes the job.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments {
        [it, handed, told] if it == INNER => inner::become_job(handed, told),
        _ => {
            let report = supervise().unwrap_or_else(|error| {
                Report::bare(Ended::NotStarted(format!("cannot supervise it: {error}").into()))
            });
            let text = serde_json::to_string(&report).unwrap_or_default();
            // Who is to read it may have gone.
            match io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether the program has the hash that is pinned, where one is.
///
/// # Errors
/// Why it would not be started.
pub fn check_pinned(launch: &Launch) -> Result<(), String> {
    inner::check_pinned(launch)
}

/// Ends what supervisors have left that were killed, in the control groups of their jobs. A server does so when it
/// starts.
pub fn end_left() {
    group::end_left();
}

enum Event {
    Ended,
    TooMuch,
    Abandoned,
}

fn supervise() -> io::Result<Report> {
    // A service manager that stops the unit of the server tells all processes of it to end. This one ends when whoever
    // asked has gone, and the job before it. What it starts has no signal blocked: the library of Rust sees to that.
    let told_to_end: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    told_to_end.thread_block()?;
    tree::close_inherited()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let mut launch: Launch = serde_json::from_str(&line)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    let input = std::mem::take(&mut launch.input);
    let (mut told, tell) = io::pipe()?;
    let groups = Groups::make(&launch.confinement);
    let report = run(&launch, input, (&mut told, tell), &groups);
    // What it could not remove holds no process of this run, and the next one tries again.
    let _ = groups.remove();
    report
}

/// Runs what `groups` are made for, and waits until all of it has ended.
fn run(
    launch: &Launch,
    input: String,
    (told, tell): (&mut io::PipeReader, io::PipeWriter),
    groups: &Groups,
) -> io::Result<Report> {
    let mut job = start(launch, &tell, &groups.entry())?;
    drop(tell);
    let (events, happened) = channel();
    let output = job.stdout.take().map(|it| reader(it, launch.output_bytes_max, &events));
    let errors = job.stderr.take().map(|it| reader(it, launch.output_bytes_max, &events));
    if let Some(mut stdin) = job.stdin.take() {
        // It need not read any of it.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    let abandoned = events.clone();
    thread::spawn(move || {
        // Nothing more is said: it ends when whoever asked has gone.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        drop(abandoned.send(Event::Abandoned));
    });
    let group = job.id();
    let waiter = thread::spawn(move || {
        let status = job.wait();
        drop(events.send(Event::Ended));
        status
    });
    let happened = happened.recv_timeout(Duration::from_millis(launch.timeout_ms));
    if !matches!(happened, Ok(Event::Ended)) {
        tree::kill_group(group);
    }
    let ended = waiter
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("who waits for it has ended")))
        .and_then(|status| tree::end_all().map(|()| status));
    let Ok(status) = ended else {
        return Ok(Report::bare(Ended::Unknown));
    };
    // All who could write to these have ended.
    let read = |thread: Option<thread::JoinHandle<(Vec<u8>, bool)>>| thread.and_then(|it| it.join().ok());
    let (output, too_much) = read(output).unwrap_or_default();
    let (errors, too_many) = read(errors).unwrap_or_default();
    let mut why = String::new();
    if told.read_to_string(&mut why).is_err() {
        return Ok(Report::bare(Ended::Unknown));
    }
    let ended = match happened {
        _ if !why.is_empty() => Ended::NotStarted(why.into()),
        Err(RecvTimeoutError::Timeout) => Ended::TimedOut,
        Ok(Event::Abandoned) => Ended::Abandoned,
        _ if too_much || too_many => Ended::TooMuchOutput,
        _ if !status.success() && groups.ran_out_of_memory() => Ended::OutOfMemory,
        _ => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Signalled(signal.unwrap_or_default()),
        },
    };
    Ok(Report {
        ended,
        output: String::from_utf8_lossy(&output).into_owned(),
        errors: String::from_utf8_lossy(&errors).into_owned(),
        held: groups.held(),
    })
}

/// Starts what becomes the job, which says through `tell` why it does not.
fn start(launch: &Launch, tell: &io::PipeWriter, entry: &Entry) -> io::Result<Child> {
    use std::os::fd::AsRawFd as _;
    let handed = hand(launch, entry)?;
    // Nothing else is started by this process, and what becomes the job closes both before the job has them.
    rustix::io::fcntl_setfd(&handed, rustix::io::FdFlags::empty())?;
    rustix::io::fcntl_setfd(tell, rustix::io::FdFlags::empty())?;
    Command::new("/proc/self/exe")
        // As this was started, whatever stands before what is for it.
        .args(std::env::args_os().skip(1))
        .args([INNER, &handed.as_raw_fd().to_string(), &tell.as_raw_fd().to_string()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// What becomes the job is handed this, in memory: of any size, and nobody else can read it.
fn hand(launch: &Launch, entry: &Entry) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    let memory = match memfd_create("launch", flags | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 none of them could be kept from being executed.
        Err(rustix::io::Errno::INVAL) => memfd_create("launch", flags)?,
        made => made?,
    };
    let mut file = File::from(memory);
    file.write_all(&serde_json::to_vec(&(launch, entry))?)?;
    Ok(file)
}

/// Reads at most `most` bytes, and says so when there are more.
fn reader(from: impl Read + Send + 'static, most: u64, events: &Sender<Event>) -> thread::JoinHandle<(Vec<u8>, bool)> {
    let events = events.clone();
    thread::spawn(move || {
        let mut read = Vec::new();
        // What was read until something failed is what there is.
        let _ = from.take(most.saturating_add(1)).read_to_end(&mut read);
        let too_much = read.len() as u64 > most;
        if too_much {
            read.truncate(usize::try_from(most).unwrap_or(usize::MAX));
            drop(events.send(Event::TooMuch));
        }
        (read, too_much)
    })
}
