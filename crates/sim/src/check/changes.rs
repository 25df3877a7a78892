//! What must hold of a change of a transaction when it becomes durable.
//!
//! Never says what may be done to a target: see `acts.rs`.

use staunch_model::{
    Cause, Change, Command, Frame, Input, NoticeLevel, Owner, Presence, Record, RefusalReason, ReleaseScope, Span,
    StateKind, Timestamp, TransactionId,
};

use super::leases::{ends_in_time, held_for};
use super::told::renewal_failed;
use super::{Ends, Found, Invariant, Model, Tx, escaped, fail};

/// The longest pause between two tries, unless requests settle for longer.
const PAUSE_MAX: Span = Span::from_secs(30);

/// How long beyond a driver's longest time in flight its answer is waited for, and its requests settle.
const SETTLES_FOR: Span = Span::from_millis(5_500);

/// How much shorter than asked for a renewal may be found.
const HOLD_TOLERANCE: Span = Span::from_secs(30);

/// How often a target is looked at before its act is refused because that does not work.
const LOOKS_MIN: u32 = 3;

/// How often an undo is tried before a transaction is stuck.
const UNDOS_MIN: u32 = 8;

impl Model {
    pub(super) fn change(
        &mut self,
        frame: &Frame,
        at: usize,
        id: TransactionId,
        change: &Change,
        now: Timestamp,
    ) -> Found {
        let Some(it) = self.transactions.get(&id) else {
            return Ok(());
        };
        newest_reply(frame, at, id, it, change)?;
        self.stays_out_for_a_reason(frame, id, it, change, now)?;
        match change {
            Change::PreCheckStarted(_) => self.starts(id, it)?,
            Change::ExecuteIntended { judgement, hold, .. } => {
                held_for(id, *hold, it.lease)?;
                self.looked(frame, id, it)?;
                self.act(id, judgement.as_deref(), now)?;
            }
            Change::RenewStarted { until, hold, .. } => held_for(id, *hold, until.since(now))?,
            Change::ApprovalRequested { expires, .. } => {
                let limits = self.policy.as_ref().map(|policy| policy.limits);
                if limits.is_none_or(|limits| *expires > now + limits.approval_expiry) {
                    return fail(
                        Invariant::Approval,
                        format!("the question about {id} lapses at {expires}"),
                    );
                }
                self.is_asked_for_a_reason(frame, id, it, now)?;
            }
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
                ends_in_time(id, *lease_until, now + it.lease)?;
            }
            Change::Renewed { lease_until } => {
                ends_in_time(id, *lease_until, it.renews.unwrap_or(now))?;
                if it.renews.is_some_and(|until| until > *lease_until + HOLD_TOLERANCE) {
                    let what = format!("{id} counts as renewed until {lease_until}, which is not what was asked for");
                    return fail(Invariant::CommandsAnswered, what);
                }
            }
            Change::RenewFailed(_) => renewal_failed(frame, id)?,
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
                self.released_in_order(frame, at, id, it)?;
                let ends = match **cause {
                    Cause::LeaseEnded => Some(Ends::ByItself),
                    Cause::Operator { .. } => Some(Ends::ByPerson),
                    _ => None,
                };
                let hurts = matches!(**cause, Cause::Hurts { .. });
                if let Some(it) = self.transactions.get_mut(&id) {
                    it.ends = ends;
                    it.hurts = hurts;
                }
            }
            Change::Postponed { until, .. } if *until > now + self.pause_max() => {
                return fail(
                    Invariant::EverythingEnds,
                    format!("{id} is tried again only at {until}"),
                );
            }
            Change::Refused { reason, judgement } => {
                if matches!(**reason, RefusalReason::CheckFailed(_)) && it.tries < LOOKS_MIN {
                    let what = format!("{id} is given up after {} looks", it.tries);
                    return fail(Invariant::StuckIsTold, what);
                }
                if let RefusalReason::Guard { why, .. } = &**reason {
                    escaped("a refusal", why)?;
                }
                for result in judgement.iter().flat_map(|it| &it.guards) {
                    escaped("a guard's result", &result.why)?;
                }
            }
            Change::RollbackStarted { cause, .. } if matches!(**cause, Cause::Sibling(_)) => {
                if let Cause::Sibling(failed) = **cause
                    && self.transactions.get(&failed).is_some_and(|it| !it.failed)
                {
                    let what = format!("{id} is rolled back for {failed}, which has not failed");
                    return fail(Invariant::AllOrNothing, what);
                }
                let later = self.transactions.iter().find(|(later, other)| {
                    !self.recoveries.acts(**later)
                        && other.incident == it.incident
                        && other.kind == StateKind::InForce
                        && other.is_of_one()
                        && other.completed > it.completed
                });
                if let Some((later, _)) = later {
                    return fail(Invariant::RollbackOrder, format!("{id} is rolled back before {later}"));
                }
            }
            Change::RollbackStarted { cause, .. } if matches!(**cause, Cause::Vanished { .. }) && !is_paged(frame) => {
                return fail(Invariant::StuckIsTold, format!("{id} has vanished and nobody is paged"));
            }
            Change::GaveUp(_) => {
                if it.tries < UNDOS_MIN {
                    let what = format!("{id} is stuck after {} tries", it.tries);
                    return fail(Invariant::StuckIsTold, what);
                }
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
        if let Change::PostCheckPassed { lease_until } | Change::Renewed { lease_until } = change {
            self.lease_ends(*lease_until);
        }
        Ok(())
    }

