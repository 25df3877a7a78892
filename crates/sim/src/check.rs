//! The invariants, worked out anew from what is durable and what the world holds.
//!
//! The model here is kept as simple as it can be and knows nothing of the engine's code, so that it cannot be wrong in
//! the same way. Numbers that the engine must keep are written down a second time.
//!
//! Here is what the model knows, and what each record adds to it. What must hold is in the modules below, one for each
//! thing that it must hold of.

mod acts;
mod changes;
mod commands;
mod end;
mod events;
mod evidence;
mod fold;
mod invariant;
mod leases;
mod look;
mod networks;
mod notices;
mod queue;
mod recover;
mod refusals;
mod risk;
mod sweep;
mod table;
mod told;
mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use staunch_model::{
    ActionKind, Aim, Command, ContentHash, EvidenceId, Frame, IncidentId, IncidentOutcome, Input, Mode, Playbook,
    Policy, Record, Span, StateKind, Target, TargetFacts, Timestamp, TransactionId,
};

use self::events::{is_dated, named_by};
pub use self::invariant::{Invariant, Violation};
use self::networks::plain;
use self::table::Table;

/// The reference model: a fold of durable frames.
#[derive(Clone, Debug, Default)]
pub struct Model {
    policy: Option<Arc<Policy>>,
    playbooks: BTreeMap<ContentHash, Arc<Playbook>>,
    transactions: Table<TransactionId, Tx>,
    incidents: Table<IncidentId, Case>,
    evidence: Table<EvidenceId, evidence::Piece>,
    acts: VecDeque<Act>,
    failures: VecDeque<Timestamp>,
    breaker_open: bool,
    mode_set: Option<Mode>,
    /// What people have exempted, and until when, from the commands alone.
    exempt: BTreeMap<IpNet, Option<Timestamp>>,
    /// What each target has served in a row under the playbooks of a name, and until when that counts.
    served: BTreeMap<(Box<str>, Target), (u32, Timestamp)>,
    /// What a file lists.
    listed: BTreeSet<IpNet>,
    /// What is known of processes.
    found: BTreeMap<Target, Result<TargetFacts, Box<str>>>,
    feeds: risk::Feeds,
    /// Acts are judged by what is known around the event too.
    has_context_rows: bool,
    recoveries: recover::Recoveries,
    watches: watches::Watches,
    /// What has failed in the frame at hand.
    failed: Vec<TransactionId>,
    /// The incidents of which a piece of evidence was stored or given up in the frame at hand.
    collected: Vec<IncidentId>,
    /// The kinds of action whose last sweep failed.
    unread: BTreeSet<ActionKind>,
    /// No lease of what is in force ends before this.
    first_lease_end: Option<Timestamp>,
    notices: notices::Notices,
    /// How many transactions are in flight.
    in_flight: usize,
    completions: u64,
    /// What may be planned; those that have started are dropped when this is next read.
    waiting: Vec<TransactionId>,
    now: Timestamp,
    /// Transactions planned.
    pub planned: u64,
}

/// What the model knows of a transaction.
#[derive(Clone, Debug)]
struct Tx {
    /// The transaction on the object's label.
    label: TransactionId,
    incident: IncidentId,
    target: Target,
    lease: Span,
    kind: StateKind,
    /// What it does; `None` of an orphan.
    action: Option<ActionKind>,
    ticket: u32,
    sends: u32,
    approval_expires: Option<Timestamp>,
    approved: bool,
    approved_late: bool,
    /// Since when it waits for its turn.
    waits_since: Timestamp,
    /// Since when it is in its state.
    since: Timestamp,
    /// Its place in the order of coming into force.
    completed: u64,
    /// Whether the incident that planned it holds it.
    held: bool,
    /// Who holds it besides that one.
    joined: BTreeSet<IncidentId>,
    /// When a lease that is on its way to replace this one has to end.
    renews: Option<Timestamp>,
    /// It failed by itself, so that its siblings have to go.
    failed: bool,
    /// Its rollback counts for the circuit breaker.
    counts: bool,
    lease_until: Option<Timestamp>,
    step: u16,
    /// Nothing undoes it.
    for_good: bool,
    /// How many leases its target had served in a row when it was planned.
    served: u32,
    /// Whether it ends because its lease did, or because a person said so.
    ends: Option<Ends>,
    /// It is lifted because a health signal says that it hurts.
    hurts: bool,
    /// Requests of the step at hand: looks before the act, or undos and the looks for what is left after them.
    tries: u32,
    /// How long after its end its attacker is judged anew; `None` where its incident goes on taking up events.
    judged_anew_after: Option<Span>,
}

