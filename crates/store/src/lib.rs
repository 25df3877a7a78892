//! Durable things: the segment journal, the snapshot store, the SQLite index and the archive of events.
//!
//! Never decides anything and never looks into what it stores.

pub mod archive;
pub mod index;
pub mod journal;

pub use archive::{ArchiveOptions, EventArchive};
pub use journal::{JournalOptions, MemoryJournal, OpenError, ReadOnlyJournal, SegmentJournal, VerifyReport, verify};
