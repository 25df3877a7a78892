//! Tools from the Python package index, each in a folder of its own in the target directory.
//!
//! Never installs anything elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// One program of one package, at one version.
pub(crate) struct Tool {
    /// The package, and what of it is wanted, as pip is told it.
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The program in it.
    pub(crate) program: &'static str,
}

impl Tool {
    /// Where the program is. It is installed the first time.
    ///
    /// # Errors
    /// When Python makes no environment, or the package cannot be had.
    pub(crate) fn installed(&self, target: &Path) -> Result<PathBuf> {
        let name = self.package.split('[').next().unwrap_or(self.package);
        let home = target.join(format!("{name}-{}", self.version));
        let program = home.join("bin").join(self.program);
        if program.exists() {
            return Ok(program);
        }
        let made = shell::watch(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        anyhow::ensure!(
            made,
            "python3 cannot make an environment: is the package python3-venv there?"
        );
        let install = format!("{}=={}", self.package, self.version);
        let mut pip = Command::new(home.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", &install]);
        anyhow::ensure!(
            shell::watch(&mut pip)?,
            "{install} cannot be installed from the Python package index: is the network there? Delete {} to begin anew",
            home.display()
        );
        Ok(program)
    }
}
