//! Decoders: one target for each that comes with Staunch and one for mappings, over bodies as they are posted.
//!
//! What holds of every event: its bytes are kept as they came, and are the same event when they are read by themselves;
//! its addresses are plain, canonical and written in it; its time can be shown and read back; it survives the journal
//! and the index; a second reader of JSON sees the same values; and a sample is matched by nothing, even by a playbook
//! that matches everything.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use serde_json::Value;
use staunch_connectors::json::{Document, EVENTS_PER_BODY_MAX};
use staunch_connectors::sources::{
    self, Decoded, Falco, Generic, GenericSettings, Source, Suricata, SuricataSettings, body,
};
use staunch_engine::triage::{Triage, Triaged};
use staunch_model::{
    ContentHash, Event, EventKind, EventView, FieldValue, Playbook, PlaybookGuards, Program, RawFields as _, Span,
    SystemName, Target, Timestamp,
};
use staunch_ports::{Sighting, Source as _};

use crate::shown::assert_line;

/// Values of one event that are compared with the second reader.
const VALUES_MAX: usize = 1_000;

/// A body of Suricata records.
pub fn suricata(data: &[u8]) {
    static SOURCE: LazyLock<Suricata> = LazyLock::new(|| Suricata::new(&SuricataSettings::default()));
    decode_all(&*SOURCE, data);
}

/// A body of Falco alerts.
pub fn falco(data: &[u8]) {
    decode_all(&Falco, data);
}

/// A mapping on the first line, as JSON, and a body of events that it describes.
pub fn generic(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let Ok(settings) = serde_json::from_slice::<GenericSettings>(&data[..end]) else {
        return;
    };
    match Generic::new(&settings) {
        Ok(source) => decode_all(&source, &data[end + 1..]),
        Err(error) => {
            assert_line(&error.to_string());
            assert!(!error.key.is_empty() && !error.what.is_empty() && !error.hint.is_empty());
        }
    }
}

/// Audit records as text.
pub fn auditd(data: &[u8]) {
    let triage = Triage::new(vec![matches_everything("auditd")]);
    let mut position = 0;
    let read = sources::Auditd.read(data, &mut |index, sighting| {
        assert_eq!(index, position, "events are counted");
        position += 1;
        assert!(position <= EVENTS_PER_BODY_MAX + 1);
        match sighting {
            Sighting::Event(view) => {
                let mut again = Vec::new();
                let bytes = view.raw.bytes();
                let read = sources::Auditd.read(bytes, &mut |_, sighting| match sighting {
                    Sighting::Event(view) => again.push(keep(view)),
                    _ => panic!("a record was one before"),
                });
                read.expect("a body is read element by element");
                assert_eq!(again, [keep(view)], "what is kept is the same event by itself");
                assert_kept(view, bytes);
                assert!(view.source.ip.is_none_or(|ip| ip == ip.to_canonical()));
                assert!(!matches!(triage.sort(view), Triaged::Matched(_)) || view.kind == EventKind::Alert);
            }
            Sighting::Ignored(reason) => assert_line(reason),
            Sighting::Malformed(it) => {
                assert!(it.offset <= data.len());
                assert_line(&it.what);
                assert_line(&it.hint);
            }
        }
    });
    read.expect("a body is read element by element");
    if let Some(why) = sources::Auditd.explain(data) {
        assert_line(&why);
    }
}

macro_rules! built_in {
    ($($name:ident: $source:expr, $what:literal;)*) => {$(
        #[doc = $what]
        pub fn $name(data: &[u8]) {
            decode_all(&$source, data);
        }
    )*};
}

