//! The fields of an event that expressions can name, and how they are read.
//!
//! An empty text in a decoded field counts as missing: decoders write it where the event says nothing.

use std::fmt;
use std::net::IpAddr;

use staunch_model::{EventView, FieldValue, Printable};

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    System,
    Kind,
    Id,
    Severity,
    Signature,
    Category,
    SourceIp,
    SourcePort,
    DestinationIp,
    DestinationPort,
    User,
    Host,
    /// A field of the event as its source sent it.
    Raw(Box<[Box<str>]>),
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Kind,
    Severity,
    Address,
    Number,
    /// Whatever the source sent.
    Any,
}

impl Type {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Kind => "a kind of event",
            Self::Severity => "a severity",
            Self::Address => "an address",
            Self::Number => "a whole number",
            Self::Any => "a field of the raw event",
        }
    }
}

/// Every decoded field by its name after `event.`.
pub(crate) const FIELDS: [(&str, Field); 12] = [
    ("system", Field::System),
    ("kind", Field::Kind),
    ("id", Field::Id),
    ("severity", Field::Severity),
    ("signature", Field::Signature),
    ("category", Field::Category),
    ("source.ip", Field::SourceIp),
    ("source.port", Field::SourcePort),
    ("destination.ip", Field::DestinationIp),
    ("destination.port", Field::DestinationPort),
    ("user", Field::User),
    ("host", Field::Host),
];

impl Field {
    pub(crate) const fn kind(&self) -> Type {
        match self {
            Self::System | Self::Id | Self::Signature | Self::Category | Self::User | Self::Host => Type::Text,
            Self::Kind => Type::Kind,
            Self::Severity => Type::Severity,
            Self::SourceIp | Self::DestinationIp => Type::Address,
            Self::SourcePort | Self::DestinationPort => Type::Number,
            Self::Raw(_) => Type::Any,
        }
    }

    /// The text in it; `None` when it is missing or something else.
    pub(crate) fn text<'e>(&self, event: &EventView<'e>) -> Option<&'e str> {
        let decoded = match self {
            Self::System => Some(event.system),
            Self::Id => event.id,
            Self::Signature => Some(event.signature),
            Self::Category => Some(event.category),
            Self::User => event.user,
            Self::Host => event.host,
            Self::Raw(path) => {
                return match event.raw.field(path) {
                    Some(FieldValue::Text(text)) => Some(text),
                    _ => None,
                };
            }
            _ => None,
        };
        decoded.filter(|text| !text.is_empty())
    }

    /// The address in it. IPv4 in the clothes of IPv6 is IPv4.
    pub(crate) fn address(&self, event: &EventView<'_>) -> Option<IpAddr> {
        match self {
            Self::SourceIp => event.source.ip,
            Self::DestinationIp => event.destination.ip,
            Self::Raw(_) => self.text(event).and_then(parse_address),
            _ => None,
        }
    }

    /// What the raw event has there, or the number of a port. JSON null counts as missing.
    pub(crate) fn value<'e>(&self, event: &EventView<'e>) -> Option<FieldValue<'e>> {
        match self {
            Self::SourcePort => event.source.port.map(|port| FieldValue::Int(port.into())),
            Self::DestinationPort => event.destination.port.map(|port| FieldValue::Int(port.into())),
            Self::Raw(path) => event.raw.field(path).filter(|value| *value != FieldValue::Null),
            _ => None,
        }
    }

    /// Whether the event has it.
    pub(crate) fn is_present(&self, event: &EventView<'_>) -> bool {
        match self.kind() {
            Type::Text => self.text(event).is_some(),
            Type::Address => self.address(event).is_some(),
            Type::Number | Type::Any => self.value(event).is_some(),
            Type::Kind | Type::Severity => true,
        }
    }

    /// What the event has there, for people.
    pub(crate) fn show(&self, event: &EventView<'_>) -> String {
        let shown = match self.kind() {
            Type::Text => self.text(event).map(|text| format!("\"{}\"", Printable(text))),
            Type::Address => self.address(event).map(|ip| ip.to_string()),
            Type::Severity => Some(event.severity.to_string()),
            Type::Kind => Some(kind_name(event.kind).to_owned()),
            Type::Number | Type::Any => self.value(event).map(|value| match value {
                FieldValue::Null => "null".to_owned(),
                FieldValue::Bool(value) => value.to_string(),
                FieldValue::Int(value) => value.to_string(),
                FieldValue::UInt(value) => value.to_string(),
                FieldValue::Float(value) => value.to_string(),
                FieldValue::Text(text) => format!("\"{}\"", Printable(text)),
                FieldValue::List(length) => format!("a list of {length}"),
                FieldValue::Object => "an object".to_owned(),
            }),
        };
        shown.map_or_else(|| format!("{self} is missing"), |shown| format!("{self} is {shown}"))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("event.")?;
        if let Self::Raw(path) = self {
            f.write_str("raw")?;
            return path.iter().try_for_each(|key| match key.as_bytes().first() {
                Some(first) if first.is_ascii_digit() && key.bytes().all(|byte| byte.is_ascii_digit()) => {
                    write!(f, "[{key}]")
                }
                Some(first)
                    if !first.is_ascii_digit()
                        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
                {
                    write!(f, ".{key}")
                }
                _ => write!(f, "[\"{}\"]", Printable(key)),
            });
        }
        f.write_str(
            FIELDS
                .iter()
                .find(|(_, field)| field == self)
                .map_or("", |(name, _)| name),
        )
    }
}

/// The word for a kind of event.
pub(crate) const fn kind_name(kind: staunch_model::EventKind) -> &'static str {
    use staunch_model::EventKind as K;
    match kind {
        K::Alert => "alert",
        K::Telemetry => "telemetry",
        K::Health => "health",
        K::Sample => "sample",
    }
}

/// A single address: no prefix, no zone. IPv4-mapped IPv6 becomes IPv4.
pub(crate) fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}
