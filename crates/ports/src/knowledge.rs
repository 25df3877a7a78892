//! What is known around events.

use std::sync::Arc;

use staunch_model::Surroundings;

/// Keeps what is known around events: whose things are, where addresses are, and what feeds say of them. Who reads the
/// files does so on another thread.
pub trait Knowledge: Send + Sync {
    /// What is known at the moment. It stays as it is when files change, so that all events of a body are asked the
    /// same.
    fn current(&self) -> Arc<dyn Surroundings>;
}
