//! Takes links, addresses, routes, rules and neighbours of the network namespace of the calling thread.
//!
//! Never resolves a neighbour, and sends nothing but questions to the kernel.
//!
//! # Expected flow
//! Dumps each table over rtnetlink, and again when it changed meanwhile
//!
//! # Guarantees
//! Every attribute is kept: by its name, or by its number and as bytes
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! Tables are read one after the other, so they are of slightly different moments
//!
//! # Errors
//! `TimedOut`, `Unavailable` when the kernel does not answer

use std::path::PathBuf;

use staunch_model::{EvidenceId, EvidenceKind, Failure, Span};
use staunch_netlink::route::{Table, dump};
use staunch_netlink::socket::SocketError;
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Items};
use super::limits::{Deadline, of_netlink};
use super::value::Fields;

const KIND: EvidenceKind = EvidenceKind::Network;
const TAKES_MAX: Span = Span::from_secs(10);

/// See the module.
#[derive(Clone, Debug)]
pub struct NetworkCollector {
    proc: PathBuf,
}

impl NetworkCollector {
    /// Makes one that finds the kernel's files of processes in `proc`.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { proc }
    }
}

impl Collector for NetworkCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/network",
            kind: KIND,
            needs: &[],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        Ok(())
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let about = document::about(
            KIND,
            "netlink:NETLINK_ROUTE",
            "RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETRULE, RTM_GETNEXTHOP and RTM_GETNEIGH with NLM_F_DUMP",
        );
        document::write(KIND, about, sink, |document| {
            if let Ok(namespace) = std::fs::read_link(self.proc.join("thread-self/ns/net")) {
                document.field("namespace", &namespace.display().to_string())?;
            }
            for table in Table::ALL {
                deadline.check(table.name())?;
                let mut items = Items::default();
                match read(table, deadline, &mut items) {
                    Ok(true) => document.items(table.name(), &items)?,
                    Ok(false) => document.field(table.name(), &None::<()>)?,
                    Err(error @ SocketError::Interrupted) => {
                        document.items(table.name(), &items)?;
                        document.problem(&format!("{}: {error}", table.name()));
                    }
                    Err(error) => return Err(of_netlink(&format!("read {}", table.name()), &error)),
                }
            }
            Ok(())
        })?;
        Ok(Collected::default())
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

fn read(table: Table, deadline: Deadline, items: &mut Items) -> Result<bool, SocketError> {
    // Both closures write to the list; only one runs at a time.
    let items = std::cell::RefCell::new(items);
    dump(
        table,
        deadline.answer(),
        || items.borrow_mut().clear(),
        |fields| {
            if deadline.is_over() {
                items.borrow_mut().cut();
            } else {
                items.borrow_mut().push(&Fields(fields));
            }
        },
    )
}
