//! Look-ups that are derived from the state. Never stored: a state that was read back derives them anew.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::RangeInclusive;

use staunch_model::{
    ActionKind, ContentHash, Evidence, EvidenceId, IncidentId, StateKind, Target, Timestamp, Transaction,
    TransactionId, Watch,
};

use super::PendingNotice;
use super::deadlines::{Deadlines, Subject};
use crate::compact::{Compact, CompactSet};
use crate::lists::ListedNetworks;
use crate::mutant::{Mutant, is};
use crate::networks::Networks;
use crate::standing::Standing;

/// Derived look-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The incidents of each key, oldest first. All but the newest wait for a transaction that they have let go of.
    pub by_key: CompactSet<(KeyHash, IncidentId)>,
    /// The transaction that occupies a target: not ended, or stuck.
    pub by_target: Compact<(ActionKind, Target), TransactionId>,
    /// Transactions that wait for an occupied target to be left: at most one, unless the holder is quarantined.
    pub next_by_target: BTreeSet<(ActionKind, Target, TransactionId)>,
    /// The evidence of a target that is being preserved, with its incident.
    pub open_evidence: BTreeSet<(Target, IncidentId, EvidenceId)>,
    /// Transactions waiting for their turn.
    pub queue: CompactSet<TransactionId>,
    /// What is due when.
    pub deadlines: Deadlines,
    /// Transactions in flight.
    pub in_flight: u32,
    /// How many transactions are in each state. Those that have ended, and are not stuck, are not counted.
    pub standing: Standing,
    /// How many incidents are open.
    pub incidents_open: u64,
    /// Incidents whose transactions have changed since they were last looked at.
    pub dirty: CompactSet<IncidentId>,
    /// The networks that are never touched by the policy.
    pub never_touch: Networks,
    /// Those that are never touched by a list.
    pub listed: ListedNetworks,
}

impl Index {
    /// Enters `transaction`, which is new to the index, as it is now.
    pub(crate) fn enter(&mut self, transaction: &Transaction) {
        let kind = transaction.state.kind();
        let place = (transaction.kind, transaction.target.clone());
        if stands(kind) {
            match self.by_target.get(&place) {
                None => drop(self.by_target.insert(place, transaction.id)),
                Some(holder) if *holder == transaction.id => {}
                Some(_) => drop(self.next_by_target.insert((place.0, place.1, transaction.id))),
            }
        }
        if !kind.is_terminal() {
            self.deadlines
                .insert((transaction.deadline, Subject::Transaction(transaction.id)));
        }
        if kind == StateKind::Planned {
            self.queue.add(transaction.id);
        }
        self.in_flight += u32::from(kind.is_in_flight());
        if stands(kind) {
            self.standing.add(transaction.kind, kind);
        }
    }

    /// Follows `transaction`, which was entered with `kind` and `deadline`. The target is left for the next one only when
    /// it `ends`.
    pub(crate) fn follow(&mut self, (kind, deadline): (StateKind, Timestamp), transaction: &Transaction, ends: bool) {
        let id = transaction.id;
        let after = transaction.state.kind();
        let due = (!kind.is_terminal()).then_some(deadline);
        let due_after = (!after.is_terminal()).then_some(transaction.deadline);
        if due != due_after {
            if let Some(due) = due {
                self.deadlines.remove(&(due, Subject::Transaction(id)));
            }
            if let Some(due) = due_after {
                self.deadlines.insert((due, Subject::Transaction(id)));
            }
        }
        if kind != after {
            if kind == StateKind::Planned {
                self.queue.take(&id);
            }
            if after == StateKind::Planned {
                self.queue.add(id);
            }
            self.in_flight -= u32::from(kind.is_in_flight());
            self.in_flight += u32::from(after.is_in_flight());
            if stands(kind) {
                self.standing.take(transaction.kind, kind);
            }
            if stands(after) {
                self.standing.add(transaction.kind, after);
            }
        }
        if ends {
            self.leave_place(transaction);
        }
        debug_assert!(
            ends || self.owns_target(transaction)
                || self
                    .waiting_for(transaction.kind, &transaction.target)
                    .any(|waiting| waiting == id),
            "what has not ended has its place, or waits for it"
        );
    }

    /// The place of `transaction` is for the one that waits for it the longest.
    fn leave_place(&mut self, transaction: &Transaction) {
        let (kind, target) = (transaction.kind, &transaction.target);
        let place = (kind, target.clone());
        if self.by_target.get(&place) != Some(&transaction.id) {
            self.next_by_target.remove(&(kind, target.clone(), transaction.id));
            return;
        }
        self.by_target.remove(&place);
        let next = self.waiting_for(kind, target).next();
        if let Some(next) = next {
            self.next_by_target.remove(&(kind, target.clone(), next));
            self.by_target.insert(place, next);
        }
    }

