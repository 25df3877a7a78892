//! The thread of an inlet, and how it is told to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// An inlet that runs. Dropping it is stopping it.
#[derive(Debug)]
pub struct InletThread {
    /// Closed to end it: the thread sees that while it waits for something else. `None` once it was.
    stop: Option<UnixStream>,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<()>>,
}

impl InletThread {
    /// Starts a thread that does `work` until it is asked to stop.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn start(name: &str, work: impl FnOnce(Stop) + Send + 'static) -> io::Result<Self> {
        let (stop, asked) = UnixStream::pair()?;
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || work(Stop(asked)))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Ends it, and waits for that. Lines that are being taken are waited for.
    pub fn stop(self) {
        drop(self);
    }

    /// Whether it has come to its end by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for InletThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of an inlet has panicked");
        }
    }
}

/// Whether an inlet is to stop.
#[derive(Debug)]
pub(super) struct Stop(UnixStream);

impl Stop {
    /// One that is asked for when what comes with it is dropped.
    #[cfg(test)]
    pub(super) fn pair() -> (UnixStream, Self) {
        let (stop, asked) = UnixStream::pair().expect("a pair of sockets");
        (stop, Self(asked))
    }

    /// Whether it was asked to.
    pub(super) fn is_asked(&self) -> bool {
        self.within(Duration::ZERO)
    }

    /// Waits for `time`; true at once when it is asked to stop meanwhile.
    pub(super) fn within(&self, time: Duration) -> bool {
        let mut wanted = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        // An interrupted wait is a short one.
        poll(&mut wanted, timeout).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::testing::DEADLINE;
    use super::*;

    #[test]
    fn one_that_is_dropped_is_stopped_and_waited_for() {
        let ended = Arc::new(AtomicBool::new(false));
        let ends = ended.clone();
        let thread = InletThread::start("test", move |stop| {
            assert!(stop.within(DEADLINE), "it is asked to stop");
            ends.store(true, Ordering::SeqCst);
        });
        drop(thread.expect("a thread"));
        assert!(ended.load(Ordering::SeqCst));
    }
}
