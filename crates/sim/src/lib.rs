//! Runs the real engine in a world of its own making, from one seed: with lost, late and doubled messages, lying
//! drivers, crashes, torn disks, clocks that jump, processes that wake up too late, and somebody else in the same
//! world.
//!
//! Never touches anything: no clock, no file, no thread. The same scenario gives the same run, byte for byte.

pub mod chance;
pub mod check;
mod clock;
pub mod fault;
mod minimise;
mod request;
mod run;
pub mod scenario;
pub mod script;
mod trace;
pub mod world;

pub use check::{Invariant, Violation};
pub use minimise::minimise;
pub use run::{Report, run, run_traced};
pub use scenario::Scenario;
