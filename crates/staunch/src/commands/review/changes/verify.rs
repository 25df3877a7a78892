//! Whether the diffs of a review still lead from what is configured at present to what they say.
//!
//! Never writes what it tries, and never takes a diff that was edited for the one that was written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use staunch_playbook::{Severity, limits};

use super::diff::{Applied, Patch};
use super::subject::{Subject, Subjects};
use super::{INDEX, Suggested};
use crate::commands::review::check::{list, read};
use crate::commands::review::regression;
use crate::config::{self, Config};
use crate::exit::Fault;
use crate::files::read_bounded;
use crate::playbooks::Texts;
use crate::wiring;

/// A diff, and what holds of it, or what does not.
type Verified = (PathBuf, Result<String, String>);

/// Each diff in `dir` with what holds of it, or what does not.
///
/// # Errors
/// When a file cannot be read.
pub(in crate::commands::review) fn run(dir: &Path, config: &Config) -> Result<Vec<Verified>, Fault> {
    let diffs = list(&dir.join("changes"), ".diff")?;
    if diffs.is_empty() {
        return Ok(Vec::new());
    }
    let texts = Texts::configured(config);
    let index = index(&dir.join(INDEX));
    let present = Present {
        subjects: Subjects::of(config, &texts),
        tests: list(&dir.join("tests"), ".test.yaml")?,
        texts,
        config,
    };
    let mut all = Vec::new();
    let mut read_diffs = Vec::new();
    for path in diffs {
        let name = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
        match (&index, Patch::read(&read(&path)?)) {
            (Err(why), _) => all.push((path, Err(why.clone()))),
            (_, Err(why)) => all.push((path, Err(why))),
            (Ok(index), Ok(patch)) => {
                let suggested = index.iter().find(|it| it.diff == name);
                let expected = suggested.and_then(|it| it.changes_expectations.clone());
                read_diffs.push(Diff {
                    path,
                    name,
                    patch,
                    expected: expected.unwrap_or_default(),
                });
            }
        }
    }
    let applied = present.applied(&read_diffs);
    for (at, diff) in read_diffs.iter().enumerate() {
        all.push((diff.path.clone(), present.check(&read_diffs, &applied, at)?));
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(all)
}

/// A diff of the review.
struct Diff {
    path: PathBuf,
    /// Its name in the folder.
    name: String,
    patch: Patch,
    /// Expectations of the incident's test that do not hold with it.
    expected: Vec<String>,
}

/// What was written of the changes; nothing when there is no such file.
fn index(path: &Path) -> Result<Vec<Suggested>, String> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let read = read_bounded(path, limits::FILE_BYTES_MAX as u64);
    let parsed = read
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
    parsed.map_err(|error| format!("{INDEX} cannot be read: {error}"))
}

/// What is configured.
struct Present<'c> {
    config: &'c Config,
    texts: Texts,
    subjects: Subjects,
    tests: Vec<PathBuf>,
}

