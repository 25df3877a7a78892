//! Who may do what: bearer tokens.
//!
//! Never keeps a token, only its BLAKE3 hash. A token has 256 random bits, so a plain hash is enough: there is nothing
//! to guess. The file has one line for each token: name, role, hash, time of creation.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use staunch_model::{Printable, Timestamp};
use staunch_ports::Clock;
use staunch_ports::clock::SystemClock;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use crate::files::{self, FILE_BYTES_MAX, FileError, FileWatch, stamp};

/// What a token begins with, so that scanners for leaked secrets find it.
pub const TOKEN_PREFIX: &str = "stn_";

/// The operator's name when a request without a token is let in; no token may have it.
pub const LOOPBACK_NAME: &str = "loopback";

/// The operator's name when a request without a token comes in by the operators' socket; no token may have it.
pub const LOCAL_NAME: &str = "operators-socket";

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// Tokens in one file. Every request is compared with all of them.
const TOKENS_MAX: usize = 1_000;

/// Bytes of a token's name.
const NAME_BYTES_MAX: usize = 64;

/// Bytes of a line of the file: a name, a role, a hash, a time, and what is between them.
const LINE_BYTES_MAX: usize = NAME_BYTES_MAX + 160;

const _: () = assert!(((TOKENS_MAX + 1) * LINE_BYTES_MAX) as u64 <= FILE_BYTES_MAX);

/// How often the file is looked at for changes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May post events, and nothing else.
    Sender,
    /// May look at everything, and change nothing.
    Viewer,
    /// May look, and decide on what is contained: release, renew, recover, approve, deny, protect; of networks, only
    /// those that are not so wide that containment would be off.
    Responder,
    /// May do everything.
    Operator,
}

/// What a request needs its caller to be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Post events.
    Send,
    /// Look, and ask what would be done.
    Look,
    /// Decide on what is contained.
    Respond,
    /// Change how Staunch itself behaves.
    Operate,
}

impl Right {
    /// Whose token to use, as it is told to those who lack the right.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Send => "use the token of a sender",
            Self::Look => "use the token of a viewer",
            Self::Respond => "use the token of a responder or an operator",
            Self::Operate => "use the token of an operator",
        }
    }
}

impl Role {
    /// All of them, those that may do least first.
    pub const ALL: [Self; 4] = [Self::Sender, Self::Viewer, Self::Responder, Self::Operator];

    /// The word for it in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Viewer => "viewer",
            Self::Responder => "responder",
            Self::Operator => "operator",
        }
    }

    /// Whether it has `right`.
    #[must_use]
    pub const fn has(self, right: Right) -> bool {
        match self {
            Self::Sender => matches!(right, Right::Send),
            Self::Viewer => matches!(right, Right::Look),
            Self::Responder => matches!(right, Right::Look | Right::Respond),
            Self::Operator => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sender" => Ok(Self::Sender),
            "viewer" => Ok(Self::Viewer),
            "responder" => Ok(Self::Responder),
            "operator" => Ok(Self::Operator),
            other => Err(format!(
                "{} is not a role: write sender, viewer, responder or operator",
                Printable(other)
            )),
        }
    }
}

/// Whose token or certificate it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the token, or the one that is configured for the certificate.
    pub name: Arc<str>,
    /// What it is good for.
    pub role: Role,
}

/// A token in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Its name, unique in the file.
    pub name: Arc<str>,
    /// What it is good for.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    hash: [u8; 32],
}

/// Why the tokens cannot be read or changed.
#[derive(Debug, Error)]
pub enum TokensError {
    /// The file cannot be changed, or holds no text.
    #[error("cannot {what} {path}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It cannot be read, is no regular file, or is too long.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of the file is not a token.
    #[error("{path}, line {line}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Others than the owner may write the file, so it proves nothing.
    #[error("{path} can be written by others than its owner (mode {mode:03o}): run chmod 600 on it")]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The name cannot be used.
    #[error("{name} cannot be the name of a token: {why}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(String),
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens already: revoke one first")]
    TooMany,
    /// The system has no randomness.
    #[error("cannot draw random bytes: {0}")]
    Random(String),
}

/// The tokens in a file. Changes of the file are noticed within a second.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    entries: Arc<[TokenEntry]>,
    watch: FileWatch,
}

