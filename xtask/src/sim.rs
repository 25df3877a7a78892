//! `cargo xtask sim`: runs of the engine in a simulated world, and the faults that are put into it on purpose.
//!
//! Never runs anything of them itself: the runs live in `crates/sim`, built with a profile that is quick to build and
//! quick to run.

use std::process::ExitCode;

use anyhow::Result;

use crate::{shell, workspace};

/// Where seeds that failed are kept, to be run first from then on.
const KEPT: &str = "crates/testkit/seeds";

/// Runs seeds; see `crates/sim/src/bin/sim.rs` for `arguments`.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    let mut command = shell::cargo(&root);
    command
        .args([
            "run",
            "--quiet",
            "--profile",
            "sim",
            "--package",
            "staunch-sim",
            "--features",
            "quick",
            "--bin",
            "sim",
            "--",
        ])
        .arg("--keep")
        .arg(root.join(KEPT))
        .args(arguments);
    finish(shell::watch(&mut command)?)
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
