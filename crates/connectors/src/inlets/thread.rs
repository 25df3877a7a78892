//! The thread of an inlet, and how it is told to end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// An inlet that runs.
#[derive(Debug)]
pub struct InletThread {
    /// Closed to end it: the thread sees that while it waits for something else.
    stop: UnixStream,
    thread: JoinHandle<()>,
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
        Ok(Self { stop, thread })
    }

    /// Ends it, and waits for that. Lines that are being taken are waited for.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread of an inlet has panicked");
        }
    }

    /// Whether it has come to its end by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Whether an inlet is to stop.
#[derive(Debug)]
pub(super) struct Stop(UnixStream);

impl Stop {
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
