//! Lists of networks.
//!
//! What holds: a list is read whole or refused with a line of it and a hint, in words that can be shown; what is read lies
//! on the lines that are named, in their order, and every line that says something is read; written anew it is read as the
//! same.

use std::fmt::Write as _;

use staunch_connectors::lists::{REASON_CHARS_MAX, plain};

use crate::shown::assert_line;

/// Reads a list.
pub fn run(data: &[u8]) {
    let lines = data.split(|it| *it == b'\n').count();
    let listed = match plain(data, usize::MAX) {
        Ok(listed) => listed,
        Err(invalid) => {
            assert!(invalid.line.is_none_or(|line| line >= 1 && line as usize <= lines));
            assert!(!invalid.what.is_empty() && !invalid.hint.is_empty());
            assert_line(&invalid.what);
            assert_line(&invalid.hint);
            return;
        }
    };
    let text = std::str::from_utf8(data).expect("it was read");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let says = |line: &&str| !line.split(['#', ';']).next().unwrap_or_default().trim().is_empty();
    assert_eq!(text.split('\n').filter(says).count(), listed.len());
    let mut again = String::new();
    let mut at = 0;
    for it in &listed {
        assert!(it.line > at && it.line as usize <= lines);
        assert!(it.network.prefix_len() > 0 && it.network.trunc() == it.network);
        assert!(
            it.reason
                .as_ref()
                .is_none_or(|reason| reason.chars().count() <= REASON_CHARS_MAX)
        );
        while at + 1 < it.line {
            again.push('\n');
            at += 1;
        }
        write!(again, "{} # {}", it.network, it.reason.as_deref().unwrap_or_default()).expect("a string takes all");
        again.push('\n');
        at = it.line;
    }
    assert_eq!(plain(again.as_bytes(), usize::MAX).as_ref(), Ok(&listed));
}
