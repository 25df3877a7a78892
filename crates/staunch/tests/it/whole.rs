//! A whole incident by the real binary: a process that calls an attacker, from the alert through sealed evidence,
//! containment and timeline to getting back to normal, and the archive that a third party proves with a key and nothing
//! else.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use staunch_model::{IncidentId, Sha256Hash};
use staunch_netlink::link::Links;
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_store::export::{INVENTORY, Inventory, SUMS};
use staunch_store::{LogKey, LogProof};

use crate::harness::{Ended, Home, SMALL, Server, element, stderr, stdout, wait_until};
use crate::processes::{hostname, where_processes_freeze};
use crate::recover::Business;

/// Where the process calls. The namespace has the network to itself.
const ATTACKER: &str = "203.0.113.99";

const PLAYBOOK: &str = "playbook: beacon\nsummary: Stop what calls an attacker.\nattack: [T1071]\ntrigger:\n  sources: [falco]\n  \
     when: event.severity >= high\n  incident: 'event.raw.output_fields[\"proc.pid\"]'\n  deduplicate: 1m\n\
     preserve:\n  - process: { target: 'event.raw.output_fields[\"proc.pid\"]' }\n  - processes\n  - sockets\n  \
     - flows: { target: 'event.raw.output_fields[\"fd.sip\"]' }\n\
     contain:\n  - block-ip: { target: 'event.raw.output_fields[\"fd.sip\"]', lease: 10m, watch: { health: shop, for: 5s, every: 1s } }\n  \
     - freeze-process: { target: 'event.raw.output_fields[\"proc.pid\"]', lease: 10m }\n\
     recover:\n  - exec-job: { job: rebuild, target: event.host, lease: 10m }\n  - release: { actions: [block-ip, freeze-process] }\n  \
     - soak: { health: shop, for: 5s, every: 1s }\n\
     mode: { low: enforce, medium: enforce, high: enforce }\n";

const JOB: &str = include_str!("../../../connectors/tests/jobs/keep.sh");

/// The files of an archive, by their names.
type Files = BTreeMap<String, Vec<u8>>;

/// A home that can do all of it, with a shop that says how it is.
fn home(business: &Business) -> Home {
    let home = Home::new("");
    let (program, state) = (home.path("keep.sh"), home.path("state"));
    fs::write(&program, JOB).expect("it is our directory");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is our file");
    fs::create_dir(&state).expect("it is our directory");
    let (program, state) = (program.display(), state.display());
    let pinned = Sha256Hash::of(JOB.as_bytes());
    home.configure(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[processes]\nenabled = true\n\
         [evidence]\nimmutable = false\n[health.shop]\nurl = \"http://127.0.0.1:{}/healthz\"\n\
         [jobs.rebuild]\nprogram = \"{program}\"\nsha256 = \"{pinned}\"\nobserve = [\"observe\", \"{{subject}}\"]\n\
         execute = [\"execute\", \"{{subject}}\", \"{{label}}\"]\nundo = [\"undo\", \"{{subject}}\"]\n\
         write = [\"{state}\"]\nenvironment = {{ STATE = \"{state}\" }}\ntimeout = \"1s\"\n",
        business.port
    ));
    home.playbook("beacon.yaml", PLAYBOOK);
    home
}

fn alert(pid: u32) -> String {
    json!({
        "hostname": hostname(),
        "priority": "Critical",
        "rule": "Outbound connection to a server of attackers",
        "source": "syscall",
        "time": SystemClock.now().to_string(),
        "output": "something calls home",
        "output_fields": { "proc.pid": pid, "proc.name": "sh", "fd.sip": ATTACKER }
    })
    .to_string()
}

fn is_frozen(pid: u32) -> bool {
    let mount =
        staunch_connectors::actions::freeze_process::cgroup2_mount(Path::new("/proc")).expect("there is a tree");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let events = own.and_then(|own| fs::read_to_string(mount.join(own).join("cgroup.events")).ok());
    events.is_some_and(|it| it.lines().any(|line| line == "frozen 1"))
}

