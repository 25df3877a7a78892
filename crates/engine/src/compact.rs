//! Ordered maps in as little memory as their entries take: what the state keeps of each of 100,000 leases is in them.
//!
//! Never changes the order of anything: they behave as the standard library's `BTreeMap` does, and a test compares
//! them. That one keeps the nodes of a map filled in ascending order, as ids are given out, half empty, and an entry in
//! a `Box` costs a pointer and what the allocator adds (2026-11-25: 609 bytes a lease with it, 375 with this). What has
//! its key in it is kept without a copy of the key.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::entry::{Entry, Key};

/// Room for so many entries is left to a chunk that had them: giving it back and asking for it again takes longer than
/// it is worth.
const SMALL: usize = 8;

/// An ordered map of entries that have their key in them.
#[derive(Clone)]
pub struct Compact<K, E> {
    /// In the order of their keys. None is empty unless it is the only one: maps that are empty again and again keep
    /// their room.
    chunks: Vec<Chunk<K, E>>,
    len: usize,
}

/// An ordered map of any keys and values.
pub type CompactMap<K, V> = Compact<K, (K, V)>;

/// An ordered set.
pub type CompactSet<K> = CompactMap<K, ()>;

/// Some neighbouring entries, ordered by key.
#[derive(Clone)]
struct Chunk<K, E> {
    /// Not above any of its keys, and above all keys of the chunk before.
    bound: K,
    /// What was entered first is mostly taken out first, which moves nothing in a ring.
    entries: VecDeque<E>,
}

impl<K, E: Entry<K>> Chunk<K, E> {
    /// Entries of a full chunk.
    const MAX: usize = {
        let fit = E::CHUNK_BYTES / size_of::<E>();
        if fit < 4 * SMALL { 4 * SMALL } else { fit }
    };
}

impl<K, E> Default for Compact<K, E> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Key, E: Entry<K>> Compact<K, E> {
    /// A map without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that has `key`, if any has.
    fn chunk_of(&self, key: &K) -> Option<usize> {
        match self.chunks.len() {
            0 => None,
            // Nothing to look for.
            1 => Some(0),
            _ => match self.guess(key) {
                Some(at) => Some(at),
                None => self.chunks.partition_point(|chunk| chunk.bound <= *key).checked_sub(1),
            },
        }
    }

    /// The chunk that has `key`, if it is where it would be with full chunks and no key missing.
    fn guess(&self, key: &K) -> Option<usize> {
        let at = key.steps_from(&self.chunks.first()?.bound) / Chunk::<K, E>::MAX;
        let is_in = self.chunks.get(at)?.bound <= *key;
        let is_below_next = self.chunks.get(at + 1).is_none_or(|next| *key < next.bound);
        (is_in && is_below_next).then_some(at)
    }

    /// The value of `key`.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &K) -> Option<&E::Value> {
        let chunk = match &*self.chunks {
            [chunk] => chunk,
            chunks => &chunks[self.chunk_of(key)?],
        };
        match chunk.guess(key) {
            Some((_, entry)) => Some(entry.value()),
            None => chunk.search(key).ok().map(|at| chunk.entries[at].value()),
        }
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut E::Value> {
        let at = self.chunk_of(key)?;
        let chunk = &mut self.chunks[at];
        chunk.position(key).map(|at| chunk.entries[at].value_mut())
    }

