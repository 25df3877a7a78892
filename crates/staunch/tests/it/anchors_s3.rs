//! Checkpoints in a bucket with Object Lock, on a server of this test that locks, or only says so.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use base64::Engine as _;
use staunch_model::Sha256Hash;

use crate::anchors::{ORIGIN, config, entry, log};
use crate::harness::{Home, stderr, stdout};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// How a bucket behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Locks,
    /// It takes the headers of a lock and deletes all the same.
    Deletes,
    /// It refuses to delete anything, and keeps nothing of a lock.
    Forgets,
    /// It has no versions.
    Plain,
}

#[derive(Clone, Debug)]
struct Object {
    version: String,
    body: Vec<u8>,
    headers: BTreeMap<String, String>,
}

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    objects: BTreeMap<String, Vec<Object>>,
    versions: usize,
    ends: bool,
}

struct Bucket {
    url: String,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl Bucket {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/bucket/pre", listener.local_addr().expect("it has one"));
        let state = Arc::new(Mutex::new(State {
            behaviour,
            objects: BTreeMap::new(),
            versions: 0,
            ends: false,
        }));
        let shared = state.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let mut state = shared.lock().expect("nobody panics");
                if state.ends {
                    return;
                }
                serve(stream.expect("somebody asks"), &mut state);
            }
        });
        Self {
            url,
            state,
            thread: Some(thread),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics")
    }

    fn of(&self, size: u64) -> Vec<Object> {
        let name = format!("/bucket/pre/{ORIGIN}/{size}.checkpoint");
        self.state().objects.get(&name).cloned().unwrap_or_default()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        // A server that has panicked is told by its thread.
        if let Ok(mut state) = self.state.lock() {
            state.ends = true;
        }
        drop(TcpStream::connect(
            self.url.trim_start_matches("http://").trim_end_matches("/bucket/pre"),
        ));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the bucket has found something wrong"
            );
        }
    }
}

fn serve(mut stream: TcpStream, state: &mut State) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).expect("it sends") == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text");
    let mut lines = head.lines();
    let first: Vec<&str> = lines.next().expect("a first line").split(' ').collect();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |it| it.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("it sends all");
    is_signed(&headers, &body);
    let (path, query) = first[1].split_once('?').unwrap_or((first[1], ""));
    let (status, said, content) = answer(state, first[0], path, query.strip_prefix("versionId="), headers, body);
    let length = content.len();
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in said {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).expect("it listens");
    if first[0] != "HEAD" {
        stream.write_all(&content).expect("it listens");
    }
}

/// What S3 wants of every request; the signature itself is held against published ones by the unit tests.
fn is_signed(headers: &BTreeMap<String, String>, body: &[u8]) {
    let signed = headers["authorization"].clone();
    assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{signed}");
    assert!(
        signed.contains("/eu-central-1/s3/aws4_request,SignedHeaders="),
        "{signed}"
    );
    for name in headers
        .keys()
        .filter(|it| it.starts_with("x-amz-") || *it == "host" || *it == "if-none-match")
    {
        let names = signed.split("SignedHeaders=").nth(1).expect("they follow");
        let mut names = names.split(',').next().expect("they end").split(';');
        assert!(names.any(|it| it == name), "{name} is not signed");
    }
    assert_eq!(headers["x-amz-content-sha256"], Sha256Hash::of(body).to_string());
    assert!(!format!("{headers:?}").contains(SECRET));
}

type Answered = (u16, Vec<(String, String)>, Vec<u8>);

fn refused(status: u16, code: &str) -> Answered {
    (
        status,
        Vec::new(),
        format!("<Error><Code>{code}</Code></Error>").into_bytes(),
    )
}

