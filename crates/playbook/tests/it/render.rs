//! How diagnostics look.

use crate::check;

const BROKEN: &str = "\
playbook: broken-one
summary: Everything that can go wrong.
atack: [T1110]
trigger:
  sources: [suricata, flaco]
  when: >-
    event.severity >= hihg
    && event.signature.contain(\"brute force\")
    && event.soruce.ip.inNetwork(\"10.0.0.0/8\")
  incident: event.source.ip
guards:
  impact: { traffic_share_max: 5 }
contain:
  - block-ip: { target: event.source.ip }
recover: []
mode: enforce
";

#[test]
fn errors_show_the_line_and_how_to_mend_it() {
    let found = check(BROKEN).expect_err("broken");
    let shown: Vec<_> = found.iter().map(|it| it.render(BROKEN, false)).collect();
    insta::assert_snapshot!(shown.join("\n\n"));
}

#[test]
fn warnings_and_one_line_forms() {
    let text = BROKEN
        .lines()
        .next()
        .map(|first| format!("{first}\nsummary: x\n"))
        .unwrap_or_default()
        + "trigger: { sources: [falco], when: 'true', incident: event.host }\n"
        + "contain: [ { block-ip: { target: event.source.ip, lease: 5m } } ]\n";
    let compiled = check(&text).expect("a warning only");
    let warning = &compiled.warnings[0];
    insta::assert_snapshot!(format!("{warning}\n\n{}", warning.render(&text, false)));
    assert!(
        warning.render(&text, true).contains("\u{1b}["),
        "colours are there when asked for"
    );
    insta::assert_snapshot!(serde_json::to_string(warning).expect("JSON"));
}
