//! The engine's state: the fold of all records, with the indexes that make it quick to ask.
//!
//! Only [`crate::apply`] changes it. Everything under [`Index`] is derived and never stored.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use staunch_model::{
    ActionKind, Await, ContentHash, ContextTable, Description, EffectKey, Evidence, EvidenceId, Failure, Incident,
    IncidentId, IncidentStatus, InstallationId, Limits, Mode, Notice, NoticeId, Playbook, Policy, Recovery, RiskTable,
    Span, StateKind, Target, Timestamp, Transaction, TransactionId, UndoClass, Watch, WatchId,
};

use crate::budget::Budgets;
use crate::compact::{Compact, CompactSet};
use crate::context::ByIncident;
use crate::exempt::Exemptions;
use crate::found::FoundTargets;
use crate::limits;
use crate::lists::{ListedNetworks, Lists};
use crate::mutant::{Mutant, is};
use crate::networks::Networks;
use crate::repeat::Repeats;
use crate::risk::KnownTargets;
use crate::standing::Standing;

/// Bytes of a state that are handed on at once.
const ENCODED_AT_ONCE: usize = 8 * 1024;

/// A notice that has not been taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingNotice {
    /// The notice.
    pub notice: Notice,
    /// How often it was sent.
    pub attempts: u16,
    /// When it is sent again; `None` while a reply is awaited.
    pub retry_at: Option<Timestamp>,
    /// When a reply that is awaited is given up.
    pub answer_by: Timestamp,
}

impl PendingNotice {
    /// When the engine looks at it again by itself.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.retry_at.unwrap_or(self.answer_by)
    }
}

/// Everything the engine knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineState {
    /// Whose journal this is.
    pub installation: InstallationId,
    /// The newest time the engine was given. It never goes back.
    pub now: Timestamp,
    /// The policy in force.
    pub policy: Option<Arc<Policy>>,
    /// Every playbook that the policy or an incident refers to.
    pub playbooks: BTreeMap<ContentHash, Arc<Playbook>>,
    /// Incidents that are open or still absorb events.
    pub incidents: Compact<IncidentId, Incident>,
    /// Transactions of those incidents.
    pub transactions: Compact<TransactionId, Transaction>,
    /// The evidence of those incidents.
    pub evidence: BTreeMap<EvidenceId, Box<Evidence>>,
    /// Notices that have not been taken yet.
    pub notices: BTreeMap<NoticeId, PendingNotice>,
    /// Acts and failures of the last hour.
    pub budgets: Budgets,
    /// When the circuit breaker opened; `None` while it is closed.
    pub breaker_open: Option<Timestamp>,
    /// The furthest that any playbook may go, as set by a person; the policy's word holds while it is `None`.
    pub mode_set: Option<Mode>,
    /// The networks that people have exempted from containment.
    pub exemptions: Exemptions,
    /// The targets whose lease ended of late, where leases grow.
    pub repeats: Repeats,
    /// When each kind of action was last swept.
    pub swept_at: BTreeMap<ActionKind, Timestamp>,
    /// Why the last sweep of a kind failed, if it did.
    pub sweep_failed: BTreeMap<ActionKind, Failure>,
    /// The last ids given out.
    pub last_incident: u64,
    /// See `last_incident`.
    pub last_transaction: u64,
    /// See `last_incident`.
    pub last_notice: u64,
    /// See `last_incident`.
    pub last_evidence: u64,
    /// Transactions that have come into force so far.
    pub completions: u64,
    /// Transactions with a record that does not fit, and why: nothing is decided on them and no further record of them
    /// counts, until the next start gives them up to a person.
    pub quarantined: BTreeMap<TransactionId, Box<str>>,
    /// Other records that did not fit and that nobody has been told of.
    pub unfit: Unfit,
    /// The networks that files list as never touched.
    pub lists: Lists,
    /// How incidents are told to be dangerous; `None` before a table is pinned.
    pub risk_table: Option<Arc<RiskTable>>,
    /// What feeds say of targets that are still to be judged.
    pub known: KnownTargets,
    /// What is known of the targets that events name and that are no addresses.
    pub found: FoundTargets,
    /// What was known around the events of the incidents that are kept.
    pub around: ByIncident,
    /// The table of the context guard; `None` before one is pinned.
    pub context_table: Option<Arc<ContextTable>>,
    /// The health watches that have not ended.
    pub watches: BTreeMap<(IncidentId, WatchId), Box<Watch>>,
    /// See `last_incident`.
    pub last_watch: u64,
    /// The recoveries of those incidents whose playbook has one.
    pub recoveries: BTreeMap<IncidentId, Box<Recovery>>,
    /// What was lifted of late.
    #[serde(skip)]
    pub lifted: Lifted,
    /// What is derived from the rest.
    #[serde(skip)]
    pub index: Index,
}

