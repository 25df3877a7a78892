//! What waits for the bucket, and what is in hand while the bucket does not have what a receipt says it has.

mod durable;
mod held_up;
mod meanwhile;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use staunch_model::{FailureKind, Span, Timestamp};
use staunch_ports::{Clock, Vault as _};
use staunch_store::LogKey;
use staunch_store::age::Identity;
use staunch_store::s3::{Bucket, BucketSettings, LockMode};
use staunch_store::vault::{EvidenceFolder, Finding, HandlingLog, verify_evidence};
use staunch_testkit::contract::vault::{ARTEFACT_BYTES_MAX, Subject as _, artefact, store};
use staunch_testkit::s3::Behaviour;

use crate::in_bucket::{open, settings, standing};
use crate::temp_dir;
use crate::vault_s3::{InMemory, read, storage, subject, subject_of};

/// Made for these tests; they protect nothing.
const KEYS: [&str; 2] = [
    "AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW",
    "AGE-SECRET-KEY-1N9JEPW6DWJ0ZQUDX63F5A03GX8QUW7PXDE39N8UYF82VZ9PC8UFS3M7XA9",
];

/// Where an object is in the bucket.
fn path_of(storage: &staunch_model::Storage) -> String {
    storage.path.replace("s3:/", "")
}

fn file_of(vault: &Path, sealed: &staunch_ports::SealedManifest) -> PathBuf {
    vault.join(&*storage(sealed).path)
}

/// What a verification finds of artefacts: there is no log here.
fn findings(vault: &Path, bucket: &Bucket) -> (Vec<Finding>, staunch_store::vault::EvidenceSummary) {
    let keys = temp_dir();
    let key = LogKey::open(&keys.path().join("key"), "test")
        .expect("a key")
        .verifier();
    let folder = EvidenceFolder {
        vault,
        log: &vault.join("no-log"),
        handling: &HandlingLog::in_folder(keys.path()),
        journal: None,
        key: &key,
        earlier: None,
        bucket: Some(bucket),
    };
    let mut found = Vec::new();
    let summary = verify_evidence(&folder, &mut |_| (), &mut |it| {
        if it != Finding::CheckpointMissing {
            found.push(it);
        }
    });
    (found, summary)
}

fn receipts(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(receipts(&path));
        } else if path.to_string_lossy().contains(".receipt") {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn what_the_bucket_does_not_keep_any_more_is_kept_here_and_put_there_again() {
    // What is encrypted has another name each time, which comes before or after the one that is gone.
    for is_encrypted in [false, true, true, true, true, true, true] {
        let link = InMemory::new(Behaviour::Locks);
        let mut subject = subject(&link);
        if is_encrypted {
            subject = subject.encrypted();
        }
        let bytes = if is_encrypted { b"encrypted" } else { b"in clear " };
        let sealed = store(&*subject.vault(), 1, 1, bytes);
        // It was removed when its time had ended.
        link.bucket.change(&path_of(storage(&sealed)), Vec::clear);
        let again = store(&*subject.vault(), 1, 2, bytes);
        assert_eq!(storage(&again).version, None, "it is not said to be in the bucket");
        assert_eq!(read(&*subject.vault(), artefact(&again)), bytes);
        // Nobody was away: the next one goes there at once.
        let next = store(&*subject.vault(), 1, 3, b"the next one");
        assert!(storage(&next).version.is_some(), "the bucket counts as away");
        let sent = subject.dir_vault().send().expect("it can be sent");
        assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
        let arrived = &sent.artefacts[0];
        assert_eq!(*arrived.from, *storage(&again).path, "it is the file that it was");
        assert!(arrived.why.contains("is not in the bucket"), "{}", arrived.why);
        assert_eq!(read(&*subject.vault(), artefact(&again)), bytes);
        let kept = path_of(&arrived.receipt.storage);
        assert_eq!(link.bucket.of(&kept).len(), 1);
        if !is_encrypted {
            let names = receipts(subject.dir.path());
            assert!(names.iter().any(|it| it.ends_with(".receipt-2.json")), "{names:?}");
            let (found, _) = findings(subject.dir.path(), &subject.bucket);
            assert_eq!(found, [], "the newest receipt is the one that counts");
        }
    }
}

#[test]
fn a_bucket_that_refuses_to_tell_costs_no_evidence_and_is_not_away() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    link.bucket.behave(Behaviour::Refuses);
    let again = store(&*subject.vault(), 1, 2, b"evidence");
    assert_eq!(storage(&again).version, None);
    assert_eq!(read(&*subject.vault(), artefact(&again)), b"evidence");
    let sent = subject.dir_vault().send().expect("it can be listed");
    assert_eq!(sent.failure.map(|it| it.kind), Some(FailureKind::Denied));
    assert!(!sent.is_held_up, "one that answers is there");
    assert!(file_of(subject.dir.path(), &again).exists(), "it was removed unasked");
    // That is no change of what is there.
    let (found, _) = findings(subject.dir.path(), &subject.bucket);
    assert!(
        found.iter().all(|it| !matches!(it, Finding::ArtefactChanged { .. })),
        "{found:?}"
    );
    link.bucket.behave(Behaviour::Locks);
    let next = store(&*subject.vault(), 1, 3, b"another");
    assert!(storage(&next).version.is_some(), "it counts as away");
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting), (1, Some(0)));
    assert_eq!(
        link.bucket.of(&path_of(storage(&sealed))).len(),
        1,
        "it is kept already"
    );
    assert_eq!(receipts(subject.dir.path()).len(), 2, "one of each");
}

