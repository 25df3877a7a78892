//! Where the story begins, as far as facts tell.
//!
//! That one process started another is no reason to call it a cause: everything was started by something that has run
//! since the machine booted. A cause is what the incident is about by itself: what an event names or an act was aimed
//! at, who holds a connection to an address of it, that connection, or who logged in when it began.

use std::collections::BTreeSet;

use staunch_model::{Span, Timestamp};

use super::super::{Kind, Node};
use super::{Build, LOGGED_IN, STARTED};

/// How long before the first event what a process or a login did may belong to the incident. A timeline shows as much
/// before an incident by default.
const BEFORE: Span = Span::from_hours(1);

impl Build<'_> {
    /// The oldest of what the incident is about, and from which an act is reached, but for what another of these led
    /// to.
    pub(super) fn find_first_cause(&mut self) {
        let since = self.since();
        let next = self.next();
        let is_act = |place: &usize| self.graph.nodes[*place].kind == Kind::Act;
        let about: BTreeSet<usize> = self.about(since);
        // What each of these led to.
        let led: Vec<(usize, BTreeSet<usize>)> = about
            .iter()
            .map(|place| (*place, reached(*place, &next)))
            .filter(|(_, it)| it.iter().any(is_act))
            .collect();
        // Of what led to each other, none led the way.
        let is_begun = |(place, it): &&(usize, BTreeSet<usize>)| {
            !led.iter()
                .any(|(other, others)| others.contains(place) && !it.contains(other))
        };
        let begun = led.iter().filter(is_begun).map(|(place, _)| &self.graph.nodes[*place]);
        let timed = begun.map(|it| (self.began(it, since), it));
        let first = timed.min_by_key(|(at, _)| (at.is_none(), *at));
        self.graph.first_cause = first.map(|(_, it)| it.id.clone());
    }

    /// The oldest process of which it is known that it started others, unless it is the first cause.
    pub(super) fn find_oldest_ancestor(&mut self) {
        let graph = &self.graph;
        let has = |it: &Node, end: fn(&super::Edge) -> &String| {
            let mut edges = graph.edges.iter();
            edges.any(|edge| edge.what == STARTED && *end(edge) == it.id)
        };
        let ancestors = graph
            .nodes
            .iter()
            .filter(|it| it.kind == Kind::Process && has(it, |edge| &edge.from) && !has(it, |edge| &edge.to));
        let oldest = ancestors.min_by_key(|it| (it.at.is_none(), it.at));
        let oldest = oldest.map(|it| it.id.clone());
        self.graph.oldest_ancestor = oldest.filter(|it| Some(it) != graph.first_cause.as_ref());
    }

    /// From when on what happened may belong to the incident.
    fn since(&self) -> Timestamp {
        let events = self.detail.events.iter().map(|it| it.time.unwrap_or(it.received));
        let first = events.chain([self.detail.incident.opened]).min();
        first.unwrap_or(self.detail.incident.opened) - BEFORE
    }

    /// The places of what the incident is about by itself.
    fn about(&self, since: Timestamp) -> BTreeSet<usize> {
        let is_ours = |ip| self.addresses.contains(ip);
        let mut names: Vec<String> = self.targets.iter().map(|key| Self::name_of(*key)).collect();
        names.extend(self.addresses.iter().map(|ip| format!("address {ip}")));
        names.extend(self.accounts.iter().map(|name| format!("account {name}")));
        for (ends, it) in &self.facts.connections {
            if is_ours(&ends.1.0) || is_ours(&ends.2.0) {
                names.push(Self::name_of_connection(ends));
            }
            // Who serves at an address of the incident did not begin to.
            if is_ours(&ends.2.0) {
                names.extend(it.holders.iter().map(|key| Self::name_of(*key)));
            }
        }
        let named = names.iter().filter_map(|it| self.places.get(it)).copied();
        let nodes = self.graph.nodes.iter().enumerate();
        let always = nodes.filter(|(_, it)| matches!(it.kind, Kind::Event | Kind::Target));
        let always = always.map(|(place, _)| place);
        let place = |id: &String| self.graph.nodes.iter().position(|it| it.id == *id);
        let logins = self.graph.edges.iter().filter(|it| it.what == LOGGED_IN);
        let logins = logins.filter(|it| it.at.is_some_and(|at| at >= since));
        let logins = logins.filter_map(|it| place(&it.from));
        let accounts = self.graph.nodes.iter().enumerate();
        let accounts = accounts.filter(|(_, it)| it.kind == Kind::Account && it.at.is_some_and(|at| at >= since));
        let accounts = accounts.map(|(place, _)| place);
        named.chain(always).chain(logins).chain(accounts).collect()
    }

    /// When what `node` stands for began to belong to the incident: its own time, or else when it first did something
    /// that is known. What was there long before has only done something.
    fn began(&self, node: &Node, since: Timestamp) -> Option<Timestamp> {
        let was_there = matches!(node.kind, Kind::Process | Kind::Account);
        let own = node.at.filter(|at| !was_there || *at >= since);
        let edges = self.graph.edges.iter().filter(|edge| edge.from == node.id);
        own.or_else(|| edges.filter_map(|edge| edge.at).min())
    }

    /// The places that each place led to.
    fn next(&self) -> Vec<Vec<usize>> {
        let nodes = self.graph.nodes.iter().enumerate();
        let places: std::collections::BTreeMap<&str, usize> = nodes.map(|(at, it)| (&*it.id, at)).collect();
        let mut next = vec![Vec::new(); self.graph.nodes.len()];
        for edge in &self.graph.edges {
            if let (Some(from), Some(to)) = (places.get(&*edge.from), places.get(&*edge.to)) {
                next[*from].push(*to);
            }
        }
        next
    }
}

/// All that is reached from `place`, which is not among it unless a way leads back.
fn reached(place: usize, next: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut ways = next[place].clone();
    while let Some(at) = ways.pop() {
        if reached.insert(at) {
            ways.extend(&next[at]);
        }
    }
    reached
}
