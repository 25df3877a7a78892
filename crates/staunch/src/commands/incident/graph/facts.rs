//! The facts of sealed documents that tell of causes: processes, connections, flows and logins.
//!
//! A document is hostile: whoever was contained has chosen names, programs and the files that are open. What is not of
//! the form that the collectors write is passed over and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;
use staunch_model::{EvidenceKind, Printable, Timestamp};

use crate::commands::incident::sealed::Sealed;

/// Logins that are kept, the newest ones.
const LOGINS_MAX: usize = 10_000;

/// A process, told from every other that has had its number: pid and ticks since the machine booted.
pub(in crate::commands::incident) type ProcessKey = (u32, u64);

/// The ends of a connection: protocol, here, there.
pub(in crate::commands::incident) type Ends = (String, (IpAddr, u16), (IpAddr, u16));

#[derive(Debug, Default)]
pub(in crate::commands::incident) struct Facts {
    pub(in crate::commands::incident) processes: BTreeMap<ProcessKey, ProcessFacts>,
    pub(in crate::commands::incident) connections: BTreeMap<Ends, Connection>,
    /// The ports that somebody listens at.
    pub(in crate::commands::incident) listened: BTreeSet<(String, u16)>,
    pub(in crate::commands::incident) logins: Vec<Login>,
    /// The kinds of which there is a document.
    pub(in crate::commands::incident) kinds: BTreeSet<EvidenceKind>,
    /// The kinds of which there is a document that was not read.
    pub(in crate::commands::incident) unread_kinds: BTreeSet<EvidenceKind>,
    /// Parts of documents that have another form than the collectors write.
    pub(in crate::commands::incident) unread: u64,
}

#[derive(Debug, Default)]
pub(in crate::commands::incident) struct ProcessFacts {
    pub(in crate::commands::incident) parent: u32,
    pub(in crate::commands::incident) at: Option<Timestamp>,
    pub(in crate::commands::incident) name: String,
    pub(in crate::commands::incident) program: Option<String>,
    pub(in crate::commands::incident) sha256: Option<String>,
    pub(in crate::commands::incident) user: Option<String>,
    pub(in crate::commands::incident) files: Vec<OpenFile>,
    /// Whether its own document was asked for, or that of its ancestor.
    pub(in crate::commands::incident) is_subject: bool,
    pub(in crate::commands::incident) said_by: Vec<String>,
    /// Of these, those that tell of its parent.
    pub(in crate::commands::incident) parent_said_by: Vec<String>,
}

/// A file that a process has open.
#[derive(Debug)]
pub(in crate::commands::incident) struct OpenFile {
    pub(in crate::commands::incident) path: String,
    pub(in crate::commands::incident) is_written: bool,
    pub(in crate::commands::incident) said_by: String,
}

/// Which end began a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::incident) enum Began {
    Here,
    There,
}

#[derive(Debug, Default)]
pub(in crate::commands::incident) struct Connection {
    pub(in crate::commands::incident) state: String,
    pub(in crate::commands::incident) holders: Vec<ProcessKey>,
    /// As the kernel tracked it; `None` when it did not, or nobody asked.
    pub(in crate::commands::incident) began: Option<Began>,
    /// When it was first seen.
    pub(in crate::commands::incident) seen: Option<Timestamp>,
    pub(in crate::commands::incident) said_by: Vec<String>,
}

#[derive(Debug)]
pub(in crate::commands::incident) struct Login {
    pub(in crate::commands::incident) user: String,
    pub(in crate::commands::incident) pid: u32,
    pub(in crate::commands::incident) from: Option<IpAddr>,
    pub(in crate::commands::incident) line: String,
    pub(in crate::commands::incident) at: Timestamp,
    pub(in crate::commands::incident) said_by: String,
}

impl Facts {
    pub(in crate::commands::incident) fn of(sealed: &[Sealed]) -> Self {
        let mut facts = Self::default();
        for it in sealed {
            facts.kinds.insert(it.kind);
            match it.kind {
                EvidenceKind::Process | EvidenceKind::Processes => facts.add_processes(it),
                EvidenceKind::Sockets => {
                    for protocol in ["tcp", "udp", "udplite", "sctp", "dccp", "raw"] {
                        facts.add_sockets(it, protocol);
                    }
                }
                EvidenceKind::Flows => facts.add_sockets(it, "sockets"),
                EvidenceKind::Logins => facts.add_logins(it),
                _ => {}
            }
        }
        // What is tracked comes last, because it says how connections began that sockets tell of.
        for it in sealed.iter().filter(|it| it.kind == EvidenceKind::Flows) {
            facts.add_tracked(it);
        }
        facts.logins.sort_by_key(|it| std::cmp::Reverse(it.at));
        facts.logins.truncate(LOGINS_MAX);
        facts
    }

