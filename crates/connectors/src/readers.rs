//! Readers of the files and lines of a machine that others write to, by themselves: for those who try them with hostile
//! bytes. What uses them reads through what is around them.

use std::net::IpAddr;

use crate::accounts::shadow::Entry;
use crate::enrichers::own_addresses::{logind_peer, resolvers, ssh_peer};
use crate::inlets::journald::entry::read;
use crate::proc::Stat;

/// An entry of the journal of systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its place in the journal.
    pub cursor: String,
    /// What it says.
    pub messages: Vec<Vec<u8>>,
    /// Whether a part was left out because it is too long.
    pub is_cut: bool,
}

/// Reads a line of `journalctl --output=json`.
///
/// # Errors
/// Why it is no entry.
pub fn journal_entry(line: &[u8]) -> Result<JournalEntry, &'static str> {
    read(line).map(|it| JournalEntry {
        cursor: it.cursor,
        messages: it.messages,
        is_cut: it.is_cut,
    })
}

/// The password field and the expiry of the account `name` in the text of a shadow file.
///
/// # Errors
/// Why it cannot be told.
pub fn shadow_entry<'t>(text: &'t [u8], name: &'t str) -> Result<Option<(&'t [u8], &'t [u8])>, &'static str> {
    Ok(Entry::find(text, name)?.map(|it| (it.password(), it.expiry())))
}

/// The text of a shadow file with another password field and another expiry of the account `name`; `None` when it is
/// not there.
///
/// # Errors
/// Why it cannot be told.
pub fn shadow_with(text: &[u8], name: &str, password: &[u8], expiry: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    Ok(Entry::find(text, name)?.map(|it| it.with(text, password, expiry)))
}

/// Number, parent and start of a process by the line of `/proc/PID/stat`, and its name.
#[must_use]
pub fn process_stat(line: &[u8]) -> Option<(u32, u32, u64, &[u8])> {
    let it = Stat::parse(line)?;
    Some((it.pid, it.parent, it.started, Stat::name(line)?))
}

/// The resolvers in the text of `resolv.conf`.
#[must_use]
pub fn resolver_lines(text: &str) -> Vec<IpAddr> {
    resolvers(text).collect()
}

/// The peer of an SSH session by the environment of a process of it.
#[must_use]
pub fn ssh_session(environment: &[u8]) -> Option<IpAddr> {
    ssh_peer(environment)
}

/// The peer of a session of systemd-logind by its file.
#[must_use]
pub fn logind_session(text: &str) -> Option<IpAddr> {
    logind_peer(text)
}
