//! One bucket: what it is asked, and what its answers mean.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash, Span, Storage, Timestamp};
use staunch_ports::Clock;

use super::answered::{amz_date, element, refusal, refusal_to_key, seconds, text_of, version_of};
use super::kept::{Doubt, Kept, Lock, OfParts, Sums, Told, Untold};
use super::put::{Object, Placed, Where, is_it};
use super::sign::Unsigned;
use super::{Answer, BucketSettings, Link, LockMode, Payload, Request, is_outage, soon};

/// How long the object is kept that proves that a bucket locks. It is kept by the clock of the bucket, and S3 takes
/// requests of clocks that are 15 minutes away from its own
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, `RequestTimeTooSkewed`).
const PROOF: Span = Span::from_mins(20);

/// What a key has to be allowed for an object to be read or looked at.
const MAY_READ: &str = "s3:GetObject, s3:GetObjectVersion";

/// A bucket.
pub struct Bucket {
    settings: BucketSettings,
    link: Box<dyn Link>,
    clock: Arc<dyn Clock>,
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

    /// Until when something is kept that is put at this moment, to the second.
    #[must_use]
    pub fn retain_until(&self) -> Timestamp {
        self.until(self.settings.retain)
    }

    /// The lock that the settings ask for.
    pub(super) fn lock(&self, until: Timestamp) -> Lock {
        Lock {
            mode: self.settings.mode,
            until,
            has_legal_hold: self.settings.legal_hold,
        }
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
        const PROVING: &str = "prove that the bucket locks";
        const PROBE: &[u8] = b"this object proves that the bucket locks\n";
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| {
            let what = format!("this machine gives no random numbers: {error}");
            Failure::new(FailureKind::Unavailable, &what)
        })?;
        let name = format!("staunch-proof-of-lock/{:016x}", u64::from_le_bytes(random));
        let (until, sha256) = (self.until(PROOF), Sha256Hash::of(PROBE));
        let lock = Lock {
            until,
            has_legal_hold: false,
            ..self.lock(until)
        };
        let object = Object {
            name: &name,
            payload: Payload::Bytes(PROBE),
            sha256,
            lock,
        };
        let put = self.put_object(&object, Where::Free, by)?;
        let Placed::New(version, sums) = put else {
            let what = "the bucket says that an object is there that nobody has put there";
            return Err(Failure::new(FailureKind::Denied, what));
        };
        let mut deleted = self.ask("DELETE", &name, &[("versionId", &version)], &[], Payload::Empty, by)?;
        match deleted.status {
            // Some servers have 400 for what a lock forbids.
            400 | 403 => {
                let failure = refusal(&mut deleted, PROVING);
                if is_outage(&failure) {
                    return Err(failure);
                }
            }
            200..=299 => {
                let what = "the bucket does not lock: a version could be deleted that was to be kept";
                return Err(Failure::new(FailureKind::Denied, what));
            }
            _ => return Err(refusal(&mut deleted, PROVING)),
        }
        // A key that may delete nothing is refused, too, and then it was the key: all that there is, is that the bucket
        // says so.
        let kept = self.check(&name, &version, &lock, &sums, Untold::Passes, by);
        kept.map_err(Doubt::into_failure)?;
        if self.settings.legal_hold {
            // It has none, and a key that may not read those of others never sees one.
            self.ask_lock(&name, &version, "legal-hold", by)?;
        }
        Ok(())
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
            _ => Err(refusal_to_key(&mut answer, &format!("read {name}"), MAY_READ)),
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
        let (lock, sums) = (self.lock(until), Sums::whole(sha256));
        let kept = self.check(name, version, &lock, &sums, Untold::Read, by);
        kept.map_err(Doubt::into_failure)
    }

    pub(super) fn check(
        &self,
        name: &str,
        version: &str,
        lock: &Lock,
        sums: &Sums,
        untold: Untold,
        by: Instant,
    ) -> Result<(), Doubt> {
        let (_, kept) = self.kept(name, Some(version), lock, by)?;
        kept.is_as(lock, sums, &self.address(name))?;
        self.has_bytes(name, version, (&kept.told, sums), untold, by)
    }

    /// Whether the bytes are known to be these, where the bucket tells no other hash of them.
    fn has_bytes(
        &self,
        name: &str,
        version: &str,
        (told, sums): (&Told, &Sums),
        untold: Untold,
        by: Instant,
    ) -> Result<(), Doubt> {
        match untold {
            _ if told.is_of(sums).is_some() => return Ok(()),
            Untold::Passes => return Ok(()),
            Untold::Read => {}
            Untold::Doubt => {
                let what = format!("the bucket tells no SHA-256 of it: {}", self.address(name));
                return Err(Doubt::Otherwise(what));
            }
        }
        let (_, body) = self.get(name, Some(version), by)?;
        if is_it(body, sums.whole)? {
            return Ok(());
        }
        let what = format!(
            "the bucket has other bytes for it than it was sent: {}",
            self.address(name)
        );
        Err(Doubt::Changed(what))
    }

    /// The version of something that is stored so in this bucket, and the lock that is stated for it.
    fn stated<'s>(&self, name: &str, storage: &'s Storage) -> Result<(&'s str, Lock), Doubt> {
        if *storage.path != *self.address(name) {
            let what = format!(
                "the artefact is at {}, and the configuration names another bucket",
                Printable(&storage.path)
            );
            return Err(Doubt::Elsewhere(what));
        }
        let version = storage.version.as_deref();
        let version = version.ok_or(Doubt::Unstated("it names no version"))?;
        Ok((version, Lock::stated(storage).map_err(Doubt::Unstated)?))
    }

    /// Whether the bucket says that it keeps this version at least as this storage says, by HEAD alone.
    pub(crate) fn check_storage(&self, name: &str, storage: &Storage, by: Instant) -> Result<(), Doubt> {
        let (version, lock) = self.stated(name, storage)?;
        let sums = Sums::whole(storage.sha256);
        self.check(name, version, &lock, &sums, Untold::Passes, by)
    }

    /// The same, and has it kept as the settings say; how it is kept then. Where the artefact is at hand, `of_parts` is
    /// what its parts have to be.
    pub(crate) fn keep_storage(
        &self,
        name: &str,
        storage: &Storage,
        of_parts: Option<OfParts>,
        untold: Untold,
        by: Instant,
    ) -> Result<Storage, Doubt> {
        let (version, stated) = self.stated(name, storage)?;
        let lock = self.lock(self.retain_until());
        // What compliance holds stays under it, whatever the settings ask for.
        let mode = if stated.mode == LockMode::Compliance {
            stated.mode
        } else {
            lock.mode
        };
        let lock = Lock { mode, ..lock };
        let sums = Sums {
            of_parts,
            ..Sums::whole(storage.sha256)
        };
        self.keep_as(name, version, &lock, &sums, untold, by)?;
        Ok(Storage {
            retain_until: Some(lock.until),
            legal_hold: lock.has_legal_hold,
            write_once: lock.mode.write_once(),
            ..storage.clone()
        })
    }

    /// As [`Bucket::check_kept`], for a version that was put at another time: it is kept longer when that is not long
    /// enough.
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
        let (lock, sums) = (self.lock(until), Sums::whole(sha256));
        let kept = self.keep_as(name, version, &lock, &sums, Untold::Read, by);
        kept.map_err(Doubt::into_failure)
    }

    pub(super) fn keep_as(
        &self,
        name: &str,
        version: &str,
        lock: &Lock,
        sums: &Sums,
        untold: Untold,
        by: Instant,
    ) -> Result<(), Doubt> {
        let (_, kept) = self.kept(name, Some(version), lock, by)?;
        match kept.is_as(lock, sums, &self.address(name)) {
            Err(Doubt::Otherwise(_)) => {}
            Ok(()) => return self.has_bytes(name, version, (&kept.told, sums), untold, by),
            known => return known,
        }
        // What compliance holds stays under it, whatever is asked for: another mode is refused.
        let mode = if kept.mode == LockMode::Compliance.header() {
            LockMode::Compliance
        } else {
            lock.mode
        };
        let is_long = kept.until.is_some_and(|it| it >= lock.until);
        if !is_long || kept.mode != mode.header() {
            let until = kept.until.map_or(lock.until, |it| it.max(lock.until));
            let text = format!(
                "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
                 <RetainUntilDate>{}</RetainUntilDate></Retention>",
                mode.header(),
                seconds(until)
            );
            self.change(name, version, "retention", &text, by)?;
        }
        if lock.has_legal_hold && !kept.has_legal_hold {
            let text = "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>ON</Status></LegalHold>";
            self.change(name, version, "legal-hold", text, by)?;
        }
        self.check(name, version, lock, sums, untold, by)
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
        let mut answer = self.ask_with("PUT", name, &query, &headers, payload, sha256, soon(by))?;
        match answer.status {
            200..=299 => Ok(()),
            _ => Err(refusal(&mut answer, &format!("have {name} kept longer"))),
        }
    }

    /// How the bucket says that it keeps a version, the newest when none is named; and which that is.
    pub(super) fn kept(
        &self,
        name: &str,
        version: Option<&str>,
        lock: &Lock,
        by: Instant,
    ) -> Result<(String, Kept), Doubt> {
        let Some(head) = self.head(name, version, by)? else {
            let what = format!("its version is not in the bucket: {}", self.address(name));
            return Err(Doubt::Gone(what));
        };
        let version = match version {
            Some(version) => version.to_owned(),
            None => version_of(&head)?,
        };
        let said = |name: &str| head.headers.get(&format!("x-amz-{name}")).cloned();
        let mut mode = said("object-lock-mode");
        let mut until = said("object-lock-retain-until-date");
        let mut hold = said("object-lock-legal-hold");
        // Not every server says it in the answer to HEAD.
        if mode.is_none() || until.is_none() {
            let text = self.ask_lock(name, &version, "retention", by)?;
            mode = element(&text, "Mode");
            until = element(&text, "RetainUntilDate");
        }
        // A key that needs no hold need not be allowed to read one.
        if lock.has_legal_hold && hold.is_none() {
            hold = element(&self.ask_lock(name, &version, "legal-hold", by)?, "Status");
        }
        let kept = Kept {
            mode: mode.unwrap_or_default(),
            until: until.and_then(|it| it.parse().ok()),
            has_legal_hold: hold.is_some_and(|it| it == "ON"),
            told: Told::by(&head.headers),
        };
        Ok((version, kept))
    }

    /// What a bucket says of a version, the newest when none is named; `None` when there is none.
    pub(super) fn head(&self, name: &str, version: Option<&str>, by: Instant) -> Result<Option<Answer>, Failure> {
        let query: Vec<(&str, &str)> = version.map(|it| ("versionId", it)).into_iter().collect();
        headed(self.ask_head(name, &query, by)?, name)
    }

    /// The same of the newest version, as far as the key may know: one that may not list is answered 403 where nothing
    /// is (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html>).
    pub(super) fn look(&self, name: &str, by: Instant) -> Result<Option<Answer>, Failure> {
        let head = self.ask_head(name, &[], by)?;
        if head.status == 403 {
            Ok(None)
        } else {
            headed(head, name)
        }
    }

    fn ask_head(&self, name: &str, query: &[(&str, &str)], by: Instant) -> Result<Answer, Failure> {
        let headers = [("x-amz-checksum-mode", "ENABLED")];
        self.ask("HEAD", name, query, &headers, Payload::Empty, soon(by))
    }

    /// What `?retention` or `?legal-hold` says; nothing when there is none.
    fn ask_lock(&self, name: &str, version: &str, what: &str, by: Instant) -> Result<String, Failure> {
        let query = [(what, ""), ("versionId", version)];
        let mut answer = self.ask("GET", name, &query, &[], Payload::Empty, soon(by))?;
        if answer.status == 200 {
            return text_of(&mut answer);
        }
        let permission = match what {
            "retention" => "s3:GetObjectRetention",
            _ => "s3:GetObjectLegalHold",
        };
        let failure = refusal_to_key(&mut answer, &format!("read the {what} of {name}"), permission);
        match answer.status {
            // There is none, or the server knows of none.
            400 | 404 if !is_outage(&failure) => Ok(String::new()),
            _ => Err(failure),
        }
    }

    pub(super) fn ask(
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
    pub(super) fn ask_with(
        &self,
        method: &'static str,
        name: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Payload<'_>,
        sha256: Sha256Hash,
        by: Instant,
    ) -> Result<Answer, Failure> {
        let path = match self.settings.base.as_str() {
            "" => format!("/{name}"),
            base => format!("/{base}/{name}"),
        };
        self.ask_at(method, &path, query, headers, body, sha256, by)
    }

    /// Asks about the bucket itself.
    pub(super) fn ask_bucket(&self, query: &[(&str, &str)], by: Instant) -> Result<Answer, Failure> {
        let path = format!("/{}", self.settings.bucket_in_path);
        self.ask_at("GET", &path, query, &[], Payload::Empty, Sha256Hash::of(b""), soon(by))
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of a request")]
    fn ask_at(
        &self,
        method: &'static str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Payload<'_>,
        sha256: Sha256Hash,
        by: Instant,
    ) -> Result<Answer, Failure> {
        let settings = &self.settings;
        let credentials = self.link.credentials()?;
        let unsigned = Unsigned::new(method, &settings.host, path, query, headers, &sha256.to_string());
        let target = unsigned.target();
        let headers = unsigned.headers(&amz_date(self.now()), &settings.region, &credentials);
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

/// What an answer to HEAD says; `None` when there is nothing.
fn headed(mut head: Answer, name: &str) -> Result<Option<Answer>, Failure> {
    match head.status {
        200 => Ok(Some(head)),
        404 | 405 => Ok(None),
        // An answer to HEAD has no code.
        _ => Err(refusal_to_key(&mut head, &format!("look at {name}"), MAY_READ)),
    }
}
