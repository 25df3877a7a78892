//! What a test says of one target: how its address is written, and what its requests meet.

use serde_json::Value;

use super::{changed, test};
use crate::harness::{Home, stderr, stdout};

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
