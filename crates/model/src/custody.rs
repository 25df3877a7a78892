//! Custody: what is known of a stored artefact and of the collection it came from, in the form that is hashed and kept.
//!
//! Never stores anything: that is the vault's. The fields follow RFC 3227 and ISO/IEC 27037: what was taken, from
//! where, when by which clock, by whom and on whose authority, how, what the taking changed, and who has handled it
//! since.
//!
//! There is exactly one encoding, which is what is hashed, chained and logged: one line of JSON, all fields in the
//! order of their declaration, `null` for what is absent, no blanks outside of strings, and one line end (`\n`) after
//! it. What does not have this form byte for byte is not read.

mod encoding;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::Failure;
use crate::evidence::EvidenceKind;
use crate::id::{ContentHash, EvidenceId, FrameChain, IncidentId, InstallationId, Sha256Hash, TransactionId};
use crate::target::Target;
use crate::time::{Span, Timestamp};

pub use encoding::NotCustody;

/// The version of [`Manifest`] and [`CollectionRecord`] that this build writes and reads.
pub const CUSTODY_SCHEMA_VERSION: u32 = 1;

/// The most bytes of an encoded manifest. Texts in it come from outside and are cut before, so this is far from them.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 10;

/// The most bytes of an encoded record of a collection: about 60,000 artefacts.
pub const COLLECTION_BYTES_MAX: u64 = 16 << 20;

/// The most bytes of an encoded entry of the log.
pub const LOG_ENTRY_BYTES_MAX: u64 = 1_024;

/// The most bytes of an encoded receipt.
pub const RECEIPT_BYTES_MAX: u64 = 64 << 10;

/// The most bytes of an encoded entry of a handling log.
pub const HANDLED_BYTES_MAX: u64 = 16 << 10;

/// A machine, account or service that evidence was taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceSource {
    /// What it is, such as `host`.
    pub kind: Box<str>,
    /// The name of the machine.
    pub host: Box<str>,
    /// The boot of the machine that it was taken in: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<Box<str>>,
    /// The machine: `/etc/machine-id`.
    pub machine_id: Option<Box<str>>,
    /// The cloud or cluster it belongs to, where it belongs to one.
    pub provider: Option<Box<str>>,
    /// The account, project or cluster there.
    pub account: Option<Box<str>>,
    /// The region there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Box<str>>,
    /// Its name there, such as an ARN or the UID of a pod.
    pub resource: Option<Box<str>>,
}

/// How far the clock of the source was from UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockOffset {
    /// The clock of the source less UTC, in microseconds.
    pub offset_us: i64,
    /// How wrong that can be, in microseconds.
    pub error_max_us: Option<u64>,
    /// Who says so, such as `adjtimex`.
    pub told_by: Box<str>,
}

/// What took the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectorIdentity {
    /// The name of the collector, such as `linux/processes`.
    pub name: Box<str>,
    /// The version of Staunch.
    pub version: Box<str>,
    /// The SHA-256 of the program.
    pub build: Option<Sha256Hash>,
    /// The machine it ran on.
    pub host: Box<str>,
    /// The tools it used, with their versions; empty when none.
    pub tools: Vec<Box<str>>,
}

/// On whose authority evidence was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Authority {
    /// A playbook said so.
    Playbook {
        /// Its name.
        name: Box<str>,
        /// The hash of its text.
        hash: ContentHash,
    },
    /// A person did.
    Person {
        /// Who.
        name: Box<str>,
        /// Why, in their words.
        reason: Box<str>,
    },
}

/// What was done with evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandlingAction {
    /// It was taken.
    Collect,
    /// It was stored and can no longer be changed.
    Seal,
    /// It was read.
    Open,
    /// It was copied to another place.
    Copy,
    /// It was handed over to somebody.
    Transfer,
    /// It was compared with its hashes.
    Verify,
}

/// One time that somebody had evidence in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handling {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Box<str>,
    /// What was done.
    pub action: HandlingAction,
    /// Why.
    pub reason: Box<str>,
    /// From where, when it moved.
    pub from: Option<Box<str>>,
    /// To where, when it moved.
    pub to: Option<Box<str>>,
}

/// Who may be shown evidence, by the Traffic Light Protocol 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tlp {
    /// Everybody.
    Clear,
    /// The community.
    Green,
    /// The organisation and its clients, on a need-to-know basis.
    Amber,
    /// The organisation only.
    AmberStrict,
    /// Those who were given it only.
    Red,
}

impl Tlp {
    /// The marking as it is written on what is shared.
    #[must_use]
    pub const fn marking(self) -> &'static str {
        match self {
            Self::Clear => "TLP:CLEAR",
            Self::Green => "TLP:GREEN",
            Self::Amber => "TLP:AMBER",
            Self::AmberStrict => "TLP:AMBER+STRICT",
            Self::Red => "TLP:RED",
        }
    }
}

