//! The recover phase: step by step back to normal, when a person starts it. What recovery after a crash means is in
//! [`crate::recovery`].
//!
//! A step is taken when the one before it is done and verified. A step that fails ends the recovery and pages; what is
//! in force then stays so.

use staunch_model::{
    ActionKind, Cause, Change, IncidentId, IncidentStatus, Match, MatchedStep, NoticeLevel, Operator, Phase, Playbook,
    Printable, Record, RecoverStep, Recovery, RecoveryEnd, RecoveryState, RecoveryWait, StateKind, Timestamp,
    Transaction, TransactionId, Watch, WatchOver, WatchVerdict,
};

use crate::NO_SUCH;
use crate::advance::reason;
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;
use crate::turn::{Turn, list};

impl EngineState {
    /// True when `it` is an act of the recovery of its incident, and so contains nothing.
    pub(crate) fn is_recovering(&self, it: &Transaction) -> bool {
        let recovery = self.recoveries.get(&it.incident);
        recovery.is_some_and(|recovery| recovery.acts.iter().any(|(id, _)| *id == it.id))
    }

    /// What `incident` has let go of and other incidents hold in force.
    pub fn left_to_others(&self, incident: IncidentId) -> impl Iterator<Item = &Transaction> {
        let all = self.incidents.get(&incident).into_iter();
        let all = all.flat_map(|it| it.transactions.iter());
        let all = all.filter_map(|it| self.transactions.get(it));
        all.filter(move |it| it.state.kind() == StateKind::InForce && !it.is_held_by(incident))
    }

    /// True when no recovery of `incident` is under way, and none of its acts.
    pub(crate) fn has_left_recovery(&self, incident: IncidentId) -> bool {
        let Some(recovery) = self.recoveries.get(&incident) else {
            return true;
        };
        let mut acts = recovery.acts.iter().filter_map(|(id, _)| self.transactions.get(id));
        let ended = |it: &Transaction| it.state.kind().is_terminal() && it.state.kind() != StateKind::Stuck;
        !recovery.is_running() && acts.all(ended)
    }

    /// True while the recovery of `incident` is under way.
    pub(crate) fn is_recovery_running(&self, incident: IncidentId) -> bool {
        self.recoveries.get(&incident).is_some_and(|it| it.is_running())
    }
}

