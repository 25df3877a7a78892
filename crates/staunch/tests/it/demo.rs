//! The demo as a user runs it: every claim true, and the stage gone afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use staunch_connectors::actions::freeze_process::cgroup2_mount;

use crate::harness::{Ended, STAUNCH, in_namespace, mounts_of_its_own};
use crate::processes::where_processes_freeze;

/// Plays it, and returns what it says.
fn play() -> String {
    play_by(Command::new(STAUNCH).arg("demo"))
}

fn play_by(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(!text.contains("FALSE"), "{text}");
    text
}

#[test]
fn every_claim_of_the_demo_is_true() {
    where_processes_freeze("every_claim_of_the_demo_is_true", || {
        let text = play();
        says(
            &text,
            &[
                "first dropped packet",
                "it joined INC-1",
                "of the traffic",
                "post-check failed",
                "restarted",
                "released",
                "sealed before anything was done",
                "the address was blocked and the process frozen",
                "verifies with the public key and nothing else",
                "with one bit of it changed, it does not",
                "staunch incident timeline INC-",
                "sealed: flows of 203.0.113.44",
                "held a connection to",
                "staunch review check",
                "recovery started by",
                "the freeze was lifted and read back as gone before the block was touched",
                "the process goes on where it stood",
            ],
        );
        let last = text.lines().last().unwrap_or_default();
        assert!(last.starts_with("Next: `staunch init`"), "{last}");
        let seconds = text
            .lines()
            .find_map(|line| line.split_once("claims checked and true, in ")?.1.strip_suffix(" s."));
        let seconds: f64 = seconds.expect("it says how long it took").parse().expect("a number");
        assert!(
            seconds < 20.0,
            "the README promises less than 20 s, and it took {seconds} s"
        );
        let widest = text.lines().max_by_key(|line| line.chars().count()).expect("it prints");
        assert!(widest.chars().count() <= 80, "wider than 80 columns: {widest:?}");
    });
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing() {
    where_processes_freeze("a_demo_that_is_interrupted_leaves_nothing", || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let child = Command::new(STAUNCH)
            .arg("demo")
            .env("TMPDIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = Ended(child.expect("it starts"));
        let lines = BufReader::new(child.0.stdout.take().expect("it is piped")).lines();
        let mut process = None;
        // Read to the end: it goes on telling.
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["Process", pid, ..] = words[..] {
                process = Some(pid.to_owned());
            } else if words.first() == Some(&"8.") {
                let frozen = process.as_deref().map(group_of).expect("it is named");
                assert!(frozen.contains("/staunch-"), "{frozen}");
                kill(Pid::from_raw(child.0.id().cast_signed()), Signal::SIGTERM).expect("it is ours");
            }
        }
        assert_eq!(child.0.wait().expect("it ends").code(), Some(1));
        let process = process.expect("it is named");
        assert_eq!(group_of(&process), "", "it is there");
        let left: Vec<_> = fs::read_dir(dir.path()).expect("it is ours").collect();
        assert!(left.is_empty(), "{left:?}");
        let tree = cgroup2_mount(Path::new("/proc")).expect("there is one");
        let own = group_of("self");
        let groups = fs::read_dir(tree.join(own.trim_start_matches('/'))).expect("it is there");
        let mut names = groups.flatten().map(|it| it.file_name().to_string_lossy().into_owned());
        let of_process = format!("-{process}-");
        assert_eq!(
            names.find(|it| it.starts_with("staunch-") && it.contains(&of_process)),
            None
        );
    });
}

/// The group of cgroup v2 that a process is in; empty when there is no such process.
fn group_of(process: &str) -> String {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    own.unwrap_or_default().to_owned()
}

#[test]
fn where_nothing_can_be_frozen_the_demo_says_so_and_blocks() {
    let name = "where_nothing_can_be_frozen_the_demo_says_so_and_blocks";
    in_namespace(name, || {
        if let Ok(tree) = cgroup2_mount(Path::new("/proc"))
            && let Err(error) = mounts_of_its_own().and_then(|()| umount2(&tree, MntFlags::MNT_DETACH))
        {
            staunch_testkit::skip(name, &format!("cannot hide {}: {error}", tree.display()));
            return;
        }
        blocks_only(&play());
    });
}

/// As in a container, where the numbers of processes are not those that a sensor reports.
#[test]
fn in_a_pid_namespace_the_demo_says_that_nothing_is_frozen_and_blocks() {
    in_namespace("in_a_pid_namespace_the_demo_says_that", || {
        let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child"];
        blocks_only(&play_by(Command::new("unshare").args(unshare).args([STAUNCH, "demo"])));
    });
}

fn blocks_only(text: &str) {
    says(
        text,
        &[
            "The process was not frozen",
            "then the address was blocked: the attacker hears nothing",
            "held a connection to",
            "the block was lifted, and read back as gone",
            "the process goes on where it stood",
        ],
    );
}

/// Whether all of `parts` are in what the demo says, wherever its lines end.
fn says(text: &str, parts: &[&str]) {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in parts {
        assert!(one_line.contains(part), "{part:?} is not in\n{text}");
    }
}
