//! A feed that is asked about addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use staunch_model::{Prefixes, Reputation, Score, Span, Timestamp};

use super::{Entry, Reading};

/// What a feed's word counts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What it is called.
    pub name: Box<str>,
    /// The score of what it names.
    pub score: Score,
    /// How sure it is, in percent, where it does not say so itself.
    pub confidence: u8,
    /// How long it counts where it does not say so itself.
    pub lasts: Span,
}

/// What a feed says, to be asked many times.
#[derive(Clone, Debug)]
pub struct FeedTable {
    terms: Terms,
    entries: Box<[Entry]>,
    prefixes: Prefixes,
    /// For each entry, the one of the narrowest network that is wider.
    wider: Box<[Option<u32>]>,
    /// When the feed was made, as it says, or fetched.
    made: Timestamp,
    fetched: Timestamp,
}

impl FeedTable {
    /// The table of `reading`, which was fetched at `fetched` and counts by `terms`. What has expired by `now` is left
    /// out; of equal networks the one that lasts longest holds, of those that have begun by `now` if there are any.
    #[must_use]
    pub fn new(terms: Terms, reading: Reading, fetched: Timestamp, now: Timestamp) -> Self {
        // A feed that says it was made later than it came says nothing.
        let made = reading.as_of.unwrap_or(fetched).min(fetched);
        let mut entries = reading.entries;
        let ends = |it: &Entry| it.expires.unwrap_or(fetched + terms.lasts);
        entries.retain(|it| now < ends(it));
        entries.sort_by_key(|it| (!it.has_begun(now), std::cmp::Reverse(ends(it))));
        let networks: Vec<_> = entries.iter().map(|it| it.network).collect();
        let prefixes = Prefixes::new(&networks);
        Self {
            terms,
            wider: wider(&networks),
            entries: entries.into(),
            prefixes,
            made,
            fetched,
        }
    }

    /// What the feed says of `ip`, by the narrowest network that it names around it and that has begun and not expired
    /// at `now`.
    #[must_use]
    pub fn find(&self, ip: IpAddr, now: Timestamp) -> Option<Reputation> {
        let mut at = self.prefixes.longest_match(ip);
        while let Some(found) = at {
            let entry = self.entries.get(found)?;
            let reputation = self.reputation(entry);
            if entry.has_begun(now) && reputation.counts_at(now) {
                return Some(reputation);
            }
            at = self.wider.get(found)?.and_then(|it| usize::try_from(it).ok());
        }
        None
    }

    fn reputation(&self, entry: &Entry) -> Reputation {
        Reputation {
            score: self.terms.score,
            confidence: entry.confidence.unwrap_or(self.terms.confidence),
            feed: self.terms.name.clone(),
            network: entry.network,
            label: entry.label.clone(),
            as_of: entry.as_of.unwrap_or(self.made),
            expires: entry.expires.unwrap_or(self.fetched + self.terms.lasts),
        }
    }

    /// How many networks it names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when it names nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When it was fetched.
    #[must_use]
    pub fn fetched(&self) -> Timestamp {
        self.fetched
    }

    /// True when it was fetched so long ago that what it does not name says nothing any more.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.fetched + self.terms.lasts
    }
}

/// For each of `networks` the position of the narrowest one that is wider; of equal ones that of the first.
fn wider(networks: &[IpNet]) -> Box<[Option<u32>]> {
    let mut order: Vec<_> = (0_u32..).zip(networks.iter().map(IpNet::trunc)).collect();
    // One that is around others comes before them.
    order.sort_unstable_by_key(|(at, network)| (*network, *at));
    let mut wider = vec![None; networks.len()];
    // Those around the present one, the narrowest last.
    let mut around: Vec<(u32, IpNet)> = Vec::new();
    for (at, network) in order {
        while around.pop_if(|(_, it)| !it.contains(&network)).is_some() {}
        let is_again = around.pop_if(|(_, it)| *it == network);
        if let Some(slot) = usize::try_from(at).ok().and_then(|at| wider.get_mut(at)) {
            *slot = around.last().map(|(at, _)| *at);
        }
        around.push(is_again.unwrap_or((at, network)));
    }
    wider.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_network_is_found_until_it_expires() {
        let start = Timestamp::from_micros(1_800_000_000_000_000);
        let terms = Terms {
            name: "drop".into(),
            score: Score::from_thousandths(900),
            confidence: 70,
            lasts: Span::from_hours(24),
        };
        let entry = |network: &str, expires: Option<u64>, confidence| Entry {
            network: network.parse().expect("a network"),
            confidence,
            label: "x".into(),
            as_of: None,
            starts: None,
            expires: expires.map(|hours| start + Span::from_hours(hours)),
        };
        let reading = Reading {
            entries: vec![
                entry("203.0.113.0/24", None, None),
                entry("203.0.113.7/32", Some(1), Some(95)),
                entry("203.0.113.7/32", Some(2), Some(96)),
                entry("198.51.100.0/24", Some(0), None),
                entry("2001:db8::/32", Some(5), Some(1)),
                entry("2001:db8::/32", Some(6), Some(2)),
                entry("2001:db8:1::/48", Some(7), Some(3)),
                entry("2001:db8:1::/64", Some(4), Some(4)),
                entry("2001:db8:2::/48", Some(4), Some(5)),
            ],
            ..Reading::default()
        };
        let table = FeedTable::new(terms, reading, start, start);
        assert_eq!(table.len(), 8, "what has expired is left out");
        let at = |ip: &str, hours| {
            let found = table.find(ip.parse().expect("an address"), start + Span::from_hours(hours));
            found.map(|it| (it.network.to_string(), it.confidence))
        };
        assert_eq!(at("203.0.113.7", 1), Some(("203.0.113.7/32".into(), 96)));
        let wider = Some(("203.0.113.0/24".into(), 70));
        assert_eq!(at("203.0.113.7", 2), wider, "an expired one hides no wider one");
        assert_eq!(at("203.0.113.8", 23), Some(("203.0.113.0/24".into(), 70)));
        assert_eq!(at("203.0.113.8", 24), None);
        assert_eq!(at("198.51.100.1", 0), None);
        let confidence = |ip, hours| at(ip, hours).map(|(_, confidence)| confidence);
        assert_eq!(
            [3, 4, 6, 7].map(|hours| confidence("2001:db8:1::1", hours)),
            [Some(4), Some(3), Some(3), None]
        );
        assert_eq!(
            [3, 4, 5, 6].map(|hours| confidence("2001:db8:2::1", hours)),
            [Some(5), Some(2), Some(2), None]
        );
        assert!(!table.is_stale(start + Span::from_hours(23)) && table.is_stale(start + Span::from_hours(24)));
    }
}
