//! The JSON front: bodies of one event, an array or lines.
//!
//! What holds: elements are numbered, in order and inside the body; errors lie inside the body and can be shown; what
//! is accepted is one JSON object without repeated keys and not too deep to a second reader too; and what that reader
//! takes for one such object, or an array of them, is accepted.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use staunch_connectors::json::{DEPTH_MAX, EVENTS_PER_BODY_MAX, Split};

use crate::shown::assert_line;
use crate::sources::assert_same_values;

/// The longest event in this target, so that its limit is met too.
const EVENT_BYTES_MAX: usize = 8 << 10;

/// Splits and parses a body.
pub fn run(body: &[u8]) {
    let (mut count, mut parsed, mut end) = (0, 0, 0);
    for element in Split::new(body) {
        assert_eq!(element.index, count);
        assert!(
            element.offset >= end && element.offset <= body.len(),
            "elements are in order"
        );
        count += 1;
        if let Ok(bytes) = &element.content {
            end = element.offset + bytes.len();
            assert_eq!(body.get(element.offset..end), Some(*bytes));
        }
        match element.parse(EVENT_BYTES_MAX) {
            Ok(document) => {
                parsed += 1;
                let bytes = element.content.expect("it was parsed");
                let strict = Strict::read(bytes).expect("others read it too");
                assert!(strict.is_object && strict.depth <= DEPTH_MAX);
                let value: Value = serde_json::from_slice(bytes).expect("others read it too");
                assert_same_values(&document, &value);
            }
            Err(error) => {
                assert!(error.offset <= body.len(), "{error}");
                assert!((1..=body.split(|byte| *byte == b'\n').count()).contains(&error.line(body)));
                assert_line(&error.to_string());
                assert_line(error.hint);
                if let Some(strict) = element
                    .content
                    .ok()
                    .filter(|it| it.len() <= EVENT_BYTES_MAX)
                    .and_then(Strict::read)
                {
                    assert!(
                        !strict.is_object || strict.depth > DEPTH_MAX,
                        "refused, but well-formed: {error}"
                    );
                }
            }
        }
    }
    assert!(count <= EVENTS_PER_BODY_MAX + 1);
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.len() > EVENT_BYTES_MAX {
        return;
    }
    if let Some(whole) = Strict::read(body) {
        if whole.is_object && whole.depth <= DEPTH_MAX {
            assert_eq!((count, parsed), (1, 1), "the body is one event");
        } else if let Some(items) = whole.items.filter(|_| whole.depth <= DEPTH_MAX) {
            assert_eq!(count, items, "the body is an array");
        }
    }
}

/// What a second reader says of a text that is JSON without repeated keys.
#[derive(Debug, Default)]
struct Strict {
    is_object: bool,
    /// Of an array.
    items: Option<usize>,
    /// Levels of objects and arrays.
    depth: usize,
}

impl Strict {
    fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let (mut items, mut depth) = (0, 0);
        while let Some(item) = seq.next_element::<Strict>()? {
            items += 1;
            depth = depth.max(item.depth);
        }
        Ok(Strict {
            is_object: false,
            items: Some(items),
            depth: depth + 1,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let (mut keys, mut depth) = (std::collections::BTreeSet::new(), 0);
        while let Some((key, member)) = map.next_entry::<String, Strict>()? {
            if !keys.insert(key) {
                return Err(A::Error::custom("a repeated key"));
            }
            depth = depth.max(member.depth);
        }
        Ok(Strict {
            is_object: true,
            items: None,
            depth: depth + 1,
        })
    }
}
