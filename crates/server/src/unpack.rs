//! Bodies that arrive packed: gzip (RFC 1952) and zstd (RFC 8878).
//!
//! Never holds more than the bound: what a body would be unpacked is not believed, but seen.

use std::io::{self, Read};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use flate2::read::MultiGzDecoder;
use staunch_model::Printable;

use crate::body::{self, Bytes, Share};
use crate::dto::Problem;
use crate::problem::Failed;

/// Bytes that are unpacked at once.
const PIECE: usize = 64 << 10;

/// The largest window that a zstd frame may ask for, as a power of two: 8 MiB, which RFC 8878 (3.1.1.1.2) wants every
/// decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// What `headers` say; `None` for a body that is not packed.
    ///
    /// # Errors
    /// When it is packed in another way, or more than once.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Failed> {
        let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        let (encoding, more) = (encodings.next(), encodings.next());
        let Some(encoding) = encoding else { return Ok(None) };
        let is = |name: &str| encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match more {
            None if is("identity") => Ok(None),
            None if is("gzip") || is("x-gzip") => Ok(Some(Self::Gzip)),
            None if is("zstd") => Ok(Some(Self::Zstd)),
            _ => {
                let all = headers.get_all(header::CONTENT_ENCODING).iter();
                let named: Vec<_> = all.map(|it| String::from_utf8_lossy(it.as_bytes())).collect();
                let detail = format!("the body is encoded as {}", Printable(&named.join(", ")));
                let title = "the encoding of the body is not supported";
                Err(
                    Failed::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", title, detail)
                        .hint("send it with the content-encoding gzip or zstd, or without one"),
                )
            }
        }
    }

    /// Unpacks `packed` into at most `bytes_max` bytes, for which `share` grows.
    ///
    /// # Errors
    /// When it is damaged, or larger.
    pub(crate) fn unpack(self, packed: &[u8], bytes_max: usize, share: Share) -> Result<Bytes, Failed> {
        match self {
            Self::Gzip => read_all(MultiGzDecoder::new(packed), bytes_max, share),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(|error| damaged(&error))?;
                decoder
                    .window_log_max(ZSTD_WINDOW_LOG_MAX)
                    .map_err(|error| damaged(&error))?;
                read_all(decoder, bytes_max, share)
            }
        }
    }
}

/// What comes out of `packed`, of which the name is one of HTTP's encodings: at most `bytes_max` bytes, and at most
/// `memory` with what it takes to hold them.
///
/// # Errors
/// The problem that the client is told.
pub fn unpacked(
    encoding: &'static str,
    packed: &[u8],
    bytes_max: usize,
    memory: usize,
) -> Result<Vec<u8>, Box<Problem>> {
    let memory = body::memory(memory);
    let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(encoding))]);
    let unpacked = Packing::of(&headers).and_then(|packing| match packing {
        Some(packing) => packing.unpack(packed, bytes_max, body::share_of(&memory)),
        None => Err(Failed::malformed("the body is not packed")),
    });
    unpacked.map(|it| it.bytes).map_err(Failed::into_problem)
}

fn read_all(mut unpacked: impl Read, bytes_max: usize, mut share: Share) -> Result<Bytes, Failed> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = match unpacked.read(&mut piece) {
            Ok(0) => return Ok(Bytes { bytes, share }),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(&error)),
        };
        if bytes.len() + read > bytes_max {
            return Err(Failed::too_large(bytes_max));
        }
        share.grow(bytes.len() + read)?;
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn damaged(error: &io::Error) -> Failed {
    let what = error.to_string();
    Failed::malformed(format!("the body cannot be unpacked: {}", Printable(&what)))
        .hint("was it cut off, or is it packed in another way than its content-encoding says?")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tokio::sync::Semaphore;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 3).expect("into memory")
    }

    fn unpacked(packing: Packing, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failed> {
        let memory = Arc::new(Semaphore::new(1_000));
        let result = packing.unpack(packed, bytes_max, body::share_of(&memory));
        let bytes = result.map(|it| it.bytes);
        // What was taken up has been given back.
        assert_eq!(memory.available_permits(), 1_000);
        bytes
    }

    #[test]
    fn what_was_packed_comes_out_in_one_piece_or_several() {
        let text = b"one\ntwo\n".repeat(20_000);
        for (packing, pack) in [(Packing::Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Packing::Zstd, zstd)] {
            assert_eq!(unpacked(packing, &pack(&text), text.len()).ok(), Some(text.clone()));
            let both = [pack(b"one"), pack(b"two")].concat();
            assert_eq!(unpacked(packing, &both, 6).ok().as_deref(), Some(&b"onetwo"[..]));
        }
    }

    #[test]
    fn a_bomb_ends_at_the_bound() {
        let bomb = vec![0; 20 << 20];
        for (packing, packed) in [(Packing::Gzip, gzip(&bomb)), (Packing::Zstd, zstd(&bomb))] {
            assert!(packed.len() < 64 << 10);
            assert!(unpacked(packing, &packed, 64 << 10).is_err());
            // The memory for all bodies is smaller than this one.
            assert!(unpacked(packing, &packed, 20 << 20).is_err());
        }
    }

    #[test]
    fn damage_is_told_and_never_passed_over() {
        for (packing, packed) in [(Packing::Gzip, gzip(&[7; 5_000])), (Packing::Zstd, zstd(&[7; 5_000]))] {
            for cut in 1..packed.len() {
                assert!(
                    unpacked(packing, &packed[..cut], 1 << 20).is_err(),
                    "{packing:?} cut at {cut}"
                );
            }
            let garbage = [&packed[..], b"garbage"].concat();
            assert!(unpacked(packing, &garbage, 1 << 20).is_err(), "{packing:?}");
            assert!(unpacked(packing, b"[]", 1 << 20).is_err(), "{packing:?}");
        }
    }
}
