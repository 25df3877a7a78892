//! `staunch backtest`: recorded alerts at chosen times, and journals whose world is known.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use serde_json::Value;
use staunch_engine::Engine;
use staunch_engine::triage::Triage;
use staunch_model::{
    Command, Effect, Event, Fact, Facts, Failure, FailureKind, Frame, Input, InstallationId, Mode, Observation,
    ObservePurpose, Operator, Outcome, Owner, Policy, Presence, Span, SweepFindings, Timestamp, TrafficShare,
    TransactionId,
};
use staunch_playbook::CheckContext;
use staunch_ports::clock::SystemClock;
use staunch_ports::{Action, Clock as _, Journal, NewFrame, Purpose, Sighting};
use staunch_store::{JournalOptions, SegmentJournal};

use crate::harness::{Home, exploit_from, names_in, on_a_full_disk, stderr, stdout, wait_until};

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

        let old = bench.write("page.html", "what was there");
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

/// As [`record_with`], without commands.
fn record(dir: &Path, text: &str, events: &[(Timestamp, String)], world: &dyn Fn(&Effect) -> Option<Input>) {
    record_with(dir, text, events, &[], world);
}

/// Records how an engine with `text` as its playbook fares in a world that answers as `world` says.
pub(crate) fn record_with(
    dir: &Path,
    text: &str,
    events: &[(Timestamp, String)],
    commands: &[(Timestamp, Input)],
    world: &dyn Fn(&Effect) -> Option<Input>,
) {
    let options = JournalOptions {
        segment_bytes: 8 << 20,
        reserve_bytes: 131_072,
        payload_bytes_max: 1 << 20,
        ..JournalOptions::default()
    };
    let mut journal = SegmentJournal::open(dir, options).expect("an empty directory");
    let epoch = journal.open_epoch().expect("nobody else writes");
    let compiled = staunch_playbook::compile("a.yaml", text, &CheckContext::default()).expect("it is right");
    let triage = Triage::new(vec![compiled.program.clone()]);
    let source = staunch_connectors::sources::ports(&Default::default())
        .expect("the usual ones")
        .remove(0);
    let memory = staunch_connectors::actions::block_ip::MemoryBlockIp::new(
        staunch_connectors::actions::block_ip::MemoryWorld::new(),
        InstallationId::default(),
    );
    let policy = Policy {
        limits: staunch_engine::limits::DEFAULT,
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks: vec![compiled.program.playbook],
        drivers: vec![memory.describe()],
    };
    let mut engine = Engine::new();
    let start = events[0].0;
    let started = Input::Started {
        installation: InstallationId::default(),
        build: "a test".into(),
    };
    let mut inputs = vec![(start, Input::Policy(policy.into())), (start, started)];
    for (time, event) in events {
        let read = source.read(event.as_bytes(), &mut |_, sighting| {
            if let Sighting::Event(view) = sighting {
                let event = Arc::new(Event::keep(view, *time));
                let matches = triage.matches(view);
                inputs.push((*time, Input::Event { event, matches }));
            }
        });
        read.expect("it is one event");
    }
    inputs.extend(commands.iter().cloned());
    inputs.sort_by_key(|(time, _)| *time);
    // Deadlines come before what happens after them, and answers at once.
    for (now, input) in inputs {
        let mut waiting = std::collections::VecDeque::new();
        while let Some(due) = engine.state().next_deadline().filter(|due| *due < now) {
            waiting.push_back(Input::Tick);
            while let Some(input) = waiting.pop_front() {
                waiting.extend(turn(&mut engine, &mut journal, epoch, due, input, world));
            }
        }
        waiting.push_back(input);
        while let Some(input) = waiting.pop_front() {
            waiting.extend(turn(&mut engine, &mut journal, epoch, now, input, world));
        }
    }
}

fn turn(
    engine: &mut Engine,
    journal: &mut SegmentJournal,
    epoch: staunch_ports::Epoch,
    now: Timestamp,
    input: Input,
    world: &dyn Fn(&Effect) -> Option<Input>,
) -> Vec<Input> {
    let step = engine.step(&input, now);
    let frame = Frame {
        input,
        records: step.records,
    };
    let payload = postcard::to_stdvec(&frame).expect("it can be encoded");
    let new = NewFrame {
        now_us: step.now.as_micros(),
        payload: &payload,
    };
    let tail = journal.tail().lsn;
    journal
        .append(epoch, tail, Purpose::Settle, &[new])
        .expect("there is room");
    step.effects.iter().filter_map(world).collect()
}

