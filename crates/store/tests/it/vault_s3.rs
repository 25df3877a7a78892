//! The vault in a bucket of S3, held to the contract of all vaults, and to what a bucket adds to it.

mod crash;
mod in_memory;
mod large;
mod parts;
mod refused;
mod unsaid;

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use staunch_model::{FailureKind, IncidentId, Sha256Hash, Span, Storage, Taken, WriteOnce};
use staunch_ports::{SealedManifest, Vault};
use staunch_store::s3::{Bucket, BucketSettings, LockMode, Payload, Put};
use staunch_store::{DirVault, DirVaultOptions};
use staunch_testkit::contract::vault::{self as contract, ARTEFACT_BYTES_MAX, Subject as _, artefact, record, store};
use staunch_testkit::s3::Behaviour;

use crate::in_bucket::{open, settings, standing};
use crate::temp_dir;

pub(crate) use self::crash::readable;
use self::in_memory::checksum;
pub(crate) use self::in_memory::{InMemory, subject, subject_of};

const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

fn by() -> std::time::Instant {
    std::time::Instant::now() + WITHIN
}

pub(crate) fn storage(sealed: &SealedManifest) -> &Storage {
    match &sealed.manifest.taken {
        Taken::Stored { storage, .. } => storage,
        Taken::Missed(why) => panic!("it was stored: {why}"),
    }
}

pub(crate) fn read(vault: &dyn Vault, artefact: Sha256Hash) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut reader = vault.open(artefact).expect("it is there");
    reader.read_to_end(&mut bytes).expect("it is whole");
    bytes
}

#[test]
fn a_bucket_keeps_the_contract() {
    contract::vault(|| Box::new(subject(&InMemory::new(Behaviour::Locks))));
}

#[test]
fn what_is_sealed_is_locked_and_its_manifest_says_how() {
    let link = InMemory::new(Behaviour::Locks);
    let settings = BucketSettings {
        legal_hold: true,
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
    assert_eq!(subject.vault().describe().write_once, WriteOnce::LockGovernance);
    let sealed = store(&*subject.vault(), 3, 17, b"evidence");
    let storage = storage(&sealed);
    let name = DirVault::object_name(storage.sha256);
    assert_eq!(*storage.path, format!("s3://bucket/pre/{name}"));
    assert_eq!(storage.write_once, WriteOnce::LockGovernance);
    assert!(storage.legal_hold);
    let there = link.bucket.of(&format!("/bucket/pre/{name}"));
    assert_eq!(there.len(), 1);
    assert_eq!(storage.version.as_deref(), Some(&*there[0].version));
    assert_eq!(there[0].headers["x-amz-object-lock-mode"], "GOVERNANCE");
    assert_eq!(there[0].headers["x-amz-object-lock-legal-hold"], "ON");
    let until = there[0].headers["x-amz-object-lock-retain-until-date"].parse().ok();
    assert_eq!(storage.retain_until, until);
    assert_eq!(
        Sha256Hash::of(&there[0].body),
        storage.sha256,
        "they are the bytes that are stored"
    );
    // Nothing of it is on this machine but the receipt.
    assert!(
        !subject
            .dir
            .path()
            .join(DirVault::object_name(artefact(&sealed)))
            .exists()
    );
    let receipt = subject.receipt(artefact(&sealed)).expect("it has one");
    assert_eq!(&receipt.storage, storage);

    // Manifests and records follow.
    let hash = subject.vault().put_record(&record(&sealed)).expect("it is stored");
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.documents, sent.waiting, sent.failure), (2, Some(0), None));
    let there = link.bucket.of("/bucket/pre/manifests/INC-3/EV-17/00000001.json");
    assert_eq!(there[0].body, sealed.manifest.to_bytes());
    assert_eq!(there[0].headers["x-amz-object-lock-mode"], "GOVERNANCE");
    assert_eq!(
        link.bucket
            .of(&format!("/bucket/pre/records/INC-3/EV-17/{hash}.json"))
            .len(),
        1
    );
}

