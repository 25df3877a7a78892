//! Checkpoints of a log in a repository of git and with time stamps of a real authority, openssl on this machine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use staunch_model::{FrameChain, LogEntry, Logged};
use staunch_store::{LogKey, TransparencyLog};

use crate::harness::{Home, SMALL, exploit_from, in_namespace, stderr, stdout, wait_until};

pub(crate) const ORIGIN: &str = "web-1/staunch";

/// A configuration with one anchor.
pub(crate) fn config(anchor: &str) -> String {
    format!("{SMALL}[evidence]\nimmutable = false\n[[evidence.anchors]]\n{anchor}")
}

/// The log of a home without a server.
pub(crate) fn log(home: &Home) -> TransparencyLog {
    let folder = home.data().join("evidence");
    fs::create_dir_all(folder.join("vault")).expect("it is our directory");
    let key = LogKey::open(&home.data().join("evidence.key"), ORIGIN).expect("a key");
    fs::write(home.data().join("evidence.pub"), format!("{}\n", key.verifier())).expect("it is our directory");
    TransparencyLog::open(&folder.join("log"), key, None).expect("a log")
}

/// An entry of a log, for a frame of a journal.
pub(crate) fn entry(frame: u64) -> Vec<u8> {
    let chain = FrameChain([0; 16]);
    let (first, last) = (frame, frame);
    LogEntry::new(Logged::Frames { first, last, chain }).to_bytes()
}

