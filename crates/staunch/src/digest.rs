//! The SHA-256 of what is read.

use std::io::{self, Read};

use ring::digest::{Context, SHA256};
use staunch_model::Sha256Hash;

/// The SHA-256 of all that `from` reads.
pub(crate) fn sha256_of(mut from: impl Read) -> io::Result<Sha256Hash> {
    let mut hash = Context::new(&SHA256);
    let mut part = vec![0; 1 << 20];
    loop {
        let read = match from.read(&mut part) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            break;
        }
        hash.update(&part[..read]);
    }
    let bytes = hash.finish().as_ref().try_into().map_err(io::Error::other)?;
    Ok(Sha256Hash(bytes))
}
