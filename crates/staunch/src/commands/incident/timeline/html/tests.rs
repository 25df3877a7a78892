//! A constructed story, and words of an attacker.

use serde_json::{Value, json};
use staunch_model::text::is_unsafe_to_show;
use staunch_model::{ActionKind, Change, ContentHash, EvidenceId, EvidenceKind, IncidentId, Record, Sealed, Span};
use staunch_server::dto::{EventRow, IncidentDetail};

use super::super::further::Further;
use super::super::{Basis, Beside, csv, text, timeline};
use super::*;
use crate::output::Output;

fn value(record: &Record) -> Value {
    serde_json::to_value(record).expect("it can be written")
}

/// A story from microseconds to days, of two sources.
fn story(words: &str) -> IncidentDetail {
    let at = |us: u64| staunch_model::Timestamp::from_micros(1_795_615_200_000_000 + us);
    let entry = |lsn: u64, us: u64, transaction: Option<&str>, what: &str, record: Value| json!({"lsn": lsn, "at": at(us), "transaction": transaction, "what": what, "detail": record});
    let one = Some("TX-1");
    // As the index tells it: the change, without a record around it.
    let change = |change: Change| serde_json::to_value(change).expect("it can be written");
    let planned = |kind, id| {
        value(&Record::EvidencePlanned {
            evidence: EvidenceId(id),
            incident: IncidentId(7),
            kind,
            target: None,
            options: Box::default(),
            deadline: at(3_000_000),
        })
    };
    let sealed = value(&Record::EvidenceSealed {
        evidence: EvidenceId(1),
        sealed: Sealed {
            hash: ContentHash::of(b""),
            bytes: 412,
            artefacts: 1,
        },
    });
    let number = |guard: &str, verdict: &str, measured: Option<u64>, limit: u64, unit: &str, why: &str| json!({"guard": guard, "verdict": verdict, "measured": measured, "limit": limit, "unit": unit, "why": why});
    let sent = json!({"execute-intended": {"dispatch": {"ticket": 2, "deadline": at(5_000_000)}, "version": 1, "hold": "11m",
        "judgement": {"mode": "enforce", "risk": "low", "facts": {"traffic": null}, "observation": null, "guards": [
            number("freshness", "passed", Some(4_000_000), 900_000_000, "micros", "an event of 4s"),
            number("impact", "unknown", None, 500, "basis-points", words),
            number("budget-total", "passed", Some(4), 100, "count", "4 of 100 in the last hour")]}}});
    let in_force = change(Change::PostCheckPassed {
        lease_until: at(602_000_000),
    });
    let closed = 3 * 86_400_000_000;
    let timeline = vec![
        entry(10, 350, None, "opened", json!({})),
        entry(10, 420, None, "EV-1 asked for: flows", planned(EvidenceKind::Flows, 1)),
        entry(10, 420, None, "EV-2 asked for: files", planned(EvidenceKind::Files, 2)),
        entry(10, 800, one, "planned: block-ip", json!({})),
        entry(12, 480, None, "a further event", json!({})),
        entry(13, 300_000, None, "sealed: flows, 1 artefact of 412 bytes", sealed),
        entry(14, 310_000, one, "act sent", sent),
        entry(15, 2_000_000, one, "verified: in force until 14:10", in_force),
        entry(15, 2_000_000, None, "outcome: contained", json!({})),
        entry(18, 600_000_000, one, "release started: by a person", json!({})),
        entry(
            19,
            600_200_000,
            one,
            "nothing of ours is left: released",
            change(Change::ReleaseVerified),
        ),
        entry(20, closed, None, "closed", json!({})),
    ];
    let event = |lsn: u64, system: &str, received: u64, before: u64| {
        json!({"lsn": lsn, "time": at(received - before.min(received)), "received": at(received), "system": system,
            "signature": words, "severity": "high", "source": words, "destination": null})
    };
    let detail = json!({
        "incident": {"id": "INC-7", "playbook": words, "playbook_hash": "00".repeat(32), "key": words, "status": "closed",
            "opened": at(350), "closed": at(closed), "outcome": "contained", "events": 3, "system": "suricata",
            "signature": words, "severity": "high", "source": words, "destination": "192.0.2.1"},
        "transactions": [{"id": "TX-1", "incident": "INC-7", "step": 0, "kind": "block-ip", "target": words,
            "state": "released", "reason": words, "mode": "enforce", "lease": "10m", "lease_until": at(602_000_000),
            "created": at(800), "updated": at(600_200_000), "in_force_at": at(2_000_000),
            "released_at": at(600_200_000), "approved_by": words, "approval_expires": null,
            "judgement": {"mode": "enforce", "risk": "low", "facts": {"traffic": null}, "observation": null, "guards": [
                {"guard": "impact", "verdict": "passed", "measured": 40, "limit": 500, "unit": "basis-points", "why": words}]}}],
        "commands": [{"lsn": 17, "at": at(599_999_000), "by": words, "from": "127.0.0.1", "reason": words,
            "command": {"x": words}, "affected": ["TX-1"], "refused": null}],
        "evidence": [
            {"id": "EV-1", "kind": "flows", "target": words, "asked": at(420), "deadline": at(3_000_000),
             "sealed_at": at(300_000), "record": null, "bytes": 412, "artefacts": 1, "missed_at": null, "why": null},
            {"id": "EV-2", "kind": "files", "target": words, "asked": at(420), "deadline": at(1_000_000),
             "sealed_at": null, "record": null, "bytes": null, "artefacts": null, "missed_at": at(1_000_000), "why": words}],
        "events": [event(10, "suricata", 100, 100), event(12, "falco", 450, 50), event(16, words, 1_500_000, 250_000)],
        "timeline": timeline,
        "timeline_count": 12,
    });
    serde_json::from_value(detail).expect("it is a detail")
}

