//! `cargo xtask model`: every state that the engine can reach within bounds, whatever order things happen in.
//!
//! Never checks anything itself: the model and its bounds are in `crates/sim/tests/model`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{shell, workspace};

/// Checks all bounds; with `--mutants`, puts known faults in instead and sees each found by the property named for it.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mutants = match arguments {
        [] => false,
        [only] if only == "--mutants" => true,
        _ => anyhow::bail!("usage: cargo xtask model [--mutants]"),
    };
    let root = workspace::root()?;
    let mut command = shell::cargo(&root);
    command.args(["test", "--quiet", "--profile", "sim", "--package", "staunch-sim"]);
    if mutants {
        command.args(["--features", "mutants"]);
    }
    command.args(["--test", "model", "--", "--nocapture"]);
    command.arg(if mutants { "mutants::" } else { "no_order_of_things" });
    Ok(if shell::watch(&mut command)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
