//! `staunch replay`: the journal of a real server, and journals in which one decision was changed.

mod unread;

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use staunch_model::{Frame, Input, Record, Span};
use staunch_ports::{Journal, Lsn, NewFrame, Purpose};
use staunch_store::{JournalOptions, ReadOnlyJournal, SegmentJournal};

use crate::harness::{Home, SMALL, brute_force_from, wait_until};

/// Blocks without asking for the share of traffic, so that nobody has to be asked.
const BLOCK: &str = "playbook: block\nsummary: Block whoever guesses passwords.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 10m\n\
    contain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

/// A home in which two addresses were blocked and the first was released, by a server that has ended.
fn lived_in(check: impl FnOnce(&Home)) -> Home {
    let home = Home::new(&format!(
        "{SMALL}[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n"
    ));
    home.playbook("block.yaml", BLOCK);
    let server = home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    server.take(&brute_force_from("203.0.113.1"));
    server.take(&brute_force_from("203.0.113.2"));
    let in_force = |wanted: usize| {
        let all = server.containments();
        all.iter().filter(|it| it.lease_until.is_some()).count() == wanted && all.len() == wanted
    };
    wait_until("both containments", || in_force(2));
    server.ok(&["release", "TX-1", "--yes", "--reason", "\u{1b}[31m<b>ours</b>"]);
    wait_until("the release", || in_force(1));
    check(&home);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0), "{}", home.log());
    home
}

