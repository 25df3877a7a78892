//! What the journal holds comes back as it was, whatever it is.

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use staunch_engine::{Engine, EngineState};
use staunch_fuzzing::made::Made;
use staunch_model::{Frame, Input, Record, Span, Timestamp};
use staunch_ports::Journal as _;
use staunch_store::MemoryJournal;

/// Any value of a type that the journal holds.
pub(crate) fn any_value<T: DeserializeOwned + std::fmt::Debug>() -> impl Strategy<Value = T> {
    prop::collection::vec(any::<u8>(), 0..500)
        .prop_filter_map("the type refuses it", |bytes| Made::of(&bytes).value::<T>())
}

/// The state that any history leads to, whatever sense it makes.
pub(crate) fn any_state() -> impl Strategy<Value = EngineState> {
    prop::collection::vec(any_value::<Frame>(), 0..30).prop_map(|frames| {
        let mut engine = Engine::new();
        for frame in &frames {
            // What does not fit is left out, and the state goes on without it.
            let _ = engine.replay(frame, Timestamp::from_micros(7));
        }
        engine.state().clone()
    })
}

#[test]
fn every_variant_is_made() {
    // Names of targets are not made of just any bytes.
    let bytes = || (0..=u8::MAX).flat_map(|first| (0..64).map(move |rest| [first, rest / 8, rest % 8, 3]));
    let inputs: std::collections::BTreeSet<u8> = bytes()
        .filter_map(|bytes| Made::of(&bytes).value::<Input>())
        .map(|input| postcard::to_stdvec(&input).expect("stored")[0])
        .collect();
    assert!(inputs.into_iter().eq(0..=18), "the number of each variant of an input");
    let records: std::collections::BTreeSet<u8> = bytes()
        .filter_map(|bytes| Made::of(&bytes).value::<Record>())
        .map(|record| postcard::to_stdvec(&record).expect("stored")[0])
        .collect();
    assert_eq!(records.first(), Some(&0));
    assert_eq!(records.len(), usize::from(*records.last().expect("there are some")) + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_frame_comes_back_as_it_was(frame in any_value::<Frame>()) {
        let bytes = postcard::to_stdvec(&frame).expect("every frame can be stored");
        prop_assert_eq!(&postcard::from_bytes::<Frame>(&bytes).expect("and read back"), &frame);
        let (_, rest) = postcard::take_from_bytes::<Frame>(&bytes).expect("and read back");
        prop_assert!(rest.is_empty(), "nothing is left over");
        let json = serde_json::to_string(&frame).expect("every frame can be shown");
        prop_assert_eq!(serde_json::from_str::<Frame>(&json).expect("and read back"), frame);
    }

    #[test]
    fn a_frame_that_is_cut_is_refused(frame in any_value::<Frame>(), at in any::<prop::sample::Index>()) {
        let bytes = postcard::to_stdvec(&frame).expect("every frame can be stored");
        prop_assert!(postcard::from_bytes::<Frame>(&bytes[..at.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_snapshot_is_the_state(state in any_state()) {
        let bytes = state.encode();
        let mut journal = MemoryJournal::new();
        journal.open_epoch().expect("a journal in memory");
        journal.put_snapshot(staunch_ports::Lsn(0), &bytes).expect("there is room");
        let (_, stored) = journal.newest_snapshot().expect("readable").expect("there is one");
        let engine = Engine::from_snapshot(&stored).expect("a state that was written can be read");
        prop_assert_eq!(engine.state().encode(), bytes);
        prop_assert_eq!(engine.state().hash(), state.hash());
    }

    #[test]
    fn times_and_spans_lose_nothing_in_json(us in any_value::<u64>()) {
        let time = Timestamp::from_micros(us);
        let json = serde_json::to_string(&time).expect("shown");
        prop_assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("read back"), time);
        let span = Span::from_micros(us);
        let json = serde_json::to_string(&span).expect("shown");
        prop_assert_eq!(serde_json::from_str::<Span>(&json).expect("read back"), span);
    }
}