#[test]
fn a_process_that_calls_an_attacker_is_kept_stopped_explained_and_recovered_from() {
    where_processes_freeze("whole::an_incident", || {
        let mut links = Links::open(Duration::from_secs(2)).expect("a namespace has links");
        let ours: IpAddr = "203.0.113.1".parse().expect("an address");
        links.add_address("lo", ours, 24).expect("it is ours");
        let business = Business::start();
        let home = home(&business);
        let checked = home.run(&["check"]);
        assert!(checked.status.success(), "{}{}", stdout(&checked), stderr(&checked));
        let server = home.serve();

        // A process that calls out, over and over.
        let called = TcpListener::bind((ATTACKER, 0)).expect("the whole network is here");
        let beacon = TcpStream::connect(called.local_addr().expect("it is bound")).expect("it listens");
        let (heard, _) = called.accept().expect("it is called");
        let shell = Command::new("sh")
            .args(["-c", "while echo beacon; do sleep 0.05; done"])
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(beacon)))
            .stderr(Stdio::null())
            .spawn();
        let shell = Ended(shell.expect("there is a shell"));
        let mut heard = BufReader::new(heard);
        let mut line = String::new();
        heard.read_line(&mut line).expect("it calls");
        assert_eq!(line, "beacon\n");
        let pid = shell.0.id();

        // From the alert to containment, evidence first.
        let file = home.path("event.json");
        fs::write(&file, alert(pid)).expect("it is our directory");
        let plan = server.ok(&["plan", &file.display().to_string(), "--source", "falco"]);
        for part in [
            "preserves process",
            "shop is read before",
            "recovery, when a person starts it",
            "exec-job on job:rebuild:",
        ] {
            assert!(plan.contains(part), "{part}: {plan}");
        }
        server.take_from("falco", &alert(pid));
        wait_until("the block", || element(ATTACKER).is_some());
        wait_until("the stop", || is_frozen(pid));
        let incident = || -> Value { server.json(&["incident", "show", "INC-1"]) };
        wait_until("an outcome", || incident()["incident"]["outcome"] == "contained");
        let shown = incident();
        let evidence = shown["evidence"].as_array().expect("evidence");
        assert_eq!(evidence.len(), 4, "{shown:#}");
        let acts = shown["transactions"].as_array().expect("acts");
        for kind in ["sockets", "flows"] {
            let sealed = evidence.iter().find(|it| it["kind"] == kind).expect(kind)["sealed_at"].clone();
            for act in acts {
                assert!(
                    sealed.as_str().expect("it is sealed") < act["in_force_at"].as_str().expect("in force"),
                    "{kind} before the acts that could destroy it: {shown:#}"
                );
            }
        }

        // What happened, and why.
        let vault = home.data().join("evidence").display().to_string();
        let graph: Value = server.json(&["incident", "graph", "INC-1", "--vault", &vault]);
        let text = graph.to_string();
        for part in [&format!("{pid} "), ATTACKER, "freeze-process", "block-ip"] {
            assert!(text.contains(part), "{part}: {graph:#}");
        }
        let page = server.ok(&["incident", "timeline", "INC-1", "--format", "html", "--vault", &vault]);
        assert!(page.contains("<h2>The causes</h2>") && page.contains(ATTACKER));
        let told: Value = server.json(&["incident", "timeline", "INC-1", "--evidence", "--vault", &vault]);
        let found = |kind: &str, part: &str| {
            let entries = told["entries"].as_array().expect("a list").iter();
            let mut found = entries.filter(|it| it["lane"] == "found" && it["kind"] == kind);
            let found = found.find(|it| it["what"].as_str().is_some_and(|it| it.contains(part)));
            found
                .unwrap_or_else(|| panic!("no {kind} with {part}: {told:#}"))
                .clone()
        };
        let began = found("process", &format!("process {pid} ("));
        assert_eq!(began["basis"], "observed", "{began}");
        assert!(
            began["elapsed_us"].as_i64() < Some(0),
            "it began before the alert: {began}"
        );
        let open = found("connection", ATTACKER);
        assert!(open["what"].as_str().is_some_and(|it| it.contains("held by")), "{open}");

        // Back to normal, by steps.
        wait_until("the end of the watch", || {
            let timeline = server.ok(&["incident", "timeline", "INC-1", "--format", "csv"]);
            timeline.contains("healthy to the end")
        });
        let recovered = server.ok(&["recover", "INC-1", "--yes", "--wait", "--reason", "the host is rebuilt"]);
        assert!(recovered.contains("recovered"), "{recovered}");
        assert!(element(ATTACKER).is_none() && !is_frozen(pid), "it is lifted");
        assert!(home.path("state").join(hostname()).exists(), "the job has run");
        line.clear();
        heard.read_line(&mut line).expect("it goes on");
        assert_eq!(line, "beacon\n");
        assert_eq!(business.shop.load(Ordering::SeqCst), 200);

        // What was learnt, as a folder that runs.
        let folder = home.path("review");
        let reviewed = home.run(&["review", "INC-1", "--output", &folder.display().to_string()]);
        assert!(reviewed.status.success(), "{}", stderr(&reviewed));
        let report = fs::read_to_string(folder.join("report.md")).expect("it is written");
        for part in [ATTACKER, "freeze-process", "recovery started by"] {
            assert!(report.contains(part), "{part}: {report}");
        }
        let checks = home.run(&["review", "check", &folder.display().to_string()]);
        assert!(checks.status.success(), "{}{}", stdout(&checks), stderr(&checks));

        let archive = exported(&home, &server);
        drop(shell);
        server.ok(&["release", "--all", "--reason", "ours", "--yes", "--wait"]);
        // A later checkpoint of the same log, and the key, are kept elsewhere.
        let other = Command::new("sleep")
            .arg("60")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let other = Ended(other.expect("there is sleep"));
        server.take_from("falco", &alert(other.0.id()));
        let (key, later) = (server.ok(&["evidence", "key"]), home.path("later"));
        let size = |text: &str| {
            text.lines()
                .nth(1)
                .and_then(|it| it.parse::<u64>().ok())
                .unwrap_or_default()
        };
        let before = size(&String::from_utf8_lossy(&archive["log/checkpoint"]));
        wait_until("a later checkpoint", || {
            let text = server.ok(&["evidence", "checkpoint"]);
            fs::write(&later, &text).is_ok() && size(&text) > before
        });
        server.ok(&["release", "--all", "--reason", "ours", "--yes", "--wait"]);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0), "{}", home.log());
        let replayed = home.run(&["replay", "--verify"]);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
        every_tampering_is_found(&archive, key.trim(), &later);
    });
}

