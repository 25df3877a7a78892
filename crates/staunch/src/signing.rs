//! Signatures of playbooks: a signed note beside each file, and the keys that count.
//!
//! Never looks into a playbook: what is signed are its bytes, and the name is in them.

use std::io;
use std::path::{Path, PathBuf};

use staunch_model::Printable;

use crate::exit::{Exit, Fault};
use crate::files::read_bounded;
use crate::note::{Signer, Verifier, sha256};
use crate::whole;

/// The name of a key for playbooks, unless a person gives another one.
pub(crate) const KEY_NAME: &str = "staunch-playbooks";

/// How the text of the note begins. Another kind of note never counts for a playbook, whoever has signed it.
const HEADING: &str = "staunch playbook v1";

/// The largest signature that is read: many keys may have signed.
const NOTE_BYTES_MAX: u64 = 16 << 10;

/// The keys whose signatures count.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    keys: Vec<Verifier>,
}

/// Why a playbook is not proved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unproved {
    /// There is no signature.
    Unsigned,
    /// There is one that does not prove it, and why.
    Wrong(String),
}

impl Trust {
    /// The keys in their written form; those that are none are left out, because the configuration is checked.
    pub(crate) fn new(keys: &[String]) -> Self {
        Self {
            keys: keys.iter().filter_map(|key| Verifier::parse(key)).collect(),
        }
    }

    /// The name of the key that has signed `text` and what snippets contribute to it, by the signature beside the
    /// playbook in `path`. `None` for what cannot be known because of mistakes.
    pub(crate) fn prove(&self, path: &Path, text: &str, contributed: Option<&[u8]>) -> Result<&str, Unproved> {
        let beside = signature_of(path);
        match read_bounded(&beside, NOTE_BYTES_MAX) {
            Ok(note) => self.open(&note, text, contributed).map_err(Unproved::Wrong),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unproved::Unsigned),
            Err(error) => {
                let shown = beside.display().to_string();
                Err(Unproved::Wrong(format!("cannot read {}: {error}", Printable(&shown))))
            }
        }
    }

    fn open(&self, note: &str, text: &str, contributed: Option<&[u8]>) -> Result<&str, String> {
        let opened = self.keys.iter().find_map(|key| Some((key, key.open(note)?)));
        let Some((key, signed)) = opened else {
            return Err("none of the trusted keys has signed it".to_owned());
        };
        if signed == statement(text, contributed.unwrap_or_default()) {
            return Ok(key.name());
        }
        Err(if signed.starts_with(&statement(text, &[])) && contributed.is_none() {
            "what its snippets stand for cannot be known before the other mistakes are mended".to_owned()
        } else if signed.starts_with(&statement(text, &[])) {
            "a snippet that it uses was changed after it was signed, or the signature is of other snippets".to_owned()
        } else if signed.starts_with(&format!("{HEADING}\n")) {
            "it was changed after it was signed, or the signature is of another playbook".to_owned()
        } else {
            "what is signed there is no playbook".to_owned()
        })
    }
}

/// Signs the playbook in `path`, whose text is `text` and to which snippets contribute something, in a file beside it.
///
/// # Errors
/// When the signature cannot be written.
pub(crate) fn sign(signer: &Signer, path: &Path, text: &str, contributed: &[u8]) -> Result<PathBuf, Fault> {
    let beside = signature_of(path);
    // A whole one takes the place of the old one: a server that reads meanwhile sees one or the other.
    whole::replace(&beside, &signer.sign(&statement(text, contributed)), 0o644).map_err(|error| {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Failed,
        };
        let shown = beside.display().to_string();
        Fault::doing(exit, format!("cannot write {}", Printable(&shown)), &error)
            .hint("sign it where this user may write, and copy both files")
    })?;
    Ok(beside)
}

/// Where the signature of the playbook in `path` is.
pub(crate) fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// What is signed: the bytes of the playbook, by their hash, and what snippets contribute to it, if it uses some.
fn statement(text: &str, contributed: &[u8]) -> String {
    let own = format!("{HEADING}\nsha256 {}\n", sha256(text.as_bytes()));
    if contributed.is_empty() {
        return own;
    }
    format!("{own}snippets sha256 {}\n", sha256(contributed))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn made(dir: &Path, name: &str) -> Signer {
        Signer::make(&dir.join(name), name).expect("it can be made")
    }

    #[test]
    fn only_these_bytes_and_only_trusted_keys_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (made(dir.path(), "ours"), made(dir.path(), "theirs"));
        let trust = Trust::new(&[ours.verifier().text()]);
        let path = dir.path().join("a.yaml");
        assert_eq!(trust.prove(&path, "a", Some(&[])), Err(Unproved::Unsigned));
        let wrong = |what: &str, text: &str| match trust.prove(&path, text, Some(&[])) {
            Err(Unproved::Wrong(why)) => assert!(why.contains(what), "{why}"),
            other => panic!("{other:?}"),
        };

        sign(&ours, &path, "a", &[]).expect("it is signed");
        assert_eq!(trust.prove(&path, "a", Some(&[])), Ok("ours"));
        wrong("changed after it was signed", "b");
        wrong("changed after it was signed", "a\n");

        sign(&theirs, &path, "a", &[]).expect("it is signed");
        wrong("none of the trusted keys", "a");
        let both = Trust::new(&[ours.verifier().text(), theirs.verifier().text()]);
        assert_eq!(both.prove(&path, "a", Some(&[])), Ok("theirs"));

        // A signature of the same key under something else.
        let other = ours.sign(&format!("staunch drill report v1\nx\nsha256 {}\n", sha256(b"a")));
        fs::write(signature_of(&path), other).expect("it is our directory");
        wrong("no playbook", "a");
        for garbage in ["", "\n\n", "staunch playbook v1\n", "\u{2014} x y\n"] {
            fs::write(signature_of(&path), garbage).expect("it is our directory");
            wrong("none of the trusted keys", "a");
        }
        fs::remove_file(signature_of(&path)).expect("it is there");
        fs::create_dir(signature_of(&path)).expect("it is our directory");
        wrong("cannot read", "a");
    }

    #[test]
    fn what_snippets_contribute_is_signed_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = made(dir.path(), "ours");
        let trust = Trust::new(&[signer.verifier().text()]);
        let with = signer.sign(&statement("a", b"x"));
        let without = signer.sign(&statement("a", &[]));
        assert_eq!(trust.open(&with, "a", Some(b"x")), Ok("ours"));
        for (note, text, contributed, what) in [
            (&with, "a", Some(&b"y"[..]), "a snippet that it uses was changed"),
            (&with, "a", Some(&[]), "a snippet that it uses was changed"),
            (&with, "a", None, "cannot be known"),
            (&with, "b", Some(b"x"), "changed after it was signed"),
            (&without, "a", Some(b"x"), "a snippet that it uses was changed"),
        ] {
            let why = trust
                .open(note, text, contributed)
                .expect_err("it is not what was signed");
            assert!(why.contains(what), "{why}");
        }
        assert_eq!(trust.open(&without, "a", None), Ok("ours"));
    }

    #[test]
    fn no_byte_of_a_signature_can_be_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = made(dir.path(), "ours");
        let trust = Trust::new(&[signer.verifier().text()]);
        let note = signer.sign(&statement("a", &[]));
        assert_eq!(trust.open(&note, "a", Some(&[])), Ok("ours"));
        for at in 0..note.len() {
            let mut changed = note.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert!(trust.open(&changed, "a", Some(&[])).is_err(), "byte {at}");
            }
        }
    }
}
