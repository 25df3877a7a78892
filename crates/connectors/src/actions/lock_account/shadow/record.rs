//! What an account was before it was locked: one file for each lock, on disk before anything changes.
//!
//! Never holds a password or a part of one. Of the password field it says whether our mark is on it, how long it then
//! is, and on which day it was last changed: enough to tell that it is still the one that was marked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use staunch_model::{AccountName, InstallationId, Owner, Printable};

use super::super::super::Label;
use crate::accounts::shadow::Entry;

/// The first line of every record.
const HEAD: &str = "staunch lock-account 1";

/// Bytes that are read of a record, which has some 200.
pub const RECORD_BYTES_MAX: u64 = 4 << 10;

/// Records that are listed. So many accounts are never locked: the budgets of policies are far below.
const RECORDS_MAX: usize = 65_536;

/// What an account was before it was locked, and by whom it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub(super) label: Label,
    pub(super) uid: u32,
    /// The expiry before.
    pub(super) expiry: Vec<u8>,
    /// Whether the mark before the password is ours.
    pub(super) marked: bool,
    /// How long the password field is with the mark.
    length: usize,
    /// When the password was last changed.
    changed: Vec<u8>,
    /// Whether the sessions were frozen before.
    pub(super) was_frozen: bool,
}

impl Record {
    /// Of `entry`, which is about to be locked, perhaps once more after `before` was written down.
    #[must_use]
    pub fn of(label: Label, uid: u32, entry: &Entry<'_>, before: Option<&Self>, was_frozen: bool) -> Self {
        let (is_marked, length) = (entry.is_marked(), entry.password().len());
        Self {
            label,
            uid,
            expiry: entry.expiry().to_vec(),
            marked: !is_marked || before.is_some_and(|it| it.has_marked(entry)),
            length: if is_marked { length } else { length + 1 },
            changed: entry.changed().to_vec(),
            was_frozen,
        }
    }

    /// Whether the mark before the password of `entry` is ours.
    #[must_use]
    pub fn has_marked(&self, entry: &Entry<'_>) -> bool {
        self.marked
            && entry.is_marked()
            && entry.password().len() == self.length
            && entry.changed() == self.changed.as_slice()
    }

    /// The password and the expiry that `entry` has once the lock is lifted: what was there, where it still is what was
    /// written.
    #[must_use]
    pub fn given_back<'a>(&'a self, entry: &Entry<'a>) -> (&'a [u8], &'a [u8]) {
        let password = match self.has_marked(entry) {
            true => &entry.password()[1..],
            false => entry.password(),
        };
        let expiry = if entry.has_our_expiry() {
            &self.expiry
        } else {
            entry.expiry()
        };
        (password, expiry)
    }

    /// As it is kept in a file.
    #[must_use]
    pub fn write(&self, name: &AccountName) -> Vec<u8> {
        let yes = |it| if it { "yes" } else { "no" };
        let mut text = format!(
            "{HEAD}\nlabel {}\naccount {name}\nuid {}\nmarked {}\nlength {}\nfrozen {}\nexpiry ",
            self.label,
            self.uid,
            yes(self.marked),
            self.length,
            yes(self.was_frozen),
        )
        .into_bytes();
        text.extend_from_slice(&self.expiry);
        text.extend_from_slice(b"\nchanged ");
        text.extend_from_slice(&self.changed);
        text.push(b'\n');
        text
    }

    /// Reads what [`Record::write`] writes, and nothing else.
    fn parse(text: &[u8], name: &AccountName) -> Option<Self> {
        let mut lines = text.split(|byte| *byte == b'\n');
        if lines.next()? != HEAD.as_bytes() {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key.as_bytes())?.strip_prefix(b" ");
        let label = words(value("label")?)?;
        let own = words(value("account")?)? == name.as_str();
        let uid = words(value("uid")?)?.parse().ok()?;
        let marked = words(value("marked")?)? == "yes";
        let length = words(value("length")?)?.parse().ok()?;
        let was_frozen = words(value("frozen")?)? == "yes";
        let (expiry, changed) = (value("expiry")?.to_vec(), value("changed")?.to_vec());
        let record = Self {
            label: Label::parse(label)?,
            uid,
            expiry,
            marked,
            length,
            changed,
            was_frozen,
        };
        (own && record.write(name) == text).then_some(record)
    }
}

fn words(text: &[u8]) -> Option<&str> {
    std::str::from_utf8(text).ok()
}

/// What is found in place of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A record of some installation of Staunch.
    Whole(Record),
    /// Something else, with this for a label.
    Other(String),
}

impl Kept {
    /// Reads a file of the account `name`.
    #[must_use]
    pub fn parse(text: &[u8], name: &AccountName) -> Self {
        match Record::parse(text, name) {
            Some(record) => Self::Whole(record),
            None => {
                let mut lines = text.split(|byte| *byte == b'\n');
                let label = lines.find_map(|line| line.strip_prefix(b"label "));
                let label = label.map_or("a record that cannot be read".into(), String::from_utf8_lossy);
                Self::Other(Printable(&label).to_string())
            }
        }
    }

