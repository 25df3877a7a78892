//! What became of the tests, for people and for programs.

use serde::Serialize;
use staunch_model::{ParameterValue, Span};

use super::coverage::CoverageReport;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) passed: u64,
    pub(super) failed: u64,
    /// Mistakes in files; they are told on stderr.
    pub(super) mistakes: usize,
    pub(super) files: Vec<FileReport>,
    pub(super) coverage: Vec<CoverageReport>,
}

/// The tests of one file.
#[derive(Debug, Serialize)]
pub(super) struct FileReport {
    pub(super) file: String,
    pub(super) playbook: String,
    /// The values that the parameters of the playbook had.
    pub(super) parameters: Vec<ParameterValue>,
    pub(super) tests: Vec<TestReport>,
}

/// One test.
#[derive(Debug, Serialize)]
pub(super) struct TestReport {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) passed: bool,
    /// What was expected.
    pub(super) expectations: usize,
    pub(super) differences: Vec<Difference>,
    /// The invariant of the engine that did not hold.
    pub(super) violation: Option<String>,
    /// How long it took by the simulated clock, until the last expectation.
    pub(super) simulated: Span,
    pub(super) timeline: Vec<Line>,
}

/// An expectation that was not met.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) at: Span,
    pub(super) line: usize,
    pub(super) expected: String,
    pub(super) found: String,
}

/// Something that happened.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) at: Span,
    pub(super) what: String,
}

impl Report {
    pub(super) fn add(&mut self, file: &str, playbook: &str, parameters: &[ParameterValue], tests: Vec<TestReport>) {
        for test in &tests {
            if test.passed {
                self.passed += 1;
            } else {
                self.failed += 1;
            }
        }
        if !tests.is_empty() {
            self.files.push(FileReport {
                file: file.to_owned(),
                playbook: playbook.to_owned(),
                parameters: parameters.to_vec(),
                tests,
            });
        }
    }
}
