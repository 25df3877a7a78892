//! Applies records to the state. The only code that changes it, in live running, recovery, replay and simulation.

mod effects;
mod update;

use std::collections::BTreeSet;
use std::fmt;

use staunch_model::{
    Await, Brief, Cause, Change, Effect, Evidence, EvidenceId, FailureKind, Incident, IncidentId, IncidentOutcome,
    IncidentStatus, Record, Recovery, RecoveryEnd, RecoveryState, Span, State, StateKind, Timestamp, Transaction,
    TransactionId, Watch, WatchId, WatchOver, WatchState,
};

pub(crate) use update::new_transaction;

use self::effects::{collect, effect_of, read_health, undo};
use self::update::{send, update};
use crate::budget::{self, Budgets, Scope};
use crate::compact::Compact;
use crate::found;
use crate::limits;
use crate::lists::ListedNetworks;
use crate::mutant::{Mutant, is};
use crate::networks::Networks;
use crate::recover;
use crate::repeat::Repeats;
use crate::risk;
use crate::state::{EngineState, PendingNotice, Subject, Unfit, driver, in_flight_max, key_hash};
use crate::transaction::{self, IllegalChange};

/// Why a record does not fit the state: the journal was written by something that decides differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// The change is not in the table.
    Illegal {
        /// Whose change.
        transaction: TransactionId,
        /// What is illegal.
        illegal: IllegalChange,
    },
    /// There is no such transaction.
    NoTransaction(TransactionId),
    /// There is no such incident.
    NoIncident(IncidentId),
    /// There is no such evidence.
    NoEvidence(EvidenceId),
    /// There is no such watch.
    NoWatch(WatchId),
    /// The incident has no recovery.
    NoRecovery(IncidentId),
    /// Transactions that an incident planned have not ended, so that it cannot be forgotten.
    NotEnded(IncidentId),
    /// Something new has the id of something else, or one that is out of all proportion to the last one.
    Misnumbered(Box<str>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Illegal { transaction, illegal } => write!(f, "{transaction}: {illegal}"),
            Self::NoTransaction(transaction) => write!(f, "there is no {transaction}"),
            Self::NoIncident(incident) => write!(f, "there is no {incident}"),
            Self::NoEvidence(evidence) => write!(f, "there is no {evidence}"),
            Self::NoWatch(watch) => write!(f, "there is no {watch}"),
            Self::NoRecovery(incident) => write!(f, "{incident} has no recovery"),
            Self::NotEnded(incident) => write!(f, "{incident} cannot be forgotten before its transactions have ended"),
            Self::Misnumbered(id) => write!(f, "{id} cannot be the id of something new"),
        }
    }
}

impl std::error::Error for ApplyError {}

/// Applies `record`, decided at `now`, and adds what is to be done next to `effects`.
///
/// # Errors
/// [`ApplyError`]; the state is as before.
pub fn apply(
    state: &mut EngineState,
    record: &Record,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Result<(), ApplyError> {
    apply_to(state, record, now, &mut Next(Some(effects)))
}

/// Applies `record` as [`apply`] does, without working out what was to be done next when it was decided.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_again(state: &mut EngineState, record: &Record, now: Timestamp) -> Result<(), ApplyError> {
    apply_to(state, record, now, &mut Next(None))
}

/// What is to be done next, unless nobody asks.
struct Next<'a>(Option<&'a mut Vec<Effect>>);

impl Next<'_> {
    fn add(&mut self, effect: impl FnOnce() -> Option<Effect>) {
        if let Some(effects) = &mut self.0 {
            effects.extend(effect());
        }
    }
}

