//! How long a collection takes, what it may do, and what it changed: what all collectors share.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use staunch_model::{EvidenceKind, Failure, FailureKind, Span, Target, WithCauses};
use staunch_netlink::socket::SocketError;
use staunch_ports::{CollectRequest, Collected};

/// Numbers of capabilities (capabilities(7)).
pub(super) const CAP_NET_ADMIN: u32 = 12;
/// See above.
pub(super) const CAP_NET_RAW: u32 = 13;

/// When a collection ends by itself, so that what it has can still be sealed in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Instant,
}

impl Deadline {
    /// For `request`, or `takes_max` when that is less. An eighth of it is left to seal what was taken, half a second
    /// at most.
    pub(super) fn of(request: &CollectRequest, takes_max: Span) -> Self {
        let whole = request.time_left.min(takes_max).to_std();
        let spare = (whole / 8).min(Duration::from_millis(500));
        Self {
            at: Instant::now() + (whole - spare),
        }
    }

    /// A time before it.
    pub(super) fn within(self, time: Duration) -> Self {
        Self {
            at: self.at.min(Instant::now() + time),
        }
    }

    pub(super) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// How long to wait for one answer of the kernel: at least a moment, so that one that comes at once is read.
    pub(super) fn answer(self) -> Duration {
        self.left().clamp(Duration::from_millis(1), Duration::from_secs(5))
    }

    /// Fails when it is over.
    pub(super) fn check(self, what: &str) -> Result<(), Failure> {
        if self.is_over() {
            return Err(Failure::new(
                FailureKind::TimedOut,
                &format!("no time is left to take {what}"),
            ));
        }
        Ok(())
    }
}

/// A request that is not for this collector is malformed.
pub(super) fn no_target(kind: EvidenceKind, target: Option<&Target>) -> Failure {
    let of = target.map_or("nothing".to_owned(), ToString::to_string);
    Failure::new(FailureKind::Invalid, &format!("{kind} cannot be taken of {of}"))
}

/// What a failed exchange with the kernel means.
pub(super) fn of_netlink(doing: &str, error: &SocketError) -> Failure {
    let kind = match (error.errno(), error) {
        (Some(Errno::EPERM | Errno::EACCES), _) => FailureKind::Denied,
        (_, SocketError::Timeout { .. }) => FailureKind::TimedOut,
        (_, SocketError::Interrupted) => FailureKind::Conflict,
        _ => FailureKind::Unavailable,
    };
    Failure::new(kind, &format!("cannot {doing}: {}", WithCauses(error)))
}

/// Whether this thread has a capability; true when that cannot be read, because trying says it then.
pub(super) fn has_capability(number: u32) -> bool {
    let Ok(status) = fs::read_to_string("/proc/thread-self/status") else {
        return true;
    };
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|it| u64::from_str_radix(it.trim(), 16).ok())
        .is_none_or(|bits| bits & (1 << number) != 0)
}

/// Fails without a capability.
pub(super) fn require_capability(number: u32, name: &str, what: &str) -> Result<(), Failure> {
    if has_capability(number) {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Denied,
        &format!("{name} is needed to take {what}"),
    ))
}

/// Takes what the kernel may load modules for, and tells which ones it loaded meanwhile.
pub(super) fn telling_modules(proc: &Path, take: impl FnOnce() -> Result<(), Failure>) -> Result<Collected, Failure> {
    let before = loaded(proc);
    take()?;
    let mut collected = Collected::default();
    if let (Some(before), Some(after)) = (before, loaded(proc)) {
        for module in after.difference(&before) {
            let name = String::from_utf8_lossy(module);
            let line = format!("the kernel loaded the module {name} meanwhile");
            collected.changes.push(line.into());
        }
    }
    Ok(collected)
}

fn loaded(proc: &Path) -> Option<BTreeSet<Box<[u8]>>> {
    let text = fs::read(proc.join("modules")).ok()?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Some(
        lines
            .filter_map(|line| line.split(|byte| *byte == b' ').next())
            .map(Into::into)
            .collect(),
    )
}
