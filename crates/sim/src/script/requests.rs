//! What becomes of a request: what goes wrong with it on its way, what it does in the world, and what is answered.
//!
//! Never draws: of several faults that fit a request, the first happens.

use staunch_model::{Effect, Fact, Facts, Failure, FailureKind, Input, ObservePurpose, Span, Target, TrafficShare};

use super::{Fault, Item, Mishap, Point, Script, Seen};
use crate::check::Invariant;
use crate::request::{Arrival, Landing, excuse, land, unasked};
use crate::world::WorldKind;

/// Flows in all, so that a share in basis points is a number of flows.
const FLOWS: u64 = 10_000;

/// How long an answer takes.
const REPLY: Span = Span::from_micros(10);

impl Script {
    pub(super) fn send(&mut self, effect: Effect) {
        let mishap = self.mishap(&effect);
        self.see(Seen::Sent(effect.clone(), mishap));
        let life = self.life;
        if mishap == Some(Mishap::Lies) {
            excuse(&effect, &mut self.excused);
        }
        let arrives = match mishap {
            Some(Mishap::RequestLost) => return,
            Some(Mishap::Fails(kind)) => {
                self.answer(&effect, Err(Failure::new(kind, said(kind))), false);
                return;
            }
            Some(Mishap::InDoubt) => {
                self.answer(&effect, Err(in_doubt()), true);
                return;
            }
            Some(Mishap::Lies) if !effect.is_read() => {
                self.answer(&effect, Ok(()), false);
                return;
            }
            Some(Mishap::InDoubtLanded) => {
                self.answer(&effect, Err(in_doubt()), true);
                true
            }
            _ => true,
        };
        if arrives {
            let at = self.now + transit(self.world.kind());
            self.later(at, Item::Arrive { life, effect, mishap });
        }
        if let Some(Mishap::Crash(outage)) = mishap {
            self.crash(outage);
        }
    }

    /// What goes wrong with `effect`.
    fn mishap(&mut self, effect: &Effect) -> Option<Mishap> {
        let mut kind_of_evidence = None;
        let (at, target) = match effect {
            Effect::Observe { purpose, target, .. } => {
                let at = match purpose {
                    ObservePurpose::PreCheck => Point::PreCheck,
                    ObservePurpose::PostCheck => Point::PostCheck,
                    ObservePurpose::Probe => Point::Probe,
                };
                (at, Some(target.clone()))
            }
            Effect::Execute { target, renewal, .. } => (
                if *renewal { Point::Renew } else { Point::Execute },
                Some(target.clone()),
            ),
            Effect::Undo { target, .. } => (Point::Undo, Some(target.clone())),
            Effect::Notify(_) => (Point::Notify, None),
            Effect::Collect { kind, target, .. } => {
                kind_of_evidence = Some(*kind);
                (Point::Preserve, target.clone())
            }
            Effect::ReadHealth { .. } => return None,
        };
        let fits = |it: &Fault| {
            it.at == at
                && (it.of.is_none() || it.of == target)
                && (it.evidence.is_none() || it.evidence == kind_of_evidence)
                && it.times != Some(0)
        };
        let place = self.setting.faults.iter().position(fits)?;
        self.met[place] = true;
        let fault = &mut self.setting.faults[place];
        if let Some(left) = &mut fault.times {
            *left -= 1;
        }
        Some(fault.mishap)
    }

    /// A driver answers without the world having been asked.
    fn answer(&mut self, effect: &Effect, result: Result<(), Failure>, in_doubt: bool) {
        if let Some(input) = unasked(effect, result, in_doubt) {
            self.reply(Span::ZERO, input);
        }
    }

    fn reply(&mut self, late: Span, input: Input) {
        let life = self.life;
        self.later(self.now + REPLY + late, Item::Reply { life, input });
    }

    /// A request has reached the world. It does so even when the process that sent it has ended.
    pub(super) fn arrive(&mut self, life: u32, effect: &Effect, mishap: Option<Mishap>) {
        let lag = Span::from_micros(self.world.kind().lag_max().as_micros() / 2);
        let traffic = match effect {
            Effect::Observe {
                target, traffic: true, ..
            } => Some(self.share(target)),
            _ => None,
        };
        let arrival = Arrival {
            now: self.now,
            lag,
            lies: mishap == Some(Mishap::Lies),
            facts: Facts { traffic },
            healthy: match effect {
                Effect::ReadHealth { signal, .. } => self.signals.get(signal).copied().unwrap_or(Some(true)),
                _ => None,
            },
            says: "the test says so",
        };
        let Landing { input, created } = land(effect, &mut self.world, &mut self.vault, arrival);
        if let Some(transaction) = created
            && self.model.has_ended(transaction)
            && !self.excused.contains(&transaction)
        {
            let what = format!("an act of {transaction} lands after it has ended");
            self.fail(Invariant::EndIsClean, what);
        }
        if let Some(damage) = self.world.damage.pop() {
            self.fail(Invariant::NoDamage, damage);
        }
        let silent = matches!(mishap, Some(Mishap::ReplyLost | Mishap::InDoubtLanded));
        if !silent && life == self.life {
            let late = match mishap {
                Some(Mishap::ReplyLate(late)) => late,
                _ => Span::ZERO,
            };
            self.reply(late, input);
        }
    }

    fn share(&self, target: &Target) -> Fact<TrafficShare> {
        let known = self.setting.shares.get(target);
        let share = known.copied().unwrap_or(self.setting.share_of_others);
        Fact {
            value: share
                .map(|points| TrafficShare {
                    flows: points * FLOWS / 10_000,
                    flows_total: FLOWS,
                    bytes: None,
                    bytes_total: None,
                })
                .ok_or_else(|| "the test says so".into()),
            source: "simulated".into(),
            age: Span::ZERO,
        }
    }
}

/// How long a request takes.
const fn transit(world: WorldKind) -> Span {
    match world {
        WorldKind::Kernel | WorldKind::Limiter | WorldKind::Machine(_) => Span::from_micros(20),
        WorldKind::Api => Span::from_millis(30),
        WorldKind::Cloud => Span::from_millis(80),
    }
}

fn in_doubt() -> Failure {
    Failure::new(FailureKind::TimedOut, "no answer from the system")
}

/// What a driver says about a failure of this kind.
const fn said(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Denied => "a permission is missing",
        FailureKind::Unavailable => "the system is throttled",
        FailureKind::Conflict => "the world has moved",
        FailureKind::Full => "it is full",
        FailureKind::Invalid => "the request is malformed",
        FailureKind::TimedOut => "no answer in time",
        FailureKind::Interrupted => "the process was stopped",
        FailureKind::Gone => "it has ended",
    }
}
