//! The keys that sign playbooks and reports of drills, as files of an operator. The signed notes themselves are those
//! of the transparency log (`staunch_store::tlog::note`).
//!
//! Never signs anything but the text it is given, and never shows the secret key.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use staunch_model::{Printable, Sha256Hash};
use staunch_store::tlog::note::{NotProved, is_name};
use staunch_store::{LogKey, LogVerifier};

use crate::exit::{Exit, Fault};
use crate::files::{cannot_write, read_bounded};
use crate::whole;

/// The largest key file.
const KEY_BYTES_MAX: u64 = 4_096;

/// A key that signs.
pub(crate) struct Signer(LogKey);

/// A key that proves.
#[derive(Debug)]
pub(crate) struct Verifier(LogVerifier);

impl Signer {
    /// The key in `path`; one that is made on the spot, and called `name`, where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read or written, is no key, or may be read by others.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Self, Fault> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path, name),
            _ => Self::read(path),
        }
    }

    /// The key in `path`.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or may be read by others.
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let shown = Printable(&path.display().to_string()).to_string();
        let found = fs::metadata(path).map_err(|error| fault(path, "read", &error))?;
        if found.permissions().mode() & 0o077 != 0 {
            let what = format!("others may read the key {shown}: it proves nothing");
            let hint = format!("remove it, or take it back: chmod 600 {shown}");
            return Err(Fault::new(Exit::Denied, what).hint(hint));
        }
        let text = read_bounded(path, KEY_BYTES_MAX).map_err(|error| fault(path, "read", &error))?;
        LogKey::parse(text.trim()).map(Self).ok_or_else(|| {
            Fault::new(Exit::Usage, format!("there is no secret key in {shown}"))
                .hint("remove it if nothing needs it, or name another file with --key")
        })
    }

    /// Makes a key called `name` in `path`, for this user alone. A file that is there is kept, and of one that cannot
    /// be written nothing is left.
    ///
    /// # Errors
    /// When it cannot be written, or the name cannot be one.
    pub(crate) fn make(path: &Path, name: &str) -> Result<Self, Fault> {
        if !is_name(name) {
            let what = format!("`{}` is not a name for a key", Printable(name));
            return Err(Fault::new(Exit::Usage, what).hint("write a word without blanks and plus signs"));
        }
        let make = || {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
            let key = LogKey::from_seed(name, &seed);
            whole::make(path, &key.secret_text(), whole::FOR_OWNER)?;
            Ok(Self(key))
        };
        make().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let shown = path.display().to_string();
                cannot_write(&format!("cannot make the key {}", Printable(&shown)), &error)
                    .hint("make room on that disk, or name a file on another with --key; nothing is left behind")
            }
            _ => fault(path, "make", &error),
        })
    }

    /// The key that proves what this one signs.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier(self.0.verifier())
    }

    /// `text`, which must end with a line end, as a signed note.
    pub(crate) fn sign(&self, text: &str) -> String {
        self.0.sign(text)
    }
}

fn fault(path: &Path, doing: &str, error: &io::Error) -> Fault {
    let exit = match error.kind() {
        io::ErrorKind::PermissionDenied => Exit::Denied,
        io::ErrorKind::NotFound => Exit::NotFound,
        _ => Exit::Failed,
    };
    let shown = path.display().to_string();
    Fault::doing(exit, format!("cannot {doing} the key {}", Printable(&shown)), error)
        .hint("name another file with --key")
}

impl Verifier {
    /// The name of the key.
    pub(crate) fn name(&self) -> &str {
        self.0.name()
    }

    /// The key in its written form; nothing when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        LogVerifier::parse(text).map(Self)
    }

    /// The written form of the key.
    pub(crate) fn text(&self) -> String {
        self.0.to_string()
    }

    /// The text of `note`, when this key has signed it; nothing otherwise.
    pub(crate) fn open<'n>(&self, note: &'n str) -> Option<&'n str> {
        self.prove(note).ok()
    }

    /// The text of `note`, when this key has signed it.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub(crate) fn prove<'n>(&self, note: &'n str) -> Result<&'n str, NotProved> {
        self.0.open(note)
    }
}

/// The SHA-256 of `bytes`, as `sha256sum` writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256Hash::of(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the format's first implementation, golang.org/x/mod/sumdb/note.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const PETERS_SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const PETERS_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_another_implementation_opens_and_is_signed_alike() {
        let peter = Verifier::parse(PETER).expect("it is a key");
        let text = peter.open(PETERS_NOTE).expect("it is his");
        assert!(text.ends_with("your problem is.\n"), "{text:?}");
        assert_eq!(peter.text(), PETER);
        let signer = Signer(LogKey::parse(PETERS_SECRET).expect("it is a key"));
        assert_eq!(signer.sign(text), PETERS_NOTE);
    }

    #[test]
    fn no_byte_of_a_note_can_be_changed() {
        let peter = Verifier::parse(PETER).expect("it is a key");
        let note = PETERS_NOTE.as_bytes();
        for at in 0..note.len() {
            let mut changed = note.to_vec();
            changed[at] ^= 1;
            if let Ok(changed) = std::str::from_utf8(&changed) {
                assert_eq!(peter.open(changed), None, "byte {at}");
            }
        }
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        let made = Signer::open(&path, "us").expect("it can be made");
        let again = Signer::open(&path, "us").expect("it can be read");
        assert_eq!(made.verifier().text(), again.verifier().text());
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Verifier::parse(&again.verifier().text()).is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        assert_eq!(Signer::open(&path, "us").err().map(|it| it.exit), Some(Exit::Denied));
        assert!(Signer::make(&path, "us").is_err(), "a key is never overwritten");
        let other = dir.path().join("other");
        assert_eq!(Signer::read(&other).err().map(|it| it.exit), Some(Exit::NotFound));
        for name in ["", "a b", "a+b", "a\u{1b}"] {
            assert_eq!(
                Signer::make(&other, name).err().map(|it| it.exit),
                Some(Exit::Usage),
                "{name}"
            );
        }
    }
}
