//! Files that stand in the checkout and that git does not track: what is built here would not build in a clone.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Findings;
use crate::workspace::Workspace;

/// Checks everything that git would add.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let output = Command::new("git")
        .current_dir(&workspace.root)
        .args(["ls-files", "--others", "--exclude-standard"])
        .output()
        .context("cannot start git")?;
    ensure!(output.status.success(), "git cannot list what it does not track");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|file| format!("{file}: not tracked")).collect())
}
