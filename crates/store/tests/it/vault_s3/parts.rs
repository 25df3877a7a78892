//! Artefacts that are put in parts, and what can go wrong with each of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{FailureKind, Sha256Hash};
use staunch_store::s3::BucketSettings;
use staunch_store::vault::Sent;
use staunch_testkit::contract::vault::{Subject as _, artefact, store};
use staunch_testkit::s3::{Behaviour, FakeBucket, Object};

use super::{InMemory, checksum, read};
use crate::in_bucket::{InBucket, settings};
use crate::in_parts::{Asks, INTERNAL_ERROR, Meddled, Way, bytes, contract, cut, storage_of, vault_in};

/// Small parts, so that tests are quick.
pub(super) const PART: u64 = 10_000;

pub(super) fn memory() -> InMemory {
    let small = FakeBucket::new(Behaviour::Locks).with_parts_of(usize::try_from(PART).expect("it is small"));
    InMemory {
        bucket: Arc::new(small),
        ..InMemory::new(Behaviour::Locks)
    }
}

/// A vault with an artefact that waits to be sent in three parts.
pub(super) struct Waiting {
    pub(super) memory: InMemory,
    pub(super) link: Meddled<InMemory>,
    pub(super) subject: InBucket,
    pub(super) bytes: Vec<u8>,
    pub(super) artefact: Sha256Hash,
    stored: Sha256Hash,
    /// Its path in the bucket.
    pub(super) path: String,
}

impl Waiting {
    pub(super) fn new() -> Self {
        Self::with(|settings| settings)
    }

    /// The same, with other settings.
    pub(super) fn with(other: impl FnOnce(BucketSettings) -> BucketSettings) -> Self {
        let memory = memory();
        let link = Meddled::new(memory.clone());
        let subject = vault_in(other(cut(settings("s3.example", "bucket/pre"), PART)), link.clone());
        let bytes = bytes(1, PART);
        let sealed = store(&*subject.vault(), 1, 1, &bytes);
        let stored = storage_of(&sealed).sha256;
        Self {
            path: format!("/bucket/pre/{}", staunch_store::DirVault::object_name(stored)),
            artefact: artefact(&sealed),
            memory,
            link,
            subject,
            bytes,
            stored,
        }
    }

    pub(super) fn send(&self) -> Sent {
        self.subject.dir_vault().send().expect("what waits can be listed")
    }

    pub(super) fn there(&self) -> Vec<Object> {
        self.memory.bucket.of(&self.path)
    }

    /// How often the bytes of an object were asked for.
    pub(super) fn bytes_read(&self) -> usize {
        self.memory.read.load(Ordering::Relaxed)
    }

    /// It has arrived, once, whole and locked.
    #[track_caller]
    pub(super) fn has_arrived(&self, sent: &Sent) {
        assert_eq!((sent.artefacts.len(), &sent.failure), (1, &None));
        let there = self.there();
        let version = sent.artefacts[0].receipt.storage.version.as_deref();
        assert_eq!(version, there.last().map(|it| &*it.version));
        let newest = there.last().expect("it is there");
        assert_eq!(Sha256Hash::of(&newest.body), self.stored);
        assert_eq!(newest.headers["x-amz-object-lock-mode"], "GOVERNANCE");
        assert!(
            read(&*self.subject.vault(), self.artefact) == self.bytes,
            "it is what was sealed"
        );
        assert_eq!(self.memory.bucket.unfinished(), 0);
    }

    /// It is kept in the directory, and nothing of it is paid for in the bucket.
    #[track_caller]
    pub(super) fn has_stayed(&self, sent: &Sent, kind: FailureKind, why: &str) {
        let failure = sent.failure.as_ref().expect("it was not sent");
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.to_string().contains(why), "{failure}");
        assert_eq!((sent.artefacts.len(), self.there().len()), (0, 0));
        assert!(
            read(&*self.subject.vault(), self.artefact) == self.bytes,
            "it is kept here"
        );
        assert_eq!(self.memory.bucket.unfinished(), 0);
    }
}

/// Does something once, with the first request of this kind.
pub(super) fn once(
    asks: Asks,
    mut way: impl FnMut() -> Way + Send + 'static,
) -> impl FnMut(Asks) -> Way + Send + 'static {
    let mut is_done = false;
    move |asked| {
        if asked == asks && !is_done {
            is_done = true;
            return way();
        }
        Way::Through
    }
}

