//! Records of the Linux audit system as auditd writes them: text, several records for one event.
//!
//! Never takes a record for a verdict: auditd says what was done. Never looks into text that a process chose for the
//! beginning of another record.
//!
//! Records of one event share `msg=audit(<seconds>.<milliseconds>:<serial>)`. They are put together whatever their
//! order in a body is; an event that two bodies share is two events. What is kept of an event are its records, one a
//! line.
//!
//! | field of the event | from |
//! |---|---|
//! | kind | health for `DAEMON_*`; else alert |
//! | signature | the `key` of the rule that matched, else as the category |
//! | category | the type of the first record that does more than describe a system call, such as `USER_LOGIN` or `AVC`; else `SYSCALL`, else the first type |
//! | severity | unknown: auditd has no scale |
//! | time, id | from `msg=audit(...)`; the id is `<seconds>.<milliseconds>:<serial>` |
//! | user | `acct`, else `AUID`, else `auid`, unless it is unset |
//! | host | `node` |
//! | source | `addr`, which PAM, sshd and others write for the remote side, when it is an address |
//!
//! `event.raw.SYSCALL.exe` is a field of the first record of that type, `event.raw.PATH["1"].name` one of the second.
//! Values are without quotes; those that the kernel writes in hexadecimal because they hold blanks, quotes or other
//! bytes are decoded, with the zeros between arguments as blanks. `saddr` is not decoded: it does not say who connected
//! to whom. (Format: linux-audit `audit_log_n_untrustedstring`; samples of elastic/go-libaudit.)

use std::borrow::Cow;
use std::collections::BTreeMap;

use staunch_model::{Endpoint, EventKind, EventView, FieldValue, NothingKnown, RawFields, Severity, Timestamp};
use staunch_ports::{Malformed, NotRead, Sighting};

use super::{address, time};
use crate::json::{EVENT_BYTES_MAX, EVENTS_PER_BODY_MAX};

const NAME: &str = "auditd";

/// Reads audit records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Auditd;

impl staunch_ports::Source for Auditd {
    fn name(&self) -> &str {
        NAME
    }

    fn read(&self, body: &[u8], visit: &mut dyn FnMut(usize, Sighting<'_>)) -> Result<(), NotRead> {
        let mut too_many = None;
        let mut found: Vec<Element<'_>> = Vec::new();
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        for (offset, line) in lines(body) {
            let record = Record::parse(line);
            if let Some(Element::Event(event)) = record
                .as_ref()
                .ok()
                .and_then(|record| known.get(record.id))
                .and_then(|at| found.get_mut(*at))
            {
                event.add(record.ok(), line);
                continue;
            }
            if found.len() == EVENTS_PER_BODY_MAX {
                too_many = Some(Malformed {
                    offset,
                    what: "there are more events in the body than are taken at once (10,000)".to_owned(),
                    hint: "send the rest in another request".to_owned(),
                });
                break;
            }
            found.push(match record {
                Ok(record) => {
                    known.insert(record.id, found.len());
                    let mut event = Event::new(offset);
                    event.add(Some(record), line);
                    Element::Event(event)
                }
                Err((what, hint)) => Element::malformed(offset, what, hint),
            });
        }
        for (index, element) in found.into_iter().enumerate() {
            match element {
                Element::Malformed(malformed) => visit(index, Sighting::Malformed(malformed)),
                Element::Event(event) if event.bytes.len() > EVENT_BYTES_MAX => {
                    let malformed = Malformed {
                        offset: event.offset,
                        what: "the records of one event are larger than an event may be".to_owned(),
                        hint: "look at who sent it".to_owned(),
                    };
                    visit(index, Sighting::Malformed(malformed));
                }
                Element::Event(event) => event.view(|view| visit(index, Sighting::Event(view))),
            }
        }
        too_many.map_or(Ok(()), |it| Err(NotRead::TooMany(it)))
    }

    fn explain(&self, body: &[u8]) -> Option<String> {
        let mut why = None;
        drop(self.read(body, &mut |_, sighting| {
            if let (None, Sighting::Event(view)) = (&why, sighting) {
                why = Some(if view.source.ip.is_some() {
                    "addr of a record names the remote side"
                } else {
                    "no record has an address in addr"
                });
            }
        }));
        why.map(str::to_owned)
    }
}

/// What a body has, in the order in which it begins.
enum Element<'b> {
    Event(Event<'b>),
    Malformed(Malformed),
}

impl Element<'_> {
    fn malformed(offset: usize, what: &str, hint: &str) -> Self {
        Self::Malformed(Malformed {
            offset,
            what: what.to_owned(),
            hint: hint.to_owned(),
        })
    }
}

