//! Faults that are made on purpose, for drills.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{DrillFault, DrillId, Span, Timestamp};

use super::{REASON_BYTES_MAX, REASON_PATTERN};

/// How long an order for a drill lasts at the most.
pub const DRILL_LASTS_MAX: Span = Span::from_mins(10);

/// Have a part misbehave for the addresses of the scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// What goes wrong.
    pub fault: DrillFault,
    /// After what time it ends by itself, at most ten minutes.
    pub lasts: Span,
    /// Why, at most 500 bytes and not blank; it is recorded.
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: String,
}

/// End what goes wrong on purpose, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillStopRequest {
    /// Which order: what another one has going wrong goes on. Left out, whatever is under way is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillId>,
    /// Why, at most 500 bytes and not blank; it is recorded. May be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minLength" = 1, "maxLength" = REASON_BYTES_MAX, "pattern" = REASON_PATTERN))]
    pub reason: Option<String>,
}

/// What drills may use, and what goes wrong at present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillView {
    /// The networks whose addresses drills may use.
    pub scope: Vec<String>,
    /// The order that is under way. Its number is the `lsn` of its command.
    pub drill: Option<DrillId>,
    /// What goes wrong for them.
    pub fault: Option<DrillFault>,
    /// For how much longer.
    pub left: Option<Span>,
}

/// What became of a drill that was to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillStopped {
    /// What went wrong until now; `None` when all was well already, and then nothing is recorded.
    pub ended: Option<DrillFault>,
    /// The order that had it go wrong.
    pub drill: Option<DrillId>,
    /// The networks for whose addresses it did.
    pub scope: Vec<String>,
    /// What goes on, because it is of another order than the one that was named.
    pub under_way: Option<DrillUnderWay>,
}

/// A fault that was ordered for a drill and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrillUnderWay {
    /// Its order.
    pub id: DrillId,
    /// What goes wrong.
    pub fault: DrillFault,
    /// The networks for whose addresses it does.
    pub scope: Vec<String>,
    /// When it ends by itself.
    pub until: Timestamp,
}
