//! By the first byte: a signed note, a checkpoint, the name of a tile, a bundle of entries, a tile of hashes, a key, a
//! proof, or a time stamp.
//!
//! What holds: what is read is written again as it was; a note that opens carries the signature that the key makes of
//! its text; no name leads out of the log; and a proof of one hash proves no other.

use staunch_model::Sha256Hash;
use staunch_store::tlog::merkle::{is_consistent, is_included};
use staunch_store::tlog::stamp::{Stamp, StampRequest};
use staunch_store::tlog::tile::{self, Tile};
use staunch_store::{Checkpoint, LogKey, LogVerifier};

/// The key that has signed the seeds.
#[must_use]
pub fn key() -> LogKey {
    LogKey::from_seed("staunch.example/0102", &[7; 32])
}

/// Reads one of them.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(bytes).ok();
    match (kind % 8, text) {
        (0, Some(note)) => open(note),
        (1, Some(text)) => checkpoint(text),
        (2, Some(name)) => {
            if let Some(tile) = Tile::parse(name) {
                assert_eq!(tile.to_string(), name);
                assert!(name.starts_with("tile/") && !name.contains(".."));
                assert!((1..=256).contains(&tile.width));
            }
        }
        (3, _) => bundle(bytes),
        (4, _) => {
            let width = bytes.len() as u64 / 32;
            if let Ok(hashes) = tile::decode_hashes(bytes, width) {
                assert_eq!(tile::encode_hashes(&hashes), bytes);
            }
        }
        (5, Some(text)) => {
            if let Some(verifier) = LogVerifier::parse(text) {
                assert_eq!(verifier.to_string(), text.trim());
            }
            if let Some(key) = LogKey::parse(text) {
                let verifier = key.verifier();
                assert_eq!(verifier.open(&key.sign("text\n")), Ok("text\n"));
            }
        }
        (6, _) => proof(bytes),
        (7, _) => stamp(bytes),
        _ => {}
    }
}

fn stamp(bytes: &[u8]) {
    if let Some(request) = StampRequest::parse(bytes) {
        assert_eq!(request.to_bytes(), bytes);
    }
    if let Ok(stamp) = Stamp::parse(bytes) {
        assert_eq!(stamp.time.to_string().len(), "2026-11-27T01:15:30Z".len());
        // Nobody has asked for it with this nonce, of these bytes.
        assert!(stamp.answers(&StampRequest::new(bytes, [7; 8]), bytes).is_err());
    }
}

fn open(note: &str) {
    let key = key();
    let verifier = key.verifier();
    let Ok(text) = verifier.open(note) else {
        return;
    };
    assert!(note.starts_with(text) && text.ends_with('\n'));
    let ours = key.sign(text);
    let line = ours
        .strip_prefix(text)
        .map(str::trim_start)
        .expect("the signature is below the text");
    assert!(note.contains(line), "a signature that is not of the key opened a note");
    if let Ok(found) = verifier.checkpoint(note) {
        assert_eq!(found.origin, verifier.name());
        assert!(text.starts_with(&found.to_text()));
    }
}

fn checkpoint(text: &str) {
    if let Some(checkpoint) = Checkpoint::parse(text) {
        let written = checkpoint.to_text();
        assert!(text.starts_with(&written), "another checkpoint was read");
        assert_eq!(Checkpoint::parse(&written), Some(checkpoint));
    }
}

fn bundle(bytes: &[u8]) {
    let Some((width, bytes)) = bytes.split_first() else {
        return;
    };
    let width = u64::from(*width) + 1;
    let Ok(entries) = tile::decode_entries(bytes, width) else {
        return;
    };
    assert_eq!(entries.len() as u64, width);
    let mut written = Vec::new();
    entries.iter().for_each(|entry| tile::encode_entry(&mut written, entry));
    assert_eq!(written, bytes);
}

fn proof(bytes: &[u8]) {
    let (Some((index, rest)), size) = (bytes.split_first_chunk::<8>(), bytes.get(8..16)) else {
        return;
    };
    let Some(size) = size.and_then(|size| size.try_into().ok()).map(u64::from_be_bytes) else {
        return;
    };
    let index = u64::from_be_bytes(*index);
    let (hashes, _) = rest[8..].as_chunks::<32>();
    let hashes: Vec<_> = hashes.iter().map(|hash| Sha256Hash(*hash)).collect();
    let [first, second, proof @ ..] = hashes.as_slice() else {
        return;
    };
    let other = Sha256Hash::of(&first.0);
    if is_included(*first, index, size, *second, proof) {
        assert!(index < size && !is_included(other, index, size, *second, proof));
    }
    if is_consistent(index, *first, size, *second, proof) {
        assert!(index <= size && !is_consistent(index, other, size, *second, proof));
    }
}