fn apply_to(state: &mut EngineState, record: &Record, now: Timestamp, next: &mut Next<'_>) -> Result<(), ApplyError> {
    match record {
        Record::Started { installation } => {
            state.installation = *installation;
            keep_waiting_for_what_was_sent(state, now);
            if is(Mutant::BudgetsForgotten) {
                state.budgets = Budgets::default();
            }
            if is(Mutant::ReturnsForgotten) {
                state.repeats = Repeats::default();
            }
            if is(Mutant::LeaseForgotten) {
                let in_force = |it: &Transaction| it.state.kind() == StateKind::InForce;
                let forgotten: Vec<_> = state
                    .transactions
                    .values()
                    .filter(|it| in_force(it))
                    .map(|it| it.id)
                    .collect();
                for id in forgotten {
                    if let Some(it) = state.transactions.get_mut(&id) {
                        state.index.deadlines.remove(&(it.deadline, Subject::Transaction(id)));
                        it.deadline = now + Span::from_hours(1_000_000);
                        state.index.deadlines.insert((it.deadline, Subject::Transaction(id)));
                    }
                }
            }
        }
        Record::PolicyPinned(policy) => {
            if state.policy.as_ref().is_some_and(|old| old.mode_max != policy.mode_max) {
                state.mode_set = None;
            }
            for playbook in &policy.playbooks {
                state.playbooks.insert(playbook.hash, playbook.clone());
            }
            let in_use: BTreeSet<_> = state.incidents.values().map(|incident| incident.playbook).collect();
            // Events that were triaged under the policy before this one may still be on their way in.
            let before = state.policy.take();
            let pins = |policy: &staunch_model::Policy, hash: &staunch_model::ContentHash| {
                policy.playbooks.iter().any(|playbook| playbook.hash == *hash)
            };
            state.playbooks.retain(|hash, _| {
                in_use.contains(hash) || pins(policy, hash) || before.as_ref().is_some_and(|before| pins(before, hash))
            });
            state.index.never_touch = Networks::new(&policy.never_touch);
            state.policy = Some(policy.clone());
        }
        Record::IncidentOpened {
            incident,
            playbook,
            key,
            event_time,
            absorbs_until,
        } => {
            free(incident, !state.incidents.contains_key(incident))?;
            number(incident, incident.0, &mut state.last_incident)?;
            state.index.enter_key(key_hash(*playbook, key), *incident);
            state.index.dirty.add(*incident);
            state.index.incidents_open += 1;
            let opened = Incident {
                id: *incident,
                playbook: *playbook,
                key: Brief::from(&**key),
                status: IncidentStatus::Open,
                opened: now,
                absorbs_until: *absorbs_until,
                event_time: *event_time,
                events: 1,
                transactions: staunch_model::Few::new(),
                outcome: None,
                joined_steps: staunch_model::Seldom::new(),
                next_step: 0,
                evidence: staunch_model::Seldom::new(),
            };
            state.incidents.insert(*incident, opened);
        }
        Record::EventJoined { incident } => {
            let joined = incident_mut(state, *incident)?;
            joined.events = joined.events.saturating_add(1);
        }
        Record::TransactionPlanned {
            transaction,
            incident,
            step,
            kind,
            target,
            lease,
            deadline,
            ..
        } => {
            incident_mut(state, *incident)?;
            free(transaction, !state.transactions.contains_key(transaction))?;
            number(transaction, transaction.0, &mut state.last_transaction)?;
            let planning = incident_mut(state, *incident)?;
            planning.transactions.push(*transaction);
            planning.next_step = step.saturating_add(1);
            let mut planned = new_transaction(*transaction, *transaction, *incident, *kind, target.clone());
            planned.step = *step;
            planned.lease = *lease;
            planned.deadline = *deadline;
            planned.awaits = Await::Timer;
            state.index.enter(&planned);
            state.index.dirty.add(*incident);
            state.transactions.insert(*transaction, planned);
        }
        Record::CameBack { transaction, .. } => {
            if !state.transactions.contains_key(transaction) {
                return Err(ApplyError::NoTransaction(*transaction));
            }
        }
        Record::StepWithoutTarget { incident, step } => {
            incident_mut(state, *incident)?.next_step = step.saturating_add(1);
            state.index.dirty.add(*incident);
        }
        Record::Transaction { transaction, change } => apply_change(state, *transaction, change, now, next)?,
        Record::OrphanAdopted {
            transaction,
            label,
            kind,
            target,
            dispatch,
        } => {
            free(transaction, !state.transactions.contains_key(transaction))?;
            number(transaction, transaction.0, &mut state.last_transaction)?;
            let mut orphan = new_transaction(*transaction, *label, IncidentId(0), *kind, target.clone());
            orphan.state = State::Releasing(Box::new(Cause::Orphan));
            send(&mut orphan, *dispatch);
            orphan.attempts = 1;
            next.add(|| Some(undo(state, &orphan)));
            state.index.enter(&orphan);
            state.transactions.insert(*transaction, orphan);
        }
        Record::SweepDone { kinds } => {
            for kind in kinds {
                state.swept_at.insert(*kind, now);
                state.sweep_failed.remove(kind);
            }
            state.lifted.trim(now);
        }
        Record::SweepFailed { kind, failure } => {
            state.sweep_failed.insert(*kind, failure.clone());
            state.lifted.trim(now);
        }
        Record::OutcomeReached { incident, outcome } => incident_mut(state, *incident)?.outcome = Some(*outcome),
        Record::IncidentClosed {
            incident,
            absorbs_until,
        } => {
            let closed = incident_mut(state, *incident)?;
            let was = std::mem::replace(&mut closed.status, IncidentStatus::Closed);
            closed.absorbs_until = *absorbs_until;
            state.index.incidents_open -= u64::from(was == IncidentStatus::Open);
            state.enter_incident(*incident);
        }
        Record::IncidentForgotten { incident } => forget(state, *incident, now)?,
        Record::BreakerOpened { .. } => state.breaker_open = Some(now),
        Record::ModeSet { mode } => {
            state.mode_set = Some(*mode);
            state.breaker_open = None;
            state.budgets.clear(Scope::Failures);
            // What was only observed was judged under the mode before: its next event is judged under this one.
            let observed: Vec<IncidentId> = state
                .incidents
                .values()
                .filter(|it| it.status == IncidentStatus::Closed && it.outcome == Some(IncidentOutcome::WouldContain))
                .map(|it| it.id)
                .collect();
            for id in observed {
                let incident = incident_mut(state, id)?;
                let before = std::mem::replace(&mut incident.absorbs_until, now);
                state.index.deadlines.remove(&(before, Subject::Incident(id)));
                state.enter_incident(id);
            }
        }
        Record::NoticeQueued(notice) => {
            free(&notice.id, !state.notices.contains_key(&notice.id))?;
            number(&notice.id, notice.id.0, &mut state.last_notice)?;
            if tells_of_unfit(notice) {
                state.unfit = Unfit::default();
            }
            next.add(|| Some(Effect::Notify(notice.clone())));
            let answer_by = now + limits::NOTICE_DEADLINE;
            let pending = PendingNotice {
                notice: notice.clone(),
                attempts: 1,
                retry_at: None,
                answer_by,
            };
            state.index.enter_notice(&pending);
            state.notices.insert(notice.id, pending);
        }
        Record::NoticeSent { notice } | Record::NoticeFailed { notice, retry_at: None } => {
            if let Some(pending) = state.notices.remove(notice) {
                state.index.leave_notice(&pending);
            }
        }
        Record::NoticeFailed {
            notice,
            retry_at: Some(at),
        } => {
            if let Some(pending) = state.notices.get_mut(notice) {
                state.index.leave_notice(pending);
                pending.retry_at = Some(*at);
                state.index.enter_notice(pending);
            }
        }
        Record::NoticeResent { notice } => {
            if let Some(pending) = state.notices.get_mut(notice) {
                state.index.leave_notice(pending);
                pending.retry_at = None;
                pending.answer_by = now + limits::NOTICE_DEADLINE;
                pending.attempts = pending.attempts.saturating_add(1);
                state.index.enter_notice(pending);
                next.add(|| Some(Effect::Notify(pending.notice.clone())));
            }
        }
        Record::CommandDone { .. } | Record::CommandRefused { .. } => {}
        Record::Exempted(exemption) => state.exemptions.insert(exemption.clone(), now),
        Record::ExemptionEnded { network } => state.exemptions.remove(*network),
        Record::RiskTablePinned(table) => state.risk_table = Some(table.clone()),
        Record::Known(known) => risk::enter(state, known, now),
        Record::Found(found) => found::enter(state, found),
        Record::ContextTablePinned(table) => state.context_table = Some(table.clone()),
        Record::AroundKnown {
            incident,
            targets,
            account,
        } => {
            if !state.incidents.contains_key(incident) {
                return Err(ApplyError::NoIncident(*incident));
            }
            state.around.add(*incident, targets, account.as_ref());
        }
        Record::AssetsKnown { incident, assets } => {
            if !state.incidents.contains_key(incident) {
                return Err(ApplyError::NoIncident(*incident));
            }
            state.around.name(*incident, assets);
        }
        Record::ListChanged(change) => {
            state.lists.change(change);
            state.index.listed = ListedNetworks::of(&state.lists);
        }
        Record::EvidencePlanned {
            evidence,
            incident,
            kind,
            target,
            options,
            deadline,
        } => {
            incident_mut(state, *incident)?.evidence.push(*evidence);
            state.last_evidence = evidence.0;
            let planned = Evidence {
                id: *evidence,
                incident: *incident,
                kind: *kind,
                target: target.clone(),
                options: options.clone(),
                deadline: *deadline,
                attempts: 1,
                retry_at: None,
                sealed: None,
                missed: None,
            };
            next.add(|| collect(state, &planned));
            state.index.enter_evidence(&planned);
            state.evidence.insert(*evidence, Box::new(planned));
        }
        Record::EvidencePostponed { evidence, until, .. } => {
            change_evidence(state, *evidence, |it| it.retry_at = Some(*until))?;
        }
        Record::EvidenceResent { evidence } => {
            change_evidence(state, *evidence, |it| {
                it.retry_at = None;
                it.attempts += 1;
            })?;
            next.add(|| collect(state, state.evidence.get(evidence)?));
        }
        Record::WatchPlanned {
            watch,
            incident,
            over,
            plan,
            answer_by,
        } => {
            if !state.incidents.contains_key(incident) {
                return Err(ApplyError::NoIncident(*incident));
            }
            free(watch, !state.watches.contains_key(&(*incident, *watch)))?;
            number(watch, watch.0, &mut state.last_watch)?;
            let running = |lasts| WatchState::Running { until: now + lasts };
            let planned = Watch {
                id: *watch,
                incident: *incident,
                over: *over,
                plan: plan.clone(),
                state: match over {
                    WatchOver::Containment(_) => WatchState::Baseline,
                    WatchOver::Recovery(_) => running(plan.lasts),
                },
                ticket: 1,
                asked: true,
                due: Some(*answer_by),
                unhealthy: 0,
            };
            next.add(|| Some(read_health(&planned)));
            state.index.enter_watch(&planned);
            state.index.dirty.add(*incident);
            state.watches.insert((*incident, *watch), Box::new(planned));
        }
        Record::WatchRead {
            incident,
            watch,
            result,
            next: again,
        } => change_watch(state, *incident, *watch, |it| {
            it.asked = false;
            it.due = *again;
            match result {
                Ok(reading) if reading.healthy => it.unhealthy = 0,
                Ok(_) => it.unhealthy = it.unhealthy.saturating_add(1),
                Err(_) => {}
            }
            if it.state == WatchState::Baseline {
                it.state = WatchState::Ready;
                it.unhealthy = 0;
            }
        })?,
        Record::WatchAsked {
            incident,
            watch,
            answer_by,
        } => {
            change_watch(state, *incident, *watch, |it| {
                it.asked = true;
                it.ticket = it.ticket.wrapping_add(1);
                it.due = Some(*answer_by);
            })?;
            next.add(|| state.watches.get(&(*incident, *watch)).map(|it| read_health(it)));
        }
        Record::WatchStarted {
            incident,
            watch,
            until,
            next: first,
        } => change_watch(state, *incident, *watch, |it| {
            it.state = WatchState::Running { until: *until };
            it.due = Some(*first);
        })?,
        Record::WatchEnded { incident, watch, .. } => {
            let ended = state.watches.remove(&(*incident, *watch));
            let ended = ended.ok_or(ApplyError::NoWatch(*watch))?;
            state.index.leave_watch(&ended);
            state.index.dirty.add(*incident);
        }
        Record::RecoveryPlanned { incident, targets } => {
            if !state.incidents.contains_key(incident) {
                return Err(ApplyError::NoIncident(*incident));
            }
            let planned = Recovery {
                targets: targets.clone(),
                state: RecoveryState::Waiting,
                acts: Vec::new(),
                lifted: Vec::new(),
                again: Vec::new(),
            };
            state.recoveries.insert(*incident, Box::new(planned));
        }
        Record::RecoveryStarted { incident, by } => change_recovery(state, *incident, |it| {
            it.state = RecoveryState::Running {
                by: by.clone(),
                at: 0,
                waits: None,
            };
        })?,
        Record::RecoveryAt { incident, at, waits } => {
            change_recovery(state, *incident, |it| recover::go_to(it, *at, *waits, now))?;
        }
        Record::ContainedAgain { incident, transaction } => {
            change_recovery(state, *incident, |it| it.again.push((*transaction, now)))?;
        }
        Record::RecoveryEnded { incident, end } => {
            change_recovery(state, *incident, |it| {
                // What an earlier try has lifted is lifted until it is contained again.
                if matches!(end, RecoveryEnd::Recovered | RecoveryEnd::Back { .. }) {
                    it.lifted.clear();
                }
                it.state = RecoveryState::Ended(end.clone());
            })?;
        }
        Record::EvidenceSealed { evidence, sealed } => {
            change_evidence(state, *evidence, |it| it.sealed = Some(*sealed))?;
        }
        Record::EvidenceMissed { evidence, failure } => {
            change_evidence(state, *evidence, |it| it.missed = Some(Box::new(failure.clone())))?;
        }
    }
    Ok(())
}

