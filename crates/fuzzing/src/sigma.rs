//! Sigma rules: a rule, a zero byte, then an event as JSON.
//!
//! What holds: reading and trying end; the same event always gives the same answer; why a rule is refused is one line that can
//! be shown; a rule that is read says nothing else when blank lines and a comment are put before it.

use serde_json::Value;
use staunch_playbook::sigma::Rule;

use crate::shown::assert_line;

/// Reads the rule, and tries it on the event.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let Ok(text) = std::str::from_utf8(&data[..end]) else {
        return;
    };
    let event = serde_json::from_slice::<Value>(data.get(end + 1..).unwrap_or_default());
    match Rule::read(text) {
        Err(refused) => {
            assert_line(&refused.to_string());
            assert!(!refused.name().is_empty());
        }
        Ok(rule) => {
            let Ok(event) = event else { return };
            let matches = rule.matches(&event);
            assert_eq!(rule.matches(&event), matches);
            let again = Rule::read(&format!("# A rule.\n\n{text}"));
            // The comment makes a rule longer that has just the most bytes.
            if let Ok(again) = again {
                assert_eq!(again.matches(&event), matches);
                assert_eq!(again.product(), rule.product());
            }
        }
    }
}
