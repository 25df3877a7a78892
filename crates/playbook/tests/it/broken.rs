//! Broken playbooks: each with all its mistakes and their places.

use staunch_model::{ActionKind, Description, Permissions, RiskClass, Span, UndoClass};
use staunch_playbook::{CheckContext, Severity, Signals, compile, compile_all};

use crate::{WHEN_COLUMN, WHEN_LINE, check, places, playbook};

/// A code with its line and column.
type Place = (&'static str, usize, usize);

const GOOD: &str = "\
playbook: good-one
summary: A good one.
attack: [T1110, T1110.001]
trigger:
  sources: [suricata]
  when: event.severity >= high
  incident: event.source.ip
  deduplicate: 10m
context: [never-touch, traffic-share]
guards:
  impact: { traffic_share_max: 2.5%, flows_min: 5 }
  when_unknown: refuse
  event_age_max: 5m
  acts_per_hour_max: 20
contain:
  - block-ip: { target: event.source.ip, lease: 1h }
notify:
  - page: { when: 'outcome in [stuck, rolled_back]' }
mode: { low: enforce, medium: approve }
on_failure: keep
";

#[test]
fn the_good_one_is_compiled_as_written() {
    let compiled = check(GOOD).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(compiled.warnings, []);
    insta::assert_debug_snapshot!(compiled.program.playbook);
}

#[test]
fn defaults_are_those_of_the_reference() {
    let compiled = check(&playbook("event.severity >= high")).unwrap_or_else(|found| panic!("{found:?}"));
    let playbook = &compiled.program.playbook;
    assert_eq!(
        (playbook.deduplicate, playbook.modes.low.name()),
        (Span::from_mins(10), "observe")
    );
    assert_eq!(playbook.notify[0].when.len(), 5, "every outcome but contained");
    assert_eq!(playbook.guards, staunch_model::PlaybookGuards::default());
}

#[test]
fn every_mistake_is_found_at_its_place() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[Place])] = &[
        ("playbook: good-one", "playbook: Good One", &[("P012", 1, 11)]),
        ("playbook: good-one", "playbook: good--one", &[("P012", 1, 11)]),
        ("playbook: good-one\n", "", &[("P011", 1, 1)]),
        ("playbook: good-one", "playbook:", &[("P006", 1, 1)]),
        ("playbook: good-one", "playbook: [a]", &[("P006", 1, 12)]),
        ("summary: A good one.", "sumary: x", &[("P010", 2, 1)]),
        ("summary: A good one.", "summary: \"a\\x1bb\"", &[("P012", 2, 10)]),
        ("T1110.001", "T1110.1", &[("P012", 3, 17)]),
        ("attack: [T1110, T1110.001]", "attack: T1110", &[("P006", 3, 9)]),
        ("T1110.001", "~", &[("P006", 3, 17)]),
        ("lease: 1h }", "lease: { first: 1h, then: [6h, 24h], within: 7d } }", &[]),
        ("lease: 1h }", "lease: { first: 1h, then: [6h, 2h] } }", &[("P032", 16, 73)]),
        ("lease: 1h }", "lease: { first: 1h, then: [1h] } }", &[("P032", 16, 69)]),
        ("lease: 1h }", "lease: { first: 1h, then: [25h] } }", &[("P021", 16, 69)]),
        ("lease: 1h }", "lease: { first: 1h, then: [2h], within: 31d } }", &[("P018", 16, 82)]),
        ("lease: 1h }", "lease: { first: 1h, then: [] } }", &[("P022", 16, 68)]),
        ("lease: 1h }", "lease: { first: 1h, then: [~] } }", &[("P006", 16, 69)]),
        ("lease: 1h }", "lease: { then: [2h] } }", &[("P011", 16, 51)]),
        ("lease: 1h }", "lease: { first: 1h } }", &[("P011", 16, 51)]),
        ("lease: 1h }", "lease: { first: 1h, than: [2h] } }", &[("P010", 16, 62)]),
        ("sources: [suricata]", "sources: [surikata]", &[("P014", 5, 13)]),
        ("sources: [suricata]", "sources: []", &[("P011", 5, 12)]),
        ("  when: event.severity >= high\n", "", &[("P011", 5, 3)]),
        ("event.severity >= high", "event.severity >= hihg", &[("P051", 6, 27)]),
        ("event.severity >= high", "'event.severity >= \"hi''gh\"'", &[("P051", 6, 28)]),
        ("event.severity >= high", "\"event.severity >= \\\"hihg\\\"\"", &[("P051", 6, 28)]),
        ("event.severity >= high", ">-\n    event.severity >= low\n    && event.sverity == high", &[("P043", 8, 14)]),
        ("event.severity >= high", "|\n    event.severity >= low &&\n      event.sverity == high", &[("P043", 8, 13)]),
        ("event.severity >= high", "event.severity >= low\n    && event.sverity == high", &[("P043", 7, 14)]),
        ("event.severity >= high", "\"\\x65vent.sverity == high\"", &[("P043", 6, 9)]),
        ("incident: event.source.ip", "incident: event.severity", &[("P050", 7, 13)]),
        ("incident: event.source.ip", "incident: event.source.ip.isPrivate()", &[("P046", 7, 29)]),
        ("incident: event.source.ip", "incident: event.sources.ip", &[("P043", 7, 19)]),
        ("deduplicate: 10m", "deduplicate: 10", &[("P016", 8, 16)]),
        ("deduplicate: 10m", "deduplicate: 99d", &[("P018", 8, 16)]),
        ("never-touch, traffic-share", "never-touch, threat-intel", &[("P013", 9, 24)]),
        ("2.5%", "2.5", &[("P017", 11, 32)]),
        ("2.5%", "101%", &[("P017", 11, 32)]),
        ("flows_min: 5", "flows_min: few", &[("P018", 11, 49)]),
        ("flows_min: 5", "flows_min: 100001", &[("P018", 11, 49)]),
        ("traffic_share_max: 2.5%", "share: 1%", &[("P010", 11, 13), ("P011", 11, 13)]),
        ("when_unknown: refuse", "when_unknown: maybe", &[("P013", 12, 17)]),
        ("event_age_max: 5m", "event_age_max: 25h", &[("P018", 13, 18)]),
        ("acts_per_hour_max: 20", "acts_per_hour_max: 0", &[("P018", 14, 22)]),
        ("acts_per_hour_max: 20", "acts_per_hour_max: +20", &[("P018", 14, 22)]),
        ("block-ip", "block_ip", &[("P015", 16, 5)]),
        (", lease: 1h", "", &[("P020", 16, 5)]),
        ("lease: 1h", "lease: 0s", &[("P021", 16, 49)]),
        ("lease: 1h", "lease: 25h", &[("P021", 16, 49)]),
        ("lease: 1h", "lease: 1h, until: x", &[("P010", 16, 53)]),
        ("target: event.source.ip", "target: event.user", &[("P050", 16, 25)]),
        ("block-ip", "freeze-process", &[("P050", 16, 31)]),
        ("block-ip: { target: event.source.ip", "freeze-process: { target: event.destination.port", &[("P050", 16, 31)]),
        ("contain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n", "contain: []\n", &[("P022", 15, 10)]),
        ("contain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n", "", &[("P011", 1, 1)]),
        ("contain:\n", "contain:\n  - block-ip: { target: event.source.ip, lease: 2h }\n    x: y\n", &[("P006", 17, 5)]),
        ("page:", "mail:", &[("P015", 18, 5)]),
        ("[stuck, rolled_back]", "[stuck, rolledback]", &[("P051", 18, 39)]),
        ("outcome in [stuck, rolled_back]", "event.severity == high", &[("P046", 18, 20)]),
        ("outcome in [stuck, rolled_back]", "outcome > stuck", &[("P046", 18, 20)]),
        ("mode: { low: enforce, medium: approve }", "mode: enforce", &[("P006", 19, 7)]),
        ("low: enforce", "low: on", &[("P013", 19, 14)]),
        ("low: enforce", "lo: enforce", &[("P010", 19, 9)]),
        ("on_failure: keep", "on_failure: kep", &[("P013", 20, 13)]),
        ("on_failure: keep", "restore: []", &[("P010", 20, 1)]),
        ("attack: [T1110, T1110.001]", "preserve: [network, ruleset: { mib_max: 1 }, flows: { target: event.source.ip }]", &[]),
        ("on_failure: keep", "preserve: [network]", &[("P099", 20, 12)]),
        ("attack: [T1110, T1110.001]", "preserve: [memory]", &[("P015", 3, 12)]),
        ("attack: [T1110, T1110.001]", "preserve: [flows]", &[("P012", 3, 12)]),
        ("attack: [T1110, T1110.001]", "preserve: [flows: { deadline: 1s }]", &[("P011", 3, 21)]),
        ("attack: [T1110, T1110.001]", "preserve: [flows: { target: event.user }]", &[("P050", 3, 29)]),
        ("attack: [T1110, T1110.001]", "preserve: [network: { target: event.source.ip }]", &[("P010", 3, 23)]),
        ("attack: [T1110, T1110.001]", "preserve: [network: { deadline: 3m }]", &[("P018", 3, 33)]),
        ("attack: [T1110, T1110.001]", "preserve: [network: { mib_max: 0 }]", &[("P018", 3, 32)]),
        ("attack: [T1110, T1110.001]", "preserve: [capture: { target: event.source.ip, window: 2m }]", &[("P018", 3, 56)]),
        ("attack: [T1110, T1110.001]", "preserve: [capture: { target: event.source.ip, deadline: 2s }]", &[("P091", 3, 58)]),
        ("attack: [T1110, T1110.001]", "preserve: [files: { deadline: 1s }]", &[("P011", 3, 21)]),
        ("attack: [T1110, T1110.001]", "preserve: [files: { paths: [] }]", &[("P022", 3, 28)]),
        ("attack: [T1110, T1110.001]", "preserve: [files: { paths: [var/log] }]", &[("P090", 3, 29)]),
        ("attack: [T1110, T1110.001]", "preserve: [files: { paths: [/var/../etc/shadow] }]", &[("P090", 3, 29)]),
        ("attack: [T1110, T1110.001]", "preserve: [journal: { units: [--flush] }]", &[("P090", 3, 31)]),
        ("on_failure: keep", "summary: again", &[("P005", 20, 1)]),
        ("on_failure: keep", "? [a]\n: b", &[("P006", 20, 4)]),
        ("attack: [T1110, T1110.001]", "attack: &a [T1110]", &[("P003", 3, 9)]),
        ("summary: A good one.", "summary: !!str x", &[("P003", 2, 10)]),
        ("summary: A good one.", "summary: *a", &[("P001", 2, 10)]),
        ("on_failure: keep", "---\nplaybook: two", &[("P004", 20, 1)]),
        ("on_failure: keep", "on_failure: [", &[("P001", 20, 14)]),
        ("on_failure: keep", "on_failure: ke\u{7}ep", &[("P001", 20, 15)]),
    ];
    for (from, to, expect) in table {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let found = check(&text).err().unwrap_or_default();
        assert_eq!(places(&found), *expect, "{from} -> {to}\n{found:#?}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let text = GOOD
        .replace("T1110,", "1110,")
        .replace(">= high", ">= hihg && event.usr == 5")
        .replace("1h", "100h");
    let found = check(&text).expect_err("three mistakes");
    assert_eq!(
        places(&found),
        [("P012", 3, 10), ("P051", 6, 27), ("P043", 6, 41), ("P021", 16, 49)]
    );
}

#[test]
fn broken_conditions_are_found_at_their_place() {
    #[rustfmt::skip]
    let table: &[(&str, &[Place])] = &[
        ("event.severity = high", &[("P040", 1, 16)]),
        ("event.severity >= high and true", &[("P040", 1, 24)]),
        ("not event.raw.ok", &[("P040", 1, 1)]),
        ("event.severity >=", &[("P040", 1, 18)]),
        ("event.severity high", &[("P040", 1, 16)]),
        ("(event.raw.ok", &[("P040", 1, 1)]),
        ("event.raw.ok)", &[("P040", 1, 13)]),
        ("event.raw[\"a\"", &[("P040", 1, 10)]),
        ("event.user == \"root", &[("P040", 1, 15)]),
        ("event.user == \"ro\\qot\"", &[("P040", 1, 15)]),
        ("event.user == größe", &[("P040", 1, 17)]),
        ("event.raw.ok | event.raw.bad", &[("P040", 1, 14)]),
        ("event.raw.if == 1", &[]),
        ("if == 1", &[("P040", 1, 1)]),
        ("event.raw.a == 99999999999999999999", &[("P040", 1, 16)]),
        ("event.raw.ok ? true : false", &[("P042", 1, 14)]),
        ("event.raw.count + 1 == 2", &[("P042", 1, 17)]),
        ("event.raw.count - 1 == 2", &[("P042", 1, 17)]),
        ("1 < event.raw.count < 5", &[("P042", 1, 21)]),
        ("event.raw.list.exists(x, x == 1)", &[("P042", 1, 16)]),
        ("event.raw.a == b\"x\"", &[("P042", 1, 16)]),
        ("event.raw.a == {}", &[("P042", 1, 16)]),
        ("event.srverity == high", &[("P043", 1, 7)]),
        ("evnt.severity == high", &[("P043", 1, 1)]),
        ("event.user == root", &[("P043", 1, 15)]),
        ("event.user == high", &[("P043", 1, 15)]),
        ("event == 1", &[("P043", 1, 1)]),
        ("event.raw == 1", &[("P043", 1, 7)]),
        ("\"größe\" == event.usr", &[("P043", 1, 18)]),
        ("event.signature.contain(\"x\")", &[("P044", 1, 17)]),
        ("contains(event.signature, \"x\")", &[("P044", 1, 1)]),
        ("event.signature.contains()", &[("P045", 1, 17)]),
        ("event.signature.contains(\"a\", \"b\")", &[("P045", 1, 17)]),
        ("size() == 1", &[("P045", 1, 1)]),
        ("event.severity >= 3", &[("P046", 1, 19)]),
        ("event.destination.port == \"22\"", &[("P046", 1, 27)]),
        ("event.user > \"a\"", &[("P046", 1, 1)]),
        ("event.source.ip.startsWith(\"10.\")", &[("P046", 1, 1)]),
        ("event.signature.inNetwork(\"10.0.0.0/8\")", &[("P046", 1, 1)]),
        ("event.user == 5", &[("P046", 1, 15)]),
        ("event.source.ip == event.user", &[("P046", 1, 1)]),
        ("(event.raw.a == 1) == true", &[("P046", 1, 2)]),
        ("event.user in \"root\"", &[("P046", 1, 15)]),
        ("event.raw.p in [1, \"a\"]", &[("P046", 1, 20)]),
        ("1 == \"a\"", &[("P046", 1, 1)]),
        ("event.user.matches(\"(\")", &[("P047", 1, 20)]),
        ("event.user.matches(\"(\\\\w{1000}){1000}\")", &[("P047", 1, 20)]),
        ("event.source.ip.inNetwork(\"10.0.0.0/33\")", &[("P048", 1, 27)]),
        ("event.source.ip.inNetwork(\"10.0.0.1/8\")", &[("P048", 1, 27)]),
        ("event.source.ip == \"10.0.0\"", &[("P048", 1, 20)]),
        ("event.signature", &[("P049", 1, 1)]),
        ("event.raw.ok && \"x\"", &[("P049", 1, 17)]),
        ("5", &[("P049", 1, 1)]),
        ("event.signature.size()", &[("P049", 1, 1)]),
        ("event.severity == hgih", &[("P051", 1, 19)]),
        ("event.severity == \"urgent\"", &[("P051", 1, 19)]),
        ("event.kind == alarm", &[("P043", 1, 15)]),
        ("event.kind == alrt", &[("P051", 1, 15)]),
        ("event.user == \"\"", &[("P052", 1, 15)]),
        ("event.user.lowerAscii() == \"Root\"", &[("P052", 1, 28)]),
        ("event.user.contains(\"\")", &[("P052", 1, 21)]),
        ("event.user in []", &[("P052", 1, 15)]),
        ("event.user == event.user", &[("P052", 1, 1)]),
        ("event.raw.a[-1] == 1", &[("P046", 1, 13)]),
        ("event.raw.ok &&\n event.raw.ok &&\n  event.usr == 1", &[("P043", 3, 9)]),
        ("event.usr == 1 || event.severity >= 3 || evnt.x == 1", &[("P043", 1, 7), ("P046", 1, 37), ("P043", 1, 42)]),
        // triggers that never match
        ("false", &[("P024", 1, 1)]),
        ("1 == 2", &[("P024", 1, 1)]),
        ("event.severity >= high && event.severity < high", &[("P024", 1, 1)]),
        ("event.kind == sample", &[("P024", 1, 1)]),
        ("event.system == \"generic\" && event.raw.ok", &[("P024", 1, 1)]),
        ("event.destination.port > 65535", &[("P024", 1, 1)]),
        ("event.raw.a > 5 && event.raw.b == 1 && event.raw.a <= 5", &[("P024", 1, 1)]),
        ("event.raw.a in [1, 2] && event.raw.a != 1 && event.raw.a < 2", &[("P024", 1, 1)]),
        ("event.user == \"a\" && event.user == \"b\"", &[("P024", 1, 1)]),
        ("event.user in [\"ab\", \"ac\"] && !event.user.startsWith(\"a\")", &[("P024", 1, 1)]),
        ("!has(event.user) && event.user != \"a\"", &[("P024", 1, 1)]),
        ("!(event.raw.a <= 5 || event.raw.a > 5)", &[("P024", 1, 1)]),
        ("(event.severity == low || event.severity == info) && event.severity > medium", &[("P024", 1, 1)]),
    ];
    for (when, expect) in table {
        let found = check(&playbook(when)).err().unwrap_or_default();
        let placed: Vec<_> = expect
            .iter()
            .map(|(code, line, column)| (*code, WHEN_LINE + line - 1, WHEN_COLUMN + column - 1))
            .collect();
        assert_eq!(places(&found), placed, "{when}\n{found:#?}");
    }
}

#[test]
fn warnings_do_not_stop_a_playbook() {
    let context = "context: [never-touch, traffic-share]\n";
    for (from, to, expect) in [
        ("event.severity >= high", "true", ("P025", 6, 9)),
        (
            "event.severity >= high",
            "event.severity >= unknown || event.raw.ok",
            ("P025", 6, 9),
        ),
        (context, "", ("P026", 10, 32)),
        (
            "outcome in [stuck, rolled_back]",
            "outcome == stuck && outcome != stuck",
            ("P028", 18, 19),
        ),
        (
            "notify:",
            "  - block-ip: { target: event.source.ip, lease: 2h }\nnotify:",
            ("P030", 17, 5),
        ),
    ] {
        let compiled = check(&GOOD.replacen(from, to, 1)).unwrap_or_else(|found| panic!("{to}: {found:?}"));
        assert_eq!(places(&compiled.warnings), [expect], "{to}");
        assert!(compiled.warnings.iter().all(|it| it.severity == Severity::Warning));
    }
    let compiled = check(&GOOD.replace(context, "")).expect("only a warning");
    assert_eq!(
        compiled.program.playbook.context,
        [
            staunch_model::Context::FlowsMin(5),
            staunch_model::Context::TrafficShare
        ],
        "the share is implied"
    );
}

#[test]
fn a_limit_for_impact_demands_a_sample() {
    for (flows_min, expect) in [(", flows_min: 5", 5), (", flows_min: 0", 0), ("", 20)] {
        let compiled = check(&GOOD.replace(", flows_min: 5", flows_min)).expect("a good one");
        let context = &compiled.program.playbook.context;
        assert!(
            context.contains(&staunch_model::Context::FlowsMin(expect)),
            "{context:?}"
        );
    }
}

#[test]
fn steps_are_checked_against_the_drivers() {
    let driver = |undo| Description {
        kind: ActionKind::BlockIp,
        driver: "test".into(),
        risk: RiskClass::Low,
        undo,
        cuts_established: true,
        in_flight_max: Span::ZERO,
        d3fend: "D3-ITF".into(),
        permissions: Permissions {
            act: "".into(),
            check: "".into(),
            undo: "".into(),
        },
        local: true,
    };
    let run = |undo| {
        compile(
            "x.yaml",
            GOOD,
            &CheckContext {
                drivers: vec![driver(undo)],
                ..CheckContext::default()
            },
        )
    };
    assert!(run(UndoClass::Owned).is_ok_and(|it| it.warnings.is_empty()));
    assert_eq!(
        places(&run(UndoClass::None).expect_err("irreversible")),
        [("P029", 16, 5)]
    );
    // Nothing finds out which process an event means.
    let of_process =
        "preserve: [process: { target: event.raw.pid }, flows: { target: event.source.ip }]\n".to_owned() + GOOD;
    let context = |drivers| CheckContext {
        drivers,
        ..CheckContext::default()
    };
    let warned = compile("x.yaml", &of_process, &context(vec![driver(UndoClass::Owned)])).expect("only a warning");
    assert_eq!(places(&warned.warnings), [("P031", 1, 12)]);
    let with_processes = Description {
        kind: ActionKind::FreezeProcess,
        ..driver(UndoClass::Owned)
    };
    let both = context(vec![driver(UndoClass::Owned), with_processes]);
    assert_eq!(compile("x.yaml", &of_process, &both).expect("it is told").warnings, []);
    // Said of what can be undone, or not said of what never can.
    let said = GOOD.replace("lease: 1h }", "lease: 1h, irreversible: yes }");
    assert_eq!(places(&check(&said).expect_err("it can be undone")), [("P029", 16, 5)]);
    let step = "  - block-ip: { target: event.source.ip, lease: 1h }\n";
    let kill = |rest: &str| {
        let kills = format!("  - kill-process: {{ target: event.raw.pid, lease: 1h{rest} }}\n");
        check(&GOOD.replace(step, &kills))
    };
    assert_eq!(
        places(&kill("").expect_err("it is for good")),
        [("P029", 16, 5), ("P092", 16, 5)]
    );
    let unkept = kill(", irreversible: yes").expect("only a warning");
    assert_eq!(places(&unkept.warnings), [("P092", 16, 5)]);
    let keeps = "preserve: [process: { target: event.raw.pid }]\n".to_owned()
        + &said.replace(
            "block-ip: { target: event.source.ip",
            "kill-process: { target: event.raw.pid",
        );
    assert_eq!(check(&keeps).expect("what it ends is kept").warnings, []);
    let of_another = keeps.replace(
        "process: { target: event.raw.pid }",
        "process: { target: event.raw.ppid }",
    );
    assert_ne!(of_another, keeps);
    let warned = check(&of_another).expect("only a warning");
    assert_eq!(places(&warned.warnings), [("P092", 17, 5)], "it keeps another process");
}

#[test]
fn the_keys_of_json_may_be_sorted() {
    let json = r#"{"contain":[{"block-ip":{"target":"event.source.ip","lease":"1h"}}],"playbook":"sorted","preserve":
        ["sockets"],"summary":"S.","trigger":{"sources":["falco"],"when":"event.severity >= high","incident":
        "event.source.ip"}}"#;
    for text in [json.to_owned(), format!("# made by a program\n{json}")] {
        assert_eq!(check(&text).unwrap_or_else(|found| panic!("{found:?}")).warnings, []);
    }
}