impl Turn<'_> {
    /// Takes note of what the recovery of a new incident would be aimed at.
    pub(crate) fn plan_recovery(&mut self, incident: IncidentId, playbook: &Playbook, matched: &Match) {
        if playbook.recover().next().is_none() {
            return;
        }
        let recovers = |it: &&MatchedStep| {
            let step = playbook.steps.get(usize::from(it.step));
            step.is_some_and(|step| step.phase == Phase::Recover)
        };
        let targets = matched.steps.iter().filter(recovers);
        let targets = targets
            .take(limits::STEPS_PER_PLAYBOOK_MAX)
            .map(|it| (it.step, it.target.clone()))
            .collect();
        self.put(Record::RecoveryPlanned { incident, targets });
    }

    /// A person starts the recovery of an incident.
    pub(crate) fn start_recovery(&mut self, id: IncidentId, by: &Operator) -> Result<Vec<TransactionId>, String> {
        let incident = self.state.incidents.get(&id).ok_or_else(|| format!("{NO_SUCH}{id}"))?;
        if incident.status == IncidentStatus::Closed {
            return Err(format!("{id} is closed: nothing of it is in force"));
        }
        let Some(recovery) = self.state.recoveries.get(&id) else {
            return Err(format!(
                "the playbook of {id} has no recover phase; `staunch release --incident {id}` lifts what it holds"
            ));
        };
        match &recovery.state {
            RecoveryState::Running { by, .. } => {
                return Err(format!("{id} is being recovered already, started by {}", Printable(by)));
            }
            RecoveryState::Ended(RecoveryEnd::Recovered) => return Err(format!("{id} has recovered already")),
            RecoveryState::Waiting | RecoveryState::Ended(_) => {}
        }
        let transactions = incident.transactions.iter();
        let mut held = transactions.filter_map(|it| self.state.transactions.get(it));
        let under_way = held.find(|it| {
            let kind = it.state.kind();
            it.is_held_by(id) && !kind.is_terminal() && kind != StateKind::InForce && !is(Mutant::RecoveryBeginsEarly)
        });
        if let Some(it) = under_way {
            let kind = it.state.kind();
            return Err(format!("{} of {id} is {kind}: wait until it has come to an end", it.id));
        }
        self.put(Record::RecoveryStarted {
            incident: id,
            by: by.name.clone(),
        });
        Ok(Vec::new())
    }

    /// A person stops the recovery of an incident.
    pub(crate) fn stop_recovery(&mut self, id: IncidentId, by: &Operator) -> Result<Vec<TransactionId>, String> {
        if !self.state.incidents.contains_key(&id) {
            return Err(format!("{NO_SUCH}{id}"));
        }
        if !self.state.is_recovery_running(id) {
            return Err(format!("{id} is not being recovered"));
        }
        if !is(Mutant::RecoveryGoesOn) {
            self.end_recovery(id, RecoveryEnd::Stopped { by: by.name.clone() });
        }
        Ok(Vec::new())
    }

    /// Takes every step of the recovery of `id` that can be taken now.
    pub(crate) fn look_after_recovery(&mut self, id: IncidentId) {
        // Each turn of the loop takes a step, or lets go of one containment.
        while self.recover_on(id) {}
    }

    /// True when something was done and more may follow at once.
    fn recover_on(&mut self, id: IncidentId) -> bool {
        let Some(RecoveryState::Running { by, at, waits }) = self.state.recoveries.get(&id).map(|it| it.state.clone())
        else {
            return false;
        };
        let Some(playbook) = self.playbook_of_incident(id) else {
            return false;
        };
        let Some(step) = playbook.recover().nth(usize::from(at)).cloned() else {
            self.end_recovery(id, RecoveryEnd::Recovered);
            return false;
        };
        match waits {
            None => self.begin(id, &playbook, at, &step, &by),
            Some(RecoveryWait::Act(act)) => self.act_of_recovery(id, at, act, &by),
            Some(RecoveryWait::Release(lifted)) => self.release_of_recovery(id, at, lifted),
            // It goes on when the watch ends.
            Some(RecoveryWait::Soak(_)) => false,
        }
    }

    fn playbook_of_incident(&self, id: IncidentId) -> Option<std::sync::Arc<Playbook>> {
        let incident = self.state.incidents.get(&id)?;
        self.state.playbooks.get(&*incident.playbook).cloned()
    }

    fn begin(&mut self, id: IncidentId, playbook: &Playbook, at: u16, step: &RecoverStep, by: &str) -> bool {
        match step {
            RecoverStep::Act { step } => {
                // What an earlier try has done is done.
                if let Some(act) = self.done_before(id, *step) {
                    self.at(id, at, Some(RecoveryWait::Act(act)));
                    return true;
                }
                let targets = self.state.recoveries.get(&id).map(|it| it.targets.clone());
                let target = targets.and_then(|it| it.into_iter().find(|(of, _)| of == step));
                let matched = MatchedStep {
                    step: *step,
                    target: target.and_then(|(_, target)| target),
                };
                let Some(act) = self.plan_apart(id, playbook, &matched) else {
                    self.fail_recovery(id, at, "the event names nothing to act on");
                    return false;
                };
                self.at(id, at, Some(RecoveryWait::Act(act)));
                false
            }
            RecoverStep::Release { kinds } => match self.next_to_lift(id, kinds) {
                None => match self.stuck_of(id, kinds) {
                    Some(stuck) => {
                        self.fail_recovery(id, at, &format!("{stuck} is stuck"));
                        false
                    }
                    None => {
                        self.at(id, at + 1, None);
                        true
                    }
                },
                Some(it) if it.held_only_by(id) || is(Mutant::RecoveryTakesAll) => {
                    self.start_release(&it, Cause::Operator { by: by.into() });
                    self.at(id, at, Some(RecoveryWait::Release(it.id)));
                    false
                }
                Some(it) => {
                    self.change(it.id, Change::LetGo(id));
                    true
                }
            },
            RecoverStep::Soak { watch, .. } => {
                let watch = self.plan_watch(id, WatchOver::Recovery(at), watch.clone());
                self.at(id, at, Some(RecoveryWait::Soak(watch)));
                false
            }
            RecoverStep::RequestChange { text } => {
                let text = format!("{id} needs a change: {text}");
                self.notice(NoticeLevel::Warning, Some(id), None, &text);
                self.at(id, at + 1, None);
                true
            }
        }
    }

    /// The act of an earlier try of this recovery at `step` that is in force.
    fn done_before(&self, id: IncidentId, step: u16) -> Option<TransactionId> {
        let acts = self.state.recoveries.get(&id)?.acts.iter().rev();
        let mut acts = acts.filter_map(|(act, _)| self.state.transactions.get(act));
        let done = |it: &&Transaction| it.step == step && it.state.kind() == StateKind::InForce;
        acts.find(done).map(|it| it.id)
    }

    fn at(&mut self, incident: IncidentId, at: u16, waits: Option<RecoveryWait>) {
        self.put(Record::RecoveryAt { incident, at, waits });
    }

    /// The next containment to lift: of the first of `kinds` that has one, or, without kinds, the one that was
    /// completed last.
    fn next_to_lift(&self, id: IncidentId, kinds: &[ActionKind]) -> Option<Transaction> {
        let incident = self.state.incidents.get(&id)?;
        let lifts = |it: &&Transaction| {
            it.state.kind() == StateKind::InForce
                && it.is_held_by(id)
                && (it.incident != id || !self.state.is_recovering(it))
                && !self.state.is_for_good(it)
        };
        let all = incident.transactions.iter();
        let in_force = all.filter_map(|it| self.state.transactions.get(it)).filter(lifts);
        let place = |it: &Transaction| match kinds {
            [] => Some(0),
            kinds => kinds.iter().position(|kind| *kind == it.kind),
        };
        let last_first = |it: &Transaction| {
            if is(Mutant::RecoveryOrder) {
                it.completed
            } else {
                u64::MAX - it.completed
            }
        };
        in_force
            .filter_map(|it| Some((place(it)?, last_first(it), it)))
            .min_by_key(|(place, order, _)| (*place, *order))
            .map(|(_, _, it)| it.clone())
    }

    /// A containment of these kinds that is stuck, so that not everything can be lifted.
    fn stuck_of(&self, id: IncidentId, kinds: &[ActionKind]) -> Option<TransactionId> {
        let all = self.state.incidents.get(&id)?.transactions.iter();
        let mut all = all.filter_map(|it| self.state.transactions.get(it));
        let stuck = |it: &&Transaction| {
            it.state.kind() == StateKind::Stuck
                && it.is_held_by(id)
                && (kinds.is_empty() || kinds.contains(&it.kind))
                && (it.incident != id || !self.state.is_recovering(it))
        };
        all.find(stuck).map(|it| it.id).filter(|_| !is(Mutant::StuckPassedOver))
    }

    fn act_of_recovery(&mut self, id: IncidentId, at: u16, act: TransactionId, by: &str) -> bool {
        let Some(it) = self.state.transactions.get(&act).cloned() else {
            self.fail_recovery(id, at, "its act is not there any longer");
            return false;
        };
        match it.state.kind() {
            StateKind::InForce => {
                self.at(id, at + 1, None);
                true
            }
            // Who starts a recovery has agreed to what is in it.
            StateKind::AwaitingApproval => {
                self.change(act, Change::Approved { by: by.into() });
                false
            }
            StateKind::WouldExecute => {
                self.fail_recovery(id, at, "the mode lets Staunch only observe");
                false
            }
            kind if kind.is_terminal() && is(Mutant::ActPassedOver) => {
                self.at(id, at + 1, None);
                true
            }
            kind if kind.is_terminal() => {
                let why = reason(&it).unwrap_or_else(|| kind.to_string());
                self.fail_recovery(id, at, &why);
                false
            }
            _ => false,
        }
    }

    fn release_of_recovery(&mut self, id: IncidentId, at: u16, lifted: TransactionId) -> bool {
        match self.state.transactions.get(&lifted).map(|it| it.state.kind()) {
            Some(StateKind::Stuck) => {
                self.fail_recovery(id, at, &format!("{lifted} is stuck"));
                false
            }
            Some(kind) if !kind.is_terminal() && !is(Mutant::RecoveryHurries) => false,
            _ => {
                self.at(id, at + u16::from(is(Mutant::RestStays)), None);
                true
            }
        }
    }

    /// A watch over the recovery has ended.
    pub(crate) fn soak_ended(&mut self, watch: &Watch, verdict: WatchVerdict, says: &str) {
        let id = watch.incident;
        let running = self
            .state
            .recoveries
            .get(&id)
            .map(|it| (it.state.clone(), it.lifted.clone()));
        let Some((RecoveryState::Running { at, .. }, lifted)) = running else {
            return;
        };
        let back = self
            .playbook_of_incident(id)
            .and_then(|it| it.recover().nth(usize::from(at)).cloned())
            .is_some_and(|step| matches!(step, RecoverStep::Soak { back: true, .. }));
        let signal = &watch.plan.signal;
        match verdict {
            WatchVerdict::Healthy => self.at(id, at + 1, None),
            WatchVerdict::Blind if is(Mutant::BlindIsHealthy) => self.at(id, at + 1, None),
            WatchVerdict::Hurt if back => {
                let why = format!("the health signal {signal} says {says}");
                self.contain_again(id, &lifted);
                self.end_recovery(id, RecoveryEnd::Back { why: why.into() });
            }
            WatchVerdict::Hurt => {
                self.fail_recovery(id, at, &format!("the health signal {signal} says {says}"));
            }
            WatchVerdict::Blind | WatchVerdict::NoBaseline => {
                self.fail_recovery(id, at, &format!("the health signal {signal} could not be read: {says}"));
            }
            WatchVerdict::Moot => {}
        }
    }

    /// Plans what was lifted once more, in the playbook's order.
    fn contain_again(&mut self, id: IncidentId, lifted: &[TransactionId]) {
        let Some(playbook) = self.playbook_of_incident(id) else {
            return;
        };
        let Some(incident) = self.state.incidents.get(&id) else {
            return;
        };
        // The step of what another incident had planned is the one for which this one joined it.
        let step_of = |it: &Transaction| {
            let joined = incident.joined_steps.iter().find(|(joined, _)| *joined == it.id);
            if it.incident == id {
                Some(it.step)
            } else {
                joined.map(|(_, step)| *step)
            }
        };
        let mut steps: Vec<MatchedStep> = lifted
            .iter()
            .filter_map(|it| self.state.transactions.get(it))
            .filter_map(|it| {
                Some(MatchedStep {
                    step: step_of(it)?,
                    target: Some(it.target.clone()),
                })
            })
            .collect();
        steps.sort_by_key(|it| it.step);
        let again_max = if is(Mutant::BackByHalf) { 1 } else { usize::MAX };
        for step in steps.into_iter().take(again_max) {
            if let Some(transaction) = self.plan_apart(id, &playbook, &step) {
                self.put(Record::ContainedAgain {
                    incident: id,
                    transaction,
                });
            }
        }
    }

    fn told_left_to_others(&self, id: IncidentId) -> Vec<String> {
        let left = self.state.left_to_others(id);
        left.map(|it| format!("{} on {} ({})", it.kind, it.target, it.id))
            .collect()
    }

    fn fail_recovery(&mut self, id: IncidentId, at: u16, why: &str) {
        let why = format!("step {}: {}", u32::from(at) + 1, Printable(why));
        self.end_recovery(id, RecoveryEnd::Failed { why: why.into() });
    }

    fn end_recovery(&mut self, id: IncidentId, end: RecoveryEnd) {
        let (level, text) = match &end {
            RecoveryEnd::Recovered => match &*self.told_left_to_others(id) {
                [] => (NoticeLevel::Info, format!("{id} has recovered")),
                left => (
                    NoticeLevel::Warning,
                    format!(
                        "{id} has recovered, and {} in force for other incidents: {}",
                        if left.len() == 1 {
                            "one containment stays"
                        } else {
                            "some containments stay"
                        },
                        list(left)
                    ),
                ),
            },
            RecoveryEnd::Failed { why } => (
                NoticeLevel::Page,
                format!("the recovery of {id} failed at {why}. What is in force stays in force"),
            ),
            RecoveryEnd::Back { why } => (
                NoticeLevel::Page,
                format!("the recovery of {id} was taken back, and what it lifted is being contained again: {why}"),
            ),
            RecoveryEnd::Stopped { by } => (
                NoticeLevel::Info,
                format!("the recovery of {id} was stopped by {}", Printable(by)),
            ),
        };
        self.put(Record::RecoveryEnded { incident: id, end });
        let soaks: Vec<Watch> = self.state.watches_of(id).cloned().collect();
        for it in soaks.iter().filter(|it| matches!(it.over, WatchOver::Recovery(_))) {
            self.end_watch(it, WatchVerdict::Moot, "");
        }
        if !is(Mutant::RecoveryFailsSilently) {
            self.notice(level, Some(id), None, &text);
        }
    }
}

/// Takes `recovery` to the step `at`, where it waits for `waits`.
pub(crate) fn go_to(recovery: &mut Recovery, at: u16, waits: Option<RecoveryWait>, now: Timestamp) {
    let RecoveryState::Running { by, waits: before, .. } = &recovery.state else {
        return;
    };
    if let (Some(RecoveryWait::Release(lifted)), None) = (before, waits) {
        recovery.lifted.push(*lifted);
    }
    if let Some(RecoveryWait::Act(act)) = waits
        && recovery.acts.iter().all(|(known, _)| *known != act)
    {
        recovery.acts.push((act, now));
    }
    let by = by.clone();
    recovery.state = RecoveryState::Running { by, at, waits };
}
