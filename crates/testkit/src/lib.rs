//! Fakes and contract suites that connectors and stores are held to. Development only.

pub mod contract;
pub mod skip;

pub use skip::skip;
