//! MISP: an event, or a feed of events with its manifest. Attributes that are to be used for detection (`to_ids`) and
//! are addresses are read; other kinds are counted.

mod events;
mod manifest;

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::{Entry, Reading, label, of_json, seconds};
use crate::lists::{Invalid, parse_network};

pub use events::MispEvents;
pub use manifest::{Listed, MANIFEST, manifest};

const HINT: &str = "is it an event of MISP?";

#[derive(Deserialize)]
struct File {
    #[serde(rename = "Event")]
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    info: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(rename = "Attribute", default)]
    attributes: Attributes,
    #[serde(rename = "Object", default)]
    objects: Objects,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "Attribute", default)]
    attributes: Attributes,
}

/// What attributes say: of those that are read nothing else is kept.
#[derive(Default)]
struct Attributes(Reading);

/// What the attributes of objects say.
#[derive(Default)]
struct Objects(Reading);

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let take = |attribute: Attribute, reading: &mut Reading| take(&attribute, reading);
        deserializer.deserialize_seq(Each(take)).map(Self)
    }
}

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let take = |object: Object, reading: &mut Reading| reading.merge(object.attributes.0);
        deserializer.deserialize_seq(Each(take)).map(Self)
    }
}

/// Reads a sequence whose elements are taken in one by one.
struct Each<T>(fn(T, &mut Reading));

impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
    type Value = Reading;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Reading, A::Error> {
        let mut reading = Reading::default();
        while !reading.is_over() {
            let Some(element) = elements.next_element()? else {
                return Ok(reading);
            };
            (self.0)(element, &mut reading);
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(reading)
    }
}

#[derive(Deserialize)]
struct Attribute {
    r#type: String,
    value: String,
    #[serde(default)]
    to_ids: bool,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Reading, Invalid> {
    let File { event } = serde_json::from_slice(bytes).map_err(|error| of_json(&error, HINT))?;
    let mut reading = event.attributes.0;
    reading.merge(event.objects.0);
    reading.as_of = event.timestamp.as_deref().and_then(seconds);
    // What has no comment of its own is called what the event is.
    let info = label(event.info.as_deref().unwrap_or_default());
    for it in reading.entries.iter_mut().filter(|it| it.label.is_empty()) {
        it.label.clone_from(&info);
    }
    Ok(reading)
}

/// Takes in what an attribute says, when it is to be used for detection.
fn take(it: &Attribute, reading: &mut Reading) {
    if !it.to_ids || it.deleted {
        return;
    }
    let Some(network) = address(it) else {
        reading.not_understood += 1;
        return;
    };
    reading.add(Entry {
        network,
        confidence: None,
        label: label(it.comment.as_deref().unwrap_or_default()),
        as_of: it.timestamp.as_deref().and_then(seconds),
        starts: None,
        expires: None,
    });
}

/// The address of an attribute, with or without a port; `None` for other kinds.
fn address(it: &Attribute) -> Option<ipnet::IpNet> {
    let value = match it.r#type.as_str() {
        "ip-src" | "ip-dst" => &it.value,
        "ip-src|port" | "ip-dst|port" => it.value.split('|').next()?,
        _ => return None,
    };
    parse_network(value.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::{Format, read, tests::networks};
    use serde_json::json;
    use staunch_model::Timestamp;

    #[test]
    fn addresses_for_detection_are_read_and_other_kinds_are_counted() {
        let attribute = |kind: &str, value: &str, to_ids: bool| json!({"type": kind, "value": value, "to_ids": to_ids, "timestamp": "1764140401", "comment": ""});
        let event = json!({"Event": {
            "info": "a campaign", "timestamp": "1764140500", "uuid": "5f4a9c1e-0000-4000-8000-000000000001",
            "Attribute": [
                attribute("ip-dst", "203.0.113.7", true),
                attribute("ip-src", "203.0.113.8", false),
                attribute("ip-dst", "10.0.0.1", true),
                attribute("domain", "example.org", true),
                attribute("ip-dst", "not an address", true),
            ],
            "Object": [{"name": "ip-port", "Attribute": [attribute("ip-dst|port", "2001:db8::7|443", true)]}]
        }});
        let reading = read(Format::Misp, event.to_string().as_bytes()).expect("it is well formed");
        assert_eq!(networks(&reading), ["203.0.113.7/32", "2001:db8::7/128"]);
        assert_eq!((reading.special, reading.not_understood), (1, 2));
        assert_eq!(&*reading.entries[0].label, "a campaign");
        assert_eq!(
            reading.entries[0].as_of,
            Some(Timestamp::from_micros(1_764_140_401_000_000))
        );
        assert_eq!(reading.as_of, Some(Timestamp::from_micros(1_764_140_500_000_000)));
    }
}