#[test]
fn who_seals_asks_for_no_bytes() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    store(&*subject.vault(), 1, 1, b"evidence");
    let read_before = link.read.load(Ordering::Relaxed);
    let again = store(&*subject.vault(), 1, 2, b"evidence");
    assert!(storage(&again).version.is_some());
    // An attempt whose answer was lost is told by its hash, too.
    fs::remove_file(
        subject
            .dir
            .path()
            .join(crate::in_bucket::receipt_name(artefact(&again))),
    )
    .expect("it is there");
    let again = store(&*subject.vault(), 1, 3, b"evidence");
    assert!(storage(&again).version.is_some());
    assert_eq!(link.read.load(Ordering::Relaxed), read_before);
}

#[test]
fn what_was_changed_while_it_waited_is_not_sent_and_holds_up_nothing() {
    for is_encrypted in [false, true] {
        let link = InMemory::new(Behaviour::Locks);
        let mut subject = subject(&link);
        if is_encrypted {
            subject = subject.encrypted();
        }
        link.is_away.store(true, Ordering::Relaxed);
        let changed = store(&*subject.vault(), 1, 1, b"to be changed");
        let sound = store(&*subject.vault(), 1, 1, if is_encrypted { b"sound" } else { b"whole" });
        link.is_away.store(false, Ordering::Relaxed);
        let file = file_of(subject.dir.path(), &changed);
        fs::remove_file(&file).expect("it is ours");
        fs::write(
            &file,
            zstd::encode_all(&b"something else"[..], 3).expect("it is packed"),
        )
        .expect("it is ours");
        let objects = link.bucket.paths();
        let sent = subject.dir_vault().send().expect("it can be listed");
        assert_eq!(
            (sent.artefacts.len(), sent.waiting, sent.is_held_up),
            (1, Some(1), false)
        );
        assert_eq!(sent.artefacts[0].receipt.artefact, artefact(&sound));
        assert_eq!(sent.failure.map(|it| it.kind), Some(FailureKind::Conflict));
        assert!(file.exists(), "it is evidence of what was done to it");
        let new = link
            .bucket
            .paths()
            .into_iter()
            .filter(|it| !objects.contains(it) && it.contains("/objects/"));
        assert_eq!(new.count(), 1, "what is not what its name says was locked");
        let next = store(&*subject.vault(), 1, 2, if is_encrypted { b"next" } else { b"then" });
        assert!(storage(&next).version.is_some(), "the bucket counts as away");
        // It is told of in each round, and not sent each time.
        let again = subject.dir_vault().send().expect("it can be listed");
        assert_eq!(again.failure.map(|it| it.kind), Some(FailureKind::Conflict));
    }
}

