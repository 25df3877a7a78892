//! Which fields of the first event a rule may be narrowed by, and which of them first.
//!
//! Never takes a time: a rule with one matches nothing else ever again. All names and values are what a sender wrote.

use std::net::IpAddr;

use serde_json::Value;
use staunch_model::{Event, Timestamp};

use super::super::page::quoted;
use super::{Draft, Line, leaves, literal};

/// Fields that are tried. An event that has more of them is told from others by the first of these, or by none.
const FIELDS_MAX: usize = 64;

/// The longest name and value of a field that are put into a rule.
const NAME_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 256;

/// From where on Linux takes ports for the side that connects.
const EPHEMERAL_PORT_MIN: u64 = 32_768;

/// Whole numbers above it are seldom kinds of something.
const KIND_MAX: u64 = 1_000_000;

/// How many hexadecimal digits in a row are an id or a hash.
const HASH_DIGITS_MIN: usize = 16;

/// Words in names, the most telling first.
#[rustfmt::skip]
const TELLING: [&[&str]; 8] = [
    &["rule"],
    &["signature"],
    &["category", "class", "tactic", "technique"],
    &["severity", "priority", "level"],
    &["action", "verb", "operation", "eventname"],
    &["proto", "protocol"],
    &["host", "hostname", "node", "sensor"],
    &["account", "user", "username", "principal", "login"],
];

/// Words in names of what has another value in each event.
#[rustfmt::skip]
const PASSING: [&str; 37] = [
    "age", "arn", "bytes", "cnt", "count", "counter", "cookie", "digest", "duration", "etag", "fingerprint", "guid",
    "hash", "id", "ids", "key", "length", "message", "msg", "number", "offset", "output", "packet", "payload", "pid",
    "pkts", "ppid", "seq", "sequence", "serial", "session", "size", "tid", "token", "ttl", "uid", "uuid",
];

/// Words in names of times.
const TIMES: [&str; 7] = ["time", "timestamp", "ts", "date", "datetime", "start", "end"];

/// How well a field tells events like the first one from others. The first are tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// The trigger of the playbook looked at it.
    Looked,
    /// It holds what was read as signature, category, account or host, in this order.
    Read(usize),
    /// Its name says what it is.
    Telling(usize),
    Other,
    /// Who was there, not what was done.
    Address,
    /// It is likely to be of this one event.
    Passing,
}

/// A field that a rule may have, as it is in the first event.
#[derive(Clone, Debug)]
pub(in super::super) struct Candidate {
    pub(in super::super) line: Line,
    rank: Rank,
}

impl Candidate {
    /// Which of three rounds it is of: what tells kinds of events, then addresses, then what is likely to be of one
    /// event.
    pub(in super::super) const fn round(&self) -> usize {
        match self.rank {
            Rank::Address => 1,
            Rank::Passing => 2,
            _ => 0,
        }
    }

    /// Its name, without a modifier.
    pub(in super::super) fn field(&self) -> &str {
        &self.line.key
    }
}

/// The fields of `raw`, which is `event` as it was sent, that may narrow `draft`: the most telling first.
pub(in super::super) fn candidates(draft: &Draft, event: &Event, raw: &Value) -> Vec<Candidate> {
    let read = [
        Some(&*event.signature),
        Some(&*event.category),
        event.user.as_deref(),
        event.host.as_deref(),
    ];
    let looked: Vec<&str> = draft.all.iter().chain(&draft.none).map(Line::field).collect();
    let mut found: Vec<(Rank, usize, String, String)> = Vec::new();
    for (at, (path, value)) in leaves(raw).into_iter().enumerate() {
        if value.is_empty() || path.len() > NAME_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            continue;
        }
        let is_read = read.iter().position(|it| *it == Some(&value));
        let rank = match (looked.contains(&&*path), is_read) {
            (true, _) => Some(Rank::Looked),
            (false, Some(which)) => Some(Rank::Read(which)),
            (false, None) => rank(&path, &value),
        };
        found.extend(rank.map(|rank| (rank, at, path, value)));
    }
    found.sort();
    let lines = found.into_iter().map(|(rank, _, path, value)| Candidate {
        line: Line {
            key: path,
            values: vec![quoted(&literal(&value))],
        },
        rank,
    });
    // What the draft says already tells nothing more, and what the first event is not by its own words is no field.
    lines
        .filter(|it| !draft.all.contains(&it.line) && it.line.matches(raw))
        .take(FIELDS_MAX)
        .collect()
}