    /// True when there is an entry with `key`.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Enters `value` under `key`, and gives back what was there.
    pub fn insert(&mut self, key: K, value: E::Value) -> Option<E::Value> {
        debug_assert!(E::fits(&key, &value), "it is entered under its own key");
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::new(key.clone()));
        }
        let place = self.chunk_of(&key).unwrap_or(0);
        let is_last = place + 1 == self.chunks.len();
        let chunk = &mut self.chunks[place];
        if key < chunk.bound {
            // It comes before everything: the first chunk takes it.
            chunk.bound = key.clone();
        }
        let at = match chunk.find(&key) {
            Ok(at) => return Some(std::mem::replace(chunk.entries[at].value_mut(), value)),
            Err(at) => at,
        };
        self.len += 1;
        if chunk.entries.len() < Chunk::<K, E>::MAX {
            chunk.insert(at, E::new(key, value));
            return None;
        }
        // A map that grows at its end only is left with full chunks. The next one will be full too: it has all its room
        // from the beginning, and leaves no smaller pieces behind while it grows.
        let mut upper = if is_last && at == Chunk::<K, E>::MAX {
            Chunk {
                bound: key.clone(),
                entries: VecDeque::with_capacity(Chunk::<K, E>::MAX),
            }
        } else {
            chunk.split_off(Chunk::<K, E>::MAX / 2)
        };
        if key < upper.bound {
            chunk.insert(at, E::new(key, value));
        } else {
            upper.insert(at - chunk.entries.len(), E::new(key, value));
        }
        self.chunks.insert(place + 1, upper);
        None
    }

    /// Takes out the entry of `key`, and gives back its value.
    pub fn remove(&mut self, key: &K) -> Option<E::Value> {
        let place = self.chunk_of(key)?;
        let chunk = &mut self.chunks[place];
        let at = chunk.position(key)?;
        let value = chunk.remove(at)?.into_value();
        let left = chunk.entries.len();
        self.len -= 1;
        if left < chunk.entries.capacity() / 2 && chunk.entries.capacity() > SMALL {
            chunk.shrink();
        }
        if self.chunks.len() == 1 {
            // There is nothing to join it with.
        } else if left == 0 {
            self.chunks.remove(place);
        } else if left < Chunk::<K, E>::MAX / 4 {
            let joined = place > 0 && self.join(place - 1);
            if !joined && place + 1 < self.chunks.len() {
                self.join(place);
            }
        }
        Some(value)
    }

    /// Makes the chunk at `lower` and the one behind it one, if there is room to spare.
    fn join(&mut self, lower: usize) -> bool {
        let entries = self.chunks[lower].entries.len() + self.chunks[lower + 1].entries.len();
        if entries > Chunk::<K, E>::MAX / 2 {
            return false;
        }
        let mut taken = self.chunks.remove(lower + 1);
        let chunk = &mut self.chunks[lower];
        chunk.entries.append(&mut taken.entries);
        chunk.shrink();
        true
    }

    /// The entry with the lowest key.
    #[must_use]
    pub fn first_key_value(&self) -> Option<(&K, &E::Value)> {
        let first = self.chunks.first()?.entries.front()?;
        Some((first.key(), first.value()))
    }

    /// The lowest key.
    #[must_use]
    pub fn first(&self) -> Option<&K> {
        self.chunks.first()?.entries.front().map(E::key)
    }

    /// The highest key.
    #[must_use]
    pub fn last(&self) -> Option<&K> {
        self.chunks.last()?.entries.back().map(E::key)
    }

    /// Takes out all entries. The room of a single small chunk is kept.
    pub fn clear(&mut self) {
        self.len = 0;
        if let [chunk] = &mut *self.chunks
            && chunk.entries.capacity() <= SMALL
        {
            chunk.entries.clear();
        } else {
            self.chunks.clear();
        }
    }

    /// Takes out the entry with the lowest key.
    pub fn pop_first(&mut self) -> Option<(K, E::Value)> {
        let key = self.first()?.clone();
        self.remove(&key).map(|value| (key, value))
    }

    /// All entries, in the order of their keys.
    pub fn iter<'a>(&'a self) -> impl DoubleEndedIterator<Item = (&'a K, &'a E::Value)>
    where
        E: 'a,
    {
        self.entries().map(|it| (it.key(), it.value()))
    }

    /// All keys, in their order.
    pub fn keys<'a>(&'a self) -> impl DoubleEndedIterator<Item = &'a K>
    where
        E: 'a,
    {
        self.entries().map(E::key)
    }

    /// All values, in the order of their keys.
    pub fn values<'a>(&'a self) -> impl DoubleEndedIterator<Item = &'a E::Value>
    where
        E: 'a,
    {
        self.entries().map(E::value)
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = &E> {
        self.chunks.iter().flat_map(|chunk| &chunk.entries)
    }

    /// The entries from `key` on, lowest first.
    pub fn up_from<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a K, &'a E::Value)> + use<'a, K, E>
    where
        E: 'a,
    {
        let place = self.chunk_of(key).unwrap_or(0);
        let (first, rest) = match self.chunks.get(place..) {
            Some([first, rest @ ..]) => (first.entries.range(first.place_of(key)..), rest),
            _ => (Iter::default(), &[][..]),
        };
        let all = first.chain(rest.iter().flat_map(|chunk| &chunk.entries));
        all.map(|it| (it.key(), it.value()))
    }

    /// The entries up to `key`, highest first.
    pub fn down_from<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a K, &'a E::Value)> + use<'a, K, E>
    where
        E: 'a,
    {
        let through = self.chunk_of(key).map_or(0, |place| place + 1);
        let (last, rest) = match self.chunks.get(..through) {
            Some([rest @ .., last]) => (last.entries.range(..last.place_after(key)), rest),
            _ => (Iter::default(), &[][..]),
        };
        let all = last
            .rev()
            .chain(rest.iter().rev().flat_map(|chunk| chunk.entries.iter().rev()));
        all.map(|it| (it.key(), it.value()))
    }
}

