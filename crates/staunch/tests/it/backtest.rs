//! `staunch backtest`: recorded alerts at chosen times, in files; journals are in `backtest/journals.rs`.

mod inputs;
mod journals;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use staunch_model::{Span, Timestamp};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::harness::{Home, exploit_from, names_in, on_a_full_disk, stderr, stdout, wait_until};

pub(crate) use journals::{record_with, world};

/// Midday of the day on which everything here happens.
const NOON: &str = "2026-03-01T12:00:00Z";

pub(crate) fn at(minutes: u64) -> Timestamp {
    NOON.parse::<Timestamp>().expect("a time") + Span::from_mins(minutes)
}

/// A recorded alert, from `address` at `time`, with `signature`.
pub(crate) fn alert(address: &str, time: Timestamp, signature: &str) -> String {
    let mut event: Value = serde_json::from_str(&exploit_from(address)).expect("it is JSON");
    event["timestamp"] = time.to_string().into();
    event["alert"]["signature"] = signature.into();
    event["alert"]["category"] = "Misc Attack".into();
    event.to_string()
}

/// A playbook that blocks for an hour when `when` holds.
fn playbook(name: &str, when: &str, more: &str) -> String {
    format!(
        "playbook: {name}\nsummary: Blocks in tests.\ntrigger:\n  sources: [suricata]\n  when: {when}\n  \
         incident: event.source.ip\n  deduplicate: 10m\n{more}contain:\n  \
         - block-ip: {{ target: event.source.ip, lease: 1h }}\nmode: {{ low: enforce, medium: approve }}\n"
    )
}

struct Bench {
    home: Home,
}

impl Bench {
    fn new() -> Self {
        Self { home: Home::new("") }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.home.path(name);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it is our directory");
        std::fs::write(&path, content).expect("it is our directory");
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.home.run(&[&["backtest"], arguments].concat())
    }

