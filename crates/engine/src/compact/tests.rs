//! Compares these maps with those of the standard library.

use std::collections::{BTreeMap, BTreeSet};

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
    assert!(ours.iter().eq(theirs.iter()));
    assert!(ours.iter().rev().eq(theirs.iter().rev()));
    assert!(ours.keys().eq(theirs.keys()) && ours.values().eq(theirs.values()));
    assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
    assert_eq!(ours.first_key_value(), theirs.first_key_value());
    check_chunks(ours);
}

/// Chunks are not too large, none is empty beside others, and their bounds are between their keys.
fn check_chunks<K: Key, V>(ours: &CompactMap<K, V>) {
    let sizes = usize::from(ours.chunks.len() > 1)..=Chunk::<K, (K, V)>::MAX;
    let mut last = None;
    for chunk in &ours.chunks {
        assert!(sizes.contains(&chunk.entries.len()));
        assert!(last < Some(&chunk.bound) && chunk.entries.iter().is_sorted_by_key(|it| &it.0));
        assert!(chunk.entries.front().is_none_or(|(first, _)| chunk.bound <= *first));
        last = chunk.entries.back().map(|it| &it.0);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_replaced_is_where_it_would_have_been_added(
        keys in proptest::collection::btree_set(0_u16..600, 0..300),
        steps in proptest::collection::vec((0_u8..4, 0_u16..600, 0_u16..600), 0..600),
    ) {
        let of = |key: u16| (key, wide(0));
        let (mut ours, mut theirs) = (CompactSet::new(), BTreeSet::new());
        for key in keys {
            prop_assert_eq!(ours.add(of(key)), theirs.insert(of(key)));
        }
        for (what, key, other) in steps {
            match what {
                // What is in a ring begins anywhere.
                0 => prop_assert_eq!(ours.pop_first().map(|(key, ())| key), theirs.pop_first()),
                1 => prop_assert_eq!(ours.add(of(key)), theirs.insert(of(key))),
                _ => {
                    let at = theirs.len() * usize::from(key) / 600;
                    let before = theirs.iter().nth(at).copied().filter(|_| what == 2).unwrap_or(of(key));
                    ours.replace(&before, of(other));
                    theirs.remove(&before);
                    theirs.insert(of(other));
                }
            }
            prop_assert!(ours.keys().eq(theirs.iter()));
            prop_assert_eq!((ours.len(), ours.last()), (theirs.len(), theirs.last()));
            check_chunks(&ours);
        }
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
    use staunch_model::{ActionKind, IncidentId, Target, Transaction, TransactionId};

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
