//! MISP: an event, or a feed of events with its manifest. Attributes that are to be used for detection (`to_ids`) and are
//! addresses are read; other kinds are counted.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Entry, Reading, label, of_json, seconds, whole};
use crate::lists::{Invalid, parse_network};

/// The name of the manifest in the directory of a feed.
pub const MANIFEST: &str = "manifest.json";

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
    attributes: Vec<Attribute>,
    #[serde(rename = "Object", default)]
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(rename = "Attribute", default)]
    attributes: Vec<Attribute>,
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
    let mut reading = Reading {
        as_of: event.timestamp.as_deref().and_then(seconds),
        ..Reading::default()
    };
    let info = event.info.as_deref().unwrap_or_default();
    let objects = event.objects.iter().flat_map(|it| &it.attributes);
    for it in event
        .attributes
        .iter()
        .chain(objects)
        .filter(|it| it.to_ids && !it.deleted)
    {
        let Some(network) = address(it) else {
            reading.not_understood += 1;
            continue;
        };
        let comment = it.comment.as_deref().filter(|it| !it.trim().is_empty());
        reading.add(Entry {
            network,
            confidence: None,
            label: label(comment.unwrap_or(info)),
            as_of: it.timestamp.as_deref().and_then(seconds),
            expires: None,
        });
    }
    Ok(reading)
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

/// The names of the files of a feed's events, by its manifest.
///
/// # Errors
/// When it is no manifest: every key is the UUID of an event, and nothing else becomes the name of a file.
pub fn manifest(bytes: &[u8]) -> Result<Vec<String>, Invalid> {
    const HINT: &str = "is it the manifest.json of a MISP feed?";
    let events: BTreeMap<String, IgnoredAny> = serde_json::from_slice(bytes).map_err(|error| of_json(&error, HINT))?;
    let is_uuid = |it: &str| {
        let parts: Vec<&str> = it.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|it| it.len()).collect();
        lengths == [8, 4, 4, 4, 12] && parts.iter().all(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))
    };
    if !events.keys().all(|it| is_uuid(it)) {
        return Err(whole("it names something that is no event", HINT));
    }
    Ok(events.into_keys().map(|uuid| format!("{uuid}.json")).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{Format, read, tests::networks};
    use super::manifest;
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

    #[test]
    fn a_manifest_names_events_and_no_other_files() {
        let uuid = "5f4a9c1e-0000-4000-8000-00000000000A";
        let good = format!("{{\"{uuid}\": {{\"info\": \"x\", \"timestamp\": 1}}}}");
        assert_eq!(manifest(good.as_bytes()).expect("it is one"), [format!("{uuid}.json")]);
        for bad in ["{\"../../etc/passwd\": {}}", "{\"5f4a9c1e-0000-4000-8000\": {}}", "[]"] {
            manifest(bad.as_bytes()).expect_err(bad);
        }
    }
}
