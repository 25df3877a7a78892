//! Commands that show what happens and what happened.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use staunch_connectors::logs::Format;
use staunch_model::{IncidentId, IncidentOutcome, Span, Timestamp};

use super::{DataArgs, ServerArgs, ShowArgs, incident};

#[derive(Args, Debug)]
#[command(
    after_help = "It goes on until it is interrupted. When the connection is lost it is taken up again where it ended, for \
                        up to a minute: nothing is left out."
)]
pub(crate) struct WatchArgs {
    /// Show what happened after this frame first; 0 shows everything [default: from now on]
    #[arg(long, value_name = "LSN")]
    pub(crate) after: Option<u64>,
    /// Only what this incident and its transactions are about, such as INC-17
    #[arg(long, value_name = "INCIDENT", value_parser = incident)]
    pub(crate) incident: Option<IncidentId>,
    /// End after so many entries
    #[arg(long, value_name = "COUNT")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// List incidents, newest first
    List {
        /// Only those that are open, or closed
        #[arg(long, value_enum)]
        status: Option<IncidentState>,
        /// Only those whose containment came to this
        #[arg(long, value_name = "OUTCOME", value_parser = outcomes())]
        outcome: Option<IncidentOutcome>,
        /// Only those of this playbook
        #[arg(long, value_name = "NAME")]
        playbook: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Show one incident with its transactions, events and timeline
    Show {
        /// Which, such as INC-17
        #[arg(value_name = "INCIDENT", value_parser = incident)]
        id: IncidentId,
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Show what happened, what was decided and done, and what people said, in one order and with the time each took
    Timeline {
        /// Which, such as INC-17
        #[arg(value_name = "INCIDENT", value_parser = incident)]
        id: IncidentId,
        /// The newest entry first
        #[arg(long)]
        reverse: bool,
        /// How to write it
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t = TimelineFormat::Text)]
        format: TimelineFormat,
        /// Answer in JSON, as with `--format json`
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// Write it into this file, which must not be there
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        reading: Box<ReadingArgs>,
        #[command(flatten)]
        further: Box<FurtherArgs>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show what led to what, from the first known cause to the contained effect: events, acts and sealed evidence
    Graph {
        /// Which, such as INC-17
        #[arg(value_name = "INCIDENT", value_parser = incident)]
        id: IncidentId,
        /// How to write it
        #[arg(long, value_enum, value_name = "FORMAT", default_value_t = GraphFormat::Text)]
        format: GraphFormat,
        /// Answer in JSON, as with `--format json`
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// Write it into this file, which must not be there
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Show so many things at the most
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(10..=500))]
        nodes: u16,
        #[command(flatten)]
        reading: Box<ReadingArgs>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Show how long it took to detect, to know, to contain and to release, per week and per playbook
    Trends {
        /// Of the incidents that were opened in so many days
        #[arg(long, value_name = "N", default_value_t = 28, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// A line for each of these
        #[arg(long, value_enum, value_name = "PERIOD", default_value_t = Period::Week)]
        by: Period,
        /// Of so many incidents at the most, the newest ones
        #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        show: ShowArgs,
    },
}

/// How the sealed evidence of an incident is read: for the graph, for the causes in a page, and for `--evidence`.
#[derive(Args, Debug)]
pub(crate) struct ReadingArgs {
    /// The folder of evidence, or a copy of it [default: that of the configuration]
    #[arg(long, value_name = "DIR", help_heading = "Logs and evidence")]
    pub(crate) vault: Option<PathBuf>,
    /// A file with the secret keys that encrypted evidence is read with, as `age-keygen` writes it
    #[arg(long, value_name = "FILE", help_heading = "Logs and evidence")]
    pub(crate) identity: Option<PathBuf>,
    /// Why evidence is read, for the handling log
    #[arg(long, value_name = "TEXT", help_heading = "Logs and evidence")]
    pub(crate) reason: Option<String>,
}

/// What a timeline has beside the journal.
#[derive(Args, Debug)]
pub(crate) struct FurtherArgs {
    /// Add what this log says, such as `cloudtrail=FILE`; without a format it is guessed. Can be given several times
    #[arg(
        long,
        value_name = "[FORMAT=]FILE",
        value_parser = OsStringValueParser::new().map(LogFile::of),
        help_heading = "Logs and evidence"
    )]
    pub(crate) logs: Vec<LogFile>,
    /// Add what the sealed evidence of the incident says
    #[arg(long, help_heading = "Logs and evidence")]
    pub(crate) evidence: bool,
    /// The clock of a source is so far ahead, such as `suricata=+2s`, or behind: `vpc-flow=-1s`
    #[arg(long, value_name = "SOURCE=OFFSET", help_heading = "Logs and evidence")]
    pub(crate) clock: Vec<ClockOffset>,
    /// Add what happened so long before the first entry of the journal
    #[arg(long, value_name = "SPAN", default_value = "1h", help_heading = "Logs and evidence")]
    pub(crate) before: Span,
    /// Add what happened so long after the last entry of the journal
    #[arg(long, value_name = "SPAN", default_value = "1h", help_heading = "Logs and evidence")]
    pub(crate) after: Span,
    /// Add also what is about none of the addresses, accounts, processes and hosts of the incident, or only about the
    /// attacked side
    #[arg(long, help_heading = "Logs and evidence")]
    pub(crate) all: bool,
    /// When several say the same, the words of these come first
    #[arg(
        long,
        value_name = "SOURCE,...",
        value_delimiter = ',',
        help_heading = "Logs and evidence"
    )]
    pub(crate) priority: Vec<String>,
}

