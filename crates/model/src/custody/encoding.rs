//! The one encoding of what is kept of evidence: what is hashed, chained and logged.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    COLLECTION_BYTES_MAX, CUSTODY_SCHEMA_VERSION, CollectionRecord, HANDLED_BYTES_MAX, Handled, LOG_ENTRY_BYTES_MAX,
    LogEntry, Logged, MANIFEST_BYTES_MAX, Manifest, RECEIPT_BYTES_MAX, Receipt,
};
use crate::id::Sha256Hash;

/// Why bytes are no manifest and no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCustody {
    /// They are longer than any.
    #[error("it has {bytes} bytes; the longest has {max}")]
    TooLong {
        /// How many there are.
        bytes: u64,
        /// How many there may be.
        max: u64,
    },
    /// They cannot be read.
    #[error("it cannot be read: {0}")]
    Malformed(Box<str>),
    /// They are of another version.
    #[error("it is of version {found}, and this build reads version {CUSTODY_SCHEMA_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
    /// They say something in another form than the one there is.
    #[error("it is not in the one form that is hashed")]
    NotCanonical,
}

impl Manifest {
    /// The one encoding, which is what its hash is of.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// The SHA-256 of [`Manifest::to_bytes`].
    #[must_use]
    pub fn hash(&self) -> Sha256Hash {
        Sha256Hash::of(&self.to_bytes())
    }

    /// What its signature is of: the same manifest without one.
    #[must_use]
    pub fn signed_text(&self) -> String {
        let unsigned = Self {
            signature: None,
            ..self.clone()
        };
        String::from_utf8(unsigned.to_bytes()).expect("JSON is text")
    }

    /// Reads what [`Manifest::to_bytes`] has written.
    ///
    /// # Errors
    /// See [`NotCustody`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCustody> {
        decode(bytes, MANIFEST_BYTES_MAX, |it: &Self| it.schema_version)
    }
}

impl CollectionRecord {
    /// True when it ended after containment had stopped waiting for it: what it holds may have been read, and was
    /// sealed, after the act. `None` when the record does not say how long containment waited.
    #[must_use]
    pub fn is_late(&self) -> Option<bool> {
        self.deadline.map(|deadline| self.ended_at > deadline)
    }

    /// The one encoding, which is what its hash is of.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// The SHA-256 of [`CollectionRecord::to_bytes`].
    #[must_use]
    pub fn hash(&self) -> Sha256Hash {
        Sha256Hash::of(&self.to_bytes())
    }

    /// Reads what [`CollectionRecord::to_bytes`] has written.
    ///
    /// # Errors
    /// See [`NotCustody`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCustody> {
        decode(bytes, COLLECTION_BYTES_MAX, |it: &Self| it.schema_version)
    }
}

impl LogEntry {
    /// The entry for `logged`.
    #[must_use]
    pub const fn new(logged: Logged) -> Self {
        Self {
            schema_version: CUSTODY_SCHEMA_VERSION,
            logged,
        }
    }

    /// The one encoding, which is what the log holds.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`LogEntry::to_bytes`] has written.
    ///
    /// # Errors
    /// See [`NotCustody`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCustody> {
        decode(bytes, LOG_ENTRY_BYTES_MAX, |it: &Self| it.schema_version)
    }
}

impl Receipt {
    /// The one encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Receipt::to_bytes`] has written.
    ///
    /// # Errors
    /// See [`NotCustody`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCustody> {
        decode(bytes, RECEIPT_BYTES_MAX, |it: &Self| it.schema_version)
    }
}

impl Handled {
    /// The one encoding, which the next line holds the hash of.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// What its signature is of: the name of its log, such as `handling/INC-3.jsonl`, and below it the same line
    /// without one. So it is no line of another log.
    #[must_use]
    pub fn signed_text(&self, log: &str) -> String {
        let unsigned = Self {
            signature: None,
            ..self.clone()
        };
        let line = String::from_utf8(unsigned.to_bytes()).expect("JSON is text");
        format!("{log}\n{line}")
    }

    /// Reads what [`Handled::to_bytes`] has written.
    ///
    /// # Errors
    /// See [`NotCustody`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NotCustody> {
        decode(bytes, HANDLED_BYTES_MAX, |it: &Self| it.schema_version)
    }
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).expect("it is structs, enums, texts and numbers, which JSON can hold");
    bytes.push(b'\n');
    bytes
}

fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    max: u64,
    version: impl Fn(&T) -> u32,
) -> Result<T, NotCustody> {
    let length = bytes.len() as u64;
    if length > max {
        return Err(NotCustody::TooLong { bytes: length, max });
    }
    let value: T = serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        NotCustody::Malformed(crate::Printable(&text).to_string().into())
    })?;
    if version(&value) != CUSTODY_SCHEMA_VERSION {
        return Err(NotCustody::Version { found: version(&value) });
    }
    if encode(&value) != bytes {
        return Err(NotCustody::NotCanonical);
    }
    Ok(value)
}