#[test]
fn a_file_goes_when_the_bucket_has_said_that_it_keeps_it() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    link.is_away.store(true, Ordering::Relaxed);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    let (file, dir) = (file_of(subject.dir.path(), &sealed), subject.dir.path());
    let bytes = fs::read(&file).expect("it waits");
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), file.exists()), (1, false));
    // A crash came after the receipt, and the bucket lost it since.
    fs::write(&file, &bytes).expect("it is ours");
    fs::write(dir.join("outbox").join(storage(&sealed).path.replace('/', "+")), "").expect("it is ours");
    let path = path_of(&sent.artefacts[0].receipt.storage);
    link.bucket.change(&path, Vec::clear);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert_eq!(link.bucket.of(&path).len(), 1, "it was removed, and is nowhere");
    assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
}

#[test]
fn another_bucket_in_the_configuration_is_no_outage() {
    let (first, second) = (InMemory::new(Behaviour::Locks), InMemory::new(Behaviour::Locks));
    let dir = temp_dir();
    let bucket = |link: &InMemory, base: &str| {
        Arc::new(Bucket::new(
            settings("s3.example", base),
            Box::new(link.clone()),
            standing(),
        ))
    };
    let (one, two) = (bucket(&first, "one"), bucket(&second, "two"));
    let serve = |bucket: &Arc<Bucket>| {
        let vault = open(dir.path(), Arc::clone(bucket), ARTEFACT_BYTES_MAX, None);
        vault.check().expect("the bucket locks");
        vault
    };
    let vault = serve(&one);
    let sealed = store(&vault, 1, 1, b"evidence");
    drop(vault);
    let vault = serve(&two);
    let again = store(&vault, 1, 2, b"evidence");
    assert_eq!(
        storage(&again).version,
        None,
        "it is not said to be where nobody has looked"
    );
    let next = store(&vault, 1, 3, b"another");
    assert!(
        storage(&next).path.starts_with("s3://two/"),
        "the good bucket counts as away"
    );
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert!(sent.artefacts[0].receipt.storage.path.starts_with("s3://two/"));
    assert_eq!(read(&vault, artefact(&sealed)), b"evidence");
    drop(vault);
    // Both have it, each by its receipt.
    let (found, summary) = findings(dir.path(), &two);
    assert_eq!((found, summary.in_bucket, summary.not_read), (Vec::new(), 2, 0));
    let (found, summary) = findings(dir.path(), &one);
    assert_eq!((found, summary.in_bucket, summary.not_read), (Vec::new(), 1, 1));
    assert_eq!(read(&serve(&one), artefact(&sealed)), b"evidence");
}

#[test]
fn an_artefact_whose_bucket_does_not_answer_was_not_read_and_is_not_called_changed() {
    let link = InMemory::new(Behaviour::Locks);
    let dir = temp_dir();
    let bucket = Arc::new(Bucket::new(
        settings("s3.example", "bucket"),
        Box::new(link.clone()),
        standing(),
    ));
    let vault = open(dir.path(), Arc::clone(&bucket), ARTEFACT_BYTES_MAX, None);
    vault.check().expect("the bucket locks");
    let all: Vec<_> = (1..=5_u8).map(|at| store(&vault, 1, at.into(), &[at; 40])).collect();
    drop(vault);
    link.is_away.store(true, Ordering::Relaxed);
    let (found, summary) = findings(dir.path(), &bucket);
    // Who does not answer three times is asked no more.
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(Finding::is_outage), "{found:?}");
    assert_eq!((summary.not_read, summary.away), (5, 5));
    assert_eq!((summary.artefacts, summary.in_bucket, summary.bytes), (0, 0, 0));
    // What is there again and was changed is told as that.
    link.is_away.store(false, Ordering::Relaxed);
    link.bucket.change(&path_of(storage(&all[0])), Vec::clear);
    let (found, summary) = findings(dir.path(), &bucket);
    assert!(matches!(&found[..], [Finding::NotKept { .. }]), "{found:?}");
    assert_eq!((summary.not_read, summary.away, summary.in_bucket), (0, 0, 5));
}

/// A clock that is a second later each time it is looked at.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }

    fn passed(&self) -> Span {
        Span::ZERO
    }
}