/// When what was lifted of late ended, by its label, where the transaction is forgotten already: a reading of the drift
/// sweep that began before may still show it.
///
/// Only such readings are held against it, and they end with the process. So it is not stored, nothing is decided by it,
/// and states that differ in it alone are equal.
#[derive(Clone, Debug, Default)]
pub struct Lifted(BTreeMap<TransactionId, Timestamp>);

impl PartialEq for Lifted {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lifted {}

impl Lifted {
    /// When what carried `label` ended; `None` when nothing of late did.
    #[must_use]
    pub fn ended(&self, label: TransactionId) -> Option<Timestamp> {
        self.0.get(&label).copied()
    }

    /// True when nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Remembers that what carried `label` has `ended`.
    pub(crate) fn add(&mut self, label: TransactionId, ended: Timestamp) {
        self.0.insert(label, ended);
    }

    /// Drops what ended before any reading that may be under way began.
    pub(crate) fn trim(&mut self, now: Timestamp) {
        self.0.retain(|_, ended| now.since(*ended) <= limits::SWEEP_READING_MAX);
    }
}

/// Records that could not be applied and were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// How many.
    pub count: u64,
    /// Why the first of them does not fit.
    pub first: Option<Box<str>>,
}

/// Something with a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A transaction.
    Transaction(TransactionId),
    /// A closed incident, at the end of its absorbing time.
    Incident(IncidentId),
    /// A notice to be sent again.
    Notice(NoticeId),
    /// Evidence to be asked for again, or given up.
    Evidence(EvidenceId),
    /// A health signal to be read again, or whose answer is given up.
    Watch(IncidentId, WatchId),
}

/// A hash of a playbook and an incident key. Two keys may have the same: who looks one up compares the incident found. It
/// is never stored, so that it need not be the same in another build.
pub type KeyHash = u64;

/// A time and the number of what is due then, as one number that is in their order: two of them are compared at once.
type Due = u128;

fn due(time: Timestamp, number: u64) -> Due {
    Due::from(time.as_micros()) << u64::BITS | Due::from(number)
}

fn due_at(due: Due) -> Timestamp {
    Timestamp::from_micros(u64::try_from(due >> u64::BITS).unwrap_or(u64::MAX))
}

fn due_number(due: Due) -> u64 {
    u64::try_from(due & Due::from(u64::MAX)).unwrap_or(u64::MAX)
}

/// What is due when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    transactions: CompactSet<Due>,
    incidents: CompactSet<Due>,
    notices: CompactSet<Due>,
    evidence: BTreeSet<(Timestamp, EvidenceId)>,
    watches: BTreeSet<(Timestamp, IncidentId, WatchId)>,
}

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

/// The look-up key of an incident.
#[must_use]
pub fn key_hash(playbook: ContentHash, key: &str) -> KeyHash {
    let mut hasher = DefaultHasher::new();
    hasher.write(playbook.as_bytes());
    hasher.write(key.as_bytes());
    hasher.finish()
}