impl Tokens {
    /// Reads the tokens in the file at `path`. A file that does not exist holds none.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn load(path: &Path) -> Result<Self, TokensError> {
        Self::load_refreshed(path, REFRESH_INTERVAL)
    }

    /// Like [`Tokens::load`], with another time between two looks at the file.
    ///
    /// # Errors
    /// [`TokensError`].
    pub fn load_refreshed(path: &Path, refresh_interval: Duration) -> Result<Self, TokensError> {
        let stamp = stamp(path);
        let entries = read(path)?.into();
        let known = Known {
            entries,
            watch: FileWatch::new(vec![stamp], refresh_interval),
        };
        Ok(Self {
            path: path.to_owned(),
            known: Mutex::new(known),
        })
    }

    /// Makes a token. It is returned this once and kept nowhere.
    ///
    /// # Errors
    /// [`TokensError`]; the file is as before.
    pub fn create(&self, name: &str, role: Role) -> Result<String, TokensError> {
        check_name(name)?;
        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(|error| TokensError::Random(error.to_string()))?;
        let mut token = TOKEN_PREFIX.to_owned();
        hex(&mut token, &random);
        self.change(|entries| {
            if entries.iter().any(|entry| &*entry.name == name) {
                let why = "there is a token with this name; revoke it first";
                return Err(TokensError::Name {
                    name: name.to_owned(),
                    why,
                });
            }
            if entries.len() >= TOKENS_MAX {
                return Err(TokensError::TooMany);
            }
            let hash = *blake3::hash(token.as_bytes()).as_bytes();
            entries.push(TokenEntry {
                name: name.into(),
                role,
                created: SystemClock.now(),
                hash,
            });
            Ok(())
        })?;
        Ok(token)
    }

    /// Makes the token with this name good for nothing.
    ///
    /// # Errors
    /// [`TokensError`]; the file is as before.
    pub fn revoke(&self, name: &str) -> Result<(), TokensError> {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| &*entry.name != name);
            if entries.len() < before {
                Ok(())
            } else {
                Err(TokensError::Unknown(Printable(name).to_string()))
            }
        })
    }

    /// All tokens, in the order of the file.
    #[must_use]
    pub fn list(&self) -> Vec<TokenEntry> {
        self.entries().to_vec()
    }

    /// Whose token `presented` is. Takes the same time whether and where it is found.
    #[must_use]
    pub fn check(&self, presented: &str) -> Option<Identity> {
        let entries = self.entries();
        let hash = blake3::hash(presented.as_bytes());
        let mut found = u64::MAX;
        for (index, entry) in (0_u64..).zip(entries.iter()) {
            let equal: Choice = entry.hash.ct_eq(hash.as_bytes());
            found.conditional_assign(&index, equal);
        }
        let entry = usize::try_from(found).ok().and_then(|index| entries.get(index))?;
        Some(Identity {
            name: entry.name.clone(),
            role: entry.role,
        })
    }

    /// The tokens, read anew when the file has changed.
    fn entries(&self) -> Arc<[TokenEntry]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stamps) = known.watch.changed(|| vec![stamp(&self.path)]) {
            match read(&self.path) {
                Ok(entries) => {
                    tracing::info!(tokens = entries.len(), "the tokens were read again");
                    known.entries = entries.into();
                    known.watch.was_read(stamps);
                }
                // A slip of the pen must not lock everybody out in the middle of an incident.
                Err(error) => {
                    if known.watch.has_failed(stamps) {
                        tracing::error!(%error, "the tokens cannot be read; the earlier ones stay good");
                    }
                }
            }
        }
        known.entries.clone()
    }

    /// The directory that the file is in.
    fn dir(&self) -> &Path {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        dir.unwrap_or(Path::new("."))
    }

    /// Changes the file: whole and at once, with other processes locked out.
    fn change(&self, edit: impl FnOnce(&mut Vec<TokenEntry>) -> Result<(), TokensError>) -> Result<(), TokensError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| TokensError::Io { what, path, source }
        };
        let beside = |ending: &str| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(ending);
            PathBuf::from(name)
        };
        let lock_path = beside(".lock");
        let lock = open_lock(&lock_path).map_err(failed("open", &lock_path))?;
        give_to_owner_of(self.dir(), &lock).map_err(failed("give away", &lock_path))?;
        lock.lock().map_err(failed("lock", &lock_path))?;
        let mut entries = read(&self.path)?;
        edit(&mut entries)?;
        let new_path = beside(".new");
        drop(fs::remove_file(&new_path));
        let mut file = private()
            .create_new(true)
            .write(true)
            .open(&new_path)
            .map_err(failed("create", &new_path))?;
        file.write_all(text(&entries).as_bytes())
            .map_err(failed("write", &new_path))?;
        give_to_owner_of(self.dir(), &file).map_err(failed("give away", &new_path))?;
        file.sync_all().map_err(failed("sync", &new_path))?;
        fs::rename(&new_path, &self.path).map_err(failed("replace", &self.path))?;
        let dir = self.dir();
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("sync", dir))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entries = entries.into();
        known.watch.was_read(vec![stamp(&self.path)]);
        Ok(())
    }
}

