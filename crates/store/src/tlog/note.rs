//! Signed notes (<https://c2sp.org/signed-note>) with Ed25519, and the checkpoints that they carry
//! (<https://c2sp.org/tlog-checkpoint>).
//!
//! Never signs anything but the text that it is given, and never shows the secret key.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use staunch_model::{Handled, Manifest, Sha256Hash};

use super::LogError;
use crate::files::open_plain;

/// The kind of key and signature: Ed25519.
const ED25519: u8 = 1;

/// How a key file begins: a secret key as the tools around signed notes write it.
const SECRET: &str = "PRIVATE+KEY+";

/// The largest key file.
const KEY_BYTES_MAX: u64 = 4_096;

/// What the signature lines of a note begin with.
const DASH: &str = "\u{2014} ";

/// The most bytes of a note with a checkpoint that is read: one with the signatures of many witnesses.
pub const NOTE_BYTES_MAX: u64 = 64 << 10;

/// The most signatures of a note.
const SIGNATURES_MAX: usize = 100;

/// The key of a log. Its name is the origin of the log.
#[derive(Clone)]
pub struct LogKey {
    name: String,
    key: SigningKey,
}

/// The public key of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogVerifier {
    name: String,
    key: VerifyingKey,
}

/// Why a note does not prove anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    /// It has not the form of a note.
    #[error("it is no signed note")]
    Malformed,
    /// The key has not signed it.
    #[error("it carries no signature of the key {key}")]
    Unsigned {
        /// The name of the key.
        key: String,
    },
    /// Its signature is not of this text.
    #[error("its signature by the key {key} is wrong")]
    WrongSignature {
        /// The name of the key.
        key: String,
    },
    /// It is a note, and no checkpoint.
    #[error("it is a signed note and no checkpoint")]
    NoCheckpoint,
    /// A proof of an entry does not lead to the root.
    #[error("its hashes do not lead from entry {} to the root that was signed", .index + 1)]
    NotIncluded {
        /// The index of the entry, from 0.
        index: u64,
    },
    /// It is the checkpoint of another log.
    #[error("it is of the log {found}")]
    OtherLog {
        /// The origin in it.
        found: String,
    },
}

/// The size and the root of a log at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of its tree.
    pub root: Sha256Hash,
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl LogKey {
    /// The key in `path`; one that is made on the spot, for its owner alone and called `name`, where there is no such
    /// file.
    ///
    /// # Errors
    /// When it cannot be read or made, is no key, may be read by others, or `name` cannot be one.
    pub fn open(path: &Path, name: &str) -> Result<Self, LogError> {
        let failed = |doing: &'static str| move |error| LogError::io(doing, path, error);
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path, name),
            Err(error) => Err(failed("look at the key")(error)),
            Ok(_) => Self::read(path)?.ok_or_else(|| {
                let gone = io::Error::from(io::ErrorKind::NotFound);
                failed("open the key")(gone)
            }),
        }
    }

    /// The key in `path`; `None` where there is no such file. None is made, no link is followed, and nothing waits.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or may be read by others.
    pub fn read(path: &Path) -> Result<Option<Self>, LogError> {
        let failed = |doing: &'static str| move |error| LogError::io(doing, path, error);
        let file = match open_plain(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("open the key"))?,
        };
        let found = file.metadata().map_err(failed("look at the key"))?;
        if found.permissions().mode() & 0o077 != 0 {
            let what = "others may read it: it proves nothing".to_owned();
            return Err(LogError::key(path, what));
        }
        let mut text = String::new();
        file.take(KEY_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(failed("read the key"))?;
        let key = Self::parse(text.trim());
        key.map(Some)
            .ok_or_else(|| LogError::key(path, "there is no secret key in it".to_owned()))
    }

    /// Makes a key. The file gets its name when all of it is durable, and no file is replaced.
    fn make(path: &Path, name: &str) -> Result<Self, LogError> {
        if !is_name(name) {
            return Err(LogError::key(
                path,
                "a name is a word without blanks and plus signs".to_owned(),
            ));
        }
        let staged = path.with_extension("new");
        let make = || {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| io::Error::other(error.to_string()))?;
            let key = Self::from_seed(name, &seed);
            match fs::remove_file(&staged) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&staged)?;
            file.write_all(key.secret_text().as_bytes())?;
            file.sync_all()?;
            fs::hard_link(&staged, path)?;
            fs::remove_file(&staged)?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()?;
            Ok(key)
        };
        make().map_err(|error| LogError::io("make the key", path, error))
    }

    /// The key that follows from 32 bytes.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            key: SigningKey::from_bytes(seed),
        }
    }

    /// The written form of the secret key, with a line end: for its file, and for nobody to see.
    #[must_use]
    pub fn secret_text(&self) -> String {
        let seed = [&[ED25519], &self.key.to_bytes()[..]].concat();
        let id = hex(self.verifier().id());
        format!("{SECRET}{}+{id}+{}\n", self.name, STANDARD.encode(seed))
    }

    /// Reads a secret key as the tools around signed notes write it; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, id, seed) = parts(text.strip_prefix(SECRET)?)?;
        let key = Self::from_seed(&name, &seed);
        (key.verifier().id() == id).then_some(key)
    }

    /// The public key.
    #[must_use]
    pub fn verifier(&self) -> LogVerifier {
        LogVerifier {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// `text`, which ends with a line end, as a signed note.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        format!("{text}\n{}\n", self.signature(text))
    }

    /// The signature line of `text`, which ends with a line end, without a line end of its own.
    #[must_use]
    pub fn signature(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let signature = [&self.verifier().id()[..], &signature[..]].concat();
        format!("{DASH}{} {}", self.name, STANDARD.encode(signature))
    }
}