/// The records of `body` that are not blank, each with its place. A record begins a line, or stands behind a blank
/// where line ends were turned into blanks, which the archive does.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while body.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let start = at;
        if start == body.len() {
            return None;
        }
        at = record_end(body, start);
        Some((start, body[start..at].trim_ascii_end()))
    })
}

fn record_end(body: &[u8], start: usize) -> usize {
    let mut quoted = false;
    // The blank behind a node stands inside its record.
    let node = if body[start..].starts_with(b"node=") {
        body[start..].iter().position(u8::is_ascii_whitespace).unwrap_or(0)
    } else {
        0
    };
    if body.get(start + node) == Some(&b'\n') {
        return start + node;
    }
    for (at, byte) in body.iter().enumerate().skip(start + node + 1) {
        match byte {
            b'\n' => return at,
            b'"' => quoted = !quoted,
            b' ' if !quoted && begins_record(&body[at + 1..]) => return at,
            _ => {}
        }
    }
    body.len()
}

/// Whether a record begins here: with its type, or with one node and its type.
fn begins_record(bytes: &[u8]) -> bool {
    let record = match bytes.strip_prefix(b"node=") {
        None => bytes,
        // The name of a node ends with its line at the latest.
        Some(named) => {
            let end = named.iter().position(u8::is_ascii_whitespace).unwrap_or(named.len());
            named[end..].strip_prefix(b" ").unwrap_or_default()
        }
    };
    let Some(rest) = record.strip_prefix(b"type=") else {
        return false;
    };
    let length = rest.iter().take_while(|byte| is_type(**byte)).count();
    length > 0 && rest[length..].starts_with(b" msg=audit(")
}

fn is_type(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'[' | b']')
}

/// One record.
struct Record<'b> {
    node: Option<&'b str>,
    kind: &'b str,
    id: &'b str,
    fields: Vec<(&'b str, Cow<'b, str>)>,
}

impl<'b> Record<'b> {
    fn parse(line: &'b [u8]) -> Result<Self, (&'static str, &'static str)> {
        const HINT: &str = "post lines of audit.log: type=... msg=audit(...): ...";
        let text = std::str::from_utf8(line).map_err(|_| ("the record is not UTF-8", HINT))?;
        let (node, text) = match text.strip_prefix("node=").and_then(|rest| rest.split_once(' ')) {
            Some((node, rest)) => (Some(node), rest),
            None => (None, text),
        };
        let head = || {
            let (kind, rest) = text.strip_prefix("type=")?.split_once(" msg=audit(")?;
            let (id, rest) = rest.split_once(')')?;
            let whole = !kind.is_empty() && kind.bytes().all(is_type) && time_of(id).is_some();
            whole.then_some((kind, id, rest.strip_prefix(':').unwrap_or(rest)))
        };
        let (kind, id, rest) = head().ok_or(("this is not an audit record", HINT))?;
        Ok(Self {
            node,
            kind,
            id,
            fields: fields(kind, rest),
        })
    }

    fn field(&self, key: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(name, _)| *name == key)?;
        Some(value)
    }
}

/// The time in `<seconds>.<milliseconds>:<serial>`.
fn time_of(id: &str) -> Option<Timestamp> {
    let (when, serial) = id.split_once(':')?;
    let (seconds, milliseconds) = when.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(serial) || !digits(seconds) || milliseconds.len() != 3 || !digits(milliseconds) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    let milliseconds: u64 = milliseconds.parse().ok()?;
    time::since_epoch(seconds.checked_mul(1_000_000)?.checked_add(milliseconds * 1_000)?)
}

/// The pairs `key=value` of a record. Text between them is passed over; pairs inside `msg='...'` count like the others.
/// The first of a key counts.
fn fields<'b>(kind: &str, mut rest: &'b str) -> Vec<(&'b str, Cow<'b, str>)> {
    let is_between = |c: char| c.is_whitespace() || matches!(c, '\'' | ',' | '(' | ')' | '{' | '}' | '\u{1d}');
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(is_between);
        let Some(end) = rest.find(|c: char| c == '=' || c.is_whitespace() || c == '\u{1d}') else {
            return found;
        };
        let (key, behind) = rest.split_at(end);
        let Some(value) = behind.strip_prefix('=') else {
            rest = behind;
            continue;
        };
        if let Some(quoted) = value.strip_prefix('"') {
            let (text, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
            found.push((key, Cow::Borrowed(text)));
            rest = behind;
        } else if value.starts_with('\'') {
            rest = value;
        } else {
            let end = value
                .find(|c: char| c.is_whitespace() || c == '\u{1d}')
                .unwrap_or(value.len());
            let (text, behind) = value.split_at(end);
            // `hostname=?, addr=?)` and `res=success'` end with what stands around them.
            let text = if text.starts_with('(') {
                text
            } else {
                text.trim_end_matches([',', ')', '\''])
            };
            found.push((key, decoded(kind, key, text)));
            rest = behind;
        }
    }
}

