//! Takes all sockets of the network namespace of the calling thread, with the processes that hold them.
//!
//! Never closes one.
//!
//! # Expected flow
//! Dumps the sockets of each kind over sock_diag, then looks for their inodes among the open files
//!
//! # Guarantees
//! Every attribute is kept: by its name, or by its number and as bytes
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! Sockets of other network namespaces, such as those of containers, are not among them; a socket that was
//! opened between the two steps has no holder; the kernel may load the modules that answer
//!
//! # Errors
//! `TimedOut`, `Unavailable` when the kernel does not answer

use std::path::PathBuf;

use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, Span};
use staunch_netlink::diagnosis::{
    InetSocket, Local, Protocol, dump_inet, dump_local, parse_inet_socket, parse_local_socket,
};
use staunch_netlink::schema::{Value, find};
use staunch_netlink::socket::SocketError;
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document, Problems};
use super::holders::{Held, Holders};
use super::limits::{Deadline, of_netlink, telling_modules};
use super::value::{Bytes, Fields, Text};

const KIND: EvidenceKind = EvidenceKind::Sockets;
const TAKES_MAX: Span = Span::from_secs(30);

/// Sockets of one kind that are taken: with some 150 bytes each they are held until their holders are known.
const SOCKETS_MAX: usize = 1 << 20;

/// See the module.
#[derive(Clone, Debug)]
pub struct SocketsCollector {
    proc: PathBuf,
}

/// A socket with addresses as it is written.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    family: &'static str,
    protocol: &'static str,
    state: &'static str,
    local: String,
    local_port: u16,
    remote: String,
    remote_port: u16,
    interface: u32,
    user: u32,
    inode: u32,
    cookie: u64,
    receive_queue: u32,
    send_queue: u32,
    holders: Vec<Held<'a>>,
    more: Fields<'a>,
}

/// A socket without IP addresses as it is written.
#[derive(Serialize)]
struct LocalTold<'a> {
    /// Without the NUL that names in the abstract namespace begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Text<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_abstract: bool,
    holders: Vec<Held<'a>>,
    socket: Fields<'a>,
}

/// Sockets as the kernel told them, until their holders are known.
#[derive(Default)]
pub(super) struct Raw {
    sockets: Vec<Box<[u8]>>,
    left_out: u64,
}

impl SocketsCollector {
    /// Makes one that finds the kernel's files of processes in `proc`.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { proc }
    }

    fn write(&self, document: &mut Document<'_>, deadline: Deadline) -> Result<(), Failure> {
        if let Ok(namespace) = std::fs::read_link(self.proc.join("thread-self/ns/net")) {
            document.field("namespace", &namespace.display().to_string())?;
        }
        let mut problems = Problems::default();
        let mut tables = Vec::new();
        for protocol in Protocol::ALL {
            deadline.check("sockets")?;
            let mut raw = Raw::default();
            let is_told = raw.read_inet(protocol, deadline, &mut problems)?;
            tables.push((protocol, is_told.then_some(raw)));
        }
        let mut local = Vec::new();
        for (kind, name) in [(Local::Unix, "unix"), (Local::Packet, "packet")] {
            deadline.check("sockets")?;
            let mut raw = Raw::default();
            let is_told = raw.read_local(kind, name, deadline, &mut problems)?;
            local.push((kind, name, is_told.then_some(raw)));
        }
        let holders = Holders::look(&self.proc, None, deadline, &mut problems)?;
        for (protocol, raw) in &tables {
            let Some(raw) = raw else {
                document.field(protocol.name(), &None::<()>)?;
                continue;
            };
            document.begin_list(protocol.name())?;
            for bytes in &raw.sockets {
                match parse_inet_socket(bytes) {
                    Ok(socket) => document.item(&tell(*protocol, &socket, &holders))?,
                    Err(_) => document.item(&Bytes(bytes))?,
                }
            }
            document.end_list();
        }
        for (kind, name, raw) in &local {
            let Some(raw) = raw else {
                document.field(name, &None::<()>)?;
                continue;
            };
            document.begin_list(name)?;
            for bytes in &raw.sockets {
                match parse_local_socket(*kind, bytes) {
                    Ok(fields) => {
                        let inode = find(&fields, "inode").and_then(Value::number).unwrap_or_default();
                        let name = match find(&fields, "name") {
                            Some(Value::Bytes(name)) => Some(*name),
                            _ => None,
                        };
                        let after_nul = name.and_then(|it| it.strip_prefix(&[0]));
                        document.item(&LocalTold {
                            // Other names end with a NUL.
                            name: after_nul
                                .or(name.map(|it| it.strip_suffix(&[0]).unwrap_or(it)))
                                .map(Text),
                            is_abstract: after_nul.is_some(),
                            holders: holders.of(inode),
                            socket: Fields(&fields),
                        })?;
                    }
                    Err(_) => document.item(&Bytes(bytes))?,
                }
            }
            document.end_list();
        }
        document.problems(&problems);
        Ok(())
    }
}

