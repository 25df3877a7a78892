//! Suricata's EVE records (`eve.json`), tried with records of Suricata 7.0.10.
//!
//! Never takes the packet's own direction for the attack's: see [`sides`] for the table that says whom an alert
//! accuses.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | `event_type`: `alert` = alert, `stats` = health, all others (flow, http, anomaly, ...) = telemetry |
//! | signature, category | `alert.signature`, `alert.category`; both may be empty |
//! | severity | the worse of `alert.severity` (1 = high, 2 = medium, 3 = low, 4 and more = info) and `alert.metadata.signature_severity` (Critical, Major = high, Minor = low, Informational = info) |
//! | time | `timestamp` |
//! | host | `host`, which Suricata writes when `sensor-name` is set |
//! | source, destination | the attacking and the attacked side, of alerts only |
//! | id, user | none: EVE has no id of a record, and `flow_id` is shared by all alerts of a flow |
//!
//! The metadata can raise the severity and never lower it: `alert.severity` is what the operator's
//! `classification.config` says, and is the only way to `critical`. An alert with `alert.action: blocked` is an event
//! like any other: one dropped packet does not contain its sender.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_model::{Endpoint, EventKind, EventView, NothingKnown, RawFields, Severity};

use self::sides::{Accusation, Connection, Flow};
use super::address::{self, Known, Networks};
use super::{Decoded, Source, time};
use crate::json::{Document, Node};

pub mod sides;

const NAME: &str = "suricata";

/// Networks that are home unless the settings say otherwise: private (RFC 1918, RFC 4193), loopback, link-local.
const HOME_DEFAULT: [&str; 8] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "fc00::/7",
    "::1/128",
    "fe80::/10",
];

/// Settings of the Suricata source.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuricataSettings {
    /// The networks that are yours, as `HOME_NET` in `suricata.yaml`; list public addresses of your own too. What is
    /// listed takes the place of the default: the private, loopback and link-local networks. The addresses of this
    /// machine are yours in any case for its server, `plan`, `source test` and `backtest`; tests and reviews go by this
    /// list alone. Since v0.1.
    pub home_networks: Vec<IpNet>,
}

impl Default for SuricataSettings {
    fn default() -> Self {
        let home_networks = HOME_DEFAULT.iter().filter_map(|network| network.parse().ok()).collect();
        Self { home_networks }
    }
}

/// Decodes EVE records.
#[derive(Clone, Debug)]
pub struct Suricata {
    home: Networks,
}

impl Suricata {
    /// A decoder for the networks of `settings`.
    #[must_use]
    pub fn new(settings: &SuricataSettings) -> Self {
        Self {
            home: Networks::new(&settings.home_networks),
        }
    }

    fn accusation(&self, record: &Record<'_>, alert: &Alert<'_>) -> Accusation {
        let packet = (
            address::endpoint(record.src_ip, record.src_port),
            address::endpoint(record.dest_ip, record.dest_port),
        );
        let known = [(record.src_ip, packet.0.ip), (record.dest_ip, packet.1.ip)]
            .map(|(node, ip)| (node.and_then(Node::text).unwrap_or_default(), ip));
        let known = Known(known);
        Connection {
            packet,
            flow: Flow::of(record.flow, record.direction, &known),
            named: alert
                .source
                .map(|node| end(node, &known))
                .zip(alert.target.map(|node| end(node, &known))),
            signature: alert.signature,
            attacks_servers: alert.metadata.attacks_servers(),
        }
        .accused(&self.home)
    }
}

impl Source for Suricata {
    fn name(&self) -> &str {
        NAME
    }

    fn decode<'a>(&'a self, doc: &'a Document<'_>) -> Decoded<'a> {
        let record = Record::of(doc.root());
        let Some(event_type) = record.event_type else {
            return Decoded::Malformed {
                what: "`event_type` is missing or not a text",
                hint: "every EVE record has it; look at what is posted here",
            };
        };
        let mut view = EventView {
            system: NAME,
            kind: if event_type == "stats" {
                EventKind::Health
            } else {
                EventKind::Telemetry
            },
            id: None,
            time: record.timestamp.and_then(time::read),
            severity: Severity::Unknown,
            signature: "",
            category: "",
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: record.host,
            raw: doc as &dyn RawFields,
            around: &NothingKnown,
        };
        if event_type == "alert" {
            let Some(alert) = record.alert.filter(|node| node.is_object()).map(Alert::of) else {
                return Decoded::Malformed {
                    what: "`alert` is missing or not an object",
                    hint: "a record of type alert must have it; look at what is posted here",
                };
            };
            let accusation = self.accusation(&record, &alert);
            view.kind = EventKind::Alert;
            view.severity = alert.severity();
            view.signature = alert.signature;
            view.category = alert.category;
            (view.source, view.destination) = (accusation.source, accusation.destination);
        }
        Decoded::Event(view)
    }

    fn explain(&self, doc: &Document<'_>) -> &'static str {
        let record = Record::of(doc.root());
        match (record.event_type, record.alert) {
            (Some("alert"), Some(alert)) => self.accusation(&record, &Alert::of(alert)).why,
            _ => "only alerts accuse somebody",
        }
    }
}

