//! `cargo xtask bench`: the bars of the project, each beside its floor in the same run.
//!
//! Never measures anything itself: the measurements live with the program they measure, in `crates/staunch/benches`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::workspace;

/// Builds with the release profile and runs the measurements named in `arguments`, or all of them.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(workspace::root()?)
        .args(["bench", "--quiet", "--package", "staunch", "--bench", "bars", "--"])
        .args(arguments)
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
