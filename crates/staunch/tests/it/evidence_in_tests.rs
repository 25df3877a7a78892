//! Evidence in tests of playbooks: what they expect of it, how it fails in them, and what a review makes of an
//! incident.

use std::fs;

use serde_json::Value;
use staunch_model::{ContentHash, Effect, EvidenceKind, Failure, FailureKind, Input, Outcome, Sealed};

use crate::backtest::{alert, at, world};
use crate::harness::{Home, stderr, stdout};
use crate::playbook_tests::{changed, test};
use crate::review_changes::{BLOCK, Review, playbook, recorded_as};

const NAME: &str = "command-and-control-block";
const KEPT: &str = "evidence: { flows: sealed, sockets: sealed, processes: sealed }";
const MISSED: &str = "evidence: { flows: missed, sockets: missed, processes: missed }";

/// What did not hold in the tests at `path`: the exit code, and what was expected and found.
fn differences(path: &str) -> (Option<i32>, Vec<(String, String)>) {
    let output = test(&[path], true);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let tests = report["files"][0]["tests"].as_array().expect("a list").iter();
    let all = tests.flat_map(|it| it["differences"].as_array().expect("a list"));
    let text = |it: &Value, what: &str| it[what].as_str().expect("a text").to_owned();
    let told = all.map(|it| (text(it, "expected"), text(it, "found"))).collect();
    (output.status.code(), told)
}

#[test]
fn what_became_of_evidence_is_expected_and_each_other_word_fails() {
    let home = Home::new("");
    for word in ["none", "open", "missed", "late"] {
        let wrong = KEPT.replace("sockets: sealed", &format!("sockets: {word}"));
        let dir = changed(&home, NAME, &[], &[(KEPT, &wrong)]);
        let expect = vec![(format!("evidence, sockets: {word}"), "sealed".to_owned())];
        assert_eq!(differences(&dir), (Some(13), expect));
    }
    let wrong = MISSED.replace("flows: missed", "flows: sealed");
    let dir = changed(&home, NAME, &[], &[(MISSED, &wrong)]);
    let (code, told) = differences(&dir);
    assert_eq!((code, told.len()), (Some(13), 1), "{told:?}");
    assert_eq!(told[0].0, "evidence, flows: sealed");
    assert!(
        told[0].1.starts_with("missed, ") && told[0].1.contains("it is full"),
        "{told:?}"
    );

    // What the playbook does not keep any more is noticed, and what it keeps beside it is expected by nobody.
    let dir = changed(&home, NAME, &[("  - sockets\n", "  - modules\n")], &[]);
    let (code, told) = differences(&dir);
    let gone = |word: &str| (format!("evidence, sockets: {word}"), "not asked for".to_owned());
    assert_eq!((code, told), (Some(13), vec![gone("sealed"), gone("missed")]));
}

#[test]
fn evidence_fails_in_tests_as_it_does_in_a_server() {
    let home = Home::new("");
    let fault = "{ at: preserve, kind: full, times: always }";
    for (instead, became, is_met) in [
        // What may pass is tried again, and what is lost is waited for until the deadline.
        ("{ at: preserve, kind: throttled, times: 1 }", "sealed", true),
        ("{ at: preserve, kind: throttled, times: always }", "missed", true),
        (
            "{ at: preserve, evidence: sockets, kind: request-lost, times: always }",
            "missed",
            true,
        ),
        // Neither of this target nor of this kind is anything kept.
        (
            "{ at: preserve, of: 208.75.250.51, kind: full, times: always }",
            "sealed",
            false,
        ),
        (
            "{ at: preserve, evidence: capture, kind: full, times: always }",
            "sealed",
            false,
        ),
    ] {
        let expect = format!("evidence: {{ sockets: {became} }}, notice: goes on without");
        let expect = match became {
            "sealed" => expect.replace(", notice: goes on without", ""),
            _ => expect,
        };
        let from = format!("{MISSED}, notice: goes on without its evidence");
        let times = instead.replace("times: 1", "times: 3");
        let dir = changed(&home, NAME, &[], &[(fault, &times), (&from, &expect)]);
        let unmet = ("a request meets the fault".to_owned(), "none does".to_owned());
        let told = if is_met {
            (Some(0), vec![])
        } else {
            (Some(13), vec![unmet])
        };
        assert_eq!(differences(&dir), told, "{instead}");
    }
    for (mistaken, code, hint) in [
        ("{ at: preserve, kind: lies }", "error[P013]", "request-lost"),
        ("{ at: preserve, kind: in-doubt }", "error[P013]", "request-lost"),
        (
            "{ at: execute, evidence: flows, kind: full }",
            "error[P012]",
            "write `at: preserve`",
        ),
        (
            "{ at: preserve, evidence: flow, kind: full }",
            "error[P013]",
            "did you mean `flows`?",
        ),
    ] {
        let dir = changed(&home, NAME, &[], &[(fault, mistaken)]);
        let output = test(&[&dir], false);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(code) && said.contains(hint), "{mistaken}: {said}");
    }
}