#[test]
fn evidence_is_taken_by_its_volatility() {
    let text =
        "preserve: [files: { paths: [/var/log/auth.log*] }, capture: { target: event.source.ip, window: 5s }, journal, \
                ruleset, flows: { target: event.source.ip }, network, network]\n"
            .to_owned() + GOOD;
    let compiled = check(&text).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(places(&compiled.warnings), [("P030", 1, 165)], "network is there twice");
    let steps = &compiled.program.playbook.preserve;
    let order: Vec<_> = steps.iter().map(|it| it.evidence.name()).collect();
    assert_eq!(
        order,
        ["network", "network", "flows", "ruleset", "capture", "journal", "files"]
    );
    let deadlines: Vec<_> = steps.iter().skip(3).map(|it| it.deadline).collect();
    assert_eq!(deadlines, [2, 7, 10, 10].map(Span::from_secs));
    assert_eq!(compiled.program.preserve.len(), steps.len());
}

#[test]
fn fan_out_is_bounded() {
    let step = "  - block-ip: { target: event.source.ip, lease: 1h }\n";
    let text = GOOD.replace(step, &step.repeat(17));
    assert_eq!(places(&check(&text).expect_err("too many")), [("P023", 32, 5)]);
}

#[test]
fn names_are_unique_among_all_files() {
    let other = GOOD.replace("good-one", "other-one");
    let context = CheckContext::default();
    assert_eq!(
        compile_all([("a.yaml", GOOD), ("b.yaml", &other)], &context)
            .expect("two names")
            .len(),
        2
    );
    let found = compile_all([("a.yaml", GOOD), ("b.yaml", GOOD), ("c.yaml", "x: 1")], &context).expect_err("one name");
    assert_eq!(
        (&*found[0].file, places(&found[..1])),
        ("b.yaml", vec![("P027", 1, 11)])
    );
    assert!(found[1..].iter().all(|it| &*it.file == "c.yaml"));
}

