//! Snippets: what they stand for, what is wrong with them and where, and what the hash tells.

use std::collections::BTreeSet;

use staunch_model::{ContentHash, Playbook};
use staunch_playbook::{
    CheckContext, Compiled, Diagnostic, SnippetKind, Snippets, Source, compile, compile_source, compile_sources,
    limits, written_out,
};

use crate::event::{alert, raw};

const SNIPPETS: &str = "\
conditions:
  outside: event.source.ip != null && event.severity >= parameter.least
  guessing: condition.outside && (event.signature.contains('SSH') || event.category == 'x')
  bad: outcome in [stuck, refused]
blocks:
  careful:
    risk_min: high
    impact: { use: little }
  little: { traffic_share_max: '${share}', flows_min: 7 }
  team:
    - page: { when: condition.bad }
    - page
  by-day: { low: enforce, medium: approve }
  source: event.source.ip
  block-both:
    - block-ip: { target: { use: source }, lease: '${lease}' }
    - block-ip: { target: event.destination.ip, lease: '${lease}' }
  common: [T1110, T1110.001]
";

const WITH: &str = "\
playbook: with-some
summary: Uses snippets.
attack: [T1046, { use: common }]
parameters:
  lease: { default: 1h, staging: 10m }
  share: 5%
  least: medium
trigger:
  sources: [suricata]
  when: 'event.host != \"x\" && condition.guessing'
  incident: { use: source }
context: [traffic-share]
guards: { use: careful, acts_per_hour_max: 20, risk_min: critical }
contain:
  - use: block-both
notify:
  - page: { when: '!condition.bad' }
  - use: team
mode: { use: by-day, high: observe }
";

const WRITTEN_OUT: &str = "\
playbook: with-some
summary: Uses snippets.
attack: [T1046, T1110, T1110.001]
trigger:
  sources: [suricata]
  when: >-
    event.host != \"x\" && event.source.ip != null && event.severity >= medium
    && (event.signature.contains('SSH') || event.category == 'x')
  incident: event.source.ip
guards:
  impact: { traffic_share_max: 5%, flows_min: 7 }
  acts_per_hour_max: 20
  risk_min: critical
context: [traffic-share]
contain:
  - block-ip: { target: event.source.ip, lease: 1h }
  - block-ip: { target: event.destination.ip, lease: 1h }
notify:
  - page: { when: '!(outcome in [stuck, refused])' }
  - page: { when: 'outcome in [stuck, refused]' }
  - page
mode: { low: enforce, medium: approve, high: observe }
";

fn compiled(text: &str, snippets: &str, context: &CheckContext) -> Result<Compiled, Vec<Diagnostic>> {
    let snippets = Snippets::read("snippets.yaml", snippets);
    let source = Source {
        file: "x.yaml",
        text,
        snippets: Some(&snippets),
    };
    compile_source(source, context)
}

fn with(text: &str, snippets: &str) -> Compiled {
    compiled(text, snippets, &CheckContext::default()).unwrap_or_else(|found| panic!("{found:#?}"))
}

/// `file:line:column code` of each mistake.
fn places(text: &str, snippets: &str) -> Vec<String> {
    let found = compiled(text, snippets, &CheckContext::default())
        .err()
        .unwrap_or_default();
    let place = |it: &Diagnostic| format!("{}:{}:{} {}", it.file, it.line, it.column, it.code);
    found.iter().map(place).collect()
}

fn plan(compiled: &Compiled) -> Playbook {
    let mut playbook = (*compiled.program.playbook).clone();
    playbook.hash = ContentHash::of(b"");
    playbook
}

