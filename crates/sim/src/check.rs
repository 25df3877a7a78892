//! The invariants, worked out anew from what is durable and what the world holds.
//!
//! The model here is kept as simple as it can be and knows nothing of the engine's code, so that it cannot be wrong in the
//! same way. Numbers that the engine must keep are written down a second time.

mod recover;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use staunch_model::{
    ActionKind, Cause, Change, Command, ContentHash, EvidenceId, EvidenceKind, FailureKind, Frame, IncidentId, Input,
    Mode, NoticeLevel, OnFailure, Owner, Playbook, Policy, Presence, Record, RefusalReason, Span, StateKind, Target,
    TargetFacts, Timestamp, TransactionId,
};

/// Something that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// No effect without a durable intent.
    DurableIntent,
    /// Only the newest writer writes.
    OneLeader,
    /// What was acknowledged is in the journal, whatever happens.
    AcknowledgedKept,
    /// Replay gives the state that was live, and deciding again gives the same records.
    ReplayEqualsLive,
    /// Nothing of anybody else is removed or replaced.
    NoDamage,
    /// A transaction that has ended has nothing in the world, and nothing lands behind our back.
    EndIsClean,
    /// What is in force by the state is in the world.
    InForceIsThere,
    /// In force only after a look that found it, ours and enforced.
    ForceIsVerified,
    /// Ended only after a look that found nothing of ours.
    EndIsVerified,
    /// Only the reply to the newest effect moves a transaction.
    ReplyIsNewest,
    /// What is never touched is never touched.
    NeverTouch,
    /// Old events lead to no act.
    EventIsFresh,
    /// Acts in an hour stay within every budget.
    Budgets,
    /// Actions in flight stay within their limit.
    Concurrency,
    /// At most one transaction acts on a target, and it sends its act at most twice.
    OneAct,
    /// Leases are within their limit, and end.
    LeasesEnd,
    /// A target that comes back is held for as long as its playbook says, and no other for longer.
    LeasesGrow,
    /// Siblings are rolled back in reverse order of completion.
    RollbackOrder,
    /// When a step failed, its siblings do not stay.
    AllOrNothing,
    /// What needs a person's approval has it, in time.
    Approval,
    /// Observe mode does nothing.
    Mode,
    /// Nothing acts after too many failures.
    Breaker,
    /// What hurts by a health signal is lifted and paged, and nothing is lifted for it without two unhealthy readings.
    HurtIsLifted,
    /// A recovery lifts what was completed last first, and goes on only when that is verified.
    RecoveryOrder,
    /// Evidence is stored, or missed for a reason that counts, before its incident is contained.
    EvidenceFirst,
    /// A person is paged for what is stuck.
    StuckIsTold,
    /// Text of others is escaped wherever it is shown.
    TextIsEscaped,
    /// The engine's time never goes back.
    TimeGoesOn,
    /// Everything comes to an end when faults stop.
    EverythingEnds,
    /// The engine never panics, and never decides what its table forbids.
    NoPanic,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::DurableIntent => "durable-intent",
            Self::OneLeader => "one-leader",
            Self::AcknowledgedKept => "acknowledged-kept",
            Self::ReplayEqualsLive => "replay-equals-live",
            Self::NoDamage => "no-damage",
            Self::EndIsClean => "end-is-clean",
            Self::InForceIsThere => "in-force-is-there",
            Self::ForceIsVerified => "force-is-verified",
            Self::EndIsVerified => "end-is-verified",
            Self::ReplyIsNewest => "reply-is-newest",
            Self::NeverTouch => "never-touch",
            Self::EventIsFresh => "event-is-fresh",
            Self::Budgets => "budgets",
            Self::Concurrency => "concurrency",
            Self::OneAct => "one-act",
            Self::LeasesEnd => "leases-end",
            Self::LeasesGrow => "leases-grow",
            Self::RollbackOrder => "rollback-order",
            Self::AllOrNothing => "all-or-nothing",
            Self::Approval => "approval",
            Self::Mode => "mode",
            Self::Breaker => "breaker",
            Self::HurtIsLifted => "hurt-is-lifted",
            Self::RecoveryOrder => "recovery-order",
            Self::EvidenceFirst => "evidence-first",
            Self::StuckIsTold => "stuck-is-told",
            Self::TextIsEscaped => "text-is-escaped",
            Self::TimeGoesOn => "time-goes-on",
            Self::EverythingEnds => "everything-ends",
            Self::NoPanic => "no-panic",
        };
        f.pad(name)
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was found.
    pub what: String,
    /// When, by true time since the beginning.
    pub at: Span,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (after {})", self.invariant, self.what, self.at)
    }
}