/// The files of the archive of the incident, by their names.
fn exported(home: &Home, server: &Server) -> Files {
    let file = home.path("INC-1.tar.zst");
    let name = file.display().to_string();
    wait_until("all of it is logged", || {
        // Until then, an export says that it would leave something out.
        drop(fs::remove_file(&file));
        server
            .run(&["evidence", "export", "INC-1", "--output", &name])
            .status
            .success()
    });
    let mut tar = zstd::stream::read::Decoder::new(fs::File::open(&file).expect("it is written")).expect("it is zstd");
    let mut bytes = Vec::new();
    tar.read_to_end(&mut bytes).expect("it is whole");
    let mut files = BTreeMap::new();
    let mut rest = bytes.as_slice();
    while let Some((header, after)) = rest.split_first_chunk::<512>().filter(|(header, _)| header[0] != 0) {
        let text = |from: usize, to: usize| {
            let field = &header[from..to];
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            String::from_utf8(field[..end].to_vec()).expect("it is text")
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8).expect("a size");
        let name = match text(345, 500).as_str() {
            "" => text(0, 100),
            prefix => format!("{prefix}/{}", text(0, 100)),
        };
        let name = name.strip_prefix("INC-1/").expect("all is in one folder");
        files.insert(name.to_owned(), after[..size].to_vec());
        rest = &after[size.next_multiple_of(512)..];
    }
    files
}

