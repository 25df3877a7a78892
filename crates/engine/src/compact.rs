//! Ordered maps in as little memory as their entries take: what the state keeps of each of 100,000 leases is in them.
//!
//! Never changes the order of anything: they behave as the standard library's `BTreeMap` does, and a test compares them.
//! That one keeps the nodes of a map filled in ascending order, as ids are given out, half empty, and an entry in a `Box`
//! costs a pointer and what the allocator adds (2026-11-25: 609 bytes a lease with it, 375 with this).

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Index, RangeBounds};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use staunch_model::{IncidentId, TransactionId};

/// Entries of one chunk. With more, an insertion in the middle moves more; with fewer, the list of the chunks weighs
/// more.
const CHUNK_MAX: usize = 64;

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

/// An ordered map.
#[derive(Clone)]
pub struct Compact<K, V> {
    /// In the order of their keys. None is empty unless it is the only one: maps that are empty again and again keep
    /// their room.
    chunks: Vec<Chunk<K, V>>,
    len: usize,
}

/// An ordered set.
pub type CompactSet<K> = Compact<K, ()>;

/// Some neighbouring entries, ordered by key.
#[derive(Clone)]
struct Chunk<K, V> {
    /// Not above any of its keys, and above all keys of the chunk before.
    bound: K,
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Compact<K, V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<K: Key, V> Compact<K, V> {
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
            _ => self.chunks.partition_point(|chunk| chunk.bound <= *key).checked_sub(1),
        }
    }

    /// The value of `key`.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &K) -> Option<&V> {
        if let [chunk] = &*self.chunks
            && let Some(at) = chunk.guess(key)
        {
            return chunk.values.get(at);
        }
        self.search(key)
    }

    fn search(&self, key: &K) -> Option<&V> {
        let chunk = &self.chunks[self.chunk_of(key)?];
        chunk.find(key).ok().map(|at| &chunk.values[at])
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.chunk_of(key)?;
        let chunk = &mut self.chunks[at];
        chunk.find(key).ok().map(|at| &mut chunk.values[at])
    }

    /// True when there is an entry with `key`.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Enters `value` under `key`, and gives back what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
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
            Ok(at) => return Some(std::mem::replace(&mut chunk.values[at], value)),
            Err(at) => at,
        };
        self.len += 1;
        if chunk.keys.len() < CHUNK_MAX {
            chunk.insert(at, key, value);
            return None;
        }
        // A map that grows at its end only is left with full chunks.
        let mut upper = if is_last && at == CHUNK_MAX {
            Chunk::new(key.clone())
        } else {
            chunk.split_off(CHUNK_MAX / 2)
        };
        if key < upper.bound {
            chunk.insert(at, key, value);
        } else {
            upper.insert(at - chunk.keys.len(), key, value);
        }
        self.chunks.insert(place + 1, upper);
        None
    }

    /// Takes out the entry of `key`, and gives back its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.chunk_of(key)?;
        let chunk = &mut self.chunks[place];
        let at = chunk.find(key).ok()?;
        let left = chunk.keys.len() - 1;
        let value = if at == left {
            chunk.keys.pop();
            chunk.values.pop()?
        } else {
            chunk.keys.remove(at);
            chunk.values.remove(at)
        };
        self.len -= 1;
        if left < chunk.keys.capacity() / 2 && chunk.keys.capacity() > SMALL {
            chunk.shrink();
        }
        if self.chunks.len() == 1 {
            // There is nothing to join it with.
        } else if left == 0 {
            self.chunks.remove(place);
        } else if left < CHUNK_MAX / 4 {
            let joined = place > 0 && self.join(place - 1);
            if !joined && place + 1 < self.chunks.len() {
                self.join(place);
            }
        }
        Some(value)
    }

    /// Makes the chunk at `lower` and the one behind it one, if there is room to spare.
    fn join(&mut self, lower: usize) -> bool {
        let keys = self.chunks[lower].keys.len() + self.chunks[lower + 1].keys.len();
        if keys > CHUNK_MAX / 2 {
            return false;
        }
        let mut taken = self.chunks.remove(lower + 1);
        let chunk = &mut self.chunks[lower];
        chunk.keys.append(&mut taken.keys);
        chunk.values.append(&mut taken.values);
        chunk.shrink();
        true
    }

    /// The entry with the lowest key.
    #[must_use]
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        let chunk = self.chunks.first()?;
        Some((chunk.keys.first()?, chunk.values.first()?))
    }

    /// The lowest key.
    #[must_use]
    pub fn first(&self) -> Option<&K> {
        self.chunks.first()?.keys.first()
    }

    /// Takes out all entries. The room of a single small chunk is kept.
    pub fn clear(&mut self) {
        self.len = 0;
        if let [chunk] = &mut *self.chunks
            && chunk.keys.capacity() <= SMALL
        {
            chunk.keys.clear();
            chunk.values.clear();
        } else {
            self.chunks.clear();
        }
    }

    /// Takes out the entry with the lowest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let key = self.first()?.clone();
        self.remove(&key).map(|value| (key, value))
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.keys.iter().zip(&chunk.values))
    }

    /// All keys, in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.chunks.iter().flat_map(|chunk| &chunk.keys)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.chunks.iter().flat_map(|chunk| &chunk.values)
    }

    /// The entries whose keys are in `range`, in their order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        // The chunk that `range` begins in may have a bound below it.
        let from = match range.start_bound() {
            Bound::Included(key) | Bound::Excluded(key) => self.chunk_of(key).unwrap_or(0),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(key) | Bound::Excluded(key) => self.chunk_of(key).map_or(0, |last| last + 1),
            Bound::Unbounded => self.chunks.len(),
        };
        let chunks = self.chunks.get(from..to).unwrap_or_default();
        chunks.iter().flat_map(move |chunk| {
            let low = match range.start_bound() {
                Bound::Included(start) => chunk.keys.partition_point(|key| key < start),
                Bound::Excluded(start) => chunk.keys.partition_point(|key| key <= start),
                Bound::Unbounded => 0,
            };
            let high = match range.end_bound() {
                Bound::Included(end) => chunk.keys.partition_point(|key| key <= end),
                Bound::Excluded(end) => chunk.keys.partition_point(|key| key < end),
                Bound::Unbounded => chunk.keys.len(),
            };
            let part = low..high.max(low);
            chunk.keys[part.clone()].iter().zip(&chunk.values[part])
        })
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