impl Tx {
    fn is_held_by(&self, incident: IncidentId) -> bool {
        (incident == self.incident && self.held) || self.joined.contains(&incident)
    }

    /// Whether anybody but `incident` holds it.
    fn is_held_by_others(&self, incident: IncidentId) -> bool {
        (incident != self.incident && self.held) || self.joined.iter().any(|holder| *holder != incident)
    }

    fn is_planned(&self) -> bool {
        self.kind == StateKind::Planned
    }

    /// Whether nothing of it keeps others from its target.
    fn has_left(&self) -> bool {
        self.kind.is_terminal() && self.kind != StateKind::Stuck
    }

    /// Whether the incident that planned it holds it, and nobody else.
    fn is_of_one(&self) -> bool {
        self.held && self.joined.is_empty()
    }

    /// The incident that holds it, when no other does.
    fn only_holder(&self) -> Option<IncidentId> {
        let mut holders = self
            .held
            .then_some(self.incident)
            .into_iter()
            .chain(self.joined.iter().copied());
        holders.next().filter(|_| holders.next().is_none())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    ByItself,
    ByPerson,
}

#[derive(Clone, Debug)]
struct Case {
    playbook: ContentHash,
    /// What its events have in common: the incident's key.
    key: Box<str>,
    /// Until when it takes up further events once it is closed.
    absorbs_until: Timestamp,
    /// What its event names for each step.
    named_targets: Vec<(u16, Target)>,
    status: Status,
    event_time: Option<Timestamp>,
    opened: Timestamp,
    evidence: Vec<EvidenceId>,
    /// What it has planned, and what it has joined.
    transactions: BTreeSet<TransactionId>,
    /// How it stands, as people were told last.
    outcome: Option<IncidentOutcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    Closed,
    Forgotten,
}

#[derive(Clone, Copy, Debug)]
struct Act {
    at: Timestamp,
    playbook: ContentHash,
    kind: Option<ActionKind>,
    group: Group,
}

/// What shares a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Network(IpAddr),
    Kind(Aim),
}

type Found = Result<(), (Invariant, String)>;

fn fail(invariant: Invariant, what: impl Into<String>) -> Found {
    Err((invariant, what.into()))
}

impl Model {
    /// Takes up a frame that has become durable, decided at `now`.
    ///
    /// # Errors
    /// The invariant that it breaks, and how.
    pub fn frame(&mut self, frame: &Frame, now: Timestamp) -> Found {
        if now < self.now {
            return fail(Invariant::TimeGoesOn, format!("{now} comes after {}", self.now));
        }
        self.now = now;
        let answer = self.has_to_be(frame, now);
        let acting = self.may_be_protected_by(frame, now);
        for (at, record) in frame.records.iter().enumerate() {
            self.watches(frame, record)?;
            self.recovers(frame, record)?;
            self.record(frame, at, record, now)?;
        }
        self.feeds.heard(frame)?;
        self.takes_up(frame)?;
        self.tell_missed(frame)?;
        self.nothing_waits_beside_failures()?;
        self.no_lease_is_over(now)?;
        self.answers_event(frame)?;
        self.nothing_waits()?;
        if let Some(answer) = answer {
            Self::answered(frame, &answer, now)?;
        }
        self.tells_protected(frame, &acting, now)
    }

