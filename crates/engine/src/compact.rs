//! Ordered maps in as little memory as their entries take: what the state keeps of each of 100,000 leases is in them.
//!
//! Never changes the order of anything: they behave as the standard library's `BTreeMap` does, and a test compares them.
//! That one keeps the nodes of a map filled in ascending order, as ids are given out, half empty, and an entry in a `Box`
//! costs a pointer and what the allocator adds (2026-11-25: 609 bytes a lease with it, 375 with this).

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Index, RangeBounds};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Entries of one chunk. With more, an insertion in the middle moves more; with fewer, the map of the chunks weighs more.
const CHUNK_MAX: usize = 64;

/// Room for so many entries is left to a chunk that had them: giving it back and asking for it again takes longer than
/// it is worth.
const SMALL: usize = 8;

/// An ordered map. Its keys are small, and are cloned for the bounds of chunks.
#[derive(Clone)]
pub struct Compact<K, V> {
    /// Each chunk by a lower bound of its keys, which is above all keys of the chunk before. None is empty unless it is the
    /// only one: maps that are empty again and again keep their room.
    chunks: BTreeMap<K, Chunk<K, V>>,
    len: usize,
}

/// An ordered set.
pub type CompactSet<K> = Compact<K, ()>;

/// Some neighbouring entries, ordered by key.
#[derive(Clone)]
struct Chunk<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Compact<K, V> {
    fn default() -> Self {
        Self {
            chunks: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<K: Ord + Clone, V> Compact<K, V> {
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

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let chunk = if self.chunks.len() == 1 {
            // Nothing to look for.
            self.chunks.first_key_value()?.1
        } else {
            self.chunks.range(..=key).next_back()?.1
        };
        chunk.keys.binary_search(key).ok().map(|at| &chunk.values[at])
    }

    /// The value of `key`, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let chunk = if self.chunks.len() == 1 {
            self.chunks.values_mut().next()?
        } else {
            self.chunks.range_mut(..=key).next_back()?.1
        };
        chunk.keys.binary_search(key).ok().map(|at| &mut chunk.values[at])
    }

