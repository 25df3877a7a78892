//! The command line of `staunch playbook`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum PlaybookCommand {
    /// Show a playbook written out: what its snippets stand for in their places
    Show(PlaybookShowArgs),
    /// Make a key to sign playbooks with, and print its verifier key for `trusted_keys`
    Keygen {
        /// The file of the key; made for this user alone, and never overwritten
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// The name of the key, which every signature shows: whose it is, without blanks and plus signs
        #[arg(long, value_name = "NAME", default_value = crate::signing::KEY_NAME)]
        name: String,
    },
    /// Sign playbooks that have no mistakes: each in a file beside it, with .sig at the end
    Sign(PlaybookSignArgs),
    /// Prove that playbooks are what a trusted key has signed
    Verify(PlaybookVerifyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct PlaybookShowArgs {
    /// The file of the playbook
    #[arg(value_name = "FILE")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PlaybookSignArgs {
    /// Playbook files, or directories of them
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// The file of the key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PlaybookVerifyArgs {
    /// Playbook files, or directories of them [default: those of the configuration]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// A verifier key that counts; can be given more than once [default: `trusted_keys` of the configuration]
    #[arg(long, value_name = "KEY")]
    pub(crate) trusted_key: Vec<String>,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}