#[test]
fn evidence_that_no_test_has_sealed_is_told() {
    let home = Home::new("");
    let dir = changed(&home, NAME, &[], &[]);
    let file = format!("{dir}/{NAME}.test.yaml");
    let text = fs::read_to_string(&file).expect("it is there");
    let (events, _) = text.split_once("\ntests:").expect("there are tests");
    let tests = format!(
        "{events}\ntests:\n  - name: one\n    faults: [{{ at: preserve, evidence: sockets, kind: full, times: always }}]\n    \
         events: [{{ at: 0s, event: checkin }}]\n    expect: [{{ evidence: {{ sockets: missed, flows: sealed }} }}]\n"
    );
    fs::write(&file, tests).expect("it is our directory");
    let output = test(&[&dir], true);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let parts = report["coverage"][0]["parts"].as_array().expect("a list");
    let evidence = parts.iter().find(|it| it["what"] == "evidence").expect("it is covered");
    assert_eq!((&evidence["reached"], &evidence["of"]), (&2.into(), &3.into()));
    assert_eq!(evidence["missing"], serde_json::json!(["sockets never sealed"]));
}

/// The test that a review writes finds that its evidence is no longer kept.
#[test]
fn the_test_of_a_review_expects_the_evidence_that_the_incident_had() {
    let steps = format!("preserve:\n  - network\n  - flows: {{ target: event.source.ip }}\ncontain:\n{BLOCK}");
    let text = playbook("", BLOCK).replace(&format!("contain:\n{BLOCK}"), &steps);
    let collected = |effect: &Effect| match effect {
        Effect::Collect { evidence, kind, .. } => Some(Input::Collected {
            evidence: *evidence,
            result: match kind {
                EvidenceKind::Network => Ok(Sealed {
                    hash: ContentHash::default(),
                    artefacts: 1,
                    bytes: 1,
                }),
                _ => Err(Failure::new(FailureKind::Full, "there is no room")),
            },
        }),
        other => world(other, 0, &Outcome::Landed),
    };
    let event = (at(0), alert("203.0.113.1", at(0), "Brute force"));
    let home = recorded_as(&text, &[event], &[], &collected);
    let review = Review::of(&home, "INC-1");
    let name = "tests/share.review-INC-1.test.yaml";
    let written = review.text(name);
    let fault = "    faults: [{ at: preserve, evidence: flows, kind: full, times: always }]\n";
    for part in [
        fault,
        "evidence: { flows: missed } }\n",
        "evidence: { network: sealed } }\n",
    ] {
        assert!(written.contains(part), "{part}: {written}");
    }
    let file = home.path("review-INC-1").join(name);
    let path = file.display().to_string();
    assert_eq!(differences(&path), (Some(0), vec![]));

    // Without the fault they are taken; without the step nobody takes them.
    fs::write(&file, written.replace(fault, "")).expect("it is our directory");
    let missed = ("evidence, flows: missed".to_owned(), "sealed".to_owned());
    assert_eq!(differences(&path), (Some(13), vec![missed]));
    fs::write(&file, &written).expect("it is our directory");
    let beside = home.path("review-INC-1/tests/share.yaml");
    let weaker = text.replace("  - network\n", "");
    assert_ne!(weaker, text);
    fs::write(beside, weaker).expect("it is our directory");
    let sealed = ("evidence, network: sealed".to_owned(), "not asked for".to_owned());
    assert_eq!(differences(&path), (Some(13), vec![sealed]));
}
