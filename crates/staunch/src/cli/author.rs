//! Commands for those who write playbooks and configuration: check, try, compare.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ConfigArgs, ModeName, ShowArgs};

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Playbook files, or directories of them [default: the configured ones and those built in]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Show what a code such as P024 means, with an example and how to mend it, and check nothing
    #[arg(long, value_name = "CODE", conflicts_with_all = ["paths", "json"])]
    pub(crate) explain: Option<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the keys that the file sets, each with its line; secrets are in files of their own and are not shown
    #[command(
        after_help = "What is shown is a configuration itself. A running server has read the file when it was started, \
                            and `[playbooks]`, `[never_touch]`, `[risk]` and `[context]` at its last reload; `staunch mode` may have set another \
                            mode than `mode`, and shows it."
    )]
    Show {
        /// Show what holds: the defaults too
        #[arg(long)]
        effective: bool,
        #[command(flatten)]
        config: ConfigArgs,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaName {
    /// A playbook
    Playbook,
    /// A file of tests, such as ssh.test.yaml
    Test,
    /// The snippets beside playbooks, in snippets.yaml
    Snippets,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The schema is of draft 7, which the YAML language server of most editors reads. It names the sources of \
                        the configuration. What needs more than a schema, such as conditions, is for `staunch check`."
)]
pub(crate) struct SchemaArgs {
    /// Of what
    #[arg(value_name = "OF", value_enum)]
    pub(crate) of: SchemaName,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The decoders, the triggers and the engine are the real ones; the enforcement point is simulated, and \
                        time passes as fast as the machine computes. Exit code 13 tells that a test failed."
)]
pub(crate) struct TestArgs {
    /// Files of tests such as ssh.test.yaml, playbooks with such a file beside them, or directories [default: those of
    /// the configured playbooks and of those built in]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The file of one event as its source sends it; - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) event: PathBuf,
    /// The system that the event comes from
    #[arg(long, value_name = "NAME", default_value = "suricata")]
    pub(crate) source: String,
    /// Do without a running Staunch: nothing is in force, and only this machine is looked at
    #[arg(long)]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Show what is understood of events, and why each playbook does or does not match them; nothing is sent anywhere
    Test(SourceTestArgs),
}

#[derive(Args, Debug)]
pub(crate) struct SourceTestArgs {
    /// The file of events as their source sends them: one, an array, or one a line; - reads stdin
    #[arg(value_name = "FILE")]
    pub(crate) events: PathBuf,
    /// The system that the events come from
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) source: String,
    /// The most events that are shown
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) max: usize,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(
    group = clap::ArgGroup::new("past").required(true),
    after_help = "The engine, the decoders and the guards are the real ones; the enforcement point is simulated, and \
                        the time is that of the events. Exit code 12 tells that something named by --fail-on happened."
)]
pub(crate) struct BacktestArgs {
    /// Files of events as their source sends them, or directories of such files: JSON, an array or one a line, plain
    /// or compressed with gzip or zstd; - reads stdin
    #[arg(long, value_name = "FILE", num_args = 1.., group = "past")]
    pub(crate) events: Vec<PathBuf>,
    /// The data directory whose journal is the past, compared with what was matched then
    #[arg(long, value_name = "DIR", group = "past")]
    pub(crate) journal: Option<PathBuf>,
    /// The system that the events come from [default: what the name of an archive file says, else suricata]
    #[arg(long, value_name = "NAME", conflicts_with = "journal")]
    pub(crate) source: Option<String>,
    /// The playbooks to try: those in this directory, and no others [default: the configured ones]
    #[arg(long, value_name = "DIR")]
    pub(crate) playbooks: Option<PathBuf>,
    /// The playbooks to compare with: those in this directory, and no others [default: the configured ones, or what a
    /// journal has recorded]
    #[arg(long, value_name = "DIR")]
    pub(crate) against: Option<PathBuf>,
    /// How far any playbook may go, whatever the configuration says
    #[arg(long, value_enum, default_value_t = ModeName::Enforce)]
    pub(crate) mode: ModeName,
    /// What becomes of questions to a person that a journal has no answer to
    #[arg(long, value_enum, default_value_t = ApprovalRule::Grant)]
    pub(crate) approvals: ApprovalRule,
    /// End with exit code 12 when one of these has happened
    #[arg(long, value_enum, value_name = "CONDITION", value_delimiter = ',')]
    pub(crate) fail_on: Vec<FailOn>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Write the report into this file too, as one page for a browser
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What becomes of questions to a person in a backtest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApprovalRule {
    /// Somebody says yes at once
    Grant,
    /// Nobody answers
    Lapse,
}

/// What makes a backtest end with an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// The new playbooks contain an address that the old ones do not
    NewlyContained,
    /// The old playbooks contain an address that the new ones do not
    NewlySpared,
    /// A guard refused something that the new playbooks wanted
    GuardTrip,
    /// The circuit breaker opened
    Breaker,
    /// A new playbook matched nothing
    NeverMatched,
    /// Something could not be read: an event, the rest of a torn file, or what a link in a directory leads to
    Malformed,
}

impl FailOn {
    /// The name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NewlyContained => "newly-contained",
            Self::NewlySpared => "newly-spared",
            Self::GuardTrip => "guard-trip",
            Self::Breaker => "breaker",
            Self::NeverMatched => "never-matched",
            Self::Malformed => "malformed",
        }
    }
}
