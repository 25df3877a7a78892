//! STIX 2.1: a bundle, or the envelopes of a TAXII 2.1 collection, one behind the other. Indicators whose pattern
//! compares the value of one IPv4 or IPv6 address are read; other patterns are counted.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use staunch_model::Timestamp;

use super::{Entry, Reading, label, of_json, time, whole};
use crate::lists::{Invalid, parse_network};

const HINT: &str = "is it a STIX 2.1 bundle, or the objects of a TAXII 2.1 collection?";

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    more: Option<bool>,
    objects: Option<Objects>,
}

/// What the objects say: of those that are read nothing else is kept.
struct Objects(Reading);

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Reading;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut objects: A) -> Result<Reading, A::Error> {
                let mut reading = Reading::default();
                while !reading.is_over() {
                    let Some(object) = objects.next_element()? else {
                        return Ok(reading);
                    };
                    take(&object, &mut reading);
                }
                while objects.next_element::<IgnoredAny>()?.is_some() {}
                Ok(reading)
            }
        }
        deserializer.deserialize_seq(Each).map(Self)
    }
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    pattern_type: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    confidence: Option<u64>,
    #[serde(default)]
    revoked: bool,
    #[serde(default)]
    modified: Option<String>,
    #[serde(default)]
    valid_from: Option<String>,
    #[serde(default)]
    valid_until: Option<String>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Reading, Invalid> {
    let mut reading = Reading::default();
    let mut is_last = None;
    for bundle in serde_json::Deserializer::from_slice(bytes).into_iter::<Bundle>() {
        if is_last == Some(true) {
            return Err(whole("there is something behind its last page", HINT));
        }
        let bundle = bundle.map_err(|error| of_json(&error, HINT))?;
        is_last = Some(bundle.more != Some(true));
        reading.merge(page(bundle)?);
    }
    match is_last {
        Some(true) => Ok(reading),
        Some(false) => Err(whole(
            "it is a part of several pages, and the last one is missing",
            "ask for all objects at once, or write the pages one behind the other",
        )),
        None => Err(whole("there is nothing in it", HINT)),
    }
}

/// What to ask for the page after this one; `None` behind the last. What is no envelope has none after it: what is
/// wrong with it is told where it is read.
///
/// # Errors
/// When it says that there is more, and not where.
pub fn next_page(bytes: &[u8]) -> Result<Option<String>, Invalid> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(default)]
        more: bool,
        #[serde(default)]
        next: Option<String>,
    }
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else {
        return Ok(None);
    };
    match envelope {
        Envelope { more: false, .. } => Ok(None),
        Envelope { next: Some(next), .. } if !next.is_empty() => Ok(Some(next)),
        Envelope { .. } => Err(whole(
            "it says that there is more, and not what to ask for",
            "the server has to tell `next`; ask it for all objects at once",
        )),
    }
}

/// What one page says.
fn page(bundle: Bundle) -> Result<Reading, Invalid> {
    // An envelope has no type; an empty one says only that there is no more.
    let is_one = match bundle.r#type.as_deref() {
        Some(kind) => kind == "bundle",
        None => bundle.more.is_some() || bundle.objects.is_some(),
    };
    if !is_one {
        return Err(whole("it is neither a bundle nor an envelope", HINT));
    }
    Ok(bundle.objects.map(|Objects(reading)| reading).unwrap_or_default())
}

/// Takes in what an object says.
fn take(object: &Object, reading: &mut Reading) {
    if object.r#type.as_deref() != Some("indicator") || object.revoked {
        return;
    }
    reading.as_of = reading.as_of.max(object.modified.as_deref().and_then(time));
    match entry(object) {
        Some(entry) => reading.add(entry),
        None => reading.not_understood += 1,
    }
}

fn entry(object: &Object) -> Option<Entry> {
    if object.pattern_type.as_deref().is_some_and(|it| it != "stix") {
        return None;
    }
    let network = address(object.pattern.as_deref()?)?;
    // A time that cannot be read must not make an indicator hold for ever.
    let until = |text: &Option<String>| -> Option<Option<Timestamp>> {
        match text {
            None => Some(None),
            Some(text) => time(text).map(Some),
        }
    };
    Some(Entry {
        network,
        confidence: object.confidence.and_then(|it| u8::try_from(it.min(100)).ok()),
        label: label(object.name.as_deref().unwrap_or_default()),
        as_of: object
            .modified
            .as_deref()
            .or(object.valid_from.as_deref())
            .and_then(time),
        expires: until(&object.valid_until)?,
    })
}

