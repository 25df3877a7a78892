//! What must hold of a change of a transaction when it becomes durable.
//!
//! Never says what may be done to a target: see `acts.rs`.

use staunch_model::{
    Cause, Change, Command, Frame, Input, Judgement, Observation, Owner, Presence, Record, RefusalReason, ReleaseScope,
    Span, StateKind, Timestamp, TransactionId,
};

use super::leases::{ends_in_time, held_for};
use super::look::answer;
use super::told::{is_paged, pages, renewal_failed};
use super::{Ends, Found, Invariant, Model, Tx, escaped, fail};

/// The longest pause between two tries, unless requests settle for longer.
const PAUSE_MAX: Span = Span::from_secs(30);

/// How long beyond a driver's longest time in flight its answer is waited for, and its requests settle.
const SETTLES_FOR: Span = Span::from_millis(5_500);

/// How much shorter than asked for a renewal may be found.
const HOLD_TOLERANCE: Span = Span::from_secs(30);

/// How often a target is looked at before its act is refused because that does not work.
pub(super) const LOOKS_MIN: u32 = 3;

/// How often an undo is tried before a transaction is stuck.
const UNDOS_MIN: u32 = 8;

impl Model {
    /// Everything that must hold of `change`, which is then taken up.
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
                self.lapses_in_time(id, *expires, now)?;
                self.is_asked_for_a_reason(frame, id, it, now)?;
            }
            Change::PostCheckPassed { lease_until } => {
                found_in_place(frame, id, it)?;
                ends_in_time(id, *lease_until, now + it.lease)?;
            }
            Change::Renewed { lease_until } => renewed_as_asked(id, it, *lease_until, now)?,
            Change::RenewFailed(_) => renewal_failed(frame, id)?,
            Change::ProbedAbsent | Change::ReleaseVerified => {
                found_gone(frame, id, it)?;
                self.count(id, now);
            }
            Change::ReleaseStarted { cause, .. } => {
                self.released_in_order(frame, at, id, it)?;
                self.ends_because(id, cause);
            }
            Change::Postponed { until, .. } if *until > now + self.pause_max() => {
                return fail(
                    Invariant::EverythingEnds,
                    format!("{id} is tried again only at {until}"),
                );
            }
            Change::Refused { reason, judgement } => refused_safely(id, it, reason, judgement.as_deref())?,
            Change::RollbackStarted { cause, .. } => match **cause {
                Cause::Sibling(failed) => self.rolled_back_in_order(id, it, failed)?,
                Cause::Vanished { .. } if !is_paged(frame) => {
                    return fail(Invariant::StuckIsTold, format!("{id} has vanished and nobody is paged"));
                }
                _ => {}
            },
            Change::GaveUp(_) => stuck_and_told(frame, id, it)?,
            _ => {}
        }
        self.fold(id, change, now);
        if let Change::PostCheckPassed { lease_until } | Change::Renewed { lease_until } = change {
            self.lease_ends(*lease_until);
        }
        Ok(())
    }

    /// A question about `id` lapses when it has to.
    fn lapses_in_time(&self, id: TransactionId, expires: Timestamp, now: Timestamp) -> Found {
        let limits = self.policy.as_ref().map(|policy| policy.limits);
        if limits.is_none_or(|limits| expires > now + limits.approval_expiry) {
            return fail(
                Invariant::Approval,
                format!("the question about {id} lapses at {expires}"),
            );
        }
        Ok(())
    }

    /// Takes note of why `id` is lifted.
    fn ends_because(&mut self, id: TransactionId, cause: &Cause) {
        if let Some(it) = self.transactions.get_mut(&id) {
            it.ends = match cause {
                Cause::LeaseEnded => Some(Ends::ByItself),
                Cause::Operator { .. } => Some(Ends::ByPerson),
                _ => None,
            };
            it.hurts = matches!(cause, Cause::Hurts { .. });
        }
    }

    /// `id` is rolled back for a sibling that has failed, and nothing that was completed later is still in force.
    fn rolled_back_in_order(&self, id: TransactionId, it: &Tx, failed: TransactionId) -> Found {
        if self.transactions.get(&failed).is_some_and(|it| !it.failed) {
            let what = format!("{id} is rolled back for {failed}, which has not failed");
            return fail(Invariant::AllOrNothing, what);
        }
        // What is not in force yet has no place in the order.
        let later = self.transactions.iter().find(|(later, other)| {
            it.kind == StateKind::InForce
                && !self.recoveries.acts(**later)
                && other.incident == it.incident
                && other.kind == StateKind::InForce
                && other.is_of_one()
                && other.completed > it.completed
        });
        match later {
            Some((later, _)) => fail(Invariant::RollbackOrder, format!("{id} is rolled back before {later}")),
            None => Ok(()),
        }
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

/// Whether what `seen` shows carries `label`.
pub(super) fn shows(seen: &Observation, label: TransactionId) -> bool {
    matches!(seen.presence, Presence::Present { owner: Owner::Ours(it), .. } if it == label)
}

/// `id` is in force because a look found it, ours and enforced.
fn found_in_place(frame: &Frame, id: TransactionId, it: &Tx) -> Found {
    if let Some((Ok(seen), _)) = answer(frame, id, it)
        && seen.enforcing
        && shows(seen, id)
    {
        return Ok(());
    }
    fail(
        Invariant::ForceIsVerified,
        format!("{id} is in force without being there"),
    )
}

/// `id` has ended because a look found nothing of it.
fn found_gone(frame: &Frame, id: TransactionId, it: &Tx) -> Found {
    if let Some((Ok(seen), _)) = answer(frame, id, it)
        && !shows(seen, it.label)
    {
        return Ok(());
    }
    fail(Invariant::EndIsVerified, format!("{id} has ended without a look"))
}

/// The lease of `id` ends no later than was asked for, and not much earlier.
fn renewed_as_asked(id: TransactionId, it: &Tx, lease_until: Timestamp, now: Timestamp) -> Found {
    ends_in_time(id, lease_until, it.renews.unwrap_or(now))?;
    if it.renews.is_some_and(|until| until > lease_until + HOLD_TOLERANCE) {
        let what = format!("{id} counts as renewed until {lease_until}, which is not what was asked for");
        return fail(Invariant::CommandsAnswered, what);
    }
    Ok(())
}

/// `id` is not refused before it was looked at often enough, and what is said of it can be shown.
fn refused_safely(id: TransactionId, it: &Tx, reason: &RefusalReason, judgement: Option<&Judgement>) -> Found {
    if matches!(reason, RefusalReason::CheckFailed(_)) && it.tries < LOOKS_MIN {
        let what = format!("{id} is given up after {} looks", it.tries);
        return fail(Invariant::StuckIsTold, what);
    }
    if let RefusalReason::Guard { why, .. } = reason {
        escaped("a refusal", why)?;
    }
    for result in judgement.into_iter().flat_map(|it| &it.guards) {
        escaped("a guard's result", &result.why)?;
    }
    Ok(())
}

/// `id` is stuck after enough tries, and a person is paged for it.
fn stuck_and_told(frame: &Frame, id: TransactionId, it: &Tx) -> Found {
    if it.tries < UNDOS_MIN {
        let what = format!("{id} is stuck after {} tries", it.tries);
        return fail(Invariant::StuckIsTold, what);
    }
    if pages(frame).any(|notice| notice.transaction == Some(id)) {
        return Ok(());
    }
    fail(Invariant::StuckIsTold, format!("{id} is stuck and nobody is paged"))
}

/// Whether the two act, or may act, in the same place: of what was adopted it is not known what it does.
pub(super) fn is_same_place(one: &Tx, other: &Tx) -> bool {
    one.target == other.target && one.action.zip(other.action).is_none_or(|(one, other)| one == other)
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
