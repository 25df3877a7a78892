//! `staunch test`: the tests of the built-in playbooks, and what failing and broken tests look like.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::harness::{Home, staunch, stderr, stdout};

/// The folder of the playbooks that come with Staunch.
const PLAYBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../playbooks");

pub(crate) fn test(paths: &[&str], json: bool) -> Output {
    let mut command = staunch(&["test"]);
    if json {
        command.arg("--json");
    }
    command.args(paths).output().expect("the binary starts")
}

/// A directory with a built-in playbook, changed, and its tests, changed.
pub(crate) fn changed(home: &Home, name: &str, playbook: &[(&str, &str)], tests: &[(&str, &str)]) -> String {
    let dir = home.path("changed");
    std::fs::create_dir_all(&dir).expect("it is our directory");
    for (file, changes) in [(format!("{name}.yaml"), playbook), (format!("{name}.test.yaml"), tests)] {
        let mut text = std::fs::read_to_string(Path::new(PLAYBOOKS).join(&file)).expect("it is there");
        for (from, to) in changes {
            assert!(text.contains(from), "{file} has no {from}");
            text = text.replace(from, to);
        }
        std::fs::write(dir.join(&file), text).expect("it is our directory");
    }
    dir.display().to_string()
}

#[test]
fn built_in_playbooks_pass_their_tests() {
    for paths in [&[][..], &[PLAYBOOKS]] {
        let output = test(paths, true);
        let text = stdout(&output);
        assert!(output.status.success(), "{text}{}", stderr(&output));
        let report: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(report["failed"], 0);
        assert!(
            report["passed"].as_u64().expect("a number") >= 50,
            "{}",
            report["passed"]
        );
        for coverage in report["coverage"].as_array().expect("a list") {
            let parts = coverage["parts"].as_array().expect("a list");
            let missing = |what: &str| {
                let part = parts.iter().find(|it| it["what"] == what).expect("a part");
                part["missing"].as_array().expect("a list").len()
            };
            // Those that keep none have no such part.
            let evidence = parts.iter().find(|it| it["what"] == "evidence");
            let unsealed = evidence.map_or(0, |it| it["missing"].as_array().expect("a list").len());
            assert_eq!(unsealed, 0, "{coverage:#}");
            for (what, most) in [
                ("steps", 0),
                ("modes", 0),
                ("outcomes", 0),
                ("clauses", 1),
                ("guards", 5),
            ] {
                assert!(missing(what) <= most, "{what}: {coverage:#}");
            }
        }
    }
}

