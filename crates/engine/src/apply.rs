//! Applies records to the state. The only code that changes it, in live running, recovery, replay and simulation.
//!
//! `apply_to` names every record; what becomes of the state is in a module for each family of records. None of them
//! decides anything: a record says what is so, and the state follows, or the record does not fit.

mod effects;
mod error;
mod evidence;
mod ids;
mod incidents;
mod misfits;
mod notices;
mod policy;
mod recoveries;
mod start;
mod transactions;
mod update;
mod watches;

use staunch_model::{Await, Effect, IncidentId, Record, Timestamp};

pub use error::ApplyError;
pub(crate) use misfits::{UNFIT, is_quarantined, leave_out};
pub(crate) use update::new_transaction;

use self::evidence::new_evidence;
use self::watches::new_watch;
use crate::found;
use crate::risk;
use crate::state::EngineState;

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
        Record::Started { installation } => start::started(state, *installation, now),

        Record::PolicyPinned(policy) => policy::pinned(state, policy),
        Record::ModeSet { mode } => policy::mode_set(state, *mode, now)?,
        Record::BreakerOpened { .. } => state.breaker_open = Some(now),
        Record::ListChanged(change) => policy::list_changed(state, change),
        Record::Exempted(exemption) => state.exemptions.insert(exemption.clone(), now),
        Record::ExemptionEnded { network } => state.exemptions.remove(*network),
        Record::RiskTablePinned(table) => state.risk_table = Some(table.clone()),
        Record::ContextTablePinned(table) => state.context_table = Some(table.clone()),
        Record::Known(known) => risk::enter(state, known, now),
        Record::Found(found) => found::enter(state, found),

        Record::IncidentOpened {
            incident,
            playbook,
            key,
            event_time,
            absorbs_until,
        } => incidents::opened(state, *incident, *playbook, key, *event_time, *absorbs_until, now)?,
        Record::EventJoined { incident } => incidents::event_joined(state, *incident)?,
        Record::StepWithoutTarget { incident, step } => incidents::step_left_out(state, *incident, *step)?,
        Record::AroundKnown {
            incident,
            targets,
            account,
        } => incidents::around_known(state, *incident, targets, account.as_deref())?,
        Record::AssetsKnown { incident, assets } => incidents::assets_known(state, *incident, assets)?,
        Record::OutcomeReached { incident, outcome } => incidents::outcome_reached(state, *incident, *outcome)?,
        Record::IncidentClosed {
            incident,
            absorbs_until,
        } => incidents::closed(state, *incident, *absorbs_until)?,
        Record::IncidentForgotten { incident } => incidents::forgotten(state, *incident, now)?,

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
            let mut planned = new_transaction(*transaction, *transaction, *incident, *kind, target.clone());
            planned.step = *step;
            planned.lease = *lease;
            planned.deadline = *deadline;
            planned.awaits = Await::Timer;
            transactions::planned(state, planned)?;
        }
        Record::CameBack { transaction, .. } => transactions::came_back(state, *transaction)?,
        Record::Transaction { transaction, change } => transactions::changed(state, *transaction, change, now, next)?,
        Record::OrphanAdopted {
            transaction,
            label,
            kind,
            target,
            dispatch,
        } => {
            let orphan = new_transaction(*transaction, *label, IncidentId(0), *kind, target.clone());
            transactions::adopted(state, orphan, *dispatch, next)?;
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

        Record::NoticeQueued(notice) => notices::queued(state, notice, now, next)?,
        Record::NoticeSent { notice } | Record::NoticeFailed { notice, retry_at: None } => {
            notices::done(state, *notice);
        }
        Record::NoticeFailed {
            notice,
            retry_at: Some(at),
        } => notices::postponed(state, *notice, *at),
        Record::NoticeResent { notice } => notices::resent(state, *notice, now, next),
        Record::CommandDone { .. } | Record::CommandRefused { .. } => {}

        Record::EvidencePlanned {
            evidence,
            incident,
            kind,
            target,
            options,
            deadline,
        } => {
            let planned = new_evidence(*evidence, *incident, *kind, target.clone(), options.clone(), *deadline);
            evidence::planned(state, planned, next)?;
        }
        Record::EvidencePostponed { evidence, until, .. } => evidence::postponed(state, *evidence, *until)?,
        Record::EvidenceResent { evidence } => evidence::resent(state, *evidence, next)?,
        Record::EvidenceSealed { evidence, sealed } => evidence::sealed(state, *evidence, *sealed)?,
        Record::EvidenceMissed { evidence, failure } => evidence::missed(state, *evidence, failure)?,

        Record::WatchPlanned {
            watch,
            incident,
            over,
            plan,
            answer_by,
        } => {
            let planned = new_watch(*watch, *incident, *over, plan.clone(), *answer_by, now);
            watches::planned(state, planned, next)?;
        }
        Record::WatchRead {
            incident,
            watch,
            result,
            next: again,
        } => watches::read(state, *incident, *watch, result, *again)?,
        Record::WatchAsked {
            incident,
            watch,
            answer_by,
        } => watches::asked(state, *incident, *watch, *answer_by, next)?,
        Record::WatchStarted {
            incident,
            watch,
            until,
            next: first,
        } => watches::started(state, *incident, *watch, *until, *first)?,
        Record::WatchEnded { incident, watch, .. } => watches::ended(state, *incident, *watch)?,

        Record::RecoveryPlanned { incident, targets } => recoveries::planned(state, *incident, targets)?,
        Record::RecoveryStarted { incident, by } => recoveries::started(state, *incident, by)?,
        Record::RecoveryAt { incident, at, waits } => recoveries::at(state, *incident, *at, *waits, now)?,
        Record::ContainedAgain { incident, transaction } => {
            recoveries::contained_again(state, *incident, *transaction, now)?;
        }
        Record::RecoveryEnded { incident, end } => recoveries::ended(state, *incident, end, now)?,
    }
    Ok(())
}
