//! Takes the ruleset of nf_tables of the network namespace of the calling thread, whosever it is: tables, chains, rules
//! with their expressions, sets with their elements, objects and flow tables.
//!
//! Never changes a rule, and resets no counter.
//!
//! # Expected flow
//! Asks for the generation, dumps everything, asks again, and begins anew when it has changed
//!
//! # Guarantees
//! What is told is of one generation, or it says that it is not; every attribute is kept: by its name, or by
//! its number and as bytes
//!
//! # Assumptions
//! None
//!
//! # Caveats
//! Elements that expire do not change the generation; rules of the older iptables are not in it: the names of
//! their tables are told; the kernel may load the module of nf_tables
//!
//! # Errors
//! `Denied` without CAP_NET_ADMIN, `TimedOut`, `Unavailable`

use std::path::PathBuf;

use staunch_model::{EvidenceId, EvidenceKind, Failure, Span};
use staunch_netlink::ruleset::{Kind, Ruleset};
use staunch_netlink::schema::{Value, find};
use staunch_netlink::socket::SocketError;
use staunch_ports::{CollectRequest, Collected, Collector, Collects, Sink};

use super::document::{self, Document, Items, Problems};
use super::facts::lines;
use super::limits::{CAP_NET_ADMIN, Deadline, of_netlink, require_capability, telling_modules};
use super::value::{Fields, Text};

const KIND: EvidenceKind = EvidenceKind::Ruleset;
const TAKES_MAX: Span = Span::from_secs(30);

/// How often a ruleset that changes while it is read is read.
const ATTEMPTS_MAX: usize = 4;

/// Messages with elements that are kept of one set; each holds up to 32 KiB of them, some hundreds.
const ELEMENT_MESSAGES_MAX: u64 = 1_024;

/// See the module.
#[derive(Clone, Debug)]
pub struct RulesetCollector {
    proc: PathBuf,
}

/// A ruleset as it was read once.
#[derive(Default)]
struct Read {
    generation: u32,
    generation_after: u32,
    kinds: Vec<(&'static str, Option<Items>)>,
    elements: Items,
    problems: Problems,
}

impl RulesetCollector {
    /// Makes one that finds the kernel's files of processes in `proc`.
    #[must_use]
    pub fn new(proc: PathBuf) -> Self {
        Self { proc }
    }

    fn write(&self, document: &mut Document<'_>, deadline: Deadline) -> Result<(), Failure> {
        let explain = |error| of_netlink("read the ruleset", &error);
        let mut ruleset = Ruleset::open(deadline.answer()).map_err(explain)?;
        let mut attempts = 0;
        let read = loop {
            attempts += 1;
            deadline.check("the ruleset")?;
            let may_repeat = attempts < ATTEMPTS_MAX;
            match read_once(&mut ruleset, deadline) {
                Ok(read) if read.generation == read.generation_after || !may_repeat => break read,
                Err(SocketError::Interrupted) if may_repeat => {}
                Err(error) => return Err(explain(error)),
                Ok(_) => {}
            }
        };
        document.field("attempts", &attempts)?;
        document.field("generation", &read.generation)?;
        document.field("generation_after", &read.generation_after)?;
        if read.generation != read.generation_after {
            document.problem("the ruleset changed while it was read, each time");
        }
        for (name, items) in &read.kinds {
            match items {
                Some(items) => document.items(name, items)?,
                None => document.field(name, &None::<()>)?,
            }
        }
        document.items("elements", &read.elements)?;
        document.problems(&read.problems);
        for (name, file) in [
            ("iptables_tables", "ip_tables_names"),
            ("ip6tables_tables", "ip6_tables_names"),
        ] {
            let bytes = std::fs::read(self.proc.join("thread-self/net").join(file)).unwrap_or_default();
            document.field(name, &lines(&bytes).map(Text).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}

fn read_once(ruleset: &mut Ruleset, deadline: Deadline) -> Result<Read, SocketError> {
    let mut read = Read {
        generation: ruleset.generation()?,
        ..Read::default()
    };
    let mut sets = Vec::new();
    for kind in Kind::ALL {
        let mut items = Items::default();
        let is_known = ruleset.dump(kind, |fields| {
            items.push(&Fields(fields));
            if kind == Kind::Sets {
                let text = |name| find(fields, name).and_then(Value::text).map(str::to_owned);
                let family = find(fields, "family")
                    .and_then(Value::number)
                    .and_then(|it| u8::try_from(it).ok());
                sets.extend(text("table").zip(text("name")).zip(family));
            }
        })?;
        read.kinds.push((kind.name(), is_known.then_some(items)));
    }
    for ((table, set), family) in sets {
        let mut messages = 0;
        let dumped = ruleset.dump_elements(family, &table, &set, |fields| {
            messages += 1;
            if messages <= ELEMENT_MESSAGES_MAX && !deadline.is_over() {
                read.elements.push(&Fields(fields));
            }
        });
        match dumped {
            Ok(()) => {}
            Err(error @ SocketError::Interrupted) => return Err(error),
            Err(error) => read.problems.add(&format!("set {set} of {table}: {error}")),
        }
        if messages > ELEMENT_MESSAGES_MAX {
            let left = messages - ELEMENT_MESSAGES_MAX;
            read.problems.add(&format!(
                "set {set} of {table}: elements in {left} messages are left out"
            ));
        }
        if deadline.is_over() {
            read.problems.add("elements are left out, because no time was left");
            break;
        }
    }
    read.generation_after = ruleset.generation()?;
    Ok(read)
}

impl Collector for RulesetCollector {
    fn describe(&self) -> Collects {
        Collects {
            name: "linux/ruleset",
            kind: KIND,
            needs: &["CAP_NET_ADMIN"],
            changes: &[],
            takes_max: TAKES_MAX,
        }
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        require_capability(CAP_NET_ADMIN, "CAP_NET_ADMIN", "the ruleset")
    }

    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let deadline = Deadline::of(request, TAKES_MAX);
        let method = "NFT_MSG_GETGEN, then NFT_MSG_GETTABLE, GETCHAIN, GETRULE, GETSET, GETOBJ, GETFLOWTABLE and GETSETELEM with \
                      NLM_F_DUMP, then NFT_MSG_GETGEN";
        let about = document::about(KIND, "netlink:NETLINK_NETFILTER", method);
        telling_modules(&self.proc, || {
            document::write(KIND, about, sink, |document| {
                deadline.check("the ruleset")?;
                self.write(document, deadline)
            })
        })
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}
