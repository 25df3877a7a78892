//! The command line, as data. What commands do is in `commands`.

mod author;
mod drill;
mod evidence;
mod look;
mod not_taken;
mod operate;
mod playbook;
mod review;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use staunch_model::{IncidentId, TransactionId};
use staunch_server::dto::{REASON_BYTES_MAX, is_blank};

use crate::client::URL_VARIABLE;
use crate::exit::{Exit, Fault};
use crate::output;

pub(crate) use author::{
    ApprovalRule, BacktestArgs, CheckArgs, ConfigCommand, FailOn, PlanArgs, SchemaArgs, SchemaName, SourceCommand,
    SourceTestArgs, TestArgs,
};
pub(crate) use drill::{DrillCommand, DrillKeyArgs, DrillRunArgs, DrillStopArgs, TabletopArgs};
pub(crate) use evidence::{EvidenceCommand, EvidenceExportArgs, EvidenceGetArgs, EvidenceVerifyArgs, VaultArgs};
pub(crate) use look::{
    ClockOffset, ContainmentCommand, FurtherArgs, GraphFormat, IncidentCommand, IncidentState, IndexCommand,
    JournalCommand, LogFile, Period, ReadingArgs, ReplayArgs, TimelineFormat, WatchArgs,
};
pub(crate) use not_taken::{asks_for_json, not_taken};
pub(crate) use operate::{
    ApproveArgs, DenyArgs, ModeArgs, ModeName, ProtectAddArgs, ProtectCommand, ProtectRemoveArgs, RecoverArgs,
    ReleaseArgs, ReloadArgs, RenewArgs,
};
pub(crate) use playbook::{PlaybookCommand, PlaybookShowArgs, PlaybookSignArgs, PlaybookVerifyArgs};
pub(crate) use review::{ReviewArgs, ReviewCheckArgs, ReviewCommand};

/// Stops the bleeding, not the business: contains incidents with safety transactions that can always be undone.
#[derive(Debug, Parser)]
#[command(
    name = "staunch",
    version,
    max_term_width = 80,
    propagate_version = false,
    after_long_help = crate::exit::help()
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Reads the command line; and whether the answer, and an error too, is to be JSON.
///
/// # Errors
/// What it does not take, or the help that was asked for.
pub(crate) fn read(arguments: impl Iterator<Item = OsString>) -> Result<(Cli, bool), clap::Error> {
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Cli::command();
    let mut matches = command
        .try_get_matches_from_mut(&arguments)
        .map_err(|error| not_taken::made_clear(error, &arguments))?;
    let mut last = &matches;
    while let Some((_, of_subcommand)) = last.subcommand() {
        last = of_subcommand;
    }
    let by_flag = matches!(last.try_get_one::<bool>(JSON), Ok(Some(true)));
    let format = last.try_get_raw("format").ok().flatten();
    let json = by_flag || format.and_then(Iterator::last).is_some_and(|it| it == JSON);
    let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, json))
}

