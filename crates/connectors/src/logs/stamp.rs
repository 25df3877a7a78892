//! The time that a line begins with.

use staunch_model::Timestamp;

use super::Missing;
use crate::sources::time;

/// Bytes of a stamp.
const STAMP_BYTES_MAX: usize = 40;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A time, what of it is not said, and the text behind it.
pub(super) type Stamped<'l> = (Timestamp, Vec<Missing>, &'l str);

/// The time that `line` begins with, perhaps in brackets: as RFC 3339 says it, with a blank in its middle, slashes in
/// its date, a comma before its decimals or without a zone; as RFC 3164 says it, with or without a year; as BIND says
/// it; or in seconds or milliseconds since 1970.
pub(super) fn stamp(line: &str, around: Timestamp) -> Option<Stamped<'_>> {
    let (opened, line) = match line.strip_prefix('[') {
        Some(line) => (true, line),
        None => (false, line),
    };
    let (time, missing, rest) = dated(line)
        .or_else(|| by_month(line, around))
        .or_else(|| by_day(line))
        .or_else(|| since_epoch(line))?;
    let rest = if opened {
        rest.trim_start().strip_prefix(']')?
    } else {
        rest
    };
    Some((time, missing, rest.trim_start_matches([':', ' ', '\t'])))
}

/// `2026-11-27T03:04:05.678+01:00` and what is like it.
fn dated(line: &str) -> Option<Stamped<'_>> {
    let head = line.as_bytes().get(..19)?;
    let shape = b"dddd-dd-dd dd:dd:dd";
    let fits = shape.iter().zip(head).all(|(shape, byte)| match shape {
        b'd' => byte.is_ascii_digit(),
        b' ' => matches!(byte, b'T' | b't' | b' '),
        // nginx has slashes in its log of errors.
        b'-' => matches!(byte, b'-' | b'/'),
        _ => byte == shape,
    });
    if !fits || head[4] != head[7] {
        return None;
    }
    // All of these are ASCII.
    let end = line[19..].find([' ', '\t', ']']).map_or(line.len(), |at| 19 + at);
    if end > STAMP_BYTES_MAX {
        return None;
    }
    let word = line[..end]
        .trim_end_matches(':')
        .replacen(',', ".", 1)
        .replace('/', "-");
    let word = word.trim_end_matches('.');
    let rest = &line[end..];
    if let Some(time) = time::read(word) {
        return Some((time, Vec::new(), rest));
    }
    // The zone may stand behind a blank.
    let (zone, after) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
    let zone = if matches!(zone, "UTC" | "GMT") { "Z" } else { zone };
    if let Some(time) = is_zone(zone).then(|| time::read(&format!("{word}{zone}"))).flatten() {
        return Some((time, Vec::new(), after));
    }
    Some((time::read(&format!("{word}Z"))?, vec![Missing::Zone], rest))
}

fn is_zone(text: &str) -> bool {
    text == "Z" || (text.starts_with(['+', '-']) && text[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b':'))
}

/// `27-Nov-2026 03:04:05.678`, as BIND says it.
fn by_day(line: &str) -> Option<Stamped<'_>> {
    let (date, clock) = day(line, "-")?;
    let clock = clock.strip_prefix(' ')?;
    let is_of_time = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b':' | b'.');
    let (clock, rest) = clock.split_at(clock.bytes().take_while(is_of_time).count());
    let time = time::read(&format!("{date}T{clock}Z"))?;
    Some((time, vec![Missing::Zone], rest))
}

/// The date of `27-Nov-2026` as RFC 3339 has it, and what follows.
fn day<'l>(line: &'l str, sign: &str) -> Option<(String, &'l str)> {
    let (day, rest) = line.split_at_checked(2)?;
    let (month, rest) = rest.strip_prefix(sign)?.split_at_checked(3)?;
    let month = 1 + MONTHS.iter().position(|it| *it == month)?;
    let (year, rest) = rest.strip_prefix(sign)?.split_at_checked(4)?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(day) && digits(year)).then(|| (format!("{year}-{month:02}-{day}"), rest))
}

/// The time of `27/Nov/2026:03:04:05 +0000` that `text` begins with, as access logs have it, and what follows.
pub(super) fn of_access(text: &str) -> Option<(Timestamp, &str)> {
    let (date, rest) = day(text, "/")?;
    let (clock, rest) = rest.strip_prefix(':')?.split_at_checked(8)?;
    let (zone, rest) = rest.strip_prefix(' ')?.split_at_checked(5)?;
    Some((time::read(&format!("{date}T{clock}{zone}"))?, rest))
}

