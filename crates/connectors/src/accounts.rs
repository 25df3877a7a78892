//! The accounts of this machine, as its files have them: passwd(5), group(5), shadow(5).
//!
//! Never asks the name service: who is only in a directory service is no account of this machine. Believes no line that
//! the C library would read otherwise: a name that two lines have is nobody's.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

pub mod shadow;

/// Bytes that are read of one file: a hundred thousand accounts have some 15 MB.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// The groups whose members may become root by the rules that distributions come with: `sudo` (Debian, Ubuntu), `wheel`
/// (Red Hat, SUSE, Arch), `admin` (Ubuntu before 12.04).
const ADMINS: [&str; 3] = ["sudo", "wheel", "admin"];

/// Programs that let nobody work, where a shell is named.
const NO_SHELLS: [&[u8]; 6] = [b"nologin", b"false", b"true", b"sync", b"shutdown", b"halt"];

/// Whether this process runs within the sessions of the user `uid`, which are frozen when its account is locked: by the
/// text of `/proc/self/cgroup`, with the names that systemd gives them.
pub(crate) fn runs_within(own_groups: &[u8], uid: u32) -> bool {
    let slice = format!("user-{uid}.slice");
    let is_in = |path: &[u8]| path.split(|byte| *byte == b'/').any(|part| part == slice.as_bytes());
    let mut paths = own_groups.split(|byte| *byte == b'\n');
    // The third field, which may hold colons itself.
    paths.any(|line| line.splitn(3, |byte| *byte == b':').nth(2).is_some_and(is_in))
}

/// Reads a file whole, which must be a file and not a link to one.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

/// The lines of a file that name `name` first, without what ends them, and where they begin. The C library leaves out
/// blanks before a name, so that they make no other one of it.
fn lines_of<'a>(text: &'a [u8], name: &'a str) -> impl Iterator<Item = (usize, &'a [u8])> {
    lines(text).filter(move |(_, line)| {
        let rest = line.trim_ascii_start().strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b':')
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    text.split(|byte| *byte == b'\n').map(move |line| {
        let begins = at;
        at += line.len() + 1;
        (begins, line)
    })
}

/// Where a line begins, and its fields.
type Line<'a> = (usize, Vec<&'a [u8]>);

/// The only line of `name`: `None` without one.
///
/// # Errors
/// When there are several, or one that is not read the same by everybody.
fn only_line<'a>(text: &'a [u8], name: &'a str, fields: usize) -> Result<Option<Line<'a>>, &'static str> {
    let mut found = lines_of(text, name);
    let Some((at, line)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err("it is there more than once");
    }
    if line.first().is_some_and(u8::is_ascii_whitespace) {
        return Err("there are blanks before its name");
    }
    if line.contains(&0) {
        return Err("there is a NUL in its line");
    }
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    if parts.len() != fields {
        return Err("its line has not as many fields as it should");
    }
    Ok(Some((at, parts)))
}

/// An account as passwd(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    gid: u32,
    pub(crate) shell: Vec<u8>,
}

impl Account {
    /// Finds `name` in the text of a passwd file.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn find(passwd: &[u8], name: &str) -> Result<Option<Self>, &'static str> {
        let Some((_, fields)) = only_line(passwd, name, 7)? else {
            return Ok(None);
        };
        match Self::of(&fields) {
            Some(account) => Ok(Some(account)),
            None => Err("its numbers are none"),
        }
    }

    fn of(fields: &[&[u8]]) -> Option<Self> {
        let [_, _, uid, gid, _, _, shell] = fields else {
            return None;
        };
        Some(Self {
            uid: number(uid)?,
            gid: number(gid)?,
            shell: (*shell).to_vec(),
        })
    }

    /// Whether its shell lets somebody work. Without one it is `/bin/sh`.
    fn may_work(&self) -> bool {
        let name = self.shell.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        !NO_SHELLS.contains(&name)
    }
}

/// Another name with the number `uid` than `name`.
pub(crate) fn namesake(passwd: &[u8], name: &str, uid: u32) -> Option<String> {
    accounts(passwd)
        .find(|(other, account)| account.uid == uid && *other != name.as_bytes())
        .map(|(other, _)| String::from_utf8_lossy(other).into_owned())
}

fn accounts(passwd: &[u8]) -> impl Iterator<Item = (&[u8], Account)> {
    lines(passwd).filter_map(|(_, line)| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let name = fields.first()?.trim_ascii_start();
        Some((name, Account::of(&fields)?))
    })
}

/// Whether `name` may become root by its groups, and nobody else may who can log in on the day `today`: once it is
/// locked, nobody can get in and unlock it. Root itself does not count, which many machines let in nowhere.
pub(crate) fn is_last_admin(passwd: &[u8], group: &[u8], shadow: &[u8], name: &str, today: i64) -> bool {
    let admins = Admins::of(group);
    let is_admin = |name: &[u8], account: &Account| admins.has(name, account.gid);
    let own = accounts(passwd).find(|(other, _)| *other == name.as_bytes());
    if !own.is_some_and(|(own, account)| is_admin(own, &account)) {
        return false;
    }
    let others = accounts(passwd).filter(|(other, account)| {
        *other != name.as_bytes() && account.uid != 0 && account.may_work() && is_admin(other, account)
    });
    let can_log_in = |name: &[u8]| {
        let name = std::str::from_utf8(name).ok();
        let entry = name.and_then(|name| shadow::Entry::find(shadow, name).ok().flatten());
        entry.is_some_and(|entry| !entry.is_expired(today))
    };
    !others.into_iter().any(|(other, _)| can_log_in(other))
}

