//! Alerts of Wazuh, as in its `alerts.json` and as its integrations post them.
//!
//! Never takes the agent for the attacker.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | telemetry for level 0, which Wazuh calls ignored; else alert |
//! | signature | `rule.description` |
//! | category | the first of `rule.groups` |
//! | severity | `rule.level`: 15 and more = critical, 12 to 14 = high, 7 to 11 = medium, 1 to 6 = low; 0 and anything else = unknown |
//! | time | `timestamp` |
//! | id | `id` |
//! | user | `data.dstuser`, else `data.srcuser`, else `data.win.eventdata.targetUserName` |
//! | host | `agent.name` |
//! | source | `data.srcip`, else `data.win.eventdata.ipAddress`, with `data.srcport` |
//! | destination | `data.dstip`, with `data.dstport` |
//!
//! The bands of levels are those in which the Wazuh dashboard counts alerts; 12 and more is what its rule
//! classification calls high importance.

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::{address, time};
use crate::json::Node;

/// Decodes Wazuh alerts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wazuh;

impl Reader for Wazuh {
    const NAME: &'static str = "wazuh";

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        let Some(signature) = text(&["rule", "description"]) else {
            return Err(NotAnEvent::Malformed {
                what: "`rule.description` is missing or not a text",
                hint: "every alert of Wazuh has it; post lines of alerts.json",
            });
        };
        let level = below(root, &["rule", "level"]).and_then(Node::integer);
        let groups = below(root, &["rule", "groups"]);
        Ok(Found {
            kind: if level == Some(0) {
                EventKind::Telemetry
            } else {
                EventKind::Alert
            },
            id: text(&["id"]),
            time: text(&["timestamp"]).and_then(time::read),
            severity: severity(level),
            signature,
            category: said(groups.and_then(|list| list.items().next())).unwrap_or_default(),
            accused: accused(root),
            user: text(&["data", "dstuser"])
                .or_else(|| text(&["data", "srcuser"]))
                .or_else(|| text(&["data", "win", "eventdata", "targetUserName"])),
            host: text(&["agent", "name"]),
        })
    }
}

fn severity(level: Option<i64>) -> Severity {
    match level {
        Some(15..) => Severity::Critical,
        Some(12..) => Severity::High,
        Some(7..) => Severity::Medium,
        Some(1..) => Severity::Low,
        _ => Severity::Unknown,
    }
}

fn accused(root: Node<'_>) -> Accused {
    let ip = below(root, &["data", "srcip"]).or_else(|| below(root, &["data", "win", "eventdata", "ipAddress"]));
    let source = address::endpoint(ip, below(root, &["data", "srcport"]));
    if source.ip.is_none() {
        return Accused::none("the alert names no source address");
    }
    Accused {
        source,
        destination: address::endpoint(below(root, &["data", "dstip"]), below(root, &["data", "dstport"])),
        why: "the decoder of Wazuh names it as the source",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_band_of_levels_is_a_severity() {
        use Severity as S;
        let bands = [
            (S::Unknown, i64::MIN..=0),
            (S::Low, 1..=6),
            (S::Medium, 7..=11),
            (S::High, 12..=14),
            (S::Critical, 15..=i64::MAX),
        ];
        for (expect, levels) in bands {
            assert_eq!(severity(Some(*levels.start())), expect);
            assert_eq!(severity(Some(*levels.end())), expect);
        }
        assert_eq!(severity(None), S::Unknown, "a level that is no whole number");
    }
}