    /// The transactions that wait until an act of `kind` may be done at `target`, oldest first.
    pub(crate) fn waiting_for(&self, kind: ActionKind, target: &Target) -> impl Iterator<Item = TransactionId> {
        let of = |id| (kind, target.clone(), TransactionId(id));
        self.next_by_target.range(of(0)..=of(u64::MAX)).map(|(_, _, id)| *id)
    }

    /// Enters an incident, which is newer than all others of its key.
    pub(crate) fn enter_key(&mut self, key: KeyHash, incident: IncidentId) {
        self.by_key.add((key, incident));
    }

    /// Takes an incident out; the next older one of its key is then the newest.
    pub(crate) fn leave_key(&mut self, key: KeyHash, incident: IncidentId) {
        self.by_key.take(&(key, incident));
    }

    /// Enters a notice as it is now.
    pub(crate) fn enter_notice(&mut self, pending: &PendingNotice) {
        self.deadlines
            .insert((pending.deadline(), Subject::Notice(pending.notice.id)));
    }

    /// Takes out what [`Index::enter_notice`] entered.
    pub(crate) fn leave_notice(&mut self, pending: &PendingNotice) {
        self.deadlines
            .remove(&(pending.deadline(), Subject::Notice(pending.notice.id)));
    }

    /// Enters evidence as it is now.
    pub(crate) fn enter_evidence(&mut self, evidence: &Evidence) {
        if evidence.is_open() {
            self.deadlines.insert((evidence.due(), Subject::Evidence(evidence.id)));
            if let Some(target) = &evidence.target {
                self.open_evidence
                    .insert((target.clone(), evidence.incident, evidence.id));
            }
        }
    }

    /// Takes out what [`Index::enter_evidence`] entered.
    pub(crate) fn leave_evidence(&mut self, evidence: &Evidence) {
        self.deadlines.remove(&(evidence.due(), Subject::Evidence(evidence.id)));
        if let Some(target) = &evidence.target {
            self.open_evidence
                .remove(&(target.clone(), evidence.incident, evidence.id));
        }
    }

    /// The incidents that are preserving something of `target`; one may be told several times.
    pub(super) fn preserving(&self, target: &Target) -> impl Iterator<Item = IncidentId> {
        let of = |at| (target.clone(), IncidentId(at), EvidenceId(at));
        let range = (!self.open_evidence.is_empty()).then(|| self.open_evidence.range(of(0)..=of(u64::MAX)));
        range.into_iter().flatten().map(|(_, incident, _)| *incident)
    }

    /// Enters a watch as it is now.
    pub(crate) fn enter_watch(&mut self, watch: &Watch) {
        if let Some(due) = watch.due {
            self.deadlines.insert((due, Subject::Watch(watch.incident, watch.id)));
        }
    }

    /// Takes out what [`Index::enter_watch`] entered.
    pub(crate) fn leave_watch(&mut self, watch: &Watch) {
        if let Some(due) = watch.due {
            self.deadlines.remove(&(due, Subject::Watch(watch.incident, watch.id)));
        }
    }

    /// True when `transaction` may start: its target is not occupied by another one.
    pub(crate) fn owns_target(&self, transaction: &Transaction) -> bool {
        self.by_target.get(&(transaction.kind, transaction.target.clone())) == Some(&transaction.id)
            || is(Mutant::TargetShared)
    }
}

/// A hash of a playbook and an incident key. Two keys may have the same: who looks one up compares the incident found. It
/// is never stored, so that it need not be the same in another build.
pub type KeyHash = u64;

/// The look-up key of an incident.
#[must_use]
pub fn key_hash(playbook: ContentHash, key: &str) -> KeyHash {
    let mut hasher = DefaultHasher::new();
    hasher.write(playbook.as_bytes());
    hasher.write(key.as_bytes());
    hasher.finish()
}

/// Everything in [`Index::by_key`] with this hash.
pub(super) fn of_key(hash: KeyHash) -> RangeInclusive<(KeyHash, IncidentId)> {
    (hash, IncidentId(0))..=(hash, IncidentId(u64::MAX))
}

/// True for what has not ended, or is stuck: it occupies its target.
const fn stands(kind: StateKind) -> bool {
    !kind.is_terminal() || matches!(kind, StateKind::Stuck)
}
