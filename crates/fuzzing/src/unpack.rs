//! A byte for the packing, a byte for the bound, and a body that is packed, or is packed here.
//!
//! What holds: nothing that comes out is larger than the bound or than the memory; what is packed here comes out as it
//! was, when there is room for it; a bound changes whether a body comes out, and never what; and why it does not is a
//! problem of the client, in a line.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use staunch_server::dto::Problem;
use staunch_server::unpack::unpacked;

use crate::shown::assert_line;

/// The largest bound here.
const BYTES_MAX: usize = 1 << 20;

/// Unpacks the body.
pub fn run(data: &[u8]) {
    let [kind, bound, body @ ..] = data else {
        return;
    };
    let encoding = if kind & 1 == 0 { "gzip" } else { "zstd" };
    let bytes_max = usize::from(*bound) << 4;
    if kind & 2 != 0 {
        let packed = pack(encoding, body);
        let plenty = unpacked(encoding, &packed, BYTES_MAX, BYTES_MAX);
        assert!(
            body.len() > BYTES_MAX || plenty.as_deref().ok() == Some(body),
            "another body came out"
        );
        let bounded = unpacked(encoding, &packed, bytes_max, BYTES_MAX);
        assert_eq!(bounded.is_ok(), body.len() <= bytes_max, "the bound is not kept");
        return;
    }
    let plenty = unpacked(encoding, body, BYTES_MAX, BYTES_MAX);
    let bounded = unpacked(encoding, body, bytes_max, BYTES_MAX);
    let crowded = unpacked(encoding, body, BYTES_MAX, bytes_max);
    for (result, most) in [(&plenty, BYTES_MAX), (&bounded, bytes_max), (&crowded, bytes_max)] {
        match result {
            Ok(bytes) => {
                assert!(bytes.len() <= most, "more came out than fits");
                assert_eq!(plenty.as_ref().ok(), Some(bytes), "the bound changes what comes out");
            }
            Err(problem) => assert_problem(problem),
        }
    }
    if let Ok(bytes) = &plenty {
        assert_eq!(bounded.is_ok(), bytes.len() <= bytes_max);
    }
}

fn assert_problem(problem: &Problem) {
    assert!([400, 413, 429, 503].contains(&problem.status), "{}", problem.status);
    assert_line(&problem.detail);
    problem.hint.iter().for_each(|it| assert_line(it));
}

fn pack(encoding: &str, body: &[u8]) -> Vec<u8> {
    if encoding == "zstd" {
        return zstd::bulk::compress(body, 3).expect("into memory");
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("into memory");
    encoder.finish().expect("into memory")
}
