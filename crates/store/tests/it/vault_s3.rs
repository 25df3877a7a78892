//! The vault in a bucket of S3, held to the contract of all vaults, and to what a bucket adds to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, IncidentId, Sha256Hash, Span, Storage, Taken, WriteOnce};
use staunch_ports::{SealedManifest, Vault};
use staunch_store::age::Identity;
use staunch_store::s3::{
    Answer, Bucket, BucketSettings, Credentials, Link, LockMode, OBJECT_BYTES_MAX, Payload, Put, Request,
};
use staunch_store::{DirVault, DirVaultOptions};
use staunch_testkit::contract::vault::{
    self as contract, ARTEFACT_BYTES_MAX, LARGE_BYTES, Subject as _, artefact, draft, noise, record, resident_bytes,
    store,
};
use staunch_testkit::s3::{Asked, Behaviour, FakeBucket};

use crate::in_bucket::{InBucket, open, settings, standing};
use crate::{quick_dir, temp_dir};
use crate::vault::Cut;

const WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

fn by() -> std::time::Instant {
    std::time::Instant::now() + WITHIN
}

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn credentials() -> Credentials {
    Credentials::parse(&format!("AKID {SECRET}")).expect("a key")
}

/// Asks a bucket in memory, unless it is cut off.
#[derive(Clone)]
pub(crate) struct InMemory {
    pub(crate) bucket: Arc<FakeBucket>,
    pub(crate) is_away: Arc<AtomicBool>,
    /// How often bytes were asked for.
    pub(crate) read: Arc<AtomicUsize>,
    /// How often it was tried while it was away.
    tried: Arc<AtomicUsize>,
}

impl InMemory {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            bucket: Arc::new(FakeBucket::new(behaviour)),
            is_away: Arc::default(),
            read: Arc::default(),
            tried: Arc::default(),
        }
    }
}

impl Link for InMemory {
    fn credentials(&self) -> Result<Credentials, Failure> {
        Ok(credentials())
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        if self.is_away.load(Ordering::Relaxed) {
            self.tried.fetch_add(1, Ordering::Relaxed);
            return Err(Failure::new(FailureKind::Unavailable, "there is no way to the bucket"));
        }
        let mut body = Vec::new();
        match request.body {
            Payload::Empty => {}
            Payload::Bytes(bytes) => body.extend_from_slice(bytes),
            Payload::File(mut file, size) => {
                file.read_to_end(&mut body).expect("it can be read");
                assert_eq!(body.len() as u64, size, "the whole file is sent");
            }
        }
        if request.method == "GET" && !request.target.contains("retention") && !request.target.contains("legal-hold") {
            self.read.fetch_add(1, Ordering::Relaxed);
        }
        let asked = Asked {
            method: request.method.to_owned(),
            target: request.target,
            headers: request.headers.into_iter().collect(),
            body,
        };
        assert!(
            !format!("{:?}", asked.headers).contains(SECRET),
            "the secret key is shown"
        );
        let answered = self.bucket.answer(&asked);
        Ok(Answer {
            status: answered.status,
            headers: answered.headers,
            body: Box::new(std::io::Cursor::new(answered.body)),
        })
    }
}

fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256Hash::of(bytes).0)
}

pub(crate) fn subject_of(settings: BucketSettings, link: &InMemory, artefact_bytes_max: u64) -> InBucket {
    let bucket = Arc::clone(&link.bucket);
    let damage = move |path: &str, _: &str| {
        bucket.change(path, |versions| {
            let object = versions.last_mut().expect("it is there");
            let at = object.body.len() / 2;
            object.body[at] ^= 0x10;
            // A bucket tells the hash of what it has.
            object
                .headers
                .insert("x-amz-checksum-sha256".into(), checksum(&object.body));
        });
    };
    InBucket::new(settings, Box::new(link.clone()), artefact_bytes_max, Box::new(damage))
}

