//! A bucket in memory, and a vault in it.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Sha256Hash};
use staunch_store::s3::{Answer, BucketSettings, Credentials, Link, Payload, Request};
use staunch_testkit::contract::vault::ARTEFACT_BYTES_MAX;
use staunch_testkit::s3::{Asked, Behaviour, FakeBucket};

use crate::in_bucket::{InBucket, settings};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

pub(super) fn credentials() -> Credentials {
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
    pub(crate) tried: Arc<AtomicUsize>,
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
        let is_about = ["retention=", "legal-hold=", "uploads="];
        if request.method == "GET" && !is_about.iter().any(|it| request.target.contains(it)) {
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

pub(super) fn checksum(bytes: &[u8]) -> String {
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
