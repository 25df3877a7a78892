//! `staunch incident timeline` and `staunch watch`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use serde_json::Value;
use staunch_server::dto::StreamEntry;

use crate::harness::{Home, SMALL, element, exploit_from, in_namespace, staunch, wait_until};

#[test]
fn the_timeline_has_events_acts_notices_and_people_in_the_order_of_the_journal() {
    in_namespace("incident::timeline", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        server.take(&exploit_from("203.0.113.9"));
        wait_until("the block", || element("203.0.113.9").is_some());
        wait_until("the index", || server.ok(&["incident", "list"]).contains("contained"));
        server.ok(&["release", "--incident", "INC-1", "--reason", "=our scanner", "--yes"]);
        let of = |arguments: &[&str]| server.ok(&[&["incident", "timeline", "INC-1"], arguments].concat());
        wait_until("the release", || of(&[]).contains("lifted"));

        let json: Value = serde_json::from_str(&of(&["--format", "json"])).expect("it writes JSON");
        let entries = json["entries"].as_array().expect("a list");
        let lanes: Vec<&str> = entries.iter().filter_map(|it| it["lane"].as_str()).collect();
        assert_eq!(lanes.first(), Some(&"event"));
        for lane in ["event", "incident", "transaction", "person"] {
            assert!(lanes.contains(&lane), "there is no {lane}: {json:#}");
        }
        let lsns: Vec<u64> = entries.iter().filter_map(|it| it["lsn"].as_u64()).collect();
        assert!(lsns.is_sorted(), "{lsns:?}");
        let place = |what: &str| {
            let found = entries
                .iter()
                .position(|it| it["what"].as_str().is_some_and(|it| it.contains(what)));
            found.unwrap_or_else(|| panic!("{what:?} is not there: {json:#}"))
        };
        let course = ["act sent", "verified: in force", "=our scanner", "outcome: contained"].map(place);
        assert!(
            course[0] < course[1] && course[1] < course[2] && course[3] < course[2],
            "{course:?}"
        );
        for measure in ["received_to_contained_us", "contained_to_lifted_us"] {
            assert!(json["measures"][measure].as_u64().is_some_and(|us| us > 0), "{json:#}");
        }

        let text = of(&[]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let newest_first = of(&["--reverse", "--format", "csv"]);
        let rows: Vec<&str> = newest_first.lines().skip(1).collect();
        assert_eq!(rows.len(), entries.len());
        assert!(rows.last().is_some_and(|row| row.contains(",event,")), "{newest_first}");

        server.ok(&["protect", "add", "203.0.113.64/28", "--reason", "the branch", "--yes"]);
        server.take(&exploit_from("203.0.113.70"));
        wait_until("the refusal", || server.ok(&["incident", "list"]).contains("refused"));
        let refused = server.ok(&["incident", "timeline", "INC-2"]);
        assert!(refused.contains("  notice    NOTE-"), "{refused}");
        assert!(refused.contains("the branch"), "{refused}");
    });
}

/// `staunch watch` in the background; ended with the test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn what_happens_is_watched_across_a_restart_and_nothing_is_left_out() {
    in_namespace("incident::watch", || {
        // The same address for both servers.
        let home = Home::new(SMALL);
        let server = home.serve();
        let mut command = staunch(&["watch", "--after", "0", "--json"]);
        command
            .env("STAUNCH_CONFIG", home.config())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut watching = Watching(command.spawn().expect("the binary starts"));
        let mut lines = BufReader::new(watching.0.stdout.take().expect("it is piped")).lines();
        let mut up_to = |what: &str| {
            let mut told: Vec<StreamEntry> = Vec::new();
            loop {
                let line = lines.next().expect("it goes on").expect("it can be read");
                told.push(serde_json::from_str(&line).expect("one JSON object a line"));
                if told.last().is_some_and(|it| it.what.contains(what)) {
                    return told;
                }
            }
        };
        server.take(&exploit_from("203.0.113.9"));
        let mut told = up_to("outcome: contained");
        server.kill();
        let server = home.serve();
        server.take(&exploit_from("203.0.113.10"));
        told.extend(up_to("outcome: contained"));
        drop(watching);

        // What is told once from the beginning is what was told.
        let count = told.len().to_string();
        let all = server.ok(&["watch", "--after", "0", "--count", &count, "--json"]);
        let all: Vec<StreamEntry> = all
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(told, all);
        let text = server.ok(&["watch", "--after", "0", "--count", &count]);
        assert!(text.contains("INC-2     TX-2 verified: in force until"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let gone = Home::new(SMALL).run(&["watch"]);
        assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    });
}
