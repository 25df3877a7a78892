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

use super::DEPTH_MAX;
use super::duplicate::Seen;

/// Slots whose memory is kept for the next event: 40 KiB. A recorded alert has 40 to 90.
const SLOTS_SPARE_MAX: usize = 1_024;

/// Keys of one object that are compared as they come. With more of them the filter in front tells little, and comparing
/// each with all before it would take quadratic time; they are sorted when the object ends.
const KEYS_COMPARED_MAX: usize = 64;

/// Bytes of unescaped text whose memory is kept likewise.
const BYTES_SPARE_MAX: usize = 1 << 16;

/// The values of an event. The first is the whole event.
#[derive(Debug, Default)]
pub(super) struct Tape<'b> {
    slots: Vec<Slot<'b>>,
    /// The texts that had escape sequences, without them.
    unescaped: String,
    /// The slot of the first key that its object had already.
    repeated: Option<usize>,
    /// Levels that are open while the tape is filled.
    depth: usize,
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
    /// Parses `bytes`. The parser calls itself only through [`Filler`], which refuses more than [`DEPTH_MAX`] levels.
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, sonic_rs::Error> {
        let mut tape = Self::default();
        let (slots, unescaped) = SPARE.take();
        (tape.slots, tape.unescaped) = (emptied(slots), unescaped);
        let mut parser = sonic_rs::Deserializer::from_slice(bytes);
        Item(&mut tape).deserialize(&mut parser)?;
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

    /// The slots of the members of the object at `slot`; none for anything else.
    #[inline]
    pub(super) fn members(&self, slot: usize) -> Children<'_> {
        match self.slots[slot].content {
            Content::Object { end } => self.children(slot, end),
            _ => self.children(slot, slot),
        }
    }

    /// The slots of the items of the list at `slot`; none for anything else.
    #[inline]
    pub(super) fn items(&self, slot: usize) -> Children<'_> {
        match self.slots[slot].content {
            Content::List { end } => self.children(slot, end),
            _ => self.children(slot, slot),
        }
    }

    /// The slots one level below `slot`, up to `end`.
    #[inline]
    fn children(&self, slot: usize, end: usize) -> Children<'_> {
        Children {
            tape: self,
            next: slot + 1,
            end,
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

    /// Appends a slot for the value that comes next.
    #[inline]
    fn open(&mut self, key: Text<'b>) {
        let content = Content::Null;
        self.slots.push(Slot { key, content });
    }

    /// Goes one level down, below the slot that was opened last. This is what bounds the stack: nothing may take a
    /// value from the parser on a level for which this was not asked.
    #[inline]
    fn descend<E: Error>(&mut self) -> Result<usize, E> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(E::custom("nested too deep"));
        }
        Ok(self.slots.len() - 1)
    }

    /// Fills the slot that was opened last.
    #[inline]
    fn fill(&mut self, content: Content<'b>) {
        if let Some(slot) = self.slots.last_mut() {
            slot.content = content;
        }
    }

    /// Notes the slot that was opened last, if an earlier member of the object at `object` has the same key.
    #[cold]
    fn compare(&mut self, object: usize) {
        let last = self.slots.len() - 1;
        let mut earlier = self.children(object, last);
        if self.repeated.is_none() && earlier.any(|earlier| self.key(earlier) == self.key(last)) {
            self.repeated = Some(last);
        }
    }

    /// Notes a slot whose key an earlier member of the object at `object` has too. Sorts, so that an object made of
    /// nothing but keys costs little more than one that is read.
    #[cold]
    fn compare_all(&mut self, object: usize) {
        if self.repeated.is_some() {
            return;
        }
        let mut keys: Vec<(&str, usize)> = self.members(object).map(|slot| (self.key(slot), slot)).collect();
        keys.sort_unstable();
        self.repeated = keys
            .windows(2)
            .find(|pair| pair[0].0 == pair[1].0)
            .map(|pair| pair[1].1);
    }
}

thread_local! {
    /// The memory of the last tape, for the next one: to allocate it anew takes longer than to fill it.
    static SPARE: Cell<(Vec<Slot<'static>>, String)> = const { Cell::new((Vec::new(), String::new())) };
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        if self.slots.capacity() <= SLOTS_SPARE_MAX && self.unescaped.capacity() <= BYTES_SPARE_MAX {
            self.unescaped.clear();
            let memory = (emptied(mem::take(&mut self.slots)), mem::take(&mut self.unescaped));
            // Fails only while the thread ends.
            let _ = SPARE.try_with(|spare| spare.set(memory));
        }
    }
}

