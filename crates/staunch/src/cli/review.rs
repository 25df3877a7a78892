//! The command that writes the review of an incident, and the one that checks it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use staunch_model::IncidentId;

use super::{ConfigArgs, DataArgs, incident};

#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "It reads the journal, the configured playbooks and the archive of events, and asks no server. The folder \
                  holds events as they came, secrets in them too: it is for its owner alone."
)]
pub(crate) struct ReviewArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ReviewCommand>,
    /// Which, such as INC-17
    #[arg(value_name = "INCIDENT", required = true, value_parser = incident)]
    pub(crate) id: Option<IncidentId>,
    /// The folder to write [default: review-INC-17]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Where events are archived that matched nothing [default: as the configuration says]
    #[arg(long, value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
    /// Write into a folder that is not empty; files of the same names are replaced
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReviewCommand {
    /// Run the tests of a review, and try its Sigma rule and its diffs; exit code 13 tells that something does not hold
    Check(ReviewCheckArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ReviewCheckArgs {
    /// The folder of the review
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Try the Sigma rule on the events archived here too, none of which it may match
    #[arg(long, value_name = "DIR")]
    pub(crate) archive: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}
