//! What processes hold: connections, and files.

use std::collections::BTreeMap;
use std::net::IpAddr;

use staunch_model::Timestamp;

use super::super::facts::{Began, Connection, Ends, Facts, ProcessKey, add};
use super::super::{Basis, Kind};
use super::{Build, OF_ONE_MAX};

/// A connection as it is drawn. One within this host has a socket at each of its ends, and is one.
#[derive(Clone, Copy)]
struct Drawn<'a> {
    /// The end that is drawn: of two, that which began, as far as that is known.
    ends: &'a Ends,
    near: &'a Connection,
    far: Option<&'a Connection>,
}

/// Which end of a connection a process holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Near,
    Far,
}

impl<'a> Drawn<'a> {
    /// `None` for an end that is drawn with the other one.
    fn of(ends: &'a Ends, facts: &'a Facts) -> Option<Self> {
        let near = facts.connections.get(ends)?;
        let (protocol, here, there) = ends;
        let mirrored = (protocol.clone(), *there, *here);
        let far = facts.connections.get(&mirrored).filter(|_| here != there);
        let Some(other) = far else {
            return Some(Self { ends, near, far });
        };
        let is_listened = |port: u16| facts.listened.contains(&(protocol.clone(), port));
        let began = match (near.began, other.began) {
            (Some(began), _) => Some(began),
            (None, Some(Began::Here)) => Some(Began::There),
            (None, Some(Began::There)) => Some(Began::Here),
            (None, None) => match (is_listened(here.1), is_listened(there.1)) {
                (false, true) => Some(Began::Here),
                (true, false) => Some(Began::There),
                _ => None,
            },
        };
        let is_drawn = began.map_or(here < there, |it| it == Began::Here);
        is_drawn.then_some(Self { ends, near, far })
    }

    fn holders(self) -> impl Iterator<Item = (ProcessKey, Side)> {
        let near = self.near.holders.iter().map(|it| (*it, Side::Near));
        let far = self.far.into_iter().flat_map(|it| &it.holders);
        near.chain(far.map(|it| (*it, Side::Far)))
    }

    /// The kernel tracked who began.
    fn is_tracked(self) -> bool {
        self.near.began.is_some() || self.far.is_some_and(|it| it.began.is_some())
    }

    /// When it was first seen.
    fn seen(self) -> Option<Timestamp> {
        let far = self.far.and_then(|it| it.seen);
        [self.near.seen, far].into_iter().flatten().min()
    }

    fn said_by(self) -> Vec<String> {
        let mut said_by = self.near.said_by.clone();
        let far = self.far.into_iter().flat_map(|it| &it.said_by);
        far.for_each(|it| add(&mut said_by, it));
        said_by
    }

    fn label(self) -> String {
        let (protocol, near) = (&self.ends.0, &self.near.state);
        match self.far.map(|it| &it.state).filter(|far| *far != near) {
            Some(far) => format!("{protocol} {near}, {far}"),
            None => format!("{protocol} {near}"),
        }
    }
}

impl Build<'_> {
    /// What a connection is called among the places.
    pub(super) fn name_of_connection((protocol, here, there): &Ends) -> String {
        format!("connection {protocol} {here:?} {there:?}")
    }

    pub(super) fn connections(&mut self) {
        let facts = self.facts;
        let mut of: BTreeMap<Option<usize>, Vec<(Drawn<'_>, Side)>> = BTreeMap::new();
        for drawn in facts.connections.keys().filter_map(|ends| Drawn::of(ends, facts)) {
            let mut is_held = false;
            for (key, side) in drawn.holders() {
                if let Some(holder) = self.places.get(&Self::name_of(key)) {
                    of.entry(Some(*holder)).or_default().push((drawn, side));
                    is_held = true;
                }
            }
            if !is_held && self.is_about(drawn.ends) {
                of.entry(None).or_default().push((drawn, Side::Near));
            }
        }
        for (process, mut all) in of {
            all.sort_by_key(|(it, _)| (!self.is_about(it.ends), it.ends));
            let more = all.len().saturating_sub(OF_ONE_MAX);
            for (drawn, side) in all.iter().take(OF_ONE_MAX) {
                self.connection(process.map(|it| (it, *side)), *drawn);
            }
            self.more(process, more, "connections");
        }
    }

    /// Whether one of the ends is an address of the incident.
    fn is_about(&self, ends: &Ends) -> bool {
        [ends.1.0, ends.2.0].iter().any(|ip| self.addresses.contains(ip))
    }

    fn connection(&mut self, process: Option<(usize, Side)>, drawn: Drawn<'_>) {
        let ends @ (protocol, here, there) = drawn.ends;
        let Some(place) = self.node(Self::name_of_connection(ends), Kind::Connection, &drawn.label()) else {
            return;
        };
        let is_in = drawn.far.is_none()
            && match drawn.near.began {
                Some(began) => began == Began::There,
                None => self.facts.listened.contains(&(protocol.clone(), here.1)),
            };
        // The sockets tell of both ends, and not of who began.
        let basis = if drawn.is_tracked() {
            Basis::Observed
        } else {
            Basis::Inferred
        };
        let (seen, said_by) = (drawn.seen(), drawn.said_by());
        let (from, to) = if is_in { (there, here) } else { (here, there) };
        let node = &mut self.graph.nodes[place];
        node.facts = vec![format!("from {}", end(*from)), format!("to {}", end(*to))];
        node.said_by = said_by.clone();
        // The address of this end stands in the picture only when the incident is about it.
        let is_shown = |ip: &IpAddr, is_peer: bool| is_peer || self.addresses.contains(ip);
        // One that leads to where it came from is drawn to where it leads.
        let is_own = from.0 == to.0;
        let shown_from = is_shown(&from.0, is_in) && (is_in || !is_own);
        let shown_to = is_shown(&to.0, !is_in) && !(is_in && is_own);
        if shown_from && let Some(from) = self.address(from.0) {
            self.edge((from, place), "connected from", (basis, seen), &said_by);
        }
        if shown_to && let Some(to) = self.address(to.0) {
            self.edge((place, to), "connected to", (basis, seen), &said_by);
        }
        let held = (Basis::Observed, seen);
        match process {
            Some((process, Side::Near)) if !is_in => self.edge((process, place), "holds", held, &said_by),
            Some((process, _)) => self.edge((place, process), "held by", held, &said_by),
            None => {}
        }
    }

    pub(super) fn files(&mut self) {
        let facts = self.facts;
        for (key, it) in &facts.processes {
            let Some(process) = self.places.get(&Self::name_of(*key)).copied() else {
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
