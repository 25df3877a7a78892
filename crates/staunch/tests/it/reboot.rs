//! A machine that is started anew: the tables of its kernel begin empty, and what is in force is put back.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use staunch_model::StateKind;
use staunch_netlink::nftables::Nft;
use staunch_server::dto::Incidents;

use crate::harness::{DEADLINE, Home, SMALL, Server, brute_force_from, element, in_namespace, stderr, wait_until};

const ATTACKER: &str = "203.0.113.7";
const ANOTHER: &str = "203.0.113.8";
const THIRD: &str = "203.0.113.9";

fn in_force(server: &Server) -> usize {
    let all = server.containments();
    all.iter().filter(|it| it.state == StateKind::InForce).count()
}

/// What a start of the machine leaves: a dead server, a kernel without tables, and another boot.
fn restart_the_machine(home: &Home, server: Server) {
    let note = home.data().join("boot");
    wait_until("the note of the boot", || note.exists());
    server.kill();
    let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
    nft.delete_table().expect("it is there");
    let text = fs::read_to_string(&note).expect("it is there");
    let machine = text.lines().nth(1).expect("it names the machine");
    fs::write(note, format!("00000000-0000-4000-8000-000000000000\n{machine}\n")).expect("it is our directory");
}

fn contained(home: &Home) -> Server {
    let server = home.serve();
    for (count, address) in [(1, ATTACKER), (2, ANOTHER)] {
        server.take(&brute_force_from(address));
        wait_until("the containment", || in_force(&server) == count);
    }
    server
}

#[test]
fn what_is_in_force_is_put_back_after_a_start_of_the_machine() {
    in_namespace("reboot::what_is_in_force_is_put_back", || {
        let home = Home::new(SMALL);
        let server = contained(&home);
        server.ok(&["release", "TX-2", "--yes", "--reason", "a test"]);
        wait_until("the release", || in_force(&server) == 1);
        let before = element(ATTACKER).expect("it is blocked").expires.expect("it ends");
        restart_the_machine(&home, server);
        assert_eq!(element(ATTACKER), None);

        let server = home.serve();
        let after = element(ATTACKER).expect("it is blocked again");
        let left = after.expires.expect("it ends");
        assert!(
            left <= before && left + Duration::from_secs(60) > before,
            "{left:?} of {before:?}"
        );
        assert_eq!(element(ANOTHER), None, "what was released is not put back");
        // The sweep at the start has found it in place.
        wait_until("a sweep", || {
            let status: serde_json::Value = server.json(&["status"]);
            !status["swept_at"].is_null()
        });
        assert_eq!(in_force(&server), 1);
        assert!(home.log().contains("what was in force is put back"), "{}", home.log());
        server.ok(&["release", "TX-1", "--yes", "--reason", "a test"]);
        wait_until("the release", || element(ATTACKER).is_none());
    });
}

/// Who lifts everything beside a running server has nothing of it put back, and everything that comes after.
#[test]
fn what_is_contained_after_a_release_beside_the_server_is_put_back() {
    in_namespace("reboot::beside_the_server", || {
        let home = Home::new(&format!("{SMALL}[limits]\nsweep_interval = \"1s\"\n"));
        let server = contained(&home);
        let note = home.data().join("boot");
        wait_until("the note of the boot", || note.exists());
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10), "{released:?}");
        wait_until("the sweep", || in_force(&server) == 0);
        server.take(&brute_force_from(THIRD));
        wait_until("the containment", || in_force(&server) == 1);
        restart_the_machine(&home, server);
        let _server = home.serve();
        assert!(element(THIRD).is_some(), "it is put back");
        assert_eq!(element(ATTACKER), None, "what was lifted is not");
    });
}

#[test]
fn what_somebody_removed_or_a_person_lifted_is_not_put_back() {
    in_namespace("reboot::what_somebody_removed", || {
        // Lifted without a server, and the machine is started anew after it.
        let home = Home::new(SMALL);
        contained(&home).kill();
        let released = home.run(&["release", "--all", "--direct", "--yes", "--reason", "a test"]);
        assert_eq!(released.status.code(), Some(10));
        assert!(!home.data().join("boot").exists());
        let server = home.serve();
        wait_until("the record", || in_force(&server) == 0);
        assert_eq!(element(ATTACKER), None);
        server.kill();

        // Removed while the machine went on.
        let home = Home::new(SMALL);
        let server = contained(&home);
        server.kill();
        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        nft.delete_table().expect("it is there");
        let server = home.serve();
        wait_until("the sweep", || in_force(&server) == 0);
        assert_eq!(element(ATTACKER), None);
        let listed: Incidents = server.json(&["incident", "list"]);
        assert_eq!(listed.incidents.len(), 2);
        assert!(
            home.log().contains("removed or replaced by somebody else"),
            "{}",
            home.log()
        );
    });
}

fn is_aside(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"released.unreadable-")
}

