//! What became of the tests, for people and for programs.

use serde::Serialize;
use staunch_model::{ParameterValue, Span};

use super::coverage::CoverageReport;
use crate::output::counted;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(in crate::commands) struct Report {
    pub(in crate::commands) passed: u64,
    pub(in crate::commands) failed: u64,
    /// Mistakes in files; they are told on stderr.
    pub(in crate::commands) mistakes: usize,
    /// What did not run because of them.
    pub(in crate::commands) not_run: NotRun,
    pub(in crate::commands) files: Vec<FileReport>,
    pub(in crate::commands) coverage: Vec<CoverageReport>,
}

/// What did not run because of mistakes.
#[derive(Debug, Default, Serialize)]
pub(in crate::commands) struct NotRun {
    /// Files of tests of which none ran.
    pub(in crate::commands) files: u64,
    /// Tests of other files.
    pub(in crate::commands) tests: u64,
}

impl NotRun {
    /// What is said of them.
    pub(in crate::commands) fn words(&self) -> String {
        let tests = counted(self.tests, "test");
        let files = counted(self.files, "file");
        match (self.files, self.tests) {
            (0, 0) => "there are mistakes, as told above; all tests ran".to_owned(),
            (0, _) => format!("because of mistakes, {tests} did not run"),
            (_, 0) => format!("because of mistakes, the tests of {files} did not run"),
            _ => format!("because of mistakes, the tests of {files} and {tests} of others did not run"),
        }
    }
}

/// The tests of one file.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct FileReport {
    pub(in crate::commands) file: String,
    pub(in crate::commands) playbook: String,
    /// The values that the parameters of the playbook had.
    pub(in crate::commands) parameters: Vec<ParameterValue>,
    pub(in crate::commands) tests: Vec<TestReport>,
}

/// One test.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct TestReport {
    pub(in crate::commands) name: String,
    pub(in crate::commands) line: usize,
    pub(in crate::commands) passed: bool,
    /// What was expected.
    pub(in crate::commands) expectations: usize,
    pub(in crate::commands) differences: Vec<Difference>,
    /// The invariant of the engine that did not hold.
    pub(in crate::commands) violation: Option<String>,
    /// How long it took by the simulated clock, until the last expectation.
    pub(in crate::commands) simulated: Span,
    pub(in crate::commands) timeline: Vec<Line>,
}

/// An expectation that was not met.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Difference {
    pub(in crate::commands) at: Span,
    pub(in crate::commands) line: usize,
    pub(in crate::commands) expected: String,
    pub(in crate::commands) found: String,
}

/// Something that happened.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Line {
    pub(in crate::commands) at: Span,
    pub(in crate::commands) what: String,
}

impl Report {
    pub(in crate::commands) fn add(
        &mut self,
        file: &str,
        playbook: &str,
        parameters: &[ParameterValue],
        tests: Vec<TestReport>,
    ) {
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
