//! Prepares the next segment in the background, so that an append never waits for 64 MiB of zeros.
//!
//! Never touches a segment that has a name. When the disk is full it tries again, ever more rarely, until there is
//! room.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::disk::Disk;
use super::segment::{self, SPARE};

/// How long to wait after a failed attempt. Doubles from the first to the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) max: Duration,
}

/// Keeps one prepared segment at hand.
#[derive(Debug)]
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

#[derive(Debug)]
struct State {
    spare: Spare,
    attempts_started: u64,
    attempts_finished: u64,
    /// Do not wait for the end of the backoff.
    hurry: bool,
}

#[derive(Debug)]
enum Spare {
    /// The first attempt is under way or about to begin.
    Preparing,
    /// There is one.
    Ready(File),
    /// The last attempt failed; another follows.
    Failed,
    /// It was taken and still has its name. The next one would have the same.
    Taken,
}

/// What an append that needs the next segment finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    Preparing,
    Ready,
    Failed,
}

impl Preparer {
    /// Starts preparing a segment of `bytes`.
    pub(super) fn start(disk: Disk, bytes: u64, backoff: Backoff) -> io::Result<Self> {
        let state = State {
            spare: Spare::Preparing,
            attempts_started: 0,
            attempts_finished: 0,
            hurry: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("journal-spare".to_owned())
            .spawn(move || worker.run(&disk, bytes, backoff))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn outlook(&self) -> Outlook {
        match self.shared.lock().spare {
            Spare::Preparing => Outlook::Preparing,
            Spare::Ready(_) => Outlook::Ready,
            Spare::Failed | Spare::Taken => Outlook::Failed,
        }
    }

    /// Waits for the end of a first attempt. True when there is a spare.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.shared.lock();
        while matches!(state.spare, Spare::Preparing) {
            state = self.shared.wait(state);
        }
        matches!(state.spare, Spare::Ready(_))
    }

    /// Takes the spare, if there is one. The next is prepared once [`Preparer::prepare_next`] says that the name is
    /// free.
    pub(super) fn take(&self) -> Option<File> {
        let mut state = self.shared.lock();
        match std::mem::replace(&mut state.spare, Spare::Taken) {
            Spare::Ready(file) => Some(file),
            other => {
                state.spare = other;
                None
            }
        }
    }

    /// Begins to prepare another spare after one was taken and renamed.
    pub(super) fn prepare_next(&self) {
        self.shared.lock().spare = Spare::Preparing;
        self.shared.changed.notify_all();
    }

    /// Makes an attempt that begins after this call, if there is no spare, and waits for its end.
    pub(super) fn try_now(&self) -> bool {
        let mut state = self.shared.lock();
        let wanted = state.attempts_started + 1;
        while matches!(state.spare, Spare::Preparing | Spare::Failed) && state.attempts_finished < wanted {
            state.hurry = true;
            self.shared.changed.notify_all();
            state = self.shared.wait(state);
        }
        matches!(state.spare, Spare::Ready(_))
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // The lock makes sure that the worker is either waiting, and woken by this, or sees the flag before it waits.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread that prepares journal segments has panicked");
        }
    }
}

impl Shared {
    fn run(&self, disk: &Disk, bytes: u64, backoff: Backoff) {
        let mut pause = backoff.first;
        while self.wait_for_work(pause) {
            let prepared = segment::prepare_spare(disk, bytes, &|| self.is_stopping());
            let mut state = self.lock();
            state.attempts_finished += 1;
            match prepared {
                Ok(file) => {
                    if matches!(state.spare, Spare::Failed) {
                        tracing::info!(bytes, "the next journal segment could be allocated again");
                    }
                    state.spare = Spare::Ready(file);
                    pause = backoff.first;
                }
                Err(_) if self.is_stopping() => return,
                Err(error) => {
                    if !matches!(state.spare, Spare::Failed) {
                        tracing::error!(%error, bytes, "cannot allocate the next journal segment: new work will be refused when this one is full");
                    }
                    state.spare = Spare::Failed;
                    pause = (pause * 2).min(backoff.max);
                    drop(state);
                    // Half a segment helps nobody, and others (snapshots, the index) may need the room more.
                    drop(disk.remove(SPARE));
                }
            }
            self.changed.notify_all();
        }
    }

    /// Waits until an attempt is due; false when there is none to come.
    fn wait_for_work(&self, pause: Duration) -> bool {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if self.is_stopping() {
                return false;
            }
            match state.spare {
                Spare::Ready(_) | Spare::Taken => state = self.wait(state),
                Spare::Failed if !state.hurry && !waited => {
                    let (guard, timeout) = self
                        .changed
                        .wait_timeout(state, pause)
                        .unwrap_or_else(PoisonError::into_inner);
                    state = guard;
                    waited = timeout.timed_out();
                }
                Spare::Failed | Spare::Preparing => {
                    state.hurry = false;
                    state.attempts_started += 1;
                    return true;
                }
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(&self, state: MutexGuard<'g, State>) -> MutexGuard<'g, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}
