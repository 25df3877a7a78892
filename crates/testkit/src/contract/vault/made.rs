//! What tests store: drafts, records and bytes.

use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{
    Authority, CollectedArtefact, CollectionRecord, CollectorIdentity, ContentHash, EvidenceId, EvidenceKind,
    EvidenceSource, Failure, FailureKind, IncidentId, InstallationId, ManifestDraft, MissedArtefact, Sha256Hash, Span,
    Taken, Timestamp, WriteOnce,
};
use staunch_ports::{Deposit, SealedManifest, Vault};

/// A draft for evidence of an incident.
#[must_use]
pub fn draft(incident: u64, evidence: u64, name: &str) -> ManifestDraft {
    ManifestDraft {
        installation: InstallationId([1; 8]),
        evidence: EvidenceId(evidence),
        incident: IncidentId(incident),
        transaction: None,
        kind: EvidenceKind::Files,
        target: None,
        name: name.into(),
        media_type: "application/octet-stream".into(),
        source: EvidenceSource {
            kind: "host".into(),
            host: "web-1".into(),
            boot_id: None,
            machine_id: None,
            provider: None,
            account: None,
            region: None,
            resource: None,
        },
        volatility: 4,
        collected_at: Timestamp::from_micros(1_764_000_000_000_000),
        collected_at_monotonic: Span::from_secs(5),
        clock_offset: None,
        collector: collector(),
        authority: Authority::Playbook {
            name: "exfiltration".into(),
            hash: ContentHash::of(b"exfiltration"),
        },
        method: "read".into(),
        locator: "/var/log/auth.log".into(),
        modified: None,
        handling: Vec::new(),
        changes_caused: Vec::new(),
        classification: None,
        tlp: None,
        keep_until: None,
    }
}

/// The record of a collection that came to one artefact and missed another.
#[must_use]
pub fn record(sealed: &SealedManifest) -> CollectionRecord {
    let custody = &sealed.manifest.custody;
    let artefacts = match &sealed.manifest.taken {
        Taken::Stored { size, sha256, .. } => vec![CollectedArtefact {
            name: custody.name.clone(),
            sequence: sealed.manifest.sequence,
            manifest: sealed.hash,
            sha256: *sha256,
            size: *size,
        }],
        Taken::Missed(_) => Vec::new(),
    };
    CollectionRecord {
        schema_version: CUSTODY_SCHEMA_VERSION,
        installation: custody.installation,
        evidence: custody.evidence,
        incident: custody.incident,
        kind: custody.kind,
        target: None,
        collector: collector(),
        started_at: Timestamp::from_micros(1),
        ended_at: Timestamp::from_micros(2),
        deadline: None,
        artefacts,
        missed: vec![MissedArtefact {
            name: "shadow".into(),
            locator: "/etc/shadow".into(),
            manifest: None,
            failure: Failure::new(FailureKind::Denied, "no permission"),
        }],
        failure: None,
        changes_caused: Vec::new(),
    }
}

/// Stores `bytes` as an artefact.
///
/// # Panics
/// When it cannot be stored.
pub fn store(vault: &dyn Vault, incident: u64, evidence: u64, bytes: &[u8]) -> SealedManifest {
    let mut deposit: Box<dyn Deposit> = vault.begin(None).expect("it begins");
    deposit.write_all(bytes).expect("there is room");
    deposit
        .seal(draft(incident, evidence, "artefact"))
        .expect("it is sealed")
}

/// The SHA-256 of the artefact of a manifest.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn artefact(sealed: &SealedManifest) -> Sha256Hash {
    match &sealed.manifest.taken {
        Taken::Stored { sha256, storage, .. } => {
            assert!(
                storage.write_once != WriteOnce::LockCompliance,
                "no test makes what nobody can remove"
            );
            *sha256
        }
        Taken::Missed(why) => panic!("it was stored: {why}"),
    }
}

/// Bytes that cannot be made smaller, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes of which half is noise.
pub(super) fn half_noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = noise(seed, length / 2);
    bytes.resize(length, b'x');
    bytes
}

fn collector() -> CollectorIdentity {
    CollectorIdentity {
        name: "test/contract".into(),
        version: "0.1.0".into(),
        build: None,
        host: "web-1".into(),
        tools: Vec::new(),
    }
}
