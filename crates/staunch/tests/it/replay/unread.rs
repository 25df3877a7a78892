//! Journals that cannot be read, and times and incidents that a journal does not have.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use staunch_model::{Outcome, Timestamp};

use crate::backtest::{alert, at, record_with, world};
use crate::harness::{Ended, Home, staunch, staunch_with_less, stderr, wait_until};

/// A home with the journal of two incidents.
fn recorded() -> Home {
    let home = Home::new("");
    fs::create_dir_all(home.data()).expect("it is our directory");
    let events: Vec<(Timestamp, String)> = (0..2)
        .map(|n| {
            // A part of a millisecond that is not shown.
            let time = Timestamp::from_micros(at(n).as_micros() + 700);
            (time, alert(&format!("203.0.113.{n}"), time, "Brute Force"))
        })
        .collect();
    let dir = home.data().join("journal");
    record_with(&dir, super::BLOCK, &events, &[], &|effect| {
        world(effect, 1, &Outcome::Landed)
    });
    home
}

/// The commands that read a whole journal.
const READERS: [&[&str]; 3] = [&["replay"], &["replay", "--verify"], &["backtest", "--journal", "data"]];

/// Runs `command` in `home`. One that waits for ever is ended.
fn ran(home: &Home, mut command: Command, arguments: &[&str]) -> Output {
    let child = command
        .args(arguments)
        .current_dir(home.path(""))
        .env("STAUNCH_CONFIG", home.config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut child = Ended(child);
    let mut status = None;
    wait_until("its end", || {
        status = child.0.try_wait().expect("it is ours");
        status.is_some()
    });
    // What it says is little, and fits into the pipes.
    let read = |from: Option<Box<dyn std::io::Read>>| {
        let mut bytes = Vec::new();
        from.expect("it is piped").read_to_end(&mut bytes).expect("a pipe");
        bytes
    };
    Output {
        status: status.expect("it has ended"),
        stdout: read(child.0.stdout.take().map(|it| Box::new(it) as _)),
        stderr: read(child.0.stderr.take().map(|it| Box::new(it) as _)),
    }
}

fn segment(home: &Home) -> PathBuf {
    home.data().join("journal").join(format!("{:020}.seg", 1))
}

#[test]
fn a_segment_that_may_not_be_read_is_a_missing_permission() {
    let home = recorded();
    fs::set_permissions(segment(&home), fs::Permissions::from_mode(0o000)).expect("it is ours");
    for arguments in READERS {
        let less = ["--bounding-set=-dac_override,-dac_read_search"];
        let Some(command) = staunch_with_less("replay::may_not", &less) else {
            return;
        };
        let output = ran(&home, command, arguments);
        assert_eq!(output.status.code(), Some(8), "{arguments:?}: {output:?}");
        let said = stderr(&output);
        assert!(said.contains("access denied") && !said.contains("kernel log"), "{said}");
        assert!(
            said.contains("hint: run as the user that owns the data directory"),
            "{said}"
        );
    }
}

#[test]
fn a_segment_of_a_newer_version_names_the_way_back() {
    let home = recorded();
    let mut bytes = fs::read(segment(&home)).expect("it is there");
    bytes[8] = 9;
    fs::write(segment(&home), bytes).expect("it is ours");
    let verified = stderr(&ran(&home, staunch(&[]), &["journal", "verify"]));
    let hint = "start the newer version again";
    assert!(verified.contains(hint), "{verified}");
    for arguments in READERS {
        let output = ran(&home, staunch(&[]), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(hint), "{arguments:?}: {output:?}");
    }
}

#[test]
fn what_is_no_file_in_the_place_of_a_segment_is_told_and_not_waited_for() {
    let home = recorded();
    let path = segment(&home);
    fs::remove_file(&path).expect("it is ours");
    let directory = || fs::create_dir(&path).expect("it is our directory");
    let pipe = || nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("it is our directory");
    let make: [&dyn Fn(); 2] = [&directory, &pipe];
    for (make, what) in make.into_iter().zip(["a directory", "no regular file"]) {
        make();
        for arguments in READERS.into_iter().chain([&["journal", "verify"][..]]) {
            let output = ran(&home, staunch(&[]), arguments);
            assert_eq!(output.status.code(), Some(6), "{arguments:?}: {output:?}");
            let said = stderr(&output).replace("\n  ", " ");
            assert!(said.contains(&format!("in the place of a segment is {what}")), "{said}");
            assert!(said.contains("hint: ") && !said.contains("kernel log"), "{said}");
        }
        if path.is_dir() {
            fs::remove_dir(&path).expect("it is ours");
        }
    }
}

#[test]
fn a_time_that_was_shown_has_what_was_shown_with_it() {
    let home = recorded();
    let shown = at(1).to_string();
    let state = |time: &str| {
        let output = home.run(&["replay", "--at", time, "--json"]);
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
        state["incidents"].as_array().expect("a list").len()
    };
    assert_eq!(state(&shown), 2, "the whole of that millisecond");
    // With microseconds it is meant as it is.
    assert_eq!(state(&shown.replace("000Z", "000600Z")), 1);
    assert_eq!(state(&shown.replace("000Z", "000700Z")), 2);
    let wrong = home.run(&["replay", "--at", "2026-11-30"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(
        stderr(&wrong).contains("not a time: 2026-11-30 (write for example 2026-11-25T14:00:00Z)"),
        "{wrong:?}"
    );
}

#[test]
fn an_incident_that_never_was_is_told_from_one_that_was_forgotten() {
    let home = recorded();
    let told = |arguments: &[&str]| {
        let output = home.run(&[&["replay"], arguments].concat());
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        stderr(&output)
    };
    let late = "2099-01-01T00:00:00Z";
    for arguments in [&["--incident", "INC-999"][..], &["--incident", "INC-999", "--at", late]] {
        let said = told(arguments);
        assert!(said.contains("there is no INC-999 in the journal"), "{said}");
        assert!(
            said.contains("hint: the last one that is recorded in it is INC-2"),
            "{said}"
        );
    }
    let said = told(&["--incident", "INC-2", "--at", &at(0).to_string()]);
    assert!(
        said.contains("there was no INC-2 at") && said.contains("it was opened at"),
        "{said}"
    );
}

#[test]
fn steps_are_counted_from_one() {
    let home = Home::new("");
    fs::create_dir_all(home.data()).expect("it is our directory");
    let second = "  - block-ip: { target: event.raw.flow.absent_ip, lease: 1h }\nmode:";
    let text = super::BLOCK.replace("mode:", second);
    let event = alert("203.0.113.1", at(0), "Brute Force");
    let dir = home.data().join("journal");
    record_with(&dir, &text, &[(at(0), event)], &[], &|effect| {
        world(effect, 1, &Outcome::Landed)
    });
    let output = home.run(&["replay"]);
    let said = crate::harness::stdout(&output);
    assert!(said.contains("INC-1: step 2 has nothing to be aimed at"), "{said}");
}
