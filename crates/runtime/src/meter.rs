//! What becomes of transactions, and how long each phase takes: read off the frames once they are durable.
//!
//! Times are those of the frames, so that they are the engine's: from the moment at which it decided to the moment at
//! which it knew. Never decides anything, and knows nothing of what was before this process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use staunch_model::{
    ActionKind, Cause, Change, EvidenceId, EvidenceKind, Frame, GuardName, Record, RefusalReason, StateKind, Timestamp,
    TransactionId,
};

/// Evidence that was sealed.
pub(crate) const SEALED: &str = "sealed";

/// Evidence that was not there when containment waited no longer.
pub(crate) const MISSED: &str = "missed";

/// Pieces of evidence that are remembered until they are sealed; what was missed for good would stay otherwise.
const ASKED_MAX: usize = 4_096;

/// The bounds of the histograms, in seconds. One stands at the 100 ms that the alert rule for slow containment names:
/// within a bucket a quantile is a guess, which is wrong by as much as the bucket is wide.
const BOUNDS: [f64; 18] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// An action and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ActionResult {
    /// The kind of action.
    pub action: &'static str,
    /// What became of it.
    pub result: &'static str,
}

/// A kind of evidence and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EvidenceResult {
    /// The kind of evidence.
    pub kind: &'static str,
    /// What became of it: `sealed`, or `missed` when containment went on without it. Evidence that comes late is both.
    pub result: &'static str,
}

/// Why something was not done, or was undone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The word for it.
    pub reason: &'static str,
}

/// A phase of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseName {
    /// The word for it.
    pub phase: &'static str,
}

/// Counts what becomes of transactions.
#[derive(Debug)]
pub struct Meter {
    /// Transactions by what became of them. One that comes into force and is lifted later counts twice: once each.
    pub transactions: Family<ActionResult, Counter>,
    /// Refusals, by guard, or by what else said no.
    pub refusals: Family<Reason, Counter>,
    /// Rollbacks that were begun, by their cause.
    pub rollbacks: Family<Reason, Counter>,
    /// Evidence by what became of it.
    pub evidence: Family<EvidenceResult, Counter>,
    /// Bytes of evidence that were sealed, before compression.
    pub evidence_bytes: Counter,
    /// Seconds that each phase took.
    pub phases: Family<PhaseName, Histogram, fn() -> Histogram>,
    under_way: Mutex<BTreeMap<TransactionId, UnderWay>>,
    /// What evidence is, and when it was asked for.
    asked: Mutex<BTreeMap<EvidenceId, (EvidenceKind, Timestamp)>>,
}

/// A transaction in one of its phases.
#[derive(Debug)]
struct UnderWay {
    action: ActionKind,
    phase: Phase,
    since: Timestamp,
    /// When it was planned; `None` once a person was asked, whose time is not ours.
    planned: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Approval,
    PreCheck,
    Execute,
    PostCheck,
    Rollback,
    Release,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "wait",
            Self::Approval => "approval",
            Self::PreCheck => "pre-check",
            Self::Execute => "execute",
            Self::PostCheck => "post-check",
            Self::Rollback => "rollback",
            Self::Release => "release",
        }
    }
}

/// What can become of a transaction.
const RESULTS: [StateKind; 6] = [
    StateKind::InForce,
    StateKind::Refused,
    StateKind::WouldExecute,
    StateKind::RolledBack,
    StateKind::Released,
    StateKind::Stuck,
];

impl Default for Meter {
    /// Everything at zero, and there: what appears with its first count is no increase for who watches.
    fn default() -> Self {
        let meter = Self::empty();
        for action in ActionKind::ALL {
            for result in RESULTS {
                drop(meter.transactions.get_or_create(&labels(action, result)));
            }
        }
        let guards = GuardName::ALL.iter().map(|guard| guard.name());
        for name in guards.chain(RefusalReason::NAMES) {
            drop(meter.refusals.get_or_create(&reason(name)));
        }
        for name in Cause::NAMES {
            drop(meter.rollbacks.get_or_create(&reason(name)));
        }
        for kind in EvidenceKind::ALL {
            for result in [SEALED, MISSED] {
                let kind = kind.name();
                drop(meter.evidence.get_or_create(&EvidenceResult { kind, result }));
            }
        }
        meter
    }
}

impl Meter {
    fn empty() -> Self {
        Self {
            transactions: Family::default(),
            refusals: Family::default(),
            rollbacks: Family::default(),
            evidence: Family::default(),
            evidence_bytes: Counter::default(),
            phases: Family::new_with_constructor(|| Histogram::new(BOUNDS)),
            under_way: Mutex::default(),
            asked: Mutex::default(),
        }
    }
}

impl Meter {
    /// How many acts were refused by each guard or other reason, those without any left out.
    #[must_use]
    pub fn refusal_counts(&self) -> Vec<(&'static str, u64)> {
        let guards = GuardName::ALL.iter().map(|guard| guard.name());
        counts_of(&self.refusals, guards.chain(RefusalReason::NAMES))
    }