/// A world in which acts turn out as `outcome`, and the share of traffic of everybody is `flows` of 100.
pub(crate) fn world(effect: &Effect, flows: u64, outcome: &Outcome) -> Option<Input> {
    Some(match effect {
        Effect::Observe {
            transaction,
            ticket,
            purpose,
            ..
        } => {
            let ours = Presence::Present {
                owner: Owner::Ours(*transaction),
                expires_in: None,
            };
            let is_there = *purpose == ObservePurpose::PostCheck && *outcome == Outcome::Landed;
            let share = TrafficShare {
                flows,
                flows_total: 100,
                bytes: None,
                bytes_total: None,
            };
            let fact = Fact {
                value: Ok(share),
                source: "a test".into(),
                age: Span::ZERO,
            };
            Input::Observed {
                transaction: *transaction,
                ticket: *ticket,
                result: Ok(Observation {
                    presence: if is_there { ours } else { Presence::Absent },
                    enforcing: true,
                    version: 1,
                    capacity: None,
                    stopped_packets: None,
                }),
                facts: Facts {
                    traffic: (*purpose == ObservePurpose::PreCheck).then_some(fact),
                },
            }
        }
        Effect::Execute {
            transaction, ticket, ..
        } => Input::Executed {
            transaction: *transaction,
            ticket: *ticket,
            outcome: outcome.clone(),
        },
        Effect::Undo {
            transaction, ticket, ..
        } => Input::Undone {
            transaction: *transaction,
            ticket: *ticket,
            outcome: Outcome::Landed,
        },
        Effect::Notify(notice) => Input::Notified {
            notice: notice.id,
            result: Ok(()),
        },
        Effect::Collect { .. } | Effect::ReadHealth { .. } => return None,
    })
}

#[test]
fn a_journal_answers_with_what_was_known_then() {
    let bench = Bench::new();
    let limited = |percent: &str| {
        let more = format!("context: [traffic-share]\nguards: {{ impact: {{ traffic_share_max: {percent} }} }}\n");
        playbook("share", "event.signature.contains(\"Brute\")", &more)
    };
    let journal = bench.home.path("recorded");
    let events = [(at(0), alert("203.0.113.1", at(0), "Brute"))];
    record(&journal, &limited("5%"), &events, &|effect| {
        world(effect, 40, &Outcome::Landed)
    });
    let shown = journal.display().to_string();
    bench.write("same/a.yaml", limited("5%"));
    bench.write("wider/a.yaml", limited("50%"));
    let (same, wider) = (bench.home.path("same"), bench.home.path("wider"));
    let report =
        |playbooks: &PathBuf| bench.report(&["--journal", &shown, "--playbooks", &playbooks.display().to_string()]);
    let unchanged = report(&same);
    assert_eq!(unchanged["comparison"]["same"], 1, "{unchanged}");
    assert_eq!(unchanged["old"]["addresses"]["refused"], 1, "{unchanged}");
    assert_eq!(unchanged["new"]["guards"][0]["measured_max"], 4_000, "{unchanged}");
    let changed = report(&wider);
    assert_eq!(
        addresses(&changed["comparison"]["newly_contained"]),
        ["203.0.113.1"],
        "{changed}"
    );
    assert_eq!(changed["new"]["impact"]["share_max_bp"], 4_000, "{changed}");
    assert_eq!(changed["new"]["impact"]["known"], 1, "{changed}");
    let text = bench.run(&["--journal", &shown, "--playbooks", &wider.display().to_string()]);
    let text = String::from_utf8(text.stdout).expect("UTF-8");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("the largest was 40 % of the traffic (203.0.113.1)"),
        "{text}"
    );
    assert!(
        text.contains("203.0.113.1 refused by share (impact: this would stop 40 %"),
        "{text}"
    );
}

