//! The checks that cargo makes.

use std::process::Command;

use anyhow::Result;

use super::Findings;
use crate::shell;
use crate::workspace::Workspace;

/// The formatting is that of rustfmt.
pub(super) fn fmt(workspace: &Workspace) -> Result<Findings> {
    findings(shell::cargo(&workspace.root).args(["fmt", "--all", "--check", "--", "-l", "--color", "never"]))
}

/// Clippy and the compiler have nothing to say.
pub(super) fn clippy(workspace: &Workspace) -> Result<Findings> {
    let arguments = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ];
    findings(shell::cargo(&workspace.root).args(arguments))
}

/// The API documentation builds without a warning.
pub(super) fn doc(workspace: &Workspace) -> Result<Findings> {
    let mut command = shell::cargo(&workspace.root);
    command
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings");
    findings(&mut command)
}

/// What `command` printed, if it was not content.
pub(super) fn findings(command: &mut Command) -> Result<Findings> {
    let captured = shell::capture(command)?;
    Ok(if captured.success {
        Findings::new()
    } else {
        vec![captured.text]
    })
}
