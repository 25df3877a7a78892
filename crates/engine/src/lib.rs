//! Decides: the pure, deterministic state machine at the heart of Staunch.
//!
//! Never reads a clock, rolls dice, waits or opens anything; never iterates in hash order and never decides on a
//! floating-point number. Time is an argument. State is the fold of records.

mod absorb;
pub mod advance;
pub mod apply;
pub mod budget;
mod command;
pub mod compact;
pub mod context;
mod engine;
pub mod exempt;
pub mod found;
pub mod guard;
pub mod limits;
pub mod lists;
pub mod mutant;
pub mod networks;
pub mod preserve;
mod react;
mod recover;
mod recovery;
pub mod repeat;
pub mod risk;
pub mod standing;
pub mod state;
pub mod sweep;
pub mod transaction;
pub mod triage;
mod turn;
mod watch;

/// What the refusal of a command begins with that names something which never was: an id, or a protection. Whoever
/// shows it tells that from what is there and cannot be done.
pub const NO_SUCH: &str = "there is no ";

pub use engine::{Engine, Step};
pub use state::EngineState;
