//! The answer of a time server.
//!
//! What holds: what tells something was asked for, and is no more wrong than it can be: the moment at which the server
//! sent its answer lies between the question and the answer, by the clock that the offset and its bound make of ours;
//! what is said of others can be shown.

use staunch_connectors::sntp::Question;
use staunch_model::Timestamp;

use crate::shown::assert_line;

/// The random bytes that the seeds answer.
pub const COOKIE: [u8; 8] = *b"a cookie";

/// Between the question and the answer.
const UNDER_WAY_US: i128 = 40_000;

/// The first and the last second of the era of NTP that began in 1900 which are told from those of the next one, since
/// 1970.
const FIRST_OF_ERA_US: i128 = ((1 << 31) - 2_208_988_800) * 1_000_000;
const LAST_OF_ERA_US: i128 = ((1 << 32) - 2_208_988_800) * 1_000_000;

/// A time of a packet in microseconds since 1970 (RFC 5905, section 6): of the era from 1900 on when its first bit is
/// set, else of the next one.
fn server_time(bytes: &[u8]) -> i128 {
    let number = bytes.iter().fold(0_i128, |all, byte| all << 8 | i128::from(*byte));
    let era = if bytes[0] >= 0x80 { 0 } else { 1 << 32 };
    ((number >> 32) + era - 2_208_988_800) * 1_000_000 + (((number & 0xffff_ffff) * 1_000_000) >> 32)
}

/// Reads one.
pub fn run(data: &[u8]) {
    let sent = Timestamp::from_micros(1_764_000_000_000_000);
    let received = Timestamp::from_micros(sent.as_micros() + 40_000);
    assert_eq!(i128::from(received.as_micros() - sent.as_micros()), UNDER_WAY_US);
    let (question, _) = Question::new(sent, COOKIE);
    match question.answer(data, received) {
        Ok(told) => {
            assert_eq!(data[24..32], COOKIE, "nobody has asked");
            assert!((1..=15).contains(&told.stratum), "it does not know the time");
            // Half of the way there and back is the least that an answer can be wrong by.
            let (there, back) = (server_time(&data[32..40]), server_time(&data[40..48]));
            let way = UNDER_WAY_US - (back - there);
            assert!((0..=UNDER_WAY_US).contains(&way), "it came before it was asked for");
            assert!(i128::from(told.error_max_us) >= way / 2, "{told:?}");
            // Both of its times lie between the two of ours, when ours are set right and the bound is added.
            let bound = i128::from(told.error_max_us) + 1;
            let sent = i128::from(sent.as_micros()) - i128::from(told.offset_us);
            assert!(
                sent - bound <= there && there <= sent + UNDER_WAY_US + bound,
                "{told:?}: {there}"
            );
            assert!(
                sent - bound <= back && back <= sent + UNDER_WAY_US + bound,
                "{told:?}: {back}"
            );
            // What is known of the offset is in the times alone: with them both later by a second, it is a second less.
            let later = [there, back].map(|it| it + 1_000_000);
            if later.iter().all(|it| *it < LAST_OF_ERA_US) && there >= FIRST_OF_ERA_US {
                let mut moved = data.to_vec();
                for at in [32, 40] {
                    let seconds = u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
                    moved[at..at + 4].copy_from_slice(&(seconds + 1).to_be_bytes());
                }
                let moved = question.answer(&moved, received).expect("it differs in its times only");
                // Halves are cut off towards zero.
                assert!(
                    (moved.offset_us - (told.offset_us - 1_000_000)).abs() <= 1,
                    "{told:?}, {moved:?}"
                );
                assert_eq!(moved.error_max_us, told.error_max_us);
            }
        }
        Err(error) => assert_line(&error.to_string()),
    }
}
