//! What a timeline has beside the journal: what logs and the sealed evidence of the incident say.
//!
//! Never takes a log for what happened: each entry says who states it. Of logs only what lies within the time of the
//! incident and is about something of it is kept, unless everything is asked for.

mod interest;
mod join;
mod seen;
#[cfg(test)]
mod tests;
mod unpack;

use std::error::Error as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;
use staunch_connectors::logs::{self, Fact, Format, Tally};
use staunch_model::{Printable, Span, Timestamp};
use staunch_server::dto::IncidentDetail;

use self::interest::{About, Interest};
use self::unpack::{UNPACKED_BYTES_MAX, Unpacked};
use super::measures::Clock;
use super::{Basis, Entry, Lane};
use crate::cli::{ClockOffset, FurtherArgs, LogFile};
use crate::commands::evidence::reading::Reading;
use crate::exit::{Exit, Fault};
use crate::output::warn_wrapped;

/// Entries of logs and evidence together. A page has some hundred bytes for each, and nobody reads more.
const ENTRIES_MAX: usize = 10_000;

/// Of when what is shown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Window {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// Whether also what is about nothing of the incident is shown.
    pub(super) all: bool,
}

/// What became of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct LogRead {
    /// Where it is. Safe to show.
    file: String,
    /// `None` when it is not known.
    format: Option<&'static str>,
    /// Whether that was guessed.
    guessed: bool,
    #[serde(flatten)]
    tally: Tally,
    /// Of the facts: those of another time.
    outside: u64,
    /// Those about nothing of the incident.
    unrelated: u64,
    /// Those that name only the attacked side, and are not beside an event.
    only_attacked: u64,
    /// Those for which there was no room.
    left_out: u64,
    shown: u64,
    /// Why it was not read to its end. Safe to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// Whether it was named, and not found in evidence.
    #[serde(skip)]
    is_of_args: bool,
}

impl LogRead {
    /// All of it in a line.
    pub(super) fn words(&self) -> String {
        let mut line = format!("{}: ", self.file);
        let guessed = if self.guessed { " (guessed)" } else { "" };
        if let Some(format) = self.format.filter(|_| self.tally.items > 0 || self.failed.is_none()) {
            let of = match self.tally.items {
                1 => "of 1 entry".to_owned(),
                items => format!("of {items} entries"),
            };
            line.push_str(&format!("{format}{guessed}, {} {of} shown", self.shown));
        }
        let bounded = format!("left out for want of room, {ENTRIES_MAX} in all");
        for (count, what) in [
            (self.outside, "of another time"),
            (self.unrelated, "about others"),
            (self.only_attacked, "only of the attacked side"),
            (self.left_out, bounded.as_str()),
            (self.tally.untimed, "without a time"),
            (self.tally.passed_over, "that say nothing"),
            (self.tally.unreadable, "unreadable"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        }
        if let Some(first) = &self.tally.first_unreadable {
            line.push_str(&format!(" (the first: no. {first})"));
        }
        if let Some(why) = &self.failed {
            let but = if self.tally.items > 0 { "; " } else { "not read: " };
            line.push_str(&format!("{but}{why}"));
        }
        line
    }
}

/// What is told beside the entries.
#[derive(Debug, Default)]
pub(super) struct Tells {
    pub(super) window: Option<Window>,
    pub(super) logs: Vec<LogRead>,
    /// What of evidence is not shown. Safe to show.
    pub(super) hidden: Vec<String>,
    pub(super) missing: Vec<String>,
}

/// An entry before it has its place.
#[derive(Debug)]
struct Found {
    entry: Entry,
    /// The log or the evidence, by number.
    origin: usize,
    /// Its place in the order of who is believed first.
    rank: Rank,
}

/// The lower one gives the words.
type Rank = (usize, usize);

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Further {
    found: Vec<Found>,
    /// How many origins there are so far.
    origins: usize,
    /// How many logs are still to be read. Each may fill its share of the room, so that none that is flooded crowds out
    /// the others.
    logs_left: usize,
    clocks: Vec<ClockOffset>,
    tells: Tells,
}

/// Reads what `args` ask for.
///
/// # Errors
/// When none of the logs can be read, or an argument names a source that there is not.
pub(super) fn read(
    detail: &IncidentDetail,
    args: &FurtherArgs,
    vault: Result<&Reading, String>,
) -> Result<Further, Fault> {
    check_names(detail, args)?;
    let mut further = Further {
        clocks: args.clock.clone(),
        ..Further::default()
    };
    if args.logs.is_empty() && !args.evidence {
        if args.all || !args.priority.is_empty() {
            let fault = Fault::new(
                Exit::Usage,
                "--all and --priority are about logs and evidence, and none is asked for",
            );
            return Err(fault.hint("add --logs FILE or --evidence"));
        }
        return Ok(further);
    }
    let mut interest = Interest::of(detail, args.before, args.after, args.all);
    further.tells.window = Some(interest.window);
    further.logs_left = args.logs.len();
    if args.evidence {
        match vault {
            Ok(reading) => further.evidence(reading, args, &mut interest),
            Err(why) => further.tells.missing.push(why),
        }
    }
    let names = origins(&args.logs);
    let mut unread = None;
    let mut were_read = false;
    for (log, name) in args.logs.iter().zip(names) {
        match further.log(log, &name, args, &interest) {
            Ok(()) => were_read = true,
            Err(fault) => unread = unread.or(Some(fault)),
        }
    }
    // One that cannot be read says nothing, but is no reason to keep back what the others say.
    match unread {
        Some(fault) if !were_read => {
            // The first one is the error.
            let others = further.tells.logs.iter().filter(|it| it.is_of_args).skip(1);
            others.for_each(|it| warn_wrapped(&it.words()));
            Err(fault)
        }
        _ => Ok(further),
    }
}

impl Further {
    /// Reads a log, and notes what became of it.
    ///
    /// # Errors
    /// When it says nothing: its bytes cannot be had, nobody knows its format, or it is empty.
    fn log(&mut self, log: &LogFile, name: &str, args: &FurtherArgs, interest: &Interest) -> Result<(), Fault> {
        let shown = log.path.display().to_string();
        let shown = Printable(&shown);
        let mut read = LogRead {
            file: shown.to_string(),
            format: log.format.map(Format::name),
            guessed: log.format.is_none(),
            is_of_args: true,
            ..LogRead::default()
        };
        let mut from = match opened(&log.path) {
            Ok(file) => BufReader::new(file),
            Err(error) => {
                // Its share of the room is for the others.
                self.logs_left = self.logs_left.saturating_sub(1);
                read.failed = Some(error.to_string());
                self.tells.logs.push(read);
                return Err(unopened(&shown.to_string(), &error));
            }
        };
        let Err(error) = self.lines(&mut from, log.format, (name, Lane::Log), args, interest, &mut read) else {
            self.tells.logs.push(read);
            return Ok(());
        };
        let fault = |exit| Fault::doing(exit, format!("cannot read the log {shown}"), &error);
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let why = Printable(&why).to_string();
        let (failed, result) = match &error {
            // What it says up to there is worth having.
            logs::ReadError::BrokenOff { format, tally, .. } if tally.items > 0 => {
                read.format = Some(format.name());
                read.tally = tally.clone();
                (format!("read up to entry {}: {why}", tally.items), Ok(()))
            }
            logs::ReadError::Io(_) | logs::ReadError::BrokenOff { .. } => {
                let fault = fault(Exit::Failed).hint("name a file with a log");
                (why, Err(fault))
            }
            logs::ReadError::Unknown => {
                let named = format!("name its format, as in log={shown}; formats: {}", formats());
                (
                    format!("{error}; name it, as in log={shown}"),
                    Err(fault(Exit::Usage).hint(named)),
                )
            }
            logs::ReadError::Empty => {
                let fault = fault(Exit::Usage).hint("name a log that has lines");
                (error.to_string(), Err(fault))
            }
            logs::ReadError::TooLarge => {
                let fault = fault(Exit::Failed).hint("a part of a large document can be cut out with jq");
                (error.to_string(), Err(fault))
            }
        };
        read.failed = Some(failed);
        self.tells.logs.push(read);
        result
    }

