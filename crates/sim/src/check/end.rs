//! What must hold when everything was healed and some time has passed, and what has ended by then.
//!
//! Never looks at the world: a run compares the two.

use staunch_model::{OnFailure, Span, StateKind, Timestamp, TransactionId};

use super::{Found, Invariant, Model, fail};

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

    /// No step stays when a sibling has failed. Of an incident with a step that is still under way, nothing is said:
    /// the others are undone after it, and one that stays under way is found by `everything-ends`.
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
                    && it.is_of_one()
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
}
