//! Reading what a vault in a directory holds: artefacts, and all files of all evidence.
//!
//! Never changes anything, and never hands an artefact on to its end that is not what its hash says.

use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;

use staunch_model::{EvidenceId, Failure, FailureKind, Sha256Hash};

use super::name::ObjectName;
use super::{Shared, exactly};
use crate::age::{AgeError, Decrypting};
use crate::files::{Files, failure};
use crate::vault::hashing::{Hashing, Proving};

/// The largest window that is taken when reading, as a power of two: 8 MiB. Level 3 writes windows of 2 MiB, and a
/// file that was put there by somebody else shall not cost more memory.
const WINDOW_LOG_MAX: u32 = 23;

/// Takes a file of an evidence, by what its name says; tells whether to go on, or what is wrong with it.
pub(super) type Take<'a, K> = &'a mut dyn FnMut(EvidenceId, K, &[u8]) -> Result<ControlFlow<()>, String>;

impl Shared {
    /// An artefact, which is proved while it is read.
    pub(super) fn open(&self, artefact: Sha256Hash) -> Result<Box<dyn Read + Send>, Failure> {
        let plain = ObjectName {
            artefact,
            encrypted: None,
        };
        let mut names: Vec<ObjectName> = std::iter::once(plain).chain(self.encrypted(artefact)?).collect();
        // Each of several may be there because another was not kept, or was changed: those that are proved come first.
        let files = &self.files;
        let is_here = |name: &ObjectName| files.path(&name.to_string()).exists();
        if names.len() > 2 || names.len() == 2 && is_here(&plain) {
            names.sort_by_cached_key(|name| match is_here(name) {
                true if stored_already(files, *name).is_ok() => 0,
                true => 2,
                false => 1,
            });
        }
        let mut first = None;
        for name in names {
            let stored: Box<dyn Read + Send> = match self.files.open(&name.to_string()) {
                Ok(file) => Box::new(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => match self.fetch(name) {
                    Ok(Some(body)) => body,
                    Ok(None) => continue,
                    // It may have been put there once more, encrypted anew.
                    Err(failure) => {
                        first.get_or_insert(failure);
                        continue;
                    }
                },
                Err(error) => return Err(failure("open", &self.files.path(&name.to_string()), &error)),
            };
            return self.reader(name, stored);
        }
        if let Some(failure) = first {
            return Err(failure);
        }
        let what = format!("there is no artefact {artefact} in the vault");
        Err(Failure::new(FailureKind::Invalid, &what))
    }

    /// The names under which an artefact is encrypted, here or in the bucket; none when it is not.
    pub(super) fn encrypted(&self, artefact: Sha256Hash) -> Result<Vec<ObjectName>, Failure> {
        let dir = ObjectName::encrypted_dir(artefact);
        let names = self
            .files
            .list(&dir)
            .map_err(|error| failure("list", &self.files.path(&dir), &error))?;
        let mut found: Vec<ObjectName> = names
            .iter()
            .map(|name| format!("{dir}/{name}"))
            .filter_map(|name| ObjectName::parse(&name).or_else(|| Some(ObjectName::parse_receipt(&name)?.0)))
            .filter(|name| name.encrypted.is_some())
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Reads stored bytes as the artefact that they are.
    fn reader(&self, name: ObjectName, stored: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>, Failure> {
        let opened = || -> io::Result<Box<dyn Read + Send>> {
            Ok(if name.encrypted.is_none() {
                Box::new(Proving::new(decoder(stored)?, name.artefact))
            } else {
                let plain = Decrypting::begin(stored, &self.identities)?;
                Box::new(Proving::new(decoder(plain)?, name.artefact))
            })
        };
        if name.encrypted.is_some() && self.identities.is_empty() {
            let what = "the artefact is encrypted, and there is no identity to read it with";
            return Err(Failure::new(FailureKind::Denied, what));
        }
        opened().map_err(|error| match error.get_ref().and_then(|it| it.downcast_ref()) {
            Some(AgeError::NoMatch) => Failure::new(FailureKind::Denied, &error.to_string()),
            _ => failure("read", &self.files.path(&name.to_string()), &error),
        })
    }

    /// Reads all files of all evidence below `above`. What cannot be read is passed over and reported at the end.
    pub(super) fn each<K: Ord + Copy>(
        &self,
        above: &str,
        key: impl Fn(&str) -> Option<K>,
        bytes_max: u64,
        take: Take<'_, K>,
    ) -> Result<(), Failure> {
        let list = |dir: &str| {
            self.files
                .list(dir)
                .map_err(|error| failure("list", &self.files.path(dir), &error))
        };
        let mut first = None;
        let mut all: Vec<_> = list(above)?.iter().filter_map(|name| exactly(name)).collect();
        all.sort_unstable();
        for evidence in all {
            let dir = format!("{above}/{evidence}");
            let mut names: Vec<_> = list(&dir)?
                .into_iter()
                .filter_map(|name| Some((key(&name)?, name)))
                .collect();
            names.sort_unstable();
            for (key, name) in names {
                let name = format!("{dir}/{name}");
                let taken = self.files.read(&name, bytes_max).and_then(|bytes| {
                    take(evidence, key, &bytes).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
                });
                match taken {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return first.map_or(Ok(()), Err),
                    Err(error) => {
                        first.get_or_insert_with(|| failure("read", &self.files.path(&name), &error));
                    }
                }
            }
        }
        first.map_or(Ok(()), Err)
    }
}

/// Proves that what is stored under the name is what it should be; its hash and size. Of what is encrypted, that is
/// told by the stored bytes.
pub(super) fn stored_already(files: &Files, name: ObjectName) -> io::Result<(Sha256Hash, u64)> {
    let mut stored = Hashing::new(files.open(&name.to_string())?);
    let changed = || {
        let what = "what is stored there under the same hash is not it any more";
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    if let Some(encrypted) = name.encrypted {
        io::copy(&mut stored, &mut io::sink())?;
        let found = stored.finish();
        return if found.0 == encrypted.stored {
            Ok(found)
        } else {
            Err(changed())
        };
    }
    let mut original = Hashing::new(decoder(&mut stored)?);
    io::copy(&mut original, &mut io::sink())?;
    if original.finish().0 != name.artefact {
        return Err(changed());
    }
    Ok(stored.finish())
}

/// Reads what was compressed, with bounded memory.
pub(crate) fn decoder<'a, R: Read + 'a>(file: R) -> io::Result<zstd::stream::read::Decoder<'a, BufReader<R>>> {
    let mut decoder = zstd::stream::read::Decoder::new(file)?;
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    Ok(decoder)
}
