//! The command line of what operators decide: approvals, releases, leases, protections, the mode.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use staunch_engine::limits::{EXEMPTION_MAX, TRUST_MAX};
use staunch_model::{IncidentId, Span, TransactionId};

use super::{ChangeArgs, ShowArgs, incident, transaction};

#[derive(Args, Debug)]
#[command(after_help = "To approve one, --reason is needed.")]
pub(crate) struct ApproveArgs {
    /// Which, such as TX-17
    #[arg(value_name = "TRANSACTION", value_parser = transaction)]
    pub(crate) id: Option<TransactionId>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "--reason is needed: whoever asks for it again wants to know.")]
pub(crate) struct DenyArgs {
    /// Which, such as TX-17
    #[arg(value_name = "TRANSACTION", value_parser = transaction)]
    pub(crate) id: TransactionId,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "--reason is needed, except with --direct, and with --all when the Staunch of this machine does not \
                        answer: where no server runs, its next start records who lifted everything, and why. Around \
                        one that runs the reason goes nowhere.\n\n\
                        `release --all` is the big red button. When the Staunch of this machine does not answer, it \
                        removes what Staunch has put in force directly in this machine's kernel, blocks, frozen \
                        processes, locked accounts and what a resolver here denies, and ends with exit code 10. It never \
                        does so when a URL is named, nor around a server that answers: --direct does."
)]
pub(crate) struct ReleaseArgs {
    /// Which, such as TX-17; or else --incident or --all
    #[arg(value_name = "TRANSACTION", conflicts_with_all = ["incident", "all"], value_parser = released)]
    pub(crate) id: Option<TransactionId>,
    /// What this incident holds, the last completed first; what others hold too stays in force
    #[arg(long, value_name = "INCIDENT", conflicts_with = "all", value_parser = incident)]
    pub(crate) incident: Option<IncidentId>,
    /// Everything
    #[arg(long)]
    pub(crate) all: bool,
    /// With --all, ask no server: remove what Staunch has put in force directly in this machine's kernel
    #[arg(long, requires = "all")]
    pub(crate) direct: bool,
    /// With --all, also what a former installation has left in the table; elements without a label of Staunch stay
    #[arg(long, requires = "all")]
    pub(crate) former: bool,
    /// Leave alone what is let go for this long, such as 2h: its events are still judged and recorded, and refused
    #[arg(long, value_name = "TIME", conflicts_with = "all", value_parser = trust)]
    pub(crate) trust: Option<Span>,
    /// Wait until all of it is lifted and that is verified, for this long at the most, 30s unless said; fail otherwise
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "30s", conflicts_with = "direct")]
    pub(crate) wait: Option<Span>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProtectCommand {
    /// Protect a network while the server runs and after; what is in force there stays until it is released
    Add(ProtectAddArgs),
    /// Take such a protection back; those of the configuration are changed there
    Remove(ProtectRemoveArgs),
    /// Show everything that is never touched
    List {
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Show whether an address may be touched, by which protection not, and what holds it
    Explain {
        /// The address
        #[arg(value_name = "ADDRESS", value_parser = address)]
        address: IpAddr,
        #[command(flatten)]
        show: ShowArgs,
    },
}

#[derive(Args, Debug)]
#[command(
    after_help = "--reason is needed: refusals show it. A network that is wider than /16 (IPv6: /32) needs an operator, as the \
                        mode does: what it protects is contained no more."
)]
pub(crate) struct ProtectAddArgs {
    /// An address, or a network such as 192.0.2.0/24
    #[arg(value_name = "NETWORK", value_parser = network)]
    pub(crate) network: IpNet,
    /// For how long, such as 2h or 30d [default: until it is removed]
    #[arg(long = "for", value_name = "TIME", value_parser = exemption)]
    pub(crate) lasts: Option<Span>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "--reason is needed.")]
pub(crate) struct ProtectRemoveArgs {
    /// The network exactly as it was protected, or an address
    #[arg(value_name = "NETWORK", value_parser = network)]
    pub(crate) network: IpNet,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

/// Reads the id of a transaction to release, and says where one of an incident goes.
fn released(text: &str) -> Result<TransactionId, String> {
    match text.parse::<IncidentId>() {
        Ok(incident) => Err(format!("that is an incident: write --incident {incident}")),
        Err(_) => transaction(text),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let why = "write one address; `staunch protect list` shows the networks";
    text.parse().map_err(|_| why.to_owned())
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(Into::into));
    network.map_err(|_| "write an address, or a network such as 192.0.2.0/24".to_owned())
}

fn trust(text: &str) -> Result<Span, String> {
    at_most(some_time(text)?, TRUST_MAX)
}

fn exemption(text: &str) -> Result<Span, String> {
    at_most(some_time(text)?, EXEMPTION_MAX)
}

fn some_time(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span == Span::ZERO {
        return Err("that is no time at all".to_owned());
    }
    Ok(span)
}

fn at_most(span: Span, max: Span) -> Result<Span, String> {
    if span > max {
        return Err(format!("the longest is {max}"));
    }
    Ok(span)
}

#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    /// Which, such as TX-17
    #[arg(value_name = "TRANSACTION", value_parser = transaction)]
    pub(crate) id: TransactionId,
    /// For how long from now, such as 2h or 1h30m
    // The longest is in the policy of the server.
    #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
    pub(crate) lease: Span,
    /// Let it end earlier than it would; otherwise that is refused
    #[arg(long)]
    pub(crate) shorten: bool,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "It takes the steps of the playbook's recover phase one after the other, each when the one before it is \
                        done and verified. Who starts it has approved its acts. A step that fails ends it, pages, and leaves \
                        what is in force; it can be started again. With --wait, the exit code is 1 when it failed.\n\n\
                        To start it and to stop it, --reason is needed."
)]
pub(crate) struct RecoverArgs {
    /// Which, such as INC-17
    #[arg(value_name = "INCIDENT", value_parser = incident)]
    pub(crate) id: IncidentId,
    /// Only show its steps and how far it is
    #[arg(long, conflicts_with_all = ["stop", "wait"])]
    pub(crate) show: bool,
    /// Stop it where it is: what it has lifted stays lifted, and its own acts stay in force
    #[arg(long, conflicts_with = "wait")]
    pub(crate) stop: bool,
    /// Wait until it has ended, for this long at the most, 1h unless said; fail otherwise
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1h")]
    pub(crate) wait: Option<Span>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "It does what SIGHUP does, says how it went, and records who asked. With a mistake nothing changes, and \
                        the exit code is 2. All other sections of the configuration take effect at the next start."
)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "To set it, --reason is needed.")]
pub(crate) struct ModeArgs {
    /// How far any playbook may go; left out, the mode is shown
    #[arg(value_enum)]
    pub(crate) mode: Option<ModeName>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// All checks and the plan, no act
    Observe,
    /// A person approves each act
    Approve,
    /// Acts by itself
    Enforce,
}

impl From<ModeName> for staunch_model::Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Observe => Self::Observe,
            ModeName::Approve => Self::Approve,
            ModeName::Enforce => Self::Enforce,
        }
    }
}
