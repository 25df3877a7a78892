//! Locks an account in the shadow file, and freezes the cgroup of its sessions.
//!
//! # Expected flow
//! Take the lock of the password files, write down in a record what is there, set the expiry of the account to a day in
//! the past and put `!` before its password, and freeze `user.slice/user-UID.slice`. Undo puts both fields back, thaws,
//! and removes the record.
//!
//! # Guarantees
//! The expiry has the account phase of PAM refuse every way of logging in: passwords, keys of SSH, cron and su. The `!`
//! refuses the password where a program asks for that alone. The file is replaced as a whole, with its owner, group,
//! mode and extended attributes; no other byte of it changes. Executing twice equals executing once. The record is on
//! disk before the file changes, so that a crash at any point is seen and undone. Undo gives back a field only where it
//! still is what was written: a new password, another expiry, and a lock that somebody else has put in place stay. The
//! record holds no part of a password. Whatever is asked, accounts of root and of Staunch itself are not locked, nor
//! the last that may become root.
//!
//! # Assumptions
//! Who logs in is judged by the account phase of `pam_unix`, or by who else reads the shadow file. Who changes the file
//! takes the lock that lckpwdf(3) takes, as the tools of passwd do. Sessions are in slices of `systemd-logind`.
//!
//! # Caveats
//! There is no countdown in the file: a lock has no end of its own, `expires_in` is `None`, and while Staunch is not
//! there nothing lifts it. What runs as the user outside of its slice goes on, and all of it where there are no slices;
//! how many those are is logged. Who has logged in at that very moment, and had no session before, is found by the next
//! look, which says that the lock is not enforced. A service that authenticates elsewhere (a directory, a database, a
//! token) is not reached. Undo cannot tell our `!` from one that somebody has set on the same day before a password of
//! the same length.
//!
//! # Errors
//! `Denied` (not root), `Unavailable` (somebody holds the lock of the password files), `Conflict` (no such account,
//! locked already, the file changed meanwhile), `Invalid` (a line that not everybody reads the same, or an account that
//! is never locked); `InDoubt` when the file was replaced and something after it failed.

mod lift;
mod lock;
mod options;
pub mod record;
mod replace;
mod sessions;
mod stopped;

use std::time::{Duration, Instant};

use staunch_model::{
    AccountName, Description, Failure, FailureKind, Observation, Outcome, Owner, Permissions, Presence, Target,
    TransactionId,
};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};

pub use self::options::ShadowOptions;
use self::record::{Kept, Record, Records};
use self::replace::PasswordLock;
use self::sessions::Sessions;
use self::stopped::{Stopped, failure, no_line};
use super::super::former::lifted_and_read;
use super::super::freeze_process::cgroup::not_tried;
use super::super::{Label, Whose};
use super::{account_of, description};
use crate::accounts;
use crate::accounts::shadow::Entry;

/// How much longer the last act of a call may take.
const MARGIN: Duration = Duration::from_secs(2);

/// What is said of a lock that is not of Staunch.
const SOMEBODYS: &str = "locked by somebody else";

/// The driver. It keeps nothing that a new one would not find.
#[derive(Debug)]
pub struct ShadowLockAccount {
    options: ShadowOptions,
    records: Records,
    sessions: Sessions,
    /// What other installations had there when everything was last listed.
    former: Vec<Former>,
}

impl ShadowLockAccount {
    /// Makes a driver. It opens nothing before it is asked.
    #[must_use]
    pub fn new(options: ShadowOptions) -> Self {
        Self {
            records: Records::new(options.records.clone()),
            sessions: Sessions::new(options.cgroups.clone(), &options.proc, options.frozen_within),
            options,
            former: Vec::new(),
        }
    }

