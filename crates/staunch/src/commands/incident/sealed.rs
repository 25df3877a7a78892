//! What was sealed for an incident, read out of the vault as documents.
//!
//! Never changes anything, and holds no more than it is told to.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read as _};
use std::ops::ControlFlow;

use serde_json::Value;
use staunch_model::{EvidenceId, EvidenceKind, Printable, Sha256Hash, Span, Taken, Timestamp};
use staunch_ports::Vault as _;

use crate::commands::evidence::reading::{Exactly, Reading};

/// The bytes of one document that is read: the processes and sockets of a large machine have some tens of MiB.
const DOCUMENT_BYTES_MAX: u64 = 32 << 20;

/// The bytes of all of them.
const ALL_BYTES_MAX: u64 = 64 << 20;

/// The kinds that name causes, and have a document each.
const KINDS: [EvidenceKind; 5] = [
    EvidenceKind::Process,
    EvidenceKind::Processes,
    EvidenceKind::Sockets,
    EvidenceKind::Flows,
    EvidenceKind::Logins,
];

/// One document, proved against its hash.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) evidence: EvidenceId,
    pub(super) kind: EvidenceKind,
    /// When it was taken.
    pub(super) at: Timestamp,
    /// The same, since the machine was started.
    pub(super) since_boot: Span,
    pub(super) document: Value,
}

/// What there is, and what is missing, in words that are safe to show.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) sealed: Vec<Sealed>,
    pub(super) missing: Vec<String>,
    /// The kinds of which something is sealed that was not read.
    pub(super) unread: BTreeSet<EvidenceKind>,
}

impl Sealed {
    /// When something happened, by the ticks since the machine was started; there are 100 in a second (`USER_HZ`,
    /// time(7)).
    pub(super) fn at_ticks(&self, ticks: u64) -> Timestamp {
        let since_boot = ticks.saturating_mul(10_000);
        let before = self.since_boot.as_micros().saturating_sub(since_boot);
        Timestamp::from_micros(self.at.as_micros().saturating_sub(before))
    }
}

/// Reads what is sealed of the kinds that name causes.
pub(super) fn read(from: &Reading) -> Read {
    let mut found = Read::default();
    let mut wanted: Vec<(EvidenceId, EvidenceKind, Timestamp, Span, Sha256Hash, u64)> = Vec::new();
    let visited = from.vault().manifests(from.incident(), &mut |it| {
        let custody = &it.manifest.custody;
        if KINDS.contains(&custody.kind) {
            match &it.manifest.taken {
                Taken::Stored { size, sha256, .. } => wanted.push((
                    custody.evidence,
                    custody.kind,
                    custody.collected_at,
                    custody.collected_at_monotonic,
                    *sha256,
                    *size,
                )),
                Taken::Missed(why) => {
                    let why = why.to_string();
                    found
                        .missing
                        .push(format!("{} ({}): {}", custody.evidence, custody.kind, Printable(&why)));
                }
            }
        }
        ControlFlow::Continue(())
    });
    if let Err(failure) = visited {
        let failure = failure.to_string();
        found
            .missing
            .push(format!("not all of the vault could be read: {}", Printable(&failure)));
    }
    wanted.sort_by_key(|it| (it.0, it.2));
    let mut room = ALL_BYTES_MAX;
    for (evidence, kind, at, since_boot, hash, size) in wanted {
        if size > DOCUMENT_BYTES_MAX || size > room {
            found.missing.push(format!(
                "{evidence} ({kind}): {size} bytes are more than are read for a picture"
            ));
            found.unread.insert(kind);
            continue;
        }
        room -= size;
        match document(from, evidence, hash, size) {
            Ok(document) => found.sealed.push(Sealed {
                evidence,
                kind,
                at,
                since_boot,
                document,
            }),
            Err(why) => {
                found.missing.push(format!("{evidence} ({kind}): {}", Printable(&why)));
                found.unread.insert(kind);
            }
        }
    }
    found
}

fn document(from: &Reading, evidence: EvidenceId, hash: Sha256Hash, size: u64) -> Result<Value, String> {
    let mut bytes = Vec::new();
    // To the end, because only there it is proved.
    let read = from.artefact(evidence, hash, size)?.read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| format!("it is no document: {error}"))
}

/// The name of the document that lists the files of one collection.
const LIST_OF_FILES: &str = "files.json";

/// A file that was kept, or what was kept of the journal of systemd.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) evidence: EvidenceId,
    pub(super) kind: EvidenceKind,
    /// Where it was taken from. Safe to show.
    pub(super) from: String,
    /// Whether it is the list of files.
    pub(super) is_list: bool,
    hash: Sha256Hash,
    size: u64,
}

