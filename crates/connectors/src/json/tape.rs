//! The values of one event, laid out one behind the other in the order in which they were sent.
//!
//! Never keeps a value that the parser did not finish, and never decides: it is filled by sonic-rs in its one pass over
//! the bytes, and everything that Staunch reads of an event is read from here.
//!
//! ```text
//! {"a":[1,2],"b":"x"}  ->  {} ends 5 | a [] ends 4 | 1 | 2 | b "x"
//! ```
//!
//! One list instead of a tree, because then each key is looked at for repeats while the parser has it at hand, and a
//! decoder walks an object by adding to an index. Texts without escape sequences stay where they are in the event.

use std::cell::Cell;
use std::{fmt, mem};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::duplicate::Seen;

/// Slots whose memory is kept for the next event: 40 KiB. A recorded alert has 40 to 90.
const SLOTS_SPARE_MAX: usize = 1_024;

/// The values of an event. The first is the whole event.
#[derive(Debug, Default)]
pub(super) struct Tape<'b> {
    slots: Vec<Slot<'b>>,
    /// The texts that had escape sequences, without them.
    unescaped: String,
    /// The slot of the first key that its object had already.
    repeated: Option<usize>,
}

/// One value, with its key if it is a member of an object.
#[derive(Clone, Copy, Debug)]
struct Slot<'b> {
    key: Text<'b>,
    content: Content<'b>,
}

/// A text of the event.
#[derive(Clone, Copy, Debug)]
enum Text<'b> {
    /// As it stands in the event.
    Sent(&'b str),
    /// A range of [`Tape::unescaped`].
    Unescaped { start: u32, end: u32 },
}

/// What a slot holds. `end` is the slot behind the last one that belongs to it.
#[derive(Clone, Copy, Debug)]
enum Content<'b> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(Text<'b>),
    List { end: usize },
    Object { end: usize },
}

/// A value as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Float(f64),
    Text(&'a str),
    List,
    Object,
}

impl<'b> Tape<'b> {
    /// Parses `bytes`, which must not be nested deeper than the stack can bear.
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, sonic_rs::Error> {
        let mut tape = Self::default();
        tape.slots = emptied(SPARE.take());
        let mut parser = sonic_rs::Deserializer::from_slice(bytes);
        let key = Text::Sent("");
        Filler { tape: &mut tape, key }.deserialize(&mut parser)?;
        parser.end()?;
        Ok(tape)
    }

    /// A key that occurs twice in one object, if there is one.
    pub(super) fn repeated(&self) -> Option<&str> {
        self.repeated.map(|slot| self.key(slot))
    }

    #[inline]
    pub(super) fn key(&self, slot: usize) -> &str {
        self.text(&self.slots[slot].key)
    }

    #[inline]
    pub(super) fn value(&self, slot: usize) -> Value<'_> {
        match &self.slots[slot].content {
            Content::Null => Value::Null,
            Content::Bool(truth) => Value::Bool(*truth),
            Content::Int(number) => Value::Int(*number),
            Content::UInt(number) => Value::UInt(*number),
            Content::Float(number) => Value::Float(*number),
            Content::Text(text) => Value::Text(self.text(text)),
            Content::List { .. } => Value::List,
            Content::Object { .. } => Value::Object,
        }
    }

    /// The slots of the members of the object or the items of the list at `slot`; none for anything else.
    #[inline]
    pub(super) fn children(&self, slot: usize) -> Children<'_> {
        Children {
            tape: self,
            next: slot + 1,
            end: self.behind(slot),
        }
    }

    /// The slot behind the value at `slot` and all that belongs to it.
    #[inline]
    fn behind(&self, slot: usize) -> usize {
        match self.slots[slot].content {
            Content::List { end } | Content::Object { end } => end,
            _ => slot + 1,
        }
    }

    #[inline]
    fn text<'t>(&'t self, text: &'t Text<'b>) -> &'t str {
        match text {
            Text::Sent(text) => text,
            Text::Unescaped { start, end } => &self.unescaped[*start as usize..*end as usize],
        }
    }

    /// Keeps a text that the parser has unescaped.
    #[cold]
    fn unescaped<E: Error>(&mut self, text: &str) -> Result<Text<'b>, E> {
        let start = self.unescaped.len();
        self.unescaped.push_str(text);
        match (u32::try_from(start), u32::try_from(self.unescaped.len())) {
            (Ok(start), Ok(end)) => Ok(Text::Unescaped { start, end }),
            _ => Err(E::custom("too long")),
        }
    }

    /// Notes the slot that comes next, if an earlier member of the object at `object` has the same `key`.
    #[cold]
    fn compare(&mut self, object: usize, key: Text<'b>) {
        let slot = self.slots.len();
        let mut earlier = Children {
            tape: self,
            next: object + 1,
            end: slot,
        };
        if self.repeated.is_none() && earlier.any(|earlier| self.key(earlier) == self.text(&key)) {
            self.repeated = Some(slot);
        }
    }
}

