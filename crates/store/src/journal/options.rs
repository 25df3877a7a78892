//! How a journal on disk is laid out, and which layouts cannot work.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::disk::DiskHook;
use super::error::OpenError;
use super::frame::PAYLOAD_BYTES_MAX;
use super::frame_bytes;
use super::segment::SEGMENT_HEADER_BYTES;

/// How a journal on disk is laid out.
#[derive(Clone)]
pub struct JournalOptions {
    /// Bytes of a segment file. Default 64 MiB. Segments that exist keep their size.
    pub segment_bytes: u64,
    /// Bytes kept back for [`Purpose::Settle`](staunch_ports::Purpose::Settle). Default 4 MiB.
    pub reserve_bytes: u64,
    /// The longest payload accepted, in bytes. Default and maximum [`PAYLOAD_BYTES_MAX`].
    pub payload_bytes_max: usize,
    /// The pause after the first failed attempt to allocate the next segment. It doubles. Default 100 ms.
    pub retry_first: Duration,
    /// The longest such pause. Default 30 s.
    pub retry_max: Duration,
    /// Sees every change of the directory. For tests. Default none.
    pub hook: Option<Arc<dyn DiskHook>>,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            reserve_bytes: 4 << 20,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            retry_first: Duration::from_millis(100),
            retry_max: Duration::from_secs(30),
            hook: None,
        }
    }
}

impl fmt::Debug for JournalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("payload_bytes_max", &self.payload_bytes_max)
            .finish_non_exhaustive()
    }
}

impl JournalOptions {
    /// A fresh segment must be able to take the longest frame and still hold the reserve: otherwise that frame would be
    /// refused for ever, and moving to a fresh segment could use up what was kept back.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let needed = self.reserve_bytes.saturating_add(frame_bytes(self.payload_bytes_max));
        let what = if self.payload_bytes_max > PAYLOAD_BYTES_MAX {
            format!(
                "payload_bytes_max is {}, the format allows {PAYLOAD_BYTES_MAX}",
                self.payload_bytes_max
            )
        } else if needed > self.fresh_bytes() {
            format!(
                "segments of {} bytes cannot hold the reserve and one frame, {needed} bytes",
                self.segment_bytes
            )
        } else {
            return Ok(());
        };
        Err(OpenError::Options { what })
    }

    /// Bytes for frames in a fresh segment.
    pub(super) fn fresh_bytes(&self) -> u64 {
        self.segment_bytes.saturating_sub(SEGMENT_HEADER_BYTES)
    }
}
