//! Tries a rule on the events of the archive: those that matched no playbook.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use staunch_model::Printable;
use staunch_playbook::sigma::Rule;

use crate::backtest::files::EventFile;
use crate::exit::Fault;
use crate::files::cannot_read;

/// What the name of an archive file ends with.
const SUFFIX: &str = ".ndjson.zst";

#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) tried: u64,
    pub(super) matched: u64,
    /// Lines that are no JSON, and so no event that a rule can be tried on.
    pub(super) unread: u64,
    /// Why it is not all of the archive.
    pub(super) ended_early: Option<String>,
}

/// How many of the archived events of `source` the rule matches. No archive is one without events.
///
/// # Errors
/// When it cannot be read.
pub(super) fn matches(rule: &Rule, dir: &Path, source: &str) -> Result<Tried, Fault> {
    let mut matched = 0;
    let mut tried = each(dir, source, &mut |event| matched += u64::from(rule.matches(event)))?;
    tried.matched = matched;
    Ok(tried)
}

/// How many of the archived events of `source` that `base` matches each of `rules` matches, too; nothing for those that
/// are none.
///
/// # Errors
/// When it cannot be read.
pub(super) fn counts(
    base: Option<&Rule>,
    rules: &[Option<Rule>],
    dir: &Path,
    source: &str,
) -> Result<Vec<Option<u64>>, Fault> {
    let mut counts: Vec<Option<u64>> = rules.iter().map(|rule| rule.as_ref().map(|_| 0)).collect();
    each(dir, source, &mut |event| {
        if base.is_some_and(|it| !it.matches(event)) {
            return;
        }
        for (count, rule) in counts.iter_mut().zip(rules) {
            if let (Some(count), Some(rule)) = (count, rule) {
                *count += u64::from(rule.matches(event));
            }
        }
    })?;
    Ok(counts)
}

/// Calls `visit` with each of the archived events of `source`; what it matches is for that to say.
fn each(dir: &Path, source: &str, visit: &mut dyn FnMut(&Value)) -> Result<Tried, Fault> {
    let mut tried = Tried::default();
    for path in files(dir, source)? {
        let failed = |error: std::io::Error| {
            let shown = path.display().to_string();
            cannot_read(&format!("cannot read {}", Printable(&shown)), &error)
        };
        let mut file = EventFile::open(&path).map_err(failed)?;
        while let Some(lines) = file.next().map_err(failed)? {
            for line in lines.split(|byte| *byte == b'\n').filter(|it| !it.is_empty()) {
                match serde_json::from_slice::<Value>(line) {
                    Ok(event) => {
                        tried.tried += 1;
                        visit(&event);
                    }
                    Err(_) => tried.unread += 1,
                }
            }
        }
        if let Some(why) = &file.torn {
            tried.ended_early = Some(format!("A file of it ends early: {}", Printable(why)));
        }
    }
    Ok(tried)
}

/// The files of `source`, by name: `<source>-<time>.ndjson.zst`.
fn files(dir: &Path, source: &str) -> Result<Vec<PathBuf>, Fault> {
    let failed = |error: std::io::Error| {
        let shown = dir.display().to_string();
        cannot_read(&format!("cannot list {}", Printable(&shown)), &error)
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|it| it.to_str()).unwrap_or_default();
        let of_source = name
            .strip_prefix(source)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if of_source && name.ends_with(SUFFIX) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
