//! Finds the account of this machine that an event names, and says whether it is protected.
//!
//! Never asks the name service, and never guesses: an account counts only when the event is of this machine, and when
//! the files of this machine have it once. Says nothing that was in the shadow file.
//!
//! # What is protected
//! Root and whoever has its number; accounts of the system, by their number; `nobody`; the user that Staunch runs as;
//! those that an operator names; one that shares its number with another, whose sessions would stop too; and the last
//! that may become root (of the groups `sudo`, `wheel` and `admin`) and can log in, because nobody could get back in
//! and lift the lock.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use staunch_model::{AccountName, Found, Printable, Target, TargetFacts};
use staunch_ports::{Seen, Targets};

use super::this_host::ThisHost;
use crate::accounts::{self, Account};

/// The longest shell that is shown, in bytes.
const SHELL_BYTES_MAX: usize = 128;

/// The number of `nobody` (systemd, "Users, Groups, UIDs and GIDs").
const NOBODY: u32 = 65_534;

/// How the finder works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountOptions {
    /// Which names of hosts are this machine.
    pub host: ThisHost,
    /// Accounts that are protected whatever they are. Default: none.
    pub protected: BTreeSet<AccountName>,
    /// Default: `/etc/passwd`.
    pub passwd: PathBuf,
    /// Default: `/etc/group`.
    pub group: PathBuf,
    /// Default: `/etc/shadow`.
    pub shadow: PathBuf,
    /// Where it stands which numbers people have. Default: `/etc/login.defs`.
    pub login_defs: PathBuf,
    /// The control groups of this process. Default: `/proc/self/cgroup`.
    pub own_groups: PathBuf,
}

impl Default for AccountOptions {
    fn default() -> Self {
        Self {
            host: ThisHost::default(),
            protected: BTreeSet::new(),
            passwd: PathBuf::from("/etc/passwd"),
            group: PathBuf::from("/etc/group"),
            shadow: PathBuf::from("/etc/shadow"),
            login_defs: PathBuf::from("/etc/login.defs"),
            own_groups: PathBuf::from("/proc/self/cgroup"),
        }
    }
}

/// The finder.
#[derive(Clone, Debug)]
pub struct AccountFinder {
    options: AccountOptions,
}

impl AccountFinder {
    /// Makes a finder. It opens nothing before it is asked.
    #[must_use]
    pub fn new(options: AccountOptions) -> Self {
        Self { options }
    }

    fn about(&self, name: &AccountName) -> Result<TargetFacts, String> {
        let options = &self.options;
        let passwd = read(&options.passwd)?;
        let account = match Account::find(&passwd, name.as_str()) {
            Ok(Some(account)) => account,
            Ok(None) => return Err(format!("{} has no such account", options.passwd.display())),
            Err(why) => return Err(format!("it cannot be told in {}: {why}", options.passwd.display())),
        };
        let shell = String::from_utf8_lossy(&account.shell);
        let shell = if shell.is_empty() { "/bin/sh" } else { &shell };
        let shell = staunch_model::text::clip(shell, SHELL_BYTES_MAX);
        Ok(TargetFacts {
            what: format!("user {}, shell {shell}", account.uid).into(),
            protected: self.protection(name, &account, &passwd)?.map(Into::into),
        })
    }

    fn protection(&self, name: &AccountName, account: &Account, passwd: &[u8]) -> Result<Option<String>, String> {
        let options = &self.options;
        let uid = account.uid;
        let own = [nix::unistd::geteuid().as_raw(), nix::unistd::getuid().as_raw()];
        let least = match read(&options.login_defs) {
            Ok(text) => accounts::uid_min(&text),
            // Not every distribution has one.
            Err(_) => accounts::uid_min(b""),
        };
        Ok(if uid == 0 {
            Some("it is root".to_owned())
        } else if own.contains(&uid) {
            Some("Staunch runs as it".to_owned())
        } else if std::fs::read(&options.own_groups).is_ok_and(|own| accounts::runs_within(&own, uid)) {
            Some("Staunch runs within its sessions, and would be frozen with them".to_owned())
        } else if options.protected.contains(name) {
            Some("[accounts] protected names it".to_owned())
        } else if uid == NOBODY || name.as_str() == "nobody" {
            Some("it is nobody, which many services run as".to_owned())
        } else if uid < least {
            Some(format!(
                "it is an account of the system: its number {uid} is below {least}"
            ))
        } else if let Some(other) = accounts::namesake(passwd, name.as_str(), uid) {
            Some(format!(
                "the account {} has the same number, and what runs in its sessions would stop too",
                Printable(&other)
            ))
        } else {
            let (group, shadow) = (read(&options.group)?, read(&options.shadow)?);
            let is_last = accounts::is_last_admin(passwd, &group, &shadow, name.as_str(), accounts::today());
            is_last
                .then(|| "it is the last account that may become root and log in: nobody could get back in".to_owned())
        })
    }
}

impl Targets for AccountFinder {
    fn find(&self, named: &Target, seen: Seen<'_>) -> Found {
        let is_here = self.options.host.check("an account", seen.host);
        match is_here {
            Ok(()) => self.look_again(named),
            Err(why) => Found {
                target: named.clone(),
                facts: Err(why.into()),
            },
        }
    }

    fn look_again(&self, target: &Target) -> Found {
        let facts = match target {
            Target::Account(name) => self.about(name),
            _ => Err("it is no account".to_owned()),
        };
        Found {
            target: target.clone(),
            facts: facts.map_err(Into::into),
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    accounts::read(path).map_err(|error: io::Error| format!("cannot read {}: {error}", path.display()))
}
