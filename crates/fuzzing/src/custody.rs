//! By the first byte: a manifest, the record of a collection, an entry of the transparency log, the receipt of a
//! bucket, or a line of a handling log.
//!
//! What holds: what is read is written again byte for byte, so that there are no two texts of one hash's meaning and
//! none that is read otherwise than it was hashed; and what is said of others can be shown.

use staunch_model::{CollectionRecord, Handled, LogEntry, Manifest, NotCustody, Receipt, Sha256Hash};

use crate::shown::assert_line;

/// Reads one.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match kind % 5 {
        0 => hold(bytes, Manifest::parse(bytes).map(|it| (it.to_bytes(), Some(it.hash())))),
        1 => hold(
            bytes,
            CollectionRecord::parse(bytes).map(|it| (it.to_bytes(), Some(it.hash()))),
        ),
        2 => hold(bytes, LogEntry::parse(bytes).map(|it| (it.to_bytes(), None))),
        3 => hold(bytes, Receipt::parse(bytes).map(|it| (it.to_bytes(), None))),
        _ => hold(bytes, Handled::parse(bytes).map(|it| (it.to_bytes(), None))),
    }
}

fn hold(bytes: &[u8], read: Result<(Vec<u8>, Option<Sha256Hash>), NotCustody>) {
    match read {
        Ok((written, hash)) => {
            assert_eq!(written, bytes, "another text was read");
            assert!(hash.is_none_or(|hash| hash == Sha256Hash::of(bytes)), "another hash");
            assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1, "it is one line");
        }
        Err(error) => assert_line(&error.to_string()),
    }
}