built_in! {
    guardduty: sources::GuardDuty, "A body of GuardDuty findings.";
    cloudtrail: sources::CloudTrail, "A body of CloudTrail records.";
    alertmanager: sources::Alertmanager, "A body of Alertmanager groups.";
    kubernetes_audit: sources::KubernetesAudit, "A body of audit events of Kubernetes.";
    crowdsec: sources::CrowdSec, "A body of CrowdSec alerts.";
    ocsf: sources::Ocsf, "A body of OCSF events.";
    wazuh: sources::Wazuh, "A body of Wazuh alerts.";
    okta: sources::Okta, "A body of entries of Okta's System Log.";
    cloudevents: sources::CloudEvents, "A body of CloudEvents.";
}

fn decode_all(source: &dyn Source, data: &[u8]) {
    let triage = Triage::new(vec![matches_everything(source.name())]);
    let mut position = 0;
    body::each(source, data, &mut |index, offset, document| {
        assert_eq!(index, position, "events are counted");
        position += 1;
        assert!(offset <= data.len() && position <= EVENTS_PER_BODY_MAX + 1);
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                assert!(error.offset <= data.len());
                assert_line(&error.to_string());
                assert_line(error.hint);
                return;
            }
        };
        let bytes = document.bytes();
        // What was written as a text has escape sequences in the body, and what was packed is not in it.
        let as_sent = data[offset..].starts_with(bytes);
        assert!(
            as_sent || ["kubernetes-audit", "cloudevents"].contains(&source.name()),
            "an event is a piece of the body"
        );
        let value: Value = serde_json::from_slice(bytes).expect("others read it too");
        assert_same_values(document, &value);
        assert_line(source.explain(document));
        match source.decode(document) {
            Decoded::Event(view) => {
                assert_event(source, &view, bytes, &value);
                let matched = matches!(triage.sort(&view), Triaged::Matched(_));
                assert!(!matched || view.kind == EventKind::Alert, "only alerts are acted on");
                assert_eq!(
                    reread(source, bytes),
                    [Some(keep(&view))],
                    "what is kept is the same event by itself"
                );
            }
            Decoded::Ignored(reason) => assert_line(reason),
            Decoded::Malformed { what, hint } => {
                assert_line(what);
                assert_line(hint);
                assert!(!what.is_empty() && !hint.is_empty());
            }
        }
    });
}

/// The events that `bytes` are as a body; `None` for what is none.
fn reread(source: &dyn Source, bytes: &[u8]) -> Vec<Option<Event>> {
    let mut found = Vec::new();
    body::each(source, bytes, &mut |_, _, document| {
        found.push(document.ok().and_then(|document| match source.decode(document) {
            Decoded::Event(view) => Some(keep(&view)),
            _ => None,
        }));
    });
    found
}

fn keep(view: &EventView<'_>) -> Event {
    Event::keep(view, Timestamp::EPOCH)
}

fn assert_event(source: &dyn Source, view: &EventView<'_>, bytes: &[u8], value: &Value) {
    assert_eq!(view.system, source.name());
    assert_eq!(view.raw.bytes(), bytes, "the raw event is kept byte for byte");
    let mut written = BTreeSet::new();
    addresses(value, &mut written);
    for ip in [view.source.ip, view.destination.ip].into_iter().flatten() {
        assert_eq!(ip, ip.to_canonical(), "an IPv4 address in IPv6 is an IPv4 address");
        assert_eq!(ip.to_string().parse(), Ok(ip));
        assert!(written.contains(&ip), "{ip} is not in the event");
    }
    assert_kept(view, bytes);
}

/// What holds of an event once it is kept.
fn assert_kept(view: &EventView<'_>, bytes: &[u8]) {
    if let Some(time) = view.time {
        assert!(time.to_string().ends_with('Z'), "{time} is no date");
        let json = serde_json::to_string(&time).expect("a time can be written");
        assert_eq!(
            serde_json::from_str::<Timestamp>(&json).expect("what is written can be read"),
            time
        );
    }
    let kept = keep(view);
    assert_eq!(&*kept.raw, bytes);
    for text in [&kept.signature, &kept.category]
        .into_iter()
        .chain([&kept.id, &kept.user, &kept.host].into_iter().flatten())
    {
        assert!(text.len() <= Event::TEXT_BYTES_MAX);
    }
    let stored = postcard::to_stdvec(&kept).expect("an event can be stored");
    assert_eq!(postcard::from_bytes::<Event>(&stored).expect("and read back"), kept);
    let json = serde_json::to_string(&kept).expect("an event can be shown");
    assert_eq!(serde_json::from_str::<Event>(&json).expect("and read back"), kept);
}

