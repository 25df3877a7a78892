//! Faults that are made on purpose, for drills.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{Span, Timestamp};

use super::{REASON_BYTES_MAX, REASON_PATTERN};

/// Have a part misbehave for the addresses of the scope, or end that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// What goes wrong: `lie`, `throttle`, `lose-reply` or `feed-down`. Left out, all is well again.
    #[serde(default)]
    pub fault: Option<String>,
    /// After what time it ends by itself, at most ten minutes.
    pub lasts: Span,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// What drills may use, and what goes wrong at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillView {
    /// The networks whose addresses drills may use.
    pub scope: Vec<String>,
    /// What goes wrong for them.
    pub fault: Option<String>,
    /// For how much longer.
    pub left: Option<Span>,
}

/// A fault that was ordered for a drill and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillUnderWay {
    /// What goes wrong.
    pub fault: String,
    /// The networks for whose addresses it does.
    pub scope: Vec<String>,
    /// When it ends by itself.
    pub until: Timestamp,
}
