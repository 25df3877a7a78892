//! Look-ups that are derived from the state. Never stored: a state that was read back derives them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::Arc;

use staunch_model::{
    ActionKind, ContentHash, Evidence, EvidenceId, IncidentId, Playbook, SharedHash, StateKind, Target, Timestamp,
    Transaction, TransactionId, Watch,
};

use super::PendingNotice;
use super::candidates::Candidates;
use super::deadlines::{Deadlines, Subject};
use crate::compact::{Compact, CompactSet};
use crate::lists::ListedNetworks;
use crate::mutant::{Mutant, is};
use crate::networks::Networks;
use crate::standing::Standing;

/// Derived look-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The incidents of each key, oldest first. All but the newest hold a part of their attacker, or wait for a
    /// transaction that they have let go of.
    pub by_key: CompactSet<(KeyHash, IncidentId)>,
    /// The transaction that occupies each target: not ended, or stuck.
    pub by_target: CompactSet<(PlaceHash, TransactionId)>,
    /// Transactions that wait for an occupied target to be left: at most one, unless the holder is quarantined.
    pub next_by_target: BTreeSet<(ActionKind, Target, TransactionId)>,
    /// The evidence of a target that is being preserved, with its incident.
    pub open_evidence: BTreeSet<(Target, IncidentId, EvidenceId)>,
    /// Transactions waiting for their turn.
    pub queue: CompactSet<TransactionId>,
    /// Those of them that may be able to start.
    pub candidates: Candidates,
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
    /// The hashes of the playbooks that are kept, for incidents to share.
    hashes: BTreeMap<ContentHash, SharedHash>,
}

impl Index {
    /// Enters `transaction`, which is new to the index, as it is now. `others` are those that were entered before.
    pub(crate) fn enter(&mut self, transaction: &Transaction, others: &Compact<TransactionId, Transaction>) {
        let kind = transaction.state.kind();
        if stands(kind) {
            let (act, target) = (transaction.kind, &transaction.target);
            match self.holder_of(act, target, others) {
                None => drop(self.by_target.add((place_hash(act, target), transaction.id))),
                Some(holder) if holder == transaction.id => {}
                Some(_) => drop(self.next_by_target.insert((act, target.clone(), transaction.id))),
            }
        }
        if !kind.is_terminal() {
            self.deadlines
                .insert((transaction.deadline, Subject::Transaction(transaction.id)));
        }
        if kind == StateKind::Planned {
            self.queue.add(transaction.id);
            self.candidates.add(transaction.id);
        }
        self.in_flight += u32::from(kind.is_in_flight());
        if stands(kind) {
            self.standing.add(transaction.kind, kind);
        }
    }