fn answer(
    state: &mut State,
    method: &str,
    path: &str,
    version: Option<&str>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
) -> Answered {
    let behaviour = state.behaviour;
    match method {
        "PUT" => {
            if headers.get("if-none-match").is_some_and(|it| it == "*") && state.objects.contains_key(path) {
                return refused(412, "PreconditionFailed");
            }
            // As S3 does, and moto 5.2 after it.
            if headers
                .get("x-amz-sdk-checksum-algorithm")
                .is_none_or(|it| it != "SHA256")
            {
                return refused(400, "MissingUploadObjectWithObjectLockHeaders");
            }
            let checksum = base64::engine::general_purpose::STANDARD.encode(Sha256Hash::of(&body).0);
            assert_eq!(headers["x-amz-checksum-sha256"], checksum);
            state.versions += 1;
            let version = format!("v{}", state.versions);
            let kept = |name: &String| name.starts_with("x-amz-object-lock-") && behaviour != Behaviour::Forgets;
            let headers = headers.into_iter().filter(|(name, _)| kept(name)).collect();
            let said = vec![("x-amz-version-id".to_owned(), version.clone())];
            state
                .objects
                .entry(path.to_owned())
                .or_default()
                .push(Object { version, body, headers });
            if behaviour == Behaviour::Plain {
                return (200, Vec::new(), Vec::new());
            }
            (200, said, Vec::new())
        }
        "DELETE" => {
            if behaviour == Behaviour::Deletes {
                state.objects.remove(path);
                return (204, Vec::new(), Vec::new());
            }
            refused(403, "AccessDenied")
        }
        "GET" | "HEAD" => {
            let objects = state.objects.get(path).cloned().unwrap_or_default();
            let object = objects
                .into_iter()
                .rev()
                .find(|it| version.is_none_or(|version| version == it.version));
            let Some(object) = object else {
                return refused(404, "NoSuchKey");
            };
            let mut said: Vec<_> = object.headers.into_iter().collect();
            said.push(("x-amz-version-id".to_owned(), object.version));
            (200, said, object.body)
        }
        other => panic!("nobody asks with {other}"),
    }
}

fn home(bucket: &Bucket, more: &str) -> Home {
    let home = Home::new("");
    home.configure(&config(&format!(
        "name = \"locked\"\nkind = \"s3\"\nurl = \"{}\"\nregion = \"eu-central-1\"\nkey_file = \"s3.key\"\n{more}",
        bucket.url
    )));
    let key = home.path("s3.key");
    fs::write(&key, format!("AKID {SECRET}\n")).expect("it is our directory");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
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
    let bucket = Bucket::start(Behaviour::Locks);
    let home = home(&bucket, "legal_hold = true\n");
    let mut ours = log(&home);
    ours.append(&[entry(1)]).expect("room");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("locked: anchored at 1 entries"), "{said}");
    let there = bucket.of(1);
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
    assert_eq!(bucket.of(1).len(), 1);

    // Another history of the same size.
    let name = format!("/bucket/pre/{ORIGIN}/1.checkpoint");
    let old = bucket.of(1)[0].body.clone();
    bucket.state().objects.get_mut(&name).expect("it is there")[0].body = b"another".to_vec();
    fs::remove_file(dir.join("state.json")).expect("it is there");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is there and is another: the log was put back"), "{said}");
    assert_eq!(bucket.of(1).len(), 1);
    bucket.state().objects.get_mut(&name).expect("it is there")[0].body = old;
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn compliance_is_asked_for_in_so_many_words() {
    let bucket = Bucket::start(Behaviour::Locks);
    let home = home(&bucket, "retention = \"compliance\"\nretain = \"1h\"\n");
    log(&home).append(&[entry(1)]).expect("room");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(0), "{said}");
    let there = bucket.of(1);
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
        let bucket = Bucket::start(behaviour);
        let home = home(&bucket, "");
        log(&home).append(&[entry(1)]).expect("room");
        let (code, said) = anchor(&home);
        assert_eq!(code, Some(1), "{behaviour:?}: {said}");
        assert!(said.contains(why), "{behaviour:?}: {said}");
        assert!(bucket.of(1).is_empty(), "{behaviour:?}");
    }
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let bucket = Bucket::start(Behaviour::Locks);
    let home = home(&bucket, "");
    log(&home).append(&[entry(1)]).expect("room");
    fs::set_permissions(home.path("s3.key"), fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (code, said) = anchor(&home);
    assert_eq!(code, Some(1), "{said}");
    assert!(bucket.state().objects.is_empty());
}