    /// How many rollbacks were begun for each cause, those without any left out.
    #[must_use]
    pub fn rollback_counts(&self) -> Vec<(&'static str, u64)> {
        counts_of(&self.rollbacks, Cause::NAMES)
    }

    /// How many pieces of evidence were sealed, and how many missed, of all kinds.
    #[must_use]
    pub fn evidence_counts(&self) -> (u64, u64) {
        let count = |result| {
            let of = |kind: EvidenceKind| EvidenceResult {
                kind: kind.name(),
                result,
            };
            EvidenceKind::ALL
                .into_iter()
                .map(|kind| self.evidence.get_or_create(&of(kind)).get())
                .sum()
        };
        (count(SEALED), count(MISSED))
    }

    /// Takes a durable frame, of the time `now`, into account. `kind_of` knows the transactions that were there before.
    pub(crate) fn take(&self, frame: &Frame, now: Timestamp, kind_of: impl Fn(TransactionId) -> Option<ActionKind>) {
        // A panic while it was held has left counts as they were.
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        for record in &frame.records {
            match record {
                Record::TransactionPlanned { transaction, kind, .. } => {
                    let planned = UnderWay {
                        action: *kind,
                        phase: Phase::Waiting,
                        since: now,
                        planned: Some(now),
                    };
                    under_way.insert(*transaction, planned);
                }
                Record::OrphanAdopted { transaction, kind, .. } => {
                    let adopted = UnderWay {
                        action: *kind,
                        phase: Phase::Release,
                        since: now,
                        planned: None,
                    };
                    under_way.insert(*transaction, adopted);
                }
                Record::Transaction { transaction, change } => {
                    let known = || kind_of(*transaction);
                    self.change(&mut under_way, *transaction, change, now, known);
                }
                Record::EvidencePlanned { .. } | Record::EvidenceSealed { .. } | Record::EvidenceMissed { .. } => {
                    self.preserve(record, now);
                }
                _ => {}
            }
        }
    }

    fn change(
        &self,
        under_way: &mut BTreeMap<TransactionId, UnderWay>,
        id: TransactionId,
        change: &Change,
        now: Timestamp,
        kind_of: impl Fn() -> Option<ActionKind>,
    ) {
        match change {
            Change::RollbackStarted { cause, .. } => self.rollbacks.get_or_create(&reason(cause.name())).inc(),
            Change::Refused { reason: why, .. } => self.refusals.get_or_create(&reason(why.name())).inc(),
            _ => 0,
        };
        let next = match change {
            Change::PreCheckStarted(_) => Next::Begins(Phase::PreCheck),
            Change::ApprovalRequested { .. } => Next::Asks,
            Change::Approved { .. } => Next::Begins(Phase::Waiting),
            Change::ExecuteIntended { .. } => Next::Begins(Phase::Execute),
            Change::Landed(_) | Change::Unproved { .. } => Next::Begins(Phase::PostCheck),
            Change::RollbackStarted { .. } => Next::Begins(Phase::Rollback),
            Change::ReleaseStarted { .. } => Next::Begins(Phase::Release),
            Change::PostCheckPassed { .. } => Next::Ends(StateKind::InForce),
            Change::Refused { .. } => Next::Ends(StateKind::Refused),
            Change::WouldExecute { .. } => Next::Ends(StateKind::WouldExecute),
            Change::ProbedAbsent => Next::Ends(StateKind::RolledBack),
            Change::ReleaseVerified => Next::Ends(StateKind::Released),
            Change::GaveUp(_) => Next::Ends(StateKind::Stuck),
            _ => return,
        };
        let mut it = match under_way.remove(&id) {
            Some(it) => {
                // What nothing undoes leaves the list when its lease ends: nothing was released.
                if !(it.phase == Phase::Release && it.action.is_irreversible()) {
                    self.observe(it.phase.name(), it.since, now);
                }
                it
            }
            // It was in force, or is from before this process: what it does next is measured from here on.
            None => {
                let Some(action) = kind_of() else { return };
                UnderWay {
                    action,
                    phase: Phase::Waiting,
                    since: now,
                    planned: None,
                }
            }
        };
        it.since = now;
        match next {
            Next::Begins(phase) => {
                it.phase = phase;
                under_way.insert(id, it);
            }
            Next::Asks => {
                it.phase = Phase::Approval;
                it.planned = None;
                under_way.insert(id, it);
            }
            Next::Ends(result) => {
                self.count(it.action, result);
                if let (Some(planned), StateKind::InForce) = (it.planned, result) {
                    self.observe("contain", planned, now);
                }
            }
        }
    }

