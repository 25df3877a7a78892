//! The JSON front: the only way in which bytes from outside become a [`Document`].
//!
//! Never hands the parser bytes that could hurt it, and never lets two readers of one event see different values.
//!
//! ```text
//! body -> Split (one object, an array or lines) -> size limit -> sonic-rs, into a tape -> Document
//!                                                                | levels and keys are checked on the way
//! ```
//!
//! - **Nesting.** sonic-rs recurses without a limit of its own that would help and overflows the stack, which ends the
//!   process (its issues #232 and #239, seen with 0.5.10 at 8.7 KB of `[`). It goes down only through the tape, which
//!   refuses more than [`DEPTH_MAX`] levels.
//! - **Duplicate keys.** Parsers disagree about which value counts, which lets an event look harmless to one reader and
//!   not to another. An object with a repeated key is refused.
//! - **Everything else** that RFC 8259 forbids is refused by sonic-rs and proved by tests: bytes that are not UTF-8,
//!   raw control characters (NUL too), lone surrogates, text after the value, numbers that no `f64` can hold. Integers
//!   beyond 64 bits become floats.

use std::borrow::Cow;
use std::fmt;

use staunch_model::{FieldValue, RawFields};

mod cut;
mod duplicate;
mod guard;
mod split;
pub(crate) mod strict;
mod tape;
mod within;

pub(crate) use cut::Cut;
pub use split::{Element, Split};
use tape::{Tape, Value};
pub(crate) use within::Within;

/// Levels of objects and arrays that an event may have. The recorded events of the tests have at most 6.
pub const DEPTH_MAX: usize = 64;

/// Bytes of one event unless the caller sets another limit. Suricata writes lines above 100 KB with payloads switched
/// on; nothing seen comes near this.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Events in one body.
pub const EVENTS_PER_BODY_MAX: usize = 10_000;

/// A parsed event: one JSON object, with the bytes it came from.
#[derive(Debug)]
pub struct Document<'b> {
    bytes: &'b [u8],
    tape: Tape<'b>,
}

impl<'b> Document<'b> {
    /// Parses one event of at most [`EVENT_BYTES_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one well-formed JSON object within the limits of this module.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, JsonError> {
        Self::parse_within(bytes, EVENT_BYTES_MAX)
    }

    /// Parses one event of at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`].
    pub fn parse_within(bytes: &'b [u8], bytes_max: usize) -> Result<Self, JsonError> {
        if bytes.len() > bytes_max {
            let what = format!("the event has {} bytes, the limit is {bytes_max}", bytes.len());
            return Err(JsonError::new(
                bytes_max,
                what,
                "send smaller events, or leave payloads out of them",
            ));
        }
        let tape = Tape::parse(bytes).map_err(|error| JsonError::from_parser(error, bytes))?;
        if !matches!(tape.value(0), Value::Object) {
            let offset = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
            return Err(JsonError::new(
                offset,
                "an event must be a JSON object",
                "send {...}, [{...}] or one {...} a line",
            ));
        }
        if let Some(key) = tape.repeated() {
            let what = format!(
                "the key \"{}\" occurs twice in one object",
                staunch_model::Printable(key)
            );
            let offset = duplicate::locate(bytes).unwrap_or(0);
            return Err(JsonError::new(
                offset,
                what,
                "parsers disagree on which value counts, so it is refused",
            ));
        }
        Ok(Self { bytes, tape })
    }

    /// The event's top.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node {
            tape: &self.tape,
            slot: 0,
        }
    }
}

impl RawFields for Document<'_> {
    fn field(&self, path: &[Box<str>]) -> Option<FieldValue<'_>> {
        self.root().at(path).map(Node::value)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

/// One value inside a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    tape: &'a Tape<'a>,
    slot: usize,
}