/// What the journal keeps is the whole, which nothing has to be read for again.
#[test]
fn a_snippet_is_what_it_stands_for() {
    let written = compile("x.yaml", WRITTEN_OUT, &CheckContext::default()).expect("it is right");
    let context: BTreeSet<_> = written.program.playbook.context.iter().collect();
    let own = with(WITH, SNIPPETS);
    let mut plan_of_own = plan(&own);
    assert_eq!(plan_of_own.context.iter().collect::<BTreeSet<_>>(), context);
    plan_of_own.context = written.program.playbook.context.clone();
    assert_eq!(plan_of_own, plan(&written));
    assert_eq!(own.program.needles.is_some(), written.program.needles.is_some());

    let raw = raw();
    for (host, signature, category) in [
        ("", "SSH brute force", ""),
        ("x", "SSH brute force", ""),
        ("y", "ssh", "x"),
        ("y", "ssh", "y"),
        ("y", "SSH", "y"),
    ] {
        let mut event = alert(&raw);
        (event.host, event.signature, event.category) = (Some(host), signature, category);
        assert_eq!(
            (own.program.when)(&event),
            (written.program.when)(&event),
            "{host} {signature} {category}"
        );
    }
    let staging = CheckContext {
        environment: Some("staging".to_owned()),
        ..CheckContext::default()
    };
    let there = compiled(WITH, SNIPPETS, &staging).expect("it is right there too");
    assert_eq!(
        there.program.playbook.steps[0].lease,
        staunch_model::Span::from_mins(10)
    );
}

/// What is written out is the same plan, and has nothing left to be put in.
#[test]
fn a_playbook_can_be_written_out() {
    let comment = SNIPPETS.replace("outside: event", "outside: >-\n    // Where from.\n\n    event");
    let lines = WITH.replace("Uses snippets.", "\"Uses \\u00e4 'them': all.\"");
    for (text, snippets) in [
        (WITH, SNIPPETS),
        (WITH, &comment),
        (&lines, SNIPPETS),
        (WRITTEN_OUT, SNIPPETS),
    ] {
        let shared = Snippets::read("snippets.yaml", snippets);
        let source = Source {
            file: "x.yaml",
            text,
            snippets: Some(&shared),
        };
        let written = written_out(source, &CheckContext::default()).unwrap_or_else(|found| panic!("{found:#?}"));
        assert!(
            !written.contains("condition.") && !written.contains("use:"),
            "{written}"
        );
        let again = compile("y.yaml", &written, &CheckContext::default());
        let again = again.unwrap_or_else(|found| panic!("{}", found[0].render(&written, false)));
        assert_eq!(plan(&again), plan(&with(text, snippets)), "{written}");
        assert_eq!(again.parameters, with(text, snippets).parameters);
        let once_more = written_out(("y.yaml", written.as_str()).into(), &CheckContext::default());
        assert_eq!(once_more.as_deref(), Ok(written.as_str()));
    }
    let shared = Snippets::read("snippets.yaml", SNIPPETS);
    let source = Source {
        file: "x.yaml",
        text: WITH,
        snippets: Some(&shared),
    };
    let written = written_out(source, &CheckContext::default()).expect("it is right");
    let condition = "\n  when: 'event.host != \"x\" && ((event.source.ip != null && event.severity >= parameter.least) && \
                     (event.signature.contains(''SSH'') || event.category == ''x''))'\n";
    assert!(written.contains(condition), "{written}");
    assert!(
        written.contains("\n  - block-ip:\n      target: event.source.ip\n      lease: '${lease}'\n"),
        "{written}"
    );
}

#[test]
fn conditions_are_explained_by_their_names_and_what_they_stand_for() {
    let raw = raw();
    let explained = (with(WITH, SNIPPETS).program.explain)(&alert(&raw));
    let told: Vec<_> = explained
        .clauses
        .iter()
        .map(|it| (it.depth, it.text.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (0, "event.host != \"x\""),
            (0, "condition.guessing"),
            (1, "condition.outside"),
            (2, "event.source.ip != null"),
            (2, "event.severity >= parameter.least"),
            (1, "event.signature.contains('SSH') || event.category == 'x'"),
            (2, "event.signature.contains('SSH')"),
            (2, "event.category == 'x'"),
        ]
    );
}

