//! Alerts of CrowdSec, as its HTTP notification plugin posts them and as `cscli alerts list -o json` shows them.
//!
//! Never acts on what CrowdSec only simulates, and never contains one address for an alert about a range.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | sample when the alert or one of its decisions has `simulated: true`; else alert |
//! | signature | `scenario`, such as `crowdsecurity/ssh-bf` |
//! | category | the `type` of the first decision (`ban`, `captcha`); none without decisions |
//! | severity | unknown: CrowdSec has no scale |
//! | time | `stop_at`, else `start_at`, else `created_at` |
//! | id | `uuid`, which old versions lack |
//! | user | none |
//! | host | `machine_id`: the log processor that saw it |
//! | source | `source.value` when `source.scope` is `Ip` in any case of letters, else none (`Range`, `Username`, the name of a block list, ...) |

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::time;
use crate::json::Node;

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
            time: when.and_then(time::read),
            severity: Severity::Unknown,
            signature,
            category: decisions()
                .next()
                .and_then(|it| said(below(it, &["type"])))
                .unwrap_or_default(),
            accused: accused(source),
            user: None,
            host: text(&["machine_id"]),
        })
    }
}

fn accused(source: Node<'_>) -> Accused {
    let scope = said(below(source, &["scope"])).unwrap_or_default();
    if !scope.eq_ignore_ascii_case("ip") {
        return Accused::none("the scope of the alert is not one address");
    }
    Accused::at(
        below(source, &["value"]),
        "source.value of scope Ip names it",
        "source.value is not one plain address",
    )
}
