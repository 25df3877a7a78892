//! Evidence in a bucket with Object Lock, on a server of this test.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;

use serde_json::Value;
use staunch_testkit::contract::vault::noise;
use staunch_testkit::s3::{Behaviour, FakeBucket};

use crate::custody::copied;
use crate::evidence::{ATTACKER, HTTP, evidence, playbook};
use crate::harness::{Home, SMALL, Server, element, exploit_from, in_namespace, stderr, stdout, wait_until};
use crate::metrics::{scrape, value};
use crate::s3_server::{S3Server, key};

fn home(address: &str, more: &str) -> Home {
    let home = Home::new(&format!(
        "{SMALL}{HTTP}[evidence.s3]\nendpoint = \"http://{address}\"\nregion = \"eu-central-1\"\n\
         bucket = \"evidence\"\nprefix = \"web-1\"\nkey_file = \"s3.key\"\nwait = \"5s\"\n{more}"
    ));
    home.playbook(
        "keep-first.yaml",
        &playbook("  - flows: { target: event.source.ip }\n  - network\n"),
    );
    key(&home);
    home
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn take(server: &Server) {
    server.take(&exploit_from(ATTACKER));
    wait_until("the attacker is blocked", || element(ATTACKER).is_some());
    wait_until("all of it is sealed", || evidence(server).len() == 2);
}

fn doctor(home: &Home) -> String {
    in_one_line(&stdout(&home.run(&["doctor"])))
}

#[test]
fn evidence_is_locked_in_the_bucket_and_read_from_there() {
    in_namespace("evidence_s3::locked", || {
        let s3 = S3Server::start(Behaviour::Locks);
        let anchor = format!(
            "legal_hold = true\n[[evidence.anchors]]\nname = \"locked\"\nkind = \"s3\"\nregion = \"eu-central-1\"\n\
             url = \"http://{}/anchors\"\nkey_file = \"s3.key\"\nevery = \"1s\"\n",
            s3.address
        );
        let home = home(&s3.address.to_string(), &anchor);
        let server = home.serve();
        take(&server);
        let rows = evidence(&server);
        assert!(rows.iter().all(|it| it["failure"] == Value::Null), "{rows:?}");
        let row = rows.iter().find(|it| it["kind"] == "flows").expect("flows");
        let id = row["evidence"].as_str().expect("an id");
        let shown: Value = server.json(&["evidence", "show", id]);
        let storage = &shown["manifests"][0]["taken"]["stored"]["storage"];
        assert_eq!(storage["write_once"], "lock-governance", "{storage}");
        assert_eq!(storage["legal_hold"], true, "{storage}");
        let place = storage["path"].as_str().expect("a path");
        assert!(place.starts_with("s3://evidence/web-1/objects/"), "{place}");
        let path = place.replace("s3:/", "");
        let there = s3.bucket.of(&path);
        assert_eq!(storage["version"], there[0].version.as_str());
        assert_eq!(there[0].headers["x-amz-object-lock-mode"], "GOVERNANCE");
        assert_eq!(there[0].headers["x-amz-object-lock-legal-hold"], "ON");
        let text = server.ok(&["evidence", "show", id]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let text = in_one_line(&text);
        assert!(
            text.contains("object lock in governance mode until") && text.contains("with a legal hold"),
            "{text}"
        );
        let here = home.data().join("evidence/vault/objects");
        let walked = walk(&here);
        assert!(walked.iter().all(|it| it.ends_with(".receipt.json")), "{walked:?}");

        wait_until("it is logged", || {
            evidence(&server).iter().all(|it| it["in_log"] == true)
        });
        let got = server.run(&[
            "evidence",
            "get",
            id,
            "--output",
            "-",
            "--reason",
            "triage \u{7} of INC-1",
        ]);
        serde_json::from_slice::<Value>(&got.stdout).expect("it is JSON");
        assert!(stderr(&got).trim_end().ends_with("proved"), "{}", stderr(&got));
        assert!(!stderr(&got).contains("nothing"), "{}", stderr(&got));
        let documents = || {
            let paths = s3.bucket.paths();
            paths
                .iter()
                .filter(|it| it.contains("/manifests/") || it.contains("/records/"))
                .count()
        };
        wait_until("manifests and records follow", || documents() == 4);
        let logged = || {
            let ran = server.run(&["evidence", "verify", "--json"]);
            let verified: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            verified["entries"].as_u64() >= Some(5) && verified["proved"] == true && verified["in_bucket"] == 2
        };
        wait_until("it is logged and proved", logged);
        let text = in_one_line(&server.ok(&["evidence", "verify"]));
        assert!(text.contains("2 of the artefacts are in the bucket"), "{text}");

        let has_age = || value(&scrape(&server), "staunch_anchor_age_seconds{anchor=\"locked\"}").is_some();
        wait_until("a checkpoint is anchored", has_age);
        let now = scrape(&server);
        let anchor = |what: &str| value(&now, &format!("staunch_anchor_{what}{{anchor=\"locked\"}}"));
        assert_eq!(anchor("failed"), Some(0.0), "{now}");
        assert_eq!(anchor("failures_total"), Some(0.0), "{now}");
        assert!(anchor("age_seconds").is_some_and(|age| age < 60.0), "{now}");
        assert_eq!(value(&now, "staunch_bucket_waiting"), Some(0.0), "{now}");
        assert_eq!(value(&now, "staunch_bucket_failed"), Some(0.0), "{now}");

        // Who has had it in hand is on record.
        let shown: Value = server.json(&["evidence", "show", id]);
        let first = &shown["handled"][0];
        assert_eq!(first["handling"]["action"], "open", "{shown}");
        assert_eq!(first["handling"]["reason"], "triage \u{7} of INC-1", "{shown}");
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::current())
            .expect("users")
            .expect("a user");
        let actor = first["handling"]["actor"].as_str().expect("a name");
        assert!(actor.starts_with(&user.name), "{actor}");
        assert_eq!(first["artefact"], shown["manifests"][0]["taken"]["stored"]["sha256"]);
        let custody = &shown["manifests"][0]["custody"]["collector"];
        assert!(
            custody["tools"][0].as_str().is_some_and(|it| it.starts_with("Linux ")),
            "{custody}"
        );
        let text = server.ok(&["evidence", "show", id]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let text = in_one_line(&text);
        assert!(
            text.contains(" opened ") && text.contains("because: triage ") && text.contains("of INC-1"),
            "{text}"
        );
        assert!(text.contains("verified all evidence: proved"), "{text}");

        // A copy elsewhere, where nobody knows of the bucket.
        let config = home.path("none.toml");
        fs::write(&config, "").expect("it is our directory");
        let key = server.ok(&["evidence", "key"]);
        let folder = home.data().join("evidence");
        let folder = folder.to_str().expect("a path");
        let config = config.to_str().expect("a path");
        let copy = ["evidence", "verify", folder, "--key", key.trim(), "--config", config];
        let ran = home.run(&copy);
        assert_eq!(ran.status.code(), Some(1), "{}", stderr(&ran));
        let text = in_one_line(&stdout(&ran));
        assert!(text.contains("PROVED IN PART"), "{text}");
        let told: Value = serde_json::from_slice(&home.run(&[&copy[..], &["--json"]].concat()).stdout).expect("JSON");
        assert_eq!(
            (&told["verdict"], &told["proved"]),
            (&"in-part".into(), &false.into()),
            "{told}"
        );
        assert!(text.contains("2 artefacts were not read"), "{text}");

        // One archive has all of it.
        let archive = home.path("INC-1.evidence.tar.zst");
        let archive = archive.to_str().expect("a path");
        let export = [
            "evidence",
            "export",
            "INC-1",
            "--output",
            archive,
            "--reason",
            "for the insurer",
        ];
        let exported: Value = server.json(&export);
        assert_eq!(exported["artefacts"], 2, "{exported}");
        let proved = server.ok(&["evidence", "verify", archive, "--key", key.trim()]);
        assert!(proved.contains("PROVED"), "{proved}");
        let plain = zstd::decode_all(&*fs::read(archive).expect("it is written")).expect("it is packed");
        let has = |text: &str| plain.windows(text.len()).any(|it| it == text.as_bytes());
        assert!(has("INC-1/handling") && has("for the insurer") && has("INC-1/receipts"));
        handling_is_kept(&home, &server, id);
        assert!(doctor(&home).contains("s3://evidence/web-1/ locks evidence: object lock in governance mode"));

        // Nothing was changed while nobody answers.
        let (kept, listen) = (Arc::clone(&s3.bucket), s3.address.to_string());
        drop(s3);
        let ran = server.run(&["evidence", "verify"]);
        assert_eq!(ran.status.code(), Some(1), "{}", stdout(&ran));
        let text = in_one_line(&stdout(&ran));
        assert!(
            text.contains("PROVED IN PART") && text.contains("its bucket did not answer"),
            "{text}"
        );
        assert!(
            text.contains("2 artefacts were not read") && text.contains("verify again"),
            "{text}"
        );
        let told: Value =
            serde_json::from_slice(&server.run(&["evidence", "verify", "--json"]).stdout).expect("it is JSON");
        assert_eq!(told["verdict"], "in-part", "{told}");
        assert_eq!((&told["not_read"], &told["away"]), (&2.into(), &2.into()), "{told}");
        let s3 = S3Server::with(kept, &listen);

        // Somebody takes the hold away, and changes what is there.
        s3.bucket.change(&path, |versions| {
            versions[0].headers.remove("x-amz-object-lock-legal-hold");
        });
        let ran = server.run(&["evidence", "verify"]);
        assert_eq!(ran.status.code(), Some(6), "{}", stdout(&ran));
        let text = in_one_line(&stdout(&ran));
        assert!(
            text.contains("is not kept as its receipt says: the bucket has no legal hold on it"),
            "{text}"
        );
        s3.bucket.change(&path, |versions| {
            let on = ("x-amz-object-lock-legal-hold".to_owned(), "ON".to_owned());
            versions[0].headers.extend([on]);
            let last = versions[0].body.len() - 5;
            versions[0].body[last] ^= 1;
        });
        let ran = server.run(&["evidence", "verify"]);
        assert_eq!(ran.status.code(), Some(6), "{}", stdout(&ran));
        let got = server.run(&["evidence", "get", id, "--output", "-"]);
        assert_eq!(got.status.code(), Some(6), "{}", stderr(&got));
        let archive = home.path("again.tar.zst");
        let archive = archive.to_str().expect("a path");
        let ran = server.run(&["evidence", "export", "INC-1", "--output", archive]);
        assert_eq!(ran.status.code(), Some(6), "{}", stderr(&ran));
        s3.bucket.change(&path, Vec::clear);
        let ran = server.run(&["evidence", "verify"]);
        assert_eq!(ran.status.code(), Some(6), "{}", stdout(&ran));
        assert!(
            in_one_line(&stdout(&ran)).contains("not in the bucket"),
            "{}",
            stdout(&ran)
        );
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn a_large_artefact_goes_to_the_bucket_in_parts() {
    in_namespace("evidence_s3::parts", || {
        let s3 = S3Server::start(Behaviour::Locks);
        let home = home(&s3.address.to_string(), "retention = \"compliance\"\n");
        let large = home.path("large.log");
        // Noise cannot be packed: four parts of 16 MiB, and what is left.
        fs::write(&large, noise(1, 66 << 20)).expect("it is our directory");
        let asked = format!("  - files: {{ paths: [\"{}\"] }}\n", large.display());
        home.playbook("keep-first.yaml", &playbook(&asked));
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("it is sealed", || evidence(&server).len() == 1);
        let rows = evidence(&server);
        assert_eq!(rows[0]["failure"], Value::Null, "{rows:?}");
        let id = rows[0]["evidence"].as_str().expect("an id").to_owned();
        let storage = || {
            let shown: Value = server.json(&["evidence", "show", &id]);
            let receipts = shown["receipts"].as_array().cloned().unwrap_or_default();
            let is_large = |it: &Value| it["storage"]["size"].as_u64() > Some(64 << 20);
            receipts.into_iter().find(is_large).map(|it| it["storage"].clone())
        };
        let objects = || s3.bucket.paths().iter().filter(|it| it.contains("/objects/")).count();
        wait_until("it is complete", || objects() == 2);
        wait_until("it is sent", || storage().is_some());
        let storage = storage().expect("it is sent");
        assert_eq!(storage["write_once"], "lock-compliance", "{storage}");
        let path = storage["path"].as_str().expect("a path").replace("s3:/", "");
        let there = s3.bucket.of(&path);
        assert_eq!(there.len(), 1);
        assert_eq!(there[0].headers["x-amz-object-lock-mode"], "COMPLIANCE");
        let sum = &there[0].headers["x-amz-checksum-sha256"];
        assert!(sum.ends_with("-5"), "{sum}");
        assert_eq!(s3.bucket.unfinished(), 0);
        wait_until("it is logged and proved", || {
            let ran = server.run(&["evidence", "verify", "--json"]);
            let told: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
            // The other one says what the file was.
            told["proved"] == true && told["in_bucket"] == 2
        });
        let archive = home.path("INC-1.evidence.tar.zst");
        let archive = archive.to_str().expect("a path");
        server.ok(&["evidence", "export", "INC-1", "--output", archive]);
        let public = server.ok(&["evidence", "key"]);
        let proved = server.ok(&["evidence", "verify", archive, "--key", public.trim()]);
        assert!(proved.contains("PROVED"), "{proved}");
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
        drop(server);

        // What a crash leaves is named, and the next start aborts it.
        s3.bucket.leave_upload(&path);
        let text = doctor(&home);
        assert!(text.contains("uploads in parts that did not end: 1"), "{text}");
        let server = home.serve();
        wait_until("it is aborted", || s3.bucket.unfinished() == 0);
        let text = doctor(&home);
        assert!(!text.contains("did not end"), "{text}");
        drop(server);
    });
}

#[test]
fn evidence_waits_for_a_bucket_that_is_away() {
    in_namespace("evidence_s3::away", || {
        // A port that nobody has, until the bucket does.
        let address = TcpListener::bind("127.0.0.1:0")
            .and_then(|it| it.local_addr())
            .expect("a port");
        let home = home(&address.to_string(), "");
        let server = home.serve();
        take(&server);
        let rows = evidence(&server);
        assert!(rows.iter().all(|it| it["failure"] == Value::Null), "{rows:?}");
        let id = rows[0]["evidence"].as_str().expect("an id").to_owned();
        let text = in_one_line(&server.ok(&["evidence", "show", &id]));
        assert!(text.contains("waits it is not in the bucket"), "{text}");
        let text = doctor(&home);
        assert!(
            text.contains("s3://evidence/web-1/ is away") && text.contains("files wait to be sent"),
            "{text}"
        );
        wait_until("it is told that it waits", || {
            value(&scrape(&server), "staunch_bucket_failures_total").is_some_and(|it| it > 0.0)
        });
        let now = scrape(&server);
        assert_eq!(value(&now, "staunch_bucket_failed"), Some(1.0), "{now}");
        assert!(
            value(&now, "staunch_bucket_waiting").is_some_and(|it| it >= 4.0),
            "{now}"
        );
        let bucket = Arc::new(FakeBucket::new(Behaviour::Locks));
        let s3 = S3Server::with(bucket, &address.to_string());
        wait_until("it is sent", || {
            let shown: Value = server.json(&["evidence", "show", &id]);
            shown["receipts"][0]["storage"]["version"].is_string()
        });
        let text = in_one_line(&server.ok(&["evidence", "show", &id]));
        assert!(
            text.contains("sent") && text.contains("as s3://evidence/web-1/objects/"),
            "{text}"
        );
        wait_until("that it was moved is on record", || {
            in_one_line(&server.ok(&["evidence", "show", &id])).contains(" moved ")
        });
        let outbox = home.data().join("evidence/vault/outbox");
        wait_until("nothing waits", || walk(&outbox).is_empty());
        let here = walk(&home.data().join("evidence/vault/objects"));
        assert!(here.iter().all(|it| it.ends_with(".receipt.json")), "{here:?}");
        assert!(doctor(&home).contains("locks evidence"));
        wait_until("that is told", || {
            let now = scrape(&server);
            let of = |what: &str| value(&now, &format!("staunch_bucket_{what}"));
            (of("waiting"), of("failed")) == (Some(0.0), Some(0.0))
        });
        drop(s3);
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

#[test]
fn a_bucket_that_does_not_lock_is_no_vault() {
    in_namespace("evidence_s3::unlocked", || {
        let s3 = S3Server::start(Behaviour::Deletes);
        let home = home(&s3.address.to_string(), "");
        let server = home.serve();
        server.take(&exploit_from(ATTACKER));
        wait_until("the attacker is blocked", || element(ATTACKER).is_some());
        let incident: Value = server.json(&["incident", "show", "INC-1"]);
        let rows = incident["evidence"].as_array().expect("evidence");
        assert!(rows.iter().all(|it| it["sealed_at"] == Value::Null), "{incident}");
        let paths = s3.bucket.paths();
        assert!(paths.iter().all(|it| it.contains("proof-of-lock")), "{paths:?}");
        let ran = home.run(&["doctor"]);
        let text = in_one_line(&stdout(&ran));
        assert!(
            text.contains("is no place for evidence, which is missed: the bucket does not lock"),
            "{text}"
        );
        assert_ne!(ran.status.code(), Some(0), "{text}");
        server.ok(&["release", "--all", "--reason", "ours", "--yes"]);
    });
}

/// A line that was changed shows, and nothing is given away that cannot be written down.
fn handling_is_kept(home: &Home, server: &Server, id: &str) {
    let log = home.data().join("evidence/handling/INC-1.jsonl");
    let sound = fs::read_to_string(&log).expect("it is there");
    let copy = home.path("handled");
    copied(&home.data().join("evidence"), &copy);
    fs::write(
        copy.join("handling/INC-1.jsonl"),
        sound.replacen("triage", "nothing", 1),
    )
    .expect("it is our copy");
    let ran = server.run(&["evidence", "verify", copy.to_str().expect("a path")]);
    assert_eq!(ran.status.code(), Some(6), "{}", stdout(&ran));
    let text = in_one_line(&stdout(&ran));
    assert!(text.contains("handling/INC-1.jsonl: line 2 does not follow"), "{text}");
    fs::remove_file(&log).expect("it is ours");
    std::os::unix::fs::symlink("/dev/null", &log).expect("it is ours");
    let got = server.run(&["evidence", "get", id, "--output", "-"]);
    assert_eq!((got.status.code(), got.stdout.len()), (Some(8), 0), "{}", stderr(&got));
    assert!(
        stderr(&got).contains("who handles evidence is on record"),
        "{}",
        stderr(&got)
    );
    fs::remove_file(&log).expect("it is ours");
    fs::write(&log, sound).expect("it is ours");
    server.ok(&["evidence", "verify"]);
}

/// The names of all files below a directory.
fn walk(dir: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}