impl Present<'_> {
    /// Which of `diffs` are applied. Each was made with those of its file before it applied, so that the last is taken
    /// back first.
    fn applied(&self, diffs: &[Diff]) -> Vec<bool> {
        let mut applied = vec![false; diffs.len()];
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for (at, Diff { patch, .. }) in diffs.iter().enumerate().rev() {
            let file = patch.file.as_str();
            let Some(subject) = self.subjects.named(file) else {
                continue;
            };
            let text = texts.entry(file).or_insert_with(|| subject.text.clone());
            if let (false, Applied::To(before)) = (leads_on(patch, &subject.text), patch.take_back(text)) {
                applied[at] = true;
                *text = before;
            }
        }
        applied
    }

    /// Tries one of `diffs` alone, else behind those of its file before it.
    fn check(&self, diffs: &[Diff], applied: &[bool], at: usize) -> Result<Result<String, String>, Fault> {
        let Diff { patch, expected, .. } = &diffs[at];
        let file = &patch.file;
        let Some(subject) = self.subjects.named(file) else {
            return Ok(Err(format!(
                "no configured playbook and no configuration is named {file}"
            )));
        };
        if applied[at] {
            return Ok(Ok(format!("already applied to {file}")));
        }
        let of_file = || diffs.iter().enumerate().filter(|(_, it)| it.patch.file == *file);
        // What is taken already changes the test as well.
        let taken = of_file().filter(|(other, _)| applied[*other]);
        let mut expected: Vec<String> = taken
            .flat_map(|(_, it)| &it.expected)
            .chain(expected)
            .cloned()
            .collect();
        let (text, behind) = match patch.apply(&subject.text) {
            Applied::To(text) => (text, String::new()),
            Applied::Anywhere => return Ok(Err(format!("its lines stand in {file} more than once"))),
            Applied::Nowhere => {
                let mut text = subject.text.clone();
                let mut names = Vec::new();
                for (_, it) in of_file().filter(|(other, _)| *other < at && !applied[*other]) {
                    if let Applied::To(after) = it.patch.apply(&text) {
                        text = after;
                        names.push(it.name.as_str());
                        expected.extend_from_slice(&it.expected);
                    }
                }
                match patch.apply(&text) {
                    Applied::To(after) => (after, format!(" after {}", names.join(", "))),
                    _ => return Ok(Err(format!("it does not apply any more: {file} has other lines there"))),
                }
            }
        };
        match subject.known_as() {
            None => Ok(match config::parse(&text) {
                Ok(_) => Ok(format!("it applies to {file}{behind}, which can be used with it")),
                Err(mistakes) => {
                    let what = mistakes.first().map_or("", |it| it.what.as_str());
                    Err(format!("{file} has a mistake with it: {what}"))
                }
            }),
            Some(name) => self.check_playbook(subject, name, (&text, &behind), &expected),
        }
    }

    /// Whether the playbook can be used with a change, and the tests fail only where they are said to.
    fn check_playbook(
        &self,
        subject: &Subject,
        name: &str,
        (text, behind): (&str, &str),
        expected: &[String],
    ) -> Result<Result<String, String>, Fault> {
        let file = &subject.file;
        let outcome = self
            .texts
            .changed(name, text)
            .compile(&wiring::check_context(self.config));
        if !outcome.usable {
            let mistake = outcome.diagnostics.iter().find(|it| it.severity == Severity::Error);
            let what = mistake.map_or_else(String::new, ToString::to_string);
            return Ok(Err(format!("{file} has a mistake with it: {what}")));
        }
        let sources = self.texts.sources();
        let snippets = sources.filter(|it| it.file == name).find_map(|it| it.snippets);
        let snippets = snippets.map(|it| it.source().1);
        let mut unmet = Vec::new();
        for path in &self.tests {
            let test = read(path)?;
            let Some(test_name) = path.file_name() else { continue };
            let Some((stem, _)) = test_name.to_str().and_then(|it| it.split_once(".review-")) else {
                continue;
            };
            unmet.extend(regression::unmet_in(
                test_name.as_ref(),
                &test,
                stem,
                text,
                snippets,
                self.config,
            )?);
        }
        if let Some(other) = unmet.iter().find(|it| !expected.contains(it)) {
            return Ok(Err(format!("with it the test fails where it is not said to: {other}")));
        }
        let and = match (self.tests.len(), unmet.len()) {
            (0, _) => "there is no test of it".to_owned(),
            (_, 0) => "the test passes with it".to_owned(),
            (_, 1) => "one expectation of the test changes, as it says".to_owned(),
            (_, count) => format!("{count} expectations of the test change, as it says"),
        };
        Ok(Ok(format!("it applies to {file}{behind}; {and}")))
    }
}

fn leads_on(patch: &Patch, text: &str) -> bool {
    matches!(patch.apply(text), Applied::To(_))
}
