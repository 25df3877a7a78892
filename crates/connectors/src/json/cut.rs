//! Documents of several events that end before they are whole: a file that was still written, or a transfer that broke
//! off.
//!
//! Never parses and never calls itself: it finds brackets and strings. What is whole of such a document is parsed by
//! the caller, with the brackets put behind it that are missing.

use super::split::{ItemEnd, item_end};
use super::within::{not_blank, value_end};
use crate::json::guard::string_end;

/// What is whole of a document that ends too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where what is whole of its events ends.
    end: usize,
    /// The brackets that are missing behind that.
    closed_by: String,
}

impl Cut {
    /// What is whole of `bytes` when they are a list of events, or an object with events under one of the paths
    /// `inside`, of which the end is missing. `None` for all else: for what is whole, for what has no such list, and
    /// for brackets that do not pair up.
    pub(crate) fn find(bytes: &[u8], inside: &[&[&str]]) -> Option<Self> {
        let marked = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let start = not_blank(bytes, marked);
        if value_end(bytes, start).is_some() {
            return None;
        }
        match bytes.get(start)? {
            b'[' => Some(Self {
                end: items_end(bytes, start)?,
                closed_by: "]".to_owned(),
            }),
            b'{' => inside.iter().find_map(|path| {
                let place = path.iter().try_fold(start, |at, key| member(bytes, at, key))?;
                let around = "}".repeat(path.len());
                match value_end(bytes, place) {
                    // The events are whole, and what stands behind them is not.
                    Some(end) => Some(Self { end, closed_by: around }),
                    None if bytes[place] == b'[' => Some(Self {
                        end: items_end(bytes, place)?,
                        closed_by: format!("]{around}"),
                    }),
                    None => None,
                }
            }),
            _ => None,
        }
    }

    /// Whether the list stands alone, so that its events are found in the bytes as they are.
    pub(crate) fn is_plain_list(&self) -> bool {
        self.closed_by == "]"
    }

    /// Where what is whole of the events ends.
    pub(crate) const fn end(&self) -> usize {
        self.end
    }

    /// What is whole of `bytes`, in which this was found, as a whole document.
    pub(crate) fn mended(&self, bytes: &[u8]) -> Vec<u8> {
        [&bytes[..self.end], self.closed_by.as_bytes()].concat()
    }
}

/// The end of the last whole item of the list that begins at `open` and has no end; behind the bracket when there is
/// none.
fn items_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut end = open + 1;
    let mut at = end;
    loop {
        let start = not_blank(bytes, at);
        match item_end(bytes, start) {
            ItemEnd::Comma(comma) => {
                end = comma;
                at = comma + 1;
            }
            // A number or a word may go on where it is cut; an object does not.
            ItemEnd::Missing if bytes.get(start) == Some(&b'{') => return Some(value_end(bytes, start).unwrap_or(end)),
            ItemEnd::Missing => return Some(end),
            ItemEnd::Bracket(_) | ItemEnd::Unpaired(_) => return None,
        }
    }
}

/// Where the object or list begins that is the member `key` of the object that begins at `open`; neither needs to have
/// an end.
fn member(bytes: &[u8], open: usize, key: &str) -> Option<usize> {
    if bytes.get(open) != Some(&b'{') {
        return None;
    }
    let mut at = open;
    loop {
        let start = not_blank(bytes, at + 1);
        if bytes.get(start) != Some(&b'"') {
            return None;
        }
        let end = string_end(bytes, start + 1)?;
        let colon = not_blank(bytes, end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let value = not_blank(bytes, colon + 1);
        if &bytes[start + 1..end - 1] == key.as_bytes() && matches!(bytes.get(value), Some(b'{' | b'[')) {
            return Some(value);
        }
        at = not_blank(bytes, value_end(bytes, value)?);
        if bytes.get(at) != Some(&b',') {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(text: &str) -> Option<String> {
        let found = Cut::find(text.as_bytes(), &[&["k"], &["d", "e"]])?;
        Some(String::from_utf8(found.mended(text.as_bytes())).expect("a part of a text"))
    }

    #[test]
    fn what_is_whole_before_the_cut_is_closed_as_it_would_have_been() {
        for (cut, whole) in [
            (
                r#"{"a":[{}],"k":[{"x":"]}"},{"y":{"z":[1]}},{"ev"#,
                r#"{"a":[{}],"k":[{"x":"]}"},{"y":{"z":[1]}}]}"#,
            ),
            // Behind a whole event, behind the comma, within a text and an escape.
            (r#"{"k":[{"x":1},{"y":2}"#, r#"{"k":[{"x":1},{"y":2}]}"#),
            (r#"{"k":[{"x":1}, "#, r#"{"k":[{"x":1}]}"#),
            (r#"{"k":[{"x":1},{"y":"\"}]"#, r#"{"k":[{"x":1}]}"#),
            (r#"{"k":[{"x":1},{"y":"\"#, r#"{"k":[{"x":1}]}"#),
            // A number may go on.
            ("[1,23", "[1]"),
            (r#"{"k":[{"x":1"#, r#"{"k":[]}"#),
            (r#"{"k":["#, r#"{"k":[]}"#),
            // All events are there, and what is around them is not.
            (r#"{"k":[{"x":1}]"#, r#"{"k":[{"x":1}]}"#),
            (r#"{"k":{"x":1},"b":[{"#, r#"{"k":{"x":1}}"#),
            (r#" {"d":{"c":1,"e":[{"x":1},{"#, r#" {"d":{"c":1,"e":[{"x":1}]}}"#),
            ("\u{feff}\n[ {\"x\":1}\n,{\"y\"", "\u{feff}\n[ {\"x\":1}\n]"),
        ] {
            assert_eq!(mended(cut).as_deref(), Some(whole), "{cut}");
        }
    }

    #[test]
    fn what_is_whole_or_has_no_list_of_events_is_left_alone() {
        for text in [
            "",
            " ",
            "x",
            "{",
            r#"{"k""#,
            r#"{"k":"#,
            r#"{"k":[{"x":1}]}"#,
            r#"{"k":[{"x":1}]}{"k":["#,
            r#"[{"x":1}]"#,
            r#"{"b":[{"x":1},{"#,
            r#"{"k":{"x":1"#,
            r#"{"x":{"k":[{"x":1},{"#,
            r#"{"k":[{"x":[1}},{"#,
            r#"{"d":[{"e":[{"x":1},{"#,
        ] {
            assert_eq!(mended(text), None, "{text}");
        }
    }
}
