//! Cuts a stream into the messages in it, however it arrives.
//!
//! Never holds more than the longest message that may come, and what was read beside it.

use std::ops::Range;

/// How messages follow each other in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One a line.
    Lines,
    /// As RFC 6587 says, told apart message by message: counted when it begins with a number, otherwise one a line.
    Syslog,
}

/// What comes next in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut<'a> {
    /// A message.
    Message(&'a [u8]),
    /// A message that is longer than any may be. It is passed over.
    TooLong,
}

/// Digits of a length; the longest message that may come has fewer.
const DIGITS_MAX: usize = 9;

/// What is left of a stream to be cut.
#[derive(Debug)]
pub struct Cutter {
    framing: Framing,
    bytes_max: usize,
    buffer: Vec<u8>,
    /// Where the rest begins.
    at: usize,
    skips: Skips,
}

/// What of an overlong message is still to be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skips {
    Nothing,
    ToLineFeed,
    Bytes(usize),
}

/// A step through the buffer.
enum Step {
    Message(Range<usize>),
    TooLong,
}

/// What a counted message begins with.
enum Length {
    /// Digits and a space: how many bytes that is, and the number.
    Is(usize, usize),
    /// Digits so far.
    Unfinished,
    /// Something else.
    None,
}

impl Cutter {
    /// A stream with messages of at most `bytes_max` bytes.
    #[must_use]
    pub const fn new(framing: Framing, bytes_max: usize) -> Self {
        Self {
            framing,
            bytes_max,
            buffer: Vec::new(),
            at: 0,
            skips: Skips::Nothing,
        }
    }

    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.is_empty() {
            // One long message is no reason to hold its memory for as long as the stream lasts.
            self.buffer.shrink_to(64 << 10);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message; `None` when there is none that is whole.
    #[allow(clippy::should_implement_trait, reason = "a message borrows from the buffer")]
    pub fn next(&mut self) -> Option<Cut<'_>> {
        Some(match self.step()? {
            Step::Message(range) => Cut::Message(&self.buffer[range]),
            Step::TooLong => Cut::TooLong,
        })
    }

    /// The last message of a stream that has ended without a line feed; `None` when nothing is left, or only a part of
    /// a counted message.
    pub fn last(&mut self) -> Option<&[u8]> {
        let start = self.at;
        self.at = self.buffer.len();
        let rest = &self.buffer[start..];
        let counted = self.framing == Framing::Syslog && !matches!(length(rest), Length::None);
        let is_message = self.skips == Skips::Nothing && !counted && !rest.is_empty() && rest.len() <= self.bytes_max;
        is_message.then_some(rest)
    }

    /// Whether a message has begun that is not whole.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.at < self.buffer.len() || self.skips != Skips::Nothing
    }

    fn step(&mut self) -> Option<Step> {
        if !self.skip() {
            return None;
        }
        if self.framing == Framing::Syslog {
            let is_between = |byte: &u8| matches!(byte, b'\n' | b'\r' | b' ' | 0);
            let rest = &self.buffer[self.at..];
            self.at += rest.iter().take_while(|byte| is_between(byte)).count();
        }
        let rest = &self.buffer[self.at..];
        if self.framing == Framing::Syslog {
            match length(rest) {
                Length::Is(head, bytes) if bytes > self.bytes_max => {
                    self.at += head;
                    self.skips = Skips::Bytes(bytes);
                    return Some(Step::TooLong);
                }
                Length::Is(head, bytes) => {
                    let start = self.at + head;
                    return (rest.len() >= head + bytes).then(|| {
                        self.at = start + bytes;
                        Step::Message(start..start + bytes)
                    });
                }
                Length::Unfinished => return None,
                Length::None => {}
            }
        }
        let end = memchr::memchr(b'\n', rest);
        if end.unwrap_or(rest.len()) > self.bytes_max {
            self.skips = Skips::ToLineFeed;
            return Some(Step::TooLong);
        }
        let start = self.at;
        end.map(|end| {
            self.at = start + end + 1;
            Step::Message(start..start + end)
        })
    }

    /// Passes over what is left of an overlong message. False when there is more of it to come.
    fn skip(&mut self) -> bool {
        let rest = &self.buffer[self.at..];
        let (passed, left) = match self.skips {
            Skips::Nothing => return true,
            Skips::ToLineFeed => match memchr::memchr(b'\n', rest) {
                Some(end) => (end + 1, Skips::Nothing),
                None => (rest.len(), Skips::ToLineFeed),
            },
            Skips::Bytes(bytes) if bytes <= rest.len() => (bytes, Skips::Nothing),
            Skips::Bytes(bytes) => (rest.len(), Skips::Bytes(bytes - rest.len())),
        };
        self.at += passed;
        self.skips = left;
        left == Skips::Nothing
    }
}