    /// The process that had the number `pid` when `child` was started.
    pub(in crate::commands::incident) fn parent_of(&self, child: ProcessKey) -> Option<ProcessKey> {
        let parent = self.processes.get(&child)?.parent;
        let older = self.processes.range((parent, 0)..=(parent, child.1)).next_back()?;
        (*older.0 != child).then_some(*older.0)
    }

    fn add_processes(&mut self, sealed: &Sealed) {
        for it in list(&sealed.document, "processes") {
            let (Some(pid), Some(started)) = (small(&it["pid"]), it["started"].as_u64()) else {
                self.unread += 1;
                continue;
            };
            let known = self.processes.entry((pid, started)).or_default();
            known.parent = small(&it["parent"]).unwrap_or(known.parent);
            known.at = Some(sealed.at_ticks(started));
            known.name = text(&it["name"]).unwrap_or_default();
            known.program = text(&it["program"]).or(known.program.take());
            known.sha256 = text(&it["executable"]["Ok"]["sha256"]).or(known.sha256.take());
            // The real, the effective, the saved and that of the file system (proc(5)).
            let real = it["Uid"].as_str().and_then(|it| it.split_ascii_whitespace().next());
            known.user = real.map(|it| Printable(it).to_string()).or(known.user.take());
            known.is_subject |= sealed.kind == EvidenceKind::Process;
            let said_by = sealed.evidence.to_string();
            add(&mut known.said_by, &said_by);
            add(&mut known.parent_said_by, &said_by);
            for file in list(it, "files") {
                let Some(path) = text(&file["target"]).filter(|path| is_telling(path)) else {
                    continue;
                };
                known.files.push(OpenFile {
                    path,
                    is_written: is_written(file),
                    said_by: said_by.clone(),
                });
            }
            known
                .files
                .sort_by(|a, b| (!a.is_written, &a.path).cmp(&(!b.is_written, &b.path)));
            known.files.dedup_by(|later, first| later.path == first.path);
        }
    }

    fn add_sockets(&mut self, sealed: &Sealed, part: &str) {
        for it in list(&sealed.document, part) {
            let protocol = it["protocol"].as_str();
            let end = |ip: &str, port: &str| {
                let ip: IpAddr = it[ip].as_str()?.parse().ok()?;
                Some((ip.to_canonical(), u16::try_from(it[port].as_u64()?).ok()?))
            };
            let (Some(protocol), Some(local), Some(remote)) =
                (protocol, end("local", "local_port"), end("remote", "remote_port"))
            else {
                self.unread += 1;
                continue;
            };
            let protocol = Printable(protocol).to_string();
            if remote.1 == 0 || remote.0.is_unspecified() {
                self.listened.insert((protocol, local.1));
                continue;
            }
            let known = self.connections.entry((protocol, local, remote)).or_default();
            known.state = text(&it["state"]).unwrap_or_default();
            known.seen = Some(known.seen.map_or(sealed.at, |it| it.min(sealed.at)));
            add(&mut known.said_by, &sealed.evidence.to_string());
            for holder in list(it, "holders") {
                if let (Some(pid), Some(started)) = (small(&holder["pid"]), holder["started"].as_u64()) {
                    let key = (pid, started);
                    if !known.holders.contains(&key) {
                        known.holders.push(key);
                    }
                    let process = self.processes.entry(key).or_default();
                    process.at = process.at.or(Some(sealed.at_ticks(started)));
                    if process.name.is_empty() {
                        process.name = text(&holder["name"]).unwrap_or_default();
                    }
                    process.program = process.program.take().or_else(|| text(&holder["program"]));
                    add(&mut process.said_by, &sealed.evidence.to_string());
                }
            }
        }
    }

