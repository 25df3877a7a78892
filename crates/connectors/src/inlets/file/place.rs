//! The place up to which a file was read, which survives restarts.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use serde::{Deserialize, Serialize};

/// Bytes at the beginning of a file that tell it from another one with the same number: a number is given out again.
const HEAD_BYTES: usize = 256;

/// Which file it was, and how much of it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    device: u64,
    inode: u64,
    /// How many bytes of its beginning `head` is of.
    head_bytes: u64,
    /// The BLAKE3 hash of its beginning, in hexadecimal.
    head: String,
    /// Bytes that were taken.
    pub(super) offset: u64,
    /// Whether all was taken of what was followed then, and none of it had a name any more: what was not taken is not
    /// there to be found. Whoever still had it open may have written more.
    #[serde(default)]
    pub(super) is_over: bool,
}

impl Place {
    /// The place `offset` in `file`, and whether all `is_over`.
    pub(super) fn of(file: &File, offset: u64, is_over: bool) -> io::Result<Self> {
        let found = file.metadata()?;
        let head_bytes = HEAD_BYTES.min(usize::try_from(offset).unwrap_or(HEAD_BYTES));
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
            head_bytes: head_bytes as u64,
            head: head(file, head_bytes)?,
            offset,
            is_over,
        })
    }

    /// Whether it is a place in `file`, whatever has become of its content.
    pub(super) fn is_of(&self, file: &File) -> io::Result<bool> {
        let found = file.metadata()?;
        Ok((found.dev(), found.ino()) == (self.device, self.inode))
    }

    /// Whether it is a place in `file` as it is now.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        let bytes = usize::try_from(self.head_bytes).unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
        Ok(self.is_of(file)? && file.metadata()?.len() >= self.offset && head(file, bytes)? == self.head)
    }
}

/// The hash of the first `bytes` of `file`, or of all of it when it is shorter.
fn head(file: &File, bytes: usize) -> io::Result<String> {
    let mut buffer = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..bytes], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(blake3::hash(&buffer[..filled]).to_hex().to_string())
}
