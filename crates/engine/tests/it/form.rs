//! The form of snapshots: what one build has written, a later one reads as it was, or refuses.

use std::fs;
use std::path::PathBuf;

use staunch_engine::EngineState;
use staunch_engine::state::SNAPSHOT_FORM;

use crate::{preserve, recover};

/// States with much in them, each with the name of the file that holds its snapshot.
fn states() -> [(&'static str, EngineState); 2] {
    [
        ("recovery.bin", recover::halfway_back()),
        ("evidence.bin", preserve::halfway_kept()),
    ]
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/snapshots")
        .join(name)
}

/// The files were written by a build of this form, whichever states it came to. They are written anew with
/// `STAUNCH_UPDATE_DOCS=1`, which is for a new form.
#[test]
fn a_snapshot_of_this_form_reads_as_it_was_written() {
    for (name, state) in states() {
        if std::env::var_os("STAUNCH_UPDATE_DOCS").is_some() {
            fs::write(file(name), state.encode()).unwrap();
        }
        let bytes = fs::read(file(name)).unwrap();
        let read = EngineState::decode(&bytes);
        let read = read.unwrap_or_else(|error| panic!("{name}: {error}: the form has changed, and its number has not"));
        assert_eq!(read.encode(), bytes, "{name}");
        assert!(!read.transactions.is_empty() && !read.incidents.is_empty(), "{name}");
        assert_eq!(read.recoveries.is_empty(), state.recoveries.is_empty(), "{name}");
        assert_eq!(read.watches.is_empty(), state.watches.is_empty(), "{name}");
        assert_eq!(read.evidence.is_empty(), state.evidence.is_empty(), "{name}");
        for recovery in read.recoveries.values() {
            assert!(recovery.ended.is_none() && !recovery.lifted.is_empty(), "{recovery:?}");
        }
    }
}

#[test]
fn a_snapshot_of_another_form_is_refused() {
    for (name, state) in states() {
        let bytes = state.encode();
        assert_eq!(bytes[..SNAPSHOT_FORM.len()], SNAPSHOT_FORM);
        let mut written = Vec::new();
        state.encode_to(&mut written).unwrap();
        assert_eq!(written, bytes, "{name}");
        for at in 0..SNAPSHOT_FORM.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(EngineState::decode(&other).is_err(), "{name}: byte {at}");
        }
        // Builds before there were forms wrote the state alone.
        assert!(EngineState::decode(&bytes[SNAPSHOT_FORM.len()..]).is_err(), "{name}");
        assert!(EngineState::decode(&SNAPSHOT_FORM).is_err());
    }
}