#[test]
fn acts_that_failed_fail_again_and_open_the_breaker() {
    let bench = Bench::new();
    let text = playbook("block", "event.signature.contains(\"Brute\")", "");
    let journal = bench.home.path("recorded");
    let denied = Outcome::DidNotHappen(Failure::new(FailureKind::Denied, "no permission"));
    let events: Vec<(Timestamp, String)> = (1..=7)
        .map(|n| (at(n), alert(&format!("203.0.{n}.1"), at(n), "Brute")))
        .collect();
    record(&journal, &text, &events, &|effect| world(effect, 0, &denied));
    bench.write("new/a.yaml", &text);
    let new = bench.home.path("new").display().to_string();
    let report = bench.report(&["--journal", &journal.display().to_string(), "--playbooks", &new]);
    let side = &report["new"];
    assert_eq!(side["breaker_opened"], 1, "{side}");
    assert_eq!(
        side["addresses"],
        serde_json::json!({ "failed": 5, "observed": 2 }),
        "{side}"
    );
    assert_eq!(report["old"]["addresses"], side["addresses"], "{report}");
    let output = bench.run(&[
        "--journal",
        &journal.display().to_string(),
        "--playbooks",
        &new,
        "--fail-on",
        "breaker",
    ]);
    assert_eq!(output.status.code(), Some(12), "{output:?}");
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

#[test]
fn what_a_person_said_then_is_said_again() {
    let bench = Bench::new();
    let asks = "context: [traffic-share]\nguards: { impact: { traffic_share_max: 5% } }\n";
    let text = playbook("asks", "event.signature.contains(\"Brute\")", asks);
    let journal = bench.home.path("recorded");
    let events: Vec<(Timestamp, String)> = (1..=3)
        .map(|n| (at(n), alert(&format!("203.0.{n}.1"), at(n), "Brute")))
        .collect();
    let person = |name: &str| Operator {
        name: name.into(),
        from: "".into(),
        reason: "".into(),
    };
    let said = [
        (
            at(4),
            Input::Operator {
                by: person("ann"),
                command: Command::Deny(TransactionId(1)),
            },
        ),
        (
            at(5),
            Input::Operator {
                by: person("ann"),
                command: Command::Approve(TransactionId(2)),
            },
        ),
    ];
    // The share is unknown, so that a person is asked about each of them.
    let unknown = |effect: &Effect| {
        let mut answer = world(effect, 0, &Outcome::Landed)?;
        if let Input::Observed {
            facts: Facts { traffic: Some(fact) },
            ..
        } = &mut answer
        {
            fact.value = Err("nobody counts".into());
        }
        Some(answer)
    };
    record_with(&journal, &text, &events, &said, &unknown);
    bench.write("new/a.yaml", &text);
    let new = bench.home.path("new").display().to_string();
    let side = |approvals: &str| {
        let arguments = [
            "--journal",
            &journal.display().to_string(),
            "--playbooks",
            &new,
            "--approvals",
            approvals,
        ];
        bench.report(&arguments)["new"].clone()
    };
    let lapse = side("lapse");
    assert_eq!(
        lapse["addresses"],
        serde_json::json!({ "asked": 2, "contained": 1 }),
        "{lapse}"
    );
    assert_eq!(lapse["other_refusals"]["a person said no"], 1, "{lapse}");
    let asked = lapse["plans"].as_array().expect("a list").iter();
    let asked: Vec<_> = asked.filter(|it| it["ruling"] == "ask a person").collect();
    assert_eq!(
        (asked.len(), &asked[0]["count"], &asked[0]["approved"]),
        (1, &3.into(), &1.into()),
        "{lapse}"
    );
    let grant = side("grant");
    assert_eq!(
        grant["addresses"],
        serde_json::json!({ "asked": 1, "contained": 2 }),
        "{grant}"
    );
}

#[test]
fn what_somebody_else_removed_then_is_removed_again() {
    let bench = Bench::new();
    let text = playbook("block", "event.signature.contains(\"Brute\")", "");
    let journal = bench.home.path("recorded");
    let events = [1, 9].map(|n| (at(n), alert("203.0.113.1", at(n), "Brute")));
    let swept = Input::Swept(SweepFindings {
        vanished: vec![(TransactionId(1), "nothing of ours is in place".into())],
        ..SweepFindings::default()
    });
    record_with(&journal, &text, &events, &[(at(4), swept)], &|effect| {
        world(effect, 0, &Outcome::Landed)
    });
    bench.write("new/a.yaml", &text);
    let new = bench.home.path("new").display().to_string();
    let report = bench.report(&["--journal", &journal.display().to_string(), "--playbooks", &new]);
    // Otherwise the second event would have joined the first.
    let side = &report["new"];
    assert_eq!(
        (&side["containments"], &side["joins"]),
        (&2.into(), &0.into()),
        "{side}"
    );
}
