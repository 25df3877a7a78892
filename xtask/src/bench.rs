//! `cargo xtask bench`: the bars of the project, each beside its floor in the same run.
//!
//! Never measures anything itself: `crates/bars` does. That is a package of its own, compiled as the libraries are,
//! since the package of the program is compiled for its size.

use std::process::ExitCode;

use anyhow::Result;

use crate::{shell, workspace};

/// Builds with the release profile and runs the measurements named in `arguments`, or all of them.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    let mut build = shell::cargo(&root);
    build.args(["build", "--quiet", "--release", "--package", "staunch"]);
    let mut measure = shell::cargo(&root);
    measure
        .args(["run", "--quiet", "--release", "--package", "staunch-bars", "--"])
        .args(arguments);
    let success = shell::watch(&mut build)? && shell::watch(&mut measure)?;
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