/// The file that is held while the tokens are changed. Whoever owns the directory may have put something else under
/// its name, a link to a file of root say, which is about to be given away: what has a content, or another name, is no
/// lock.
fn open_lock(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let mut options = private();
    options.create(true).truncate(false).write(true).custom_flags(flags);
    let lock = options.open(path)?;
    let about = lock.metadata()?;
    if !about.is_file() || about.nlink() != 1 || about.len() > 0 {
        let what = "it is no empty file of one name: remove it if it is not needed";
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(lock)
}

/// What root makes belongs to the owner of the directory, as whom the server runs: it could not read it otherwise.
fn give_to_owner_of(dir: &Path, file: &File) -> io::Result<()> {
    let (owner, made) = (fs::metadata(dir)?, file.metadata()?);
    if made.uid() == 0 && owner.uid() != 0 {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn read(path: &Path) -> Result<Vec<TokenEntry>, TokensError> {
    // Who may write it is asked of what is then read, not of what has the name a moment later.
    let (file, mode) = match files::open(path) {
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    if mode & 0o022 != 0 {
        return Err(TokensError::Writable {
            path: path.to_owned(),
            mode,
        });
    }
    let text = String::from_utf8(files::all(path, file)?).map_err(|error| TokensError::Io {
        what: "read",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })?;
    let mut entries: Vec<TokenEntry> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let malformed = |what| TokensError::Malformed {
            path: path.to_owned(),
            line: index + 1,
            what,
        };
        let entry = parse(line).map_err(malformed)?;
        if entries.iter().any(|other| other.name == entry.name) {
            return Err(malformed(format!("there is a token {} above", entry.name)));
        }
        entries.push(entry);
    }
    if entries.len() > TOKENS_MAX {
        Err(TokensError::TooMany)
    } else {
        Ok(entries)
    }
}

fn parse(line: &str) -> Result<TokenEntry, String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [name, role, hash, created] = fields[..] else {
        return Err(format!(
            "expected a name, a role, a hash and a time, found {} words",
            fields.len()
        ));
    };
    check_name(name).map_err(|error| error.to_string())?;
    let hash = blake3::Hash::from_hex(hash).map_err(|_| "the hash is not 64 hexadecimal digits".to_owned())?;
    Ok(TokenEntry {
        name: name.into(),
        role: role.parse()?,
        created: created.parse()?,
        hash: *hash.as_bytes(),
    })
}

fn text(entries: &[TokenEntry]) -> String {
    let mut text = "# Tokens of the Staunch API: name, role, BLAKE3 hash of the token, time of creation.\n".to_owned();
    for entry in entries {
        text.push_str(&format!("{} {} ", entry.name, entry.role));
        hex(&mut text, &entry.hash);
        text.push_str(&format!(" {}\n", entry.created));
    }
    text
}

fn hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(out, "{byte:02x}").expect("writing to a text cannot fail");
    }
}

fn check_name(name: &str) -> Result<(), TokensError> {
    match why_no_name(name) {
        None => Ok(()),
        Some(why) => Err(TokensError::Name {
            name: Printable(name).to_string(),
            why,
        }),
    }
}

