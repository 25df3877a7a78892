//! Parameters: what they stand for, in which environment, and what is wrong with them.

use std::collections::BTreeMap;

use staunch_model::{ContentHash, Severity, Span};
use staunch_playbook::{CheckContext, Compiled, Diagnostic, compile};

use crate::event::{alert, raw};
use crate::{check, places};

/// A code with its line and column.
type Place = (&'static str, usize, usize);

const WITH: &str = "\
playbook: with-some
summary: Has parameters.
parameters:
  lease: 1h
  share: { default: 5%, staging: 50%, lab: 60% }
  least: { default: high, staging: medium }
trigger:
  sources: [suricata]
  when: event.severity >= parameter.least
  incident: event.source.ip
context: [traffic-share]
guards:
  impact: { traffic_share_max: \"${share}\" }
contain:
  - block-ip: { target: event.source.ip, lease: '${lease}' }
mode:
  low: enforce
";

fn context(environment: Option<&str>, values: &[(&str, &str)]) -> CheckContext {
    let values: BTreeMap<_, _> = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    CheckContext {
        environment: environment.map(str::to_owned),
        parameters: BTreeMap::from([("with-some".to_owned(), values)]),
        ..CheckContext::default()
    }
}

fn with(environment: Option<&str>, values: &[(&str, &str)]) -> Compiled {
    let compiled = compile("x.yaml", WITH, &context(environment, values)).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(compiled.warnings, []);
    compiled
}

/// The lease, the share in basis points, and whether an alert of medium severity matches.
fn effective(compiled: &Compiled) -> (Span, Option<u64>, bool) {
    let raw = raw();
    let mut event = alert(&raw);
    event.severity = Severity::Medium;
    let playbook = &compiled.program.playbook;
    (
        playbook.steps[0].lease,
        playbook.guards.traffic_share_max_bp,
        (compiled.program.when)(&event),
    )
}

#[test]
fn the_environment_and_the_configuration_choose() {
    let hour = Span::from_hours(1);
    for (environment, values, expect) in [
        (None, &[][..], (hour, Some(500), false)),
        (Some("staging"), &[], (hour, Some(5_000), true)),
        (Some("lab"), &[], (hour, Some(6_000), false)),
        (Some("elsewhere"), &[], (hour, Some(500), false)),
        (None, &[("lease", "2h")], (Span::from_hours(2), Some(500), false)),
        (
            Some("staging"),
            &[("lease", "2h"), ("least", "high")],
            (Span::from_hours(2), Some(5_000), false),
        ),
    ] {
        assert_eq!(
            effective(&with(environment, values)),
            expect,
            "{environment:?} {values:?}"
        );
    }
}

#[test]
fn values_are_told_with_where_they_are_from() {
    let compiled = with(Some("staging"), &[("lease", "2h")]);
    let told: Vec<_> = compiled
        .parameters
        .iter()
        .map(|it| (&*it.name, &*it.value, &*it.from))
        .collect();
    let expect = [
        ("lease", "2h", "the configuration"),
        ("least", "medium", "environment staging"),
        ("share", "50%", "environment staging"),
    ];
    assert_eq!(told, expect);
    assert_eq!(
        (compiled.program.explain)(&alert(&raw())).parameters,
        compiled.parameters,
        "a plan tells them too"
    );
    assert_eq!(compiled.environments, ["lab".into(), "staging".into()]);
    assert_eq!(with(None, &[]).parameters[0].from, "the default");
}

/// The journal pins what was in force.
#[test]
fn the_hash_tells_values_from_the_defaults() {
    let hash = |environment, values: &[_]| with(environment, values).program.playbook.hash;
    let text = ContentHash::of(WITH.as_bytes());
    for (environment, values) in [(None, &[][..]), (None, &[("lease", "1h")]), (Some("elsewhere"), &[])] {
        assert_eq!(hash(environment, values), text, "{environment:?} {values:?}");
    }
    let mut others = vec![
        text,
        hash(Some("staging"), &[]),
        hash(Some("lab"), &[]),
        hash(None, &[("lease", "2h")]),
        hash(Some("staging"), &[("lease", "2h")]),
    ];
    // What counts are the values, not who gave them.
    assert_eq!(
        hash(Some("staging"), &[]),
        hash(None, &[("share", "50%"), ("least", "medium")])
    );
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 5);
}

/// Whatever stands in a value, it is one constant.
#[test]
fn text_is_never_pasted_into_an_expression() {
    let text = WITH.replace(
        "event.severity >= parameter.least",
        "event.severity >= high && event.host == parameter.who",
    );
    let text = text.replace(
        "  least: { default: high, staging: medium }\n",
        "  who: '\" || true || \"'\n",
    );
    let compiled = check(&text).unwrap_or_else(|found| panic!("{found:?}"));
    assert!(!(compiled.program.when)(&alert(&raw())));
    let text = text.replace("'\" || true || \"'", "web-1");
    let compiled = check(&text).unwrap_or_else(|found| panic!("{found:?}"));
    assert!((compiled.program.when)(&alert(&raw())));
}

#[test]
fn every_mistake_is_found_at_its_place() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[Place])] = &[
        // Names.
        ("'${lease}'", "'${leese}'", &[("P080", 15, 49)]),
        ("low: enforce", "low: ${Mode of it}", &[("P080", 17, 8)]),
        ("parameter.least", "parameter.last", &[("P080", 9, 37)]),
        ("parameter.least", "parameter", &[("P080", 9, 27)]),
        ("parameter.least", "parameter.least.x", &[("P080", 9, 27)]),
        ("  lease: 1h", "  Lease: 1h", &[("P012", 4, 3)]),
        ("staging: 50%", "Staging: 50%", &[("P012", 5, 25)]),
        ("  lease: 1h", "  lease: 1h\n  lease: 2h", &[("P005", 5, 3)]),
        // Values that are wrong in their place, whichever environment is chosen.
        ("lease: 1h", "lease: 1", &[("P016", 4, 10)]),
        ("lease: 1h", "lease: { default: 1h, staging: 25h, lab: 0 }", &[("P021", 4, 34), ("P016", 4, 44)]),
        ("lab: 60%", "lab: 101%", &[("P017", 5, 44)]),
        ("staging: medium", "staging: medum", &[("P051", 9, 27)]),
        // The shape.
        ("lease: 1h", "lease:", &[("P006", 4, 3)]),
        ("lease: 1h", "lease: [1h]", &[("P006", 4, 11)]),
        ("lease: 1h", "lease: { staging: 1h }", &[("P011", 4, 12)]),
        ("lease: 1h", "lease: { default: [1h] }", &[("P006", 4, 22)]),
        // Places where none can stand.
        ("lease: 1h", "lease: ${share}", &[("P082", 4, 10)]),
        ("playbook: with-some", "playbook: ${lease}", &[("P082", 1, 11)]),
        ("when: event.severity >= parameter.least", "when: ${least}", &[("P082", 9, 9)]),
        ("when: event.severity >= parameter.least", "when: event.severity >= ${least}", &[("P082", 9, 27)]),
        ("when: event.severity >= parameter.least", "when: event.severity >= $least", &[("P040", 9, 27)]),
        ("target: event.source.ip", "target: '${least}'", &[("P082", 15, 25)]),
        // A part of a value is a text like others.
        ("'${lease}'", "'${lease} '", &[("P016", 15, 49)]),
        ("'${lease}'", "'1${lease}'", &[("P016", 15, 49)]),
    ];
    for (from, to, expect) in table {
        assert!(WITH.contains(from), "{from}");
        let found = check(&WITH.replacen(from, to, 1)).err().unwrap_or_default();
        let found: Vec<_> = found.into_iter().filter(|it| it.code != "P081").collect();
        assert_eq!(places(&found), *expect, "{to}: {found:#?}");
    }
    let compiled = check(&WITH.replace("'${lease}'", "2h")).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(places(&compiled.warnings), [("P081", 4, 3)]);
}

