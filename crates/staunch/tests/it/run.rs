//! `staunch run`: events from stdin, and its end.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Home, SMALL, brute_force_from, element, in_namespace, staunch, stderr, wait_until};

fn alert(address: &str) -> String {
    brute_force_from(address).replace('\n', " ")
}

/// Starts `staunch run` of `home` on `stdin`.
fn run(home: &Home, arguments: &[&str], stdin: Stdio) -> Child {
    let mut command = staunch(&["run", "--listen", "127.0.0.1:0"]);
    command
        .arg("--config")
        .arg(home.config())
        .args(arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(File::create(home.path("stderr")).expect("it is our directory"));
    command.spawn().expect("the binary starts")
}

fn end(child: Child) -> (Output, String) {
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout.clone()).expect("it writes UTF-8");
    (output, text)
}

#[test]
fn a_file_is_taken_to_its_end_and_what_came_of_it_is_said() {
    in_namespace("run::file", || {
        // It needs no token: nobody sends over HTTP.
        let home = Home::new(SMALL);
        let lines = [
            alert("203.0.113.1").as_str(),
            "not json",
            &alert("203.0.113.2"),
            "",
            &alert("203.0.113.1"),
        ]
        .join("\n");
        fs::write(home.path("eve.json"), lines).expect("it is our directory");
        let open = || File::open(home.path("eve.json")).expect("it is our file").into();
        let (output, text) = end(run(&home, &["--source", "suricata"], open()));
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        for words in [
            "3 accepted",
            "3 matched",
            "1 malformed",
            "2 in-force",
            "203.0.113.2 by TX-2 of INC-2",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        for address in ["203.0.113.1", "203.0.113.2"] {
            assert!(element(address).is_some(), "it stays in force: {address}");
        }
        // What it took is durable, and what joins it is no second containment.
        let (output, text) = end(run(&home, &["--json"], open()));
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        let summary: Value = serde_json::from_str(&text).expect("it writes JSON");
        assert_eq!(summary["accepted"], 3);
        assert_eq!(summary["contained"], serde_json::json!([]));
    });
}

/// No body holds so many events, and nobody sends a line of a file again.
#[test]
fn lines_that_hold_more_events_than_a_body_may_are_taken_all_the_same() {
    in_namespace("run::many", || {
        let home = Home::new(SMALL);
        let line = |events: usize| {
            let findings = vec![r#"{"type":"t"}"#; events].join(",");
            format!("{{\"Findings\":[{findings}]}}\n")
        };
        let sums = |lines: &[usize]| {
            let text: String = lines.iter().map(|events| line(*events)).collect();
            fs::write(home.path("findings.json"), text).expect("it is our directory");
            let file = File::open(home.path("findings.json")).expect("it is our file");
            let (output, text) = end(run(&home, &["--source", "guardduty", "--json"], file.into()));
            assert_eq!(output.status.code(), Some(0), "{}", home.log());
            let summary: Value = serde_json::from_str(&text).expect("it writes JSON");
            (summary["accepted"].as_u64(), summary["malformed"].as_u64())
        };
        assert_eq!(sums(&[4_000; 6]), (Some(24_000), Some(0)));
        // What one line holds beyond that is told, and spoils nothing.
        assert_eq!(sums(&[2, 10_050, 3]), (Some(10_005), Some(1)));
    });
}

#[test]
fn an_input_of_which_no_line_can_be_read_is_a_failure() {
    in_namespace("run::malformed", || {
        let home = Home::new(SMALL);
        fs::write(home.path("eve.json"), "not json\nnor this\n").expect("it is our directory");
        let open = || File::open(home.path("eve.json")).expect("it is our file").into();
        let (output, text) = end(run(&home, &[], open()));
        assert_eq!(output.status.code(), Some(1), "{}", home.log());
        assert!(text.contains("2 malformed"), "{text}");
        assert!(
            home.log().contains("no line of the input could be read"),
            "{}",
            home.log()
        );
        // Nothing at all is no failure.
        fs::write(home.path("eve.json"), "").expect("it is our directory");
        let (output, _) = end(run(&home, &[], open()));
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
    });
}

#[test]
fn lines_are_contained_while_they_come_and_the_end_is_waited_for() {
    in_namespace("run::pipe", || {
        let home = Home::new(SMALL);
        let mut child = run(&home, &[], Stdio::piped());
        let mut input = child.stdin.take().expect("it was piped");
        writeln!(input, "{}", alert("203.0.113.1")).expect("it reads");
        wait_until("the block", || element("203.0.113.1").is_some());
        assert!(child.try_wait().expect("it is our child").is_none());
        write!(input, "{}", alert("203.0.113.2")).expect("it reads");
        drop(input);
        let (output, text) = end(child);
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        assert!(text.contains("2 in-force"), "{text}");
        assert!(element("203.0.113.2").is_some());
    });
}

#[test]
fn it_stays_when_it_is_told_to() {
    in_namespace("run::stay", || {
        let home = Home::new(SMALL);
        let mut child = run(&home, &["--stay"], Stdio::piped());
        drop(child.stdin.take());
        wait_until("the end of the input", || home.log().contains("serving goes on"));
        let status = staunch(&["status"])
            .arg("--config")
            .arg(home.config())
            .output()
            .expect("the binary starts");
        assert!(status.status.success(), "{}", stderr(&status));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        let (output, text) = end(child);
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        assert!(text.contains("0 accepted"), "{text}");
    });
}

#[test]
fn while_nothing_can_be_taken_whoever_writes_waits_and_the_end_too() {
    in_namespace("run::waits", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n"));
        let mut child = run(&home, &[], Stdio::piped());
        let mut input = child.stdin.take().expect("it was piped");
        writeln!(input, "{}", alert("203.0.113.1")).expect("it reads");
        wait_until("the block", || element("203.0.113.1").is_some());
        let (journal, aside) = (home.data().join("journal"), home.path("aside"));
        fs::rename(&journal, &aside).expect("it is our directory");
        // It is noticed in the next sweep; what comes before that is taken, and matches nothing new.
        wait_until("the warning", || {
            writeln!(input, "{}", alert("203.0.113.1")).expect("it reads");
            home.log().contains("the stdin waits")
        });
        writeln!(input, "{}", alert("203.0.113.2")).expect("it reads");
        drop(input);
        assert!(child.try_wait().expect("it is our child").is_none());
        fs::rename(&aside, &journal).expect("it is our directory");
        let (output, text) = end(child);
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        assert!(text.contains("2 in-force"), "{text}");
        assert!(element("203.0.113.2").is_some());
    });
}

#[test]
fn a_stop_before_the_end_says_what_was_taken() {
    in_namespace("run::stop", || {
        let home = Home::new(SMALL);
        let mut child = run(&home, &[], Stdio::piped());
        let mut input = child.stdin.take().expect("it was piped");
        writeln!(input, "{}", alert("203.0.113.1")).expect("it reads");
        wait_until("the block", || element("203.0.113.1").is_some());
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("it runs");
        let (output, text) = end(child);
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        assert!(text.contains("1 accepted, 1 matched"), "{text}");
        drop(input);
    });
}

#[test]
fn a_source_that_is_not_there_is_said_before_anything_is_read() {
    let home = Home::new(SMALL);
    let mut child = run(&home, &["--source", "snort"], Stdio::piped());
    let stdout = child.stdout.take().expect("it was piped");
    assert_eq!(BufReader::new(stdout).lines().count(), 0);
    assert_eq!(child.wait().expect("it ends").code(), Some(2));
    assert!(home.log().contains("there is no source snort"), "{}", home.log());
    assert!(!home.data().join("journal").exists());
}

#[test]
fn what_is_under_way_at_the_end_is_waited_for() {
    in_namespace("run::settles", || {
        let home = Home::new(&format!("{SMALL}[drill]\nscope = [\"203.0.113.0/28\"]\n"));
        let mut child = run(&home, &["--allow-unauthenticated-loopback"], Stdio::piped());
        let mut url = None;
        wait_until("its address", || {
            let log = home.log();
            let at = log
                .split("listening on ")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            url = at.map(|url| url.trim_end_matches("\u{1b}[0m").to_owned());
            url.is_some()
        });
        // The driver says that it has acted, and has not: that takes a rollback, which takes a while.
        let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
        let order = serde_json::json!({"fault": "lie", "lasts": "1m", "reason": "a test"});
        agent
            .post(format!("{}/v1/drill", url.expect("it listens")))
            .send_json(order)
            .expect("it is ordered");
        let mut input = child.stdin.take().expect("it was piped");
        write!(input, "{}", alert("203.0.113.1")).expect("it reads");
        drop(input);
        let (output, text) = end(child);
        assert_eq!(output.status.code(), Some(0), "{}", home.log());
        assert!(text.contains("transactions 1 rolled-back\n"), "{text}");
        assert!(element("203.0.113.1").is_none());
    });
}
