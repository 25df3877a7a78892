//! The commands, one module each.

mod backtest;
mod check;
mod config_show;
mod containment;
mod decide;
mod doctor;
mod drill;
mod drill_live;
mod drill_stop;
mod evidence;
mod incident;
mod index;
mod init;
mod journal;
mod manual;
mod mode;
mod plan;
mod playbook;
mod protect;
mod recover;
mod release;
mod reload;
mod renew;
mod replay;
mod review;
mod run;
mod schema;
mod serve;
mod source;
mod status;
mod tabletop;
mod test;
mod token;
mod trigger;
mod version;
mod watch;

use std::path::{Path, PathBuf};

pub(crate) use journal::open_fault;
pub(crate) use reload::told as told_mistake;
pub(crate) use replay::{Step as FrameStep, each as each_frame};

use crate::cli::{Command, DataArgs};
use crate::config::{self, Config};
use crate::exit::{Exit, Fault};

/// Runs `command`.
///
/// # Errors
/// Why it did not do what it was asked to.
pub(crate) fn run(command: Command) -> Result<Exit, Fault> {
    match command {
        Command::Demo => crate::demo::run()
            .map(|()| Exit::Ok)
            .map_err(|error| Fault::doing(Exit::Failed, "the demo failed", error.as_ref())),
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Config(command) => config_show::run(&command),
        Command::Schema(args) => schema::run(&args),
        Command::Backtest(args) => backtest::run(&args),
        Command::Playbook(command) => playbook::run(&command),
        Command::Plan(args) => plan::run(&args),
        Command::Drill(command) => drill::run(&command),
        Command::Source(command) => source::run(&command),
        Command::Incident(args) => incident::run(&args),
        Command::Evidence(command) => evidence::run(&command),
        Command::Containment(args) => containment::run(&args),
        Command::Approve(args) => decide::approve(&args),
        Command::Deny(args) => decide::deny(&args),
        Command::Release(args) => release::run(&args),
        Command::Renew(args) => renew::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Protect(command) => protect::run(&command),
        Command::Mode(args) => mode::run(&args),
        Command::Reload(args) => reload::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Token(args) => token::run(args),
        Command::Journal(args) => journal::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Review(args) => review::run(&args),
        Command::Index(args) => index::run(&args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::pages(&dir),
        Command::Version(args) => version::run(&args),
    }
}

/// The configuration with the data directory of the command line.
fn load(args: &DataArgs) -> Result<Config, Fault> {
    load_from(args.config.config.as_deref(), args.data_dir.as_ref())
}

/// The same for a command that reads what is in the data directory.
///
/// # Errors
/// When it cannot be used, or there is no such directory.
fn load_existing(args: &DataArgs) -> Result<Config, Fault> {
    let config = load(args)?;
    crate::files::data_dir_must_be_there(&config.data_dir)?;
    Ok(config)
}

fn load_from(file: Option<&Path>, data_dir: Option<&PathBuf>) -> Result<Config, Fault> {
    let mut config = config::load(file)?.config;
    if let Some(dir) = data_dir {
        config.data_dir.clone_from(dir);
    }
    Ok(config)
}
