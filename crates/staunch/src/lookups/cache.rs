//! What was answered of late, as far as there is room.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use staunch_model::{Span, Timestamp};

/// How far the times of two threads that look at the clock one after the other may be apart. A clock that was set back
/// by more makes what is kept count no longer.
const SKEW: Span = Span::from_secs(60);

/// A bounded number of addresses, each with what was said of it. The one that nobody has asked of for the longest time
/// makes room for the next.
pub(super) struct Cache<T> {
    entries: HashMap<IpAddr, Entry<T>>,
    /// The addresses by their last use.
    uses: BTreeMap<u64, IpAddr>,
    used: u64,
    entries_max: usize,
}

struct Entry<T> {
    said: T,
    asked: Timestamp,
    until: Timestamp,
    last: u64,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            uses: BTreeMap::new(),
            used: 0,
            entries_max,
        }
    }

    /// What was said of `ip` and when it was asked for, while it counts at `now`.
    pub(super) fn get(&mut self, ip: IpAddr, now: Timestamp) -> Option<(T, Timestamp)> {
        let entry = self.entries.get_mut(&ip)?;
        if !holds(entry.asked, entry.until, now) {
            return None;
        }
        self.used += 1;
        self.uses.remove(&entry.last);
        self.uses.insert(self.used, ip);
        entry.last = self.used;
        Some((entry.said.clone(), entry.asked))
    }

    /// Keeps what was said of `ip` when it was asked for at `asked`, until `until`.
    pub(super) fn put(&mut self, ip: IpAddr, said: T, asked: Timestamp, until: Timestamp) {
        self.used += 1;
        let entry = Entry {
            said,
            asked,
            until,
            last: self.used,
        };
        if let Some(old) = self.entries.insert(ip, entry) {
            self.uses.remove(&old.last);
        }
        self.uses.insert(self.used, ip);
        while self.entries.len() > self.entries_max {
            let Some((_, oldest)) = self.uses.pop_first() else {
                return;
            };
            self.entries.remove(&oldest);
        }
    }
}

/// Whether what was said at `from` and counts until `until` counts at `now`.
pub(super) fn holds(from: Timestamp, until: Timestamp, now: Timestamp) -> bool {
    now < until && from.since(now) <= SKEW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[test]
    fn the_one_that_was_not_asked_of_for_the_longest_time_makes_room() {
        let mut cache = Cache::new(2);
        let (now, until) = (Timestamp::EPOCH, Timestamp::EPOCH + Span::from_secs(60));
        cache.put(ip(1), 'a', now, until);
        cache.put(ip(2), 'b', now, until);
        assert_eq!(cache.get(ip(1), now), Some(('a', now)));
        cache.put(ip(3), 'c', now, until);
        assert_eq!(cache.get(ip(2), now), None);
        assert_eq!(cache.get(ip(1), now), Some(('a', now)));
        cache.put(ip(3), 'd', now, until);
        assert_eq!(cache.get(ip(3), now), Some(('d', now)));
        assert_eq!((cache.entries.len(), cache.uses.len()), (2, 2));
    }

    #[test]
    fn what_is_kept_ends_by_the_clock_that_is_given() {
        let mut cache = Cache::new(2);
        let at = |secs| Timestamp::EPOCH + Span::from_secs(secs);
        cache.put(ip(1), 'a', at(1_000), at(1_060));
        assert!(cache.get(ip(1), at(999)).is_some());
        assert!(cache.get(ip(1), at(1_059)).is_some());
        assert!(cache.get(ip(1), at(1_060)).is_none());
        // The clock was set back by an hour.
        cache.put(ip(2), 'b', at(5_000), at(5_060));
        assert!(cache.get(ip(2), at(1_400)).is_none());
    }
}
