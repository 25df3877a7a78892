//! Lifts one lock: gives back what was there, where it still is what was written.

use std::time::Instant;

use staunch_model::{AccountName, Failure, FailureKind, Outcome, Target};
use staunch_ports::UndoRequest;

use super::ShadowLockAccount;
use super::record::{Kept, Record};
use super::replace::replace;
use super::stopped::{Stopped, failure, no_line};
use crate::accounts;
use crate::accounts::shadow::Entry;
use crate::actions::Label;
use crate::actions::lock_account::account_of;

/// The expiry that usermod(8) has people give an account that they lock.
const BY_HAND: &[u8] = b"1";

impl ShadowLockAccount {
    pub(super) fn undo_one(&self, request: &UndoRequest, until: Instant) -> Outcome {
        let name = account_of(&request.target);
        self.lift(name, self.label(request.transaction), until)
            .map_or_else(Stopped::into_outcome, |()| Outcome::Landed)
    }

    /// Gives back what was there before the lock with `label`. Done when there is none.
    pub(super) fn lift(&self, name: &AccountName, label: Label, until: Instant) -> Result<(), Stopped> {
        let record = |driver: &Self| match driver.kept(name)? {
            Some(Kept::Whole(record)) if record.label == label => Ok(Some(record)),
            // It is ours, and does not say what is to be given back.
            Some(kept @ Kept::Other(_)) if kept.label() == Some(label) => {
                let what = format!(
                    "cannot unlock account {name}: the record of what it was cannot be read; unlock it by hand, with \
                     usermod -U and usermod -e, and remove the record"
                );
                Err(Failure::new(FailureKind::Conflict, &what))
            }
            _ => Ok(None),
        };
        if record(self)?.is_none() {
            return Ok(());
        }
        let target = Target::Account(name.clone());
        let held = self.take_lock(&target, "unlock", until)?;
        // Again, because somebody else may have lifted it while this waited.
        let Some(record) = record(self)? else {
            return Ok(());
        };
        let has_changed = self.restore(&target, &record)?;
        let left = |failure| Stopped { failure, has_changed };
        if !record.was_frozen {
            self.sessions.thaw(record.uid).map_err(left)?;
        }
        let removed = self.records.remove(name);
        removed.map_err(|error| left(failure(&format!("remove the record of account {name}"), &error)))?;
        drop(held);
        Ok(())
    }

    /// Puts back both fields where they are what was written. Returns whether something changed.
    fn restore(&self, target: &Target, record: &Record) -> Result<bool, Stopped> {
        let name = account_of(target);
        let shadow = self.shadow()?;
        let entry = Entry::find(&shadow, name.as_str()).map_err(|why| no_line(target, &self.options, why))?;
        let Some(entry) = entry else {
            tracing::warn!(%target, "the account is not there any more, and was not unlocked");
            return Ok(false);
        };
        let is_ours = entry.has_our_expiry();
        if !is_ours && entry.is_expired(accounts::today()) {
            tracing::warn!(%target, "somebody else has locked the account meanwhile: it stays locked");
            // usermod(8) has people write that day beside `-L`, which adds no second mark: then ours is theirs too.
            if entry.expiry() == BY_HAND {
                return Ok(false);
            }
        }
        let (password, expiry) = record.given_back(&entry);
        if is_ours && record.marked && !record.has_marked(&entry) {
            tracing::warn!(%target, "somebody has changed the password meanwhile: it stays as it is");
        }
        if expiry == entry.expiry() && password == entry.password() {
            return Ok(false);
        }
        let new = entry.with(&shadow, password, expiry);
        replace(&self.options.shadow, &shadow, &new).map_err(|error| error.stopped(&format!("unlock {target}")))?;
        Ok(true)
    }
}
