//! Health watches: whether containment hurts the business, and whether recovery holds.
//!
//! A signal is read before the act that is watched, because what is unhealthy by then says nothing about the act. One
//! unhealthy reading is read again at once; two in a row end the watch. Never reads a signal itself.

use staunch_model::{
    Cause, Failure, FailureKind, HealthReading, IncidentId, NoticeLevel, Record, StateKind, Transaction, Watch,
    WatchId, WatchOver, WatchPlan, WatchState, WatchVerdict,
};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;
use crate::turn::Turn;

impl EngineState {
    /// The watches of `incident` that have not ended.
    pub(crate) fn watches_of(&self, incident: IncidentId) -> impl Iterator<Item = &Watch> {
        let of = |watch| (incident, WatchId(watch));
        self.watches.range(of(0)..=of(u64::MAX)).map(|(_, it)| &**it)
    }

    /// True while the signal that is to be watched over `it` is read for the first time.
    pub(crate) fn awaits_baseline(&self, it: &Transaction) -> bool {
        self.watches_of(it.incident)
            .any(|watch| watch.over == WatchOver::Containment(it.id) && watch.state == WatchState::Baseline)
    }
}

impl Turn<'_> {
    /// Reads a signal and watches it.
    pub(crate) fn plan_watch(&mut self, incident: IncidentId, over: WatchOver, plan: WatchPlan) -> WatchId {
        let watch = WatchId(self.state.last_watch + 1);
        self.put(Record::WatchPlanned {
            watch,
            incident,
            over,
            plan,
            answer_by: self.now + limits::HEALTH_DEADLINE,
        });
        watch
    }

    /// A signal was read, or could not be.
    pub(crate) fn on_health_read(
        &mut self,
        incident: IncidentId,
        watch: WatchId,
        ticket: u32,
        result: &Result<HealthReading, Failure>,
    ) {
        let found = self.state.watches.get(&(incident, watch));
        if let Some(it) = found.filter(|it| it.asked && (it.ticket == ticket || is(Mutant::OldReadingsTaken))) {
            let it = Watch::clone(it);
            self.judge_reading(&it, result);
        }
    }

    /// A signal is read again, or its answer is given up.
    pub(crate) fn on_watch_due(&mut self, incident: IncidentId, watch: WatchId) {
        let Some(it) = self.state.watches.get(&(incident, watch)).cloned() else {
            return;
        };
        if it.asked {
            let late = Failure::new(FailureKind::TimedOut, "no answer within the deadline");
            self.judge_reading(&it, &Err(late));
        } else {
            self.ask_signal(&it);
        }
    }

    /// Reads the signal of `it`.
    pub(crate) fn ask_signal(&mut self, it: &Watch) {
        self.put(Record::WatchAsked {
            incident: it.incident,
            watch: it.id,
            answer_by: self.now + limits::HEALTH_DEADLINE,
        });
    }

    fn judge_reading(&mut self, it: &Watch, result: &Result<HealthReading, Failure>) {
        let read = |next| Record::WatchRead {
            incident: it.incident,
            watch: it.id,
            result: result.clone(),
            next,
        };
        let until = match it.state {
            WatchState::Running { until } => until,
            WatchState::Baseline | WatchState::Ready => {
                self.put(read(None));
                match result {
                    Ok(reading) if reading.healthy || is(Mutant::BaselineIgnored) => {}
                    Ok(reading) => self.end_without_baseline(it, &reading.says),
                    Err(failure) => self.end_without_baseline(it, &failure.to_string()),
                }
                return;
            }
        };
        let unhealthy = match result {
            Ok(reading) if reading.healthy => 0,
            Ok(_) => it.unhealthy.saturating_add(1),
            Err(_) => it.unhealthy,
        };
        let is_settled = unhealthy == 0 && result.is_ok();
        let pause = if is_settled {
            it.plan.every
        } else {
            limits::HEALTH_PAUSE.min(it.plan.every)
        };
        // Not beyond the end, where it is read once more.
        let next = if self.now < until {
            (self.now + pause).min(until)
        } else {
            self.now + pause
        };
        self.put(read(Some(next)));
        match result {
            Ok(reading) if unhealthy >= limits::HEALTH_UNHEALTHY_MAX && !is(Mutant::WatchIgnored) => {
                self.hurt(it, &reading.says);
            }
            Ok(_) if is_settled && is(Mutant::WatchShort) => self.end_watch(it, WatchVerdict::Healthy, ""),
            _ if self.now < until => {}
            Ok(_) if is_settled => self.end_watch(it, WatchVerdict::Healthy, ""),
            Err(failure) if self.now >= until + limits::HEALTH_GRACE || is(Mutant::BlindAtOnce) => {
                let why = failure.to_string();
                self.end_watch(it, WatchVerdict::Blind, &why);
                if let WatchOver::Containment(id) = it.over {
                    let text = format!(
                        "{id} is not known to be harmless: the health signal {} could not be read: {why}",
                        it.plan.signal
                    );
                    self.notice(NoticeLevel::Warning, Some(it.incident), Some(id), &text);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    fn end_without_baseline(&mut self, it: &Watch, why: &str) {
        self.end_watch(it, WatchVerdict::NoBaseline, why);
        if let WatchOver::Containment(id) = it.over {
            let text = format!(
                "{id} goes on unwatched: the health signal {} was not healthy before it ({why})",
                it.plan.signal
            );
            self.notice(NoticeLevel::Warning, Some(it.incident), Some(id), &text);
        }
    }

    /// The signal says that what is watched hurts.
    fn hurt(&mut self, it: &Watch, says: &str) {
        self.end_watch(it, WatchVerdict::Hurt, says);
        let WatchOver::Containment(id) = it.over else { return };
        let Some(contains) = self.state.transactions.get(&id).cloned() else {
            return;
        };
        if contains.state.kind() != StateKind::InForce {
            return;
        }
        if self.state.is_for_good(&contains) {
            let text = format!(
                "{id} ({} on {}) hurts, and nothing undoes it: the health signal {} says {says}",
                contains.kind, contains.target, it.plan.signal
            );
            self.notice(NoticeLevel::Page, Some(it.incident), Some(id), &text);
            return;
        }
        let cause = Cause::Hurts {
            signal: it.plan.signal.clone(),
            says: says.into(),
        };
        self.start_release(&contains, cause);
        let text = format!(
            "{id} ({} on {}) is lifted because it hurt: the health signal {} says {says}. Nothing contains {} now",
            contains.kind, contains.target, it.plan.signal, contains.target
        );
        self.notice(NoticeLevel::Page, Some(it.incident), Some(id), &text);
    }

    pub(crate) fn end_watch(&mut self, it: &Watch, verdict: WatchVerdict, why: &str) {
        self.put(Record::WatchEnded {
            incident: it.incident,
            watch: it.id,
            verdict,
        });
        if let WatchOver::Recovery(_) = it.over {
            self.soak_ended(it, verdict, why);
        }
    }

    /// What has come into force is watched from now on, and what is over is not watched any longer.
    pub(crate) fn look_after_watches(&mut self, incident: IncidentId) {
        let watches: Vec<Watch> = self.state.watches_of(incident).cloned().collect();
        for it in watches {
            let WatchOver::Containment(id) = it.over else { continue };
            let kind = self.state.transactions.get(&id).map(|it| it.state.kind());
            match (it.state, kind) {
                (WatchState::Ready, Some(StateKind::InForce)) if is(Mutant::WatchNeverBegins) => {}
                (WatchState::Ready, Some(StateKind::InForce)) => self.put(Record::WatchStarted {
                    incident,
                    watch: it.id,
                    until: self.now + it.plan.lasts,
                    next: self.now + it.plan.every.min(it.plan.lasts),
                }),
                (_, None) => self.end_watch(&it, WatchVerdict::Moot, ""),
                (_, Some(kind)) if kind.is_terminal() || kind.is_undo() => {
                    self.end_watch(&it, WatchVerdict::Moot, "");
                }
                _ => {}
            }
        }
    }
}
