//! What a bucket does not say of artefacts in parts, or says of those of others.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Sha256Hash, Span, Timestamp};
use staunch_store::s3::{Answer, Bucket, BucketSettings, Credentials, Link, PartSizes, Payload, Request};
use staunch_testkit::contract::vault::{Subject as _, artefact, store};
use staunch_testkit::s3::{Behaviour, Object};

use super::parts::{PART, Waiting, memory, once};
use super::{InMemory, checksum, read, storage, subject};
use crate::in_bucket::{settings, standing};
use crate::in_parts::{Asks, Way, bytes, cut, vault_in};

const GONE: &str = "<Error><Code>NoSuchUpload</Code></Error>";

#[test]
fn a_key_that_may_not_list_puts_an_artefact_in_parts() {
    let waiting = Waiting::new();
    waiting.memory.bucket.behave(Behaviour::Unlisted);
    waiting.has_arrived(&waiting.send());
    assert_eq!(waiting.there().len(), 1);
}

#[test]
fn a_completion_whose_answer_was_lost_is_known_to_a_key_that_may_not_list() {
    // It has arrived, or it has not.
    for way in [|| Way::Lost, || Way::Away] {
        let waiting = Waiting::new();
        waiting.memory.bucket.behave(Behaviour::Unlisted);
        waiting.link.by(once(Asks::Complete, way));
        waiting.has_arrived(&waiting.send());
        assert_eq!(waiting.there().len(), 1);
    }
    let waiting = Waiting::new();
    waiting.memory.bucket.behave(Behaviour::Unlisted);
    waiting.link.by(once(Asks::Complete, || Way::Answered(404, GONE)));
    waiting.has_stayed(&waiting.send(), FailureKind::Conflict, "knows nothing of an upload");
    waiting.link.unhindered();
    waiting.has_arrived(&waiting.send());
}

/// A link that writes down how long each request may take.
struct Timed {
    link: InMemory,
    asked: Arc<Mutex<Vec<(String, Duration)>>>,
}

impl Link for Timed {
    fn credentials(&self) -> Result<Credentials, Failure> {
        self.link.credentials()
    }

    fn ask(&self, request: Request<'_>) -> Result<Answer, Failure> {
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        let what = format!("{} {query}", request.method);
        self.asked.lock().expect("nobody panics").push((what, request.within));
        self.link.ask(request)
    }
}

#[test]
fn a_small_request_has_the_time_of_one_however_large_the_object_is() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let link = Timed {
        link: InMemory::new(Behaviour::SaysNothing),
        asked: Arc::clone(&asked),
    };
    let settings = BucketSettings {
        legal_hold: true,
        ..settings("s3.example", "bucket/pre")
    };
    let bucket = Bucket::new(settings, Box::new(link), standing());
    let (bytes, by) = (b"bytes", Instant::now() + Duration::from_secs(10 * 3_600));
    let (sha256, until) = (Sha256Hash::of(bytes), bucket.retain_until());
    let put = bucket.put_or_confirm("large", Payload::Bytes(bytes), sha256, until, by);
    let longer = Timestamp::from_micros(until.as_micros() + Span::from_hours(1).as_micros());
    bucket
        .keep("large", &put.expect("it is kept"), longer, sha256, by)
        .expect("it is kept longer");
    staunch_store::vault::unfinished(&bucket, by).expect("they are listed");

    let asked = asked.lock().expect("nobody panics");
    for small in [
        "HEAD ",
        "GET retention=",
        "GET legal-hold=",
        "PUT retention=",
        "GET max-uploads=",
    ] {
        let mut times = asked.iter().filter(|(what, _)| what.starts_with(small)).peekable();
        assert!(times.peek().is_some(), "{small}: {asked:?}");
        for (what, within) in times {
            assert!(*within <= Duration::from_secs(30), "{what}: {within:?}");
        }
    }
}

