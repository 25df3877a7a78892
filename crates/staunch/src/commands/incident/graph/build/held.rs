//! What processes hold: connections, and files.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::facts::{Began, Connection, Ends, add};
use super::super::{Basis, Kind};
use super::{Build, OF_ONE_MAX};

impl Build<'_> {
    pub(super) fn connections(&mut self) {
        let facts = self.facts;
        let mut of: BTreeMap<Option<usize>, Vec<(&Ends, &Connection)>> = BTreeMap::new();
        for (ends, it) in &facts.connections {
            let held = it
                .holders
                .iter()
                .filter_map(|key| self.places.get(&format!("process {} {}", key.0, key.1)));
            let mut is_held = false;
            for holder in held {
                of.entry(Some(*holder)).or_default().push((ends, it));
                is_held = true;
            }
            if !is_held && [ends.1.0, ends.2.0].iter().any(|ip| self.addresses.contains(ip)) {
                of.entry(None).or_default().push((ends, it));
            }
        }
        for (process, mut all) in of {
            all.sort_by_key(|(ends, _)| (!self.addresses.contains(&ends.2.0), *ends));
            let more = all.len().saturating_sub(OF_ONE_MAX);
            for (ends, it) in all.iter().take(OF_ONE_MAX) {
                self.connection(process, ends, it);
            }
            self.more(process, more, "connections");
        }
    }

    fn connection(&mut self, process: Option<usize>, ends: &Ends, it: &Connection) {
        let (protocol, here, there) = ends;
        let key = format!("connection {protocol} {here:?} {there:?}");
        let label = format!("{protocol} {}", it.state);
        let Some(place) = self.node(key, Kind::Connection, &label) else {
            return;
        };
        let is_in = match it.began {
            Some(began) => began == Began::There,
            None => self.facts.listened.contains(&(protocol.clone(), here.1)),
        };
        // The sockets tell of both ends, and not of who began.
        let basis = if it.began.is_some() {
            Basis::Observed
        } else {
            Basis::Inferred
        };
        let node = &mut self.graph.nodes[place];
        let (from, to) = if is_in { (there, here) } else { (here, there) };
        node.facts = vec![format!("from {}", end(*from)), format!("to {}", end(*to))];
        node.said_by = it.said_by.clone();
        if let Some(peer) = self.address(there.0) {
            let (way, what) = if is_in {
                ((peer, place), "connected from")
            } else {
                ((place, peer), "connected to")
            };
            self.edge(way, what, (basis, it.seen), &it.said_by);
        }
        match process {
            Some(process) if is_in => {
                self.edge((place, process), "held by", (Basis::Observed, it.seen), &it.said_by);
            }
            Some(process) => self.edge((process, place), "holds", (Basis::Observed, it.seen), &it.said_by),
            None => {}
        }
    }

    pub(super) fn files(&mut self) {
        let facts = self.facts;
        for (key, it) in &facts.processes {
            let Some(process) = self.places.get(&format!("process {} {}", key.0, key.1)).copied() else {
                continue;
            };
            for file in it.files.iter().take(OF_ONE_MAX) {
                let Some(place) = self.node(format!("file {}", file.path), Kind::File, &file.path) else {
                    continue;
                };
                add(&mut self.graph.nodes[place].said_by, &file.said_by);
                let what = if file.is_written {
                    "has open to write"
                } else {
                    "has open to read"
                };
                let said_by = std::slice::from_ref(&file.said_by);
                self.edge((process, place), what, (Basis::Observed, None), said_by);
            }
            self.more(Some(process), it.files.len().saturating_sub(OF_ONE_MAX), "files");
        }
    }

    /// What is folded.
    fn more(&mut self, of: Option<usize>, count: usize, what: &str) {
        if count == 0 {
            return;
        }
        let key = format!("more {what} {of:?}");
        let made = self.node(key, Kind::More, &format!("+{count} more {what}"));
        match (of, made) {
            (Some(of), Some(made)) => self.edge((of, made), "holds", (Basis::Observed, None), &[]),
            (None, Some(_)) => {}
            (_, None) => self.graph.left_out += count as u64 - 1,
        }
    }
}

/// An address with its port.
fn end((ip, port): (IpAddr, u16)) -> String {
    std::net::SocketAddr::new(ip, port).to_string()
}