impl LogVerifier {
    /// The name of the key, which is the origin of its log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key in its written form (a *vkey*); `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, id, key) = parts(text.trim())?;
        let key = VerifyingKey::from_bytes(&key).ok()?;
        let verifier = Self { name, key };
        (verifier.id() == id).then_some(verifier)
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

    /// The text of `note`, when this key has signed it. Signatures of others are passed over.
    ///
    /// # Errors
    /// See [`NotProved`].
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NotProved> {
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NotProved::Malformed);
        }
        // The last empty line ends the text; the line end before it belongs to the text.
        let at = note.rfind("\n\n").ok_or(NotProved::Malformed)?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let lines = signatures.strip_suffix('\n').ok_or(NotProved::Malformed)?;
        let mut is_signed = false;
        for (number, line) in lines.split('\n').enumerate() {
            let (name, id, signature) = signature_of(line).ok_or(NotProved::Malformed)?;
            if number >= SIGNATURES_MAX {
                return Err(NotProved::Malformed);
            }
            if name == self.name && id == self.id() {
                let key = || self.name.clone();
                let wrong = |_| NotProved::WrongSignature { key: key() };
                let signature = Signature::from_slice(&signature).map_err(wrong)?;
                self.key.verify_strict(text.as_bytes(), &signature).map_err(wrong)?;
                is_signed = true;
            }
        }
        let key = self.name.clone();
        is_signed.then_some(text).ok_or(NotProved::Unsigned { key })
    }

    /// Whether this key has signed a manifest: false when it carries no signature of it.
    ///
    /// # Errors
    /// When it carries one that is wrong, or none that can be read.
    pub fn has_signed(&self, manifest: &Manifest) -> Result<bool, NotProved> {
        let Some(signature) = &manifest.signature else {
            return Ok(false);
        };
        self.is_of(&manifest.signed_text(), signature)
    }

    /// The same for a line of the handling log with this name.
    ///
    /// # Errors
    /// As of [`LogVerifier::has_signed`].
    pub fn has_signed_line(&self, log: &str, handled: &Handled) -> Result<bool, NotProved> {
        let Some(signature) = &handled.signature else {
            return Ok(false);
        };
        self.is_of(&handled.signed_text(log), signature)
    }

    /// Whether a signature line is of this key, which then has to be right. More than one line says what nobody signed.
    fn is_of(&self, text: &str, line: &str) -> Result<bool, NotProved> {
        if line.contains('\n') {
            return Err(NotProved::Malformed);
        }
        match self.open(&format!("{text}\n{line}\n")) {
            Ok(opened) if opened == text => Ok(true),
            Ok(_) => Err(NotProved::Malformed),
            Err(NotProved::Unsigned { .. }) => Ok(false),
            Err(why) => Err(why),
        }
    }

    /// The checkpoint of this log that `note` carries.
    ///
    /// # Errors
    /// See [`NotProved`].
    pub fn checkpoint(&self, note: &str) -> Result<Checkpoint, NotProved> {
        if note.len() as u64 > NOTE_BYTES_MAX {
            return Err(NotProved::Malformed);
        }
        let checkpoint = Checkpoint::parse(self.open(note)?).ok_or(NotProved::NoCheckpoint)?;
        if checkpoint.origin != self.name {
            let found = staunch_model::Printable(&checkpoint.origin).to_string();
            return Err(NotProved::OtherLog { found });
        }
        Ok(checkpoint)
    }
}

/// The written form of the key.
impl fmt::Display for LogVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex(self.id()), STANDARD.encode(key))
    }
}