#[test]
fn messages_name_the_environment_once() {
    let found = |text: &str, context: &CheckContext| -> Vec<Diagnostic> {
        compile("x.yaml", text, context).expect_err("it is mistaken")
    };
    let text = WITH
        .replace("staging: 50%", "staging: 5")
        .replace("summary: Has", "sumary: Has");
    let told: Vec<_> = found(&text, &context(None, &[]))
        .into_iter()
        .map(|it| it.message)
        .collect();
    let expect = [
        "a playbook has no key `sumary`",
        "`5` is not a percentage for `traffic_share_max` (in the environment `staging`)",
    ];
    assert_eq!(told, expect);

    // A value of the configuration has no place in the file but where it is used.
    let told = found(WITH, &context(Some("staging"), &[("lease", "25h"), ("unknown", "x")]));
    assert_eq!(places(&told), [("P021", 15, 49)]);
    assert!(
        told[0].message.ends_with("(with the values of the configuration)"),
        "{told:?}"
    );
}

#[test]
fn they_are_bounded() {
    let many = |count: usize, what: &dyn Fn(usize) -> String| (0..count).map(what).collect::<String>();
    let first = |text: &str| check(text).expect_err("too many")[0].code;
    let text = WITH.replace(
        "  lease: 1h\n",
        &format!("  lease: 1h\n{}", many(64, &|it| format!("  p{it}: x\n"))),
    );
    assert_eq!(first(&text), "P023");
    let text = WITH.replace(
        "staging: 50%",
        &format!("staging: 50%{}", many(16, &|it| format!(", e{it}: 1%"))),
    );
    assert_eq!(first(&text), "P023");
    let text = WITH.replace("lease: 1h", &format!("lease: {}", "x".repeat(501)));
    assert_eq!(first(&text), "P012");
}