/// Somebody with a copy, a key and the program, and no server.
fn every_tampering_is_found(archive: &Files, key: &str, later: &Path) {
    let elsewhere = Home::new("");
    let copy = |files: &Files| -> PathBuf {
        let dir = elsewhere.path("copy");
        drop(fs::remove_dir_all(&dir));
        for (name, bytes) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("it is our directory");
            fs::write(path, bytes).expect("it is our directory");
        }
        dir
    };
    let verify = |files: &Files, key: &str, more: &[&str]| {
        let dir = copy(files).display().to_string();
        let mut arguments = vec!["evidence", "verify", dir.as_str(), "--key", key];
        arguments.extend(more);
        let done = elsewhere.run(&arguments);
        (done.status.code(), format!("{}{}", stdout(&done), stderr(&done)))
    };
    let (code, said) = verify(archive, key, &[]);
    assert!(code == Some(0) && said.contains("PROVED"), "{said}");

    let name = |start: &str, end: &str| -> String {
        let found = archive.keys().find(|it| it.starts_with(start) && it.ends_with(end));
        found
            .unwrap_or_else(|| panic!("no {start}*{end} in {:?}", archive.keys()))
            .clone()
    };
    let (object, manifest) = (name("objects/", ".zst"), name("manifests/", ".json"));
    let entries = archive
        .keys()
        .rfind(|it| it.starts_with("log/tile/entries/"))
        .expect("entries")
        .clone();
    let changed = |change: &dyn Fn(&mut Files)| {
        let mut files = archive.clone();
        change(&mut files);
        assert_ne!(&files, archive);
        files
    };
    let tampered: [(&str, Files); 5] = [
        (
            "a changed byte",
            changed(&|files| *files.get_mut(&object).expect("it is there").last_mut().expect("a byte") ^= 1),
        ),
        ("a removed artefact", changed(&|files| drop(files.remove(&object)))),
        ("a removed file", changed(&|files| drop(files.remove(&manifest)))),
        (
            "a removed last entry",
            changed(&|files| {
                let bytes = files.get_mut(&entries).expect("it is there");
                bytes.truncate(bytes.len() - entries_of(bytes).pop().expect("one").len());
            }),
        ),
        (
            "another order",
            changed(&|files| {
                let bytes = files.get_mut(&entries).expect("it is there");
                let mut all: Vec<Vec<u8>> = entries_of(bytes).into_iter().map(<[u8]>::to_vec).collect();
                let last = all.len() - 1;
                all.swap(last - 1, last);
                *bytes = all.concat();
            }),
        ),
    ];
    for (how, files) in &tampered {
        let (code, said) = verify(files, key, &[]);
        assert_eq!(code, Some(6), "{how}: {said}");
        assert!(said.contains("NOT AS IT WAS EXPORTED"), "{how}: {said}");
    }
    let (code, said) = verify(archive, &key.replacen('+', "+0", 1), &[]);
    assert!(
        code == Some(2) && said.contains("a letter of the key is wrong"),
        "{code:?}: {said}"
    );
    let ours = key.split('+').next().expect("a key has a name");
    for name in [ours, "other/staunch"] {
        let other = LogKey::from_seed(name, &[9; 32]);
        let theirs = other.verifier().to_string();
        let not_proved = |how: &str, files: &Files, key: &str| {
            let (code, said) = verify(files, key, &[]);
            assert_eq!(code, Some(6), "{how}, by {name}: {said}");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            for part in [
                "INVENTORY is not proved, and nothing else was looked at: it carries no signature of the key",
                "NOT AS IT WAS EXPORTED",
            ] {
                assert!(said.contains(part), "{how}, by {name}: {part}: {said}");
            }
        };
        not_proved("another key", archive, &theirs);
        // All that can be signed is, without a fault in itself: who takes their word for the key is told that it is
        // proved, but for who has handled it, which is signed by ours.
        let anew = signed_anew(archive, &other);
        let (code, said) = verify(&anew, &theirs, &[]);
        assert!(code == Some(1) && said.contains("PROVED IN PART"), "by {name}: {said}");
        not_proved("signed by somebody else", &anew, key);
        // Under the list that was signed, a checkpoint of theirs is a file that was changed.
        let mut mixed = archive.clone();
        mixed.insert("log/checkpoint".to_owned(), anew["log/checkpoint"].clone());
        let (code, said) = verify(&mixed, key, &[]);
        assert!(
            code == Some(6) && said.contains("log/checkpoint was changed"),
            "by {name}: {code:?}: {said}"
        );
    }
    let (code, said) = verify(archive, key, &["--earlier", &later.display().to_string()]);
    assert_eq!(code, Some(6), "a log that was put back: {said}");
}

/// The archive as somebody with another key signs it: the log, its proofs, and the list of files.
fn signed_anew(archive: &Files, key: &LogKey) -> Files {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is text");
    let mut files = archive.clone();
    for (name, bytes) in &mut files {
        if name == "log/checkpoint" {
            *bytes = checkpoint_signed_anew(&text(bytes), key).into_bytes();
        } else if name == "key.pub" {
            *bytes = format!("{}\n", key.verifier()).into_bytes();
        } else if name.ends_with(".tlog-proof") {
            let mut proof = LogProof::parse(&text(bytes)).expect("it is a proof");
            proof.note = checkpoint_signed_anew(&proof.note, key);
            *bytes = proof.to_string().into_bytes();
        }
    }
    let before = text(&archive[SUMS]);
    let named = || {
        before
            .lines()
            .map(|line| line.split_once("  ").expect("a hash and a name").1)
    };
    let sums: String = named()
        .map(|name| format!("{}  {name}\n", Sha256Hash::of(&files[name])))
        .collect();
    let inventory = Inventory {
        incident: IncidentId(1),
        sums: Sha256Hash::of(sums.as_bytes()),
        files: named().count() as u64,
        bytes: named().map(|name| files[name].len() as u64).sum(),
    };
    files.insert(SUMS.to_owned(), sums.into_bytes());
    files.insert(INVENTORY.to_owned(), key.sign(&inventory.to_text()).into_bytes());
    files
}

/// A checkpoint of the same entries, of the log and by the hand of another key.
pub(crate) fn checkpoint_signed_anew(note: &str, key: &LogKey) -> String {
    let (text, _) = note.rsplit_once("\n\n").expect("it is a signed note");
    let (_, rest) = text.split_once('\n').expect("it has more than a name");
    key.sign(&format!("{}\n{rest}\n", key.verifier().name()))
}

/// The entries of a bundle of the log, each with its length before it.
fn entries_of(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((length, _)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = bytes.split_at(2 + usize::from(u16::from_be_bytes(*length)));
        all.push(entry);
        bytes = rest;
    }
    all
}