    fn report(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

fn addresses(listed: &Value) -> Vec<&str> {
    let all = listed["addresses"].as_array().expect("a list").iter();
    all.map(|it| it["address"].as_str().expect("a text")).collect()
}

#[test]
fn a_changed_playbook_makes_a_known_difference() {
    let bench = Bench::new();
    let guesses = "event.signature.contains(\"Brute Force\")";
    bench.write("old/a.yaml", playbook("block", guesses, ""));
    let narrower = "event.signature.contains(\"SSH Brute Force\") || event.signature.contains(\"Port Scan\")";
    bench.write("new/a.yaml", playbook("block", narrower, ""));
    bench.write(
        "new/b.yaml",
        playbook("never", "event.signature.contains(\"no such thing\")", ""),
    );
    let lines = [
        alert("203.0.113.1", at(0), "SSH Brute Force"),
        alert("198.51.100.2", at(1), "FTP Brute Force"),
        alert("192.0.2.3", at(2), "Port Scan"),
        alert("192.0.2.4", at(3), "nothing of interest"),
    ];
    let events = bench.write("events.jsonl", lines.join("\n"));
    let (old, new) = (bench.home.path("old"), bench.home.path("new"));
    let (old, new) = (old.display().to_string(), new.display().to_string());
    let arguments = ["--events", &events, "--playbooks", &new, "--against", &old];

    let report = bench.report(&arguments);
    let found = &report["comparison"];
    assert_eq!(addresses(&found["newly_contained"]), ["192.0.2.3"], "{found}");
    assert_eq!(addresses(&found["newly_spared"]), ["198.51.100.2"], "{found}");
    assert_eq!(
        (&found["same"], &found["otherwise_different"]),
        (&1.into(), &0.into()),
        "{found}"
    );
    assert_eq!(report["read"]["alerts"], 4);
    assert_eq!(report["new"]["never_matched"], serde_json::json!(["never"]));
    assert_eq!(report["new"]["addresses"]["contained"], 2);

    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(
        text.contains("1 newly spared\n  198.51.100.2  contained by block -> no match"),
        "{text}"
    );
    let fail_on = |conditions| bench.run(&[&arguments[..], &["--fail-on", conditions]].concat());
    assert_eq!(fail_on("guard-trip,breaker,malformed").status.code(), Some(0));
    for condition in ["newly-spared", "guard-trip,newly-contained", "never-matched"] {
        let output = fail_on(condition);
        assert_eq!(output.status.code(), Some(12), "{condition}: {output:?}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("=> --fail-on: "),
            "{output:?}"
        );
    }
    let alone = bench.run(&["--events", &events, "--fail-on", "newly-spared"]);
    assert_eq!(alone.status.code(), Some(2), "{alone:?}");
    assert!(stderr(&alone).contains("two sets of playbooks"), "{alone:?}");
}

#[test]
fn budgets_leases_and_joins_go_by_the_time_of_the_events() {
    let bench = Bench::new();
    let tight = "guards: { acts_per_hour_max: 3 }\n";
    bench.write(
        "new/a.yaml",
        playbook("tight", "event.signature.contains(\"Brute\")", tight),
    );
    let mut lines: Vec<String> = (1..=5)
        .map(|n| alert(&format!("203.0.{n}.1"), at(n), "Brute"))
        .collect();
    lines.push(alert("203.0.1.1", at(6), "Brute again, while it is contained"));
    lines.push(alert("203.0.1.1", at(130), "Brute again, after the lease"));
    let events = bench.write("events.jsonl", lines.join("\n"));
    let new = bench.home.path("new").display().to_string();
    let report = bench.report(&["--events", &events, "--playbooks", &new, "--against", &new]);
    let side = &report["new"];
    assert_eq!(
        side["addresses"],
        serde_json::json!({ "contained": 3, "refused": 2 }),
        "{side}"
    );
    assert_eq!(
        (&side["containments"], &side["joins"]),
        (&4.into(), &1.into()),
        "{side}"
    );
    let guard = &side["guards"][0];
    assert_eq!(guard["guard"], "budget-playbook", "{side}");
    assert_eq!(
        (&guard["refused"], &guard["measured_max"], &guard["limit"]),
        (&2.into(), &3.into(), &3.into())
    );
    let peak = |what: &str| {
        let peaks = side["peaks"].as_array().expect("a list");
        let found = peaks.iter().find(|it| it["what"] == what);
        found.unwrap_or_else(|| panic!("{what}: {side}"))["peak"].clone()
    };
    assert_eq!(peak("containments at a time"), 3);
    assert_eq!(peak("acts in an hour, in all"), 3);
    assert_eq!(peak("acts in an hour, tight"), 3);
    let comparison = &report["comparison"];
    assert_eq!(
        (&comparison["same"], &comparison["newly_spared"]["count"]),
        (&5.into(), &0.into())
    );
    let output = bench.run(&["--events", &events, "--playbooks", &new, "--fail-on", "guard-trip"]);
    assert_eq!(output.status.code(), Some(12), "{output:?}");
}

#[test]
fn who_is_asked_says_yes_unless_told_otherwise() {
    let bench = Bench::new();
    let asks = "context: [traffic-share]\nguards: { impact: { traffic_share_max: 5% } }\n";
    bench.write(
        "new/a.yaml",
        playbook("asks", "event.signature.contains(\"Brute\")", asks),
    );
    let events = bench.write("events.json", alert("203.0.113.1", at(0), "Brute"));
    let new = bench.home.path("new").display().to_string();
    let side = |more: &[&str]| {
        let arguments = ["--events", &events, "--playbooks", &new];
        bench.report(&[&arguments[..], more].concat())["new"].clone()
    };
    let granted = side(&[]);
    assert_eq!(
        (&granted["addresses"]["contained"], &granted["asked"]),
        (&1.into(), &1.into()),
        "{granted}"
    );
    assert_eq!(granted["impact"]["unknown"], 1, "{granted}");
    assert_eq!(granted["guards"][0]["asked"], 1, "{granted}");
    let plans: Vec<&Value> = granted["plans"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| &it["ruling"])
        .collect();
    assert!(plans.contains(&&Value::from("contain, as approved")), "{granted}");
    // One act, asked about and then done: both lines say so.
    let text = |more: &[&str]| {
        let arguments = ["--events", &events, "--playbooks", &new];
        stdout(&bench.run(&[&arguments[..], more].concat())).replace("\n    ", " ")
    };
    let shown = text(&[]);
    assert!(
        shown.contains("1 x asks: block-ip for 1h: ask a person, who approves, mode"),
        "{shown}"
    );
    assert!(
        shown.contains("1 x asks: block-ip for 1h: contain, as approved, mode"),
        "{shown}"
    );
    let lapsed = text(&["--approvals", "lapse"]);
    assert!(
        lapsed.contains("1 x asks: block-ip for 1h: ask a person, mode"),
        "{lapsed}"
    );
    assert_eq!(side(&["--approvals", "lapse"])["addresses"]["asked"], 1);
    assert_eq!(side(&["--mode", "observe"])["addresses"]["observed"], 1);
}

#[test]
fn a_page_is_whole_or_not_there() {
    on_a_full_disk("backtest::full_disk", |small| {
        let bench = Bench::new();
        let events = bench.write("events.json", alert("203.0.113.1", at(0), "Brute"));
        let to = |page: &Path| bench.run(&["--events", &events, "--html", &page.display().to_string()]);
        let page = small.join("page.html");
        let full = to(&page);
        assert_eq!(full.status.code(), Some(9), "{full:?}");
        assert!(stderr(&full).contains("hint: make room on that disk"), "{full:?}");
        assert_eq!(names_in(small), ["filler"]);
        // The one of before stays as it was.
        std::fs::write(&page, "").expect("names take no room");
        assert_eq!(to(&page).status.code(), Some(9));
        assert_eq!(
            (names_in(small).len(), page.metadata().map(|it| it.len()).ok()),
            (2, Some(0))
        );

        let old = bench.write("page.html", "<!doctype html>what was there");
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o640)).expect("it is ours");
        let link = bench.home.path("link.html");
        std::os::unix::fs::symlink("page.html", &link).expect("a link");
        assert_eq!(to(&link).status.code(), Some(0));
        assert!(link.is_symlink(), "what a link leads to is written");
        let text = std::fs::read_to_string(&old).expect("it is there");
        assert!(
            text.starts_with("<!DOCTYPE html>") && text.trim_end().ends_with("</html>"),
            "{text}"
        );
        let mode = std::fs::metadata(&old).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "who may read it is as before");
        // Also where nothing is so far, over two links.
        let (first, second) = (bench.home.path("first.html"), bench.home.path("second.html"));
        std::os::unix::fs::symlink("second.html", &first).expect("a link");
        std::os::unix::fs::symlink("new.html", &second).expect("a link");
        assert_eq!(to(&first).status.code(), Some(0));
        assert!(first.is_symlink() && second.is_symlink() && bench.home.path("new.html").is_file());
        // What is no file is written to, and not taken away.
        let shown = to(Path::new("/dev/stdout"));
        assert!(
            shown.status.success() && stdout(&shown).contains("</html>"),
            "{shown:?}"
        );
        assert!(Path::new("/dev/stdout").is_symlink(), "it is still there");
    });
}

