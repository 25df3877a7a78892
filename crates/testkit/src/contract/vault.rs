//! What every vault is held to, from memory to a bucket.
//!
//! Never looks at how a vault keeps what it keeps: what that can lose or get wrong is tested beside each of them.

use std::fs;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{
    Authority, CollectedArtefact, CollectionRecord, CollectorIdentity, ContentHash, EvidenceId, EvidenceKind,
    EvidenceSource, Failure, FailureKind, IncidentId, InstallationId, ManifestDraft, MissedArtefact, Sha256Hash, Span,
    Taken, Timestamp, WriteOnce,
};
use staunch_ports::{Deposit, SealedManifest, Vault};

/// The most bytes of an artefact in the vaults that [`vault`] is given.
pub const ARTEFACT_BYTES_MAX: u64 = 1 << 20;

/// Bytes that [`bounded_memory`] writes: far more than what it lets them cost.
pub const LARGE_BYTES: u64 = 256 << 20;

/// The most memory that writing or reading [`LARGE_BYTES`] may cost, in bytes.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// One vault, and what a test has to do behind its back.
pub trait Subject {
    /// The vault.
    fn vault(&self) -> Arc<dyn Vault>;

    /// Opens it again, as a restart does. What is unfinished stays as it is, as after a crash.
    fn reopen(&mut self);

    /// Changes what is stored of an artefact, or removes the change, without the vault.
    fn damage(&self, artefact: Sha256Hash);

    /// How much there is of unfinished artefacts.
    fn unfinished(&self) -> usize;
}

/// Runs the suite. `make` returns an empty vault for artefacts of at most [`ARTEFACT_BYTES_MAX`].
///
/// # Panics
/// When the vault breaks the contract.
pub fn vault(make: impl Fn() -> Box<dyn Subject>) {
    an_empty_vault_has_nothing(&*make());
    it_proves_that_it_can_be_used(&*make());
    what_is_sealed_is_read_back(&mut *make());
    an_artefact_of_nothing_is_one(&*make());
    manifests_are_chained(&mut *make());
    the_same_bytes_are_stored_once(&*make());
    what_is_too_long_is_refused(&*make());
    what_is_not_sealed_leaves_nothing(&mut *make());
    what_was_missed_is_evidence(&mut *make());
    records_are_found_under_their_hash(&mut *make());
    what_was_changed_is_not_read_to_its_end(&*make());
    what_was_changed_is_never_taken_for_the_same(&*make());
    a_visit_ends_when_it_breaks(&*make());
    names_are_text(&*make());
    many_store_at_once(&*make());
}

fn an_empty_vault_has_nothing(subject: &dyn Subject) {
    let vault = subject.vault();
    assert_eq!(vault.describe().artefact_bytes_max, ARTEFACT_BYTES_MAX);
    assert!(manifests(&*vault, IncidentId(1)).is_empty());
    assert!(records(&*vault, IncidentId(1)).is_empty());
    let none = Sha256Hash::of(b"nothing");
    let record = vault.record(IncidentId(1), EvidenceId(1), none);
    assert_eq!(record, Ok(None));
    let opened = vault.open(none).err().expect("there is none");
    assert_eq!(opened.kind, FailureKind::Invalid);
    assert_eq!(subject.unfinished(), 0);
}

fn it_proves_that_it_can_be_used(subject: &dyn Subject) {
    let vault = subject.vault();
    let found = vault.check().expect("it can be used");
    assert_eq!(vault.describe().write_once, found);
    assert_eq!(vault.check(), Ok(found), "it can be asked again");
    assert_eq!(subject.unfinished(), 0, "the proof leaves nothing");
    let mut incidents = Vec::new();
    vault
        .incidents(&mut |it| keep(&mut incidents, it))
        .expect("it can be listed");
    assert!(incidents.is_empty(), "the proof is no evidence");
}

fn what_is_sealed_is_read_back(subject: &mut dyn Subject) {
    let bytes = noise(7, 300_000);
    let mut deposit = subject.vault().begin(None).expect("it begins");
    for part in bytes.chunks(777) {
        deposit.write_all(part).expect("there is room");
    }
    assert_eq!(deposit.bytes(), 300_000);
    let sealed = deposit.seal(draft(1, 1, "noise")).expect("it is sealed");
    let Taken::Stored { size, sha256, storage } = &sealed.manifest.taken else {
        panic!("it was stored: {sealed:?}");
    };
    assert_eq!((*size, *sha256), (300_000, Sha256Hash::of(&bytes)));
    assert_ne!(storage.path.as_ref(), "");
    assert_eq!(
        sealed.manifest.custody,
        draft(1, 1, "noise"),
        "nothing of it is made up"
    );
    assert_eq!(sealed.hash, sealed.manifest.hash());
    for _ in 0..2 {
        let vault = subject.vault();
        assert_eq!(read(&*vault, *sha256).expect("it is there"), bytes);
        assert_eq!(manifests(&*vault, IncidentId(1)), std::slice::from_ref(&sealed));
        assert!(manifests(&*vault, IncidentId(11)).is_empty());
        drop(vault);
        subject.reopen();
    }
}