impl Checkpoint {
    /// The text of its note.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads the text of a note; `None` when it is no checkpoint. Extension lines are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let size: u64 = size.parse().ok().filter(|number: &u64| number.to_string() == size)?;
        let bytes: [u8; 32] = STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self {
            origin: origin.to_owned(),
            size,
            root: Sha256Hash(bytes),
        })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries with root {}", self.size, self.root)
    }
}

/// Name, id and bytes of a signature line.
fn signature_of(line: &str) -> Option<(&str, [u8; 4], Vec<u8>)> {
    let (name, signature) = line.strip_prefix(DASH)?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    (is_name(name) && !signature.is_empty()).then_some((name, *id, signature.to_vec()))
}

/// Name, id and the 32 bytes of a key that is written `name+id+base64`.
fn parts(text: &str) -> Option<(String, [u8; 4], [u8; 32])> {
    let mut parts = text.splitn(3, '+');
    let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
    let number = u32::from_str_radix(id, 16).ok()?.to_be_bytes();
    let key = STANDARD.decode(key).ok()?;
    let (kind, key) = key.split_first()?;
    (is_name(name) && *kind == ED25519 && hex(number) == id).then_some(())?;
    Some((name.to_owned(), number, key.try_into().ok()?))
}

/// Whether `name` can be that of a key: a word without blanks and plus signs.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_unsafe = |c: char| c.is_whitespace() || c == '+' || staunch_model::text::is_unsafe_to_show(c);
    !name.is_empty() && !name.chars().any(is_unsafe)
}

fn hex(bytes: [u8; 4]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
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
        let peter = LogVerifier::parse(PETER).expect("it is a key");
        let text = peter.open(PETERS_NOTE).expect("it is his");
        assert_eq!(peter.to_string(), PETER);
        let key = LogKey::parse(PETERS_SECRET).expect("it is a key");
        assert_eq!(key.sign(text), PETERS_NOTE);
        assert_eq!(peter.checkpoint(PETERS_NOTE), Err(NotProved::NoCheckpoint));
    }

    #[test]
    fn no_byte_of_a_note_can_be_changed() {
        let peter = LogVerifier::parse(PETER).expect("it is a key");
        for at in 0..PETERS_NOTE.len() {
            let mut changed = PETERS_NOTE.as_bytes().to_vec();
            changed[at] ^= 1;
            if let Ok(changed) = std::str::from_utf8(&changed) {
                assert!(peter.open(changed).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn signatures_of_others_are_passed_over() {
        let (ours, theirs) = (
            LogKey::from_seed("ours", &[1; 32]),
            LogKey::from_seed("theirs", &[2; 32]),
        );
        let impostor = LogKey::from_seed("ours", &[3; 32]);
        let note = ours.sign("text\n");
        let both = format!("{note}{}", theirs.sign("text\n").rsplit_once("\n\n").expect("a note").1);
        for verifier in [ours.verifier(), theirs.verifier()] {
            assert_eq!(verifier.open(&both), Ok("text\n"));
        }
        let unsigned = |note: &str| assert!(matches!(ours.verifier().open(note), Err(NotProved::Unsigned { .. })));
        unsigned(&theirs.sign("text\n"));
        unsigned(&impostor.sign("text\n"));
        let moved = note.replace("text", "next");
        assert!(matches!(
            ours.verifier().open(&moved),
            Err(NotProved::WrongSignature { .. })
        ));
    }

    #[test]
    fn checkpoints_have_the_form_of_the_specification() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).expect("it is one");
        assert_eq!((checkpoint.size, checkpoint.to_text().as_str()), (20_852_163, text));
        assert!(Checkpoint::parse(&format!("{text}an extension\n")).is_some());
        for bad in [
            "",
            "a\n1\n",
            "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I\n",
            "a\n1\nCsUY\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n",
            "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
        ] {
            assert_eq!(Checkpoint::parse(bad), None, "{bad:?}");
        }
        let key = LogKey::from_seed("example.com/log", &[1; 32]);
        let other = key.verifier().checkpoint(&key.sign(text));
        assert!(matches!(other, Err(NotProved::OtherLog { .. })));
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log.key");
        let made = LogKey::open(&path, "us").expect("it can be made");
        let again = LogKey::open(&path, "other").expect("it can be read");
        assert_eq!(made.verifier(), again.verifier());
        assert_eq!(again.verifier().name(), "us");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("it is ours");
        assert!(LogKey::open(&path, "us").is_err());
        for name in ["", "a b", "a+b", "a\u{1b}"] {
            assert!(LogKey::open(&dir.path().join("other"), name).is_err(), "{name}");
        }
        assert_eq!(format!("{made:?}"), "LogKey { name: \"us\", .. }");
    }
}
