//! What must hold of recoveries, worked out anew from the records.
//!
//! Never says what a health signal means: see `watches.rs`.

use std::collections::BTreeMap;

use staunch_model::{
    ActionKind, Frame, IncidentId, Record, RecoverStep, RecoveryEnd, RecoveryWait, StateKind, Timestamp, TransactionId,
    WatchVerdict,
};

use super::told::is_paged;
use super::{Found, Invariant, Model, Status, Tx, fail};

/// What the model knows of recoveries.
#[derive(Clone, Debug, Default)]
pub(super) struct Recoveries {
    /// How far each has come.
    all: BTreeMap<IncidentId, Course>,
    /// The acts of recoveries: they contain nothing.
    acts: std::collections::BTreeSet<TransactionId>,
    /// What recoveries decided, whatever the age of the event, and when.
    decided: BTreeMap<TransactionId, Timestamp>,
}

/// A recovery.
#[derive(Clone, Debug)]
struct Course {
    state: Recovering,
    /// The step that it is at.
    at: u16,
    waits: Option<RecoveryWait>,
    /// What it has lifted and not contained again.
    lifted: Vec<TransactionId>,
}

/// How far a recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovering {
    /// Nobody has started it.
    Waiting,
    Running,
    /// It has ended before its end, and may be started again.
    Stopped,
    Recovered,
}

impl Recoveries {
    /// Whether `id` is an act of a recovery.
    pub(super) fn acts(&self, id: TransactionId) -> bool {
        self.acts.contains(&id)
    }

    /// How far the recovery of `incident` has come, where there can be one.
    pub(super) fn of(&self, incident: IncidentId) -> Option<Recovering> {
        self.all.get(&incident).map(|it| it.state)
    }

    /// When a recovery decided on `id`.
    pub(super) fn decided(&self, id: TransactionId) -> Option<Timestamp> {
        self.decided.get(&id).copied()
    }
}