impl EngineState {
    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.policy.as_ref().map_or(limits::DEFAULT, |policy| policy.limits)
    }

    /// The furthest that any playbook may go at present.
    #[must_use]
    pub fn mode_max(&self) -> Mode {
        if self.breaker_open.is_some() {
            return Mode::Observe;
        }
        self.mode_set
            .unwrap_or_else(|| self.policy.as_ref().map_or(Mode::Observe, |policy| policy.mode_max))
    }

    /// What is known about the driver for `kind`; `None` when there is none.
    #[must_use]
    pub fn driver(&self, kind: ActionKind) -> Option<&Description> {
        driver(self.policy.as_ref()?, kind)
    }

    /// Whether `it` is in force, and nothing undoes it. It is left to its lease, at whose end it is no longer listed.
    #[must_use]
    pub fn is_for_good(&self, it: &Transaction) -> bool {
        let driver = self.driver(it.kind);
        it.state.kind() == StateKind::InForce && driver.is_some_and(|driver| driver.undo == UndoClass::None)
    }

    /// The longest time between sending an act of this kind and its last possible effect.
    #[must_use]
    pub fn in_flight_max(&self, kind: ActionKind) -> Span {
        in_flight_max(self.driver(kind))
    }

    /// The newest incident that `playbook` answers under `key`.
    #[must_use]
    pub fn newest_of(&self, playbook: ContentHash, key: &str) -> Option<&Incident> {
        let of_key = self.index.by_key.range(of_key(key_hash(playbook, key))).rev();
        of_key
            .filter_map(|((_, id), ())| self.incidents.get(id))
            .find(|incident| incident.playbook == playbook && *incident.key == *key)
    }

    /// The playbook of `transaction`; `None` for an orphan.
    #[must_use]
    pub fn playbook_of(&self, transaction: &Transaction) -> Option<&Arc<Playbook>> {
        self.playbooks.get(&self.incidents.get(&transaction.incident)?.playbook)
    }

    /// The idempotency key of `transaction`.
    #[must_use]
    pub fn effect_key(&self, transaction: &Transaction) -> EffectKey {
        let playbook = self
            .incidents
            .get(&transaction.incident)
            .map(|incident| incident.playbook);
        EffectKey::new(
            self.installation,
            transaction.incident,
            playbook.unwrap_or_default(),
            transaction.label,
        )
    }

    /// When `transaction` was last found in place: by its post-check or by a sweep.
    #[must_use]
    pub fn verified_at(&self, transaction: &Transaction) -> Option<Timestamp> {
        transaction.verified_at.max(
            transaction
                .verified_at
                .and(self.swept_at.get(&transaction.kind).copied()),
        )
    }

    /// True when nothing that the act of `waiting` could destroy is still being preserved.
    ///
    /// That is evidence of its own incident; and, of the incidents that were open when it began to wait, evidence of those
    /// that hold it too and of those that keep something of its target. One that opens later does not count: an attacker
    /// would hold containment up with one incident after the other.
    #[must_use]
    pub fn is_preserved(&self, waiting: &Transaction) -> bool {
        let is_lost = |it: &Evidence| it.kind.is_destroyed_by(waiting.kind);
        if is(Mutant::EvidenceIgnored) {
            return true;
        }
        if self.has_open_evidence(waiting.incident, is_lost) {
            return false;
        }
        if is(Mutant::EvidenceOfOthersIgnored) {
            return true;
        }
        let since = waiting.deadline - limits::QUEUE_WAIT_MAX;
        let mut others = waiting
            .joined
            .iter()
            .copied()
            .chain(self.index.preserving(&waiting.target));
        !others.any(|id| {
            let opened = self.incidents.get(&id).map(|it| it.opened);
            opened.is_some_and(|opened| opened <= since) && self.has_open_evidence(id, is_lost)
        })
    }

    /// True when no evidence of `incident` is still being preserved.
    #[must_use]
    pub fn is_collected(&self, incident: IncidentId) -> bool {
        !self.has_open_evidence(incident, |_| true)
    }

    fn has_open_evidence(&self, incident: IncidentId, which: impl Fn(&Evidence) -> bool) -> bool {
        let Some(incident) = self.incidents.get(&incident) else {
            return false;
        };
        let mut evidence = incident.evidence.iter().filter_map(|id| self.evidence.get(id));
        evidence.any(|it| it.is_open() && which(it))
    }

    /// When something is due next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.index.deadlines.first().map(|(time, _)| time)
    }

    /// Transactions that hold something in the world or may do so.
    pub fn containments(&self) -> impl Iterator<Item = &Transaction> {
        self.transactions.values().filter(|transaction| {
            matches!(
                transaction.state.kind(),
                StateKind::InForce
                    | StateKind::Executing
                    | StateKind::PostChecking
                    | StateKind::Releasing
                    | StateKind::RollingBack
                    | StateKind::Settling
                    | StateKind::Stuck
            )
        })
    }

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
        postcard::to_stdvec(self).expect("every type of the state can be encoded")
    }

    /// Writes what [`EngineState::encode`] returns to `out`, piece by piece.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn encode_to(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let mut pieces = std::io::BufWriter::with_capacity(ENCODED_AT_ONCE, out);
        postcard::to_io(self, &mut pieces).map_err(std::io::Error::other)?;
        std::io::Write::flush(&mut pieces)
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    /// When the bytes are not a state of this version, or one that no history leads to.
    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        let (mut state, rest): (Self, _) = postcard::take_from_bytes(bytes)?;
        // What is left over is of a form that knows more.
        if !rest.is_empty() || !state.hangs_together() {
            return Err(postcard::Error::SerdeDeCustom);
        }
        state.rebuild_index();
        Ok(state)
    }

    /// True when everything is where its own id says, under an id that was given out, and what refers to something that
    /// must be there finds it.
    fn hangs_together(&self) -> bool {
        // Half of them leave room to number all that can follow.
        const LAST_MAX: u64 = u64::MAX / 2;
        let ids_fit = [
            self.last_incident,
            self.last_transaction,
            self.last_notice,
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
            && self
                .incidents
                .iter()
                .all(|(id, it)| *id == it.id && given(id.0, self.last_incident))
            && self
                .transactions
                .iter()
                .all(|(id, it)| *id == it.id && given(id.0, self.last_transaction) && planned(it))
            && self
                .notices
                .iter()
                .all(|(id, it)| *id == it.notice.id && given(id.0, self.last_notice))
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

    /// Enters the time at which a closed incident is forgotten.
    ///
    /// One that has let go of a transaction it planned is kept until that has ended: the transaction's playbook and
    /// its idempotency key hang on it.
    pub(crate) fn enter_incident(&mut self, id: IncidentId) {
        let Some(incident) = self.incidents.get(&id).filter(|it| it.status == IncidentStatus::Closed) else {
            return;
        };
        let lives = |it: &Transaction| !it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck;
        let mut planned = incident.transactions.iter().filter_map(|it| self.transactions.get(it));
        if !planned.any(|it| it.incident == id && lives(it)) {
            self.index
                .deadlines
                .insert((incident.absorbs_until, Subject::Incident(id)));
        }
    }

    fn rebuild_index(&mut self) {
        self.index = Index::default();
        self.repeats.rebuild();
        if let Some(policy) = &self.policy {
            self.index.never_touch = Networks::new(&policy.never_touch);
        }
        self.index.listed = ListedNetworks::of(&self.lists);
        for incident in self.incidents.values() {
            self.index.incidents_open += u64::from(incident.status == IncidentStatus::Open);
            self.index
                .enter_key(key_hash(incident.playbook, &incident.key), incident.id);
        }
        let incidents: Vec<_> = self.incidents.keys().copied().collect();
        incidents.into_iter().for_each(|incident| self.enter_incident(incident));
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
            self.index.enter(transaction);
        }
    }
}