/// Who went around a server that did not run is on record with the reason, once, and nobody is told that somebody else
/// has removed what was in force.
#[test]
fn a_release_without_a_server_is_recorded_by_the_next_start() {
    in_namespace("reboot::a_release_without_a_server", || {
        let home = Home::new(SMALL);
        contained(&home).kill();
        let reason = "the shop is down, and Staunch with it";
        let asked = ["release", "--all", "--direct", "--yes", "--reason", reason, "--json"];
        let notes = home.data().join("released.jsonl");
        let released = home.run(&asked);
        assert_eq!(released.status.code(), Some(10));
        let told: serde_json::Value = serde_json::from_slice(&released.stdout).expect("it is JSON");
        assert_eq!((&told["noted"], &told["released"]), (&true.into(), &2.into()));
        assert_eq!(element(ATTACKER), None);
        // Whoever is on call next does the same, and what is half written is told and kept.
        let kept = fs::read_to_string(&notes).expect("it is there");
        let half = format!("{kept}{{\"at\":\"ü");
        // In the middle of a character.
        fs::write(&notes, &half.as_bytes()[..half.len() - 1]).expect("it is our directory");
        let second = "nobody has told me that it was done";
        home.run(&["release", "--all", "--direct", "--yes", "--reason", second]);

        let server = home.serve();
        wait_until("the record", || in_force(&server) == 0 && !notes.exists());
        let kept_aside = || {
            fs::read_dir(home.data())
                .expect("ours")
                .flatten()
                .find(|it| is_aside(&it.file_name()))
        };
        let aside = fs::read(kept_aside().expect("it is kept").path()).expect("it is kept");
        assert!(
            aside.starts_with(&half.as_bytes()[..half.len() - 1]),
            "{}",
            String::from_utf8_lossy(&aside)
        );
        assert!(
            home.log().contains("without a server is not recorded"),
            "{}",
            home.log()
        );
        let commands = server.ok(&["journal", "cat", "--json"]);
        // Everything is released in turns: here in one, and in one that finds nothing left.
        let turns = |commands: &str, reason: &str| commands.lines().filter(|it| it.contains(reason)).count();
        assert_eq!(
            (turns(&commands, reason), turns(&commands, second)),
            (2, 2),
            "{commands}"
        );
        let timeline = server.ok(&["incident", "timeline", "INC-1", "--format", "csv"]);
        assert!(timeline.contains(reason), "{timeline}");
        assert!(timeline.contains("this machine, without the server, at "), "{timeline}");
        let notices = server.get::<serde_json::Value>("/v1/notices").to_string();
        assert!(!notices.contains("somebody else"), "{notices}");
        assert!(!home.log().contains("somebody else"), "{}", home.log());

        // A server that runs is not told by a note: it may have contained anew by the time of its next start.
        server.take(&brute_force_from("203.0.113.9"));
        wait_until("the containment", || in_force(&server) == 1);
        let told = home.run(&asked);
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("it is JSON");
        assert_eq!((&told["noted"], &told["released"]), (&false.into(), &1.into()));
        let told = home.run(&asked[..asked.len() - 1]);
        assert!(
            stderr(&told).contains("the reason that was given is on record nowhere"),
            "{}",
            stderr(&told)
        );
        assert!(!notes.exists());
        server.take(&brute_force_from("203.0.113.10"));
        wait_until("the containment", || element("203.0.113.10").is_some());
        server.kill();
        let server = home.serve();
        // The sweep finds the other one missing.
        wait_until("a sweep", || in_force(&server) == 1);
        assert!(element("203.0.113.10").is_some(), "nothing is released twice");
        server.kill();

        // What is recorded and was not taken away, as by a start that was killed in between, is not done again; what is
        // no note releases nothing.
        fs::write(&notes, format!("{kept}{{")).expect("it is our directory");
        let server = home.serve();
        wait_until("a sweep", || {
            let status: serde_json::Value = server.json(&["status"]);
            !status["swept_at"].is_null()
        });
        assert_eq!(in_force(&server), 1);
        assert!(!notes.exists());
        let commands = server.ok(&["journal", "cat", "--json"]);
        assert_eq!(turns(&commands, reason), 2, "{commands}");
    });
}

#[test]
fn what_is_never_to_be_touched_by_now_or_of_another_machine_is_not_put_back() {
    in_namespace("reboot::what_is_never_to_be_touched", || {
        let home = Home::new(SMALL);
        let server = contained(&home);
        restart_the_machine(&home, server);
        let settings = fs::read_to_string(home.config()).expect("it is there");
        let partner =
            format!("{settings}\n[[never_touch.networks]]\nnetwork = \"{ATTACKER}/32\"\nreason = \"a partner\"\n");
        fs::write(home.config(), partner).expect("it is our directory");
        let server = home.serve();
        assert_eq!(element(ATTACKER), None, "it is protected by now");
        assert!(element(ANOTHER).is_some());
        wait_until("the sweep", || in_force(&server) == 1);

        // A copy of the data directory on another machine.
        restart_the_machine(&home, server);
        let note = home.data().join("boot");
        fs::write(
            note,
            "00000000-0000-4000-8000-000000000000\n00000000000000000000000000000000\n",
        )
        .expect("it is ours");
        let server = home.serve();
        wait_until("the sweep", || in_force(&server) == 0);
        assert_eq!(element(ANOTHER), None);
    });
}
