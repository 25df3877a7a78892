//! The outside world as traits: what the runtime needs of stores, actions, enrichers, notifiers and the clock.
//!
//! Never decides anything and never names a concrete system. Every trait is blocking: the runtime gives each
//! implementation a thread of its own and a deadline, so that nothing here needs an async runtime.

pub mod action;
pub mod archive;
pub mod clock;
pub mod collector;
pub mod enricher;
pub mod follower;
pub mod health;
pub mod inlet;
pub mod journal;
pub mod knowledge;
pub mod notifier;
pub mod reputation;
pub mod source;
pub mod targets;
pub mod vault;

pub use action::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};
pub use archive::{Archive, ArchiveError};
pub use clock::Clock;
pub use collector::{About, CollectRequest, Collected, Collector, Collects, Sink};
pub use enricher::Enricher;
pub use follower::Follower;
pub use health::HealthSignal;
pub use inlet::{InletReading, InletTally};
pub use journal::{
    AppendError, ChainHash, Durability, Epoch, FRAME_OVERHEAD_MAX, Journal, Lsn, NewFrame, Purpose, ReadError,
    ReplayedFrame, StateWriter, StoredFrame, Tail,
};
pub use knowledge::Knowledge;
pub use notifier::{Notice, Notifier, NotifyError};
pub use reputation::Reputations;
pub use source::{Malformed, NotRead, Sighting, Source};
pub use targets::{Seen, Targets};
pub use vault::{Deposit, SealedManifest, SealedRecord, Vault, VaultDescription};
