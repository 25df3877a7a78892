//! Logs: what their lines are told to say, and what becomes of lines that say nothing.

mod cloud;
mod host;
mod sensors;

use std::io::Read as _;
use std::path::Path;

use staunch_connectors::logs::{DOCUMENT_BYTES_MAX, Fact, Format, LINE_BYTES_MAX, ReadError, Tally, guess, read};
use staunch_model::Timestamp;

fn around() -> Timestamp {
    "2026-11-27T00:00:00Z".parse().expect("a time")
}

fn facts(format: Option<Format>, bytes: &[u8]) -> (Format, Vec<Fact>, Tally) {
    let mut found = Vec::new();
    let mut from = bytes;
    let (format, tally) = read(&mut from, format, around(), &mut |fact| found.push(fact)).expect("it is read");
    assert_eq!(tally.facts, found.len() as u64, "{tally:?}");
    assert_eq!(
        tally.items,
        tally.facts + tally.passed_over + tally.untimed + tally.unreadable,
        "{tally:?}"
    );
    (format, found, tally)
}

/// What is said, a line for each fact: the time, the kind, the words.
fn told(format: Option<Format>, text: &str) -> Vec<String> {
    let (_, facts, _) = facts(format, text.as_bytes());
    let line = |it: Fact| format!("{} {} {}", it.time, it.kind.name(), it.what);
    facts.into_iter().map(line).collect()
}

#[test]
fn recorded_logs_are_known_by_their_beginning_and_read_to_their_end() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let folders = [
        ("alertmanager", Format::Alertmanager, 1),
        ("auditd", Format::Auditd, 5),
        ("cloudevents", Format::CloudEvents, 1),
        ("cloudtrail", Format::CloudTrail, 15),
        ("crowdsec", Format::CrowdSec, 3),
        ("falco-website", Format::Falco, 5),
        ("falcosidekick", Format::Falco, 1),
        ("guardduty", Format::GuardDuty, 3),
        ("kubernetes-audit", Format::KubernetesAudit, 10),
        ("okta", Format::Okta, 2),
        ("suricata-eve", Format::Suricata, 100),
        ("wazuh", Format::Wazuh, 3),
    ];
    for (folder, format, at_least) in folders {
        let mut all = 0;
        for entry in std::fs::read_dir(data.join(folder)).expect("the folder is part of the repository") {
            let path = entry.expect("readable").path();
            let extension = path.extension().and_then(|it| it.to_str());
            if !matches!(extension, Some("json" | "jsonl" | "log")) {
                continue;
            }
            let bytes = std::fs::read(&path).expect("readable");
            let name = path.display();
            assert_eq!(guess(&bytes[..bytes.len().min(64 << 10)]), Some(format), "{name}");
            let (read_as, facts, tally) = facts(None, &bytes);
            assert_eq!(read_as, format, "{name}");
            assert!(tally.items > 0, "{name}: {tally:?}");
            for fact in &facts {
                assert!(fact.what.starts_with(format.name()), "{name}: {fact:?}");
            }
            all += facts.len();
        }
        assert!(all >= at_least, "{folder} says {all} facts");
    }
}

#[test]
fn a_format_is_not_guessed_by_words_that_others_choose() {
    let record = |agent: &str| {
        format!(
            r#"{{"eventTime":"2026-11-27T00:00:01Z","eventSource":"iam.amazonaws.com","eventName":"X","userAgent":"{agent}","requestParameters":{{"tags":{{"__REALTIME_TIMESTAMP":"1","event_type":"a","timestamp":"b","specversion":"1"}}}}}}"#
        )
    };
    for agent in ["audit.k8s.io/x", "event_type", "GuardDuty Finding", "specversion"] {
        let line = record(agent);
        for text in [line.clone(), format!(r#"{{"Records":[{line}]}}"#), format!("[{line}]")] {
            assert_eq!(guess(text.as_bytes()), Some(Format::CloudTrail), "{text}");
        }
    }
    // Also where a document breaks off.
    let long = format!(r#"{{"Records":[{}"#, record("x"));
    assert_eq!(guess(&long.as_bytes()[..140]), Some(Format::CloudTrail));
    assert_eq!(guess(br#"{"a":{"specversion":"1"}}"#), None);
}

#[test]
fn what_is_too_long_or_unknown_is_told() {
    let long = format!(
        "2026-11-27T00:00:01Z a\n2026-11-27T00:00:02Z {}\n2026-11-27T00:00:03Z b\n",
        "x".repeat(LINE_BYTES_MAX)
    );
    let (_, found, tally) = facts(None, long.as_bytes());
    let told: Vec<&str> = found.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(told, ["log: a", "log: b"]);
    assert_eq!(
        tally.first_unreadable.as_deref(),
        Some("2: it is longer than a line may be")
    );
    for bytes in [b"what is this\n", &[0xff; 100][..], b"{\"a\":1}\n"] {
        let mut from = bytes;
        let error = read(&mut from, None, around(), &mut |_| {}).expect_err("nobody knows it");
        assert_eq!(error.to_string(), "its format is not known by its first lines");
    }
    for bytes in [&b""[..], b"\n\n"] {
        let mut from = bytes;
        let error = read(&mut from, None, around(), &mut |_| {}).expect_err("there is nothing");
        assert_eq!(error.to_string(), "it is empty");
    }
    let mut endless = std::io::BufReader::new(Endless);
    let error = read(&mut endless, Some(Format::CloudTrail), around(), &mut |_| {}).expect_err("it is too large");
    assert!(error.to_string().contains("64 MiB"), "{error}");
    assert_eq!(DOCUMENT_BYTES_MAX, 64 << 20);
}

#[test]
fn what_stands_before_a_failure_is_read_and_the_failure_is_told() {
    for length in [60, 3 * LINE_BYTES_MAX] {
        let line = "2026-11-27T00:00:01Z a\n";
        let text = line.repeat(length / line.len());
        let mut from = std::io::BufReader::new(text.as_bytes().chain(Broken));
        let mut count = 0;
        let error = read(&mut from, None, around(), &mut |_| count += 1).expect_err("it breaks off");
        assert_eq!(count, length / line.len());
        let ReadError::BrokenOff { format, tally, source } = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            (format, tally.items, tally.facts),
            (Format::Log, count as u64, count as u64)
        );
        assert_eq!(source.to_string(), "broken");
    }
}

/// Bytes that cannot be had.
struct Broken;

impl std::io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("broken"))
    }
}

/// An array that does not end.
struct Endless;

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(b'[');
        Ok(buffer.len())
    }
}