/// Who is in the groups that may become root.
struct Admins<'a> {
    gids: Vec<u32>,
    members: Vec<&'a [u8]>,
}

impl<'a> Admins<'a> {
    fn of(group: &'a [u8]) -> Self {
        let mut admins = Self {
            gids: Vec::new(),
            members: Vec::new(),
        };
        for (_, line) in lines(group) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let [name, _, gid, members] = fields.as_slice() else {
                continue;
            };
            if ADMINS.iter().any(|it| it.as_bytes() == name.trim_ascii_start()) {
                admins.gids.extend(number(gid));
                admins.members.extend(members.split(|byte| *byte == b','));
            }
        }
        admins
    }

    fn has(&self, name: &[u8], gid: u32) -> bool {
        self.gids.contains(&gid) || self.members.contains(&name)
    }
}

/// The smallest number of an account of a person, as login.defs(5) has it; 1000 where it does not say.
pub(crate) fn uid_min(login_defs: &[u8]) -> u32 {
    let value = lines(login_defs).find_map(|(_, line)| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        (words.next()? == b"UID_MIN").then(|| words.next()).flatten()
    });
    value.and_then(number).unwrap_or(1_000)
}

/// A number without a sign.
fn number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// The day that it is, counted as shadow(5) counts: from 1 January 1970, in UTC.
pub(crate) fn today() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |it| i64::try_from(it.as_secs() / 86_400).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n\
        alice:x:1001:1001:Alice,,,:/home/alice:/bin/bash\n\
        bob:x:1002:1002::/home/bob:\n\
        carol:x:1003:27::/home/carol:/usr/sbin/nologin\n\
        twin:x:1002:1002::/home/bob:/bin/sh\n\
        half:x:1005\n";

    #[test]
    fn an_account_is_told_by_its_only_line() {
        let alice = Account::find(PASSWD, "alice")
            .expect("it is told")
            .expect("it is there");
        assert_eq!(
            (alice.uid, alice.gid, alice.shell.as_slice()),
            (1001, 1001, b"/bin/bash".as_slice())
        );
        for nobody in ["ali", "alice2", "Alice", "x"] {
            assert_eq!(Account::find(PASSWD, nobody), Ok(None));
        }
        assert!(Account::find(PASSWD, "half").is_err());
        for other in ["alice:x:0:0::/:/bin/sh", "  alice:x:0:0::/:/bin/sh", "\talice"] {
            let text = [PASSWD, other.as_bytes()].concat();
            assert_eq!(
                Account::find(&text, "alice"),
                Err("it is there more than once"),
                "{other}"
            );
        }
        for (line, says) in [
            (&b" alice:x:7:7::/:/bin/sh"[..], "blanks"),
            (b"alice:x:7\0:7::/:/bin/sh", "NUL"),
            (b"alice:x:+7:7::/:/bin/sh", "numbers"),
            (b"alice:x:-1:7::/:/bin/sh", "numbers"),
            (b"alice:x:99999999999:7::/:/bin/sh", "numbers"),
            (b"alice:x:7:7::/:/bin/sh:", "fields"),
        ] {
            let why = Account::find(line, "alice").expect_err("it is not told");
            assert!(why.contains(says), "{why}");
        }
        assert_eq!(namesake(PASSWD, "bob", 1002).as_deref(), Some("twin"));
        assert_eq!(namesake(PASSWD, "alice", 1001), None);
    }

    #[test]
    fn the_last_who_may_become_root_is_known() {
        let group = |sudo: &str| format!("root:x:0:\nsudo:x:27:{sudo}\nstaff:x:50:alice,bob\n");
        let shadow = |bob: &str| {
            format!("alice:!:1::::::\nbob:*:1:::::{bob}:\ncarol:*:1::::::\ntwin:*:1::::::\nroot:*:1::::::\n")
        };
        let is_last = |sudo: &str, shadow: &str, name: &str| {
            is_last_admin(PASSWD, group(sudo).as_bytes(), shadow.as_bytes(), name, 20_000)
        };
        let all = shadow("");
        assert!(is_last("alice", &all, "alice"), "carol has no shell");
        assert!(is_last("alice,root", &all, "alice"), "root may be let in nowhere");
        assert!(!is_last("alice,bob", &all, "alice"));
        assert!(!is_last("bob", &all, "alice"), "it is none of them");
        assert!(is_last("alice,bob", &shadow("19999"), "alice"), "bob is expired");
        assert!(is_last("alice,bob", &shadow("1"), "alice"), "bob is locked");
        assert!(!is_last("alice,bob", &shadow("20001"), "alice"));
        assert!(is_last("alice,bob", "alice:!:1::::::\n", "alice"), "bob is not known");
        assert!(!is_last("alice", &all, "carol"), "alice can log in");
        assert!(is_last("", &all, "carol"), "by its first group");
    }

    #[test]
    fn the_smallest_number_of_a_person_is_read() {
        assert_eq!(uid_min(b"# UID_MIN 5\nUID_MIN\t\t  500\nUID_MAX 60000\n"), 500);
        for text in [&b""[..], b"UID_MIN", b"UID_MIN x", b"#UID_MIN 500\nSYS_UID_MIN 100"] {
            assert_eq!(uid_min(text), 1_000);
        }
    }
}
