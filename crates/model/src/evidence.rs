//! Evidence: what is preserved before an incident is contained.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::action::{ActionKind, Failure};
use crate::id::{ContentHash, EvidenceId, IncidentId};
use crate::target::{Aim, Target};
use crate::time::{Span, Timestamp};

/// The kinds of evidence there are. A kind says what is preserved; a collector says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// The flows from and to the target that the kernel tracks, and the sockets and processes at their ends here.
    Flows,
    /// Links, their addresses, routes, rules and neighbours (ARP and NDP) of this machine.
    Network,
    /// All sockets of this machine with the processes that hold them.
    Sockets,
    /// All processes of this machine, and who started whom.
    Processes,
    /// One process and what it has started: command line, environment, maps, open files, hash of its program, group,
    /// container.
    Process,
    /// Who is logged in.
    Logins,
    /// The loaded modules of the kernel.
    Modules,
    /// The ruleset of nftables.
    Ruleset,
    /// Packets from and to the target, for a while.
    Capture,
    /// Files that the playbook names.
    Files,
    /// What the journal of systemd holds of the last while.
    Journal,
}

impl EvidenceKind {
    /// All kinds, the most volatile first: the order in which they are taken (RFC 3227, section 2.1).
    pub const ALL: [Self; 11] = [
        Self::Network,
        Self::Flows,
        Self::Sockets,
        Self::Process,
        Self::Processes,
        Self::Logins,
        Self::Modules,
        Self::Ruleset,
        Self::Capture,
        Self::Journal,
        Self::Files,
    ];

    /// The name in playbooks and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Network => "network",
            Self::Sockets => "sockets",
            Self::Processes => "processes",
            Self::Process => "process",
            Self::Logins => "logins",
            Self::Modules => "modules",
            Self::Ruleset => "ruleset",
            Self::Capture => "capture",
            Self::Files => "files",
            Self::Journal => "journal",
        }
    }

    /// What it is taken of; `None` when it is of this machine as a whole.
    #[must_use]
    pub const fn aims_at(self) -> Option<Aim> {
        match self {
            Self::Flows | Self::Capture => Some(Aim::Address),
            Self::Process => Some(Aim::Process),
            Self::Network
            | Self::Sockets
            | Self::Processes
            | Self::Logins
            | Self::Modules
            | Self::Ruleset
            | Self::Files
            | Self::Journal => None,
        }
    }

    /// How volatile it is, by the list of RFC 3227, section 2.1, from 1 (registers) to 7 (archival media).
    #[must_use]
    pub const fn volatility(self) -> u8 {
        match self {
            Self::Flows
            | Self::Network
            | Self::Sockets
            | Self::Processes
            | Self::Process
            | Self::Logins
            | Self::Modules
            | Self::Ruleset
            | Self::Capture => 2,
            Self::Files | Self::Journal => 4,
        }
    }

    /// Whether an act of this kind can destroy it, so that the act waits until it is sealed.
    #[must_use]
    pub const fn is_destroyed_by(self, action: ActionKind) -> bool {
        match action {
            // Its flows are forgotten, and nothing more of it arrives.
            ActionKind::BlockIp | ActionKind::RateLimitIp => {
                matches!(self, Self::Flows | Self::Sockets | Self::Capture)
            }
            ActionKind::IsolateHost => matches!(self, Self::Flows | Self::Sockets | Self::Capture | Self::Network),
            // It may write over what it has written, and what it had open is closed.
            ActionKind::KillProcess => {
                matches!(
                    self,
                    Self::Flows | Self::Sockets | Self::Processes | Self::Process | Self::Capture
                )
            }
            // A frozen process answers nobody, and others end what waits for it.
            ActionKind::FreezeProcess => matches!(self, Self::Flows | Self::Sockets | Self::Capture),
            // Its sessions are ended, and so are their processes.
            ActionKind::LockAccount => {
                matches!(
                    self,
                    Self::Logins | Self::Processes | Self::Process | Self::Flows | Self::Sockets
                )
            }
            ActionKind::SinkholeDomain => false,
            // What a program of the operator's does is not known: it may well install the machine anew.
            ActionKind::ExecJob => true,
        }
    }
}

/// What a playbook says beside the kind and the target of a piece of evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceOptions {
    /// The files to take, absolute paths in which `*` stands for any part of one name.
    pub paths: Vec<Box<str>>,
    /// The units of systemd whose lines are taken; all of them when empty.
    pub units: Vec<Box<str>>,
    /// How far back it reaches (`journal`), or how long it lasts (`capture`).
    pub window: Option<Span>,
    /// The most bytes of one artefact; the vault's own bound when `None`.
    pub bytes_max: Option<u64>,
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Evidence that was stored and can no longer be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The SHA-256 of the record of its collection, which names its artefacts with their hashes and is found under it.
    pub hash: ContentHash,
    /// The size of its artefacts in bytes.
    pub bytes: u64,
    /// How many artefacts there are.
    pub artefacts: u32,
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
    /// Of what; `None` when it is of this machine as a whole, or when the event names nothing.
    pub target: Option<Target>,
    /// What the playbook says beside.
    pub options: Box<EvidenceOptions>,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/reference/playbooks.md, which nothing else states: who changes a row has to mean it.
    #[test]
    fn acts_destroy_what_the_reference_says() {
        let all_but_domains = "block-ip freeze-process rate-limit-ip kill-process isolate-host lock-account exec-job";
        let table = [
            (EvidenceKind::Network, "isolate-host exec-job"),
            (EvidenceKind::Flows, all_but_domains),
            (EvidenceKind::Sockets, all_but_domains),
            (EvidenceKind::Process, "kill-process lock-account exec-job"),
            (EvidenceKind::Processes, "kill-process lock-account exec-job"),
            (EvidenceKind::Logins, "lock-account exec-job"),
            (EvidenceKind::Modules, "exec-job"),
            (EvidenceKind::Ruleset, "exec-job"),
            (
                EvidenceKind::Capture,
                "block-ip freeze-process rate-limit-ip kill-process isolate-host exec-job",
            ),
            (EvidenceKind::Journal, "exec-job"),
            (EvidenceKind::Files, "exec-job"),
        ];
        assert_eq!(table.map(|(kind, _)| kind), EvidenceKind::ALL);
        for (kind, acts) in table {
            let destroyed_by = ActionKind::ALL.into_iter().filter(|act| kind.is_destroyed_by(*act));
            let names: Vec<_> = destroyed_by.map(ActionKind::name).collect();
            assert_eq!(names.join(" "), acts, "{kind}");
        }
    }
}