/// By its name and its value alone; nothing for a time.
fn rank(path: &str, value: &str) -> Option<Rank> {
    let words = words(path);
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    let number = value.parse::<u64>().ok();
    if has(&TIMES) || is_time(value) {
        return None;
    }
    if value.parse::<IpAddr>().is_ok() {
        return Some(Rank::Address);
    }
    if has(&["port"]) {
        let is_of_client = has(&["src", "source", "client", "remote"]);
        let is_passing = is_of_client || number.is_none_or(|it| it >= EPHEMERAL_PORT_MIN);
        return Some(if is_passing { Rank::Passing } else { Rank::Other });
    }
    if is_hash(value) {
        return Some(Rank::Passing);
    }
    if !has(&["key", "token", "session"])
        && let Some(which) = TELLING.iter().position(|telling| has(telling))
    {
        return Some(Rank::Telling(which));
    }
    let is_measured = number.is_some_and(|it| it > KIND_MAX) || (number.is_none() && value.parse::<f64>().is_ok());
    let is_passing = has(&PASSING) || is_measured;
    Some(if is_passing { Rank::Passing } else { Rank::Other })
}

/// The words of the last part of a name, in small letters; also of the part before it, when that is only `name`.
fn words(path: &str) -> Vec<String> {
    let mut parts = path.rsplit('.');
    let last = words_of(parts.next().unwrap_or_default());
    match parts.next() {
        Some(before) if last == ["name"] || last == ["value"] => [words_of(before), last].concat(),
        _ => last,
    }
}

/// `eventName` is `event`, `name` and `eventname`; `SSHPort` is `ssh`, `port` and `sshport`.
fn words_of(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let is_begun = before.is_some_and(char::is_lowercase)
            || (before.is_some_and(char::is_uppercase) && letters.get(at + 1).is_some_and(|it| it.is_lowercase()));
        if !c.is_alphanumeric() || (c.is_uppercase() && is_begun) {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_alphanumeric(), words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|it| !it.is_empty());
    if words.len() > 1 {
        words.push(words.concat());
    }
    words
}

/// `2026-11-27T...`, and what else is read as a time.
fn is_time(value: &str) -> bool {
    let bytes = value.as_bytes();
    let is_dated = bytes.len() > 10
        && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && matches!(bytes[10], b'T' | b't' | b' ');
    is_dated || value.parse::<Timestamp>().is_ok()
}

/// Whether there is an id or a hash in `value`: many hexadecimal digits in a row, with a number among them, whatever
/// stands between groups of them.
fn is_hash(value: &str) -> bool {
    value.split(|c: char| !c.is_ascii_hexdigit() && c != '-').any(|run| {
        run.bytes().filter(u8::is_ascii_hexdigit).count() >= HASH_DIGITS_MIN
            && run.bytes().any(|it| it.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_say_what_a_field_tells() {
        for (path, value, expect) in [
            ("alert.severity", "1", Some(Rank::Telling(3))),
            ("alert.signature_id", "2001219", Some(Rank::Telling(1))),
            ("alert.action", "allowed", Some(Rank::Telling(4))),
            ("eventName", "CreateUser", Some(Rank::Telling(4))),
            ("userIdentity.userName", "ann", Some(Rank::Telling(7))),
            ("output_fields.user.name", "root", Some(Rank::Telling(7))),
            ("output_fields.proc.name", "sh", Some(Rank::Other)),
            ("verb", "create", Some(Rank::Telling(4))),
            ("dest_port", "22", Some(Rank::Other)),
            ("dest_port", "41000", Some(Rank::Passing)),
            ("src_port", "22", Some(Rank::Passing)),
            ("src_ip", "203.0.113.7", Some(Rank::Address)),
            ("sourceIPAddress", "2001:db8::1", Some(Rank::Address)),
            ("flow_id", "1445121182710913", Some(Rank::Passing)),
            ("userIdentity.accessKeyId", "AKIA", Some(Rank::Passing)),
            ("userIdentity.sessionName", "i-0a", Some(Rank::Passing)),
            ("auditID", "x", Some(Rank::Passing)),
            ("flow.bytes_toserver", "74", Some(Rank::Passing)),
            ("ratio", "0.5", Some(Rank::Passing)),
            ("user", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", Some(Rank::Passing)),
            ("output", "12:01:02: something", Some(Rank::Passing)),
            ("eventTime", "x", None),
            ("flow.start", "x", None),
            ("seen", "2026-11-27T07:30:16Z", None),
            ("seen", "2017-01-04T17:42:53.336468+0000", None),
        ] {
            assert_eq!(rank(path, value), expect, "{path}: {value}");
        }
    }
}