/// How bytes were made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// zstd (RFC 8878).
    Zstd,
}

/// For whom stored bytes are encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encryption {
    /// How, such as `age`.
    pub scheme: Box<str>,
    /// The public keys of those who can read it.
    pub recipients: Vec<Box<str>>,
}

/// How stored bytes are kept from being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteOnce {
    /// By the immutable flag of the file system: nobody changes them without taking the flag away first, which needs
    /// `CAP_LINUX_IMMUTABLE`.
    ImmutableFlag,
    /// By the permissions of the file alone: its owner and the superuser can change it, and it shows.
    Permissions,
    /// By an object lock that those with a special permission can lift.
    LockGovernance,
    /// By an object lock that nobody can lift.
    LockCompliance,
    /// Not at all: they are in memory.
    Memory,
}

impl fmt::Display for WriteOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ImmutableFlag => "immutable files",
            Self::Permissions => "read-only files",
            Self::LockGovernance => "object lock in governance mode",
            Self::LockCompliance => "object lock in compliance mode",
            Self::Memory => "nothing, it is memory",
        })
    }
}

/// Where and how an artefact is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Its place in the vault, such as `objects/ab/ab….zst`.
    pub path: Box<str>,
    /// The bytes that are stored, which are fewer when they are compressed.
    pub size: u64,
    /// Their SHA-256, as `sha256sum` prints it for the file.
    pub sha256: Sha256Hash,
    /// How they were made smaller.
    pub compression: Compression,
    /// For whom they are encrypted; `None` when they are not.
    pub encryption: Option<Encryption>,
    /// How they are kept from being changed.
    pub write_once: WriteOnce,
    /// Until when they cannot be removed; `None` when nothing holds them but the above.
    pub retain_until: Option<Timestamp>,
    /// Whether they are held until somebody lifts that.
    pub legal_hold: bool,
    /// The version of the object, where the store has versions.
    pub version: Option<Box<str>>,
}

/// What became of an artefact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Taken {
    /// It was stored.
    Stored {
        /// The bytes as they were read.
        size: u64,
        /// Their SHA-256.
        sha256: Sha256Hash,
        /// Where they are.
        storage: Storage,
    },
    /// It could not be taken, and this says why: a record of its own.
    Missed(Failure),
}

/// What a collection knows of an artefact, before it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestDraft {
    /// The installation that took it; evidence is numbered within it.
    pub installation: InstallationId,
    /// Which evidence it is part of.
    pub evidence: EvidenceId,
    /// The incident.
    pub incident: IncidentId,
    /// The first transaction of the incident that waited for it when it was asked for; `None` when none did.
    pub transaction: Option<TransactionId>,
    /// What kind of evidence.
    pub kind: EvidenceKind,
    /// Of what; `None` when it is of the machine as a whole.
    pub target: Option<Target>,
    /// A file name for it. No file is ever called by it: it is text.
    pub name: Box<str>,
    /// Its media type.
    pub media_type: Box<str>,
    /// Where it comes from.
    pub source: EvidenceSource,
    /// How volatile it is (RFC 3227, section 2.1), from 1 (registers) to 7 (archival media).
    pub volatility: u8,
    /// When it was taken, by the clock of the collector.
    pub collected_at: Timestamp,
    /// The same by a clock that is never set: the time since the machine was started.
    pub collected_at_monotonic: Span,
    /// How far the clock was off; `None` when nobody could tell.
    pub clock_offset: Option<ClockOffset>,
    /// What took it.
    pub collector: CollectorIdentity,
    /// On whose authority.
    pub authority: Authority,
    /// How: the calls and their parameters.
    pub method: Box<str>,
    /// Where it was found.
    pub locator: Box<str>,
    /// When its original was last changed, where it has such a time.
    pub modified: Option<Timestamp>,
    /// Who had it in hand up to here.
    pub handling: Vec<Handling>,
    /// What taking it changed at its source: one line each.
    pub changes_caused: Vec<Box<str>>,
    /// How confidential it is, in words of the organisation.
    pub classification: Option<Box<str>>,
    /// Who may be shown it.
    pub tlp: Option<Tlp>,
    /// Until when it is to be kept, by the rules of the organisation.
    pub keep_until: Option<Timestamp>,
}

