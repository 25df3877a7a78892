//! What must hold of health watches and recoveries, worked out anew from the records.

use std::collections::BTreeMap;

use staunch_model::{
    ActionKind, Cause, Change, Frame, IncidentId, Record, RecoverStep, RecoveryEnd, RecoveryWait, StateKind, Timestamp,
    TransactionId, WatchId, WatchOver, WatchVerdict,
};

use super::changes::is_paged;
use super::{Found, Invariant, Model, Tx, fail};

/// How many unhealthy readings in a row end a watch.
const UNHEALTHY_MAX: u32 = 2;

/// What the model knows of watches and recoveries.
#[derive(Clone, Debug, Default)]
pub(super) struct Recoveries {
    watches: BTreeMap<(IncidentId, WatchId), Watched>,
    /// How far each has come.
    states: BTreeMap<IncidentId, Recovering>,
    /// What each recovery is lifting.
    lifting: BTreeMap<IncidentId, TransactionId>,
    /// The acts of recoveries: they contain nothing.
    acts: std::collections::BTreeSet<TransactionId>,
    /// What recoveries decided, whatever the age of the event.
    decided: std::collections::BTreeSet<TransactionId>,
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

#[derive(Clone, Debug)]
struct Watched {
    over: WatchOver,
    /// Whether it was healthy before; `None` while that is not known.
    before: Option<bool>,
    unhealthy: u32,
}

impl Recoveries {
    /// Whether `id` is an act of a recovery.
    pub(super) fn acts(&self, id: TransactionId) -> bool {
        self.acts.contains(&id)
    }

    /// How far the recovery of `incident` has come, where there can be one.
    pub(super) fn of(&self, incident: IncidentId) -> Option<Recovering> {
        self.states.get(&incident).copied()
    }

    /// Whether `id` is not started before a first reading of what watches it.
    pub(super) fn awaits_baseline(&self, id: TransactionId) -> bool {
        let mut watches = self.watches.values();
        watches.any(|it| it.over == WatchOver::Containment(id) && it.before.is_none())
    }

    /// Whether a recovery decided on `id`.
    pub(super) fn decided(&self, id: TransactionId) -> bool {
        self.decided.contains(&id)
    }
}

impl Model {
    /// Takes up what `record` of `frame` says of watches and recoveries.
    pub(super) fn recovers(&mut self, frame: &Frame, record: &Record) -> Found {
        match record {
            Record::WatchPlanned {
                watch, incident, over, ..
            } => {
                let watched = Watched {
                    over: *over,
                    before: matches!(over, WatchOver::Recovery(_)).then_some(true),
                    unhealthy: 0,
                };
                self.recoveries.watches.insert((*incident, *watch), watched);
            }
            Record::WatchRead {
                incident,
                watch,
                result,
                ..
            } => return self.read(frame, *incident, *watch, result.as_ref().ok().map(|it| it.healthy)),
            Record::WatchEnded {
                incident,
                watch,
                verdict,
            } => {
                let Some(it) = self.recoveries.watches.remove(&(*incident, *watch)) else {
                    return Ok(());
                };
                if *verdict == WatchVerdict::Hurt && (it.before != Some(true) || it.unhealthy < UNHEALTHY_MAX) {
                    let what = format!("{watch} says that it hurts, after {} unhealthy readings", it.unhealthy);
                    return fail(Invariant::HurtIsLifted, what);
                }
                if *verdict == WatchVerdict::Healthy && it.unhealthy > 0 {
                    return fail(Invariant::HurtIsLifted, format!("{watch} says that it is healthy"));
                }
            }
            Record::Transaction {
                transaction,
                change: Change::ReleaseStarted { cause, .. },
            } if matches!(**cause, Cause::Hurts { .. }) => {
                let because = frame.records.iter().any(|it| {
                    matches!(
                        it,
                        Record::WatchEnded {
                            verdict: WatchVerdict::Hurt,
                            ..
                        }
                    )
                });
                if !because {
                    return fail(Invariant::HurtIsLifted, format!("{transaction} is lifted for nothing"));
                }
            }
            Record::RecoveryAt { incident, at, waits } => {
                let before = self.recoveries.lifting.remove(incident);
                if let Some(before) = before {
                    let kind = self.transactions.get(&before).map(|it| it.kind);
                    if kind.is_some_and(|kind| !kind.is_terminal()) {
                        let what = format!("the recovery of {incident} goes on while {before} is being lifted");
                        return fail(Invariant::RecoveryOrder, what);
                    }
                }
                if waits.is_none() && *at > 0 {
                    self.passes(*incident, *at - 1)?;
                }
                match waits {
                    Some(RecoveryWait::Act(act)) => {
                        self.recoveries.acts.insert(*act);
                        self.recoveries.decided.insert(*act);
                    }
                    Some(RecoveryWait::Release(lifted)) => {
                        self.recoveries.lifting.insert(*incident, *lifted);
                        return self.lifted_in_order(*incident, *at, *lifted);
                    }
                    Some(RecoveryWait::Soak(_)) | None => {}
                }
            }
            Record::ContainedAgain { transaction, .. } => {
                self.recoveries.decided.insert(*transaction);
            }
            Record::RecoveryPlanned { incident, .. } => {
                self.recoveries.states.insert(*incident, Recovering::Waiting);
            }
            Record::RecoveryStarted { incident, .. } => {
                self.recoveries.states.insert(*incident, Recovering::Running);
            }
            Record::RecoveryEnded { incident, end } => {
                self.recoveries.lifting.remove(incident);
                let state = match end {
                    RecoveryEnd::Recovered => Recovering::Recovered,
                    _ => Recovering::Stopped,
                };
                self.recoveries.states.insert(*incident, state);
            }
            _ => {}
        }
        Ok(())
    }

