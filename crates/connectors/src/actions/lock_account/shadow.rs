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

mod record;
mod replace;
mod sessions;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use staunch_model::{
    AccountName, Description, Failure, FailureKind, InstallationId, Observation, Outcome, Owner, Permissions, Presence,
    Printable, Target, TransactionId,
};
use staunch_ports::{Action, ExecuteRequest, Former, Owned, OwnedTarget, UndoRequest};

use self::record::{Kept, Record, Records};
use self::replace::{PasswordLock, replace};
use self::sessions::Sessions;
use super::super::{Label, Whose, hold};
use super::{account_of, description, refused};
use crate::accounts::shadow::{EXPIRED, Entry, MARK};
use crate::accounts::{self, Account};

/// How much longer the last act of a call may take.
const MARGIN: Duration = Duration::from_secs(2);

/// What is said of a lock that is not of Staunch.
const SOMEBODYS: &str = "locked by somebody else";

/// How the driver works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowOptions {
    /// Whose locks are ours.
    pub installation: InstallationId,
    /// The directory of the records of what was there before. Nobody but this driver writes in it.
    pub records: PathBuf,
    /// Default: `/etc/shadow`.
    pub shadow: PathBuf,
    /// Default: `/etc/passwd`.
    pub passwd: PathBuf,
    /// Default: `/etc/group`.
    pub group: PathBuf,
    /// The file that lckpwdf(3) locks. Default: `/etc/.pwd.lock`.
    pub lock: PathBuf,
    /// The tree of cgroup v2 that `user.slice` is in. Default: where it is mounted.
    pub cgroups: Option<PathBuf>,
    /// Where the processes are. Default: `/proc`.
    pub proc: PathBuf,
    /// The longest time that one call waits for the lock of the password files, and after which it begins with no other
    /// of its requests. Default: 5 s. lckpwdf(3) waits for 15 s; a lock that is held for longer than 5 s is held by a
    /// person with an editor, and acts are tried again.
    pub lock_within: Duration,
    /// How long it is awaited that all of an account's sessions are frozen. Default: 500 ms.
    pub frozen_within: Duration,
}

impl ShadowOptions {
    /// The defaults for `installation`, with `records`.
    #[must_use]
    pub fn new(installation: InstallationId, records: PathBuf) -> Self {
        Self {
            installation,
            records,
            shadow: PathBuf::from("/etc/shadow"),
            passwd: PathBuf::from("/etc/passwd"),
            group: PathBuf::from("/etc/group"),
            lock: PathBuf::from("/etc/.pwd.lock"),
            cgroups: None,
            proc: PathBuf::from("/proc"),
            lock_within: Duration::from_secs(5),
            frozen_within: Duration::from_millis(500),
        }
    }
}

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
        let mut targets = Vec::new();
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
                } else if self.observe_one(&target, &shadow, today)?.enforcing {
                    targets.push(OwnedTarget {
                        transaction: record.label.transaction,
                        target,
                    });
                }
            }
        }
        self.former = former;
        Ok(Owned {
            targets,
            enforcing: true,
        })
    }

    fn label(&self, transaction: TransactionId) -> Label {
        Label {
            installation: self.options.installation,
            transaction,
        }
    }

    fn execute_one(&self, request: &ExecuteRequest, until: Instant) -> Outcome {
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
            let password = match entry.is_marked() {
                true => entry.password().to_vec(),
                false => [&[MARK], entry.password()].concat(),
            };
            let new = entry.with(&shadow, &password, EXPIRED);
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

    fn take_lock(&self, target: &Target, doing: &str, until: Instant) -> Result<PasswordLock, Failure> {
        let path = &self.options.lock;
        match PasswordLock::take(path, until) {
            Ok(Some(held)) => Ok(held),
            Ok(None) => {
                let what = format!(
                    "cannot {doing} {target}: somebody holds the lock of the password files ({}), such as vipw or passwd",
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
        let (passwd, group) = (self.read(&self.options.passwd)?, self.read(&self.options.group)?);
        let name = account_of(target).as_str();
        // Here again, under the lock: of two that are locked at once, one is the last.
        if accounts::is_last_admin(&passwd, &group, shadow, name, accounts::today()) {
            return no("it is the last account that may become root and log in: nobody could get back in");
        }
        Ok(())
    }

    fn undo_one(&self, request: &UndoRequest, until: Instant) -> Outcome {
        let name = account_of(&request.target);
        self.lift(name, self.label(request.transaction), until)
            .map_or_else(Stopped::into_outcome, |()| Outcome::Landed)
    }

    /// Gives back what was there before the lock with `label`. Done when there is none.
    fn lift(&self, name: &AccountName, label: Label, until: Instant) -> Result<(), Stopped> {
        let record = |driver: &Self| match driver.kept(name)? {
            Some(Kept::Whole(record)) if record.label == label => Ok(Some(record)),
            // It is ours, and does not say what is to be given back.
            Some(kept @ Kept::Other(_)) if kept.label() == Some(label) => {
                let what = format!(
                    "cannot unlock account {name}: the record of what it was cannot be read; unlock it by hand, with usermod -U and \
                     usermod -e, and remove the record"
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
        let expiry = if is_ours { &record.expiry } else { entry.expiry() };
        let password = match record.has_marked(&entry) {
            true => &entry.password()[1..],
            false => entry.password(),
        };
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
        // What is left is read again, whatever came of it.
        self.read_owned()?;
        lifted
    }
}

/// The expiry that usermod(8) has people give an account that they lock.
const BY_HAND: &[u8] = b"1";

/// Why an act stopped.
struct Stopped {
    failure: Failure,
    /// Whether something is not as it was before.
    has_changed: bool,
}

impl Stopped {
    fn into_outcome(self) -> Outcome {
        match self.has_changed {
            true => Outcome::InDoubt(self.failure),
            false => Outcome::DidNotHappen(self.failure),
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            has_changed: false,
        }
    }
}

fn not_tried() -> Outcome {
    let what = "not tried: earlier requests of the same batch took too long";
    Outcome::DidNotHappen(Failure::new(FailureKind::Unavailable, what))
}

/// A line that cannot be told. Never shows it.
fn no_line(target: &Target, options: &ShadowOptions, why: &str) -> Failure {
    let what = format!("cannot tell {target} in {}: {why}", options.shadow.display());
    Failure::new(FailureKind::Invalid, &what)
}

/// The failure that an error of the system is, while `doing` something.
fn failure(doing: &str, error: &io::Error) -> Failure {
    use io::ErrorKind as E;
    let (kind, more) = match error.kind() {
        E::PermissionDenied | E::ReadOnlyFilesystem => (
            FailureKind::Denied,
            " (it takes root or CAP_DAC_OVERRIDE and CAP_CHOWN, and a /etc that may be written to)",
        ),
        E::StorageFull | E::QuotaExceeded => (FailureKind::Full, ""),
        E::InvalidInput | E::FileTooLarge => (FailureKind::Invalid, ""),
        E::ResourceBusy => (
            FailureKind::Invalid,
            " (it is mounted by itself, and cannot be replaced)",
        ),
        _ => (FailureKind::Unavailable, ""),
    };
    Failure::new(kind, &format!("cannot {doing}: {error}{more}"))
}