fn apply_change(
    state: &mut EngineState,
    id: TransactionId,
    change: &Change,
    now: Timestamp,
    next: &mut Next<'_>,
) -> Result<(), ApplyError> {
    let EngineState {
        transactions,
        incidents,
        policy,
        budgets,
        index,
        completions,
        ..
    } = state;
    let it = transactions.get_mut(&id).ok_or(ApplyError::NoTransaction(id))?;
    let after = transaction::after(&it.state, change).map_err(|illegal| ApplyError::Illegal {
        transaction: id,
        illegal,
    })?;
    let ends = after.kind().is_terminal() && after.kind() != StateKind::Stuck;
    let before = (it.state.kind(), it.deadline);
    it.state = after;
    let driver = policy.as_ref().and_then(|policy| driver(policy, it.kind));
    let lands_by = match (change, driver) {
        // The kernel has done it once, and no proxy sends it again.
        (Change::Landed(_), Some(driver)) if driver.local => now,
        _ => now + in_flight_max(driver),
    };
    update(it, change, now, lands_by);
    if let Change::PostCheckPassed { .. } = change {
        *completions = completions.saturating_add(1);
        it.completed = *completions;
    }
    account(budgets, incidents, it, change, now);
    index.follow(before, it, ends);
    index.dirty.add(it.incident);
    for incident in &it.joined {
        index.dirty.add(*incident);
    }
    if let Change::LetGo(incident) = change {
        index.dirty.add(*incident);
    }
    let (incident, label) = (it.incident, it.label);
    if let Change::Joined(incident) = change {
        join(state, *incident, id);
    }
    if let Change::ReleaseVerified = change {
        count_return(state, id, now);
    }
    if let Change::GaveUp(_) = change {
        state.quarantined.remove(&id);
    }
    next.add(|| effect_of(state, state.transactions.get(&id)?, change));
    if ends && incident == IncidentId(0) {
        state.lifted.add(label, now);
        state.transactions.remove(&id);
        return Ok(());
    }
    if ends {
        state.enter_incident(incident);
    }
    Ok(())
}