#[test]
fn a_weaker_playbook_fails_its_tests_and_the_difference_is_shown() {
    let home = Home::new("");
    let dir = changed(
        &home,
        "brute-force-block",
        &[("traffic_share_max: 5%", "traffic_share_max: 50%")],
        &[],
    );
    let output = test(&[&dir], false);
    assert_eq!(output.status.code(), Some(13), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.lines()
            .all(|line| line.chars().count() <= 80 || line.contains("changed/")),
        "{text}"
    );
    assert_eq!(text.matches("FAIL").count(), 1, "{text}");
    assert!(
        text.contains("FAIL  what carries much of the traffic is refused"),
        "{text}"
    );
    let row = text
        .lines()
        .find(|line| line.contains("203.0.113.7: refused"))
        .expect("the difference");
    assert!(
        row.trim_start().starts_with("1s ") && row.ends_with(" in-force"),
        "{text}"
    );
    assert!(text.contains("what happened\n"), "{text}");
    assert!(text.contains("TX-1 intends to act"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

/// What a test says is known around an event is asked by triggers, each kind of it.
#[test]
fn a_test_says_what_is_known_around_its_events() {
    const PLAYBOOK: &str = "
playbook: around
summary: Looks around.
trigger:
  sources: [cloudevents]
  when: CONDITION
  incident: event.source.ip
contain:
  - block-ip: { target: event.source.ip, lease: 1h }
mode: { low: enforce }
";
    const TESTS: &str = r#"
playbook: around.yaml
events:
  one:
    source: cloudevents
    json: >-
      {"specversion":"1.0","id":"1","source":"/sensor","type":"one","time":"2026-01-31T12:00:00Z","severity":"high","sourceip":"203.0.113.7","data":{"destination_ip":"10.0.0.22","host":"web-1","user":"alice"}}
tests:
  - name: what is known
    context: { KNOWN }
    events: [{ event: one, at: 0s }]
    expect: [{ at: 1s, state: { 203.0.113.7: STATE } }]
"#;
    let home = Home::new("");
    let check = |condition: &str, known: &str, state: &str| {
        let playbook = PLAYBOOK.replace("CONDITION", &serde_json::to_string(condition).expect("a text"));
        std::fs::write(home.path("around.yaml"), playbook).expect("it is our directory");
        let tests = TESTS.replace("KNOWN", known).replace("STATE", state);
        std::fs::write(home.path("around.test.yaml"), tests).expect("it is our directory");
        let output = test(&[&home.path("around.test.yaml").display().to_string()], false);
        assert!(
            output.status.success(),
            "{condition}: {}{}",
            stdout(&output),
            stderr(&output)
        );
    };
    for (condition, known) in [
        ("asset.tier == 'one'", "assets: { 10.0.0.22: { tier: one } }"),
        ("asset.source.owner == 'web'", "assets: { 203.0.113.7: { owner: web } }"),
        (
            "geo.source.country == 'NL' && geo.source.asn == 64500",
            "places: { 203.0.113.7: { country: NL, asn: 64500 } }",
        ),
        (
            "reputation.source.score > 0.8",
            "ratings: { 203.0.113.7: { score: 90% } }",
        ),
        ("reputation.source.score == 0", "ratings: {}"),
        (
            "asset.host.environment == 'production'",
            "assets: { web-1: { environment: production } }",
        ),
        (
            "identity.break_glass && identity.kind == 'human'",
            "identities: { alice: { kind: human, break_glass: yes } }",
        ),
    ] {
        check(condition, known, "in-force");
        check(condition, "mode: enforce", "none");
    }
}

/// The rows of a test judge what its assets and identities are, as those of a server do.
#[test]
fn the_context_guard_of_a_test_judges() {
    const PLAYBOOK: &str = "playbook: guarded\nsummary: Blocks.\ntrigger:\n  sources: [cloudevents]\n  when: event.severity >= high\n  \
         incident: event.source.ip\ncontain:\n  - block-ip: { target: event.source.ip, lease: 1h }\nmode: { low: enforce }\n";
    let home = Home::new("");
    std::fs::write(home.path("guarded.yaml"), PLAYBOOK).expect("it is our directory");
    let rows = "[{ name: emergency, break_glass: yes, then: refuse }, { name: lab, environment: [lab], then: pass }, \
                { name: ours, owner: [payments, web], asset_known: yes, then: ask }]";
    let at_target = |more: &str| format!("assets: {{ 203.0.113.7: {{ {more} }} }}");
    for (guards, known, expect) in [
        (
            rows,
            at_target("owner: web"),
            "asked: { 203.0.113.7: { guard: context, says: \"row 3\" } }, acts: 0",
        ),
        (
            rows,
            at_target("owner: web, environment: lab"),
            "state: { 203.0.113.7: in-force }",
        ),
        (rows, at_target("owner: sales"), "state: { 203.0.113.7: in-force }"),
        (
            rows,
            "identities: { alice: { break_glass: yes } }".to_owned(),
            "refused: { 203.0.113.7: { guard: context, says: \"row 1\" } }, acts: 0",
        ),
        // Without rows nobody asks.
        ("[]", at_target("owner: web"), "state: { 203.0.113.7: in-force }"),
    ] {
        let tests = format!(
            "tests:\n  - name: guarded\n    context:\n      guards: {guards}\n      {known}\n    events:\n      - at: 0s\n        \
             source: cloudevents\n        json: >-\n          {{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\",\
             \"severity\":\"high\",\"time\":\"2026-01-31T12:00:00Z\",\"sourceip\":\"203.0.113.7\",\"data\":{{\"user\":\"alice\"}}}}\n    \
             expect: [{{ at: 1s, {expect} }}]\n"
        );
        std::fs::write(home.path("guarded.test.yaml"), tests).expect("it is our directory");
        let output = test(&[&home.path("guarded.test.yaml").display().to_string()], false);
        assert!(
            output.status.success(),
            "{known}: {}{}",
            stdout(&output),
            stderr(&output)
        );
    }
}

#[test]
fn what_is_not_reached_is_listed() {
    let home = Home::new("");
    let dir = changed(
        &home,
        "brute-force-block",
        &[(
            "|| event.category.lower",
            "|| event.signature.contains(\"never said\")\n      || event.category.lower",
        )],
        &[],
    );
    let output = test(&[&dir], false);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("- event.signature.contains(\"never said\") never true\n"),
        "{text}"
    );
    assert!(!text.contains("event.severity >= medium never"), "{text}");
}

#[test]
fn mistakes_point_at_line_and_column() {
    let home = Home::new("");
    for (from, to, expect) in [
        (
            "state: { 203.0.113.7: in-force }, world",
            "state: { 203.0.113.7: inforce }, world",
            "error[P013]",
        ),
        ("at: 0s, event: scan", "at: 0s, event: scam", "did you mean `scan`?"),
        (
            "no_match: event.severity >= medium",
            "no_match: event.severity >= high",
            "the trigger has no clause",
        ),
        ("source: suricata", "source: snort", "there is no source `snort`"),
        ("{\"timestamp\"", "\"timestamp\"", "cannot read this event"),
        ("operator: approve", "operator: aprove", "is not something that happens"),
    ] {
        let dir = changed(&home, "brute-force-block", &[], &[(from, to)]);
        let output = test(&[&dir], false);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expect), "{expect}: {said}");
        assert!(said.contains("brute-force-block.test.yaml:"), "{said}");
        assert!(said.contains("hint: "), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = test(&["no/such.test.yaml"], false);
    assert_eq!(output.status.code(), Some(5));
    assert!(
        stderr(&output).contains("cannot read no/such.test.yaml"),
        "{}",
        stderr(&output)
    );
}

/// Each kind of expectation fails when it is wrong, and holds when it is right.
#[test]
fn every_expectation_can_fail() {
    let claims = [
        ("state: { 203.0.113.7: in-force }", "state: { 203.0.113.7: none }"),
        ("state: { 203.0.113.9: none }", "state: { 203.0.113.9: stuck }"),
        ("world: { 203.0.113.7: ours }", "world: { 203.0.113.7: absent }"),
        ("refused: { 203.0.113.8: impact }", "refused: { 203.0.113.8: capacity }"),
        (
            "refused: { 203.0.113.8: { says: 40 % } }",
            "refused: { 203.0.113.8: { says: 41 % } }",
        ),
        ("asked: { 10.16.1.11: {} }", "asked: { 203.0.113.7: {} }"),
        ("asked: { 10.16.1.11: impact }", "asked: { 10.16.1.11: freshness }"),
        ("order: [203.0.113.7]", "order: [203.0.113.7, 203.0.113.8]"),
        ("acts: 1", "acts: 2"),
        ("incidents: 3", "incidents: 2"),
        ("joined: 1", "joined: 0"),
        ("outcome: awaiting-approval", "outcome: contained"),
        ("notices: { warning: 1 }", "notices: { warning: 0 }"),
        ("notice: more than the 5 % allowed", "notice: more than the 6 % allowed"),
        ("command_refused: not awaiting approval", "command_refused: no reason"),
    ];
    let home = Home::new("");
    let dir = changed(&home, "brute-force-block", &[], &[]);
    let file = format!("{dir}/brute-force-block.test.yaml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let (events, _) = text.split_once("\ntests:").expect("there are tests");
    let tests = |side: fn(&(&'static str, &'static str)) -> &'static str| {
        let expect: Vec<String> = claims
            .iter()
            .map(|claim| format!("      - {{ at: 5s, {} }}\n", side(claim)))
            .collect();
        format!(
            "{events}\ntests:\n  - name: all\n    context: {{ traffic: {{ 203.0.113.8: 40%, 10.16.1.11: unknown }} }}\n    \
             events: [{{ at: 0s, event: ssh }}, {{ at: 1s, event: ssh }}, {{ at: 2s, event: neighbour }}, \
             {{ at: 3s, event: inside }}]\n    happens: [{{ at: 4s, operator: deny 203.0.113.7 }}]\n    expect:\n{}",
            expect.concat()
        )
    };
    for (text, differences) in [(tests(|it| it.0), 0), (tests(|it| it.1), claims.len())] {
        std::fs::write(&file, &text).expect("it is our directory");
        let output = test(&[&file], true);
        let report: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let found = &report["files"][0]["tests"][0]["differences"];
        assert_eq!(found.as_array().map(Vec::len), Some(differences), "{found:#}");
        assert_eq!(output.status.code(), Some(if differences == 0 { 0 } else { 13 }));
    }
}

/// An address of IPv4 may be written as one of IPv6, and means the same wherever a test names it.
#[test]
fn an_ipv4_address_that_is_written_as_ipv6_is_the_same_target() {
    let tests = "tests:
  - name: in force
    events: [{ at: 0s, event: ssh }]
    expect:
      - at: 1s
        state: { '::ffff:203.0.113.7': in-force }
        world: { '::ffff:203.0.113.7': ours }
        order: ['::ffff:203.0.113.7']
  - name: somebody else is there
    world: { in_place: { '::ffff:203.0.113.7': foreign } }
    events: [{ at: 0s, event: ssh }]
    expect: [{ at: 1s, state: { 203.0.113.7: refused } }]
  - name: too much of the traffic
    context: { traffic: { '::ffff:203.0.113.7': 40% } }
    events: [{ at: 0s, event: ssh }]
    expect: [{ at: 1s, refused: { 203.0.113.7: impact } }]
  - name: a fault, and a release
    faults: [{ at: execute, of: '::ffff:203.0.113.7', kind: reply-lost }]
    events: [{ at: 0s, event: ssh }]
    happens: [{ at: 5m, operator: 'release ::ffff:203.0.113.7' }]
    expect: [{ at: 6m, state: { 203.0.113.7: released } }]
  - name: protected
    context: { never_touch: ['::ffff:203.0.113.9/120'] }
    events: [{ at: 0s, event: ssh }]
    expect: [{ at: 1s, refused: { 203.0.113.7: never-touch } }]
";
    passes(tests, &[]);
}

/// What is never touched by nature needs no entry, and is no mistake of Staunch.
#[test]
fn an_address_that_is_nobodys_is_refused_for_a_reason() {
    let tests = "tests:
  - name: this network
    events: [{ at: 0s, event: ssh }]
    expect: [{ at: 1s, refused: { 0.0.0.5: never-touch } }]
";
    passes(tests, &[("203.0.113.7", "0.0.0.5")]);
}

#[test]
fn a_fault_that_no_request_meets_fails_its_test() {
    let tests = "tests:
  - name: a slip
    faults:
      - { at: execute, of: 203.0.113.7, kind: denied }
      - { at: execute, of: 203.0.113.70, kind: denied, times: always }
    events: [{ at: 0s, event: ssh }]
    expect: [{ at: 1s, state: { 203.0.113.7: in-force } }]
";
    let home = Home::new("");
    let (file, line) = with_tests(&home, tests, &[]);
    let output = test(&[&file], true);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let differences = report["files"][0]["tests"][0]["differences"].as_array().expect("some");
    let of_fault = |it: &&Value| it["expected"] == "a request meets the fault";
    let lines: Vec<_> = differences.iter().filter(of_fault).map(|it| &it["line"]).collect();
    assert_eq!(lines, [&Value::from(line + 4)], "{report:#}");
    assert_eq!(output.status.code(), Some(13));
}

/// The file of `tests` of brute-force-block, with `changes` to its events, and the line in which `tests` begin.
fn with_tests(home: &Home, tests: &str, changes: &[(&str, &str)]) -> (String, usize) {
    let dir = changed(home, "brute-force-block", &[], changes);
    let file = format!("{dir}/brute-force-block.test.yaml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let (events, _) = text.split_once("\ntests:").expect("there are tests");
    std::fs::write(&file, format!("{events}\n{tests}")).expect("it is our directory");
    (file, events.matches('\n').count() + 2)
}

/// The `tests` of brute-force-block pass, with `changes` to its events.
fn passes(tests: &str, changes: &[(&str, &str)]) {
    let home = Home::new("");
    let (file, _) = with_tests(&home, tests, changes);
    let output = test(&[&file], false);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

/// The guide shows a playbook, its tests, and what is said of them, of a weaker playbook, and of a mistake.
#[test]
fn the_guide_shows_what_is_said() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/playbook-tests.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let blocks = |language: &str| -> Vec<String> {
        let fence = format!("```{language}\n");
        let blocks = guide.split(&fence).skip(1);
        blocks
            .map(|it| it.split("```").next().unwrap_or_default().to_owned())
            .collect()
    };
    let (yaml, text) = (blocks("yaml"), blocks("text"));
    let home = Home::new("");
    let run = |playbook: &str, tests: &str| {
        std::fs::write(home.path("ssh.yaml"), playbook).expect("it is our directory");
        std::fs::write(home.path("ssh.test.yaml"), tests).expect("it is our directory");
        let mut command = staunch(&["test", "ssh.yaml"]);
        command.current_dir(home.path(".")).output().expect("the binary starts")
    };
    assert_eq!(stdout(&run(&yaml[0], &yaml[1])), text[0]);
    let weaker = yaml[0].replace("5%", "50%");
    let said = stdout(&run(&weaker, &yaml[1]));
    assert!(said.starts_with(&text[1]), "{said}");
    let mistaken = yaml[1].replace("kind: reply-lost", "kind: reply-losed");
    // With the playbook beside it or elsewhere, it is told what is mistaken.
    let elsewhere = home.path("elsewhere.test.yaml");
    std::fs::write(&elsewhere, &mistaken).expect("it is our directory");
    let told = home.run(&["test", &elsewhere.display().to_string()]);
    let told = stderr(&told) + &stdout(&told);
    assert!(told.contains("error[P013]") && !told.contains("P061"), "{told}");
    let said = stderr(&run(&yaml[0], &mistaken));
    assert!(said.starts_with(&text[2]), "{said}");
}

/// The schemas for editors are valid JSON, and know the sources of the configuration.
#[test]
fn the_schema_knows_what_is_configured() {
    let home = Home::new("[[sources.generic]]\nname = \"my-waf\"\nsignature = \"rule\"\n");
    let config = home.config().display().to_string();
    for (arguments, knows) in [(&["playbook"][..], false), (&["playbook", "--config", &config], true)] {
        let output = staunch(&["schema"])
            .args(arguments)
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{}", stderr(&output));
        let schema: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
        let sources =
            &schema["properties"]["trigger"]["properties"]["sources"]["anyOf"][0]["items"]["anyOf"][0]["enum"];
        let sources = sources.as_array().expect("a list");
        assert_eq!(sources.contains(&"my-waf".into()), knows, "{sources:?}");
    }
    let output = staunch(&["schema", "test"]).output().expect("the binary starts");
    let schema: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(schema["required"], serde_json::json!(["tests"]));
}

/// A lease that grows: the second one is longer, the plan and the record say why, and what no test has reached is told.
#[test]
fn a_lease_that_grows_is_tested_and_covered() {
    let home = Home::new("");
    let dir = home.path("growing");
    std::fs::create_dir_all(&dir).expect("it is our directory");
    let alert = |time: &str| {
        format!(
            "{{\"timestamp\":\"2026-11-20T{time}.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.7\",\
             \"src_port\":32928,\"dest_ip\":\"10.0.0.22\",\"dest_port\":22,\"proto\":\"TCP\",\"direction\":\"to_server\",\
             \"alert\":{{\"signature\":\"ET SCAN Potential SSH Scan\",\"category\":\"\",\"severity\":2}}}}"
        )
    };
    let playbook = "playbook: growing\nsummary: Its leases grow.\ntrigger:\n  sources: [suricata]\n  \
                    when: event.severity >= medium\n  incident: event.source.ip\ncontain:\n  \
                    - block-ip: { target: event.source.ip, lease: { first: 1h, then: [3h, 9h] } }\n\
                    mode: { low: enforce, medium: approve, high: observe }\n";
    let tests = format!(
        "tests:\n  - name: who comes back is held for longer\n    events:\n      \
         - {{ at: 0s, source: suricata, json: '{}' }}\n      - {{ at: 2h, source: suricata, json: '{}' }}\n    expect:\n      \
         - {{ at: 1h1m, state: {{ 203.0.113.7: released }} }}\n      \
         - {{ at: 4h59m, state: {{ 203.0.113.7: in-force }}, acts: 2 }}\n      \
         - {{ at: 5h1m, state: {{ 203.0.113.7: released }} }}\n",
        alert("09:00:00"),
        alert("11:00:00")
    );
    std::fs::write(dir.join("growing.yaml"), playbook).expect("it is our directory");
    std::fs::write(dir.join("growing.test.yaml"), &tests).expect("it is our directory");
    let dir = dir.display().to_string();
    let output = test(&[&dir], true);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let report: Value = serde_json::from_str(&text).expect("it is JSON");
    let parts = report["coverage"][0]["parts"].as_array().expect("a list");
    let leases = parts
        .iter()
        .find(|it| it["what"] == "leases")
        .expect("they are covered");
    assert_eq!((&leases["reached"], &leases["of"]), (&1.into(), &2.into()));
    assert_eq!(leases["missing"][0], "block-ip event.source.ip for 9h never given");

    // With leases that are all the same it would have ended by then, and the story has no word of coming back.
    let shorter = playbook.replace("{ first: 1h, then: [3h, 9h] }", "1h");
    std::fs::write(Path::new(&dir).join("growing.yaml"), shorter).expect("it is our directory");
    let output = test(&[&dir], false);
    assert_eq!(output.status.code(), Some(13), "{}", stderr(&output));
    assert!(
        !stdout(&output).contains("target that comes back"),
        "{}",
        stdout(&output)
    );
    std::fs::write(Path::new(&dir).join("growing.yaml"), playbook).expect("it is our directory");
    std::fs::write(
        Path::new(&dir).join("growing.test.yaml"),
        tests.replace("acts: 2", "acts: 3"),
    )
    .expect("it is ours");
    let text = stdout(&test(&[&dir], false));
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("TX-2 is for a target that comes back: 1 lease served, the last until"),
        "{text}"
    );
}

/// What a playbook lists is lifted in the order of the list, also what was completed first.
#[test]
fn a_recovery_in_an_order_of_its_own_is_tested() {
    let playbook = "playbook: ordered\nsummary: Blocks and slows down, and gets back.\ntrigger:\n  sources: [suricata]\n  \
                    when: event.severity >= medium\n  incident: event.source.ip\ncontain:\n  \
                    - block-ip: { target: event.source.ip, lease: 1h }\n  \
                    - rate-limit-ip: { target: event.destination.ip, lease: 1h }\nrecover:\n  \
                    - release: { actions: [block-ip, rate-limit-ip] }\nmode: { low: enforce, medium: enforce, high: enforce }\n";
    let alert = "{\"timestamp\":\"2026-11-20T09:00:00.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.7\",\
                 \"src_port\":32928,\"dest_ip\":\"10.0.0.22\",\"dest_port\":22,\"proto\":\"TCP\",\"direction\":\"to_server\",\
                 \"alert\":{\"signature\":\"ET SCAN Potential SSH Scan\",\"category\":\"\",\"severity\":2}}";
    let tests = format!(
        "events:\n  one: {{ source: suricata, json: '{alert}' }}\ntests:\n  - name: back\n    \
         events: [{{ at: 0s, event: one }}]\n    happens: [{{ at: 5m, operator: recover 203.0.113.7 }}]\n    expect:\n      \
         - {{ at: 1m, order: [203.0.113.7, 10.0.0.22] }}\n      - {{ at: 6m, recovery: recovered }}\n      \
         - {{ at: 6m, state: {{ 203.0.113.7: released, 10.0.0.22: released }} }}\n"
    );
    let home = Home::new("");
    for (order, passes) in [("block-ip, rate-limit-ip", true), ("rate-limit-ip", false)] {
        let playbook = playbook.replace("block-ip, rate-limit-ip", order);
        std::fs::write(home.path("ordered.yaml"), playbook).expect("it is our directory");
        std::fs::write(home.path("ordered.test.yaml"), &tests).expect("it is our directory");
        let output = test(&[&home.path("ordered.yaml").display().to_string()], false);
        let text = stdout(&output);
        assert_eq!(output.status.success(), passes, "{text}{}", stderr(&output));
        assert!(!text.contains("invariant"), "{text}");
    }
}

/// Watches and the recover phase: a containment that hurts is lifted, a recovery that hurts is taken back, one that
/// does not is done; and what no test has reached is told.
#[test]
fn watches_and_recoveries_are_tested_and_covered() {
    let playbook = "playbook: back\nsummary: Blocks, and gets back.\ntrigger:\n  sources: [suricata]\n  \
                    when: event.severity >= medium\n  incident: event.source.ip\ncontain:\n  \
                    - block-ip: { target: event.source.ip, lease: 1h, watch: { health: shop, for: 1m } }\nrecover:\n  \
                    - request-change: { text: Rotate the key. }\n  - release\n  \
                    - soak: { health: errors, for: 5m }\nmode: { low: enforce, medium: approve, high: observe }\n";
    let alert = "{\"timestamp\":\"2026-11-20T09:00:00.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"203.0.113.7\",\
                 \"src_port\":32928,\"dest_ip\":\"10.0.0.22\",\"dest_port\":22,\"proto\":\"TCP\",\"direction\":\"to_server\",\
                 \"alert\":{\"signature\":\"ET SCAN Potential SSH Scan\",\"category\":\"\",\"severity\":2}}";
    let event = "    events: [{ at: 0s, event: one }]\n";
    let tests = format!(
        "events:\n  one: {{ source: suricata, json: '{alert}' }}\ntests:\n  \
         - name: what hurts is lifted\n{event}    happens:\n      - {{ at: 20s, signals: {{ shop: unhealthy }} }}\n    expect:\n      \
         - {{ at: 10s, state: {{ 203.0.113.7: in-force }}, watches: {{ shop: running }}, recovery: waiting }}\n      \
         - {{ at: 40s, state: {{ 203.0.113.7: released }}, watches: {{ shop: hurt }}, world: {{ 203.0.113.7: absent }} }}\n  \
         - name: a signal that was not healthy before tells nothing\n    world: {{ signals: {{ shop: unhealthy }} }}\n{event}    \
         expect:\n      - {{ at: 5m, state: {{ 203.0.113.7: in-force }}, watches: {{ shop: no-baseline }} }}\n  \
         - name: a signal that cannot be read lifts nothing\n{event}    happens:\n      \
         - {{ at: 20s, signals: {{ shop: unreadable }} }}\n    expect:\n      \
         - {{ at: 5m, state: {{ 203.0.113.7: in-force }}, watches: {{ shop: blind }} }}\n  \
         - name: back to normal\n{event}    happens:\n      - {{ at: 5m, operator: recover 203.0.113.7 }}\n    expect:\n      \
         - {{ at: 6m, state: {{ 203.0.113.7: released }}, recovery: running }}\n      \
         - {{ at: 11m, recovery: recovered, watches: {{ shop: healthy, errors: healthy }}, notice: Rotate the key }}\n  \
         - name: what hurts in a recovery is contained again\n{event}    happens:\n      \
         - {{ at: 5m, operator: recover 203.0.113.7 }}\n      - {{ at: 7m, signals: {{ errors: unhealthy }} }}\n    expect:\n      \
         - {{ at: 8m, state: {{ 203.0.113.7: in-force }}, recovery: back, watches: {{ errors: hurt }}, acts: 2 }}\n  \
         - name: a recovery is stopped\n{event}    happens:\n      - {{ at: 5m, operator: recover 203.0.113.7 }}\n      \
         - {{ at: 6m, operator: stop recovery of 203.0.113.7 }}\n    expect: [{{ at: 7m, recovery: stopped }}]\n"
    );
    let home = Home::new("");
    let run = |tests: &str, json: bool| {
        std::fs::write(home.path("back.yaml"), playbook).expect("it is our directory");
        std::fs::write(home.path("back.test.yaml"), tests).expect("it is our directory");
        test(&[&home.path("back.yaml").display().to_string()], json)
    };
    let output = run(&tests, true);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    let report: Value = serde_json::from_str(&text).expect("it is JSON");
    let parts = report["coverage"][0]["parts"].as_array().expect("a list");
    let part = |what: &str| parts.iter().find(|it| it["what"] == what).expect("it is covered");
    assert_eq!(
        (&part("watches")["reached"], &part("watches")["of"]),
        (&4.into(), &4.into())
    );
    assert_eq!(
        (&part("recovery")["reached"], &part("recovery")["of"]),
        (&3.into(), &3.into())
    );

    // Each of these expectations can fail.
    for (right, wrong) in [
        ("shop: hurt", "shop: healthy"),
        ("shop: no-baseline", "shop: running"),
        ("shop: blind", "shop: moot"),
        ("recovery: recovered", "recovery: running"),
        ("recovery: back", "recovery: recovered"),
        ("recovery: stopped", "recovery: none"),
        ("acts: 2", "acts: 1"),
    ] {
        let output = run(&tests.replace(right, wrong), false);
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(13), "{wrong}: {text}{}", stderr(&output));
        assert_eq!(text.matches("FAIL").count(), 1, "{wrong}: {text}");
        assert!(text.contains("1 of 6 tests failed"), "{wrong}: {text}");
    }
    // What was not tried is told, and a signal that nothing watches is a mistake.
    let (first, _) = tests
        .split_once("  - name: a signal that was not")
        .expect("the second test");
    let text = stdout(&run(first, false));
    for missing in [
        "shop over block-ip event.source.ip never healthy to the end",
        "errors over recovery, step 3 never hurting",
        "2. release all, in reverse order of completion, each verified never done",
    ] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(missing), "{missing}: {text}");
    }
    let output = run(&tests.replace("{ shop: unreadable }", "{ shp: unreadable }"), false);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    let said = stderr(&output);
    assert!(
        said.contains("watches no health signal `shp`") && said.contains("it watches: errors, shop"),
        "{said}"
    );
}

