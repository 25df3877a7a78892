//! Sigma rules: a rule, a zero byte, then an event as JSON.
//!
//! What holds: reading and trying end; why a rule is refused is one line that can be shown; a rule that is read says
//! nothing else when blank lines and a comment are put before it; the same rule with its condition denied selects
//! exactly the other events.

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
            if let Some(denied) = denied(text).and_then(|it| Rule::read(&it).ok()) {
                assert_eq!(denied.matches(&event), !matches, "what is denied is the opposite");
            }
            let again = Rule::read(&format!("# A rule.\n\n{text}"));
            // The comment makes a rule longer that has just the most bytes.
            if let Ok(again) = again {
                assert_eq!(again.matches(&event), matches);
                assert_eq!(again.product(), rule.product());
            }
        }
    }
}

/// The rule with `not ( )` around its condition, which stands alone on a line as plain words; `None` when it does not.
fn denied(text: &str) -> Option<String> {
    let mut conditions = text.lines().filter(|line| line.trim_start().starts_with("condition:"));
    let (Some(line), None) = (conditions.next(), conditions.next()) else {
        return None;
    };
    let (key, words) = line.split_once("condition:")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '(' | ')' | '*');
    let is_alone = key.chars().all(|c| c == ' ') && words.starts_with(' ') && words.chars().all(is_plain);
    // A longer one goes on in the next line.
    let mut after = text.lines().skip_while(|it| *it != line).skip(1);
    let indent = key.len();
    let ends = after
        .next()
        .is_none_or(|next| !next.starts_with(&" ".repeat(indent + 1)) && !next.trim().is_empty());
    (is_alone && ends && !words.trim().is_empty())
        .then(|| text.replacen(line, &format!("{key}condition: not ({words} )"), 1))
}
