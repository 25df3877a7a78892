//! How far a clock is off, as a time server tells: the packets of SNTP (RFC 5905, section 14).
//!
//! Never sets a clock and opens no socket. What is not asked for, or comes from a server that does not know the time
//! itself, tells nothing.

use staunch_model::Timestamp;

/// The bytes of a packet. A server may append to it what is not read.
pub const PACKET_BYTES: usize = 48;

/// The seconds from 1900, where NTP begins, to 1970.
const TO_1970: i64 = 2_208_988_800;

/// What a time server was asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    sent: Timestamp,
    cookie: [u8; 8],
}

/// What it has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The clock that asked less that of the server, in microseconds.
    pub offset_us: i64,
    /// How wrong that can be, in microseconds: half of the way there and back, and what the server says of itself.
    pub error_max_us: u64,
    /// How far the server is from a clock that needs no other: 1 to 15.
    pub stratum: u8,
}

/// Why an answer tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// It is no answer of a time server.
    #[error("it is no answer of a time server")]
    Malformed,
    /// It is the answer to something else, or made up by somebody who has not seen the question.
    #[error("it is the answer to another question")]
    Another,
    /// The server does not know the time.
    #[error("the server does not tell the time: it is not synchronised")]
    Unsynchronised,
    /// The server wants to be asked less often: the kiss code `RATE` of RFC 5905, section 7.4.
    #[error("the server wants to be asked less often")]
    TooOften,
    /// The server does not want to be asked any more: the kiss codes `DENY` and `RSTR`.
    #[error("the server does not want to be asked by this machine")]
    Unwanted,
    /// It cannot be: it would have come before it was asked for.
    #[error("its times cannot be")]
    Impossible,
}

impl Question {
    /// A question at `sent`, and the packet that asks it. The random bytes stand where a time could: the server sends
    /// them back, and learns nothing of our clock.
    #[must_use]
    pub const fn new(sent: Timestamp, cookie: [u8; 8]) -> (Self, [u8; PACKET_BYTES]) {
        let mut packet = [0; PACKET_BYTES];
        // Version 4, a client.
        packet[0] = 0b00_100_011;
        let mut at = 0;
        while at < cookie.len() {
            packet[40 + at] = cookie[at];
            at += 1;
        }
        (Self { sent, cookie }, packet)
    }

    /// What an answer tells that has come at `received`.
    ///
    /// # Errors
    /// Why it tells nothing.
    pub fn answer(&self, bytes: &[u8], received: Timestamp) -> Result<Told, NotTold> {
        let packet: &[u8; PACKET_BYTES] = bytes.first_chunk().ok_or(NotTold::Malformed)?;
        let (leap, version, mode) = (packet[0] >> 6, (packet[0] >> 3) & 7, packet[0] & 7);
        if mode != 4 || !(3..=4).contains(&version) {
            return Err(NotTold::Malformed);
        }
        if packet[24..32] != self.cookie {
            return Err(NotTold::Another);
        }
        let stratum = packet[1];
        if stratum == 0 {
            return Err(match &packet[12..16] {
                b"RATE" => NotTold::TooOften,
                b"DENY" | b"RSTR" => NotTold::Unwanted,
                _ => NotTold::Unsynchronised,
            });
        }
        if leap == 3 || !(1..=15).contains(&stratum) {
            return Err(NotTold::Unsynchronised);
        }
        let there = time(packet, 32).ok_or(NotTold::Unsynchronised)?;
        let back = time(packet, 40).ok_or(NotTold::Unsynchronised)?;
        let micros = |at: Timestamp| i64::try_from(at.as_micros()).map_err(|_| NotTold::Impossible);
        let (sent, received) = (micros(self.sent)?, micros(received)?);
        let (under_way, held) = (received - sent, back - there);
        if under_way < 0 || held < 0 || held > under_way {
            return Err(NotTold::Impossible);
        }
        let offset_us = ((sent - there) + (received - back)) / 2;
        let own = short(packet, 4) / 2 + short(packet, 8);
        Ok(Told {
            offset_us,
            error_max_us: (under_way - held).unsigned_abs().div_ceil(2) + own,
            stratum,
        })
    }
}

/// A time, in microseconds since 1970; `None` when it is none. It is of the era that ends in 2036, or of the one after
/// it.
fn time(packet: &[u8; PACKET_BYTES], at: usize) -> Option<i64> {
    let seconds = number(packet, at);
    let fraction = number(packet, at + 4);
    if seconds == 0 && fraction == 0 {
        return None;
    }
    let era = if seconds >> 31 == 1 { 0 } else { 1_i64 << 32 };
    let seconds = i64::from(seconds) + era - TO_1970;
    let micros = (u64::from(fraction) * 1_000_000) >> 32;
    Some(seconds * 1_000_000 + i64::try_from(micros).ok()?)
}

