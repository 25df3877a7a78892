//! Takes the flows from and to one address: what conntrack tracks, and the sockets here with the processes that hold
//! them.
//!
//! Never ends a flow.
//!
//! # Expected flow
//! Dumps conntrack and keeps what has the address in it; dumps the sockets and keeps those to the address;
//! looks for their holders
//!
//! # Guarantees
//! A flow that is translated is found by each of its addresses
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! Without rules that use conntrack the kernel tracks nothing; sockets of other network namespaces are not
//! among them, their flows are where this namespace forwards them
//!
//! # Errors
//! `Invalid` when the target is no address, `TimedOut`, `Unavailable` when nothing can be read

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;
use staunch_model::{EvidenceId, EvidenceKind, Failure, FailureKind, Span, Target, WithCauses};
use staunch_netlink::conntrack::{self, Conntrack, ConntrackError, Counters, Flow, Tuple};
use staunch_netlink::diagnosis::{Protocol, parse_inet_socket};
use staunch_netlink::schema::parse_object;
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document, Items, Problems};
use super::holders::Holders;
use super::limits::{CAP_NET_ADMIN, Deadline, has_capability, no_target, telling_modules};
use super::sockets::{Raw, tell};
use super::value::Fields;

const KIND: EvidenceKind = EvidenceKind::Flows;
const TAKES_MAX: Span = Span::from_secs(30);

/// See the module.
#[derive(Clone, Debug)]
pub struct FlowsCollector {
    proc: PathBuf,
}

#[derive(Serialize)]
struct FlowTold<'a> {
    original: TupleTold,
    reply: Option<TupleTold>,
    status: u32,
    established: bool,
    tcp_state: Option<String>,
    timeout_seconds: Option<u64>,
    sent: Option<CountersTold>,
    received: Option<CountersTold>,
    more: Fields<'a>,
}

#[derive(Serialize)]
struct TupleTold {
    protocol: u8,
    source: IpAddr,
    source_port: Option<u16>,
    destination: IpAddr,
    destination_port: Option<u16>,
}

#[derive(Serialize)]
struct CountersTold {
    packets: u64,
    bytes: u64,
}

impl FlowsCollector {
    /// Makes one that finds the kernel's files of processes in `proc`.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { proc }
    }

    fn write(&self, document: &mut Document<'_>, deadline: Deadline, address: IpAddr) -> Result<(), Failure> {
        document.field("address", &address)?;
        if let Ok(namespace) = std::fs::read_link(self.proc.join("thread-self/ns/net")) {
            document.field("namespace", &namespace.display().to_string())?;
        }
        let mut problems = Problems::default();
        let mut tracked = Items::default();
        match read_tracked(address, deadline, &mut tracked) {
            Ok(()) => document.items("tracked", &tracked)?,
            // Without what the kernel tracks there are no flows: half of it would count as sealed.
            Err(error) => {
                let kind = if matches!(error, ConntrackError::Denied { .. }) {
                    FailureKind::Denied
                } else {
                    FailureKind::Unavailable
                };
                return Err(Failure::new(kind, &WithCauses(&error).to_string()));
            }
        }
        let mut found = Vec::new();
        for protocol in Protocol::ALL {
            deadline.check("flows")?;
            let mut raw = Raw::default();
            if raw.read_inet(protocol, deadline, &mut problems)? {
                found.push((protocol, raw));
            }
        }
        let sockets = || {
            found.iter().flat_map(|(protocol, raw)| {
                let read = raw.sockets().filter_map(|bytes| parse_inet_socket(bytes).ok());
                let to_it = read.filter(|it| [it.local, it.remote].iter().any(|it| it.to_canonical() == address));
                to_it.map(|it| (*protocol, it))
            })
        };
        let inodes: HashSet<u64> = sockets().map(|(_, it)| u64::from(it.inode)).collect();
        let holders = Holders::look(&self.proc, Some(&inodes), deadline, &mut problems)?;
        document.begin_list("sockets")?;
        for (protocol, socket) in sockets() {
            document.item(&tell(protocol, &socket, &holders))?;
        }
        document.end_list();
        document.problems(&problems);
        Ok(())
    }
}

impl Collector for FlowsCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/flows",
            kind: KIND,
            needs: &[
                "CAP_NET_ADMIN, for what conntrack tracks",
                "CAP_SYS_PTRACE, for the holders of sockets of other users",
            ],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, request: &CollectRequest) -> Result<(), Failure> {
        address(request)?;
        super::processes::numbers(&self.proc).map(drop)
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let address = address(request)?;
        let method = "IPCTNL_MSG_CT_GET and SOCK_DIAG_BY_FAMILY with NLM_F_DUMP, filtered by the address here; readlink of \
                      /proc/PID/fd/*";
        let about = document::about(KIND, "netlink:NETLINK_NETFILTER,NETLINK_SOCK_DIAG", method);
        telling_modules(&self.proc, || {
            document::write(KIND, about, sink, |document| {
                deadline.check("flows")?;
                self.write(document, deadline, address)
            })
        })
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

fn address(request: &CollectRequest) -> Result<IpAddr, Failure> {
    let target = request.target.as_ref();
    let address = target
        .and_then(Target::address)
        .ok_or_else(|| no_target(KIND, target))?;
    Ok(address.to_canonical())
}

fn read_tracked(address: IpAddr, deadline: Deadline, items: &mut Items) -> Result<(), ConntrackError> {
    if !has_capability(CAP_NET_ADMIN) {
        return Err(ConntrackError::Denied {
            doing: "read the tracked connections",
        });
    }
    let mut conntrack = Conntrack::open(deadline.answer())?;
    conntrack.visit_whole(|flow, payload| {
        if deadline.is_over() {
            items.cut();
        } else if has(flow, address) {
            let more = parse_object(&conntrack::LAYOUT, payload).unwrap_or_default();
            // Those that have a name of their own are told already.
            let more: Vec<_> = more
                .into_iter()
                .filter(|it| !matches!(it.kind, 1..=4 | 7 | 9 | 10))
                .collect();
            items.push(&FlowTold::of(flow, &more));
        }
    })
}

fn has(flow: &Flow, address: IpAddr) -> bool {
    let sides = [Some(flow.original), flow.reply];
    let mut ends = sides.into_iter().flatten().flat_map(|it| [it.source, it.destination]);
    ends.any(|it| it.to_canonical() == address)
}

impl<'a> FlowTold<'a> {
    fn of(flow: &Flow, more: &'a [staunch_netlink::schema::Field<'a>]) -> Self {
        Self {
            original: TupleTold::of(flow.original),
            reply: flow.reply.map(TupleTold::of),
            status: flow.status,
            established: flow.is_established(),
            tcp_state: flow.tcp_state.map(|it| format!("{it:?}")),
            timeout_seconds: flow.timeout.map(|it| it.as_secs()),
            sent: flow.sent.map(CountersTold::of),
            received: flow.received.map(CountersTold::of),
            more: Fields(more),
        }
    }
}

impl TupleTold {
    fn of(tuple: Tuple) -> Self {
        Self {
            protocol: tuple.protocol,
            source: tuple.source,
            source_port: tuple.source_port,
            destination: tuple.destination,
            destination_port: tuple.destination_port,
        }
    }
}

impl CountersTold {
    fn of(counters: Counters) -> Self {
        Self {
            packets: counters.packets,
            bytes: counters.bytes,
        }
    }
}
