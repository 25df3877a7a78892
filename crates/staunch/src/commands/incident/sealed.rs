//! What was sealed for an incident, read out of the vault as documents.
//!
//! Never changes anything, and holds no more than it is told to.

use std::io::{self, BufReader, Read as _};
use std::ops::ControlFlow;

use serde_json::Value;
use staunch_model::{EvidenceId, EvidenceKind, IncidentId, Printable, Sha256Hash, Span, Taken, Timestamp};
use staunch_ports::Vault as _;
use staunch_store::vault::DirVault;

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

/// Reads what `vault` holds of `incident`.
pub(super) fn read(vault: &DirVault, incident: IncidentId) -> Read {
    let mut found = Read::default();
    let mut wanted: Vec<(EvidenceId, EvidenceKind, Timestamp, Span, Sha256Hash, u64)> = Vec::new();
    let visited = vault.manifests(incident, &mut |it| {
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
            continue;
        }
        room -= size;
        match document(vault, hash, size) {
            Ok(document) => found.sealed.push(Sealed {
                evidence,
                kind,
                at,
                since_boot,
                document,
            }),
            Err(why) => found.missing.push(format!("{evidence} ({kind}): {}", Printable(&why))),
        }
    }
    found
}

fn document(vault: &DirVault, hash: Sha256Hash, size: u64) -> Result<Value, String> {
    let mut from = vault.open(hash).map_err(|failure| failure.to_string())?;
    let mut bytes = Vec::new();
    // To the end, because only there it is proved.
    from.by_ref()
        .take(size + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
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
pub(super) fn kept(vault: &DirVault, incident: IncidentId) -> (Vec<Kept>, Vec<String>) {
    let (mut kept, mut missing) = (Vec::new(), Vec::new());
    let visited = vault.manifests(incident, &mut |it| {
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
    pub(super) fn open(&self, vault: &DirVault) -> Result<BufReader<Box<dyn io::Read + Send>>, String> {
        let from = vault.open(self.hash).map_err(|failure| failure.to_string())?;
        Ok(BufReader::new(from))
    }

    /// The list of files.
    pub(super) fn document(&self, vault: &DirVault) -> Result<Value, String> {
        if self.size > DOCUMENT_BYTES_MAX {
            return Err(format!("{} bytes are more than are read", self.size));
        }
        document(vault, self.hash, self.size)
    }
}