/// How the flag is called in all commands that have it.
const JSON: &str = "json";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See all of it in 20 seconds, on a stage of network namespaces: no root needed, only what is its own is touched
    Demo,
    /// Write a configuration with comments, the playbooks to change, and a unit for systemd; nothing is overwritten
    Init(InitArgs),
    /// Run the engine: take events over HTTP, decide, contain
    Serve(ServeArgs),
    /// The same, and take events from stdin until it ends: `tail -F eve.json | staunch run`
    Run(RunArgs),
    /// Find every mistake in playbooks, without running them
    Check(CheckArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the JSON Schema of playbooks, of their tests or of snippets, for editors:
    /// `staunch schema playbook > playbook.schema.json`
    Schema(SchemaArgs),
    /// Sign playbooks, and prove what was signed
    #[command(subcommand)]
    Playbook(PlaybookCommand),
    /// Show what would be done about an event, and why, without doing it
    Plan(PlanArgs),
    /// Try what a source understands
    #[command(subcommand)]
    Source(SourceCommand),
    /// Run the tests beside playbooks, on simulated time, and say what they do not reach
    Test(TestArgs),
    /// Run playbooks over events of the past, with nothing executed, and compare
    Backtest(BacktestArgs),
    /// Hold a drill: make something go wrong on purpose, measure and judge; or walk a team through a response
    #[command(subcommand)]
    Drill(DrillCommand),
    /// Look at incidents
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Look at what was preserved before containment, and prove it
    #[command(subcommand)]
    Evidence(EvidenceCommand),
    /// Look at what is contained
    #[command(subcommand)]
    Containment(ContainmentCommand),
    /// Let a waiting transaction act; without one, list what waits
    Approve(ApproveArgs),
    /// Refuse a waiting transaction
    Deny(DenyArgs),
    /// Lift containment: one transaction, one incident, or everything
    Release(ReleaseArgs),
    /// Let a containment run longer
    Renew(RenewArgs),
    /// Get back to normal after an incident, as its playbook has it
    Recover(RecoverArgs),
    /// Say what is never touched, and why
    #[command(subcommand)]
    Protect(ProtectCommand),
    /// Show or set how far Staunch goes by itself
    Mode(ModeArgs),
    /// Have the running server read playbooks, protections, the table of risks and the context of its configuration
    /// again
    Reload(ReloadArgs),
    /// Show how Staunch stands
    Status(ShowArgs),
    /// Show what happens, as it happens: decisions, acts, notices, what people ask for
    Watch(WatchArgs),
    /// Look for what is missing or wrong on this machine and with its server, and say how to mend it
    Doctor(DoctorArgs),
    /// Make and revoke the tokens of senders and operators
    #[command(subcommand)]
    Token(TokenCommand),
    /// Prove and read the journal
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Show the state as it was, frame by frame; or prove that this build decides the same
    Replay(ReplayArgs),
    /// Write the review of an incident as a folder: a report, a test of its playbook, a Sigma rule, open questions
    Review(ReviewArgs),
    /// Look after the query index
    #[command(subcommand)]
    Index(IndexCommand),
    /// Print the completions of a shell: `staunch completions bash > /etc/bash_completion.d/staunch`
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write the manual pages of all commands into a directory
    Man {
        /// The directory, such as /usr/local/share/man/man1; it must be there
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show the version
    Version(VersionArgs),
}

/// The name of a file, or nothing at all, which is told by the name of its variable where the file is read: clap knows
/// only that of the option.
fn file_or_nothing() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Where the configuration is.
#[derive(Args, Debug, Clone)]
pub(crate) struct ConfigArgs {
    /// The configuration file [default: /etc/staunch/staunch.toml if it is there]
    #[arg(long, env = "STAUNCH_CONFIG", value_name = "FILE", value_parser = file_or_nothing())]
    pub(crate) config: Option<PathBuf>,
}

/// Where the data directory is.
#[derive(Args, Debug, Clone)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The data directory, whatever the configuration says
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// How a running Staunch is reached.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServerArgs {
    /// The address of a running Staunch [default: the one on this machine: its operators' socket in the data directory,
    /// or else the address that the configuration says]
    #[arg(long, env = URL_VARIABLE, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// A file that holds the token; otherwise it is taken from STAUNCH_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A file of certificates in PEM: the authorities that may have issued the certificate of an https:// address
    /// [default: those that this machine trusts]
    #[arg(long, env = "STAUNCH_CA", value_name = "FILE", value_parser = file_or_nothing())]
    pub(crate) ca: Option<PathBuf>,
    /// A file with a certificate in PEM, to show to a server that wants one
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// The file of its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Which Staunch of this machine, when no URL is named
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// For commands that only show something.
#[derive(Args, Debug, Clone)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// For commands that change something.
#[derive(Args, Debug, Clone)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) show: ShowArgs,
    /// Do not ask before changing anything
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Why; it is recorded
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: Option<String>,
}

impl ChangeArgs {
    /// Why, of what is not done without: what changes what is in force, or how far Staunch goes, is recorded with who,
    /// from where and why. Somebody at a terminal who has not said it is asked.
    ///
    /// # Errors
    /// [`Exit::Usage`] when it is not said why.
    pub(crate) fn must_say_why(&self) -> Result<String, Fault> {
        let said = match &self.reason {
            None => output::ask("why? (it is recorded)"),
            Some(reason) => Some(reason.clone()),
        };
        let what = match said.map(|said| reason(&said)) {
            Some(Ok(said)) if !is_blank(&said) => return Ok(said),
            Some(Err(what)) => what,
            _ => "it is not said why, and this is recorded with its reason".to_owned(),
        };
        Err(Fault::new(Exit::Usage, what).hint("add --reason \"...\", for those who look at it later"))
    }