/// Every address that is a whole text of the event.
fn addresses(value: &Value, found: &mut BTreeSet<IpAddr>) {
    match value {
        Value::String(text) => found.extend(text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())),
        Value::Array(items) => items.iter().for_each(|item| addresses(item, found)),
        Value::Object(members) => members.values().for_each(|member| addresses(member, found)),
        _ => {}
    }
}

/// Asserts that [`Document`] has at every place what serde_json has there.
pub(crate) fn assert_same_values(document: &Document<'_>, value: &Value) {
    let mut left = VALUES_MAX;
    walk(document, value, &mut Vec::new(), &mut left);
}

fn walk(document: &Document<'_>, value: &Value, path: &mut Vec<Box<str>>, left: &mut usize) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    let found = document.field(path).expect("the place is in the event");
    match (found, value) {
        (FieldValue::Null, Value::Null) | (FieldValue::Object, Value::Object(_)) => {}
        (FieldValue::Bool(found), Value::Bool(expect)) => assert_eq!(found, *expect),
        (FieldValue::Text(found), Value::String(expect)) => assert_eq!(found, expect),
        (FieldValue::List(found), Value::Array(expect)) => assert_eq!(found, expect.len()),
        (FieldValue::Int(found), Value::Number(expect)) if expect.as_i64().is_some() => {
            assert_eq!(Some(found), expect.as_i64());
        }
        (FieldValue::UInt(found), Value::Number(expect)) if expect.as_u64().is_some() => {
            assert_eq!(Some(found), expect.as_u64());
        }
        (FieldValue::Int(0) | FieldValue::Float(_), Value::Number(expect)) => {
            // serde_json reads the last digit of a fraction less exactly.
            let expect = expect.as_f64().expect("a number");
            let found = if let FieldValue::Float(found) = found {
                found
            } else {
                0.0
            };
            assert!(
                (found - expect).abs() <= expect.abs() * 1e-12 + f64::MIN_POSITIVE,
                "{found} is not {expect}"
            );
        }
        (found, expect) => panic!("{found:?} is not {expect} at {path:?}"),
    }
    let mut descend = |key: String, value| {
        path.push(key.into());
        walk(document, value, path, left);
        path.pop();
    };
    match value {
        Value::Array(items) => (0..)
            .zip(items)
            .for_each(|(at, item): (usize, _)| descend(at.to_string(), item)),
        Value::Object(members) => members.iter().for_each(|(key, member)| descend(key.clone(), member)),
        _ => {}
    }
}

/// A playbook for whose trigger every event of `system` will do.
fn matches_everything(system: &str) -> Program {
    Program {
        playbook: Arc::new(Playbook {
            name: "everything".into(),
            summary: "Matches everything.".into(),
            hash: ContentHash::of(b"everything"),
            attack: Vec::new(),
            deduplicate: Span::from_mins(10),
            context: Vec::new(),
            guards: PlaybookGuards::default(),
            preserve: Vec::new(),
            steps: Vec::new(),
            notify: Vec::new(),
            modes: staunch_model::Modes::default(),
            on_failure: staunch_model::OnFailure::default(),
        }),
        systems: vec![SystemName::from(system)],
        when: Arc::new(|_| true),
        incident: Arc::new(|_| Some("key".to_owned())),
        needles: None,
        explain: Arc::new(|_| staunch_model::Explanation::default()),
        preserve: Vec::new(),
        targets: vec![Arc::new(|view| view.source.ip.map(Target::Address))],
    }
}
