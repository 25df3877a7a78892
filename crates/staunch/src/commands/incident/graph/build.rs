//! What belongs to the story, and in what order it is given room.

mod cause;
mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use staunch_model::{EvidenceKind, Printable, Target, Timestamp};
use staunch_server::dto::{EventRow, IncidentDetail, TransactionRow};

use super::facts::{Connection, Ends, Facts, ProcessFacts, ProcessKey, add};
use super::{Basis, Edge, Graph, Kind, Node};

/// Kinds of events that are shown one by one.
const EVENTS_MAX: usize = 5;

/// Acts that are shown one by one.
const ACTS_MAX: usize = 8;

/// Processes from which their ancestors are looked for.
const SUBJECTS_MAX: usize = 12;

/// Ancestors of one process that are shown; of a longer chain the middle is folded.
const ANCESTORS_MAX: usize = 5;

/// Connections, and files, of one process that are shown one by one.
const OF_ONE_MAX: usize = 6;

/// Logins that are shown one by one.
const LOGINS_MAX: usize = 6;

/// Edges that say who came from where.
const STARTED: &str = "started";
const LOGGED_IN: &str = "logged in as";

/// Generations that are gone up. A kernel with four million processes has no deeper tree in practice; a loop cannot
/// arise, because a parent is older, but for equal ticks.
const GENERATIONS_MAX: usize = 1_000;

pub(super) fn graph(detail: &IncidentDetail, facts: &Facts, missing: Vec<String>, nodes_max: usize) -> Graph {
    let mut build = Build::new(detail, facts, nodes_max);
    build.graph.missing = missing;
    build.events();
    build.acts();
    build.processes();
    build.logins();
    build.connections();
    build.files();
    build.say_what_is_missing();
    build.find_first_cause();
    build.find_oldest_ancestor();
    build.graph
}

struct Build<'a> {
    detail: &'a IncidentDetail,
    facts: &'a Facts,
    nodes_max: usize,
    graph: Graph,
    /// The place of each thing among the nodes.
    places: BTreeMap<String, usize>,
    addresses: BTreeSet<IpAddr>,
    accounts: BTreeSet<String>,
    /// Those that something was aimed at.
    targets: BTreeSet<ProcessKey>,
}

impl<'a> Build<'a> {
    fn new(detail: &'a IncidentDetail, facts: &'a Facts, nodes_max: usize) -> Self {
        let mut build = Self {
            detail,
            facts,
            nodes_max,
            graph: Graph {
                incident: detail.incident.id,
                first_cause: None,
                oldest_ancestor: None,
                contained_by: Vec::new(),
                nodes: Vec::new(),
                edges: Vec::new(),
                left_out: 0,
                missing: Vec::new(),
            },
            places: BTreeMap::new(),
            addresses: BTreeSet::new(),
            accounts: BTreeSet::new(),
            targets: BTreeSet::new(),
        };
        let it = &detail.incident;
        let events = detail.events.iter().map(|it| &it.source);
        build.addresses.extend(events.chain([&it.source]).filter_map(address));
        let acts = detail.transactions.iter().map(|it| it.target.as_str());
        let evidence = detail.evidence.iter().filter_map(|it| it.target.as_deref());
        for target in acts.chain(evidence).filter_map(|it| it.parse::<Target>().ok()) {
            match target {
                Target::Address(ip) => {
                    build.addresses.insert(ip.to_canonical());
                }
                Target::Process(it) if it.is_identified() => {
                    build.targets.insert((it.pid, it.started));
                }
                Target::Account(name) => {
                    build.accounts.insert(name.as_str().to_owned());
                }
                Target::Process(_) | Target::Host(_) | Target::Domain(_) | Target::Job(_) => {}
            }
        }
        build
    }