/// How often an act may be sent.
const SENDS_MAX: u32 = 2;
const HOUR: Span = Span::from_hours(1);

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
    /// Its place in the order of coming into force.
    completed: u64,
    joined: BTreeSet<IncidentId>,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    ByItself,
    ByPerson,
}

#[derive(Clone, Debug)]
struct Piece {
    incident: IncidentId,
    target: Option<Target>,
    kind: EvidenceKind,
    deadline: Timestamp,
    asked: bool,
    done: bool,
}

#[derive(Clone, Debug)]
struct Case {
    playbook: ContentHash,
    event_time: Option<Timestamp>,
    opened: Timestamp,
    evidence: Vec<EvidenceId>,
}

#[derive(Clone, Copy, Debug)]
struct Act {
    at: Timestamp,
    playbook: ContentHash,
    group: Option<IpAddr>,
}

/// The reference model: a fold of durable frames.
#[derive(Clone, Debug, Default)]
pub struct Model {
    policy: Option<Arc<Policy>>,
    playbooks: BTreeMap<ContentHash, Arc<Playbook>>,
    transactions: BTreeMap<TransactionId, Tx>,
    incidents: BTreeMap<IncidentId, Case>,
    evidence: BTreeMap<EvidenceId, Piece>,
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
    recoveries: recover::Recoveries,
    completions: u64,
    now: Timestamp,
    /// Transactions planned.
    pub planned: u64,
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
        for (at, record) in frame.records.iter().enumerate() {
            self.recovers(frame, record)?;
            self.record(frame, at, record, now)?;
        }
        Ok(())
    }

    fn record(&mut self, frame: &Frame, at: usize, record: &Record, now: Timestamp) -> Found {
        match record {
            Record::ListChanged(change) => {
                for it in &change.added {
                    self.listed.insert(it.network);
                }
                for network in &change.removed {
                    self.listed.remove(network);
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
                event_time,
                ..
            } => {
                let case = Case {
                    playbook: *playbook,
                    event_time: *event_time,
                    opened: now,
                    evidence: Vec::new(),
                };
                self.incidents.insert(*incident, case);
            }
            Record::EvidencePlanned {
                evidence,
                incident,
                kind,
                deadline,
                target,
                ..
            } => {
                if let Some(case) = self.incidents.get_mut(incident) {
                    case.evidence.push(*evidence);
                }
                let piece = Piece {
                    incident: *incident,
                    target: target.clone(),
                    deadline: *deadline,
                    asked: target.is_some() || kind.aims_at().is_none(),
                    kind: *kind,
                    done: false,
                };
                self.evidence.insert(*evidence, piece);
            }
            Record::EvidenceSealed { evidence, .. } => {
                if let Some(piece) = self.evidence.get_mut(evidence) {
                    piece.done = true;
                }
            }
            Record::EvidenceMissed { evidence, failure } => {
                let hopeless = matches!(
                    failure.kind,
                    FailureKind::Denied | FailureKind::Invalid | FailureKind::Full
                );
                let Some(piece) = self.evidence.get_mut(evidence) else {
                    return Ok(());
                };
                piece.done = true;
                // A last try shortly before the deadline is not made.
                if !hopeless && now + Span::from_secs(1) < piece.deadline && piece.asked {
                    return fail(
                        Invariant::EvidenceFirst,
                        format!("{evidence} was given up at {now}, before {}", piece.deadline),
                    );
                }
            }
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
                let mut planned = new_tx(*transaction, *incident, target.clone(), *lease, StateKind::Planned);
                planned.action = Some(*kind);
                planned.step = *step;
                planned.waits_since = now;
                planned.for_good = kind.is_irreversible();
                planned.served = self.grown(*incident, *step, target, *lease, now)?;
                self.transactions.insert(*transaction, planned);
            }
            Record::OrphanAdopted {
                transaction,
                label,
                target,
                dispatch,
                ..
            } => {
                let mut orphan = new_tx(*label, IncidentId(0), target.clone(), Span::ZERO, StateKind::Releasing);
                orphan.ticket = dispatch.ticket;
                self.transactions.insert(*transaction, orphan);
            }
            Record::Transaction { transaction, change } => self.change(frame, at, *transaction, change, now)?,
            Record::Found(found) => drop(self.found.insert(found.target.clone(), found.facts.clone())),
            Record::BreakerOpened { .. } => self.breaker_open = true,
            Record::ModeSet { mode } => {
                self.mode_set = Some(*mode);
                self.breaker_open = false;
                self.failures.clear();
            }
            Record::NoticeQueued(notice) => escaped("a notice", &notice.text)?,
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

    fn exempt(&mut self, command: &Command, affected: &[TransactionId], now: Timestamp) {
        match command {
            Command::Protect { network, lasts } => {
                self.exempt.insert(*network, lasts.map(|it| now + it));
            }
            Command::Unprotect { network } => drop(self.exempt.remove(network)),
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

    fn change(&mut self, frame: &Frame, at: usize, id: TransactionId, change: &Change, now: Timestamp) -> Found {
        let Some(it) = self.transactions.get(&id) else {
            return Ok(());
        };
        newest_reply(frame, at, id, it, change)?;
        match change {
            Change::PreCheckStarted(_) => {
                let in_flight = self.transactions.values().filter(|it| it.kind.is_in_flight()).count();
                let max = self
                    .policy
                    .as_ref()
                    .map_or(0, |policy| policy.limits.actions_in_flight_max) as usize;
                if in_flight >= max {
                    return fail(
                        Invariant::Concurrency,
                        format!("{id} starts while {in_flight} of {max} are in flight"),
                    );
                }
                let other = self.transactions.iter().find(|(other, tx)| {
                    **other != id && tx.target == it.target && !tx.kind.is_terminal() && tx.kind != StateKind::Planned
                });
                if let Some((other, _)) = other {
                    return fail(Invariant::OneAct, format!("{id} starts on the target of {other}"));
                }
                self.kept_of_others(id, it)?;
            }
            Change::ExecuteIntended { judgement, .. } => self.act(id, judgement.as_deref(), now)?,
            Change::PostCheckPassed { lease_until } => {
                let found = match &frame.input {
                    Input::Observed {
                        transaction,
                        result: Ok(seen),
                        ..
                    } if *transaction == id => {
                        seen.enforcing
                            && matches!(seen.presence, Presence::Present { owner: Owner::Ours(label), .. } if label == id)
                    }
                    _ => false,
                };
                if !found {
                    return fail(
                        Invariant::ForceIsVerified,
                        format!("{id} is in force without being there"),
                    );
                }
                self.lease(id, *lease_until, it.lease, now)?;
            }
            Change::Renewed { lease_until } => {
                let max = self
                    .policy
                    .as_ref()
                    .map_or(Span::ZERO, |policy| policy.limits.lease_max);
                self.lease(id, *lease_until, max, now)?;
            }
            Change::ProbedAbsent | Change::ReleaseVerified => {
                let found = match &frame.input {
                    Input::Observed {
                        transaction,
                        result: Ok(seen),
                        ..
                    } if *transaction == id => {
                        !matches!(seen.presence, Presence::Present { owner: Owner::Ours(label), .. } if label == it.label)
                    }
                    _ => false,
                };
                if !found {
                    return fail(Invariant::EndIsVerified, format!("{id} has ended without a look"));
                }
                self.count(id, now);
            }
            Change::ReleaseStarted { cause, .. } => {
                let ends = match **cause {
                    Cause::LeaseEnded => Some(Ends::ByItself),
                    Cause::Operator { .. } => Some(Ends::ByPerson),
                    _ => None,
                };
                if let Some(it) = self.transactions.get_mut(&id) {
                    it.ends = ends;
                }
            }
            Change::Refused { reason, judgement } => {
                if let RefusalReason::Guard { why, .. } = &**reason {
                    escaped("a refusal", why)?;
                }
                for result in judgement.iter().flat_map(|it| &it.guards) {
                    escaped("a guard's result", &result.why)?;
                }
            }
            Change::RollbackStarted { cause, .. } if matches!(**cause, Cause::Sibling(_)) => {
                let later = self.transactions.iter().find(|(later, other)| {
                    !self.recoveries.acts(**later)
                        && other.incident == it.incident
                        && other.kind == StateKind::InForce
                        && other.joined.is_empty()
                        && other.completed > it.completed
                });
                if let Some((later, _)) = later {
                    return fail(Invariant::RollbackOrder, format!("{id} is rolled back before {later}"));
                }
            }
            Change::GaveUp(_) => {
                let told = frame.records.iter().any(|record| {
                    matches!(record, Record::NoticeQueued(notice)
                        if notice.level == NoticeLevel::Page && notice.transaction == Some(id))
                });
                if !told {
                    return fail(Invariant::StuckIsTold, format!("{id} is stuck and nobody is paged"));
                }
            }
            _ => {}
        }
        self.fold(id, change, now);
        Ok(())
    }

    /// How many leases the target of a step has served in a row; its `lease` is the one that follows.
    fn grown(
        &self,
        incident: IncidentId,
        step: u16,
        target: &Target,
        lease: Span,
        now: Timestamp,
    ) -> Result<u32, (Invariant, String)> {
        let playbook = self
            .incidents
            .get(&incident)
            .and_then(|it| self.playbooks.get(&it.playbook));
        let Some((playbook, first)) = playbook.and_then(|it| Some((it, it.steps.get(usize::from(step))?.lease))) else {
            return Ok(0);
        };
        let grows = playbook.returns_within(step).is_some();
        let served = self
            .served
            .get(&(playbook.name.clone(), target.clone()))
            .filter(|(_, until)| now < *until);
        let served = served.filter(|_| grows).map_or(0, |(times, _)| *times);
        let mut leases = vec![first];
        leases.extend(playbook.leases_then(step));
        let expected = leases[(served as usize).min(leases.len() - 1)];
        if lease != expected {
            let what = format!("{target} of {incident} has served {served} and is held for {lease}, not {expected}");
            return Err((Invariant::LeasesGrow, what));
        }
        Ok(served)
    }

    /// Counts a lease that has been served.
    fn count(&mut self, id: TransactionId, now: Timestamp) {
        let Some(it) = self.transactions.get(&id) else { return };
        let playbook = self
            .incidents
            .get(&it.incident)
            .and_then(|case| self.playbooks.get(&case.playbook));
        let Some((playbook, within)) = playbook.and_then(|of| Some((of, of.returns_within(it.step)?))) else {
            return;
        };
        let place = (playbook.name.clone(), it.target.clone());
        match it.ends {
            // One that was still ending when this one was planned has been counted since.
            Some(Ends::ByItself) => {
                let since = self.served.get(&place).filter(|(_, until)| now < *until);
                let before = since.map_or(0, |(times, _)| *times).max(it.served);
                self.served.insert(place, (before + 1, now + within));
            }
            Some(Ends::ByPerson) => {
                self.served.remove(&place);
            }
            None => {}
        }
    }

    /// Why `target` must never be touched.
    fn protection(&self, target: &Target, policy: &Policy, now: Timestamp) -> Option<String> {
        let ip = match target {
            Target::Address(ip) => *ip,
            _ => {
                return match self.found.get(target) {
                    Some(Ok(facts)) => facts.protected.is_some().then(|| "which is protected".to_owned()),
                    Some(Err(_)) => Some("which could not be told from others".to_owned()),
                    None => Some("of which nothing is known".to_owned()),
                };
            }
        };
        if let Some(protection) = policy.never_touch.iter().find(|it| it.network.contains(&ip)) {
            return Some(format!("which is in {}", protection.network));
        }
        let exempt = |(network, until): &(&IpNet, &Option<Timestamp>)| {
            network.contains(&ip) && until.is_none_or(|until| now < until)
        };
        if let Some((network, _)) = self.exempt.iter().find(exempt) {
            return Some(format!("and a person protects {network}"));
        }
        let listed = self.listed.iter().find(|it| it.contains(&ip))?;
        Some(format!("and a file lists {listed}"))
    }

    /// A transaction starts when the evidence is kept that it could destroy: also that of incidents which were there when it
    /// began to wait and hold it too, or keep something of its target.
    fn kept_of_others(&self, id: TransactionId, it: &Tx) -> Found {
        let open = || self.evidence.iter().filter(|(_, piece)| !piece.done);
        for (evidence, piece) in open() {
            let is_lost = it.action.is_some_and(|action| piece.kind.is_destroyed_by(action));
            let was_there = self
                .incidents
                .get(&piece.incident)
                .is_some_and(|case| case.opened <= it.waits_since);
            let keeps_of_it = || {
                open().any(|(_, other)| other.incident == piece.incident && other.target.as_ref() == Some(&it.target))
            };
            if is_lost && was_there && (it.joined.contains(&piece.incident) || keeps_of_it()) {
                let what = format!("{id} starts before {evidence} of {}", piece.incident);
                return fail(Invariant::EvidenceFirst, what);
            }
        }
        Ok(())
    }

    /// Everything that must hold when an act is about to be sent.
    fn act(&mut self, id: TransactionId, judgement: Option<&staunch_model::Judgement>, now: Timestamp) -> Found {
        let Some(it) = self.transactions.get(&id) else {
            return Ok(());
        };
        let Some(policy) = self.policy.clone() else {
            return fail(Invariant::Mode, format!("{id} acts without a policy"));
        };
        if let Some(why) = self.protection(&it.target, &policy, now) {
            return fail(Invariant::NeverTouch, format!("{id} acts on {}, {why}", it.target));
        }
        if it.sends >= SENDS_MAX {
            return fail(
                Invariant::OneAct,
                format!("{id} sends its act more than {SENDS_MAX} times"),
            );
        }
        let Some(case) = self.incidents.get(&it.incident) else {
            return Ok(());
        };
        for evidence in &case.evidence {
            let lost =
                |piece: &Piece| !piece.done && it.action.is_some_and(|action| piece.kind.is_destroyed_by(action));
            if self.evidence.get(evidence).is_some_and(lost) {
                return fail(Invariant::EvidenceFirst, format!("{id} acts before {evidence}"));
            }
        }
        if self.breaker_open {
            return fail(Invariant::Breaker, format!("{id} acts while the breaker is open"));
        }
        let recent = self
            .failures
            .iter()
            .filter(|at| **at + policy.limits.breaker_window > now)
            .count();
        if recent >= policy.limits.breaker_failures as usize {
            return fail(Invariant::Breaker, format!("{id} acts after {recent} failures"));
        }
        let playbook = self.playbooks.get(&case.playbook).cloned();
        let mode_max = self.mode_set.unwrap_or(policy.mode_max);
        let mode = playbook.as_ref().map_or(Mode::Observe, |it| it.modes.low).min(mode_max);
        if mode == Mode::Observe {
            return fail(Invariant::Mode, format!("{id} acts while everything only observes"));
        }
        let asked = judgement.is_some_and(|it| {
            it.guards
                .iter()
                .any(|guard| guard.verdict == staunch_model::Verdict::Ask)
        });
        if (mode == Mode::Approve || asked) && !it.approved && it.sends == 0 {
            return fail(Invariant::Approval, format!("{id} acts without an approval"));
        }
        if it.approved_late {
            return fail(
                Invariant::Approval,
                format!("{id} acts on an approval that had expired"),
            );
        }
        let is_old = !it.approved && !self.recoveries.decided(id);
        if let (Some(playbook), Some(time), true) = (&playbook, case.event_time, is_old) {
            let age = now.since(time);
            if age > playbook.guards.event_age_max {
                return fail(
                    Invariant::EventIsFresh,
                    format!("{id} acts on an event that is {age} old"),
                );
            }
        }
        if it.sends == 0 {
            let act = Act {
                at: now,
                playbook: case.playbook,
                group: it.target.address().map(group),
            };
            self.acts.push_back(act);
            while self.acts.front().is_some_and(|first| first.at + HOUR <= now) {
                self.acts.pop_front();
            }
            let count = |same: &dyn Fn(&Act) -> bool| self.acts.iter().filter(|other| same(other)).count();
            let limits = policy.limits;
            let budgets = [
                ("in all", count(&|_| true), limits.acts_per_hour_max),
                ("of the action", count(&|_| true), limits.acts_per_action_hour_max),
                (
                    "in the neighbourhood",
                    count(&|it| it.group == act.group),
                    limits.acts_per_group_hour_max,
                ),
                (
                    "of the playbook",
                    count(&|it| it.playbook == act.playbook),
                    playbook.as_ref().map_or(u32::MAX, |it| it.guards.acts_per_hour_max),
                ),
            ];
            for (which, count, max) in budgets {
                if count > max as usize {
                    return fail(
                        Invariant::Budgets,
                        format!("{id} is act {count} {which} in an hour, {max} are allowed"),
                    );
                }
            }
        }
        Ok(())
    }

    /// True when `id` has ended, as far as the journal knows; one that is stuck has not.
    #[must_use]
    pub fn has_ended(&self, id: TransactionId) -> bool {
        self.transactions.get(&id).is_some_and(|it| {
            matches!(
                it.kind,
                StateKind::Refused | StateKind::Released | StateKind::RolledBack | StateKind::WouldExecute
            )
        })
    }

    fn lease(&self, id: TransactionId, until: Timestamp, max: Span, now: Timestamp) -> Found {
        let lease_max = self
            .policy
            .as_ref()
            .map_or(Span::ZERO, |policy| policy.limits.lease_max);
        if until > now + max.max(lease_max) {
            return fail(
                Invariant::LeasesEnd,
                format!("the lease of {id} ends at {until}, too late"),
            );
        }
        Ok(())
    }

    /// Nothing that has not ended is overdue, and no lease has run out without its release: at the time `now` of the
    /// engine, some time after everything was healed.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn overdue(&self, now: Timestamp) -> Found {
        let slack = Span::from_mins(2);
        for (id, it) in &self.transactions {
            if it.kind == StateKind::InForce && it.lease_until.is_some_and(|until| until + slack < now) {
                return fail(
                    Invariant::LeasesEnd,
                    format!("the lease of {id} ended and it is still in force"),
                );
            }
        }
        Ok(())
    }

    /// No step stays when a sibling has failed. Of an incident with a step that is still under way, nothing is said: the others
    /// are undone after it, and one that stays under way is found by `everything-ends`.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn all_or_nothing(&self) -> Found {
        let contains = |id: &TransactionId| !self.recoveries.acts(*id);
        let failed = self.transactions.iter().filter(|(id, it)| it.failed && contains(id));
        for (id, failed) in failed {
            let keeps = self
                .incidents
                .get(&failed.incident)
                .and_then(|case| self.playbooks.get(&case.playbook))
                .is_none_or(|playbook| playbook.on_failure == OnFailure::Keep);
            if keeps {
                continue;
            }
            let stays = self.transactions.iter().find(|(id, it)| {
                it.incident == failed.incident
                    && it.kind == StateKind::InForce
                    && it.joined.is_empty()
                    && !it.for_good
                    && contains(id)
            });
            let mut siblings = self.transactions.values().filter(|it| it.incident == failed.incident);
            if siblings.any(|it| it.kind.is_in_flight() || it.kind.is_undo()) {
                continue;
            }
            // One that was planned anew at the place of the failed one speaks for the incident instead.
            let replaced = self
                .transactions
                .range(TransactionId(id.0 + 1)..)
                .any(|(_, it)| it.incident == failed.incident && it.target == failed.target);
            if let Some((stays, _)) = stays
                && !replaced
            {
                return fail(Invariant::AllOrNothing, format!("{stays} stays although {id} failed"));
            }
        }
        Ok(())
    }

    fn fold(&mut self, id: TransactionId, change: &Change, now: Timestamp) {
        let completions = &mut self.completions;
        let Some(it) = self.transactions.get_mut(&id) else {
            return;
        };
        match change {
            Change::PreCheckStarted(dispatch) => {
                it.kind = StateKind::PreChecking;
                it.ticket = dispatch.ticket;
            }
            Change::Refused { .. } => it.kind = StateKind::Refused,
            Change::WouldExecute { .. } => it.kind = StateKind::WouldExecute,
            Change::ApprovalRequested { expires, .. } => {
                it.kind = StateKind::AwaitingApproval;
                it.approval_expires = Some(*expires);
            }
            Change::Approved { .. } => {
                it.kind = StateKind::Planned;
                it.approved = true;
                it.waits_since = now;
                it.approved_late = it.approval_expires.is_some_and(|expires| expires <= now);
            }
            Change::ExecuteIntended { dispatch, .. } => {
                it.kind = StateKind::Executing;
                it.ticket = dispatch.ticket;
                it.sends += 1;
            }
            Change::Landed(dispatch) | Change::Unproved { dispatch, .. } => {
                it.kind = StateKind::PostChecking;
                it.ticket = dispatch.ticket;
            }
            Change::PostCheckPassed { lease_until } => {
                it.kind = StateKind::InForce;
                *completions += 1;
                it.completed = *completions;
                it.lease_until = Some(*lease_until);
            }
            Change::RollbackStarted { cause, dispatch } => {
                it.kind = StateKind::RollingBack;
                it.ticket = dispatch.ticket;
                it.failed |= matches!(**cause, Cause::ExecuteFailed(_) | Cause::PostCheckFailed { .. });
                it.counts = match &**cause {
                    Cause::ExecuteFailed(failure) => failure.kind != FailureKind::Interrupted,
                    Cause::PostCheckFailed { .. } => true,
                    _ => false,
                };
            }
            Change::UndoLanded { .. } => it.kind = StateKind::Settling,
            Change::ProbedPresent(dispatch) => {
                if it.kind == StateKind::Settling {
                    it.kind = StateKind::RollingBack;
                }
                it.ticket = dispatch.ticket;
            }
            Change::ProbedAbsent => {
                it.kind = StateKind::RolledBack;
                if it.counts {
                    self.failures.push_back(now);
                }
            }
            Change::GaveUp(reason) => {
                let undo = matches!(
                    reason.trying,
                    StateKind::Releasing | StateKind::RollingBack | StateKind::Settling
                );
                it.kind = StateKind::Stuck;
                if undo {
                    self.failures.push_back(now);
                }
            }
            Change::ReleaseStarted { dispatch, .. } => {
                it.kind = StateKind::Releasing;
                it.ticket = dispatch.ticket;
            }
            Change::ReleaseVerified => it.kind = StateKind::Released,
            Change::Resent(dispatch)
            | Change::Lifted(dispatch)
            | Change::RenewStarted { dispatch, .. }
            | Change::RenewCheckStarted { dispatch, .. } => {
                it.ticket = dispatch.ticket;
            }
            Change::Renewed { lease_until } => it.lease_until = Some(*lease_until),
            Change::Joined(incident) => drop(it.joined.insert(*incident)),
            Change::LetGo(incident) => {
                it.joined.remove(incident);
                // Held by others only: what becomes of it is no longer the planning incident's concern.
                if *incident == it.incident {
                    it.joined.insert(IncidentId(0));
                }
            }
            _ => {}
        }
    }
}

fn new_tx(label: TransactionId, incident: IncidentId, target: Target, lease: Span, kind: StateKind) -> Tx {
    Tx {
        label,
        incident,
        target,
        lease,
        kind,
        action: None,
        ticket: 0,
        sends: 0,
        approval_expires: None,
        approved: false,
        approved_late: false,
        waits_since: Timestamp::EPOCH,
        completed: 0,
        joined: BTreeSet::new(),
        failed: false,
        counts: false,
        lease_until: None,
        step: 0,
        for_good: false,
        served: 0,
        ends: None,
    }
}

/// The first change of a transaction in the frame of a reply to it needs the newest ticket.
fn newest_reply(frame: &Frame, at: usize, id: TransactionId, it: &Tx, change: &Change) -> Found {
    let (of, ticket) = match &frame.input {
        Input::Observed {
            transaction, ticket, ..
        }
        | Input::Executed {
            transaction, ticket, ..
        }
        | Input::Undone {
            transaction, ticket, ..
        } => (*transaction, *ticket),
        _ => return Ok(()),
    };
    if at == 0 && of == id && ticket != it.ticket && !matches!(change, Change::StaleReply { .. }) {
        return fail(
            Invariant::ReplyIsNewest,
            format!("a reply to effect {ticket} moves {id}, which waits for {}", it.ticket),
        );
    }
    Ok(())
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

fn group(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::V4([a, b, c, 0].into())
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::V6([a, b, c, 0, 0, 0, 0, 0].into())
        }
    }
}
