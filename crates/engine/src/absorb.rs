//! Which incident takes up a further event, and when an attacker has slipped from the one that there is.
//!
//! Never changes anything: plans ask the same.

use staunch_model::{
    ActionKind, Incident, IncidentId, IncidentStatus, Match, Mode, Phase, Playbook, Span, State, StateKind, Target,
    Timestamp, Transaction,
};

use crate::advance::{has_hurt, rejudged_after};
use crate::guard::risk_of;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;

impl EngineState {
    /// The incident that takes up an event which has `matched` at `now`; `None` when it opens one.
    #[must_use]
    pub fn absorbing(&self, playbook: &Playbook, matched: &Match, now: Timestamp) -> Option<IncidentId> {
        let incident = self.newest_of(matched.playbook, &matched.key)?;
        if is(Mutant::IncidentEach) {
            return None;
        }
        let takes = match incident.status {
            // Without room for another incident, one that holds its attacker in part takes what nobody else could.
            IncidentStatus::Open => !self.has_let_slip(incident, playbook, matched, now) || self.is_full(),
            IncidentStatus::Closed => now < incident.absorbs_until,
        };
        takes.then_some(incident.id)
    }

    /// True when there is no room for another incident.
    pub(crate) fn is_full(&self) -> bool {
        self.incidents.len() >= limits::INCIDENTS_MAX
    }

    /// True when a step that `matched` names has ended in the open `incident`, so that its attacker is judged anew: the
    /// steps that still hold must not shield it. The incident that then opens joins those.
    fn has_let_slip(&self, incident: &Incident, playbook: &Playbook, matched: &Match, now: Timestamp) -> bool {
        if is(Mutant::StepShielded) {
            return false;
        }
        let held = |id| self.transactions.get(id);
        if incident.transactions.iter().filter_map(held).any(has_hurt) {
            return false;
        }
        matched.steps.iter().any(|of| {
            let Some(step) = playbook.steps.get(usize::from(of.step)) else {
                return false;
            };
            let aimed = of.target.as_ref().filter(|it| it.aim() == step.action.aims_at());
            let Some(target) = aimed.filter(|_| step.phase != Phase::Recover) else {
                return false;
            };
            let is_there = |it: &&Transaction| it.kind == step.action && it.target == *target;
            let at_place = incident.transactions.iter().filter_map(held).filter(is_there);
            let ended = match at_place.max_by_key(|it| it.id) {
                Some(it) => self.judges_anew(incident, playbook, it, now),
                // One of another incident was lifted and is forgotten with it, and with both at what it was aimed.
                None => incident.joined_steps.iter().any(|(id, at)| {
                    let joined = playbook.steps.get(usize::from(*at));
                    held(id).is_none() && joined.is_some_and(|it| it.action == step.action)
                }),
            };
            ended && self.is_free(step.action, target)
        })
    }

    /// True when `it` has ended in the open `incident`, and for long enough. What a person had the incident let go of
    /// is as if they had released it.
    ///
    /// What ran its course or was taken away is judged at once, as it is of a closed incident. What never came into
    /// force waits for the playbook's whole time: people were told of it, and it would mostly end the same way.
    fn judges_anew(&self, incident: &Incident, playbook: &Playbook, it: &Transaction, now: Timestamp) -> bool {
        let has_ended = it.state.kind().is_terminal() && it.state.kind() != StateKind::Stuck;
        if !has_ended || !it.is_held_by(incident.id) {
            return false;
        }
        let pause = match it.state {
            // Only a person's word, or the breaker's, kept it from acting.
            State::WouldExecute if self.mode_for(playbook, it) > Mode::Observe => Some(limits::REJUDGE_PAUSE),
            _ => rejudged_after(it),
        };
        match (pause, it.state.kind()) {
            (None, _) => false,
            (Some(Span::ZERO), StateKind::Released | StateKind::RolledBack) => true,
            // The deadline of a transaction that has ended is when it did.
            (Some(pause), _) => now >= incident.absorbs_until.max(it.deadline + pause),
        }
    }

    /// How far an act like `it` may go under `playbook` at present.
    fn mode_for(&self, playbook: &Playbook, it: &Transaction) -> Mode {
        let risk = risk_of(self, it.kind, &it.target);
        playbook.modes.of(risk).min(self.mode_max())
    }

    fn is_free(&self, kind: ActionKind, target: &Target) -> bool {
        self.holder_of(kind, target).is_none() && self.index.waiting_for(kind, target).next().is_none()
    }
}
