//! What operators ask for.

use std::cmp::Reverse;

use staunch_model::{
    Cause, Change, Command, IncidentId, Operator, Record, RefusalReason, ReleaseScope, Span, StateKind, Transaction,
    TransactionId,
};

use crate::NO_SUCH;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::transaction::can_be_held;
use crate::turn::Turn;

impl Turn<'_> {
    /// An operator asks for something.
    pub(crate) fn on_command(&mut self, by: &Operator, command: &Command) {
        let result = match command {
            Command::Release(ReleaseScope::Transaction(id)) => self.release_one(*id, by),
            Command::Release(ReleaseScope::Incident(id)) => self.release_incident(*id, by),
            Command::Release(ReleaseScope::All) => Ok(self.release_all(by)),
            // Nothing of it is in the state: the runtime has the drivers do it once this is durable.
            Command::Release(ReleaseScope::Former) => Ok(Vec::new()),
            Command::Renew {
                transaction,
                lease,
                shorten,
            } => self.renew(*transaction, *lease, *shorten, by),
            Command::Approve(id) => self.approve(*id, by),
            Command::Deny(id) => self.deny(*id, by),
            Command::SetMode(mode) => {
                self.put(Record::ModeSet { mode: *mode });
                Ok(Vec::new())
            }
            Command::Protect { network, lasts } => self.protect(*network, *lasts, by),
            Command::Unprotect { network } => self.unprotect(*network),
            Command::ReleaseTrusting { scope, trust } => self.release_trusting(*scope, *trust, by),
            Command::Recover(incident) => self.start_recovery(*incident, by),
            Command::StopRecovery(incident) => self.stop_recovery(*incident, by),
            // Nothing of it is in the state: a drill begins in the drivers once this is durable, and ends before.
            Command::Drill { .. } | Command::StopDrill | Command::EndDrill { .. } => Ok(Vec::new()),
            // What was read comes as inputs of its own once this is durable.
            Command::Reload { mistakes: 0 } => Ok(Vec::new()),
            Command::Reload { mistakes } => {
                let (noun, were) = if *mistakes == 1 {
                    ("mistake", "was")
                } else {
                    ("mistakes", "were")
                };
                Err(format!(
                    "{mistakes} {noun} {were} found; what was read before stays in force"
                ))
            }
        };
        match result {
            Ok(affected) => self.put(Record::CommandDone { affected }),
            Err(_) if is(Mutant::RefusalIsDone) => self.put(Record::CommandDone { affected: Vec::new() }),
            Err(why) => self.put(Record::CommandRefused { why: why.into() }),
        }
    }

    /// The transaction that an operator names, or what is said of one that is not in the state.
    fn transaction(&self, id: TransactionId) -> Result<Transaction, String> {
        if let Some(it) = self.state.transactions.get(&id) {
            return Ok(it.clone());
        }
        Err(if (1..=self.state.last_transaction).contains(&id.0) {
            format!("{id} has ended, and nothing of it is in force")
        } else {
            format!("{NO_SUCH}{id}")
        })
    }

    pub(crate) fn release_one(&mut self, id: TransactionId, by: &Operator) -> Result<Vec<TransactionId>, String> {
        let it = self.transaction(id)?;
        if self.state.is_for_good(&it) {
            let until = it
                .lease_until
                .map_or_else(String::new, |end| format!("; it is listed until {end}"));
            return Err(format!(
                "{id} cannot be undone: {} of {} is for good{until}",
                it.kind, it.target
            ));
        }
        if self.release(&it, by) {
            Ok(vec![id])
        } else {
            Err(format!("{id} is {} already", it.state.kind()))
        }
    }

    pub(crate) fn release_incident(&mut self, id: IncidentId, by: &Operator) -> Result<Vec<TransactionId>, String> {
        let incident = self.state.incidents.get(&id).ok_or_else(|| format!("{NO_SUCH}{id}"))?;
        let all = incident.transactions.iter();
        let held = all.filter_map(|it| self.state.transactions.get(it));
        let mut held: Vec<_> = held
            .filter(|it| it.is_held_by(id))
            .map(|it| (turn_of(it), it.id))
            .collect();
        held.sort_unstable();
        let mut affected = Vec::new();
        for (_, transaction) in held {
            let it = self.state.transactions[&transaction].clone();
            if it.held_only_by(id) || is(Mutant::ReleaseTakesAll) {
                if !self.state.is_for_good(&it) && self.release(&it, by) {
                    affected.push(transaction);
                }
            } else if can_be_held(it.state.kind()) {
                self.change(transaction, Change::LetGo(id));
            }
        }
        Ok(affected)
    }

    fn release_all(&mut self, by: &Operator) -> Vec<TransactionId> {
        let newest_first = self.state.transactions.values().rev();
        let mut all: Vec<_> = newest_first
            .filter(|it| self.state.can_be_released(it))
            .map(|it| (turn_of(it), it.id))
            .collect();
        // Mostly it is in order already.
        all.sort();
        if is(Mutant::ReleaseLeavesOne) {
            all.pop();
        }
        let mut affected = Vec::new();
        for (_, id) in all {
            if self.size() >= limits::WORK_PER_TURN_MAX {
                break;
            }
            let it = self.state.transactions[&id].clone();
            if self.release(&it, by) {
                affected.push(id);
            }
        }
        affected
    }

    /// Starts to lift `it`, whatever it is doing. False when there is nothing to lift.
    fn release(&mut self, it: &Transaction, by: &Operator) -> bool {
        let cause = || Cause::Operator { by: by.name.clone() };
        match it.state.kind() {
            StateKind::Planned | StateKind::PreChecking | StateKind::AwaitingApproval => {
                let reason = Box::new(RefusalReason::Cancelled { by: by.name.clone() });
                self.change(
                    it.id,
                    Change::Refused {
                        reason,
                        judgement: None,
                    },
                );
            }
            StateKind::Executing | StateKind::PostChecking => self.roll_back(it, cause()),
            StateKind::InForce | StateKind::Stuck => self.start_release(it, cause()),
            _ => return false,
        }
        true
    }

    fn renew(
        &mut self,
        id: TransactionId,
        lease: Span,
        shorten: bool,
        by: &Operator,
    ) -> Result<Vec<TransactionId>, String> {
        let it = self.transaction(id)?;
        if it.state.kind() != StateKind::InForce {
            return Err(format!(
                "{id} is {}, and only what is in force has a lease",
                it.state.kind()
            ));
        }
        if let Some(end) = it.lease_until.filter(|end| *end <= self.now) {
            return Err(format!("the lease of {id} ended at {end}"));
        }
        let max = self.state.limits().lease_max;
        if lease == Span::ZERO {
            return Err(format!("a lease of {lease} is no time at all"));
        }
        if lease > max && !is(Mutant::LeaseUnbounded) {
            return Err(format!("a lease of {lease} is too long: the longest is {max}"));
        }
        let until = self.now + lease;
        if let Some(end) = it
            .lease_until
            .filter(|end| until < *end && !shorten && !is(Mutant::RenewalShortens))
        {
            return Err(format!(
                "the lease of {id} would end at {until}, but it ends at {end} now: allow the earlier end with `--shorten`"
            ));
        }
        if let Some(why) = self.protection(&it.target) {
            return Err(format!("{id} cannot be renewed: {why}"));
        }
        if it.renewing().is_some() {
            return Err(format!("{id} is being renewed already"));
        }
        let dispatch = self.act(&it);
        let hold = lease + limits::HOLD_MARGIN;
        let by = by.name.clone();
        self.change(
            id,
            Change::RenewStarted {
                dispatch,
                until,
                hold,
                by,
            },
        );
        Ok(vec![id])
    }

    fn approve(&mut self, id: TransactionId, by: &Operator) -> Result<Vec<TransactionId>, String> {
        self.waiting(id)?;
        self.change(id, Change::Approved { by: by.name.clone() });
        Ok(vec![id])
    }

    fn deny(&mut self, id: TransactionId, by: &Operator) -> Result<Vec<TransactionId>, String> {
        self.waiting(id)?;
        if is(Mutant::DenyRefused) {
            return Err(format!("{id} is not to be denied"));
        }
        if is(Mutant::DenyApproves) {
            self.change(id, Change::Approved { by: by.name.clone() });
            return Ok(vec![id]);
        }
        let reason = Box::new(RefusalReason::Denied { by: by.name.clone() });
        self.change(
            id,
            Change::Refused {
                reason,
                judgement: None,
            },
        );
        Ok(vec![id])
    }

    fn waiting(&self, id: TransactionId) -> Result<(), String> {
        let it = self
            .state
            .transactions
            .get(&id)
            .ok_or_else(|| format!("{NO_SUCH}{id}"))?;
        if it.state.kind() != StateKind::AwaitingApproval {
            return Err(format!("{id} is {}, not awaiting approval", it.state.kind()));
        }
        if it.deadline <= self.now && !is(Mutant::ApprovalOutlived) {
            return Err(format!("the approval of {id} expired at {}", it.deadline));
        }
        Ok(())
    }
}

/// When `it` has its turn among those that are released together; the lowest first.
///
/// What has not acted comes first, so that none of it acts while the rest waits. Then comes what is acting, and then
/// what is in force: the last completed first, as in a rollback, because a later step may stand on an earlier one. All
/// of it begins in the one turn: who lets go waits for no proof in between, and what is stuck holds up nothing.
fn turn_of(it: &Transaction) -> (bool, Reverse<u64>, Reverse<TransactionId>) {
    let completed = match it.completed {
        0 => u64::MAX,
        place if is(Mutant::ReleaseOrder) => u64::MAX - place,
        place => place,
    };
    (it.in_flight_until.is_some(), Reverse(completed), Reverse(it.id))
}