impl<'a> Node<'a> {
    /// The text, if it is one.
    #[inline]
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        match self.tape.value(self.slot) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits.
    #[inline]
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self.tape.value(self.slot) {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    #[inline]
    #[must_use]
    pub fn truth(self) -> Option<bool> {
        match self.tape.value(self.slot) {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// True for an object.
    #[inline]
    #[must_use]
    pub fn is_object(self) -> bool {
        matches!(self.tape.value(self.slot), Value::Object)
    }

    /// The members of an object, in the order in which they were sent; none for anything else.
    #[inline]
    pub fn members(self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        let Self { tape, slot } = self;
        tape.members(slot)
            .map(move |slot| (tape.key(slot), Node { tape, slot }))
    }

    /// The items of an array; none for anything else.
    #[inline]
    pub fn items(self) -> impl Iterator<Item = Node<'a>> {
        let Self { tape, slot } = self;
        tape.items(slot).map(move |slot| Node { tape, slot })
    }

    /// The value below `path`: object keys, or indexes where it meets an array.
    #[must_use]
    pub fn at(self, path: &[Box<str>]) -> Option<Self> {
        let mut node = self;
        for key in path {
            node = match node.tape.value(node.slot) {
                Value::List => node.items().nth(key.parse().ok()?)?,
                _ => node.members().find(|(name, _)| *name == &**key)?.1,
            };
        }
        Some(node)
    }

    /// The value in the words of the model.
    #[must_use]
    pub fn value(self) -> FieldValue<'a> {
        match self.tape.value(self.slot) {
            Value::Null => FieldValue::Null,
            Value::Bool(truth) => FieldValue::Bool(truth),
            Value::Int(number) => FieldValue::Int(number),
            Value::UInt(number) => FieldValue::UInt(number),
            Value::Float(number) => FieldValue::Float(number),
            Value::Text(text) => FieldValue::Text(text),
            Value::List => FieldValue::List(self.items().count()),
            Value::Object => FieldValue::Object,
        }
    }
}

const CONTROL_CHARACTER: &str = "a control character stands unescaped in a text";

/// How messages of the parser begin, and what they mean.
const PARSER_ERRORS: [(&str, &str); 6] = [
    ("Invalid UTF-8", "the bytes are not UTF-8"),
    ("Control character", CONTROL_CHARACTER),
    ("JSON has non-whitespace trailing", "there is text after the event"),
    ("Float number must be finite", "the number is too large"),
    ("Invalid unicode", "the escape is not a character"),
    ("Invalid surrogate", "the escape is not a character"),
];

/// What is wrong with the bytes of an event, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The byte at which it was noticed, counted from the start of what was parsed: the event, or the body for errors
    /// of [`Element`].
    pub offset: usize,
    /// What is wrong, without text of the event other than an escaped key.
    pub what: Cow<'static, str>,
    /// What the sender can do.
    pub hint: &'static str,
}

impl JsonError {
    fn new(offset: usize, what: impl Into<Cow<'static, str>>, hint: &'static str) -> Self {
        Self {
            offset,
            what: what.into(),
            hint,
        }
    }

    /// An error about bytes that were taken apart elsewhere.
    pub(crate) fn of(offset: usize, what: &'static str, hint: &'static str) -> Self {
        Self::new(offset, what, hint)
    }

    #[cold]
    fn from_parser(error: sonic_rs::Error, bytes: &[u8]) -> Self {
        if let Some(offset) = guard::too_deep(bytes, DEPTH_MAX) {
            let what = format!("objects and arrays are nested more than {DEPTH_MAX} levels deep");
            return Self::new(offset, what, "no known source nests like this; look at who sent it");
        }
        // The parser names the very byte only when it builds values of its own, for which nothing but the look at the
        // levels above bounds its stack.
        let error = sonic_rs::from_slice::<sonic_rs::Value>(bytes).err().unwrap_or(error);
        let mut offset = error.offset().min(bytes.len());
        if bytes[offset..].iter().all(u8::is_ascii_whitespace) {
            return Self::new(
                offset,
                "the JSON ends before it is complete",
                "the event was cut; check the sender's limits",
            );
        }
        // The parser tells what it met by text only. A text that it changes falls to the last row.
        let text = error.to_string();
        let told = PARSER_ERRORS.iter().find(|(start, _)| text.starts_with(start));
        let what = told.map_or("a character that JSON does not allow here", |(_, what)| what);
        if what == CONTROL_CHARACTER {
            // The parser names the start of the text that the character is in.
            offset += bytes[offset..].iter().position(|byte| *byte < 0x20).unwrap_or(0);
        }
        Self::new(offset, what, "the bytes must be JSON as in RFC 8259, in UTF-8")
    }

    /// The same error, counted from the start of a body in which the event begins at `base`.
    #[must_use]
    pub fn shifted(mut self, base: usize) -> Self {
        self.offset += base;
        self
    }

    /// The line of `body` that the error is on, counted from 1.
    #[must_use]
    pub fn line(&self, body: &[u8]) -> usize {
        1 + body.iter().take(self.offset).filter(|byte| **byte == b'\n').count()
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for JsonError {}