#[test]
fn every_mistake_is_found_at_its_place() {
    #[rustfmt::skip]
    let in_playbook: &[(&str, &str, &[&str])] = &[
        ("condition.guessing", "condition.gessing", &["x.yaml:10:41 P085"]),
        ("condition.guessing", "condition.guessing.x", &["x.yaml:10:31 P085"]),
        ("condition.guessing", "condition", &["x.yaml:10:31 P085"]),
        ("condition.guessing", "condition.guessing == true", &["x.yaml:10:31 P046"]),
        ("condition.guessing", "condition.bad", &["snippets.yaml:4:8 P043", "snippets.yaml:4:20 P043", "snippets.yaml:4:27 P043"]),
        ("{ use: source }", "condition.outside", &["x.yaml:11:13 P046"]),
        ("use: careful", "use: carefull", &["x.yaml:13:16 P085"]),
        ("use: careful", "use: [careful]", &["x.yaml:13:17 P089"]),
        ("use: careful", "use: common", &["x.yaml:13:24 P089"]),
        ("use: careful", "use:", &["x.yaml:13:14 P089"]),
        ("- use: block-both", "- use: common", &["snippets.yaml:18:12 P006", "snippets.yaml:18:19 P006"]),
        ("playbook: with-some", "playbook: { use: source }", &["x.yaml:1:13 P006"]),
        ("share: 5%", "share: { use: little }", &["x.yaml:6:12 P011"]),
        ("summary: Uses", "use: careful\nsummary: Uses", &["x.yaml:2:1 P010"]),
        // A wrong value of a parameter in a snippet.
        ("share: 5%", "share: 500%", &["x.yaml:6:10 P017"]),
        ("  share: 5%\n", "", &["snippets.yaml:9:32 P080"]),
        ("  least: medium\n", "", &["snippets.yaml:2:67 P080"]),
    ];
    for (from, to, expect) in in_playbook {
        assert!(WITH.contains(from), "{from}");
        assert_eq!(places(&WITH.replacen(from, to, 1), SNIPPETS), *expect, "{from} -> {to}");
    }
    #[rustfmt::skip]
    let in_snippets: &[(&str, &str, &[&str])] = &[
        // Values that are wrong where they are used.
        ("flows_min: 7", "flows_min: x", &["snippets.yaml:9:55 P018"]),
        ("risk_min: high", "risk_mim: high", &["snippets.yaml:7:5 P010"]),
        ("event.category == 'x'", "event.categry == 'x'", &["snippets.yaml:3:76 P043"]),
        ("source: event.source.ip", "source: event.source.port", &["snippets.yaml:14:11 P050"]),
        ("refused]", "refusd]", &["snippets.yaml:4:27 P051"]),
        // The file by itself.
        ("outside: event", "outside: (event", &["snippets.yaml:2:12 P040"]),
        ("outside:", "Outside:", &["snippets.yaml:2:3 P012", "snippets.yaml:3:23 P085"]),
        ("careful:", "care_ful:", &["snippets.yaml:6:3 P012"]),
        ("condition.outside", "condition.outsid", &["snippets.yaml:3:23 P085"]),
        ("use: little", "use: litle", &["snippets.yaml:8:20 P085"]),
        ("event.severity >= parameter.least", "condition.guessing", &["snippets.yaml:2:49 P087"]),
        ("flows_min: 7", "flows_min: { use: careful }", &["snippets.yaml:9:62 P087"]),
        ("use: little", "use: careful", &["snippets.yaml:8:20 P087"]),
        ("bad: outcome in [stuck, refused]", "bad: [outcome]", &["snippets.yaml:4:9 P006"]),
        ("bad: outcome in [stuck, refused]", "bad:", &["snippets.yaml:4:3 P006"]),
        ("blocks:", "block:", &["snippets.yaml:5:1 P010"]),
        ("  common: [T1110, T1110.001]", "  common: [T1110, T1110.001]\n  common: []", &["snippets.yaml:19:3 P005"]),
    ];
    for (from, to, expect) in in_snippets {
        assert!(SNIPPETS.contains(from), "{from}");
        assert_eq!(places(WITH, &SNIPPETS.replacen(from, to, 1)), *expect, "{from} -> {to}");
    }
    for (whole, expect) in [
        ("", "snippets.yaml:1:1 P004"),
        ("x", "snippets.yaml:1:1 P006"),
        ("conditions: [x]", "snippets.yaml:1:14 P006"),
        ("a: [", "snippets.yaml:1:5 P001"),
    ] {
        assert_eq!(places(WRITTEN_OUT, whole), [expect], "{whole}");
    }
}

