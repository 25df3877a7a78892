//! What an artefact is held against: its hash, what its manifest says is stored, and what the bucket says that it
//! keeps.

use std::io;
use std::time::{Duration, Instant};

use staunch_model::{Printable, Receipt, Sha256Hash};

use super::{Finding, Progress, Referenced, Verifying};
use crate::s3::{Bucket, Doubt, is_outage};
use crate::vault::dir::name::ObjectName;
use crate::vault::dir::receipts::{fetch, newest, object_of, receipts};
use crate::vault::dir::{decoder, exactly};
use crate::vault::hashing::{Hashing, Proving};

/// How long a bucket may take to say how it keeps an artefact.
const SAID_WITHIN: Duration = Duration::from_secs(30);

/// So many artefacts in a row for which nobody answers are enough: each may take [`SAID_WITHIN`].
pub(super) const UNANSWERED_MAX: u32 = 3;

/// What is known of an artefact in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Its bytes can be read.
    Readable,
    /// All that can be.
    Told,
    /// Nothing: nobody answered.
    Away,
}

/// Whether a connection ended before all was said. What ends early by itself may have been made shorter.
fn is_cut_off(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::TimedOut | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::ConnectionRefused | Kind::BrokenPipe
    )
}

impl Verifying<'_> {
    /// Hashes every artefact.
    pub(super) fn artefacts(&mut self) {
        self.are_manifests_known = self.reported.is_empty();
        let mut seen = None;
        for prefix in self.list("objects") {
            for name in self.objects(&format!("objects/{prefix}")) {
                if let Some((of, _)) = ObjectName::parse_receipt(&name) {
                    // One that is here as well is read here, and several receipts are of one artefact.
                    let looked = self.vault.path(&of.to_string()).symlink_metadata();
                    if looked.is_err() && seen.replace(of) != Some(of) {
                        self.sent(of);
                    }
                    continue;
                }
                let Some(of) = ObjectName::parse(&name) else {
                    self.foreign(&name);
                    continue;
                };
                let is_counted = self.count(of);
                let stored = self.vault.open(&name);
                match stored.and_then(|stored| self.hashed(stored, of)) {
                    Ok(bytes) if is_counted => self.summary.bytes += bytes,
                    Ok(_) => {}
                    Err(error) => {
                        let what = Printable(&error.to_string()).to_string();
                        self.find(Finding::ArtefactChanged {
                            name: name.clone(),
                            what,
                        });
                    }
                }
                // A manifest that was removed or changed may have stood for it.
                if self.are_manifests_known && !self.referenced.contains_key(&of) {
                    self.find(Finding::Unreferenced { name });
                }
                (self.progress)(Progress::Artefacts {
                    done: self.summary.artefacts,
                    bytes: self.summary.bytes,
                });
            }
        }
    }

    /// Counts an artefact; whether a manifest in the log stands for it.
    fn count(&mut self, of: ObjectName) -> bool {
        let is_counted = self.is_stood_for(of);
        if is_counted {
            self.summary.artefacts += 1;
            self.summary.encrypted += u64::from(of.encrypted.is_some());
        } else {
            self.summary.unlogged.artefacts += 1;
        }
        is_counted
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

    /// Looks at an artefact that is in the bucket, by the receipt that counts.
    fn sent(&mut self, of: ObjectName) {
        let found = match receipts(&self.vault, of) {
            Ok(found) => found,
            Err(error) => return self.unreadable(&of.receipt(1), &error),
        };
        for it in &found {
            if let Err(what) = &it.receipt {
                let (name, what) = (it.name.clone(), what.clone());
                self.find(Finding::Wrong { name, what });
            }
        }
        if found.iter().all(|it| it.receipt.is_err()) {
            return;
        }
        if self.are_manifests_known && !self.referenced.contains_key(&of) {
            let name = found.last().map_or_else(String::new, |it| it.name.clone());
            self.find(Finding::Unreferenced { name });
        }
        let counts = self
            .bucket
            .and_then(|bucket| Some((bucket, newest(&found, Some(bucket))?)));
        let Some((bucket, receipt)) = counts.and_then(|(bucket, it)| Some((bucket, it.receipt.as_ref().ok()?))) else {
            if self.is_stood_for(of) {
                self.summary.not_read += 1;
            } else {
                self.summary.unlogged.artefacts += 1;
            }
            return;
        };
        let address = Printable(&receipt.storage.path).to_string();
        if self.looked_at(bucket, receipt, &address, of) == Looked::Away {
            if self.is_stood_for(of) {
                self.summary.not_read += 1;
                self.summary.away += 1;
            } else {
                self.summary.unlogged.artefacts += 1;
            }
            return;
        }
        let is_counted = self.count(of);
        self.summary.in_bucket += u64::from(is_counted);
        (self.progress)(Progress::Artefacts {
            done: self.summary.artefacts,
            bytes: self.summary.bytes,
        });
    }

    /// Asks a bucket how it keeps an artefact, and reads it. One that did not answer again and again is asked no more.
    fn looked_at(&mut self, bucket: &Bucket, receipt: &Receipt, address: &str, of: ObjectName) -> Looked {
        if self.unanswered >= UNANSWERED_MAX {
            return Looked::Away;
        }
        let by = Instant::now() + SAID_WITHIN;
        let kept = bucket.check_storage(&object_of(&receipt.storage), &receipt.storage, by);
        let looked = match kept {
            Ok(()) => Looked::Readable,
            Err(doubt) => self.doubted(address, of, doubt),
        };
        let looked = match looked {
            Looked::Readable => self.in_bucket(address, fetch(bucket, receipt), of),
            other => other,
        };
        self.unanswered = if looked == Looked::Away { self.unanswered + 1 } else { 0 };
        looked
    }

    /// Tells that nobody answered who could say anything of an artefact.
    fn away(&mut self, address: &str, why: &impl ToString) -> Looked {
        let (name, what) = (address.to_owned(), Printable(&why.to_string()).to_string());
        self.find(Finding::Away { name, what });
        Looked::Away
    }

    /// Tells how a bucket keeps an artefact otherwise than its receipt says; whether its bytes can be looked at all the
    /// same.
    fn doubted(&mut self, address: &str, of: ObjectName, doubt: Doubt) -> Looked {
        let name = address.to_owned();
        let tell = |what: String| Printable(&what).to_string();
        match doubt {
            Doubt::Otherwise(what) => {
                let what = tell(what);
                self.find(Finding::NotKept { name, what });
                Looked::Readable
            }
            Doubt::Gone(what) => {
                let what = tell(what);
                self.find(Finding::NotKept { name, what });
                Looked::Told
            }
            Doubt::Changed(what) => {
                let what = tell(what);
                self.find(Finding::ArtefactChanged { name, what });
                Looked::Told
            }
            Doubt::Unstated(what) => {
                let (name, what) = (of.receipt(1), what.to_owned());
                self.find(Finding::Wrong { name, what });
                Looked::Told
            }
            Doubt::Elsewhere(what) => {
                self.unreadable(address, &what);
                Looked::Told
            }
            Doubt::Unknown(failure) if is_outage(&failure) => self.away(address, &failure),
            Doubt::Unknown(failure) => {
                self.unreadable(address, &failure);
                // Who may not ask how it is kept may read it all the same.
                Looked::Readable
            }
        }
    }

    /// Holds the bytes that a bucket has against what they have to be.
    fn in_bucket(
        &mut self,
        address: &str,
        read: Result<Box<dyn io::Read + Send>, staunch_model::Failure>,
        of: ObjectName,
    ) -> Looked {
        match read {
            Ok(stored) => match self.hashed(stored, of) {
                Ok(bytes) if self.is_stood_for(of) => self.summary.bytes += bytes,
                Ok(_) => {}
                Err(error) if is_cut_off(&error) => return self.away(address, &error),
                // Nothing was changed that did not arrive.
                Err(error) if error.kind() != io::ErrorKind::InvalidData => self.unreadable(address, &error),
                Err(error) => {
                    let (name, what) = (address.to_owned(), Printable(&error.to_string()).to_string());
                    self.find(Finding::ArtefactChanged { name, what });
                }
            },
            Err(failure) if is_outage(&failure) => return self.away(address, &failure),
            // It was told of already when it is not there.
            Err(failure) if !self.reported.contains(address) => self.unreadable(address, &failure),
            Err(_) => {}
        }
        Looked::Told
    }

    /// Reads an artefact to its end, which proves it; its original bytes. The stored bytes have to be those of the
    /// manifest, too: there are changes of them that nothing shows that is read from them.
    fn hashed(&mut self, stored: impl io::Read, of: ObjectName) -> io::Result<u64> {
        let (artefacts, before) = (self.summary.artefacts, self.summary.bytes);
        let mut stored = Hashing::new(stored);
        if let Some(encrypted) = of.encrypted {
            io::copy(&mut stored, &mut io::sink())?;
            if stored.finish().0 != encrypted.stored {
                let what = "its stored bytes are not those that were sealed";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            // What its manifest says: nobody has looked.
            return Ok(self.referenced.get(&of).map_or(0, |it| it.size));
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
            if let Some(Referenced { size, .. }) = expected.filter(|it| bytes > it.size) {
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
        if expected.is_some_and(|it| stored.finish().0 != it.stored) {
            let what = "its bytes are the same, and what is stored of them is not";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(bytes)
    }
}
