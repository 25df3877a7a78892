//! The way to Unbound's control channel: one command for each connection, by a Unix socket.
//!
//! Believes no answer to be short, to come, or to be text: everything has a deadline and a bound. Never retries.
//!
//! The protocol is that of unbound-control(8) as Unbound 1.17 speaks it: `UBCT1`, a space, the command and a line end;
//! then the answer until the connection is closed. `ok` or what begins with `error` answers a change. By a Unix socket
//! there is no TLS.

use std::io::{self, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout,
};
use nix::sys::time::TimeVal;
use staunch_model::{Failure, FailureKind, Outcome, Printable};
use thiserror::Error;

/// The version of the protocol, and what follows it.
const HELLO: &str = "UBCT1 ";

/// The longest command that Unbound reads (`daemon/remote.c`: "control line too long (1024)").
const COMMAND_BYTES_MAX: usize = 1_000;

/// The longest answer to a change that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 10;

/// Where Unbound is told what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// The socket.
    pub(super) path: PathBuf,
    /// How long a change may take in all.
    pub(super) timeout: Duration,
    /// How long a list may take in all.
    pub(super) list_timeout: Duration,
}

/// What went wrong with one command.
#[derive(Debug, Error)]
pub(super) enum ControlError {
    /// Nothing was said to Unbound.
    #[error("cannot reach the resolver at {}", Printable(.path))]
    Connect { path: String, source: io::Error },
    /// The command is longer than what Unbound takes; it was not sent.
    #[error("the command would be too long")]
    CommandTooLong,
    /// It may have been carried out.
    #[error("the resolver did not answer")]
    Exchange { source: io::Error },
    /// It may have been carried out.
    #[error("the resolver hung up without a whole answer")]
    HungUp,
    /// Unbound says no.
    #[error("the resolver says {}", Printable(.0))]
    Refused(String),
    /// The answer goes beyond a bound.
    #[error("the resolver lists more than {0}")]
    TooMuch(String),
    /// The answer cannot be understood.
    #[error("the resolver answers what is no list of {0}")]
    Garbled(&'static str),
}

impl ControlError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => FailureKind::Denied,
            Self::Exchange { source } if is_timeout(source) => FailureKind::TimedOut,
            Self::Connect { .. } | Self::Exchange { .. } | Self::HungUp => FailureKind::Unavailable,
            Self::Refused(_) | Self::CommandTooLong | Self::Garbled(_) => FailureKind::Invalid,
            Self::TooMuch(_) => FailureKind::Full,
        }
    }

    /// A failure to do what `doing` says, such as `sinkhole domain:evil.example`.
    pub(super) fn failure(&self, doing: &str) -> Failure {
        let source = std::error::Error::source(self).map_or_else(String::new, |it| format!(": {it}"));
        Failure::new(self.kind(), &format!("cannot {doing}: {self}{source}"))
    }

    /// What became of a change.
    pub(super) fn outcome(&self, doing: &str) -> Outcome {
        let failure = self.failure(doing);
        match self {
            Self::Connect { .. } | Self::CommandTooLong | Self::Refused(_) => Outcome::DidNotHappen(failure),
            Self::Exchange { .. } | Self::HungUp | Self::TooMuch(_) | Self::Garbled(_) => Outcome::InDoubt(failure),
        }
    }
}

impl Control {
    /// Has `command` carried out.
    pub(super) fn change(&self, command: &str) -> Result<(), ControlError> {
        let mut answer = Vec::new();
        let read = self
            .send(command, self.timeout)?
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut answer);
        // What has been said counts, whatever came after it.
        judge(&answer).unwrap_or(match read {
            Err(source) => Err(ControlError::Exchange { source }),
            Ok(_) => Err(ControlError::HungUp),
        })
    }

    /// Asks for a list by `command`, and returns what it is read from.
    pub(super) fn list(&self, command: &str) -> Result<Answer, ControlError> {
        self.send(command, self.list_timeout)
    }

    fn send(&self, command: &str, timeout: Duration) -> Result<Answer, ControlError> {
        let until = Instant::now() + timeout;
        if command.len() > COMMAND_BYTES_MAX {
            return Err(ControlError::CommandTooLong);
        }
        // Until the first byte is sent, nothing can have happened.
        let unreached = |source| ControlError::Connect {
            path: self.path.display().to_string(),
            source,
        };
        let mut stream = self.open().map_err(unreached)?;
        let line = format!("{HELLO}{command}\n");
        stream
            .set_write_timeout(Some(left(until).map_err(unreached)?))
            .map_err(unreached)?;
        stream
            .write_all(line.as_bytes())
            .map_err(|source| ControlError::Exchange { source })?;
        Ok(Answer { stream, until })
    }

    fn open(&self) -> io::Result<UnixStream> {
        let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // Connecting waits while as many others wait as there is room for (unix(7)); this bounds it.
        let seconds = i64::try_from(self.timeout.as_secs()).unwrap_or(i64::MAX);
        setsockopt(
            &fd,
            SendTimeout,
            &TimeVal::new(seconds, self.timeout.subsec_micros().into()),
        )?;
        connect(fd.as_raw_fd(), &UnixAddr::new(&self.path)?)?;
        Ok(fd.into())
    }
}