fn command(program: &str, dir: &Path, arguments: &[&str]) -> Output {
    let command = Command::new(program).args(arguments).current_dir(dir).output();
    command.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn good(program: &str, dir: &Path, arguments: &[&str]) -> String {
    let output = command(program, dir, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", stderr(&output));
    stdout(&output)
}

fn has(test: &str, program: &str, argument: &str) -> bool {
    let is_there = Command::new(program).arg(argument).output().is_ok();
    if !is_there {
        staunch_testkit::skip(test, &format!("there is no {program}"));
    }
    is_there
}

/// A home that anchors in a repository, and that repository.
fn with_repository(every: &str) -> (Home, PathBuf) {
    let home = Home::new("");
    let repository = home.path("anchors.git");
    let shown = repository.display().to_string();
    good("git", &home.path("."), &["init", "--quiet", "--bare", &shown]);
    home.configure(&config(&format!(
        "name = \"elsewhere\"\nkind = \"git\"\nrepository = \"{shown}\"\nevery = \"{every}\"\n"
    )));
    (home, repository)
}

fn anchored(repository: &Path) -> Option<String> {
    let file = format!("checkpoints:{ORIGIN}/checkpoint");
    let shown = command("git", repository, &["show", &file]);
    shown.status.success().then(|| stdout(&shown))
}

#[test]
fn checkpoints_are_committed_with_their_history_and_what_was_put_back_is_found() {
    if !has("anchors::git", "git", "--version") {
        return;
    }
    let (home, repository) = with_repository("1h");
    let mut log = log(&home);
    log.append(&[entry(1)]).expect("room");
    let said = home.run(&["evidence", "anchor"]);
    assert!(
        stdout(&said).contains("elsewhere: anchored at 1 entries"),
        "{}{}",
        stdout(&said),
        stderr(&said)
    );
    let first = anchored(&repository).expect("it is there");
    assert_eq!(first, log.note());
    let old = home.path("old-log");
    good(
        "cp",
        &home.path("."),
        &["-a", &home.data().join("evidence/log").display().to_string(), "old-log"],
    );

    // Somebody else commits to the same branch.
    let other = Home::new("");
    let theirs = other.path("clone");
    let shown = repository.display().to_string();
    good(
        "git",
        &other.path("."),
        &["clone", "--quiet", "--branch", "checkpoints", &shown, "clone"],
    );
    fs::write(theirs.join("theirs"), "kept").expect("it is our directory");
    let who = [
        "-c",
        "user.name=T",
        "-c",
        "user.email=t@example.org",
        "commit",
        "--quiet",
        "-m",
        "theirs",
    ];
    good("git", &theirs, &["add", "theirs"]);
    good("git", &theirs, &who);
    good("git", &theirs, &["push", "--quiet", "origin", "checkpoints"]);

    log.append(&[entry(2), entry(3)]).expect("room");
    let said: Value = serde_json::from_str(&stdout(&home.run(&["evidence", "anchor", "--json"]))).expect("JSON");
    assert_eq!((&said[0]["size"], &said[0]["new"]), (&3.into(), &true.into()), "{said}");
    let said: Value = serde_json::from_str(&stdout(&home.run(&["evidence", "anchor", "--json"]))).expect("JSON");
    assert_eq!(
        (&said[0]["size"], &said[0]["new"]),
        (&3.into(), &false.into()),
        "{said}"
    );
    let second = anchored(&repository).expect("it is there");
    assert_eq!(second, log.note());
    let history = good("git", &repository, &["log", "--format=%s", "checkpoints"]);
    let commits: Vec<&str> = history.lines().collect();
    assert_eq!(
        commits,
        ["web-1/staunch at 3 entries", "theirs", "web-1/staunch at 1 entries"]
    );
    assert_eq!(good("git", &repository, &["show", "checkpoints:theirs"]), "kept");

    // Either proves that nothing was taken back since.
    for (name, checkpoint) in [("first", &first), ("second", &second)] {
        fs::write(home.path(name), checkpoint).expect("it is our directory");
        let file = home.path(name).display().to_string();
        let verified = home.run(&["evidence", "verify", "--earlier", &file, "--json"]);
        let verified: Value = serde_json::from_str(&stdout(&verified)).expect("JSON");
        assert_eq!(verified["continues_earlier"], true, "{verified}");
    }
    let verified = home.run(&["evidence", "verify", "--anchors"]);
    assert!(
        stdout(&verified).contains("continues 2 anchored checkpoints"),
        "{}",
        stdout(&verified)
    );

    // A log that was put back is told of, and never takes the place of what is there.
    drop(log);
    let ours = home.data().join("evidence/log");
    fs::remove_dir_all(&ours).expect("it is ours");
    good(
        "cp",
        &home.path("."),
        &["-a", &old.display().to_string(), &ours.display().to_string()],
    );
    let put_back = home.run(&["evidence", "anchor"]);
    assert_eq!(put_back.status.code(), Some(1), "{}", stderr(&put_back));
    assert!(
        stdout(&put_back).contains("the log was put back"),
        "{}",
        stdout(&put_back)
    );
    assert_eq!(anchored(&repository).as_deref(), Some(&*second));
    let verified = home.run(&["evidence", "verify", "--anchors"]);
    assert_eq!(verified.status.code(), Some(6), "{}", stdout(&verified));
    assert!(
        stdout(&verified).contains("the log was put back"),
        "{}",
        stdout(&verified)
    );
    let doctor = stdout(&home.run(&["doctor"]));
    assert!(doctor.contains("contradicts the log of evidence here"), "{doctor}");
    assert!(doctor.lines().all(|line| line.chars().count() <= 80), "{doctor}");
}

#[test]
fn a_branch_that_was_rewritten_or_removed_is_told_and_left_alone() {
    if !has("anchors::rewritten", "git", "--version") {
        return;
    }
    let (home, repository) = with_repository("1h");
    let mut log = log(&home);
    for entry in [entry(1), entry(2)] {
        log.append(&[entry]).expect("room");
        assert!(home.run(&["evidence", "anchor"]).status.success());
    }
    let tip = good("git", &repository, &["rev-parse", "checkpoints"]);
    good(
        "git",
        &repository,
        &["update-ref", "refs/heads/checkpoints", "checkpoints~1"],
    );
    log.append(&[entry(3)]).expect("room");
    let told = home.run(&["evidence", "anchor"]);
    assert_eq!(told.status.code(), Some(1), "{}", stdout(&told));
    assert!(stdout(&told).contains("was rewritten"), "{}", stdout(&told));
    good("git", &repository, &["update-ref", "-d", "refs/heads/checkpoints"]);
    let told = home.run(&["evidence", "anchor"]);
    assert!(stdout(&told).contains("was there and is gone"), "{}", stdout(&told));
    good(
        "git",
        &repository,
        &["update-ref", "refs/heads/checkpoints", tip.trim()],
    );
    let told = home.run(&["evidence", "anchor"]);
    assert!(stdout(&told).contains("anchored at 3 entries"), "{}", stdout(&told));
}

#[test]
fn a_running_server_anchors_by_itself_and_an_anchor_that_is_gone_holds_up_nothing() {
    if !has("anchors::server", "git", "--version") {
        return;
    }
    in_namespace("anchors::server", || {
        let (home, repository) = with_repository("1s");
        let text = fs::read_to_string(home.config()).expect("it is there");
        let gone = format!(
            "[[evidence.anchors]]\nname = \"gone\"\nkind = \"git\"\nrepository = \"{}\"\nevery = \"1s\"\n",
            home.path("nowhere.git").display()
        );
        let text = text.replacen("[playbooks]", &format!("{gone}[playbooks]"), 1);
        let text = format!("{text}[http]\nlisten = \"127.0.0.1:7450\"\n");
        fs::write(home.config(), text).expect("it is our directory");
        home.playbook(
            "keep-first.yaml",
            "playbook: keep-first\nsummary: Keep what a block destroys, then block.\ntrigger:\n  sources: [suricata]\n  \
             when: event.severity >= high\n  incident: event.source.ip\n  deduplicate: 1m\npreserve:\n  - network\n\
             contain:\n  - block-ip: { target: event.source.ip, lease: 10m }\n\
             mode: { low: enforce, medium: approve, high: observe }\n",
        );
        let server = home.serve();
        server.take(&exploit_from("203.0.113.9"));
        wait_until("something is anchored", || {
            let files = command("git", &repository, &["ls-tree", "-r", "--name-only", "checkpoints"]);
            stdout(&files).contains("/staunch/checkpoint")
        });
        wait_until("what is not anchored is told", || {
            let state = fs::read_to_string(home.data().join("evidence/anchors/gone/state.json"));
            state.is_ok_and(|it| it.contains("git has failed"))
        });
        wait_until("evidence is sealed all the same", || {
            let evidence: Value = server.json(&["evidence", "list"]);
            evidence["evidence"].as_array().is_some_and(|it| it.len() == 1)
        });
    });
}

/// An authority for time stamps, which is `openssl ts` behind a server on this host.
struct Authority {
    dir: PathBuf,
    url: String,
    /// What it answers instead.
    instead: Arc<Mutex<Option<Vec<u8>>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Authority {
    fn start(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).expect("it is our directory");
        let openssl = |arguments: &str| {
            let arguments: Vec<&str> = arguments.split_whitespace().collect();
            good("openssl", &dir, &arguments);
        };
        fs::write(dir.join("ext"), "extendedKeyUsage=critical,timeStamping\n").expect("it is ours");
        let config = "[tsa]\ndefault_tsa=one\n[one]\nserial=serial\nsigner_cert=tsa.pem\ncerts=ca.pem\nsigner_key=tsa.key\n\
                      signer_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256\naccuracy=secs:1\nordering=yes\n";
        fs::write(dir.join("ts.cnf"), config).expect("it is ours");
        fs::write(dir.join("serial"), "01\n").expect("it is ours");
        let key = "-newkey rsa:2048 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=TestCA"
        ));
        openssl(&format!("req {key} -keyout tsa.key -out tsa.csr -subj /CN=TestTSA"));
        openssl("x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out tsa.pem");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/tsa", listener.local_addr().expect("it has one"));
        let instead = Arc::<Mutex<Option<Vec<u8>>>>::default();
        let ends = Arc::new(AtomicBool::new(false));
        let (at, answer, stop) = (dir.clone(), instead.clone(), ends.clone());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                serve(
                    stream.expect("somebody asks"),
                    &at,
                    answer.lock().expect("nobody panics").clone(),
                );
            }
        });
        Self {
            dir,
            url,
            instead,
            ends,
            thread: Some(thread),
        }
    }

    /// What `openssl ts -verify` says of an answer.
    fn verifies(&self, stamp: &Path, data: &Path) -> bool {
        let (stamp, data) = (stamp.display().to_string(), data.display().to_string());
        let arguments = [
            "ts",
            "-verify",
            "-in",
            &stamp,
            "-data",
            &data,
            "-CAfile",
            "ca.pem",
            "-untrusted",
            "tsa.pem",
        ];
        command("openssl", &self.dir, &arguments).status.success()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let host = self
            .url
            .trim_start_matches("http://")
            .trim_end_matches("/tsa")
            .to_owned();
        drop(TcpStream::connect(host));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

fn serve(mut stream: TcpStream, dir: &Path, instead: Option<Vec<u8>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).expect("it sends") == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("a head is text").to_lowercase();
    assert!(head.contains("content-type: application/timestamp-query"), "{head}");
    let length = head
        .lines()
        .find_map(|it| it.strip_prefix("content-length: "))
        .expect("it has a length");
    let mut query = vec![0; length.parse().expect("a number")];
    stream.read_exact(&mut query).expect("it sends all");
    fs::write(dir.join("query"), query).expect("it is ours");
    let answer = instead.unwrap_or_else(|| {
        let reply = [
            "ts",
            "-reply",
            "-config",
            "ts.cnf",
            "-section",
            "one",
            "-queryfile",
            "query",
            "-out",
            "answer",
        ];
        good("openssl", dir, &reply);
        fs::read(dir.join("answer")).expect("it is written")
    });
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/timestamp-reply\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(head.as_bytes()).expect("it listens");
    stream.write_all(&answer).expect("it listens");
}

