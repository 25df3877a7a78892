//! What holds up the outbox, and what waits alone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use staunch_model::{Failure, FailureKind};
use staunch_ports::Vault as _;
use staunch_store::s3::{Answer, Bucket, Credentials, Link, Payload, Request};
use staunch_store::{DirVault, DirVaultOptions};
use staunch_testkit::contract::vault::{ARTEFACT_BYTES_MAX, Subject as _, noise, store};
use staunch_testkit::s3::Behaviour;

use super::file_of;
use crate::in_bucket::{InBucket, settings, standing};
use crate::temp_dir;
use crate::vault_s3::{InMemory, storage, subject};

/// Damages a file.
type Damage = fn(&mut Vec<u8>);

#[test]
fn a_damaged_file_is_no_outage_and_waits_alone() {
    let damages: [(&str, Damage); 3] = [
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("empty", Vec::clear),
        ("no frame", |bytes| bytes[0] ^= 0xff),
    ];
    for (what, damage) in damages {
        let link = InMemory::new(Behaviour::Locks);
        let subject = subject(&link);
        link.is_away.store(true, Ordering::Relaxed);
        let mut files: Vec<_> = (0..4_u64)
            .map(|it| file_of(subject.dir.path(), &store(&*subject.vault(), 1, it, &it.to_le_bytes())))
            .collect();
        link.is_away.store(false, Ordering::Relaxed);
        // The first that is sent.
        files.sort_unstable();
        let mut bytes = fs::read(&files[0]).expect("it waits");
        damage(&mut bytes);
        fs::set_permissions(&files[0], fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::write(&files[0], bytes).expect("it is ours");

        let sent = subject.dir_vault().send().expect("what waits can be listed");
        let failure = sent.failure.expect("it is told");
        assert_eq!(
            (failure.kind, sent.is_held_up, sent.waiting),
            (FailureKind::Conflict, false, Some(1)),
            "{what}: {failure}"
        );
        let name = files[0].file_name().expect("a name").to_string_lossy();
        assert!(failure.to_string().contains(&name[..32]), "{what}: {failure}");
        assert_eq!((sent.artefacts.len(), sent.documents), (3, 4), "{what}");
        assert!(files[0].exists(), "it is evidence of what was done to it");
        let next = store(&*subject.vault(), 1, 9, b"next");
        assert!(storage(&next).version.is_some(), "{what}: the bucket counts as away");
    }
}

/// A bucket that answers 503 for objects whose paths have any of these in them.
#[derive(Clone)]
struct Failing {
    link: InMemory,
    names: Arc<Mutex<Vec<String>>>,
    /// How often it did.
    tried: Arc<AtomicUsize>,
}

impl Link for Failing {
    fn credentials(&self) -> Result<Credentials, Failure> {
        self.link.credentials()
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let names = self.names.lock().expect("nobody panics");
        if names.iter().any(|it| request.target.contains(it)) {
            self.tried.fetch_add(1, Ordering::Relaxed);
            return Ok(Answer {
                status: 500,
                headers: BTreeMap::new(),
                body: Box::new("<Error><Code>InternalError</Code></Error>".as_bytes()),
            });
        }
        drop(names);
        self.link.ask(request)
    }
}

/// A vault whose bucket answers for all but the first of what waits: so many artefacts of six. Their manifests are
/// there.
fn failing(count: usize) -> (Failing, InBucket) {
    let link = Failing {
        link: InMemory::new(Behaviour::Locks),
        names: Arc::default(),
        tried: Arc::default(),
    };
    let settings = settings("s3.example", "bucket/pre");
    let subject = InBucket::new(
        settings,
        Box::new(link.clone()),
        ARTEFACT_BYTES_MAX,
        Box::new(|_, _| ()),
    );
    link.link.is_away.store(true, Ordering::Relaxed);
    let vault = subject.vault();
    // The order is that of the files here; what is put in the bucket is called by the hash of what is stored.
    let mut waiting: Vec<_> = (0..6_u64)
        .map(|it| storage(&store(&*vault, 1, it, &it.to_le_bytes())).clone())
        .map(|it| (it.path, it.sha256.to_string()))
        .collect();
    link.link.is_away.store(false, Ordering::Relaxed);
    waiting.sort_unstable();
    waiting.truncate(count);
    *link.names.lock().expect("nobody panics") = waiting.into_iter().map(|(_, stored)| stored).collect();
    (link, subject)
}

#[test]
fn an_object_that_is_never_answered_for_waits_alone() {
    let (link, subject) = failing(1);
    for (round, arrives) in [(1, 5), (2, 0), (3, 0)] {
        let sent = subject.dir_vault().send().expect("what waits can be listed");
        let failure = sent.failure.expect("it is told");
        assert_eq!(
            (failure.kind, sent.artefacts.len(), sent.waiting, sent.is_held_up),
            (FailureKind::Unavailable, arrives, Some(1), false),
            "{failure}"
        );
        let next = store(&*subject.vault(), 2, round, &(100 + round).to_le_bytes());
        assert!(storage(&next).version.is_some(), "the bucket counts as away");
    }
    assert_eq!(link.tried.load(Ordering::Relaxed), 2, "it is tried again after a pause");
}

#[test]
fn objects_that_are_never_answered_for_starve_no_other() {
    for count in [2, 3, 5] {
        let (_link, subject) = failing(count);
        let mut arrived = 0;
        for _ in 0..4 {
            let sent = subject.dir_vault().send().expect("what waits can be listed");
            assert!(sent.failure.is_some_and(|it| it.kind == FailureKind::Unavailable));
            arrived += sent.artefacts.len();
        }
        assert_eq!(arrived, 6 - count, "{count} of six are not answered for");
    }
}

#[test]
fn a_bucket_that_is_away_is_tried_twice_in_a_round() {
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject(&link);
    // Nothing of uploads is to be looked for any more.
    subject.dir_vault().send().expect("nothing waits");
    link.is_away.store(true, Ordering::Relaxed);
    for number in 0..4_u64 {
        store(&*subject.vault(), 1, number, &number.to_le_bytes());
    }
    for _ in 0..5 {
        let before = link.tried.load(Ordering::Relaxed);
        let sent = subject.dir_vault().send().expect("what waits can be listed");
        assert_eq!((sent.waiting, sent.is_held_up), (Some(8), true));
        assert_eq!(link.tried.load(Ordering::Relaxed) - before, 2);
    }
    link.is_away.store(false, Ordering::Relaxed);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.waiting, sent.failure), (Some(0), None));
}

