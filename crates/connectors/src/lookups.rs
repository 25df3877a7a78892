//! What services answer when they are asked about one address: which addresses they are asked of, and what is made of
//! an answer.
//!
//! Never asks anybody: bytes come in, a score goes out, or that an address is listed as good. Nothing of an answer but
//! that, a score and a count is ever shown.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr as _;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use staunch_model::{Score, Span, Timestamp};

use crate::feeds::is_special;
use crate::json::strict;

/// The most bytes of an answer. Those of AbuseIPDB have less than one KiB.
pub const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// The longest time that a service is left alone because it asks for that: its quota is that of a day.
pub const RETRY_AFTER_MAX: Span = Span::from_hours(24);

/// How a service is asked and what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// AbuseIPDB, version 2 of its API.
    AbuseIpdb,
    /// Any service that answers with JSON in which a number is the score.
    Generic,
}

/// Where the score is in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As AbuseIPDB answers.
    AbuseIpdb,
    /// The number at a JSON pointer.
    Generic {
        /// The pointer.
        pointer: Box<str>,
        /// The number that is the worst score; 0 is the best.
        scale: u32,
    },
}

impl Kind {
    /// Whether such a service lists addresses as good, which are then not bad whatever others say.
    #[must_use]
    pub const fn lists_good(self) -> bool {
        match self {
            Self::AbuseIpdb => true,
            Self::Generic => false,
        }
    }
}

/// What a service says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gives it a score.
    Scored {
        /// How bad it is.
        score: Score,
        /// What is said beside it; may be empty.
        label: Box<str>,
    },
    /// It lists it as good, in this word: it is not bad, whoever says so.
    Good(&'static str),
}

/// Reads what a service answers about `ip`.
///
/// # Errors
/// Why that is no answer; without anything of its text.
pub fn read(form: &Form, ip: IpAddr, bytes: &[u8]) -> Result<Answer, &'static str> {
    let value = strict::answer(bytes)?;
    match form {
        Form::AbuseIpdb => abuseipdb(&value, ip),
        Form::Generic { pointer, scale } => {
            let number = value.pointer(pointer).ok_or("its answer has no score in its place")?;
            let number = number.as_f64().ok_or("the score in its answer is no number")?;
            Ok(Answer::Scored {
                score: scaled(number, *scale)?,
                label: "".into(),
            })
        }
    }
}

fn abuseipdb(value: &Value, ip: IpAddr) -> Result<Answer, &'static str> {
    let data = value.get("data").ok_or("its answer has no data")?;
    let about = data.get("ipAddress").and_then(Value::as_str);
    if about.is_some_and(|it| IpAddr::from_str(it) != Ok(ip)) {
        return Err("it answers about another address");
    }
    let number = data.get("abuseConfidenceScore").and_then(Value::as_f64);
    let score = scaled(number.ok_or("its answer has no abuseConfidenceScore")?, 100)?;
    // Those that it lists as good are never bad because somebody reports them.
    if data.get("isWhitelisted").and_then(Value::as_bool) == Some(true) {
        return Ok(Answer::Good("whitelisted"));
    }
    let label = match data.get("totalReports").and_then(Value::as_u64) {
        Some(1) => "1 report".into(),
        Some(reports) => format!("{reports} reports").into(),
        None => "".into(),
    };
    Ok(Answer::Scored { score, label })
}

fn scaled(number: f64, scale: u32) -> Result<Score, &'static str> {
    let part = number / f64::from(scale);
    if !(0.0..=1.0).contains(&part) {
        return Err("the score in its answer is outside of its scale");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 1000")]
    let thousandths = (part * 1_000.0).round() as u16;
    Ok(Score::from_thousandths(thousandths))
}

/// How long the header `Retry-After` asks to wait from `now`: seconds, or a date. At most a day; `None` when it says
/// nothing.
#[must_use]
pub fn retry_after(value: &str, now: Timestamp) -> Option<Span> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Span::from_micros(seconds.saturating_mul(1_000_000)).min(RETRY_AFTER_MAX));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_microsecond();
    let at = Timestamp::from_micros(u64::try_from(at).ok()?);
    Some(at.since(now).min(RETRY_AFTER_MAX))
}

/// True for an address that a service on the internet can know: neither special, nor for documentation, nor one that
/// only wraps another.
#[must_use]
pub fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let is_documentation = matches!([a, b, c], [192, 0, 2] | [198, 51, 100] | [203, 0, 113]);
            !is_documentation && !is_special(IpNet::from(ip))
        }
        IpAddr::V6(v6) => is_global_v6(v6) && !is_special(IpNet::from(ip)),
    }
}

