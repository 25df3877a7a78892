//! Durable things: the segment journal, the snapshot store, the SQLite index, the archive of events, the vault of evidence and its
//! transparency log.
//!
//! Never decides anything and never looks into what it stores.

pub mod archive;
mod files;
pub mod index;
pub mod journal;
pub mod tlog;
pub mod vault;

pub use archive::{ArchiveOptions, EventArchive};
pub use files::{FileHook, FileOp};
pub use journal::{JournalOptions, MemoryJournal, OpenError, ReadOnlyJournal, SegmentJournal, VerifyReport, verify};
pub use tlog::{Checkpoint, LogError, LogKey, LogReader, LogVerifier, TransparencyLog};
pub use vault::{DirVault, DirVaultOptions};
