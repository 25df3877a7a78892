//! Events for tests.

use std::net::IpAddr;

use serde_json::Value;
use staunch_model::{Endpoint, EventKind, EventView, FieldValue, NothingKnown, RawFields, Severity};

/// A raw event.
pub(crate) struct Raw {
    value: Value,
    bytes: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(value: Value) -> Self {
        Self {
            bytes: value.to_string().into_bytes(),
            value,
        }
    }
}

impl RawFields for Raw {
    fn field(&self, path: &[Box<str>]) -> Option<FieldValue<'_>> {
        let mut at = &self.value;
        for key in path {
            at = match at {
                Value::Object(map) => map.get(&**key)?,
                Value::Array(list) => list.get(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(match at {
            Value::Null => FieldValue::Null,
            Value::Bool(value) => FieldValue::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => FieldValue::Int(value),
                (None, Some(value)) => FieldValue::UInt(value),
                _ => FieldValue::Float(number.as_f64()?),
            },
            Value::String(text) => FieldValue::Text(text),
            Value::Array(list) => FieldValue::List(list.len()),
            Value::Object(_) => FieldValue::Object,
        })
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect("an address"))
}

/// An alert of high severity with most fields.
pub(crate) fn alert(raw: &Raw) -> EventView<'_> {
    EventView {
        system: "suricata",
        kind: EventKind::Alert,
        id: Some("e1"),
        time: None,
        severity: Severity::High,
        signature: "ET SCAN SSH Brute Force login",
        category: "Attempted Login",
        source: Endpoint {
            ip: address("203.0.113.7"),
            port: Some(40_000),
        },
        destination: Endpoint {
            ip: address("10.0.0.5"),
            port: Some(22),
        },
        user: None,
        host: Some("web-1"),
        raw,
        around: &NothingKnown,
    }
}

/// The raw part of [`alert`].
pub(crate) fn raw() -> Raw {
    Raw::new(serde_json::json!({
        "client": "::ffff:198.51.100.9",
        "zone": "fe80::1%eth0",
        "network": "198.51.100.0/24",
        "count": 7,
        "big": 18_446_744_073_709_551_615_u64,
        "exact": 9_007_199_254_740_993_i64,
        "score": 80.5,
        "whole_float": 5.0,
        "ok": true,
        "bad": false,
        "none": null,
        "empty": "",
        "text": "Größe",
        "tags": ["container", "T1110", 5],
        "users": ["web-1", "root"],
        "many": (0..33).map(|at| format!("t{at}")).collect::<Vec<_>>(),
        "alert": { "gid": 1, "metadata": { "a.b": { "c": "deep" } }, "list": [{ "x": "first" }] }
    }))
}
