//! The one form of tar that archives have: POSIX ustar, plain files only, one owner, one time, no links and no
//! directories.
//!
//! Never unpacks anything. A header is read by writing it again: one that any other program, or an attacker, has
//! written otherwise is not read, so that there is nothing in it to be understood in two ways.

use std::io::{self, Read, Write};

/// The unit of the format.
const BLOCK: usize = 512;

/// The largest size in octal digits; GNU tar and others write larger ones as numbers of base 256.
const OCTAL_MAX: u64 = 0o777_7777_7777;

/// Why an archive cannot be read on.
#[derive(Debug)]
pub(super) enum TarError {
    /// It cannot be read.
    Io(io::Error),
    /// It is none of ours.
    Form(&'static str),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The header of a file; `None` when its name does not fit.
fn header(path: &str, size: u64) -> Option<[u8; BLOCK]> {
    let (prefix, name) = path.rsplit_once('/')?;
    if name.is_empty() || name.len() > 100 || prefix.is_empty() || prefix.len() > 155 {
        return None;
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\x00");
    if size <= OCTAL_MAX {
        put(124, format!("{size:011o}\0").as_bytes());
    } else {
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, b"00000000000\x00        0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\x00");
    put(345, prefix.as_bytes());
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// Writes a file of `size` bytes that `from` has, no more and no fewer.
pub(super) fn write_file(to: &mut dyn Write, path: &str, size: u64, from: &mut dyn Read) -> io::Result<()> {
    let header =
        header(path, size).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its name is too long"))?;
    to.write_all(&header)?;
    let copied = io::copy(&mut from.take(size.saturating_add(1)), to)?;
    if copied != size {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it has another length than it had",
        ));
    }
    to.write_all(&[0; BLOCK][..padding(size)])
}

/// Writes the end.
pub(super) fn write_end(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0; 2 * BLOCK])
}

/// The bytes to the next full block.
fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).expect("it is below 512");
    if over == 0 { 0 } else { BLOCK - over }
}

/// Reads an archive. The file that was found last is read through [`Read`].
pub(super) struct TarReader<R> {
    inner: R,
    /// Bytes of the file that were not read.
    left: u64,
    padding: usize,
}

impl<R: Read> TarReader<R> {
    /// What it reads from.
    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            left: 0,
            padding: 0,
        }
    }

    /// The name and size of the next file; `None` at the end, after which there is nothing more.
    pub(super) fn next(&mut self) -> Result<Option<(String, u64)>, TarError> {
        if self.left > 0 {
            io::copy(self, &mut io::sink())?;
        }
        let mut block = [0; BLOCK];
        let padding = std::mem::take(&mut self.padding);
        self.inner.read_exact(&mut block[..padding])?;
        if block.iter().any(|byte| *byte != 0) {
            return Err(TarError::Form("there is something between two files"));
        }
        self.inner.read_exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            self.inner.read_exact(&mut block)?;
            if block.iter().any(|byte| *byte != 0) || self.inner.read(&mut [0])? != 0 {
                return Err(TarError::Form("there is something after its end"));
            }
            return Ok(None);
        }
        if block[156] != b'0' {
            return Err(TarError::Form(
                "it holds a link, a directory or something else that is no plain file",
            ));
        }
        let (path, size) = parse(&block).ok_or(TarError::Form("a header is not in the form that is exported"))?;
        self.left = size;
        self.padding = self::padding(size);
        Ok(Some((path, size)))
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.inner.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// The path and size of a header.
fn parse(block: &[u8; BLOCK]) -> Option<(String, u64)> {
    let text = |from: usize, to: usize| {
        let field = &block[from..to];
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        std::str::from_utf8(&field[..end]).ok()
    };
    let size = if block[124] == 0x80 {
        u64::from_be_bytes(block[128..136].try_into().expect("it is 8 bytes"))
    } else {
        u64::from_str_radix(text(124, 136)?, 8).ok()?
    };
    let path = format!("{}/{}", text(345, 500)?, text(0, 100)?);
    (header(&path, size)? == *block).then_some((path, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let mut bytes = Vec::new();
        for (path, content) in [("INC-1/a", &b"one"[..]), ("INC-1/b/c", &[7; 512]), ("INC-1/d", b"")] {
            write_file(&mut bytes, path, content.len() as u64, &mut &*content).expect("it is written");
        }
        write_end(&mut bytes).expect("it is written");
        let read = |bytes: &[u8]| {
            let mut reader = TarReader::new(bytes);
            let mut found = Vec::new();
            while let Some((path, size)) = reader.next()? {
                let mut content = Vec::new();
                reader.read_to_end(&mut content)?;
                assert_eq!(content.len() as u64, size);
                found.push((path, content));
            }
            Ok::<_, TarError>(found)
        };
        let found = read(&bytes).expect("it is whole");
        assert_eq!(found.len(), 3);
        assert_eq!((&*found[1].0, &*found[0].1), ("INC-1/b/c", &b"one"[..]));
        for at in 0..bytes.len() {
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(!read(&changed).is_ok_and(|it| it == found), "byte {at}");
        }
        bytes.push(0);
        assert!(matches!(read(&bytes), Err(TarError::Form(_))));
    }

    #[test]
    fn sizes_beyond_eight_gibibytes_are_written_as_others_do() {
        for size in [0, OCTAL_MAX, OCTAL_MAX + 1, u64::MAX] {
            let block = header("a/b", size).expect("it fits");
            assert_eq!(parse(&block), Some(("a/b".to_owned(), size)));
        }
    }
}