/// What the configured files say of the targets is asked by triggers and judged by the rows of the context guard.
#[test]
fn the_context_guard_judges_files_of_events() {
    let rows = "[[context.guards]]\nname = \"lab\"\nenvironment = [\"lab\"]\nthen = \"refuse\"\n\
                [[context.guards]]\nname = \"ours\"\nasset_known = true\nthen = \"ask\"\n";
    let files = "[[context.assets]]\npath = \"assets.yaml\"\n";
    let run = |config: &str, arguments: &[&str]| {
        let bench = Bench {
            home: Home::new(config),
        };
        bench.write(
            "assets.yaml",
            "assets:\n  - { network: 203.0.113.1, environment: lab }\n  - { network: 203.0.113.2, tier: \"1\" }\n",
        );
        let signed = "event.signature == \"Brute\"";
        bench.write("new/a.yaml", playbook("any", signed, ""));
        bench.write("new/b.yaml", playbook("tiers", "asset.source.tier == \"1\"", ""));
        let lines = (1..=3).map(|n| alert(&format!("203.0.113.{n}"), at(n), "Brute"));
        let events = bench.write("events.jsonl", lines.collect::<Vec<_>>().join("\n"));
        let new = bench.home.path("new").display().to_string();
        let against = ["--events", &events, "--playbooks", &new, "--against", &new];
        let report = bench.report(&[&against, arguments].concat());
        (report["new"].clone(), report["assumptions"]["notes"].to_string())
    };
    let (side, notes) = run(&format!("{files}{rows}"), &["--approvals", "lapse"]);
    assert_eq!(
        side["addresses"],
        serde_json::json!({ "asked": 1, "contained": 1, "refused": 1 }),
        "{side}"
    );
    let guards = side["guards"].as_array().expect("a list");
    assert_eq!(
        (guards.len(), &guards[0]["guard"], &guards[0]["refused"]),
        (1, &"context".into(), &1.into()),
        "{side}"
    );
    assert_eq!(side["never_matched"], serde_json::json!([]), "{side}");
    assert!(notes.contains("what the configured files say"), "{notes}");
    let (side, _) = run(&format!("{files}{rows}"), &["--approvals", "grant"]);
    assert_eq!(side["addresses"]["contained"], 2, "{side}");
    let (side, _) = run(files, &[]);
    assert_eq!(side["addresses"], serde_json::json!({ "contained": 3 }), "{side}");
    let (side, notes) = run("", &[]);
    assert_eq!(side["never_matched"], serde_json::json!(["tiers"]), "{side}");
    assert!(!notes.contains("files say"), "{notes}");
}

