//! When what is planned must start, and when it must not yet.
//!
//! Never says what may be done to a target: see `acts.rs`.

use staunch_model::{StateKind, TransactionId};

use super::changes::is_same_place;
use super::{Found, Invariant, Model, Tx, fail};

impl Model {
    /// `it` starts when there is room in flight, nothing else acts at its target, and the evidence is there.
    pub(super) fn starts(&self, id: TransactionId, it: &Tx) -> Found {
        let max = self.in_flight_max();
        if self.in_flight >= max {
            return fail(
                Invariant::Concurrency,
                format!("{id} starts while {} of {max} are in flight", self.in_flight),
            );
        }
        let other = self.transactions.iter().find(|(other, tx)| {
            **other != id && is_same_place(tx, it) && !tx.kind.is_terminal() && tx.kind != StateKind::Planned
        });
        if let Some((other, _)) = other {
            return fail(Invariant::OneAct, format!("{id} starts on the target of {other}"));
        }
        if let Some(evidence) = self.evidence_awaited(it) {
            return fail(Invariant::EvidenceFirst, format!("{id} starts before {evidence}"));
        }
        Ok(())
    }

    fn in_flight_max(&self) -> usize {
        let max = self.policy.as_ref().map_or(0, |it| it.limits.actions_in_flight_max);
        max as usize
    }

    /// Nothing waits that could start: there is room, its target is free, and evidence and readings are there.
    pub(super) fn nothing_waits(&mut self) -> Found {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (waiting, transactions) = (&mut self.waiting, &self.transactions);
        waiting.retain(|id| transactions.get(id).is_some_and(Tx::is_planned));
        if self.waiting.is_empty() || self.in_flight >= self.in_flight_max() {
            return Ok(());
        }
        let may_start = |id: &&TransactionId| {
            let Some(it) = self.transactions.get(*id) else {
                return false;
            };
            // Of two that are planned, the one that was first may start.
            let keeps_from = |(other, tx): (&TransactionId, &Tx)| {
                let is_before = !tx.is_planned() || *other < **id;
                *other != **id && is_same_place(tx, it) && !tx.has_left() && is_before
            };
            let is_free = !self.transactions.iter().any(keeps_from);
            is_free && self.evidence_awaited(it).is_none() && !self.watches.awaits_baseline(**id)
        };
        match self.waiting.iter().find(may_start) {
            Some(id) => fail(Invariant::NothingWaits, format!("{id} waits for nothing")),
            None => Ok(()),
        }
    }
}
