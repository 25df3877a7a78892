//! Notifiers: telling people.

pub use staunch_model::Notice;
use staunch_model::{Asset, Failure, KnownAccount, Timestamp};
use thiserror::Error;

/// What is known around a notice: whose the things are that its incident is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// When it was told first, by the clock of the engine.
    pub at: Timestamp,
    /// The assets that the events of its incident name.
    pub assets: Vec<Asset>,
    /// The accounts that they name.
    pub accounts: Vec<KnownAccount>,
}

impl About {
    /// The teams that these things belong to, each once, those of assets first.
    #[must_use]
    pub fn teams(&self) -> Vec<&str> {
        let owners = self.assets.iter().filter_map(|it| it.owner.as_deref());
        let identities = self.accounts.iter().filter_map(|it| it.identity.as_ref());
        let mut teams = Vec::new();
        for team in owners.chain(identities.filter_map(|it| it.team.as_deref())) {
            if !teams.contains(&team) {
                teams.push(team);
            }
        }
        teams
    }
}

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
    fn name(&self) -> &str;

    /// Sends `notice`, or takes it without sending when it is not for these people, which `about` may tell. Sending the
    /// same id twice must not alarm people twice where the service can tell. Returns within a bounded time.
    ///
    /// # Errors
    /// [`NotifyError`] when it was not taken.
    fn notify(&mut self, notice: &Notice, about: &About) -> Result<(), NotifyError>;
}
