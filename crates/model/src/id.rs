//! Typed identifiers.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::text::pad(f, format_args!(concat!($prefix, "-{}"), crate::text::Digits(self.0)))
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let digits = text
                    .get(..$prefix.len() + 1)
                    .filter(|start| start.eq_ignore_ascii_case(concat!($prefix, "-")))
                    .map(|_| &text[$prefix.len() + 1..]);
                digits
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| format!(concat!("{} is not of the form ", $prefix, "-17"), crate::Printable(text)))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    u64::deserialize(d).map(Self)
                }
            }
        }

        crate::schema::text!($name, concat!("^", $prefix, "-[0-9]{1,19}$"), concat!("An id such as `", $prefix, "-17`."));
    };
}

numbered!(
    /// An incident: what Staunch concluded from one or more events. `INC-17` in readable formats.
    IncidentId, "INC"
);
numbered!(
    /// A safety transaction: one guarded step of a playbook. `TX-17` in readable formats.
    TransactionId, "TX"
);
numbered!(
    /// A piece of evidence. `EV-17` in readable formats.
    EvidenceId, "EV"
);
numbered!(
    /// A notice to people. `NOTE-17` in readable formats.
    NoticeId, "NOTE"
);
numbered!(
    /// A watch of a health signal. `WATCH-17` in readable formats.
    WatchId, "WATCH"
);

numbered!(
    /// An order for a drill: the number is the position of its frame in the journal, so that no other of the
    /// installation has it. `DRILL-17` in readable formats.
    DrillId, "DRILL"
);

macro_rules! hashed {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                let bad = || format!("{} is not {} hexadecimal digits", crate::Printable(text), 2 * $bytes);
                if text.len() != 2 * $bytes || !text.is_ascii() {
                    return Err(bad());
                }
                let mut bytes = [0; $bytes];
                for (at, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| bad())?;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $bytes]>::deserialize(d).map(Self)
                }
            }
        }

        crate::schema::text!($name, concat!("^([0-9a-f]{2}){", $bytes, "}$"), concat!(stringify!($bytes), " bytes in hexadecimal digits."));
    };
}

hashed!(
    /// One installation of Staunch, drawn at random when its data directory is made. Part of every ownership label.
    InstallationId, 8
);
hashed!(
    /// The idempotency key of an effect: the same step of the same incident always has the same key.
    EffectKey, 16
);

hashed!(
    /// The chain value of a frame of the journal.
    FrameChain, 16
);

/// The BLAKE3 hash of some content, such as a playbook's text.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ContentHash(HashBytes);

hashed!(
    /// The bytes of a [`ContentHash`].
    HashBytes, 32
);

impl ContentHash {
    /// The hash of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(HashBytes(*blake3::hash(content).as_bytes()))
    }

    /// The hash that `bytes` are. What is kept for others to check is a SHA-256 and says so where it is kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(HashBytes(bytes))
    }

    /// The hash as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0.0
    }
}

hashed!(
    /// A SHA-256, as `sha256sum` prints it. What others have to be able to check is hashed so.
    Sha256Hash, 32
);

impl Sha256Hash {
    /// The hash of `content`.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }
}

impl From<Sha256Hash> for ContentHash {
    fn from(hash: Sha256Hash) -> Self {
        Self::from_bytes(hash.0)
    }
}

impl From<ContentHash> for Sha256Hash {
    fn from(hash: ContentHash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl EffectKey {
    /// The key of step `step` of `incident` under the playbook with `hash`.
    ///
    /// It holds no attempt number: a retry is the same effect.
    #[must_use]
    pub fn new(
        installation: InstallationId,
        incident: IncidentId,
        hash: ContentHash,
        transaction: TransactionId,
    ) -> Self {
        let mut parts = [0; 56];
        parts[..8].copy_from_slice(&installation.0);
        parts[8..16].copy_from_slice(&incident.0.to_le_bytes());
        parts[16..48].copy_from_slice(hash.as_bytes());
        parts[48..].copy_from_slice(&transaction.0.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(&parts).as_bytes()[..16]);
        Self(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_text_in_json_and_numbers_in_the_journal() {
        let id = TransactionId(17);
        assert_eq!(serde_json::to_string(&id).expect("serialises"), "\"TX-17\"");
        assert_eq!(postcard::to_stdvec(&id).expect("serialises"), [17]);
        assert_eq!("tx-17".parse(), Ok(id));
        for bad in ["17", "TX-", "TX-x", "INC-1", "", "TX-1 ", "é-1"] {
            assert!(bad.parse::<TransactionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hashes_read_what_they_write() {
        let hash = ContentHash::of(b"x");
        let json = serde_json::to_string(&hash).expect("serialises");
        assert_eq!(serde_json::from_str::<ContentHash>(&json).expect("reads back"), hash);
        assert!("zz".repeat(8).parse::<InstallationId>().is_err());
        assert!("é".repeat(8).parse::<InstallationId>().is_err());
    }
}
