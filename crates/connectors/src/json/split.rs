//! Splits a body into events: one object, an array of objects, or one object a line (NDJSON).
//!
//! Never parses and never calls itself. A malformed event does not spoil its neighbours: lines end where they end, and
//! in an array the scanner follows strings and brackets. Only when brackets do not pair up is the rest given up, at a
//! named position: to go on from there would mean to guess what is an event and what is text inside one.

use super::guard::string_end;
use super::{Document, EVENTS_PER_BODY_MAX, JsonError};

/// The events of one body, in order. A body without any (empty, blank, `[]`) yields none.
#[derive(Clone, Debug)]
pub struct Split<'b> {
    body: &'b [u8],
    at: usize,
    index: usize,
    state: State,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum State {
    /// All that is left is one event.
    One,
    /// Lines.
    Lines,
    /// An item of the array, or its end.
    Item { after_comma: bool },
    /// Nothing.
    Done,
}

/// One event of a body, or the report that one cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element<'b> {
    /// Its position among the events of the body, from 0.
    pub index: usize,
    /// The byte of the body at which it begins.
    pub offset: usize,
    /// Its bytes, not yet parsed.
    pub content: Result<&'b [u8], JsonError>,
}

impl<'b> Element<'b> {
    /// Parses the event. Errors are counted from the start of the body.
    ///
    /// # Errors
    ///
    /// As [`Document::parse`], and what was found when the body was split.
    pub fn parse(&self, bytes_max: usize) -> Result<Document<'b>, JsonError> {
        let bytes = self.content.clone()?;
        Document::parse_within(bytes, bytes_max).map_err(|error| error.shifted(self.offset))
    }
}

impl<'b> Split<'b> {
    /// Splits `body`. A byte-order mark at its start is passed over.
    #[must_use]
    pub fn new(body: &'b [u8]) -> Self {
        let marked = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let at = not_blank(body, marked);
        let (at, state) = match body.get(at) {
            None => (at, State::Done),
            Some(b'[') => (at + 1, State::Item { after_comma: false }),
            Some(_) if is_one(body, at) => (at, State::One),
            Some(_) => (at, State::Lines),
        };
        Self {
            body,
            at,
            index: 0,
            state,
        }
    }

    fn item(&mut self, after_comma: bool) -> Option<Element<'b>> {
        let start = not_blank(self.body, self.at);
        match self.body.get(start) {
            None => {
                return self.give_up(
                    start,
                    "the array has no end",
                    "the body was cut; check the sender's limits",
                );
            }
            Some(b']') => {
                self.state = State::Done;
                let rest = not_blank(self.body, start + 1);
                if rest < self.body.len() {
                    return self.give_up(
                        rest,
                        "there is text after the end of the array",
                        "send one array in a body",
                    );
                }
                return after_comma
                    .then(|| self.report(start, "there is no event behind the comma", "leave the comma out"));
            }
            Some(_) => {}
        }
        match item_end(self.body, start) {
            ItemEnd::Comma(end) => {
                self.at = end + 1;
                self.state = State::Item { after_comma: true };
                if end == start {
                    return Some(self.report(start, "there is no event before the comma", "leave the comma out"));
                }
                Some(self.element(start, end))
            }
            ItemEnd::Bracket(end) => {
                self.at = end;
                self.state = State::Item { after_comma: false };
                Some(self.element(start, end))
            }
            ItemEnd::Missing => {
                self.at = self.body.len();
                self.state = State::Item { after_comma: false };
                Some(self.element(start, self.body.len()))
            }
            ItemEnd::Unpaired(at) => self.give_up(
                at,
                "this bracket does not pair with the open one",
                "the rest of the array was not read",
            ),
        }
    }

    fn line(&mut self) -> Option<Element<'b>> {
        let start = not_blank(self.body, self.at);
        if start >= self.body.len() {
            self.state = State::Done;
            return None;
        }
        self.at = line_end(self.body, start);
        Some(self.element(start, self.at))
    }

    /// The element from `start` to `end`, without blanks at its end.
    fn element(&mut self, start: usize, end: usize) -> Element<'b> {
        let index = self.index;
        self.index += 1;
        Element {
            index,
            offset: start,
            content: Ok(self.body[start..end].trim_ascii_end()),
        }
    }

    fn report(&mut self, at: usize, what: &'static str, hint: &'static str) -> Element<'b> {
        let index = self.index;
        self.index += 1;
        Element {
            index,
            offset: at,
            content: Err(JsonError::new(at, what, hint)),
        }
    }

    fn give_up(&mut self, at: usize, what: &'static str, hint: &'static str) -> Option<Element<'b>> {
        self.state = State::Done;
        Some(self.report(at, what, hint))
    }
}

