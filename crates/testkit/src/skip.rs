//! How a test says that this machine does not let it run.
//!
//! Never lets such a test pass unseen: the reason goes to stderr past the capture of the test harness, and into the
//! list that `cargo xtask test` prints at the end. Where `CI=true`, it is a failure.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// The variable that names the file to which skipped tests are appended, one `name<TAB>reason` a line.
pub const SKIP_LOG: &str = "STAUNCH_SKIP_LOG";

/// Says that the test `name` cannot run here, and why. The test returns after this call.
///
/// ```no_run
/// # fn may_make_namespaces() -> Result<(), String> { Ok(()) }
/// # fn test() {
/// if let Err(reason) = may_make_namespaces() {
///     staunch_testkit::skip("nftables::adds_one_element", &reason);
///     return;
/// }
/// # }
/// ```
///
/// # Panics
///
/// Where the environment has `CI=true`, because there a test that does not run is a test that is missing; and when the
/// file that `STAUNCH_SKIP_LOG` names cannot be written.
pub fn skip(name: &str, reason: &str) {
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    record(name, reason, env::var_os(SKIP_LOG).as_deref().map(Path::new), ci);
    // Not `eprintln!`: what that prints is shown only for tests that fail. A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr().lock(), "SKIPPED {name}: {reason}");
}

/// Appends to the list, and fails under CI.
fn record(name: &str, reason: &str, log: Option<&Path>, ci: bool) {
    let (name, reason) = (one_line(name), one_line(reason));
    if let Some(path) = log {
        // One write of the whole line, because other test processes append to the same file.
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(format!("{name}\t{reason}\n").as_bytes()));
        if let Err(error) = written {
            panic!("cannot append to {}: {error}", path.display());
        }
    }
    assert!(!ci, "{name} cannot run here, and CI=true forbids skipping: {reason}");
}

/// Tabs and line ends become spaces, so that one entry stays one line of two fields.
fn one_line(text: &str) -> String {
    text.replace(['\t', '\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::{fs, panic, process};

    use super::*;

    fn log_of(test: &str) -> PathBuf {
        let path = env::temp_dir().join(format!("staunch-skip-{test}-{}", process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn one_entry_is_one_line_of_two_fields() {
        let log = log_of("lines");
        record("a::b", "no\tnft\nhere", Some(&log), false);
        record("c", "no namespace", Some(&log), false);
        let text = fs::read_to_string(&log).expect("the log was written");
        fs::remove_file(&log).expect("it is ours");
        assert_eq!(text, "a::b\tno nft here\nc\tno namespace\n");
    }

    #[test]
    fn a_skip_under_ci_is_recorded_and_fails() {
        let log = log_of("ci");
        let result = panic::catch_unwind(|| record("a", "why", Some(&log), true));
        let text = fs::read_to_string(&log).expect("the log was written");
        fs::remove_file(&log).expect("it is ours");
        assert!(result.is_err());
        assert_eq!(text, "a\twhy\n");
    }
}
