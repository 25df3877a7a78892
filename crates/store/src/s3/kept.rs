//! How a version is to be kept, how a bucket says that it keeps it, and what is made of the difference.
//!
//! Never asks a bucket.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use staunch_model::{Failure, FailureKind, Printable, Sha256Hash, Storage, Timestamp, WriteOnce};

use super::LockMode;

/// How a version is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    /// Who may delete it.
    pub(super) mode: LockMode,
    /// Until when it is kept at least.
    pub(super) until: Timestamp,
    /// Whether it is kept beyond that.
    pub(super) has_legal_hold: bool,
}

impl Lock {
    /// The lock that a receipt states, whatever the settings ask for; what is missing when it states none.
    pub(super) fn stated(storage: &Storage) -> Result<Self, &'static str> {
        let mode = match storage.write_once {
            WriteOnce::LockGovernance => LockMode::Governance,
            WriteOnce::LockCompliance => LockMode::Compliance,
            WriteOnce::ImmutableFlag | WriteOnce::Permissions | WriteOnce::Memory => return Err("it states no lock"),
        };
        Ok(Self {
            mode,
            until: storage.retain_until.ok_or("it does not say until when it is kept")?,
            has_legal_hold: storage.legal_hold,
        })
    }
}

/// How a bucket says that it keeps a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) mode: String,
    pub(super) until: Option<Timestamp>,
    pub(super) has_legal_hold: bool,
    /// What it tells of its bytes.
    pub(super) told: Told,
}

/// What is done about a version of which a bucket tells no hash that can be held against its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untold {
    /// It counts all the same: who asks reads them, or needs none.
    Passes,
    /// They are read.
    Read,
    /// It does not count: there is no time to read them.
    Doubt,
}

/// What the bytes of a version have to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) whole: Sha256Hash,
    /// What its parts have to be; `None` when it has none, or nobody knows them.
    pub(super) of_parts: Option<OfParts>,
}

/// What a bucket tells of the parts that something was put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfParts {
    /// The SHA-256 of their hashes, in base64.
    pub(super) hash: String,
    /// How many there are; `None` when it does not say.
    pub(super) count: Option<u64>,
}

impl Sums {
    /// Those of an object that was put at once, or whose parts nobody knows.
    pub(super) const fn whole(sha256: Sha256Hash) -> Self {
        Self {
            whole: sha256,
            of_parts: None,
        }
    }

    /// Those of one that was put in parts.
    pub(super) const fn in_parts(whole: Sha256Hash, of_parts: OfParts) -> Self {
        Self {
            whole,
            of_parts: Some(of_parts),
        }
    }
}

/// What a bucket tells of the bytes of a version, in base64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Nothing,
    /// Their SHA-256.
    Whole(String),
    /// The SHA-256 of the hashes of the parts that it was put in.
    OfParts(OfParts),
}

impl Told {
    /// Reads what the headers of an answer tell. S3 writes the number of parts behind the hash, and moto does not: the
    /// tag of the object has it as well.
    pub(super) fn by(headers: &BTreeMap<String, String>) -> Self {
        let Some(sum) = headers.get("x-amz-checksum-sha256") else {
            return Self::Nothing;
        };
        let counted = |text: &str| {
            let (_, count) = text.trim_matches('"').rsplit_once('-')?;
            count.parse::<u16>().ok().map(u64::from)
        };
        let is_of_type = |name: &str| headers.get("x-amz-checksum-type").is_some_and(|it| it == name);
        let by_tag = headers.get("etag").and_then(|it| counted(it));
        let of_parts = |hash: &str, count| {
            Self::OfParts(OfParts {
                hash: hash.to_owned(),
                count,
            })
        };
        match sum.split_once('-') {
            // Whatever its tag is.
            _ if is_of_type("FULL_OBJECT") => Self::Whole(sum.clone()),
            Some((hash, _)) => of_parts(hash, counted(sum).or(by_tag)),
            None if is_of_type("COMPOSITE") || by_tag.is_some() => of_parts(sum, by_tag),
            None => Self::Whole(sum.clone()),
        }
    }