/// The text of a value that may be written in hexadecimal. The kernel does that only to text which could not stand
/// there otherwise, so digits that mean harmless text are that text themselves.
fn decoded<'b>(kind: &str, key: &str, value: &'b str) -> Cow<'b, str> {
    const TEXTS: [&str; 10] = [
        "proctitle",
        "comm",
        "exe",
        "name",
        "cwd",
        "cmd",
        "data",
        "acct",
        "key",
        "dir",
    ];
    let argument = kind == "EXECVE" && key.starts_with('a') && key[1..].starts_with(|c: char| c.is_ascii_digit());
    if !argument && !TEXTS.contains(&key) || !value.len().is_multiple_of(2) || value.is_empty() {
        return Cow::Borrowed(value);
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    let byte = |pair: &[u8]| Some(nibble(pair[0])? << 4 | nibble(pair[1])?);
    let bytes: Option<Vec<u8>> = value.as_bytes().chunks_exact(2).map(byte).collect();
    let needed = |byte: &u8| !(0x21..0x7f).contains(byte) || *byte == b'"';
    let Some(text) = bytes
        .filter(|bytes| bytes.iter().any(needed))
        .and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return Cow::Borrowed(value);
    };
    Cow::Owned(text.replace('\0', " "))
}

/// The records of one event, in the order in which they were sent.
struct Event<'b> {
    offset: usize,
    records: Vec<Record<'b>>,
    bytes: Vec<u8>,
}

impl<'b> Event<'b> {
    fn new(offset: usize) -> Self {
        Self {
            offset,
            records: Vec::new(),
            bytes: Vec::new(),
        }
    }

    fn add(&mut self, record: Option<Record<'b>>, line: &[u8]) {
        // More than an event may have is told, and need not be kept for that.
        if self.bytes.len() <= EVENT_BYTES_MAX {
            if !self.bytes.is_empty() {
                self.bytes.push(b'\n');
            }
            self.bytes.extend_from_slice(line);
            self.records.extend(record);
        }
    }

    /// The record that says what the event is: none of those that describe a system call, else the call, else the
    /// first.
    fn main(&self) -> Option<&Record<'b>> {
        let describes = |record: &&Record<'_>| {
            matches!(
                record.kind,
                "SYSCALL" | "PROCTITLE" | "PATH" | "CWD" | "EXECVE" | "SOCKADDR" | "EOE"
            )
        };
        let mut records = self.records.iter();
        records
            .clone()
            .find(|record| !describes(record))
            .or_else(|| records.clone().find(|record| record.kind == "SYSCALL"))
            .or_else(|| records.next())
    }

    /// The first value of `key` that says something.
    fn said(&self, key: &str) -> Option<&str> {
        let values = self.records.iter().filter_map(|record| record.field(key));
        values
            .into_iter()
            .find(|value| !matches!(*value, "" | "?" | "(null)" | "(none)"))
    }

    fn view(&self, look: impl FnOnce(&EventView<'_>)) {
        let Some(main) = self.main() else {
            return;
        };
        let user = || {
            let set = |user: &&str| !matches!(*user, "4294967295" | "-1" | "unset");
            self.said("acct")
                .or_else(|| self.said("AUID").filter(set))
                .or_else(|| self.said("auid").filter(set))
        };
        let mut addresses = self.records.iter().filter_map(|record| record.field("addr"));
        look(&EventView {
            system: NAME,
            kind: if main.kind.starts_with("DAEMON_") {
                EventKind::Health
            } else {
                EventKind::Alert
            },
            id: Some(main.id),
            time: time_of(main.id),
            severity: Severity::Unknown,
            signature: self.said("key").unwrap_or(main.kind),
            category: main.kind,
            source: Endpoint {
                ip: addresses.find_map(address::read),
                port: None,
            },
            destination: Endpoint::default(),
            user: user(),
            host: main.node,
            raw: self,
            around: &NothingKnown,
        });
    }
}

impl RawFields for Event<'_> {
    fn field(&self, path: &[Box<str>]) -> Option<FieldValue<'_>> {
        let Some((kind, rest)) = path.split_first() else {
            return Some(FieldValue::Object);
        };
        let mut records = self.records.iter().filter(|record| record.kind == &**kind);
        match rest {
            [] => match records.count() {
                0 => None,
                1 => Some(FieldValue::Object),
                count => Some(FieldValue::List(count)),
            },
            [key] => match key.parse() {
                Ok(number) => records.nth(number).map(|_| FieldValue::Object),
                Err(_) => records.next()?.field(key).map(FieldValue::Text),
            },
            [number, key] => records.nth(number.parse().ok()?)?.field(key).map(FieldValue::Text),
            _ => None,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