    /// The node of `key`, made when there is room for it.
    fn node(&mut self, key: String, kind: Kind, label: &str) -> Option<usize> {
        if let Some(place) = self.places.get(&key) {
            return Some(*place);
        }
        if self.graph.nodes.len() >= self.nodes_max {
            self.graph.left_out += 1;
            return None;
        }
        let place = self.graph.nodes.len();
        self.graph.nodes.push(Node {
            id: format!("n{}", place + 1),
            kind,
            label: Printable(label).to_string(),
            facts: Vec::new(),
            at: None,
            said_by: Vec::new(),
        });
        self.places.insert(key, place);
        Some(place)
    }

    fn address(&mut self, ip: IpAddr) -> Option<usize> {
        self.node(format!("address {ip}"), Kind::Address, &ip.to_string())
    }

    /// What a process is called among the places.
    fn name_of(key: ProcessKey) -> String {
        format!("process {} {}", key.0, key.1)
    }

    fn edge(
        &mut self,
        (from, to): (usize, usize),
        what: &str,
        (basis, at): (Basis, Option<Timestamp>),
        said_by: &[String],
    ) {
        let (from, to) = (&self.graph.nodes[from].id, &self.graph.nodes[to].id);
        let known = self.graph.edges.iter_mut();
        let known = known
            .into_iter()
            .find(|it| (&it.from, &it.to, it.what.as_str()) == (from, to, what));
        if let Some(known) = known {
            said_by.iter().for_each(|it| add(&mut known.said_by, it));
            return;
        }
        let edge = Edge {
            from: from.clone(),
            to: to.clone(),
            what: Printable(what).to_string(),
            basis,
            at,
            said_by: said_by.to_vec(),
        };
        self.graph.edges.push(edge);
    }

    fn events(&mut self) {
        let mut alike: BTreeMap<(&str, &str), Vec<&EventRow>> = BTreeMap::new();
        for event in &self.detail.events {
            alike.entry((&event.system, &event.signature)).or_default().push(event);
        }
        let mut alike: Vec<_> = alike.into_values().collect();
        alike.sort_by_key(|it| it.first().map(|it| it.lsn));
        self.graph.left_out += alike.len().saturating_sub(EVENTS_MAX) as u64;
        for events in alike.into_iter().take(EVENTS_MAX) {
            let Some(first) = events.first() else { continue };
            let key = format!("event {} {}", first.system, first.signature);
            let Some(place) = self.node(key, Kind::Event, &first.signature) else {
                continue;
            };
            let said_by = [format!("event of frame {}", first.lsn)];
            let at = first.time.unwrap_or(first.received);
            let count = match events.len() {
                1 => String::new(),
                several => format!(", {several} times"),
            };
            let node = &mut self.graph.nodes[place];
            node.at = Some(at);
            node.facts = vec![format!("{} {}{count}", Printable(&first.system), first.severity)];
            if let Some(to) = &first.destination {
                node.facts.push(format!("against {}", Printable(to)));
            }
            node.said_by = said_by.to_vec();
            let sources: BTreeSet<IpAddr> = events.iter().filter_map(|it| address(&it.source)).collect();
            for ip in sources.into_iter().take(OF_ONE_MAX) {
                if let Some(from) = self.address(ip) {
                    self.edge((from, place), "named by", (Basis::Observed, Some(at)), &said_by);
                }
            }
        }
    }

    fn acts(&mut self) {
        let first = self.graph.nodes.iter().position(|it| it.kind == Kind::Event);
        self.graph.left_out += self.detail.transactions.len().saturating_sub(ACTS_MAX) as u64;
        for it in self.detail.transactions.iter().take(ACTS_MAX) {
            let label = format!("{} {}", it.id, it.kind);
            let Some(place) = self.node(format!("act {}", it.id), Kind::Act, &label) else {
                continue;
            };
            let said_by = [it.id.to_string()];
            let node = &mut self.graph.nodes[place];
            node.at = Some(it.in_force_at.unwrap_or(it.created));
            node.facts = vec![format!("{}: {}", it.state, Printable(&it.target))];
            node.facts
                .extend(it.reason.as_ref().map(|why| Printable(why).to_string()));
            node.said_by = said_by.to_vec();
            if it.in_force_at.is_some() {
                let id = node.id.clone();
                self.graph.contained_by.push(id);
            }
            if let Some(first) = first {
                let what = format!("matched {}", self.detail.incident.playbook);
                self.edge((first, place), &what, (Basis::Inferred, Some(it.created)), &said_by);
            }
            if let Some(target) = self.target(it) {
                let (what, basis, at) = match it.in_force_at {
                    Some(at) => ("contained by", Basis::Observed, at),
                    None => ("not contained", Basis::Inferred, it.updated),
                };
                self.edge((target, place), what, (basis, Some(at)), &said_by);
            }
        }
    }

