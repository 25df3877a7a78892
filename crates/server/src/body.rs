//! Reading the body of a request: bounded in bytes, packed and unpacked, in time, and over all connections.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use staunch_model::Printable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::HttpLimits;
use crate::problem::Failed;
use crate::unpack::Packing;

/// The unit in which the memory for bodies is shared out.
const UNIT_BYTES: usize = 1 << 10;

/// A body that was read. It counts against the memory for bodies until its share is dropped.
pub(crate) struct Bytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Share,
}

/// The part of the memory for bodies that one body takes up, until it is dropped.
pub(crate) struct Share {
    memory: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    units: usize,
}

impl Share {
    fn none(memory: &Arc<Semaphore>) -> Self {
        Self {
            memory: memory.clone(),
            permit: None,
            units: 0,
        }
    }

    /// Makes it a share for so many bytes.
    ///
    /// # Errors
    /// When others have taken the memory up.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failed> {
        let needed = bytes.div_ceil(UNIT_BYTES);
        if needed <= self.units {
            return Ok(());
        }
        let more = u32::try_from(needed - self.units).unwrap_or(u32::MAX);
        let permit = self
            .memory
            .clone()
            .try_acquire_many_owned(more)
            .map_err(|_| crowded())?;
        match &mut self.permit {
            Some(share) => share.merge(permit),
            None => self.permit = Some(permit),
        }
        self.units = needed;
        Ok(())
    }
}

/// The memory for bodies.
pub(crate) fn memory(bytes: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new((bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS)))
}

/// Reads `body`, of at most `bytes_max` bytes as it is sent, and as many unpacked.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    memory: &Arc<Semaphore>,
    limits: &HttpLimits,
) -> Result<Bytes, Failed> {
    receive(headers, body, bytes_max, memory, limits)
        .await?
        .unpack(bytes_max)
        .await
}

/// A body as it was sent: packed, perhaps.
pub(crate) struct Sent {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    share: Share,
    packing: Option<Packing>,
}

/// Reads `body`, of at most `bytes_max` bytes, and leaves it as it is.
pub(crate) async fn receive(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    memory: &Arc<Semaphore>,
    limits: &HttpLimits,
) -> Result<Sent, Failed> {
    let packing = Packing::of(headers)?;
    // What the client announces is believed when it is too much; otherwise what arrives is counted.
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(Failed::too_large(bytes_max));
    }
    let slow = |_| {
        Err(Failed::new(
            StatusCode::REQUEST_TIMEOUT,
            "slow-body",
            "the body did not arrive in time",
            format!("the body did not arrive within {} s", limits.body_timeout.as_secs()),
        ))
    };
    let Bytes { bytes, share } = timeout(limits.body_timeout, collect(body, bytes_max, memory))
        .await
        .unwrap_or_else(slow)?;
    Ok(Sent { bytes, share, packing })
}

impl Sent {
    /// The body without its packing, of at most `bytes_max` bytes.
    pub(crate) async fn unpack(self, bytes_max: usize) -> Result<Bytes, Failed> {
        let Self { bytes, share, packing } = self;
        let Some(packing) = packing else {
            return Ok(Bytes { bytes, share });
        };
        let unpacked = Share::none(&share.memory);
        // A few bytes may become many, which takes its time.
        let unpacking = tokio::task::spawn_blocking(move || {
            let result = packing.unpack(&bytes, bytes_max, unpacked);
            drop(share);
            result
        });
        unpacking.await.unwrap_or_else(|_| Err(Failed::no_answer()))
    }
}

async fn collect(mut body: Body, bytes_max: usize, memory: &Arc<Semaphore>) -> Result<Bytes, Failed> {
    let mut bytes = Vec::new();
    let mut share = Share::none(memory);
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Failed::malformed("the body ended before it was complete"))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Failed::too_large(bytes_max));
        }
        share.grow(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(Bytes { bytes, share })
}

/// A share of `memory` that has nothing yet.
pub(crate) fn share_of(memory: &Arc<Semaphore>) -> Share {
    Share::none(memory)
}

fn crowded() -> Failed {
    let title = "too many bodies are being read";
    let detail = "the memory for bodies is in use by other requests";
    Failed::new(StatusCode::TOO_MANY_REQUESTS, "crowded", title, detail)
        .hint("nothing of it was taken: send it again after the time in Retry-After")
        .retry_after(1)
}

/// Reads `bytes` as a request of type `T`. An unknown key is an error that names it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failed> {
    // A list would be taken too, as the fields in their order.
    let begins = bytes.iter().position(|byte| !byte.is_ascii_whitespace());
    if let Some(at) = begins.filter(|at| bytes[*at] == b'[') {
        return Err(Failed::malformed("a list is no request")
            .hint("send one JSON object with the fields of this request")
            .with(|problem| problem.position = Some(at as u64)));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let position = if error.is_eof() {
            bytes.len() as u64
        } else {
            offset(bytes, error.line(), error.column())
        };
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        Failed::malformed(Printable(what).to_string())
            .hint("send one JSON object with the fields of this request")
            .with(|problem| problem.position = Some(position))
    })
}

/// The byte at `line` and `column`, both from 1; a column of 0 is the end of the line before.
fn offset(bytes: &[u8], line: usize, column: usize) -> u64 {
    let start: usize = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .take(line.saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    (start + column.saturating_sub(1)).min(bytes.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_no_request() {
        use crate::dto::ReloadRequest;
        assert!(parse::<ReloadRequest>(br#"{"reason": "why"}"#).is_ok());
        for list in [&b"[]"[..], b" \n[\"why\"]"] {
            assert!(parse::<ReloadRequest>(list).is_err());
        }
    }

    #[test]
    fn where_a_body_goes_wrong_is_told() {
        use crate::dto::ReloadRequest;
        let wrong = |body: &[u8]| parse::<ReloadRequest>(body).expect_err("it is none");
        let position = |body: &[u8]| wrong(body).into_problem().position;
        assert_eq!(position(b"{"), Some(1), "it ends there");
        assert_eq!(position(b"{\"reason\": \"why\"\n"), Some(17));
        assert_eq!(position(b"{\"reason\": why}"), Some(11));
    }

    #[test]
    fn positions_are_bytes_from_the_start() {
        let check = |line, column, expect| assert_eq!(offset(b"ab\ncd\n", line, column), expect, "{line}:{column}");
        check(1, 1, 0);
        check(2, 2, 4);
        check(0, 0, 0);
        check(9, 9, 6);
    }
}