#[test]
fn a_story_has_a_picture_a_table_measures_guards_and_clocks() {
    let mut detail = story("ET EXPLOIT Apache log4j RCE Attempt");
    detail.incident.playbook = "exploit-attempt-block".to_owned();
    for key in [&mut detail.incident.key, &mut detail.transactions[0].target] {
        *key = "203.0.113.9".to_owned();
    }
    detail.incident.source = Some("203.0.113.9".to_owned());
    detail.events[2].system = "zeek".to_owned();
    let page = page(&timeline(&detail, Further::default(), &Beside::default()), None);
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, { insta::assert_snapshot!("timeline", page) });
}

#[test]
fn nothing_of_an_attacker_is_markup_or_steers_what_shows_it() {
    let hostile = format!(
        "</title></style></svg><script>alert(1)</script>\"' onload='x' \u{202e}\u{1b}[31m]]><!-- {}",
        "W\u{4e16}".repeat(25_000)
    );
    let detail = story(&hostile);
    let page = page(&timeline(&detail, Further::default(), &Beside::default()), None);
    assert!(page.len() < 100_000, "{} bytes", page.len());
    let plain = super::page(&timeline(&story("plain"), Further::default(), &Beside::default()), None);
    // As many of each element as without an attacker.
    for name in [
        "script", "title", "style", "svg", "text", "td", "tr", "g", "rect", "desc", "p", "summary",
    ] {
        let count = |page: &str| {
            (
                page.matches(&format!("<{name}")).count(),
                page.matches(&format!("</{name}>")).count(),
            )
        };
        assert_eq!(count(&page), count(&plain), "{name}");
    }
    assert!(!page.contains("<!--") && !page.contains("onload='"), "{page}");
    let unsafe_chars: Vec<char> = page.chars().filter(|c| *c != '\n' && is_unsafe_to_show(*c)).collect();
    assert_eq!(unsafe_chars, []);
    // Nothing is loaded from anywhere.
    for reference in ["src=", "href=", "@import", "url(h", "<link", "<img", "<iframe", "<form"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("default-src 'none'; style-src 'unsafe-inline'"));
}

