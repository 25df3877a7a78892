//! Commands about evidence.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use staunch_model::{EvidenceId, IncidentId};

use super::DataArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// List what was preserved, and what could not be
    List {
        /// Only what belongs to this incident, such as INC-17
        #[arg(value_name = "INCIDENT")]
        incident: Option<IncidentId>,
        #[command(flatten)]
        from: VaultArgs,
    },
    /// Show one piece of evidence: its artefacts, how and by whom they were taken, and what could not be
    Show {
        /// Which, such as EV-4
        #[arg(value_name = "EVIDENCE")]
        id: EvidenceId,
        #[command(flatten)]
        from: VaultArgs,
    },
    /// Write an artefact as it was read, proved against its hash
    Get(EvidenceGetArgs),
}

/// Where evidence is looked for.
#[derive(Args, Debug)]
pub(crate) struct VaultArgs {
    /// The directory of the vault, or of a copy of it [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EvidenceGetArgs {
    /// Which, such as EV-4
    #[arg(value_name = "EVIDENCE")]
    pub(crate) id: EvidenceId,
    /// The name of the artefact, when there are several
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The file to write, which must not be there; `-` for stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The directory of the vault, or of a copy of it [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}
