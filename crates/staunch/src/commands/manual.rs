//! `staunch completions` and `staunch man`: what shells and `man` know about the commands.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;
use staunch_model::Printable;

use crate::cli::Cli;
use crate::exit::{Exit, Fault};
use crate::output::{print, say};

/// Prints the completions of `shell`.
pub(super) fn completions(shell: Shell) -> Result<Exit, Fault> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "staunch", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// Writes a page for each command into `dir`.
pub(super) fn pages(dir: &Path) -> Result<Exit, Fault> {
    clap_mangen::generate_to(Cli::command(), dir).map_err(|error| {
        let shown = dir.display().to_string();
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            io::ErrorKind::NotFound => Exit::NotFound,
            _ => Exit::Failed,
        };
        let what = format!("cannot write manual pages into {}", Printable(&shown));
        Fault::doing(exit, what, &error).hint("name a directory that is there and that this user may write to")
    })?;
    say("written; `man staunch` begins with staunch.1");
    Ok(Exit::Ok)
}