/// A span of 16 bits of seconds and 16 of their fraction, in microseconds.
fn short(packet: &[u8; PACKET_BYTES], at: usize) -> u64 {
    (u64::from(number(packet, at)) * 1_000_000) >> 16
}

fn number(packet: &[u8; PACKET_BYTES], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: [u8; 8] = *b"a cookie";
    const SENT: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

    /// The answer of a server whose clock is ahead of ours by `ahead_us`, that is `way_us` away and takes 100 us.
    fn answer(ahead_us: i64, way_us: i64) -> ([u8; PACKET_BYTES], Timestamp) {
        let mut packet = [0; PACKET_BYTES];
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        // 1/64 s there and back to its own source, and as much that it does not know.
        packet[4..8].copy_from_slice(&1_024_u32.to_be_bytes());
        packet[8..12].copy_from_slice(&1_024_u32.to_be_bytes());
        packet[24..32].copy_from_slice(&COOKIE);
        let sent = i64::try_from(SENT.as_micros()).expect("it is small");
        let mut put = |at: usize, us: i64| {
            let seconds = u32::try_from(us / 1_000_000 + TO_1970).expect("it is before 2036");
            let micros = u64::try_from(us % 1_000_000).expect("it is after 1970");
            let fraction = u32::try_from((micros << 32).div_ceil(1_000_000)).expect("it is a fraction");
            packet[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
            packet[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
        };
        put(32, sent + way_us + ahead_us);
        put(40, sent + way_us + 100 + ahead_us);
        let received = u64::try_from(sent + 2 * way_us + 100).expect("it is after 1970");
        (packet, Timestamp::from_micros(received))
    }

    fn told(packet: &[u8], received: Timestamp) -> Result<Told, NotTold> {
        let (question, asked) = Question::new(SENT, COOKIE);
        assert_eq!((asked[0], &asked[40..]), (0x23, &COOKIE[..]));
        question.answer(packet, received)
    }

    #[test]
    fn an_answer_tells_the_offset_and_how_wrong_it_can_be() {
        for (ahead, way) in [(0, 0), (1_500, 20_000), (-3_600_000_000, 400), (7, 1_000_000)] {
            let (packet, received) = answer(ahead, way);
            let expected = Told {
                offset_us: -ahead,
                error_max_us: u64::try_from(way).expect("it is a way") + 7_812 + 15_625,
                stratum: 2,
            };
            assert_eq!(told(&packet, received), Ok(expected), "{ahead} {way}");
            let longer = [&packet[..], &[1; 20]].concat();
            assert_eq!(told(&longer, received), Ok(expected), "what is appended is not read");
        }
    }

    #[test]
    fn what_is_no_answer_tells_nothing() {
        let (packet, received) = answer(0, 1_000);
        let changed = |at: usize, to: u8| {
            let mut packet = packet;
            packet[at] = to;
            told(&packet, received)
        };
        assert_eq!(told(&packet[..47], received), Err(NotTold::Malformed));
        assert_eq!(changed(0, 0b00_100_011), Err(NotTold::Malformed), "a client");
        assert_eq!(changed(0, 0b00_001_100), Err(NotTold::Malformed), "version 1");
        assert_eq!(changed(31, b'x'), Err(NotTold::Another));
        assert_eq!(changed(0, 0b11_100_100), Err(NotTold::Unsynchronised));
        assert_eq!(changed(1, 0), Err(NotTold::Unsynchronised), "a kiss of no known code");
        for (code, expected) in [
            (b"RATE", NotTold::TooOften),
            (b"DENY", NotTold::Unwanted),
            (b"RSTR", NotTold::Unwanted),
        ] {
            let mut kiss = packet;
            kiss[1] = 0;
            kiss[12..16].copy_from_slice(code);
            assert_eq!(told(&kiss, received), Err(expected));
        }
        assert_eq!(changed(1, 16), Err(NotTold::Unsynchronised));
        let mut none = packet;
        none[40..48].fill(0);
        assert_eq!(told(&none, received), Err(NotTold::Unsynchronised));
        let before = Timestamp::from_micros(SENT.as_micros() - 1);
        assert_eq!(told(&packet, before), Err(NotTold::Impossible));
        assert_eq!(
            told(&packet, SENT),
            Err(NotTold::Impossible),
            "it was held for longer than it took"
        );
    }

    #[test]
    fn times_go_on_after_2036() {
        let mut packet = [0; PACKET_BYTES];
        packet[32..36].copy_from_slice(&1_u32.to_be_bytes());
        let expected = ((1_i64 << 32) + 1 - TO_1970) * 1_000_000;
        assert_eq!(time(&packet, 32), Some(expected));
    }
}
