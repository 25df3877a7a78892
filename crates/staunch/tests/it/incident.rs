//! `staunch incident timeline` and `staunch watch`.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::Value;
use staunch_server::dto::StreamEntry;

use crate::harness::{Ended, Home, SMALL, element, exploit_from, in_namespace, staunch, stderr, wait_until};

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

        let sent = &entries[course[0]]["guards"];
        let numbers = sent
            .as_array()
            .and_then(|all| all.iter().find(|it| it["guard"] == "budget-total"));
        let numbers = numbers.unwrap_or_else(|| panic!("no budget: {json:#}"));
        assert_eq!(
            (&numbers["verdict"], &numbers["measured"]),
            (&"passed".into(), &0.into()),
            "{numbers:#}"
        );
        assert!(
            of(&["--format", "csv"]).contains("; budget-total 0 (limit "),
            "{json:#}"
        );

        let text = of(&[]);
        assert!(text.contains(" guards passed:\n"), "{text}");
        assert!(text.contains("   budget-total          0  limit "), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let newest_first = of(&["--reverse", "--format", "csv"]);
        let rows: Vec<&str> = newest_first.lines().skip(1).collect();
        assert_eq!(rows.len(), entries.len());
        assert!(rows.last().is_some_and(|row| row.contains(",event,")), "{newest_first}");

        server.ok(&["protect", "add", "203.0.113.64/28", "--reason", "the branch", "--yes"]);
        server.take(&exploit_from("203.0.113.70"));
        wait_until("the refusal", || server.ok(&["incident", "list"]).contains("refused"));
        let refused = server.ok(&["incident", "timeline", "INC-2"]);
        assert!(refused.contains("  notice   ~ NOTE-"), "{refused}");
        assert!(refused.contains("the branch"), "{refused}");
        assert!(refused.contains("REFUSED: never-touch 1 (limit 0)"), "{refused}");

        let of_outcome = |outcome: &str| server.ok(&["incident", "list", "--outcome", outcome]);
        let (lifted, refused) = (of_outcome("contained"), of_outcome("refused"));
        assert!(lifted.contains("INC-1  was contained"), "{lifted}");
        assert!(!lifted.contains("INC-2"), "{lifted}");
        assert!(refused.contains("INC-2  refused, closed"), "{refused}");
        assert!(!refused.contains("INC-1"), "{refused}");
        assert_eq!(server.ok(&["incident", "list", "--outcome", "stuck"]), "");
        let status = server.ok(&["status"]);
        assert!(
            status.contains("1 act since the start (never-touch 1) REFUSED:"),
            "{status}"
        );
        assert!(!status.contains("rollback"), "{status}");
    });
}

#[test]
fn the_page_of_an_incident_needs_nothing_else_and_trends_tell_of_it() {
    in_namespace("incident::page", || {
        let home = Home::new(SMALL);
        let server = home.serve();
        let hostile =
            exploit_from("203.0.113.9").replace("\"signature\":\"", "\"signature\":\"</svg><script>alert(1)</script> ");
        assert!(hostile.contains("<script>"), "{hostile}");
        server.take(&hostile);
        wait_until("the block", || element("203.0.113.9").is_some());
        wait_until("the index", || server.ok(&["incident", "list"]).contains("contained"));
        server.ok(&["release", "--incident", "INC-1", "--reason", "\"<b>ours", "--yes"]);
        let of = |arguments: &[&str]| server.ok(&[&["incident", "timeline", "INC-1"], arguments].concat());
        wait_until("the release", || of(&[]).contains("lifted"));

        let page = of(&["--format", "html"]);
        let file = home.path("timeline.html");
        let file = file.to_str().expect("a path");
        assert_eq!(of(&["--format", "html", "--output", file]), "");
        assert_eq!(std::fs::read_to_string(file).expect("it is written"), page);
        let again = server.run(&["incident", "timeline", "INC-1", "--output", file]);
        assert!(stderr(&again).contains("name a file that is not there"), "{again:?}");
        for part in [
            "<h1>INC-1: ",
            "suricata</text>",
            "TX-1 block-ip lifted",
            "never-touch",
            "dwell",
            "observed</td>",
        ] {
            assert!(page.contains(part), "there is no {part}: {page}");
        }
        assert!(
            page.contains("&lt;script&gt;") && page.contains("&quot;&lt;b&gt;ours"),
            "{page}"
        );
        for none in ["<script", "<b>ours", "http:", "https:", "src=", "href="] {
            assert!(!page.contains(none), "{none}: {page}");
        }

        let json: Value = serde_json::from_str(&of(&["--json"])).expect("it writes JSON");
        let entries = json["entries"].as_array().expect("a list");
        let basis = |what: &str| {
            let found = entries
                .iter()
                .find(|it| it["what"].as_str().is_some_and(|it| it.contains(what)));
            found.unwrap_or_else(|| panic!("{what:?} is not there: {json:#}"))["basis"].clone()
        };
        assert_eq!(basis("verified: in force"), "observed", "{json:#}");
        assert_eq!(basis("outcome: contained"), "inferred");
        assert_eq!(json["clocks"][0]["system"], "suricata", "{json:#}");
        assert_eq!(json["clocks"][0]["events"], 1, "{json:#}");
        let dwell = json["measures"]["event_to_contained_us"]
            .as_u64()
            .expect("a dwell time");
        assert!(
            dwell >= json["measures"]["received_to_contained_us"].as_u64().expect("a time"),
            "{json:#}"
        );

        server.take(&exploit_from("203.0.113.10"));
        wait_until("the index", || {
            server.ok(&["incident", "list"]).contains("203.0.113.10")
        });
        wait_until("the next block", || {
            server
                .ok(&["incident", "timeline", "INC-2"])
                .contains("outcome: contained")
        });
        let trends: Value = server.json(&["incident", "trends"]);
        assert_eq!(trends["incidents"], 2, "{trends:#}");
        let playbook = &trends["playbooks"][0];
        assert_eq!(playbook["received_to_contained_us"]["count"], 2, "{trends:#}");
        assert_eq!(playbook["contained_to_lifted_us"]["count"], 1, "{trends:#}");
        let lifted = json["measures"]["contained_to_lifted_us"].clone();
        assert_eq!(playbook["contained_to_lifted_us"]["median_us"], lifted, "{trends:#}");
        let text = server.ok(&["incident", "trends", "--by", "day"]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("2 incidents in the last 28d"), "{text}");
        let one: Value = server.json(&["incident", "trends", "--limit", "1"]);
        assert_eq!((&one["incidents"], &one["is_cut"]), (&1.into(), &true.into()));
    });
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
        let mut watching = Ended(command.spawn().expect("the binary starts"));
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

        // Nobody reads any more, and nothing comes that would show it.
        let mut unread = staunch(&["watch"])
            .env("STAUNCH_CONFIG", home.config())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Ended)
            .expect("the binary starts");
        drop(unread.0.stdout.take());
        wait_until("the end of what nobody reads", || {
            unread.0.try_wait().expect("it is ours").is_some()
        });
        assert_eq!(unread.0.wait().ok().and_then(|it| it.code()), Some(0));

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