    fn preserve(&self, record: &Record, now: Timestamp) {
        // A panic while it was held has left counts as they were.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match record {
            Record::EvidencePlanned { evidence, kind, .. } => {
                while asked.len() >= ASKED_MAX {
                    asked.pop_first();
                }
                asked.insert(*evidence, (*kind, now));
            }
            Record::EvidenceSealed { evidence, sealed } => {
                self.evidence_bytes.inc_by(sealed.bytes);
                if let Some((kind, since)) = asked.remove(evidence) {
                    self.observe("preserve", since, now);
                    self.count_evidence(kind, SEALED);
                }
            }
            Record::EvidenceMissed { evidence, .. } => {
                if let Some((kind, _)) = asked.get(evidence) {
                    self.count_evidence(*kind, MISSED);
                }
            }
            _ => {}
        }
    }

    fn count_evidence(&self, kind: EvidenceKind, result: &'static str) {
        let kind = kind.name();
        self.evidence.get_or_create(&EvidenceResult { kind, result }).inc();
    }

    fn count(&self, action: ActionKind, result: StateKind) {
        self.transactions.get_or_create(&labels(action, result)).inc();
    }

    #[allow(clippy::cast_precision_loss, reason = "exact up to 285 years")]
    fn observe(&self, phase: &'static str, since: Timestamp, now: Timestamp) {
        let seconds = now.since(since).as_micros() as f64 / 1e6;
        self.phases.get_or_create(&PhaseName { phase }).observe(seconds);
    }
}

/// What a change means for the phase of its transaction.
enum Next {
    Begins(Phase),
    Asks,
    Ends(StateKind),
}

/// What an action counts as that has come to this.
fn labels(action: ActionKind, result: StateKind) -> ActionResult {
    ActionResult {
        action: action.name(),
        result: action.result(result),
    }
}

const fn reason(reason: &'static str) -> Reason {
    Reason { reason }
}

/// What was counted under each of `names`, but for what never happened.
fn counts_of(
    family: &Family<Reason, Counter>,
    names: impl IntoIterator<Item = &'static str>,
) -> Vec<(&'static str, u64)> {
    let count = |name| (name, family.get_or_create(&reason(name)).get());
    names.into_iter().map(count).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use staunch_model::{Dispatch, Input};

    use super::*;

    /// Whether a release was measured, and what the transaction counts as, after one lease has ended.
    fn after_its_lease(action: ActionKind) -> (bool, Vec<String>) {
        let meter = Meter::default();
        let changes = [
            Change::ReleaseStarted {
                cause: Box::new(Cause::LeaseEnded),
                dispatch: Dispatch {
                    ticket: 1,
                    deadline: Timestamp::from_micros(9),
                },
            },
            Change::ReleaseVerified,
        ];
        for (at, change) in (1..).zip(changes) {
            let frame = Frame {
                input: Input::Tick,
                records: vec![Record::Transaction {
                    transaction: TransactionId(1),
                    change,
                }],
            };
            meter.take(&frame, Timestamp::from_micros(at), |_| Some(action));
        }
        let mut registry = Registry::default();
        registry.register("phase", "", meter.phases.clone());
        registry.register("transactions", "", meter.transactions);
        let mut text = String::new();
        encode(&mut text, &registry).expect("it is text");
        let is_measured = text.lines().any(|line| line == "phase_count{phase=\"release\"} 1");
        let counted = text
            .lines()
            .filter(|line| line.starts_with("transactions_total") && line.ends_with(" 1"));
        (is_measured, counted.map(str::to_owned).collect())
    }

    #[test]
    fn the_limit_of_the_alert_rule_is_a_bound() {
        const RULES: &str = include_str!("../../../contrib/prometheus/staunch.rules.yaml");
        let (_, rule) = RULES.split_once("alert: StaunchSlow\n").expect("the rule is there");
        let (_, limit) = rule.split_once("> ").expect("it has a limit");
        let limit: f64 = limit.lines().next().and_then(|it| it.parse().ok()).expect("a number");
        assert!(BOUNDS.contains(&limit), "{limit}");
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn what_is_for_good_has_nothing_to_release() {
        let counted = |action: &str, result: &str| {
            vec![format!(
                "transactions_total{{action=\"{action}\",result=\"{result}\"}} 1"
            )]
        };
        assert_eq!(
            after_its_lease(ActionKind::BlockIp),
            (true, counted("block-ip", "released"))
        );
        assert_eq!(
            after_its_lease(ActionKind::KillProcess),
            (false, counted("kill-process", "nothing-to-release"))
        );
        // The one is there from the start, and the other never.
        let there = |action: ActionKind, result| {
            let action = action.name();
            let labels = ActionResult { action, result };
            Meter::default().transactions.get(&labels).is_some()
        };
        assert!(there(ActionKind::KillProcess, "nothing-to-release"));
        assert!(!there(ActionKind::KillProcess, "released"));
        assert!(!there(ActionKind::BlockIp, "nothing-to-release"));
    }
}
