//! A constructed incident: a login from outside, a shell, a miner that talks to its pool. And words of an attacker.

mod causes;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use staunch_model::text::is_unsafe_to_show;
use staunch_model::{EvidenceId, EvidenceKind, Span, Timestamp};

use super::*;
use crate::commands::incident::sealed::Sealed;

/// 2026-11-25T14:00:00Z; the machine has run for a day.
const BEGIN_US: u64 = 1_795_615_200_000_000;
const DAY_TICKS: u64 = 86_400 * 100;

fn at(us: u64) -> Timestamp {
    Timestamp::from_micros(BEGIN_US + us)
}

fn detail(words: &str) -> IncidentDetail {
    let miner = "pid:4242@8639000.0badcafe";
    let detail = json!({
        "incident": {"id": "INC-7", "playbook": words, "playbook_hash": "00".repeat(32), "key": words, "status": "open",
            "opened": at(0), "closed": null, "outcome": "contained", "events": 2, "system": "falco",
            "signature": words, "severity": "high", "source": "203.0.113.9", "destination": null},
        "transactions": [
            {"id": "TX-1", "incident": "INC-7", "step": 0, "kind": "kill-process", "target": miner,
             "state": "in-force", "reason": null, "mode": "enforce", "lease": "10m", "lease_until": null,
             "created": at(800), "updated": at(900_000), "in_force_at": at(900_000), "released_at": null,
             "approved_by": null, "approval_expires": null, "judgement": null},
            {"id": "TX-2", "incident": "INC-7", "step": 1, "kind": "block-ip", "target": "203.0.113.9",
             "state": "refused", "reason": words, "mode": "enforce", "lease": "10m", "lease_until": null,
             "created": at(800), "updated": at(900), "in_force_at": null, "released_at": null,
             "approved_by": null, "approval_expires": null, "judgement": null}],
        "commands": [],
        "evidence": [{"id": "EV-1", "kind": "process", "target": miner, "asked": at(400), "deadline": at(3_000_000),
            "sealed_at": at(300_000), "record": null, "bytes": 4, "artefacts": 1, "missed_at": null, "why": null}],
        "events": [
            {"lsn": 10, "time": at(0), "received": at(200), "system": "falco", "signature": words, "severity": "high",
             "source": "203.0.113.9", "destination": null},
            {"lsn": 12, "time": at(9), "received": at(300), "system": "falco", "signature": words, "severity": "high",
             "source": "203.0.113.9", "destination": null}],
        "timeline": [], "timeline_count": 0,
    });
    serde_json::from_value(detail).expect("it is a detail")
}

fn process(pid: u32, parent: u32, started: u64, name: &str) -> Value {
    json!({"pid": pid, "parent": parent, "started": started, "name": name, "program": format!("/usr/bin/{name}"),
        "Uid": "1000\t1000\t1000\t1000"})
}

fn sealed(number: u64, kind: EvidenceKind, document: Value) -> Sealed {
    Sealed {
        evidence: EvidenceId(number),
        kind,
        at: at(250_000),
        since_boot: Span::from_secs(86_400),
        document,
    }
}

