//! Alerts of CrowdSec, as its HTTP notification plugin posts them and as `cscli alerts list -o json` shows them.
//!
//! Never acts on what CrowdSec only simulates, and never contains one address for an alert about a range of several.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | sample when the alert or one of its decisions has `simulated: true`; else alert |
//! | signature | `scenario`, such as `crowdsecurity/ssh-bf` |
//! | category | `ban` when one of the decisions is one, else the `type` of the first (`captcha`); none without decisions |
//! | severity | unknown: CrowdSec has no scale |
//! | time | `stop_at`, else `start_at`, else `created_at`; RFC 3339, or as Go writes a time (`2026-11-29 12:34:18.931 +0000 UTC`), which is what alerts out of its database have in the first two |
//! | id | `uuid`, which old versions lack |
//! | user | none |
//! | host | `machine_id`: the log processor that saw it |
//! | source | `source.value` when `source.scope` is `Ip` in any case of letters, else none (`Range`, `Username`, the name of a block list, ...); of scope `Range`, the address of a range of only one |

use staunch_model::{Endpoint, EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::{address, time};
use crate::json::Node;

/// The decision that shuts somebody out.
const BAN: &str = "ban";

/// Decodes alerts of CrowdSec.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrowdSec;

impl Reader for CrowdSec {
    const NAME: &'static str = "crowdsec";

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        let source = below(root, &["source"]).filter(|node| node.is_object());
        let (Some(signature), Some(source)) = (text(&["scenario"]), source) else {
            return Err(NotAnEvent::Malformed {
                what: "`scenario` or `source` is missing",
                hint: "post alerts, as {{.|toJson}} in the notification plugin gives them, not decisions",
            });
        };
        let decisions = || below(root, &["decisions"]).into_iter().flat_map(Node::items);
        let types = || decisions().filter_map(|it| said(below(it, &["type"])));
        let is_simulated = |node: Node<'_>| below(node, &["simulated"]).and_then(Node::truth) == Some(true);
        let when = text(&["stop_at"])
            .or_else(|| text(&["start_at"]))
            .or_else(|| text(&["created_at"]));
        Ok(Found {
            kind: if is_simulated(root) || decisions().any(is_simulated) {
                EventKind::Sample
            } else {
                EventKind::Alert
            },
            id: text(&["uuid"]),
            time: when.and_then(|text| time::read(text).or_else(|| time::read_of_go(text))),
            severity: Severity::Unknown,
            signature,
            category: types()
                .find(|it| *it == BAN)
                .or_else(|| types().next())
                .unwrap_or_default(),
            accused: accused(source),
            user: None,
            host: text(&["machine_id"]),
        })
    }
}

fn accused(source: Node<'_>) -> Accused {
    let scope = said(below(source, &["scope"])).unwrap_or_default();
    if let Some(ip) = said(below(source, &["value"]))
        .filter(|_| scope.eq_ignore_ascii_case("range"))
        .and_then(address::of_one)
    {
        return Accused {
            source: Endpoint {
                ip: Some(ip),
                ..Endpoint::default()
            },
            ..Accused::none("source.value is a range of one address")
        };
    }
    if !scope.eq_ignore_ascii_case("ip") {
        return Accused::none("the scope of the alert is not one address");
    }
    Accused::at(
        below(source, &["value"]),
        "source.value of scope Ip names it",
        "source.value is not one plain address",
    )
}
