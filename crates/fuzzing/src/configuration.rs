//! The configuration file: its parser and its checks.
//!
//! What holds: a refusal names at least one mistake, inside the file, at the line and column that it says, in words
//! that can be shown; what is accepted is accepted again, as the same.

use crate::config;
use crate::shown::{assert_line, assert_lines, assert_position};

/// Reads a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match config::parse(text) {
        Ok(config) => {
            let again = config::parse(text).expect("it was accepted once");
            assert_eq!(format!("{again:?}"), format!("{config:?}"));
            assert!(config.http.connections_max > 0 && config.journal.reserve_bytes < config.journal.segment_bytes);
            assert!(staunch_connectors::sources::all(&config.sources.settings()).is_ok());
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            for mistake in &mistakes {
                assert!(
                    text.get(mistake.span.clone()).is_some(),
                    "{mistake:?} lies outside of the file"
                );
                assert_position(text, mistake.span.start, mistake.position(text));
                assert!(!mistake.what.is_empty() && !mistake.hint.is_empty());
                assert_line(&mistake.what);
                assert_line(&mistake.hint);
                let shown = mistake.render("staunch.toml", text, false);
                assert!(shown.contains("hint: "), "{shown}");
                assert_lines(&shown);
            }
        }
    }
}