    /// In the order of the step `at` of the recover phase, and what was completed last first where that gives none.
    fn lifted_in_order(&self, incident: IncidentId, at: u16, lifted: TransactionId) -> Found {
        let Some(it) = self.transactions.get(&lifted) else {
            return Ok(());
        };
        let playbook = self.incidents.get(&incident).map(|it| it.playbook);
        let playbook = playbook.and_then(|hash| self.playbooks.get(&hash));
        let kinds: &[ActionKind] = match playbook.and_then(|it| it.recover().nth(at.into())) {
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

    /// A recovery is done with the step `at`: if that lifts something, nothing of it is in force or stuck.
    fn passes(&self, incident: IncidentId, at: u16) -> Found {
        let Some(case) = self.incidents.get(&incident) else {
            return Ok(());
        };
        let playbook = self.playbooks.get(&case.playbook);
        let Some(RecoverStep::Release { kinds }) = playbook.and_then(|it| it.recover().nth(at.into())) else {
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
        let Some(playbook) = self.playbooks.get(&case.playbook) else {
            return Ok(());
        };
        let has_hurt = |it: &Tx| it.hurts && it.kind == StateKind::Released && it.incident == incident;
        let mut all = case.transactions.iter().filter_map(|id| self.transactions.get(id));
        // Hardly any has, and which of them speak is seen from all.
        if all.any(has_hurt)
            && self.speaking_of(incident, case).into_iter().any(has_hurt)
            && until < now + playbook.deduplicate
        {
            let what = format!("{incident} has hurt, and only until {until} nothing is contained anew");
            return fail(Invariant::HurtIsLifted, what);
        }
        Ok(())
    }

    fn read(&mut self, frame: &Frame, incident: IncidentId, watch: WatchId, healthy: Option<bool>) -> Found {
        let Some(it) = self.recoveries.watches.get_mut(&(incident, watch)) else {
            return Ok(());
        };
        if it.before.is_none() {
            it.before = Some(healthy == Some(true));
            return Ok(());
        }
        match healthy {
            Some(true) => it.unhealthy = 0,
            Some(false) => it.unhealthy += 1,
            None => {}
        }
        if it.unhealthy < UNHEALTHY_MAX || it.before != Some(true) || healthy != Some(false) {
            return Ok(());
        }
        let lifted = frame.records.iter().any(|record| match record {
            Record::Transaction {
                transaction,
                change: Change::ReleaseStarted { .. },
            } => it.over == WatchOver::Containment(*transaction),
            _ => false,
        });
        let paged = is_paged(frame);
        let (in_force, for_good) = match it.over {
            WatchOver::Containment(id) => self
                .transactions
                .get(&id)
                .map_or((false, false), |tx| (tx.kind == StateKind::InForce, tx.for_good)),
            // The recovery is stopped or taken back.
            WatchOver::Recovery(_) => (true, true),
        };
        if in_force && !((lifted || for_good) && paged) {
            let what = format!("{watch} of {incident} hurts: lifted {lifted}, paged {paged}");
            return fail(Invariant::HurtIsLifted, what);
        }
        Ok(())
    }
}
