//! `cargo xtask sim`: runs of the engine in a simulated world, and the faults that are put into it on purpose.
//!
//! Never runs anything of them itself: the runs live in `crates/sim`, built with a profile that is quick to build and
//! quick to run.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, ensure};

use crate::{shell, workspace};

mod profiled;

/// Where seeds that failed are kept, to be run first from then on.
const KEPT: &str = "crates/testkit/seeds";

/// Asks for the program to be compiled with a profile of its own runs.
const PROFILED: &str = "--profiled";

/// Runs seeds; see `crates/sim/src/bin/sim.rs` for the other `arguments`.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    let has = |option: &str| arguments.iter().any(|it| it == option);
    let is_profiled = has(PROFILED);
    ensure!(
        !(is_profiled && has("--seed")),
        "one seed is played in a moment: leave out {PROFILED}"
    );
    let mut command = if is_profiled {
        profiled::command(&root)?
    } else {
        program(&root)
    };
    command.args(["--", "--keep"]).arg(root.join(KEPT));
    command.args(arguments.iter().filter(|it| *it != PROFILED));
    finish(shell::watch(&mut command)?)
}

/// Builds and runs the program; its own arguments come after `--`.
fn program(root: &Path) -> Command {
    let mut command = shell::cargo(root);
    command
        .args(["run", "--quiet", "--profile", "sim", "--package", "staunch-sim"])
        .args(["--features", "quick", "--bin", "sim"]);
    command
}

/// Puts every mutant in, one after the other, and sees each found by the invariant that is named for it.
pub(crate) fn mutants(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    let mut command = shell::cargo(&root);
    command
        .args(["test", "--quiet", "--profile", "sim", "--package", "staunch-sim"])
        .args(["--features", "mutants", "--test", "mutants", "--"])
        .args(["--nocapture", "--test-threads=1"])
        .args(arguments);
    finish(shell::watch(&mut command)?)
}

fn finish(success: bool) -> Result<ExitCode> {
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
