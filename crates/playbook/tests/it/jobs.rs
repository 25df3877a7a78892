//! Steps that run jobs: which job, about what.

use serde_json::json;
use staunch_playbook::{CheckContext, Compiled, Diagnostic, compile};

use crate::event::{Raw, alert};
use crate::{check, places, playbook};

const STEP: &str = "block-ip: { target: event.source.ip, lease: 1h }";

/// A playbook with this step.
fn with(step: &str) -> String {
    let text = playbook("event.severity >= high").replace(STEP, step);
    assert!(text.contains(step));
    text
}

fn in_context(step: &str, jobs: &[&str]) -> Result<Compiled, Vec<Diagnostic>> {
    let context = CheckContext {
        jobs: Some(jobs.iter().map(|it| (*it).into()).collect()),
        ..CheckContext::default()
    };
    compile("example.yaml", &with(step), &context)
}

#[test]
fn a_subject_is_what_the_field_holds_when_it_can_be_one() {
    let raw = |value: serde_json::Value| Raw::new(json!({ "subject": value }));
    let target = |step: &str, raw: &Raw| {
        let compiled = check(&with(step)).unwrap_or_else(|found| panic!("{found:?}"));
        (compiled.program.targets[0])(&alert(raw)).map(|it| it.to_string())
    };
    let step = "exec-job: { job: lock-door, target: event.raw.subject, lease: 1h }";
    let long = "a".repeat(257);
    let whole = format!("job:lock-door:{}", &long[1..]);
    for (value, expect) in [
        (json!("alice"), Some("job:lock-door:alice")),
        (json!("$(reboot); a:b"), Some("job:lock-door:$(reboot); a:b")),
        (json!(42), Some("job:lock-door:42")),
        (json!(&long[1..]), Some(whole.as_str())),
        (json!(long), None),
        (json!("-rf"), None),
        (json!("a\nb"), None),
        (json!("\u{202e}a"), None),
        // Never taken for the machine as a whole.
        (json!(""), None),
        (json!(null), None),
    ] {
        assert_eq!(target(step, &raw(value.clone())).as_deref(), expect, "{value}");
    }
    let of_address = "exec-job: { job: lock-door, target: event.source.ip, lease: 1h }";
    let none = raw(json!(null));
    assert_eq!(target(of_address, &none).as_deref(), Some("job:lock-door:203.0.113.7"));
    let whole = "exec-job: { job: lock-door, lease: 1h }";
    assert_eq!(target(whole, &none).as_deref(), Some("job:lock-door:"));
}

#[test]
fn the_plan_says_which_job_and_two_jobs_are_no_repetition() {
    let two = format!(
        "{}\n  - {}",
        "exec-job: { job: one, target: event.user, lease: 1h }",
        "exec-job: { job: two, target: event.user, lease: 1h }"
    );
    let compiled = check(&with(&two)).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(compiled.warnings, []);
    let targets: Vec<&str> = compiled.program.playbook.steps.iter().map(|it| &*it.target).collect();
    assert_eq!(targets, ["one: event.user", "two: event.user"]);
}

#[test]
fn a_job_is_named_and_is_there() {
    for (step, code) in [
        ("exec-job: { target: event.user, lease: 1h }", "P094"),
        ("exec-job: { job: Lock, target: event.user, lease: 1h }", "P094"),
        ("block-ip: { job: lock, target: event.source.ip, lease: 1h }", "P010"),
        ("exec-job: { job: lock, target: event.severity, lease: 1h }", "P050"),
        ("exec-job: { job: lock, target: event.user }", "P020"),
        (
            "exec-job: { job: lock, target: event.user, lease: 1h, irreversible: yes }",
            "P029",
        ),
        ("block-ip: { lease: 1h }", "P011"),
    ] {
        let found = check(&with(step)).expect_err(step);
        assert_eq!(
            places(&found).iter().map(|it| it.0).collect::<Vec<_>>(),
            [code],
            "{step}"
        );
    }
    let step = "exec-job: { job: lock-dor, target: event.user, lease: 1h }";
    assert!(check(&with(step)).is_ok(), "which jobs there are is not known");
    let found = in_context(step, &["lock-door"]).expect_err("there is none");
    assert_eq!((found[0].code, found.len()), ("P093", 1));
    assert!(format!("{found:?}").contains("lock-door"), "{found:?}");
    assert!(in_context(&step.replace("dor", "door"), &["lock-door"]).is_ok());
}
