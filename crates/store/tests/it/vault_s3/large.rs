//! Artefacts that are too large for memory, or for an object.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use staunch_model::{Failure, FailureKind, Sha256Hash};
use staunch_ports::Vault as _;
use staunch_store::s3::{Answer, BucketSettings, Credentials, Link, OBJECT_BYTES_MAX, Payload, Request};
use staunch_testkit::contract::vault::{
    ARTEFACT_BYTES_MAX, LARGE_BYTES, Subject as _, artefact, draft, noise, resident_bytes, store,
};
use staunch_testkit::s3::Behaviour;

use super::in_memory::credentials;
use super::{InMemory, storage, subject_of};
use crate::in_bucket::{InBucket, settings};
use crate::temp_dir;

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