#[test]
fn mistakes_in_watches_and_recoveries_are_found() {
    let playbook = |contain: &str, recover: &str| {
        format!(
            "playbook: careful\nsummary: Careful.\ntrigger:\n  sources: [suricata]\n  when: event.severity >= high\n  \
             incident: event.source.ip\ncontain:\n  - {contain}\nrecover:\n{recover}"
        )
    };
    let block = "block-ip: { target: event.source.ip, lease: 1h }";
    let watched = |watch: &str| format!("block-ip: {{ target: event.source.ip, lease: 1h, watch: {{ {watch} }} }}");
    let context = CheckContext {
        signals: Some(Signals {
            names: ["shop".to_owned()].into(),
            prometheus: false,
        }),
        ..CheckContext::default()
    };
    let codes = |text: &str| {
        let found = compile("x.yaml", text, &context).expect_err("it has a mistake");
        found.iter().map(|it| it.code).collect::<Vec<_>>()
    };
    for (contain, recover, expect) in [
        (watched("health: shpo, for: 1m"), "  - release\n", "P096"),
        (watched("health: Shop, for: 1m"), "  - release\n", "P012"),
        (watched("health: shop"), "  - release\n", "P011"),
        (watched("for: 1m"), "  - release\n", "P011"),
        (
            watched("health: shop, prometheus: a < 2 %, for: 1m"),
            "  - release\n",
            "P012",
        ),
        (watched("prometheus: error ratio, for: 1m"), "  - release\n", "P012"),
        (watched("prometheus: a < 2 %, for: 1m"), "  - release\n", "P096"),
        (watched("health: shop, for: 1s"), "  - release\n", "P018"),
        (watched("health: shop, for: 10s, every: 1m"), "  - release\n", "P018"),
        (
            "kill-process: { target: event.raw.pid, lease: 1h, irreversible: yes, watch: { health: shop, for: 1m } }"
                .into(),
            "  - release\n",
            "P098",
        ),
        (block.into(), "  - release: { actions: [isolate-host] }\n", "P097"),
        (block.into(), "  - release: { actions: [] }\n", "P022"),
        (block.into(), "  - relaese\n", "P006"),
        (block.into(), "  - sook: { health: shop, for: 1m }\n", "P015"),
        (
            block.into(),
            "  - soak: { health: shop, for: 1m, otherwise: pray }\n",
            "P013",
        ),
        (block.into(), "  - request-change: { text: \"\" }\n", "P012"),
        (
            block.into(),
            "  - rate-limit-ip: { target: event.source.ip, lease: 1h, watch: { health: shop, for: 1m } }\n",
            "P010",
        ),
        (block.into(), "  - rate-limit-ip: { target: event.source.ip }\n", "P020"),
    ] {
        let text = playbook(&contain, recover);
        assert!(
            codes(&text).contains(&expect),
            "{expect} in {:?} of {text}",
            codes(&text)
        );
    }
    // A step with a mistake is a step: nothing is said of what there is to release.
    let text = playbook(
        &watched("health: shpo, for: 1m"),
        "  - release: { actions: [block-ip] }\n",
    );
    assert_eq!(codes(&text), ["P096"], "{text}");
    let well = playbook(
        &watched("health: shop, for: 1m"),
        "  - rate-limit-ip: { target: event.source.ip, lease: 1h }\n  - release: { actions: [block-ip] }\n  \
         - soak: { health: shop, for: 10m }\n  - release\n  - request-change: { text: Rotate the key. }\n",
    );
    let compiled = compile("x.yaml", &well, &context).expect("it is well");
    let playbook = &compiled.program.playbook;
    assert_eq!((playbook.containing().count(), playbook.steps.len()), (1, 2));
    assert_eq!(playbook.recover().count(), 5);
    let watch = playbook.watch_of(0).expect("it is watched");
    assert_eq!((watch.lasts, watch.every), (Span::from_mins(1), Span::from_secs(5)));
}
