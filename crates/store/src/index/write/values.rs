//! Values as SQLite keeps them.

use serde::Serialize;
use staunch_model::{IncidentStatus, Timestamp};

/// A number as SQLite keeps it. Ids and times beyond its range do not occur in a million years.
pub(in crate::index) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(in crate::index) fn time(time: Timestamp) -> i64 {
    int(time.as_micros())
}

pub(in crate::index) const fn status(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Open => "open",
        IncidentStatus::Closed => "closed",
    }
}

/// Values that are only shown are kept as the journal keeps them, which is smaller and quicker than JSON.
pub(super) fn packed(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("every type of the journal can be encoded")
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("types of the journal have no map with keys that are not text")
}
