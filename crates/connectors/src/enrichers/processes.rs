//! Finds the process that an event names by its number, tells it from all others, and says whether it is protected.
//!
//! Never guesses: a number alone says nothing, because it goes to another process when its own has ended. It counts
//! only when the event is of this machine, when its process was there before the event happened, and when both count
//! from the machine's first PID namespace. Believes nothing that a process says of itself, not its name and not its
//! arguments.
//!
//! # What it must be allowed to do
//! Which program a process runs is told (`/proc/PID/exe`) only to who may trace it: to root or with CAP_SYS_PTRACE for
//! processes of other users, and to nobody inside of a Landlock sandbox. Where that is missing, the reason is the
//! answer.
//!
//! # When a process started
//! Its start is counted in ticks since the machine booted, and an event says the time of day. The tick is taken from
//! `CLOCK_REALTIME` and `CLOCK_BOOTTIME` as both are now, not from `btime` in `/proc/stat`, which is in whole seconds.
//! When somebody set the clock between the event and the look, the comparison is off by as much.

mod programs;

use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};
use staunch_model::{Found, Printable, Process, Span, Target, TargetFacts, Timestamp};
use staunch_ports::{Seen, Targets};

use super::this_host::ThisHost;
use crate::proc::{Proc, Stat, Table};
pub use programs::ProcessOptionsError;
use programs::{Exe, Programs};

/// The link of a process in the machine's first PID namespace (`PROC_PID_INIT_INO` in the kernel's
/// `include/linux/proc_ns.h`).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether this process is in the machine's first PID namespace, whose numbers sensors report. At `proc` is procfs.
///
/// # Errors
/// When the kernel does not tell.
pub fn is_in_first_pid_namespace(proc: &Path) -> io::Result<bool> {
    Ok(fs::read_link(proc.join("self/ns/pid"))?.as_os_str() == FIRST_PID_NAMESPACE)
}

/// How far ahead of the clock an event may be: sensors round. It was this machine's clock that it was stamped by.
const AHEAD_MAX: Span = Span::from_secs(1);

/// Descendants of a process that are looked at: more take too long, and no driver freezes them.
const DESCENDANTS_MAX: usize = 4_096;

/// The longest path of a program that is kept, in bytes.
const PROGRAM_BYTES_MAX: usize = 256;

/// How the finder works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessOptions {
    /// Where the processes are. Default: `/proc`.
    pub proc: PathBuf,
    /// Which names of hosts are this machine.
    pub host: ThisHost,
    /// The programs that are protected, by the whole path of their file; a `*` at the end stands for the rest of its
    /// name. Default: [`ProcessOptions::protected_by_default`].
    pub protected: Vec<String>,
    /// The same of programs that are protected whoever runs them: those that an operator names. Default: none.
    pub protected_always: Vec<String>,
    /// The users, beside root, that protected programs run as; a `*` at the end stands for the rest of the name. The
    /// same program run by anybody else is not protected, because anybody can run one and have it do as told. Default:
    /// those that services of systemd, D-Bus, Falco and Suricata have to themselves.
    pub protected_users: Vec<String>,
    /// Where the numbers of users are. Default: `/etc/passwd`.
    pub passwd: PathBuf,
    /// How much later than its event a process may seem to have started. Default: 20 ms, two of the ticks that starts
    /// are counted in.
    pub tolerance: Span,
    /// Whether to go on in a PID namespace that is not the machine's first, whose numbers are not those of events from
    /// outside of it. For tests. Default: false.
    pub any_pid_namespace: bool,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
            host: ThisHost::default(),
            protected: Self::protected_by_default(),
            protected_always: Vec::new(),
            protected_users: programs::USERS.map(str::to_owned).into(),
            passwd: PathBuf::from("/etc/passwd"),
            tolerance: Span::from_millis(20),
            any_pid_namespace: false,
        }
    }
}

