//! What an artefact is held against: its hash, what its manifest says is stored, and what the bucket says that it keeps.

use std::io;
use std::time::{Duration, Instant};

use staunch_model::custody::RECEIPT_BYTES_MAX;
use staunch_model::{FailureKind, Printable, Sha256Hash};

use super::{Finding, Progress, Verifying};
use crate::vault::dir::name::ObjectName;
use crate::vault::dir::remote::{fetch, parse_receipt, sent_name};
use crate::vault::dir::{decoder, exactly};
use crate::vault::hashing::{Hashing, Proving};

/// How long a bucket may take to say how it keeps an artefact.
const SAID_WITHIN: Duration = Duration::from_secs(30);

impl Verifying<'_> {
    /// Hashes every artefact.
    pub(super) fn artefacts(&mut self) {
        let is_known = self.reported.is_empty();
        for prefix in self.list("objects") {
            for name in self.objects(&format!("objects/{prefix}")) {
                if let Some(of) = ObjectName::parse_receipt(&name) {
                    // One that is here as well is read here.
                    let looked = self.vault.path(&of.to_string()).symlink_metadata();
                    if looked.is_err() {
                        self.sent(&name, of, is_known);
                    }
                    continue;
                }
                let Some(of) = ObjectName::parse(&name) else {
                    self.foreign(&name);
                    continue;
                };
                self.summary.artefacts += 1;
                let stored = self.vault.open(&name);
                match stored.and_then(|stored| self.hashed(stored, of)) {
                    Ok(bytes) => self.summary.bytes += bytes,
                    Err(error) => {
                        let what = Printable(&error.to_string()).to_string();
                        self.find(Finding::ArtefactChanged {
                            name: name.clone(),
                            what,
                        });
                    }
                }
                // A manifest that was removed or changed may have stood for it.
                if is_known && !self.referenced.contains_key(&of) {
                    self.find(Finding::Unreferenced { name });
                }
                (self.progress)(Progress::Artefacts {
                    done: self.summary.artefacts,
                    bytes: self.summary.bytes,
                });
            }
        }
    }

    /// The files in a directory of artefacts, and in those of encrypted ones.
    fn objects(&mut self, dir: &str) -> Vec<String> {
        let mut found = Vec::new();
        for file in self.list(dir) {
            let name = format!("{dir}/{file}");
            let is_dir = self.vault.path(&name).symlink_metadata().is_ok_and(|it| it.is_dir());
            if is_dir && exactly::<Sha256Hash>(&file).is_some() {
                let names = self.list(&name);
                found.extend(names.into_iter().map(|it| format!("{name}/{it}")));
            } else {
                found.push(name);
            }
        }
        found
    }

    /// Looks at an artefact that is in the bucket, by its receipt.
    fn sent(&mut self, name: &str, of: ObjectName, is_known: bool) {
        let receipt = match self.vault.read(name, RECEIPT_BYTES_MAX) {
            Ok(bytes) => parse_receipt(&bytes, of),
            Err(error) => return self.unreadable(name, &error),
        };
        let receipt = match receipt {
            Ok(receipt) => receipt,
            Err(what) => {
                let name = name.to_owned();
                return self.find(Finding::Wrong { name, what });
            }
        };
        if is_known && !self.referenced.contains_key(&of) {
            let name = name.to_owned();
            self.find(Finding::Unreferenced { name });
        }
        let Some(bucket) = self.bucket else {
            self.summary.not_read += 1;
            return;
        };
        self.summary.artefacts += 1;
        self.summary.in_bucket += 1;
        let address = Printable(&receipt.storage.path).to_string();
        let object = sent_name(receipt.storage.sha256, of.sealed.is_some());
        let kept = bucket.check_storage(&object, &receipt.storage, Instant::now() + SAID_WITHIN);
        let read = kept.and_then(|()| fetch(bucket, &receipt));
        let what = match read {
            Ok(stored) => match self.hashed(stored, of) {
                Ok(bytes) => {
                    self.summary.bytes += bytes;
                    None
                }
                Err(error) => Some(error.to_string()),
            },
            Err(failure) if matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut) => {
                return self.unreadable(&address, &failure);
            }
            Err(failure) => Some(failure.to_string()),
        };
        if let Some(what) = what {
            let what = Printable(&what).to_string();
            self.find(Finding::ArtefactChanged { name: address, what });
        }
        (self.progress)(Progress::Artefacts {
            done: self.summary.artefacts,
            bytes: self.summary.bytes,
        });
    }

    /// Reads an artefact to its end, which proves it; its original bytes. The stored bytes have to be those of the manifest,
    /// too: there are changes of them that nothing shows that is read from them.
    fn hashed(&mut self, stored: impl io::Read, of: ObjectName) -> io::Result<u64> {
        let (artefacts, before) = (self.summary.artefacts, self.summary.bytes);
        let mut stored = Hashing::new(stored);
        if let Some(sealed) = of.sealed {
            self.summary.encrypted += 1;
            io::copy(&mut stored, &mut io::sink())?;
            if stored.finish().0 != sealed.stored {
                let what = "its stored bytes are not those that were sealed";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            // What its manifest says: nobody has looked.
            return Ok(self.referenced.get(&of).map_or(0, |(_, size)| *size));
        }
        let mut proving = Proving::new(decoder(&mut stored)?, of.artefact);
        let mut buffer = vec![0; 256 << 10];
        let mut bytes: u64 = 0;
        let expected = self.referenced.get(&of).copied();
        loop {
            let read = io::Read::read(&mut proving, &mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            if let Some((_, size)) = expected.filter(|(_, size)| bytes > *size) {
                let what = format!("it unpacks to more than the {size} bytes of its manifest");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            // A large one is told of while it is read.
            if bytes % (64 << 20) < read as u64 {
                (self.progress)(Progress::Artefacts {
                    done: artefacts,
                    bytes: before + bytes,
                });
            }
        }
        drop(proving);
        if expected.is_some_and(|(expected, _)| stored.finish().0 != expected) {
            let what = "its bytes are the same, and what is stored of them is not";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(bytes)
    }
}