impl Collector for SocketsCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/sockets",
            kind: KIND,
            needs: &[
                "CAP_SYS_PTRACE, for the holders of sockets of other users",
                "CAP_NET_ADMIN, for marks and filters",
            ],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        super::processes::numbers(&self.proc).map(drop)
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let method = "SOCK_DIAG_BY_FAMILY with NLM_F_DUMP; readlink of /proc/PID/fd/*";
        let about = document::about(KIND, "netlink:NETLINK_SOCK_DIAG", method);
        telling_modules(&self.proc, || {
            document::write(KIND, about, sink, |document| {
                deadline.check("sockets")?;
                self.write(document, deadline)
            })
        })
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

impl Raw {
    /// Reads the sockets of a protocol; false when the kernel has none, or cannot tell.
    pub(super) fn read_inet(
        &mut self,
        protocol: Protocol,
        deadline: Deadline,
        problems: &mut Problems,
    ) -> Result<bool, Failure> {
        let sockets = std::cell::RefCell::new(&mut *self);
        let read = dump_inet(
            protocol,
            deadline.answer(),
            || **sockets.borrow_mut() = Self::default(),
            |bytes| sockets.borrow_mut().push(bytes, deadline),
        );
        self.is_read(protocol.name(), read, problems)
    }

    fn read_local(
        &mut self,
        kind: Local,
        name: &str,
        deadline: Deadline,
        problems: &mut Problems,
    ) -> Result<bool, Failure> {
        let sockets = std::cell::RefCell::new(&mut *self);
        let read = dump_local(
            kind,
            deadline.answer(),
            || **sockets.borrow_mut() = Self::default(),
            |bytes| sockets.borrow_mut().push(bytes, deadline),
        );
        self.is_read(name, read, problems)
    }

    /// What was read.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &[u8]> {
        self.sockets.iter().map(|it| &**it)
    }

    fn push(&mut self, bytes: &[u8], deadline: Deadline) {
        if self.sockets.len() == SOCKETS_MAX || deadline.is_over() {
            self.left_out += 1;
        } else {
            self.sockets.push(bytes.into());
        }
    }

    fn is_read(&self, name: &str, read: Result<bool, SocketError>, problems: &mut Problems) -> Result<bool, Failure> {
        if self.left_out > 0 {
            problems.add(&format!("{name}: {} sockets are left out", self.left_out));
        }
        match read {
            // Some may be missing or there twice.
            Err(error @ SocketError::Interrupted) => {
                problems.add(&format!("{name}: {error}"));
                Ok(true)
            }
            other => other.map_err(|error| of_netlink(&format!("read the {name} sockets"), &error)),
        }
    }
}

/// A socket with its holders.
pub(super) fn tell<'a>(protocol: Protocol, socket: &'a InetSocket<'a>, holders: &'a Holders) -> Told<'a> {
    Told {
        family: if socket.local.is_ipv4() { "inet" } else { "inet6" },
        protocol: protocol.name(),
        state: state(socket.state),
        local: socket.local.to_string(),
        local_port: socket.local_port,
        remote: socket.remote.to_string(),
        remote_port: socket.remote_port,
        interface: socket.interface,
        user: socket.user,
        inode: socket.inode,
        cookie: socket.cookie,
        receive_queue: socket.receive_queue,
        send_queue: socket.send_queue,
        holders: holders.of(u64::from(socket.inode)),
        more: Fields(&socket.more),
    }
}

/// `TCP_ESTABLISHED` and so on; the kernel uses the same numbers for all protocols.
const fn state(number: u8) -> &'static str {
    match number {
        1 => "established",
        2 => "syn-sent",
        3 => "syn-received",
        4 => "fin-wait-1",
        5 => "fin-wait-2",
        6 => "time-wait",
        7 => "closed",
        8 => "close-wait",
        9 => "last-ack",
        10 => "listening",
        11 => "closing",
        12 => "new-syn-received",
        _ => "other",
    }
}
