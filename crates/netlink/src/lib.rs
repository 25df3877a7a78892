//! The netlink protocols Staunch speaks (nf_tables, conntrack, links, addresses, routes, sockets) and network
//! namespaces, in safe Rust.
//!
//! It holds no policy, spawns no process, and never changes a table, a link or a namespace it was not told about.
//!
//! Every reader of kernel bytes is a public `parse_*` function that accepts any bytes and never panics.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod conntrack;
pub mod diagnosis;
pub mod link;
pub mod message;
pub mod namespace;
pub mod nftables;
pub mod route;
pub mod ruleset;
pub mod schema;
pub mod socket;

pub use nix::errno::Errno;
