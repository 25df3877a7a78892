//! What must hold when faults have stopped, and in the end.

use super::*;

impl Sim<'_> {
    /// Faults have stopped and sweeps have run: the state and the world agree.
    pub(super) fn check_in_force(&mut self) {
        self.catch_up();
        if self.violation.is_some() {
            return;
        }
        let Some(leader) = self.leader() else {
            self.fail(Invariant::EverythingEnds, "nobody leads".to_owned());
            return;
        };
        let now = self.replicas[leader].clock.read(self.now);
        let state = self.replicas[leader].engine.state();
        let found = disagreement(state, &self.world)
            .or_else(|| self.model.overdue(now).err())
            .or_else(|| self.model.all_or_nothing().err())
            .or_else(|| self.unsealed(state))
            .or_else(|| self.model.agrees(kinds(self.folded.1.state())).err())
            .or_else(|| {
                let is_kept = |id| state.transactions.contains_key(&id);
                self.model.outcomes_are_told(is_kept).err()
            });
        if let Some((invariant, what)) = found {
            self.fail(invariant, what);
        }
    }

    /// What counts as sealed is in the vault.
    pub(super) fn unsealed(&self, state: &EngineState) -> Option<(Invariant, String)> {
        let lost = state
            .evidence
            .values()
            .find(|it| it.sealed.is_some() && !self.vault.contains(&it.id))?;
        Some((
            Invariant::EvidenceFirst,
            format!("{} counts as sealed and is not stored", lost.id),
        ))
    }

    pub(super) fn check_ended(&mut self) {
        self.judge();
        if self.violation.is_some() {
            return;
        }
        let Some(leader) = self.leader() else { return };
        let state = self.replicas[leader].engine.state();
        let left = if let Some(it) = state.transactions.values().next() {
            Some(format!("{} is {} for ever", it.id, it.state.kind()))
        } else if let Some(it) = state.incidents.values().next() {
            Some(format!("{} is kept for ever", it.id))
        } else if let Some(it) = state.notices.keys().next() {
            Some(format!("{it} is tried for ever"))
        } else if let Some(it) = state.evidence.keys().next() {
            Some(format!("{it} is kept for ever"))
        } else {
            let index = &state.index;
            let empty = index.deadlines.is_empty() && index.queue.is_empty() && index.by_target.is_empty();
            (!empty).then(|| "the indexes hold something of nothing".to_owned())
        };
        let object = self.world.owned().next();
        if let Some(what) = left {
            self.fail(Invariant::EverythingEnds, what);
        } else if let Some((label, (_, target))) = object {
            self.fail(
                Invariant::EndIsClean,
                format!("an object of {label} is left at {target}"),
            );
        }
    }

    /// Applying the journal gives the state that is live, and deciding it again gives the journal.
    pub(super) fn check_replay(&mut self) {
        self.catch_up();
        if self.violation.is_some() {
            return;
        }
        let Some(leader) = self.leader() else { return };
        self.fold(self.log.frames.len());
        if self.violation.is_some() {
            return;
        }
        if !same(&mut self.folded.1, &self.replicas[leader].engine) {
            self.fail(
                Invariant::ReplayEqualsLive,
                "the journal does not give the state that is live".to_owned(),
            );
            return;
        }
        // Deciding takes longer than applying, so not every run pays for it.
        if self.scenario.seed.is_multiple_of(8) {
            let mut decided = Engine::new();
            for (at, entry) in self.log.frames.iter().enumerate() {
                if decided.step(&entry.frame.input, entry.now).records != entry.frame.records {
                    self.fail(
                        Invariant::ReplayEqualsLive,
                        format!("frame {at} is decided differently"),
                    );
                    return;
                }
            }
        }
    }
}

/// Whether the two know the same. What is in the journal does not tell at which time the engine was asked last.
pub(crate) fn same(replayed: &mut Engine, live: &Engine) -> bool {
    replayed.equals_at(live.state().now, live)
}

/// What has become of each transaction.
fn kinds(state: &EngineState) -> impl Iterator<Item = (TransactionId, StateKind)> {
    state.transactions.iter().map(|(id, it)| (*id, it.state.kind()))
}

pub(crate) fn disagreement(state: &EngineState, world: &World) -> Option<(Invariant, String)> {
    for it in state
        .transactions
        .values()
        .filter(|it| it.state.kind() == StateKind::InForce)
    {
        let there = world
            .get(&(it.kind, it.target.clone()))
            .is_some_and(|element| element.owner == Owner::Ours(it.label()));
        if !there {
            let what = format!("{} is in force by the state, and not in the world", it.id);
            return Some((Invariant::InForceIsThere, what));
        }
    }
    for (label, place) in world.owned() {
        let holder = state.holder_of(place.0, &place.1);
        let lives = holder
            .and_then(|id| state.transactions.get(&id))
            .is_some_and(|it| it.label() == label);
        if !lives {
            let what = format!("an object of {label} is at {}, and nothing owns it", place.1);
            return Some((Invariant::EndIsClean, what));
        }
    }
    None
}