impl ProcessOptions {
    /// What people and the machine need to get back in: logins, systemd and its services, D-Bus, container engines,
    /// udev, auditing and sensors.
    #[must_use]
    pub fn protected_by_default() -> Vec<String> {
        programs::by_default()
    }
}

/// The finder.
#[derive(Debug)]
pub struct ProcessFinder {
    options: ProcessOptions,
    proc: Proc,
    programs: Programs,
}

impl ProcessFinder {
    /// Makes a finder. It reads which numbers the protected users have.
    ///
    /// # Errors
    /// [`ProcessOptionsError`].
    pub fn new(options: ProcessOptions) -> Result<Self, ProcessOptionsError> {
        let proc = Proc::new(&options.proc);
        let programs = Programs::new(&options)?;
        Ok(Self {
            options,
            proc,
            programs,
        })
    }

    fn look(&self, pid: u32, event_time: Option<Timestamp>, host: Option<&str>) -> Result<Found, String> {
        self.options.host.check("a process", host)?;
        self.is_in_first_namespace()?;
        let Some(event_time) = event_time else {
            return Err(
                "the event does not say when it happened, so that its process cannot be told from one that got the \
                        number later"
                    .to_owned(),
            );
        };
        let stat = self.stat(pid)?.filter(|it| !it.has_ended()).ok_or_else(|| gone(pid))?;
        self.started_before(&stat, event_time)?;
        self.about(&stat)
    }

    fn look_at(&self, process: Process) -> Result<Found, String> {
        self.is_in_first_namespace()?;
        let boot = self.proc.boot().map_err(|error| unreadable("the boot id", &error))?;
        let stat = self.stat(process.pid)?.filter(|it| !it.has_ended());
        let stat = stat.filter(|it| it.started == process.started && boot == process.boot);
        self.about(&stat.ok_or_else(|| gone(process.pid))?)
    }

    /// What there is to say of the process that `stat` was read of.
    fn about(&self, stat: &Stat) -> Result<Found, String> {
        let pid = stat.pid;
        let boot = self.proc.boot().map_err(|error| unreadable("the boot id", &error))?;
        let table = self
            .proc
            .everybody()
            .map_err(|error| unreadable("the processes", &error))?;
        let uids = self.uids(pid)?.ok_or_else(|| gone(pid))?;
        let (program, protected) = match needed(&table, stat) {
            // Which program that is need not be known.
            Some(why) => (self.program(stat).ok().and_then(Runs::exe), Some(why.to_owned())),
            None => {
                let exe = self.program(stat)?.exe().ok_or_else(|| gone(pid))?;
                let protected = match self.protection(&exe, uids)? {
                    Some(why) => Some(why),
                    None => self.protection_below(&table, pid)?,
                };
                (Some(exe), protected)
            }
        };
        // All of it was of one process only if that one is still there.
        if self.stat(pid)?.is_none_or(|it| it.started != stat.started) {
            return Err(gone(pid));
        }
        Ok(Found {
            target: Target::Process(Process {
                pid,
                started: stat.started,
                boot: if stat.started == 0 { 0 } else { boot },
            }),
            facts: Ok(TargetFacts {
                what: what(program.as_ref(), uids).into(),
                protected: protected.map(Into::into),
            }),
        })
    }

    fn is_in_first_namespace(&self) -> Result<(), String> {
        if self.options.any_pid_namespace {
            return Ok(());
        }
        let is_first = is_in_first_pid_namespace(&self.proc.path(""));
        if is_first.map_err(|error| unreadable("which PID namespace Staunch is in", &error))? {
            return Ok(());
        }
        Err(
            "Staunch is in a PID namespace of its own, such as that of a container, where numbers are not those that \
             sensors report"
                .to_owned(),
        )
    }

