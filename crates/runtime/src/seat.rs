//! The seat of the event loop: which of two threads runs it, and when the other one takes over.
//!
//! A thread that is about to run foreign code leaves the loop here and fetches it again afterwards. When it stays away
//! too long, the thread that watches takes the loop and goes on with it; the one that was held up finds the seat empty
//! and becomes the one that watches. Never touches what it keeps.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the watching thread looks. A loop that it finds left behind twice in a row, by the same visit, is taken
/// over: after one interval at least, and after two at most.
pub(crate) const WATCH_INTERVAL: Duration = Duration::from_millis(5);

/// Looks without any visit in between after which the watching thread sleeps until the next one.
const IDLE_LOOKS_MAX: u32 = 200;

/// Keeps the loop while its thread is away.
#[derive(Debug)]
pub(crate) struct Seat<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    /// What was left behind, while its thread is away.
    left: Option<T>,
    /// How often it was left.
    visits: u64,
    watcher: Watcher,
    ended: bool,
}

/// What the watching thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watcher {
    /// There is none: it has taken over, and the other one has not come back yet.
    Absent,
    /// It looks at every interval.
    Looking,
    /// It waits to be woken by the next visit.
    Asleep,
}

impl<T> Seat<T> {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                left: None,
                visits: 0,
                watcher: Watcher::Absent,
                ended: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Leaves `it` behind.
    ///
    /// # Errors
    /// `it` itself when nobody watches: whoever is held up then would hold it up too.
    pub(crate) fn leave(&self, it: T) -> Result<(), T> {
        let mut inner = self.lock();
        match inner.watcher {
            Watcher::Absent => return Err(it),
            Watcher::Looking => {}
            Watcher::Asleep => self.changed.notify_all(),
        }
        inner.visits += 1;
        inner.left = Some(it);
        Ok(())
    }

    /// Fetches what was left behind; `None` when the watching thread has taken it over.
    pub(crate) fn fetch(&self) -> Option<T> {
        self.lock().left.take()
    }

    /// Watches until something is to be taken over, and takes it; `None` when everything has ended.
    pub(crate) fn watch(&self) -> Option<T> {
        let mut inner = self.lock();
        inner.watcher = Watcher::Looking;
        let mut seen = inner.visits;
        let mut was_away = false;
        let mut idle_looks = 0;
        while !inner.ended {
            if inner.visits != seen {
                idle_looks = 0;
            } else if inner.left.is_some() {
                if was_away {
                    inner.watcher = Watcher::Absent;
                    return inner.left.take();
                }
            } else {
                idle_looks += 1;
            }
            was_away = inner.left.is_some();
            seen = inner.visits;
            inner = if idle_looks < IDLE_LOOKS_MAX {
                self.changed
                    .wait_timeout(inner, WATCH_INTERVAL)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            } else {
                inner.watcher = Watcher::Asleep;
                let mut inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.watcher = Watcher::Looking;
                inner
            };
        }
        inner.watcher = Watcher::Absent;
        None
    }

    /// Says that everything has ended.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits until everything has ended.
    pub(crate) fn wait_until_ended(&self) {
        let inner = self.lock();
        drop(
            self.changed
                .wait_while(inner, |inner| !inner.ended)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing that could panic is done under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves `it` as soon as somebody watches.
    fn leave(seat: &Seat<u32>, mut it: u32) {
        while let Err(back) = seat.leave(it) {
            it = back;
            std::thread::yield_now();
        }
    }

    #[test]
    fn nothing_is_left_when_nobody_watches() {
        let seat = Seat::new();
        assert_eq!(seat.leave(1), Err(1));
        assert_eq!(seat.fetch(), None);
    }

    #[test]
    fn what_is_left_too_long_is_taken_over_once() {
        let seat = Seat::new();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| seat.watch());
            leave(&seat, 7);
            assert_eq!(watching.join().expect("it watches"), Some(7));
        });
        assert_eq!(seat.fetch(), None, "two threads have it");
        assert_eq!(seat.leave(8), Err(8), "nobody watches any more");
    }

    #[test]
    fn many_short_visits_are_never_one_long_one() {
        let seat = Seat::new();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| seat.watch());
            let begun = std::time::Instant::now();
            leave(&seat, 0);
            let mut count = seat.fetch();
            // A visit that the machine makes long is taken over; then there is nothing left to visit with.
            while let Some(it) = count
                && begun.elapsed() < 20 * WATCH_INTERVAL
            {
                leave(&seat, it + 1);
                count = seat.fetch();
            }
            seat.end();
            let taken_over = watching.join().expect("it watches");
            assert!(count.is_some() != taken_over.is_some(), "{count:?} {taken_over:?}");
        });
    }

    #[test]
    fn a_sleeping_watcher_is_woken_by_a_visit() {
        let seat = Seat::new();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| seat.watch());
            while seat.lock().watcher != Watcher::Asleep {
                std::thread::yield_now();
            }
            leave(&seat, 7);
            assert_eq!(watching.join().expect("it watches"), Some(7));
        });
    }

    #[test]
    fn the_end_sends_the_watcher_away() {
        let seat = Seat::<u32>::new();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| seat.watch());
            seat.end();
            assert_eq!(watching.join().expect("it watches"), None);
            seat.wait_until_ended();
        });
    }
}
