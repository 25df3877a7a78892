//! Hashing what passes by.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};
use staunch_model::Sha256Hash;

/// Hashes and counts what is read through it.
#[derive(Debug)]
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// The hash of what was read, and how much it was.
    pub(crate) fn finish(self) -> (Sha256Hash, u64) {
        (Sha256Hash(self.hash.finalize().into()), self.bytes)
    }

    /// What was read from, and the hash of what was read.
    pub(crate) fn into_parts(self) -> (R, Sha256Hash) {
        (self.inner, Sha256Hash(self.hash.finalize().into()))
    }

    /// The hash of what was read so far.
    pub(crate) fn so_far(&self) -> Sha256Hash {
        Sha256Hash(self.hash.clone().finalize().into())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Reads to the end only when what was read has the hash it is expected to have.
#[derive(Debug)]
pub(crate) struct Proving<R> {
    inner: Hashing<R>,
    expected: Sha256Hash,
    is_broken: bool,
}

impl<R> Proving<R> {
    pub(crate) fn new(inner: R, expected: Sha256Hash) -> Self {
        Self {
            inner: Hashing::new(inner),
            expected,
            is_broken: false,
        }
    }
}

impl<R: Read> Read for Proving<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let changed = || io::Error::new(io::ErrorKind::InvalidData, "what is stored is not what was sealed");
        if self.is_broken {
            return Err(changed());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.inner.read(buffer) {
            Ok(0) if self.inner.so_far() != self.expected => {
                self.is_broken = true;
                Err(changed())
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.is_broken = true;
                // What the system did not say was found by whoever unpacks it: the bytes are not those that were
                // packed.
                Err(if error.raw_os_error().is_none() {
                    changed()
                } else {
                    error
                })
            }
            read => read,
        }
    }
}