#[test]
fn a_bucket_in_memory_keeps_the_contract_of_parts() {
    let mut count = 0;
    let mut settings = || {
        count += 1;
        settings("s3.example", &format!("bucket/pre-{count}"))
    };
    contract(&memory(), &mut settings, PART);
}

#[test]
fn an_artefact_in_parts_is_locked_and_hashed_as_it_was_asked_to_be() {
    let waiting = Waiting::new();
    let sent = waiting.send();
    waiting.has_arrived(&sent);
    let there = waiting.there();
    let stored = &sent.artefacts[0].receipt.storage;
    let until = there[0].headers["x-amz-object-lock-retain-until-date"].parse().ok();
    assert_eq!(stored.retain_until, until);
    let hashes: Vec<u8> = there[0]
        .body
        .chunks(usize::try_from(PART).expect("it is small"))
        .flat_map(|part| Sha256Hash::of(part).0)
        .collect();
    let expected = format!("{}-3", STANDARD.encode(Sha256Hash::of(&hashes).0));
    assert_eq!(there[0].headers["x-amz-checksum-sha256"], expected);
}

#[test]
fn an_error_in_an_answer_of_200_is_none_of_success() {
    let waiting = Waiting::new();
    waiting.link.by(|asks| match asks {
        Asks::Complete => Way::Answered(200, INTERNAL_ERROR),
        _ => Way::Through,
    });
    waiting.has_stayed(&waiting.send(), FailureKind::Unavailable, "200 (InternalError)");
    waiting.link.unhindered();
    waiting.has_arrived(&waiting.send());
    // One that trying again does not mend is not tried again.
    let waiting = Waiting::new();
    let refused = "<Error><Code>EntityTooSmall</Code></Error>";
    waiting
        .link
        .by(once(Asks::Complete, move || Way::Answered(200, refused)));
    waiting.has_stayed(&waiting.send(), FailureKind::Invalid, "EntityTooSmall");
}

#[test]
fn a_part_that_is_refused_ends_the_upload_and_one_that_is_lost_is_sent_again() {
    let waiting = Waiting::new();
    let refused = "<Error><Code>AccessDenied</Code></Error>";
    waiting.link.by(once(Asks::Part, move || Way::Answered(403, refused)));
    waiting.has_stayed(&waiting.send(), FailureKind::Denied, "403 (AccessDenied)");

    for way in [
        || Way::Lost,
        || Way::Away,
        || Way::Answered(503, "<Code>SlowDown</Code>"),
    ] {
        let waiting = Waiting::new();
        waiting.link.by(once(Asks::Part, way));
        waiting.has_arrived(&waiting.send());
    }
    // Not for ever.
    let waiting = Waiting::new();
    let parts = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&parts);
    waiting.link.by(move |asks| match asks {
        Asks::Part => {
            counting.fetch_add(1, Ordering::Relaxed);
            Way::Answered(503, "<Code>SlowDown</Code>")
        }
        _ => Way::Through,
    });
    waiting.has_stayed(&waiting.send(), FailureKind::Unavailable, "503 (SlowDown)");
    assert_eq!(parts.load(Ordering::Relaxed), 3);
}

#[test]
fn an_upload_that_is_gone_after_a_lost_answer_is_looked_for() {
    // The completion arrives, its answer and the look after it are lost, and the next one finds no upload.
    let waiting = Waiting::new();
    let mut completions = 0;
    let mut is_looked = false;
    waiting.link.by(move |asks| match asks {
        Asks::Complete => {
            completions += 1;
            if completions == 1 { Way::Lost } else { Way::Through }
        }
        Asks::Other if completions == 1 && !is_looked => {
            is_looked = true;
            Way::Away
        }
        _ => Way::Through,
    });
    waiting.has_arrived(&waiting.send());
    assert_eq!(waiting.there().len(), 1);

    // Where it is gone and nothing is there, somebody has aborted it.
    let waiting = Waiting::new();
    let gone = "<Error><Code>NoSuchUpload</Code></Error>";
    waiting.link.by(once(Asks::Complete, move || Way::Answered(404, gone)));
    waiting.has_stayed(&waiting.send(), FailureKind::Conflict, "knows nothing of an upload");
    waiting.link.unhindered();
    waiting.has_arrived(&waiting.send());
}