#[test]
fn compliance_is_in_the_manifest() {
    let link = InMemory::new(Behaviour::Locks);
    let settings = BucketSettings {
        mode: LockMode::Compliance,
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    assert_eq!(storage(&sealed).write_once, WriteOnce::LockCompliance);
    let path = storage(&sealed).path.replace("s3:/", "");
    assert_eq!(link.bucket.of(&path)[0].headers["x-amz-object-lock-mode"], "COMPLIANCE");
}

#[test]
fn a_bucket_that_does_not_lock_is_refused() {
    for (behaviour, kind, why) in [
        (Behaviour::Deletes, FailureKind::Denied, "the bucket does not lock"),
        (Behaviour::Forgets, FailureKind::Denied, "does not keep"),
        (Behaviour::Plain, FailureKind::Denied, "no versions"),
        (Behaviour::Refuses, FailureKind::Denied, "403 (InvalidAccessKeyId)"),
        (Behaviour::Busy, FailureKind::Unavailable, "503 (SlowDown)"),
        (
            Behaviour::Skewed,
            FailureKind::Unavailable,
            "403 (RequestTimeTooSkewed)",
        ),
        (Behaviour::TimesOut, FailureKind::Unavailable, "400 (RequestTimeout)"),
    ] {
        let (dir, link) = (temp_dir(), InMemory::new(behaviour));
        let bucket = Bucket::new(settings("s3.example", "bucket"), Box::new(link.clone()), standing());
        let vault = open(dir.path(), Arc::new(bucket), ARTEFACT_BYTES_MAX, None);
        let failure = vault.check().expect_err("it is no place for evidence");
        assert_eq!(failure.kind, kind, "{behaviour:?}: {failure}");
        assert!(failure.to_string().contains(why), "{behaviour:?}: {failure}");
        // Nothing is put where nothing was proved.
        store(&vault, 1, 1, b"evidence");
        let paths = link.bucket.paths();
        assert!(
            paths.iter().all(|it| it.contains("proof-of-lock")),
            "{behaviour:?}: {paths:?}"
        );
        let sent = vault.send().expect("what waits can be listed");
        assert_eq!((sent.artefacts.len(), sent.waiting), (0, Some(2)), "{behaviour:?}");
        assert!(sent.failure.is_some_and(|it| it.kind == kind), "{behaviour:?}");
    }
}

#[test]
fn a_server_that_tells_a_lock_only_when_asked_for_it_is_one() {
    let link = InMemory::new(Behaviour::SaysNothing);
    let settings = BucketSettings {
        legal_hold: true,
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    assert!(storage(&sealed).version.is_some(), "{sealed:?}");
}

#[test]
fn a_hold_that_is_not_there_is_a_failure_and_the_evidence_stays_here() {
    let link = InMemory::new(Behaviour::Locks);
    let settings = BucketSettings {
        legal_hold: true,
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
    link.bucket.behave(Behaviour::ForgetsHolds);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    assert_eq!(storage(&sealed).version, None, "it is not said to be in the bucket");
    assert_eq!(storage(&sealed).write_once, WriteOnce::Permissions);
    let sent = subject.dir_vault().send().expect("what waits can be listed");
    let failure = sent.failure.expect("it has no hold");
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    assert!(failure.to_string().contains("no legal hold"), "{failure}");
    assert!(sent.artefacts.is_empty() && sent.waiting > Some(0));
    assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
    // It is put on what is there when the bucket does it.
    link.bucket.behave(Behaviour::Locks);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    let path = sent.artefacts[0].receipt.storage.path.replace("s3:/", "");
    assert_eq!(link.bucket.of(&path).len(), 1, "it was not put there twice");
    assert_eq!(link.bucket.of(&path)[0].headers["x-amz-object-lock-legal-hold"], "ON");
}

#[test]
fn what_is_sealed_while_the_bucket_is_away_is_kept_here_and_sent_later() {
    let link = InMemory::new(Behaviour::Locks);
    let mut subject = subject(&link);
    link.is_away.store(true, Ordering::Relaxed);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    assert_eq!(storage(&sealed).version, None);
    assert_eq!(*storage(&sealed).path, *DirVault::object_name(artefact(&sealed)));
    assert_eq!(link.tried.load(Ordering::Relaxed), 1);
    for number in 0..5_u64 {
        store(&*subject.vault(), 1, 1, &number.to_le_bytes());
    }
    assert_eq!(
        link.tried.load(Ordering::Relaxed),
        1,
        "who seals does not wait for it again and again"
    );
    assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
    let waiting = subject.dir_vault().waiting().expect("it can be listed");
    assert_eq!((waiting.files, waiting.artefacts), (12, 6));
    assert!(waiting.since.is_some());
    let sent = subject.dir_vault().send().expect("what waits can be listed");
    assert_eq!((sent.artefacts.len(), sent.waiting), (0, Some(12)));
    assert!(sent.failure.is_some_and(|it| it.kind == FailureKind::Unavailable));

    link.is_away.store(false, Ordering::Relaxed);
    subject.reopen();
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.documents, sent.waiting), (6, 6, Some(0)));
    assert_eq!(sent.failure, None);
    let here = subject.dir.path().join(DirVault::object_name(artefact(&sealed)));
    assert!(!here.exists(), "it takes no room any more");
    assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
    let receipt = subject.receipt(artefact(&sealed)).expect("it has one");
    assert_eq!(
        receipt.storage.sha256,
        storage(&sealed).sha256,
        "its bytes are those of the manifest"
    );
    assert!(receipt.storage.version.is_some());
    assert_eq!(subject.dir_vault().send().expect("nothing waits").artefacts, []);
}

#[test]
fn an_attempt_whose_answer_was_lost_is_taken_up() {
    let link = InMemory::new(Behaviour::Locks);
    let mut subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let path = storage(&sealed).path.replace("s3:/", "");
    // The crash came before the receipt was written.
    let receipt = subject
        .dir
        .path()
        .join(crate::in_bucket::receipt_name(artefact(&sealed)));
    std::fs::remove_file(receipt).expect("it is ours");
    subject.reopen();
    let again = store(&*subject.vault(), 1, 2, b"evidence");
    assert_eq!(storage(&again), storage(&sealed));
    assert_eq!(link.bucket.of(&path).len(), 1);

    // What is there and is not it stays where it is, and what is in hand is not dropped for it.
    let receipt = subject
        .dir
        .path()
        .join(crate::in_bucket::receipt_name(artefact(&sealed)));
    std::fs::remove_file(receipt).expect("it is ours");
    link.bucket.change(&path, |versions| {
        versions[0].body = b"another".to_vec();
        versions[0]
            .headers
            .insert("x-amz-checksum-sha256".into(), checksum(b"another"));
    });
    let kept = store(&*subject.vault(), 1, 3, b"evidence");
    assert_eq!(storage(&kept).version, None, "it is not said to be in the bucket");
    assert_eq!(read(&*subject.vault(), artefact(&kept)), b"evidence");
    assert_eq!(link.bucket.of(&path).len(), 1);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    let versions = link.bucket.of(&path);
    assert_eq!((versions.len(), &*versions[0].body), (2, &b"another"[..]));
    assert_eq!(
        sent.artefacts[0].receipt.storage.version.as_deref(),
        Some(&*versions[1].version)
    );
    assert_eq!(read(&*subject.vault(), artefact(&kept)), b"evidence");
}

#[test]
fn what_is_sealed_again_is_kept_longer() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let path = storage(&sealed).path.replace("s3:/", "");
    let first = storage(&sealed).retain_until.expect("it is kept");
    // Half of its time has passed.
    let earlier = first - Span::from_mins(30);
    let text = earlier.to_string();
    link.bucket.change(&path, |versions| {
        versions[0]
            .headers
            .insert("x-amz-object-lock-retain-until-date".into(), text);
    });
    let again = store(&*subject.vault(), 1, 2, b"evidence");
    assert_eq!(storage(&again).retain_until, Some(first));
    let said = &link.bucket.of(&path)[0].headers["x-amz-object-lock-retain-until-date"];
    assert_eq!(said.parse(), Ok(first));
}