/// The folder of one built-in playbook with its tests, unchanged, and how many tests it has.
fn alone(home: &Home) -> (String, u64) {
    let dir = changed(home, "brute-force-block", &[], &[]);
    let report: Value = serde_json::from_str(&stdout(&test(&[&dir], true))).expect("it is JSON");
    (dir, report["passed"].as_u64().expect("a number"))
}

#[test]
fn a_file_that_is_found_twice_runs_once() {
    let home = Home::new("");
    let (dir, count) = alone(&home);
    let (tests, playbook) = (
        format!("{dir}/brute-force-block.test.yaml"),
        format!("{dir}/brute-force-block.yaml"),
    );
    let link = home.path("link");
    std::os::unix::fs::symlink(&dir, &link).expect("a link");
    let link = link.display().to_string();
    for paths in [[&tests, &playbook], [&dir, &tests], [&dir, &dir], [&link, &playbook]] {
        let output = test(&paths.map(String::as_str), true);
        let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
        assert_eq!(report["passed"], count, "{paths:?}: {report}");
    }
}

#[test]
fn a_file_that_is_no_text_keeps_no_other_from_its_tests() {
    let home = Home::new("");
    let (dir, count) = alone(&home);
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(format!("{dir}/{name}"), bytes).expect("it is our directory");
    };
    write("latin.test.yaml", b"tests: [{ name: caf\xe9 }]\n");
    write("wide.test.yaml", b"\xff\xfet\0e\0s\0t\0s\0:\0");
    std::os::unix::fs::symlink("nowhere", format!("{dir}/gone.test.yaml")).expect("a link");
    let output = test(&[&dir], true);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(
        (&report["passed"], &report["mistakes"]),
        (&count.into(), &3.into()),
        "{report}"
    );
    assert_eq!(
        report["not_run"],
        serde_json::json!({ "files": 3, "tests": 0 }),
        "{report}"
    );
    let said = stderr(&test(&[&dir], false)).replace("\n       ", " ");
    for name in ["latin", "wide"] {
        assert!(
            said.contains(&format!("{name}.test.yaml: it is no text in UTF-8")),
            "{said}"
        );
    }
    assert!(
        said.contains("gone.test.yaml: ") && said.contains("hint: a link leads nowhere"),
        "{said}"
    );
    assert!(
        said.contains("because of mistakes, the tests of 3 files did not run"),
        "{said}"
    );
    // Also one that was named, beside another.
    let paths = [
        format!("{dir}/latin.test.yaml"),
        format!("{dir}/brute-force-block.test.yaml"),
    ];
    let output = test(&paths.each_ref().map(String::as_str), true);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    assert_eq!(report["passed"], count, "{report}");
}

#[test]
fn what_did_not_run_is_counted_as_it_is() {
    let home = Home::new("");
    let (_, count) = alone(&home);
    // Only running them shows that two tests name a clause that is not there.
    let one = changed(
        &home,
        "brute-force-block",
        &[],
        &[("no_match: event.severity >= medium", "no_match: event.severity >= high")],
    );
    let output = test(&[&one], false);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("because of mistakes, 2 tests did not run"),
        "{}",
        stderr(&output)
    );
    let report: Value = serde_json::from_str(&stdout(&test(&[&one], true))).expect("it is JSON");
    assert_eq!(report["passed"], count - 2, "{report}");

    std::fs::write(format!("{one}/brute-force-block.test.yaml"), "\n").expect("it is our directory");
    let output = test(&[&one], false);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("the file is empty") && said.contains("hint: a file of tests has `tests:`"),
        "{said}"
    );
    assert!(
        said.contains("because of mistakes, the tests of 1 file did not run"),
        "{said}"
    );
}
