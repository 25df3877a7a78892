//! Events: what a source said, in words that every playbook can use.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::surroundings::Surroundings;
use crate::time::Timestamp;

/// The short name of the system an event came from, such as `suricata`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SystemName(pub Arc<str>);

impl fmt::Display for SystemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for SystemName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// How bad the source says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The source gave none, or one that is not known.
    #[default]
    Unknown,
    /// For information only.
    Info,
    /// Low.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

impl Severity {
    /// All severities, least first.
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Info,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::Critical,
    ];

    /// The word for it in playbooks and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The source says that something bad happened.
    Alert,
    /// A record of what happened, without a verdict (a flow, a DNS query, statistics).
    Telemetry,
    /// The state of the sensor itself.
    Health,
    /// A test or sample finding. Never acted on.
    Sample,
}

/// One side of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// The address, IPv4-mapped IPv6 already turned into IPv4. `None` when the event names none that can be used.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: Option<u16>,
}

/// A decoded event, borrowed from the bytes it came in: what triggers are evaluated on. Never stored.
#[derive(Clone, Copy)]
pub struct EventView<'a> {
    /// The system it came from.
    pub system: &'a str,
    /// What it is about.
    pub kind: EventKind,
    /// The source's own id of the event, for telling a repeat.
    pub id: Option<&'a str>,
    /// When it happened, by the source's clock. `None` when the source gave no time that can be read.
    pub time: Option<Timestamp>,
    /// How bad it is.
    pub severity: Severity,
    /// The rule, signature or title that fired.
    pub signature: &'a str,
    /// The source's own class of the signature.
    pub category: &'a str,
    /// The attacking side, which containment is aimed at. The decoder has worked out which side that is; the packet's
    /// own direction is in the raw event.
    pub source: Endpoint,
    /// The attacked side.
    pub destination: Endpoint,
    /// The account concerned.
    pub user: Option<&'a str>,
    /// The host that reported it.
    pub host: Option<&'a str>,
    /// Every field of the event as the source sent it.
    pub raw: &'a dyn RawFields,
    /// What is known of the things that it names, from outside of it. A source knows nothing of that.
    pub around: &'a dyn Surroundings,
}

/// Look-up of fields in an event as its source sent it.
pub trait RawFields {
    /// The field at `path`, a list of object keys from the top; a key may be an index into an array.
    ///
    /// `None` when there is no such field.
    fn field(&self, path: &[Box<str>]) -> Option<FieldValue<'_>>;

    /// The event's bytes.
    fn bytes(&self) -> &[u8];
}

/// A value found by [`RawFields::field`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// JSON null.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above the range of `Int`.
    UInt(u64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(&'a str),
    /// An array of this length; its members are reached by index.
    List(usize),
    /// An object.
    Object,
}

/// An event that matched a playbook, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The system it came from.
    pub system: SystemName,
    /// The source's own id.
    pub id: Option<Box<str>>,
    /// When it happened, by the source's clock.
    pub time: Option<Timestamp>,
    /// When Staunch received it.
    pub received: Timestamp,
    /// How bad it is.
    pub severity: Severity,
    /// The rule, signature or title that fired, at most [`Event::TEXT_BYTES_MAX`] bytes.
    pub signature: Box<str>,
    /// The source's class of the signature, bounded likewise.
    pub category: Box<str>,
    /// The attacking side.
    pub source: Endpoint,
    /// The attacked side.
    pub destination: Endpoint,
    /// The account concerned.
    pub user: Option<Box<str>>,
    /// The host that reported it.
    pub host: Option<Box<str>>,
    /// The event as it was received.
    pub raw: Arc<[u8]>,
}

impl Event {
    /// The most bytes kept of each text field. The raw event keeps all of it.
    pub const TEXT_BYTES_MAX: usize = 512;

    /// Keeps `view` as an event received at `received`.
    #[must_use]
    pub fn keep(view: &EventView<'_>, received: Timestamp) -> Self {
        let clip = |text: &str| Box::from(crate::text::clip(text, Self::TEXT_BYTES_MAX));
        Self {
            system: view.system.into(),
            id: view.id.map(clip),
            time: view.time,
            received,
            severity: view.severity,
            signature: clip(view.signature),
            category: clip(view.category),
            source: view.source,
            destination: view.destination,
            user: view.user.map(clip),
            host: view.host.map(clip),
            raw: view.raw.bytes().into(),
        }
    }
}
