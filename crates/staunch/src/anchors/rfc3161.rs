//! Has checkpoints stamped by an authority for time stamps (RFC 3161, over HTTP as in its section 3.4).
//!
//! # Expected flow
//! Sends the SHA-256 of the checkpoint with a fresh nonce; keeps the request and the answer beside the log
//!
//! # Guarantees
//! An answer is kept only when it is granted, of this checkpoint and of this request. Nothing of the log is sent
//! but a hash
//!
//! # Assumptions
//! The authority answers in DER
//!
//! # Caveats
//! Who has signed an answer is not looked at: `openssl ts -verify` does, with the certificate of the authority
//!
//! # Errors
//! `Unavailable` or `TimedOut` (tried again), `Denied` (no safe connection), `Invalid` (no time stamp of this
//! request)

use std::time::Instant;

use staunch_model::{Failure, FailureKind, Printable};
use staunch_store::tlog::stamp::{STAMP_BYTES_MAX, Stamp, StampRequest};

use super::Work;
use crate::client::secure::{self, Calling};

/// What the file of a request ends with, as openssl has it.
pub(super) const REQUEST: &str = "tsq";

/// What the file of an answer ends with.
pub(super) const ANSWER: &str = "tsr";

/// Has the checkpoint stamped.
///
/// # Errors
/// See the module.
pub(super) fn stamp(work: &Work<'_>) -> Result<(), Failure> {
    let invalid = |what: &str| Failure::new(FailureKind::Invalid, what);
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| {
        let what = format!("this machine gives no random numbers: {error}");
        Failure::new(FailureKind::Unavailable, &what)
    })?;
    let request = StampRequest::new(work.note.as_bytes(), nonce);
    let bytes = request.to_bytes();
    let answer = post(work, &bytes)?;
    let stamp = Stamp::parse(&answer).map_err(|error| invalid(&error.to_string()))?;
    stamp
        .answers(&request, work.note.as_bytes())
        .map_err(|error| invalid(&error.to_string()))?;
    // The answer is last: without one, a request is one that was not answered.
    work.keep(REQUEST, &bytes)?;
    work.keep(ANSWER, &answer)
}

fn post(work: &Work<'_>, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let settings = work.settings;
    let calling = Calling {
        ca: settings.ca.as_deref(),
        within: work.until.saturating_duration_since(Instant::now()),
        kept: 1,
        is_plain: false,
    };
    let agent = calling
        .agent()
        .map_err(|fault| Failure::new(FailureKind::Denied, &fault.told()))?;
    let mut answer = agent
        .post(settings.url.as_deref().unwrap_or_default())
        .header("content-type", "application/timestamp-query")
        .header("accept", "application/timestamp-reply")
        .send(request)
        .map_err(|error| broken(&error))?;
    let status = answer.status().as_u16();
    if status != 200 {
        let what = format!("the authority answers with {status}");
        return Err(Failure::new(FailureKind::Unavailable, &what));
    }
    let body = answer.body_mut().with_config().limit(STAMP_BYTES_MAX).read_to_vec();
    body.map_err(|error| broken(&error))
}

fn broken(error: &ureq::Error) -> Failure {
    if let Some(why) = secure::why_unsafe(error) {
        return Failure::new(FailureKind::Denied, why);
    }
    let kind = match error {
        ureq::Error::Timeout(_) => FailureKind::TimedOut,
        _ => FailureKind::Unavailable,
    };
    let what = format!("the authority cannot be asked: {}", Printable(&error.to_string()));
    Failure::new(kind, &what)
}
