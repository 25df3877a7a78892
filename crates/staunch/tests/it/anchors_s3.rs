//! Checkpoints in a bucket with Object Lock, on a server of this test that locks, or only says so.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use staunch_testkit::s3::{Behaviour, Object};

use crate::anchors::{ORIGIN, config, entry, log};
use crate::harness::{Home, stderr, stdout};
use crate::s3_server::{S3Server, SECRET, key};

fn of(server: &S3Server, size: u64) -> Vec<Object> {
    server.bucket.of(&format!("/bucket/pre/{ORIGIN}/{size}.checkpoint"))
}

fn home(server: &S3Server, more: &str) -> Home {
    let home = Home::new("");
    home.configure(&config(&format!(
        "name = \"locked\"\nkind = \"s3\"\nurl = \"http://{}/bucket/pre\"\nregion = \"eu-central-1\"\n\
         key_file = \"s3.key\"\n{more}",
        server.address
    )));
    key(&home);
    home
}

/// What `staunch evidence anchor` says, in one line, and how it ends.
fn anchor(home: &Home) -> (Option<i32>, String) {
    let ran = home.run(&["evidence", "anchor"]);
    let said = format!("{} {}", stdout(&ran), stderr(&ran));
    assert!(!said.contains(SECRET), "{said}");
    (ran.status.code(), said.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn checkpoints_are_locked_and_one_that_is_there_is_never_replaced() {
    let bucket = S3Server::start(Behaviour::Locks);
    let home = home(&bucket, "legal_hold = true\n");
    let mut ours = log(&home);
    ours.append(&[entry(1)]).expect("room");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("locked: anchored at 1 entries"), "{said}");
    let there = of(&bucket, 1);
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].body, ours.note().as_bytes());
    assert_eq!(there[0].headers["x-amz-object-lock-mode"], "GOVERNANCE");
    assert_eq!(there[0].headers["x-amz-object-lock-legal-hold"], "ON");
    let dir = home.data().join("evidence/anchors/locked");
    assert_eq!(
        fs::read_to_string(dir.join("1.version")).expect("it is kept"),
        there[0].version
    );

    // An attempt whose answer was lost is taken up.
    fs::remove_file(dir.join("state.json")).expect("it is there");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(of(&bucket, 1).len(), 1);

    // Another history of the same size.
    let name = format!("/bucket/pre/{ORIGIN}/1.checkpoint");
    let old = of(&bucket, 1)[0].body.clone();
    bucket
        .bucket
        .change(&name, |versions| versions[0].body = b"another".to_vec());
    fs::remove_file(dir.join("state.json")).expect("it is there");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is there and is another: the log was put back"), "{said}");
    assert_eq!(of(&bucket, 1).len(), 1);
    bucket.bucket.change(&name, |versions| versions[0].body = old);
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn compliance_is_asked_for_in_so_many_words() {
    let bucket = S3Server::start(Behaviour::Locks);
    let home = home(&bucket, "retention = \"compliance\"\nretain = \"1h\"\n");
    log(&home).append(&[entry(1)]).expect("room");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
    let there = of(&bucket, 1);
    assert_eq!(there[0].headers["x-amz-object-lock-mode"], "COMPLIANCE");
    assert!(!there[0].headers.contains_key("x-amz-object-lock-legal-hold"));
}

#[test]
fn a_bucket_that_does_not_lock_gets_no_checkpoint() {
    for (behaviour, why) in [
        (
            Behaviour::Deletes,
            "the bucket does not lock: a version could be deleted",
        ),
        (Behaviour::Forgets, "does not keep"),
        (Behaviour::Plain, "the bucket has no versions"),
    ] {
        let bucket = S3Server::start(behaviour);
        let home = home(&bucket, "");
        log(&home).append(&[entry(1)]).expect("room");
        let (code, said) = anchor(&home);
        assert_eq!(code, Some(1), "{behaviour:?}: {said}");
        assert!(said.contains(why), "{behaviour:?}: {said}");
        assert!(of(&bucket, 1).is_empty(), "{behaviour:?}");
    }
}

#[test]
fn a_legal_hold_that_is_not_there_is_told() {
    let bucket = S3Server::start(Behaviour::ForgetsHolds);
    let home = home(&bucket, "legal_hold = true\n");
    log(&home).append(&[entry(1)]).expect("room");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the bucket has no legal hold on it"), "{said}");
    // It is put on what is there when the bucket does it.
    bucket.bucket.behave(Behaviour::Locks);
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
    let there = of(&bucket, 1);
    assert_eq!(there.len(), 1);
    assert_eq!(there[0].headers["x-amz-object-lock-legal-hold"], "ON");
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let bucket = S3Server::start(Behaviour::Locks);
    let home = home(&bucket, "");
    log(&home).append(&[entry(1)]).expect("room");
    fs::set_permissions(home.path("s3.key"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(bucket.bucket.asked(), 0);
}