#[test]
fn a_mistake_in_a_snippet_tells_where_it_is_used() {
    let snippets = SNIPPETS
        .replace("flows_min: 7", "flows_min: x")
        .replace("'x')", "'x' || event.hots == 'y')");
    let found = compiled(WITH, &snippets, &CheckContext::default()).expect_err("it is wrong");
    let messages: Vec<_> = found
        .iter()
        .map(|it| it.message.rsplit_once(" (").expect("a place").1)
        .collect();
    assert_eq!(messages, ["used at x.yaml:10:31)", "used at x.yaml:13:16)"]);
    let shown = found[1].render(&snippets, false);
    assert!(
        shown.contains("snippets.yaml:9:55") && shown.contains("flows_min: x"),
        "{shown}"
    );
    let unknown = WITH.replace("condition.guessing", "condition.gessing");
    let found = compiled(&unknown, SNIPPETS, &CheckContext::default()).expect_err("it is wrong");
    assert!(
        found[0]
            .hint
            .as_deref()
            .is_some_and(|it| it.contains("did you mean `guessing`?")),
        "{found:?}"
    );
    let found = compile("x.yaml", WITH, &CheckContext::default()).expect_err("there are no snippets");
    assert!(found.iter().all(|it| matches!(it.code, "P085" | "P081")), "{found:#?}");
    assert!(
        found[0].hint.as_deref().is_some_and(|it| it.contains("snippets.yaml")),
        "{found:?}"
    );
}

#[test]
fn a_mistake_in_a_snippet_is_told_once() {
    let wrong = Snippets::read("snippets.yaml", &SNIPPETS.replace("flows_min: 7", "flows_min: x"));
    let other = WITH.replace("with-some", "another");
    let sources = [("a.yaml", WITH), ("b.yaml", other.as_str())].map(|(file, text)| Source {
        file,
        text,
        snippets: Some(&wrong),
    });
    let found = compile_sources(sources, &CheckContext::default()).expect_err("it is wrong");
    assert_eq!(
        found.iter().map(|it| it.code).collect::<Vec<_>>(),
        ["P018"],
        "{found:?}"
    );
}

#[test]
fn the_hash_tells_what_snippets_stand_for() {
    let hash = |text: &str, snippets: &str| with(text, snippets).program.playbook.hash;
    let first = hash(WITH, SNIPPETS);
    assert_ne!(first, ContentHash::of(WITH.as_bytes()));
    // What it does not use, comments and the form that something is written in are no part of it.
    let same = SNIPPETS.replace(
        "common: [T1110, T1110.001]",
        "common:  # some\n    - T1110\n    - T1110.001\n  more: 1",
    );
    assert_eq!(hash(WITH, &same), first);
    let mut hashes = vec![first];
    for (from, to) in [
        ("flows_min: 7", "flows_min: 8"),
        ("T1110.001", "T1110.002"),
        ("'x'", "'y'"),
        ("stuck, refused", "refused, stuck"),
        ("event.source.ip != null", "has(event.source.ip)"),
        ("medium: approve", "medium: 'observe'"),
    ] {
        hashes.push(hash(WITH, &SNIPPETS.replace(from, to)));
    }
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 7);
    // One that uses none is known by its text, whatever stands beside it.
    let own = with(WRITTEN_OUT, SNIPPETS);
    assert_eq!(own.program.playbook.hash, ContentHash::of(WRITTEN_OUT.as_bytes()));
    assert!(own.contributed.is_empty() && own.snippets.is_empty());
}