#[test]
fn what_is_sent_in_parts_leaves_a_completion_all_of_its_time() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let link = Timed {
        link: memory(),
        asked: Arc::clone(&asked),
    };
    let subject = vault_in(cut(settings("s3.example", "bucket/pre"), PART), link);
    store(&*subject.vault(), 1, 1, &bytes(1, PART));
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    let asked = asked.lock().expect("nobody panics");
    let completion = asked
        .iter()
        .find(|(what, _)| what.starts_with("POST uploadId="))
        .map(|(_, within)| *within);
    // It may be tried three times.
    assert!(
        completion.is_some_and(|it| it > Duration::from_secs(599)),
        "{completion:?}"
    );
}

#[test]
fn an_upload_that_nobody_knows_of_holds_up_nothing_else() {
    for (status, text, why) in [
        (404, GONE, "knows nothing of an upload"),
        (200, "  \n", "does not say whether"),
    ] {
        let waiting = Waiting::new();
        waiting.link.by(move |asks| match asks {
            Asks::Complete => Way::Answered(status, text),
            _ => Way::Through,
        });
        let sent = waiting.send();
        waiting.has_stayed(&sent, FailureKind::Conflict, why);
        assert!(!sent.is_held_up, "the bucket is there");
    }
}

#[test]
fn an_upload_is_aborted_when_somebody_else_has_put_the_same_parts() {
    let waiting = Waiting::new();
    let file = staunch_store::DirVault::object_name(waiting.artefact);
    let body = fs::read(waiting.subject.dir.path().join(file)).expect("it waits here");
    let hashes: Vec<u8> = body
        .chunks(usize::try_from(PART).expect("it is small"))
        .flat_map(|part| Sha256Hash::of(part).0)
        .collect();
    let sum = format!("{}-3", STANDARD.encode(Sha256Hash::of(&hashes).0));
    let (bucket, path) = (Arc::clone(&waiting.memory.bucket), waiting.path.clone());
    waiting.link.by(once(Asks::Complete, move || {
        bucket.change(&path, |versions| {
            versions.push(Object {
                version: "v99".into(),
                body: body.clone(),
                headers: [("x-amz-checksum-sha256".to_owned(), sum.clone())].into(),
            });
        });
        Way::Away
    }));
    // Which asserts that no upload is left.
    waiting.has_arrived(&waiting.send());
    assert_eq!(waiting.there().len(), 1);
}

#[test]
fn what_was_cut_into_another_number_of_parts_is_read_and_not_put_there_again() {
    let waiting = Waiting::new();
    waiting.has_arrived(&waiting.send());
    waiting.memory.bucket.change(&waiting.path, |versions| {
        let other = format!("{}-5", checksum(b"of five parts"));
        versions[0].headers.insert("x-amz-checksum-sha256".into(), other);
    });
    store(&*waiting.subject.vault(), 1, 2, &waiting.bytes);
    waiting.memory.read.store(0, Ordering::Relaxed);
    let sent = waiting.send();
    assert_eq!((sent.artefacts.len(), &sent.failure), (1, &None));
    assert_eq!(waiting.there().len(), 1, "it is what was sent");
    assert_eq!(waiting.bytes_read(), 1);
}

#[test]
fn what_a_bucket_tells_no_hash_of_is_read_back() {
    let waiting = Waiting::new();
    waiting.memory.bucket.behave(Behaviour::TellsNoHash);
    let sent = waiting.send();
    assert_eq!(waiting.bytes_read(), 2, "the artefact and its manifest");
    waiting.has_arrived(&sent);

    let waiting = Waiting::new();
    waiting.memory.bucket.behave(Behaviour::TellsNoHash);
    let (bucket, path) = (Arc::clone(&waiting.memory.bucket), waiting.path.clone());
    let mut is_complete = false;
    waiting.link.by(move |asks| {
        // With the first look at what is complete.
        if is_complete && asks == Asks::Other {
            is_complete = false;
            bucket.change(&path, |versions| versions[0].body[0] ^= 1);
        }
        is_complete |= asks == Asks::Complete;
        Way::Through
    });
    let sent = waiting.send();
    let failure = sent.failure.expect("it is not what was sent");
    assert_eq!(
        (failure.kind, sent.artefacts.len()),
        (FailureKind::Conflict, 0),
        "{failure}"
    );
    waiting.link.unhindered();
    waiting.has_arrived(&waiting.send());
    assert_eq!(waiting.there().len(), 2, "it is put over what is not it");
}