/// What the process before has sent may land for as long as if it was sent at this start, whatever the clock says.
fn keep_waiting_for_what_was_sent(state: &mut EngineState, now: Timestamp) {
    let under_way = |it: &&Transaction| {
        // Of what is in force, an earlier try or a duplicate may be. Nothing is, where all had landed when it was verified.
        let all_had_landed = it.state.kind() == StateKind::InForce && it.in_flight_until <= it.verified_at;
        it.in_flight_until.is_some() && !it.state.kind().is_terminal() && !all_had_landed
    };
    let sent: Vec<_> = state
        .transactions
        .values()
        .filter(under_way)
        .map(|it| (it.id, it.kind))
        .collect();
    for (id, kind) in sent {
        let until = Some(now + state.in_flight_max(kind));
        if let Some(it) = state.transactions.get_mut(&id) {
            it.in_flight_until = it.in_flight_until.max(until);
        }
    }
}

/// Enters `it` into the incident that joins it, with the step for which it does.
///
/// Every step of a match makes one record, in the playbook's order; so the step is the one after that of the record
/// before. One that is judged anew keeps the step of the transaction that was at the same place.
fn join(state: &mut EngineState, id: IncidentId, transaction: TransactionId) {
    let (Some(joining), Some(it)) = (state.incidents.get_mut(&id), state.transactions.get(&transaction)) else {
        return;
    };
    let same_place = |other: &TransactionId| {
        *other != it.id
            && state
                .transactions
                .get(other)
                .is_some_and(|other| (other.kind, &other.target) == (it.kind, &it.target))
    };
    let before = joining
        .joined_steps
        .iter()
        .find(|(other, _)| same_place(other))
        .map(|(_, step)| *step);
    let step = before.unwrap_or(joining.next_step);
    joining.next_step = joining.next_step.saturating_add(1);
    if !joining.transactions.contains(&it.id) {
        joining.transactions.push(it.id);
        joining.joined_steps.push((it.id, step));
    }
}

