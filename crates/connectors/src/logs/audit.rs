//! Records of the Linux audit system, several lines for one event, as `sources/auditd.rs` reads them.
//!
//! The lines of one event need not follow each other. So many events are held back; what comes later is an event of its
//! own.

use std::collections::VecDeque;

use staunch_model::{EventKind, EventView, FieldValue};
use staunch_ports::{Sighting, Source as _};

use super::{Fact, Format, Kind, Outcome, Parties, Same, Visitor, clipped, plain};
use crate::json::EVENT_BYTES_MAX;
use crate::sources::{Auditd, address};

/// Events whose further records are waited for.
const HELD_MAX: usize = 64;

/// Arguments of a program that are shown.
const ARGUMENTS_MAX: usize = 32;

/// Events whose records may not be whole.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    held: VecDeque<Held>,
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
            }
            return;
        }
        if self.held.len() == HELD_MAX
            && let Some(oldest) = self.held.pop_front()
        {
            hand_on(&oldest, visitor);
        }
        self.held.push_back(Held {
            id,
            lines: line.to_vec(),
        });
    }

    /// Hands on what is left.
    pub(super) fn end(&mut self, visitor: &mut Visitor<'_>) {
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
                Some(fact) => Outcome::Fact(Box::new(fact)),
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
        _ => (Kind::Event, Some(Same::event(view.signature, view.source.ip, None))),
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

/// The command line: the title of the process, else the arguments.
fn command(view: &EventView<'_>) -> Option<String> {
    let text = |path: &[Box<str>]| match view.raw.field(path) {
        Some(FieldValue::Text(text)) => Some(text.to_owned()),
        _ => None,
    };
    if let Some(title) = text(&["PROCTITLE".into(), "proctitle".into()]) {
        return Some(title);
    }
    let arguments = (0..ARGUMENTS_MAX).map_while(|at| text(&["EXECVE".into(), format!("a{at}").into()]));
    let arguments: Vec<String> = arguments.collect();
    (!arguments.is_empty()).then(|| arguments.join(" "))
}
