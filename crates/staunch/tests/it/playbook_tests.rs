//! `staunch test`: the tests of the built-in playbooks, and what failing and broken tests look like.

mod around;
mod files;
mod phases;
mod targets;

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
