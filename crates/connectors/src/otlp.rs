//! Spans of OpenTelemetry, as OTLP over HTTP carries them: protobuf of the version 1 that is stable.
//!
//! Never sends anything, and knows nothing of transactions. The messages are the part of
//! `opentelemetry/proto/trace/v1/trace.proto` that is used, with its numbers of fields; a receiver takes absent ones as
//! empty.

use prost::Message as _;
use staunch_model::{Printable, Timestamp};

/// The path of the service for traces, below the address of a receiver.
pub const TRACES_PATH: &str = "/v1/traces";

/// The type of bodies in both directions.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The id of a trace.
pub type TraceId = [u8; 16];

/// The id of a span.
pub type SpanId = [u8; 8];

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it is in.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// What is done in it.
    pub name: &'static str,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
    /// What went wrong.
    pub failed: Option<Box<str>>,
}

/// A name with its value. Texts may be from outside: they are escaped and cut on their way.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute(pub &'static str, pub Value);

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Box<str>),
    /// A whole number.
    Number(i64),
}

/// Who made the spans.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The version of the program.
    pub version: Box<str>,
    /// The id of the installation.
    pub installation: Box<str>,
}

/// The body of a request that brings `spans` of `resource`.
#[must_use]
pub fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let about = [
        Attribute("service.name", Value::Text("staunch".into())),
        Attribute("service.version", Value::Text(resource.version.clone())),
        Attribute("service.instance.id", Value::Text(resource.installation.clone())),
    ];
    let scope = wire::Scope {
        name: "staunch".to_owned(),
        version: resource.version.to_string(),
    };
    let spans = wire::ScopeSpans {
        scope: Some(scope),
        spans: spans.iter().map(wire::Span::from).collect(),
    };
    let all = wire::ResourceSpans {
        resource: Some(wire::Resource {
            attributes: about.iter().map(wire::KeyValue::from).collect(),
        }),
        scope_spans: vec![spans],
    };
    let request = wire::Request {
        resource_spans: vec![all],
    };
    request.encode_to_vec()
}

/// How many spans a receiver has not taken, by the body of its answer; all others were. What cannot be read says
/// nothing.
#[must_use]
pub fn rejected(answer: &[u8]) -> u64 {
    let read = wire::Response::decode(answer).ok();
    let partial = read.and_then(|it| it.partial_success);
    partial.map_or(0, |it| u64::try_from(it.rejected_spans).unwrap_or(0))
}

/// Nanoseconds since 1970.
fn nanos(time: Timestamp) -> u64 {
    time.as_micros().saturating_mul(1_000)
}

/// The messages.
mod wire {
    use super::{Attribute, Printable, Value, nanos};

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Response {
        #[prost(message, optional, tag = "1")]
        pub(super) partial_success: Option<PartialSuccess>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct PartialSuccess {
        #[prost(int64, tag = "1")]
        pub(super) rejected_spans: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub(super) scope: Option<Scope>,
        #[prost(message, repeated, tag = "2")]
        pub(super) spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Scope {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) version: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Span {
        #[prost(bytes = "vec", tag = "1")]
        trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        name: String,
        #[prost(int32, tag = "6")]
        kind: i32,
        #[prost(fixed64, tag = "7")]
        start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        status: Option<Status>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct Status {
        #[prost(string, tag = "2")]
        message: String,
        #[prost(int32, tag = "3")]
        code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(message, optional, tag = "2")]
        value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    struct AnyValue {
        #[prost(oneof = "OneValue", tags = "1, 3")]
        value: Option<OneValue>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    enum OneValue {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Number(i64),
    }

    /// `SPAN_KIND_INTERNAL`.
    const INTERNAL: i32 = 1;

    /// `STATUS_CODE_ERROR`.
    const ERROR: i32 = 2;

    impl From<&super::Span> for Span {
        fn from(it: &super::Span) -> Self {
            let failed = |why: &str| Status {
                message: Printable(why).to_string(),
                code: ERROR,
            };
            Self {
                trace_id: it.trace.to_vec(),
                span_id: it.id.to_vec(),
                parent_span_id: it.parent.map(|id| id.to_vec()).unwrap_or_default(),
                name: it.name.to_owned(),
                kind: INTERNAL,
                start_time_unix_nano: nanos(it.start),
                end_time_unix_nano: nanos(it.end.max(it.start)),
                attributes: it.attributes.iter().map(KeyValue::from).collect(),
                status: it.failed.as_deref().map(failed),
            }
        }
    }

    impl From<&Attribute> for KeyValue {
        fn from(Attribute(key, value): &Attribute) -> Self {
            let value = match value {
                Value::Text(text) => OneValue::Text(Printable(text).to_string()),
                Value::Number(number) => OneValue::Number(*number),
            };
            Self {
                key: (*key).to_owned(),
                value: Some(AnyValue { value: Some(value) }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_did_not_take_is_read_of_its_answer() {
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(&[0x0a, 0x02, 0x08, 0x07]), 7);
        assert_eq!(rejected(b"<html>"), 0);
    }

    #[test]
    fn hostile_text_is_escaped_and_cut() {
        let span = Span {
            trace: [1; 16],
            id: [2; 8],
            parent: None,
            name: "block-ip",
            start: Timestamp::from_micros(5),
            end: Timestamp::from_micros(4),
            attributes: vec![Attribute("a", Value::Text("\u{1b}[2J".repeat(1_000).into()))],
            failed: Some("\u{202e}x".into()),
        };
        let resource = Resource {
            version: "1".into(),
            installation: "2".into(),
        };
        let body = request(&resource, &[span]);
        assert!(body.len() < 3_000, "{}", body.len());
        assert!(!body.contains(&0x1b));
        assert!(!String::from_utf8_lossy(&body).contains('\u{202e}'));
    }
}
