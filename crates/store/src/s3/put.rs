//! Putting objects: where nothing is, where the same is, and over what is not it.
//!
//! Never takes what has a name for what it is to be without a hash of it.

use std::fs::File;
use std::io::{self, Read};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash, Timestamp};

use super::answered::{cut_off, refusal, seconds, version_of};
use super::kept::{Doubt, Lock, Sums, Told, Untold};
use super::{Bucket, Payload, within};
use crate::vault::hashing::Hashing;

/// What became of an object that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is there, under this version.
    New(String),
    /// The name is taken.
    Taken,
}

/// The same, with what a bucket is to tell of its bytes.
pub(super) enum Placed {
    New(String, Sums),
    Taken,
    /// Somebody else puts an object under this name at the same moment.
    Contested,
}

/// What is told of an object that somebody else is putting.
fn contested(name: &str) -> String {
    format!("somebody else puts an object under the same name at this moment: {name}")
}

/// What is put under a name.
#[derive(Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) name: &'a str,
    pub(super) payload: Payload<'a>,
    pub(super) sha256: Sha256Hash,
    pub(super) lock: Lock,
}

/// Where an object may be put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Where nothing is.
    Free,
    /// Over what is there, which stays as the version before.
    Over,
}

impl Bucket {
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
        let placed = self.put_object(&self.object(name, payload, sha256, until), Where::Free, by)?;
        Ok(match placed {
            Placed::New(version, _) => Put::New(version),
            Placed::Taken => Put::Taken,
            Placed::Contested => return Err(Failure::new(FailureKind::Unavailable, &contested(name))),
        })
    }

    /// What is put under `name`, and kept until `until` and as the settings say.
    fn object<'a>(&self, name: &'a str, payload: Payload<'a>, sha256: Sha256Hash, until: Timestamp) -> Object<'a> {
        Object {
            name,
            payload,
            sha256,
            lock: self.lock(until),
        }
    }

    /// Puts an object; a large file in parts.
    pub(super) fn put_object(&self, object: &Object<'_>, at: Where, by: Instant) -> Result<Placed, Failure> {
        match object.payload {
            Payload::File(file, size) if size > self.settings().parts.above => {
                self.put_in_parts(object, (file, size), at, by)
            }
            _ => self.put_at_once(object, at, by),
        }
    }

    fn put_at_once(&self, object: &Object<'_>, at: Where, by: Instant) -> Result<Placed, Failure> {
        let checksum = STANDARD.encode(object.sha256.0);
        let until = seconds(object.lock.until);
        let mut headers = vec![
            ("x-amz-checksum-sha256", &*checksum),
            ("x-amz-object-lock-mode", object.lock.mode.header()),
            ("x-amz-object-lock-retain-until-date", &*until),
            // Without it, or an MD5, S3 takes nothing with a retention.
            ("x-amz-sdk-checksum-algorithm", "SHA256"),
        ];
        if at == Where::Free {
            headers.push(("if-none-match", "*"));
        }
        if object.lock.has_legal_hold {
            headers.push(("x-amz-object-lock-legal-hold", "ON"));
        }
        let mut answer = self.ask_with("PUT", object.name, &[], &headers, object.payload, object.sha256, by)?;
        match answer.status {
            200 => Ok(Placed::New(version_of(&answer)?, Sums::whole(object.sha256))),
            412 => Ok(Placed::Taken),
            409 => Ok(Placed::Contested),
            _ => Err(refusal(&mut answer, &format!("put {} locked", object.name))),
        }
    }

    /// Puts an object as [`Bucket::put`] does, or takes what has its name for it when it is the same bytes; has the
    /// bucket say that it keeps it. Returns its version.
    ///
    /// # Errors
    /// `Conflict` when something else has the name; `Unavailable` also while somebody else puts an object under it;
    /// otherwise why it is not kept.
    pub fn put_or_confirm(
        &self,
        name: &str,
        payload: Payload<'_>,
        sha256: Sha256Hash,
        until: Timestamp,
        by: Instant,
    ) -> Result<String, Failure> {
        let object = self.object(name, payload, sha256, until);
        let version = self.confirm(&object, by).map_err(Doubt::into_failure)?;
        version.ok_or_else(|| Failure::new(FailureKind::Unavailable, &contested(name)))
    }

    /// The same, of what waits alone while somebody else puts an object under its name.
    ///
    /// # Errors
    /// `Conflict` then as well.
    pub(crate) fn put_or_confirm_alone(
        &self,
        name: &str,
        payload: Payload<'_>,
        sha256: Sha256Hash,
        until: Timestamp,
        by: Instant,
    ) -> Result<String, Failure> {
        let object = self.object(name, payload, sha256, until);
        let version = self.confirm(&object, by).map_err(Doubt::into_failure)?;
        version.ok_or_else(|| Failure::new(FailureKind::Conflict, &contested(name)))
    }

    /// The version that it has; `None` while somebody else puts an object under its name.
    fn confirm(&self, object: &Object<'_>, by: Instant) -> Result<Option<String>, Doubt> {
        match self.put_object(object, Where::Free, by)? {
            Placed::New(version, sums) => {
                self.check(object.name, &version, &object.lock, &sums, Untold::Read, by)?;
                Ok(Some(version))
            }
            // An attempt whose answer was lost, or that of another installation, or something else.
            Placed::Taken => {
                // Before its bytes, which are many: who may not know how it is kept has no use for them.
                let (version, _) = self.kept(object.name, None, &object.lock, by)?;
                let (_, body) = self.get(object.name, Some(&version), by)?;
                if !is_it(body, object.sha256)? {
                    let place = self.address(object.name);
                    let what = format!("what is at {} under this name is not it", Printable(&place));
                    return Err(Doubt::Changed(what));
                }
                let (lock, sums) = (&object.lock, Sums::whole(object.sha256));
                self.keep_as(object.name, &version, lock, &sums, Untold::Passes, by)?;
                Ok(Some(version))
            }
            Placed::Contested => Ok(None),
        }
    }

    /// As [`Bucket::put_or_confirm`], without reading what has the name: it is told by the SHA-256 that the bucket has
    /// for it. What the bucket tells no SHA-256 of is not known to be there.
    pub(crate) fn put_or_recognise(
        &self,
        name: &str,
        payload: Payload<'_>,
        sha256: Sha256Hash,
        until: Timestamp,
        by: Instant,
    ) -> Result<String, Doubt> {
        let object = self.object(name, payload, sha256, until);
        let lock = object.lock;
        match self.put_object(&object, Where::Free, by)? {
            Placed::New(version, sums) => {
                self.check(name, &version, &lock, &sums, Untold::Doubt, by)?;
                Ok(version)
            }
            Placed::Taken => {
                let (version, kept) = self.kept(name, None, &lock, by)?;
                if !matches!(kept.told, Told::Whole(_)) {
                    let what = format!(
                        "something has the name in the bucket already, and no SHA-256: {}",
                        self.address(name)
                    );
                    return Err(Doubt::Otherwise(what));
                }
                self.keep_as(name, &version, &lock, &Sums::whole(sha256), Untold::Doubt, by)?;
                Ok(version)
            }
            Placed::Contested => Err(Doubt::Otherwise(contested(name))),
        }
    }

    /// As [`Bucket::put_or_confirm`], of a file that `open` opens. A further version is put over what has the name and
    /// is not it, and over the version `spent`, which is known not to be kept as it should be; both stay as versions
    /// before. Returns the version, and until when it was asked to be kept. Each time that all of it is sent or read
    /// has the time that its bytes may take.
    ///
    /// # Errors
    /// `Conflict` while somebody else puts an object under the same name: the bucket is there for all others.
    pub(crate) fn put_or_renew(
        &self,
        name: &str,
        open: &dyn Fn() -> Result<File, Failure>,
        size: u64,
        sha256: Sha256Hash,
        spent: Option<&str>,
    ) -> Result<(String, Timestamp), Failure> {
        let lock = self.lock(self.retain_until());
        let put = |at| {
            let file = open()?;
            let object = Object {
                name,
                payload: Payload::File(&file, size),
                sha256,
                lock,
            };
            self.put_object(&object, at, Instant::now() + self.settings().parts.within(size))
        };
        let by = || Instant::now() + within(size);
        let contested = || Failure::new(FailureKind::Conflict, &contested(name));
        let newest = match put(Where::Free)? {
            Placed::Contested => return Err(contested()),
            Placed::New(version, sums) => Some((version, sums, Untold::Read)),
            Placed::Taken => {
                // Before its bytes, which may be many: who may not know how it is kept has no use for them.
                let (version, _) = self.kept(name, None, &lock, by()).map_err(Doubt::into_failure)?;
                let (_, body) = self.get(name, Some(&version), by())?;
                let is_it = is_it(body, sha256)?;
                (is_it && spent != Some(&*version)).then(|| (version, Sums::whole(sha256), Untold::Passes))
            }
        };
        let (version, sums, untold) = match newest {
            Some(newest) => newest,
            None => match put(Where::Over)? {
                Placed::New(version, sums) => (version, sums, Untold::Read),
                Placed::Taken => {
                    let what = format!("the bucket does not take a further version of {name}");
                    return Err(Failure::new(FailureKind::Conflict, &what));
                }
                Placed::Contested => return Err(contested()),
            },
        };
        let kept = self.keep_as(name, &version, &lock, &sums, untold, by());
        kept.map(|()| (version, lock.until)).map_err(Doubt::into_failure)
    }
}

/// Whether the body of an answer is the bytes that have this hash.
pub(super) fn is_it(body: impl Read, sha256: Sha256Hash) -> Result<bool, Failure> {
    let mut there = Hashing::new(body);
    io::copy(&mut there, &mut io::sink()).map_err(|error| cut_off(&error))?;
    Ok(there.finish().0 == sha256)
}
