//! Points in time and lengths of time, in whole microseconds.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: microseconds since the Unix epoch, UTC. RFC 3339 in readable formats.
///
/// Kept as one more than the microseconds, so that an `Option` of it is no larger: there are several in each open
/// lease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

/// A length of time in microseconds. `1h30m` in readable formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Self = Self(NonZeroU64::MIN);

    /// The point `us` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(us))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Span {
        Span(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::EPOCH
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_micros()).finish()
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `us` microseconds.
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// A span of `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000)
    }

    /// A span of `s` seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000_000)
    }

    /// A span of `m` minutes.
    #[must_use]
    pub const fn from_mins(m: u64) -> Self {
        Self::from_secs(m * 60)
    }

    /// A span of `h` hours.
    #[must_use]
    pub const fn from_hours(h: u64) -> Self {
        Self::from_mins(h * 60)
    }

    /// The span in microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The span in whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The same span as the standard library's type.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0)
    }

    /// The span times `factor`, at most the longest span there is.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self::from_micros(self.as_micros().saturating_sub(span.0))
    }
}

impl Add for Span {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Timestamp {
    /// The date; `None` for times that lie beyond the calendar, which ends with the year 9999.
    fn date(self) -> Option<jiff::Timestamp> {
        let us = i64::try_from(self.as_micros()).ok()?;
        jiff::Timestamp::from_microsecond(us).ok()
    }
}

/// The date, to the millisecond; beyond the calendar the microseconds, such as `9223372036854775807us`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.date() {
            Some(time) => write!(f, "{time:.3}"),
            None => write!(f, "{}us", self.as_micros()),
        }
    }
}

impl FromStr for Timestamp {
    type Err = String;

    /// Reads RFC 3339, and the spelling without a colon in the zone (`+0000`) that Suricata writes. Times beyond the
    /// calendar are read as they are shown.
    fn from_str(text: &str) -> Result<Self, String> {
        let beyond = text
            .strip_suffix("us")
            .and_then(|us| us.parse().ok())
            .map(Self::from_micros);
        if let Some(time) = beyond.filter(|time| time.date().is_none()) {
            return Ok(time);
        }
        let parsed = text.parse::<jiff::Timestamp>().map_err(|_| {
            let text = crate::Printable(text);
            format!("not a time: {text} (write for example 2026-11-25T14:00:00Z)")
        })?;
        u64::try_from(parsed.as_microsecond())
            .map(Self::from_micros)
            .map_err(|_| "a time before 1970".to_owned())
    }
}

/// The units of [`Span`] texts, longest first, in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

impl Span {
    /// The whole of it with every unit, as [`Span::from_str`] reads it back: `1h30m15s250ms`.
    #[must_use]
    pub fn exact(self) -> String {
        Units(self, UNITS.len()).to_string()
    }
}

impl Span {
    /// The numbers of the two largest units, the first of which is not zero unless the whole is, for people. Below a
    /// minute one unit is enough, and the other is zero.
    #[expect(clippy::missing_const_for_fn, reason = "nobody asks for it at compile time")]
    pub(crate) fn parts(self) -> [(u64, &'static str); 2] {
        let us = self.0;
        let minutes = us / 60_000_000;
        let (hours, seconds) = (minutes / 60, us / 1_000_000);
        match us {
            0 => [(0, "s"), (0, "")],
            1..1_000 => [(us, "us"), (0, "")],
            1_000..1_000_000 => [(us / 1_000, "ms"), (0, "")],
            1_000_000..60_000_000 => [(seconds, "s"), (0, "")],
            60_000_000..3_600_000_000 => [(minutes, "m"), (seconds % 60, "s")],
            3_600_000_000..86_400_000_000 => [(hours, "h"), (minutes % 60, "m")],
            _ => [(hours / 24, "d"), (hours % 24, "h")],
        }
    }
}

/// The so many largest units of a span that are not zero, from the first one on.
struct Units(Span, usize);

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut shown) = (self.0.0, 0);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            let number = rest / size;
            rest %= size;
            if number > 0 && shown < self.1 {
                crate::text::Digits(number).fmt(f)?;
                f.write_str(unit)?;
            }
            shown += usize::from(shown > 0 || number > 0);
        }
        Ok(())
    }
}

/// For people: the two largest units, or one below a minute. [`Span::exact`] loses nothing.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = if self.0 < 60_000_000 { 1 } else { 2 };
        if f.width().is_none() && f.precision().is_none() {
            return Units(*self, units).fmt(f);
        }
        crate::text::pad(f, format_args!("{}", Units(*self, units)))
    }
}

impl FromStr for Span {
    type Err = String;

    /// Reads one or more numbers with units: `90s`, `1h30m`, `250ms`. A bare number is an error.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "not a duration: {} (write for example 90s, 10m, 1h30m)",
                crate::Printable(text)
            )
        };
        let mut total: u64 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let size = UNITS
                .iter()
                .find(|(unit, _)| *unit == &rest[..letters])
                .ok_or_else(bad)?
                .1;
            total = number
                .checked_mul(size)
                .and_then(|us| total.checked_add(us))
                .ok_or_else(bad)?;
            rest = &rest[letters..];
        }
        Ok(Self(total))
    }
}

