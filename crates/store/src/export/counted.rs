//! What passes by while an archive is written: counted, hashed, and told of.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};
use staunch_model::Printable;

/// Counts and hashes what is written.
pub(super) struct Counted<W> {
    pub(super) inner: W,
    pub(super) hash: Sha256,
    pub(super) bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Tells how far reading has come, and keeps apart who has failed: who reads, or who writes.
pub(super) struct Followed<'a, R> {
    pub(super) inner: R,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) progress: &'a mut dyn FnMut(u64, u64),
    pub(super) failed: Option<String>,
}

impl<R: Read> Read for Followed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(Printable(&error.to_string()).to_string());
            }
        })?;
        self.done += read as u64;
        (self.progress)(self.done, self.total);
        Ok(read)
    }
}
