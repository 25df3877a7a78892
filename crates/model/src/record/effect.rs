//! What goes out of the engine. Never stored: effects follow from records.

use serde::{Deserialize, Serialize};

use super::Notice;
use crate::action::ActionKind;
use crate::evidence::{EvidenceKind, EvidenceOptions};
use crate::id::{ContentHash, EffectKey, EvidenceId, IncidentId, TransactionId, WatchId};
use crate::target::Target;
use crate::time::{Span, Timestamp};

/// Something the runtime is to do. Effects come out of `apply` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look at the world. Reads nothing but the world, so it may leave before its frame is durable.
    Observe {
        /// For which transaction.
        transaction: TransactionId,
        /// The number the reply must carry.
        ticket: u32,
        /// What for.
        purpose: ObservePurpose,
        /// What kind of action.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// Whether the enrichers are to be asked for the traffic share.
        traffic: bool,
        /// When the reply is given up.
        deadline: Timestamp,
    },
    /// Act. Only after its frame is durable.
    Execute {
        /// For which transaction.
        transaction: TransactionId,
        /// The number the reply must carry.
        ticket: u32,
        /// What kind of action.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// The idempotency key.
        key: EffectKey,
        /// The version of the world that was judged; 0 in a renewal.
        version: u64,
        /// How long the enforcement point keeps it by itself.
        hold: Span,
        /// True when it only moves the end of a containment that is in force.
        renewal: bool,
        /// When it is too late to send it: what is sent by then has landed, or never will, by the deadline.
        send_by: Timestamp,
        /// When the reply is given up.
        deadline: Timestamp,
    },
    /// Undo. Only after its frame is durable.
    Undo {
        /// For which transaction: the one on the object's label.
        label: TransactionId,
        /// The transaction that is answered.
        transaction: TransactionId,
        /// The number the reply must carry.
        ticket: u32,
        /// What kind of action.
        kind: ActionKind,
        /// Where.
        target: Target,
        /// The idempotency key.
        key: EffectKey,
        /// Whether it was in force, verified, until its lease ended.
        lease_ended: bool,
        /// When the reply is given up.
        deadline: Timestamp,
    },
    /// Tell people. Only after its frame is durable.
    Notify(Notice),
    /// Preserve evidence. Only after its frame is durable. Asking twice stores the same or newer evidence.
    Collect {
        /// Which evidence.
        evidence: EvidenceId,
        /// The incident it belongs to.
        incident: IncidentId,
        /// What it is.
        kind: EvidenceKind,
        /// Of what; `None` when it is of this machine as a whole.
        target: Option<Target>,
        /// What the playbook says beside.
        options: Box<EvidenceOptions>,
        /// On whose authority: the name of the playbook.
        playbook: Box<str>,
        /// The hash of its text.
        playbook_hash: ContentHash,
        /// When containment waits for it no longer.
        deadline: Timestamp,
    },
    /// Read a health signal. Reads nothing but the world, so it may leave before its frame is durable.
    ReadHealth {
        /// The incident.
        incident: IncidentId,
        /// For which watch.
        watch: WatchId,
        /// The number the reply must carry.
        ticket: u32,
        /// The signal's name in the configuration.
        signal: Box<str>,
        /// When the reply is given up.
        deadline: Timestamp,
    },
}

impl Effect {
    /// True for effects that change nothing outside and may leave before their frame is durable.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Observe { .. } | Self::ReadHealth { .. })
    }
}

/// Why the world is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservePurpose {
    /// Before the act.
    PreCheck,
    /// After it.
    PostCheck,
    /// After an undo.
    Probe,
}
