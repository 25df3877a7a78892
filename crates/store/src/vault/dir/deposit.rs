//! An artefact on its way into a vault in a directory.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use staunch_model::{Compression, Encryption, Failure, FailureKind, ManifestDraft, Sha256Hash, Storage, Taken};
use staunch_ports::{Deposit, SealedManifest};

use super::name::{Encrypted, ObjectName};
use super::read::stored_already;
use super::remote::AtOnce;
use super::{DirVault, Shared};
use crate::age::{Encrypting, Recipient};
use crate::files::{failure, parent};

/// The encrypted copies of an artefact that are looked at, to be kept instead of another one.
const KNOWN_MAX: usize = 8;

/// The compressed bytes of an artefact on their way to the disk. Dropping it removes the file from `tmp`.
pub(super) struct Stored {
    pub(super) shared: Arc<Shared>,
    pub(super) staged: String,
    pub(super) file: File,
    pub(super) hash: Sha256,
    pub(super) bytes: u64,
}

impl Write for Stored {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(remote) = &self.shared.remote {
            let most = remote.bucket.settings().object_bytes_max;
            if data.len() as u64 > most.saturating_sub(self.bytes) {
                let what = format!("a bucket takes at most {most} bytes of one artefact, compressed");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
            }
        }
        self.shared.files.write(&self.file, &self.staged, data)?;
        self.hash.update(data);
        self.bytes += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if let Err(error) = self.shared.files.remove(&self.staged) {
            tracing::warn!(%error, name = %self.staged, "cannot remove what was not sealed; the next start does");
        }
    }
}

impl Stored {
    /// Keeps the bytes durably under the name that their original hash asks for: in the bucket when there is one and it
    /// is there, and in the directory otherwise.
    fn keep(self, artefact: Sha256Hash) -> Result<Storage, Failure> {
        let shared = Arc::clone(&self.shared);
        let files = &shared.files;
        let sha256 = Sha256Hash(self.hash.clone().finalize().into());
        let is_encrypted = !shared.recipients.is_empty();
        let encrypted = Encrypted::new(sha256, shared.recipients.iter().map(Recipient::text));
        let own = ObjectName {
            artefact,
            encrypted: is_encrypted.then_some(encrypted),
        };
        let path = files.path(&own.to_string());
        let synced = self
            .file
            .set_permissions(Permissions::from_mode(0o400))
            .and_then(|()| files.sync(&self.file, &self.staged));
        synced.map_err(|error| failure("store", &path, &error))?;
        let mut known = Vec::new();
        if is_encrypted {
            // What was encrypted to the same before need not be stored again.
            known = shared.encrypted(artefact)?;
            known.retain(|it| it.encrypted.is_some_and(|it| it.to == encrypted.to));
            known.truncate(KNOWN_MAX);
        }
        let mut why = String::new();
        if let Some(remote) = &shared.remote {
            match shared.keep_at_once(remote, &self.staged, (own, &known), (sha256, self.bytes)) {
                AtOnce::There(storage) => return Ok(storage),
                AtOnce::Waits(reason) => why = reason,
            }
        }
        self.keep_here(own, &known, &why)
            .map_err(|error| failure("store", &path, &error))
    }

    /// Gives the bytes, which are on the disk, their name in the directory; what is there under it, or as one of
    /// `known`, is proved, and kept instead. Bytes never get a name that tells of others.
    fn keep_here(self, own: ObjectName, known: &[ObjectName], why: &str) -> io::Result<Storage> {
        let shared = &self.shared;
        let files = &shared.files;
        let queueing = shared.queueing();
        let mut there = None;
        for name in known {
            if files.path(&name.to_string()).exists() {
                shared.queue_artefact(*name, why)?;
                if let Ok(found) = stored_already(files, *name) {
                    there = Some((*name, found));
                    break;
                }
            }
        }
        let (name, (sha256, size)) = match there {
            Some(found) => found,
            None => {
                let file = own.to_string();
                shared.queue_artefact(own, why)?;
                files.make_dirs(parent(&file))?;
                let stored = match files.link(&self.staged, &file) {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => stored_already(files, own)?,
                    linked => {
                        linked?;
                        (Sha256Hash(self.hash.clone().finalize().into()), self.bytes)
                    }
                };
                (own, stored)
            }
        };
        let file = name.to_string();
        files.sync_dir(parent(&file))?;
        drop(queueing);
        // A file with the immutable flag keeps all of its names, so this one goes first.
        files.remove(&self.staged)?;
        let write_once = self.shared.freeze(&file)?;
        Ok(Storage {
            path: file.into(),
            size,
            sha256,
            compression: Compression::Zstd,
            encryption: self.shared.encryption(name),
            write_once,
            retain_until: None,
            legal_hold: false,
            version: None,
        })
    }
}

