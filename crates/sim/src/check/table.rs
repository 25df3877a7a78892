//! A table by ids that are given out one after the other, and never taken back.
//!
//! Never relies on that: an id that is out of turn is entered at its place.

use staunch_model::{EvidenceId, IncidentId, TransactionId};

/// What is known of each id, in their order.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V>(Vec<(K, V)>);

/// An id that is a number.
pub(super) trait Numbered: Copy + Ord {
    fn number(self) -> u64;
}

impl Numbered for TransactionId {
    fn number(self) -> u64 {
        self.0
    }
}

impl Numbered for IncidentId {
    fn number(self) -> u64 {
        self.0
    }
}

impl Numbered for EvidenceId {
    fn number(self) -> u64 {
        self.0
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Numbered, V> Table<K, V> {
    pub(super) fn get(&self, id: &K) -> Option<&V> {
        self.place(*id).ok().map(|at| &self.0[at].1)
    }

    pub(super) fn get_mut(&mut self, id: &K) -> Option<&mut V> {
        self.place(*id).ok().map(|at| &mut self.0[at].1)
    }

    /// Enters `value`, in the place of what was there.
    pub(super) fn insert(&mut self, id: K, value: V) {
        match self.place(id) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (id, value)),
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.iter().map(|(id, value)| (id, value))
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Where `id` is, or where it would be. With none missing, it is as far from the first as their numbers are.
    fn place(&self, id: K) -> Result<usize, usize> {
        let guess = self.0.first().and_then(|(first, _)| {
            let steps = id.number().checked_sub(first.number())?;
            usize::try_from(steps).ok()
        });
        match guess {
            Some(at) if self.0.get(at).is_some_and(|(there, _)| *there == id) => Ok(at),
            _ => self.0.binary_search_by_key(&id, |(there, _)| *there),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_in_any_order() {
        let mut table = Table::default();
        for number in [5, 6, 9, 2, 7, 6] {
            table.insert(TransactionId(number), number * 10);
        }
        table.insert(TransactionId(9), 91);
        let all: Vec<_> = table.iter().map(|(id, value)| (id.0, *value)).collect();
        assert_eq!(all, [(2, 20), (5, 50), (6, 60), (7, 70), (9, 91)]);
        assert!(
            all.iter()
                .all(|(id, value)| table.get(&TransactionId(*id)) == Some(value))
        );
        assert!(
            [0, 1, 3, 8, 10, u64::MAX]
                .iter()
                .all(|id| table.get(&TransactionId(*id)).is_none())
        );
    }
}