    /// What a transaction is aimed at.
    fn target(&mut self, it: &TransactionRow) -> Option<usize> {
        match it.target.parse() {
            Ok(Target::Address(ip)) => self.address(ip.to_canonical()),
            Ok(Target::Process(process)) if process.is_identified() => self.process((process.pid, process.started)),
            Ok(Target::Account(name)) => self.account(name.as_str()),
            _ => self.node(format!("target {}", it.target), Kind::Target, &it.target),
        }
    }

    fn account(&mut self, name: &str) -> Option<usize> {
        self.node(format!("account {name}"), Kind::Account, name)
    }

    fn process(&mut self, key: ProcessKey) -> Option<usize> {
        let facts: &'a Facts = self.facts;
        let known = facts.processes.get(&key);
        let label = match known {
            Some(it) => format!("{} {}", key.0, it.name),
            None => key.0.to_string(),
        };
        let place = self.node(Self::name_of(key), Kind::Process, &label)?;
        if let Some(it) = known {
            let node = &mut self.graph.nodes[place];
            node.at = it.at;
            node.facts = told(it);
            node.said_by = it.said_by.clone();
        }
        Some(place)
    }

    fn processes(&mut self) {
        let facts = self.facts;
        let holds = |(ends, it): (&Ends, &'a Connection)| self.addresses.contains(&ends.2.0).then_some(&it.holders);
        let holders: BTreeSet<ProcessKey> = facts.connections.iter().filter_map(holds).flatten().copied().collect();
        let mut subjects: Vec<ProcessKey> = self.targets.iter().copied().collect();
        let asked = facts.processes.iter().filter(|it| it.1.is_subject).map(|it| *it.0);
        for key in holders.into_iter().chain(asked) {
            if !subjects.contains(&key) {
                subjects.push(key);
                if subjects.len() > SUBJECTS_MAX * 10 {
                    break;
                }
            }
        }
        self.graph.left_out += subjects.len().saturating_sub(SUBJECTS_MAX) as u64;
        for key in subjects.iter().take(SUBJECTS_MAX) {
            let Some(place) = self.process(*key) else { continue };
            if self.targets.contains(key)
                && let Some(event) = self.graph.nodes.iter().position(|it| it.kind == Kind::Event)
            {
                let at = self.graph.nodes[event].at;
                self.edge((place, event), "named by", (Basis::Inferred, at), &[]);
            }
            self.ancestors(*key, place);
        }
    }

    /// The chain of those that started it.
    fn ancestors(&mut self, key: ProcessKey, place: usize) {
        let mut chain = Vec::new();
        let mut at = key;
        while let Some(parent) = self.facts.parent_of(at) {
            if chain.len() == GENERATIONS_MAX || chain.contains(&parent) {
                break;
            }
            chain.push(parent);
            at = parent;
        }
        let folded = match chain.len() {
            0..=ANCESTORS_MAX => 0..0,
            // The oldest stays, and those nearest.
            long => ANCESTORS_MAX - 1..long - 1,
        };
        let mut child = (key, place);
        for (number, parent) in chain.iter().enumerate() {
            let count = folded.len();
            if folded.contains(&number) {
                if number + 1 == folded.end {
                    let label = format!("+{count} more processes");
                    let name = format!("more ancestors {} {}", child.0.0, child.0.1);
                    let Some(more) = self.node(name, Kind::More, &label) else {
                        return;
                    };
                    self.edge((more, child.1), STARTED, (Basis::Inferred, None), &[]);
                    child = (*parent, more);
                }
                continue;
            }
            let Some(place) = self.process(*parent) else { return };
            // Who has lost its parent is given to the first process, or to one that asked for that.
            let basis = if parent.0 == 1 {
                Basis::Inferred
            } else {
                Basis::Observed
            };
            let started = self.facts.processes.get(&child.0);
            let at = started.and_then(|it| it.at);
            let said_by = started.map(|it| it.parent_said_by.clone()).unwrap_or_default();
            self.edge((place, child.1), STARTED, (basis, at), &said_by);
            child = (*parent, place);
        }
    }

    fn logins(&mut self) {
        let facts = self.facts;
        let mut found = 0;
        for it in &facts.logins {
            let mut by = facts.processes.range((it.pid, 0)..=(it.pid, u64::MAX));
            // A process that started later has only got the number.
            let process = by.rfind(|found| found.1.at.is_some_and(|at| at <= it.at));
            let process = process.and_then(|found| self.places.get(&Self::name_of(*found.0)).copied());
            let from = it.from.map(|ip| ip.to_canonical());
            let concerns = from.is_some_and(|ip| self.addresses.contains(&ip))
                || self.accounts.contains(&it.user)
                || process.is_some();
            if !concerns {
                continue;
            }
            found += 1;
            if found > LOGINS_MAX {
                self.graph.left_out += 1;
                continue;
            }
            let Some(place) = self.account(&it.user) else { continue };
            let said_by = [it.said_by.clone()];
            let node = &mut self.graph.nodes[place];
            node.at = Some(node.at.map_or(it.at, |at| at.min(it.at)));
            add(&mut node.facts, &format!("terminal {}", it.line));
            add(&mut node.said_by, &it.said_by);
            if let Some(from) = from.and_then(|ip| self.address(ip)) {
                self.edge((from, place), LOGGED_IN, (Basis::Observed, Some(it.at)), &said_by);
            }
            if let Some(process) = process {
                self.edge((place, process), "session of", (Basis::Inferred, Some(it.at)), &said_by);
            }
        }
    }

    fn say_what_is_missing(&mut self) {
        // What is sealed and was not read is named with its reason.
        let unread = &self.facts.unread_kinds;
        let has = |kind| self.facts.kinds.contains(&kind) || unread.contains(&kind);
        let mut say = |what: &str| self.graph.missing.push(what.to_owned());
        if self.facts.kinds.is_empty() && !unread.is_empty() {
            say("none of the sealed evidence was read: this is what the events alone tell");
        } else if self.facts.kinds.is_empty() {
            say("no evidence of processes, connections or logins is sealed: this is what the events alone tell");
        } else {
            if !has(EvidenceKind::Processes) {
                say("`processes` is not sealed: who started what is known only within what is");
            }
            if !has(EvidenceKind::Process) {
                say("`process` is not sealed: hashes of programs and open files are not known");
            }
            if !has(EvidenceKind::Sockets) && !has(EvidenceKind::Flows) {
                say("neither `sockets` nor `flows` is sealed: connections are not known");
            }
        }
        let parts = self.facts.unread;
        if parts > 0 {
            say(&format!(
                "{parts} parts of the evidence have a form that is not known, and are passed over"
            ));
        }
        let unseen = self
            .detail
            .incident
            .events
            .saturating_sub(self.detail.events.len() as u64);
        if unseen > 0 {
            say(&format!("{unseen} later events are not in the index, and not here"));
        }
    }
}

fn told(it: &ProcessFacts) -> Vec<String> {
    let mut told = Vec::new();
    told.extend(it.program.clone());
    told.extend(it.sha256.as_ref().map(|hash| format!("SHA-256 {hash}")));
    told.extend(it.user.as_ref().map(|user| format!("user {user}")));
    told
}

fn address(ip: &Option<String>) -> Option<IpAddr> {
    ip.as_ref()?.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}