/// True when `record` is about a quarantined transaction, so that it does not count.
///
/// That it was given up counts: it leaves the transaction to a person, whoever wrote it and why.
pub(crate) fn is_quarantined(state: &EngineState, record: &Record) -> bool {
    match record {
        Record::Transaction {
            change: Change::GaveUp(_),
            ..
        } => false,
        Record::Transaction { transaction, .. } => state.quarantined.contains_key(transaction),
        // It waits for the end of what it planned, which is now as far off as a person's release.
        Record::IncidentForgotten { incident } => state
            .quarantined
            .keys()
            .any(|id| state.transactions.get(id).is_some_and(|it| it.incident == *incident)),
        _ => false,
    }
}

/// Leaves out a `record` that could not be applied: quarantines its transaction, or counts it.
pub(crate) fn leave_out(state: &mut EngineState, record: &Record, error: &ApplyError) {
    if let Record::Transaction { transaction, .. } | Record::TransactionPlanned { transaction, .. } = record {
        // The world may hold something with this label, so that no other transaction may have it. A number out of all
        // proportion is never reached.
        drop(number(transaction, transaction.0, &mut state.last_transaction));
    }
    if let ApplyError::Illegal { transaction, .. } = error
        && let Some(it) = state.transactions.get(transaction)
        && (!it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck)
    {
        state.quarantined.insert(*transaction, error.to_string().into());
    } else {
        state.unfit.count = state.unfit.count.saturating_add(1);
        state.unfit.first.get_or_insert_with(|| error.to_string().into());
    }
}