/// What `policy` knows about the driver for `kind`; `None` when there is none.
pub(crate) fn driver(policy: &Policy, kind: ActionKind) -> Option<&Description> {
    policy.drivers.iter().find(|driver| driver.kind == kind)
}

/// See [`EngineState::in_flight_max`].
pub(crate) fn in_flight_max(driver: Option<&Description>) -> Span {
    driver.map_or(limits::OBSERVE_DEADLINE, |driver| driver.in_flight_max)
}

/// True for what has not ended, or is stuck: it occupies its target.
const fn stands(kind: StateKind) -> bool {
    !kind.is_terminal() || matches!(kind, StateKind::Stuck)
}

/// Everything in [`Index::by_key`] with this hash.
fn of_key(hash: KeyHash) -> RangeInclusive<(KeyHash, IncidentId)> {
    (hash, IncidentId(0))..=(hash, IncidentId(u64::MAX))
}

impl Deadlines {
    /// What is due first, and when; of several at the same time, a transaction before an incident before a notice
    /// before evidence before a watch.
    #[must_use]
    pub fn first(&self) -> Option<(Timestamp, Subject)> {
        let mut first = self
            .transactions
            .first()
            .map(|it| (due_at(*it), Subject::Transaction(TransactionId(due_number(*it)))));
        let mut consider = |time: Timestamp, subject: Subject| {
            if first.is_none_or(|(other, _)| time < other) {
                first = Some((time, subject));
            }
        };
        if let Some(it) = self.incidents.first() {
            consider(due_at(*it), Subject::Incident(IncidentId(due_number(*it))));
        }
        if let Some(it) = self.notices.first() {
            consider(due_at(*it), Subject::Notice(NoticeId(due_number(*it))));
        }
        if let Some((time, id)) = self.evidence.first() {
            consider(*time, Subject::Evidence(*id));
        }
        if let Some((time, incident, watch)) = self.watches.first() {
            consider(*time, Subject::Watch(*incident, *watch));
        }
        first
    }

