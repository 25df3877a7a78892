//! The demo as a user runs it: every claim true, and the stage gone afterwards.

use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use staunch_connectors::actions::freeze_process::cgroup2_mount;

use crate::harness::{STAUNCH, in_namespace};
use crate::processes::where_processes_freeze;

/// Plays it, and returns what it says.
fn play() -> String {
    let output = Command::new(STAUNCH).arg("demo").output().expect("it starts");
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
        for scene in [
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
        ] {
            let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(one_line.contains(scene), "{scene:?} is not in\n{text}");
        }
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
fn where_nothing_can_be_frozen_the_demo_says_so_and_blocks() {
    let name = "where_nothing_can_be_frozen_the_demo_says_so_and_blocks";
    in_namespace(name, || {
        if let Ok(tree) = cgroup2_mount(Path::new("/proc")) {
            let none: Option<&str> = None;
            let hidden = unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
                .and_then(|()| umount2(&tree, MntFlags::MNT_DETACH));
            if let Err(error) = hidden {
                staunch_testkit::skip(name, &format!("cannot hide {}: {error}", tree.display()));
                return;
            }
        }
        let text = play();
        for part in [
            "Groups of cgroup v2 cannot be made here",
            "held a connection to",
            "the block was lifted, and read back as gone",
            "the process goes on where it stood",
        ] {
            let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(one_line.contains(part), "{part:?} is not in\n{text}");
        }
    });
}
