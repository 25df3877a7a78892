//! Signed notes, as <https://c2sp.org/signed-note> describes them: a text, and Ed25519 signatures under it.
//!
//! Never signs anything but the text it is given, and never shows the secret key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use staunch_model::Printable;

use crate::exit::{Exit, Fault};
use crate::files::read_bounded;

/// The kind of key and signature: Ed25519.
const ED25519: u8 = 1;

/// How a key file begins: a secret key as the tools around signed notes write it.
const SECRET: &str = "PRIVATE+KEY+";

/// The largest key file.
const KEY_BYTES_MAX: u64 = 4_096;

/// What the signature lines of a note begin with.
const DASH: &str = "\u{2014} ";

/// A key that signs.
pub(crate) struct Signer {
    name: String,
    key: SigningKey,
}

/// A key that proves.
#[derive(Debug)]
pub(crate) struct Verifier {
    name: String,
    key: VerifyingKey,
}

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
        Self::parse(text.trim()).ok_or_else(|| {
            Fault::new(Exit::Usage, format!("there is no secret key in {shown}"))
                .hint("name a file with one, or one that is not there yet, with --key")
        })
    }

    /// Makes a key called `name` in `path`, for this user alone. A file that is there is kept.
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
            let signer = Self {
                name: name.to_owned(),
                key: SigningKey::from_bytes(&seed),
            };
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(signer.text().as_bytes())?;
            file.sync_all()?;
            Ok(signer)
        };
        make().map_err(|error| fault(path, "make", &error))
    }

    fn text(&self) -> String {
        let seed = [&[ED25519], &self.key.to_bytes()[..]].concat();
        let id = self.verifier().id();
        format!("{SECRET}{}+{}+{}\n", self.name, hex(&id), STANDARD.encode(seed))
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, id, seed) = parts(text.strip_prefix(SECRET)?)?;
        let signer = Self {
            name,
            key: SigningKey::from_bytes(&seed),
        };
        (signer.verifier().id() == id).then_some(signer)
    }

    /// The key that proves what this one signs.
    pub(crate) fn verifier(&self) -> Verifier {
        Verifier {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// `text`, which must end with a line end, as a signed note.
    pub(crate) fn sign(&self, text: &str) -> String {
        let signature = [
            &self.verifier().id()[..],
            &self.key.sign(text.as_bytes()).to_bytes()[..],
        ]
        .concat();
        format!("{text}\n{DASH}{} {}\n", self.name, STANDARD.encode(signature))
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
        &self.name
    }

    /// The key in its written form; nothing when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, id, key) = parts(text.trim())?;
        let verifier = Self {
            name,
            key: VerifyingKey::from_bytes(&key).ok()?,
        };
        (verifier.id() == id).then_some(verifier)
    }

    /// The written form of the key.
    pub(crate) fn text(&self) -> String {
        let key = [&[ED25519], &self.key.as_bytes()[..]].concat();
        format!("{}+{}+{}", self.name, hex(&self.id()), STANDARD.encode(key))
    }

    /// The first bytes of the hash of name and key, by which signatures tell whose they are.
    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(self.name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The text of `note`, when this key has signed it; nothing otherwise.
    pub(crate) fn open<'n>(&self, note: &'n str) -> Option<&'n str> {
        // The last empty line ends the text; the line end before it belongs to the text.
        let (at, _) = note.rmatch_indices("\n\n").next()?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let mut is_signed = false;
        // Each line must be one of a signature, and all that claim to be of this key must be: anything else is a change.
        for line in signatures.strip_suffix('\n')?.split('\n') {
            let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
            let bytes = STANDARD.decode(signature).ok()?;
            let (id, signature) = bytes.split_at_checked(4)?;
            if name == self.name && id == self.id() {
                let signature = Signature::from_slice(signature).ok()?;
                self.key.verify_strict(text.as_bytes(), &signature).ok()?;
                is_signed = true;
            }
        }
        is_signed.then_some(text)
    }
}

/// The SHA-256 of `bytes`, as `sha256sum` writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Name, id and the 32 bytes of a key that is written `name+id+base64`.
fn parts(text: &str) -> Option<(String, [u8; 4], [u8; 32])> {
    let mut parts = text.splitn(3, '+');
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    let id = u32::from_str_radix(id, 16)
        .ok()
        .filter(|_| id.len() == 8)?
        .to_be_bytes();
    let key = STANDARD.decode(key).ok()?;
    let (kind, key) = key.split_first()?;
    (is_name(name) && *kind == ED25519).then_some(())?;
    Some((name.to_owned(), id, key.try_into().ok()?))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c == '+' || staunch_model::text::is_unsafe_to_show(c))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let signer = Signer::parse(PETERS_SECRET).expect("it is a key");
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