/// The members at the top of a record.
#[derive(Default)]
struct Record<'a> {
    event_type: Option<&'a str>,
    timestamp: Option<&'a str>,
    host: Option<&'a str>,
    direction: Option<&'a str>,
    src_ip: Option<Node<'a>>,
    src_port: Option<Node<'a>>,
    dest_ip: Option<Node<'a>>,
    dest_port: Option<Node<'a>>,
    alert: Option<Node<'a>>,
    flow: Option<Node<'a>>,
}

impl<'a> Record<'a> {
    fn of(root: Node<'a>) -> Self {
        let mut record = Self::default();
        for (key, value) in root.members() {
            // By length first: most members are none of these, and most of them are told by that.
            match (key.len(), key) {
                (4, "host") => record.host = value.text(),
                (4, "flow") => record.flow = Some(value),
                (5, "alert") => record.alert = Some(value),
                (6, "src_ip") => record.src_ip = Some(value),
                (7, "dest_ip") => record.dest_ip = Some(value),
                (8, "src_port") => record.src_port = Some(value),
                (9, "timestamp") => record.timestamp = value.text(),
                (9, "direction") => record.direction = value.text(),
                (9, "dest_port") => record.dest_port = Some(value),
                (10, "event_type") => record.event_type = value.text(),
                _ => {}
            }
        }
        record
    }
}

/// The members of `alert`.
#[derive(Default)]
struct Alert<'a> {
    signature: &'a str,
    category: &'a str,
    priority: Option<i64>,
    source: Option<Node<'a>>,
    target: Option<Node<'a>>,
    metadata: Metadata<'a>,
}

impl<'a> Alert<'a> {
    fn of(node: Node<'a>) -> Self {
        let mut alert = Self::default();
        for (key, value) in node.members() {
            match key {
                "signature" => alert.signature = value.text().unwrap_or_default(),
                "category" => alert.category = value.text().unwrap_or_default(),
                "severity" => alert.priority = value.integer(),
                "source" => alert.source = Some(value),
                "target" => alert.target = Some(value),
                "metadata" => alert.metadata = Metadata::of(value),
                _ => {}
            }
        }
        alert
    }

    fn severity(&self) -> Severity {
        let by_priority = match self.priority {
            Some(1) => Severity::High,
            Some(2) => Severity::Medium,
            Some(3) => Severity::Low,
            Some(4..) => Severity::Info,
            _ => Severity::Unknown,
        };
        let by_rule = |word: &str| match word {
            "Critical" => Severity::Critical,
            "Major" => Severity::High,
            "Minor" => Severity::Low,
            "Informational" => Severity::Info,
            _ => Severity::Unknown,
        };
        let mut severity = by_priority;
        if let Some(list) = self.metadata.severity {
            each_text(list, |word| severity = severity.max(by_rule(word)));
        }
        severity
    }
}

/// The entries of `alert.metadata` that are looked at.
#[derive(Default)]
struct Metadata<'a> {
    severity: Option<Node<'a>>,
    target: Option<Node<'a>>,
}

impl<'a> Metadata<'a> {
    fn of(node: Node<'a>) -> Self {
        let mut metadata = Self::default();
        for (key, value) in node.members() {
            match key {
                "signature_severity" => metadata.severity = Some(value),
                "attack_target" => metadata.target = Some(value),
                _ => {}
            }
        }
        metadata
    }

    /// True when the rule says that it protects servers and nothing else (`attack_target`: `Server`, `Web_Server`,
    /// ...).
    fn attacks_servers(&self) -> bool {
        let (mut some, mut others) = (false, false);
        if let Some(list) = self.target {
            each_text(list, |target| {
                some = true;
                others |= !target.ends_with("Server");
            });
        }
        some && !others
    }
}

/// Looks at the texts of one entry of the metadata, which Suricata writes as a list.
fn each_text<'a>(entry: Node<'a>, mut look: impl FnMut(&'a str)) {
    if let Some(text) = entry.text() {
        look(text);
    }
    entry.items().filter_map(Node::text).for_each(look);
}

/// One end of a connection as `alert.source` and `alert.target` name it.
fn end(node: Node<'_>, known: &Known<'_>) -> Endpoint {
    let (mut ip, mut port) = (None, None);
    for (key, value) in node.members() {
        match key {
            "ip" => ip = Some(value),
            "port" => port = Some(value),
            _ => {}
        }
    }
    Endpoint {
        ip: ip.and_then(Node::text).and_then(|text| known.read(text)),
        port: port.and_then(address::port),
    }
}