impl<'b> Iterator for Split<'b> {
    type Item = Element<'b>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = (self.at, self.index);
        let next = match self.state {
            State::Done => None,
            State::One => {
                self.state = State::Done;
                Some(self.element(self.at, self.body.len()))
            }
            State::Lines => self.line(),
            State::Item { after_comma } => self.item(after_comma),
        };
        if next.is_some() && before.1 == EVENTS_PER_BODY_MAX {
            self.index = before.1;
            let what = "there are more events in the body than are taken at once (10,000)";
            return self.give_up(not_blank(self.body, before.0), what, "send the rest in another request");
        }
        next
    }
}
const _: () = assert!(EVENTS_PER_BODY_MAX == 10_000, "the number is in the message above");

/// True when the body is one event, however many lines it has.
///
/// No JSON object has a line that begins with `{` right behind a line that ends with `}`, so most bodies are told by
/// the ends of their first line; only odd ones are scanned.
fn is_one(body: &[u8], start: usize) -> bool {
    let end = line_end(body, start);
    let second = not_blank(body, end);
    if second == body.len() {
        return true;
    }
    if body[start] != b'{' {
        return false;
    }
    let first = body[start..end].trim_ascii_end();
    let (first_closes, second_opens) = (first.ends_with(b"}"), body[second] == b'{');
    if first_closes && second_opens {
        return false;
    }
    let whole = closes_at_end;
    if second_opens {
        whole(&body[start..])
    } else {
        !(first_closes && whole(first))
    }
}

/// True when the object that `bytes` begin with ends with them.
fn closes_at_end(bytes: &[u8]) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match string_end(bytes, at + 1) {
                Some(end) => at = end - 1,
                None => return false,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return not_blank(bytes, at + 1) == bytes.len();
                }
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// How an item of an array ends.
pub(super) enum ItemEnd {
    /// At this comma.
    Comma(usize),
    /// At this bracket, which ends the array.
    Bracket(usize),
    /// Not before the body does.
    Missing,
    /// At this bracket nothing fits together.
    Unpaired(usize),
}

/// How the item that begins at `start` ends.
pub(super) fn item_end(body: &[u8], start: usize) -> ItemEnd {
    // One bit for each open bracket, the innermost lowest: set for `{`. Levels beyond 64 are counted only; the nesting
    // guard refuses such an item later.
    let mut kinds = 0_u64;
    let mut depth = 0_u32;
    let mut at = start;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => match string_end(body, at + 1) {
                Some(end) => at = end - 1,
                None => return ItemEnd::Missing,
            },
            b'{' | b'[' => {
                if depth < u64::BITS {
                    kinds = (kinds << 1) | u64::from(*byte == b'{');
                }
                depth = depth.saturating_add(1);
            }
            b']' if depth == 0 => return ItemEnd::Bracket(at),
            b',' if depth == 0 => return ItemEnd::Comma(at),
            b'}' | b']' => {
                if depth == 0 || (depth <= u64::BITS && (kinds & 1 == 1) != (*byte == b'}')) {
                    return ItemEnd::Unpaired(at);
                }
                if depth <= u64::BITS {
                    kinds >>= 1;
                }
                depth -= 1;
            }
            _ => {}
        }
        at += 1;
    }
    ItemEnd::Missing
}

/// The first offset from `at` on that is not blank.
fn not_blank(body: &[u8], at: usize) -> usize {
    at + body[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The end of the line that `at` is on. By `memchr`, which uses the machine's vector instructions: the standard
/// library's search took a tenth of the time of an event (2026-11-25).
fn line_end(body: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length + 1)
}
