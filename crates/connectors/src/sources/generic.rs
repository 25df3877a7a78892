//! Any system that sends JSON, described by a mapping in the configuration.
//!
//! Never guesses: a field that the mapping does not name, or that an event lacks, is empty.
//!
//! ```toml
//! [[sources.generic]]
//! name = "honeypot"
//! signature = "alert.title"
//! severity = "alert.level" # or a word for all of its events: "high"
//! severities = { 3 = "high", 4 = "critical" }
//! source_ip = "peer.address"
//! time = "seen_at"
//! sample = { path = "alert.tags[0]", equals = "test" }
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use staunch_model::{EventKind, EventView, FieldValue, NothingKnown, RawFields, Severity, Timestamp};

use self::grade::Grade;
use self::path::Path;
use super::{Decoded, SettingsError, Source, address, time};
use crate::json::{Document, Node};

mod grade;
pub mod path;

/// The mapping of one system. Paths are written `a.b["c.d"][0]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GenericSettings {
    /// The name of the system: lower-case letters, digits, `-` and `_`, at most 32, the first a letter. Since v0.1.
    pub name: String,
    /// The path of the signature or title. Since v0.1.
    pub signature: String,
    /// The path of the attacker's address. Default none: nothing can be contained. Since v0.1.
    #[serde(default)]
    pub source_ip: Option<String>,
    /// The path of the attacker's port. Default none. Since v0.1.
    #[serde(default)]
    pub source_port: Option<String>,
    /// The path of the victim's address. Default none. Since v0.1.
    #[serde(default)]
    pub destination_ip: Option<String>,
    /// The path of the victim's port. Default none. Since v0.1.
    #[serde(default)]
    pub destination_port: Option<String>,
    /// The path of the severity, a text or a whole number; or `info`, `low`, `medium`, `high` or `critical`, which all
    /// events then have. A field that is called like one of these words is written `["high"]`. Default none: unknown.
    /// Since v0.1.
    #[serde(default)]
    pub severity: Option<String>,
    /// What each value of the severity means, without regard to case. A text that is not in the table counts when it is
    /// itself the name of a severity; all else is unknown. Default empty. Since v0.1.
    #[serde(default)]
    pub severities: BTreeMap<String, Severity>,
    /// The path of the class of the signature. Default none. Since v0.1.
    #[serde(default)]
    pub category: Option<String>,
    /// The path of the event's id, a text. Default none. Since v0.1.
    #[serde(default)]
    pub id: Option<String>,
    /// The path of the time. Default none: events have no time, which is for the guards to judge. Since v0.1.
    #[serde(default)]
    pub time: Option<String>,
    /// How the time is written. Default `rfc3339`. Since v0.1.
    #[serde(default)]
    pub time_format: TimeFormat,
    /// The path of the account concerned. Default none. Since v0.1.
    #[serde(default)]
    pub user: Option<String>,
    /// The path of the host that reported it. Default none. Since v0.1.
    #[serde(default)]
    pub host: Option<String>,
    /// Events of which this holds are samples and never acted on. Default none. Since v0.1.
    #[serde(default)]
    pub sample: Option<Test>,
    /// Events of which this does not hold are ignored. Default none. Since v0.1.
    #[serde(default)]
    pub only: Option<Test>,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum TimeFormat {
    /// `2022-02-16T14:31:23.329Z`, with any zone.
    #[default]
    #[serde(rename = "rfc3339")]
    Rfc3339,
    /// Seconds since 1970, whole or not, as a number or as text.
    #[serde(rename = "unix")]
    Unix,
    /// Milliseconds since 1970, as a whole number or as text.
    #[serde(rename = "unix_ms")]
    UnixMs,
}

/// A comparison of one field with a text. Whole numbers and truth values are compared by how they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// The path of the field.
    pub path: String,
    /// What it must be.
    pub equals: String,
}

/// Decodes what a mapping describes.
#[derive(Clone, Debug)]
pub struct Generic {
    name: Box<str>,
    signature: Path,
    source: (Option<Path>, Option<Path>),
    destination: (Option<Path>, Option<Path>),
    severity: Grade,
    category: Option<Path>,
    id: Option<Path>,
    time: Option<Path>,
    time_format: TimeFormat,
    user: Option<Path>,
    host: Option<Path>,
    sample: Option<(Path, Box<str>)>,
    only: Option<(Path, Box<str>)>,
}

impl Generic {
    /// Checks a mapping.
    ///
    /// # Errors
    ///
    /// When the name or a path is invalid; the error names the key.
    pub fn new(settings: &GenericSettings) -> Result<Self, SettingsError> {
        let path = |key: &str, text: &Option<String>| text.as_deref().map(|text| read(key, text)).transpose();
        let test = |key: &str, test: &Option<Test>| {
            let compiled = |test: &Test| Ok((read(&format!("{key}.path"), &test.path)?, test.equals.as_str().into()));
            test.as_ref().map(compiled).transpose()
        };
        Ok(Self {
            name: name(&settings.name)?,
            signature: read("signature", &settings.signature)?,
            source: (
                path("source_ip", &settings.source_ip)?,
                path("source_port", &settings.source_port)?,
            ),
            destination: (
                path("destination_ip", &settings.destination_ip)?,
                path("destination_port", &settings.destination_port)?,
            ),
            severity: Grade::new(settings)?,
            category: path("category", &settings.category)?,
            id: path("id", &settings.id)?,
            time: path("time", &settings.time)?,
            time_format: settings.time_format,
            user: path("user", &settings.user)?,
            host: path("host", &settings.host)?,
            sample: test("sample", &settings.sample)?,
            only: test("only", &settings.only)?,
        })
    }