    /// The longest pause between two tries.
    fn pause_max(&self) -> Span {
        let drivers = self.policy.iter().flat_map(|policy| &policy.drivers);
        let settles = drivers.map(|driver| driver.in_flight_max + SETTLES_FOR).max();
        settles.map_or(PAUSE_MAX, |settles| settles.max(PAUSE_MAX))
    }

    /// Of what a person releases together, nothing in force that was completed later is lifted after `it`.
    fn released_in_order(&self, frame: &Frame, at: usize, id: TransactionId, it: &Tx) -> Found {
        let rest = answered_at(frame).and_then(|answer| frame.records.get(at + 1..answer));
        for record in rest.unwrap_or_default() {
            let Record::Transaction {
                transaction: next,
                change: Change::ReleaseStarted { .. },
            } = record
            else {
                continue;
            };
            let later = |other: &Tx| {
                it.kind == StateKind::InForce && other.kind == StateKind::InForce && other.completed > it.completed
            };
            if self.transactions.get(next).is_some_and(later) {
                return fail(Invariant::ReleaseOrder, format!("{id} is released before {next}"));
            }
        }
        Ok(())
    }
}

/// Whether the two act, or may act, in the same place: of what was adopted it is not known what it does.
pub(super) fn is_same_place(one: &Tx, other: &Tx) -> bool {
    one.target == other.target && one.action.zip(other.action).is_none_or(|(one, other)| one == other)
}

/// Whether somebody is paged by what is decided in `frame`.
pub(super) fn is_paged(frame: &Frame) -> bool {
    let pages = |record: &Record| matches!(record, Record::NoticeQueued(notice) if notice.level == NoticeLevel::Page);
    frame.records.iter().any(pages)
}

/// The place of the answer to a command of a person who releases, in the frame of it: what comes behind it is not done
/// by that command.
fn answered_at(frame: &Frame) -> Option<usize> {
    use {Command as C, ReleaseScope as S};
    match &frame.input {
        Input::Operator {
            command: C::Release(S::Incident(_) | S::All) | C::ReleaseTrusting { .. },
            ..
        } => {
            let answer = |record: &Record| matches!(record, Record::CommandDone { .. });
            frame.records.iter().position(answer)
        }
        _ => None,
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
