//! The engine against a scripted world: scenarios, invariants, crashes, and the formats of its journal.
//!
//! Only [`sim`] and [`build`] touch the engine's and the model's constructors, so that a changed API changes two files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod build;
mod chance;
mod codec;
mod context;
mod crash;
mod drift;
mod exempt;
mod form;
mod found;
mod guards;
mod invariants;
mod irreversible;
mod joining;
mod keys;
mod life;
mod limits;
mod lists;
mod notices;
mod operator;
mod preserve;
mod quarantine;
mod recover;
mod recovery;
mod redelivered;
mod reload;
mod repeat;
mod risk;
mod rollback;
mod sim;
mod slipped;
mod table;
mod turns;
mod undo;
mod walk;
mod watch;
mod world;