    /// Follows `transaction`, which was entered with `kind` and `deadline`. The target is left for the next one only
    /// when it `ends`.
    pub(crate) fn follow(&mut self, (kind, deadline): (StateKind, Timestamp), transaction: &Transaction, ends: bool) {
        let id = transaction.id;
        let after = transaction.state.kind();
        let due = (!kind.is_terminal()).then_some(deadline);
        let due_after = (!after.is_terminal()).then_some(transaction.deadline);
        if due != due_after {
            match (due, due_after) {
                (Some(due), Some(after)) => self.deadlines.reschedule(id, due, after),
                (Some(due), None) => drop(self.deadlines.remove(&(due, Subject::Transaction(id)))),
                (None, Some(after)) => drop(self.deadlines.insert((after, Subject::Transaction(id)))),
                (None, None) => {}
            }
        }
        if kind != after {
            if kind == StateKind::Planned {
                self.queue.take(&id);
                self.candidates.take(id);
            }
            if after == StateKind::Planned {
                self.queue.add(id);
                self.candidates.add(id);
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

    /// Has `incident` looked at once more.
    pub(crate) fn touch(&mut self, incident: IncidentId) {
        // Mostly it is the newest of those, which is the last.
        if self.dirty.last() != Some(&incident) {
            self.dirty.add(incident);
        }
    }

    /// The place of `transaction` is for the one that waits for it the longest.
    fn leave_place(&mut self, transaction: &Transaction) {
        let (kind, target) = (transaction.kind, &transaction.target);
        let place = place_hash(kind, target);
        if !self.by_target.take(&(place, transaction.id)) {
            self.next_by_target.remove(&(kind, target.clone(), transaction.id));
            return;
        }
        let next = self.waiting_for(kind, target).next();
        if let Some(next) = next {
            self.next_by_target.remove(&(kind, target.clone(), next));
            self.by_target.add((place, next));
            if self.queue.contains(&next) {
                self.candidates.add(next);
            }
        }
    }

    /// The transactions that wait until an act of `kind` may be done at `target`, oldest first.
    pub(crate) fn waiting_for(&self, kind: ActionKind, target: &Target) -> impl Iterator<Item = TransactionId> {
        let of = |id| (kind, target.clone(), TransactionId(id));
        let waits = !self.next_by_target.is_empty();
        let range = waits.then(|| self.next_by_target.range(of(0)..=of(u64::MAX)));
        range.into_iter().flatten().map(|(_, _, id)| *id)
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
        let place = place_hash(transaction.kind, &transaction.target);
        self.by_target.contains(&(place, transaction.id)) || is(Mutant::TargetShared)
    }

    /// The one of `transactions` that occupies `target` for acts of `kind`.
    pub(crate) fn holder_of(
        &self,
        kind: ActionKind,
        target: &Target,
        transactions: &Compact<TransactionId, Transaction>,
    ) -> Option<TransactionId> {
        let place = place_hash(kind, target);
        let is_there = |it: &Transaction| it.kind == kind && it.target == *target;
        self.by_target
            .up_from(&(place, TransactionId(0)))
            .take_while(|((of, _), ())| *of == place)
            .find_map(|((_, id), ())| transactions.get(id).filter(|it| is_there(it)).map(|_| *id))
    }

    /// Has incidents share the hashes of `playbooks`, which are all that are kept.
    pub(crate) fn share_hashes(&mut self, playbooks: &BTreeMap<ContentHash, Arc<Playbook>>) {
        self.hashes.retain(|hash, _| playbooks.contains_key(hash));
        for hash in playbooks.keys() {
            self.hashes.entry(*hash).or_insert_with(|| SharedHash::from(*hash));
        }
    }

    /// `hash` as incidents keep it.
    pub(crate) fn shared_hash(&self, hash: ContentHash) -> SharedHash {
        let kept = self.hashes.get(&hash).cloned();
        kept.unwrap_or_else(|| SharedHash::from(hash))
    }
}

/// A hash of a playbook and an incident key. Two keys may have the same: who looks one up compares the incident found.
/// It is never stored, so that it need not be the same in another build.
pub type KeyHash = u64;

/// The look-up key of an incident.
#[must_use]
pub fn key_hash(playbook: ContentHash, key: &str) -> KeyHash {
    let mut hasher = DefaultHasher::new();
    // It is a hash, so that a part of it will do.
    hasher.write(&playbook.as_bytes()[..size_of::<KeyHash>()]);
    hasher.write(key.as_bytes());
    hasher.finish()
}

/// A number for a kind of action and a target: of an IPv4 address one of its own among those, and a hash of any other.
/// As with [`KeyHash`], two may have the same, and it is never stored.
pub type PlaceHash = u64;

fn place_hash(kind: ActionKind, target: &Target) -> PlaceHash {
    if let Target::Address(IpAddr::V4(ip)) = target {
        // Most are one, and are numbers as they are: no two of them are the same, whoever chooses them.
        const { assert!(ActionKind::ALL.len() <= 1 << u8::BITS, "a kind fits below an address") };
        return u64::from(ip.to_bits()) << u8::BITS | kind as u64;
    }
    let mut hasher = DefaultHasher::new();
    (kind, target).hash(&mut hasher);
    hasher.finish()
}

/// True for what has not ended, or is stuck: it occupies its target.
const fn stands(kind: StateKind) -> bool {
    !kind.is_terminal() || matches!(kind, StateKind::Stuck)
}

#[cfg(test)]
mod tests {
    use staunch_model::Incident;

    use super::*;
    use crate::apply::new_transaction;
    use crate::state::EngineState;

    const TARGETS: [Target; 2] = [
        Target::Address(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1))),
        Target::Address(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2))),
    ];

    fn plan(state: &mut EngineState, id: u64, target: &Target) {
        let id = TransactionId(id);
        let it = new_transaction(id, id, IncidentId(1), ActionKind::BlockIp, target.clone());
        state.index.enter(&it, &state.transactions);
        state.transactions.insert(id, it);
    }

    #[test]
    fn two_places_of_one_hash_are_told_apart() {
        let mut state = EngineState::default();
        let [one, other] = TARGETS;
        plan(&mut state, 1, &one);
        // As if the hash of the other were the same.
        let place = place_hash(ActionKind::BlockIp, &other);
        state.index.by_target.add((place, TransactionId(1)));
        assert_eq!(state.holder_of(ActionKind::BlockIp, &other), None);
        plan(&mut state, 2, &other);
        assert_eq!(state.holder_of(ActionKind::BlockIp, &other), Some(TransactionId(2)));
        assert!(state.index.next_by_target.is_empty(), "its place was free");
        assert_eq!(state.holder_of(ActionKind::BlockIp, &one), Some(TransactionId(1)));
        assert_eq!(state.holder_of(ActionKind::IsolateHost, &one), None);
    }

    #[test]
    fn a_place_that_is_left_is_for_the_one_that_has_waited_longest() {
        let mut state = EngineState::default();
        let [target, _] = TARGETS;
        for id in 1..=3 {
            plan(&mut state, id, &target);
        }
        let ended = state.transactions[&TransactionId(1)].clone();
        state.index.leave_place(&ended);
        let waiting: Vec<_> = state.index.waiting_for(ActionKind::BlockIp, &target).collect();
        assert_eq!(waiting, [TransactionId(3)]);
        let has_place = |id| state.index.owns_target(&state.transactions[&TransactionId(id)]);
        assert_eq!([1, 2, 3].map(has_place), [false, true, false]);
    }

    /// There are 100,000 of each, so that what is added to one is paid for 100,000 times: see the memory of a server in
    /// `docs/reference/performance.md`.
    #[test]
    fn an_open_lease_takes_as_little_as_it_is_said_to() {
        let own = (size_of::<Transaction>(), size_of::<Incident>());
        assert_eq!(own, (128, 112));
        let entries = (
            size_of::<(KeyHash, IncidentId)>(),
            size_of::<(PlaceHash, TransactionId)>(),
        );
        assert_eq!(entries, (16, 16));
    }
}