fn an_artefact_of_nothing_is_one(subject: &dyn Subject) {
    let vault = subject.vault();
    let sealed = store(&*vault, 1, 1, b"");
    let Taken::Stored { size: 0, sha256, .. } = sealed.manifest.taken else {
        panic!("it was stored: {sealed:?}");
    };
    assert_eq!(read(&*vault, sha256).expect("it is there"), b"");
}

fn manifests_are_chained(subject: &mut dyn Subject) {
    let mut expected = Vec::new();
    for (evidence, number) in [(1, 1), (2, 1), (1, 2), (1, 3), (2, 2)] {
        let vault = subject.vault();
        let sealed = store(&*vault, 1, evidence, format!("{evidence}-{number}").as_bytes());
        assert_eq!(sealed.manifest.sequence, number);
        expected.push((evidence, sealed));
        drop(vault);
        subject.reopen();
    }
    expected.sort_by_key(|(evidence, _)| *evidence);
    let found = manifests(&*subject.vault(), IncidentId(1));
    assert_eq!(found, expected.into_iter().map(|(_, it)| it).collect::<Vec<_>>());
    for pair in found.windows(2) {
        let of_one = pair[0].manifest.custody.evidence == pair[1].manifest.custody.evidence;
        let expected = of_one.then_some(pair[0].hash);
        assert_eq!(pair[1].manifest.previous, expected);
    }
    assert_eq!(found[0].manifest.previous, None);
}

fn the_same_bytes_are_stored_once(subject: &dyn Subject) {
    let vault = subject.vault();
    let first = store(&*vault, 1, 1, b"the same");
    let second = store(&*vault, 2, 2, b"the same");
    let path = |it: &SealedManifest| match &it.manifest.taken {
        Taken::Stored { storage, .. } => storage.clone(),
        Taken::Missed(why) => panic!("it was stored: {why}"),
    };
    assert_eq!(path(&first), path(&second));
    assert_eq!(manifests(&*vault, IncidentId(1)), [first]);
    assert_eq!(manifests(&*vault, IncidentId(2)), [second]);
    assert_eq!(subject.unfinished(), 0);
}

