//! How incidents and transactions stand: beside a failure, when people are told, and when everything was healed and
//! some time has passed.
//!
//! Never looks at the world: a run compares the two.

use staunch_model::{IncidentId, IncidentOutcome, OnFailure, Playbook, Span, StateKind, Timestamp, TransactionId};

use super::{Case, Found, Invariant, Model, Status, Tx, fail};

impl Model {
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

    /// What the engine says that has become of transactions is what the records say, each of them.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn agrees(&self, states: impl Iterator<Item = (TransactionId, StateKind)>) -> Found {
        for (id, state) in states {
            let told = self.transactions.get(&id).map(|it| it.kind);
            if told != Some(state) {
                let told = told.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
                return fail(
                    Invariant::StatesFollow,
                    format!("{id} is {state}, and by its records {told}"),
                );
            }
        }
        Ok(())
    }

    /// The transactions that say how `incident` stands: none that a recovery does, and the newest of each place only.
    pub(super) fn speaking_of(&self, incident: IncidentId, case: &Case) -> Vec<(TransactionId, &Tx)> {
        let of = case.transactions.iter();
        let all = of.filter_map(|id| Some((*id, self.transactions.get(id)?)));
        let all: Vec<_> = all
            .filter(|(id, it)| it.incident != incident || !self.recoveries.acts(*id))
            .collect();
        let is_newest = |(id, it): &&(TransactionId, &Tx)| {
            let same = |other: &Tx| (other.action, &other.target) == (it.action, &it.target);
            !all.iter().any(|(other, tx)| other > id && same(tx))
        };
        all.iter().filter(is_newest).copied().collect()
    }

    /// People were told how each open incident stands, once nothing of it is under way.
    ///
    /// That something was forgotten is no news by itself: of an incident with such a transaction, nothing is said here.
    /// The engine says which transactions are kept.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn outcomes_are_told(&self, is_kept: impl Fn(TransactionId) -> bool) -> Found {
        for (incident, case) in self.incidents.iter().filter(|(_, case)| case.status == Status::Open) {
            if !case.transactions.iter().all(|id| is_kept(*id)) {
                continue;
            }
            let outcome = self.outcome_of(*incident, case);
            if outcome.is_some() && outcome != case.outcome {
                let what = format!("{incident} is {outcome:?}, and people know of {:?}", case.outcome);
                return fail(Invariant::StatesFollow, what);
            }
        }
        Ok(())
    }

    /// What people are told of how `incident` stands is so. Of one with a transaction that may have been forgotten with
    /// the incident that planned it, nothing is said here.
    pub(super) fn outcome_is_true(&self, incident: IncidentId, told: IncidentOutcome) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let planner = |id| self.incidents.get(&self.transactions.get(id)?.incident);
        let mut planners = case.transactions.iter().filter_map(planner);
        if planners.any(|it| it.status == Status::Forgotten) {
            return Ok(());
        }
        let outcome = self.outcome_of(incident, case);
        if outcome != Some(told) {
            let what = format!("people are told that {incident} is {told:?}, and it is {outcome:?}");
            return fail(Invariant::StatesFollow, what);
        }
        Ok(())
    }

    /// How `incident` stands; `None` while something of it is under way, and when all was lifted.
    fn outcome_of(&self, incident: IncidentId, case: &Case) -> Option<IncidentOutcome> {
        let speaking = self.speaking_of(incident, case);
        if speaking.is_empty() {
            return Some(IncidentOutcome::Refused);
        }
        outcome(
            speaking
                .into_iter()
                .map(|(_, it)| it)
                .filter(|it| it.is_held_by(incident)),
        )
    }

    /// Nothing that has not ended is overdue, and no lease has run out without its release: at the time `now` of the
    /// engine, some time after everything was healed.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn overdue(&self, now: Timestamp) -> Found {
        let slack = Span::from_mins(2);
        for (id, it) in self.transactions.iter() {
            if it.kind == StateKind::InForce && it.lease_until.is_some_and(|until| until + slack < now) {
                return fail(
                    Invariant::LeasesEnd,
                    format!("the lease of {id} ended and it is still in force"),
                );
            }
        }
        Ok(())
    }

    /// Nothing of an incident waits any longer of which a step has just failed.
    pub(super) fn nothing_waits_beside_failures(&mut self) -> Found {
        while let Some(failed) = self.failed.pop() {
            let Some(it) = self.transactions.get(&failed) else {
                continue;
            };
            for holder in it.joined.iter().chain([&it.incident]) {
                self.nothing_waits_beside(failed, *holder)?;
            }
        }
        Ok(())
    }

    fn nothing_waits_beside(&self, failed: TransactionId, holder: IncidentId) -> Found {
        let Some(case) = self.incidents.get(&holder) else {
            return Ok(());
        };
        let speaking = self.speaking_of(holder, case);
        let keeps = |playbook: &Playbook| playbook.on_failure == OnFailure::Keep;
        if self.playbook_of(holder).is_none_or(keeps) || !speaking.iter().any(|(id, _)| *id == failed) {
            return Ok(());
        }
        let kinds = [StateKind::Planned, StateKind::PreChecking, StateKind::AwaitingApproval];
        let waits = |(_, it): &&(TransactionId, &Tx)| it.only_holder() == Some(holder) && kinds.contains(&it.kind);
        match speaking.iter().find(waits) {
            Some((id, _)) => fail(
                Invariant::AllOrNothing,
                format!("{id} waits although {failed} has failed"),
            ),
            None => Ok(()),
        }
    }

    /// No step stays when a sibling has failed. Of an incident with a step that is still under way, nothing is said:
    /// the others are undone after it, and one that stays under way is found by `everything-ends`.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn all_or_nothing(&self) -> Found {
        let contains = |id: &TransactionId| !self.recoveries.acts(*id);
        let failed = self.transactions.iter().filter(|(id, it)| it.failed && contains(id));
        for (id, failed) in failed {
            let playbook = self.playbook_of(failed.incident);
            let keeps = playbook.is_none_or(|it| it.on_failure == OnFailure::Keep);
            if keeps {
                continue;
            }
            let stays = self.transactions.iter().find(|(id, it)| {
                it.incident == failed.incident
                    && it.kind == StateKind::InForce
                    && it.is_of_one()
                    && !it.for_good
                    && contains(id)
            });
            let mut siblings = self.transactions.values().filter(|it| it.incident == failed.incident);
            if siblings.any(|it| it.kind.is_in_flight() || it.kind.is_undo()) {
                continue;
            }
            // One that was planned anew at the place of the failed one speaks for the incident instead.
            let replaces = |newer: &Tx| newer.incident == failed.incident && newer.target == failed.target;
            let replaced = self.transactions.iter().any(|(newer, it)| newer > id && replaces(it));
            if let Some((stays, _)) = stays
                && !replaced
            {
                return fail(Invariant::AllOrNothing, format!("{stays} stays although {id} failed"));
            }
        }
        Ok(())
    }
}

/// How transactions stand together; `None` while one is under way, and when all were lifted.
fn outcome<'a>(held: impl Iterator<Item = &'a Tx>) -> Option<IncidentOutcome> {
    let mut worst = None;
    for it in held {
        if it.kind.is_in_flight() || it.kind.is_undo() || it.kind == StateKind::Planned {
            return None;
        }
        worst = worst.max(stands(it.kind));
    }
    worst
}

/// What a transaction says of its incident.
fn stands(kind: StateKind) -> Option<IncidentOutcome> {
    match kind {
        StateKind::InForce => Some(IncidentOutcome::Contained),
        StateKind::WouldExecute => Some(IncidentOutcome::WouldContain),
        StateKind::AwaitingApproval => Some(IncidentOutcome::AwaitingApproval),
        StateKind::Refused => Some(IncidentOutcome::Refused),
        StateKind::RolledBack => Some(IncidentOutcome::RolledBack),
        StateKind::Stuck => Some(IncidentOutcome::Stuck),
        _ => None,
    }
}
