//! What files of artefacts are called.
//!
//! ```text
//! objects/ab/ab12….zst                         as zstd
//! objects/ab/ab12…/cd34….ef56….zst.age         the same, encrypted: the hash of these bytes, and of the recipients
//! objects/ab/ab12….receipt.json                that the first is in the bucket
//! objects/ab/ab12…/cd34….ef56….receipt.json    that the second is
//! objects/ab/ab12….receipt-2.json              that it was put there once more
//! ```
//!
//! Encryption is another each time, so that nothing but its name tells what the bytes of an encrypted artefact have to
//! be, and whom they are for.

use std::fmt;

use staunch_model::{Sha256Hash, Storage};

use super::exactly;

/// The name of stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    /// The SHA-256 of the artefact as it was read.
    pub(crate) artefact: Sha256Hash,
    /// How it is encrypted, when it is.
    pub(crate) encrypted: Option<Encrypted>,
}

/// What the name of encrypted bytes says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Encrypted {
    /// Their SHA-256.
    pub(crate) stored: Sha256Hash,
    /// The first bytes of the SHA-256 of whom they are for.
    pub(crate) to: u64,
}

impl Encrypted {
    pub(crate) fn new<'r>(stored: Sha256Hash, recipients: impl Iterator<Item = &'r str>) -> Self {
        let mut all: Vec<&str> = recipients.collect();
        all.sort_unstable();
        let [a, b, c, d, e, f, g, h, ..] = Sha256Hash::of(all.join("\n").as_bytes()).0;
        Self {
            stored,
            to: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (stored, to) = text.split_once('.')?;
        Some(Self {
            stored: exactly(stored)?,
            to: u64::from_str_radix(to, 16).ok()?,
        })
    }
}

impl fmt::Display for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:016x}", self.stored, self.to)
    }
}

impl ObjectName {
    /// The name of an artefact that is stored so.
    pub(crate) fn of(artefact: Sha256Hash, storage: &Storage) -> Self {
        Self {
            artefact,
            encrypted: storage
                .encryption
                .as_ref()
                .map(|it| Encrypted::new(storage.sha256, it.recipients.iter().map(|it| &**it))),
        }
    }

    /// Reads a name, and nothing but the one way in which it is written.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = Self::of_stem(name.strip_suffix(".zst.age").or_else(|| name.strip_suffix(".zst"))?)?;
        (found.to_string() == name).then_some(found)
    }

    /// Reads the name of a receipt: of what it is, and which of several.
    pub(crate) fn parse_receipt(name: &str) -> Option<(Self, u32)> {
        let (stem, suffix) = name.split_once(".receipt")?;
        let number = match suffix.strip_suffix(".json")? {
            "" => 1,
            suffix => exactly(suffix.strip_prefix('-')?)?,
        };
        let found = Self::of_stem(stem)?;
        (number > 0 && found.receipt(number) == name).then_some((found, number))
    }

    fn of_stem(stem: &str) -> Option<Self> {
        let mut parts = stem.strip_prefix("objects/")?.split('/').skip(1);
        let artefact = exactly(parts.next()?)?;
        let encrypted = match parts.next() {
            Some(encrypted) => Some(Encrypted::parse(encrypted)?),
            None => None,
        };
        parts.next().is_none().then_some(Self { artefact, encrypted })
    }

    /// The directory of what is encrypted of an artefact.
    pub(crate) fn encrypted_dir(artefact: Sha256Hash) -> String {
        let text = artefact.to_string();
        format!("objects/{}/{text}", &text[..2])
    }

    fn stem(&self) -> String {
        let encrypted = self.encrypted.map_or_else(String::new, |it| format!("/{it}"));
        format!("{}{encrypted}", Self::encrypted_dir(self.artefact))
    }

    /// The name of a receipt for it. The first is number 1; others follow when it is put into a bucket again.
    pub(crate) fn receipt(&self, number: u32) -> String {
        match number {
            1 => format!("{}.receipt.json", self.stem()),
            number => format!("{}.receipt-{number}.json", self.stem()),
        }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.encrypted.is_some() { "zst.age" } else { "zst" };
        write!(f, "{}.{suffix}", self.stem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_one_way_in_which_they_are_written() {
        let artefact = Sha256Hash::of(b"a");
        let to_two = |to: [&'static str; 2]| Encrypted::new(Sha256Hash::of(b"b"), to.into_iter());
        assert_eq!(to_two(["age1x", "age1y"]), to_two(["age1y", "age1x"]));
        assert_ne!(to_two(["age1x", "age1y"]), to_two(["age1x", "age1z"]));
        for encrypted in [None, Some(to_two(["age1x", "age1y"]))] {
            let name = ObjectName { artefact, encrypted };
            assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
            for number in [1, 2, 17] {
                assert_eq!(ObjectName::parse_receipt(&name.receipt(number)), Some((name, number)));
                assert_eq!(ObjectName::parse(&name.receipt(number)), None);
            }
            for other in [
                "receipt-1",
                "receipt-0",
                "receipt-02",
                "receipt-",
                "receipt2",
                "receipt-x",
            ] {
                let other = name.receipt(1).replace("receipt", other);
                assert_eq!(ObjectName::parse_receipt(&other), None, "{other}");
            }
            assert_eq!(ObjectName::parse_receipt(&name.to_string()), None);
            let text = name.to_string();
            // What an archive has room for.
            assert!(text.rsplit('/').all(|part| part.len() <= 100), "{text}");
            for other in [
                text.replacen("/ca", "/cb", 1),
                text.replace("objects/", ""),
                text.replacen("/ca", "/./ca", 1),
                text.to_uppercase(),
                format!("{text}.age"),
                text.replacen('.', "..", 1),
            ] {
                assert_eq!(ObjectName::parse(&other), None, "{other}");
            }
        }
        let plain = ObjectName {
            artefact,
            encrypted: None,
        };
        assert_eq!(plain.to_string(), super::super::DirVault::object_name(artefact));
    }
}