/// A bucket over so slow a line that nothing of more bytes arrives in time.
struct Slow {
    link: InMemory,
    bytes_max: u64,
}

impl Link for Slow {
    fn credentials(&self) -> Result<Credentials, Failure> {
        self.link.credentials()
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        match request.body {
            Payload::File(_, size) if size > self.bytes_max => {
                Err(Failure::new(FailureKind::TimedOut, "the line is slow"))
            }
            _ => self.link.ask(request),
        }
    }
}

#[test]
fn large_evidence_that_is_late_while_it_is_sealed_says_nothing_of_the_bucket() {
    // In the second that sealing waits, 256 KiB have to arrive, and no more.
    for (bytes_max, bytes, is_away) in [(1_000, 300_000, false), (1_000, 200_000, true)] {
        let (dir, link) = (temp_dir(), InMemory::new(Behaviour::Locks));
        let slow = Slow { link, bytes_max };
        let bucket = Bucket::new(settings("s3.example", "bucket"), Box::new(slow), standing());
        let options = DirVaultOptions {
            is_immutable: false,
            bucket: Some(Arc::new(bucket)),
            at_once: Duration::from_secs(1),
            ..DirVaultOptions::default()
        };
        let vault = DirVault::open(dir.path(), options).expect("the vault opens");
        vault.check().expect("the bucket locks");
        let late = store(&vault, 1, 1, &noise(1, bytes));
        assert_eq!(storage(&late).version, None, "it waits here");
        let small = store(&vault, 1, 2, b"small");
        assert_eq!(storage(&small).version.is_none(), is_away, "{bytes}");
    }
}
