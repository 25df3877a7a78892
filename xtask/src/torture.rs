//! `cargo xtask torture`: the real program under load on a small disk of its own, killed and disturbed at random.
//!
//! Never kills anything itself: the rounds live with the program, in `crates/staunch/tests/torture`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{shell, workspace};

/// Builds with a profile that is quick to build and quick to run, and runs rounds as `arguments` say.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut command = shell::cargo(&workspace::root()?);
    command
        .args(["test", "--quiet", "--profile", "sim", "--package", "staunch"])
        .args(["--test", "torture", "--"])
        .args(arguments);
    Ok(if shell::watch(&mut command)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