#[test]
fn a_receipt_states_no_more_than_the_bucket_was_asked_for() {
    let link = InMemory::new(Behaviour::Locks);
    let clock = Ticking(AtomicU64::new(standing().now().as_micros()));
    let settings = settings("s3.example", "bucket/pre");
    let bucket = Arc::new(Bucket::new(settings, Box::new(link.clone()), Arc::new(clock)));
    let dir = temp_dir();
    let vault = open(dir.path(), Arc::clone(&bucket), ARTEFACT_BYTES_MAX, None);
    vault.check().expect("the bucket locks");
    link.is_away.store(true, Ordering::Relaxed);
    store(&vault, 1, 1, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    let stated = &sent.artefacts[0].receipt.storage;
    let there = link.bucket.of(&path_of(stated));
    let kept = there[0].headers["x-amz-object-lock-retain-until-date"].parse().ok();
    assert_eq!(stated.retain_until, kept);
    let (found, summary) = findings(dir.path(), &bucket);
    assert_eq!((found, summary.in_bucket), (Vec::new(), 1));
}

#[test]
fn a_receipt_is_judged_by_what_it_states() {
    let link = InMemory::new(Behaviour::Locks);
    let held = BucketSettings {
        legal_hold: true,
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(held.clone(), &link, ARTEFACT_BYTES_MAX);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let path = path_of(storage(&sealed));
    let stricter = BucketSettings {
        mode: LockMode::Compliance,
        ..held
    };
    let stricter = Bucket::new(stricter, Box::new(link.clone()), standing());
    let (found, summary) = findings(subject.dir.path(), &stricter);
    assert_eq!(
        (found, summary.in_bucket),
        (Vec::new(), 1),
        "what is asked for by now accuses nobody"
    );
    // What was lifted on purpose is told as that, and the bytes are looked at.
    link.bucket.change(&path, |versions| {
        versions[0].headers.remove("x-amz-object-lock-legal-hold");
    });
    let (found, summary) = findings(subject.dir.path(), &subject.bucket);
    assert!(
        matches!(&found[..], [Finding::NotKept { what, .. }] if what.contains("no legal hold")),
        "{found:?}"
    );
    assert_eq!(summary.bytes, 8);
    link.bucket.change(&path, Vec::clear);
    let (found, _) = findings(subject.dir.path(), &subject.bucket);
    assert!(
        matches!(&found[..], [Finding::NotKept { what, .. }] if what.contains("not in the bucket")),
        "{found:?}"
    );
    link.bucket.behave(Behaviour::Refuses);
    let (found, _) = findings(subject.dir.path(), &subject.bucket);
    assert!(
        matches!(&found[..], [Finding::Unreadable { what, .. }, ..] if what.contains("403")),
        "{found:?}"
    );
    // One that states no lock is none.
    link.bucket.behave(Behaviour::Locks);
    let file = subject
        .dir
        .path()
        .join(crate::in_bucket::receipt_name(artefact(&sealed)));
    let mut receipt = subject.receipt(artefact(&sealed)).expect("it has one");
    receipt.storage.retain_until = None;
    fs::remove_file(&file).expect("it is there");
    fs::write(&file, receipt.to_bytes()).expect("it is ours");
    let (found, _) = findings(subject.dir.path(), &subject.bucket);
    assert!(matches!(&found[..], [Finding::Wrong { .. }]), "{found:?}");
}

#[test]
fn what_waits_for_others_than_it_is_encrypted_to_by_now_is_found_again() {
    let link = InMemory::new(Behaviour::Locks);
    let bucket = Arc::new(Bucket::new(
        settings("s3.example", "b"),
        Box::new(link.clone()),
        standing(),
    ));
    let dir = temp_dir();
    let serve = |key: &str| {
        assert!(Identity::parse(key).is_some(), "it is a key");
        let vault = open(dir.path(), Arc::clone(&bucket), ARTEFACT_BYTES_MAX, Some(key));
        vault.check().expect("the bucket locks");
        vault
    };
    let vault = serve(KEYS[0]);
    link.is_away.store(true, Ordering::Relaxed);
    let sealed = store(&vault, 1, 1, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    drop(vault);
    let vault = serve(KEYS[1]);
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    let encryption = sent.artefacts[0].receipt.storage.encryption.clone();
    assert_eq!(encryption, storage(&sealed).encryption, "it is for whom it was");
    assert_eq!(*sent.artefacts[0].from, *storage(&sealed).path);
    let receipt = vault
        .receipt(artefact(&sealed), storage(&sealed))
        .expect("it can be read");
    assert!(receipt.is_some(), "the manifest leads nowhere");
    drop(vault);
    assert_eq!(read(&serve(KEYS[0]), artefact(&sealed)), b"evidence");
}

#[test]
fn a_name_in_the_outbox_leads_nowhere() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    let outside = subject.dir.path().parent().expect("it is in one").join(format!(
        "outside-{}",
        subject.dir.path().file_name().expect("a name").to_string_lossy()
    ));
    fs::write(&outside, "a secret of this machine").expect("it is ours");
    let name = format!("..+{}", outside.file_name().expect("a name").to_string_lossy());
    fs::create_dir_all(subject.dir.path().join("outbox")).expect("it is ours");
    fs::write(subject.dir.path().join("outbox").join(&name), "").expect("it is ours");
    let before = link.bucket.paths();
    let sent = subject.dir_vault().send().expect("it can be listed");
    fs::remove_file(&outside).expect("it is ours");
    assert_eq!((sent.documents, sent.artefacts.len()), (0, 0));
    assert_eq!(sent.failure.map(|it| it.kind), Some(FailureKind::Invalid));
    assert_eq!(link.bucket.paths(), before, "something of this machine was sent");
    let (found, _) = findings(subject.dir.path(), &subject.bucket);
    assert_eq!(
        found,
        [Finding::Foreign {
            name: format!("outbox/{name}")
        }]
    );
}

#[test]
fn what_cannot_be_upgraded_is_put_there_again_under_the_stricter_lock() {
    let link = InMemory::new(Behaviour::Locks);
    let dir = temp_dir();
    let serve = |mode| {
        let settings = BucketSettings {
            mode,
            ..settings("s3.example", "b")
        };
        let bucket = Bucket::new(settings, Box::new(link.clone()), standing());
        let vault = open(dir.path(), Arc::new(bucket), ARTEFACT_BYTES_MAX, None);
        vault.check().expect("the bucket locks");
        vault
    };
    let vault = serve(LockMode::Governance);
    let sealed = store(&vault, 1, 1, b"evidence");
    drop(vault);
    // S3 takes a stricter mode for a version from those alone who may bypass the one before.
    link.bucket.behave(Behaviour::KeepsModes);
    let vault = serve(LockMode::Compliance);
    let again = store(&vault, 1, 2, b"evidence");
    assert_eq!(storage(&again).version, None);
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    let versions = link.bucket.of(&path_of(storage(&sealed)));
    assert_eq!(versions.len(), 2);
    assert_eq!(versions[1].headers["x-amz-object-lock-mode"], "COMPLIANCE");
    assert_eq!(
        sent.artefacts[0].receipt.storage.version.as_deref(),
        Some(&*versions[1].version)
    );
    // From here on that is the one that is kept.
    let third = store(&vault, 1, 3, b"evidence");
    assert_eq!(storage(&third).version.as_deref(), Some(&*versions[1].version));
    assert_eq!(link.bucket.of(&path_of(storage(&sealed))).len(), 2);
}

#[test]
fn the_hash_of_a_note_is_not_that_of_what_waits() {
    // Whom it is for is believed when the name of the artefact says the same, and not otherwise.
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link).encrypted();
    link.is_away.store(true, Ordering::Relaxed);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    let note = subject
        .dir
        .path()
        .join("outbox")
        .join(storage(&sealed).path.replace('/', "+"));
    fs::remove_file(&note).expect("it waits");
    fs::write(&note, "because\nage1somebodyelse").expect("it is ours");
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!(
        sent.artefacts[0].receipt.storage.encryption,
        storage(&sealed).encryption
    );
    assert_eq!(&*sent.artefacts[0].why, "because");
}
