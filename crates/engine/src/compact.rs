//! Ordered maps in as little memory as their entries take: what the state keeps of each of 100,000 leases is in them.
//!
//! Never changes the order of anything: they behave as the standard library's `BTreeMap` does, and a test compares
//! them. That one keeps the nodes of a map filled in ascending order, as ids are given out, half empty, and an entry in
//! a `Box` costs a pointer and what the allocator adds (2026-11-25: 609 bytes a lease with it, 375 with this). What has
//! its key in it is kept without a copy of the key.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use staunch_model::{Incident, IncidentId, Transaction, TransactionId};

/// Bytes of a full chunk into whose middle entries are put. With more, an insertion moves more; with fewer, there are
/// more pieces, and what others free between them is seldom large enough for anything else.
const CHUNK_BYTES: usize = 8 << 10;

/// Bytes of a full chunk of what comes in the order of its ids, and mostly goes in it. From 128 KiB on the allocator
/// maps a piece by itself (`crates/staunch/src/allocator.rs`) unless the heap has a hole for it: most do not lie
/// between what the server allocates and frees all the time. This is 33 pages with the allocator's own 16 bytes.
const MAPPED_CHUNK_BYTES: usize = 33 * 4_096 - 16;

/// Room for so many entries is left to a chunk that had them: giving it back and asking for it again takes longer than
/// it is worth.
const SMALL: usize = 8;

/// What entries are ordered by. Keys are small, and are cloned for the bounds of chunks.
pub trait Key: Ord + Clone {
    /// How many entries are between that of `first` and this one, where keys are numbers that are given out one after
    /// the other and none is missing: a guess, which spares most look-ups the search.
    fn steps_from(&self, _first: &Self) -> usize {
        usize::MAX
    }
}

macro_rules! numbers {
    ($($id:ty),*) => {$(
        impl Key for $id {
            fn steps_from(&self, first: &Self) -> usize {
                usize::try_from(self.0.wrapping_sub(first.0)).unwrap_or(usize::MAX)
            }
        }
    )*};
}

numbers!(IncidentId, TransactionId);

impl Key for u128 {}

impl<A: Ord + Clone, B: Ord + Clone> Key for (A, B) {}

impl<A: Ord + Clone, B: Ord + Clone, C: Ord + Clone> Key for (A, B, C) {}

/// What is kept of a key and its value.
pub trait Entry<K> {
    /// What is asked for by the key.
    type Value;

    /// Bytes of a full chunk of such entries.
    const CHUNK_BYTES: usize = CHUNK_BYTES;

    /// Whether `value` may be entered under `key`: what has the key in it only under that.
    fn fits(_key: &K, _value: &Self::Value) -> bool {
        true
    }
    /// The entry of `value` under `key`, which it fits.
    fn new(key: K, value: Self::Value) -> Self;
    /// Its key.
    fn key(&self) -> &K;
    /// Its value.
    fn value(&self) -> &Self::Value;
    /// Its value, to be changed. Who has the key in it never changes that.
    fn value_mut(&mut self) -> &mut Self::Value;
    /// Its value alone.
    fn into_value(self) -> Self::Value;
}

impl<K, V> Entry<K> for (K, V) {
    type Value = V;
    fn new(key: K, value: V) -> Self {
        (key, value)
    }
    fn key(&self) -> &K {
        &self.0
    }
    fn value(&self) -> &V {
        &self.1
    }
    fn value_mut(&mut self) -> &mut V {
        &mut self.1
    }
    fn into_value(self) -> V {
        self.1
    }
}

macro_rules! by_id {
    ($($value:ty, $id:ty);*) => {$(
        impl Entry<$id> for $value {
            type Value = Self;
            const CHUNK_BYTES: usize = MAPPED_CHUNK_BYTES;
            fn fits(key: &$id, value: &Self) -> bool {
                *key == value.id
            }
            fn new(_key: $id, value: Self) -> Self {
                value
            }
            fn key(&self) -> &$id {
                &self.id
            }
            fn value(&self) -> &Self {
                self
            }
            fn value_mut(&mut self) -> &mut Self {
                self
            }
            fn into_value(self) -> Self {
                self
            }
        }
    )*};
}