#[test]
fn what_is_for_good_has_nothing_to_release() {
    let beside = Beside::default();
    let mut detail = story("x");
    let mut killed = detail.transactions[0].clone();
    (killed.kind, killed.target) = (ActionKind::KillProcess, "pid:4242@153452.0000002a".to_owned());
    killed.released_at = None;

    // Beside what can be lifted it is not waited for.
    detail.transactions.push(killed.clone());
    let both = timeline(&detail, Further::default(), &beside);
    assert_eq!(both.measures.contained_to_lifted_us, Some(598_200_000));
    assert_eq!((both.measures.for_good, both.measures.nothing_to_release), (1, false));

    // By itself it has no such time: neither while its lease runs, nor when that has ended.
    for released_at in [None, detail.transactions[0].released_at] {
        killed.released_at = released_at;
        detail.transactions = vec![killed.clone()];
        let it = timeline(&detail, Further::default(), &beside);
        assert_eq!(it.measures.contained_to_lifted_us, None, "{released_at:?}");
        let why = "nothing to release: what was done is for good";
        let (shown, page) = (text(&Output::plain(), &it), page(&it, None));
        assert!(
            shown.contains(&format!("\n  to release   -           {why}\n")),
            "{shown}"
        );
        assert!(page.contains(&format!("<dd>{why}</dd>")), "{page}");
        let told = crate::commands::incident::measures_of(&detail);
        assert_eq!(told[5], ["to release", "-", why]);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }

    // What is held can be lifted, and is not.
    detail.transactions[0].kind = ActionKind::FreezeProcess;
    detail.transactions[0].released_at = None;
    let held = timeline(&detail, Further::default(), &beside);
    assert_eq!(
        (held.measures.contained_to_lifted_us, held.measures.nothing_to_release),
        (None, false)
    );
    assert!(text(&Output::plain(), &held).contains("to release   -           contained, then lifted"));
}

#[test]
fn measures_and_clocks_are_those_of_the_story() {
    let mut detail = story("x");
    let beside = Beside::default();
    let it = timeline(&detail, Further::default(), &beside);
    let named: Vec<(&str, Option<u64>)> = it.measures.named().iter().map(|it| (it.name, it.took_us)).collect();
    let expect = [
        ("to detect", Some(100)),
        ("to know", Some(299_900)),
        ("to preserve", Some(299_900)),
        ("to contain", Some(1_999_900)),
        ("dwell", Some(2_000_000)),
        ("to release", Some(598_200_000)),
    ];
    assert_eq!(named, expect);
    // The same names everywhere.
    let (shown, page) = (text(&Output::plain(), &it), page(&it, None));
    for (name, _) in named {
        assert!(shown.contains(&format!("\n  {name} ")), "{name}: {shown}");
        assert!(page.contains(&format!(">{name}<")), "{name}");
    }
    let clocks: Vec<(&str, Option<i64>)> = it
        .clocks
        .iter()
        .map(|it| (it.system.as_str(), it.offset_and_delay_us))
        .collect();
    assert_eq!(
        clocks,
        [("suricata", Some(100)), ("falco", Some(50)), ("x", Some(250_000))]
    );

    // What was missed is not known, though nothing more is awaited. A clock that is ahead has a sign.
    detail.evidence[0].missed_at = detail.evidence[0].sealed_at.take();
    detail.events[1].time = Some(detail.events[1].received + Span::from_secs(3));
    let beside = Beside::default();
    let it = timeline(&detail, Further::default(), &beside);
    assert_eq!(it.measures.received_to_known_us, None);
    assert_eq!(it.clocks[1].offset_and_delay_us, Some(-3_000_000));
    let text = text(&Output::plain(), &it);
    assert!(text.contains("falco") && text.contains("-3.00s later"), "{text}");
}

