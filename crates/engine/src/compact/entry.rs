//! What is kept in a map, and in which order: keys, entries, and how large a chunk of them is.

use staunch_model::{Incident, IncidentId, Transaction, TransactionId};

/// Bytes of a full chunk into whose middle entries are put. With more, an insertion moves more; with fewer, there are
/// more pieces, and what others free between them is seldom large enough for anything else.
const CHUNK_BYTES: usize = 8 << 10;

/// Bytes of a full chunk of what comes in the order of its ids, and mostly goes in it. Pieces as large do not lie
/// between those that the server allocates and frees all the time, and the program's allocator has a class of just this
/// size.
const LARGE_CHUNK_BYTES: usize = 128 << 10;

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
            const CHUNK_BYTES: usize = LARGE_CHUNK_BYTES;
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