    /// Whether a process was there when the event happened.
    fn started_before(&self, stat: &Stat, event_time: Timestamp) -> Result<(), String> {
        let (now, since_boot) = clocks().map_err(|error| unreadable("the clock", &error))?;
        if now + AHEAD_MAX < event_time {
            let ahead = event_time.since(now);
            return Err(format!(
                "the event is {ahead} ahead of this machine's clock, so that its process cannot be told from one that got \
                 the number later"
            ));
        }
        let ticks = ticks_per_second().map_err(|error| unreadable("the length of a tick", &error))?;
        let started = u128::from(stat.started) * 1_000_000 / u128::from(ticks);
        let started = u64::try_from(started).unwrap_or(u64::MAX);
        let running = since_boot.as_micros().saturating_sub(started);
        let began = Timestamp::from_micros(now.as_micros().saturating_sub(running));
        let late = began.since(event_time);
        if late <= self.options.tolerance {
            return Ok(());
        }
        Err(format!(
            "process {} started {late} after the event: the number has gone to another process since",
            stat.pid
        ))
    }

    /// Why a process is protected for what it runs.
    fn protection(&self, exe: &Exe, uids: Uids) -> Result<Option<String>, String> {
        let protects = self.programs.protects(exe, [uids.real, uids.effective]);
        let protects = protects.map_err(|error| unreadable("whether its program is protected", &error))?;
        Ok(protects.then(|| format!("its program {} is protected", Printable(&exe.text()))))
    }

    /// Why a process is protected for what descends from it, and would stop with it.
    fn protection_below(&self, table: &Table, pid: u32) -> Result<Option<String>, String> {
        for (at, below) in table.descendants(&[pid]).into_iter().enumerate() {
            if at >= DESCENDANTS_MAX {
                return Err(format!("more than {DESCENDANTS_MAX} processes descend from it"));
            }
            let number = below.pid;
            // Read anew, because it may have ended since.
            let Some(stat) = self.stat(number)?.filter(|it| !it.has_ended()) else {
                continue;
            };
            let why = match needed(table, &stat) {
                Some(why) => Some(why.to_owned()),
                None => {
                    let of = |why| format!("of process {number}, which descends from it: {why}");
                    // It is about to end when it runs nothing.
                    let (Some(exe), Some(uids)) = (self.program(&stat).map_err(of)?.exe(), self.uids(number)?) else {
                        continue;
                    };
                    self.protection(&exe, uids).map_err(of)?
                }
            };
            if let Some(why) = why {
                return Ok(Some(format!("a descendant, process {number}, is protected: {why}")));
            }
        }
        Ok(None)
    }

    fn stat(&self, pid: u32) -> Result<Option<Stat>, String> {
        let stat = self.proc.stat(pid);
        stat.map_err(|error| unreadable(&format!("process {pid}"), &error))
    }

    /// What a process runs.
    fn program(&self, stat: &Stat) -> Result<Runs, String> {
        if stat.is_kernel_thread() {
            return Ok(Runs::Kernel);
        }
        match Exe::of(&self.proc, stat.pid) {
            Ok(Some(exe)) => Ok(Runs::Program(exe)),
            Ok(None) => Ok(Runs::Nothing),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(format!(
                "cannot read which program process {} runs: {error}; it takes root or CAP_SYS_PTRACE, outside of a sandbox",
                stat.pid
            )),
            Err(error) => Err(unreadable(&format!("which program process {} runs", stat.pid), &error)),
        }
    }

    /// The users that a process runs as; `None` when it has ended.
    fn uids(&self, pid: u32) -> Result<Option<Uids>, String> {
        let what = || format!("which user process {pid} runs as");
        match self.proc.read(&self.proc.of(pid, "status")) {
            Ok(text) => Uids::parse(&text)
                .map(Some)
                .ok_or_else(|| format!("cannot read {}", what())),
            Err(error) if crate::proc::is_gone(&error) => Ok(None),
            Err(error) => Err(unreadable(&what(), &error)),
        }
    }
}

impl Targets for ProcessFinder {
    fn find(&self, named: &Target, seen: Seen<'_>) -> Found {
        let unknown = |target: Target, why: String| Found {
            target,
            facts: Err(why.into()),
        };
        match named.process() {
            Some(Process { pid, .. }) => self
                .look(pid, seen.time, seen.host)
                .unwrap_or_else(|why| unknown(Target::Process(Process::unidentified(pid)), why)),
            None => unknown(named.clone(), "it is no process".to_owned()),
        }
    }

