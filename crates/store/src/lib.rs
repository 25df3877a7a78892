//! Durable things: the segment journal, the snapshot store, the SQLite index, the archive of events, the vault of
//! evidence, its transparency log, and the archives of evidence that are handed over.
//!
//! Never decides anything and never looks into what it stores.

pub mod age;
pub mod archive;
pub mod export;
mod files;
pub mod index;
pub mod journal;
pub mod s3;
pub mod tlog;
pub mod vault;

pub use archive::{ArchiveOptions, EventArchive};
pub use export::{
    ArchiveFinding, ArchiveSummary, ExportError, ExportParts, ExportSummary, export_incident, verify_archive,
};
pub use files::{FileHook, FileOp, failure as disk_failure};
pub use journal::{JournalOptions, MemoryJournal, OpenError, ReadOnlyJournal, SegmentJournal, VerifyReport, verify};
pub use tlog::{Checkpoint, LogError, LogKey, LogProof, LogReader, LogVerifier, TransparencyLog};
pub use vault::{DirVault, DirVaultOptions};
