//! Which format a log is written in, by its beginning.
//!
//! Of JSON the keys of the first value count, and of what it is wrapped in: those of a map deeper in it, such as tags,
//! and the words of texts, are chosen by others. A guess is told to people, who can say otherwise.

use super::shape::{Shape, shapes};
use super::{Format, access, flow, json, plain};

/// Lines that are looked at.
const LINES_MAX: usize = 20;

/// The keys of a JSON value of each format: all of one row. The first row that fits counts.
const KEYS: [(Format, &[&str]); 17] = [
    (Format::Journal, &["__REALTIME_TIMESTAMP"]),
    (Format::Suricata, &["event_type", "timestamp"]),
    (Format::GuardDuty, &["schemaVersion", "accountId", "service"]),
    (Format::GuardDuty, &["SchemaVersion", "AccountId", "Service"]),
    (Format::CloudEvents, &["specversion"]),
    (Format::CloudTrail, &["eventName", "eventSource"]),
    (Format::Ocsf, &["class_uid"]),
    (Format::Ocsf, &["src_endpoint"]),
    (Format::Falco, &["rule", "priority", "output"]),
    (Format::Wazuh, &["rule", "agent", "manager"]),
    (Format::Wazuh, &["rule", "agent", "decoder"]),
    (Format::Wazuh, &["rule", "agent", "location"]),
    (Format::CrowdSec, &["scenario", "source"]),
    (Format::Okta, &["eventType", "published"]),
    (Format::Alertmanager, &["alerts", "groupLabels"]),
    (Format::Alertmanager, &["alerts", "receiver", "status"]),
    (Format::Alertmanager, &["alerts", "labels"]),
];

/// Texts that stand under a key of some formats, and what they begin with.
const TEXTS: [(Format, &str, &str); 2] = [
    (Format::KubernetesAudit, "apiVersion", "audit.k8s.io/"),
    (Format::GuardDuty, "detail-type", "GuardDuty Finding"),
];

/// The format of a log that begins with `head`; `None` when none is seen.
#[must_use]
pub fn guess(head: &[u8]) -> Option<Format> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    if json::is_document(head)
        && let Some(format) = of_json(head)
    {
        return Some(format);
    }
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let mut lines = lines.filter(|line| !line.is_empty()).take(LINES_MAX);
    lines.find_map(|line| match line.first() {
        Some(b'{') => of_json(line),
        _ => of_text(line),
    })
}

fn of_json(bytes: &[u8]) -> Option<Format> {
    shapes(bytes).iter().find_map(of_shape)
}

fn of_shape(shape: &Shape<'_>) -> Option<Format> {
    let says = |key: &str, begin: &str| {
        let mut texts = shape.texts.iter();
        texts.any(|(at, text)| *at == key.as_bytes() && text.starts_with(begin.as_bytes()))
    };
    if let Some((format, ..)) = TEXTS.iter().find(|(_, key, begin)| says(key, begin)) {
        return Some(*format);
    }
    let has = |key: &&str| shape.keys.contains(&key.as_bytes());
    let found = KEYS.iter().find(|(_, keys)| keys.iter().all(has));
    found.map(|(format, _)| *format)
}

fn of_text(line: &[u8]) -> Option<Format> {
    if super::audit::id_of(line).is_some() {
        Some(Format::Auditd)
    } else if flow::is_heading(line) || flow::is_record(line) {
        Some(Format::VpcFlow)
    } else if access::is_one(line) {
        Some(Format::Access)
    } else if plain::is_dnsmasq(line) {
        Some(Format::Dnsmasq)
    } else {
        plain::is_one(line).then_some(Format::Log)
    }
}
