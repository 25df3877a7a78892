//! What a test says of the surroundings of its events, and what the guards make of it.

use super::test;
use crate::harness::{Home, stderr, stdout};

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