impl<K: Key> CompactSet<K> {
    /// True when `key` is in the set.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.contains_key(key)
    }

    /// Adds `key`; true when it was not there.
    pub fn add(&mut self, key: K) -> bool {
        self.insert(key, ()).is_none()
    }

    /// Takes out `key`; true when it was there.
    pub fn take(&mut self, key: &K) -> bool {
        self.remove(key).is_some()
    }

    /// Takes out `before`, if it is there, and adds `after`. Where one chunk has them both, only what is between them
    /// is moved.
    pub fn replace(&mut self, before: &K, after: K) {
        if let Some(place) = self.chunk_of(before)
            && self.chunk_of(&after) == Some(place)
            && self.chunks[place].replace(before, &after)
        {
            return;
        }
        self.take(before);
        self.add(after);
    }
}

impl<K: Key> Chunk<K, (K, ())> {
    /// Replaces `before` by `after`; false when that cannot be done here.
    fn replace(&mut self, before: &K, after: &K) -> bool {
        if *after < self.bound {
            return false;
        }
        let (Ok(from), Err(to)) = (self.find(before), self.find(after)) else {
            return false;
        };
        let (begin, end) = if from < to { (from, to) } else { (to, from + 1) };
        let (front, back) = self.entries.as_mut_slices();
        let split = front.len();
        let moved = if end <= split {
            &mut front[begin..end]
        } else if begin >= split {
            &mut back[begin - split..end - split]
        } else {
            // The end of the ring is between the two.
            return false;
        };
        let free = if from < to {
            moved.rotate_left(1);
            moved.last_mut()
        } else {
            moved.rotate_right(1);
            moved.first_mut()
        };
        if let Some(free) = free {
            *free = (after.clone(), ());
        }
        true
    }
}

impl<K: Key, E: Entry<K>> Chunk<K, E> {
    fn new(bound: K) -> Self {
        Self {
            bound,
            entries: VecDeque::new(),
        }
    }

    /// Where the entries from `key` on begin.
    fn place_of(&self, key: &K) -> usize {
        match self.find(key) {
            Ok(at) | Err(at) => at,
        }
    }

    /// Where the entries above `key` begin.
    fn place_after(&self, key: &K) -> usize {
        self.find(key).map_or_else(|at| at, |at| at + 1)
    }

