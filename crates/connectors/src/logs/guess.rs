//! Which format a log is written in, by its beginning.
//!
//! Keys are looked for as text: inside a text of JSON their quotation marks were escaped, so no words of an attacker
//! pass for a key. A guess is told to people, who can say otherwise.

use super::{Format, flow, plain};

/// Lines that are looked at.
const LINES_MAX: usize = 20;

/// What stands in a JSON value of each format: all of one row. The first row that fits counts.
const KEYS: [(Format, &[&[u8]]); 14] = [
    (Format::Journal, &[b"\"__REALTIME_TIMESTAMP\""]),
    (Format::KubernetesAudit, &[b"\"audit.k8s.io/"]),
    (Format::Suricata, &[b"\"event_type\"", b"\"timestamp\""]),
    (Format::GuardDuty, &[b"\"GuardDuty Finding\""]),
    (
        Format::GuardDuty,
        &[b"\"schemaVersion\"", b"\"accountId\"", b"\"service\""],
    ),
    (Format::CloudEvents, &[b"\"specversion\""]),
    (Format::CloudTrail, &[b"\"eventName\"", b"\"eventSource\""]),
    (Format::Ocsf, &[b"\"class_uid\""]),
    (Format::Ocsf, &[b"\"src_endpoint\""]),
    (Format::Falco, &[b"\"rule\"", b"\"priority\"", b"\"output\""]),
    (Format::Wazuh, &[b"\"rule\"", b"\"agent\"", b"\"level\""]),
    (Format::CrowdSec, &[b"\"scenario\"", b"\"source\""]),
    (Format::Okta, &[b"\"eventType\"", b"\"published\""]),
    (Format::Alertmanager, &[b"\"alerts\"", b"\"labels\""]),
];

/// The format of a log that begins with `head`; `None` when none is seen.
#[must_use]
pub fn guess(head: &[u8]) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = lines.filter(|line| !line.is_empty()).take(LINES_MAX);
    if matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) {
        // Of lines the first one that tells; of a document all of what is seen.
        return lines.find_map(of_json).or_else(|| of_json(head)).or_else(|| {
            let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines.find_map(of_text)
        });
    }
    lines.find_map(|line| of_text(line).or_else(|| of_json(line).filter(|_| line.starts_with(b"{"))))
}

fn of_json(bytes: &[u8]) -> Option<Format> {
    let has = |key: &&[u8]| memchr::memmem::find(bytes, key).is_some();
    let found = KEYS.iter().find(|(_, keys)| keys.iter().all(has));
    found.map(|(format, _)| *format)
}

fn of_text(line: &[u8]) -> Option<Format> {
    if super::audit::id_of(line).is_some() {
        Some(Format::Auditd)
    } else if flow::is_heading(line) || flow::is_record(line) {
        Some(Format::VpcFlow)
    } else if plain::is_dnsmasq(line) {
        Some(Format::Dnsmasq)
    } else {
        plain::is_one(line).then_some(Format::Log)
    }
}
