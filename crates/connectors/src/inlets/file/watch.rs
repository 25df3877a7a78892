//! Waits until something happens to a file: inotify on its directory, so that a file that is not there yet is noticed
//! too.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// What is waited for.
pub(super) struct Watch {
    /// `None` when the kernel cannot tell; then only time passes.
    inotify: Option<Inotify>,
}

impl Watch {
    /// A watch on the directory of `path`.
    pub(super) fn of(path: &Path) -> Self {
        let directory = path
            .parent()
            .filter(|it| !it.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let interest = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        let watched = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .and_then(|inotify| inotify.add_watch(directory, interest).map(|_| inotify));
        let inotify = watched
            .map_err(|error| {
                tracing::warn!(
                    %error, directory = %directory.display(),
                    "the kernel does not tell when the file grows; it is looked at from time to time"
                );
            })
            .ok();
        Self { inotify }
    }

    /// Waits until something happens, at the most for `time`.
    pub(super) fn wait(&self, time: Duration) {
        let Some(inotify) = &self.inotify else {
            return self.pause(time);
        };
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        let mut wanted = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        // Whatever comes out of it, the file is looked at again.
        let _ = poll(&mut wanted, timeout);
        // What happened is seen in the file; an error says that there is nothing more to read.
        while inotify.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    /// Lets `time` pass.
    #[allow(clippy::unused_self, reason = "it stands beside `wait`")]
    pub(super) fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
