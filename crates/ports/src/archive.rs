//! Archives: where events that matched nothing are kept, so that later playbooks can be tried on them.

use staunch_model::Timestamp;
use thiserror::Error;

/// Why events were not kept.
#[derive(Debug, Error)]
#[error("cannot {what} {file}")]
pub struct ArchiveError {
    /// What was being done.
    pub what: &'static str,
    /// To what.
    pub file: String,
    /// The cause.
    #[source]
    pub source: std::io::Error,
}

/// Keeps events. Nothing depends on it: what it cannot keep is counted and forgotten.
pub trait Archive: Send {
    /// Keeps `lines`: events of `source` as it sent them, one a line, each with its line end, received until `now`.
    ///
    /// # Errors
    /// [`ArchiveError`] when they were not kept; the archive is as before.
    fn append(&mut self, source: &str, lines: &[u8], now: Timestamp) -> Result<(), ArchiveError>;
}
