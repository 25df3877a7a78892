//! Alerts of Prometheus Alertmanager, by its webhook (version 4).
//!
//! Never takes the monitored machine for the attacker: an alert accuses an address only when its rule puts one into the
//! label or annotation `source_ip`.
//!
//! A group is taken apart: each of its `alerts` is an event of its own, firing or resolved as that alert says, whatever
//! the group's status is.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | health for the alerts that tell of monitoring itself (`Watchdog`, `DeadMansSwitch`, `InfoInhibitor`); telemetry when `status` is not `firing`: what is over starts nothing; else alert |
//! | signature | `labels.alertname` |
//! | category | `labels.category`, else `labels.job` |
//! | severity | `labels.severity`: critical, page, emergency = critical; error, high, major = high; warning, warn, medium = medium; low, minor, notice = low; info, informational, none = info; anything else = unknown |
//! | time | `startsAt` |
//! | id | `fingerprint`, which old senders lack. It tells the labels and not the occurrence: an alert that fires again has the same |
//! | user | `labels.user` |
//! | host | `labels.instance`, else `labels.node`, else `labels.pod` |
//! | source | `labels.source_ip`, else `annotations.source_ip` |
//!
//! Prometheus leaves the scale to whoever writes the rules. The table has the words of the kubernetes-mixin rules
//! (critical, warning, info, none) and of common rule sets.

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::time;
use crate::json::Node;

/// Decodes alerts of Alertmanager.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alertmanager;

impl Reader for Alertmanager {
    const NAME: &'static str = "alertmanager";
    const INSIDE: &'static [&'static [&'static str]] = &[&["alerts"]];

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        let Some(signature) = text(&["labels", "alertname"]) else {
            return Err(NotAnEvent::Malformed {
                what: "`labels.alertname` is missing or not a text",
                hint: "every alert of Prometheus has it; post what the webhook of Alertmanager sends (version 4)",
            });
        };
        let kind = if matches!(signature, "Watchdog" | "DeadMansSwitch" | "InfoInhibitor") {
            EventKind::Health
        } else if text(&["status"]) == Some("firing") {
            EventKind::Alert
        } else {
            EventKind::Telemetry
        };
        let address = below(root, &["labels", "source_ip"]).or_else(|| below(root, &["annotations", "source_ip"]));
        Ok(Found {
            kind,
            id: text(&["fingerprint"]),
            time: text(&["startsAt"]).and_then(time::read),
            severity: text(&["labels", "severity"]).map_or(Severity::Unknown, severity),
            signature,
            category: text(&["labels", "category"])
                .or_else(|| text(&["labels", "job"]))
                .unwrap_or_default(),
            accused: Accused::at(
                address,
                "source_ip of the alert names it",
                "neither a label nor an annotation source_ip names an address",
            ),
            user: text(&["labels", "user"]),
            host: text(&["labels", "instance"])
                .or_else(|| text(&["labels", "node"]))
                .or_else(|| text(&["labels", "pod"])),
        })
    }
}

fn severity(label: &str) -> Severity {
    const TABLE: [(Severity, &[&str]); 5] = [
        (Severity::Critical, &["critical", "page", "emergency"]),
        (Severity::High, &["error", "high", "major"]),
        (Severity::Medium, &["warning", "warn", "medium"]),
        (Severity::Low, &["low", "minor", "notice"]),
        (Severity::Info, &["info", "informational", "none"]),
    ];
    TABLE
        .iter()
        .find(|(_, words)| words.iter().any(|word| word.eq_ignore_ascii_case(label)))
        .map_or(Severity::Unknown, |(severity, _)| *severity)
}
