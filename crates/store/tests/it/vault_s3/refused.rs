//! What a bucket refuses, and what its refusals tell.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use staunch_model::{FailureKind, Sha256Hash, Span};
use staunch_store::s3::{Bucket, BucketSettings, LockMode, Payload};
use staunch_testkit::contract::vault::{ARTEFACT_BYTES_MAX, Subject as _, store};
use staunch_testkit::s3::Behaviour;

use super::parts::once;
use super::{InMemory, by, storage, subject, subject_of};
use crate::in_bucket::{Standing, settings, standing};
use crate::in_parts::{Asks, Meddled, Way};

#[test]
fn a_lock_is_proved_by_a_clock_that_s3_takes() {
    let now = standing().0;
    for clock in [now - Span::from_mins(15), now, now + Span::from_mins(15)] {
        let link = InMemory::new(Behaviour::Locks);
        let settings = settings("s3.example", "bucket");
        let bucket = Bucket::new(settings, Box::new(link), Arc::new(Standing(clock)));
        assert_eq!(bucket.prove(by()), Ok(()), "{clock}");
    }
}

#[test]
fn what_is_to_be_asked_again_is_no_refusal_to_delete() {
    for (status, text) in [
        (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"),
        (400, "<Error><Code>RequestTimeout</Code></Error>"),
    ] {
        let link = Meddled::new(InMemory::new(Behaviour::Locks));
        link.by(once(Asks::Other, move || Way::Answered(status, text)));
        let bucket = Bucket::new(settings("s3.example", "bucket"), Box::new(link), standing());
        let failure = bucket.prove(by()).expect_err("nothing was refused");
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    }
}

#[test]
fn a_refusal_names_the_object_and_what_the_key_lacks() {
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    let memory = InMemory::new(Behaviour::SaysNothing);
    let link = Meddled::new(memory);
    let bucket = Bucket::new(settings("s3.example", "bucket"), Box::new(link.clone()), standing());
    let (until, sha256) = (bucket.retain_until(), Sha256Hash::of(b"1"));
    let put = |name: &str| bucket.put_or_confirm(name, Payload::Bytes(b"1"), sha256, until, by());
    let refused = |name: &str| put(name).expect_err("it is refused").to_string();
    link.by(|asks| match asks {
        Asks::Put => Way::Answered(403, denied),
        _ => Way::Through,
    });
    assert_eq!(
        refused("records/a"),
        "cannot put records/a locked: the bucket answers with 403 (AccessDenied)"
    );
    // The first is HEAD, whose answer has no body, and the next asks for the retention.
    for (after, expected) in [
        (
            0,
            "cannot look at x0: the bucket answers with 403 (no code): allow s3:GetObject, s3:GetObjectVersion",
        ),
        (
            1,
            "cannot read the retention of x1: the bucket answers with 403 (AccessDenied): allow s3:GetObjectRetention",
        ),
    ] {
        let mut asked = 0;
        link.by(move |asks| {
            asked += usize::from(asks == Asks::Other);
            match (asks, asked > after) {
                (Asks::Other, true) => Way::Answered(403, if after == 0 { "" } else { denied }),
                _ => Way::Through,
            }
        });
        assert_eq!(refused(&format!("x{after}")), expected);
    }
    // Nothing that a key may be allowed helps when it is none.
    let unknown = "<Error><Code>InvalidAccessKeyId</Code></Error>";
    link.by(move |asks| match asks {
        Asks::Other => Way::Answered(403, unknown),
        _ => Way::Through,
    });
    assert_eq!(
        refused("x2"),
        "cannot look at x2: the bucket answers with 403 (InvalidAccessKeyId)"
    );
}

#[test]
fn a_server_with_400_for_what_a_lock_forbids_proves_its_lock() {
    let link = InMemory::new(Behaviour::Worm);
    let subject = subject(&link);
    let sealed = store(&*subject.vault(), 1, 1, b"evidence");
    assert!(storage(&sealed).version.is_some(), "it is locked there");
    // It counts when that version is kept, and not otherwise.
    let meddled = Meddled::new(link);
    let mut asked = 0;
    meddled.by(move |asks| {
        asked += usize::from(asks == Asks::Other);
        // The deletion is refused, and the look after it finds nothing.
        match asked {
            2 => Way::Answered(404, ""),
            _ => Way::Through,
        }
    });
    let bucket = Bucket::new(settings("s3.example", "bucket"), Box::new(meddled), standing());
    let failure = bucket.prove(by()).expect_err("it is not there");
    assert!(failure.to_string().contains("is not in the bucket"), "{failure}");
}

#[test]
fn a_key_that_may_not_see_holds_is_told_at_the_start_and_reads_no_object_for_it() {
    let held = BucketSettings {
        legal_hold: true,
        ..settings("s3.example", "bucket/pre")
    };
    let link = InMemory::new(Behaviour::HidesHolds);
    let bucket = Bucket::new(held.clone(), Box::new(link), standing());
    let failure = bucket.prove(by()).expect_err("it never sees a hold");
    assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
    assert!(
        failure.to_string().ends_with("allow s3:GetObjectLegalHold"),
        "{failure}"
    );
    let without = settings("s3.example", "bucket/pre");
    let bucket = Bucket::new(without, Box::new(InMemory::new(Behaviour::HidesHolds)), standing());
    assert_eq!(bucket.prove(by()), Ok(()), "it needs none");

    // One that loses the permission later.
    let link = InMemory::new(Behaviour::Locks);
    let subject = subject_of(held, &link, ARTEFACT_BYTES_MAX);
    link.bucket.behave(Behaviour::HidesHolds);
    store(&*subject.vault(), 1, 1, b"evidence");
    for _ in 0..2 {
        let sent = subject.dir_vault().send().expect("what waits can be listed");
        assert!(
            sent.failure
                .is_some_and(|it| it.to_string().contains("GetObjectLegalHold"))
        );
    }
    assert_eq!(link.read.load(Ordering::Relaxed), 0, "bytes were read for nothing");
}

#[test]
fn what_is_under_compliance_is_kept_longer_where_governance_is_asked_for() {
    let link = InMemory::new(Behaviour::Locks);
    let of = |mode, retain| {
        let settings = BucketSettings {
            mode,
            retain,
            ..settings("s3.example", "bucket")
        };
        Bucket::new(settings, Box::new(link.clone()), standing())
    };
    let put = |bucket: &Bucket| {
        let (until, sha256) = (bucket.retain_until(), Sha256Hash::of(b"1"));
        bucket.put_or_confirm("x", Payload::Bytes(b"1"), sha256, until, by())
    };
    let strict = of(LockMode::Compliance, Span::from_hours(1));
    let version = put(&strict).expect("it is put");
    let longer = of(LockMode::Governance, Span::from_hours(2));
    assert_eq!(put(&longer), Ok(version));
    let there = &link.bucket.of("/bucket/x")[0].headers;
    assert_eq!(there["x-amz-object-lock-mode"], "COMPLIANCE");
    let until = there["x-amz-object-lock-retain-until-date"].parse().ok();
    assert!(until >= Some(longer.retain_until() - Span::from_secs(1)), "{until:?}");
}

#[test]
fn evidence_under_compliance_is_taken_for_what_waits_under_governance() {
    let link = InMemory::new(Behaviour::Locks);
    let path = {
        let settings = BucketSettings {
            mode: LockMode::Compliance,
            ..settings("s3.example", "bucket/pre")
        };
        let other = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
        let sealed = store(&*other.vault(), 1, 1, b"evidence");
        storage(&sealed).path.replace("s3:/", "")
    };
    // It has no receipt here, and is to be kept longer.
    let settings = BucketSettings {
        retain: Span::from_hours(2),
        ..settings("s3.example", "bucket/pre")
    };
    let subject = subject_of(settings, &link, ARTEFACT_BYTES_MAX);
    link.is_away.store(true, Ordering::Relaxed);
    store(&*subject.vault(), 1, 2, b"evidence");
    link.is_away.store(false, Ordering::Relaxed);
    let sent = subject.dir_vault().send().expect("it can be sent");
    assert_eq!((sent.artefacts.len(), sent.waiting, sent.failure), (1, Some(0), None));
    assert_eq!(link.bucket.of(&path).len(), 1, "it is put over nothing");
}
