//! JSON of which nothing is known beforehand, without a key that occurs twice.
//!
//! Never takes one of two values for a key: who reads the first and who reads the last would be told different things.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A value that was read strictly.
#[derive(Debug)]
struct Strict(Value);

/// Reads what somebody answers.
///
/// # Errors
/// Why it is no answer: it is no JSON, or an object in it has a key twice. Without anything of its text.
pub(crate) fn answer(bytes: &[u8]) -> Result<Value, &'static str> {
    let read = serde_json::from_slice::<Strict>(bytes);
    read.map(|it| it.0).map_err(|error| {
        if error.is_data() {
            "a key occurs twice in what it answers"
        } else {
            "what it answers is no JSON"
        }
    })
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            all.push(value);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((key, Strict(value))) = map.next_entry::<String, _>()? {
            if all.insert(key, value).is_some() {
                return Err(A::Error::custom("a key occurs twice in one object"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_each_key_once_is_what_it_is() {
        let text = r#"{"a":[1,-2,0.5,"x",null,true,{}],"b":{"a":{"a":18446744073709551615}}}"#;
        let found = answer(text.as_bytes()).expect("it is JSON");
        assert_eq!(found, serde_json::from_str::<Value>(text).expect("it is JSON"));
        for text in ["", "{", "[1,]", "1 2", "nul"] {
            assert_eq!(answer(text.as_bytes()), Err("what it answers is no JSON"), "{text}");
        }
        assert!(answer("[".repeat(50_000).as_bytes()).is_err(), "its depth is bounded");
    }

    #[test]
    fn a_key_that_occurs_twice_is_refused_wherever_it_is() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":[{"a":1,"\u0061":2}]}"#,
            r#"{"a":{"x":1,"y":2,"x":{}}}"#,
            r#"{"":0,"":0}"#,
        ] {
            assert_eq!(
                answer(text.as_bytes()),
                Err("a key occurs twice in what it answers"),
                "{text}"
            );
        }
    }
}