/// The memory of `slots` without the slots, for texts of another event. Collecting what `into_iter` gives keeps the
/// memory; were that ever to change, this would be slower and still right.
fn emptied<'b>(mut slots: Vec<Slot<'_>>) -> Vec<Slot<'b>> {
    slots.clear();
    slots
        .into_iter()
        .map(|_| Slot {
            key: Text::Sent(""),
            content: Content::Null,
        })
        .collect()
}

/// See [`Tape::members`] and [`Tape::items`].
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

/// Takes a value from the parser for a slot of its own, without a key.
struct Item<'t, 'b>(&'t mut Tape<'b>);

impl<'b> DeserializeSeed<'b> for Item<'_, 'b> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'b>>(self, parser: D) -> Result<(), D::Error> {
        self.0.open(Text::Sent(""));
        parser.deserialize_any(Filler(self.0))
    }
}

/// Takes a value from the parser for the slot that was opened last.
struct Filler<'t, 'b>(&'t mut Tape<'b>);

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
        self.0.fill(Content::Null);
        Ok(())
    }

    #[inline]
    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.0.fill(Content::Bool(truth));
        Ok(())
    }

    #[inline]
    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.fill(Content::Int(number));
        Ok(())
    }

    #[inline]
    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.0
            .fill(i64::try_from(number).map_or(Content::UInt(number), Content::Int));
        Ok(())
    }

    #[inline]
    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.0.fill(Content::Float(number));
        Ok(())
    }

    #[inline]
    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<(), E> {
        self.0.fill(Content::Text(Text::Sent(text)));
        Ok(())
    }

    #[inline]
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let text = self.0.unescaped(text)?;
        self.0.fill(Content::Text(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut items: A) -> Result<(), A::Error> {
        let tape = self.0;
        let list = tape.descend()?;
        while items.next_element_seed(Item(&mut *tape))?.is_some() {}
        tape.depth -= 1;
        tape.slots[list].content = Content::List { end: tape.slots.len() };
        Ok(())
    }

    fn visit_map<A: MapAccess<'b>>(self, mut members: A) -> Result<(), A::Error> {
        let tape = self.0;
        let object = tape.descend()?;
        let mut seen = Seen::default();
        let mut keys = 0_usize;
        while let Some(new) = members.next_key_seed(Key {
            tape: &mut *tape,
            seen: &mut seen,
        })? {
            keys += 1;
            if !new && keys <= KEYS_COMPARED_MAX {
                tape.compare(object);
            }
            members.next_value_seed(Filler(&mut *tape))?;
        }
        tape.depth -= 1;
        tape.slots[object].content = Content::Object { end: tape.slots.len() };
        if keys > KEYS_COMPARED_MAX {
            tape.compare_all(object);
        }
        Ok(())
    }
}

/// Takes a key from the parser and opens a slot with it. Tells whether it is certainly new in its object.
struct Key<'t, 'b> {
    tape: &'t mut Tape<'b>,
    seen: &'t mut Seen,
}

impl<'b> DeserializeSeed<'b> for Key<'_, 'b> {
    type Value = bool;

    #[inline]
    fn deserialize<D: Deserializer<'b>>(self, parser: D) -> Result<bool, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Key<'_, 'b> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_borrowed_str<E>(self, key: &'b str) -> Result<bool, E> {
        self.tape.open(Text::Sent(key));
        Ok(self.seen.is_new(key))
    }

    #[inline]
    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        let text = self.tape.unescaped(key)?;
        self.tape.open(text);
        Ok(self.seen.is_new(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The parser has two ways over the bytes; they must agree on what is JSON, or messages would be wrong.
        #[test]
        fn takes_what_the_parser_takes_for_its_own_values(
            text in "[\\[{]{0,2}((\"(a|\\\\u0061|\\\\ud800|\\\\n|\\\\x|\n|é)?\"|-?[0-9]{1,3}([.][0-9]|e[0-9]{3})?|true|null|tru|[\\[\\]{},: ]){1,2}[,:]?){0,6}[\\]}]{0,2}",
            spoil in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let mut bytes = text.into_bytes();
            if let Some((place, byte)) = spoil {
                let place = place.index(bytes.len() + 1);
                bytes.insert(place, byte);
            }
            let own = sonic_rs::from_slice::<sonic_rs::Value>(&bytes).is_ok();
            prop_assert_eq!(Tape::parse(&bytes).is_ok(), own, "{}", String::from_utf8_lossy(&bytes));
        }
    }
}