#[test]
fn every_form_of_file_says_the_same() {
    let bench = Bench::new();
    bench.write(
        "new/a.yaml",
        playbook("block", "event.signature.contains(\"Brute\")", ""),
    );
    let new = bench.home.path("new").display().to_string();
    let alerts: Vec<String> = (1..=3)
        .map(|n| alert(&format!("203.0.113.{n}"), at(n), "Brute"))
        .collect();
    let pretty: Vec<String> = alerts
        .iter()
        .map(|it| serde_json::to_string_pretty(&serde_json::from_str::<Value>(it).expect("JSON")).expect("JSON"))
        .collect();
    let lines = alerts.join("\n") + "\n";
    let zstd = |text: &str| zstd::bulk::compress(text.as_bytes(), 3).expect("it compresses");
    let mut torn = zstd(&lines);
    torn.extend(&zstd(&alert("203.0.113.9", at(9), "Brute"))[..40]);
    let forms: [(&str, Vec<u8>); 6] = [
        ("lines.ndjson", lines.clone().into()),
        ("array.json", format!("[{}]", alerts.join(",")).into()),
        ("pretty.json", pretty.join("\n").into()),
        ("pretty-array.json", format!("[\n{}\n]\n", pretty.join(",\n")).into()),
        ("lines.ndjson.zst", zstd(&lines)),
        ("suricata-20260301T120000.000000Z.ndjson.zst", torn),
    ];
    for (name, content) in forms {
        let file = bench.write(&format!("events/{name}"), content);
        let report = bench.report(&["--events", &file, "--playbooks", &new]);
        assert_eq!(report["read"]["events"], 3, "{name}: {report}");
        assert_eq!(report["new"]["addresses"]["contained"], 3, "{name}: {report}");
        assert_eq!(report["read"]["malformed"], 0, "{name}: {report}");
        let torn = &report["read"]["inputs"][0]["torn"];
        assert_eq!(torn.is_null(), !name.starts_with("suricata"), "{name}: {report}");
    }
    let all = bench.home.path("events").display().to_string();
    let report = bench.report(&["--events", &all, "--playbooks", &new]);
    assert_eq!(report["read"]["events"], 18, "{report}");
    assert_eq!(report["new"]["addresses"]["contained"], 3, "{report}");

    let spoilt = format!("{}\n{{\"torn\": \n[1]\n{}\n", alerts[0], alerts[1]);
    let file = bench.write("spoilt.jsonl", spoilt);
    let report = bench.report(&["--events", &file, "--playbooks", &new]);
    assert_eq!(
        (&report["read"]["malformed"], &report["read"]["events"]),
        (&2.into(), &2.into()),
        "{report}"
    );
    assert_eq!(bench.run(&["--events", "/nowhere.jsonl"]).status.code(), Some(5));
    assert_eq!(
        bench.run(&["--events", &file, "--source", "nobody"]).status.code(),
        Some(5)
    );
    assert_eq!(bench.run(&[]).status.code(), Some(2));
}

#[test]
fn what_cannot_be_read_has_a_place_and_nothing_readable_is_a_mistake() {
    let bench = Bench::new();
    bench.write(
        "new/a.yaml",
        playbook("block", "event.signature.contains(\"Brute\")", ""),
    );
    let new = bench.home.path("new").display().to_string();
    let good = alert("203.0.113.1", at(1), "Brute");
    let mixed = bench.write("mixed.ndjson", format!("{good}\n{{\"a\":\n{good}\n"));
    let report = bench.report(&["--events", &mixed, "--playbooks", &new]);
    let first = report["read"]["malformed_first"][0].as_str().expect("one is named");
    assert!(first.contains("mixed.ndjson, element 2: "), "{report}");
    let bad = bench.write("bad.ndjson", "{\"a\":\nnot json\n");
    let output = bench.run(&["--events", &bad, "--playbooks", &new]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("none of the ") && said.contains("--source"), "{said}");
}

