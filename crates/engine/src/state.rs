//! The engine's state: the fold of all records, with the indexes that make it quick to ask.
//!
//! Only [`crate::apply`] changes it. Everything under [`Index`] is derived and never stored.

mod candidates;
mod deadlines;
mod index;
mod lifted;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use staunch_model::{
    ActionKind, Await, ContentHash, ContextTable, Description, EffectKey, Evidence, EvidenceId, Failure, Few, Incident,
    IncidentId, IncidentStatus, InstallationId, Limits, Mode, Notice, NoticeId, Playbook, Policy, Recovery, RiskTable,
    Span, StateKind, Target, Timestamp, Transaction, TransactionId, UndoClass, Watch, WatchId,
};

pub use self::candidates::Candidates;
pub use self::deadlines::{Deadlines, Subject};
pub use self::index::{Index, KeyHash, PlaceHash, key_hash};
pub use self::lifted::Lifted;
pub use self::snapshot::SNAPSHOT_FORM;
use crate::budget::Budgets;
use crate::compact::Compact;
use crate::context::ByIncident;
use crate::exempt::Exemptions;
use crate::found::FoundTargets;
use crate::limits;
use crate::lists::Lists;
use crate::mutant::{Mutant, is};
use crate::repeat::Repeats;
use crate::risk::KnownTargets;
use crate::transaction::can_be_held;

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

    /// Whether a release lifts `it`, or calls it off.
    #[must_use]
    pub fn can_be_released(&self, it: &Transaction) -> bool {
        let kind = it.state.kind();
        (kind == StateKind::Stuck || can_be_held(kind)) && !self.is_for_good(it)
    }

    /// The longest time between sending an act of this kind and its last possible effect.
    #[must_use]
    pub fn in_flight_max(&self, kind: ActionKind) -> Span {
        in_flight_max(self.driver(kind))
    }

    /// The transaction that occupies `target` for acts of `kind`: not ended, or stuck.
    #[must_use]
    pub fn holder_of(&self, kind: ActionKind, target: &Target) -> Option<TransactionId> {
        self.index.holder_of(kind, target, &self.transactions)
    }

    /// The newest incident that `playbook` answers under `key`.
    #[must_use]
    pub fn newest_of(&self, playbook: ContentHash, key: &str) -> Option<&Incident> {
        let hash = key_hash(playbook, key);
        let newest_first = self.index.by_key.down_from(&(hash, IncidentId(u64::MAX)));
        newest_first
            .take_while(|((of, _), ())| *of == hash)
            .filter_map(|((_, id), ())| self.incidents.get(id))
            .find(|incident| incident.playbook == playbook && *incident.key == *key)
    }

    /// The playbook of `transaction`; `None` for an orphan.
    #[must_use]
    pub fn playbook_of(&self, transaction: &Transaction) -> Option<&Arc<Playbook>> {
        self.playbooks
            .get(&*self.incidents.get(&transaction.incident)?.playbook)
    }

    /// The idempotency key of `transaction`.
    #[must_use]
    pub fn effect_key(&self, transaction: &Transaction) -> EffectKey {
        let playbook = self
            .incidents
            .get(&transaction.incident)
            .map(|incident| *incident.playbook);
        EffectKey::new(
            self.installation,
            transaction.incident,
            playbook.unwrap_or_default(),
            transaction.label(),
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
    /// That is evidence of its own incident; and, of the incidents that were open when it began to wait, evidence of
    /// those that hold it too and of those that keep something of its target. One that opens later does not count: an
    /// attacker would hold containment up with one incident after the other.
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
            .joined()
            .iter()
            .copied()
            .chain(self.index.preserving(&waiting.target));
        !others.any(|id| {
            let opened = self.incidents.get(&id).map(|it| it.opened);
            opened.is_some_and(|opened| opened <= since) && self.has_open_evidence(id, is_lost)
        })
    }

    /// The first transaction of its incident that waits for `evidence`, because its act could destroy it; `None` when
    /// nothing does, or the evidence is there or missed.
    #[must_use]
    pub fn waiting_for(&self, evidence: EvidenceId) -> Option<TransactionId> {
        let evidence = self.evidence.get(&evidence).filter(|it| it.is_open())?;
        let planned = self.incidents.get(&evidence.incident)?.transactions.iter();
        let mut planned = planned.filter_map(|it| self.transactions.get(it));
        let waits = |it: &&Transaction| it.state.kind() == StateKind::Planned && evidence.kind.is_destroyed_by(it.kind);
        planned.find(waits).map(|it| it.id)
    }

    /// True when no evidence of `incident` is still being preserved.
    #[must_use]
    pub fn is_collected(&self, incident: IncidentId) -> bool {
        !self.has_open_evidence(incident, |_| true)
    }

    /// Has those asked anew whether they can start that may have waited for something of `incident`: for a reading, or
    /// for evidence of its own or at what it keeps something of.
    pub(crate) fn ask_anew(&mut self, incident: IncidentId) {
        let state = &*self;
        let Some(incident) = state.incidents.get(&incident).filter(|_| !state.index.queue.is_empty()) else {
            return;
        };
        let kept = |id| state.evidence.get(id).and_then(|it| it.target.as_ref());
        let holders = |target| {
            ActionKind::ALL
                .iter()
                .filter_map(move |kind| state.holder_of(*kind, target))
        };
        let at_targets = incident.evidence.iter().filter_map(kept).flat_map(holders);
        let asked = incident.transactions.iter().copied().chain(at_targets);
        let asked: Few<TransactionId> = asked.filter(|id| state.index.queue.contains(id)).collect();
        for id in &asked {
            self.index.candidates.add(*id);
        }
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
}

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

/// Records that could not be applied and were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// How many.
    pub count: u64,
    /// Why the first of them does not fit.
    pub first: Option<Box<str>>,
}

/// True when a reply with `ticket` is the one that `transaction` is waiting for.
#[must_use]
pub fn expects(transaction: &Transaction, ticket: u32) -> bool {
    (transaction.ticket == ticket || is(Mutant::StaleRepliesTaken)) && transaction.awaits == Await::Reply
}

/// What `policy` knows about the driver for `kind`; `None` when there is none.
pub(crate) fn driver(policy: &Policy, kind: ActionKind) -> Option<&Description> {
    policy.drivers.iter().find(|driver| driver.kind == kind)
}

/// See [`EngineState::in_flight_max`].
pub(crate) fn in_flight_max(driver: Option<&Description>) -> Span {
    driver.map_or(limits::OBSERVE_DEADLINE, |driver| driver.in_flight_max)
}