/// A point in time as text without loss: in microseconds unless they are zero.
struct Exact(Timestamp);

impl fmt::Display for Exact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.date() {
            Some(time) if !self.0.as_micros().is_multiple_of(1_000) => write!(f, "{time:.6}"),
            _ => self.0.fmt(f),
        }
    }
}

/// A length of time as text without loss: in as many units as it takes.
struct ExactSpan(Span);

impl fmt::Display for ExactSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.exact())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&Exact(*self))
        } else {
            serializer.serialize_u64(self.as_micros())
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self::from_micros)
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&ExactSpan(*self))
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self)
        }
    }
}

crate::schema::text!(
    Timestamp,
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}T",
    "A time in UTC as RFC 3339 writes it, with up to six digits of a second: `2026-11-25T14:00:00.25Z`."
);
crate::schema::text!(
    Span,
    "^(?=.)([0-9]{1,5}d)?([0-9]{1,6}h)?([0-9]{1,8}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?([0-9]{1,9}us)?$",
    "A length of time such as `90s`, `1h30m` or `250ms`."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_what_they_write() {
        for (text, us) in [
            ("90s", 90_000_000),
            ("1h30m", 5_400_000_000),
            ("250ms", 250_000),
            ("2d", 172_800_000_000),
        ] {
            assert_eq!(text.parse::<Span>(), Ok(Span(us)), "{text}");
        }
        assert_eq!(Span::from_secs(5_400).to_string(), "1h30m");
        let odd = Span::from_micros(93_784_005_006);
        assert_eq!(
            (odd.to_string(), odd.exact()),
            ("1d2h".to_owned(), "1d2h3m4s5ms6us".to_owned())
        );
        assert_eq!(odd.exact().parse(), Ok(odd));
        assert_eq!(serde_json::to_string(&odd).expect("serialises"), "\"1d2h3m4s5ms6us\"");
        assert_eq!(Span::from_micros(542_935).to_string(), "542ms");
        assert_eq!(Span::from_secs(3_605).to_string(), "1h", "no unit is skipped");
        let odd = Span(90_061_001_001);
        assert_eq!(odd.to_string(), "1d1h");
        assert_eq!(serde_json::to_string(&odd).expect("serialises"), "\"1d1h1m1s1ms1us\"");
        for span in [odd, Span(3_600_000_001), Span::ZERO, Span(999), Span::from_mins(90)] {
            let json = serde_json::to_string(&span).expect("serialises");
            assert_eq!(
                serde_json::from_str::<Span>(&json).expect("reads back"),
                span,
                "nothing is lost: {json}"
            );
        }
        for bad in ["", "10", "h", "1x", "1h-", "99999999999999999999s", "-1s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_ends_of_time_hold() {
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
        assert_eq!(
            (Timestamp::EPOCH.as_micros(), Timestamp::default()),
            (0, Timestamp::EPOCH)
        );
        assert_eq!(Timestamp::EPOCH - Span::from_secs(1), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_micros(7).as_micros(), 7);
        let end = Timestamp::from_micros(u64::MAX);
        assert_eq!((end + Span::from_secs(1), end.as_micros()), (end, u64::MAX - 1));
        assert_eq!(end.since(Timestamp::EPOCH), Span::from_micros(u64::MAX - 1));
        assert_eq!(format!("{:?}", Timestamp::from_micros(7)), "Timestamp(7)");
    }

    #[test]
    fn timestamps_read_both_zone_spellings() {
        let with_colon: Timestamp = "2022-02-16T14:31:23.329233+00:00".parse().expect("RFC 3339");
        let without: Timestamp = "2022-02-16T14:31:23.329233+0000".parse().expect("Suricata's spelling");
        assert_eq!(with_colon, without);
        assert_eq!(with_colon.to_string(), "2022-02-16T14:31:23.329Z");
        for (time, text) in [
            (with_colon, "2022-02-16T14:31:23.329233Z"),
            (Timestamp::from_micros(1_000), "1970-01-01T00:00:00.001Z"),
        ] {
            let json = serde_json::to_string(&time).expect("serialises");
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("reads back"), time);
        }
        assert!("2021-04-13T20:58:00.746609046Z+2".parse::<Timestamp>().is_err());
        assert!(
            "1700000000000000us".parse::<Timestamp>().is_err(),
            "the calendar has that one"
        );
    }

    #[test]
    fn times_beyond_the_calendar_are_read_as_they_are_shown() {
        for us in [253_402_300_800_000_000, 1 << 63, u64::MAX - 1] {
            let time = Timestamp::from_micros(us);
            assert_eq!(time.to_string(), format!("{us}us"));
            assert_eq!(time.to_string().parse(), Ok(time));
            let json = serde_json::to_string(&time).expect("serialises");
            assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("reads back"), time);
        }
    }
}