    /// Reads one log, wherever its bytes are from.
    fn lines(
        &mut self,
        from: &mut dyn BufRead,
        format: Option<Format>,
        (name, lane): (&str, Lane),
        args: &FurtherArgs,
        interest: &Interest,
        read: &mut LogRead,
    ) -> Result<(), logs::ReadError> {
        self.origins += 1;
        let origin = self.origins;
        let room = self.found.len() + ENTRIES_MAX.saturating_sub(self.found.len()) / self.logs_left.max(1);
        self.logs_left = self.logs_left.saturating_sub(1);
        let around = interest.around;
        let mut unpacked = Unpacked::new(from).map_err(logs::ReadError::Io)?;
        let (format, tally) = logs::read(unpacked.reader(), format, around, &mut |fact| {
            let at = corrected(fact.time, &args.clock, fact.format.name());
            let about = interest.about(&fact.parties);
            let mentioned = interest.mentioned(&fact.parties);
            if !interest.is_within(at) {
                read.outside += 1;
            } else if about == About::Others {
                read.unrelated += 1;
            } else if about == About::AttackedSide && !interest.is_near(at) {
                read.only_attacked += 1;
            } else if self.found.len() >= room {
                read.left_out += 1;
            } else {
                read.shown += 1;
                let rank = rank(args, fact.format.name(), FIRST_OF_LOGS + place(fact.format));
                let mut entry = entry(fact, at, lane, name);
                // One that is there for an address that its words do not have would leave people asking.
                if let Some(ip) = mentioned.filter(|ip| !entry.what.contains(&ip.to_string())) {
                    entry.what.push_str(&format!(" (names {ip})"));
                }
                self.found.push(Found { entry, origin, rank });
            }
        })?;
        read.format = Some(format.name());
        read.tally = tally;
        if read.tally.ends_early {
            read.failed = Some(format!("read up to entry {}: {}", read.tally.items, logs::ENDS_EARLY));
        }
        if unpacked.is_cut() {
            let most = UNPACKED_BYTES_MAX >> 20;
            read.failed = Some(format!(
                "it is more than {most} MiB unpacked, and the rest was not read"
            ));
        }
        Ok(())
    }

