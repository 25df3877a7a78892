//! Audit events of Kubernetes (`audit.k8s.io/v1`): one, an `EventList` as the webhook backend posts it, wrapped by AKS
//! as a text in `properties.log`, or as an audit log of Google Cloud (`protoPayload`).
//!
//! Never takes a request for a verdict, and never believes where a client says that it comes from.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | alert, but for stages at which a request is told that is told again: see below |
//! | signature | `verb`; `protoPayload.methodName` |
//! | category | `objectRef.resource`; `protoPayload.serviceName` |
//! | severity | unknown: audit events have no scale |
//! | time | `stageTimestamp`, else `requestReceivedTimestamp`; `timestamp` |
//! | id | `auditID`, which all stages of a request share; `insertId` |
//! | user | `user.username`: who called, not whom they impersonate; `protoPayload.authenticationInfo.principalEmail` |
//! | host | none |
//!
//! A request is told once for each stage. `RequestReceived` is ignored, since the same request is told again with its
//! outcome. `ResponseStarted` is telemetry, with two exceptions. `exec`, `attach`, `portforward` and `proxy` are told
//! again only when the session is over, which is too late to act; their end is one more event of the same `auditID`.
//! And who could not be authenticated (401) is told at this stage only. `ResponseComplete`, `Panic` and an event
//! without a stage (a processor left it out) are alerts.
//!
//! Of `sourceIPs` all but the last are what the client claims (`X-Forwarded-For`); the last is the peer of the server.
//!
//! | `sourceIPs` | source |
//! |---|---|
//! | one address | this |
//! | several, the last is a public one | the last |
//! | several, the last is private, loopback or link-local | none: the peer is a proxy of one's own, and who is behind it is hearsay |
//! | `protoPayload.requestMetadata.callerIp` | this: Google writes it |
//!
//! Namespace, object, subresource, status code and the service account's pod stay in the raw event.

use std::net::IpAddr;

use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, below_any_case, said};
use super::{address, time};
use crate::json::Node;

/// Decodes audit events of Kubernetes.
#[derive(Clone, Copy, Debug, Default)]
pub struct KubernetesAudit;

impl Reader for KubernetesAudit {
    const NAME: &'static str = "kubernetes-audit";
    const INSIDE: &'static [&'static [&'static str]] = &[&["items"], &["records"]];

    fn written<'a>(&self, root: Node<'a>) -> Option<&'a str> {
        below(root, &["properties", "log"])?.text()
    }

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        if let Some(payload) = below(root, &["protoPayload"]).filter(|node| node.is_object()) {
            return google(root, payload);
        }
        let text = |path: &[&str]| said(below(root, path));
        let (kind, verb) = (text(&["kind"]), text(&["verb"]));
        let (Some("Event"), Some(signature)) = (kind, verb) else {
            return Err(NotAnEvent::Malformed {
                what: "`kind` is not \"Event\" or `verb` is missing",
                hint: "post audit events of audit.k8s.io/v1, as the webhook backend of kube-apiserver does",
            });
        };
        if text(&["apiVersion"]).is_some_and(|version| !version.starts_with("audit.k8s.io/")) {
            return Err(NotAnEvent::Malformed {
                what: "this is an object of another API than audit.k8s.io",
                hint: "post audit events, not the events of a namespace",
            });
        }
        let stays_open = matches!(
            text(&["objectRef", "subresource"]),
            Some("exec" | "attach" | "portforward" | "proxy")
        );
        let unauthenticated = below(root, &["responseStatus", "code"]).and_then(Node::integer) == Some(401);
        let kind = match text(&["stage"]) {
            Some("RequestReceived") => {
                return Err(NotAnEvent::Ignored(
                    "the stage RequestReceived is told again with the outcome",
                ));
            }
            Some("ResponseStarted") if !stays_open && !unauthenticated => EventKind::Telemetry,
            _ => EventKind::Alert,
        };
        Ok(Found {
            kind,
            id: text(&["auditID"]),
            time: text(&["stageTimestamp"])
                .or_else(|| text(&["requestReceivedTimestamp"]))
                .and_then(time::read),
            severity: Severity::Unknown,
            signature,
            category: text(&["objectRef", "resource"]).unwrap_or_default(),
            accused: accused(below(root, &["sourceIPs"])),
            user: text(&["user", "username"]),
            host: None,
        })
    }
}

fn google<'a>(root: Node<'a>, payload: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
    let text = |path: &[&str]| said(below(payload, path));
    let category = text(&["serviceName"]).unwrap_or_default();
    if category != "k8s.io" {
        return Err(NotAnEvent::Ignored("an audit log of another service of Google Cloud"));
    }
    let Some(signature) = text(&["methodName"]) else {
        return Err(NotAnEvent::Malformed {
            what: "`protoPayload.methodName` is missing or not a text",
            hint: "post audit logs of Google Cloud as they are exported",
        });
    };
    Ok(Found {
        kind: EventKind::Alert,
        id: said(below(root, &["insertId"])),
        time: said(below(root, &["timestamp"])).and_then(time::read),
        severity: Severity::Unknown,
        signature,
        category,
        accused: Accused::at(
            below_any_case(payload, &["requestMetadata", "callerIp"]),
            "callerIp is where the call came from",
            "callerIp is not one plain address",
        ),
        user: text(&["authenticationInfo", "principalEmail"]),
        host: None,
    })
}

fn accused(list: Option<Node<'_>>) -> Accused {
    let Some(list) = list else {
        return Accused::none("the event has no sourceIPs");
    };
    let count = list.items().count();
    let last = list.items().last();
    if count > 1 && last.and_then(Node::text).and_then(address::read).is_some_and(is_inside) {
        return Accused::none("the last of sourceIPs is a proxy inside, and the others are what the client claims");
    }
    let why = if count > 1 {
        "the last of sourceIPs is the peer of the server; the others are what the client claims"
    } else {
        "sourceIPs names it"
    };
    Accused::at(last, why, "sourceIPs names no plain address")
}

fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}
