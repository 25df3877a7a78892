//! Falco alerts with `json_output`, and the same as falcosidekick forwards them.
//!
//! Never takes an address from the text of an alert: only from the fields that name the remote side.
//!
//! | field of the event | from |
//! |---|---|
//! | signature | `rule` |
//! | category | `source` (`syscall`, `k8s_audit`; old versions lack it) |
//! | severity | `priority`: Emergency, Alert, Critical = critical; Error = high; Warning = medium; Notice = low; Informational = info; Debug = info |
//! | time | `time`; one that is not RFC 3339 is none, and the event is decoded all the same |
//! | id | `uuid`, which falcosidekick adds |
//! | host | `hostname`, else `k8s.node.name`, else `k8s.pod.name` |
//! | user | `user.name`, else `ka.user.name` |
//! | source | `fd.rip` with `fd.rport`; else `fd.cip` with `fd.cport` of a connection that was accepted (`fd.is_server` is true or `evt.type` is `accept`, `accept4`); else none |
//! | destination | `fd.lip`, or `fd.sip` beside `fd.cip` |
//!
//! The other names are in `output_fields`, which Falco leaves out with `json_include_output_fields_property: false`.
//! Values may be null, empty or `<NA>`. The claimed client of an API call (`ka.sourceips`) is not used: whoever calls
//! can set it (`X-Forwarded-For`).
//!
//! `Falco internal: ...` rules tell of the sensor's own state. falcosidekick's test message is a sample. (Formats:
//! falcosidekick `types/types.go`, falco-website samples; INTEGRATIONS: priorities and fields.)

use staunch_model::{Endpoint, EventKind, EventView, NothingKnown, RawFields, Severity};

use super::{Decoded, Source, address, time};
use crate::json::{Document, Node};

const NAME: &str = "falco";

/// Decodes Falco alerts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Falco;

impl Source for Falco {
    fn name(&self) -> &str {
        NAME
    }

    fn decode<'a>(&'a self, doc: &'a Document<'_>) -> Decoded<'a> {
        let top = Top::of(doc.root());
        let Some(rule) = top.rule else {
            return Decoded::Malformed {
                what: "`rule` is missing or not a text",
                hint: "Falco writes it in every alert when json_output is true; look at what is posted here",
            };
        };
        let fields = Fields::of(top.output_fields);
        let (source, destination, _) = fields.sides();
        Decoded::Event(EventView {
            system: NAME,
            kind: kind(rule, top.output),
            id: top.uuid,
            time: top.time.and_then(time::read),
            severity: top.priority.map_or(Severity::Unknown, severity),
            signature: rule,
            category: top.source.unwrap_or_default(),
            source,
            destination,
            user: fields.user.or(fields.audit_user),
            host: top.hostname.or(fields.node).or(fields.pod),
            raw: doc as &dyn RawFields,
            around: &NothingKnown,
        })
    }

    fn explain(&self, doc: &Document<'_>) -> &'static str {
        Fields::of(Top::of(doc.root()).output_fields).sides().2
    }
}

fn kind(rule: &str, output: Option<&str>) -> EventKind {
    if rule.starts_with("Falco internal:") {
        EventKind::Health
    } else if rule == "Test rule" && output.is_some_and(|text| text.starts_with("This is a test from falcosidekick")) {
        EventKind::Sample
    } else {
        EventKind::Alert
    }
}

fn severity(priority: &str) -> Severity {
    const TABLE: [(&str, Severity); 9] = [
        ("warning", Severity::Medium),
        ("notice", Severity::Low),
        ("error", Severity::High),
        ("critical", Severity::Critical),
        ("alert", Severity::Critical),
        ("emergency", Severity::Critical),
        ("informational", Severity::Info),
        ("info", Severity::Info),
        ("debug", Severity::Info),
    ];
    TABLE
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(priority))
        .map_or(Severity::Unknown, |(_, severity)| *severity)
}

/// The text of a value that says something.
fn said(node: Node<'_>) -> Option<&str> {
    node.text().filter(|text| !matches!(*text, "" | "<NA>"))
}

/// The members at the top.
#[derive(Default)]
struct Top<'a> {
    rule: Option<&'a str>,
    output: Option<&'a str>,
    priority: Option<&'a str>,
    time: Option<&'a str>,
    source: Option<&'a str>,
    hostname: Option<&'a str>,
    uuid: Option<&'a str>,
    output_fields: Option<Node<'a>>,
}

impl<'a> Top<'a> {
    fn of(root: Node<'a>) -> Self {
        let mut top = Self::default();
        for (key, value) in root.members() {
            match key {
                "rule" => top.rule = value.text(),
                "output" => top.output = value.text(),
                "priority" => top.priority = value.text(),
                "time" => top.time = value.text(),
                "source" => top.source = said(value),
                "hostname" => top.hostname = said(value),
                "uuid" => top.uuid = said(value),
                "output_fields" => top.output_fields = Some(value),
                _ => {}
            }
        }
        top
    }
}

/// The members of `output_fields`.
#[derive(Default)]
struct Fields<'a> {
    user: Option<&'a str>,
    audit_user: Option<&'a str>,
    node: Option<&'a str>,
    pod: Option<&'a str>,
    remote: Side<'a>,
    local: Side<'a>,
    client: Side<'a>,
    server: Side<'a>,
    accepted: bool,
}

#[derive(Default)]
struct Side<'a> {
    ip: Option<Node<'a>>,
    port: Option<Node<'a>>,
}

impl Side<'_> {
    fn endpoint(&self) -> Endpoint {
        address::endpoint(self.ip, self.port)
    }
}

impl<'a> Fields<'a> {
    fn of(output_fields: Option<Node<'a>>) -> Self {
        let mut fields = Self::default();
        let Some(output_fields) = output_fields else {
            return fields;
        };
        for (key, value) in output_fields.members() {
            match key {
                "user.name" => fields.user = said(value),
                "ka.user.name" => fields.audit_user = said(value),
                "k8s.node.name" => fields.node = said(value),
                "k8s.pod.name" => fields.pod = said(value),
                "fd.rip" => fields.remote.ip = Some(value),
                "fd.rport" => fields.remote.port = Some(value),
                "fd.lip" => fields.local.ip = Some(value),
                "fd.lport" => fields.local.port = Some(value),
                "fd.cip" => fields.client.ip = Some(value),
                "fd.cport" => fields.client.port = Some(value),
                "fd.sip" => fields.server.ip = Some(value),
                "fd.sport" => fields.server.port = Some(value),
                "fd.is_server" => fields.accepted |= value.truth() == Some(true) || value.text() == Some("true"),
                "evt.type" => fields.accepted |= matches!(value.text(), Some("accept" | "accept4")),
                _ => {}
            }
        }
        fields
    }

    fn sides(&self) -> (Endpoint, Endpoint, &'static str) {
        let (remote, client) = (self.remote.endpoint(), self.client.endpoint());
        if remote.ip.is_some() {
            (remote, self.local.endpoint(), "fd.rip names the remote side")
        } else if client.ip.is_some() && self.accepted {
            (
                client,
                self.server.endpoint(),
                "fd.cip names the client of an accepted connection",
            )
        } else if client.ip.is_some() {
            (
                Endpoint::default(),
                Endpoint::default(),
                "fd.cip alone does not say who connected to whom",
            )
        } else {
            (
                Endpoint::default(),
                Endpoint::default(),
                "the alert names no remote address",
            )
        }
    }
}
