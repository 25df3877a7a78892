//! Evidence: what is preserved before an incident is contained.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::action::Failure;
use crate::id::{ContentHash, EvidenceId, IncidentId};
use crate::target::Target;
use crate::time::Timestamp;

/// The kinds of evidence there are. A kind says what is preserved; a collector says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// The flows from and to the target that the kernel tracks. Cutting them off destroys this.
    Flows,
}

impl EvidenceKind {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::Flows];

    /// The name in playbooks and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
        }
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Evidence that was stored and can no longer be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The hash of its content, under which it is found.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A piece of evidence as the engine keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its id.
    pub id: EvidenceId,
    /// The incident it belongs to.
    pub incident: IncidentId,
    /// What it is.
    pub kind: EvidenceKind,
    /// Of what; `None` when the event names nothing.
    pub target: Option<Target>,
    /// When containment waits for it no longer.
    pub deadline: Timestamp,
    /// How often it was asked for.
    pub attempts: u16,
    /// When it is asked for again; `None` while a reply is awaited.
    pub retry_at: Option<Timestamp>,
    /// What was stored. It may come after it was missed.
    pub sealed: Option<Sealed>,
    /// Why containment went on without it: the evidence is degraded.
    pub missed: Option<Box<Failure>>,
}

impl Evidence {
    /// True while containment waits for it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.sealed.is_none() && self.missed.is_none()
    }

    /// When the engine looks at it again by itself, while it is open.
    #[must_use]
    pub fn due(&self) -> Timestamp {
        self.retry_at.map_or(self.deadline, |at| at.min(self.deadline))
    }
}
