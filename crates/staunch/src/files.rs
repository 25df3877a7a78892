//! Reading files that a person named: never more than they can sensibly be.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The text of the file at `path`, when it has at most `bytes_max` bytes. Devices and pipes are read no further either.
///
/// # Errors
/// When it cannot be read, is longer, or is not UTF-8.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let what = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_files_are_read_to_the_bound_only() {
        let error = read_bounded(Path::new("/dev/zero"), 1_000).expect_err("it never ends");
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
        assert_eq!(read_bounded(Path::new("/dev/null"), 0).expect("an empty text"), "");
    }
}
