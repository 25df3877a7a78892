//! Collectors: drivers that preserve evidence. They read and hand over; what is kept, under which name and for how
//! long, is the vault's, and what containment waits for is the engine's.

use std::io;

use staunch_model::{EvidenceId, EvidenceKind, EvidenceOptions, Failure, IncidentId, Span, Target, Timestamp};

/// Static facts about a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collects {
    /// Its name, such as `linux/processes`.
    pub name: &'static str,
    /// What it takes.
    pub kind: EvidenceKind,
    /// What the process needs for it, in words of an operator, such as `CAP_SYS_PTRACE`; empty when nothing.
    pub needs: &'static [&'static str],
    /// What taking it changes on this machine, whatever it finds; empty when nothing.
    pub changes: &'static [&'static str],
    /// The longest that one collection takes before it gives up by itself, where containment does not wait longer.
    pub takes_max: Span,
}

/// A request to preserve evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectRequest {
    /// Which evidence.
    pub evidence: EvidenceId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// Of what; `None` when it is of this machine as a whole.
    pub target: Option<Target>,
    /// What the playbook says beside.
    pub options: EvidenceOptions,
    /// How much time is left: until containment waits no longer, or [`Collects::takes_max`] where that is longer.
    pub time_left: Span,
}

/// What an artefact is, as its collector says when it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// A file name for it, such as `processes.json`: lower case, without directories.
    pub name: Box<str>,
    /// Its media type, such as `application/json`.
    pub media_type: &'static str,
    /// Where it was found, such as `/var/log/auth.log` or `netlink:NETLINK_ROUTE/RTM_GETROUTE`.
    pub locator: Box<str>,
    /// How it is read: the calls and their parameters.
    pub method: Box<str>,
    /// When its original was last changed, where it has such a time.
    pub modified: Option<Timestamp>,
}

/// Where a collector puts what it reads: one artefact after the other, each between `begin` and `end`.
///
/// Writing fails with [`io::ErrorKind::FileTooLarge`] beyond the bound of an artefact and with
/// [`io::ErrorKind::TimedOut`] after [`CollectRequest::time_left`]; a collector stops then, and nothing is kept of that
/// artefact.
pub trait Sink: io::Write {
    /// Begins an artefact.
    ///
    /// # Errors
    /// When nothing can be stored, or when the one before has not ended.
    fn begin(&mut self, about: About) -> io::Result<()>;

    /// Ends it: it is sealed and can no longer change.
    ///
    /// # Errors
    /// When it could not be stored durably; nothing of it is kept then.
    fn end(&mut self) -> io::Result<()>;

    /// Drops what was begun, if anything, and records that it could not be taken, which is evidence of its own.
    fn missed(&mut self, about: About, failure: Failure);
}

/// What a collection did beside reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// What this collection changed on this machine, beside [`Collects::changes`]: one line each.
    pub changes: Vec<Box<str>>,
}

/// A driver that preserves evidence.
///
/// Each call is bounded in time by the driver itself. Asking twice stores the same or newer evidence. What it reads is
/// written by attackers: it is stored as it is, and never believed.
pub trait Collector: Send {
    /// Static facts.
    fn describe(&self) -> Collects;

    /// The programs that it runs, each as exactly as it can be told. Default none.
    fn tools(&self) -> Vec<Box<str>> {
        Vec::new()
    }

    /// Looks whether it can be taken. Changes nothing.
    ///
    /// # Errors
    /// Why it cannot: a permission that is missing, a target that is gone, a kernel that has no such thing.
    fn observe(&mut self, request: &CollectRequest) -> Result<(), Failure>;

    /// Takes it.
    ///
    /// # Errors
    /// When nothing could be taken; what was sealed before stays. Parts that could not be taken are told with
    /// [`Sink::missed`] and are no error.
    fn execute(&mut self, request: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure>;

    /// Removes what a collection that was cut off has left on this machine, such as a filter of packets. `Ok` when
    /// nothing of it is there.
    ///
    /// # Errors
    /// When something is left.
    fn undo(&mut self, evidence: EvidenceId) -> Result<(), Failure>;
}
