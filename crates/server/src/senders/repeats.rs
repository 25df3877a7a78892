//! What has come before: for as long as it is remembered, nothing of one sender is taken twice.
//!
//! Never keeps a message, only digests of its id and its body. Holds so many of them and no more.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use staunch_model::{Span, Timestamp};

/// Messages of one sender that are remembered: a hundred a second for ten minutes. Beyond it the oldest are forgotten.
const REMEMBERED_MAX: usize = 65_536;

/// Half of a BLAKE3 hash: nobody finds two messages with the same one.
type Digest = [u8; 16];

/// The messages of one sender.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    states: BTreeMap<Digest, State>,
    /// Those that were taken, by when that was, with when they may be forgotten.
    taken: VecDeque<(Timestamp, Digest)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    body: Digest,
    is_taken: bool,
}

/// How a message arrived.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// For the first time; or what came before was not taken.
    First(Ticket),
    /// While the same message is being dealt with.
    UnderWay,
    /// After it was taken.
    Again,
    /// After another body was taken under the same id.
    Changed,
}

/// The right to take a message. When it is dropped, the message may come again.
#[derive(Debug)]
pub(crate) struct Ticket {
    repeats: Arc<Repeats>,
    message: Digest,
    forget_at: Timestamp,
    is_taken: bool,
}

impl Repeats {
    /// The message that `key` tells from others of its sender arrives at `now`, and is to be remembered for as long as
    /// `kept`.
    pub(super) fn arrive(
        this: &Arc<Self>,
        key: &blake3::Hash,
        body: &blake3::Hash,
        now: Timestamp,
        kept: Span,
    ) -> Arrival {
        let (message, body) = (half(key), half(body));
        let mut seen = this.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.forget(now);
        match seen.states.entry(message) {
            Entry::Occupied(found) => match *found.get() {
                State { is_taken: false, .. } => Arrival::UnderWay,
                state if state.body == body => Arrival::Again,
                _ => Arrival::Changed,
            },
            Entry::Vacant(free) => {
                free.insert(State { body, is_taken: false });
                Arrival::First(Ticket {
                    repeats: this.clone(),
                    message,
                    forget_at: now + kept,
                    is_taken: false,
                })
            }
        }
    }
}

impl Seen {
    fn forget(&mut self, now: Timestamp) {
        while self.taken.len() >= REMEMBERED_MAX || self.taken.front().is_some_and(|(until, _)| *until < now) {
            let Some((_, message)) = self.taken.pop_front() else {
                return;
            };
            self.states.remove(&message);
        }
    }
}

impl Ticket {
    /// The message was taken: it is not to be taken again.
    pub(crate) fn taken(mut self) {
        self.is_taken = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut seen = self.repeats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_taken {
            seen.states.remove(&self.message);
            return;
        }
        if let Some(state) = seen.states.get_mut(&self.message) {
            state.is_taken = true;
            seen.taken.push_back((self.forget_at, self.message));
        }
    }
}

fn half(hash: &blake3::Hash) -> Digest {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Span = Span::from_mins(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
    }

    fn arrive(repeats: &Arc<Repeats>, id: &str, seconds: u64) -> Arrival {
        let hash = blake3::hash(id.as_bytes());
        Repeats::arrive(repeats, &hash, &hash, at(seconds), MINUTE)
    }

    fn take(repeats: &Arc<Repeats>, id: &str, seconds: u64) -> bool {
        match arrive(repeats, id, seconds) {
            Arrival::First(ticket) => {
                ticket.taken();
                true
            }
            _ => false,
        }
    }

    #[test]
    fn a_message_is_taken_once_unless_it_was_not_taken() {
        let repeats = Arc::default();
        let Arrival::First(ticket) = arrive(&repeats, "a", 0) else {
            panic!("it is new")
        };
        assert!(matches!(arrive(&repeats, "a", 1), Arrival::UnderWay));
        drop(ticket);
        assert!(take(&repeats, "a", 2), "the first was not taken");
        assert!(matches!(arrive(&repeats, "a", 3), Arrival::Again));
        assert!(take(&repeats, "b", 3), "another one is not held up by it");
        let (id, other) = (blake3::hash(b"a"), blake3::hash(b"another body"));
        assert!(matches!(
            Repeats::arrive(&repeats, &id, &other, at(4), MINUTE),
            Arrival::Changed
        ));
    }

    #[test]
    fn it_is_remembered_to_the_end_and_no_longer() {
        let repeats = Arc::default();
        assert!(take(&repeats, "a", 0));
        assert!(!take(&repeats, "a", 60));
        assert!(take(&repeats, "a", 61));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let repeats = Arc::default();
        for number in 0..=REMEMBERED_MAX {
            assert!(take(&repeats, &number.to_string(), 0));
        }
        assert!(take(&repeats, "0", 0), "the oldest was forgotten");
        assert!(!take(&repeats, &REMEMBERED_MAX.to_string(), 0), "the newest was not");
        let seen = repeats.0.lock().expect("nobody panics");
        assert!(seen.taken.len() <= REMEMBERED_MAX && seen.states.len() <= REMEMBERED_MAX);
    }
}
