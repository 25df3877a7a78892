//! The simulator compiled twice: once to count what it does, and once more with what was counted.
//!
//! Never changes what is compiled: the same code is laid out, and put into its callers, by how often it runs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{shell, workspace};

/// How many seeds are counted, and the first of them: none that anybody plays from 0 on.
const COUNTED: [&str; 4] = ["--seeds", "3000", "--from", "1000000000000"];

/// Builds the simulator, plays it to see what it does, and gives the command that builds and runs it with that.
///
/// # Errors
/// Without the program that merges what was counted; when the simulator does not build; when a seed that is counted
/// fails.
pub(super) fn command(root: &Path) -> Result<Command> {
    let host = host(root)?;
    let merger = merger(root, &host)?;
    let target = workspace::target(root);
    let folder = target.join("sim-profiled");
    let (counts, profile) = (folder.join("counts"), folder.join("profile"));
    if counts.exists() {
        fs::remove_dir_all(&counts).with_context(|| format!("cannot empty {}", counts.display()))?;
    }
    let built = |option: &str, with: &Path, name: &str| {
        let mut command = super::program(root);
        // Unlike `RUSTFLAGS`, it is not split at blanks. Both take the place of what is configured.
        let mut flags = OsString::from(option);
        flags.push(with);
        command
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env_remove("LLVM_PROFILE_FILE");
        command.args(["--target", &host, "--target-dir"]).arg(folder.join(name));
        command
    };
    let mut counting = built("-Cprofile-generate=", &counts, "counting");
    // What it finds is not what was asked for.
    counting.arg("--").args(COUNTED).stdout(Stdio::null());
    ensure!(
        shell::watch(&mut counting)?,
        "the simulator does not build, or a seed that is counted fails; hint: `cargo xtask sim {}` shows which",
        COUNTED.join(" ")
    );
    let mut merge = Command::new(merger);
    merge.args(["merge", "-o"]).arg(&profile).arg(&counts);
    ensure!(
        shell::watch(&mut merge)?,
        "what was counted cannot be merged; hint: `cargo xtask sim` without --profiled needs no counts"
    );
    Ok(built("-Cprofile-use=", &profile, "used"))
}

/// The kind of machine that this is, as the compiler calls it.
fn host(root: &Path) -> Result<String> {
    let said = shell::stdout_of(Command::new("rustc").current_dir(root).arg("-vV"))?;
    let said = String::from_utf8_lossy(&said);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The program that merges what was counted, of the compiler's own version.
fn merger(root: &Path, host: &str) -> Result<PathBuf> {
    let sysroot = shell::stdout_of(Command::new("rustc").current_dir(root).args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    let path = sysroot.join("lib/rustlib").join(host).join("bin/llvm-profdata");
    ensure!(
        path.is_file(),
        "there is no {}; hint: `rustup component add llvm-tools`, or leave out --profiled",
        path.display()
    );
    Ok(path)
}
