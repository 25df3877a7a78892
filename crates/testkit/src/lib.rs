//! Fakes and contract suites that connectors and stores are held to. Development only.

pub mod contract;
pub mod s3;
pub mod skip;
pub mod vault;

pub use skip::skip;
pub use vault::MemoryVault;