#[test]
fn to_know_takes_until_context_is_known_and_volatile_evidence_is_sealed() {
    let mut detail = story("x");
    let opened = detail.incident.opened;
    let known = |detail: &IncidentDetail| {
        let beside = Beside::default();
        timeline(detail, Further::default(), &beside)
            .measures
            .received_to_known_us
    };
    let later = |us: u64| opened + Span::from_micros(us);
    let judged = |at, fact: Option<Value>| {
        let mut entry = story("x").timeline.swap_remove(6);
        entry.at = at;
        entry.detail["execute-intended"]["judgement"]["facts"]["traffic"] = fact.unwrap_or_default();
        entry
    };
    let share = || {
        Some(
            json!({"value": {"Ok": {"flows": 1, "flows_total": 9, "bytes": null, "bytes_total": null}},
        "source": "conntrack", "age": "1s"}),
        )
    };
    let unknown = || Some(json!({"value": {"Err": "no answer"}, "source": "conntrack", "age": "1s"}));

    // No act that was planned when it was opened: evidence alone, which was sealed after 300 ms.
    detail.timeline.push(judged(later(900_000), share()));
    assert_eq!(known(&detail), Some(299_900));
    // Now the act was, and its judgement asked for a fact: the later of both counts.
    detail.transactions[0].created = opened;
    assert_eq!(known(&detail), Some(900_250));
    detail.timeline.last_mut().expect("an entry").at = later(1_000);
    assert_eq!(known(&detail), Some(299_900));
    // A fact that could not be had is not known, until it is.
    *detail.timeline.last_mut().expect("an entry") = judged(later(900_000), unknown());
    assert_eq!(known(&detail), None);
    detail.timeline.push(judged(later(950_000), share()));
    detail.timeline.push(judged(later(990_000), share()));
    assert_eq!(known(&detail), Some(950_250));
    // Evidence that was missed leaves it open.
    let sealed = detail.evidence[0].sealed_at.take();
    assert_eq!(known(&detail), None);
    detail.evidence[0].sealed_at = sealed;

    // Without evidence, what files and feeds say was known when it was opened; without either there is nothing to know.
    detail.evidence.clear();
    detail.timeline.truncate(12);
    assert_eq!(known(&detail), None);
    let mut around = detail.timeline[0].clone();
    around.detail = value(&Record::AroundKnown {
        incident: IncidentId(7),
        targets: Vec::new(),
        account: None,
    });
    detail.timeline.push(around);
    assert_eq!(known(&detail), Some(250));
    // So does a score tell that feeds were asked, but not that it is unknown.
    for (measured, expect) in [(json!(900), Some(250)), (json!(null), None)] {
        let guard = json!({"guard": "risk", "verdict": "ask", "measured": measured, "limit": null,
            "unit": "thousandths", "why": "x"});
        let mut scored = judged(later(400_000), None);
        scored.detail["execute-intended"]["judgement"]["guards"] = json!([guard]);
        detail.timeline.truncate(12);
        detail.timeline.push(scored);
        assert_eq!(known(&detail), expect);
    }
}