    /// Whether it is told to be these bytes; `None` when that is not said. The hash of hashes says nothing when nobody
    /// knows the parts, or when there are more or fewer, as when they were cut by another rule.
    pub(super) fn is_of(&self, sums: &Sums) -> Option<bool> {
        match self {
            Self::Nothing => None,
            Self::Whole(it) => Some(*it == STANDARD.encode(sums.whole.0)),
            Self::OfParts(told) => {
                let ours = sums.of_parts.as_ref()?;
                let is_cut_otherwise = told.count.is_some() && ours.count.is_some() && told.count != ours.count;
                (!is_cut_otherwise).then(|| told.hash == ours.hash)
            }
        }
    }
}

impl Kept {
    /// Whether a version at this address, which has these bytes, is kept at least so.
    pub(super) fn is_as(&self, lock: &Lock, sums: &Sums, address: &str) -> Result<(), Doubt> {
        if self.told.is_of(sums) == Some(false) {
            let what = format!("the bucket has another SHA-256 for it than it was sent: {address}");
            return Err(Doubt::Changed(what));
        }
        // Compliance holds whoever asked for governance, and lets nobody take it back.
        let is_mode = self.mode == lock.mode.header() || self.mode == LockMode::Compliance.header();
        if !is_mode || self.until.is_none_or(|it| it < lock.until) {
            return Err(Doubt::Otherwise(format!(
                "the bucket does not keep it as it was asked to: it says mode {:?} until {}: {address}",
                Printable(&self.mode).to_string(),
                self.until.map_or_else(|| "nothing".to_owned(), |it| it.to_string())
            )));
        }
        if lock.has_legal_hold && !self.has_legal_hold {
            return Err(Doubt::Otherwise(format!(
                "the bucket has no legal hold on it, which was asked for: {address}"
            )));
        }
        Ok(())
    }
}

/// Why a bucket is not known to keep a version as it is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It says that it has no such version.
    Gone(String),
    /// It keeps it for less, or lets others delete it.
    Otherwise(String),
    /// It has other bytes.
    Changed(String),
    /// The receipt does not say what is to be kept.
    Unstated(&'static str),
    /// It is in another bucket than the one that is asked.
    Elsewhere(String),
    /// Nobody was there to ask, or to answer who asks: nothing is known.
    Unknown(Failure),
}

impl Doubt {
    /// Whether the bucket can be asked again soon, because nobody was there.
    pub(crate) const fn is_outage(&self) -> bool {
        matches!(self, Self::Unknown(failure) if super::is_outage(failure))
    }

    /// The same, as a failure of who wanted something kept.
    pub(crate) fn into_failure(self) -> Failure {
        let (kind, what) = match self {
            Self::Unknown(failure) => return failure,
            Self::Gone(what) => (FailureKind::Invalid, what),
            Self::Otherwise(what) => (FailureKind::Denied, what),
            Self::Changed(what) => (FailureKind::Conflict, what),
            Self::Unstated(what) => (FailureKind::Invalid, format!("the receipt is none: {what}")),
            Self::Elsewhere(what) => (FailureKind::Unavailable, what),
        };
        Failure::new(kind, &what)
    }
}