impl Model {
    /// Takes up what `record` of `frame` says of recoveries.
    pub(super) fn recovers(&mut self, frame: &Frame, record: &Record) -> Found {
        match record {
            Record::RecoveryAt { incident, at, waits } => {
                self.goes_on(frame, *incident, *at)?;
                if let Some(RecoveryWait::Act(act)) = waits {
                    self.recoveries.acts.insert(*act);
                    self.recoveries.decided.entry(*act).or_insert(self.now);
                }
                if let Some(course) = self.recoveries.all.get_mut(incident) {
                    if let (Some(RecoveryWait::Release(lifted)), None) = (course.waits, waits) {
                        course.lifted.push(lifted);
                    }
                    (course.at, course.waits) = (*at, *waits);
                }
                if let Some(RecoveryWait::Release(lifted)) = waits {
                    return self.lifted_in_order(*incident, *at, *lifted);
                }
            }
            Record::ContainedAgain { transaction, .. } => {
                self.recoveries.decided.entry(*transaction).or_insert(self.now);
            }
            Record::RecoveryPlanned { incident, .. } => {
                let course = Course {
                    state: Recovering::Waiting,
                    at: 0,
                    waits: None,
                    lifted: Vec::new(),
                };
                self.recoveries.all.insert(*incident, course);
            }
            Record::RecoveryStarted { incident, .. } => {
                if let Some(course) = self.recoveries.all.get_mut(incident) {
                    (course.state, course.at, course.waits) = (Recovering::Running, 0, None);
                }
            }
            Record::RecoveryEnded { incident, end } => {
                self.may_end(frame, *incident, end)?;
                if let Some(course) = self.recoveries.all.get_mut(incident) {
                    course.state = match end {
                        RecoveryEnd::Recovered => Recovering::Recovered,
                        _ => Recovering::Stopped,
                    };
                    if matches!(end, RecoveryEnd::Recovered | RecoveryEnd::Back { .. }) {
                        course.lifted.clear();
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A recovery that is running stays at its step, or goes on to the next when that is done.
    fn goes_on(&self, frame: &Frame, incident: IncidentId, at: u16) -> Found {
        let Some(course) = self.recoveries.all.get(&incident) else {
            return Ok(());
        };
        if course.state != Recovering::Running {
            return fail(
                Invariant::RecoveryOrder,
                format!("the recovery of {incident} is not running"),
            );
        }
        if let Some(RecoveryWait::Release(lifted)) = course.waits {
            let kind = self.transactions.get(&lifted).map(|it| it.kind);
            if kind.is_some_and(|kind| !kind.is_terminal()) {
                let what = format!("the recovery of {incident} goes on while {lifted} is being lifted");
                return fail(Invariant::RecoveryOrder, what);
            }
        }
        if at == course.at {
            return Ok(());
        }
        if at != course.at + 1 {
            let what = format!("the recovery of {incident} goes from step {} to {at}", course.at);
            return fail(Invariant::RecoveryOrder, what);
        }
        let is_done = match (self.step_of(incident, course.at), course.waits) {
            (Some(RecoverStep::Act { .. }), Some(RecoveryWait::Act(act))) => {
                let act = self.transactions.get(&act);
                act.is_some_and(|it| it.kind == StateKind::InForce)
            }
            (Some(RecoverStep::Soak { .. }), Some(RecoveryWait::Soak(soak))) => frame.records.iter().any(|record| {
                matches!(record, Record::WatchEnded { incident: of, watch, verdict: WatchVerdict::Healthy }
                    if (*of, *watch) == (incident, soak))
            }),
            (Some(RecoverStep::Act { .. } | RecoverStep::Soak { .. }), _) => false,
            (Some(RecoverStep::Release { kinds }), _) => return self.passes(incident, kinds),
            (Some(RecoverStep::RequestChange { .. }) | None, _) => true,
        };
        if !is_done {
            let what = format!("the recovery of {incident} goes on, and step {} is not done", course.at);
            return fail(Invariant::RecoveryOrder, what);
        }
        Ok(())
    }

    /// A recovery ends well when all of its steps are done. Otherwise a person is paged, and of one that is taken back
    /// all that it has lifted is contained again.
    fn may_end(&self, frame: &Frame, incident: IncidentId, end: &RecoveryEnd) -> Found {
        let Some(course) = self.recoveries.all.get(&incident) else {
            return Ok(());
        };
        match end {
            RecoveryEnd::Recovered if self.step_of(incident, course.at).is_some() => fail(
                Invariant::RecoveryOrder,
                format!("{incident} has recovered at step {}", course.at),
            ),
            RecoveryEnd::Failed { .. } | RecoveryEnd::Back { .. } if !is_paged(frame) => fail(
                Invariant::StuckIsTold,
                format!("the recovery of {incident} has failed and nobody is paged"),
            ),
            RecoveryEnd::Back { .. } => match course.lifted.iter().find(|it| !self.is_back(frame, **it)) {
                Some(lifted) => fail(
                    Invariant::RecoveryOrder,
                    format!("the recovery of {incident} is taken back, and {lifted} is not"),
                ),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether what `lifted` had contained is to be contained again by `frame`, or nothing is known of it any more.
    fn is_back(&self, frame: &Frame, lifted: TransactionId) -> bool {
        let Some(it) = self.transactions.get(&lifted) else {
            return true;
        };
        let planner = self.incidents.get(&it.incident);
        let is_forgotten = planner.is_none_or(|case| case.status == Status::Forgotten);
        let again = |record: &Record| match record {
            Record::ContainedAgain { transaction, .. } => {
                let again = self.transactions.get(transaction);
                again.is_some_and(|again| (again.action, &again.target) == (it.action, &it.target))
            }
            _ => false,
        };
        is_forgotten || frame.records.iter().any(again)
    }

    /// The step of the recover phase of `incident` with this number.
    fn step_of(&self, incident: IncidentId, at: u16) -> Option<&RecoverStep> {
        self.playbook_of(incident)?.recover().nth(at.into())
    }

    /// In the order of the step `at` of the recover phase, and what was completed last first where that gives none.
    fn lifted_in_order(&self, incident: IncidentId, at: u16, lifted: TransactionId) -> Found {
        let Some(it) = self.transactions.get(&lifted) else {
            return Ok(());
        };
        if it.is_held_by_others(incident) {
            let what = format!("{lifted} is lifted for {incident}, and others hold it too");
            return fail(Invariant::RecoveryOrder, what);
        }
        let kinds: &[ActionKind] = match self.step_of(incident, at) {
            Some(RecoverStep::Release { kinds }) => kinds,
            _ => &[],
        };
        let place = |act: &Tx| {
            let among = |kind| kinds.iter().position(|it| *it == kind);
            if kinds.is_empty() {
                Some(0)
            } else {
                act.action.and_then(among)
            }
        };
        let Some(own) = place(it) else {
            let what = format!("{lifted} of {incident} is lifted, which step {} does not name", at + 1);
            return fail(Invariant::RecoveryOrder, what);
        };
        let earlier = |other: &Tx| {
            place(other).is_some_and(|place| place < own || (place == own && other.completed > it.completed))
        };
        let passed_over = self.transactions.iter().find(|(id, other)| {
            **id != lifted
                && other.incident == incident
                // What another incident holds too is only let go.
                && other.is_of_one()
                && other.kind == StateKind::InForce
                && earlier(other)
                && !other.for_good
                && !self.recoveries.acts(**id)
        });
        match passed_over {
            Some((other, _)) => fail(
                Invariant::RecoveryOrder,
                format!("{lifted} of {incident} is lifted before {other}"),
            ),
            None => Ok(()),
        }
    }

    /// A recovery is done with a step that lifts `kinds`, or all: nothing of them is in force or stuck.
    fn passes(&self, incident: IncidentId, kinds: &[ActionKind]) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let stays = |id: &&TransactionId| {
            let it = self.transactions.get(id).filter(|it| it.is_held_by(incident));
            it.is_some_and(|it| {
                let in_force = it.kind == StateKind::InForce && !it.for_good;
                let is_named = kinds.is_empty() || it.action.is_some_and(|kind| kinds.contains(&kind));
                (in_force || it.kind == StateKind::Stuck) && is_named && !self.recoveries.acts(**id)
            })
        };
        match case.transactions.iter().find(stays) {
            Some(id) => fail(
                Invariant::RecoveryOrder,
                format!("the recovery of {incident} goes on, and {id} is not lifted"),
            ),
            None => Ok(()),
        }
    }

    /// Further events join an incident that has hurt for as long as its playbook says, and contain nothing anew.
    pub(super) fn shields_what_has_hurt(&self, incident: IncidentId, until: Timestamp, now: Timestamp) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let Some(playbook) = self.playbook_of(incident) else {
            return Ok(());
        };
        let has_hurt = |it: &Tx| it.hurts && it.kind == StateKind::Released && it.incident == incident;
        let mut all = case.transactions.iter().filter_map(|id| self.transactions.get(id));
        // Hardly any has, and which of them speak is seen from all.
        if all.any(has_hurt)
            && self.speaking_of(incident, case).into_iter().any(|(_, it)| has_hurt(it))
            && until < now + playbook.deduplicate
        {
            let what = format!("{incident} has hurt, and only until {until} nothing is contained anew");
            return fail(Invariant::HurtIsLifted, what);
        }
        Ok(())
    }
}
