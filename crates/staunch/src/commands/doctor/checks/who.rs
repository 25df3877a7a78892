//! Who this is run as, and whose the files are.
//!
//! Never guesses: an owner without a name is told by its number.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, Uid, User, access, geteuid};
use staunch_model::Printable;

use super::super::{Finding, Health};

/// Where the data of services with `DynamicUser=` is.
const PRIVATE: &str = "/var/lib/private";

/// Whom a path is kept from, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct KeptOut {
    /// Whose it is, and who this is.
    pub(in super::super) what: String,
    /// What to do about it.
    pub(in super::super) fix: String,
}

/// The user that this is run as.
pub(super) fn user() -> Finding {
    Finding::new("user", Health::Ok, format!("this is run as {}", named(geteuid())))
}

/// Why this user may not do what is `wanted` with `path`; `None` when it may, or when something else is wrong.
pub(in super::super) fn kept_out(path: &Path, wanted: AccessFlags) -> Option<KeptOut> {
    if access(path, wanted) != Err(Errno::EACCES) {
        return None;
    }
    // Who goes through a link is kept out behind it.
    let behind = fs::read_link(path).ok().and_then(|to| Some(path.parent()?.join(to)));
    let path = behind.as_deref().unwrap_or(path);
    // The nearest that can be looked at is the one that keeps out.
    let (at, found) = path.ancestors().find_map(|it| Some((it, fs::metadata(it).ok()?)))?;
    let owner = Uid::from_raw(found.uid());
    let mode = found.permissions().mode() & 0o7777;
    let what = format!(
        "{} belongs to {}, mode {mode:03o}, and this is run as {}",
        Printable(&at.display().to_string()),
        named(owner),
        named(geteuid())
    );
    let run = match name(owner) {
        _ if owner.is_root() => "`sudo staunch doctor`".to_owned(),
        Some(name) => format!("`sudo -u {name} staunch doctor`"),
        None => "run this as that user, or as root".to_owned(),
    };
    // There systemd keeps what services without a user of their own have, each of which sees its own.
    let fix = match at.starts_with(PRIVATE) {
        true => run,
        false => format!("{run}; a server has to run as that user too"),
    };
    Some(KeptOut { what, fix })
}

/// `nobody (uid 65534)`, or `uid 12345` of a user without a name.
fn named(uid: Uid) -> String {
    match name(uid) {
        Some(name) => format!("{name} (uid {uid})"),
        None => format!("uid {uid}"),
    }
}

fn name(uid: Uid) -> Option<String> {
    // Without the file of users there are no names.
    let user = User::from_uid(uid).ok().flatten()?;
    Some(Printable(&user.name).to_string())
}
