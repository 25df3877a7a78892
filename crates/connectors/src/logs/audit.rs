//! Records of the Linux audit system, several lines for one event, as `sources/auditd.rs` reads them.
//!
//! The lines of one event need not follow each other. So many events are held back; what comes later is an event of its
//! own.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use staunch_model::{EventKind, EventView, FieldValue};
use staunch_ports::{Sighting, Source as _};

use super::{Fact, Format, Kind, Outcome, Parties, Same, Visitor, clipped, end, plain};
use crate::json::EVENT_BYTES_MAX;
use crate::sources::{Auditd, address};

/// Events whose further records are waited for.
const HELD_MAX: usize = 64;

/// Bytes of their records together.
const HELD_BYTES_MAX: usize = 8 << 20;

/// Arguments of a program that are shown.
const ARGUMENTS_MAX: usize = 64;

/// Records of one event over which the kernel spreads the arguments, and parts of one argument, that are looked at.
const PARTS_MAX: usize = 16;

/// Events whose records may not be whole.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    held: VecDeque<Held>,
    /// The bytes of their records.
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    /// The node and the number.
    id: Vec<u8>,
    lines: Vec<u8>,
}

/// What the records of one event share: all of the line up to `type=`, and what is in `audit(...)`.
pub(super) fn id_of(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (node, rest) = if line.starts_with(b"node=") {
        let end = line.iter().position(|byte| *byte == b' ')?;
        line.split_at(end + 1)
    } else {
        (&[][..], line)
    };
    let rest = rest.strip_prefix(b"type=")?;
    let kind = rest.iter().position(|byte| *byte == b' ')?;
    let rest = rest[kind..].strip_prefix(b" msg=audit(")?;
    let end = rest.iter().position(|byte| *byte == b')')?;
    Some((node, &rest[..end]))
}

impl Decoder {
    pub(super) fn line(&mut self, line: &[u8], visitor: &mut Visitor<'_>) {
        let Some((node, number)) = id_of(line) else {
            return visitor.take(Outcome::Unreadable("it is no audit record"));
        };
        let id = [node, number].concat();
        if let Some(held) = self.held.iter_mut().find(|it| it.id == id) {
            // More than an event may have is told when it is read, and need not be kept for that.
            if held.lines.len() <= EVENT_BYTES_MAX {
                held.lines.push(b'\n');
                held.lines.extend_from_slice(line);
                self.bytes += line.len() + 1;
            }
        } else {
            self.bytes += line.len();
            self.held.push_back(Held {
                id,
                lines: line.to_vec(),
            });
        }
        while (self.held.len() > HELD_MAX || self.bytes > HELD_BYTES_MAX)
            && let Some(oldest) = self.held.pop_front()
        {
            self.bytes -= oldest.lines.len();
            hand_on(&oldest, visitor);
        }
    }

    /// Hands on what is left.
    pub(super) fn end(&mut self, visitor: &mut Visitor<'_>) {
        self.bytes = 0;
        for held in std::mem::take(&mut self.held) {
            hand_on(&held, visitor);
        }
    }
}

fn hand_on(held: &Held, visitor: &mut Visitor<'_>) {
    let read = Auditd.read(&held.lines, &mut |_, sighting| {
        visitor.take(match sighting {
            Sighting::Event(view) if view.kind == EventKind::Health => Outcome::PassedOver,
            Sighting::Event(view) => match fact(view) {
                Some(mut fact) => {
                    fact.parties.mention(&String::from_utf8_lossy(&held.lines));
                    Outcome::Fact(Box::new(fact))
                }
                None => Outcome::Untimed,
            },
            Sighting::Ignored(_) => Outcome::PassedOver,
            Sighting::Malformed(_) => Outcome::Unreadable("its records cannot be read"),
        });
    });
    if read.is_err() {
        visitor.take(Outcome::Unreadable("its records cannot be read"));
    }
}

