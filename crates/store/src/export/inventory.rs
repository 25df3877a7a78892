//! What is in an archive, and who says so.
//!
//! Never reads a file of an archive.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use staunch_model::{IncidentId, Sha256Hash};

use super::FILES_MAX;
use crate::vault::dir::exactly;

/// The name of the signed note.
pub const INVENTORY: &str = "INVENTORY";

/// The name of the list of files, as `sha256sum` writes and checks it.
pub const SUMS: &str = "SHA256SUMS";

/// The first line of the note. It is no name of a key, so that no inventory is taken for a checkpoint.
const FIRST_LINE: &str = "staunch evidence archive v1";

/// The text of the signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Of which incident.
    pub incident: IncidentId,
    /// The SHA-256 of the list of files.
    pub sums: Sha256Hash,
    /// How many files are in the list.
    pub files: u64,
    /// Their bytes, all together.
    pub bytes: u64,
}

impl Inventory {
    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self {
            incident,
            sums,
            files,
            bytes,
        } = self;
        format!("{FIRST_LINE}\n{incident}\n{sums}  {SUMS}\n{files} files\n{bytes} bytes\n")
    }

    /// Reads what [`Inventory::to_text`] has written; `None` when it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let found = Self {
            incident: lines.next()?.parse().ok()?,
            sums: lines.next()?.split("  ").next()?.parse().ok()?,
            files: lines.next()?.strip_suffix(" files")?.parse().ok()?,
            bytes: lines.next()?.strip_suffix(" bytes")?.parse().ok()?,
        };
        (found.to_text() == text).then_some(found)
    }
}

/// Writes the list of files.
pub(super) fn sums_of<'a>(files: impl Iterator<Item = (&'a str, Sha256Hash)>) -> String {
    let mut text = String::new();
    for (name, hash) in files {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{hash}  {name}");
    }
    text
}

/// Reads the list of files; `None` when it has another form, a name twice, or one that could lead out of a directory.
pub(super) fn parse_sums(text: &str) -> Option<Vec<(String, Sha256Hash)>> {
    let mut files = Vec::new();
    let mut names = BTreeSet::new();
    for line in text.strip_suffix('\n')?.split('\n') {
        let (hash, name) = line.split_once("  ")?;
        if files.len() == FILES_MAX || !is_name(name) || !names.insert(name) {
            return None;
        }
        files.push((name.to_owned(), exactly(hash)?));
    }
    Some(files)
}

/// Whether `name` is one that an archive has: words with slashes between them, and nothing that leads up.
pub(super) fn is_name(name: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-' | b'_'))
    };
    name.len() <= 200 && name.split('/').all(is_word) && ![INVENTORY, SUMS].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere() {
        for name in [
            "a",
            "log/tile/entries/x001/000.p/5",
            "manifests/EV-1/00000001.json.tlog-proof",
        ] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "/a", "a/", "a//b", "..", "a/../b", ".a", "a b", "a\n", "\u{e9}", INVENTORY, SUMS,
        ] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_list_has_one_form() {
        let hash = Sha256Hash::of(b"x");
        let text = sums_of([("a", hash), ("b/c", hash)].into_iter());
        let expected = vec![("a".to_owned(), hash), ("b/c".to_owned(), hash)];
        assert_eq!(parse_sums(&text), Some(expected));
        assert_eq!(parse_sums(text.trim_end()), None);
        assert_eq!(parse_sums(&text.replace("b/c", "a")), None, "a name twice");
        assert_eq!(parse_sums(&text.replace("b/c", "../c")), None);
    }

    #[test]
    fn an_inventory_has_one_form() {
        let inventory = Inventory {
            incident: IncidentId(3),
            sums: Sha256Hash::of(b"x"),
            files: 9,
            bytes: 10,
        };
        let text = inventory.to_text();
        assert_eq!(Inventory::parse(&text), Some(inventory));
        for (from, to) in [
            ("9 files", "09 files"),
            ("INC-3", "inc-3"),
            ("v1", "v2"),
            ("bytes\n", "bytes\n\n"),
        ] {
            assert_eq!(Inventory::parse(&text.replace(from, to)), None, "{to:?}");
        }
    }
}