/// Evidence in which `words` is the name of the miner, of its pool's state, of a file and of a user.
fn evidence(words: &str, connections: u16) -> Vec<Sealed> {
    let mut miner = process(4242, 900, DAY_TICKS - 1_000, words);
    miner["executable"] = json!({"Ok": {"sha256": "ab".repeat(32)}});
    miner["files"] = json!([
        {"number": 0, "target": "/dev/null", "about": ["flags:\t0100000"]},
        {"number": 1, "target": format!("/tmp/{words}"), "about": ["pos:\t0", "flags:\t0100001"]},
        {"number": 2, "target": "/etc/passwd", "about": ["flags:\t0100000"]},
        {"number": 3, "target": "socket:[7]", "about": []}]);
    let holder = json!([{"pid": 4242, "started": DAY_TICKS - 1_000, "name": words, "program": words, "file": 3}]);
    let sshd =
        json!([{"pid": 800, "started": DAY_TICKS - 9_000, "name": "sshd", "program": "/usr/sbin/sshd", "file": 4}]);
    let socket = |local: u16, remote: &str, port: u16, holders: &Value| {
        json!({"protocol": "tcp", "state": "established", "local": "10.0.0.80", "local_port": local,
            "remote": remote, "remote_port": port, "holders": holders})
    };
    let mut tcp = vec![
        json!({"protocol": "tcp", "state": "listen", "local": "0.0.0.0", "local_port": 22, "remote": "0.0.0.0",
            "remote_port": 0, "holders": []}),
        socket(22, "203.0.113.9", 50_000, &sshd),
    ];
    tcp.extend((0..connections).map(|number| socket(40_000 + number, "198.51.100.7", 3333, &holder)));
    vec![
        sealed(1, EvidenceKind::Process, json!({"processes": [miner]})),
        sealed(
            2,
            EvidenceKind::Processes,
            json!({"processes": [
                process(1, 0, 1, "systemd"), process(700, 1, 500, "sshd"), process(800, 700, DAY_TICKS - 9_000, "sshd"),
                process(900, 800, DAY_TICKS - 8_000, "bash"), process(4242, 900, DAY_TICKS - 1_000, words),
                process(5000, 1, 600, "cron")]}),
        ),
        sealed(3, EvidenceKind::Sockets, json!({"tcp": tcp})),
        sealed(
            4,
            EvidenceKind::Logins,
            json!({"wtmp": [{"kind": 7, "pid": 800, "user": words, "line": "pts/0", "seconds": 1_795_615_111_u64,
                "microseconds": 0, "address": "203.0.113.9", "host": "203.0.113.9"}]}),
        ),
    ]
}

fn story(words: &str, connections: u16, nodes_max: usize) -> Graph {
    let read = Read {
        sealed: evidence(words, connections),
        ..Read::default()
    };
    graph(&detail(words), read, nodes_max)
}

/// The edges in words.
fn told(graph: &Graph) -> Vec<String> {
    let label = |id: &String| {
        graph
            .nodes
            .iter()
            .find(|it| it.id == *id)
            .expect("a node")
            .label
            .clone()
    };
    let edges = graph.edges.iter();
    edges
        .map(|it| {
            format!(
                "{} -{}{}-> {}",
                label(&it.from),
                it.basis.mark(),
                it.what,
                label(&it.to)
            )
        })
        .collect()
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, { insta::assert_snapshot!(name, text) });
}

#[test]
fn a_story_goes_from_who_logged_in_to_the_contained_effect() {
    let graph = story("xmrig", 1, 60);
    let told = told(&graph);
    for edge in [
        "1 systemd -~started-> 700 sshd",
        "700 sshd - started-> 800 sshd",
        "800 sshd - started-> 900 bash",
        "900 bash - started-> 4242 xmrig",
        "4242 xmrig - contained by-> TX-1 kill-process",
        "203.0.113.9 -~not contained-> TX-2 block-ip",
        "203.0.113.9 -~connected from-> tcp established",
        "tcp established - held by-> 800 sshd",
        "tcp established -~connected to-> 198.51.100.7",
        "4242 xmrig - has open to write-> /tmp/xmrig",
        "4242 xmrig - has open to read-> /etc/passwd",
        "203.0.113.9 - logged in as-> xmrig",
        "xmrig -~session of-> 800 sshd",
    ] {
        assert!(told.iter().any(|it| it == edge), "no {edge} in {told:#?}");
    }
    assert!(!told.iter().any(|it| it.contains("cron")), "{told:#?}");
    let node = |label: &str| graph.nodes.iter().find(|it| it.label == label).expect("a node");
    // What has run since the machine booted has started all of it, and is no cause.
    assert_eq!(graph.first_cause.as_ref(), Some(&node("203.0.113.9").id));
    assert_eq!(graph.oldest_ancestor.as_ref(), Some(&node("1 systemd").id));
    assert_eq!(graph.contained_by, [node("TX-1 kill-process").id.clone()]);
    let miner = node("4242 xmrig");
    assert_eq!(miner.at, Some(Timestamp::from_micros(BEGIN_US + 250_000 - 10_000_000)));
    assert_eq!(miner.said_by, ["EV-1", "EV-2", "EV-3"]);
    assert!(miner.facts.iter().any(|it| it.ends_with(&"ab".repeat(32))), "{miner:?}");
    assert!(miner.facts.contains(&"user 1000".to_owned()), "{miner:?}");
    assert_eq!(node("/tmp/xmrig").said_by, ["EV-1"]);
    assert_eq!(graph.left_out, 0);
    snapshot("graph_svg", &svg::draw(&graph));
    snapshot("graph_dot", &dot::write(&graph));
    let text = text(&Output::plain(), &graph);
    assert!(text.lines().all(|it| it.chars().count() <= 80), "{text}");
    snapshot("graph_text", &text);
}