    /// The entries in the order of their times, and what is told beside. What is the same as an event of `journal` goes
    /// there.
    pub(super) fn into_entries(self, journal: &mut [Entry], clocks: &mut Vec<Clock>) -> (Vec<Entry>, Tells) {
        for it in &self.found {
            if let Some(system) = it.entry.system.as_deref().filter(|_| it.entry.lane == Lane::Log) {
                clock_of(clocks, system).log_entries += 1;
            }
        }
        for it in &self.clocks {
            clock_of(clocks, &it.source).stated_offset_us = Some(it.ahead_us);
        }
        (join::join(journal, self.found, &self.clocks), self.tells)
    }
}

/// Opens a log. A directory can be opened too, and has no bytes.
fn opened(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    Ok(file)
}

/// That the log `shown` cannot be opened.
fn unopened(shown: &str, error: &io::Error) -> Fault {
    let (exit, hint) = match error.kind() {
        io::ErrorKind::NotFound => (
            Exit::NotFound,
            format!(
                "name a file, or a format and a file, such as cloudtrail=FILE; formats: {}",
                formats()
            ),
        ),
        io::ErrorKind::PermissionDenied => (
            Exit::Denied,
            "run it as a user who may read it, or hand it over in a pipe: --logs <(sudo cat FILE)".to_owned(),
        ),
        io::ErrorKind::IsADirectory => (
            Exit::Usage,
            format!("name the files in it, each with --logs: --logs {shown}/FILE"),
        ),
        _ => (Exit::Failed, "name a file with a log".to_owned()),
    };
    Fault::doing(exit, format!("cannot read the log {shown}"), error).hint(hint)
}

/// How evidence and logs follow each other in rank, behind what is named.
const OF_EVIDENCE: usize = 0;
const FIRST_OF_LOGS: usize = 1;

fn clock_of<'c>(clocks: &'c mut Vec<Clock>, system: &str) -> &'c mut Clock {
    let at = clocks.iter().position(|it| it.system == system).unwrap_or_else(|| {
        clocks.push(Clock::of_logs(system));
        clocks.len() - 1
    });
    &mut clocks[at]
}

fn place(format: Format) -> usize {
    Format::ALL
        .iter()
        .position(|it| *it == format)
        .unwrap_or(Format::ALL.len())
}

fn rank(args: &FurtherArgs, system: &str, otherwise: usize) -> Rank {
    let named = args.priority.iter().position(|it| it == system);
    (named.unwrap_or(args.priority.len()), otherwise)
}

/// `time` by a clock that is set right.
fn corrected(time: Timestamp, clocks: &[ClockOffset], system: &str) -> Timestamp {
    let ahead_us = clocks
        .iter()
        .rfind(|it| it.source == system)
        .map_or(0, |it| it.ahead_us);
    let span = Span::from_micros(ahead_us.unsigned_abs());
    if ahead_us < 0 { time + span } else { time - span }
}

fn entry(fact: Fact, at: Timestamp, lane: Lane, origin: &str) -> Entry {
    // Who supplied a part of the time has concluded when it was.
    let basis = if fact.missing.is_empty() {
        Basis::Stated
    } else {
        Basis::Inferred
    };
    Entry {
        system: Some(fact.format.name().to_owned()),
        origin: Some(origin.to_owned()),
        kind: Some(fact.kind),
        source_time: Some(fact.time),
        inferred: fact.missing.iter().map(|it| it.name()).collect(),
        same: fact.same,
        ..Entry::new(at, (lane, basis, Printable(&fact.what).to_string()))
    }
}

/// What logs are called: by their own names, or by all of their paths where two have the same.
fn origins(logs: &[LogFile]) -> Vec<String> {
    let own = |path: &PathBuf| path.file_name().map(|it| it.to_string_lossy().into_owned());
    let names: Vec<Option<String>> = logs.iter().map(|it| own(&it.path)).collect();
    logs.iter()
        .zip(&names)
        .map(|(log, name)| {
            let is_one = names.iter().filter(|it| *it == name).count() == 1;
            let path = log.path.to_string_lossy();
            let text = name.as_deref().filter(|_| is_one).unwrap_or(&path);
            Printable(text).to_string()
        })
        .collect()
}

fn formats() -> String {
    Format::ALL.map(Format::name).join(", ")
}

/// Sources that are named have to be there: one that is misspelt would change nothing.
fn check_names(detail: &IncidentDetail, args: &FurtherArgs) -> Result<(), Fault> {
    let clocks = args.clock.iter().map(|it| it.source.as_str());
    for name in clocks.chain(args.priority.iter().map(String::as_str)) {
        let is_source = name.parse::<Format>().is_ok() || detail.events.iter().any(|it| it.system == name);
        if !is_source {
            let fault = Fault::new(Exit::Usage, format!("there is no source {}", Printable(name)));
            return Err(fault.hint(format!("name one of {}", formats())));
        }
    }
    Ok(())
}
