//! The manifest of a MISP feed: which events it has, and of when each is.
//!
//! Never lets anything but a UUID become the name of a file, or a part of an address.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::{of_json, whole};
use crate::lists::Invalid;

/// The name of the manifest in the directory of a feed.
pub const MANIFEST: &str = "manifest.json";

/// The most events of a feed.
pub(super) const EVENTS_MAX: usize = 10_000;

/// An event that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub(super) uuid: Box<str>,
    /// When it was changed the last time, in seconds since the epoch, when the manifest tells.
    pub(super) timestamp: Option<u64>,
}

impl Listed {
    /// Its UUID.
    #[must_use]
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The name of its file, beside the manifest.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.json", self.uuid)
    }
}

/// The events of a feed by its manifest, in the order of their UUIDs.
///
/// # Errors
/// When it is no manifest: every key is the UUID of an event; also when it names more than 10,000.
pub fn manifest(bytes: &[u8]) -> Result<Vec<Listed>, Invalid> {
    const HINT: &str = "is it the manifest.json of a MISP feed?";
    let events: Events = serde_json::from_slice(bytes).map_err(|error| of_json(&error, HINT))?;
    if events.others {
        return Err(whole("it names something that is no event", HINT));
    }
    if events.all.len() > EVENTS_MAX {
        let what = format!("it names more than {EVENTS_MAX} events");
        return Err(whole(what, "take a shorter feed, or a part of this one"));
    }
    let listed = |(uuid, timestamp)| Listed { uuid, timestamp };
    Ok(events.all.into_iter().map(listed).collect())
}

/// The entries of a manifest.
#[derive(Default)]
struct Events {
    all: BTreeMap<Box<str>, Option<u64>>,
    /// Whether it names anything else.
    others: bool,
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Events;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of events")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Events, A::Error> {
                let mut events = Events::default();
                while !events.others && events.all.len() <= EVENTS_MAX {
                    let Some((key, about)) = map.next_entry::<String, About>()? else {
                        return Ok(events);
                    };
                    if is_uuid(&key) {
                        events.all.insert(key.into(), about.timestamp.0);
                    } else {
                        events.others = true;
                    }
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(events)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// What a manifest says of an event.
#[derive(Deserialize)]
struct About {
    #[serde(default)]
    timestamp: Seconds,
}

/// Seconds since the epoch, as text or as a number; nothing when it is something else.
#[derive(Default)]
struct Seconds(Option<u64>);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Seconds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds")
            }

            fn visit_u64<E>(self, number: u64) -> Result<Seconds, E> {
                Ok(Seconds(Some(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Seconds, E> {
                Ok(Seconds(text.parse().ok()))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Seconds, E> {
                Ok(Seconds(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Seconds, E> {
                Ok(Seconds(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Seconds, E> {
                Ok(Seconds(None))
            }

            fn visit_unit<E>(self) -> Result<Seconds, E> {
                Ok(Seconds(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Seconds, A::Error> {
                while all.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Seconds(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Seconds, A::Error> {
                while all.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Seconds(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Whether `text` is a UUID as RFC 9562 writes them, and nothing else.
pub(super) fn is_uuid(text: &str) -> bool {
    const LENGTHS: [usize; 5] = [8, 4, 4, 4, 12];
    let parts = || text.split('-');
    parts().map(str::len).eq(LENGTHS) && parts().all(|it| it.bytes().all(|it| it.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::{EVENTS_MAX, Listed, manifest};

    const UUID: &str = "5f4a9c1e-0000-4000-8000-00000000000A";

    #[test]
    fn a_manifest_names_events_and_says_of_when_they_are() {
        let listed = |timestamp: &str| {
            let text = format!("{{\"{UUID}\": {{\"info\": \"x\"{timestamp}, \"Tag\": []}}}}");
            manifest(text.as_bytes()).unwrap_or_else(|it| panic!("{text}: {it:?}"))
        };
        let of = |timestamp| {
            let uuid = UUID.into();
            vec![Listed { uuid, timestamp }]
        };
        for text in [", \"timestamp\": \"1764140401\"", ", \"timestamp\": 1764140401"] {
            assert_eq!(listed(text), of(Some(1_764_140_401)), "{text}");
        }
        for value in ["null", "-1", "1.5", "\"\"", "\"soon\"", "true", "[1]", "{\"a\":1}"] {
            assert_eq!(listed(&format!(", \"timestamp\": {value}")), of(None), "{value}");
        }
        assert_eq!(listed(""), of(None));
        assert_eq!(listed("")[0].file(), format!("{UUID}.json"));
    }

    #[test]
    fn what_is_no_uuid_becomes_no_name_and_refuses_the_manifest_whole() {
        let others = [
            "../../etc/passwd",
            "5f4a9c1e-0000-4000-8000",
            "5f4a9c1e-0000-4000-8000-00000000000a-",
            "5f4a9c1e-0000-4000-8000-00000000000a/../x",
            "5f4a9c1e-0000-4000-8000-00000000000g",
            "5f4a9c1e-0000-4000-8000-0000000000\u{0661}",
            "5f4a9c1e-0000-4000-8000-0000000000%61",
            "{5f4a9c1e-0000-4000-8000-00000000000a}",
            "5f4a9c1e000040008000000000000000000a",
            " 5f4a9c1e-0000-4000-8000-0000000000a",
            "//192.0.2.1/000-4000-8000-0000000000",
            "",
        ];
        for other in others {
            let text = format!("{{\"{UUID}\": {{}}, \"{other}\": {{}}}}");
            let invalid = manifest(text.as_bytes()).expect_err(&text);
            assert_eq!(invalid.what, "it names something that is no event", "{other}");
        }
        for text in ["[]", "1", "{", "{\"Event\": {}}"] {
            manifest(text.as_bytes()).expect_err(text);
        }
    }

    #[test]
    fn the_events_of_a_manifest_are_bounded() {
        let events = |count: usize| {
            let keys = (0..count).map(|at| format!("\"5f4a9c1e-0000-4000-8000-{at:012x}\":{{}}"));
            format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
        };
        assert_eq!(
            manifest(events(EVENTS_MAX).as_bytes()).map(|it| it.len()),
            Ok(EVENTS_MAX)
        );
        let invalid = manifest(events(EVENTS_MAX + 2).as_bytes()).expect_err("they are too many");
        assert_eq!(invalid.what, "it names more than 10000 events");
    }
}
