//! The end of a run: everything is mended and released, and what must hold then is checked.
//!
//! Never mends the engine: what is left over is a violation.

use staunch_engine::Engine;
use staunch_model::Span;

use super::{Ask, Happening, Script};
use crate::check::Invariant;
use crate::run::end::{disagreement, same};
use crate::world::CAPACITY;

impl Script {
    pub(super) fn wind_up(&mut self) {
        self.setting.faults.clear();
        self.signals.clear();
        self.world.enforcing = true;
        self.world.capacity_max = CAPACITY;
        self.advance(self.now + Span::from_mins(12));
        let state = self.engine.state();
        let found = disagreement(state, &self.world)
            .or_else(|| self.model.overdue(self.now).err())
            .or_else(|| self.model.all_or_nothing().err())
            .or_else(|| {
                let stored = |id| self.vault.contains(id);
                let mut evidence = state.evidence.values();
                let lost = evidence.find(|it| it.sealed.is_some() && !stored(&it.id))?;
                let what = format!("{} counts as sealed and is not stored", lost.id);
                Some((Invariant::EvidenceFirst, what))
            });
        if let Some((invariant, what)) = found {
            self.fail(invariant, what);
        }
        for _ in 0..6 {
            self.happen(Happening::Ask(Ask::ReleaseAll));
            self.advance(self.now + Span::from_mins(2));
        }
        self.sweeps = false;
        let playbooks = &self.setting.policy.playbooks;
        let absorbs = playbooks.iter().map(|it| it.deduplicate).max().unwrap_or(Span::ZERO);
        self.advance(self.now + absorbs + Span::from_hours(3));
        self.check_ended();
        self.check_replay();
    }

    fn check_ended(&mut self) {
        let state = self.engine.state();
        let left = if !self.up {
            Some("the process never came back".to_owned())
        } else if let Some(it) = state.transactions.values().next() {
            Some(format!("{} is {} for ever", it.id, it.state.kind()))
        } else if let Some(it) = state.incidents.values().next() {
            Some(format!("{} is kept for ever", it.id))
        } else {
            state.notices.keys().next().map(|it| format!("{it} is tried for ever"))
        };
        let object = self.world.owned().next();
        if let Some(what) = left {
            self.fail(Invariant::EverythingEnds, what);
        } else if let Some((label, (_, target))) = object {
            let what = format!("an object of {label} is left at {target}");
            self.fail(Invariant::EndIsClean, what);
        }
    }

    /// Applying the journal gives the state that is live, and deciding it again gives the journal.
    fn check_replay(&mut self) {
        let (mut replayed, mut decided) = (Engine::new(), Engine::new());
        for (at, (now, frame)) in self.log.iter().enumerate() {
            let found = if let Err(error) = replayed.replay(frame, *now) {
                Some(format!("a frame does not fit: {error}"))
            } else if decided.step(&frame.input, *now).records != frame.records {
                Some(format!("frame {at} is decided differently"))
            } else {
                None
            };
            if let Some(what) = found {
                self.fail(Invariant::ReplayEqualsLive, what);
                return;
            }
        }
        if !same(&mut replayed, &self.engine) {
            let what = "the journal does not give the state that is live".to_owned();
            self.fail(Invariant::ReplayEqualsLive, what);
        }
    }
}