#[test]
fn a_small_artefact_of_which_nothing_is_told_is_read_back_before_its_file_goes() {
    let link = InMemory::new(Behaviour::TellsNoHash);
    let subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    let path = format!(
        "/bucket/pre/{}",
        staunch_store::DirVault::object_name(storage(&sealed).sha256)
    );
    assert_eq!(storage(&sealed).version, None, "nobody knows what is there");
    assert_eq!(link.read.load(Ordering::Relaxed), 0, "who seals asks for no bytes");
    // The bucket has something else, and does not know.
    link.bucket
        .change(&path, |versions| versions[0].body = b"another".to_vec());
    let send = || {
        let sent = subject.dir_vault().send().expect("it can be sent");
        assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
        assert_eq!(read(&*subject.vault(), artefact(&sealed)), b"evidence");
    };
    send();
    assert_eq!(link.bucket.of(&path).len(), 2, "it is put over what is not it");
    // What a receipt is of is as good as what is read.
    link.bucket
        .change(&path, |versions| versions[1].body = b"another".to_vec());
    let again = store(&*subject.vault(), 1, 2, b"evidence");
    assert_eq!(storage(&again).version, None);
    send();
    assert_eq!(link.bucket.of(&path).len(), 3);
}

#[test]
fn an_abort_that_is_refused_keeps_no_other_upload() {
    let waiting = Waiting::new();
    for gone in [b"one", b"two"] {
        let name = staunch_store::DirVault::object_name(Sha256Hash::of(gone));
        waiting.memory.bucket.leave_upload(&format!("/bucket/pre/{name}"));
    }
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    waiting.link.by(once(Asks::Abort, move || Way::Answered(403, denied)));
    let sent = waiting.send();
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    assert_eq!(waiting.memory.bucket.unfinished(), 1);
}

const CONFLICT: &str = "<Error><Code>ConditionalRequestConflict</Code></Error>";

#[test]
fn an_object_that_somebody_else_puts_at_the_same_moment_holds_up_no_other() {
    let waiting = Waiting::new();
    waiting.link.by(once(Asks::Complete, || Way::Answered(409, CONFLICT)));
    let sent = waiting.send();
    waiting.has_stayed(&sent, FailureKind::Conflict, "somebody else puts");
    assert!(!sent.is_held_up, "the bucket is there");
    assert_eq!(sent.documents, 1, "what waits besides is sent");
    waiting.link.unhindered();
    // It was refused once, which is no reason to wait.
    waiting.has_arrived(&waiting.send());
}

#[test]
fn a_manifest_that_somebody_else_puts_at_the_same_moment_holds_up_no_other() {
    let waiting = Waiting::new();
    waiting.link.by(once(Asks::Put, || Way::Answered(409, CONFLICT)));
    // Its name comes before that of the artefact.
    let sent = waiting.send();
    let failure = sent.failure.expect("it is told");
    assert_eq!(
        (failure.kind, sent.documents, sent.artefacts.len(), sent.is_held_up),
        (FailureKind::Conflict, 0, 1, false),
        "{failure}"
    );
    let sent = waiting.send();
    assert_eq!((sent.documents, sent.waiting, sent.failure), (1, Some(0), None));
    // Who puts a checkpoint takes a conflict for another history, and tries it again.
    waiting.link.by(once(Asks::Put, || Way::Answered(409, CONFLICT)));
    let bucket = &waiting.subject.bucket;
    let (until, by) = (bucket.retain_until(), Instant::now() + Duration::from_secs(5));
    let put = bucket.put_or_confirm("x", Payload::Bytes(b"1"), Sha256Hash::of(b"1"), until, by);
    assert_eq!(put.map_err(|it| it.kind), Err(FailureKind::Unavailable));
}

