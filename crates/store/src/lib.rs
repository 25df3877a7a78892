//! Durable things: the segment journal, the snapshot store and the SQLite index.
//!
//! Never decides anything and never looks into what it stores.

pub mod index;
pub mod journal;

pub use journal::{JournalOptions, MemoryJournal, OpenError, ReadOnlyJournal, SegmentJournal, VerifyReport, verify};
