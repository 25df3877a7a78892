//! The state as bytes, and back.
//!
//! Never trusts the bytes: what no history leads to is refused, and what is derived is not among them.

use staunch_model::{ContentHash, IncidentId, IncidentStatus, StateKind, Transaction, encode_onto};

use super::EngineState;
use super::index::{Index, key_hash};
use crate::limits;
use crate::lists::ListedNetworks;
use crate::networks::Networks;

/// What a snapshot begins with: that it is one, and the number of its form.
///
/// The form is that of [`EngineState`] and all that is in it: when a field of it comes, goes or moves, the number
/// grows. What is of another form is refused, and the journal tells what it held.
pub const SNAPSHOT_FORM: [u8; 8] = *b"staunch\x01";

/// Bytes of a state that are handed on at once.
const ENCODED_AT_ONCE: usize = 8 * 1024;

impl EngineState {
    /// The hash of everything that is stored: equal states have equal hashes.
    ///
    /// # Panics
    /// Never: the state has no value that cannot be encoded.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(&self.encode())
    }

    /// The state as bytes, for a snapshot.
    ///
    /// # Panics
    /// Never: the state has no value that cannot be encoded.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let begun = SNAPSHOT_FORM.to_vec();
        encode_onto(self, begun).expect("every type of the state can be encoded")
    }

    /// Writes what [`EngineState::encode`] returns to `out`, piece by piece.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn encode_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let mut pieces = std::io::BufWriter::with_capacity(ENCODED_AT_ONCE, out);
        std::io::Write::write_all(&mut pieces, &SNAPSHOT_FORM)?;
        postcard::to_io(self, &mut pieces).map_err(std::io::Error::other)?;
        std::io::Write::flush(&mut pieces)
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    /// When the bytes are not a state of [`SNAPSHOT_FORM`], or one that no history leads to.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let bytes = bytes
            .strip_prefix(&SNAPSHOT_FORM)
            .ok_or(postcard::Error::SerdeDeCustom)?;
        let (mut state, rest): (Self, _) = postcard::take_from_bytes(bytes)?;
        // What is left over is of a form that knows more.
        if !rest.is_empty() || !state.hangs_together() {
            return Err(postcard::Error::SerdeDeCustom);
        }
        state.rebuild_index();
        Ok(state)
    }

    /// True when everything is where its own id says, under an id that was given out, and what refers to something that
    /// must be there finds it. Incidents and transactions have their ids in them, and were read under no others.
    fn hangs_together(&self) -> bool {
        // Half of them leave room to number all that can follow.
        const LAST_MAX: u64 = u64::MAX / 2;
        let ids_fit = [
            self.last_incident,
            self.last_transaction,
            self.last_notice,
            self.last_evidence,
            self.last_watch,
        ]
        .into_iter()
        .all(|last| last <= LAST_MAX);
        let given = |id: u64, last: u64| (1..=last).contains(&id);
        let planned = |it: &Transaction| it.incident == IncidentId(0) || self.incidents.contains_key(&it.incident);
        let lives = |it: &Transaction| !it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck;
        ids_fit
            && self.now <= limits::NOW_MAX
            && self.playbooks.iter().all(|(hash, it)| *hash == it.hash)
            && self.incidents.keys().all(|id| given(id.0, self.last_incident))
            && self
                .transactions
                .values()
                .all(|it| given(it.id.0, self.last_transaction) && planned(it))
            && self
                .notices
                .iter()
                .all(|(id, it)| *id == it.notice.id && given(id.0, self.last_notice))
            && self.evidence.iter().all(|(id, it)| {
                *id == it.id && given(id.0, self.last_evidence) && self.incidents.contains_key(&it.incident)
            })
            && self.watches.iter().all(|((incident, id), it)| {
                (*incident, *id) == (it.incident, it.id)
                    && given(id.0, self.last_watch)
                    && self.incidents.contains_key(incident)
            })
            && self.recoveries.keys().all(|id| self.incidents.contains_key(id))
            && self
                .quarantined
                .keys()
                .all(|id| self.transactions.get(id).is_some_and(lives))
    }

    fn rebuild_index(&mut self) {
        self.index = Index::default();
        self.index.share_hashes(&self.playbooks);
        self.repeats.rebuild();
        if let Some(policy) = &self.policy {
            self.index.never_touch = Networks::new(&policy.never_touch);
        }
        self.index.listed = ListedNetworks::of(&self.lists);
        let incidents: Vec<_> = self.incidents.keys().copied().collect();
        for id in incidents {
            if let Some(incident) = self.incidents.get_mut(&id) {
                incident.playbook = self.index.shared_hash(*incident.playbook);
                self.index.incidents_open += u64::from(incident.status == IncidentStatus::Open);
                self.index.enter_key(key_hash(*incident.playbook, &incident.key), id);
            }
            self.enter_incident(id);
        }
        for pending in self.notices.values() {
            self.index.enter_notice(pending);
        }
        for evidence in self.evidence.values() {
            self.index.enter_evidence(evidence);
        }
        for watch in self.watches.values() {
            self.index.enter_watch(watch);
        }
        // The oldest occupies a target: what wants it while it is occupied is planned later.
        for transaction in self.transactions.values() {
            self.index.enter(transaction, &self.transactions);
        }
    }
}
