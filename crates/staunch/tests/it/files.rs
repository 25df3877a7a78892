//! Files that a sensor appends to, followed by the real program.

use std::fs;
use std::io::Write as _;

use nix::sys::signal::Signal;

use crate::harness::{Home, SMALL, brute_force_from, element, in_namespace, wait_until};

const FILES: &str = "[[sources.files]]\npath = \"eve.json\"\nbegin = \"start\"\n";

/// Appends an alert about each of `addresses`, one a line.
fn append(home: &Home, name: &str, addresses: &[&str]) {
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(home.path(name))
        .expect("it is our directory");
    for address in addresses {
        let line = brute_force_from(address).replace('\n', " ");
        file.write_all(line.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .expect("it is our file");
    }
}

#[test]
fn a_followed_file_is_contained_from_through_rotation_and_kills() {
    in_namespace("files::followed", || {
        let home = Home::new(&format!("{SMALL}{FILES}"));
        append(&home, "eve.json", &["203.0.113.1"]);
        let server = home.serve();
        let is_blocked = |address: &str| {
            wait_until(address, || element(address).is_some());
        };
        is_blocked("203.0.113.1");
        append(&home, "eve.json", &["203.0.113.2"]);
        is_blocked("203.0.113.2");
        // What copies a log and empties it, as logrotate's copytruncate does.
        fs::write(home.path("eve.json"), "").expect("it is our file");
        append(&home, "eve.json", &["203.0.113.7"]);
        is_blocked("203.0.113.7");
        fs::rename(home.path("eve.json"), home.path("eve.json.1")).expect("it is our file");
        append(&home, "eve.json.1", &["203.0.113.3"]);
        append(&home, "eve.json", &["203.0.113.4"]);
        is_blocked("203.0.113.3");
        is_blocked("203.0.113.4");
        server.kill();

        append(&home, "eve.json", &["203.0.113.5"]);
        fs::rename(home.path("eve.json"), home.path("eve.json.2")).expect("it is our file");
        append(&home, "eve.json", &["203.0.113.6"]);
        let server = home.serve();
        is_blocked("203.0.113.5");
        is_blocked("203.0.113.6");
        // What stands in no line of its own yet is waited for, and a stop does not.
        fs::write(home.path("eve.json.half"), "").expect("it is our directory");
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait(), Some(0));
        assert!(home.log().contains("following"), "{}", home.log());
        assert!(!home.log().contains("once it appears"), "{}", home.log());
    });
}

#[test]
fn a_file_that_is_not_there_is_said_to_be_read_once_it_appears_and_is() {
    in_namespace("files::absent", || {
        let home = Home::new(&format!("{SMALL}[[sources.files]]\npath = \"eve.json\"\n"));
        let server = home.serve();
        let says = || {
            let shown = server.ok(&["status"]);
            shown.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        wait_until("the word in the status", || says().contains("THE FILE IS NOT THERE"));
        wait_until("the warning", || {
            home.log()
                .contains("the file is not there: it is read, from its beginning, once it appears")
        });
        append(&home, "later.json", &["203.0.113.1"]);
        fs::rename(home.path("later.json"), home.path("eve.json")).expect("it is our directory");
        wait_until("the block", || element("203.0.113.1").is_some());
        wait_until("the end of it", || !says().contains("NOT THERE"));
        fs::remove_file(home.path("eve.json")).expect("it is our file");
        wait_until("the word after it was removed", || {
            says().contains("THE FILE IS NOT THERE")
        });
    });
}

#[test]
fn lines_that_cannot_be_read_are_told_and_cost_no_other() {
    in_namespace("files::malformed", || {
        let home = Home::new(&format!("{SMALL}{FILES}"));
        fs::write(home.path("eve.json"), "{\"a\": \nnot json\n").expect("it is our directory");
        append(&home, "eve.json", &["203.0.113.1"]);
        let mut file = fs::File::options()
            .append(true)
            .open(home.path("eve.json"))
            .expect("it is our file");
        file.write_all(b"[1, 2\n").expect("it is our file");
        append(&home, "eve.json", &["203.0.113.2"]);
        let server = home.serve();
        for address in ["203.0.113.1", "203.0.113.2"] {
            wait_until("the block", || element(address).is_some());
        }
        wait_until("the warning", || home.log().contains("lines that cannot be read"));
        // An element of an array that is cut, and its missing end, are two.
        let malformed = || {
            let status = server.get::<serde_json::Value>("/v1/status");
            let count = |it: &serde_json::Value| it.as_u64().unwrap_or_default();
            (
                count(&status["inlets"][0]["malformed"]),
                count(&status["counts"]["events_malformed"]),
            )
        };
        wait_until("the count", || malformed().0 == 5);
        assert_eq!(malformed().1, 5, "both counters tell the same");
        // Lines that come together and of which none can be read are sent one by one, and counted once.
        file.write_all(b"neither this\nnor that\n").expect("it is our file");
        wait_until("two more", || malformed().0 == 7);
        assert_eq!(malformed().1, 7, "none is counted twice");
        // An alert that contradicts itself accuses nobody, and a file has no answer that would say so.
        let alert = brute_force_from("203.0.113.3").replace('\n', " ");
        let mut alert: serde_json::Value = serde_json::from_str(&alert).expect("JSON");
        alert["src_ip"] = "203.0.113.4".into();
        file.write_all(format!("{alert}\n").as_bytes()).expect("it is our file");
        wait_until("the reason", || home.log().contains("without_key=1"));
        assert!(element("203.0.113.3").is_none() && element("203.0.113.4").is_none());
    });
}

#[test]
fn while_nothing_can_be_taken_a_file_waits() {
    in_namespace("files::waits", || {
        let home = Home::new(&format!("{SMALL}{FILES}[limits]\nsweep_interval = \"1s\"\n"));
        append(&home, "eve.json", &["203.0.113.1"]);
        let server = home.serve();
        wait_until("the block", || element("203.0.113.1").is_some());
        // Without its journal Staunch takes nothing. It notices that in its next sweep.
        let (journal, aside) = (home.data().join("journal"), home.path("aside"));
        fs::rename(&journal, &aside).expect("it is our directory");
        wait_until("the refusal", || {
            let answer = server.post(&brute_force_from("203.0.113.1"));
            answer.is_ok_and(|(status, _)| status == 503)
        });
        append(&home, "eve.json", &["203.0.113.2"]);
        wait_until("the warning", || home.log().contains("the file waits"));
        assert!(element("203.0.113.2").is_none());
        wait_until("the status", || server.ok(&["status"]).contains("WAITS: "));
        fs::rename(&aside, &journal).expect("it is our directory");
        wait_until("the block of what waited", || element("203.0.113.2").is_some());
        wait_until("the status", || {
            let status = server.ok(&["status"]);
            status.contains(": 2 lines, last ") && !status.contains("WAITS: ")
        });
        fs::remove_file(home.path("eve.json")).expect("it is our file");
        fs::create_dir(home.path("eve.json")).expect("it is our directory");
        wait_until("the failure", || server.ok(&["status"]).contains("FAILS: "));
    });
}