#[test]
fn a_completion_that_is_in_the_way_of_its_repetition_is_found() {
    let waiting = Waiting::new();
    let (mut completions, mut is_looked) = (0, false);
    waiting.link.by(move |asks| match asks {
        Asks::Complete => {
            completions += 1;
            match completions {
                1 => Way::Lost,
                _ => Way::Answered(409, CONFLICT),
            }
        }
        // The look after the first does not arrive.
        Asks::Other if completions == 1 && !is_looked => {
            is_looked = true;
            Way::Away
        }
        _ => Way::Through,
    });
    waiting.has_arrived(&waiting.send());
    assert_eq!(waiting.there().len(), 1);
}

#[test]
fn evidence_that_somebody_else_puts_at_the_same_moment_waits_alone() {
    let waiting = Waiting::new();
    waiting.has_arrived(&waiting.send());
    waiting.link.by(once(Asks::Put, || Way::Answered(409, CONFLICT)));
    let vault = waiting.subject.vault();
    let (contested, next) = (store(&*vault, 1, 2, b"contested"), store(&*vault, 1, 3, b"next"));
    assert_eq!(storage(&contested).version, None);
    assert!(storage(&next).version.is_some(), "the bucket is not taken for away");
    let sent = waiting.send();
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
}

#[test]
fn uploads_on_further_pages_are_aborted_and_a_list_that_is_cut_says_so() {
    let waiting = Waiting::new();
    waiting.memory.bucket.list_at_most(1);
    let leave = |count: u8| {
        for it in 0..count {
            let name = staunch_store::DirVault::object_name(Sha256Hash::of(&[it]));
            waiting.memory.bucket.leave_upload(&format!("/bucket/pre/{name}"));
        }
    };
    let listed = || {
        let by = Instant::now() + Duration::from_secs(5);
        let found = staunch_store::vault::unfinished(&waiting.subject.bucket, by).expect("they are listed");
        (found.uploads.len(), found.is_cut)
    };
    leave(10);
    assert_eq!(listed(), (10, false));
    leave(2);
    assert_eq!(listed(), (10, true));
    let sent = waiting.send();
    assert_eq!((sent.artefacts.len(), sent.failure), (1, None));
    assert_eq!(
        waiting.memory.bucket.unfinished(),
        2,
        "those that are looked at are gone"
    );
}

#[test]
fn a_request_that_nobody_answers_is_asked_again_after_a_pause_that_grows() {
    let pause = Duration::from_millis(20);
    let waiting = Waiting::with(|settings| BucketSettings {
        parts: PartSizes {
            pause,
            ..settings.parts
        },
        ..settings
    });
    for asks in [Asks::Part, Asks::Complete] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asking = Arc::clone(&asked);
        waiting.link.by(move |it| {
            if it != asks {
                return Way::Through;
            }
            asking.lock().expect("nobody panics").push(Instant::now());
            Way::Away
        });
        let sent = waiting.send();
        waiting.has_stayed(&sent, FailureKind::Unavailable, "the connection broke");
        assert!(sent.is_held_up, "nobody is there");
        let asked = asked.lock().expect("nobody panics");
        let between: Vec<Duration> = asked.windows(2).map(|it| it[1] - it[0]).collect();
        assert_eq!(between.len(), 2, "it is asked three times");
        assert!(between[0] >= pause && between[1] >= 2 * pause, "{between:?}");
    }
}

#[test]
fn a_look_that_is_refused_after_a_lost_answer_is_not_asked_again() {
    let waiting = Waiting::new();
    let completions = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&completions);
    waiting.link.by(move |asks| match asks {
        Asks::Complete => {
            counting.fetch_add(1, Ordering::Relaxed);
            Way::Away
        }
        Asks::Other if counting.load(Ordering::Relaxed) > 0 => Way::Answered(400, ""),
        _ => Way::Through,
    });
    waiting.has_stayed(&waiting.send(), FailureKind::Invalid, "400");
    assert_eq!(completions.load(Ordering::Relaxed), 1);
}
