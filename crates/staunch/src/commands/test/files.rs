//! Finding tests: the files beside playbooks, and those that come with Staunch.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::json;
use staunch_model::Printable;
use staunch_playbook::test_file::{self, TestFile};
use staunch_playbook::{BUILT_IN, BUILT_IN_TESTS, Diagnostic, limits};

use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::files::{is_missing, read_bounded};
use crate::output::{answers_in_json, say, warn_json, wrap};
use crate::playbooks::{Texts, is_snippets, list_playbooks};

/// What ends the name of a test file.
const ENDING: &str = ".test.yaml";

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) suites: Vec<Suite>,
    /// Files of tests that cannot be read.
    pub(super) unread: Vec<Unread>,
    /// The files so far, each by its one true name: one that is found twice is taken once.
    seen: BTreeSet<PathBuf>,
}

/// A file of tests that cannot be read, which keeps no other from its tests.
pub(super) struct Unread {
    path: PathBuf,
    why: String,
    hint: &'static str,
}

impl Unread {
    fn new(path: &Path, error: &io::Error) -> Self {
        // Without an error inside, it is the one of what is no text.
        let is_no_text = error.kind() == io::ErrorKind::InvalidData && error.get_ref().is_none();
        let (why, hint) = match error {
            _ if is_no_text => (
                "it is no text in UTF-8".to_owned(),
                "write it in UTF-8: iconv converts text",
            ),
            error if is_missing(error) => (error.to_string(), "a link leads nowhere: mend it, or remove it"),
            error => (error.to_string(), "a file of tests is a small file of text"),
        };
        Self {
            path: path.to_owned(),
            why,
            hint,
        }
    }

    /// Shows it on stderr.
    pub(super) fn tell(&self) {
        let shown = self.path.display().to_string();
        let what = format!("cannot read {}: {}", Printable(&shown), Printable(&self.why));
        if answers_in_json() {
            warn_json(&json!({ "warning": what, "hint": self.hint }));
        } else {
            say(&format!("error: {}\nhint: {}\n", wrap(&what, 7), wrap(self.hint, 6)));
        }
    }
}

/// The tests of a file, or a playbook without any.
pub(super) struct Suite {
    /// The file's name, for diagnostics.
    pub(super) name: String,
    /// Its text.
    pub(super) text: String,
    /// The tests in it, or its mistakes; `None` for a playbook that has no file of tests.
    pub(super) tests: Option<Result<TestFile, Vec<Diagnostic>>>,
    /// The playbook, or why there is none.
    pub(super) playbook: Result<Texts, Vec<Diagnostic>>,
}

impl Suite {
    /// Shows mistakes on stderr, and counts them.
    pub(super) fn tell(&self, diagnostics: &[Diagnostic]) -> usize {
        Texts::of_text(&self.name, &self.text).tell(diagnostics);
        diagnostics.len()
    }

    /// A mistake that only running a test shows.
    pub(super) fn mistake(&self, span: Range<usize>, message: &str, hint: &str) -> Vec<Diagnostic> {
        test_file::mistake(&self.name, &self.text, span, message, hint)
    }
}

/// The tests in `paths`: files of tests, playbooks, or directories. Without any, those of the configuration.
pub(super) fn find(paths: &[PathBuf], config: &Config) -> Result<Found, Fault> {
    let mut found = Found::default();
    if paths.is_empty() {
        if config.playbooks.built_in {
            let built_in = BUILT_IN.iter().map(|(name, text)| built_in(name, text));
            found.suites.extend(built_in);
        }
        for dir in &config.playbooks.dirs {
            found.add_dir(dir)?;
        }
    }
    for path in paths {
        if path.is_dir() {
            found.add_dir(path)?;
        } else if !is_snippets(path) {
            found.add_named(path)?;
        }
    }
    Ok(found)
}

fn built_in(name: &str, text: &str) -> Suite {
    let tests = BUILT_IN_TESTS.iter().find(|(of, _)| *of == name).map(|(_, text)| *text);
    let shown = format!("built-in {}", test_name(name));
    Suite {
        tests: tests.map(|text| test_file::parse(&shown, text)),
        name: shown,
        text: tests.unwrap_or_default().to_owned(),
        playbook: Ok(Texts::of_text(&format!("built-in {name}"), text)),
    }
}