    fn time(&self, value: FieldValue<'_>) -> Option<Timestamp> {
        match self.time_format {
            TimeFormat::Rfc3339 => match value {
                FieldValue::Text(text) => time::read(text),
                _ => None,
            },
            TimeFormat::Unix => since_epoch(value, 1_000_000),
            TimeFormat::UnixMs => since_epoch(value, 1_000),
        }
    }
}

impl Source for Generic {
    fn name(&self) -> &str {
        &self.name
    }

    fn decode<'a>(&'a self, doc: &'a Document<'_>) -> Decoded<'a> {
        let root = doc.root();
        let at = |path: &Option<Path>| path.as_ref().and_then(|path| path.of(root));
        let holds = |(path, equals): &(Path, Box<str>)| {
            path.of(root)
                .is_some_and(|node| node.text() == Some(equals) || is_written(node.value(), equals))
        };
        if self.only.as_ref().is_some_and(|only| !holds(only)) {
            return Decoded::Ignored("the condition `only` of the mapping does not hold");
        }
        let Some(signature) = self.signature.of(root).and_then(Node::text) else {
            return Decoded::Malformed {
                what: "the event has no text where the mapping says the signature is",
                hint: "compare the mapping's path with an event of this system",
            };
        };
        let text = |path: &Option<Path>| at(path).and_then(Node::text).filter(|text| !text.is_empty());
        let endpoint = |(ip, port): &(Option<Path>, Option<Path>)| address::endpoint(at(ip), at(port));
        Decoded::Event(EventView {
            system: &self.name,
            kind: if self.sample.as_ref().is_some_and(holds) {
                EventKind::Sample
            } else {
                EventKind::Alert
            },
            id: text(&self.id),
            time: at(&self.time).and_then(|node| self.time(node.value())),
            severity: self.severity.of(root),
            signature,
            category: text(&self.category).unwrap_or_default(),
            source: endpoint(&self.source),
            destination: endpoint(&self.destination),
            user: text(&self.user),
            host: text(&self.host),
            raw: doc as &dyn RawFields,
            around: &NothingKnown,
        })
    }

    fn explain(&self, doc: &Document<'_>) -> &'static str {
        let Some(path) = &self.source.0 else {
            return "the mapping names no source_ip";
        };
        match path.of(doc.root()).map(|node| node.text().and_then(address::read)) {
            Some(Some(_)) => "the mapping's source_ip names it",
            Some(None) => "the value at source_ip is not one plain address",
            None => "the event has nothing at source_ip",
        }
    }
}

fn name(name: &str) -> Result<Box<str>, SettingsError> {
    let valid = name.len() <= 32
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'));
    let bad = || {
        let what = format!("\"{}\" is not a name", staunch_model::Printable(name));
        SettingsError::new(
            "name",
            what,
            "use lower-case letters, digits, - and _, at most 32, the first a letter",
        )
    };
    if valid { Ok(name.into()) } else { Err(bad()) }
}

/// The path that the key `key` says.
fn read(key: &str, text: &str) -> Result<Path, SettingsError> {
    Path::parse(text).map_err(|what| SettingsError::new(key, what, "write a path such as a.b[\"c.d\"][0]"))
}

/// True when `value` is written like `text`, without regard to case.
fn is_written(value: FieldValue<'_>, text: &str) -> bool {
    match value {
        FieldValue::Text(value) => value.eq_ignore_ascii_case(text),
        FieldValue::Int(value) => text.parse() == Ok(value),
        FieldValue::UInt(value) => text.parse() == Ok(value),
        FieldValue::Bool(value) => text == if value { "true" } else { "false" },
        _ => false,
    }
}

/// The time that lies `value` units after 1970, where a unit has `micros` microseconds. As any other time of an event
/// it has a date.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "checked to fit"
)]
fn since_epoch(value: FieldValue<'_>, micros: u64) -> Option<Timestamp> {
    let fractional = |value: f64| {
        let total = value * micros as f64;
        (0.0..9e18).contains(&total).then_some(total as u64)
    };
    let total = match value {
        FieldValue::Int(value) => u64::try_from(value).ok()?.checked_mul(micros)?,
        FieldValue::UInt(value) => value.checked_mul(micros)?,
        FieldValue::Float(value) => fractional(value)?,
        FieldValue::Text(text) => match text.parse::<u64>() {
            Ok(value) => value.checked_mul(micros)?,
            Err(_) => fractional(text.parse().ok()?)?,
        },
        _ => return None,
    };
    time::since_epoch(total)
}
