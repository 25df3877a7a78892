//! The System Log of Okta: its entries, alone or as an event hook posts them (`data.events`).
//!
//! Never takes an entry for a verdict: Okta says what was done. What a playbook's trigger names is acted on.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | alert. An event hook's verification has no events |
//! | signature | `eventType`, such as `user.session.start` |
//! | category | `outcome.result`: `SUCCESS`, `FAILURE`, `DENY`, ... |
//! | severity | `severity`: `DEBUG`, `INFO` = info, `WARN` = medium, `ERROR` = high; anything else = unknown |
//! | time | `published` |
//! | id | `uuid` |
//! | user | `actor.alternateId`, unless it is `unknown` |
//! | host | none |
//! | source | `client.ipAddress` |
//!
//! The levels are Okta's (System Log API, `LogSeverity`). They tell how well an operation went and not how dangerous it
//! is: a granted impersonation is `INFO`. Keys are read in any case of letters, since processors turn them into small
//! ones. The targets of an entry stay in the raw event.

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below_any_case as below, said};
use super::time;
use crate::json::Node;

/// Decodes entries of Okta's System Log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Okta;

impl Reader for Okta {
    const NAME: &'static str = "okta";
    const INSIDE: &'static [&'static [&'static str]] = &[&["data", "events"]];

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        let Some(signature) = text(&["eventType"]) else {
            return Err(NotAnEvent::Malformed {
                what: "`eventType` is missing or not a text",
                hint: "every entry of the System Log has it; look at what is posted here",
            });
        };
        Ok(Found {
            kind: EventKind::Alert,
            id: text(&["uuid"]),
            time: text(&["published"]).and_then(time::read),
            severity: text(&["severity"]).map_or(Severity::Unknown, severity),
            signature,
            category: text(&["outcome", "result"]).unwrap_or_default(),
            accused: Accused::at(
                below(root, &["client", "ipAddress"]),
                "client.ipAddress is where the request came from",
                "client.ipAddress is not one plain address",
            ),
            user: text(&["actor", "alternateId"]).filter(|user| *user != "unknown"),
            host: None,
        })
    }
}

fn severity(level: &str) -> Severity {
    match level {
        "DEBUG" | "INFO" => Severity::Info,
        "WARN" => Severity::Medium,
        "ERROR" => Severity::High,
        _ => Severity::Unknown,
    }
}
