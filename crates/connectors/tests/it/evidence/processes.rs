//! Processes of our own making: with names that are no text, secrets, programs that were deleted.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use staunch_connectors::evidence::{ProcessCollector, ProcessesCollector};
use staunch_model::{FailureKind, Process, Target};
use staunch_ports::Collector as _;
use staunch_testkit::contract::collector::Kept;
use tempfile::TempDir;

use super::{list, one, redaction, request, take};
use crate::block_ip_setting::until;
use crate::freeze_process_setting::identify;

const NAME: &[u8] = b"a\n\x1b[2J\xff) R 1";

/// A process that ends with this.
pub(super) struct Odd {
    pub(super) child: Child,
    directory: TempDir,
    original: PathBuf,
}

impl Odd {
    /// Starts a copy of a program under an odd name, and deletes it. It waits for input.
    pub(super) fn start(program: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let original = find(program);
        let path = directory.path().join(OsStr::from_bytes(NAME));
        fs::copy(&original, &path).unwrap();
        let child = until("the program is not written to any more", || {
            let started = Command::new(&path)
                .args(arguments)
                .arg0(OsStr::from_bytes(b"\xfe\nodd"))
                .env_clear()
                .env("DB_PASSWORD", "hunter2")
                .env("PLAIN", "open")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            match started {
                Ok(child) => Some(child),
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
                Err(error) => panic!("{error}"),
            }
        });
        // Its start is told before its arguments are in place.
        until("it has its arguments", || {
            let command = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
            (!command.is_empty()).then_some(())
        });
        fs::remove_file(&path).unwrap();
        Self {
            child,
            directory,
            original,
        }
    }

    pub(super) fn target(&self) -> Target {
        let pid = self.child.id();
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap();
        let name_ends = stat.iter().rposition(|byte| *byte == b')').unwrap();
        let rest = std::str::from_utf8(&stat[name_ends + 1..]).unwrap();
        Target::Process(Process {
            pid,
            started: rest.split_whitespace().nth(19).unwrap().parse().unwrap(),
            ..identify(std::process::id())
        })
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The file that runs as `program`.
fn find(program: &str) -> PathBuf {
    let folders = std::env::var("PATH").unwrap();
    let paths = folders.split(':').map(|it| Path::new(it).join(program));
    let found = paths.into_iter().find(|it| it.is_file()).unwrap();
    found.canonicalize().unwrap()
}

fn sha256(path: &Path) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, &fs::read(path).unwrap());
    hash.as_ref().iter().map(|it| format!("{it:02x}")).collect()
}

fn hex(bytes: &[u8]) -> Value {
    json!({ "hex": bytes.iter().map(|it| format!("{it:02x}")).collect::<String>() })
}

#[test]
fn a_process_is_taken_whole_though_its_program_is_deleted_and_its_name_is_no_text() {
    let odd = Odd::start("cat", &["--", "-"]);
    let opened = odd.directory.path().join("held");
    let _held = File::create(&opened).unwrap();
    let (kept, _) = take(
        &mut ProcessCollector::new("/proc".into(), redaction()),
        &request(Some(odd.target())),
    );
    let json = kept.json("process.json");
    assert_eq!(json["complete"], true, "{}", json["problems"]);
    let process = one(&json, "processes", &[("pid", json!(odd.child.id()))]);
    assert_eq!(process["name"], hex(&NAME[..NAME.len().min(15)]));
    assert_eq!(process["parent"], std::process::id());
    assert_eq!(process["command"], json!([hex(b"\xfe\nodd"), "--", "-"]));
    let program = process["program"]["hex"].as_str().unwrap();
    let deleted: String = b" (deleted)".iter().map(|it| format!("{it:02x}")).collect();
    assert!(program.ends_with(&deleted), "{program}");
    assert_eq!(process["executable"]["Ok"]["sha256"], sha256(&odd.original));
    assert_eq!(process["executable"]["Ok"]["links"], 0);
    let environment = list(process, "environment");
    assert!(environment.contains(&json!("PLAIN=open")), "{environment:?}");
    let secret = environment.iter().find(|it| it["before"] == "DB_PASSWORD=").unwrap();
    assert_eq!(secret["hidden_bytes"], 7);
    assert!(!String::from_utf8_lossy(&kept.artefact("process.json").bytes).contains("hunter2"));
    assert!(!list(process, "maps").is_empty() && !list(process, "limits").is_empty());
    let input = one(process, "files", &[("number", json!(0))]);
    assert!(input["target"].as_str().unwrap().starts_with("pipe:["), "{input}");
    assert!(input["about"].to_string().contains("flags:"), "{input}");
    assert!(process["namespaces"]["net"].as_str().unwrap().parse::<u64>().is_ok());
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", odd.child.id())).unwrap();
    assert_eq!(process["cgroups"], json!(groups.lines().collect::<Vec<_>>()));
}

