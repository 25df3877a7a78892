//! Lines that begin with a time, of whatever program: what they say is text. Of sshd, dnsmasq and BIND more is
//! understood.
//!
//! Anybody who may write to such a log may write any line of it: what is understood is what the line says, not what
//! happened.

use staunch_model::Timestamp;

use super::stamp::stamp;
use super::{ADDRESSES_MAX, Fact, Format, Kind, Missing, Outcome, Parties, Same, access, clipped, mentions};
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
            // Whoever says that it is a log of lines means these as well.
            let access = access::fact(self.format, &line);
            return access.map_or(Outcome::Untimed, |fact| Outcome::Fact(Box::new(fact)));
        };
        let about = about(rest);
        if self.format == Format::Dnsmasq && asked(&about).is_none() && answered(&about).is_none() {
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
    parties.mention(about.shown);
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
        parties.name(answered(about));
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

/// Who asked dnsmasq or BIND for which name, of which type.
fn asked<'a>(about: &About<'a>) -> Option<(std::net::IpAddr, &'a str, &'a str)> {
    match about.program {
        Some("dnsmasq") => asked_dnsmasq(about.text),
        // By syslog, with its category, and without.
        Some("named" | "queries") | None => asked_bind(about.text),
        Some(_) => None,
    }
}

/// `query[A] example.com from 192.0.2.1`.
fn asked_dnsmasq(text: &str) -> Option<(std::net::IpAddr, &str, &str)> {
    let (of_type, rest) = without_extra(text).strip_prefix("query[")?.split_once("] ")?;
    let (name, client) = rest.rsplit_once(" from ")?;
    let client = address::read(client.trim())?;
    (!name.contains(' ')).then_some((client, name, of_type))
}

/// `client @0x7f 192.0.2.1#53412 (example.com): query: example.com IN A +E(0)K (192.0.2.53)`, where category, severity,
/// the number in memory and the view need not be.
fn asked_bind(text: &str) -> Option<(std::net::IpAddr, &str, &str)> {
    let text = text.strip_prefix("queries: ").unwrap_or(text);
    let text = text.strip_prefix("info: ").unwrap_or(text).strip_prefix("client ")?;
    let (first, rest) = text.split_once(' ')?;
    let (client, rest) = if first.starts_with('@') {
        rest.split_once(' ')?
    } else {
        (first, rest)
    };
    let client = access::with_port(client.trim_end_matches(':'), '#')?;
    let rest = match rest.strip_prefix('(') {
        Some(named) => named.split_once("): ")?.1,
        None => rest,
    };
    let rest = match rest.strip_prefix("view ") {
        Some(viewed) => viewed.split_once(": ")?.1,
        None => rest,
    };
    let mut words = rest.strip_prefix("query: ")?.split(' ');
    let (name, _, of_type) = (words.next()?, words.next()?, words.next()?);
    Some((client, name, of_type))
}

/// What stands behind the number and who asks, which dnsmasq puts in front with `log-queries=extra`.
fn without_extra(text: &str) -> &str {
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    match text.trim_start().split_once(' ') {
        Some((number, rest)) if digits(number) => match rest.split_once(' ') {
            Some((client, rest)) if access::with_port(client, '/').is_some() => rest,
            _ => rest,
        },
        _ => text,
    }
}

/// The name that dnsmasq has answered for: `reply example.com is 198.51.100.7`, out of the network, its memory, its
/// configuration or a file of hosts.
fn answered<'a>(about: &About<'a>) -> Option<&'a str> {
    if about.program != Some("dnsmasq") {
        return None;
    }
    let (from, rest) = without_extra(about.text).split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    let is_answer = matches!(from, "reply" | "cached" | "cached-stale" | "config" | "DHCP") || from.starts_with('/');
    (is_answer && rest.starts_with("is ")).then_some(name)
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

/// The first addresses that stand in a text as words of their own, perhaps with a port.
pub(super) fn addresses(text: &str) -> Vec<std::net::IpAddr> {
    let mut found = Vec::new();
    mentions::each(text, &mut |ip| {
        if found.len() < ADDRESSES_MAX && !found.contains(&ip) {
            found.push(ip);
        }
    });
    found
}