thread_local! {
    /// The memory of the last tape, for the next one: to allocate it anew takes longer than to fill it.
    static SPARE: Cell<Vec<Slot<'static>>> = const { Cell::new(Vec::new()) };
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        if self.slots.capacity() <= SLOTS_SPARE_MAX {
            SPARE.set(emptied(mem::take(&mut self.slots)));
        }
    }
}

/// The memory of `slots` without the slots, for texts of another event. Collecting what `into_iter` gives keeps the
/// memory; were that ever to change, this would be slower and still right.
fn emptied<'b>(mut slots: Vec<Slot<'_>>) -> Vec<Slot<'b>> {
    slots.clear();
    slots.into_iter().map(|_| Slot { key: Text::Sent(""), content: Content::Null }).collect()
}

/// See [`Tape::children`].
#[derive(Clone, Debug)]
pub(super) struct Children<'a> {
    tape: &'a Tape<'a>,
    next: usize,
    end: usize,
}

impl Iterator for Children<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let child = self.next;
        if child >= self.end {
            return None;
        }
        self.next = self.tape.behind(child);
        Some(child)
    }
}

/// Takes the next value from the parser and appends it.
struct Filler<'t, 'b> {
    tape: &'t mut Tape<'b>,
    key: Text<'b>,
}

impl<'b> Filler<'_, 'b> {
    #[inline]
    fn push(self, content: Content<'b>) {
        self.tape.slots.push(Slot { key: self.key, content });
    }
}

impl<'b> DeserializeSeed<'b> for Filler<'_, 'b> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'b>>(self, parser: D) -> Result<(), D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Filler<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    #[inline]
    fn visit_unit<E>(self) -> Result<(), E> {
        self.push(Content::Null);
        Ok(())
    }

    #[inline]
    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.push(Content::Bool(truth));
        Ok(())
    }

    #[inline]
    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.push(Content::Int(number));
        Ok(())
    }

    #[inline]
    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.push(i64::try_from(number).map_or(Content::UInt(number), Content::Int));
        Ok(())
    }

    #[inline]
    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.push(Content::Float(number));
        Ok(())
    }

    #[inline]
    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<(), E> {
        self.push(Content::Text(Text::Sent(text)));
        Ok(())
    }

    #[inline]
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let text = self.tape.unescaped(text)?;
        self.push(Content::Text(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut items: A) -> Result<(), A::Error> {
        let Self { tape, key } = self;
        let slot = tape.slots.len();
        tape.slots.push(Slot { key, content: Content::Null });
        let key = Text::Sent("");
        while items.next_element_seed(Filler { tape: &mut *tape, key })?.is_some() {}
        tape.slots[slot].content = Content::List { end: tape.slots.len() };
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { tape, key } = self;
        let object = tape.slots.len();
        tape.slots.push(Slot { key, content: Content::Null });
        let mut seen = Seen::default();
        while let Some((key, new)) = members.next_key_seed(Key { tape: &mut *tape, seen: &mut seen })? {
            if !new {
                tape.compare(object, key);
            }
            members.next_value_seed(Filler { tape: &mut *tape, key })?;
        }
        tape.slots[object].content = Content::Object { end: tape.slots.len() };
        Ok(())
    }
}

/// Takes a key from the parser, and tells whether it is certainly new in its object.
struct Key<'t, 'b> {
    tape: &'t mut Tape<'b>,
    seen: &'t mut Seen,
}

impl<'b> DeserializeSeed<'b> for Key<'_, 'b> {
    type Value = (Text<'b>, bool);

    #[inline]
    fn deserialize<D: Deserializer<'b>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Key<'_, 'b> {
    type Value = (Text<'b>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, key: &'b str) -> Result<Self::Value, E> {
        Ok((Text::Sent(key), self.seen.is_new(key)))
    }

    #[inline]
    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok((self.tape.unescaped(key)?, self.seen.is_new(key)))
    }
}
