//! One bucket: what it is asked, and what its answers mean.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash, Span, Storage, Timestamp};
use staunch_ports::Clock;

use super::sign::Signed;
use super::{Answer, BucketSettings, Link, Payload, Request};

/// How long the object is kept that proves that a bucket locks.
const PROOF: Span = Span::from_mins(2);

/// The longest name of a version that is taken: those of AWS have 32 characters.
const VERSION_CHARS_MAX: usize = 1_024;

/// The most bytes of an answer that says something: errors and locks.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// A bucket.
pub struct Bucket {
    settings: BucketSettings,
    link: Box<dyn Link>,
    clock: Arc<dyn Clock>,
}

/// What became of an object that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there, under this version.
    New(String),
    /// The name is taken.
    Taken,
}

/// How a bucket says that it keeps a version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    mode: String,
    until: Option<Timestamp>,
    has_legal_hold: bool,
    /// The SHA-256 that it has computed, in base64; `None` when it tells none.
    sha256: Option<String>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Bucket {
    /// The bucket of `settings`, asked by `link`.
    #[must_use]
    pub fn new(settings: BucketSettings, link: Box<dyn Link>, clock: Arc<dyn Clock>) -> Self {
        Self { settings, link, clock }
    }

    /// How it was asked to keep what is put there.
    #[must_use]
    pub const fn settings(&self) -> &BucketSettings {
        &self.settings
    }

    /// The address of an object.
    #[must_use]
    pub fn address(&self, name: &str) -> String {
        format!("{}{name}", self.settings.place)
    }

    /// Until when something is kept from now on, to the second.
    #[must_use]
    pub fn retain_until(&self) -> Timestamp {
        self.until(self.settings.retain)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn until(&self, retain: Span) -> Timestamp {
        let second = 1_000_000;
        let micros = self.now().as_micros().saturating_add(retain.as_micros());
        Timestamp::from_micros(micros / second * second)
    }

    /// Puts an object that is kept for a moment, and has the bucket refuse to delete it; all of it is done `by` then.
    ///
    /// # Errors
    /// `Denied` when it does not lock, or the key is not taken; otherwise why it cannot be asked.
    pub fn prove(&self, by: Instant) -> Result<(), Failure> {
        const PROBE: &[u8] = b"this object proves that the bucket locks\n";
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            let what = format!("this machine gives no random numbers: {error}");
            Failure::new(FailureKind::Unavailable, &what)
        })?;
        let name = format!("staunch-proof-of-lock/{:016x}", u64::from_le_bytes(random));
        let (until, sha256) = (self.until(PROOF), Sha256Hash::of(PROBE));
        let put = self.put_for(&name, Payload::Bytes(PROBE), sha256, until, false, by)?;
        let Put::New(version) = put else {
            let what = "the bucket says that an object is there that nobody has put there";
            return Err(Failure::new(FailureKind::Denied, what));
        };
        let mut deleted = self.ask("DELETE", &name, &[("versionId", &version)], &[], Payload::Empty, by)?;
        match deleted.status {
            403 => {}
            200..=299 => {
                let what = "the bucket does not lock: a version could be deleted that was to be kept";
                return Err(Failure::new(FailureKind::Denied, what));
            }
            _ => return Err(said(&mut deleted, "prove that the bucket locks")),
        }
        // A key that may delete nothing is refused, too: that it is there proves that it was not deleted.
        let kept = self.kept(&name, &version, false, by)?;
        self.is_as_asked(&name, &kept, until, false, sha256)
    }

    /// Puts an object that is kept until `until`, and as the settings say, unless its name is taken.
    ///
    /// # Errors
    /// Why it is not there.
    pub fn put(
        &self,
        name: &str,
        payload: Payload<'_>,
        sha256: Sha256Hash,
        until: Timestamp,
        by: Instant,
    ) -> Result<Put, Failure> {
        self.put_for(name, payload, sha256, until, self.settings.legal_hold, by)
    }

    fn put_for(
        &self,
        name: &str,
        payload: Payload<'_>,
        sha256: Sha256Hash,
        until: Timestamp,
        hold: bool,
        by: Instant,
    ) -> Result<Put, Failure> {
        let checksum = STANDARD.encode(sha256.0);
        let until = seconds(until);
        let mut headers = vec![
            ("if-none-match", "*"),
            ("x-amz-checksum-sha256", &*checksum),
            ("x-amz-object-lock-mode", self.settings.mode.header()),
            ("x-amz-object-lock-retain-until-date", &*until),
            // Without it, or an MD5, S3 takes nothing with a retention.
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ];
        if hold {
            headers.push(("x-amz-object-lock-legal-hold", "ON"));
        }
        let mut answer = self.ask_with("PUT", name, &[], &headers, payload, sha256, by)?;
        match answer.status {
            200 => version_of(&answer).map(Put::New),
            412 => Ok(Put::Taken),
            // Two at once: the other one is there, or will be.
            409 => Err(Failure::new(
                FailureKind::Unavailable,
                "the bucket is asked for the same object by somebody else",
            )),
            _ => Err(said(&mut answer, "put an object that is locked")),
        }
    }

    /// Reads an object: of its newest version when none is named. Tells which it is.
    ///
    /// # Errors
    /// `Invalid` when there is none; otherwise why it cannot be read.
    pub fn get(
        &self,
        name: &str,
        version: Option<&str>,
        by: Instant,
    ) -> Result<(String, Box<dyn Read + Send>), Failure> {
        let query: Vec<(&str, &str)> = version.map(|it| ("versionId", it)).into_iter().collect();
        let mut answer = self.ask("GET", name, &query, &[], Payload::Empty, by)?;
        match answer.status {
            200 => Ok((version_of(&answer)?, answer.body)),
            404 | 405 => {
                let what = format!("it is not in the bucket: {}", self.address(name));
                Err(Failure::new(FailureKind::Invalid, &what))
            }
            _ => Err(said(&mut answer, "read an object")),
        }
    }

    /// Whether the bucket says that it keeps this version until then, and as the settings say.
    ///
    /// # Errors
    /// `Denied` when it does not.
    pub fn check_kept(
        &self,
        name: &str,
        version: &str,
        until: Timestamp,
        sha256: Sha256Hash,
        by: Instant,
    ) -> Result<(), Failure> {
        let kept = self.kept(name, version, self.settings.legal_hold, by)?;
        self.is_as_asked(name, &kept, until, self.settings.legal_hold, sha256)
    }

    /// Whether the bucket says that it keeps this version at least as this storage says.
    pub(crate) fn check_storage(&self, name: &str, storage: &Storage, by: Instant) -> Result<(), Failure> {
        let version = storage.version.as_deref().unwrap_or_default();
        let kept = self.kept(name, version, storage.legal_hold, by)?;
        let until = storage.retain_until.unwrap_or(Timestamp::EPOCH);
        self.is_as_asked(name, &kept, until, storage.legal_hold, storage.sha256)
    }

    /// As [`Bucket::check_kept`], for a version that was put at another time: it is kept longer when that is not long enough.
    ///
    /// # Errors
    /// As [`Bucket::check_kept`].
    pub fn keep(
        &self,
        name: &str,
        version: &str,
        until: Timestamp,
        sha256: Sha256Hash,
        by: Instant,
    ) -> Result<(), Failure> {
        let kept = self.kept(name, version, self.settings.legal_hold, by)?;
        if kept.until.is_none_or(|it| it < until) {
            let text = format!(
                "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
                 <RetainUntilDate>{}</RetainUntilDate></Retention>",
                self.settings.mode.header(),
                seconds(until)
            );
            self.change(name, version, "retention", &text, by)?;
        }
        if self.settings.legal_hold && !kept.has_legal_hold {
            let text = "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>ON</Status></LegalHold>";
            self.change(name, version, "legal-hold", text, by)?;
        }
        self.check_kept(name, version, until, sha256, by)
    }

    fn change(&self, name: &str, version: &str, what: &str, text: &str, by: Instant) -> Result<(), Failure> {
        let sha256 = Sha256Hash::of(text.as_bytes());
        let checksum = STANDARD.encode(sha256.0);
        let headers = [
            ("x-amz-checksum-sha256", &*checksum),
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ];
        let query = [(what, ""), ("versionId", version)];
        let payload = Payload::Bytes(text.as_bytes());
        let mut answer = self.ask_with("PUT", name, &query, &headers, payload, sha256, by)?;
        match answer.status {
            200..=299 => Ok(()),
            _ => Err(said(&mut answer, "have an object kept longer")),
        }
    }

    /// How the bucket says that it keeps a version.
    fn kept(&self, name: &str, version: &str, wants_hold: bool, by: Instant) -> Result<Kept, Failure> {
        let query = [("versionId", version)];
        let headers = [("x-amz-checksum-mode", "ENABLED")];
        let mut head = self.ask("HEAD", name, &query, &headers, Payload::Empty, by)?;
        match head.status {
            200 => {}
            404 | 405 => {
                let what = format!("its version is not in the bucket: {}", self.address(name));
                return Err(Failure::new(FailureKind::Invalid, &what));
            }
            _ => return Err(said(&mut head, "read how an object is kept")),
        }
        let said = |name: &str| head.headers.get(&format!("x-amz-{name}")).cloned();
        let mut mode = said("object-lock-mode");
        let mut until = said("object-lock-retain-until-date");
        let mut hold = said("object-lock-legal-hold");
        // Not every server says it in the answer to HEAD.
        if mode.is_none() || until.is_none() {
            let text = self.lock(name, version, "retention", by)?;
            mode = element(&text, "Mode");
            until = element(&text, "RetainUntilDate");
        }
        // A key that needs no hold need not be allowed to read one.
        if wants_hold && hold.is_none() {
            hold = element(&self.lock(name, version, "legal-hold", by)?, "Status");
        }
        Ok(Kept {
            mode: mode.unwrap_or_default(),
            until: until.and_then(|it| it.parse().ok()),
            has_legal_hold: hold.is_some_and(|it| it == "ON"),
            sha256: said("checksum-sha256"),
        })
    }

    /// What `?retention` or `?legal-hold` says; nothing when there is none.
    fn lock(&self, name: &str, version: &str, what: &str, by: Instant) -> Result<String, Failure> {
        let query = [(what, ""), ("versionId", version)];
        let mut answer = self.ask("GET", name, &query, &[], Payload::Empty, by)?;
        match answer.status {
            200 => text_of(&mut answer),
            400 | 404 => Ok(String::new()),
            _ => Err(said(&mut answer, "read how an object is kept")),
        }
    }

    fn is_as_asked(
        &self,
        name: &str,
        kept: &Kept,
        until: Timestamp,
        hold: bool,
        sha256: Sha256Hash,
    ) -> Result<(), Failure> {
        let denied = |what: String| Err(Failure::new(FailureKind::Denied, &what));
        let shown = self.address(name);
        // Compliance holds whoever asked for governance, and lets nobody take it back.
        let is_mode = kept.mode == self.settings.mode.header() || kept.mode == "COMPLIANCE";
        if !is_mode || kept.until.is_none_or(|it| it < until) {
            return denied(format!(
                "the bucket does not keep it as it was asked to: it says mode {:?} until {}: {shown}",
                Printable(&kept.mode).to_string(),
                kept.until.map_or_else(|| "nothing".to_owned(), |it| it.to_string())
            ));
        }
        if hold && !kept.has_legal_hold {
            return denied(format!(
                "the bucket has no legal hold on it, which was asked for: {shown}"
            ));
        }
        match &kept.sha256 {
            Some(said) if *said != STANDARD.encode(sha256.0) => {
                let what = format!("the bucket has another SHA-256 for it than it was sent: {shown}");
                Err(Failure::new(FailureKind::Conflict, &what))
            }
            _ => Ok(()),
        }
    }

    fn ask(
        &self,
        method: &'static str,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        payload: Payload<'_>,
        by: Instant,
    ) -> Result<Answer, Failure> {
        self.ask_with(method, name, query, headers, payload, Sha256Hash::of(b""), by)
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of a request")]
    fn ask_with(
        &self,
        method: &'static str,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Payload<'_>,
        sha256: Sha256Hash,
        by: Instant,
    ) -> Result<Answer, Failure> {
        let settings = &self.settings;
        let path = match settings.base.as_str() {
            "" => format!("/{name}"),
            base => format!("/{base}/{name}"),
        };
        let credentials = self.link.credentials()?;
        let signed = Signed::new(method, &settings.host, &path, query, headers, &sha256.to_string());
        let target = signed.target();
        let headers = signed.headers(&amz_date(self.now()), &settings.region, &credentials);
        let within = by.saturating_duration_since(Instant::now());
        if within.is_zero() {
            let what = "the bucket has not answered within the time that there is for it";
            return Err(Failure::new(FailureKind::TimedOut, what));
        }
        self.link.ask(Request {
            method,
            target,
            headers,
            body,
            within,
        })
    }
}

