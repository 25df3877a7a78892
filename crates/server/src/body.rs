//! Reading the body of a request: bounded in bytes, in time, and over all connections.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use staunch_model::Printable;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::limits::HttpLimits;
use crate::problem::Failed;

/// The unit in which the memory for bodies is shared out.
const UNIT_BYTES: usize = 1 << 10;

/// A body that was read. It counts against the memory for bodies until its share is dropped.
pub(crate) struct Bytes {
    pub(crate) bytes: Vec<u8>,
    pub(crate) share: Share,
}

/// The part of the memory for bodies that one body takes up, until it is dropped.
pub(crate) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The memory for bodies.
pub(crate) fn memory(limits: &HttpLimits) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(
        (limits.buffered_bytes_max / UNIT_BYTES).min(Semaphore::MAX_PERMITS),
    ))
}

/// Reads `body`, of at most `bytes_max` bytes.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    memory: &Arc<Semaphore>,
    limits: &HttpLimits,
) -> Result<Bytes, Failed> {
    check_encoding(headers)?;
    // What the client announces is believed when it is too much; otherwise what arrives is counted.
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(Failed::too_large(bytes_max));
    }
    timeout(limits.body_timeout, collect(body, bytes_max, memory))
        .await
        .unwrap_or_else(|_| {
            Err(Failed::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow-body",
                "the body did not arrive in time",
                format!("the body did not arrive within {} s", limits.body_timeout.as_secs()),
            ))
        })
}

async fn collect(mut body: Body, bytes_max: usize, memory: &Arc<Semaphore>) -> Result<Bytes, Failed> {
    let mut bytes = Vec::new();
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut shared = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Failed::malformed("the body ended before it was complete"))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if bytes.len() + chunk.len() > bytes_max {
            return Err(Failed::too_large(bytes_max));
        }
        let needed = (bytes.len() + chunk.len()).div_ceil(UNIT_BYTES);
        if needed > shared {
            let more = u32::try_from(needed - shared).unwrap_or(u32::MAX);
            let permit = memory.clone().try_acquire_many_owned(more).map_err(|_| crowded())?;
            match &mut share {
                Some(share) => share.merge(permit),
                None => share = Some(permit),
            }
            shared = needed;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Bytes {
        bytes,
        share: Share { _permit: share },
    })
}

fn crowded() -> Failed {
    let title = "too many bodies are being read";
    let detail = "the memory for bodies is in use by other requests";
    Failed::new(StatusCode::TOO_MANY_REQUESTS, "crowded", title, detail)
        .hint("nothing of it was taken: send it again after the time in Retry-After")
        .retry_after(1)
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Failed> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding.as_bytes().eq_ignore_ascii_case(b"identity") => Ok(()),
        Some(encoding) => {
            let shown = Printable(&String::from_utf8_lossy(encoding.as_bytes())).to_string();
            let detail = format!("the body is encoded as {shown}");
            let title = "the encoding of the body is not supported";
            Err(
                Failed::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", title, detail)
                    .hint("send it without a content-encoding"),
            )
        }
    }
}

/// Reads `bytes` as a request of type `T`. An unknown key is an error that names it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(bytes).map_err(|error| {
        let position = offset(bytes, error.line(), error.column());
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
    fn positions_are_bytes_from_the_start() {
        let check = |line, column, expect| assert_eq!(offset(b"ab\ncd\n", line, column), expect, "{line}:{column}");
        check(1, 1, 0);
        check(2, 2, 4);
        check(0, 0, 0);
        check(9, 9, 6);
    }
}