/// An answer that comes until its deadline.
pub(super) struct Answer {
    stream: UnixStream,
    until: Instant,
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(buffer)
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// What an answer to a change says; `None` when it is not whole.
fn judge(answer: &[u8]) -> Option<Result<(), ControlError>> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = String::from_utf8_lossy(&answer[..end]);
    Some(if line == "ok" {
        Ok(())
    } else {
        Err(ControlError::Refused(line.into_owned()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// What becomes of a change that is answered with `answer` and then closed.
    fn answered(answer: &'static [u8]) -> Outcome {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ctl");
        let listener = UnixListener::bind(&path).expect("it is our directory");
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("somebody comes");
                let mut heard = [0; 13];
                stream.read_exact(&mut heard).expect("something is said");
                assert_eq!(&heard, b"UBCT1 status\n");
                stream.write_all(answer).expect("it is heard");
            });
            match control(path).change("status") {
                Ok(()) => Outcome::Landed,
                Err(error) => error.outcome("look"),
            }
        })
    }

    fn control(path: PathBuf) -> Control {
        Control {
            path,
            timeout: Duration::from_secs(20),
            list_timeout: Duration::from_secs(20),
        }
    }

    #[test]
    fn only_what_is_said_is_believed() {
        assert_eq!(answered(b"ok\n"), Outcome::Landed);
        let says = |outcome| match outcome {
            Outcome::DidNotHappen(failure) => (true, failure.kind),
            Outcome::InDoubt(failure) => (false, failure.kind),
            Outcome::Landed => panic!("it did not land"),
        };
        assert_eq!(says(answered(b"error in syntax\n")), (true, FailureKind::Invalid));
        assert_eq!(says(answered(b"\xff\x1b[2J\n")), (true, FailureKind::Invalid));
        assert_eq!(says(answered(b"ok")), (false, FailureKind::Unavailable));
        assert_eq!(says(answered(b"")), (false, FailureKind::Unavailable));
    }

    #[test]
    fn who_may_not_is_told_so() {
        let error = ControlError::Connect {
            path: "/run/\u{1b}".to_owned(),
            source: io::ErrorKind::PermissionDenied.into(),
        };
        let Outcome::DidNotHappen(failure) = error.outcome("look") else {
            panic!("nothing was sent");
        };
        assert_eq!(failure.kind, FailureKind::Denied);
        assert_eq!(
            &*failure.what,
            "cannot look: cannot reach the resolver at /run/\\u{1b}: permission denied"
        );
    }

    #[test]
    fn nobody_and_somebody_who_says_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ctl");
        let outcome = |control: &Control| control.change("status").expect_err("nobody answers").outcome("look");
        let unavailable = |it: &Outcome| matches!(it, Outcome::DidNotHappen(it) if it.kind == FailureKind::Unavailable);
        assert!(unavailable(&outcome(&control(path.clone()))), "no socket");
        let listener = UnixListener::bind(&path).expect("it is our directory");
        let hasty = Control {
            path,
            timeout: Duration::from_millis(50),
            list_timeout: Duration::from_millis(50),
        };
        let silent = outcome(&hasty);
        assert!(
            matches!(&silent, Outcome::InDoubt(it) if it.kind == FailureKind::TimedOut),
            "{silent:?}"
        );
        // Nobody takes those that wait: in the end there is no room for one more.
        let mut waiting = Vec::new();
        loop {
            match hasty.list("status") {
                Ok(answer) => waiting.push(answer),
                Err(ControlError::Connect { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => break,
                // It was so long without a processor that its time had passed.
                Err(_) => {}
            }
        }
        assert!(unavailable(&outcome(&hasty)), "too many wait");
        drop(listener);
        assert!(unavailable(&outcome(&hasty)), "it is gone");
        let long = hasty.change(&"x".repeat(1_001)).expect_err("it is refused");
        assert!(matches!(long, ControlError::CommandTooLong));
    }
}