fn what_is_too_long_is_refused(subject: &dyn Subject) {
    let vault = subject.vault();
    let max = usize::try_from(ARTEFACT_BYTES_MAX).expect("it is small");
    for (asked, max) in [(None, max), (Some(u64::MAX), max), (Some(10), 10), (Some(0), 0)] {
        let mut fits = vault.begin(asked).expect("it begins");
        fits.write_all(&noise(1, max)).expect("it fits");
        fits.seal(draft(1, 1, "fits")).expect("it is sealed");

        let mut long = vault.begin(asked).expect("it begins");
        long.write_all(&noise(2, max)).expect("it fits so far");
        for _ in 0..2 {
            let error = long.write_all(b"x").expect_err("it is too long");
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
        let failure = long.seal(draft(1, 1, "long")).expect_err("it is not cut");
        assert_eq!(failure.kind, FailureKind::Invalid);
        let cut = vault.open(Sha256Hash::of(&noise(2, max)));
        assert!(max == 0 || cut.is_err(), "it was cut in silence");
    }
    assert_eq!(manifests(&*vault, IncidentId(1)).len(), 4);
    assert_eq!(subject.unfinished(), 0);
}

fn what_is_not_sealed_leaves_nothing(subject: &mut dyn Subject) {
    let bytes = noise(3, 400_000);
    let vault = subject.vault();
    let mut dropped = vault.begin(None).expect("it begins");
    dropped.write_all(&bytes).expect("there is room");
    drop(dropped);
    assert_eq!(subject.unfinished(), 0);

    // A process that is killed drops nothing.
    let mut killed = vault.begin(None).expect("it begins");
    killed.write_all(&bytes).expect("there is room");
    std::mem::forget(killed);
    drop(vault);
    subject.reopen();
    assert_eq!(subject.unfinished(), 0);
    let vault = subject.vault();
    assert!(vault.open(Sha256Hash::of(&bytes)).is_err());
    assert!(manifests(&*vault, IncidentId(1)).is_empty());
    assert_eq!(store(&*vault, 1, 1, b"after").manifest.sequence, 1);
}

fn what_was_missed_is_evidence(subject: &mut dyn Subject) {
    let vault = subject.vault();
    let first = store(&*vault, 1, 1, b"something");
    let why = Failure::new(FailureKind::TimedOut, "the deadline has passed");
    let missed = vault
        .put_missed(draft(1, 1, "maps"), why.clone())
        .expect("it is stored");
    assert_eq!(missed.manifest.taken, Taken::Missed(why));
    assert_eq!(
        (missed.manifest.sequence, missed.manifest.previous),
        (2, Some(first.hash))
    );
    drop(vault);
    subject.reopen();
    assert_eq!(manifests(&*subject.vault(), IncidentId(1)), [first, missed]);
}

fn records_are_found_under_their_hash(subject: &mut dyn Subject) {
    let vault = subject.vault();
    let record = record(&store(&*vault, 4, 9, b"something"));
    let hash = vault.put_record(&record).expect("it is stored");
    assert_eq!(hash, record.hash());
    assert_eq!(vault.put_record(&record), Ok(hash), "the same is stored once");
    let later = CollectionRecord {
        ended_at: Timestamp::from_micros(99),
        ..record.clone()
    };
    let other = vault.put_record(&later).expect("it is stored");
    drop(vault);
    subject.reopen();
    let vault = subject.vault();
    assert_eq!(
        vault.record(IncidentId(4), EvidenceId(9), hash),
        Ok(Some(record.clone()))
    );
    assert_eq!(vault.record(IncidentId(5), EvidenceId(9), hash), Ok(None));
    let mut found: Vec<_> = records(&*vault, IncidentId(4));
    found.sort_by_key(|(_, it)| it.ended_at);
    assert_eq!(found, [(hash, record), (other, later)]);
    let mut incidents = Vec::new();
    vault
        .incidents(&mut |it| keep(&mut incidents, it))
        .expect("it can be listed");
    assert_eq!(incidents, [IncidentId(4)]);
}

fn what_was_changed_is_not_read_to_its_end(subject: &dyn Subject) {
    let vault = subject.vault();
    let bytes = noise(5, 200_000);
    let (changed, sound) = (store(&*vault, 1, 1, &bytes), store(&*vault, 1, 1, b"sound"));
    subject.damage(artefact(&changed));
    let error = read(&*vault, artefact(&changed)).expect_err("it was changed");
    assert_ne!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(read(&*vault, artefact(&sound)).expect("it was not"), b"sound");
}

fn what_was_changed_is_never_taken_for_the_same(subject: &dyn Subject) {
    let vault = subject.vault();
    let bytes = noise(6, 200_000);
    let sealed = store(&*vault, 1, 1, &bytes);
    subject.damage(artefact(&sealed));
    let mut again = vault.begin(None).expect("it begins");
    again.write_all(&bytes).expect("there is room");
    match again.seal(draft(1, 1, "again")) {
        // There is another place for it.
        Ok(again) => {
            let found = read(&*vault, artefact(&again)).expect("it is not what was changed");
            assert!(found == bytes, "it is what was sealed");
            assert_eq!(manifests(&*vault, IncidentId(1)).len(), 2);
        }
        Err(failure) => {
            assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
            assert_eq!(manifests(&*vault, IncidentId(1)).len(), 1);
            assert_eq!(subject.unfinished(), 0);
        }
    }
}

fn a_visit_ends_when_it_breaks(subject: &dyn Subject) {
    let vault = subject.vault();
    for number in 0..5 {
        vault
            .put_record(&record(&store(&*vault, number % 2, number, b"x")))
            .expect("it is stored");
    }
    let mut seen = 0;
    let mut count = || {
        seen += 1;
        ControlFlow::Break(())
    };
    vault
        .manifests(IncidentId(0), &mut |_| count())
        .expect("it can be read");
    vault.records(IncidentId(0), &mut |_| count()).expect("it can be read");
    vault.incidents(&mut |_| count()).expect("it can be listed");
    assert_eq!(seen, 3);
}

/// Nothing in a draft says where something is stored.
fn names_are_text(subject: &dyn Subject) {
    let vault = subject.vault();
    for name in ["../../etc/passwd", "/etc/passwd", "", "a\0b", "..", &"long".repeat(200)] {
        let mut deposit = vault.begin(None).expect("it begins");
        deposit.write_all(name.as_bytes()).expect("there is room");
        let draft = ManifestDraft {
            locator: name.into(),
            ..draft(1, 1, name)
        };
        let sealed = deposit.seal(draft).expect("a name is text");
        let Taken::Stored { sha256, storage, .. } = &sealed.manifest.taken else {
            panic!("it was stored: {sealed:?}");
        };
        assert!(name.is_empty() || !storage.path.contains(name), "{}", storage.path);
        assert_eq!(read(&*vault, *sha256).expect("it is there"), name.as_bytes());
    }
    assert_eq!(manifests(&*vault, IncidentId(1)).len(), 6);
}

fn many_store_at_once(subject: &dyn Subject) {
    let vault = subject.vault();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let vault = &vault;
            scope.spawn(move || {
                for number in 0..25 {
                    // Some artefacts are the same in all threads, and some threads share an evidence.
                    let bytes = noise(number % 5 * 100 + thread * (number % 2), 5_000);
                    store(&**vault, 1, thread % 2, &bytes);
                }
            });
        }
    });
    let all = manifests(&*vault, IncidentId(1));
    assert_eq!(all.len(), 100);
    for (at, it) in all.iter().enumerate() {
        assert_eq!(
            it.manifest.sequence,
            at as u64 % 50 + 1,
            "each evidence has a chain without gaps"
        );
        let previous = (it.manifest.sequence > 1).then(|| all[at - 1].hash);
        assert_eq!(it.manifest.previous, previous);
        read(&*vault, artefact(it)).expect("it is whole");
    }
    assert_eq!(subject.unfinished(), 0);
}

