//! CloudEvents 1.0: structured, a batch, or with the attributes in HTTP headers (the binary mode).
//!
//! Never guesses what the data of an event mean: an address is taken from the one place that this page names.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | sample when the extension attribute `sample` is true; else alert |
//! | signature | `type` |
//! | category | `source` |
//! | severity | the extension attribute `severity`, else `data.severity`: a severity of Staunch by its name (info, low, medium, high, critical); anything else = unknown |
//! | time | `time` |
//! | id | `id`, which is unique within its `source` |
//! | user | `data.user` |
//! | host | `data.host` |
//! | source | the extension attribute `sourceip`, else `data.source_ip` |
//! | destination | `data.destination_ip` |
//!
//! A request in the binary mode is turned into the structured one first, so that it is read, kept and shown like any
//! other: `ce-<name>` becomes the attribute `<name>`, decoded from percent signs once; `Content-Type` becomes
//! `datacontenttype`; the body becomes `data`, as it is when it is a JSON object and as a text otherwise. A
//! `Content-Type` that begins with `application/cloudevents` is the structured mode, whatever headers there are. (HTTP
//! protocol binding 1.0.2.)
//!
//! `data_base64` is decoded and becomes `data`, so that an event in bytes is read like any other: as it is when it is a
//! JSON object, as a text otherwise, in which what is no UTF-8 is U+FFFD. An event is malformed when it has `data`
//! besides, when `data_base64` is no base64, and when `datacontenttype` says that it is JSON and it is not. (JSON event
//! format 1.0.2, section 3.1; what is JSON: `*/json` and `*/*+json`.)

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{EventKind, Severity};

use super::pick::{Accused, Found, NotAnEvent, Reader, below, said};
use super::{address, time};
use crate::json::{Document, EVENT_BYTES_MAX, JsonError, Node, Within};

/// Decodes CloudEvents.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloudEvents;

impl Reader for CloudEvents {
    const NAME: &'static str = "cloudevents";

    fn with_headers(&self, headers: &mut dyn Iterator<Item = (&str, &str)>, body: &[u8]) -> Option<Vec<u8>> {
        let mut members = Vec::new();
        let mut binary = false;
        for (name, value) in headers {
            let attribute = match name.strip_prefix("ce-") {
                None if name == "content-type" => {
                    if value
                        .trim_start()
                        .to_ascii_lowercase()
                        .starts_with("application/cloudevents")
                    {
                        return None;
                    }
                    "datacontenttype"
                }
                // What an attribute may be called, and none of what the structured mode has besides.
                Some("data" | "datacontenttype") | None => continue,
                Some(name)
                    if !name
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) =>
                {
                    continue;
                }
                Some(name) => name,
            };
            binary |= attribute == "specversion";
            members.push(format!("\"{attribute}\":{}", quoted(&decoded(value))));
        }
        if !binary {
            return None;
        }
        let mut event = format!("{{{}", members.join(",")).into_bytes();
        if !body.is_empty() {
            event.push(b',');
            event.extend(data(body));
        }
        event.push(b'}');
        Some(event)
    }

    fn unpacked(&self, root: Node<'_>, bytes: &[u8]) -> Option<Result<Vec<u8>, JsonError>> {
        let packed = below(root, &[PACKED])?;
        Some(unpack(root, packed, bytes).map_err(|(what, hint)| JsonError::of(0, what, hint)))
    }

    fn read<'a>(&self, root: Node<'a>) -> Result<Found<'a>, NotAnEvent> {
        let text = |path: &[&str]| said(below(root, path));
        if text(&["specversion"]) != Some("1.0") {
            return Err(NotAnEvent::Malformed {
                what: "`specversion` is missing or not \"1.0\"",
                hint: "send CloudEvents 1.0 in the structured mode (application/cloudevents+json)",
            });
        }
        let (Some(id), Some(category), Some(signature)) = (text(&["id"]), text(&["source"]), text(&["type"])) else {
            return Err(NotAnEvent::Malformed {
                what: "`id`, `source` or `type` is missing or empty",
                hint: "CloudEvents 1.0 requires them",
            });
        };
        let is_sample =
            below(root, &["sample"]).is_some_and(|node| node.truth() == Some(true) || node.text() == Some("true"));
        let named = text(&["severity"]).or_else(|| text(&["data", "severity"]));
        let ip = below(root, &["sourceip"]).or_else(|| below(root, &["data", "source_ip"]));
        let accused = Accused::at(
            ip,
            "sourceip or data.source_ip names it",
            "neither sourceip nor data.source_ip is one plain address",
        );
        Ok(Found {
            kind: if is_sample { EventKind::Sample } else { EventKind::Alert },
            id: Some(id),
            time: text(&["time"]).and_then(time::read),
            severity: named.map_or(Severity::Unknown, severity),
            signature,
            category,
            accused: Accused {
                destination: address::endpoint(below(root, &["data", "destination_ip"]), None),
                ..accused
            },
            user: text(&["data", "user"]),
            host: text(&["data", "host"]),
        })
    }
}

/// The member whose value is the data of an event in base64.
const PACKED: &str = "data_base64";

/// The event `bytes` with `data` in the place of `packed`; otherwise what is wrong and a hint.
fn unpack(root: Node<'_>, packed: Node<'_>, bytes: &[u8]) -> Result<Vec<u8>, (&'static str, &'static str)> {
    if below(root, &["data"]).is_some() {
        let hint = "an event has one of them; look at who sent it";
        return Err(("both `data` and `data_base64` are there", hint));
    }
    let body = packed.text().and_then(|text| STANDARD.decode(text).ok());
    let Some((body, within)) = body.zip(Within::find_text(bytes, PACKED)) else {
        return Err((
            "`data_base64` is not base64",
            "CloudEvents wants base64 as in RFC 4648, padded",
        ));
    };
    let says_json = said(below(root, &["datacontenttype"])).is_some_and(is_json);
    if says_json && !is_readable(&body) {
        let hint = "datacontenttype says that it is JSON; look at who sent it";
        return Err(("`data_base64` holds no JSON that can be read", hint));
    }
    let event = within.replaced(bytes, &data(&body));
    if event.len() > EVENT_BYTES_MAX {
        let hint = "send smaller events, or leave payloads out of them";
        return Err((
            "the event with what `data_base64` holds is larger than one may be",
            hint,
        ));
    }
    Ok(event)
}

/// True for an object that can be an event's data, and for JSON that is no object.
fn is_readable(body: &[u8]) -> bool {
    match body.trim_ascii_start().first() {
        Some(b'{') => Document::parse(body).is_ok(),
        _ => serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok(),
    }
}

/// True when the media type `media` is one of JSON.
fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

/// `body` as the member `data`: as it is when it is a JSON object, as a text otherwise.
fn data(body: &[u8]) -> Vec<u8> {
    let value = match Document::parse(body) {
        Ok(_) => Cow::Borrowed(body),
        Err(_) => Cow::Owned(quoted(&String::from_utf8_lossy(body)).into_bytes()),
    };
    [b"\"data\":", &*value].concat()
}

/// `value` as a text of JSON.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\0'..'\u{20}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => text.push(c),
        }
    }
    text.push('"');
    text
}

/// `value` with `%C3%A9` as `é`; as it is when that gives no text.
fn decoded(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = behind.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            Some(pair) if *first == b'%' => {
                bytes.extend(u8::from_str_radix(pair, 16));
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(value), Cow::Owned)
}

fn severity(name: &str) -> Severity {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.name().eq_ignore_ascii_case(name))
        .unwrap_or_default()
}
