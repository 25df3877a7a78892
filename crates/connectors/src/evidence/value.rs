//! Values of an attacker's choosing as JSON, so that nothing of them is lost: text where it is text, else its bytes.

use std::fmt;

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use staunch_netlink::schema::{Field, Value};

/// Bytes that are mostly text: a string when they are UTF-8, else `{"hex": "..."}`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

/// Bytes: `{"hex": "..."}`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

/// The parts of an object of netlink: a map by their names. A number stands for a name that is not known, and a part
/// that is there again has its number of times behind its name.
pub(super) struct Fields<'a>(pub(super) &'a [Field<'a>]);

struct Part<'a>(&'a Value<'a>);

/// Hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => Bytes(self.0).serialize(to),
        }
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry("hex", &Hex(self.0))?;
        map.end()
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(self.0.len()))?;
        for (at, field) in self.0.iter().enumerate() {
            let before = self.0[..at].iter();
            let times = 1 + before
                .filter(|it| (it.name, it.kind) == (field.name, field.kind))
                .count();
            let value = Part(&field.value);
            match (field.name, times) {
                (Some(name), 1) => map.serialize_entry(name, &value)?,
                (Some(name), times) => map.serialize_entry(&format!("{name} ({times})"), &value)?,
                (None, 1) => map.serialize_entry(&format!("attribute {}", field.kind), &value)?,
                (None, times) => map.serialize_entry(&format!("attribute {} ({times})", field.kind), &value)?,
            }
        }
        map.end()
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(it) => to.serialize_u64(*it),
            Value::Negative(it) => to.serialize_i64(*it),
            Value::Text(it) => to.serialize_str(it),
            Value::Address(it) => to.collect_str(it),
            Value::Bytes(it) => Bytes(it).serialize(to),
            Value::Fields(it) => Fields(it).serialize(to),
            Value::List(it) => {
                let mut list = to.serialize_seq(Some(it.len()))?;
                it.iter().try_for_each(|it| list.serialize_element(&Part(it)))?;
                list.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: &impl Serialize) -> String {
        serde_json::to_string(value).expect("it can be written")
    }

    #[test]
    fn nothing_of_hostile_bytes_is_lost() {
        assert_eq!(json(&Text(b"a\n\x1b[2J\"")), r#""a\n\u001b[2J\"""#);
        assert_eq!(json(&Text(b"\xff\x00a")), r#"{"hex":"ff0061"}"#);
        assert_eq!(json(&Text(br#"{"hex":"00"}"#)), r#""{\"hex\":\"00\"}""#);
    }

    #[test]
    fn parts_that_come_again_stay_apart() {
        let part = |name, kind, value| Field { name, kind, value };
        let fields = [
            part(Some("a"), 1, Value::Number(1)),
            part(Some("a"), 1, Value::List(vec![Value::Text("x"), Value::Bytes(&[1])])),
            part(None, 9, Value::Negative(-1)),
            part(
                None,
                9,
                Value::Fields(vec![part(Some("b"), 2, Value::Address([192, 0, 2, 1].into()))]),
            ),
        ];
        assert_eq!(
            json(&Fields(&fields)),
            r#"{"a":1,"a (2)":["x",{"hex":"01"}],"attribute 9":-1,"attribute 9 (2)":{"b":"192.0.2.1"}}"#
        );
    }
}
