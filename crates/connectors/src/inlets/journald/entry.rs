//! Reads an entry as `journalctl --output=json` writes it.

use serde::Deserialize;
use serde_json::Value;

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the journal.
    pub cursor: String,
    /// What it says. A field may be there more than once.
    pub messages: Vec<Vec<u8>>,
    /// Whether what it says was left out because it is too long.
    pub is_cut: bool,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "MESSAGE", default, deserialize_with = "present")]
    message: Option<Value>,
}

/// A field that is `null` is there.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Reads one line.
///
/// # Errors
/// Why it is no entry, in our own words.
pub fn read(line: &[u8]) -> Result<Entry, &'static str> {
    // An array would be read by the places of its elements.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err("it is no entry in JSON");
    }
    let fields: Fields = serde_json::from_slice(line).map_err(|_| "it is no entry in JSON")?;
    if fields.cursor.is_empty() || !fields.cursor.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its cursor is none");
    }
    let mut entry = Entry {
        cursor: fields.cursor,
        messages: Vec::new(),
        is_cut: false,
    };
    match fields.message {
        None => {}
        Some(Value::Array(several)) if !several.is_empty() && several.iter().all(|it| !it.is_number()) => {
            for one in several {
                entry.add(one)?;
            }
        }
        Some(one) => entry.add(one)?,
    }
    Ok(entry)
}

impl Entry {
    /// Adds one value of the field: a text, the bytes of what is none, or `null` for what is too long.
    fn add(&mut self, value: Value) -> Result<(), &'static str> {
        match value {
            Value::Null => self.is_cut = true,
            Value::String(text) => self.messages.push(text.into_bytes()),
            Value::Array(bytes) => {
                let byte = |it: &Value| it.as_u64().and_then(|it| u8::try_from(it).ok());
                let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
                self.messages
                    .push(bytes.ok_or("its MESSAGE is neither a text nor bytes")?);
            }
            _ => return Err("its MESSAGE is neither a text nor bytes"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expect: &[&[u8]], is_cut: bool) {
        let line = format!("{{\"__CURSOR\":\"s=1;i=2\"{message}}}");
        let entry = read(line.as_bytes()).expect("an entry");
        assert_eq!(entry.cursor, "s=1;i=2");
        assert_eq!(entry.messages, expect, "{message}");
        assert_eq!(entry.is_cut, is_cut, "{message}");
    }

    #[test]
    fn a_message_is_text_or_bytes_or_several_or_too_long() {
        check("", &[], false);
        check(r#","MESSAGE":"a \"b\"""#, &[b"a \"b\""], false);
        check(r#","MESSAGE":[110,255,0]"#, &[b"n\xff\0"], false);
        check(r#","MESSAGE":[]"#, &[b""], false);
        check(r#","MESSAGE":null"#, &[], true);
        check(r#","MESSAGE":["a",[98,255],null]"#, &[b"a", b"b\xff"], true);
    }

    #[test]
    fn what_is_no_entry_is_told() {
        for other in [
            "",
            "-- No entries --",
            "{}",
            r#"["a","b"]"#,
            r#"{"MESSAGE":"a"}"#,
            r#"{"__CURSOR":""}"#,
            r#"{"__CURSOR":"a b"}"#,
            r#"{"__CURSOR":"a","MESSAGE":{"a":1}}"#,
            r#"{"__CURSOR":"a","MESSAGE":[256]}"#,
            r#"{"__CURSOR":"a","MESSAGE":[1,"a"]}"#,
            r#"{"__CURSOR":"a","MESSAGE":7}"#,
        ] {
            assert!(read(other.as_bytes()).is_err(), "{other}");
        }
    }
}