#[test]
fn a_process_that_has_only_got_the_number_of_a_parent_is_none() {
    let processes = json!({"processes": [
        process(900, 1, DAY_TICKS - 10, "later"), process(4242, 900, DAY_TICKS - 1_000, "xmrig")]});
    let read = Read {
        sealed: vec![sealed(2, EvidenceKind::Processes, processes)],
        ..Read::default()
    };
    let told = told(&graph(&detail("x"), read, 60));
    assert!(!told.iter().any(|it| it.contains("later")), "{told:#?}");
}

#[test]
fn without_evidence_the_events_tell_and_what_is_missing_is_said() {
    let read = Read {
        sealed: Vec::new(),
        missing: vec!["EV-1 (process): denied".to_owned()],
        ..Read::default()
    };
    let graph = graph(&detail("Detect miners"), read, 60);
    let told = told(&graph);
    assert!(
        told.contains(&"203.0.113.9 - named by-> Detect miners".to_owned()),
        "{told:#?}"
    );
    assert!(
        told.contains(&"4242 - contained by-> TX-1 kill-process".to_owned()),
        "{told:#?}"
    );
    assert_eq!(graph.missing.len(), 2, "{:?}", graph.missing);
    let svg = svg::draw(&graph);
    for line in &graph.missing {
        assert!(svg.contains(line.as_str()), "{svg}");
    }
    // It began when it was first named.
    assert_eq!(graph.first_cause.as_deref(), Some(&*node(&graph, "203.0.113.9").id));
}

fn node<'g>(graph: &'g Graph, label: &str) -> &'g Node {
    let found = graph.nodes.iter().find(|it| it.label == label);
    found.unwrap_or_else(|| panic!("no {label}: {graph:#?}"))
}

#[test]
fn the_first_cause_without_a_time_of_its_own_is_as_old_as_what_it_led_to() {
    // An account that logged in long after the event, as an own beginning.
    let mut detail = detail("x");
    detail.transactions[1].target = "account:eve".to_owned();
    let login = json!({"kind": 7, "user": "eve", "pid": 1, "host": "", "line": "pts/0",
        "seconds": BEGIN_US / 1_000_000 + 60, "microseconds": 0});
    let read = Read {
        sealed: vec![sealed(4, EvidenceKind::Logins, json!({"utmp": [login], "wtmp": []}))],
        ..Read::default()
    };
    let graph = graph(&detail, read, 60);
    assert!(node(&graph, "eve").at.is_some(), "{graph:#?}");
    assert_eq!(graph.first_cause.as_deref(), Some(&*node(&graph, "203.0.113.9").id));
}

#[test]
fn what_is_sealed_and_cannot_be_read_is_not_told_as_never_sealed() {
    let missing = |sealed: Vec<Sealed>, unread: &[EvidenceKind]| {
        let read = Read {
            sealed,
            unread: unread.iter().copied().collect(),
            ..Read::default()
        };
        graph(&detail("x"), read, 60).missing
    };
    let told = missing(Vec::new(), &[EvidenceKind::Sockets]);
    assert_eq!(
        told,
        ["none of the sealed evidence was read: this is what the events alone tell"]
    );
    let of_process = || vec![sealed(1, EvidenceKind::Process, json!({"processes": []}))];
    let told = missing(of_process(), &[EvidenceKind::Sockets]);
    assert_eq!(
        told,
        ["`processes` is not sealed: who started what is known only within what is"]
    );
    let told = missing(of_process(), &[]);
    assert!(
        told[1].starts_with("neither `sockets` nor `flows` is sealed"),
        "{told:?}"
    );
}

#[test]
fn a_fan_is_folded_and_the_bound_is_kept() {
    let graph = story("xmrig", 18, 60);
    assert!(told(&graph).contains(&"4242 xmrig - holds-> +12 more connections".to_owned()));
    assert_eq!(graph.left_out, 0);
    let small = story("xmrig", 18, 10);
    assert_eq!(small.nodes.len(), 10);
    assert!(small.left_out > 0);
    assert!(svg::draw(&small).contains(&format!("{} more are left out", small.left_out)));
}

