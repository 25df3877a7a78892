//! Times in events, read by hand because every event has one and a general parser costs as much as the rest.

use staunch_model::Timestamp;

/// The last second that can be shown as a date in every zone, 9999-12-30T22:00:00Z, which is jiff's.
const SECONDS_MAX: u64 = 253_402_207_200;

/// The time that `text` is: `2022-02-16T14:31:23.329233+0000`, with `Z`, `+hh:mm` or `+hhmm`, and up to nine decimals,
/// of which six are kept.
///
/// RFC 3339 and the zone without a colon that Suricata writes. A leap second counts as the one before it. `None`
/// for anything else and for times before 1970 or at the very end of 9999. Tests compare it with jiff.
#[must_use]
pub fn read(text: &str) -> Option<Timestamp> {
    let (head, rest) = text.as_bytes().split_at_checked(19)?;
    let (micros, zone) = fraction(rest)?;
    at(head, micros, zone)
}

/// The time that `text` is, as Go writes one: `2022-02-16 14:31:23.329233 +0100 CET`, and behind that what its
/// monotonic clock says (`m=+6.235`). The number tells the zone, its name is not read.
#[must_use]
pub fn read_of_go(text: &str) -> Option<Timestamp> {
    let (head, rest) = text.as_bytes().split_at_checked(19)?;
    let (micros, zone) = fraction(rest)?;
    let (zone, name) = zone.strip_prefix(b" ")?.split_at_checked(5)?;
    (head.get(10) == Some(&b' ') && name.starts_with(b" "))
        .then(|| at(head, micros, zone))
        .flatten()
}

/// The time at the second `head` and `micros` microseconds, in `zone`.
fn at(head: &[u8], micros: u64, zone: &[u8]) -> Option<Timestamp> {
    let &[
        y0,
        y1,
        y2,
        y3,
        b'-',
        m0,
        m1,
        b'-',
        d0,
        d1,
        b'T' | b't' | b' ',
        h0,
        h1,
        b':',
        i0,
        i1,
        b':',
        s0,
        s1,
    ] = head
    else {
        return None;
    };
    let (year, month, day) = (pair(y0, y1)? * 100 + pair(y2, y3)?, pair(m0, m1)?, pair(d0, d1)?);
    let (hour, minute, second) = (pair(h0, h1)?, pair(i0, i1)?, pair(s0, s1)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second.min(59);
    let seconds = seconds - offset(zone)?;
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= SECONDS_MAX)
        .map(|seconds| Timestamp::from_micros(seconds * 1_000_000 + micros))
}

/// The time that lies `micros` microseconds after 1970. As any other time of an event it has a date.
pub(crate) fn since_epoch(micros: u64) -> Option<Timestamp> {
    (micros / 1_000_000 <= SECONDS_MAX).then_some(Timestamp::from_micros(micros))
}

/// The microseconds of `.329233`, and what follows them.
fn fraction(rest: &[u8]) -> Option<(u64, &[u8])> {
    let Some((b'.', digits)) = rest.split_first() else {
        return Some((0, rest));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let kept = digits[..count.min(6)]
        .iter()
        .fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'));
    let scale = [100_000, 10_000, 1_000, 100, 10, 1];
    Some((kept * scale[count.min(6) - 1], &digits[count..]))
}

/// The seconds that a zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, h0, h1, m0, m1) = match *zone {
        [b'Z' | b'z'] => return Some(0),
        [sign, h0, h1, b':', m0, m1] | [sign, h0, h1, m0, m1] => (sign, h0, h1, m0, m1),
        _ => return None,
    };
    let (hours, minutes) = (pair(h0, h1)?, pair(m0, m1)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    match sign {
        b'+' => Some(hours * 3_600 + minutes * 60),
        b'-' => Some(-(hours * 3_600 + minutes * 60)),
        _ => None,
    }
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. The year is counted from March, so that the leap day is its last
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`; years here are never negative).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day
        - 1
        - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn odd_times_are_none() {
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(Timestamp::EPOCH));
        for bad in [
            "",
            "2021-04-13",
            "2021-04-13T20:58:00",
            "2021-04-13T20:58:00.746609046Z+2",
            "2021-04-13T20:58:00.Z",
            "2021-04-13T20:58:00.1234567890Z",
            "2021-02-29T00:00:00Z",
            "2021-13-01T00:00:00Z",
            "2021-00-01T00:00:00Z",
            "2021-01-00T00:00:00Z",
            "2021-01-01T24:00:00Z",
            "2021-01-01T00:60:00Z",
            "2021-01-01T00:00:61Z",
            "2021-01-01T00:00:00+24:00",
            "2021-01-01T00:00:00+0",
            "2021-01-01T00:00:00é",
            "1969-12-31T23:59:59Z",
            "9999-12-31T00:00:00Z",
            "1970-01-01T00:00:00+00:01",
            "１９70-01-01T00:00:00Z",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_of_go_are_read() {
        for (text, expect) in [
            (
                "2026-11-29 12:34:18.931099543 +0000 UTC",
                Some("2026-11-29T12:34:18.931099Z"),
            ),
            ("2026-11-29 12:34:18 +0000 UTC", Some("2026-11-29T12:34:18Z")),
            (
                "2020-10-26 09:50:32.055535505 +0100 CET m=+6.235529150",
                Some("2020-10-26T08:50:32.055535Z"),
            ),
            ("2026-11-29 12:34:18.9 -0330 -0330", Some("2026-11-29T16:04:18.9Z")),
            ("2026-11-29T12:34:18 +0000 UTC", None),
            ("2026-11-29 12:34:18 +0000", None),
            ("2026-11-29 12:34:18 +00:00 UTC", None),
            ("2026-11-29 12:34:18 UTC", None),
            ("2026-11-29 12:34:18. +0000 UTC", None),
            ("2026-11-29 12:34:18", None),
        ] {
            let expect = expect.map(|it| read(it).expect("a time"));
            assert_eq!(read_of_go(text), expect, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn agrees_with_jiff(
            (year, month, day) in (prop_oneof![1968_u32..=2200, 0_u32..=9_999], 0_u32..=13, 0_u32..=32),
            (hour, minute, second) in (0_u32..=24, 0_u32..=60, 0_u32..=62),
            fraction in "(\\.[0-9]{0,10})?",
            zone in "Z|z|[+-](0[0-9]|1[0-9]|2[0-3]):?[0-5][0-9]|[+-]00:00|\\+2|",
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
            prop_assert_eq!(read(&text), text.parse::<Timestamp>().ok(), "{}", text);
        }

        #[test]
        fn any_text_is_safe(text in "\\PC*") {
            let _ = (read(&text), read_of_go(&text));
        }
    }
}
