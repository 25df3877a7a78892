//! Copies checkpoints into a bucket of S3 that locks what is put there (Object Lock).
//!
//! # Expected flow
//! Proves that the bucket locks, puts `ORIGIN/SIZE.checkpoint` with its retention, and reads back how it is kept
//!
//! # Guarantees
//! Nothing counts as anchored that the bucket does not say it keeps until then. A checkpoint is never put in the
//! place of another. The secret key goes into no message
//!
//! # Assumptions
//! The bucket has versions and Object Lock; the key may put objects with a retention, and read and delete versions
//!
//! # Caveats
//! Who may bypass governance can delete what it keeps; nobody can delete what compliance keeps, also not its owner
//!
//! # Errors
//! `Unavailable` or `TimedOut` (tried again), `Denied` (no safe connection, the key, a bucket that does not
//! lock), `Conflict` (another checkpoint of the same size is there)

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash, Span, Timestamp};
use staunch_store::tlog::note::NOTE_BYTES_MAX;
use ureq::http::Request;
use ureq::{Agent, Body};

use super::Work;
use super::sign::{Credentials, Signed};
use crate::api_key;
use crate::client::secure::{self, Calling};
use crate::config::{AnchorSettings, RetentionMode};
use crate::output::now;

/// How long the object is kept that proves that a bucket locks.
const PROOF: Span = Span::from_mins(2);

/// What the file of a version ends with.
const VERSION: &str = "version";

/// The longest name of a version that is taken: those of AWS have 32 characters.
const VERSION_CHARS_MAX: usize = 1_024;

/// A bucket, and how it is asked.
struct Bucket<'a> {
    settings: &'a AnchorSettings,
    credentials: Credentials,
    agent: Agent,
    /// The scheme and the host.
    root: String,
    host: String,
    /// What stands before the name of each object, with a `/` at both ends.
    base: String,
}

/// An answer.
struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: Vec<u8>,
}

/// Puts the checkpoint there. `has_proved` says whether the bucket has shown that it locks, and becomes true when
/// it does.
///
/// # Errors
/// See the module.
pub(super) fn put(work: &Work<'_>, has_proved: &mut bool) -> Result<(), Failure> {
    let bucket = Bucket::new(work)?;
    if !*has_proved {
        bucket.prove()?;
        *has_proved = true;
    }
    let name = format!("{}/{}.checkpoint", work.checkpoint.origin, work.checkpoint.size);
    let until = retain_until(bucket.settings.retain);
    let put = bucket.put(&name, work.note.as_bytes(), until, bucket.settings.legal_hold)?;
    let version = match put.status {
        200 => put.version()?,
        // It is there: an attempt whose answer was lost, or another history of the same size.
        412 => {
            let there = bucket.ask("GET", &name, None, &[], b"")?;
            if there.status != 200 || there.body != work.note.as_bytes() {
                let what = format!("{name} is there and is another: the log was put back");
                return Err(Failure::new(FailureKind::Conflict, &what));
            }
            there.version()?
        }
        _ => return Err(put.failure("put a checkpoint")),
    };
    bucket.is_kept(&name, &version, put.status == 200, until)?;
    work.keep(VERSION, version.as_bytes())
}

/// Until when something is kept from now on, to the second.
fn retain_until(retain: Span) -> Timestamp {
    let second = 1_000_000;
    let micros = now().as_micros().saturating_add(retain.as_micros());
    Timestamp::from_micros(micros / second * second)
}

impl<'a> Bucket<'a> {
    fn new(work: &'a Work<'_>) -> Result<Self, Failure> {
        let settings = work.settings;
        let denied = |what: &str| Failure::new(FailureKind::Denied, what);
        let file = settings
            .key_file
            .as_deref()
            .ok_or_else(|| denied("there is no key_file"))?;
        let key = api_key::read(file, "[[evidence.anchors]]").map_err(|fault| denied(&fault.told()))?;
        let credentials = key.to_str().ok().and_then(Credentials::parse);
        let credentials = credentials
            .ok_or_else(|| denied("key_file holds the name of the key and the secret key, with a space between"))?;
        let calling = Calling {
            ca: settings.ca.as_deref(),
            within: work.until.saturating_duration_since(Instant::now()),
            kept: 1,
            is_plain: false,
        };
        let agent = calling.agent().map_err(|fault| denied(&fault.told()))?;
        let url = settings.url.as_deref().unwrap_or_default();
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let (host, base) = rest.split_once('/').unwrap_or((rest, ""));
        let base = match base.trim_matches('/') {
            "" => "/".to_owned(),
            base => format!("/{base}/"),
        };
        Ok(Self {
            settings,
            credentials,
            agent,
            root: format!("{scheme}://{host}"),
            host: host.to_owned(),
            base,
        })
    }

    /// Puts an object that is kept for a moment, and has the bucket refuse to delete it.
    fn prove(&self) -> Result<(), Failure> {
        let name = format!("staunch-proof-of-lock/{}", now().as_micros());
        let until = retain_until(PROOF);
        let put = self.put(&name, b"this object proves that the bucket locks\n", until, false)?;
        if put.status != 200 {
            return Err(put.failure("put an object that is locked"));
        }
        let version = put.version()?;
        let deleted = self.ask("DELETE", &name, Some(&version), &[], b"")?;
        match deleted.status {
            403 => {}
            200..=299 => {
                let what = "the bucket does not lock: a version could be deleted that was to be kept";
                return Err(Failure::new(FailureKind::Denied, what));
            }
            _ => return Err(deleted.failure("prove that the bucket locks")),
        }
        // A key that may delete nothing is refused, too: that it is there proves that it was not deleted.
        self.is_kept(&name, &version, true, until)
    }