pub(crate) fn subject(link: &InMemory) -> InBucket {
    subject_of(settings("s3.example", "bucket/pre"), link, ARTEFACT_BYTES_MAX)
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

/// Seals while the bucket is there and while it is away, and sends what waits.
fn collect(vault: &DirVault, link: &InMemory) -> Result<(), Failure> {
    vault.check()?;
    for (evidence, bytes, is_away) in [(1, noise(1, 3_000), false), (2, b"small".to_vec(), true)] {
        link.is_away.store(is_away, Ordering::Relaxed);
        let mut deposit = vault.begin(None)?;
        // An error of it comes back from sealing.
        let _ = deposit.write_all(&bytes);
        let sealed = deposit.seal(draft(1, evidence, "artefact"))?;
        vault.put_record(&record(&sealed))?;
    }
    link.is_away.store(false, Ordering::Relaxed);
    vault.send()?.failure.map_or(Ok(()), Err)
}

/// How many manifests there are; the artefact of each is whole.
pub(crate) fn readable(vault: &DirVault, at: &str) -> usize {
    let mut manifests = 0;
    let visit = &mut |it: SealedManifest| {
        manifests += 1;
        let mut reader = vault
            .open(artefact(&it))
            .unwrap_or_else(|failure| panic!("{at}: {failure}"));
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap_or_else(|error| panic!("{at}: {error}"));
        std::ops::ControlFlow::Continue(())
    };
    vault
        .manifests(IncidentId(1), visit)
        .unwrap_or_else(|failure| panic!("{at}: {failure}"));
    manifests
}

#[test]
fn a_crash_at_any_change_leaves_what_can_be_gone_on_with() {
    for key in [
        None,
        Some("AGE-SECRET-KEY-1MPXQNZ8AMUWS4QH282THTU74EXVCZGWZDDV8AVJ8U7SLKVYSPZEQUGLHRW"),
    ] {
        let identities: Arc<[Identity]> = key.and_then(Identity::parse_all).unwrap_or_default().into();
        let mut cuts = 0;
        for changes in 0.. {
            let (dir, link) = (quick_dir(), InMemory::new(Behaviour::Locks));
            let bucket = Bucket::new(settings("s3.example", "bucket/pre"), Box::new(link.clone()), standing());
            let options = DirVaultOptions {
                artefact_bytes_max: ARTEFACT_BYTES_MAX,
                is_immutable: false,
                bucket: Some(Arc::new(bucket)),
                recipients: identities.iter().map(Identity::recipient).collect(),
                identities: Arc::clone(&identities),
                ..DirVaultOptions::default()
            };
            let hook = Cut::after(changes, std::io::ErrorKind::Other);
            let cut = DirVaultOptions {
                hook: Some(Arc::<Cut>::clone(&hook)),
                ..options.clone()
            };
            let done = DirVault::open(dir.path(), cut).and_then(|vault| collect(&vault, &link));
            let at = hook.last.lock().expect("nothing panics in here").clone();
            link.is_away.store(false, Ordering::Relaxed);
            let vault = DirVault::open(dir.path(), options).expect("the vault opens");
            // As a restart does: what waits is sent, and nothing that has a manifest is lost.
            vault.check().expect("the bucket locks");
            let sent = vault.send().expect("what waits can be listed");
            assert_eq!((sent.waiting, sent.failure), (Some(0), None), "{at}");
            let before = readable(&vault, &at);
            if done.is_err() {
                collect(&vault, &link).unwrap_or_else(|failure| panic!("{at}: {failure}"));
                assert_eq!(readable(&vault, &at), before + 2, "{at}");
            }
            let waiting = vault.waiting().expect("it can be listed");
            assert_eq!(waiting.files, 0, "{at}: something waits for ever");
            for path in link.bucket.paths() {
                assert_eq!(link.bucket.of(&path).len(), 1, "{at}: {path} was put twice");
            }
            let there = link.bucket.paths();
            let objects = there.iter().filter(|it| it.contains("/objects/")).count();
            // Encryption is another each time: a crash may leave one that no manifest stands for.
            assert!(objects == 2 || key.is_some() && objects > 2, "{at}: {there:?}");
            if done.is_ok() {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 40, "only {cuts} changes were cut off");
    }
}

#[test]
fn what_is_too_large_for_an_object_is_refused_and_leaves_nothing() {
    assert_eq!(OBJECT_BYTES_MAX, 5_368_709_120, "what S3 takes in one request");
    let link = InMemory::new(Behaviour::Locks);
    let settings = BucketSettings {
        object_bytes_max: 100_000,
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
    let asked = link.bucket.asked();
    let vault = subject.vault();
    let mut deposit = vault.begin(None).expect("it begins");
    let written = deposit.write_all(&noise(1, 1_000_000));
    let failure = deposit.seal(draft(1, 1, "large")).expect_err("it is not cut");
    assert!(written.is_err_and(|it| it.kind() == std::io::ErrorKind::FileTooLarge));
    assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
    assert!(failure.to_string().contains("at most 100000 bytes"), "{failure}");
    assert_eq!((subject.unfinished(), link.bucket.asked()), (0, asked));
    // What is packed into less is taken.
    let sealed = store(&*vault, 1, 1, &vec![0; 1_000_000]);
    assert!(storage(&sealed).version.is_some());
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

/// A bucket whose objects are files, so that a large one is in no memory.
struct OnDisk {
    dir: PathBuf,
    names: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
}

impl OnDisk {
    fn file(&self, target: &str) -> (String, PathBuf) {
        let path = target.split('?').next().expect("a path").to_owned();
        let file = self.dir.join(Sha256Hash::of(path.as_bytes()).to_string());
        (path, file)
    }
}

impl Link for OnDisk {
    fn credentials(&self) -> Result<Credentials, Failure> {
        Ok(credentials())
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let (path, file) = self.file(&request.target);
        let mut names = self.names.lock().expect("nobody panics");
        let mut status = 200;
        let mut body: Box<dyn Read + Send> = Box::new(std::io::empty());
        match (request.method, request.body) {
            ("PUT", Payload::File(from, size)) => {
                let mut to = File::create(&file).expect("it is our directory");
                let mut from = from;
                assert_eq!(std::io::copy(&mut from, &mut to).expect("it is read"), size);
            }
            ("PUT", Payload::Bytes(bytes)) => std::fs::write(&file, bytes).expect("it is our directory"),
            ("DELETE", _) => status = 403,
            ("GET", _) => body = Box::new(File::open(&file).expect("it was put")),
            _ => {}
        }
        if request.method == "PUT" {
            names.insert(path.clone(), request.headers.into_iter().collect());
        }
        let mut headers = names.get(&path).cloned().unwrap_or_default();
        headers.insert("x-amz-version-id".into(), "v1".into());
        Ok(Answer { status, headers, body })
    }
}

#[test]
fn a_large_artefact_is_sent_and_read_in_bounded_memory() {
    let dir = temp_dir();
    let link = OnDisk {
        dir: dir.path().to_owned(),
        names: Mutex::default(),
    };
    let settings = settings("s3.example", "bucket/pre");
    let subject = InBucket::new(settings, Box::new(link), LARGE_BYTES, Box::new(|_, _| ()));
    let vault = subject.dir_vault();
    let mut deposit = vault.begin(None).expect("it begins");
    for number in 0..LARGE_BYTES >> 20 {
        deposit.write_all(&noise(number, 1 << 20)).expect("there is room");
    }
    let sealed = deposit.seal(draft(1, 1, "large")).expect("it is sealed");
    assert_eq!(
        storage(&sealed).version,
        None,
        "who seals does not wait for a large one"
    );
    let before = resident_bytes();
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    let after_send = resident_bytes();
    let mut reader = vault.open(artefact(&sealed)).expect("it is there");
    assert_eq!(
        std::io::copy(&mut reader, &mut std::io::sink()).expect("it is whole"),
        LARGE_BYTES
    );
    let most = after_send.max(resident_bytes()).saturating_sub(before);
    assert!(most <= 32 << 20, "it took {most} bytes of memory");
    assert!(is_empty(&subject.dir.path().join("outbox")));
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("it is there").next().is_none()
}
