//! Drives the engine: takes inputs, makes frames durable, carries out effects, keeps time.
//!
//! Never decides anything and names no concrete system: every outside part comes in through `staunch_ports`.

mod archive;
mod drivers;
mod event_loop;
mod handle;
mod health;
mod helpers;
mod identify;
mod intake;
pub mod lookups;
pub mod meter;
mod notices;
mod pinned;
pub mod plan;
mod preserve;
mod put_back;
pub mod recovery;
mod runtime;
mod seat;
mod second_look;
mod steady;
pub mod telemetry;

pub use archive::{Archiver, ArchiverThread};
pub use event_loop::LoopError;
pub use handle::{Busy, EventReply, Handle, Recorded, Replier, Submission};
pub use health::{HealthSignals, OfCondition};
pub use intake::{ElementError, EventPlan, Intake, IntakeError, Taken, TakenReplier, Understood};
pub use pinned::{pinned_bytes, pinned_bytes_max};
pub use preserve::{ClockOffsetFn, Labels, PreserveParts, Preserver};
pub use recovery::{RecoverError, Recovered, recover};
pub use runtime::{Parts, ReleasedBefore, Runtime, Settings, StartError};