    fn add_tracked(&mut self, sealed: &Sealed) {
        for it in list(&sealed.document, "tracked") {
            let original = &it["original"];
            let end = |ip: &str, port: &str| {
                let ip: IpAddr = original[ip].as_str()?.parse().ok()?;
                let port = original[port].as_u64().unwrap_or(0);
                Some((ip.to_canonical(), u16::try_from(port).ok()?))
            };
            let (Some(from), Some(to)) = (end("source", "source_port"), end("destination", "destination_port")) else {
                self.unread += 1;
                continue;
            };
            let protocol = match original["protocol"].as_u64() {
                Some(6) => "tcp".to_owned(),
                Some(17) => "udp".to_owned(),
                Some(1) => "icmp".to_owned(),
                Some(58) => "icmpv6".to_owned(),
                Some(132) => "sctp".to_owned(),
                Some(other) => format!("protocol {other}"),
                None => "unknown protocol".to_owned(),
            };
            let (out, into) = ((protocol.clone(), from, to), (protocol, to, from));
            let (ends, began) = if self.connections.contains_key(&into) {
                (into, Began::There)
            } else {
                (out, Began::Here)
            };
            let known = self.connections.entry(ends).or_default();
            known.began = Some(began);
            known.seen = Some(known.seen.map_or(sealed.at, |it| it.min(sealed.at)));
            if known.state.is_empty() {
                known.state = text(&it["tcp_state"]).unwrap_or_else(|| "tracked".to_owned());
            }
            add(&mut known.said_by, &sealed.evidence.to_string());
        }
    }

    fn add_logins(&mut self, sealed: &Sealed) {
        // The same login stands in both files.
        let mut seen = BTreeSet::new();
        for part in ["utmp", "wtmp"] {
            for it in list(&sealed.document, part) {
                // 7 is a login (utmp(5)).
                if it["kind"].as_i64() != Some(7) {
                    continue;
                }
                let (Some(user), Some(seconds)) = (text(&it["user"]), it["seconds"].as_u64()) else {
                    self.unread += 1;
                    continue;
                };
                let us = seconds
                    .saturating_mul(1_000_000)
                    .saturating_add(it["microseconds"].as_u64().unwrap_or(0));
                let from = it["address"].as_str().or(it["host"].as_str());
                let login = Login {
                    user,
                    pid: small(&it["pid"]).unwrap_or(0),
                    from: from.and_then(|it| it.parse().ok()),
                    line: text(&it["line"]).unwrap_or_default(),
                    at: Timestamp::from_micros(us),
                    said_by: sealed.evidence.to_string(),
                };
                if seen.insert((login.user.clone(), login.pid, login.at)) {
                    self.logins.push(login);
                }
            }
        }
    }
}

fn list<'a>(from: &'a Value, part: &str) -> impl Iterator<Item = &'a Value> {
    from[part].as_array().into_iter().flatten()
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|it| u32::try_from(it).ok())
}

/// A text as collectors write it, safe to show: what is not UTF-8 is written in hexadecimal digits.
fn text(value: &Value) -> Option<String> {
    match (value.as_str(), value["hex"].as_str()) {
        (Some(text), _) => Some(Printable(text).to_string()),
        (None, Some(hex)) => Some(format!("hex {}", Printable(hex))),
        (None, None) => None,
    }
}

/// Whether an open file tells of a cause: terminals, pipes, sockets and what every process has open do not.
fn is_telling(path: &str) -> bool {
    path.starts_with('/')
        && ![
            "/dev/null",
            "/dev/pts/",
            "/dev/tty",
            "/dev/urandom",
            "/dev/random",
            "/proc/",
            "/sys/",
        ]
        .iter()
        .any(|it| path.starts_with(it))
}

/// Whether the `flags` of its `fdinfo` have `O_WRONLY` or `O_RDWR` (open(2)); they are octal (proc(5)).
fn is_written(file: &Value) -> bool {
    let flags = list(file, "about")
        .filter_map(Value::as_str)
        .find_map(|it| it.strip_prefix("flags:"));
    let flags = flags.and_then(|it| u32::from_str_radix(it.trim(), 8).ok());
    flags.is_some_and(|it| it & 3 != 0)
}

pub(in crate::commands::incident) fn add(all: &mut Vec<String>, one: &str) {
    if !all.iter().any(|it| it == one) {
        all.push(one.to_owned());
    }
}
