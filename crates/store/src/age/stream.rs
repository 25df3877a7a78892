//! What a file of age holds: chunks of 64 KiB, each authenticated with its number and whether it is the last.

use std::io::{self, BufReader, Read, Write};

use ring::aead::LessSafeKey;

use super::{AgeError, FileKey, Identity, Random, Recipient, derive, fill, header, seal, sealing, unseal};

const CHUNK: usize = 64 << 10;
const TAG: usize = 16;

/// Encrypts what is written. It is a file of age when [`Encrypting::finish`] has returned, and not before.
pub struct Encrypting<W> {
    inner: W,
    key: LessSafeKey,
    number: u64,
    /// What is not written: a chunk at the most, because it may be the last.
    chunk: Vec<u8>,
}

impl<W: Write> Encrypting<W> {
    /// Begins a file for these recipients.
    ///
    /// # Errors
    /// Without random numbers, or what writing says.
    pub fn begin(inner: W, recipients: &[Recipient]) -> io::Result<Self> {
        Self::begin_with(inner, recipients, &mut fill)
    }

    /// The same, with random bytes of somebody else's.
    fn begin_with(mut inner: W, recipients: &[Recipient], random: &mut Random<'_>) -> io::Result<Self> {
        let (mut key, mut nonce) = (FileKey::new([0; 16]), [0; 16]);
        random(&mut *key)?;
        random(&mut nonce)?;
        inner.write_all(header::write(&key, recipients, random)?.as_bytes())?;
        inner.write_all(&nonce)?;
        Ok(Self {
            inner,
            key: sealing(&derive(&*key, &nonce, b"payload")),
            number: 0,
            chunk: Vec::with_capacity(CHUNK + TAG),
        })
    }

    /// What is written to.
    pub const fn inner(&self) -> &W {
        &self.inner
    }

    /// Writes the last chunk.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(mut self) -> io::Result<W> {
        self.put(true)?;
        Ok(self.inner)
    }

    fn put(&mut self, is_last: bool) -> io::Result<()> {
        seal(&self.key, nonce(self.number, is_last), &mut self.chunk);
        self.number += 1;
        self.inner.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encrypting<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        // There is more, so a full one is not the last.
        if self.chunk.len() == CHUNK {
            self.put(false)?;
        }
        let taken = data.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&data[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts what is read. The end is reached only when it is the one that was written.
pub struct Decrypting<R> {
    inner: BufReader<R>,
    key: LessSafeKey,
    number: u64,
    chunk: Vec<u8>,
    /// Where in the chunk reading is, and where it ends.
    at: usize,
    end: usize,
    /// The first byte of the next chunk.
    next: Option<u8>,
    is_last: bool,
    /// Why nothing more is read, and whether that is a change.
    broken: Option<(io::ErrorKind, bool)>,
}

impl<R: Read> Decrypting<R> {
    /// Reads the header, which one of the identities has to be able to.
    ///
    /// # Errors
    /// An [`AgeError`] within one of `InvalidData`, or what reading says.
    pub fn begin(inner: R, identities: &[Identity]) -> io::Result<Self> {
        let mut inner = BufReader::new(inner);
        let key = header::read(&mut inner, identities)?;
        let mut nonce = [0; 16];
        inner
            .read_exact(&mut nonce)
            .map_err(|error| cut_off(error, AgeError::Changed))?;
        Ok(Self {
            inner,
            key: sealing(&derive(&*key, &nonce, b"payload")),
            number: 0,
            chunk: Vec::with_capacity(CHUNK + TAG),
            at: 0,
            end: 0,
            next: None,
            is_last: false,
            broken: None,
        })
    }

    /// Reads the next chunk, and proves it.
    fn fill(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.chunk.extend(self.next.take());
        let room = (CHUNK + TAG - self.chunk.len()) as u64;
        self.inner.by_ref().take(room).read_to_end(&mut self.chunk)?;
        let mut byte = [0];
        if self.chunk.len() == CHUNK + TAG && read_one(&mut self.inner, &mut byte)? {
            self.next = Some(byte[0]);
        }
        self.is_last = self.next.is_none();
        let opened = unseal(&self.key, nonce(self.number, self.is_last), &mut self.chunk);
        let opened = opened.ok_or(AgeError::Changed)?.len();
        // Only a file of nothing ends with a chunk of nothing.
        if opened == 0 && self.number > 0 {
            return Err(AgeError::Changed.into());
        }
        self.number += 1;
        (self.at, self.end) = (0, opened);
        Ok(())
    }
}

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.broken {
            Some((_, true)) => return Err(AgeError::Changed.into()),
            // Who could not be read accuses nobody.
            Some((kind, false)) => return Err(io::Error::new(kind, "it could not be read before")),
            None => {}
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.at == self.end {
            if self.is_last {
                return Ok(0);
            }
            if let Err(error) = self.fill() {
                let is_change = error.get_ref().is_some_and(|it| it.is::<AgeError>());
                self.broken = Some((error.kind(), is_change));
                return Err(error);
            }
        }
        let read = buffer.len().min(self.end - self.at);
        buffer[..read].copy_from_slice(&self.chunk[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

/// The nonce of a chunk: its number in 11 bytes, and whether it is the last.
fn nonce(number: u64, is_last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(is_last);
    nonce
}

fn read_one(from: &mut impl Read, byte: &mut [u8; 1]) -> io::Result<bool> {
    loop {
        match from.read(byte) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map(|read| read == 1),
        }
    }
}

fn cut_off(error: io::Error, meaning: AgeError) -> io::Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        meaning.into()
    } else {
        error
    }
}

#[cfg(test)]
mod tests;
