//! `cargo xtask torture`: the real program under load on a small disk of its own, killed and disturbed at random.
//!
//! Never kills anything itself: the rounds live with the program, in `crates/staunch/tests/torture`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{shell, workspace};

/// Builds and runs rounds as `arguments` say. The profile is one that is quick to build and quick to run, or with
/// `--debug` that of the tests, which have built everything already.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (debug, rounds): (Vec<_>, Vec<_>) = arguments.iter().partition(|it| *it == "--debug");
    let mut command = shell::cargo(&workspace::root()?);
    command.args(["test", "--quiet", "--test", "torture"]);
    if debug.is_empty() {
        command.args(["--package", "staunch", "--profile", "sim"]);
    } else {
        // With the features of the libraries that the tests have.
        command.arg("--workspace");
    }
    command.arg("--").args(rounds);
    Ok(if shell::watch(&mut command)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
