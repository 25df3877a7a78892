//! The crate against the kernel, each test in network namespaces of its own, with `nft` and `conntrack` as witnesses.

#![allow(clippy::unwrap_used)]

mod conntrack;
mod isolation;
mod limit;
mod link;
mod namespace;
mod nftables;
mod parsers;
mod setting;
