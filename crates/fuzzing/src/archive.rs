//! By the first byte: an archive of evidence as it is, the same before it is packed, an inventory, or a proof of an
//! entry.
//!
//! What holds: what is found can be shown; nothing is proved without an inventory that the key has signed; and what is
//! read is written again as it was.

use staunch_store::export::{Inventory, verify_archive_from};
use staunch_store::{ArchiveFinding, LogProof};

use crate::shown::assert_line;
use crate::tlog::key;

/// Findings that an archive may have: the files in its signed list, and the foreign ones that are told.
const FINDINGS_MAX: usize = 10_000;

/// Reads one of them.
pub fn run(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else {
        return;
    };
    match (kind % 4, std::str::from_utf8(bytes)) {
        (0, _) => archive(bytes),
        (1, _) => archive(&packed(bytes)),
        (2, Ok(text)) => {
            if let Some(inventory) = Inventory::parse(text) {
                assert_eq!(inventory.to_text(), text);
            }
        }
        (3, Ok(text)) => {
            if let Some(proof) = LogProof::parse(text) {
                assert_eq!(proof.to_string(), text);
                if proof.check(&key().verifier()).is_ok() {
                    let entry = [&*proof.entry, b"x"].concat();
                    let other = LogProof { entry, ..proof };
                    assert!(other.check(&key().verifier()).is_err(), "two entries with one proof");
                }
            }
        }
        _ => {}
    }
}

/// One frame of zstd whose block has the bytes as they are (RFC 8878, section 3.1.1).
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];
    let mut blocks = bytes.chunks(1 << 16).peekable();
    while let Some(block) = blocks.next() {
        let is_last = u32::from(blocks.peek().is_none());
        let length = u32::try_from(block.len()).expect("it is a chunk");
        frame.extend(&(length << 3 | is_last).to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

fn archive(bytes: &[u8]) {
    let mut findings = 0;
    let mut is_unproved = false;
    let mut found = |finding: ArchiveFinding| {
        assert_line(&finding.to_string());
        is_unproved |= matches!(
            finding,
            ArchiveFinding::InventoryMissing | ArchiveFinding::InventoryNotProved { .. }
        );
        findings += 1;
    };
    let summary = verify_archive_from(bytes, &key().verifier(), None, &mut |_, _| (), &mut found);
    assert_eq!(summary.findings, findings as u64);
    assert!(findings < FINDINGS_MAX);
    assert!(
        findings > 0 || summary.incident.is_some(),
        "nothing was signed, and nothing was found"
    );
    if is_unproved {
        assert_eq!(
            (summary.incident, summary.artefacts),
            (None, 0),
            "what is not proved was looked at"
        );
    }
}
