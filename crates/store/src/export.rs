//! Archives of the evidence of one incident, for a third party: written here, and verified with a public key and
//! nothing else.
//!
//! Never changes a vault or a log, and never writes what it reads from an archive anywhere.
//!
//! ```text
//! INC-3/INVENTORY                                  signed: the hash of SHA256SUMS, the files and bytes in it
//! INC-3/SHA256SUMS                                 every other file, in the order of the archive
//! INC-3/log/checkpoint                             the log when it was exported, signed
//! INC-3/log/tile/entries/000.p/5                   all entries of the log: from them follow all its earlier roots
//! INC-3/manifests/EV-1/00000001.json               what is known of an artefact, or why there is none
//! INC-3/manifests/EV-1/00000001.json.tlog-proof    that it is in the log
//! INC-3/records/EV-1/cd34….json                    what a collection came to; with a proof, too
//! INC-3/objects/ab/ab12….zst                       the artefacts, as they are in the vault
//! INC-3/timeline.json, timeline.html, key.pub, VERIFY.md
//! ```
//!
//! # Guarantees
//! - The same evidence, log and timeline make the same archive, byte for byte.
//! - Memory is bounded by a line for each file and what zstd needs, on both sides; artefacts are streamed.
//! - An archive is read in order, once, and nothing is unpacked to disk: names in it lead nowhere.

mod counted;
mod finding;
mod inventory;
mod read;
mod tar;
mod write;

pub use finding::ArchiveFinding;
pub use inventory::{INVENTORY, Inventory, SUMS};
pub use read::{ArchiveSummary, verify_archive, verify_archive_from};
pub use write::{ExportError, ExportParts, ExportSummary, export_incident};

/// The most files of an archive.
pub const FILES_MAX: usize = 500_000;

/// The most bytes of the list of files: about 130 for each.
const SUMS_BYTES_MAX: u64 = 64 << 20;

/// What a proof is called after the file that it proves.
const PROOF: &str = ".tlog-proof";

/// The largest window that is taken when reading, as a power of two: 8 MiB. Level 3 writes windows of 2 MiB.
const WINDOW_LOG_MAX: u32 = 23;
