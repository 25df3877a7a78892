//! The command line of `staunch drill`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use staunch_model::DrillId;

use super::{ChangeArgs, ConfigArgs, DataArgs, ServerArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum DrillCommand {
    /// List the drills: what each asks, what goes wrong, and what is expected
    List {
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Run one drill, score it, and write a signed report
    Run(DrillRunArgs),
    /// End at once what a live drill has left going wrong, and show what is contained in its scope
    Stop(DrillStopArgs),
    /// Prove that a report is what was signed
    Verify {
        /// The report; its signature is beside it, in the file with .sig at the end
        #[arg(value_name = "REPORT")]
        report: PathBuf,
        /// The verifier key of who must have signed it [default: the one that the report names, which proves only that
        /// nothing was changed since]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the verifier key of this machine's reports, and make the key where there is none
    Key {
        #[command(flatten)]
        key: DrillKeyArgs,
    },
    /// Walk a team through a response, step by step, and write the minutes: nothing is done
    Tabletop(TabletopArgs),
}

/// Which key signs.
#[derive(Args, Debug)]
pub(crate) struct DrillKeyArgs {
    /// The file of the key; made, for this user alone, where it is not there [default: drill.key in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "A drill plays on a stage of its own: three hosts in network namespaces, a real `staunch serve` with a \
                  real journal, real packets. With --live it plays on a running Staunch whose configuration declares \
                  addresses for it under [drill] scope; only these misbehave, for minutes, and what was contained is \
                  released at the end. Exit code 14 tells that an expectation did not hold."
)]
pub(crate) struct DrillRunArgs {
    /// Which; `staunch drill list` has their names
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Play on a running Staunch, within the scope that it declares
    #[arg(long)]
    pub(crate) live: bool,
    /// With --live, the event that makes the running Staunch act, as its source sends it; time and attacking address
    /// are put in [default: an alert of Suricata about a web attack]
    #[arg(long, value_name = "FILE", requires = "live")]
    pub(crate) event: Option<PathBuf>,
    /// With --live, the address of the scope to play with [default: its first free one]
    #[arg(long, value_name = "IP", requires = "live")]
    pub(crate) address: Option<IpAddr>,
    /// With --live, why; it is recorded behind the name of the drill
    #[arg(long, value_name = "TEXT", requires = "live", value_parser = super::reason)]
    pub(crate) reason: Option<String>,
    /// Leave the fault out, to see that the expectations can fail
    #[arg(long)]
    pub(crate) control: bool,
    /// The directory for the report, which has to be there [default: the current one; with --live, drills in the data
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// The file of the key that signs it; made, for this user alone, where it is not there [default: drill.key in the
    /// data directory where there is one, otherwise beside the report]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Do not ask before a live drill
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "A drill ends its fault by itself. One that was killed leaves it behind until its time is over, which is two \
                  minutes after it began, and what it has contained until its lease ends. Who orders a fault over the API \
                  may give it ten. A drill that still runs goes on without its \
                  fault, and cleans up. With DRILL, what another drill has going wrong goes on, and is named."
)]
pub(crate) struct DrillStopArgs {
    /// Which, such as DRILL-17; `staunch status` names it [default: whichever is under way]
    #[arg(value_name = "DRILL")]
    pub(crate) drill: Option<DrillId>,
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "The plan is that of this machine's configuration, with nothing in force and no incident open. Answers \
                  are read from stdin, line by line, so they can be piped. Nothing is done and no server is asked."
)]
pub(crate) struct TabletopArgs {
    /// The playbook: a file, or the name of a configured one [default: whichever matches the event]
    #[arg(value_name = "PLAYBOOK")]
    pub(crate) playbook: Option<String>,
    /// The file of one event as its source sends it [default: an alert of Suricata about a web attack]
    #[arg(long, value_name = "FILE")]
    pub(crate) event: Option<PathBuf>,
    /// The system that the event comes from
    #[arg(long, value_name = "NAME", default_value = "suricata")]
    pub(crate) source: String,
    /// The file for the minutes, in Markdown; it must not be there yet [default: tabletop-TIME.md]
    #[arg(long, value_name = "FILE")]
    pub(crate) minutes: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}
