//! Runs other programs.
//!
//! Finds system programs also where the path of an ordinary user does not lead.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Where system programs live that are not on the path of an ordinary user.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// What a program printed, and whether it was content.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) success: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

/// The cargo that runs this program, in the folder `root`, with system programs on its path.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = program(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// A program, with system programs on its path.
pub(crate) fn program(name: impl Into<OsString>) -> Command {
    let mut command = Command::new(name.into());
    if let Ok(path) = env::join_paths(folders()) {
        command.env("PATH", path);
    }
    command
}

/// True when a program of this name can be found.
pub(crate) fn is_installed(name: &str) -> bool {
    folders().iter().any(|folder| folder.join(name).is_file())
}

/// Builds the program as `cargo xtask test` has built it, so that little is compiled twice: a build of its package
/// alone has fewer features of the libraries.
pub(crate) fn build_program(root: &Path) -> Result<()> {
    let mut command = cargo(root);
    command.args(["test", "--quiet", "--no-run", "--workspace", "--test", "torture"]);
    anyhow::ensure!(watch(&mut command)?, "the program does not build");
    Ok(())
}

/// Runs `command` and keeps what it prints.
pub(crate) fn capture(command: &mut Command) -> Result<Captured> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Captured {
        success: output.status.success(),
        text,
    })
}

/// Runs `command` and returns its standard output.
pub(crate) fn stdout_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    anyhow::ensure!(
        output.status.success(),
        "{} failed: {}",
        shown(command),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

/// Runs `command` on this terminal and returns whether it was content.
pub(crate) fn watch(command: &mut Command) -> Result<bool> {
    eprintln!("$ {}", shown(command));
    Ok(command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?
        .success())
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut text = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        if argument.contains([' ', '"', '$']) {
            text.push_str(&format!(" '{argument}'"));
        } else {
            text.push_str(&format!(" {argument}"));
        }
    }
    text
}

fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    for folder in SYSTEM_FOLDERS.map(PathBuf::from) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}
