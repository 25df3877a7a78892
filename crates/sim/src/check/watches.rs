//! What must hold of health watches: what is watched and for how long, and what follows from unhealthy readings.
//!
//! Never says what a recovery makes of one: see `recover.rs`.

use std::collections::BTreeMap;

use staunch_model::{
    Cause, Change, Frame, IncidentId, Input, Record, Span, StateKind, Timestamp, TransactionId, WatchId, WatchOver,
    WatchVerdict,
};

use super::told::is_paged;
use super::{Found, Invariant, Model, fail};

/// How many unhealthy readings in a row end a watch.
const UNHEALTHY_MAX: u32 = 2;

/// How long after its end a watch is given up whose signal cannot be read.
const BLIND_AFTER: Span = Span::from_secs(30);

/// What the model knows of watches that have not ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches(BTreeMap<(IncidentId, WatchId), Watched>);

#[derive(Clone, Debug)]
struct Watched {
    over: WatchOver,
    /// Whether it was healthy before; `None` while that is not known.
    before: Option<bool>,
    unhealthy: u32,
    /// The number of the newest question, and whether it waits for its answer.
    ticket: u32,
    asked: bool,
    lasts: Span,
    /// When it may end as healthy; `None` before it has begun.
    until: Option<Timestamp>,
}

impl Watches {
    /// Whether `id` is not started before a first reading of what watches it.
    pub(super) fn awaits_baseline(&self, id: TransactionId) -> bool {
        let mut watches = self.0.values();
        watches.any(|it| it.over == WatchOver::Containment(id) && it.before.is_none())
    }
}

impl Model {
    /// Takes up what `record` of `frame` says of watches.
    pub(super) fn watches(&mut self, frame: &Frame, record: &Record) -> Found {
        match record {
            Record::WatchPlanned {
                watch,
                incident,
                over,
                plan,
                ..
            } => {
                let has_begun = matches!(over, WatchOver::Recovery(_));
                let watched = Watched {
                    over: *over,
                    before: has_begun.then_some(true),
                    unhealthy: 0,
                    ticket: 1,
                    asked: true,
                    lasts: plan.lasts,
                    until: has_begun.then(|| self.now + plan.lasts),
                };
                self.watches.0.insert((*incident, *watch), watched);
            }
            Record::WatchAsked { incident, watch, .. } => {
                if let Some(it) = self.watches.0.get_mut(&(*incident, *watch)) {
                    it.ticket += 1;
                    it.asked = true;
                }
            }
            Record::WatchStarted { incident, watch, .. } => {
                if let Some(it) = self.watches.0.get_mut(&(*incident, *watch)) {
                    it.until = Some(self.now + it.lasts);
                }
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
                let Some(it) = self.watches.0.remove(&(*incident, *watch)) else {
                    return Ok(());
                };
                if *verdict == WatchVerdict::Hurt && (it.before != Some(true) || it.unhealthy < UNHEALTHY_MAX) {
                    let what = format!("{watch} says that it hurts, after {} unhealthy readings", it.unhealthy);
                    return fail(Invariant::HurtIsLifted, what);
                }
                let is_over = it.until.is_some_and(|until| until <= self.now);
                let is_blind = it.until.is_some_and(|until| until + BLIND_AFTER <= self.now);
                if *verdict == WatchVerdict::Blind && !is_blind {
                    return fail(Invariant::HurtIsLifted, format!("{watch} is given up at {}", self.now));
                }
                if *verdict == WatchVerdict::Healthy && (it.unhealthy > 0 || !is_over) {
                    return fail(Invariant::HurtIsLifted, format!("{watch} says that it is healthy"));
                }
            }
            Record::Transaction {
                transaction,
                change: Change::PostCheckPassed { .. },
            } => return self.is_watched(frame, *transaction),
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
            _ => {}
        }
        Ok(())
    }

    /// What comes into force in `frame` is watched from then on, if it is to be and was healthy before.
    fn is_watched(&self, frame: &Frame, id: TransactionId) -> Found {
        let waits = |it: &Watched| it.over == WatchOver::Containment(id) && it.before == Some(true);
        for (at, _) in self.watches.0.iter().filter(|(_, it)| waits(it)) {
            let begins = |record: &Record| match record {
                Record::WatchStarted { incident, watch, .. } => (*incident, *watch) == *at,
                _ => false,
            };
            if !frame.records.iter().any(begins) {
                return fail(Invariant::HurtIsLifted, format!("{id} is in force and not watched"));
            }
        }
        Ok(())
    }

    fn read(&mut self, frame: &Frame, incident: IncidentId, watch: WatchId, healthy: Option<bool>) -> Found {
        let Some(it) = self.watches.0.get_mut(&(incident, watch)) else {
            return Ok(());
        };
        let is_newest = match &frame.input {
            // A reading that was given up answers no question.
            Input::HealthRead { ticket, .. } if healthy.is_some() => it.asked && it.ticket == *ticket,
            _ => true,
        };
        it.asked = false;
        if !is_newest {
            let what = format!("{watch} goes by the answer to an older question");
            return fail(Invariant::ReplyIsNewest, what);
        }
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