#[test]
fn a_long_chain_is_folded_in_the_middle() {
    let chain: Vec<Value> = (1..=40)
        .map(|pid| process(pid, pid - 1, u64::from(pid), "sh"))
        .collect();
    let mut detail = detail("x");
    detail.transactions[0].target = "pid:40@40.0badcafe".to_owned();
    let read = Read {
        sealed: vec![sealed(2, EvidenceKind::Processes, json!({"processes": chain}))],
        ..Read::default()
    };
    let told = told(&graph(&detail, read, 60));
    assert!(
        told.contains(&"1 sh -~started-> +34 more processes".to_owned()),
        "{told:#?}"
    );
    assert!(
        told.contains(&"+34 more processes -~started-> 36 sh".to_owned()),
        "{told:#?}"
    );
}

#[test]
fn boxes_do_not_overlap_and_edges_go_one_way() {
    use layout::{Direction, WIDTH};

    let graph = story("xmrig", 18, 60);
    let heights = vec![70; graph.nodes.len()];
    let all = [Direction::Right, Direction::Down].map(|it| layout::towards(it, &graph, &heights));
    for laid in &all {
        for (at, a) in laid.boxes.iter().enumerate() {
            for b in &laid.boxes[at + 1..] {
                let is_apart = (a.0 - b.0).abs() >= WIDTH || (a.1 - b.1).abs() >= 70;
                assert!(is_apart, "{:?}: {a:?} {b:?}", laid.direction);
            }
            assert!(a.0 >= 0 && a.1 >= 0 && a.0 + WIDTH <= laid.width && a.1 + 70 <= laid.height);
        }
        let along = |it: &(i64, i64)| if laid.direction == Direction::Right { it.0 } else { it.1 };
        let goes_on = |route: &Vec<(i64, i64)>| route.windows(2).all(|it| along(&it[0]) < along(&it[1]));
        assert!(laid.routes.iter().filter(|it| goes_on(it)).count() + 2 > laid.routes.len());
    }
    let narrower = all.iter().map(|it| it.width).min();
    assert_eq!(Some(layout::layout(&graph, &heights).width), narrower);
}

#[test]
fn nothing_of_an_attacker_is_markup_or_ends_a_string() {
    let hostile = "\"><script>alert(1)</script>\\\"];\nx -> y \u{202e}\u{1b}[31m\u{ffff}]]><!--";
    let (graph, plain) = (story(hostile, 3, 60), story("plain", 3, 60));
    let (svg, like) = (svg::draw(&graph), svg::draw(&plain));
    assert!(
        !svg.contains("<script") && !svg.contains("<!--") && !svg.contains('\u{ffff}'),
        "{svg}"
    );
    // What has no room has a title.
    assert_eq!(svg.matches("<title>").count(), svg.matches("</title>").count());
    for name in ["svg", "text", "rect", "path", "g", "style"] {
        let count = |page: &str| {
            (
                page.matches(&format!("<{name}")).count(),
                page.matches(&format!("</{name}>")).count(),
            )
        };
        // Words of two lines may be one of one.
        if name != "text" {
            assert_eq!(count(&svg), count(&like), "{name}");
        }
    }
    let dot = dot::write(&graph);
    assert_eq!(statements(&dot), statements(&dot::write(&plain)));
    for shown in [svg, dot, text(&Output::plain(), &graph), json(&graph).expect("JSON")] {
        let wild: Vec<char> = shown.chars().filter(|c| *c != '\n' && is_unsafe_to_show(*c)).collect();
        assert_eq!(wild, [], "{shown}");
    }
}

#[test]
fn documents_of_another_form_are_passed_over_and_counted() {
    let odd = json!({"processes": [7, {"pid": "x"}, {"pid": 4_294_967_296_u64, "started": 1}], "tcp": [{}], "wtmp": 3});
    let kinds = [
        EvidenceKind::Process,
        EvidenceKind::Processes,
        EvidenceKind::Sockets,
        EvidenceKind::Logins,
    ];
    let sealed = kinds.into_iter().map(|kind| sealed(1, kind, odd.clone())).collect();
    let read = Read {
        sealed,
        ..Read::default()
    };
    let graph = graph(&detail("x"), read, 60);
    assert!(
        graph.missing.iter().any(|it| it.starts_with("7 parts")),
        "{:?}",
        graph.missing
    );
}