/// How far the number of something new may be above the last one given out. The engine gives out the next one; there are
/// gaps only where records were left out. No journal holds enough records to come to the end of 64 bits in such steps.
const NUMBER_GAP_MAX: u64 = 1 << 32;

/// Takes note that `number` was given out, in the `id` of something new.
fn number(id: &impl fmt::Display, number: u64, last: &mut u64) -> Result<(), ApplyError> {
    if number == 0 || number > last.saturating_add(NUMBER_GAP_MAX) {
        return Err(ApplyError::Misnumbered(id.to_string().into()));
    }
    *last = number.max(*last);
    Ok(())
}

/// Refuses the `id` of something new that is not free: two things with one id could not both be found.
fn free(id: &impl fmt::Display, is_free: bool) -> Result<(), ApplyError> {
    if is_free {
        return Ok(());
    }
    Err(ApplyError::Misnumbered(id.to_string().into()))
}

/// A containment of a playbook whose leases grow has ended.
fn count_return(state: &mut EngineState, id: TransactionId, now: Timestamp) {
    let playbook = state
        .transactions
        .get(&id)
        .and_then(|it| state.playbook_of(it))
        .cloned();
    let (Some(playbook), Some(it)) = (playbook, state.transactions.get(&id)) else {
        return;
    };
    let (Some(within), State::Released(cause)) = (playbook.returns_within(it.step), &it.state) else {
        return;
    };
    match &**cause {
        Cause::LeaseEnded => state.repeats.serve(&playbook, it, now, within),
        Cause::Operator { .. } => state.repeats.pardon(&playbook, it),
        _ => {}
    }
}

/// What a page about records that were left out says, besides their number; it is also what marks them as told.
pub(crate) const UNFIT: &str = "record(s) of the journal do not fit this build and were left out";

fn tells_of_unfit(notice: &staunch_model::Notice) -> bool {
    notice.incident.is_none() && notice.transaction.is_none() && notice.text.contains(UNFIT)
}