/// A log, and its format when it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogFile {
    pub(crate) format: Option<Format>,
    pub(crate) path: PathBuf,
}

impl LogFile {
    fn of(text: OsString) -> Self {
        let named = text.to_str().and_then(|it| it.split_once('='));
        match named.and_then(|(name, path)| Some((name.parse().ok()?, path))) {
            Some((format, path)) => Self {
                format: Some(format),
                path: path.into(),
            },
            // Other names may have the sign in them.
            None => Self {
                format: None,
                path: text.into(),
            },
        }
    }
}

/// How far the clock of a source is ahead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClockOffset {
    pub(crate) source: String,
    /// In microseconds; negative when it is behind.
    pub(crate) ahead_us: i64,
}

impl FromStr for ClockOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || "write a source and an offset, such as suricata=+2s or vpc-flow=-150ms".to_owned();
        let (source, offset) = text.split_once('=').filter(|(it, _)| !it.is_empty()).ok_or_else(bad)?;
        let (sign, span) = match offset.strip_prefix('-') {
            Some(span) => (-1, span),
            None => (1, offset.strip_prefix('+').unwrap_or(offset)),
        };
        let span: Span = span.parse().map_err(|_| bad())?;
        let us = i64::try_from(span.as_micros()).map_err(|_| bad())?;
        Ok(Self {
            source: source.to_owned(),
            ahead_us: sign * us,
        })
    }
}

/// What a line of trends is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Period {
    /// A day, UTC
    Day,
    /// A week from Monday on, UTC
    Week,
}

/// How a timeline is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimelineFormat {
    /// For people, in 80 columns
    Text,
    /// For programs
    Json,
    /// For a browser and for print: one page with a picture, which needs nothing else
    Html,
    /// For spreadsheets; no cell is taken for a formula
    Csv,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// For people, in 80 columns
    Text,
    /// For programs
    Json,
    /// For a browser and for print: a picture, which needs nothing else
    Svg,
    /// For Graphviz
    Dot,
}

/// The outcomes of an incident, by their names.
fn outcomes() -> impl TypedValueParser<Value = IncidentOutcome> {
    let named = |name: String| IncidentOutcome::ALL.into_iter().find(|it| it.name() == name);
    PossibleValuesParser::new(IncidentOutcome::ALL.map(IncidentOutcome::name))
        .try_map(move |name| named(name).ok_or("it is no outcome"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IncidentState {
    Open,
    Closed,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainmentCommand {
    /// List what is in force or on its way: by whom, until when, verified when
    List {
        /// List what a person must decide instead
        #[arg(long)]
        awaiting: bool,
        #[command(flatten)]
        show: ShowArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Prove every frame: chain and checksums
    Verify {
        #[command(flatten)]
        data: DataArgs,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the frames: what happened and what became true, one line each
    Cat {
        /// The first frame
        #[arg(long, value_name = "LSN", default_value_t = 1)]
        from: u64,
        /// How many frames [default: all]
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        #[command(flatten)]
        data: DataArgs,
        /// One line of JSON for each frame
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
#[command(
    after_help = "It reads the journal from its first frame on and changes nothing, also while a server runs. \
                        `--verify` ends with exit code 12 when this build decides differently from the record."
)]
pub(crate) struct ReplayArgs {
    /// Decide every recorded input again, and compare with what was decided then
    #[arg(long, conflicts_with_all = ["incident", "at"])]
    pub(crate) verify: bool,
    /// Only this incident and its transactions, such as INC-17
    #[arg(long, value_name = "INCIDENT", value_parser = incident)]
    pub(crate) incident: Option<IncidentId>,
    /// The whole state at this time instead, such as 2026-11-25T14:00:00Z. A time in whole milliseconds, as replay
    /// shows them, is the end of that millisecond
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Answer in JSON: one line for each frame, or one answer
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Make the index anew from the journal
    Rebuild {
        #[command(flatten)]
        data: DataArgs,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Show how far the index has followed the journal
    Status {
        #[command(flatten)]
        data: DataArgs,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_and_clocks_are_read_as_they_are_written() {
        let log = |text: &str| {
            let it = LogFile::of(text.into());
            (it.format.map(Format::name), it.path.display().to_string())
        };
        assert_eq!(log("cloudtrail=a=b.json"), (Some("cloudtrail"), "a=b.json".to_owned()));
        assert_eq!(log("nothing=b.json"), (None, "nothing=b.json".to_owned()));
        assert_eq!(log("eve.json"), (None, "eve.json".to_owned()));
        let clock = |text: &str| text.parse::<ClockOffset>().map(|it| (it.source, it.ahead_us));
        assert_eq!(clock("suricata=+2s"), Ok(("suricata".to_owned(), 2_000_000)));
        assert_eq!(clock("vpc-flow=-1m30s"), Ok(("vpc-flow".to_owned(), -90_000_000)));
        assert_eq!(clock("x=250ms"), Ok(("x".to_owned(), 250_000)));
        for bad in ["suricata", "=2s", "x=", "x=2", "x=--2s", "x=+", "x=99999999999d"] {
            assert!(clock(bad).is_err(), "{bad}");
        }
    }
}
