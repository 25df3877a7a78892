//! The journal of systemd: files of it read by the real `journalctl`, and what happens when that program does not do as
//! it should, by a script in its place.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use staunch_connectors::inlets::file::Begin;
use staunch_connectors::inlets::journald::{JournalSettings, start};
use staunch_connectors::inlets::syslog::HandOn;
use staunch_connectors::inlets::{Delivery, InletThread, Sink};
use staunch_ports::InletTally;
use tempfile::TempDir;

/// How long anything may take here. Only a failing test takes this long.
const DEADLINE: Duration = Duration::from_secs(20);

const ONE: &str = r#"{"event_type":"alert","src_ip":"203.0.113.1"}"#;
const TWO: &str = r#"{"event_type":"alert","src_ip":"203.0.113.2"}"#;
const THREE: &str = r#"{"event_type":"alert","src_ip":"203.0.113.3"}"#;
const FOUR: &str = r#"{"event_type":"alert","src_ip":"203.0.113.4"}"#;
const SSHD: &str = "Failed password for root from 203.0.113.9 port 22 ssh2";

struct Rig {
    directory: TempDir,
}

/// A running inlet and its lines.
struct Followed {
    inlet: InletThread,
    lines: mpsc::Receiver<String>,
    refuses: Arc<AtomicBool>,
    refused: mpsc::Receiver<()>,
    tally: Arc<InletTally>,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("journal")).expect("it is our directory");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts a journal file where the journal is, as a whole.
    fn add(&self, name: &str) {
        let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/journal/{name}.journal.zst"));
        let packed = fs::read(packed).expect("it is committed");
        let bytes = zstd::decode_all(&packed[..]).expect("it is whole");
        fs::write(self.path(name), bytes).expect("it is our directory");
        fs::rename(self.path(name), self.path("journal").join(format!("{name}.journal"))).expect("it is our directory");
    }

    /// Puts a program in the place of `journalctl`, which writes its arguments and its process into files.
    fn script(&self, body: &str) {
        let text = format!(
            "#!/bin/sh\ncd '{}'\nprintf '%s\\n' \"$*\" >> arguments\necho $$ > process\n{body}\n",
            self.directory.path().display()
        );
        fs::write(self.path("script"), text).expect("it is our directory");
        fs::set_permissions(self.path("script"), Permissions::from_mode(0o700)).expect("it is our file");
    }

    /// The settings for the real program.
    fn settings(&self) -> JournalSettings {
        JournalSettings {
            program: "journalctl".into(),
            directory: Some(self.path("journal")),
            units: Vec::new(),
            identifiers: Vec::new(),
            hand_on: HandOn::Message,
            place: self.path("places/journal"),
            begin: Begin::Start,
        }
    }

    /// The settings for the script.
    fn scripted(&self) -> JournalSettings {
        JournalSettings {
            program: self.path("script"),
            directory: None,
            ..self.settings()
        }
    }

    fn arguments(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("arguments")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Followed {
    fn start(settings: JournalSettings) -> Self {
        Self::start_refusing(settings, false)
    }

    fn start_refusing(settings: JournalSettings, refuses: bool) -> Self {
        let (sender, lines) = mpsc::channel();
        let (refusal, refused) = mpsc::channel();
        let refuses = Arc::new(AtomicBool::new(refuses));
        let refusing = refuses.clone();
        let sink: Sink = Box::new(move |text| {
            if refusing.load(Ordering::SeqCst) {
                // Nobody listens any more at the end.
                let _ = refusal.send(());
                return Delivery::Again;
            }
            for line in String::from_utf8_lossy(text).lines() {
                drop(sender.send(line.to_owned()));
            }
            Delivery::Taken
        });
        let tally = Arc::new(InletTally::new("journal", "a test", "suricata"));
        let inlet = start(settings, tally.clone(), sink).expect("a thread");
        Self {
            inlet,
            lines,
            refuses,
            refused,
            tally,
        }
    }

    /// The next lines; nothing else may come before them.
    fn expect(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.lines.recv_timeout(DEADLINE).as_deref(), Ok(*line));
        }
    }

    /// The line after `count - 1` others.
    fn nth(&self, count: usize) -> String {
        let next = || self.lines.recv_timeout(DEADLINE).expect("a line");
        (1..count).for_each(|_| drop(next()));
        next()
    }

    /// Ends it; nothing else may have come.
    fn stop(self) {
        self.inlet.stop();
        assert_eq!(self.lines.try_recv().ok(), None);
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        // Nobody ever sends.
        let (_sender, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
}

/// Runs `work` where there is the real program.
fn with_journalctl(name: &str, work: impl FnOnce()) {
    match Command::new("journalctl").arg("--version").output() {
        Ok(output) if output.status.success() => work(),
        Ok(output) => staunch_testkit::skip(name, &format!("journalctl: {}", output.status)),
        Err(error) => staunch_testkit::skip(name, &format!("journalctl: {error}")),
    }
}

/// An entry as `journalctl` writes it.
fn entry(number: u32, message: &str) -> String {
    format!(r#"{{"__REALTIME_TIMESTAMP":"1","__CURSOR":"s=a;i={number};t=1","MESSAGE":{message:?}}}"#)
}

#[test]
fn every_entry_is_handed_on_whatever_it_holds() {
    with_journalctl("journald::every_entry", || {
        let rig = Rig::new();
        rig.add("first");
        let followed = Followed::start(rig.settings());
        let long = format!("{{\"long\": \"{}\"}}", "x".repeat(70_000));
        followed.expect(&[
            ONE,
            SSHD,
            "no text: \u{fffd}\u{fffd}",
            "{   \"event_type\": \"alert\" }",
            &long,
            TWO,
        ]);
        // What is written meanwhile comes too.
        rig.add("second");
        followed.expect(&[THREE, FOUR]);
        let tally = followed.tally.clone();
        followed.stop();
        let reading = tally.reading();
        assert_eq!((reading.malformed, reading.dropped, reading.failing), (0, 0, None));
    });
}

#[test]
fn a_restart_goes_on_where_it_was_also_with_other_identifiers() {
    with_journalctl("journald::restart", || {
        let rig = Rig::new();
        rig.add("first");
        let followed = Followed::start(JournalSettings {
            identifiers: vec!["suricata".into(), "falco".into()],
            ..rig.settings()
        });
        assert_eq!(followed.nth(5), TWO);
        followed.stop();
        rig.add("second");
        // The entry that the place is of is not among these.
        let followed = Followed::start(JournalSettings {
            identifiers: vec!["falco".into()],
            ..rig.settings()
        });
        followed.expect(&[FOUR]);
        followed.stop();
    });
}

#[test]
fn what_was_not_taken_comes_again_after_a_restart() {
    with_journalctl("journald::not_taken", || {
        let rig = Rig::new();
        rig.add("first");
        let settings = || JournalSettings {
            units: vec!["suricata.service".into()],
            ..rig.settings()
        };
        let followed = Followed::start_refusing(settings(), true);
        followed.refused.recv_timeout(DEADLINE).expect("they are handed on");
        followed.stop();
        let followed = Followed::start_refusing(settings(), true);
        followed
            .refused
            .recv_timeout(DEADLINE)
            .expect("they are handed on again");
        followed.refuses.store(false, Ordering::SeqCst);
        followed.expect(&[ONE, "no text: \u{fffd}\u{fffd}"]);
        assert_eq!(followed.nth(3), TWO);
        followed.stop();
    });
}

#[test]
fn the_cursor_entry_does_not_come_again_and_a_missing_one_costs_no_other() {
    with_journalctl("journald::cursor", || {
        let rig = Rig::new();
        rig.add("first");
        let followed = Followed::start(rig.settings());
        assert_eq!(followed.nth(6), TWO);
        followed.stop();
        rig.add("second");
        let followed = Followed::start(rig.settings());
        followed.expect(&[THREE, FOUR]);
        followed.stop();
        // The place as it was after the first file, which was removed since.
        let rig = Rig::new();
        rig.add("first");
        let followed = Followed::start(rig.settings());
        assert_eq!(followed.nth(6), TWO);
        followed.stop();
        fs::remove_file(rig.path("journal/first.journal")).expect("it is our file");
        rig.add("second");
        let followed = Followed::start(rig.settings());
        followed.expect(&[THREE, FOUR]);
        followed.stop();
    });
}

#[test]
fn a_whole_entry_is_handed_on_as_it_is_written() {
    with_journalctl("journald::entry", || {
        let rig = Rig::new();
        rig.add("first");
        let followed = Followed::start(JournalSettings {
            hand_on: HandOn::Entry,
            identifiers: vec!["sshd".into()],
            ..rig.settings()
        });
        let line = followed.lines.recv_timeout(DEADLINE).expect("a line");
        let entry: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(entry["MESSAGE"], SSHD);
        assert_eq!(entry["_SYSTEMD_UNIT"], "ssh.service");
        assert_eq!(entry["_HOSTNAME"], "sensor-1");
        followed.stop();
    });
}

#[test]
fn a_directory_that_is_not_there_is_told_in_the_words_of_the_program() {
    with_journalctl("journald::missing_directory", || {
        let rig = Rig::new();
        let followed = Followed::start(JournalSettings {
            directory: Some(rig.path("none")),
            ..rig.settings()
        });
        wait_until("the failure", || {
            let failing = followed.tally.reading().failing;
            failing.is_some_and(|why| why.contains("No such file or directory"))
        });
        followed.stop();
    });
}

#[test]
fn a_program_that_ends_is_started_again_and_goes_on_where_it_was() {
    let rig = Rig::new();
    fs::write(rig.path("1"), format!("{}\n{}\n", entry(1, "one"), entry(2, "two"))).expect("it is our directory");
    let rest = [
        entry(2, "two"),
        "not an entry".into(),
        r#"{"__CURSOR":"s=a;i=3","MESSAGE":null}"#.into(),
        r#"{"__CURSOR":"s=a;i=4"}"#.into(),
        entry(5, "five"),
    ];
    fs::write(rig.path("2"), rest.map(|line| line + "\n").concat()).expect("it is our directory");
    // At first it fails, then it writes and fails, then it writes and goes on.
    rig.script(
        "case $(wc -l < arguments) in\n1) echo 'out of order' >&2; exit 1;;\n2) cat 1; exit 0;;\n\
         *) cat 2; exec sleep 600;;\nesac",
    );
    let followed = Followed::start(rig.scripted());
    wait_until("the failure", || {
        let failing = followed.tally.reading().failing;
        failing.is_some_and(|why| why.contains("out of order"))
    });
    followed.expect(&["one", "two", "five"]);
    let reading = followed.tally.reading();
    assert_eq!((reading.malformed, reading.dropped), (2, 1));
    wait_until("it to work", || followed.tally.reading().failing.is_none());
    let arguments = rig.arguments();
    assert!(!arguments[0].contains("--cursor"), "{arguments:?}");
    assert!(arguments[2].contains("--cursor=s=a;i=2;t=1"), "{arguments:?}");
    // The program ends with the inlet, and is waited for.
    let process = fs::read_to_string(rig.path("process")).expect("it runs");
    let process = Path::new("/proc").join(process.trim());
    assert!(process.exists());
    followed.stop();
    assert!(!process.exists());
}

#[test]
fn the_time_of_the_first_start_is_kept_until_something_comes() {
    let rig = Rig::new();
    rig.script("exec sleep 600");
    let settings = || JournalSettings {
        begin: Begin::End,
        units: vec!["ssh.service".into()],
        identifiers: vec!["sshd".into()],
        directory: Some(rig.path("journal")),
        ..rig.scripted()
    };
    for starts in 1..=2 {
        let followed = Followed::start(settings());
        wait_until("its arguments", || rig.arguments().len() == starts);
        followed.stop();
    }
    let arguments = rig.arguments();
    assert_eq!(arguments[0], arguments[1]);
    let expected = [
        "--since=@",
        "--no-tail",
        "--unit=ssh.service",
        "--identifier=sshd",
        "--follow",
        "--all",
        "--output-fields=MESSAGE",
        "--directory ",
    ];
    for argument in expected {
        assert!(arguments[0].contains(argument), "{argument}: {arguments:?}");
    }
}

#[test]
fn a_program_that_is_missing_is_waited_for() {
    let rig = Rig::new();
    let followed = Followed::start(rig.scripted());
    wait_until("the failure", || followed.tally.reading().failing.is_some());
    fs::write(rig.path("1"), format!("{}\n", entry(1, "one"))).expect("it is our directory");
    rig.script("cat 1; exec sleep 600");
    followed.expect(&["one"]);
    followed.stop();
}

#[test]
fn a_damaged_place_is_none() {
    let rig = Rig::new();
    fs::create_dir(rig.path("places")).expect("it is our directory");
    fs::write(rig.path("places/journal"), "{\"cursor\":").expect("it is our directory");
    rig.script("exec sleep 600");
    let followed = Followed::start(rig.scripted());
    wait_until("its arguments", || !rig.arguments().is_empty());
    followed.stop();
    assert!(!rig.arguments()[0].contains("--cursor"));
}