    fn put(&self, name: &str, bytes: &[u8], until: Timestamp, hold: bool) -> Result<Answer, Failure> {
        let mode = self.settings.retention.header();
        let checksum = STANDARD.encode(Sha256Hash::of(bytes).0);
        let until = seconds(until);
        let mut headers = vec![
            ("if-none-match", "*"),
            ("x-amz-checksum-sha256", &*checksum),
            ("x-amz-object-lock-mode", mode),
            ("x-amz-object-lock-retain-until-date", &*until),
            // Without it, or an MD5, S3 takes nothing with a retention.
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ];
        if hold {
            headers.push(("x-amz-object-lock-legal-hold", "ON"));
        }
        self.ask("PUT", name, None, &headers, bytes)
    }

    /// Whether the bucket says that it keeps this version: with `is_ours`, as it was put just now.
    fn is_kept(&self, name: &str, version: &str, is_ours: bool, until: Timestamp) -> Result<(), Failure> {
        let head = self.ask("HEAD", name, Some(version), &[], b"")?;
        if head.status != 200 {
            return Err(head.failure("read how an object is kept"));
        }
        let said = head
            .header("x-amz-object-lock-retain-until-date")
            .and_then(|it| it.parse::<Timestamp>().ok());
        let mode = head.header("x-amz-object-lock-mode").unwrap_or_default();
        let is_kept = match said {
            Some(said) if is_ours => said >= until && mode == self.settings.retention.header(),
            Some(said) => said > now(),
            None => false,
        };
        if is_kept {
            return Ok(());
        }
        let what = format!(
            "the bucket does not keep {name} as it was asked to: it says mode {:?} until {}",
            Printable(mode).to_string(),
            said.map_or_else(|| "nothing".to_owned(), |it| it.to_string())
        );
        Err(Failure::new(FailureKind::Denied, &what))
    }

    fn ask(
        &self,
        method: &'static str,
        name: &str,
        version: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, Failure> {
        let path = format!("{}{name}", self.base);
        let query: Vec<(&str, &str)> = version.map(|it| ("versionId", it)).into_iter().collect();
        let signed = Signed::new(
            method,
            &self.host,
            &path,
            &query,
            headers,
            &Sha256Hash::of(body).to_string(),
        );
        let date = amz_date(now());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{}", self.root, signed.target()));
        for (header, value) in signed.headers(&date, &self.settings.region, &self.credentials) {
            // The client writes it, as the address has it.
            if header != "host" {
                request = request.header(header, value);
            }
        }
        let invalid = |_| Failure::new(FailureKind::Invalid, "the address of the bucket is none");
        let answered = if method == "PUT" {
            self.agent.run(request.body(body).map_err(invalid)?)
        } else {
            self.agent.run(request.body(()).map_err(invalid)?)
        };
        let (parts, mut body): (_, Body) = answered.map_err(|error| broken(&error))?.into_parts();
        let body = body
            .with_config()
            .limit(NOTE_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| broken(&error))?;
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn version(&self) -> Result<String, Failure> {
        let version = self
            .header("x-amz-version-id")
            .filter(|it| *it != "null" && it.len() <= VERSION_CHARS_MAX);
        version.map(str::to_owned).ok_or_else(|| {
            let what = "the bucket has no versions, so it cannot lock: turn Object Lock on";
            Failure::new(FailureKind::Denied, what)
        })
    }

    fn failure(&self, doing: &str) -> Failure {
        let kind = match self.status {
            401 | 403 => FailureKind::Denied,
            400..=499 => FailureKind::Invalid,
            _ => FailureKind::Unavailable,
        };
        // The code is a word; what stands around it may say more than is ours to tell.
        let text = String::from_utf8_lossy(&self.body);
        let code = text
            .split_once("<Code>")
            .and_then(|(_, rest)| rest.split_once("</Code>"));
        let code: String = code.map_or("no code", |(code, _)| code).chars().take(100).collect();
        let what = format!(
            "cannot {doing}: the bucket answers with {} ({})",
            self.status,
            Printable(&code)
        );
        Failure::new(kind, &what)
    }
}

/// `2026-11-27T01:15:30Z`.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.split(['.', 'Z']).next().unwrap_or_default())
}

/// `20261127T011530Z`.
fn amz_date(at: Timestamp) -> String {
    seconds(at).replace(['-', ':'], "")
}

impl RetentionMode {
    const fn header(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

fn broken(error: &ureq::Error) -> Failure {
    if let Some(why) = secure::why_unsafe(error) {
        return Failure::new(FailureKind::Denied, why);
    }
    let kind = match error {
        ureq::Error::Timeout(_) => FailureKind::TimedOut,
        _ => FailureKind::Unavailable,
    };
    Failure::new(
        kind,
        &format!("the bucket cannot be asked: {}", Printable(&error.to_string())),
    )
}
