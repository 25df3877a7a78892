//! What Rust code here does not contain.
//!
//! Looks at the text only, without comments and literals.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Findings;
use super::rust_text::RustText;
use crate::workspace::Workspace;

/// Found nowhere, and what to say about it.
const NOWHERE: [(&str, &str); 3] = [
    ("#[ignore", "a test that nobody runs"),
    ("todo!", "a gap in the code"),
    ("unimplemented!", "a gap in the code"),
];

/// Found in no test.
const NOT_IN_TESTS: [(&str, &str); 2] = [
    ("thread::sleep", "a test that waits for time to pass"),
    ("time::sleep", "a test that waits for time to pass"),
];

/// Checks all Rust files.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let mut files = Vec::new();
    let mut test_files = BTreeSet::new();
    for file in workspace.rust_files(&["crates", "xtask", "fuzz", "examples"]) {
        if let Some(text) = workspace.read(file)? {
            let text = RustText::parse(&text);
            test_files.extend(text.test_modules().into_iter().map(|module| file_of(file, module)));
            files.push((file, text));
        }
    }
    let mut findings = Findings::new();
    for (file, text) in &files {
        let all_test = test_files.contains(*file) || is_in_tests(file);
        findings.extend(
            judge(text, all_test)
                .into_iter()
                .map(|it| format!("{}:{it}", file.display())),
        );
    }
    Ok(findings)
}

fn judge(text: &RustText, all_test: bool) -> Findings {
    let mut findings = Findings::new();
    let test_lines = text.test_lines();
    for (index, line) in text.code.lines().enumerate() {
        let not_in_tests = NOT_IN_TESTS.iter().filter(|_| all_test || test_lines[index]);
        for (pattern, what) in NOWHERE.iter().chain(not_in_tests) {
            if line.contains(pattern) {
                findings.push(format!("{}: {pattern}: {what}", index + 1));
            }
        }
    }
    findings
}

/// True for `crates/<crate>/tests/**`.
fn is_in_tests(file: &Path) -> bool {
    file.components()
        .nth(2)
        .is_some_and(|folder| folder.as_os_str() == "tests")
}

/// The file of `mod module;` in `file`.
fn file_of(file: &Path, module: &str) -> PathBuf {
    let folder = match file.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => file.parent().unwrap_or(Path::new("")).to_owned(),
        Some(_) => file.with_extension(""),
    };
    folder.join(module).with_extension("rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, all_test: bool, expect: &[&str]) {
        assert_eq!(judge(&RustText::parse(text), all_test), expect);
    }

    #[test]
    fn sleeps_are_found_in_tests_only() {
        let text = "fn a() {\n    thread::sleep(b);\n}\n#[cfg(test)]\nmod tests {\n    fn c() {\n        \
                    tokio::time::sleep(d);\n        // thread::sleep\n    }\n}\n";
        check(text, false, &["7: time::sleep: a test that waits for time to pass"]);
        check(
            text,
            true,
            &[
                "2: thread::sleep: a test that waits for time to pass",
                "7: time::sleep: a test that waits for time to pass",
            ],
        );
        check(
            "use std::thread::sleep;",
            true,
            &["1: thread::sleep: a test that waits for time to pass"],
        );
    }

    #[test]
    fn gaps_are_found_everywhere_but_in_text() {
        check(
            "#[ignore = \"slow\"]\nfn a() {}",
            false,
            &["1: #[ignore: a test that nobody runs"],
        );
        check(
            "todo!()\n\"todo!()\" // unimplemented!()\n",
            false,
            &["1: todo!: a gap in the code"],
        );
    }

    #[test]
    fn test_modules_lead_to_their_files() {
        assert_eq!(
            file_of(Path::new("crates/a/src/lib.rs"), "tests"),
            Path::new("crates/a/src/tests.rs")
        );
        assert_eq!(
            file_of(Path::new("crates/a/src/b.rs"), "tests"),
            Path::new("crates/a/src/b/tests.rs")
        );
        assert!(is_in_tests(Path::new("crates/a/tests/it/main.rs")));
        assert!(!is_in_tests(Path::new("crates/testkit/src/wait.rs")));
    }
}
