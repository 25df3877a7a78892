//! Access logs of web servers, in the common or the combined format of Apache and nginx, with or without the virtual
//! host in front.
//!
//! Who asks writes all of it but his address and the time: both servers write a quotation mark of his with a backslash,
//! so that what stands before `] "` is theirs. (Formats: Apache `mod_log_config`; nginx `ngx_http_log_module`.)

use std::net::IpAddr;

use staunch_model::Timestamp;

use super::plain::addresses;
use super::stamp::of_access;
use super::{Fact, Format, Kind, Outcome, Parties, clipped};
use crate::sources::address;

/// A line.
struct Access<'l> {
    time: Timestamp,
    /// The address, or the name of a host.
    client: &'l str,
    /// As whom, when the server asked for that.
    user: Option<&'l str>,
    request: &'l str,
    status: &'l str,
    bytes: &'l str,
    agent: Option<&'l str>,
}

/// Whether a line is one of an access log.
pub(super) fn is_one(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| Access::of(line).is_some())
}

/// What a line says.
pub(super) fn line(line: &[u8]) -> Outcome {
    let line = String::from_utf8_lossy(line);
    match fact(Format::Access, &line) {
        Some(fact) => Outcome::Fact(Box::new(fact)),
        None => Outcome::Unreadable("it is no line of an access log"),
    }
}

/// What a line says, as one of a log of `format`; `None` when it is of another form.
pub(super) fn fact(format: Format, line: &str) -> Option<Fact> {
    let it = Access::of(line)?;
    let mut parties = Parties::default();
    parties.address(address::read(it.client));
    // Whom a proxy asks for stands in the rest.
    for ip in addresses(line) {
        parties.address(Some(ip));
    }
    parties.mention(line);
    parties.name(it.user);
    if address::read(it.client).is_none() {
        parties.name(Some(it.client));
    }
    parties.text = Some(clipped(line));
    let user = it.user.map_or_else(String::new, |user| format!(" as {user}"));
    let bytes = if it.bytes == "-" {
        String::new()
    } else {
        format!(", {} bytes", it.bytes)
    };
    let agent = it.agent.filter(|agent| *agent != "-");
    let agent = agent.map_or_else(String::new, |agent| format!(", by {agent}"));
    let what = format!(
        "{format}: {}{user}: {}, {}{bytes}{agent}",
        it.client, it.request, it.status
    );
    Some(Fact {
        format,
        time: it.time,
        missing: Vec::new(),
        kind: Kind::Message,
        same: None,
        parties,
        what: clipped(&what),
    })
}

impl<'l> Access<'l> {
    fn of(line: &'l str) -> Option<Self> {
        let (head, time, rest) = line.match_indices(" [").find_map(|(at, _)| {
            let (time, rest) = of_access(&line[at + 2..])?;
            Some((&line[..at], time, rest.strip_prefix("] \"")?))
        })?;
        let mut words = head.splitn(3, ' ');
        let (first, second, others) = (words.next()?, words.next()?, words.next()?);
        // Behind a virtual host comes who asked.
        let is_host = address::read(first).is_none() && address::read(second).is_some();
        let (client, user) = if is_host {
            (second, others.split_once(' ')?.1)
        } else {
            (first, others)
        };
        let (request, rest) = quoted(rest)?;
        let mut words = rest.trim_start().splitn(3, ' ');
        let (status, bytes) = (words.next()?, words.next()?);
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        let is_size = bytes == "-" || (!bytes.is_empty() && bytes.bytes().all(|byte| byte.is_ascii_digit()));
        let agent = words.next().and_then(|rest| {
            let (_, rest) = quoted(rest.strip_prefix('"')?)?;
            Some(quoted(rest.strip_prefix(" \"")?)?.0)
        });
        (is_status && is_size && !client.is_empty()).then_some(Self {
            time,
            client,
            user: Some(user).filter(|it| !matches!(*it, "-" | "")),
            request,
            status,
            bytes,
            agent,
        })
    }
}

/// What stands before the quotation mark that no backslash is before, and what stands behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// An address that a server writes with its port.
pub(super) fn with_port(text: &str, sign: char) -> Option<IpAddr> {
    let (ip, port) = text.rsplit_once(sign)?;
    port.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| address::read(ip))
        .flatten()
}
