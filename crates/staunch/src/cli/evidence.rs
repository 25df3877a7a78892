//! Commands about evidence.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use staunch_model::{EvidenceId, IncidentId, Span};

use super::{DataArgs, ServerArgs, incident};

#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceCommand {
    /// List what was preserved, and what could not be
    List {
        /// Only what belongs to this incident, such as INC-17
        #[arg(value_name = "INCIDENT", value_parser = incident)]
        incident: Option<IncidentId>,
        /// The public key that the log of the folder is held against, as `staunch evidence key` printed it, or a file
        /// that holds it [default: the key of this machine]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        from: VaultArgs,
    },
    /// Show one piece of evidence: its artefacts, how and by whom they were taken, where they are in the log, and what
    /// could not be taken
    Show {
        /// Which, such as EV-4
        #[arg(value_name = "EVIDENCE")]
        id: EvidenceId,
        /// The public key that the log of the folder is held against, as `staunch evidence key` printed it, or a file
        /// that holds it [default: the key of this machine]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        from: VaultArgs,
    },
    /// Write an artefact as it was read, proved against its hash
    Get(EvidenceGetArgs),
    /// Write all evidence of an incident into one archive that a third party verifies
    Export(EvidenceExportArgs),
    /// Prove an archive or a folder of evidence with a public key and nothing else
    Verify(EvidenceVerifyArgs),
    /// Print the public key of the transparency log, to be kept elsewhere
    Key {
        #[command(flatten)]
        data: DataArgs,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the newest signed checkpoint of the log, to be kept elsewhere: `verify --earlier` proves that nothing was
    /// taken back since
    Checkpoint {
        /// The folder of evidence [default: that of the configuration]
        #[arg(long, value_name = "DIR")]
        vault: Option<PathBuf>,
        #[command(flatten)]
        data: DataArgs,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the newest checkpoint to the anchors of the configuration now, where a server does it from time to time
    Anchor {
        /// Only to this one
        #[arg(value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        data: DataArgs,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
#[command(
    after_help = "It finds a changed byte, a removed artefact, file or last entry, a history that was put in another order or signed \
                  anew, and with --earlier one that was put back. What was never logged proves nothing. It ends with 0 when all of it is proved, \
                  with 1 when artefacts in a bucket were not read, and with 6 when something is not as it was."
)]
pub(crate) struct EvidenceVerifyArgs {
    /// An archive of `export` (`-` for stdin), the folder that it was unpacked to, or a folder of evidence or a copy of
    /// it [default: the folder of the configuration]
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// The public key, as `staunch evidence key` printed it, or a file that holds it [default: the key of this machine,
    /// which proves nothing against whoever can write here]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// A file with an earlier checkpoint, as `staunch evidence checkpoint` printed it or an anchor has it; /dev/stdin
    /// for stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) earlier: Option<PathBuf>,
    /// Hold the log of a folder against every checkpoint that was anchored and kept beside it, with its time stamp; the
    /// signature of a time stamp is verified with `openssl ts -verify`
    #[arg(long)]
    pub(crate) anchors: bool,
    /// The directory of the journal, or of a copy of it, to prove its frames too
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// Why, for the handling log of the folder
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "In it are the artefacts, their manifests, the records of what was and was not taken, a proof for \
                  each of them, all entries of the log with its checkpoint, the timeline as JSON and as a page when \
                  a server answers, and VERIFY.md, which says how to verify it with Staunch and without. The list of \
                  its files is signed with the key of the log."
)]
pub(crate) struct EvidenceExportArgs {
    /// Which incident, such as INC-17
    #[arg(value_name = "INCIDENT", value_parser = incident)]
    pub(crate) incident: IncidentId,
    /// The file to write, which must not be there; `-` for stdout [default: INC-17.evidence.tar.zst, for INC-17]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Why, and for whom, for the handling log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Write what was exported as JSON; to stderr when the archive goes to stdout
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Where evidence is looked for.
#[derive(Args, Debug)]
pub(crate) struct VaultArgs {
    /// The folder of evidence, or a copy of it [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Write JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "It ends with 0 when the artefact is proved by the signed log; with 9 when it was written as its \
                  manifest says and is not in the log so far, to which a server that is at work brings it; and with 1 \
                  when nothing proves it: it is not in the log, or the log is not signed with the key."
)]
pub(crate) struct EvidenceGetArgs {
    /// Which, such as EV-4
    #[arg(value_name = "EVIDENCE")]
    pub(crate) id: EvidenceId,
    /// The name of the artefact, or its SHA-256, when there are several
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The file to write, which must not be there; `-` for stdout, which must not be a terminal
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// A file with the secret keys that encrypted evidence is read with, as `age-keygen` writes it, which nobody else
    /// may read
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Why, for the handling log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// The public key that the log of the folder is held against, as `staunch evidence key` printed it, or a file that
    /// holds it [default: the key of this machine]
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// How long to wait at the most for what a running server has sealed, and has not brought into the log
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub(crate) wait: Span,
    /// The folder of evidence, or a copy of it [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    pub(crate) vault: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}
