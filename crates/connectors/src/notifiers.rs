//! Notifiers: ways to tell people, one module for each service.
//!
//! Never decides what is told, or to whom.

pub mod log;
pub mod webhook;

pub use log::LogNotifier;