impl<K: Key, V> Chunk<K, V> {
    fn new(bound: K) -> Self {
        Self {
            bound,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Where `key` is, if it is where it would be with none missing.
    #[inline]
    fn guess(&self, key: &K) -> Option<usize> {
        let guess = key.steps_from(self.keys.first()?);
        (self.keys.get(guess)? == key).then_some(guess)
    }

    /// Where `key` is, or where it would be.
    fn find(&self, key: &K) -> Result<usize, usize> {
        let keys = &self.keys;
        // Most of what is new comes last.
        if keys.last().is_none_or(|last| last < key) {
            return Err(keys.len());
        }
        match self.guess(key) {
            Some(at) => Ok(at),
            None => keys.binary_search(key),
        }
    }

    fn insert(&mut self, at: usize, key: K, value: V) {
        // Grows by a quarter: most chunks of a map that grows anywhere stay between half full and full for long.
        if self.keys.len() == self.keys.capacity() {
            let more = (self.keys.len() / 4).max(SMALL).min(CHUNK_MAX - self.keys.len());
            self.keys.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        if at == self.keys.len() {
            self.keys.push(key);
            self.values.push(value);
        } else {
            self.keys.insert(at, key);
            self.values.insert(at, value);
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        let upper = Self {
            bound: self.keys[at].clone(),
            keys: self.keys.split_off(at),
            values: self.values.split_off(at),
        };
        self.shrink();
        upper
    }

    fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        self.values.shrink_to_fit();
    }
}

impl<K: Key, V> Index<&K> for Compact<K, V> {
    type Output = V;

    /// # Panics
    /// When there is no entry with `key`.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the caller knows that the key is there")
    }
}

impl<K: Key, V: PartialEq> PartialEq for Compact<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Key, V: Eq> Eq for Compact<K, V> {}

impl<K: Key + fmt::Debug, V: fmt::Debug> fmt::Debug for Compact<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Key, V> FromIterator<(K, V)> for Compact<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Key + Serialize, V: Serialize> Serialize for Compact<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Key + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Compact<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Key + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
            type Value = Compact<K, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut map = Compact::new();
                while let Some((key, value)) = entries.next_entry()? {
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

    /// Compares everything that can be asked of the two.
    fn check(ours: &Compact<u16, u32>, theirs: &BTreeMap<u16, u32>) {
        assert!(ours.iter().eq(theirs.iter()));
        assert!(ours.iter().rev().eq(theirs.iter().rev()));
        assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
        assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
        assert_eq!(ours.first_key_value(), theirs.first_key_value());
        assert!(ours.chunks.iter().all(|chunk| {
            let keys = chunk.keys.len();
            (usize::from(ours.chunks.len() > 1)..=CHUNK_MAX).contains(&keys) && chunk.values.len() == keys
        }));
        let mut last = None;
        for chunk in &ours.chunks {
            assert!(last < Some(chunk.bound) && chunk.keys.is_sorted());
            assert!(chunk.keys.first().is_none_or(|first| chunk.bound <= *first));
            last = chunk.keys.last().copied();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn it_is_a_map_like_any_other(
            steps in proptest::collection::vec((0_u8..10, 0_u16..400, any::<u32>()), 0..1_500),
            ascending in any::<bool>(),
        ) {
            let (mut ours, mut theirs) = (Compact::new(), BTreeMap::new());
            let mut next = 0;
            for (what, key, value) in steps {
                match what {
                    0..6 => {
                        next += 1;
                        let key = if ascending { next } else { key };
                        prop_assert_eq!(ours.insert(key, value), theirs.insert(key, value));
                    }
                    6 => {
                        prop_assert_eq!(ours.get(&key), theirs.get(&key));
                        if let (Some(one), Some(other)) = (ours.get_mut(&key), theirs.get_mut(&key)) {
                            (*one, *other) = (value, value);
                        }
                    }
                    7 if key == 0 => {
                        ours.clear();
                        theirs.clear();
                    }
                    7 => prop_assert_eq!(ours.pop_first(), theirs.pop_first()),
                    8 => {
                        let other = u16::try_from(value % 400).unwrap();
                        let (low, high) = (key.min(other), key.max(other));
                        prop_assert!(ours.range(low..=high).eq(theirs.range(low..=high)));
                        prop_assert!(ours.range(low..high).rev().eq(theirs.range(low..high).rev()));
                        prop_assert!(ours.range(low..).eq(theirs.range(low..)));
                        prop_assert!(ours.range(..high).eq(theirs.range(..high)));
                        prop_assert_eq!(ours.range(high..low).count(), 0);
                    }
                    _ => prop_assert_eq!(ours.remove(&key), theirs.remove(&key)),
                }
            }
            check(&ours, &theirs);
            let bytes = postcard::to_stdvec(&ours).expect("serialises");
            prop_assert_eq!(&bytes, &postcard::to_stdvec(&theirs).expect("serialises"));
            prop_assert_eq!(postcard::from_bytes::<Compact<u16, u32>>(&bytes).expect("reads back"), ours.clone());
            for key in theirs.into_keys().rev() {
                prop_assert!(ours.remove(&key).is_some());
            }
            prop_assert!(ours.is_empty() && ours.chunks.len() <= 1 && ours.first().is_none());
            ours.insert(7, 7);
            check(&ours, &BTreeMap::from([(7, 7)]));
        }
    }

    #[test]
    fn what_grows_at_its_end_fills_its_chunks_and_what_is_thinned_out_shrinks() {
        let mut map: Compact<u16, u32> = (0..6_400).map(|key| (key, 0)).collect();
        let room = |map: &Compact<u16, u32>| map.chunks.iter().map(|it| it.values.capacity()).sum::<usize>();
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
}