#[test]
fn a_version_that_somebody_put_over_it_is_not_read() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let path = storage(&sealed).path.replace("s3:/", "");
    // A lock keeps versions, and lets anybody put another one.
    link.bucket.change(&path, |versions| {
        let mut other = versions[0].clone();
        (other.version, other.body) = ("v99".into(), b"another".to_vec());
        versions.push(other);
    });
    assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
}

#[test]
fn a_copy_without_the_bucket_tells_where_an_artefact_is() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let copy = DirVault::read_only(subject.dir.path());
    let failure = copy.open(artefact(&sealed)).err().expect("it is elsewhere");
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert!(failure.to_string().contains("s3://bucket/pre/objects/"), "{failure}");
    let mut seen = 0;
    let visited = copy.manifests(IncidentId(1), &mut |_| {
        seen += 1;
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((visited, seen), (Ok(()), 1));
    let with = DirVault::read_with(
        subject.dir.path(),
        DirVaultOptions {
            bucket: Some(Arc::clone(&subject.bucket)),
            ..DirVaultOptions::default()
        },
    );
    assert_eq!(read(&with, artefact(&sealed)), b"evidence");
}

#[test]
fn what_is_encrypted_is_sent_so_and_keeps_the_contract() {
    contract::vault(|| Box::new(subject(&InMemory::new(Behaviour::Locks)).encrypted()));
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link).encrypted();
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let storage = storage(&sealed);
    assert!(storage.encryption.is_some());
    let expected = format!("s3://bucket/pre/{}.age", DirVault::object_name(storage.sha256));
    assert_eq!(*storage.path, expected, "the bucket is not told what it was");
    let there = link.bucket.of(&storage.path.replace("s3:/", ""));
    assert!(there[0].body.starts_with(b"age-encryption.org/v1\n"));
    assert_eq!(Sha256Hash::of(&there[0].body), storage.sha256);
    assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
    // While it is away, too.
    link.is_away.store(true, Ordering::Relaxed);
    let waits = store(&*subject.vault(), 1, 2, b"what waits");
    let again = store(&*subject.vault(), 1, 3, b"what waits");
    assert_eq!(waits.manifest.taken, again.manifest.taken);
    link.is_away.store(false, Ordering::Relaxed);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting), (1, Some(0)));
    assert_eq!(read(&*subject.vault(), artefact(&waits)), b"what waits");
}

#[test]
fn a_name_is_given_once_and_what_arrives_is_checked() {
    let link = InMemory::new(Behaviour::Locks);
    let bucket = Bucket::new(settings("s3.example", "bucket"), Box::new(link), standing());
    let until = bucket.retain_until();
    let put = || bucket.put("x", Payload::Bytes(b"1"), Sha256Hash::of(b"1"), until, by());
    assert_eq!(put(), Ok(Put::New("v1".into())));
    assert_eq!(put(), Ok(Put::Taken));
    let failure = bucket.put("y", Payload::Bytes(b"1"), Sha256Hash::of(b"2"), until, by());
    assert!(failure.is_err_and(|it| it.to_string().contains("SHA256Mismatch")));
}