fn answer(home: &Home, arguments: &[&str]) -> Value {
    let output = home.run(arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn frames(journal: &Path) -> Vec<(u64, Frame)> {
    let mut all = Vec::new();
    ReadOnlyJournal::open(journal)
        .expect("there is a journal")
        .read(Lsn(1), &mut |stored| {
            let frame = postcard::from_bytes(&stored.payload).expect("it is of this build");
            all.push((stored.now_us, frame));
            std::ops::ControlFlow::Continue(())
        })
        .expect("it is sound");
    all
}

/// Writes the journal of `home` anew with `frames`: whole checksums, another history.
fn rewrite(home: &Home, frames: &[(u64, Frame)]) {
    let dir = home.data().join("journal");
    std::fs::remove_dir_all(&dir).expect("it is our directory");
    let options = JournalOptions {
        segment_bytes: 8 << 20,
        reserve_bytes: 131_072,
        payload_bytes_max: 1 << 20,
        ..JournalOptions::default()
    };
    let mut journal = SegmentJournal::open(&dir, options).expect("an empty directory");
    let epoch = journal.open_epoch().expect("nobody else writes");
    for (now_us, frame) in frames {
        let payload = postcard::to_stdvec(frame).expect("it was read before");
        let tail = journal.tail().lsn;
        let new = NewFrame {
            now_us: *now_us,
            payload: &payload,
        };
        journal
            .append(epoch, tail, Purpose::Settle, &[new])
            .expect("there is room");
    }
}

#[test]
fn a_journal_of_this_build_verifies_beside_the_server_and_after_it() {
    let home = lived_in(|home| {
        let verdict = answer(home, &["replay", "--verify", "--json"]);
        assert_eq!(verdict["same"], true, "{verdict}");
    });
    let count = frames(&home.data().join("journal")).len();
    let output = home.run(&["replay", "--verify"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("this build decides the same"), "{text}");
    assert!(text.contains(&format!("{count} frames")), "{text}");
    assert!(
        text.contains(concat!("staunch ", env!("CARGO_PKG_VERSION"), " from frame")),
        "{text}"
    );
    let verdict = answer(&home, &["replay", "--verify", "--json"]);
    assert_eq!(verdict["frames_compared"], count, "{verdict}");
    assert!(verdict["first_difference"].is_null(), "{verdict}");
}

#[test]
fn a_changed_decision_is_the_first_difference() {
    let home = lived_in(|_| {});
    let mut changed = frames(&home.data().join("journal"));
    let (at, lease) = changed
        .iter_mut()
        .enumerate()
        .find_map(|(at, (_, frame))| {
            frame.records.iter_mut().find_map(|record| match record {
                Record::TransactionPlanned { lease, .. } => Some((at, lease)),
                _ => None,
            })
        })
        .expect("something was planned");
    *lease = Span::from_hours(9);
    rewrite(&home, &changed);
    assert!(
        home.run(&["journal", "verify"]).status.success(),
        "its checksums are whole"
    );

    let output = home.run(&["replay", "--verify"]);
    assert_eq!(output.status.code(), Some(12), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(
        text.contains("- recorded: TX-1 planned for INC-1: block-ip 203.0.113.1 for 9h"),
        "{text}"
    );
    assert!(
        text.contains("+ decided:  TX-1 planned for INC-1: block-ip 203.0.113.1 for 1h"),
        "{text}"
    );
    let verdict = answer(&home, &["replay", "--verify", "--json"]);
    assert_eq!(verdict["first_difference"]["lsn"], at + 1, "{verdict}");
    assert_eq!(verdict["frames_compared"], at + 1, "{verdict}");
}

#[test]
fn frames_that_are_missing_or_go_back_in_time_are_differences_too() {
    let home = lived_in(|_| {});
    let whole = frames(&home.data().join("journal"));
    let (event, _) = whole
        .iter()
        .enumerate()
        .find(|(_, (_, frame))| matches!(frame.input, Input::Event { .. }))
        .expect("an event was taken");
    let first_difference = |frames: &[(u64, Frame)]| {
        rewrite(&home, frames);
        let output = home.run(&["replay", "--verify", "--json"]);
        assert_eq!(output.status.code(), Some(12), "{output:?}");
        let verdict: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        verdict["first_difference"].clone()
    };
    let mut missing = whole.clone();
    missing.remove(event);
    let found = first_difference(&missing);
    assert_eq!(found["lsn"], event + 1, "{found}");
    let mut back = whole;
    back[event].0 -= 3_600_000_000;
    let found = first_difference(&back);
    assert_eq!(found["lsn"], event + 1, "{found}");
    assert!(
        found["remark"].as_str().expect("a remark").contains("lies before"),
        "{found}"
    );
}

#[test]
fn the_state_is_shown_as_it_was() {
    let home = lived_in(|home| {
        let output = home.run(&["replay"]);
        assert!(output.status.success(), "it reads beside a running server: {output:?}");
    });
    let text = String::from_utf8(home.run(&["replay"]).stdout).expect("UTF-8");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for words in [
        "=> TX-1 pre-checking",
        "=> TX-1 executing",
        "=> TX-1 in-force",
        "=> TX-1 released",
        "=> TX-2 in-force",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "{text:?}");
    assert!(text.contains("\\u{1b}[31m<b>ours</b>"), "{text}");

    let one = String::from_utf8(home.run(&["replay", "--incident", "INC-2"]).stdout).expect("UTF-8");
    assert!(one.contains("=> TX-2 in-force") && !one.contains("TX-1"), "{one}");
    assert_eq!(home.run(&["replay", "--incident", "INC-99"]).status.code(), Some(5));

    // The moment at which the first address came into force, and the second was not known yet or under way.
    let lines = String::from_utf8(home.run(&["replay", "--json"]).stdout).expect("UTF-8");
    let steps: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(steps.len(), frames(&home.data().join("journal")).len());
    let state_of = |step: &Value, id: &str| {
        let all = step["transactions"].as_array().expect("a list").clone();
        all.into_iter()
            .find(|it| it["id"] == id)
            .map(|it| it["transaction"]["state"].clone())
    };
    let step = steps
        .iter()
        .find(|step| state_of(step, "TX-1") == Some("in-force".into()))
        .expect("it was in force");
    let at = answer(
        &home,
        &["replay", "--at", step["now"].as_str().expect("a time"), "--json"],
    );
    assert_eq!(at["containments"][0]["target"], "203.0.113.1", "{at}");
    assert_eq!(at["mode"]["in_force"], "enforce", "{at}");
    assert!(at["budgets"][0]["spent"].as_u64().expect("a number") >= 1, "{at}");
    let end = String::from_utf8(home.run(&["replay", "--at", "2099-01-01T00:00:00Z"]).stdout).expect("UTF-8");
    assert!(
        end.contains("Containments: 1\n") && end.contains("203.0.113.2"),
        "{end}"
    );
    assert!(
        end.contains("released: 1\n") && end.contains("breaker       closed"),
        "{end}"
    );
    assert!(end.lines().all(|line| line.chars().count() <= 80), "{end}");
    let begin = home.run(&["replay", "--at", "2001-01-01T00:00:00Z"]);
    assert!(
        String::from_utf8_lossy(&begin.stdout).contains("the journal begins later"),
        "{begin:?}"
    );
}

#[test]
fn a_snapshot_hides_nothing() {
    let home = lived_in(|_| {});
    let snapshots = std::fs::read_dir(home.data().join("journal"))
        .expect("it is our directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("snap"))
        .count();
    assert!(snapshots > 0, "a stop writes one");
    let text = String::from_utf8(home.run(&["replay"]).stdout).expect("UTF-8");
    assert!(text.trim_start().starts_with("1  "), "{text}");
}

#[test]
fn frames_that_are_missing_behind_a_snapshot_are_told() {
    let home = lived_in(|_| {});
    let journal = home.data().join("journal");
    let segment = std::fs::read_dir(&journal)
        .expect("it is our directory")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|it| it == "seg"))
        .expect("there is a segment");
    let whole = std::fs::metadata(&segment).expect("it is there").len();
    let last = frames(&journal).len();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&segment)
        .expect("it is ours");
    // As a copy that broke off: what is left looks like an end that a crash has left.
    file.set_len(9_000).expect("it can be cut");
    let left = frames(&journal).len();
    assert!(left > 0 && left < last, "{left} of {last}");
    let data = home.data().display().to_string();
    for arguments in [
        &["journal", "verify"][..],
        &["replay"],
        &["replay", "--verify"],
        &["replay", "--at", "2100-01-01T00:00:00Z"],
        &["backtest", "--journal", &data],
    ] {
        let output = home.run(arguments);
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {said}");
        assert!(said.contains("frames are missing"), "{arguments:?}: {said}");
    }
    file.set_len(4_096).expect("it can be cut");
    file.set_len(whole).expect("it is zeros");
    let snapshots = std::fs::read_dir(&journal).expect("it is our directory");
    for path in snapshots.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.extension().is_some_and(|it| it == "bin") {
            std::fs::remove_file(path).expect("it is ours");
        }
    }
    // What holds no frame proves nothing.
    let output = home.run(&["replay", "--verify"]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("nothing to compare"), "{said}");
}
