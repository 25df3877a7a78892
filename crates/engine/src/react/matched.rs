//! What an event that matched plans: it joins an incident, or opens one with its steps and evidence.
//!
//! Never judges whether a step may act: a look at the world comes first.

use staunch_model::{
    Change, Event, IncidentId, Match, MatchedStep, Phase, Playbook, Record, Span, Step, Target, TransactionId,
    WatchOver,
};

use crate::guard;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::repeat::{self, Served};
use crate::transaction::can_be_held;
use crate::turn::Turn;

impl Turn<'_> {
    /// An event matched `matched`: it joins the open incident of its key or opens a new one, which is returned.
    pub(crate) fn on_match(&mut self, event: &Event, matched: &Match) -> Option<IncidentId> {
        let playbook = self.state.playbooks.get(&matched.playbook).cloned()?;
        if let Some(incident) = self.state.absorbing(&playbook, matched, self.now) {
            self.put(Record::EventJoined { incident });
            return Some(incident);
        }
        if self.state.is_full() {
            return None;
        }
        let incident = IncidentId(self.state.last_incident + 1);
        self.put(Record::IncidentOpened {
            incident,
            playbook: matched.playbook,
            key: matched.key.clone(),
            event_time: event
                .time
                .map(|time| guard::on_our_clock(time, event.received, self.now)),
            absorbs_until: self.now + playbook.deduplicate,
        });
        let pieces_max = if is(Mutant::EvidenceLeftOut) {
            1
        } else {
            limits::EVIDENCE_PER_PLAYBOOK_MAX
        };
        for step in matched.preserve.iter().take(pieces_max) {
            self.plan_evidence(incident, &playbook, step);
        }
        if !is(Mutant::MissedSilently) {
            self.tell_missed(incident);
        }
        let contains = |it: &&MatchedStep| {
            let step = playbook.steps.get(usize::from(it.step));
            step.is_none_or(|step| step.phase != Phase::Recover)
        };
        let steps_max = if is(Mutant::StepLeftOut) {
            2
        } else {
            limits::STEPS_PER_PLAYBOOK_MAX
        };
        for step in matched.steps.iter().filter(contains).take(steps_max) {
            self.plan_step(incident, &playbook, step);
        }
        self.plan_recovery(incident, &playbook, matched);
        Some(incident)
    }

    /// Plans a step, unless its incident joins what is there already.
    pub(crate) fn plan_step(&mut self, incident: IncidentId, playbook: &Playbook, matched: &MatchedStep) {
        let Some((step, target)) = self.aimed(incident, playbook, matched) else {
            return;
        };
        let at_place = self.state.holder_of(step.action, target).into_iter();
        let holder = at_place
            .chain(self.state.index.waiting_for(step.action, target))
            .find(|id| self.can_join(*id, incident));
        if let Some(holder) = holder {
            // Also when it is held already: the steps of a match are told apart by counting their records.
            self.change(holder, Change::Joined(incident));
            return;
        }
        let transaction = self.plan(incident, playbook, matched.step, step, target);
        if let Some(watch) = playbook.watch_of(matched.step) {
            self.plan_watch(incident, WatchOver::Containment(transaction), watch.clone());
        }
    }

    /// Plans a step as a transaction of its own: it waits until what is there has ended. `None` when there is nothing
    /// that it could be aimed at.
    pub(crate) fn plan_apart(
        &mut self,
        incident: IncidentId,
        playbook: &Playbook,
        matched: &MatchedStep,
    ) -> Option<TransactionId> {
        let (step, target) = self.aimed(incident, playbook, matched)?;
        Some(self.plan(incident, playbook, matched.step, step, target))
    }

    /// The step that was matched, and what it is aimed at. A driver is never given what it cannot act on.
    fn aimed<'p>(
        &mut self,
        incident: IncidentId,
        playbook: &'p Playbook,
        matched: &'p MatchedStep,
    ) -> Option<(&'p Step, &'p Target)> {
        let step = playbook.steps.get(usize::from(matched.step))?;
        let target = matched.target.as_ref().filter(|it| it.aim() == step.action.aims_at());
        if target.is_none() {
            self.put(Record::StepWithoutTarget {
                incident,
                step: matched.step,
            });
        }
        Some((step, target?))
    }

    fn plan(
        &mut self,
        incident: IncidentId,
        playbook: &Playbook,
        at: u16,
        step: &Step,
        target: &Target,
    ) -> TransactionId {
        let transaction = TransactionId(self.state.last_transaction + 1);
        let key = staunch_model::EffectKey::new(self.state.installation, incident, playbook.hash, transaction);
        let waits = if is(Mutant::QueueImpatient) {
            Span::from_millis(300)
        } else {
            limits::QUEUE_WAIT_MAX
        };
        let (lease, served) = repeat::lease(self.state, playbook, at, target, self.now).unwrap_or((step.lease, None));
        self.put(Record::TransactionPlanned {
            transaction,
            incident,
            step: at,
            kind: step.action,
            target: target.clone(),
            lease,
            key,
            deadline: self.now + waits,
        });
        if let Some(Served { times, ended, .. }) = served {
            self.put(Record::CameBack {
                transaction,
                times,
                ended,
            });
        }
        transaction
    }

    fn can_join(&self, id: TransactionId, incident: IncidentId) -> bool {
        let Some(it) = self.state.transactions.get(&id) else {
            return false;
        };
        let has_room = it.holders() < limits::HOLDERS_MAX || it.is_held_by(incident);
        can_be_held(it.state.kind()) && has_room && !self.state.quarantined.contains_key(&id)
    }
}