impl From<Failure> for Doubt {
    fn from(failure: Failure) -> Self {
        Self::Unknown(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_held_to_what_it_states() {
        let at = |micros| Timestamp::from_micros(micros);
        let storage = Storage {
            path: "s3://bucket/x".into(),
            size: 1,
            sha256: Sha256Hash::of(b"x"),
            compression: staunch_model::Compression::Zstd,
            encryption: None,
            write_once: WriteOnce::LockGovernance,
            retain_until: Some(at(7)),
            legal_hold: true,
            version: Some("v1".into()),
        };
        let governance = Lock {
            mode: LockMode::Governance,
            until: at(7),
            has_legal_hold: true,
        };
        assert_eq!(Lock::stated(&storage), Ok(governance));
        let without = Storage {
            retain_until: None,
            ..storage.clone()
        };
        assert!(Lock::stated(&without).is_err());
        let unlocked = Storage {
            write_once: WriteOnce::Permissions,
            ..storage.clone()
        };
        assert!(Lock::stated(&unlocked).is_err());
        let compliance = Lock {
            mode: LockMode::Compliance,
            ..governance
        };
        let kept = |mode: &str, until, has_legal_hold| Kept {
            mode: mode.to_owned(),
            until,
            has_legal_hold,
            told: Told::Nothing,
        };
        let sums = Sums::whole(storage.sha256);
        let is_as = |kept: Kept, lock: &Lock| kept.is_as(lock, &sums, "here");
        assert_eq!(is_as(kept("GOVERNANCE", Some(at(7)), true), &governance), Ok(()));
        assert_eq!(is_as(kept("COMPLIANCE", Some(at(8)), true), &governance), Ok(()));
        for (kept, lock) in [
            (kept("GOVERNANCE", Some(at(8)), true), &compliance),
            (kept("GOVERNANCE", Some(at(6)), true), &governance),
            (kept("GOVERNANCE", None, true), &governance),
            (kept("GOVERNANCE", Some(at(7)), false), &governance),
            (kept("", Some(at(7)), true), &governance),
        ] {
            let doubt = is_as(kept.clone(), lock);
            assert!(matches!(doubt, Err(Doubt::Otherwise(_))), "{kept:?}: {doubt:?}");
        }
        let other = Kept {
            told: Told::Whole(STANDARD.encode(Sha256Hash::of(b"y").0)),
            ..kept("GOVERNANCE", Some(at(7)), true)
        };
        assert!(matches!(is_as(other, &governance), Err(Doubt::Changed(_))));
    }

    #[test]
    fn the_hash_of_hashes_is_not_taken_for_that_of_the_bytes() {
        let told = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Told::by(&owned.collect())
        };
        let sum = ("x-amz-checksum-sha256", "aGFzaA==");
        assert_eq!(told(&[("etag", "\"x-2\"")]), Told::Nothing);
        assert_eq!(told(&[sum, ("etag", "\"abc\"")]), Told::Whole("aGFzaA==".into()));
        assert_eq!(told(&[sum, ("etag", "\"a-b\"")]), Told::Whole("aGFzaA==".into()));
        let parts = |hash: &str, count| OfParts {
            hash: hash.to_owned(),
            count,
        };
        let of_parts = Told::OfParts(parts("aGFzaA==", Some(3)));
        assert_eq!(told(&[("x-amz-checksum-sha256", "aGFzaA==-3")]), of_parts);
        assert_eq!(told(&[sum, ("etag", "\"abc-3\"")]), of_parts);
        let uncounted = Told::OfParts(parts("aGFzaA==", None));
        assert_eq!(told(&[sum, ("x-amz-checksum-type", "COMPOSITE")]), uncounted);
        let full = ("x-amz-checksum-type", "FULL_OBJECT");
        assert_eq!(
            told(&[sum, ("etag", "\"abc-3\""), full]),
            Told::Whole("aGFzaA==".into())
        );
        let whole = Sha256Hash::of(b"x");
        let sums = |hash: &str, count| Sums::in_parts(whole, parts(hash, Some(count)));
        for (of_parts, count) in [(&of_parts, 3), (&uncounted, 3), (&uncounted, 4)] {
            assert_eq!(of_parts.is_of(&sums("aGFzaA==", count)), Some(true), "{of_parts:?}");
            assert_eq!(of_parts.is_of(&sums("b3RoZXI=", count)), Some(false), "{of_parts:?}");
            assert_eq!(of_parts.is_of(&Sums::whole(whole)), None);
        }
        assert_eq!(of_parts.is_of(&sums("aGFzaA==", 4)), None, "it was cut otherwise");
        assert_eq!(of_parts.is_of(&sums("b3RoZXI=", 4)), None, "it was cut otherwise");
        let known = sums("aGFzaA==", 3);
        assert_eq!(Told::Whole(STANDARD.encode(whole.0)).is_of(&known), Some(true));
        assert_eq!(Told::Whole("aGFzaA==".into()).is_of(&known), Some(false));
        assert_eq!(Told::Nothing.is_of(&known), None);
    }
}
