//! Where each byte of a YAML scalar's value stands in the file.
//!
//! The value is aligned with the text that it was read from. Where that fails, every place is the start of the scalar.

use std::borrow::Cow;
use std::ops::Range;

use saphyr_parser::ScalarStyle;

use crate::yaml::{Kind, Node};

/// A scalar with its place in the file.
pub(crate) struct Scalar<'a> {
    /// The value, and those that were put behind it.
    pub(crate) text: Cow<'a, str>,
    /// The value's own part of it first.
    parts: Vec<Part>,
}

/// A value in the text of a scalar.
struct Part {
    /// Its bytes in the text.
    of: Range<usize>,
    /// The scalar's bytes in the file.
    span: Range<usize>,
    /// For each byte of the value, its byte in the file; empty when the alignment failed.
    bytes: Vec<usize>,
}

impl<'a> Scalar<'a> {
    /// The scalar of `node`, if it is one. `file` is the text that it was read from, whose spans start at `start`.
    pub(crate) fn new(node: &'a Node, file: &str, start: usize) -> Option<Self> {
        let Kind::Scalar { text, style } = &node.kind else {
            return None;
        };
        let own = node.span.start - start..node.span.end - start;
        let bytes = align(text, *style, file, &own).unwrap_or_default();
        let part = Part {
            of: 0..text.len(),
            span: node.span.clone(),
            bytes: bytes.into_iter().map(|at| at + start).collect(),
        };
        Some(Self {
            text: Cow::Borrowed(text),
            parts: vec![part],
        })
    }

    /// Puts the text of `other`, whose places are moved by `start`, behind this one. Returns where it begins.
    pub(crate) fn append(&mut self, other: &Scalar<'_>, start: usize) -> usize {
        let text = self.text.to_mut();
        text.push('\n');
        let at = text.len();
        text.push_str(&other.text);
        self.parts.extend(other.parts.iter().map(|it| Part {
            of: it.of.start + at..it.of.end + at,
            span: it.span.start + start..it.span.end + start,
            bytes: it.bytes.iter().map(|byte| byte + start).collect(),
        }));
        at
    }

    /// The place in the file of the bytes `span` of the value, and whether it is exact.
    pub(crate) fn place(&self, span: &Range<usize>) -> (Range<usize>, bool) {
        let after = self.parts.partition_point(|it| it.of.start <= span.start).max(1);
        let part = &self.parts[after - 1];
        let start = part.of.start;
        part.place(&(span.start - start..span.end.max(span.start) - start))
    }
}

impl Part {
    fn place(&self, span: &Range<usize>) -> (Range<usize>, bool) {
        let end = self.bytes.last().map(|last| last + 1);
        let start = self.bytes.get(span.start).copied().or(end);
        match start {
            Some(start) => {
                let last = span.end.max(1).min(self.bytes.len()) - 1;
                (
                    start..self.bytes.get(last).map_or(start, |last| last + 1).max(start),
                    true,
                )
            }
            None => (self.span.start..self.span.start, self.of.is_empty()),
        }
    }
}

fn align(value: &str, style: ScalarStyle, file: &str, span: &Range<usize>) -> Option<Vec<usize>> {
    let mut walk = Walk {
        file: file.as_bytes(),
        at: span.start,
        bytes: Vec::with_capacity(value.len()),
    };
    match style {
        ScalarStyle::Literal | ScalarStyle::Folded => walk.block(value, style == ScalarStyle::Folded)?,
        ScalarStyle::Plain => walk.flow(value, None)?,
        ScalarStyle::SingleQuoted => walk.flow(value, Some(b'\''))?,
        ScalarStyle::DoubleQuoted => walk.flow(value, Some(b'"'))?,
    }
    Some(walk.bytes)
}

