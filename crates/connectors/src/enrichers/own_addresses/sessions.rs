//! Who is logged in over the network, by what sshd and the machine's own records of logins say.
//!
//! Never believes a connection: anybody can have one. Only what is written after authentication counts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::beginning;
use super::files::{has_login, logind_peer, ssh_peer};
use crate::evidence::{LOGIN_RECORD_BYTES, parse_logins};

/// Processes whose environment is read. A busy server has some hundreds; it bounds the time that a start takes.
const PROCESSES_MAX: usize = 16_384;

/// Bytes that are read of one environment. sshd and login shells leave some kilobytes.
const ENVIRONMENT_BYTES_MAX: u64 = 64 << 10;

/// Bytes that are read of the status of a process, which has about 1.5 KB.
const STATUS_BYTES_MAX: u64 = 8 << 10;

/// Records of utmp that are read: one for each terminal.
const RECORDS_MAX: u64 = 4_096;

/// Sessions of systemd-logind that are read: it has 8,192 at most by default.
const LOGIND_SESSIONS_MAX: usize = 8_192;

/// Bytes that are read of one; they have some hundred.
const LOGIND_BYTES_MAX: u64 = 16 << 10;

/// A record of utmp that says that somebody is logged in (utmp(5): `USER_PROCESS`).
const LOGGED_IN: i16 = 7;

/// Where this machine has its processes and its records of logins.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// The processes.
    pub proc: PathBuf,
    /// Who is logged in at a terminal.
    pub utmp: PathBuf,
    /// The directory of the sessions of systemd-logind.
    pub logind: PathBuf,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            utmp: "/run/utmp".into(),
            logind: "/run/systemd/sessions".into(),
        }
    }
}

impl Sessions {
    /// The peers of sessions of people, each with what tells of it. What may not be read is passed over.
    ///
    /// sshd sets `SSH_CONNECTION` or `SSH_CLIENT` after authentication, in the environment of processes that only
    /// their own user and root may read; those of this process and of users who can log in count. utmp and the files of
    /// systemd-logind are written by root and may be read by all: a login at a terminal is in the first, and every one
    /// that went through PAM (`UsePAM yes`) in the second.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<IpAddr, &'static str> {
        let logins = self.terminals().into_iter().chain(self.logind());
        let mut found: BTreeMap<IpAddr, &'static str> = logins.map(|it| (it.to_canonical(), "login")).collect();
        found.extend(self.ssh().map(|it| (it.to_canonical(), "ssh")));
        found
    }

    /// Whether the machine keeps records of logins that this process may read.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.logind.read_dir().is_ok() || beginning(&self.utmp, 1).is_some()
    }

    /// The peers in the environment of this process, and of those whose user can log in.
    fn ssh(&self) -> impl Iterator<Item = IpAddr> {
        let numbers = std::fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let numbers = numbers.map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        });
        let others = numbers.take(PROCESSES_MAX).filter(|process| {
            let status = beginning(&process.join("status"), STATUS_BYTES_MAX);
            status.is_some_and(|status| has_login(&String::from_utf8_lossy(&status)))
        });
        std::iter::once(self.proc.join("self"))
            .chain(others)
            .filter_map(|process| ssh_peer(&beginning(&process.join("environ"), ENVIRONMENT_BYTES_MAX)?))
    }

    /// The peers in utmp of those whose process is there: a record stays behind when nobody could end it.
    fn terminals(&self) -> Vec<IpAddr> {
        let bytes = beginning(&self.utmp, RECORDS_MAX * LOGIN_RECORD_BYTES as u64).unwrap_or_default();
        let (records, _) = parse_logins(&bytes);
        let is_there = |pid: i32| pid > 0 && self.proc.join(pid.to_string()).exists();
        let logged_in = records.iter().filter(|it| it.kind == LOGGED_IN && is_there(it.pid));
        logged_in.filter_map(|it| it.address).collect()
    }

    fn logind(&self) -> impl Iterator<Item = IpAddr> {
        let files = std::fs::read_dir(&self.logind).into_iter().flatten().flatten();
        // Beside each there may be a pipe, which is not opened.
        let files = files.map(|it| it.path()).filter(|it| it.is_file());
        files.take(LOGIND_SESSIONS_MAX).filter_map(|file| peer_in(&file))
    }
}

fn peer_in(file: &Path) -> Option<IpAddr> {
    logind_peer(&String::from_utf8_lossy(&beginning(file, LOGIND_BYTES_MAX)?))
}
