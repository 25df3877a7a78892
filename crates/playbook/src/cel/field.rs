//! The fields of an event that expressions can name, and how they are read.
//!
//! An empty text in a decoded field counts as missing: decoders write it where the event says nothing.

use std::fmt;
use std::net::IpAddr;

use staunch_model::{Asset, EventView, FieldValue, IdentityKind, Printable, Score};

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
    /// What files say of an asset.
    Asset(Which, AssetField),
    /// What files say of the event's account.
    Identity(IdentityField),
    /// Where an address is.
    Geo(Side, GeoField),
    /// How bad an address is, by feeds.
    Reputation(Side, RatingField),
}

/// Which of the things that an event names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The first that files name: the attacked address, the host that reported it, the attacking address.
    Concerned,
    Side(Side),
    Host,
}

/// One side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssetField {
    Owner,
    Tier,
    DataClass,
    Environment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityField {
    Team,
    Kind,
    BreakGlass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GeoField {
    Country,
    Asn,
    Organization,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RatingField {
    Score,
    Confidence,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Kind,
    Severity,
    Address,
    Number,
    /// From 0 to 1.
    Score,
    Bool,
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
            Self::Score => "a score from 0 to 1",
            Self::Bool => "true or false",
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

/// Every field of what is known around an event, by its full name.
pub(crate) const AROUND: [(&str, Field); 29] = {
    use {AssetField as A, GeoField as G, IdentityField as I, RatingField as R, Side as S, Which as W};
    [
        ("asset.owner", Field::Asset(W::Concerned, A::Owner)),
        ("asset.tier", Field::Asset(W::Concerned, A::Tier)),
        ("asset.data_class", Field::Asset(W::Concerned, A::DataClass)),
        ("asset.environment", Field::Asset(W::Concerned, A::Environment)),
        ("asset.source.owner", Field::Asset(W::Side(S::Source), A::Owner)),
        ("asset.source.tier", Field::Asset(W::Side(S::Source), A::Tier)),
        (
            "asset.source.data_class",
            Field::Asset(W::Side(S::Source), A::DataClass),
        ),
        (
            "asset.source.environment",
            Field::Asset(W::Side(S::Source), A::Environment),
        ),
        (
            "asset.destination.owner",
            Field::Asset(W::Side(S::Destination), A::Owner),
        ),
        ("asset.destination.tier", Field::Asset(W::Side(S::Destination), A::Tier)),
        (
            "asset.destination.data_class",
            Field::Asset(W::Side(S::Destination), A::DataClass),
        ),
        (
            "asset.destination.environment",
            Field::Asset(W::Side(S::Destination), A::Environment),
        ),
        ("asset.host.owner", Field::Asset(W::Host, A::Owner)),
        ("asset.host.tier", Field::Asset(W::Host, A::Tier)),
        ("asset.host.data_class", Field::Asset(W::Host, A::DataClass)),
        ("asset.host.environment", Field::Asset(W::Host, A::Environment)),
        ("identity.team", Field::Identity(I::Team)),
        ("identity.kind", Field::Identity(I::Kind)),
        ("identity.break_glass", Field::Identity(I::BreakGlass)),
        ("geo.source.country", Field::Geo(S::Source, G::Country)),
        ("geo.source.asn", Field::Geo(S::Source, G::Asn)),
        ("geo.source.organization", Field::Geo(S::Source, G::Organization)),
        ("geo.destination.country", Field::Geo(S::Destination, G::Country)),
        ("geo.destination.asn", Field::Geo(S::Destination, G::Asn)),
        (
            "geo.destination.organization",
            Field::Geo(S::Destination, G::Organization),
        ),
        ("reputation.source.score", Field::Reputation(S::Source, R::Score)),
        (
            "reputation.source.confidence",
            Field::Reputation(S::Source, R::Confidence),
        ),
        (
            "reputation.destination.score",
            Field::Reputation(S::Destination, R::Score),
        ),
        (
            "reputation.destination.confidence",
            Field::Reputation(S::Destination, R::Confidence),
        ),
    ]
};

/// The first words of the fields of what is known around an event.
pub(crate) const AROUND_ROOTS: [&str; 4] = ["asset", "identity", "geo", "reputation"];

impl Side {
    const fn ip(self, event: &EventView<'_>) -> Option<IpAddr> {
        match self {
            Self::Source => event.source.ip,
            Self::Destination => event.destination.ip,
        }
    }
}

impl Which {
    fn asset<'e>(self, event: &EventView<'e>) -> Option<&'e Asset> {
        let around = event.around;
        match self {
            Self::Side(side) => around.asset_at(side.ip(event)?),
            Self::Host => around.asset_named(event.host?),
            Self::Concerned => {
                let all = [Self::Side(Side::Destination), Self::Host, Self::Side(Side::Source)];
                all.into_iter().find_map(|which| which.asset(event))
            }
        }
    }
}

impl AssetField {
    fn of(self, asset: &Asset) -> Option<&str> {
        match self {
            Self::Owner => asset.owner.as_deref(),
            Self::Tier => asset.tier.as_deref(),
            Self::DataClass => asset.data_class.as_deref(),
            Self::Environment => asset.environment.as_deref(),
        }
    }
}

impl Field {
    pub(crate) const fn kind(&self) -> Type {
        match self {
            Self::System | Self::Id | Self::Signature | Self::Category | Self::User | Self::Host => Type::Text,
            Self::Kind => Type::Kind,
            Self::Severity => Type::Severity,
            Self::SourceIp | Self::DestinationIp => Type::Address,
            Self::SourcePort | Self::DestinationPort => Type::Number,
            Self::Raw(_) => Type::Any,
            Self::Asset(..)
            | Self::Identity(IdentityField::Team | IdentityField::Kind)
            | Self::Geo(_, GeoField::Country | GeoField::Organization) => Type::Text,
            Self::Identity(IdentityField::BreakGlass) => Type::Bool,
            Self::Geo(_, GeoField::Asn) | Self::Reputation(_, RatingField::Confidence) => Type::Number,
            Self::Reputation(_, RatingField::Score) => Type::Score,
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
            Self::Asset(which, field) => which.asset(event).and_then(|it| field.of(it)),
            Self::Identity(field) => event.around.identity(event.user?).and_then(|it| match field {
                IdentityField::Team => it.team.as_deref(),
                IdentityField::Kind => it.kind.map(IdentityKind::name),
                IdentityField::BreakGlass => None,
            }),
            Self::Geo(side, field) => {
                let place = event.around.place(side.ip(event)?);
                match field {
                    GeoField::Country => place.country,
                    GeoField::Organization => place.organization,
                    GeoField::Asn => None,
                }
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
            Self::Identity(IdentityField::BreakGlass) => {
                let known = event.around.identity(event.user?)?;
                Some(FieldValue::Bool(known.break_glass))
            }
            Self::Geo(side, GeoField::Asn) => {
                let asn = event.around.place(side.ip(event)?).asn?;
                Some(FieldValue::Int(asn.into()))
            }
            Self::Reputation(side, field) => {
                let rating = event.around.rating(side.ip(event)?)?;
                match field {
                    RatingField::Score => Some(FieldValue::Int(rating.score.thousandths().into())),
                    RatingField::Confidence => rating.confidence.map(|it| FieldValue::Int(it.into())),
                }
            }
            _ => None,
        }
    }

    /// Whether the event has it.
    pub(crate) fn is_present(&self, event: &EventView<'_>) -> bool {
        match self.kind() {
            Type::Text => self.text(event).is_some(),
            Type::Address => self.address(event).is_some(),
            Type::Number | Type::Score | Type::Bool | Type::Any => self.value(event).is_some(),
            Type::Kind | Type::Severity => true,
        }
    }

    /// Whether it is known from outside of the event.
    pub(crate) const fn is_around(&self) -> bool {
        matches!(
            self,
            Self::Asset(..) | Self::Identity(_) | Self::Geo(..) | Self::Reputation(..)
        )
    }

    /// What the event has there, for people.
    pub(crate) fn show(&self, event: &EventView<'_>) -> String {
        let shown = match self.kind() {
            Type::Text => self.text(event).map(|text| format!("\"{}\"", Printable(text))),
            Type::Address => self.address(event).map(|ip| ip.to_string()),
            Type::Severity => Some(event.severity.to_string()),
            Type::Kind => Some(kind_name(event.kind).to_owned()),
            Type::Score => match self.value(event) {
                Some(FieldValue::Int(thousandths)) => u16::try_from(thousandths)
                    .ok()
                    .map(|it| Score::from_thousandths(it).to_string()),
                _ => None,
            },
            Type::Number | Type::Bool | Type::Any => self.value(event).map(|value| match value {
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
        let shown = shown.map(|shown| match self {
            Self::Asset(which, _) => match which.asset(event) {
                Some(asset) => format!("{shown}, by {}: {}", Printable(&asset.by), Printable(&asset.named)),
                None => shown,
            },
            _ => shown,
        });
        if shown.is_none() && self.is_around() {
            return format!("{self} is not known");
        }
        shown.map_or_else(|| format!("{self} is missing"), |shown| format!("{self} is {shown}"))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = AROUND.iter().find(|(_, field)| field == self) {
            return f.write_str(name);
        }
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