/// `brute-force-block.test.yaml` for `brute-force-block.yaml`.
fn test_name(playbook: &str) -> String {
    let stem = playbook.strip_suffix(".yaml").or_else(|| playbook.strip_suffix(".yml"));
    format!("{}{ENDING}", stem.unwrap_or(playbook))
}

impl Found {
    fn add_dir(&mut self, dir: &Path) -> Result<(), Fault> {
        let unlisted = |error: &io::Error| unreadable(dir, error);
        let mut tests = Vec::new();
        for entry in fs::read_dir(dir).map_err(|error| unlisted(&error))? {
            let path = entry.map_err(|error| unlisted(&error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(ENDING) && !name.starts_with('.') {
                tests.push(path);
            }
        }
        tests.sort();
        let playbooks = list_playbooks(dir).map_err(|error| unlisted(&error))?;
        for test in &tests {
            match self.add_file(test) {
                Err(error) if is_denied(&error) => return Err(unreadable(test, &error)),
                Err(error) => self.unread.push(Unread::new(test, &error)),
                Ok(()) => {}
            }
        }
        // A playbook without tests shows up in the coverage, at nothing.
        for playbook in playbooks {
            let name = playbook.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !tests.contains(&dir.join(test_name(name))) && self.is_new(&playbook) {
                self.suites.push(Suite {
                    name: playbook.display().to_string(),
                    text: String::new(),
                    tests: None,
                    playbook: Ok(Texts::of_paths(&[playbook])),
                });
            }
        }
        Ok(())
    }

    /// Adds what a person has named: a file of tests, or the playbook beside it.
    fn add_named(&mut self, path: &Path) -> Result<(), Fault> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let path = if name.ends_with(ENDING) {
            path.to_owned()
        } else {
            path.with_file_name(test_name(name))
        };
        match self.add_file(&path) {
            Err(error) if is_missing(&error) || is_denied(&error) => Err(unreadable(&path, &error)),
            Err(error) => {
                self.unread.push(Unread::new(&path, &error));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn add_file(&mut self, path: &Path) -> io::Result<()> {
        if !self.is_new(path) {
            return Ok(());
        }
        let text = read_bounded(path, limits::FILE_BYTES_MAX as u64)?;
        self.suites.push(suite(path, text));
        Ok(())
    }

    /// Whether the file has not been found before, by whatever name.
    fn is_new(&mut self, path: &Path) -> bool {
        let name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.seen.insert(name)
    }
}

/// The tests in the file `path`, which has this text.
fn suite(path: &Path, text: String) -> Suite {
    let shown = path.display().to_string();
    let tests = test_file::parse(&shown, &text);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(ENDING).unwrap_or(name);
    let short = format!("{stem}.yml");
    let beside = if path.with_file_name(&short).is_file() {
        short
    } else {
        format!("{stem}.yaml")
    };
    let named = tests.as_ref().ok().and_then(|file| file.playbook.as_ref());
    let playbook = path.with_file_name(named.map_or(beside.as_str(), |it| it.value.as_str()));
    let playbook = if playbook.is_file() {
        Ok(Texts::of_paths(&[playbook]))
    } else if let Err(mistakes) = &tests {
        // Which one it names is not known, so that none is missed.
        Err(mistakes.clone())
    } else {
        let message = format!("there is no playbook {}", Printable(&playbook.display().to_string()));
        let hint = "write `playbook: <file>`, relative to this one, when it is not the one beside it";
        let span = named.map_or(0..0, |it| it.span.clone());
        Err(test_file::mistake(&shown, &text, span, &message, hint))
    };
    Suite {
        name: shown,
        text,
        tests: Some(tests),
        playbook,
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let exit = match error.kind() {
        _ if is_denied(error) => Exit::Denied,
        _ if is_missing(error) => Exit::NotFound,
        _ => Exit::Failed,
    };
    let shown = path.display().to_string();
    Fault::doing(exit, format!("cannot read {}", Printable(&shown)), error)
        .hint("name a file of tests, a playbook with a file of tests beside it, or a directory")
}
