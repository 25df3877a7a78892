//! The simulator compiled twice: once to count what it does, and once more with what was counted.
//!
//! Never changes what is compiled: the same code is laid out, and put into its callers, by how often it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// How many seeds are counted, and the first of them: none that anybody plays from 0 on.
const COUNTED: [&str; 4] = ["--seeds", "3000", "--from", "1000000000000"];

/// Builds the simulator, plays it to see what it does, and gives the command that builds and runs it with that.
pub(super) fn command(root: &Path) -> Result<Command> {
    let host = host(root)?;
    let merge = merger(root, &host)?;
    let folder = root.join("target/sim-profiled");
    let counts = folder.join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts).with_context(|| format!("cannot empty {}", counts.display()))?;
    }
    let built = |flag: String, name: &str| {
        let mut command = super::program(root);
        command.env("RUSTFLAGS", flag);
        command
            .args(["--target", &host])
            .arg("--target-dir")
            .arg(folder.join(name));
        command
    };
    let mut counting = built(format!("-Cprofile-generate={}", counts.display()), "counting");
    ensure!(
        shell::watch(counting.arg("--").args(COUNTED))?,
        "the seeds that are counted fail"
    );
    let profile = folder.join("profile");
    let merged = Command::new(merge)
        .arg("merge")
        .arg("-o")
        .arg(&profile)
        .arg(&counts)
        .status();
    ensure!(
        merged.context("cannot merge what was counted")?.success(),
        "what was counted cannot be merged"
    );
    Ok(built(format!("-Cprofile-use={}", profile.display()), "used"))
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
        "there is no llvm-profdata; hint: `rustup component add llvm-tools`, or leave out --profiled"
    );
    Ok(path)
}