    /// Where `key` is, if it is where it would be with none missing before it, or with none missing after it. Of the
    /// oldest some are left for long when others have gone, and what is asked for most is new.
    #[inline]
    fn guess(&self, key: &K) -> Option<(usize, &E)> {
        let entry_at = |at| {
            let there = self.entries.get(at).filter(|it| it.key() == key);
            there.map(|it| (at, it))
        };
        entry_at(key.steps_from(self.entries.front()?.key())).or_else(|| {
            let to_last = self.entries.back()?.key().steps_from(key);
            entry_at((self.entries.len() - 1).checked_sub(to_last)?)
        })
    }

    /// Where `key` is.
    fn position(&self, key: &K) -> Option<usize> {
        match self.guess(key) {
            Some((at, _)) => Some(at),
            None => self.search(key).ok(),
        }
    }

    /// Where `key` is, or where it would be, without a guess.
    #[inline]
    fn search(&self, key: &K) -> Result<usize, usize> {
        self.entries.binary_search_by(|it| it.key().cmp(key))
    }

    /// Where `key` is, or where it would be.
    fn find(&self, key: &K) -> Result<usize, usize> {
        let entries = &self.entries;
        // Most of what is new comes last.
        if entries.back().is_none_or(|last| last.key() < key) {
            return Err(entries.len());
        }
        match self.guess(key) {
            Some((at, _)) => Ok(at),
            None => self.search(key),
        }
    }

    fn insert(&mut self, at: usize, entry: E) {
        // Grows by a quarter: most chunks of a map that grows anywhere stay between half full and full for long.
        if self.entries.len() == self.entries.capacity() {
            let more = (self.entries.len() / 4).max(SMALL).min(Self::MAX - self.entries.len());
            self.entries.reserve_exact(more);
        }
        // Mostly it comes last, which takes fewer instructions when it is asked for.
        if at == self.entries.len() {
            self.entries.push_back(entry);
        } else {
            self.entries.insert(at, entry);
        }
    }

    /// Takes out the entry at `at`. Mostly it is the first, which takes fewer instructions when it is asked for.
    fn remove(&mut self, at: usize) -> Option<E> {
        match at {
            0 => self.entries.pop_front(),
            _ => self.entries.remove(at),
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let upper = Self {
            bound: self.entries[at].key().clone(),
            entries: self.entries.split_off(at),
        };
        self.shrink();
        upper
    }

    fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }
}

impl<K: Key, E: Entry<K>> Index<&K> for Compact<K, E> {
    type Output = E::Value;

    /// # Panics
    /// When there is no entry with `key`.
    fn index(&self, key: &K) -> &E::Value {
        self.get(key).expect("the caller knows that the key is there")
    }
}

impl<K: Key, E: Entry<K, Value: PartialEq>> PartialEq for Compact<K, E> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Key, E: Entry<K, Value: Eq>> Eq for Compact<K, E> {}

impl<K: Key + fmt::Debug, E: Entry<K, Value: fmt::Debug>> fmt::Debug for Compact<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, E: Entry<K>> FromIterator<(K, E::Value)> for Compact<K, E> {
    fn from_iter<I: IntoIterator<Item = (K, E::Value)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Key + Serialize, E: Entry<K, Value: Serialize>> Serialize for Compact<K, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Key + Deserialize<'de>, E: Entry<K, Value: Deserialize<'de>>> Deserialize<'de> for Compact<K, E> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, E>(PhantomData<(K, E)>);

        impl<'de, K: Key + Deserialize<'de>, E: Entry<K, Value: Deserialize<'de>>> Visitor<'de> for Entries<K, E> {
            type Value = Compact<K, E>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = Compact::new();
                while let Some((key, value)) = entries.next_entry()? {
                    if !E::fits(&key, &value) {
                        return Err(serde::de::Error::custom("an entry under the key of another"));
                    }
                    map.insert(key, value);
                }
                Ok(map)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}
