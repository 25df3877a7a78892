//! Lists of protected networks that files keep: what each says, and the parts in which a list becomes another.
//!
//! They add to the policy's protected networks and never take anything away from them. A list is a part of the state
//! and not of the policy: the policy changes with every management session, and 100,000 networks are not written down
//! each time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use staunch_model::{ListChange, ListedNetwork, Prefixes, Printable, Record};

use crate::limits;
use crate::networks::canonical;
use crate::turn::Turn;

/// What one file lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    reason: Box<str>,
    networks: BTreeMap<IpNet, Entry>,
}

/// Where a network is listed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    line: u32,
    reason: Option<Box<str>>,
}

impl List {
    /// The list of `networks`, protected for `reason` where a line gives none. Of equal networks the first holds.
    #[must_use]
    pub fn new(reason: &str, networks: impl IntoIterator<Item = ListedNetwork>) -> Self {
        let mut list = Self {
            reason: reason.into(),
            networks: BTreeMap::new(),
        };
        for it in networks {
            let entry = Entry {
                line: it.line,
                reason: it.reason,
            };
            list.networks.entry(canonical(it.network)).or_insert(entry);
        }
        list
    }

    /// How many networks it lists.
    #[must_use]
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// True when it lists nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// Why what it lists is protected, where a line gives no reason of its own.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What it lists, by network: network, line and reason.
    pub fn networks(&self) -> impl Iterator<Item = (IpNet, u32, &str)> {
        let entries = self.networks.iter();
        entries.map(|(network, entry)| (*network, entry.line, self.reason_of(entry)))
    }

    fn reason_of<'a>(&'a self, entry: &'a Entry) -> &'a str {
        entry.reason.as_deref().unwrap_or(&self.reason)
    }
}

/// What makes `after` out of `before` under the name `list`, in parts of a bounded size: first what is added, then what
/// is removed, so that what both protect is protected throughout. Nothing when they are the same.
#[must_use]
pub fn changes(list: &str, before: Option<&List>, after: Option<&List>) -> Vec<ListChange> {
    let nothing = List::default();
    let (old, new) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    // A list that is no longer there keeps its reason until its last network has gone.
    let reason = after.or(before).map_or("", |it| &*it.reason);
    let part = || ListChange {
        list: list.into(),
        reason: reason.into(),
        added: Vec::new(),
        removed: Vec::new(),
    };
    let mut parts = Vec::new();
    let mut next = part();
    let mut bytes = 0;
    for (network, entry) in &new.networks {
        if old.networks.get(network) == Some(entry) {
            continue;
        }
        let added = ListedNetwork {
            network: *network,
            line: entry.line,
            reason: entry.reason.clone(),
        };
        bytes += added.reason.as_deref().map_or(0, str::len);
        next.added.push(added);
        if next.added.len() >= limits::LIST_CHANGE_NETWORKS_MAX || bytes >= limits::LIST_CHANGE_TEXT_BYTES_MAX {
            parts.push(std::mem::replace(&mut next, part()));
            bytes = 0;
        }
    }
    for network in old.networks.keys().filter(|it| !new.networks.contains_key(it)) {
        next.removed.push(*network);
        if next.added.len() + next.removed.len() >= limits::LIST_CHANGE_NETWORKS_MAX {
            parts.push(std::mem::replace(&mut next, part()));
        }
    }
    let only_reason = parts.is_empty() && !old.is_empty() && *old.reason != *reason;
    if !next.added.is_empty() || !next.removed.is_empty() || only_reason {
        parts.push(next);
    }
    parts
}

/// What makes several lists others. A network that goes from one to another is protected throughout when all of `first`
/// is in force before any of `then`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What takes nothing away.
    pub first: Vec<ListChange>,
    /// What is removed.
    pub then: Vec<ListChange>,
}

impl Changes {
    /// Also makes `after` out of `before` under the name `list`.
    pub fn add(&mut self, list: &str, before: Option<&List>, after: Option<&List>) {
        for mut part in changes(list, before, after) {
            let removing = ListChange {
                list: part.list.clone(),
                reason: part.reason.clone(),
                added: Vec::new(),
                removed: std::mem::take(&mut part.removed),
            };
            let has_removed = !removing.removed.is_empty();
            // One that does neither changes the reason.
            if !part.added.is_empty() || !has_removed {
                self.first.push(part);
            }
            if has_removed {
                self.then.push(removing);
            }
        }
    }

