//! Runs playbooks and policy over events of the past, with nothing executed.
//!
//! The engine is the real one, and so are the decoders, the triggers and the guards. Only the enforcement point is
//! simulated ([`world`]), and the time is that of the events: joins, budgets, leases and the breaker work by it.
//!
//! Never opens a socket, never looks at this machine, and never writes to the journal it reads.

pub(crate) mod book;
pub(crate) mod files;
pub(crate) mod html;
pub(crate) mod lane;
pub(crate) mod listing;
pub(crate) mod past;
pub(crate) mod report;
pub(crate) mod tally;
pub(crate) mod text;
pub(crate) mod world;