    /// The label that it has, when it is one of Staunch's.
    pub fn label(&self) -> Option<Label> {
        match self {
            Self::Whole(record) => Some(record.label),
            Self::Other(text) => Label::parse(text),
        }
    }

    /// Whose it is, seen from `installation`.
    pub fn owner(&self, installation: InstallationId) -> Owner {
        match self {
            Self::Whole(record) => Label::owner(Some(&record.label.to_string()), installation),
            // Whatever it says: what cannot be undone by it is not ours.
            Self::Other(label) => Owner::Foreign(label.as_str().into()),
        }
    }
}

/// The directory of records.
#[derive(Clone, Debug)]
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    pub(super) fn get(&self, name: &AccountName) -> io::Result<Option<Kept>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(self.path(name));
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = Vec::new();
        file.take(RECORD_BYTES_MAX).read_to_end(&mut text)?;
        Ok(Some(Kept::parse(&text, name)))
    }

    /// All there are, by name.
    pub(super) fn all(&self) -> io::Result<Vec<(AccountName, Kept)>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries.take(RECORDS_MAX) {
            // What has no name of an account, such as a record that was being written, is none.
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(|it| it.parse::<AccountName>().ok()));
        }
        names.sort();
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let kept = self.get(&name)?;
            all.extend(kept.map(|kept| (name, kept)));
        }
        Ok(all)
    }

    /// Writes one down. It is on disk when this returns.
    pub(super) fn put(&self, name: &AccountName, record: &Record) -> io::Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made?;
        // No account is called like this.
        let new = self.0.join(format!(".{name}.new"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&new)?;
        file.write_all(&record.write(name))?;
        file.sync_all()?;
        fs::rename(&new, self.path(name))?;
        self.sync()?;
        // The directory itself may be new.
        self.0.parent().map_or(Ok(()), |it| File::open(it)?.sync_all())
    }

    /// Removes one, unless it is not there.
    pub(super) fn remove(&self, name: &AccountName) -> io::Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn path(&self, name: &AccountName) -> PathBuf {
        self.0.join(name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::TransactionId;

    use super::*;

    fn alice() -> AccountName {
        "alice".parse().expect("a name")
    }

    fn record(line: &[u8]) -> Record {
        let label = Label {
            installation: InstallationId([0xa0; 8]),
            transaction: TransactionId(7),
        };
        let entry = Entry::find(line, "alice").ok().flatten().expect("an entry");
        Record::of(label, 1001, &entry, None, false)
    }

    #[test]
    fn a_record_reads_what_it_writes_and_nothing_else() {
        let record = record(b"alice:$y$j9T$secret:19001:0:99999:7::20500:");
        let text = record.write(&alice());
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert_eq!(
            shown,
            "staunch lock-account 1\nlabel staunch:a0a0a0a0a0a0a0a0:TX-7\naccount alice\nuid 1001\nmarked yes\nlength 14\n\
             frozen no\nexpiry 20500\nchanged 19001\n"
        );
        assert_eq!(Kept::parse(&text, &alice()), Kept::Whole(record));
        for (from, to) in [
            ("TX-7", "TX-07"),
            ("account alice", "account bob"),
            ("uid 1001", "uid +1001"),
            ("marked yes", "marked maybe"),
            ("changed 19001\n", "changed 19001"),
            ("changed 19001\n", "changed 19001\nmore\n"),
            ("account 1", "account 2"),
        ] {
            let changed = shown.replacen(from, to, 1);
            assert_ne!(changed, shown);
            assert!(
                matches!(Kept::parse(changed.as_bytes(), &alice()), Kept::Other(_)),
                "{from}"
            );
        }
        for cut in 0..text.len() {
            assert!(matches!(Kept::parse(&text[..cut], &alice()), Kept::Other(_)), "{cut}");
        }
    }

    #[test]
    fn our_mark_is_told_from_others() {
        let open = record(b"alice:$y$x:19001::::::");
        let has_marked = |record: &Record, line: &[u8]| {
            let entry = Entry::find(line, "alice").ok().flatten().expect("an entry");
            record.has_marked(&entry)
        };
        assert!(has_marked(&open, b"alice:!$y$x:19001:::::2:"));
        for (line, why) in [
            (&b"alice:$y$x:19001:::::2:"[..], "there is none"),
            (b"alice:!$y$x:19002:::::2:", "the password was changed"),
            (b"alice:!$y$xy:19001:::::2:", "it is another password"),
            (b"alice:!!$y$x:19001:::::2:", "somebody has put one before it"),
        ] {
            assert!(!has_marked(&open, line), "{why}");
        }
        let shut = record(b"alice:!$y$x:19001::::::");
        assert!(!has_marked(&shut, b"alice:!$y$x:19001:::::2:"), "it was there before");
        let empty = record(b"alice::19001::::::");
        assert!(has_marked(&empty, b"alice:!:19001:::::2:"));
    }
}