/// The custody record of one artefact, as it is kept beside it. It never changes; what happens later has records of its
/// own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// See [`CUSTODY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The number of this manifest among those of its evidence, from 1.
    pub sequence: u64,
    /// The hash of the manifest before it; `None` for the first of its evidence.
    pub previous: Option<Sha256Hash>,
    /// What was known when it was taken.
    pub custody: ManifestDraft,
    /// What became of it.
    pub taken: Taken,
    /// What nothing else in the world is called: a UUID of version 7 (RFC 9562), by the time when it was collected.
    /// `None` in the manifests of builds that did not give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Box<str>>,
    /// The signature line, of [`Manifest::signed_text`], by the key of the transparency log, as a signed note has it
    /// (Ed25519, <https://c2sp.org/signed-note>). `None` without such a key, and in the manifests of builds that did
    /// not sign them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Box<str>>,
}

/// An artefact in the record of its collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectedArtefact {
    /// Its name.
    pub name: Box<str>,
    /// The number of its manifest among those of its evidence.
    pub sequence: u64,
    /// The hash of its manifest.
    pub manifest: Sha256Hash,
    /// The SHA-256 of its bytes.
    pub sha256: Sha256Hash,
    /// How many bytes.
    pub size: u64,
}

/// A part that could not be taken, in the record of its collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissedArtefact {
    /// Its name.
    pub name: Box<str>,
    /// Where it would have been found.
    pub locator: Box<str>,
    /// The hash of the manifest that says so; `None` when not even that could be stored.
    pub manifest: Option<Sha256Hash>,
    /// Why.
    pub failure: Failure,
}

/// What one collection came to. Its hash is what [`Sealed`](crate::Sealed) holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionRecord {
    /// See [`CUSTODY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The installation that collected.
    pub installation: InstallationId,
    /// Which evidence.
    pub evidence: EvidenceId,
    /// The incident.
    pub incident: IncidentId,
    /// What kind.
    pub kind: EvidenceKind,
    /// Of what; `None` when it is of the machine as a whole.
    pub target: Option<Target>,
    /// What took it.
    pub collector: CollectorIdentity,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Until when containment waited for it. `None` in the records of builds that did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What was stored, in the order in which it was.
    pub artefacts: Vec<CollectedArtefact>,
    /// What could not be taken.
    pub missed: Vec<MissedArtefact>,
    /// Why nothing, or nothing more, could be taken; `None` when the collection came to its end.
    pub failure: Option<Failure>,
    /// What the collection changed beside reading: one line each.
    pub changes_caused: Vec<Box<str>>,
}

/// An entry of the transparency log: what was kept or decided, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// See [`CUSTODY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What it stands for.
    pub logged: Logged,
}

/// What an entry of the transparency log stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Logged {
    /// A manifest.
    Manifest {
        /// Of which incident.
        incident: IncidentId,
        /// Of which evidence.
        evidence: EvidenceId,
        /// Its number there.
        sequence: u64,
        /// Its hash.
        manifest: Sha256Hash,
    },
    /// A record of a collection.
    Collection {
        /// Of which incident.
        incident: IncidentId,
        /// Of which evidence.
        evidence: EvidenceId,
        /// Its hash.
        record: Sha256Hash,
    },
    /// Frames of the journal: the chain value of the last one stands for all before it.
    Frames {
        /// The position of the first that no earlier entry stands for.
        first: u64,
        /// The position of the last.
        last: u64,
        /// The chain value of the last.
        chain: FrameChain,
    },
    /// The beginning of a handling log, which only grows.
    Handling {
        /// Of which incident; `None` for the log of what was done with everything.
        incident: Option<IncidentId>,
        /// So many bytes from its beginning, to the end of a line.
        bytes: u64,
        /// Their SHA-256.
        sha256: Sha256Hash,
    },
}

/// What says that an artefact is in another place than the directory of its vault, and how it is kept there. It is
/// written once, when that place has confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// See [`CUSTODY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The SHA-256 of the artefact as it was read.
    pub artefact: Sha256Hash,
    /// Where it is.
    pub storage: Storage,
    /// Since when.
    pub at: Timestamp,
}

/// One line of a handling log: what was done with evidence after it was sealed. Lines are appended and never changed;
/// each holds the hash of the one before it, and the signature of whoever may sign for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handled {
    /// See [`CUSTODY_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The SHA-256 of the line before, with its line end; `None` for the first.
    pub previous: Option<Sha256Hash>,
    /// Which evidence; `None` when it was all of the incident, or all there is.
    pub evidence: Option<EvidenceId>,
    /// The SHA-256 of the artefact as it was read; `None` when it was all of the evidence.
    pub artefact: Option<Sha256Hash>,
    /// What was done.
    pub handling: Handling,
    /// What it came to, such as `proved`; `None` when it was about to be done.
    pub outcome: Option<Box<str>>,
    /// The signature line, of [`Handled::signed_text`], by the key of the transparency log, as in a [`Manifest`].
    /// `None` without such a key, and in the lines of builds that did not sign them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Box<str>>,
}

#[cfg(test)]
mod tests;
