//! What befalls a server, and how often.

/// What befalls a server in a round. Each ends with SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Killed while it starts, reads, recovers.
    Start,
    /// Killed when what the start took up may still be under way.
    Early,
    /// Killed up to a second into the load.
    Load,
    /// Killed while everything is being released.
    Release,
    /// Killed while a snapshot is being written.
    Snapshot,
    /// Stopped for a while and continued under load.
    Stop,
    /// Its wall clock is set hours ahead or back under load.
    Clock,
    /// Somebody else takes all room of the disk; killed, started and made to release on the full disk.
    Full,
    /// The file system meets an error under load and turns read-only.
    Broken,
    /// Started on a file system that is mounted read-only.
    ReadOnly,
    /// Killed while all writes hang.
    Frozen,
    /// Somebody else empties the sets.
    Flushed,
    /// Somebody else removes one element.
    Deleted,
    /// Somebody else adds elements, also of attackers yet to come.
    Foreign,
}

/// Each kind, and how often it is drawn.
pub(crate) const KINDS: [(Kind, u64); 14] = [
    (Kind::Start, 8),
    (Kind::Early, 6),
    (Kind::Load, 4),
    (Kind::Release, 4),
    (Kind::Snapshot, 3),
    (Kind::Stop, 2),
    (Kind::Clock, 2),
    (Kind::Full, 2),
    (Kind::Broken, 2),
    (Kind::ReadOnly, 1),
    (Kind::Frozen, 2),
    (Kind::Flushed, 2),
    (Kind::Deleted, 2),
    (Kind::Foreign, 2),
];