    /// Why, of what is recorded with or without a reason.
    ///
    /// # Errors
    /// [`Exit::Usage`] when one is given that says nothing.
    pub(crate) fn may_say_why(&self) -> Result<Option<String>, Fault> {
        if self.reason.as_deref().is_some_and(is_blank) {
            let fault = Fault::new(Exit::Usage, "the reason is blank");
            return Err(fault.hint("say why in --reason \"...\", or leave it out"));
        }
        Ok(self.reason.clone())
    }
}

/// Reads the id of an incident, and says so of anything else that has one.
fn incident(text: &str) -> Result<IncidentId, String> {
    text.parse().map_err(|why| match text {
        _ if text.parse::<TransactionId>().is_ok() => {
            "that is a transaction: `staunch containment list` shows which incident it is of".to_owned()
        }
        _ if text.parse::<IpAddr>().is_ok() => {
            "that is an address: `staunch incident list` shows what became of it".to_owned()
        }
        _ => why,
    })
}

/// Reads the id of a transaction, and says so of anything else that has one.
fn transaction(text: &str) -> Result<TransactionId, String> {
    text.parse().map_err(|why| match text {
        _ if text.parse::<IncidentId>().is_ok() => {
            "that is an incident: `staunch incident show` shows its transactions".to_owned()
        }
        _ if text.parse::<IpAddr>().is_ok() => {
            "that is an address: `staunch containment list` shows which transaction holds it".to_owned()
        }
        _ => why,
    })
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_BYTES_MAX {
        return Err(format!(
            "it has {} bytes; at most {REASON_BYTES_MAX} are kept",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// What carries out `block-ip`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    /// The firewall of this machine; needs CAP_NET_ADMIN
    Nftables,
    /// Only pretends, for trying Staunch out: blocks nothing
    Memory,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The directory for staunch.toml and the playbooks
    #[arg(value_name = "DIR", default_value = "/etc/staunch")]
    pub(crate) dir: PathBuf,
    /// The data directory that the configuration names
    #[arg(long, value_name = "DIR", default_value = "/var/lib/staunch")]
    pub(crate) data_dir: PathBuf,
    /// Write a unit too, such as /etc/systemd/system/staunch.service: a user of its own, with the one privilege to
    /// change the firewall
    #[arg(long, value_name = "FILE")]
    pub(crate) unit: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is changed. Exit code 1 tells that there is a problem; warnings and what could not be \
                        found out leave it at 0."
)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The address and port to listen on, whatever the configuration says; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Accept requests from this machine without a token
    #[arg(long)]
    pub(crate) allow_unauthenticated_loopback: bool,
    /// What carries out `block-ip`
    #[arg(long, value_enum, default_value_t = Driver::Nftables)]
    pub(crate) driver: Driver,
    /// Let the driver misbehave as this file says (for the demo)
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) rehearse: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Events come one a line. When the input has ended, everything taken is durable, what came of it \
                        is waited for, and a summary is printed. What is in force stays in force until its lease ends."
)]
pub(crate) struct RunArgs {
    /// The system that the events come from
    #[arg(long, value_name = "NAME", default_value = "suricata")]
    pub(crate) source: String,
    /// Go on serving when the input has ended
    #[arg(long)]
    pub(crate) stay: bool,
    /// Print the summary in JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once
    Create {
        /// Whose it is; shown in the record of what was done with it
        name: String,
        /// What it allows
        #[arg(long, value_enum)]
        role: TokenRole,
        #[command(flatten)]
        data: DataArgs,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens, without their secrets
    List {
        #[command(flatten)]
        data: DataArgs,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a token worthless
    Revoke {
        /// Which
        name: String,
        #[command(flatten)]
        data: DataArgs,
        /// Do not ask before changing anything
        #[arg(long, short = 'y')]
        yes: bool,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// Sends events, and nothing else
    Sender,
    /// Sees everything and changes nothing: for people who watch, and for Prometheus
    Viewer,
    /// Sees everything and decides on what is contained: release, renew, recover, approve, deny, protect
    Responder,
    /// Does everything; `admin` is another word for it
    #[value(alias = "admin")]
    Operator,
}

#[derive(Args, Debug)]
pub(crate) struct VersionArgs {
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
pub(crate) mod tests;
