//! A feed that is asked about addresses.

use std::net::IpAddr;

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
    /// When the feed was made, as it says, or fetched.
    made: Timestamp,
    fetched: Timestamp,
}

impl FeedTable {
    /// The table of `reading`, which was fetched at `fetched` and counts by `terms`. What has expired by `now` is left out;
    /// of equal networks the one that lasts longest holds.
    #[must_use]
    pub fn new(terms: Terms, reading: Reading, fetched: Timestamp, now: Timestamp) -> Self {
        // A feed that says it was made later than it came says nothing.
        let made = reading.as_of.unwrap_or(fetched).min(fetched);
        let mut entries = reading.entries;
        let ends = |it: &Entry| it.expires.unwrap_or(fetched + terms.lasts);
        entries.retain(|it| now < ends(it));
        entries.sort_by_key(|it| std::cmp::Reverse(ends(it)));
        let networks: Vec<_> = entries.iter().map(|it| it.network).collect();
        let prefixes = Prefixes::new(&networks);
        Self {
            terms,
            entries: entries.into(),
            prefixes,
            made,
            fetched,
        }
    }

    /// What the feed says of `ip`, by the narrowest network that it names around it; nothing when that has expired at `now`.
    #[must_use]
    pub fn find(&self, ip: IpAddr, now: Timestamp) -> Option<Reputation> {
        let entry = self.entries.get(self.prefixes.longest_match(ip)?)?;
        let reputation = Reputation {
            score: self.terms.score,
            confidence: entry.confidence.unwrap_or(self.terms.confidence),
            feed: self.terms.name.clone(),
            network: entry.network,
            label: entry.label.clone(),
            as_of: entry.as_of.unwrap_or(self.made),
            expires: entry.expires.unwrap_or(self.fetched + self.terms.lasts),
        };
        Some(reputation).filter(|it| it.counts_at(now))
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
            expires: expires.map(|hours| start + Span::from_hours(hours)),
        };
        let reading = Reading {
            entries: vec![
                entry("203.0.113.0/24", None, None),
                entry("203.0.113.7/32", Some(1), Some(95)),
                entry("203.0.113.7/32", Some(2), Some(96)),
                entry("198.51.100.0/24", Some(0), None),
            ],
            ..Reading::default()
        };
        let table = FeedTable::new(terms, reading, start, start);
        assert_eq!(table.len(), 3, "what has expired is left out");
        let at = |ip: &str, hours| {
            let found = table.find(ip.parse().expect("an address"), start + Span::from_hours(hours));
            found.map(|it| (it.network.to_string(), it.confidence))
        };
        assert_eq!(at("203.0.113.7", 1), Some(("203.0.113.7/32".into(), 96)));
        assert_eq!(at("203.0.113.7", 2), None, "an expired entry gives nothing");
        assert_eq!(at("203.0.113.8", 23), Some(("203.0.113.0/24".into(), 70)));
        assert_eq!(at("203.0.113.8", 24), None);
        assert_eq!(at("198.51.100.1", 0), None);
        assert!(!table.is_stale(start + Span::from_hours(23)) && table.is_stale(start + Span::from_hours(24)));
    }
}
