//! `cargo xtask test`: set-up, all tests, and a list of those that could not run.
//!
//! Never hides a test: a test that this machine does not allow is in the list at the end, and a failure under
//! `CI=true`.
//!
//! A test says that it cannot run through `staunch_testkit::skip`, which appends `name<TAB>reason` to the file that the
//! variable `STAUNCH_SKIP_LOG` names.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{shell, workspace};

mod machine;
mod place;

use place::Place;

const SKIP_LOG: &str = "STAUNCH_SKIP_LOG";
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Tests of servers wait for each other's processes and for the disk longer than they compute.
const THREADS_PER_CORE: usize = 2;

/// Runs the task.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = workspace::root()?;
    machine::set_up()?;
    let place = Place::choose();
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    let selection = Selection::from(arguments);

    if place.is_apart() {
        // The namespace has no network, so everything is fetched and built outside of it.
        let mut build = shell::cargo(&root);
        build.args(selection.cargo_test(ci)).arg("--no-run");
        if !shell::watch(&mut build)? {
            return Ok(ExitCode::FAILURE);
        }
    }

    let log = skip_log(&root)?;
    let mut tests = selection.cargo_test(ci);
    tests.extend(selection.to_tests.iter().cloned());
    let mut command = place.cargo(&root, &tests);
    command.env(SKIP_LOG, &log);
    if env::var_os(TEST_THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        command.env(TEST_THREADS, (cores * THREADS_PER_CORE).to_string());
    }
    let passed = shell::watch(&mut command)?;

    let skipped = parse(&fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?);
    fs::remove_file(&log).with_context(|| format!("cannot remove {}", log.display()))?;
    print!("{}", report(&skipped, ci));
    Ok(if passed && (skipped.is_empty() || !ci) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Which tests to run.
#[derive(Debug, PartialEq, Eq)]
struct Selection {
    /// Options of `cargo test`.
    to_cargo: Vec<String>,
    /// `--` and what follows: names and options for the test binaries.
    to_tests: Vec<String>,
}

impl Selection {
    fn from(arguments: &[String]) -> Self {
        let at = arguments
            .iter()
            .position(|argument| argument == "--")
            .unwrap_or(arguments.len());
        let (to_cargo, to_tests) = arguments.split_at(at);
        Self {
            to_cargo: to_cargo.to_vec(),
            to_tests: to_tests.to_vec(),
        }
    }

    /// `cargo test` without what goes to the test binaries.
    fn cargo_test(&self, ci: bool) -> Vec<String> {
        let mut arguments = vec!["test".to_owned()];
        let names_packages = ["-p", "--package", "--workspace"];
        let names_packages = self
            .to_cargo
            .iter()
            .any(|it| names_packages.iter().any(|option| it.starts_with(option)));
        if !names_packages {
            arguments.push("--workspace".to_owned());
        }
        arguments.extend(["--no-fail-fast"].map(str::to_owned));
        if ci {
            arguments.push("--locked".to_owned());
        }
        arguments.extend(self.to_cargo.iter().cloned());
        arguments
    }
}

/// An empty file for the tests to write to, beside what the build leaves.
fn skip_log(root: &Path) -> Result<PathBuf> {
    let folder = workspace::target(root);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let log = folder.join(format!("skipped-tests-{}.tsv", std::process::id()));
    fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
    Ok(log)
}

/// The entries of a skip log, each once.
fn parse(log: &str) -> BTreeSet<(String, String)> {
    log.lines()
        .map(|line| {
            let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

fn report(skipped: &BTreeSet<(String, String)>, ci: bool) -> String {
    if skipped.is_empty() {
        return "\nevery test ran\n".to_owned();
    }
    let mut text = format!("\n{} could not run here:\n", count(skipped.len()));
    for (name, reason) in skipped {
        text.push_str(&format!("  SKIPPED {name}: {reason}\n"));
    }
    if ci {
        text.push_str("FAILED: with CI=true every test must run\n");
    }
    text
}

fn count(tests: usize) -> String {
    if tests == 1 {
        "1 test".to_owned()
    } else {
        format!("{tests} tests")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], ci: bool, cargo: &str, tests: &str) {
        let arguments: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
        let selection = Selection::from(&arguments);
        assert_eq!(selection.cargo_test(ci).join(" "), cargo);
        assert_eq!(selection.to_tests.join(" "), tests);
    }

    #[test]
    fn arguments_reach_cargo_and_the_tests() {
        check(&[], false, "test --workspace --no-fail-fast", "");
        check(
            &["--", "lease"],
            true,
            "test --workspace --no-fail-fast --locked",
            "-- lease",
        );
        check(&["-p", "x", "--lib"], false, "test --no-fail-fast -p x --lib", "");
    }

    #[test]
    fn a_skip_is_reported_once_and_fails_under_ci_only() {
        let skipped = parse("b\tno nft\na\tno namespace\nb\tno nft\n");
        assert_eq!(
            report(&skipped, false),
            "\n2 tests could not run here:\n  SKIPPED a: no namespace\n  SKIPPED b: no nft\n"
        );
        assert!(report(&skipped, true).ends_with("FAILED: with CI=true every test must run\n"));
        assert_eq!(report(&parse(""), true), "\nevery test ran\n");
    }
}