#[test]
fn checkpoints_are_stamped_by_an_authority_and_openssl_verifies_who_has_signed() {
    if !has("anchors::rfc3161", "openssl", "version") {
        return;
    }
    let home = Home::new("");
    let authority = Authority::start(home.path("tsa"));
    home.configure(&config(&format!(
        "name = \"tsa\"\nkind = \"rfc3161\"\nurl = \"{}\"\n",
        authority.url
    )));
    let mut log = log(&home);
    log.append(&[entry(1)]).expect("room");
    let said = home.run(&["evidence", "anchor", "tsa"]);
    assert!(
        stdout(&said).contains("anchored at 1 entries"),
        "{}{}",
        stdout(&said),
        stderr(&said)
    );
    let dir = home.data().join("evidence/anchors/tsa");
    let (stamp, note) = (dir.join("1.tsr"), dir.join("1.checkpoint"));
    assert_eq!(fs::read_to_string(&note).expect("it is kept"), log.note());
    assert!(authority.verifies(&stamp, &note), "openssl verifies it");
    assert!(!authority.verifies(&stamp, &dir.join("1.tsq")), "and nothing else");
    let verified = home.run(&["evidence", "verify", "--anchors"]);
    let text = stdout(&verified);
    assert!(
        text.contains("1 anchored checkpoints") && text.contains("of which 1 have"),
        "{text}"
    );
    assert!(text.contains("openssl ts -verify"), "{text}");
    assert!(verified.status.success() && text.contains("PROVED"), "{text}");
    // The root is one word.
    let mut lines = text.lines().filter(|line| !line.contains("root"));
    assert!(lines.all(|line| line.chars().count() <= 80), "{text}");

    // An answer to another request, a refusal, and no answer.
    let old = fs::read(&stamp).expect("it is kept");
    log.append(&[entry(2)]).expect("room");
    let refusal = vec![0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02];
    for (answer, why) in [
        (old.clone(), "it is of other bytes"),
        (refusal, "the authority has not granted it: status 2"),
        (b"<html>".to_vec(), "it is no time stamp"),
    ] {
        *authority.instead.lock().expect("nobody panics") = Some(answer);
        let said = home.run(&["evidence", "anchor"]);
        assert_eq!(said.status.code(), Some(1), "{}", stdout(&said));
        let told = stdout(&said).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains(why), "{told}");
        assert!(!dir.join("2.tsr").exists(), "what is not proved is not kept");
    }
    *authority.instead.lock().expect("nobody panics") = None;
    let said = home.run(&["evidence", "anchor"]);
    assert!(stdout(&said).contains("anchored at 2 entries"), "{}", stdout(&said));

    // A time stamp that was exchanged is found.
    fs::write(dir.join("2.tsr"), old).expect("it is ours");
    let verified = home.run(&["evidence", "verify", "--anchors"]);
    assert_eq!(verified.status.code(), Some(6), "{}", stdout(&verified));
    assert!(
        stdout(&verified)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains("time stamp of something else"),
        "{}",
        stdout(&verified)
    );
}
