//! Contract suites: what every implementation of a port is held to, whatever stands behind it.
//!
//! Never names an implementation.

pub mod action;
pub mod collector;
pub mod journal;
pub mod notifier;
pub mod vault;