/// Of what is unicast at all: not for protocols (2001::/23, Teredo in it), documentation or 6to4.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let is_for_protocols = a == 0x2001 && b < 0x0200;
    let is_documentation = (a == 0x2001 && b == 0x0db8) || (a == 0x3fff && b < 0x1000);
    !is_for_protocols && !is_documentation && a != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    /// The score, nothing for what is good, and the label.
    fn told(answer: Answer) -> (Option<u16>, String) {
        match answer {
            Answer::Scored { score, label } => (Some(score.thousandths()), label.into()),
            Answer::Good(label) => (None, label.into()),
        }
    }

    fn abuse(text: &str) -> Result<(Option<u16>, String), &'static str> {
        read(&Form::AbuseIpdb, IP, text.as_bytes()).map(told)
    }

    #[test]
    fn abuseipdb_says_how_sure_it_is_of_abuse() {
        let answer = |more: &str| format!("{{\"data\":{{\"ipAddress\":\"203.0.113.9\",\"isPublic\":true{more}}}}}");
        assert_eq!(
            abuse(&answer(
                ",\"abuseConfidenceScore\":87,\"isWhitelisted\":null,\"totalReports\":12"
            )),
            Ok((Some(870), "12 reports".into()))
        );
        assert_eq!(
            abuse(&answer(",\"abuseConfidenceScore\":0")),
            Ok((Some(0), String::new()))
        );
        assert_eq!(
            abuse(&answer(",\"abuseConfidenceScore\":100,\"isWhitelisted\":true")),
            Ok((None, "whitelisted".into()))
        );
        for (text, why) in [
            (answer(",\"abuseConfidenceScore\":101"), "outside of its scale"),
            (answer(",\"abuseConfidenceScore\":-1"), "outside of its scale"),
            (answer(",\"abuseConfidenceScore\":\"87\""), "no abuseConfidenceScore"),
            (answer(""), "no abuseConfidenceScore"),
            (
                "{\"data\":{\"ipAddress\":\"203.0.113.8\",\"abuseConfidenceScore\":9}}".into(),
                "another address",
            ),
            (
                "{\"errors\":[{\"detail\":\"no\",\"status\":422}]}".into(),
                "has no data",
            ),
            ("<html>sign in</html>".into(), "no JSON"),
            (String::new(), "no JSON"),
            // Whoever reads the first of the two and whoever reads the last would be told different things.
            (
                answer(",\"abuseConfidenceScore\":100,\"abuseConfidenceScore\":0"),
                "a key occurs twice",
            ),
            (
                answer(",\"abuseConfidenceScore\":100},\"data\":{\"abuseConfidenceScore\":0"),
                "a key occurs twice",
            ),
            ("[".repeat(50_000), "no JSON"),
        ] {
            let found = abuse(&text).expect_err("it is no answer");
            assert!(found.contains(why), "{text:.100}: {found}");
        }
    }

    #[test]
    fn a_generic_answer_has_its_score_in_its_place_and_on_its_scale() {
        let check = |pointer: &str, scale, text: &str, wanted: Result<u16, &str>| {
            let form = Form::Generic {
                pointer: pointer.into(),
                scale,
            };
            let found = read(&form, IP, text.as_bytes()).map(|it| told(it).0);
            assert_eq!(found, wanted.map(Some), "{pointer} {scale} {text}");
        };
        check("/a/0/score", 1, "{\"a\":[{\"score\":0.875}]}", Ok(875));
        check("/score", 10, "{\"score\":7}", Ok(700));
        check("", 100, "50", Ok(500));
        check(
            "/score",
            10,
            "{\"score\":10.5}",
            Err("the score in its answer is outside of its scale"),
        );
        check(
            "/score",
            10,
            "{\"score\":null}",
            Err("the score in its answer is no number"),
        );
        check("/score", 10, "{}", Err("its answer has no score in its place"));
        check(
            "/score",
            10,
            "{\"score\":10,\"score\":0}",
            Err("a key occurs twice in what it answers"),
        );
    }

    #[test]
    fn a_service_can_ask_to_be_left_alone_for_a_day_at_most() {
        let now = Timestamp::from_micros(1_445_412_480_000_000);
        assert_eq!(retry_after(" 30 ", now), Some(Span::from_secs(30)));
        assert_eq!(retry_after("99999999999999999999", now), None);
        assert_eq!(retry_after("18446744073709551615", now), Some(RETRY_AFTER_MAX));
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:29:00 GMT", now),
            Some(Span::from_secs(60))
        );
        assert_eq!(
            retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now),
            Some(Span::from_secs(0))
        );
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn nobody_is_asked_of_addresses_that_are_not_global() {
        let is = |text: &str| is_global(text.parse().expect("an address"));
        for global in ["9.9.9.9", "192.0.1.1", "2620:fe::fe", "2a00::1", "2001:200::1"] {
            assert!(is(global), "{global}");
        }
        for other in [
            "10.1.2.3",
            "127.0.0.1",
            "100.64.0.1",
            "169.254.1.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::ffff:9.9.9.9",
            "64:ff9b::909:909",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:0a01::1",
            "3fff::1",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