    /// All parts, in their order.
    pub fn in_order(self) -> impl Iterator<Item = ListChange> {
        self.first.into_iter().chain(self.then)
    }
}

/// The lists in force, by the paths of their files. One that lists nothing is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lists(BTreeMap<Box<str>, List>);

/// Where a protected network is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The network.
    pub network: IpNet,
    /// The path of the file.
    pub list: &'a str,
    /// The line.
    pub line: u32,
    /// Why.
    pub reason: &'a str,
}

impl Found<'_> {
    /// Why it is protected, and where that is written. Safe to show.
    #[must_use]
    pub fn why(&self) -> String {
        format!(
            "{} ({}, line {})",
            Printable(self.reason),
            Printable(self.list),
            self.line
        )
    }
}

impl Lists {
    /// The list of the file at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&List> {
        self.0.get(path)
    }

    /// All of them, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &List)> {
        self.0.iter().map(|(path, list)| (&**path, list))
    }

    /// Every network of every list.
    pub fn all(&self) -> impl Iterator<Item = Found<'_>> {
        self.0.iter().flat_map(|(path, list)| {
            let found = move |(network, line, reason)| Found {
                network,
                list: path,
                line,
                reason,
            };
            list.networks().map(found)
        })
    }

    /// What is listed above `network`, or all of it: of each list in the order of its networks, list by list.
    pub fn above(&self, network: Option<IpNet>) -> impl Iterator<Item = impl Iterator<Item = Found<'_>>> {
        let from = network.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.iter().map(move |(path, list)| {
            let entries = list.networks.range((from, Bound::Unbounded));
            entries.map(move |(network, entry)| Found {
                network: *network,
                list: path,
                line: entry.line,
                reason: list.reason_of(entry),
            })
        })
    }

    /// Where exactly `network` is listed, by path.
    pub fn at(&self, network: IpNet) -> impl Iterator<Item = Found<'_>> {
        self.0.iter().filter_map(move |(path, list)| {
            let entry = list.networks.get(&network)?;
            Some(Found {
                network,
                list: path,
                line: entry.line,
                reason: list.reason_of(entry),
            })
        })
    }

    /// The first place where exactly `network` is listed.
    #[must_use]
    pub fn find(&self, network: IpNet) -> Option<Found<'_>> {
        self.at(network).next()
    }

    pub(crate) fn change(&mut self, change: &ListChange) {
        let list = self.0.entry(change.list.clone()).or_default();
        list.reason.clone_from(&change.reason);
        for it in &change.added {
            let entry = Entry {
                line: it.line,
                reason: it.reason.clone(),
            };
            list.networks.insert(it.network, entry);
        }
        for network in &change.removed {
            list.networks.remove(network);
        }
        if list.is_empty() {
            self.0.remove(&change.list);
        }
    }
}

/// Every network of all lists, to be asked for the narrowest around an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedNetworks {
    networks: Box<[IpNet]>,
    prefixes: Prefixes,
}

impl ListedNetworks {
    /// Those of `lists`.
    #[must_use]
    pub fn of(lists: &Lists) -> Self {
        let all = lists.0.values().flat_map(|list| list.networks.keys().copied());
        let networks: Box<[IpNet]> = all.collect();
        let prefixes = Prefixes::new(&networks);
        Self { networks, prefixes }
    }

    /// The narrowest network around `ip`.
    #[must_use]
    pub fn longest_match(&self, ip: IpAddr) -> Option<IpNet> {
        self.networks.get(self.prefixes.longest_match(ip)?).copied()
    }
}

impl Turn<'_> {
    /// A list has changed.
    pub(crate) fn on_listed(&mut self, change: &Arc<ListChange>) {
        let record = Record::ListChanged(change.clone());
        if change.added.is_empty() {
            self.put(record);
        } else {
            self.put_protecting(record);
        }
    }
}
