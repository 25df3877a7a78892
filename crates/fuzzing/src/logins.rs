//! Records of logins, as files have them that somebody else may have written.
//!
//! What holds: every whole record is read and no other, and what a field says is written in its record, without the
//! NULs that fill it.

use staunch_connectors::evidence::{LOGIN_RECORD_BYTES, parse_logins};

/// Reads a file.
pub fn run(data: &[u8]) {
    let (records, rest) = parse_logins(data);
    assert_eq!(records.len(), data.len() / LOGIN_RECORD_BYTES);
    assert_eq!(rest, data.len() % LOGIN_RECORD_BYTES);
    for (record, bytes) in records.iter().zip(data.chunks(LOGIN_RECORD_BYTES)) {
        for (field, bytes_max) in [(record.line, 32), (record.id, 4), (record.user, 32), (record.host, 256)] {
            assert!(field.len() <= bytes_max && field.last() != Some(&0));
            let within = bytes.as_ptr_range();
            let field = field.as_ptr_range();
            assert!(
                within.start <= field.start && field.end <= within.end,
                "it is of another record"
            );
        }
        assert_eq!(record.kind.to_ne_bytes(), bytes[..2]);
    }
}
