//! Detection Findings of OCSF (class 2004), tried with those that Prowler writes (`metadata.version` 1.4.0).
//!
//! Never acts on a finding that its product has closed, suppressed or does not call an alert.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | telemetry when `activity_id` is 3 (Close), `status_id` is 3 (Suppressed), 4 (Resolved) or 5 (Archived), `is_alert` is false, or `status_code` is `PASS` (a check that holds, by Prowler); else alert |
//! | signature | `finding_info.title`, else `message` |
//! | category | the first of `finding_info.types`, else `metadata.event_code` |
//! | severity | `severity_id`: 1 = info, 2 = low, 3 = medium, 4 = high, 5 (Critical) and 6 (Fatal) = critical; 0, 99 and anything else = unknown |
//! | time | `time`, milliseconds since 1970; numbers below 100,000,000,000 are seconds, which Prowler writes. Without it, `time_dt` |
//! | id | `finding_info.uid` |
//! | user | `actor.user.name`, else that of the first of `evidences` that has one |
//! | host | `device.hostname`, else the `uid` and else the `name` of the first of `resources` |
//! | source | `src_endpoint.ip` of the `evidences`, when they name one address; several accuse nobody |
//!
//! The ids are those of the schema (ocsf-schema 1.9.0-dev, `detection_finding` and its dictionary). Findings of other
//! classes are ignored.

use staunch_model::{EventKind, Severity, Timestamp};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, one_address, said};
use super::time;
use crate::json::Node;

/// The class of Detection Findings.
const DETECTION_FINDING: i64 = 2004;

/// From here on a time is in milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973.
const MILLISECONDS_MIN: i64 = 100_000_000_000;

/// Decodes Detection Findings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ocsf;

impl Reader for Ocsf {
    const NAME: &'static str = "ocsf";

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        let integer = |path: &[&str]| below(root, path).and_then(Node::integer);
        match integer(&["class_uid"]) {
            Some(DETECTION_FINDING) => {}
            Some(_) => {
                return Err(NotAnEvent::Ignored(
                    "an OCSF event of another class than Detection Finding (2004)",
                ));
            }
            None => {
                return Err(NotAnEvent::Malformed {
                    what: "`class_uid` is missing or not a whole number",
                    hint: "every OCSF event has it; look at what is posted here",
                });
            }
        }
        let Some(signature) = text(&["finding_info", "title"]).or_else(|| text(&["message"])) else {
            return Err(NotAnEvent::Malformed {
                what: "the finding has neither `finding_info.title` nor `message`",
                hint: "a Detection Finding must have a title; look at what is posted here",
            });
        };
        let first = |path: &[&str]| below(root, path).and_then(|list| list.items().next());
        let evidences = || below(root, &["evidences"]).into_iter().flat_map(Node::items);
        let is_over = integer(&["activity_id"]) == Some(3) || matches!(integer(&["status_id"]), Some(3..=5));
        let is_no_alert = below(root, &["is_alert"]).and_then(Node::truth) == Some(false);
        let holds = text(&["status_code"]) == Some("PASS");
        let resource = first(&["resources"]);
        Ok(Found {
            kind: if is_over || is_no_alert || holds {
                EventKind::Telemetry
            } else {
                EventKind::Alert
            },
            id: text(&["finding_info", "uid"]),
            time: integer(&["time"])
                .and_then(since_epoch)
                .or_else(|| text(&["time_dt"]).and_then(time::read)),
            severity: severity(integer(&["severity_id"])),
            signature,
            category: said(first(&["finding_info", "types"]))
                .or_else(|| text(&["metadata", "event_code"]))
                .unwrap_or_default(),
            accused: match one_address(evidences().filter_map(|it| below(it, &["src_endpoint", "ip"]))) {
                Ok(ip) => Accused::at(
                    ip,
                    "the evidences name it as their source",
                    "no evidence names a source",
                ),
                Err(_) => Accused::none("the evidences name several sources, and an event has one attacking side"),
            },
            user: text(&["actor", "user", "name"])
                .or_else(|| evidences().find_map(|it| said(below(it, &["actor", "user", "name"])))),
            host: text(&["device", "hostname"])
                .or_else(|| said(below(resource?, &["uid"])))
                .or_else(|| said(below(resource?, &["name"]))),
        })
    }
}

fn severity(id: Option<i64>) -> Severity {
    match id {
        Some(1) => Severity::Info,
        Some(2) => Severity::Low,
        Some(3) => Severity::Medium,
        Some(4) => Severity::High,
        Some(5 | 6) => Severity::Critical,
        _ => Severity::Unknown,
    }
}

fn since_epoch(number: i64) -> Option<Timestamp> {
    let milliseconds = if number < MILLISECONDS_MIN {
        number.checked_mul(1_000)?
    } else {
        number
    };
    time::since_epoch(u64::try_from(milliseconds).ok()?.checked_mul(1_000)?)
}
