//! Notifiers: telling people.

use staunch_model::Failure;
pub use staunch_model::Notice;
use thiserror::Error;

/// Why a notice was not taken.
#[derive(Debug, Error)]
#[error("cannot send notice {notice}: {failure}")]
pub struct NotifyError {
    /// Which notice.
    pub notice: staunch_model::NoticeId,
    /// What happened.
    pub failure: Failure,
}

/// A way to tell people.
pub trait Notifier: Send {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Sends `notice`. Sending the same id twice must not alarm people twice where the service can tell.
    ///
    /// # Errors
    /// [`NotifyError`] when it was not taken.
    fn notify(&mut self, notice: &Notice) -> Result<(), NotifyError>;
}
