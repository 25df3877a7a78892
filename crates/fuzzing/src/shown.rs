//! What may be shown to people.

use staunch_model::text::is_unsafe_to_show;

/// Asserts that `text` cannot steer a terminal or break a line of a log.
#[track_caller]
pub(crate) fn assert_line(text: &str) {
    let found = text.chars().find(|c| is_unsafe_to_show(*c));
    assert!(found.is_none(), "{found:?} is shown to people: {text:?}");
}

/// The same for a text of several lines.
#[track_caller]
pub(crate) fn assert_lines(text: &str) {
    text.split('\n').for_each(assert_line);
}

/// Asserts that `position` is the line and the column in characters, from 1, of the byte `at` of `text`.
#[track_caller]
pub(crate) fn assert_position(text: &str, at: usize, position: (usize, usize)) {
    let (line, column) = position;
    let start = text.split('\n').nth(line - 1).expect("the line is in the text");
    let start_at = start.as_ptr().addr() - text.as_ptr().addr();
    let before = text
        .get(start_at..at)
        .expect("the byte lies behind the start of its line");
    assert!(!before.contains('\n'), "the byte is on a later line");
    assert_eq!(before.chars().count() + 1, column);
}