/// `1795737605`, `1795737605.678` and `1795737605678`: since 2001-09-09, when there came to be as many digits, until
/// 2286.
fn since_epoch(line: &str) -> Option<Stamped<'_>> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = line.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (us, rest) = match digits {
        13 => (number * 1_000, rest),
        10 => {
            let decimals = rest.strip_prefix('.').unwrap_or_default();
            let count = decimals.bytes().take_while(u8::is_ascii_digit).count();
            match count {
                0 => (number * 1_000_000, rest),
                1..=9 => {
                    let us: u64 = format!("{:0<6}", &decimals[..count.min(6)]).parse().ok()?;
                    (number * 1_000_000 + us, &decimals[count..])
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    let is_end = rest.is_empty() || rest.starts_with([' ', ':', ']', '\t', ',']);
    (is_end && !line.starts_with('0')).then_some((time::since_epoch(us)?, Vec::new(), rest.trim_start_matches(',')))
}

/// `Nov  7 03:04:05` and `Nov 7 2026 03:04:05`.
fn by_month(line: &str, around: Timestamp) -> Option<Stamped<'_>> {
    let month = 1 + MONTHS.iter().position(|it| line.starts_with(it))?;
    let (day, rest) = number(line[3..].strip_prefix(' ')?.trim_start_matches(' '))?;
    let rest = rest.strip_prefix(' ')?;
    let (year, rest) = match number(rest) {
        Some((year, after)) if after.starts_with(' ') && year > 99 => (Some(year), &after[1..]),
        _ => (None, rest),
    };
    let clock = rest.get(..8)?;
    let is_clock = clock.bytes().enumerate().all(|(at, byte)| match at {
        2 | 5 => byte == b':',
        _ => byte.is_ascii_digit(),
    });
    if !is_clock || day > 31 {
        return None;
    }
    let rest = &rest[8..];
    let digits = match rest.strip_prefix('.') {
        Some(digits) => 1 + digits.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let (fraction, rest) = rest.split_at(if (2..=10).contains(&digits) { digits } else { 0 });
    if !rest.is_empty() && !rest.starts_with([' ', ':', ']', '\t']) {
        return None;
    }
    let at = |year: u64| time::read(&format!("{year:04}-{month:02}-{day:02}T{clock}{fraction}Z"));
    if let Some(year) = year {
        return Some((at(year)?, vec![Missing::Zone], rest));
    }
    let this: u64 = around.to_string().get(..4)?.parse().ok()?;
    let years = this.saturating_sub(1)..=this + 1;
    let nearest = years
        .filter_map(at)
        .min_by_key(|it| it.since(around).as_micros().max(around.since(*it).as_micros()))?;
    Some((nearest, vec![Missing::Year, Missing::Zone], rest))
}

/// The number that `text` begins with, of at most four digits, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    (1..=4)
        .contains(&digits)
        .then(|| number.parse().ok())
        .flatten()
        .map(|it| (it, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_programs_write_them() {
        use Missing::{Year, Zone};
        let around = "2026-01-01T00:30:00Z".parse().expect("a time");
        let rows: [(&str, &str, &[Missing], &str); 29] = [
            ("2026-11-27T03:04:05Z a", "2026-11-27T03:04:05.000Z", &[], "a"),
            ("2026-11-27T03:04:05.25+01:00 a", "2026-11-27T02:04:05.250Z", &[], "a"),
            (
                "2026-11-27 03:04:05,678 INFO a",
                "2026-11-27T03:04:05.678Z",
                &[Zone],
                "INFO a",
            ),
            ("2026-11-27 03:04:05 +0100 a", "2026-11-27T02:04:05.000Z", &[], "a"),
            (
                "2026-11-27 03:04:05.1 UTC [9] LOG:  a",
                "2026-11-27T03:04:05.100Z",
                &[],
                "[9] LOG:  a",
            ),
            ("[2026-11-27 03:04:05] a", "2026-11-27T03:04:05.000Z", &[Zone], "a"),
            ("2026-11-27T03:04:05Z", "2026-11-27T03:04:05.000Z", &[], ""),
            (
                "Jan  1 00:29:58 web sshd[1]: a",
                "2026-01-01T00:29:58.000Z",
                &[Year, Zone],
                "web sshd[1]: a",
            ),
            // The night of a new year.
            (
                "Dec 31 23:59:59 web a",
                "2025-12-31T23:59:59.000Z",
                &[Year, Zone],
                "web a",
            ),
            ("Nov 27 2024 03:04:05: a", "2024-11-27T03:04:05.000Z", &[Zone], "a"),
            ("Jan 1 00:00:00.5 a", "2026-01-01T00:00:00.500Z", &[Year, Zone], "a"),
            (
                "2026/11/27 03:04:05 [error] a",
                "2026-11-27T03:04:05.000Z",
                &[Zone],
                "[error] a",
            ),
            ("2026/11-27 03:04:05 a", "", &[], ""),
            (
                "27-Nov-2026 03:04:05.678 queries: a",
                "2026-11-27T03:04:05.678Z",
                &[Zone],
                "queries: a",
            ),
            ("27-Nov-2026 03:04:05: a", "", &[], ""),
            ("30-Feb-2026 03:04:05 a", "", &[], ""),
            ("27-Nov-2026 03:04 a", "", &[], ""),
            ("1795737605 a", "2026-11-27T00:00:05.000Z", &[], "a"),
            ("1795737605.25 a", "2026-11-27T00:00:05.250Z", &[], "a"),
            ("[1795737605.123456789] a", "2026-11-27T00:00:05.123Z", &[], "a"),
            ("1795737605678 a", "2026-11-27T00:00:05.678Z", &[], "a"),
            ("17957376056 a", "", &[], ""),
            ("0795737605 a", "", &[], ""),
            ("1795737605a", "", &[], ""),
            ("1795737605.1234567890 a", "", &[], ""),
            ("Feb 30 00:00:00 a", "", &[], ""),
            ("Nov 27 03:04 a", "", &[], ""),
            ("2026-13-27T03:04:05Z a", "", &[], ""),
            ("no time at all", "", &[], ""),
        ];
        for (line, time, missing, rest) in rows {
            let expect = (!time.is_empty()).then(|| (time.to_owned(), missing.to_vec(), rest));
            let found = stamp(line, around).map(|(time, missing, rest)| (time.to_string(), missing, rest));
            assert_eq!(found, expect, "{line}");
        }
    }
}
