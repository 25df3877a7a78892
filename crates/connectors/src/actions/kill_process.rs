//! Ends one process and those that descend from it, for good.
//!
//! A driver is one file in this folder. Never sends a signal to a number: a number may have gone to another process.

pub mod cgroup;
mod tombs;

pub use cgroup::{CgroupKillProcess, KillError};