#[test]
fn what_was_observed_is_told_from_what_was_inferred() {
    assert_eq!(Basis::of_change(&Change::ReleaseVerified), Basis::Observed);
    assert_eq!(Basis::of_change(&Change::ProbedAbsent), Basis::Observed);
    assert_eq!(Basis::of_change(&Change::Joined(IncidentId(2))), Basis::Inferred);
    let joined = Record::EventJoined {
        incident: IncidentId(1),
    };
    assert_eq!(Basis::of(&joined), Basis::Inferred);

    let detail = story("x");
    let beside = Beside::default();
    let it = timeline(&detail, Further::default(), &beside);
    let rows = csv(&it.entries).expect("CSV");
    assert!(rows.contains(",suricata high: x,observed,suricata,,,,\n"), "{rows}");
    assert!(
        rows.contains(",verified: in force until 14:10,observed,,,,,\n"),
        "{rows}"
    );
    assert!(rows.contains(",outcome: contained,inferred,,,,,\n"), "{rows}");
    let text = text(&Output::plain(), &it);
    assert!(text.contains("incident ~ outcome: contained"), "{text}");
    assert!(text.contains("event      suricata high: x"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn every_format_has_the_numbers_of_the_guards_with_the_decision() {
    let mut detail = story("x");
    let refused = json!({"refused": {"reason": {"guard": {"guard": "budget-total", "why": "101 of 100"}},
        "judgement": {"mode": "enforce", "risk": "low", "facts": {"traffic": null}, "observation": null, "guards": [
            {"guard": "breaker", "verdict": "passed", "measured": 0, "limit": 3, "unit": "count", "why": "closed"},
            {"guard": "budget-total", "verdict": "refused", "measured": 101, "limit": 100, "unit": "count",
             "why": "101 of 100"}]}}});
    let mut entry = detail.timeline[6].clone();
    (entry.what, entry.detail) = ("refused: budget-total: 101 of 100".to_owned(), refused);
    detail.timeline.push(entry);
    let beside = Beside::default();
    let it = timeline(&detail, Further::default(), &beside);

    let shown = text(&Output::plain(), &it);
    let margin = "\n                                      ";
    let passed = [
        "impact - (limit 5 %): x",
        "2 guards passed:",
        "  freshness            4s  limit 15m",
        "  budget-total          4  limit 100\n",
    ]
    .join(margin);
    let sent = format!("act      ~ TX-1 act sent{margin}unknown: {passed}");
    assert!(shown.contains(&sent), "{shown}\n{sent}");
    let refused = [
        "refused: budget-total: 101 of 100",
        "REFUSED: budget-total 101 (limit 100)",
        "1 guard passed:",
        "  breaker               0  limit 3",
    ]
    .join(margin);
    assert!(shown.contains(&refused), "{shown}\n{refused}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");

    let rows = csv(&it.entries).expect("CSV");
    let cell = "freshness 4s (limit 15m) passed; impact - (limit 5 %) unknown: x; budget-total 4 (limit 100) passed";
    assert!(rows.contains(&format!(",{cell}\n")), "{rows}");
    assert!(
        rows.contains("budget-total 101 (limit 100) REFUSED: 101 of 100\n"),
        "{rows}"
    );

    let (name, archived) = super::super::files(&detail, &beside).expect("files").swap_remove(0);
    assert_eq!(name, "timeline.json");
    let archived: Value = serde_json::from_slice(&archived).expect("JSON");
    let entries = archived["entries"].as_array().expect("a list");
    let judged: Vec<&Value> = entries.iter().filter(|it| it.get("guards").is_some()).collect();
    let expect = json!({"guard": "budget-total", "verdict": "passed", "measured": 4, "limit": 100, "unit": "count",
        "why": "4 of 100 in the last hour"});
    assert_eq!((judged.len(), &judged[0]["guards"][2]), (2, &expect), "{archived:#}");
}

/// Twenty events of one source: bursts of microseconds, and days between them.
fn dense(words: &str) -> IncidentDetail {
    let mut detail = story(words);
    let first = detail.events[0].clone();
    let begin = first.received;
    detail.events = (0..20_u64)
        .map(|nth| EventRow {
            lsn: 10 + nth / 4,
            received: begin + Span::from_micros(nth * nth * 180 + nth / 5 * 3_600_000_000),
            ..first.clone()
        })
        .collect();
    detail
}

#[test]
fn labels_of_twenty_entries_in_a_lane_touch_neither_each_other_nor_a_line() {
    for words in [
        "a scan",
        "ET EXPLOIT Apache log4j RCE Attempt",
        "WWWWWWWWWWWWWWWWWWWWWWWW",
    ] {
        let page = page(&timeline(&dense(words), Further::default(), &Beside::default()), None);
        let number = |of: &str, name: &str| -> f64 {
            let (_, rest) = of.split_once(&format!("{name}=\"")).expect("it has one");
            rest.split('"')
                .next()
                .and_then(|it| it.parse().ok())
                .expect("it is a number")
        };
        // Lane by lane: each has its own origin.
        let lanes: Vec<&str> = page.split("overflow=\"hidden\">").skip(1).collect();
        assert!(lanes.len() >= 4, "{page}");
        let mut labels_of_events = 0;
        for (at, lane) in lanes.iter().enumerate() {
            let lane = lane.split("</svg>").next().expect("a lane");
            let labels: Vec<(f64, f64, f64)> = lane
                .split("<path class=\"leader\"")
                .skip(1)
                .map(|it| {
                    let (_, it) = it.split_once("<text class=\"label\"").expect("a label");
                    let text = it.split(['>', '<']).nth(1).expect("a text");
                    let letter = if text.contains('W') { 8.0 } else { 5.0 };
                    let x = number(it, " x");
                    (number(it, " y"), x, x + letter * text.chars().count() as f64)
                })
                .collect();
            if at == 0 {
                labels_of_events = labels.len();
            }
            for (nth, (y, left, right)) in labels.iter().enumerate() {
                assert!(*right <= 1_120.0, "{lane}");
                for (other_y, other_left, other_right) in &labels[nth + 1..] {
                    let touches = y == other_y && left < other_right && other_left < right;
                    assert!(!touches, "{y} {left} {other_left}: {lane}");
                    // The line of a label that hangs lower.
                    let line = other_left - 3.0;
                    let crosses = other_y > y && *left < line && line < *right;
                    let line = left - 3.0;
                    let is_crossed = y > other_y && *other_left < line && line < *other_right;
                    assert!(!crosses && !is_crossed, "{y} {left} {other_y} {other_left}: {lane}");
                }
            }
        }
        assert!(labels_of_events >= 8, "{labels_of_events} labels of twenty events");
    }
}

/// The rules of the style that a printer follows.
#[test]
fn paper_is_the_printers_and_is_cut_between_lanes_under_an_axis_on_every_sheet() {
    let graph = "<svg class=\"graph\" viewBox=\"0 0 960 4000\"></svg>";
    let page = page(
        &timeline(&story("x"), Further::default(), &Beside::default()),
        Some(graph),
    );
    let sizes: Vec<&str> = page
        .split("@page")
        .skip(1)
        .map(|it| it.split('}').next().expect("a rule"))
        .collect();
    assert_eq!(
        sizes,
        ["{size:landscape;margin:12mm", " causes{size:portrait;margin:12mm"]
    );
    let (_, print) = page.split_once("@media print{").expect("rules for print");
    for rule in [
        "thead{display:table-header-group}",
        "tr,li,.legend,.causes{break-inside:avoid}",
    ] {
        assert!(print.contains(rule), "{rule}");
    }
    let (_, picture) = page.split_once("<table class=\"picture\"").expect("a picture");
    let (axis, lanes) = picture.split_once("</thead>").expect("an axis");
    let lanes = lanes.split("</table>").next().expect("lanes");
    assert!(
        axis.contains("class=\"axis\"") && !lanes.contains("class=\"axis\""),
        "{picture}"
    );
    assert_eq!(
        lanes.matches("<tr>").count(),
        lanes.matches("overflow=\"hidden\"").count()
    );
    assert!(lanes.matches("<tr>").count() >= 5, "{lanes}");
}

#[test]
fn what_is_not_named_is_not_told_as_unknown() {
    let told = |source: Option<&str>, destination: Option<&str>| {
        let mut detail = story("Outbound connection to C2");
        detail.incident.key = "14138".to_owned();
        detail.incident.source = source.map(str::to_owned);
        detail.incident.destination = destination.map(str::to_owned);
        let page = page(&timeline(&detail, Further::default(), &Beside::default()), None);
        assert!(page.contains(", key 14138. Opened "), "{page}");
        let (_, told) = page.split_once("<p>").expect("a paragraph");
        told.split("</p>").next().expect("its end").to_owned()
    };
    let first = "First event, by suricata: Outbound connection to C2 (severity high)";
    assert_eq!(told(None, None), format!("{first}."));
    assert_eq!(told(Some("203.0.113.9"), None), format!("{first}, from 203.0.113.9."));
    assert_eq!(told(None, Some("192.0.2.1")), format!("{first}, against 192.0.2.1."));
    assert_eq!(
        told(Some("203.0.113.9"), Some("192.0.2.1")),
        format!("{first}, from 203.0.113.9 to 192.0.2.1.")
    );
}