impl Shared {
    /// How an artefact of this name is encrypted, which is to our recipients when it is.
    pub(super) fn encryption(&self, name: ObjectName) -> Option<Encryption> {
        name.encrypted?;
        Some(Encryption {
            scheme: "age".into(),
            recipients: self.recipients.iter().map(|it| it.text().into()).collect(),
        })
    }
}

/// Compressed bytes on their way to the disk, which may be encrypted on it.
pub(super) enum Stream {
    Plain(Stored),
    Encrypted(Box<Encrypting<Stored>>),
}

impl Stream {
    pub(super) fn begin(stored: Stored) -> io::Result<Self> {
        let recipients = stored.shared.recipients.clone();
        Ok(if recipients.is_empty() {
            Self::Plain(stored)
        } else {
            Self::Encrypted(Box::new(Encrypting::begin(stored, &recipients)?))
        })
    }

    fn stored(&self) -> &Stored {
        match self {
            Self::Plain(stored) => stored,
            Self::Encrypted(encrypting) => encrypting.inner(),
        }
    }

    fn finish(self) -> io::Result<Stored> {
        match self {
            Self::Plain(stored) => Ok(stored),
            Self::Encrypted(encrypting) => encrypting.finish(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stored) => stored.write(data),
            Self::Encrypted(encrypting) => encrypting.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An artefact that is being written.
pub(super) struct DirDeposit {
    /// There until it is sealed.
    pub(super) encoder: Option<zstd::stream::write::Encoder<'static, Stream>>,
    pub(super) hash: Sha256,
    pub(super) bytes: u64,
    pub(super) bytes_max: u64,
    /// Why nothing of it will be kept.
    pub(super) broken: Option<Failure>,
}

impl Write for DirDeposit {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(broken) = &self.broken {
            let kind = match broken.kind {
                FailureKind::Full => io::ErrorKind::StorageFull,
                FailureKind::Invalid => io::ErrorKind::FileTooLarge,
                _ => io::ErrorKind::Other,
            };
            return Err(io::Error::new(kind, broken.to_string()));
        }
        if data.len() as u64 > self.bytes_max - self.bytes {
            let what = format!("the artefact is longer than {} bytes", self.bytes_max);
            self.broken = Some(Failure::new(FailureKind::Invalid, &what));
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        let Some(encoder) = &mut self.encoder else {
            return Err(io::Error::other("it was sealed"));
        };
        let path = |stored: &Stored| stored.shared.files.path(&stored.staged);
        let written = encoder
            .write(data)
            .inspect_err(|error| self.broken = Some(failure("write to", &path(encoder.get_ref().stored()), error)))?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Deposit for DirDeposit {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn seal(mut self: Box<Self>, draft: ManifestDraft) -> Result<SealedManifest, Failure> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        let encoder = self.encoder.take().expect("only sealing takes it, and ends it");
        let shared = Arc::clone(&encoder.get_ref().stored().shared);
        let sha256 = Sha256Hash(self.hash.clone().finalize().into());
        let path = || shared.files.path(&DirVault::object_name(sha256));
        let finished = encoder.finish().and_then(Stream::finish);
        let stored = finished.map_err(|error| failure("store", &path(), &error))?;
        let storage = stored.keep(sha256)?;
        let taken = Taken::Stored {
            size: self.bytes,
            sha256,
            storage,
        };
        shared.put_manifest(draft, taken)
    }
}