/// Why nobody who is let in can have this name; `None` when somebody can.
#[must_use]
pub fn why_no_name(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        Some("it must have 1 to 64 characters")
    } else if !name.chars().all(allowed) {
        Some("only letters, digits, and . _ - @ are allowed")
    } else if name == LOOPBACK_NAME || name == LOCAL_NAME {
        Some("it stands for requests without a token")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let tokens = Tokens::load_refreshed(&dir.path().join("tokens"), Duration::ZERO).expect("no file is no tokens");
        (dir, tokens)
    }

    #[test]
    fn a_token_is_good_until_it_is_revoked() {
        let (dir, tokens) = tokens();
        let siem = tokens.create("siem", Role::Sender).expect("created");
        let ada = tokens.create("ada", Role::Operator).expect("created");
        assert!(siem.starts_with(TOKEN_PREFIX) && siem.len() == 68 && siem != ada);
        let whose = |token: &str| tokens.check(token).map(|it| (it.name.to_string(), it.role));
        assert_eq!(whose(&siem), Some(("siem".into(), Role::Sender)));
        assert_eq!(whose(&ada), Some(("ada".into(), Role::Operator)));
        for wrong in ["", "stn_", &ada[..67], &format!("{ada}0"), &ada.to_uppercase()] {
            assert_eq!(whose(wrong), None, "{wrong}");
        }
        tokens.revoke("siem").expect("revoked");
        assert_eq!(whose(&siem), None);
        assert!(matches!(tokens.revoke("siem"), Err(TokensError::Unknown(_))));
        let text = fs::read_to_string(dir.path().join("tokens")).expect("there is a file");
        assert!(!text.contains(&ada[4..]), "the token itself is nowhere");
        assert_eq!(tokens.list().iter().map(|it| &*it.name).collect::<Vec<_>>(), ["ada"]);
    }

    /// As root, the victim would be given to the owner of the directory.
    #[test]
    fn nothing_but_a_lock_is_taken_for_one() {
        use std::os::unix::fs::symlink;
        type Put = fn(&Path, &Path) -> io::Result<()>;
        let link: Put = |victim, lock| symlink(victim, lock);
        let dangling: Put = |victim, lock| fs::remove_file(victim).and_then(|()| symlink(victim, lock));
        let second_name: Put = |victim, lock| fs::hard_link(victim, lock);
        let full: Put = |_, lock| fs::write(lock, "a secret");
        for put in [link, dangling, second_name, full] {
            let (dir, tokens) = tokens();
            let elsewhere = tempfile::tempdir().expect("a temporary directory");
            let victim = elsewhere.path().join("victim");
            fs::write(&victim, "").expect("it is ours");
            put(&victim, &dir.path().join("tokens.lock")).expect("it is put there");
            let there = victim.exists();
            if fs::metadata(dir.path()).expect("it is there").uid() == 0 {
                std::os::unix::fs::chown(dir.path(), Some(1_000), Some(1_000)).expect("we are root");
            }
            let error = tokens.create("ada", Role::Operator).expect_err("it is no lock");
            assert!(matches!(error, TokensError::Io { what: "open", .. }), "{error:?}");
            assert_eq!(victim.exists(), there);
            let owner = fs::metadata(elsewhere.path()).expect("it is ours").uid();
            assert!(!there || fs::metadata(&victim).expect("it is there").uid() == owner);
        }
    }

    #[test]
    fn the_file_is_private_and_read_again_when_another_process_changes_it() {
        let (dir, tokens) = tokens();
        let other = Tokens::load(&dir.path().join("tokens")).expect("loads");
        let token = other.create("ada", Role::Operator).expect("created");
        let mode = fs::metadata(dir.path().join("tokens")).expect("there is a file").mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(tokens.check(&token).is_some());
        other.revoke("ada").expect("revoked");
        assert!(tokens.check(&token).is_none());
    }

    #[test]
    fn names_are_plain_unique_and_not_taken() {
        let (_dir, tokens) = tokens();
        for bad in ["", "a b", "ä", LOOPBACK_NAME, LOCAL_NAME, &"x".repeat(65), "a\nb"] {
            assert!(
                matches!(tokens.create(bad, Role::Sender), Err(TokensError::Name { .. })),
                "{bad}"
            );
        }
        tokens.create("a", Role::Sender).expect("created");
        assert!(matches!(
            tokens.create("a", Role::Operator),
            Err(TokensError::Name { .. })
        ));
    }

    #[test]
    fn what_is_no_file_of_tokens_is_refused_and_holds_up_nobody() {
        let (dir, tokens) = tokens();
        let path = dir.path().join("tokens");
        let token = tokens.create("ada", Role::Operator).expect("created");
        let good = fs::read_to_string(&path).expect("there is a file");
        let refused = |why: &str| {
            let error = Tokens::load(&path).expect_err("it is refused");
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let told = format!("{error}: {}", cause.unwrap_or_default());
            assert!(told.contains("tokens") && told.contains(why), "{told}");
            assert!(tokens.check(&token).is_some(), "the earlier ones stay good");
        };
        fs::write(&path, format!("{good}{}", "# a remark\n".repeat(100_000))).expect("written");
        refused("more than");
        fs::remove_file(&path).expect("removed");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        refused("no regular file");
        fs::remove_file(&path).expect("removed");
        fs::create_dir(&path).expect("a directory");
        refused("no regular file");
        fs::remove_dir(&path).expect("removed");
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        refused("no regular file");
    }

    #[test]
    fn a_file_that_others_may_write_or_that_is_damaged_is_refused_and_costs_nobody_access() {
        let (dir, tokens) = tokens();
        let path = dir.path().join("tokens");
        let token = tokens.create("ada", Role::Operator).expect("created");
        let good = fs::read_to_string(&path).expect("there is a file");
        for bad in [
            "ada operator",
            "ada boss 00 2020-01-01T00:00:00Z",
            &format!("{good}{good}"),
        ] {
            fs::write(&path, bad).expect("written");
            assert!(
                matches!(Tokens::load(&path), Err(TokensError::Malformed { .. })),
                "{bad}"
            );
            assert!(tokens.check(&token).is_some(), "{bad}");
        }
        fs::write(&path, &good).expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o620)).expect("changed");
        assert!(matches!(Tokens::load(&path), Err(TokensError::Writable { .. })));
    }
}