/// What was kept of files and of the journal, in the order in which it was taken, and what is missing.
pub(super) fn kept(from: &Reading) -> (Vec<Kept>, Vec<String>) {
    let (mut kept, mut missing) = (Vec::new(), Vec::new());
    let visited = from.vault().manifests(from.incident(), &mut |it| {
        let custody = &it.manifest.custody;
        let name = &custody.name;
        if matches!(custody.kind, EvidenceKind::Files | EvidenceKind::Journal) {
            match &it.manifest.taken {
                Taken::Stored { size, sha256, .. } => kept.push(Kept {
                    evidence: custody.evidence,
                    kind: custody.kind,
                    from: Printable(&custody.locator).to_string(),
                    is_list: custody.kind == EvidenceKind::Files && **name == *LIST_OF_FILES,
                    hash: *sha256,
                    size: *size,
                }),
                Taken::Missed(why) => {
                    let why = why.to_string();
                    let (id, kind) = (custody.evidence, custody.kind);
                    missing.push(format!("{id} ({kind}), {}: {}", Printable(name), Printable(&why)));
                }
            }
        }
        ControlFlow::Continue(())
    });
    if let Err(failure) = visited {
        let failure = failure.to_string();
        missing.push(format!("not all of the vault could be read: {}", Printable(&failure)));
    }
    (kept, missing)
}

impl Kept {
    /// Its bytes. That they are those that were sealed is proved at their end: until then, nothing of them counts.
    pub(super) fn open(&self, from: &Reading) -> Result<BufReader<Exactly<Box<dyn io::Read + Send>>>, String> {
        from.artefact(self.evidence, self.hash, self.size).map(BufReader::new)
    }

    /// The list of files.
    pub(super) fn document(&self, from: &Reading) -> Result<Value, String> {
        if self.size > DOCUMENT_BYTES_MAX {
            return Err(format!("{} bytes are more than are read", self.size));
        }
        document(from, self.evidence, self.hash, self.size)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use staunch_model::{HandlingAction, IncidentId};
    use staunch_store::vault::HandlingLog;

    use super::*;

    /// Stores `stored` where the artefact `sealed` is looked for.
    fn store(folder: &Path, sealed: &[u8], stored: &[u8]) -> Sha256Hash {
        let hash = Sha256Hash::of(sealed);
        let name = hash.to_string();
        let dir = folder.join("vault/objects").join(&name[..2]);
        fs::create_dir_all(&dir).expect("our folder");
        let packed = zstd::encode_all(stored, 1).expect("memory");
        fs::write(dir.join(format!("{name}.zst")), packed).expect("our folder");
        hash
    }

    #[test]
    fn a_document_that_is_longer_than_what_was_sealed_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let reading = Reading::in_folder(folder.path(), IncidentId(7));
        let sealed = br#"{"a":1}"#;
        let read = |stored: &[u8]| {
            let hash = store(folder.path(), sealed, stored);
            document(&reading, EvidenceId(3), hash, sealed.len() as u64)
        };
        assert_eq!(read(sealed), Ok(serde_json::json!({"a": 1})));
        // A document of one byte more, and whatever.
        let longer = [&br#"{"a":66}"#[..], &b"anything".repeat(100_000)].concat();
        for stored in [&longer[..], br#"{"a":2}"#, br#"{"a":1"#, br#"{"a":66}"#] {
            let why = read(stored).expect_err("it is not what was sealed");
            assert!(why.contains("what was sealed"), "{why}");
        }
    }

    #[test]
    fn who_reads_evidence_is_written_down_once_for_each_piece_and_before_a_byte_is_given() {
        let folder = tempfile::tempdir().expect("a folder");
        let hash = store(folder.path(), b"{}", b"{}");
        let reading = Reading::in_folder(folder.path(), IncidentId(7));
        for _ in 0..2 {
            document(&reading, EvidenceId(3), hash, 2).expect("it is read");
        }
        document(&reading, EvidenceId(4), hash, 2).expect("it is read");
        document(&reading, EvidenceId(5), Sha256Hash::of(b"x"), 2).expect_err("it is not there");
        let mut lines = Vec::new();
        let log = HandlingLog::in_folder(folder.path());
        log.read(Some(IncidentId(7)), &mut |it| lines.push(it), &mut |what| {
            panic!("{what}")
        })
        .expect("there is a log");
        let told: Vec<_> = lines
            .iter()
            .map(|it| (it.evidence, it.handling.action, it.outcome.as_deref()))
            .collect();
        let opened = |id| (Some(EvidenceId(id)), HandlingAction::Open, Some("for a test"));
        assert_eq!(told, [opened(3), opened(4)]);

        // What cannot be written down is not read.
        let folder = tempfile::tempdir().expect("a folder");
        store(folder.path(), b"{}", b"{}");
        fs::write(folder.path().join("handling"), "no folder").expect("our folder");
        let reading = Reading::in_folder(folder.path(), IncidentId(7));
        let why = document(&reading, EvidenceId(3), hash, 2).expect_err("it is not read");
        assert!(why.contains("cannot be written down"), "{why}");
    }
}