    /// True when `subject` is entered with `time`.
    #[must_use]
    pub fn contains(&self, (time, subject): &(Timestamp, Subject)) -> bool {
        match *subject {
            Subject::Transaction(id) => self.transactions.contains(&due(*time, id.0)),
            Subject::Incident(id) => self.incidents.contains(&due(*time, id.0)),
            Subject::Notice(id) => self.notices.contains(&due(*time, id.0)),
            Subject::Evidence(id) => self.evidence.contains(&(*time, id)),
            Subject::Watch(incident, id) => self.watches.contains(&(*time, incident, id)),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.transactions.len() + self.incidents.len() + self.notices.len() + self.evidence.len() + self.watches.len()
    }

    /// True when nothing is ever due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn insert(&mut self, (time, subject): (Timestamp, Subject)) -> bool {
        match subject {
            Subject::Transaction(id) => self.transactions.add(due(time, id.0)),
            Subject::Incident(id) => self.incidents.add(due(time, id.0)),
            Subject::Notice(id) => self.notices.add(due(time, id.0)),
            Subject::Evidence(id) => self.evidence.insert((time, id)),
            Subject::Watch(incident, id) => self.watches.insert((time, incident, id)),
        }
    }

    pub(crate) fn remove(&mut self, (time, subject): &(Timestamp, Subject)) -> bool {
        match *subject {
            Subject::Transaction(id) => self.transactions.take(&due(*time, id.0)),
            Subject::Incident(id) => self.incidents.take(&due(*time, id.0)),
            Subject::Notice(id) => self.notices.take(&due(*time, id.0)),
            Subject::Evidence(id) => self.evidence.remove(&(*time, id)),
            Subject::Watch(incident, id) => self.watches.remove(&(*time, incident, id)),
        }
    }
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
    fn preserving(&self, target: &Target) -> impl Iterator<Item = IncidentId> {
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

/// True when a reply with `ticket` is the one that `transaction` is waiting for.
#[must_use]
pub fn expects(transaction: &Transaction, ticket: u32) -> bool {
    (transaction.ticket == ticket || is(Mutant::StaleRepliesTaken)) && transaction.awaits == Await::Reply
}