/// Replaces the part of a document that stands at `left`, counted through all of it.
fn replace(value: &mut Value, left: &mut usize, with: &Value) {
    if *left == 0 {
        *value = with.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(all) => all.iter_mut().for_each(|it| replace(it, left, with)),
        Value::Object(all) => all.values_mut().for_each(|it| replace(it, left, with)),
        _ => {}
    }
}

fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::from),
        (0_u64..2_000).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        prop_oneof![
            Just("::ffff:203.0.113.9"),
            Just("203.0.113.9"),
            Just("/"),
            Just("\u{202e}")
        ]
        .prop_map(Value::from),
        Just(Value::Null),
        Just(json!([[], {}])),
        Just(json!({"hex": "ff<"})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_documents_say_there_is_a_picture(changes in vec((0_usize..4, 0_usize..120, odd()), 0..12), nodes_max in 10_usize..70) {
        let mut sealed = evidence("xmrig", 8);
        for (number, at, value) in changes {
            let mut left = at;
            replace(&mut sealed[number].document, &mut left, &value);
        }
        let read = Read { sealed, ..Read::default() };
        let graph = graph(&detail("x"), read, nodes_max);
        prop_assert!(graph.nodes.len() <= nodes_max);
        let (nodes, edges) = statements(&dot::write(&graph));
        prop_assert_eq!((nodes, edges), (graph.nodes.len(), graph.edges.len()));
        let svg = svg::draw(&graph);
        prop_assert_eq!(svg.matches("<path class=").count(), graph.edges.len());
        prop_assert!(!svg.chars().any(|c| c != '\n' && is_unsafe_to_show(c)));
    }
}

#[test]
fn the_dot_is_of_the_grammar() {
    let dot = dot::write(&story("a \"quoted\\", 3, 60));
    let (nodes, edges) = statements(&dot);
    assert!(nodes > 10 && edges > 10, "{dot}");
}

/// Reads `digraph ID { statement; ... }` as Graphviz does, and counts the nodes and edges.
fn statements(dot: &str) -> (usize, usize) {
    let mut tokens = Vec::new();
    let mut rest = dot.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '"' => {
                loop {
                    match rest.next().expect("a string has an end") {
                        '"' => break,
                        '\\' => drop(rest.next()),
                        '\n' => panic!("a string goes on in the next line: {dot}"),
                        _ => {}
                    }
                }
                tokens.push("ID".to_owned());
            }
            '-' if rest.peek() == Some(&'>') => {
                rest.next();
                tokens.push("->".to_owned());
            }
            '{' | '}' | '[' | ']' | ';' | '=' | ',' => tokens.push(c.to_string()),
            c if c.is_ascii_alphanumeric() => {
                while rest.peek().is_some_and(|it| it.is_ascii_alphanumeric() || *it == '_') {
                    rest.next();
                }
                tokens.push("ID".to_owned());
            }
            other => panic!("{other:?} is not of the language: {dot}"),
        }
    }
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let body = tokens.strip_prefix(&["ID", "ID", "{"]).expect("it begins as a graph");
    let body = body.strip_suffix(&["}"]).expect("it ends as a graph");
    let (mut nodes, mut edges) = (0, 0);
    for statement in body.split(|it| *it == ";").filter(|it| !it.is_empty()) {
        let head = statement.iter().position(|it| *it == "[").unwrap_or(statement.len());
        match &statement[..head] {
            ["ID"] => nodes += 1,
            ["ID", "->", "ID"] => edges += 1,
            ["ID", "=", "ID"] => continue,
            other => panic!("{other:?} is no statement"),
        }
        let attributes = &statement[head + 1..statement.len() - 1];
        assert_eq!(statement.last(), Some(&"]"));
        for attribute in attributes.split(|it| *it == ",") {
            assert_eq!(attribute, ["ID", "=", "ID"], "{statement:?}");
        }
    }
    // `node` and `edge` are no nodes.
    (nodes - 2, edges)
}
