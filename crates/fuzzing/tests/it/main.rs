//! The committed inputs of every fuzz target, and properties of everything that is encoded.

mod journal;
mod netlink;
mod payload;
mod reach;
mod replay;
mod syslog;
