//! Finding tests: the files beside playbooks, and those that come with Staunch.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use staunch_model::Printable;
use staunch_playbook::test_file::{self, TestFile};
use staunch_playbook::{BUILT_IN, BUILT_IN_TESTS, Diagnostic, limits};

use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::files::read_bounded;
use crate::playbooks::{Texts, is_snippets, list_playbooks};

/// What ends the name of a test file.
const ENDING: &str = ".test.yaml";

/// What was found.
pub(super) struct Found {
    pub(super) suites: Vec<Suite>,
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
    let mut suites = Vec::new();
    if paths.is_empty() {
        if config.playbooks.built_in {
            suites.extend(BUILT_IN.iter().map(|(name, text)| built_in(name, text)));
        }
        for dir in &config.playbooks.dirs {
            add_dir(dir, &mut suites)?;
        }
    }
    for path in paths {
        if path.is_dir() {
            add_dir(path, &mut suites)?;
        } else if !is_snippets(path) {
            add_file(path, &mut suites)?;
        }
    }
    Ok(Found { suites })
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

fn add_dir(dir: &Path, suites: &mut Vec<Suite>) -> Result<(), Fault> {
    let unreadable = |error: &std::io::Error| unreadable(dir, error);
    let mut tests = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(&error))? {
        let path = entry.map_err(|error| unreadable(&error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(ENDING) && !name.starts_with('.') {
            tests.push(path);
        }
    }
    tests.sort();
    let playbooks = list_playbooks(dir).map_err(|error| unreadable(&error))?;
    for test in &tests {
        add_file(test, suites)?;
    }
    // A playbook without tests shows up in the coverage, at nothing.
    for playbook in playbooks {
        let name = playbook.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !tests.contains(&dir.join(test_name(name))) {
            suites.push(Suite {
                name: playbook.display().to_string(),
                text: String::new(),
                tests: None,
                playbook: Ok(Texts::of_paths(&[playbook])),
            });
        }
    }
    Ok(())
}

fn add_file(path: &Path, suites: &mut Vec<Suite>) -> Result<(), Fault> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let path = if name.ends_with(ENDING) {
        path.to_owned()
    } else {
        path.with_file_name(test_name(name))
    };
    let text = read_bounded(&path, limits::FILE_BYTES_MAX as u64).map_err(|error| unreadable(&path, &error))?;
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
    suites.push(Suite {
        name: shown,
        text,
        tests: Some(tests),
        playbook,
    });
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let exit = if error.kind() == std::io::ErrorKind::NotFound {
        Exit::NotFound
    } else {
        Exit::Failed
    };
    let shown = path.display().to_string();
    Fault::doing(exit, format!("cannot read {}", Printable(&shown)), error)
        .hint("name a file of tests, a playbook with a file of tests beside it, or a directory")
}