/// A walk through the value and the file side by side.
struct Walk<'f> {
    file: &'f [u8],
    at: usize,
    bytes: Vec<usize>,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.file.get(self.at).copied()
    }

    /// A plain or quoted scalar. A line end with its blanks stands for one space, or for one line end less than there
    /// are.
    fn flow(&mut self, value: &str, quote: Option<u8>) -> Option<()> {
        if quote.is_some() {
            self.at += 1;
        }
        let value = value.as_bytes();
        let mut next = 0;
        while next < value.len() {
            let breaks = self.breaks_ahead();
            if breaks > 0 {
                let expect: &[u8] = if breaks == 1 { b" " } else { b"\n" };
                let count = breaks.max(2) - 1;
                for _ in 0..count {
                    (value.get(next) == Some(&expect[0])).then_some(())?;
                    self.bytes.push(self.at);
                    next += 1;
                }
                while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
                    self.at += 1;
                }
                continue;
            }
            let place = self.at;
            let byte = self.peek()?;
            let escape = match (quote, byte) {
                (Some(b'\''), b'\'') => b'\'',
                (Some(b'"'), b'\\') => *self.file.get(self.at + 1).filter(|it| b"\"\\/ ".contains(it))?,
                _ => byte,
            };
            self.at += if (quote, byte) == (Some(b'\''), b'\'') || (quote, byte) == (Some(b'"'), b'\\') {
                2
            } else {
                1
            };
            (value[next] == escape).then_some(())?;
            self.bytes.push(place);
            next += 1;
        }
        Some(())
    }

    /// The line ends in the run of blanks that starts here.
    fn breaks_ahead(&self) -> usize {
        let blank = |byte: &&u8| byte.is_ascii_whitespace();
        self.file[self.at.min(self.file.len())..]
            .iter()
            .take_while(blank)
            .filter(|byte| **byte == b'\n')
            .count()
    }

    /// A block scalar: lines below its header, each with the indentation of the first that is not blank, at which its
    /// span starts.
    fn block(&mut self, value: &str, folded: bool) -> Option<()> {
        let line = self.file[..self.at]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        let indent = self.at - line;
        let blank_lines = value.bytes().take_while(|byte| *byte == b'\n').count();
        self.bytes.extend(std::iter::repeat_n(self.at, blank_lines));
        let value = &value[blank_lines..];
        let value = value.as_bytes();
        let mut next = 0;
        while next < value.len() {
            let byte = value[next];
            let at_break = self.peek().is_none_or(|it| it == b'\n' || it == b'\r');
            if !at_break {
                (self.peek() == Some(byte)).then_some(())?;
                self.bytes.push(self.at);
                self.at += 1;
                next += 1;
                continue;
            }
            // One line end is one line end, or one space when folded; folded text between blank lines loses one.
            (byte == b'\n' || (folded && byte == b' ')).then_some(())?;
            self.bytes.push(self.at.min(self.file.len().saturating_sub(1)));
            next += 1;
            if next == value.len() {
                break;
            }
            self.next_line()?;
            self.skip_indent(indent);
            if folded && byte == b'\n' && value.get(next) != Some(&b'\n') && self.peek() == Some(b'\n') {
                self.next_line()?;
                self.skip_indent(indent);
            }
        }
        Some(())
    }

    fn next_line(&mut self) -> Option<()> {
        self.at += self.file.get(self.at..)?.iter().position(|byte| *byte == b'\n')? + 1;
        Some(())
    }

    fn skip_indent(&mut self, indent: usize) {
        let blanks = self.file[self.at..]
            .iter()
            .take(indent)
            .take_while(|byte| **byte == b' ')
            .count();
        self.at += blanks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Report;

    /// Finds `needle` in the value of `key: <scalar>` and returns what stands at that place in the file.
    fn found(file: &str, needle: &str) -> String {
        let mut report = Report::new("x", file);
        let node = crate::yaml::parse(file, &mut report).expect("YAML");
        let Kind::Mapping(pairs) = &node.kind else {
            panic!("{node:?}")
        };
        let scalar = Scalar::new(&pairs[0].1, file, 0).expect("a scalar");
        let at = scalar.text.find(needle).expect("the needle");
        let (place, exact) = scalar.place(&(at..at + needle.len()));
        format!("{}{}", if exact { "" } else { "?" }, &file[place])
    }

    #[test]
    fn every_style_is_mapped_back() {
        for (file, expect) in [
            ("key: one wörd two", "two"),
            ("key: one\n  wörd\n  two", "two"),
            ("key: one\n\n  wörd\n  two\nother: x", "two"),
            ("key: 'it''s wörd two'", "two"),
            ("key: \"a \\\"wörd\\\" two\"", "two"),
            ("key: \"one\n  two\"", "two"),
            ("key: |\n  one wörd\n  && two\n", "two"),
            ("key: |-\n\n    one wörd\n      more\n\n    two", "two"),
            ("key: >\n  one wörd\n  two three\n", "two"),
            ("key: >-\n  one\n  wörd\n\n  two\n", "two"),
            ("key: >-\r\n  one\r\n  two\r\n", "two"),
            ("key: |2-\n    one\n   two\n", "two"),
            ("key: | # why\n  one\n  two\n", "two"),
        ] {
            assert_eq!(found(file, "two"), expect, "{file:?}");
        }
        assert_eq!(
            found("key: \"\\x61 two\"", "two"),
            "?",
            "an escape that is not followed falls back to the start"
        );
    }
}