/// The network of `[ipv4-addr:value = '192.0.2.1']`; `None` for any other pattern.
fn address(pattern: &str) -> Option<ipnet::IpNet> {
    let inner = pattern.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let (kind, value) = inner.split_once('=')?;
    let is_v4 = match kind.trim() {
        "ipv4-addr:value" => true,
        "ipv6-addr:value" => false,
        _ => return None,
    };
    let value = value.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    let network = parse_network(value).ok()?;
    (matches!(network, ipnet::IpNet::V4(_)) == is_v4).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, read, tests::networks, time};
    use serde_json::json;

    #[test]
    fn comparisons_of_one_address_are_read_and_the_rest_is_counted() {
        let indicator = |pattern: &str| {
            json!({
                "type": "indicator", "spec_version": "2.1", "id": "indicator--1", "pattern": pattern, "pattern_type": "stix",
                "name": "c2", "confidence": 85, "modified": "2026-11-20T10:00:00.000Z",
                "valid_from": "2026-11-19T00:00:00Z", "valid_until": "2026-12-19T00:00:00Z"
            })
        };
        let mut revoked = indicator("[ipv4-addr:value = '198.51.100.1']");
        revoked["revoked"] = true.into();
        let mut odd = indicator("[ipv4-addr:value = '198.51.100.2']");
        odd["valid_until"] = "soon".into();
        let mut yara = indicator("[ipv4-addr:value = '198.51.100.3']");
        yara["pattern_type"] = "yara".into();
        let objects = json!([
            {"type": "identity", "name": "somebody"},
            indicator("[ipv4-addr:value = '203.0.113.7']"),
            indicator(" [ ipv6-addr:value='2001:db8::/32' ] "),
            indicator("[ipv4-addr:value = '10.0.0.1']"),
            indicator("[ipv6-addr:value = '203.0.113.8']"),
            indicator("[ipv4-addr:value = '203.0.113.9' OR ipv4-addr:value = '203.0.113.10']"),
            indicator("[domain-name:value = 'example.org']"),
            revoked, odd, yara,
        ]);
        for text in [
            json!({"type": "bundle", "id": "bundle--1", "objects": objects}),
            json!({"more": false, "objects": objects}),
        ] {
            let reading = read(Format::Stix, text.to_string().as_bytes()).expect("it is well formed");
            assert_eq!(networks(&reading), ["203.0.113.7/32", "2001:db8::/32"]);
            assert_eq!((reading.special, reading.not_understood), (1, 5));
            let first = &reading.entries[0];
            assert_eq!((first.confidence, &*first.label), (Some(85), "c2"));
            assert_eq!(first.expires, time("2026-12-19T00:00:00Z"));
            assert_eq!(reading.as_of, time("2026-11-20T10:00:00Z"));
        }
        read(Format::Stix, br#"{"type": "report"}"#).expect_err("it is something else");
        let page = read(Format::Stix, br#"{"more": true, "objects": []}"#).expect_err("it is a part");
        assert_eq!(page.what, "it is a part of several pages, and the last one is missing");
        // Pages one behind the other are one collection.
        let one = |ip: &str| json!({"more": true, "next": "2", "objects": [indicator(&format!("[ipv4-addr:value = '{ip}']"))]});
        let last = json!({"more": false, "objects": [indicator("[ipv4-addr:value = '203.0.113.9']")]});
        let whole = format!("{}{}\n{last}", one("203.0.113.7"), one("203.0.113.8"));
        let reading = read(Format::Stix, whole.as_bytes()).expect("it is whole");
        assert_eq!(
            networks(&reading),
            ["203.0.113.7/32", "203.0.113.8/32", "203.0.113.9/32"]
        );
        read(Format::Stix, format!("{last}{last}").as_bytes()).expect_err("two collections");
        read(Format::Stix, b" ").expect_err("nothing");
        assert_eq!(
            super::next_page(one("203.0.113.7").to_string().as_bytes()),
            Ok(Some("2".to_owned()))
        );
        assert_eq!(super::next_page(last.to_string().as_bytes()), Ok(None));
        super::next_page(br#"{"more": true, "objects": []}"#).expect_err("it does not say where");
        let empty = read(Format::Stix, br#"{"type": "bundle", "id": "bundle--1"}"#).expect("it may be empty");
        assert!(empty.entries.is_empty());
    }
}