#[test]
fn a_name_that_was_taken_meanwhile_is_kept_and_put_over() {
    let waiting = Waiting::new();
    let (bucket, path) = (Arc::clone(&waiting.memory.bucket), waiting.path.clone());
    waiting.link.by(once(Asks::Complete, move || {
        bucket.change(&path, |versions| {
            versions.push(Object {
                version: "v99".into(),
                body: b"another".to_vec(),
                headers: [("x-amz-checksum-sha256".to_owned(), checksum(b"another"))].into(),
            });
        });
        Way::Through
    }));
    waiting.has_arrived(&waiting.send());
    let there = waiting.there();
    assert_eq!((there.len(), &*there[0].body), (2, &b"another"[..]));
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_not_completed() {
    let waiting = Waiting::new();
    let file = waiting
        .subject
        .dir
        .path()
        .join(staunch_store::DirVault::object_name(waiting.artefact));
    let whole = fs::read(&file).expect("it waits here");
    let mut other = whole.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    let changing = file.clone();
    waiting.link.by(move |asks| {
        assert!(asks != Asks::Complete, "it is not what it is called");
        if asks == Asks::Part {
            fs::set_permissions(&changing, fs::Permissions::from_mode(0o600)).expect("it is ours");
            fs::write(&changing, &other).expect("it is ours");
        }
        Way::Through
    });
    let sent = waiting.send();
    fs::write(&file, &whole).expect("it is ours");
    waiting.has_stayed(&sent, FailureKind::Conflict, "has changed");
}

#[test]
fn a_key_that_may_not_list_or_abort_uploads_puts_them_all_the_same() {
    let waiting = Waiting::new();
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    waiting.link.by(move |asks| match asks {
        Asks::List | Asks::Abort => Way::Answered(403, denied),
        _ => Way::Through,
    });
    waiting.has_arrived(&waiting.send());
    // What it leaves then is for a rule of the bucket, and the failure is the first one.
    let waiting = Waiting::new();
    waiting.link.by(move |asks| match asks {
        Asks::Abort => Way::Answered(403, denied),
        Asks::Complete => Way::Answered(400, "<Error><Code>InvalidPart</Code></Error>"),
        _ => Way::Through,
    });
    let failure = waiting.send().failure.expect("it was refused");
    assert!(failure.to_string().contains("InvalidPart"), "{failure}");
    assert_eq!(waiting.memory.bucket.unfinished(), 1);
}

#[test]
fn an_upload_of_something_else_is_left_alone() {
    let waiting = Waiting::new();
    let name = staunch_store::DirVault::object_name(waiting.stored);
    for other in ["objects/ab/theirs", &format!("{name}.part"), &format!("other/{name}")] {
        waiting.memory.bucket.leave_upload(&format!("/bucket/pre/{other}"));
    }
    // Of what waits, and of artefacts that nobody has here any more.
    let gone = staunch_store::DirVault::object_name(Sha256Hash::of(b"gone"));
    for ours in [
        waiting.path.clone(),
        format!("/bucket/pre/{gone}"),
        format!("/bucket/pre/{gone}.age"),
    ] {
        waiting.memory.bucket.leave_upload(&ours);
    }
    assert_eq!(waiting.memory.bucket.unfinished(), 6);
    let sent = waiting.send();
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    assert_eq!(waiting.memory.bucket.unfinished(), 3, "ours are gone, and no other");
}

#[test]
fn what_a_bucket_has_other_parts_of_is_put_there_again() {
    let waiting = Waiting::new();
    waiting.has_arrived(&waiting.send());
    waiting.memory.bucket.change(&waiting.path, |versions| {
        let other = format!("{}-3", checksum(b"another"));
        versions[0].headers.insert("x-amz-checksum-sha256".into(), other);
    });
    store(&*waiting.subject.vault(), 1, 2, &waiting.bytes);
    let sent = waiting.send();
    waiting.has_arrived(&sent);
    assert_eq!(waiting.there().len(), 2, "what is in hand is not dropped for it");
}