    /// How many accounts are locked with a label of Staunch that is meant by `whose`.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn count_labelled(&self, whose: Whose) -> Result<usize, Failure> {
        Ok(self.labelled(whose)?.len())
    }

    /// Lifts every lock with a label of Staunch that is meant by `whose`, and returns how many there were.
    ///
    /// The last resort for when the engine cannot be reached: nothing else is recorded.
    ///
    /// # Errors
    /// The first failure, when not all could be lifted; the others are tried all the same.
    pub fn release_everything(&self, whose: Whose) -> Result<u64, Failure> {
        let (mut released, mut failed) = (0, None);
        for (name, label) in self.labelled(whose)? {
            match self.lift(&name, label, Instant::now() + self.options.lock_within) {
                Ok(()) => released += 1,
                Err(stopped) => {
                    failed.get_or_insert(stopped.failure);
                }
            }
        }
        failed.map_or(Ok(released), Err)
    }

    /// Whether the shadow file can be read, and its directory be written in.
    ///
    /// # Errors
    /// What cannot be.
    pub fn check(&self) -> Result<(), Failure> {
        self.shadow()?;
        let etc = self.options.shadow.parent().unwrap_or(&self.options.shadow);
        // By what this process may do, with its capabilities: access(2) asks for what its user may.
        let may = rustix::fs::accessat(
            rustix::fs::CWD,
            etc,
            rustix::fs::Access::WRITE_OK,
            rustix::fs::AtFlags::EACCESS,
        );
        match may {
            // Before Linux 5.8 it cannot be asked.
            Ok(()) | Err(rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(failure(&format!("write in {}", etc.display()), &error.into())),
        }
    }

    /// Removes what a crash has left of a change of the shadow file, a second copy of it, unless somebody is changing
    /// it now. A server does so when it starts.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn remove_left(&self) -> Result<(), Failure> {
        replace::remove_left(&self.options.shadow, &self.options.lock)
            .map_err(|error| failure("remove what a crash has left of the shadow file", &error))
    }

    fn labelled(&self, whose: Whose) -> Result<Vec<(AccountName, Label)>, Failure> {
        let all = self
            .records
            .all()
            .map_err(|error| failure("list the records", &error))?;
        let meant = all.into_iter().filter_map(|(name, kept)| {
            let label = kept.label()?;
            whose.means(label.installation).then_some((name, label))
        });
        Ok(meant.collect())
    }

    fn shadow(&self) -> Result<Vec<u8>, Failure> {
        self.read(&self.options.shadow)
    }

    fn read(&self, path: &std::path::Path) -> Result<Vec<u8>, Failure> {
        accounts::read(path).map_err(|error| failure(&format!("read {}", path.display()), &error))
    }

    fn kept(&self, name: &AccountName) -> Result<Option<Kept>, Failure> {
        let kept = self.records.get(name);
        kept.map_err(|error| failure(&format!("read the record of account {name}"), &error))
    }

    fn observe_one(&self, target: &Target, shadow: &[u8], today: i64) -> Result<Observation, Failure> {
        let name = account_of(target);
        let entry = Entry::find(shadow, name.as_str());
        let entry = entry.map_err(|why| no_line(target, &self.options, why))?;
        let is_expired = entry.is_some_and(|it| it.is_expired(today));
        let (owner, enforcing) = match self.kept(name)? {
            Some(kept) => {
                let owner = kept.owner(self.options.installation);
                let enforcing = match kept {
                    Kept::Whole(record) => is_expired && self.are_stopped(&record)?,
                    Kept::Other(_) => true,
                };
                (Some(owner), enforcing)
            }
            None if is_expired => (Some(Owner::Foreign(SOMEBODYS.into())), true),
            None => (None, true),
        };
        Ok(Observation {
            presence: owner.map_or(Presence::Absent, |owner| Presence::Present {
                owner,
                expires_in: None,
            }),
            enforcing,
            version: 0,
            capacity: None,
            stopped_packets: None,
        })
    }

    fn are_stopped(&self, record: &Record) -> Result<bool, Failure> {
        self.sessions.are_stopped(record.uid)
    }

    fn read_owned(&mut self) -> Result<Owned, Failure> {
        let all = self
            .records
            .all()
            .map_err(|error| failure("list the records", &error))?;
        let (mut targets, mut unread) = (Vec::new(), Vec::new());
        let mut former = Vec::new();
        if !all.is_empty() {
            let (shadow, today) = (self.shadow()?, accounts::today());
            for (name, kept) in all {
                let target = Target::Account(name);
                let Kept::Whole(record) = kept else { continue };
                if record.label.installation != self.options.installation {
                    former.push(Former {
                        target,
                        label: record.label.to_string().into(),
                        expires_in: None,
                    });
                } else {
                    match self.observe_one(&target, &shadow, today) {
                        Ok(seen) if seen.enforcing => targets.push(OwnedTarget {
                            transaction: record.label.transaction,
                            target,
                        }),
                        Ok(_) => {}
                        // A line that somebody has broken says nothing of the other accounts.
                        Err(failure) => unread.push((target, failure)),
                    }
                }
            }
        }
        self.former = former;
        Ok(Owned {
            targets,
            enforcing: true,
            unread,
        })
    }

    fn label(&self, transaction: TransactionId) -> Label {
        Label {
            installation: self.options.installation,
            transaction,
        }
    }

    fn take_lock(&self, target: &Target, doing: &str, until: Instant) -> Result<PasswordLock, Failure> {
        let path = &self.options.lock;
        match PasswordLock::take(path, until) {
            Ok(Some(held)) => Ok(held),
            Ok(None) => {
                let what = format!(
                    "cannot {doing} {target}: somebody holds the lock of the password files ({}), such as vipw or \
                     passwd",
                    path.display()
                );
                Err(Failure::new(FailureKind::Unavailable, &what))
            }
            Err(error) => Err(failure(
                &format!("{doing} {target}: cannot lock {}", path.display()),
                &error,
            )),
        }
    }
}

impl Action for ShadowLockAccount {
    fn describe(&self) -> Description {
        let act =
            "replace /etc/shadow and write to cgroup.freeze of user.slice: root, or CAP_DAC_OVERRIDE and CAP_CHOWN";
        let permissions = Permissions {
            act: act.into(),
            check: "read /etc/shadow: root, or CAP_DAC_READ_SEARCH".into(),
            undo: act.into(),
        };
        description(
            "shadow",
            self.options.lock_within + self.options.frozen_within + MARGIN,
            permissions,
        )
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        if targets.is_empty() {
            return Vec::new();
        }
        let today = accounts::today();
        match self.shadow() {
            Ok(shadow) => targets.iter().map(|it| self.observe_one(it, &shadow, today)).collect(),
            Err(failure) => vec![Err(failure); targets.len()],
        }
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let until = Instant::now() + self.options.lock_within;
        let each = requests.iter().map(|request| match Instant::now() < until {
            true => self.execute_one(request, until),
            false => not_tried(),
        });
        each.collect()
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let until = Instant::now() + self.options.lock_within;
        let each = requests.iter().map(|request| match Instant::now() < until {
            true => self.undo_one(request, until),
            false => not_tried(),
        });
        each.collect()
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.read_owned()
    }

    fn former(&self) -> Vec<Former> {
        self.former.clone()
    }

    fn lift_former(&mut self) -> Result<u64, Failure> {
        let lifted = self.release_everything(Whose::Others(self.options.installation));
        lifted_and_read(self, lifted)
    }
}
