//! Actions: the drivers that change the world, one folder for each kind and one file for each way to do it.
//!
//! Never judges and never asks whether Staunch observes or enforces.

pub mod block_ip;
pub mod exec_job;
mod former;
pub mod freeze_process;
pub mod hold;
pub mod isolate_host;
pub mod kill_process;
pub mod label;
pub mod lock_account;
pub mod sinkhole_domain;

pub use hold::{HOLD_MAX, HOLD_MIN};
pub use label::{Label, Whose};
