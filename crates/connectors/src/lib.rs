//! Sources, inlets, enrichers, actions, collectors of evidence and notifiers: one module for each outside system.

pub mod accounts;
pub mod actions;
pub mod calls;
pub mod context;
pub mod enrichers;
pub mod evidence;
pub mod feeds;
pub mod geo;
pub mod inlets;
pub mod json;
pub mod lists;
pub mod logs;
pub mod lookups;
mod mounts;
pub mod notifiers;
pub mod otlp;
pub mod proc;
pub mod ranges;
pub mod signals;
pub mod sntp;
pub mod sources;
#[cfg(test)]
mod testing;