#[test]
fn what_nothing_uses_is_told() {
    let text = format!("{SNIPPETS}  alone: {{ use: lonely }}\n  lonely: 1\n");
    let snippets = Snippets::read("snippets.yaml", &text);
    assert_eq!(snippets.diagnostics(), []);
    let own = with(WITH, &text);
    let found = snippets.unused(&own.snippets.iter().collect());
    let told: Vec<_> = found.iter().map(|it| (it.code, it.line, it.column)).collect();
    assert_eq!(told, [("P086", 19, 3), ("P086", 20, 3)]);
    let conditions = own
        .snippets
        .iter()
        .filter(|it| it.kind == SnippetKind::Condition)
        .count();
    assert_eq!(conditions, 3);
    assert_eq!(snippets.unused(&BTreeSet::new()).len(), 12);
}

/// Small files that would stand for more than fits into memory.
#[test]
fn what_grows_beyond_bounds_is_refused() {
    let double = |body: &dyn Fn(usize) -> String| (1..60).map(|at| format!("  {}\n", body(at))).collect::<String>();
    let conditions = double(&|at| format!("c{at}: condition.c{0} && condition.c{0}", at - 1));
    let blocks = double(&|at| format!("b{at}: [{{ use: b{0} }}, {{ use: b{0} }}]", at - 1));
    let text = format!("conditions:\n  c0: event.host == 'x'\n{conditions}blocks:\n  b0: T1110\n{blocks}");
    let snippets = Snippets::read("snippets.yaml", &text);
    assert!(
        snippets.diagnostics().iter().all(|it| it.code == "P088"),
        "{:?}",
        snippets.diagnostics()
    );
    assert!(!snippets.diagnostics().is_empty());

    // A long chain, each deeper than the one before.
    let deep = double(&|at| format!("c{at}: '!(!(!(!(condition.c{}))))'", at - 1));
    let nested = double(&|at| format!("b{at}: [{{ use: b{} }}, 1]", at - 1));
    let text = format!("conditions:\n  c0: event.host == 'x'\n{deep}blocks:\n  b0: T1110\n{nested}");
    let snippets = Snippets::read("snippets.yaml", &text);
    assert!(
        snippets
            .diagnostics()
            .iter()
            .any(|it| it.code == "P088" && it.line < 60),
        "{:?}",
        snippets.diagnostics()
    );
    assert!(
        snippets
            .diagnostics()
            .iter()
            .any(|it| it.code == "P088" && it.line > 60),
        "{:?}",
        snippets.diagnostics()
    );

    // Each fits, and all of them do not.
    let ten = ["T1110"; 10].join(", ");
    let text = format!("conditions:\n  x: event.host == 'x'\nblocks:\n  ten: [{ten}]\n  one: T1110\n");
    let many = |count: usize, what: &str| WRITTEN_OUT.replace("T1046", &vec![what; count].join(", "));
    let limit = limits::SNIPPET_VALUES_MAX / 11;
    assert_eq!(places(&many(limit + 1, "{ use: ten }"), &text)[0], "x.yaml:3:1277 P088");
    let uses = places(&many(limits::SNIPPET_USES_MAX + 1, "{ use: one }"), &text);
    assert!(uses.contains(&"x.yaml:3:3601 P088".to_owned()), "{uses:?}");
    let ors = vec!["condition.x"; 200].join(" || ");
    let wide = WRITTEN_OUT.replace("event.host != \"x\"", &format!("({ors})"));
    assert!(places(&wide, &text).is_empty(), "{:?}", places(&wide, &text));
    let ors = vec!["condition.x"; 260].join(" || ");
    let wide = WRITTEN_OUT.replace("event.host != \"x\"", &format!("({ors})"));
    assert_eq!(places(&wide, &text), ["x.yaml:7:3631 P088"]);
}
