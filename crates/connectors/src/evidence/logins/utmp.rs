//! Reads records of logins (utmp(5)) out of the bytes of a file.
//!
//! Never believes them: whoever may write the file writes what they like, and a field may hold any bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::evidence::value::Text;

/// The length of a record of the C library of GNU. Where its programs for 32 and 64 bits share the file, times have 32
/// bits.
pub const RECORD_BYTES: usize = if HAS_SHORT_TIMES { 384 } else { 400 };

const HAS_SHORT_TIMES: bool = cfg!(any(
    target_arch = "x86_64",
    target_arch = "x86",
    target_arch = "powerpc64"
));

/// Where the session, the time and the address are.
const SESSION_AT: usize = 336;
const TIME_AT: usize = if HAS_SHORT_TIMES { 340 } else { 344 };
const ADDRESS_AT: usize = if HAS_SHORT_TIMES { 348 } else { 360 };

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginRecord<'a> {
    /// What it says: 7 is a login, 8 its end, 2 a boot, 6 a prompt.
    pub kind: i16,
    /// The process that logged in.
    pub pid: i32,
    /// The terminal.
    pub line: &'a [u8],
    /// A short form of the terminal.
    pub id: &'a [u8],
    /// The user.
    pub user: &'a [u8],
    /// From where; the version of the kernel for a boot.
    pub host: &'a [u8],
    /// How the process ended: its signal and its exit code.
    pub exit: (i16, i16),
    /// The session.
    pub session: i64,
    /// When, in seconds and microseconds since 1970.
    pub time: (i64, i64),
    /// The address it came from, as it is written; `None` when that is all zeros.
    pub address: Option<IpAddr>,
}

/// Reads all records, and returns how many bytes follow the last whole one.
pub fn parse_logins(bytes: &[u8]) -> (Vec<LoginRecord<'_>>, usize) {
    let records = bytes.chunks_exact(RECORD_BYTES);
    let rest = records.remainder().len();
    (records.filter_map(parse).collect(), rest)
}

fn parse(record: &[u8]) -> Option<LoginRecord<'_>> {
    let i16_at = |at: usize| Some(i16::from_ne_bytes(record.get(at..at + 2)?.try_into().ok()?));
    let i32_at = |at: usize| Some(i32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let wide_at = |at: usize| {
        if HAS_SHORT_TIMES {
            i32_at(at).map(i64::from)
        } else {
            Some(i64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?))
        }
    };
    let wide = if HAS_SHORT_TIMES { 4 } else { 8 };
    Some(LoginRecord {
        kind: i16_at(0)?,
        pid: i32_at(4)?,
        line: text(record.get(8..40)?),
        id: text(record.get(40..44)?),
        user: text(record.get(44..76)?),
        host: text(record.get(76..332)?),
        exit: (i16_at(332)?, i16_at(334)?),
        session: wide_at(SESSION_AT)?,
        time: (wide_at(TIME_AT)?, wide_at(TIME_AT + wide)?),
        address: address(record.get(ADDRESS_AT..ADDRESS_AT + 16)?.try_into().ok()?),
    })
}

/// Without the NULs that fill a field. What stands behind a NUL inside of it is kept.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    &field[..end]
}

/// The first four bytes are an IPv4 address when all others are zero.
fn address(bytes: [u8; 16]) -> Option<IpAddr> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    if bytes == [0; 16] {
        None
    } else if rest.iter().all(|byte| *byte == 0) {
        Some(Ipv4Addr::from(*first).into())
    } else {
        Some(Ipv6Addr::from(bytes).into())
    }
}

/// A record as it is written.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    kind: i16,
    pid: i32,
    line: Text<'a>,
    id: Text<'a>,
    user: Text<'a>,
    host: Text<'a>,
    exit: (i16, i16),
    session: i64,
    seconds: i64,
    microseconds: i64,
    address: Option<IpAddr>,
}

impl<'a> From<LoginRecord<'a>> for Told<'a> {
    fn from(it: LoginRecord<'a>) -> Self {
        Self {
            kind: it.kind,
            pid: it.pid,
            line: Text(it.line),
            id: Text(it.id),
            user: Text(it.user),
            host: Text(it.host),
            exit: it.exit,
            session: it.session,
            seconds: it.time.0,
            microseconds: it.time.1,
            address: it.address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(user: &[u8], host: &[u8], address: [u8; 16]) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_BYTES];
        bytes[..2].copy_from_slice(&7_i16.to_ne_bytes());
        bytes[4..8].copy_from_slice(&4_711_i32.to_ne_bytes());
        bytes[8..13].copy_from_slice(b"pts/0");
        bytes[44..44 + user.len()].copy_from_slice(user);
        bytes[76..76 + host.len()].copy_from_slice(host);
        let wide = |number: i32| {
            if HAS_SHORT_TIMES {
                number.to_ne_bytes().to_vec()
            } else {
                i64::from(number).to_ne_bytes().to_vec()
            }
        };
        let time: Vec<u8> = [wide(1_700_000_000), wide(5)].concat();
        bytes[TIME_AT..TIME_AT + time.len()].copy_from_slice(&time);
        bytes[ADDRESS_AT..ADDRESS_AT + 16].copy_from_slice(&address);
        bytes
    }

    #[test]
    fn records_are_read_and_a_torn_one_is_counted() {
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[192, 0, 2, 7]);
        let v6 = "2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets();
        let mut bytes = record(b"alice", b"gate.example", v4);
        bytes.extend(record(&[0xff; 32], &[b'h'; 256], v6));
        bytes.extend([1, 2, 3]);
        let (records, rest) = parse_logins(&bytes);
        assert_eq!((records.len(), rest), (2, 3));
        let first = records[0];
        assert_eq!((first.kind, first.pid, first.line), (7, 4_711, &b"pts/0"[..]));
        assert_eq!((first.user, first.host), (&b"alice"[..], &b"gate.example"[..]));
        assert_eq!(first.time, (1_700_000_000, 5));
        assert_eq!(first.address, Some([192, 0, 2, 7].into()));
        assert_eq!(records[1].user, [0xff; 32], "a field that is full has no NUL");
        assert_eq!(records[1].address, Some(IpAddr::from(v6)));
    }

    #[test]
    fn what_is_hidden_behind_a_nul_is_kept() {
        let bytes = record(b"alice\0mallory", b"", [0; 16]);
        let (records, _) = parse_logins(&bytes);
        assert_eq!(records[0].user, b"alice\0mallory");
        assert_eq!(records[0].address, None);
    }
}
