//! CloudEvents 1.0 in the structured mode, one or a batch of them.
//!
//! Never guesses what the data of an event mean: an address is taken from the one place that this page names.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | sample when the extension attribute `sample` is true; else alert |
//! | signature | `type` |
//! | category | `source` |
//! | severity | the extension attribute `severity`, else `data.severity`: a severity of Staunch by its name (info, low, medium, high, critical); anything else = unknown |
//! | time | `time` |
//! | id | `id`, which is unique within its `source` |
//! | user | `data.user` |
//! | host | `data.host` |
//! | source | the extension attribute `sourceip`, else `data.source_ip` |
//! | destination | `data.destination_ip` |
//!
//! The binary mode carries its attributes in HTTP headers, which a source is not given; such a body is malformed here.
//! `data_base64` is not looked into.

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::{address, time};
use crate::json::Node;

/// Decodes CloudEvents.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloudEvents;

impl Reader for CloudEvents {
    const NAME: &'static str = "cloudevents";

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        if text(&["specversion"]) != Some("1.0") {
            return Err(NotAnEvent::Malformed {
                what: "`specversion` is missing or not \"1.0\"",
                hint: "send CloudEvents 1.0 in the structured mode (application/cloudevents+json)",
            });
        }
        let (Some(id), Some(category), Some(signature)) = (text(&["id"]), text(&["source"]), text(&["type"])) else {
            return Err(NotAnEvent::Malformed {
                what: "`id`, `source` or `type` is missing or empty",
                hint: "CloudEvents 1.0 requires them",
            });
        };
        let is_sample =
            below(root, &["sample"]).is_some_and(|node| node.truth() == Some(true) || node.text() == Some("true"));
        let named = text(&["severity"]).or_else(|| text(&["data", "severity"]));
        let ip = below(root, &["sourceip"]).or_else(|| below(root, &["data", "source_ip"]));
        let accused = Accused::at(
            ip,
            "sourceip or data.source_ip names it",
            "neither sourceip nor data.source_ip is one plain address",
        );
        Ok(Found {
            kind: if is_sample { EventKind::Sample } else { EventKind::Alert },
            id: Some(id),
            time: text(&["time"]).and_then(time::read),
            severity: named.map_or(Severity::Unknown, severity),
            signature,
            category,
            accused: Accused {
                destination: address::endpoint(below(root, &["data", "destination_ip"]), None),
                ..accused
            },
            user: text(&["data", "user"]),
            host: text(&["data", "host"]),
        })
    }
}

fn severity(name: &str) -> Severity {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.name().eq_ignore_ascii_case(name))
        .unwrap_or_default()
}