/// Stores 10,000 small artefacts of one incident and reads them back.
///
/// # Panics
/// When one of them is not there.
pub fn many_small(subject: &mut dyn Subject) {
    const COUNT: u64 = 10_000;
    let vault = subject.vault();
    thread::scope(|scope| {
        for thread in 0..4 {
            let vault = &vault;
            scope.spawn(move || {
                for number in (thread..COUNT).step_by(4) {
                    store(&**vault, 1, thread, &number.to_le_bytes());
                }
            });
        }
    });
    drop(vault);
    subject.reopen();
    let vault = subject.vault();
    let mut count = 0;
    let mut last = (EvidenceId(0), None);
    let check = &mut |it: SealedManifest| {
        let custody = &it.manifest.custody;
        let expected = if custody.evidence == last.0 { last.1 } else { None };
        assert_eq!(it.manifest.previous, expected);
        last = (custody.evidence, Some(it.hash));
        count += 1;
        if count % 100 == 0 {
            read(&*vault, artefact(&it)).expect("it is whole");
        }
        ControlFlow::Continue(())
    };
    vault.manifests(IncidentId(1), check).expect("they can be read");
    assert_eq!(count, COUNT);
}

/// Streams [`LARGE_BYTES`] into a vault and out of it, and looks at the memory of the process meanwhile.
///
/// # Panics
/// When it costs more than a bound, or what comes out is not what went in.
pub fn bounded_memory(subject: &dyn Subject) {
    const PART: usize = 1 << 20;
    let vault = subject.vault();
    let before = resident_bytes();
    let mut most = 0;
    let mut look = |number: u64| {
        if number.is_multiple_of(8) {
            most = most.max(resident_bytes().saturating_sub(before));
        }
    };
    let mut deposit = vault.begin(None).expect("it begins");
    let parts = LARGE_BYTES / PART as u64;
    for number in 0..parts {
        deposit.write_all(&half_noise(number, PART)).expect("there is room");
        look(number);
    }
    let sealed = deposit.seal(draft(1, 1, "large")).expect("it is sealed");
    let mut reader = vault.open(artefact(&sealed)).expect("it is there");
    let mut part = vec![0; PART];
    for number in 0..parts {
        reader.read_exact(&mut part).expect("it is whole");
        assert!(part == half_noise(number, PART), "part {number} is another");
        look(number);
    }
    assert_eq!(reader.read(&mut part).expect("it is what was sealed"), 0);
    assert!(most <= MEMORY_BYTES_MAX, "it took {most} bytes of memory");
}

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
fn half_noise(seed: u64, length: usize) -> Vec<u8> {
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

fn keep<T>(all: &mut Vec<T>, it: T) -> ControlFlow<()> {
    all.push(it);
    ControlFlow::Continue(())
}

fn manifests(vault: &dyn Vault, incident: IncidentId) -> Vec<SealedManifest> {
    let mut all = Vec::new();
    vault
        .manifests(incident, &mut |it| keep(&mut all, it))
        .expect("they can be read");
    all
}

fn records(vault: &dyn Vault, incident: IncidentId) -> Vec<(Sha256Hash, CollectionRecord)> {
    let mut all = Vec::new();
    vault
        .records(incident, &mut |it| keep(&mut all, (it.hash, it.record)))
        .expect("they can be read");
    all
}

fn read(vault: &dyn Vault, artefact: Sha256Hash) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = vault
        .open(artefact)
        .map_err(|failure| io::Error::other(failure.to_string()))?;
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The memory of this process that is in use, in bytes.
///
/// # Panics
/// When Linux does not tell it.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB"));
    let number: u64 = kilobytes.and_then(|it| it.trim().parse().ok()).expect("it is a number");
    number * 1_024
}