/// Debits budgets: an act when it is first sent, a failure when it has ended.
fn account(
    budgets: &mut Budgets,
    incidents: &Compact<IncidentId, Incident>,
    it: &Transaction,
    change: &Change,
    now: Timestamp,
) {
    match change {
        Change::ExecuteIntended { .. } if it.executions == 1 => {
            budgets.debit(Scope::Total, now);
            budgets.debit(Scope::Action(it.kind), now);
            if !is(Mutant::GroupBudgetIgnored) {
                budgets.debit(budget::group(&it.target), now);
            }
            if let Some(incident) = incidents.get(&it.incident) {
                budgets.debit(Scope::Playbook(incident.playbook), now);
            }
        }
        // A record that does not fit says nothing about the drivers either.
        Change::GaveUp(reason) if reason.trying.is_undo() => budgets.debit(Scope::Failures, now),
        Change::ProbedAbsent => {
            // Being stopped or killed says nothing about the drivers, which is what the breaker is for.
            let interrupted =
                |cause: &Cause| matches!(cause, Cause::ExecuteFailed(it) if it.kind == FailureKind::Interrupted);
            if let State::RolledBack(cause) = &it.state
                && transaction::is_failure(cause)
                && !interrupted(cause)
            {
                budgets.debit(Scope::Failures, now);
            }
        }
        _ => {}
    }
}

/// Changes a piece of evidence and the index with it; its incident is looked at again.
fn change_evidence(
    state: &mut EngineState,
    id: EvidenceId,
    change: impl FnOnce(&mut Evidence),
) -> Result<(), ApplyError> {
    let it = state.evidence.get_mut(&id).ok_or(ApplyError::NoEvidence(id))?;
    state.index.leave_evidence(it);
    change(it);
    state.index.enter_evidence(it);
    state.index.dirty.add(it.incident);
    Ok(())
}

/// Changes a watch and the index with it; its incident is looked at again.
fn change_watch(
    state: &mut EngineState,
    incident: IncidentId,
    id: WatchId,
    change: impl FnOnce(&mut Watch),
) -> Result<(), ApplyError> {
    let it = state.watches.get_mut(&(incident, id)).ok_or(ApplyError::NoWatch(id))?;
    state.index.leave_watch(it);
    change(it);
    state.index.enter_watch(it);
    state.index.dirty.add(incident);
    Ok(())
}

/// Changes a recovery; its incident is looked at again.
fn change_recovery(
    state: &mut EngineState,
    id: IncidentId,
    change: impl FnOnce(&mut Recovery),
) -> Result<(), ApplyError> {
    let it = state.recoveries.get_mut(&id).ok_or(ApplyError::NoRecovery(id))?;
    change(it);
    state.index.dirty.add(id);
    Ok(())
}

fn incident_mut(state: &mut EngineState, id: IncidentId) -> Result<&mut Incident, ApplyError> {
    state.incidents.get_mut(&id).ok_or(ApplyError::NoIncident(id))
}

/// Drops a closed incident and the transactions that it planned, which have all ended.
fn forget(state: &mut EngineState, id: IncidentId, now: Timestamp) -> Result<(), ApplyError> {
    let forgotten = state.incidents.get(&id).ok_or(ApplyError::NoIncident(id))?;
    let lives = |it: &Transaction| !it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck;
    let mut planned = forgotten
        .transactions
        .iter()
        .filter_map(|it| state.transactions.get(it));
    if planned.any(|it| it.incident == id && lives(it)) {
        return Err(ApplyError::NotEnded(id));
    }
    let incident = state.incidents.remove(&id).ok_or(ApplyError::NoIncident(id))?;
    state.around.forget(id);
    state.recoveries.remove(&id);
    let watches: Vec<Watch> = state.watches_of(id).cloned().collect();
    for it in watches {
        state.index.leave_watch(&it);
        state.watches.remove(&(id, it.id));
    }
    state.index.incidents_open -= u64::from(incident.status == IncidentStatus::Open);
    state
        .index
        .deadlines
        .remove(&(incident.absorbs_until, Subject::Incident(id)));
    state.index.leave_key(key_hash(incident.playbook, &incident.key), id);
    for evidence in &incident.evidence {
        if let Some(it) = state.evidence.remove(evidence) {
            state.index.leave_evidence(&it);
        }
    }
    for transaction in &incident.transactions {
        if state.transactions.get(transaction).is_some_and(|it| it.incident == id)
            && let Some(it) = state.transactions.remove(transaction)
            && it.executions > 0
            && now.since(it.deadline) <= limits::SWEEP_READING_MAX
        {
            // The deadline of a transaction that has ended is when it did.
            state.lifted.add(it.label, it.deadline);
        }
    }
    Ok(())
}