    fn record(&mut self, frame: &Frame, at: usize, record: &Record, now: Timestamp) -> Found {
        match record {
            Record::ListChanged(change) => {
                for it in &change.added {
                    self.listed.insert(plain(it.network));
                }
                for network in &change.removed {
                    self.listed.remove(&plain(*network));
                }
            }
            Record::PolicyPinned(policy) => {
                if self.policy.as_ref().is_some_and(|old| old.mode_max != policy.mode_max) {
                    self.mode_set = None;
                }
                for playbook in &policy.playbooks {
                    self.playbooks.insert(playbook.hash, playbook.clone());
                }
                self.policy = Some(policy.clone());
            }
            Record::IncidentOpened {
                incident,
                playbook,
                key,
                event_time,
                absorbs_until,
            } => {
                is_dated(frame, *incident, *event_time, now)?;
                let case = Case {
                    playbook: *playbook,
                    key: key.clone(),
                    named_targets: named_by(frame, *playbook, key),
                    absorbs_until: *absorbs_until,
                    status: Status::Open,
                    event_time: *event_time,
                    opened: now,
                    evidence: Vec::new(),
                    transactions: BTreeSet::new(),
                    outcome: None,
                };
                self.incidents.insert(*incident, case);
                self.opens_alone(frame, *incident, now)?;
            }
            Record::EventJoined { incident } => self.joins_what_holds(frame, *incident, now)?,
            Record::OutcomeReached { incident, outcome } => {
                self.outcome_is_true(*incident, *outcome)?;
                if let Some(case) = self.incidents.get_mut(incident) {
                    case.outcome = Some(*outcome);
                }
            }
            Record::IncidentClosed {
                incident,
                absorbs_until,
            } => {
                self.shields_what_has_hurt(*incident, *absorbs_until, now)?;
                self.shields_nobody(*incident, *absorbs_until, now)?;
                self.is_collected(*incident)?;
                if let Some(case) = self.incidents.get_mut(incident) {
                    case.absorbs_until = *absorbs_until;
                }
                self.set_status(*incident, Status::Closed);
            }
            Record::IncidentForgotten { incident } => self.set_status(*incident, Status::Forgotten),
            Record::EvidencePlanned { .. }
            | Record::EvidencePostponed { .. }
            | Record::EvidenceResent { .. }
            | Record::EvidenceSealed { .. }
            | Record::EvidenceMissed { .. } => self.preserves(record, now)?,
            Record::TransactionPlanned {
                transaction,
                incident,
                step,
                kind,
                target,
                lease,
                ..
            } => {
                self.planned += 1;
                self.is_named(*transaction, *incident, *step, target)?;
                let mut planned = new_tx(*transaction, *incident, target.clone(), StateKind::Planned, now);
                planned.lease = *lease;
                planned.action = Some(*kind);
                planned.step = *step;
                planned.for_good = kind.is_irreversible();
                planned.served = self.grown(*incident, *step, target, *lease, now)?;
                self.transactions.insert(*transaction, planned);
                self.waiting.push(*transaction);
                if let Some(case) = self.incidents.get_mut(incident) {
                    case.transactions.insert(*transaction);
                }
            }
            Record::OrphanAdopted {
                transaction,
                label,
                target,
                dispatch,
                ..
            } => {
                let mut orphan = new_tx(*label, IncidentId(0), target.clone(), StateKind::Releasing, now);
                orphan.ticket = dispatch.ticket;
                self.transactions.insert(*transaction, orphan);
            }
            Record::Transaction { transaction, change } => self.change(frame, at, *transaction, change, now)?,
            Record::Found(found) => drop(self.found.insert(found.target.clone(), found.facts.clone())),
            Record::SweepDone { kinds } => self.unread.retain(|kind| !kinds.contains(kind)),
            Record::SweepFailed { kind, .. } => self.sweep_failed(frame, *kind)?,
            Record::BreakerOpened { .. } => {
                self.breaker_open = true;
                self.has_failed_often(now)?;
                if !told::is_paged(frame) {
                    return fail(Invariant::StuckIsTold, "the breaker opens and nobody is paged");
                }
            }
            Record::RiskTablePinned(table) => self.feeds.pinned(table),
            Record::ContextTablePinned(table) => self.has_context_rows = !table.rows.is_empty(),
            Record::Known(known) => self.feeds.said(known, now),
            Record::ModeSet { mode } => {
                self.mode_set = Some(*mode);
                // What was only observed is judged anew.
                let observed = |case: &&mut Case| {
                    case.status == Status::Closed && case.outcome == Some(IncidentOutcome::WouldContain)
                };
                for case in self.incidents.values_mut().filter(observed) {
                    case.absorbs_until = now;
                }
                self.breaker_open = false;
                self.failures.clear();
            }
            Record::NoticeQueued(notice) => {
                self.notices.queued(notice);
                escaped("a notice", &notice.text)?;
            }
            Record::NoticeResent { notice } => self.notices.resent(*notice),
            Record::NoticeSent { notice } => self.notices.taken(*notice),
            Record::NoticeFailed { notice, retry_at } => self.notices.failed(*notice, *retry_at, now)?,
            Record::CommandRefused { why } => escaped("a refusal", why)?,
            Record::CommandDone { affected } => {
                if let Input::Operator { command, .. } = &frame.input {
                    self.exempt(command, affected, now);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The breaker opens after as many failures as the policy says, counted in whole minutes.
    fn has_failed_often(&self, now: Timestamp) -> Found {
        let Some(policy) = &self.policy else {
            return Ok(());
        };
        let window = policy.limits.breaker_window + Span::from_mins(1);
        let failures = self.failures.iter().filter(|at| **at + window > now).count();
        if failures < policy.limits.breaker_failures as usize {
            return fail(
                Invariant::Breaker,
                format!("the breaker opens after {failures} failures"),
            );
        }
        Ok(())
    }

    /// The playbook of `incident`.
    fn playbook_of(&self, incident: IncidentId) -> Option<&Playbook> {
        let case = self.incidents.get(&incident)?;
        self.playbooks.get(&case.playbook).map(|it| &**it)
    }

    fn set_status(&mut self, incident: IncidentId, status: Status) {
        if let Some(case) = self.incidents.get_mut(&incident) {
            case.status = status;
        }
    }

    fn exempt(&mut self, command: &Command, affected: &[TransactionId], now: Timestamp) {
        match command {
            Command::Protect { network, lasts } => {
                self.exempt.insert(plain(*network), lasts.map(|it| now + it));
            }
            Command::Unprotect { network } => drop(self.exempt.remove(&plain(*network))),
            Command::ReleaseTrusting { trust, .. } => {
                for id in affected {
                    let Some(it) = self.transactions.get(id) else { continue };
                    let Some(ip) = it.target.address() else { continue };
                    let until = self.exempt.entry(ip.into()).or_insert(Some(now));
                    *until = until.map(|it| it.max(now + *trust));
                }
            }
            _ => {}
        }
    }
}

fn new_tx(label: TransactionId, incident: IncidentId, target: Target, kind: StateKind, now: Timestamp) -> Tx {
    Tx {
        label,
        incident,
        target,
        lease: Span::ZERO,
        kind,
        action: None,
        ticket: 0,
        sends: 0,
        approval_expires: None,
        approved: false,
        approved_late: false,
        waits_since: now,
        since: now,
        completed: 0,
        held: true,
        joined: BTreeSet::new(),
        renews: None,
        failed: false,
        counts: false,
        lease_until: None,
        step: 0,
        for_good: false,
        served: 0,
        ends: None,
        hurts: false,
        tries: 1,
        judged_anew_after: None,
    }
}

fn escaped(what: &str, text: &str) -> Found {
    // Nearly all of it is, and that is quickly seen.
    let printable = |all, byte| all & matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, printable) {
        return Ok(());
    }
    match text.chars().find(|it| it.is_control()) {
        Some(found) => fail(
            Invariant::TextIsEscaped,
            format!("{what} holds the character {found:?}"),
        ),
        None => Ok(()),
    }
}
