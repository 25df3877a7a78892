//! Enrichers: what is known about targets, one module for each kind of knowledge.
//!
//! Never changes anything outside, and never fills a gap with a guess: what is not known is said to be unknown.

pub mod accounts;
pub mod by_aim;
pub mod conntrack;
pub mod domains;
pub mod hosts;
pub mod jobs;
pub mod own_addresses;
pub mod processes;
pub mod this_host;

pub use accounts::{AccountFinder, AccountOptions};
pub use by_aim::ByAim;
pub use conntrack::ConntrackShare;
pub use domains::{DomainOptions, DomainTeller};
pub use hosts::HostTeller;
pub use jobs::JobTeller;
pub use own_addresses::{DiscoverError, RESOLV_CONF, Sessions, protections, resolver_addresses};
pub use processes::{ProcessFinder, ProcessOptions, ProcessOptionsError, is_in_first_pid_namespace};
pub use this_host::ThisHost;
