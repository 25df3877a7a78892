//! Locks one account: what may be locked, in which order, and what is taken back when it stops.

use std::fs;
use std::time::Instant;

use staunch_model::{Failure, FailureKind, Outcome, Owner, Printable, Target};
use staunch_ports::ExecuteRequest;

use super::record::{Kept, Record};
use super::replace::replace;
use super::stopped::{Stopped, failure, no_line};
use super::{SOMEBODYS, ShadowLockAccount};
use crate::accounts::shadow::Entry;
use crate::accounts::{self, Account};
use crate::actions::hold;
use crate::actions::lock_account::{account_of, refused};

impl ShadowLockAccount {
    pub(super) fn execute_one(&self, request: &ExecuteRequest, until: Instant) -> Outcome {
        self.lock(request, until)
            .map_or_else(Stopped::into_outcome, |()| Outcome::Landed)
    }

    fn lock(&self, request: &ExecuteRequest, until: Instant) -> Result<(), Stopped> {
        let target = &request.target;
        let (name, label) = (account_of(target), self.label(request.transaction));
        if let Some(failure) = hold::refused("lock", target, request.hold) {
            return Err(failure.into());
        }
        let no = |kind, why: &str| Stopped::from(refused(target, kind, why));
        let held = self.take_lock(target, "lock", until)?;
        let shadow = self.shadow()?;
        let entry = Entry::find(&shadow, name.as_str()).map_err(|why| no_line(target, &self.options, why))?;
        let before = match self.kept(name)? {
            None => None,
            Some(Kept::Whole(record)) if record.label == label => Some(record),
            Some(kept) => {
                let owner = match kept.owner(self.options.installation) {
                    Owner::Ours(transaction) => transaction.to_string(),
                    Owner::Foreign(text) => format!("somebody else ({})", Printable(&text)),
                };
                return Err(no(FailureKind::Conflict, &format!("a lock of {owner} is in place")));
            }
        };
        if request.renewal {
            return match before {
                Some(_) => Ok(()),
                None => Err(no(FailureKind::Conflict, "nothing is in place to be renewed")),
            };
        }
        let Some(entry) = entry else {
            let why = format!("{} has no such account", self.options.shadow.display());
            return Err(no(FailureKind::Conflict, &why));
        };
        let uid = self.uid(target)?;
        let is_ours = before.is_some() && entry.has_our_expiry();
        if !is_ours && entry.is_expired(accounts::today()) {
            return Err(no(FailureKind::Conflict, SOMEBODYS));
        }
        if !is_ours {
            self.is_lockable(target, uid, &shadow)?;
            let frozen = match &before {
                Some(record) => record.was_frozen,
                None => self.sessions.is_frozen(uid)?,
            };
            let record = Record::of(label, uid, &entry, before.as_ref(), frozen);
            let take_back = |stopped| self.take_back(target, before.is_some(), stopped);
            let kept = self.records.put(name, &record);
            let kept = kept.map_err(|error| failure(&format!("write down what account {name} was before"), &error));
            kept.map_err(|failure| take_back(failure.into()))?;
            let new = entry.locked(&shadow);
            replace(&self.options.shadow, &shadow, &new)
                .map_err(|error| take_back(error.stopped(&format!("lock {target}"))))?;
        }
        drop(held);
        self.sessions.freeze(uid).map_err(|failure| Stopped {
            failure,
            has_changed: true,
        })?;
        if before.is_none() {
            self.sessions.tell_of_others(name, uid);
        }
        Ok(())
    }

    /// What is left after `stopped`. A record that `was_there` before is of an act that may have landed.
    fn take_back(&self, target: &Target, was_there: bool, stopped: Stopped) -> Stopped {
        let Stopped { failure, has_changed } = stopped;
        if has_changed || was_there {
            return Stopped {
                failure,
                has_changed: true,
            };
        }
        match self.records.remove(account_of(target)) {
            Ok(()) => failure.into(),
            Err(left) => Stopped {
                failure: Failure::new(
                    failure.kind,
                    &format!("{failure}; and then the record could not be removed: {left}"),
                ),
                has_changed: true,
            },
        }
    }

    fn uid(&self, target: &Target) -> Result<u32, Failure> {
        let passwd = self.read(&self.options.passwd)?;
        match Account::find(&passwd, account_of(target).as_str()) {
            Ok(Some(account)) => Ok(account.uid),
            Ok(None) => {
                let why = format!("{} has no such account", self.options.passwd.display());
                Err(refused(target, FailureKind::Conflict, &why))
            }
            Err(why) => {
                let why = format!("in {}: {why}", self.options.passwd.display());
                Err(refused(target, FailureKind::Invalid, &why))
            }
        }
    }

    /// The last line of defence: what is protected beyond it, the guards know.
    fn is_lockable(&self, target: &Target, uid: u32, shadow: &[u8]) -> Result<(), Failure> {
        let no = |why: &str| Err(refused(target, FailureKind::Invalid, why));
        if uid == 0 {
            return no("it is root");
        }
        if uid == nix::unistd::geteuid().as_raw() || uid == nix::unistd::getuid().as_raw() {
            return no("Staunch runs as it");
        }
        // Without control groups nothing is frozen.
        if fs::read(self.options.proc.join("self/cgroup")).is_ok_and(|own| accounts::runs_within(&own, uid)) {
            return no("Staunch runs within its sessions, and would be frozen with them");
        }
        let (passwd, group) = (self.read(&self.options.passwd)?, self.read(&self.options.group)?);
        let name = account_of(target).as_str();
        // Here again, under the lock: of two that are locked at once, one is the last.
        if accounts::is_last_admin(&passwd, &group, shadow, name, accounts::today()) {
            return no("it is the last account that may become root and log in: nobody could get back in");
        }
        Ok(())
    }
}
