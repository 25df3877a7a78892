//! Lines that begin with a time, of whatever program: what they say is text. Of sshd and dnsmasq more is understood.
//!
//! Anybody who may write to such a log may write any line of it: what is understood is what the line says, not what
//! happened.

use staunch_model::Timestamp;

use super::stamp::stamp;
use super::{ADDRESSES_MAX, Fact, Format, Kind, Missing, Outcome, Parties, Same, clipped};
use crate::sources::address;

/// Reads lines.
#[derive(Debug)]
pub(super) struct Decoder {
    format: Format,
    around: Timestamp,
}

/// What is known of a message beside its time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct About<'a> {
    pub(super) host: Option<&'a str>,
    pub(super) program: Option<&'a str>,
    pub(super) pid: Option<&'a str>,
    /// What the program says.
    pub(super) text: &'a str,
    /// What is shown.
    pub(super) shown: &'a str,
}

/// Whether a line begins with a time.
pub(super) fn is_one(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    timed(&line, Timestamp::EPOCH).is_some()
}

/// Whether a line is one of dnsmasq.
pub(super) fn is_dnsmasq(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    timed(&line, Timestamp::EPOCH).is_some_and(|(_, _, rest)| about(rest).program == Some("dnsmasq"))
}

impl Decoder {
    pub(super) const fn new(format: Format, around: Timestamp) -> Self {
        Self { format, around }
    }

    pub(super) fn line(&self, line: &[u8]) -> Outcome {
        let line = String::from_utf8_lossy(line);
        let Some((time, missing, rest)) = timed(&line, self.around) else {
            return Outcome::Untimed;
        };
        let about = about(rest);
        if self.format == Format::Dnsmasq && asked(&about).is_none() {
            return Outcome::PassedOver;
        }
        Outcome::Fact(Box::new(fact(self.format, time, missing, &about)))
    }
}

/// The time of a line and the rest of it, with or without the priority and the version of RFC 5424.
fn timed(line: &str, around: Timestamp) -> Option<(Timestamp, Vec<Missing>, &str)> {
    let line = match line.strip_prefix('<').and_then(|it| it.split_once('>')) {
        Some((priority, rest)) if priority.len() <= 3 && priority.bytes().all(|byte| byte.is_ascii_digit()) => {
            rest.strip_prefix("1 ").unwrap_or(rest)
        }
        _ => line,
    };
    stamp(line, around)
}

/// Who says what behind a time: `host sshd[1]: text`, `dnsmasq[1]: text` or text alone.
fn about(rest: &str) -> About<'_> {
    let plain = About {
        text: rest,
        shown: rest,
        ..About::default()
    };
    let tagged = |from: usize| {
        let (head, text) = rest[from..].split_once(": ")?;
        let (program, pid) = match head.split_once('[') {
            Some((program, pid)) => (program, pid.strip_suffix(']')),
            None => (head, None),
        };
        let is_name =
            |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./@".contains(&b));
        (is_name(program) && pid.is_none_or(|it| it.bytes().all(|byte| byte.is_ascii_digit()))).then_some(About {
            host: None,
            program: Some(program),
            pid,
            text,
            shown: rest,
        })
    };
    if let Some(found) = tagged(0) {
        return found;
    }
    let Some(at) = rest.find(' ') else { return plain };
    match tagged(at + 1) {
        Some(found) => About {
            host: Some(&rest[..at]),
            ..found
        },
        None => plain,
    }
}

/// What a message says.
pub(super) fn fact(format: Format, time: Timestamp, missing: Vec<Missing>, about: &About<'_>) -> Fact {
    let mut parties = Parties::default();
    parties.name(about.host);
    parties.pid(about.pid);
    for ip in addresses(about.text) {
        parties.address(Some(ip));
    }
    parties.text = Some(clipped(about.shown));
    let (kind, same) = if let Some((client, name, of_type)) = asked(about) {
        parties.name(Some(name));
        (Kind::Query, Some(Same::query(client, name, of_type)))
    } else if let Some((account, from, succeeded)) = logged_in(about) {
        parties.name(Some(account));
        let account = clipped(account);
        let from = Some(from);
        (
            Kind::Login,
            Some(Same::Login {
                account,
                from,
                succeeded,
            }),
        )
    } else {
        (Kind::Message, None)
    };
    Fact {
        format,
        time,
        missing,
        kind,
        same,
        parties,
        what: clipped(&format!("{format}: {}", about.shown)),
    }
}

/// Who asked dnsmasq for which name, of which type: `query[A] example.com from 192.0.2.1`, with `log-queries=extra`
/// behind a number and who asks.
fn asked<'a>(about: &About<'a>) -> Option<(std::net::IpAddr, &'a str, &'a str)> {
    if about.program != Some("dnsmasq") {
        return None;
    }
    let at = about.text.find("query[")?;
    let is_extra = |before: &str| {
        let mut words = before.split_ascii_whitespace();
        words
            .next()
            .is_none_or(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
            && words.count() <= 1
    };
    let (of_type, rest) = about.text[at + 6..].split_once("] ")?;
    let (name, client) = rest.rsplit_once(" from ")?;
    let client = address::read(client.trim())?;
    (is_extra(&about.text[..at]) && !name.contains(' ')).then_some((client, name, of_type))
}

/// As whom, from where and whether sshd let somebody in: `Accepted publickey for alice from 203.0.113.9 port 4242
/// ssh2`.
fn logged_in<'a>(about: &About<'a>) -> Option<(&'a str, std::net::IpAddr, bool)> {
    if !matches!(about.program, Some("sshd" | "sshd-session")) {
        return None;
    }
    let (succeeded, rest) = if let Some(rest) = about.text.strip_prefix("Accepted ") {
        (true, rest)
    } else {
        (false, about.text.strip_prefix("Failed ")?)
    };
    let (_, rest) = rest.split_once(" for ")?;
    // Who tries chooses the name: the last of these words is sshd's own.
    let (account, rest) = rest.rsplit_once(" from ")?;
    let (from, _) = rest.split_once(" port ")?;
    let account = account.strip_prefix("invalid user ").unwrap_or(account);
    Some((account, address::read(from)?, succeeded))
}

/// The addresses that stand in a text as words of their own, perhaps with a port.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = std::net::IpAddr> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | ':' | '-' | '_')));
    let long_enough = words.filter(|word| word.len() >= 3 && word.contains(['.', ':']));
    long_enough
        .filter_map(|word| {
            let word = word.trim_end_matches(['.', ':']);
            let without_port = || {
                let (ip, port) = word.rsplit_once(':')?;
                (ip.contains('.') && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(ip)
            };
            address::read(word).or_else(|| without_port().and_then(address::read))
        })
        .take(ADDRESSES_MAX)
}