#[test]
fn files_are_merged_by_the_time_of_their_events() {
    let bench = Bench::new();
    bench.write(
        "new/a.yaml",
        playbook("block", "event.signature.contains(\"Brute\")", ""),
    );
    let new = bench.home.path("new").display().to_string();
    let file = |name: &str, minutes: [u64; 3], network: u8| {
        let lines = (0..).zip(minutes);
        let lines: Vec<String> = lines
            .map(|(n, minute)| alert(&format!("203.0.{network}.{n}"), at(minute), "Brute"))
            .collect();
        bench.write(name, lines.join("\n"))
    };
    // One after the other, the second would begin with events that are an hour old.
    let (one, other) = (file("a.jsonl", [0, 60, 120], 1), file("b.jsonl", [1, 61, 121], 2));
    let report = bench.report(&["--events", &one, &other, "--playbooks", &new]);
    assert_eq!(
        report["new"]["addresses"],
        serde_json::json!({ "contained": 6 }),
        "{report}"
    );
    // A clock that is wrong by years does not carry the others with it.
    let wrong = alert("203.0.3.1", "2199-01-01T00:00:00Z".parse().expect("a time"), "Brute");
    let wrong = bench.write("c.jsonl", wrong);
    let report = bench.report(&["--events", &wrong, &one, &other, "--playbooks", &new]);
    assert_eq!(
        report["new"]["addresses"],
        serde_json::json!({ "contained": 6, "refused": 1 }),
        "{report}"
    );
    assert_eq!(report["new"]["guards"][0]["guard"], "freshness", "{report}");
}

#[test]
fn hostile_text_stays_text() {
    let bench = Bench::new();
    let hostile = "<script>alert(1)</script>\\u001b[31m\\u202e\\\"'&";
    bench.home.configure(&format!(
        "[[never_touch.networks]]\nnetwork = \"203.0.113.0/24\"\nreason = \"{hostile}\"\n"
    ));
    bench.write(
        "new/a.yaml",
        playbook("block", "event.signature.contains(\"Brute\")", ""),
    );
    let new = bench.home.path("new").display().to_string();
    let lines = [
        alert("203.0.113.1", at(0), "Brute"),
        "{\"event_type\":\"alert\",\"<img src=x>\":1,\"<img src=x>\":2}".to_owned(),
    ];
    let events = bench.write("<script>\u{1b}[31m.jsonl", lines.join("\n"));
    let page = bench.home.path("report.html").display().to_string();
    let arguments = ["--events", &events, "--playbooks", &new, "--html", &page];
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let unsafe_to_show = |c: char| c != '\n' && staunch_model::text::is_unsafe_to_show(c);
    let json = bench.run(&[&arguments[..], &["--json"]].concat());
    let page = std::fs::read_to_string(&page).expect("it was written");
    for text in [&output.stdout, &output.stderr, &json.stdout].map(|it| String::from_utf8_lossy(it)) {
        assert!(!text.contains(unsafe_to_show), "{text:?}");
    }
    assert!(!page.contains(unsafe_to_show), "{page:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("<script>alert(1)</script>\\u{1b}[31m"));
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;\\u{1b}[31m"),
        "{page}"
    );
    for markup in ["<script", "<img", "http://", "https://", "src="] {
        assert!(
            !page.replace("&lt;img src=x&gt;", "").contains(markup),
            "{markup} in {page}"
        );
    }
    assert!(page.contains("default-src 'none'"), "{page}");
}

#[test]
fn what_matched_nothing_is_archived_and_can_be_tried_later() {
    let bench = Bench::new();
    let config = "mode = \"enforce\"\n[journal]\nsegment_bytes = 8388608\nreserve_bytes = 131072\n\
                  [playbooks]\nbuilt_in = false\ndirs = [\"old\"]\n[archive]\nenabled = true\n";
    bench.home.configure(config);
    bench.write(
        "old/a.yaml",
        playbook("block", "event.signature.contains(\"Brute\")", ""),
    );
    bench.write(
        "new/a.yaml",
        playbook("wider", "event.signature.contains(\"Scan\")", ""),
    );
    let server = bench
        .home
        .try_serve(&["--allow-unauthenticated-loopback", "--driver", "memory"])
        .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"));
    let time = SystemClock.now();
    let events = [
        alert("203.0.113.1", time, "Brute"),
        alert("203.0.113.2", time, "Scan"),
        alert("203.0.113.3", time, "nothing of interest"),
        "{\"event_type\":\"stats\"}".to_owned(),
    ];
    assert_eq!(server.take(&events.join("\n")).matched, 1);
    wait_until("the archive", || {
        server.ok(&["status"]).contains("2 events archived, 0 dropped")
    });
    let archive = bench.home.data().join("archive").display().to_string();
    let new = bench.home.path("new").display().to_string();
    let report = |what: &str| {
        let report = bench.report(&["--events", &archive, "--playbooks", &new]);
        assert_eq!(report["read"]["alerts"], 2, "{what}: {report}");
        assert_eq!(
            addresses(&report["comparison"]["newly_contained"]),
            ["203.0.113.2"],
            "{what}: {report}"
        );
        assert_eq!(report["read"]["inputs"][0]["source"], "suricata", "{what}: {report}");
    };
    report("beside the server");
    server.kill();
    report("after a kill");
    let mode = std::fs::metadata(&archive).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
