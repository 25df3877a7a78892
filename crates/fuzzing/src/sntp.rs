//! The answer of a time server.
//!
//! What holds: what tells something was asked for, and is no more wrong than it can be; what is said of others can be shown.

use staunch_connectors::sntp::Question;
use staunch_model::Timestamp;

use crate::shown::assert_line;

/// The random bytes that the seeds answer.
pub const COOKIE: [u8; 8] = *b"a cookie";

/// Reads one.
pub fn run(data: &[u8]) {
    let sent = Timestamp::from_micros(1_764_000_000_000_000);
    let received = Timestamp::from_micros(sent.as_micros() + 40_000);
    let (question, _) = Question::new(sent, COOKIE);
    match question.answer(data, received) {
        Ok(told) => {
            assert_eq!(data[24..32], COOKIE, "nobody has asked");
            assert!((1..=15).contains(&told.stratum), "it does not know the time");
        }
        Err(error) => assert_line(&error.to_string()),
    }
}
