//! Durable things: the segment journal, the snapshot store, the SQLite index, the archive of events and the vault of evidence.
//!
//! Never decides anything and never looks into what it stores.

pub mod archive;
mod files;
pub mod index;
pub mod journal;
pub mod vault;

pub use archive::{ArchiveOptions, EventArchive};
pub use files::{FileHook, FileOp};
pub use journal::{JournalOptions, MemoryJournal, OpenError, ReadOnlyJournal, SegmentJournal, VerifyReport, verify};
pub use vault::{DirVault, DirVaultOptions};