#[test]
fn what_a_process_has_started_is_taken_with_it() {
    let mut shell = Command::new("sh")
        .args(["-c", "sh -c 'cat; :'; :"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let target = Target::Process(identify(shell.id()));
    let json = until("its grandchild runs", || {
        let (kept, _) = take(
            &mut ProcessCollector::new("/proc".into(), redaction()),
            &request(Some(target.clone())),
        );
        let json = kept.json("process.json");
        let last = list(&json, "processes").last().unwrap()["command"] == json!(["cat"]);
        last.then_some(json)
    });
    let found = list(&json, "processes");
    assert_eq!(found.len(), 3);
    assert_eq!(
        (&found[1]["parent"], &found[2]["parent"]),
        (&found[0]["pid"], &found[1]["pid"])
    );
    shell.kill().unwrap();
    shell.wait().unwrap();
}

#[test]
fn a_process_that_has_got_the_number_of_another_is_refused() {
    let odd = Odd::start("cat", &[]);
    let real = odd.target().process().unwrap();
    let mut collector = ProcessCollector::new("/proc".into(), redaction());
    let later = Process {
        started: real.started + 1,
        ..real
    };
    let rebooted = Process {
        boot: real.boot ^ 1,
        ..real
    };
    for (other, kind) in [
        (later, FailureKind::Invalid),
        (rebooted, FailureKind::Invalid),
        (Process::unidentified(real.pid), FailureKind::Invalid),
    ] {
        let request = request(Some(Target::Process(other)));
        assert_eq!(collector.observe(&request).unwrap_err().kind, kind);
        let mut kept = Kept::default();
        assert_eq!(collector.execute(&request, &mut kept).unwrap_err().kind, kind);
        assert!(kept.sealed.is_empty() && kept.missed.is_empty());
    }
}

#[test]
fn the_switch_that_tells_processes_is_named_only_where_it_is_off() {
    let unidentified = request(Some(Target::Process(Process::unidentified(1))));
    for (are_told, is_named) in [(false, true), (true, false)] {
        let mut collector = ProcessCollector::new("/proc".into(), redaction()).with_processes_told(are_told);
        let failure = collector.observe(&unidentified).unwrap_err();
        assert_eq!(
            failure.what.contains("[processes] enabled = true"),
            is_named,
            "{failure}"
        );
        assert!(failure.what.contains("process 1 was not told from others"), "{failure}");
    }
}

#[test]
fn every_process_is_taken_and_who_started_it() {
    let odd = Odd::start("cat", &["--", "--api-key=hunter2", "-"]);
    let (kept, _) = take(
        &mut ProcessesCollector::new("/proc".into(), redaction()),
        &request(None),
    );
    let json = kept.json("processes.json");
    let real = odd.target().process().unwrap();
    let found = one(&json, "processes", &[("pid", json!(real.pid))]);
    assert_eq!(found["started"], real.started);
    assert_eq!(found["name"], hex(&NAME[..NAME.len().min(15)]));
    let own = one(&json, "processes", &[("pid", json!(std::process::id()))]);
    assert_eq!(found["parent"], own["pid"]);
    let user = nix::unistd::getuid().as_raw().to_string();
    assert!(found["Uid"].as_str().unwrap().starts_with(&user), "{found}");
    assert!(!String::from_utf8_lossy(&kept.artefact("processes.json").bytes).contains("hunter2"));
    let numbers: Vec<u64> = list(&json, "processes")
        .iter()
        .map(|it| it["pid"].as_u64().unwrap())
        .collect();
    assert!(numbers.is_sorted() && numbers.contains(&1), "{numbers:?}");
}
