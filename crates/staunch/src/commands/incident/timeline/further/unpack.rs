//! Logs that are packed, as rotation and object stores leave them.

use std::io::{self, BufRead, BufReader, Read, Take};

use flate2::read::MultiGzDecoder;
use zstd::stream::read::Decoder;

/// Bytes that are unpacked of one log: a packed one can be a thousand times as large as it looks.
pub(super) const UNPACKED_BYTES_MAX: u64 = 1 << 30;

/// How much a zstd frame may ask to be kept in memory: 8 MiB, what RFC 8878 recommends to support.
const WINDOW_LOG_MAX: u32 = 23;

/// A log as it is read.
pub(super) enum Unpacked<'f> {
    /// It is not packed.
    Plain(&'f mut dyn BufRead),
    /// What it is unpacked to, up to the bound.
    Packed(BufReader<Take<Box<dyn Read + 'f>>>),
}

impl<'f> Unpacked<'f> {
    /// Looks at the first bytes: gzip (RFC 1952) and zstd (RFC 8878) have their own.
    pub(super) fn new(from: &'f mut dyn BufRead) -> io::Result<Self> {
        let head = from.fill_buf()?;
        let unpacker: Box<dyn Read + 'f> = if head.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(from))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut decoder = Decoder::with_buffer(from)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(decoder)
        } else {
            return Ok(Self::Plain(from));
        };
        Ok(Self::Packed(BufReader::new(unpacker.take(UNPACKED_BYTES_MAX))))
    }

    pub(super) fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Plain(from) => *from,
            Self::Packed(from) => from,
        }
    }

    /// Whether there is more than is unpacked.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Packed(from) if from.get_ref().limit() == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn unpacked(mut bytes: &[u8]) -> io::Result<String> {
        let mut unpacked = Unpacked::new(&mut bytes)?;
        let mut text = String::new();
        unpacked.reader().read_to_string(&mut text)?;
        assert!(!unpacked.is_cut());
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::default());
        to.write_all(text.as_bytes()).expect("memory");
        to.finish().expect("memory")
    }

    #[test]
    fn what_is_packed_is_unpacked_and_what_is_damaged_is_told() {
        assert_eq!(unpacked(b"plain").expect("it is read"), "plain");
        assert_eq!(unpacked(b"").expect("it is read"), "");
        // Parts that were packed by themselves.
        let two = [gzip("one\n"), gzip("two\n")].concat();
        assert_eq!(unpacked(&two).expect("it is read"), "one\ntwo\n");
        let zstd = zstd::encode_all(&b"three\n"[..], 3).expect("memory");
        assert_eq!(unpacked(&zstd).expect("it is read"), "three\n");
        for packed in [two, zstd] {
            unpacked(&packed[..packed.len() - 3]).expect_err("it is cut off");
        }
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 1, 0, 0];
        unpacked(&wide).expect_err("it asks for too much memory");
    }
}
