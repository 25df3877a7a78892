//! `cargo xtask fuzz`: runs fuzz targets with libFuzzer, one after the other.
//!
//! Never changes the committed inputs: what libFuzzer finds new goes to `fuzz/target/found/<target>`, and an input that
//! breaks a property to `fuzz/artifacts/<target>`. What the targets do is in `crates/fuzzing`.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{shell, workspace};

/// How long each target runs unless told otherwise.
const SECONDS: u64 = 60;

/// A single input that takes longer is reported as a failure. Most take well below a millisecond.
const INPUT_SECONDS_MAX: u64 = 20;

/// Memory of one target: what the tools around the program take, and a bound on what an input may make it take.
const MEMORY_MIB_MAX: u64 = 2_048;

/// Where files cost no disk. The journal's targets write one journal for each input.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    let known = targets(&root)?;
    let (chosen, seconds) = read(arguments, &known)?;
    anyhow::ensure!(
        shell::is_installed("cargo-fuzz"),
        "cargo-fuzz is not installed: `cargo install cargo-fuzz --locked`"
    );
    let mut failed = Vec::new();
    for target in chosen {
        if !shell::watch(&mut command(&root, target, seconds)?)? {
            failed.push(target);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "\nfailed: {}\nThe inputs are in fuzz/artifacts; fuzz/README.md says what to do with them.",
        failed.join(", ")
    );
    Ok(ExitCode::FAILURE)
}

/// The names of all targets, in order.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The targets to run, all unless some are named, and for how many seconds each.
fn read<'a>(arguments: &'a [String], known: &'a [String]) -> Result<(Vec<&'a str>, u64)> {
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let value = rest.next().context("--seconds needs a number")?;
            seconds = value
                .parse()
                .with_context(|| format!("{value:?} is no number of seconds"))?;
            // libFuzzer takes 0 for "without an end".
            anyhow::ensure!(seconds > 0, "a target runs for at least one second");
        } else if argument.starts_with('-') {
            anyhow::bail!("fuzz has no option {argument}");
        } else {
            anyhow::ensure!(
                known.contains(argument),
                "there is no target {argument:?}; there are {}",
                known.join(", ")
            );
            chosen.push(argument.as_str());
        }
    }
    if chosen.is_empty() {
        chosen.extend(known.iter().map(String::as_str));
    }
    Ok((chosen, seconds))
}

fn command(root: &Path, target: &str, seconds: u64) -> Result<std::process::Command> {
    let found = root.join("fuzz/target/found").join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make the folder {}", found.display()))?;
    let mut command = shell::cargo(root);
    command.args(["fuzz", "run", target]).arg(&found);
    for folder in ["corpus", "regressions"] {
        let folder = root.join("fuzz").join(folder).join(target);
        if folder.is_dir() {
            command.arg(folder);
        }
    }
    command.arg("--").args([
        format!("-max_total_time={seconds}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        // Targets end threads, and what such a thread still holds in its last moment is taken for lost.
        "-detect_leaks=0".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    // The flags that instrument the code are unstable, and a stable toolchain takes them only so.
    command.env("RUSTC_BOOTSTRAP", "1");
    // The bundled SQLite is C with tables that the sanitizer takes for doubles of each other.
    if env::var_os("ASAN_OPTIONS").is_none() {
        command.env("ASAN_OPTIONS", "detect_odr_violation=0");
    }
    if env::var_os("TMPDIR").is_none() && Path::new(MEMORY_FOLDER).is_dir() {
        command.env("TMPDIR", MEMORY_FOLDER);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expect: Result<(&[&str], u64), &str>) {
        let strings = |texts: &[&str]| texts.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let (arguments, known) = (strings(arguments), strings(&["bodies", "cel"]));
        let found = read(&arguments, &known).map_err(|error| error.to_string());
        let expect = expect.map(|(names, seconds)| (names.to_vec(), seconds));
        assert_eq!(found, expect.map_err(str::to_owned));
    }

    #[test]
    fn targets_and_seconds_are_read() {
        check(&[], Ok((&["bodies", "cel"], 60)));
        check(&["cel", "--seconds", "5"], Ok((&["cel"], 5)));
        check(&["--seconds", "0"], Err("a target runs for at least one second"));
        check(&["--seconds"], Err("--seconds needs a number"));
        check(&["sel"], Err("there is no target \"sel\"; there are bodies, cel"));
        check(&["--fast"], Err("fuzz has no option --fast"));
    }

    #[test]
    fn every_target_of_the_checkout_is_found() {
        let names = targets(&workspace::root().expect("a checkout")).expect("a folder of targets");
        assert!(names.contains(&"journal".to_owned()), "{names:?}");
    }
}