    fn look_again(&self, target: &Target) -> Found {
        let found = match target.process() {
            Some(process) => self.look_at(process),
            None => Err("it is no process".to_owned()),
        };
        found.unwrap_or_else(|why| Found {
            target: target.clone(),
            facts: Err(why.into()),
        })
    }
}

/// What a process runs and as whom, in words.
fn what(program: Option<&Exe>, uids: Uids) -> String {
    let user = uids.effective;
    match program.map(Exe::text) {
        Some(path) => format!("{} of user {user}", staunch_model::text::clip(&path, PROGRAM_BYTES_MAX)),
        None => format!("of user {user}"),
    }
}

/// What a process runs.
enum Runs {
    /// It is a part of the kernel.
    Kernel,
    /// A program.
    Program(Exe),
    /// It has ended, or is about to.
    Nothing,
}

impl Runs {
    fn exe(self) -> Option<Exe> {
        match self {
            Self::Program(exe) => Some(exe),
            Self::Kernel | Self::Nothing => None,
        }
    }
}

/// The users that a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Uids {
    real: u32,
    effective: u32,
}

impl Uids {
    /// Reads `/proc/PID/status`. The kernel escapes line ends in the name, which stands in the first line.
    fn parse(status: &[u8]) -> Option<Self> {
        let mut lines = status.split(|byte| *byte == b'\n');
        let line = lines.find_map(|line| line.strip_prefix(b"Uid:"))?;
        let mut numbers = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        Some(Self {
            real: next()?,
            effective: next()?,
        })
    }
}

/// Why the machine or Staunch does not go on without a process, whatever it runs.
fn needed(table: &Table, stat: &Stat) -> Option<&'static str> {
    let own = std::process::id();
    if stat.pid == 1 {
        Some("it is process 1, without which the machine does not go on")
    } else if stat.is_kernel_thread() {
        Some("it is a part of the kernel")
    } else if stat.pid == own {
        Some("it is Staunch itself")
    } else if table.ancestors(own).contains(&stat.pid) {
        Some("Staunch descends from it")
    } else {
        None
    }
}

fn gone(pid: u32) -> String {
    format!("there is no process {pid} (any more), or none that this user may see")
}

fn unreadable(what: &str, error: &io::Error) -> String {
    format!("cannot read {what}: {error}")
}

/// The time of day, and the time since the machine booted, suspended or not.
fn clocks() -> io::Result<(Timestamp, Span)> {
    let micros = |clock| {
        let time = clock_gettime(clock)?;
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        let micros = u64::try_from(time.tv_nsec()).unwrap_or_default() / 1_000;
        Ok::<_, io::Error>(seconds.saturating_mul(1_000_000).saturating_add(micros))
    };
    let since_boot = micros(ClockId::CLOCK_BOOTTIME)?;
    let now = micros(ClockId::CLOCK_REALTIME)?;
    Ok((Timestamp::from_micros(now), Span::from_micros(since_boot)))
}

fn ticks_per_second() -> io::Result<u64> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.and_then(|it| u64::try_from(it).ok());
    ticks
        .filter(|it| *it != 0)
        .ok_or_else(|| io::Error::other("the system does not say"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pass_for_a_user() {
        let status = b"Name:\tx\\nUid:\\t0\\t0\\nUid:\t0\t0\nUmask:\t0022\nUid:\t1000\t33\t0\t0\nGid:\t5\t6\t7\t8\n";
        let uids = Uids {
            real: 1_000,
            effective: 33,
        };
        assert_eq!(Uids::parse(status), Some(uids));
        assert_eq!(Uids::parse(b"Name:\ta\nUid:\tx\n"), None);
        assert_eq!(Uids::parse(b""), None);
    }
}