by_id!(Incident, IncidentId; Transaction, TransactionId);

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
        if let [chunk] = &*self.chunks
            && let Some(at) = chunk.guess(key)
        {
            return chunk.entries.get(at).map(E::value);
        }
        self.search(key)
    }

    fn search(&self, key: &K) -> Option<&E::Value> {
        let chunk = &self.chunks[self.chunk_of(key)?];
        chunk.find(key).ok().map(|at| chunk.entries[at].value())
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut E::Value> {
        let at = self.chunk_of(key)?;
        let chunk = &mut self.chunks[at];
        chunk.find(key).ok().map(|at| chunk.entries[at].value_mut())
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
        let at = chunk.find(key).ok()?;
        let value = chunk.entries.remove(at)?.into_value();
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

    /// Where `key` is, if it is where it would be with none missing.
    #[inline]
    fn guess(&self, key: &K) -> Option<usize> {
        let guess = key.steps_from(self.entries.front()?.key());
        (self.entries.get(guess)?.key() == key).then_some(guess)
    }

    /// Where `key` is, or where it would be.
    fn find(&self, key: &K) -> Result<usize, usize> {
        let entries = &self.entries;
        // Most of what is new comes last.
        if entries.back().is_none_or(|last| last.key() < key) {
            return Err(entries.len());
        }
        match self.guess(key) {
            Some(at) => Ok(at),
            None => entries.binary_search_by(|it| it.key().cmp(key)),
        }
    }

    fn insert(&mut self, at: usize, entry: E) {
        // Grows by a quarter: most chunks of a map that grows anywhere stay between half full and full for long.
        if self.entries.len() == self.entries.capacity() {
            let more = (self.entries.len() / 4).max(SMALL).min(Self::MAX - self.entries.len());
            self.entries.reserve_exact(more);
        }
        self.entries.insert(at, entry);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl Key for u16 {
        fn steps_from(&self, first: &Self) -> usize {
            usize::from(self.wrapping_sub(*first))
        }
    }

    /// As large as an entry of the state, so that a chunk has 64 of them.
    type Wide = [u32; 31];

    const fn wide(value: u32) -> Wide {
        [value; 31]
    }

    /// Compares everything that can be asked of the two.
    fn check(ours: &CompactMap<u16, Wide>, theirs: &BTreeMap<u16, Wide>) {
        let full = Chunk::<u16, (u16, Wide)>::MAX;
        assert!(ours.iter().eq(theirs.iter()));
        assert!(ours.iter().rev().eq(theirs.iter().rev()));
        assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
        assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
        assert_eq!(ours.first_key_value(), theirs.first_key_value());
        assert!(
            ours.chunks
                .iter()
                .all(|chunk| { (usize::from(ours.chunks.len() > 1)..=full).contains(&chunk.entries.len()) })
        );
        let mut last = None;
        for chunk in &ours.chunks {
            assert!(last < Some(chunk.bound) && chunk.entries.iter().is_sorted_by_key(|it| it.0));
            assert!(chunk.entries.front().is_none_or(|(first, _)| chunk.bound <= *first));
            last = chunk.entries.back().map(|it| it.0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn it_is_a_map_like_any_other(
            steps in proptest::collection::vec((0_u8..10, 0_u16..400, any::<u32>()), 0..1_500),
            ascending in any::<bool>(),
        ) {
            let (mut ours, mut theirs) = (CompactMap::new(), BTreeMap::new());
            let mut next = 0;
            for (what, key, value) in steps {
                match what {
                    0..6 => {
                        next += 1;
                        let key = if ascending { next } else { key };
                        prop_assert_eq!(ours.insert(key, wide(value)), theirs.insert(key, wide(value)));
                    }
                    6 => {
                        prop_assert_eq!(ours.get(&key), theirs.get(&key));
                        if let (Some(one), Some(other)) = (ours.get_mut(&key), theirs.get_mut(&key)) {
                            (*one, *other) = (wide(value), wide(value));
                        }
                    }
                    7 if key == 0 => {
                        ours.clear();
                        theirs.clear();
                    }
                    7 => prop_assert_eq!(ours.pop_first(), theirs.pop_first()),
                    8 => {
                        prop_assert!(ours.up_from(&key).eq(theirs.range(key..)));
                        prop_assert!(ours.down_from(&key).eq(theirs.range(..=key).rev()));
                    }
                    _ => prop_assert_eq!(ours.remove(&key), theirs.remove(&key)),
                }
            }
            check(&ours, &theirs);
            let bytes = postcard::to_stdvec(&ours).expect("serialises");
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&theirs).expect("serialises"));
            prop_assert_eq!(postcard::from_bytes::<CompactMap<u16, Wide>>(&bytes).expect("reads back"), ours.clone());
            for key in theirs.into_keys().rev() {
                prop_assert!(ours.remove(&key).is_some());
            }
            prop_assert!(ours.is_empty() && ours.chunks.len() <= 1 && ours.first().is_none());
            ours.insert(7, wide(7));
            check(&ours, &BTreeMap::from([(7, wide(7))]));
        }
    }

    #[test]
    fn what_grows_at_its_end_fills_its_chunks_and_what_is_thinned_out_shrinks() {
        let mut map: CompactMap<u16, Wide> = (0..6_400).map(|key| (key, wide(0))).collect();
        let room = |map: &CompactMap<u16, Wide>| map.chunks.iter().map(|it| it.entries.capacity()).sum::<usize>();
        assert_eq!((map.chunks.len(), room(&map)), (100, 6_400));
        for key in (0..6_400).filter(|key| key % 64 != 0) {
            map.remove(&key);
        }
        assert_eq!(map.len(), 100);
        assert!(
            map.chunks.len() <= 7 && room(&map) <= 400,
            "{} {}",
            map.chunks.len(),
            room(&map)
        );
    }

    #[test]
    fn what_has_its_key_in_it_is_read_back_under_no_other() {
        use staunch_model::{ActionKind, Target};

        let id = TransactionId(7);
        let target = Target::Address([192, 0, 2, 1].into());
        let it = crate::apply::new_transaction(id, id, IncidentId(1), ActionKind::BlockIp, target);
        let map: Compact<TransactionId, Transaction> = [(id, it)].into_iter().collect();
        let mut bytes = postcard::to_stdvec(&map).expect("serialises");
        assert_eq!(
            postcard::from_bytes::<Compact<TransactionId, Transaction>>(&bytes),
            Ok(map)
        );
        assert_eq!(bytes[..2], [1, 7], "one entry, under its key");
        bytes[1] = 8;
        assert!(postcard::from_bytes::<Compact<TransactionId, Transaction>>(&bytes).is_err());
    }
}
