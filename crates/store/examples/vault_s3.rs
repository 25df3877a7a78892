//! Holds the vault in a bucket to its contract, against a server that others wrote: `cargo xtask s3` runs it with the
//! address of one and the name of a bucket there that locks.
//!
//! Never reaches a server that is not on this machine. Where the server is known to be wrong, that is said by name, and
//! it is an error when it has become right.

#![expect(clippy::print_stdout, reason = "it tells who runs it what it has found")]

#[path = "../tests/it/in_bucket.rs"]
mod in_bucket;
#[path = "../tests/it/in_parts.rs"]
mod in_parts;

use std::cell::Cell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use in_bucket::{InBucket, settings, standing};
use in_parts::{Asks, Meddled, Way};
use staunch_model::{Failure, FailureKind, Sha256Hash, Taken, WriteOnce};
use staunch_store::s3::{Answer, Bucket, BucketSettings, Credentials, Link, Payload, Put, Request};
use staunch_testkit::contract::vault::{self as contract, ARTEFACT_BYTES_MAX, Subject as _, store};
use ureq::http;

const WITHIN: Duration = Duration::from_secs(20);

/// The smallest part that S3 takes.
const PART: u64 = 5 << 20;

fn by() -> Instant {
    Instant::now() + WITHIN
}

/// Plain HTTP to a server on this machine.
#[derive(Clone)]
struct Plain {
    agent: ureq::Agent,
    address: String,
    key: String,
}

impl Plain {
    fn new(address: &str, key: &str) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(WITHIN))
            .proxy(None)
            .build()
            .new_agent();
        Self {
            agent,
            address: address.to_owned(),
            key: key.to_owned(),
        }
    }

    /// Deletes a version with the permission to bypass governance.
    fn bypass(&self, path: &str, version: &str) {
        let answer = self
            .agent
            .delete(format!("http://{}{path}?versionId={version}", self.address))
            .header("x-amz-bypass-governance-retention", "true")
            // It takes any.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=staunch/20261127/us-east-1/s3/aws4_request,Signature=0",
            )
            .call()
            .expect("it answers");
        assert_eq!(answer.status(), 204, "{path}");
    }
}

impl Link for Plain {
    fn credentials(&self) -> Result<Credentials, Failure> {
        let key = Credentials::parse(&format!("staunch {}", self.key));
        key.ok_or_else(|| Failure::new(FailureKind::Denied, "it is no key"))
    }

    fn ask(&self, asked: Request<'_>) -> Result<Answer, Failure> {
        let mut request = http::Request::builder()
            .method(asked.method)
            .uri(format!("http://{}{}", self.address, asked.target));
        for (name, value) in asked.headers {
            if name != "host" {
                request = request.header(name, value);
            }
        }
        let sent = match asked.body {
            Payload::Empty => self.agent.run(request.body(()).expect("it is a request")),
            Payload::Bytes(bytes) => self.agent.run(request.body(bytes).expect("it is a request")),
            Payload::File(file, _) => self.agent.run(request.body(file).expect("it is a request")),
        };
        let failed = |error: ureq::Error| Failure::new(FailureKind::Unavailable, &error.to_string());
        let (parts, body) = sent.map_err(failed)?.into_parts();
        let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts
                .headers
                .iter()
                .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
                .collect(),
            body: Box::new(body.into_reader()),
        })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name] = &arguments[..] else {
        panic!("name the address of a server and a bucket there");
    };
    let link = Plain::new(address, "one");
    let count = Cell::new(0);
    let of = |legal_hold: bool| {
        count.set(count.get() + 1);
        BucketSettings {
            legal_hold,
            ..settings(address, &format!("{name}/vault-{}", count.get()))
        }
    };
    let subject = |legal_hold| {
        let damaging = link.clone();
        let damage = move |path: &str, version: &str| damaging.bypass(path, version);
        InBucket::new(
            of(legal_hold),
            Box::new(link.clone()),
            ARTEFACT_BYTES_MAX,
            Box::new(damage),
        )
    };
    contract::vault(|| Box::new(subject(false)));
    contract::vault(|| Box::new(subject(false).encrypted()));
    println!(
        "the vault keeps its contract under {} prefixes, half of them encrypted",
        count.get()
    );

    let held = subject(true);
    let sealed = store(&*held.vault(), 3, 17, b"evidence");
    let Taken::Stored { storage, .. } = &sealed.manifest.taken else {
        panic!("it was stored: {sealed:?}");
    };
    assert_eq!(storage.write_once, WriteOnce::LockGovernance);
    assert!(storage.legal_hold && storage.retain_until.is_some() && storage.version.is_some());
    // What a bucket says of it is read anew.
    let object = staunch_store::DirVault::object_name(storage.sha256);
    let version = storage.version.as_deref().expect("it has one");
    let until = storage.retain_until.expect("it is kept");
    held.bucket
        .check_kept(&object, version, until, storage.sha256, by())
        .expect("it is kept and held");
    let later = until + staunch_model::Span::from_hours(1);
    let failure = held.bucket.check_kept(&object, version, later, storage.sha256, by());
    assert!(
        failure.is_err_and(|it| it.kind == FailureKind::Denied),
        "it is not kept that long"
    );
    held.bucket
        .keep(&object, version, later, storage.sha256, by())
        .expect("it can be kept longer");
    println!("retention and legal hold are read back, and a retention is made longer");
    let sent = held.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.documents, sent.waiting, sent.failure), (1, Some(0), None));

    in_parts::contract(&link, &mut || of(true), PART);
    println!("artefacts of three parts are kept, also when an answer is lost, and what a crash leaves is aborted");
    what_s3_wants_of_parts(&link, of(false));
    known_to_be_wrong(&link, of(false));
    known_to_be_wrong_with_parts(&link, of(false));
}