/// What one event says; `None` when it has no time.
fn fact(view: &EventView<'_>) -> Option<Fact> {
    let time = view.time?;
    let field = |kind: &str, key: &str| match view.raw.field(&[kind.into(), key.into()]) {
        Some(FieldValue::Text(text)) => Some(text.to_owned()).filter(|it| !matches!(it.as_str(), "" | "?" | "(null)")),
        _ => None,
    };
    let of = |key: &str| field(view.category, key).or_else(|| field("SYSCALL", key));
    let (pid, exe) = (of("pid"), of("exe"));
    let mut parties = Parties::default();
    parties.address(view.source.ip);
    for name in [
        view.user,
        view.host,
        of("acct").as_deref(),
        of("AUID").as_deref(),
        of("UID").as_deref(),
    ] {
        parties.name(name);
    }
    parties.pid(pid.as_deref());
    parties.pid(of("ppid").as_deref());
    let succeeded = match of("res").or_else(|| of("success")).as_deref() {
        Some("success" | "yes" | "1") => Some(true),
        Some("failed" | "no" | "0") => Some(false),
        _ => None,
    };
    let started = view.raw.field(&["EXECVE".into()]).is_some() && succeeded != Some(false);
    let line = command(view);
    // Whom a system call names: where it connects to, where it listens, whom it sends to.
    let named = field("SOCKADDR", "saddr").as_deref().and_then(sockaddr);
    parties.address(named.map(|it| it.0));
    let mut what = String::from("auditd: ");
    if started {
        what.push_str(&format!("started {}", exe.as_deref().unwrap_or("a program")));
    } else {
        what.push_str(view.category);
        if view.signature != view.category {
            what.push_str(&format!(" {}", view.signature));
        }
        if let Some(exe) = &exe {
            what.push_str(&format!(", {exe}"));
        }
    }
    for (name, value) in [("pid", &pid), ("user", &view.user.map(str::to_owned))] {
        if let Some(value) = value {
            what.push_str(&format!(", {name} {value}"));
        }
    }
    if let Some(ip) = view.source.ip {
        what.push_str(&format!(", from {ip}"));
    }
    if let Some(named) = named {
        what.push_str(&format!(", socket address {}", end(named)));
    }
    match (view.category, succeeded) {
        (_, Some(false)) => what.push_str(", failed"),
        ("USER_LOGIN", Some(true)) => what.push_str(", succeeded"),
        _ => {}
    }
    if let Some(line) = &line {
        what.push_str(&format!(": {line}"));
    }
    for ip in line.iter().flat_map(|it| plain::addresses(it)) {
        parties.address(Some(ip));
    }
    // What is in hexadecimal in the records.
    if let Some(line) = &line {
        parties.mention(line);
    }
    parties.text = line.map(|it| clipped(&it));
    let account = of("acct").or_else(|| of("ID")).or_else(|| view.user.map(str::to_owned));
    let (kind, same) = match (view.category, account, succeeded) {
        ("USER_LOGIN", Some(account), Some(succeeded)) => {
            let from = of("addr").as_deref().and_then(address::read);
            let account = clipped(&account);
            (
                Kind::Login,
                Some(Same::Login {
                    account,
                    from,
                    succeeded,
                }),
            )
        }
        _ if started => {
            let pid = pid.and_then(|it| it.parse().ok());
            let program = exe.map(|it| clipped(&it));
            let same = pid.zip(program).map(|(pid, program)| Same::Process { pid, program });
            (Kind::Process, same)
        }
        _ => {
            let other = named.map(|it| it.0);
            (Kind::Event, Some(Same::event(view.signature, view.source.ip, other)))
        }
    };
    Some(Fact {
        format: Format::Auditd,
        time,
        missing: Vec::new(),
        kind,
        same,
        parties,
        what: clipped(&what),
    })
}

/// The command line: the arguments, else the title of the process, of which the kernel keeps 128 bytes only.
fn command(view: &EventView<'_>) -> Option<String> {
    let text = |path: &[Box<str>]| match view.raw.field(path) {
        Some(FieldValue::Text(text)) => Some(text.to_owned()),
        _ => None,
    };
    // A long list is spread over several records, and a long argument over several parts.
    let said = |key: String| {
        let first = text(&["EXECVE".into(), key.as_str().into()]);
        first.or_else(|| {
            (1..PARTS_MAX).find_map(|record| text(&["EXECVE".into(), record.to_string().into(), key.as_str().into()]))
        })
    };
    let argument = |at: usize| {
        said(format!("a{at}")).or_else(|| {
            let parts: Vec<String> = (0..PARTS_MAX)
                .map_while(|part| said(format!("a{at}[{part}]")))
                .collect();
            (!parts.is_empty()).then(|| parts.concat())
        })
    };
    let arguments: Vec<String> = (0..ARGUMENTS_MAX).map_while(argument).collect();
    if arguments.is_empty() {
        return text(&["PROCTITLE".into(), "proctitle".into()]);
    }
    Some(arguments.join(" "))
}

/// The address and the port of a `sockaddr_in` or a `sockaddr_in6` in hexadecimal (sockaddr(3type), ip(7), ipv6(7)).
/// The family is in the order of the machine, so that either is taken; all else is in that of the network.
fn sockaddr(hex: &str) -> Option<(IpAddr, u16)> {
    /// All of a `sockaddr_in6` up to its address.
    const BYTES_MAX: usize = 24;
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let pairs = hex.as_bytes().chunks_exact(2).take(BYTES_MAX);
    let bytes: Vec<u8> = pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect::<Option<_>>()?;
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let ip = match family {
        [2, 0] | [0, 2] => IpAddr::from(*rest.first_chunk::<4>()?),
        // Behind the flow.
        [10, 0] | [0, 10] => Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some((ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_addresses_are_read_by_their_layout() {
        let read = |hex: &str| sockaddr(hex).map(end);
        let rows = [
            ("02000050CB00712F0000000000000000", Some("203.0.113.47:80")),
            ("00020050cb00712f0000000000000000", Some("203.0.113.47:80")),
            ("02000050CB00712F", Some("203.0.113.47:80")),
            (
                "0A0001BB0000000020010DB800000000000000000000000100000000",
                Some("[2001:db8::1]:443"),
            ),
            (
                "0A0001BB0000000000000000000000000000FFFFCB00712F00000000",
                Some("203.0.113.47:443"),
            ),
            // A path, a part of one, and what is no hexadecimal.
            ("01002F72756E2F78", None),
            ("02000050CB0071", None),
            ("0A0001BB0000000020010DB8", None),
            ("0200005", None),
            ("02000050GG00712F", None),
            ("", None),
        ];
        for (hex, expect) in rows {
            assert_eq!(read(hex).as_deref(), expect, "{hex}");
        }
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut decoder = Decoder::default();
        let mut facts = 0;
        let mut visit = |_: Fact| facts += 1;
        let mut visitor = Visitor {
            tally: super::super::Tally::default(),
            visit: &mut visit,
        };
        let long = "x".repeat(EVENT_BYTES_MAX - 100);
        for serial in 0..100 {
            let line = format!("type=SYSCALL msg=audit(1795737605.100:{serial}): a={long}");
            decoder.line(line.as_bytes(), &mut visitor);
            let held: usize = decoder.held.iter().map(|it| it.lines.len()).sum();
            assert_eq!(decoder.bytes, held);
            assert!(held <= HELD_BYTES_MAX && decoder.held.len() <= HELD_MAX);
        }
        decoder.end(&mut visitor);
        assert_eq!(visitor.tally.facts, 100);
    }
}