/// The length that `bytes` begin with.
fn length(bytes: &[u8]) -> Length {
    let digits = bytes
        .iter()
        .take(DIGITS_MAX + 1)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits == 0 || digits > DIGITS_MAX || bytes[0] == b'0' {
        return Length::None;
    }
    match bytes.get(digits) {
        None => Length::Unfinished,
        Some(b' ') => {
            let number = bytes[..digits]
                .iter()
                .fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
            Length::Is(digits + 1, number)
        }
        Some(_) => Length::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages in `stream` with at most 20 bytes, however it arrives; `too long` for those that are longer.
    fn check(framing: Framing, stream: &str, expect: &[&str]) {
        for size in [1, 2, 3, 7, stream.len().max(1)] {
            let mut cutter = Cutter::new(framing, 20);
            let mut found: Vec<String> = Vec::new();
            for part in stream.as_bytes().chunks(size) {
                cutter.push(part);
                assert!(
                    cutter.buffer.len() <= 20 + DIGITS_MAX + 2 + size,
                    "{}",
                    cutter.buffer.len()
                );
                while let Some(cut) = cutter.next() {
                    found.push(match cut {
                        Cut::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                        Cut::TooLong => "too long".to_owned(),
                    });
                }
            }
            let last = cutter.last().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            found.extend(last);
            assert_eq!(found, expect, "{stream:?} in parts of {size}");
            assert!(cutter.last().is_none());
        }
    }

    #[test]
    fn lines() {
        let check = |stream, expect| check(Framing::Lines, stream, expect);
        check("", &[]);
        check("one\ntwo\n", &["one", "two"]);
        check("3 one\n", &["3 one"]);
        check("one\nlast", &["one", "last"]);
        check("123456789012345678901\ntwo\n", &["too long", "two"]);
        check("12345678901234567890\ntwo\n", &["12345678901234567890", "two"]);
        check("one\n123456789012345678901234567890", &["one", "too long"]);
    }

    #[test]
    fn counted_messages_and_lines_in_one_stream() {
        let check = |stream, expect| check(Framing::Syslog, stream, expect);
        check("7 <1>a\nbc<2>two\n5 <3>xy", &["<1>a\nbc", "<2>two", "<3>xy"]);
        check("5 <3>xy\n\r\n\0 5 <4>zz", &["<3>xy", "<4>zz"]);
        check("24 <1>456789012345678901234<2>two\n", &["too long", "<2>two"]);
        check("<1>4567890123456789012345\n<2>two\n", &["too long", "<2>two"]);
        check("5 <3>xy<4>last", &["<3>xy", "<4>last"]);
        check("5 <3>xy9 <4>cut", &["<3>xy"]);
        check("5 <3>xy12", &["<3>xy"]);
        // What looks like a length and is none is a line, and costs no more than itself.
        check("12x\n<2>two\n", &["12x", "<2>two"]);
        check("0 \n<2>two\n", &["0 ", "<2>two"]);
        check("1234567890 x\n<2>two\n", &["1234567890 x", "<2>two"]);
        check("999999999 <2>two\n<3>three\n", &["too long"]);
    }
}