/// A file of so many bytes.
fn file(bytes: u64) -> (File, Sha256Hash) {
    let noise = contract::noise(7, usize::try_from(bytes).expect("it is small"));
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&noise).expect("there is room");
    std::io::Seek::rewind(&mut file).expect("it can be read");
    (file, Sha256Hash::of(&noise))
}

/// Parts that are too small are refused, and so is the completion of what somebody else has put meanwhile.
fn what_s3_wants_of_parts(link: &Plain, settings: BucketSettings) {
    let small = in_parts::cut(settings.clone(), PART / 5);
    let bucket = Bucket::new(small, Box::new(link.clone()), standing());
    let until = bucket.retain_until();
    let bytes = PART / 2;
    let (sent, sha256) = file(bytes);
    let put = bucket.put("small", Payload::File(&sent, bytes), sha256, until, by());
    let failure = put.expect_err("its parts are too small");
    assert!(failure.to_string().contains("EntityTooSmall"), "{failure}");

    let meddled = Meddled::new(link.clone());
    let other = Bucket::new(settings.clone(), Box::new(link.clone()), standing());
    meddled.by(move |asks| {
        if asks == Asks::Complete {
            let put = other.put("raced", Payload::Bytes(b"1"), Sha256Hash::of(b"1"), until, by());
            assert!(matches!(put, Ok(Put::New(_))), "{put:?}");
        }
        Way::Through
    });
    let bucket = Bucket::new(in_parts::cut(settings, PART), Box::new(meddled), standing());
    let bytes = PART * 3 / 2;
    let (sent, sha256) = file(bytes);
    let put = bucket.put("raced", Payload::File(&sent, bytes), sha256, until, by());
    assert_eq!(
        put,
        Ok(Put::Taken),
        "If-None-Match is looked at when an upload is completed"
    );
    println!("parts below 5 MiB are refused, and so is a completion where the name was taken meanwhile");
}

/// Where the server does otherwise than S3 with parts.
fn known_to_be_wrong_with_parts(link: &Plain, settings: BucketSettings) {
    let path = format!("/{}/whole", settings.base);
    let bucket = Bucket::new(in_parts::cut(settings, PART), Box::new(link.clone()), standing());
    let until = bucket.retain_until();
    let bytes = PART * 3 / 2;
    let (sent, sha256) = file(bytes);
    let put = bucket.put("whole", Payload::File(&sent, bytes), sha256, until, by());
    let Ok(Put::New(version)) = put else {
        panic!("it is put: {put:?}");
    };
    let is_kept = bucket.check_kept("whole", &version, until, sha256, by()).is_ok();
    assert!(
        !is_kept,
        "the server locks what is put in parts as it was asked to when that began, and was known not to"
    );
    bucket
        .keep("whole", &version, until, sha256, by())
        .expect("it locks it when it is asked again");
    println!("wrong: it forgets the lock with which an upload in parts begins, which S3 keeps; the vault asks again");

    let root = format!("http://{}{path}", link.address);
    let signed = "AWS4-HMAC-SHA256 Credential=staunch/20261127/us-east-1/s3/aws4_request,Signature=0";
    let head = link.agent.head(&root).header("authorization", signed);
    let head = head
        .header("x-amz-checksum-mode", "ENABLED")
        .call()
        .expect("it answers");
    let sum = head.headers().get("x-amz-checksum-sha256").expect("it tells one");
    let sum = sum.to_str().expect("it is text");
    assert!(
        !sum.contains('-'),
        "the server writes the number of parts behind their hash, and was known not to: {sum}"
    );
    println!("wrong: it tells the hash of the hashes of parts without their number, which S3 writes behind it");

    let put = link.agent.put(format!("{root}?partNumber=1&uploadId=nobodys"));
    let status = put
        .header("authorization", signed)
        .send("x")
        .expect("it answers")
        .status();
    assert_eq!(
        status.as_u16(),
        500,
        "the server refuses a part of an upload that is not there, and was known to break"
    );
    println!("wrong: it breaks on a part of an upload that it does not know, which S3 refuses (NoSuchUpload)");
}

/// Where the server does otherwise than S3.
fn known_to_be_wrong(link: &Plain, settings: BucketSettings) {
    let bucket = Bucket::new(settings.clone(), Box::new(link.clone()), standing());
    let until = bucket.retain_until();
    let (sound, other) = (Sha256Hash::of(b"1"), Sha256Hash::of(b"2"));
    let put = |name: &str, sha256| bucket.put(name, Payload::Bytes(b"1"), sha256, until, by());
    assert!(matches!(put("sound", sound), Ok(Put::New(_))));
    assert_eq!(put("sound", sound), Ok(Put::Taken), "If-None-Match is looked at");
    let mut text = String::new();
    let (_, mut body) = bucket.get("sound", None, by()).expect("it is there");
    body.read_to_string(&mut text).expect("it is text");
    assert_eq!(text, "1");

    let is_checked = put("damaged", other).is_err();
    assert!(
        !is_checked,
        "the server checks the SHA-256 of what arrives, and was known not to"
    );
    println!("wrong: it takes bytes whose SHA-256 is not the one that was sent, which S3 refuses (BadDigest)");

    let another = Plain::new(&link.address, "another");
    let stranger = Bucket::new(settings, Box::new(another), Arc::new(*standing()));
    let is_signed = stranger.prove(by()).is_err();
    assert!(!is_signed, "the server looks at signatures, and was known not to");
    println!("wrong: it takes any key, which S3 refuses (SignatureDoesNotMatch)");
}
