//! `staunch review check`: whether all that a review wrote is there, its tests still pass, its rule still selects what
//! it was written for, and its diffs still lead from what is configured to what they say.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use staunch_model::Printable;
use staunch_playbook::limits;
use staunch_playbook::sigma::Rule;

use super::folder::{LIST, missing};
use super::{archive, changes};
use crate::cli::ReviewCheckArgs;
use crate::commands::test;
use crate::config;
use crate::exit::{Exit, Fault, escaped};
use crate::files::{cannot_read, must_be_there, read_bounded};
use crate::output::{Output, Tone, wrap};

#[derive(Debug, Serialize)]
struct Checked {
    what: String,
    passed: bool,
    why: String,
    /// What was not looked at, so that nothing is said of it.
    note: Option<&'static str>,
}

/// What a rule has not been shown to leave alone.
const NOT_HELD: &str = "it was held against no benign event: name the archive of events with --archive";
const NONE_ARCHIVED: &str = "it was held against no benign event: the archive has none of its product";

#[derive(Debug, Serialize)]
struct Answer {
    passed: bool,
    checks: Vec<Checked>,
}

pub(super) fn run(args: &ReviewCheckArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    must_be_there(
        std::slice::from_ref(&args.dir),
        "name a folder that `staunch review` wrote",
    )?;
    must_be_there(args.archive.as_slice(), super::ARCHIVE_HINT)?;
    let mut checks = Vec::new();
    let tests = list(&args.dir.join("tests"), ".test.yaml")?;
    for path in &tests {
        let report = test::report(std::slice::from_ref(path), &config)?;
        let mut differences = report
            .files
            .iter()
            .flat_map(|it| &it.tests)
            .flat_map(|it| &it.differences);
        let passed = report.failed == 0 && report.mistakes == 0 && report.passed > 0;
        let why = match differences.next() {
            Some(it) => format!("after {}: expected {}, found {}", it.at, it.expected, it.found),
            None if passed => format!("{} passed", report.passed),
            None => "it cannot be run: `staunch test` tells why".to_owned(),
        };
        checks.push(checked(&args.dir, path, passed, why));
    }
    let rules = list(&args.dir.join("sigma"), ".yml")?;
    for path in &rules {
        let (result, note) = rule(args, path)?;
        let (passed, why) = told(result);
        checks.push(Checked {
            note,
            ..checked(&args.dir, path, passed, why)
        });
    }
    for (path, result) in changes::verify::run(&args.dir, &config)? {
        let (passed, why) = told(result);
        checks.push(checked(&args.dir, &path, passed, why));
    }
    // A test that is gone does not fail.
    match missing(&args.dir) {
        Err(_) if checks.is_empty() => {}
        Err(why) => checks.push(checked(&args.dir, Path::new(LIST), false, why)),
        Ok((missing, count)) if missing.is_empty() => {
            let why = format!("all {count} files that the review wrote are there");
            checks.push(checked(&args.dir, Path::new(LIST), true, why));
        }
        Ok((missing, _)) => {
            let gone = |name: &String| {
                let why = "the review wrote it, and it is not there".to_owned();
                checked(&args.dir, Path::new(name), false, why)
            };
            checks.extend(missing.iter().map(gone));
        }
    }
    if checks.is_empty() {
        let shown = args.dir.display().to_string();
        return Err(Fault::new(
            Exit::NotFound,
            format!("there is nothing to check in {}", Printable(&shown)),
        )
        .hint("name a folder that `staunch review` wrote"));
    }
    let answer = Answer {
        passed: checks.iter().all(|it| it.passed),
        checks,
    };
    Output::new(args.json).show(&answer, |output| text(output, &answer))?;
    Ok(if answer.passed { Exit::Ok } else { Exit::TestFailed })
}

fn told(result: Result<String, String>) -> (bool, String) {
    match result {
        Ok(why) => (true, why),
        Err(why) => (false, why),
    }
}

fn checked(dir: &Path, path: &Path, passed: bool, why: String) -> Checked {
    let name = path.strip_prefix(dir).unwrap_or(path);
    Checked {
        what: name.display().to_string(),
        passed,
        why,
        note: None,
    }
}

fn text(output: &Output, answer: &Answer) -> String {
    let mut text = String::new();
    for it in &answer.checks {
        let (tone, word) = if it.passed {
            (Tone::Good, "ok   ")
        } else {
            (Tone::Bad, "FAIL ")
        };
        text.push_str(&format!("{} {}\n", output.paint(tone, word), escaped(&it.what)));
        text.push_str(&format!("      {}\n", wrap(&Printable(&it.why).to_string(), 6)));
        if let Some(note) = it.note {
            let note = wrap(&format!("note: {note}"), 6);
            text.push_str(&format!("      {}\n", output.paint(Tone::Warning, &note)));
        }
    }
    text
}

/// Whether the rule in `path` matches the first event, and no archived one; with what is not known of that.
fn rule(args: &ReviewCheckArgs, path: &Path) -> Result<(Result<String, String>, Option<&'static str>), Fault> {
    let failed = |why: String| Ok((Err(why), None));
    let text = read(path)?;
    let rule = match Rule::read(&text) {
        Ok(rule) => rule,
        Err(refused) => return failed(refused.to_string()),
    };
    let first = read(&args.dir.join(super::FIRST_EVENT))?;
    let Ok(event) = serde_json::from_str::<Value>(&first) else {
        return failed(format!("{} is no JSON", super::FIRST_EVENT));
    };
    if !rule.matches(&event) {
        return failed("it does not match the first event".to_owned());
    }
    let Some(dir) = &args.archive else {
        return Ok((Ok("it matches the first event".to_owned()), Some(NOT_HELD)));
    };
    let Some(product) = rule.product() else {
        return failed("it names no product".to_owned());
    };
    let tried = archive::matches(&rule, dir, product)?;
    let mut said = format!("it matches {} of {} archived events", tried.matched, tried.tried);
    if tried.unread > 0 {
        said.push_str(&format!("; {} lines are no JSON, and were not tried", tried.unread));
    }
    let result = if tried.matched == 0 { Ok(said) } else { Err(said) };
    Ok((result, (tried.tried == 0).then_some(NONE_ARCHIVED)))
}

/// The text of a file of a review.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &Path) -> Result<String, Fault> {
    let shown = path.display().to_string();
    read_bounded(path, limits::FILE_BYTES_MAX as u64)
        .map_err(|error| cannot_read(&format!("cannot read {}", Printable(&shown)), &error))
}

/// The files in `dir` with that ending, by name; none when it is not there.
///
/// # Errors
/// When it cannot be listed.
pub(super) fn list(dir: &Path, ending: &str) -> Result<Vec<PathBuf>, Fault> {
    let failed = |error: io::Error| {
        let shown = dir.display().to_string();
        cannot_read(&format!("cannot list {}", Printable(&shown)), &error)
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path
            .file_name()
            .and_then(|it| it.to_str())
            .is_some_and(|it| it.ends_with(ending))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