    /// True when there is an entry with `key`.
    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Enters `value` under `key`, and gives back what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.chunks.len() == 1
            && let Some((bound, chunk)) = self.chunks.iter_mut().next()
            && *bound <= key
            && chunk.keys.len() < CHUNK_MAX
        {
            match chunk.keys.binary_search(&key) {
                Ok(at) => return Some(std::mem::replace(&mut chunk.values[at], value)),
                Err(at) => chunk.insert(at, key, value),
            }
            self.len += 1;
            return None;
        }
        if self.chunks.range(..=key.clone()).next_back().is_none() {
            // It comes before everything: the first chunk takes it, under a lower bound that is low enough.
            let first = self.chunks.pop_first().map_or_else(Chunk::new, |(_, chunk)| chunk);
            self.chunks.insert(key.clone(), first);
        }
        let is_last = self.chunks.last_key_value().is_some_and(|(bound, _)| *bound <= key);
        let (_, chunk) = self.chunks.range_mut(..=key.clone()).next_back()?;
        let at = match chunk.keys.binary_search(&key) {
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
            Chunk::new()
        } else {
            chunk.split_off(CHUNK_MAX / 2)
        };
        match upper.keys.first() {
            Some(first) if key < *first => chunk.insert(at, key, value),
            _ => upper.insert(at - chunk.keys.len(), key, value),
        }
        if let Some(bound) = upper.keys.first().cloned() {
            self.chunks.insert(bound, upper);
        }
        None
    }

    /// Takes out the entry of `key`, and gives back its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (bound, chunk) = if self.chunks.len() == 1 {
            self.chunks.iter_mut().next()?
        } else {
            self.chunks.range_mut(..=key).next_back()?
        };
        let at = chunk.keys.binary_search(key).ok()?;
        let bound = bound.clone();
        chunk.keys.remove(at);
        let value = chunk.values.remove(at);
        self.len -= 1;
        let left = chunk.keys.len();
        if left < chunk.keys.capacity() / 2 && chunk.keys.capacity() > SMALL {
            chunk.shrink();
        }
        if self.chunks.len() == 1 {
            // There is nothing to join it with.
        } else if left == 0 {
            self.chunks.remove(&bound);
        } else if left < CHUNK_MAX / 4 {
            let before = self
                .chunks
                .range(..&bound)
                .next_back()
                .map(|(before, _)| before.clone());
            let behind = (Bound::Excluded(&bound), Bound::Unbounded);
            let behind = self
                .chunks
                .range::<K, _>(behind)
                .next()
                .map(|(behind, _)| behind.clone());
            let joined = before.is_some_and(|before| self.join(&before, &bound));
            if !joined && let Some(behind) = behind {
                self.join(&bound, &behind);
            }
        }
        Some(value)
    }

    /// Makes the chunks at two neighbouring bounds one, if there is room to spare.
    fn join(&mut self, lower: &K, upper: &K) -> bool {
        let keys: usize = [lower, upper].iter().map(|bound| self.chunks[*bound].keys.len()).sum();
        if keys > CHUNK_MAX / 2 {
            return false;
        }
        let taken = self.chunks.remove(upper);
        if let (Some(mut taken), Some(chunk)) = (taken, self.chunks.get_mut(lower)) {
            chunk.keys.append(&mut taken.keys);
            chunk.values.append(&mut taken.values);
            chunk.shrink();
        }
        true
    }

    /// The entry with the lowest key.
    #[must_use]
    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        let (_, chunk) = self.chunks.first_key_value()?;
        Some((chunk.keys.first()?, chunk.values.first()?))
    }

    /// The lowest key.
    #[must_use]
    pub fn first(&self) -> Option<&K> {
        self.first_key_value().map(|(key, _)| key)
    }

    /// Takes out all entries. The room of a single small chunk is kept.
    pub fn clear(&mut self) {
        self.len = 0;
        if self.chunks.len() == 1
            && let Some(chunk) = self.chunks.values_mut().next()
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
            .values()
            .flat_map(|chunk| chunk.keys.iter().zip(&chunk.values))
    }

    /// All keys, in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.chunks.values().flat_map(|chunk| &chunk.keys)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.chunks.values().flat_map(|chunk| &chunk.values)
    }

    /// The entries whose keys are in `range`, in their order.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        // The chunk that `range` begins in may have a bound below it.
        let start = match range.start_bound() {
            Bound::Included(key) | Bound::Excluded(key) => {
                self.chunks.range(..=key).next_back().map(|(bound, _)| bound.clone())
            }
            Bound::Unbounded => None,
        };
        let to = match range.end_bound() {
            Bound::Included(key) | Bound::Excluded(key) => Some(key.clone()),
            Bound::Unbounded => None,
        };
        // The map of the chunks must not be asked for what ends before it begins.
        let nothing = matches!((&start, &to), (Some(start), Some(to)) if to < start);
        let from = start.map_or(Bound::Unbounded, Bound::Included);
        let to = to.map_or(Bound::Unbounded, Bound::Included);
        let chunks = (!nothing).then(|| self.chunks.range((from, to)));
        chunks.into_iter().flatten().flat_map(move |(_, chunk)| {
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

impl<K: Ord + Clone> CompactSet<K> {
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

impl<K, V> Chunk<K, V> {
    fn new() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    fn insert(&mut self, at: usize, key: K, value: V) {
        // Grows by a quarter: most chunks of a map that grows anywhere stay between half full and full for long.
        if self.keys.len() == self.keys.capacity() {
            let more = (self.keys.len() / 4).max(SMALL).min(CHUNK_MAX - self.keys.len());
            self.keys.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        self.keys.insert(at, key);
        self.values.insert(at, value);
    }

    fn split_off(&mut self, at: usize) -> Self {
        let upper = Self {
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

impl<K: Ord + Clone, V> Index<&K> for Compact<K, V> {
    type Output = V;

    /// # Panics
    /// When there is no entry with `key`.
    fn index(&self, key: &K) -> &V {
        self.get(key).expect("the caller knows that the key is there")
    }
}

impl<K: Ord + Clone, V: PartialEq> PartialEq for Compact<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Clone, V: Eq> Eq for Compact<K, V> {}

impl<K: Ord + Clone + fmt::Debug, V: fmt::Debug> fmt::Debug for Compact<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V> FromIterator<(K, V)> for Compact<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord + Clone + Serialize, V: Serialize> Serialize for Compact<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de, K: Ord + Clone + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Compact<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<K, V>(PhantomData<(K, V)>);

        impl<'de, K: Ord + Clone + Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for Entries<K, V> {
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
    use proptest::prelude::*;

    use super::*;

    /// Compares everything that can be asked of the two.
    fn check(ours: &Compact<u16, u32>, theirs: &BTreeMap<u16, u32>) {
        assert!(ours.iter().eq(theirs.iter()));
        assert!(ours.iter().rev().eq(theirs.iter().rev()));
        assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
        assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
        assert_eq!(ours.first_key_value(), theirs.first_key_value());
        assert!(ours.chunks.values().all(|chunk| {
            let keys = chunk.keys.len();
            (usize::from(ours.chunks.len() > 1)..=CHUNK_MAX).contains(&keys) && chunk.values.len() == keys
        }));
        let mut last = None;
        for (bound, chunk) in &ours.chunks {
            assert!(last < Some(*bound) && chunk.keys.is_sorted());
            assert!(chunk.keys.first().is_none_or(|first| bound <= first));
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
        let room = |map: &Compact<u16, u32>| map.chunks.values().map(|it| it.values.capacity()).sum::<usize>();
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