fn version_of(answer: &Answer) -> Result<String, Failure> {
    let version = answer
        .headers
        .get("x-amz-version-id")
        .filter(|it| *it != "null" && it.len() <= VERSION_CHARS_MAX);
    version.cloned().ok_or_else(|| {
        let what = "the bucket has no versions, so it cannot lock: turn Object Lock on";
        Failure::new(FailureKind::Denied, what)
    })
}

fn text_of(answer: &mut Answer) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = answer.body.by_ref().take(SAID_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| {
        let what = format!(
            "the answer of the bucket was cut off: {}",
            Printable(&error.to_string())
        );
        Failure::new(FailureKind::Unavailable, &what)
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a refusal means.
fn said(answer: &mut Answer, doing: &str) -> Failure {
    let kind = match answer.status {
        401 | 403 => FailureKind::Denied,
        // It wants to be asked later.
        408 | 429 => FailureKind::Unavailable,
        400..=499 => FailureKind::Invalid,
        _ => FailureKind::Unavailable,
    };
    // The code is a word; what stands around it may say more than is ours to tell.
    let text = text_of(answer).unwrap_or_default();
    let code: String = element(&text, "Code").map_or_else(|| "no code".to_owned(), |it| it.chars().take(100).collect());
    let what = format!(
        "cannot {doing}: the bucket answers with {} ({})",
        answer.status,
        Printable(&code)
    );
    Failure::new(kind, &what)
}

/// The text of the first element of this name.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim().to_owned())
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
