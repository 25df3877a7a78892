//! What is told to systems that watch.

use serde::{Deserialize, Serialize};

/// What is told to systems that watch. Metrics need no configuration: `GET /metrics`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TelemetrySettings {
    /// The address of a receiver of OpenTelemetry traces, such as `http://127.0.0.1:4318`: each transaction is a trace,
    /// sent over OTLP (protobuf over HTTP) to `/v1/traces` below it. A receiver that is away or slow costs spans and
    /// nothing else. Default none. Since v0.1.
    pub(crate) otlp: Option<String>,
}
