//! Events that are sent inside another object: a list of them under a key, or one.
//!
//! Never parses: it finds brackets and strings, so that a body of many events may be larger than one event may be. What
//! stands around the events is parsed by the caller, see [`Within::around`].

use std::ops::Range;

use super::guard::string_end;

/// A value inside the object that some bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Within {
    /// Where the key is, with its quotes.
    pub(crate) key: Range<usize>,
    /// Where the value is.
    pub(crate) place: Range<usize>,
}

impl Within {
    /// The object or array that is the member `key` of the object that `bytes` are. Not for keys with escape sequences.
    pub(crate) fn find(bytes: &[u8], key: &str) -> Option<Self> {
        Self::find_where(bytes, key, |first| matches!(first, b'{' | b'['))
    }

    /// The text that is the member `key` of the object that `bytes` are. Not for keys with escape sequences.
    pub(crate) fn find_text(bytes: &[u8], key: &str) -> Option<Self> {
        Self::find_where(bytes, key, |first| first == b'"')
    }

    /// The member `key` whose value begins with a byte of which `begins` is true.
    fn find_where(bytes: &[u8], key: &str, begins: impl Fn(u8) -> bool) -> Option<Self> {
        let mut at = not_blank(bytes, 0);
        if bytes.get(at) != Some(&b'{') {
            return None;
        }
        loop {
            let start = not_blank(bytes, at + 1);
            let end = match bytes.get(start) {
                Some(b'"') => string_end(bytes, start + 1)?,
                _ => return None,
            };
            let colon = not_blank(bytes, end);
            if bytes.get(colon) != Some(&b':') {
                return None;
            }
            let value = not_blank(bytes, colon + 1);
            let behind = value_end(bytes, value)?;
            if &bytes[start + 1..end - 1] == key.as_bytes() && bytes.get(value).copied().is_some_and(&begins) {
                return Some(Self {
                    key: start..end,
                    place: value..behind,
                });
            }
            at = not_blank(bytes, behind);
            if bytes.get(at) != Some(&b',') {
                return None;
            }
        }
    }

    /// What stands around the value, with `null` in its place. It is to be parsed before the value is believed: it may
    /// be no JSON, or name the key twice.
    pub(crate) fn around(&self, bytes: &[u8]) -> Vec<u8> {
        [&bytes[..self.place.start], b"null", &bytes[self.place.end..]].concat()
    }

    /// The bytes with `member`, a key and a value, in the place of both.
    pub(crate) fn replaced(&self, bytes: &[u8], member: &[u8]) -> Vec<u8> {
        [&bytes[..self.key.start], member, &bytes[self.place.end..]].concat()
    }

    /// The place in the bytes of a place in what stands around the value.
    pub(crate) fn place_of(&self, around: usize) -> usize {
        if around < self.place.start + 4 {
            around.min(self.place.start)
        } else {
            around - 4 + self.place.len()
        }
    }
}

/// The first offset from `at` on that is not blank.
pub(super) fn not_blank(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the value that begins at `at`; `None` when there is none.
pub(super) fn value_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at + 1)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'t>(text: &'t str, key: &str) -> Option<&'t str> {
        Within::find(text.as_bytes(), key).map(|it| &text[it.place])
    }

    #[test]
    fn the_member_at_the_top_is_found_and_no_other() {
        let text = r#" {"a":"\"k\":[1]", "b":[{"k":[2]},"}"],"n":-1.5e3, "t" : true,"k": [3, {"k":[4]}] ,"z":{}}"#;
        assert_eq!(found(text, "k"), Some(r#"[3, {"k":[4]}]"#));
        assert_eq!(found(text, "z"), Some("{}"));
        assert_eq!(found(text, "b"), Some(r#"[{"k":[2]},"}"]"#));
        for none in [
            r#"{"k":1}"#,
            r#"{"k":"[]"}"#,
            r#"["k",[]]"#,
            r#"{"k":[}"#,
            r#"{"k":[1"#,
            "{",
            "",
            r#"{"k""#,
            r#"{"j":1 "k":[]}"#,
        ] {
            let expect = (none == r#"{"k":[}"#).then_some("[}");
            assert_eq!(found(none, "k"), expect, "{none}");
        }
    }

    #[test]
    fn a_text_is_found_and_replaced_with_its_key() {
        let text = r#"{"a":{"k":"no"}, "k" : "y\"es" ,"z":1}"#;
        let within = Within::find_text(text.as_bytes(), "k").expect("it is there");
        assert_eq!(&text[within.place.clone()], r#""y\"es""#);
        assert_eq!(
            within.replaced(text.as_bytes(), br#""l":[]"#),
            br#"{"a":{"k":"no"}, "l":[] ,"z":1}"#
        );
        assert_eq!(Within::find_text(text.as_bytes(), "a"), None);
    }

    #[test]
    fn what_stands_around_keeps_its_places() {
        let text = r#"{"k":[1,2,3],"z":x}"#;
        let within = Within::find(text.as_bytes(), "k").expect("it is there");
        let around = within.around(text.as_bytes());
        assert_eq!(around, br#"{"k":null,"z":x}"#);
        let at = around.iter().position(|byte| *byte == b'x').expect("it is there");
        assert_eq!(text.as_bytes()[within.place_of(at)], b'x');
        assert_eq!(within.place_of(2), 2);
    }
}
