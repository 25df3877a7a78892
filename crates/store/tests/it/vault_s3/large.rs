//! Artefacts that are too large for memory, or for an object.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use staunch_model::{Failure, FailureKind, Sha256Hash};
use staunch_ports::Vault as _;
use staunch_store::s3::{Answer, BucketSettings, Credentials, Link, OBJECT_BYTES_MAX, PartSizes, Payload, Request};
use staunch_testkit::contract::vault::{
    ARTEFACT_BYTES_MAX, LARGE_BYTES, Subject as _, artefact, draft, noise, resident_bytes, store,
};
use staunch_testkit::s3::Behaviour;

use super::in_memory::credentials;
use super::{InMemory, storage, subject_of};
use crate::in_bucket::{InBucket, settings};
use crate::in_parts::Asks;
use crate::temp_dir;

#[test]
fn what_is_too_large_for_an_object_is_refused_and_leaves_nothing() {
    assert_eq!(OBJECT_BYTES_MAX, 5_497_558_138_880, "what S3 takes of one object");
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

/// A bucket whose objects are files, so that a large one is in no memory.
struct OnDisk {
    dir: PathBuf,
    names: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    seen: Arc<Seen>,
}

/// What it has seen of who sends.
#[derive(Default)]
struct Seen {
    parts: AtomicU64,
    /// The most memory that this process had while something was sent.
    memory: AtomicU64,
}

impl OnDisk {
    fn file(&self, path: &str) -> PathBuf {
        self.dir.join(Sha256Hash::of(path.as_bytes()).to_string())
    }
}

impl Link for OnDisk {
    fn credentials(&self) -> Result<Credentials, Failure> {
        Ok(credentials())
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        self.seen.memory.fetch_max(resident_bytes(), Ordering::Relaxed);
        let path = request.target.split('?').next().expect("a path").to_owned();
        let file = self.file(&path);
        let mut names = self.names.lock().expect("nobody panics");
        let mut status = 200;
        let mut body: Box<dyn Read + Send> = Box::new(std::io::empty());
        let mut is_kept = false;
        match (request.method, Asks::of(&request), request.body) {
            (_, Asks::Part, Payload::Bytes(bytes)) => {
                self.seen.parts.fetch_add(1, Ordering::Relaxed);
                let mut to = File::options()
                    .append(true)
                    .create(true)
                    .open(&file)
                    .expect("our directory");
                to.write_all(bytes).expect("there is room");
            }
            (_, Asks::Begin, _) => {
                body = Box::new("<UploadId>one</UploadId>".as_bytes());
                is_kept = true;
            }
            (_, Asks::Complete, _) => body = Box::new("<CompleteMultipartUploadResult>".as_bytes()),
            (_, Asks::List, _) => {}
            ("PUT", _, Payload::Bytes(bytes)) => {
                std::fs::write(&file, bytes).expect("it is our directory");
                is_kept = true;
            }
            ("DELETE", ..) => status = 403,
            ("GET", ..) => body = Box::new(File::open(&file).expect("it was put")),
            ("HEAD", ..) if names.contains_key(&path) => {}
            ("HEAD", ..) => status = 404,
            other => panic!("nobody asks for {other:?}"),
        }
        if is_kept {
            let mut kept: BTreeMap<_, _> = request.headers.into_iter().collect();
            kept.retain(|name, _| name.starts_with("x-amz-object-lock") || name == "x-amz-checksum-sha256");
            names.insert(path.clone(), kept);
        }
        let mut headers = names.get(&path).cloned().unwrap_or_default();
        headers.insert("x-amz-version-id".into(), "v1".into());
        headers.insert("etag".into(), "tag".into());
        Ok(Answer { status, headers, body })
    }
}

#[test]
fn a_large_artefact_is_sent_and_read_in_bounded_memory() {
    let dir = temp_dir();
    let seen = Arc::new(Seen::default());
    let link = OnDisk {
        dir: dir.path().to_owned(),
        names: Mutex::default(),
        seen: Arc::clone(&seen),
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
    seen.memory.store(0, Ordering::Relaxed);
    let sent = vault.send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    let sending = seen.memory.load(Ordering::Relaxed);
    let parts = LARGE_BYTES.div_ceil(PartSizes::S3.least) + 1;
    assert_eq!(
        seen.parts.load(Ordering::Relaxed),
        parts,
        "noise has a little more bytes when it is packed"
    );
    let mut reader = vault.open(artefact(&sealed)).expect("it is there");
    assert_eq!(
        std::io::copy(&mut reader, &mut std::io::sink()).expect("it is whole"),
        LARGE_BYTES
    );
    let most = sending.max(resident_bytes()).saturating_sub(before);
    // A part, and what reading takes.
    assert!(most <= 32 << 20, "it took {most} bytes of memory");
    assert!(is_empty(&subject.dir.path().join("outbox")));
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("it is there").next().is_none()
}
