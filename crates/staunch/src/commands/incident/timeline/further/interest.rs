//! What an incident is about, and when it was: what of a log belongs to it.
//!
//! The address that was attacked is most often that of a server, which half of the lines of any log name. It alone says
//! nothing, but for what happened with it beside an event of the incident.

use std::collections::BTreeSet;
use std::net::IpAddr;

use staunch_connectors::logs::Parties;
use staunch_model::{Span, Target, Timestamp};
use staunch_server::dto::IncidentDetail;

use super::Window;

/// Letters that a name may have; what stands between others is a word.
const OF_NAMES: [char; 8] = ['-', '_', '.', '@', '/', ':', '+', '$'];

/// How near to an event of the incident something has to be that names only the attacked side: a client, a proxy and a
/// sensor tell of one request within seconds, and a minute has what came of it.
pub(super) const NEAR: Span = Span::from_secs(60);

/// How something is about the incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// It names who attacked, or what an act or evidence was aimed at.
    Incident,
    /// It names nobody of the incident but the side that was attacked.
    AttackedSide,
    Others,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Interest {
    pub(super) window: Window,
    /// When the incident began.
    pub(super) around: Timestamp,
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Those that were attacked, and that nothing was aimed at.
    attacked: BTreeSet<IpAddr>,
    /// When its events happened and were received, in order.
    events: Vec<Timestamp>,
    /// Accounts and hosts, in small letters.
    pub(super) names: BTreeSet<String>,
    /// Domains with everything below them, in small letters.
    domains: Vec<String>,
    pub(super) pids: BTreeSet<u32>,
}

impl Interest {
    /// What `detail` is about: what its events name, what acts were aimed at, and what evidence was taken of.
    pub(super) fn of(detail: &IncidentDetail, before: Span, after: Span, all: bool) -> Self {
        let it = &detail.incident;
        let times = detail.timeline.iter().map(|it| it.at);
        let times = times.chain(detail.events.iter().map(|it| it.received));
        let times = times.chain(detail.commands.iter().map(|it| it.at));
        let (mut begin, mut end) = (it.opened, it.closed.unwrap_or(it.opened));
        for at in times {
            begin = begin.min(at);
            end = end.max(at);
        }
        let mut interest = Self {
            window: Window {
                from: begin - before,
                to: end + after,
                all,
            },
            around: begin,
            addresses: BTreeSet::new(),
            attacked: BTreeSet::new(),
            events: Vec::new(),
            names: BTreeSet::new(),
            domains: Vec::new(),
            pids: BTreeSet::new(),
        };
        let address = |it: &Option<String>| Some(it.as_ref()?.parse::<IpAddr>().ok()?.to_canonical());
        let attackers = detail.events.iter().map(|it| &it.source).chain([&it.source]);
        interest.addresses.extend(attackers.filter_map(address));
        let happened = detail.events.iter().flat_map(|it| [it.time, Some(it.received)]);
        interest.events = happened.flatten().collect();
        interest.events.sort();
        let acts = detail.transactions.iter().map(|it| it.target.as_str());
        let evidence = detail.evidence.iter().filter_map(|it| it.target.as_deref());
        for text in acts.chain(evidence).chain([it.key.as_str()]) {
            match text.parse::<Target>() {
                Ok(target) => interest.add(&target),
                // A key may be the name of an account or of a host.
                Err(_) if text == it.key && !text.contains(char::is_whitespace) && text.len() > 2 => {
                    interest.names.insert(text.to_lowercase());
                }
                Err(_) => {}
            }
        }
        let attacked = detail.events.iter().map(|it| &it.destination).chain([&it.destination]);
        let attacked = attacked
            .filter_map(address)
            .filter(|it| !interest.addresses.contains(it));
        interest.attacked = attacked.collect();
        interest
    }

    /// An incident that is about nothing.
    #[cfg(test)]
    pub(super) fn nothing() -> Self {
        Self {
            window: Window {
                from: Timestamp::EPOCH,
                to: Timestamp::EPOCH,
                all: false,
            },
            around: Timestamp::EPOCH,
            addresses: BTreeSet::new(),
            attacked: BTreeSet::new(),
            events: Vec::new(),
            names: BTreeSet::new(),
            domains: Vec::new(),
            pids: BTreeSet::new(),
        }
    }

    fn add(&mut self, target: &Target) {
        match target {
            Target::Address(ip) => {
                self.addresses.insert(ip.to_canonical());
            }
            Target::Process(it) => {
                self.pids.insert(it.pid);
            }
            Target::Account(name) => {
                self.names.insert(name.as_str().to_lowercase());
            }
            Target::Host(name) => {
                self.names.insert(name.as_str().to_lowercase());
            }
            Target::Domain(name) => self.domains.push(name.as_str().to_lowercase()),
            Target::Job(_) => {}
        }
    }

    pub(super) fn is_within(&self, at: Timestamp) -> bool {
        self.window.from <= at && at <= self.window.to
    }

    /// How what these took part in is about the incident.
    pub(super) fn about(&self, parties: &Parties) -> About {
        let is_of_incident = self.window.all
            || parties.addresses.iter().any(|it| self.addresses.contains(it))
            || self.mentioned(parties).is_some()
            || parties.pids.iter().any(|it| self.pids.contains(it))
            || parties.names.iter().any(|it| self.is_named(it))
            || parties.text.as_ref().is_some_and(|text| self.is_in(text));
        if is_of_incident {
            About::Incident
        } else if parties
            .addresses
            .iter()
            .chain(&parties.mentions)
            .any(|it| self.attacked.contains(it))
        {
            About::AttackedSide
        } else {
            About::Others
        }
    }

    /// The first address of the incident that stands anywhere in what is said.
    pub(super) fn mentioned(&self, parties: &Parties) -> Option<IpAddr> {
        parties.mentions.iter().find(|it| self.addresses.contains(it)).copied()
    }

    /// Whether `at` is beside an event of the incident.
    pub(super) fn is_near(&self, at: Timestamp) -> bool {
        let first = self.events.partition_point(|it| *it + NEAR < at);
        self.events.get(first).is_some_and(|it| *it <= at + NEAR)
    }

    fn is_named(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_lowercase();
        self.names.contains(&name) || self.domains.iter().any(|domain| is_below(&name, domain))
    }

    /// Whether a name of the incident stands in a text as a word.
    fn is_in(&self, text: &str) -> bool {
        if self.names.is_empty() && self.domains.is_empty() {
            return false;
        }
        let words = text.split(|c: char| !c.is_alphanumeric() && !OF_NAMES.contains(&c));
        let parts = words.flat_map(|word| {
            let bare = word.trim_matches(OF_NAMES);
            // `alice@web`, `/home/alice`, `user:alice`.
            [word, bare].into_iter().chain(bare.split(['@', '/', ':']))
        });
        parts.filter(|it| !it.is_empty()).any(|it| self.is_named(it))
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
