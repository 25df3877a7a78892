//! Effects on their way to the world, and answers on their way back.

use super::*;
use crate::request::{Arrival, Landing, excuse, land, unasked};

impl Sim<'_> {
    pub(super) fn dispatch(&mut self, replica: usize, effect: Effect, intent: Option<(usize, Arc<Frame>)>) {
        if let Effect::Execute {
            transaction,
            send_by,
            deadline,
            ..
        } = &effect
            && *send_by + self.world.kind().in_flight_max() > *deadline
        {
            let what =
                format!("the act of {transaction} may be sent so late that its answer is given up before it lands");
            self.fail(Invariant::EndIsClean, what);
            return;
        }
        let keys = match &effect {
            Effect::Observe {
                transaction, ticket, ..
            } => [2, transaction.0, u64::from(*ticket)],
            Effect::Execute {
                transaction, ticket, ..
            } => [3, transaction.0, u64::from(*ticket)],
            Effect::Undo {
                transaction, ticket, ..
            } => [4, transaction.0, u64::from(*ticket)],
            Effect::Notify(notice) => [5, notice.id.0, self.sent],
            Effect::Collect { evidence, .. } => [6, evidence.0, self.sent],
            Effect::ReadHealth { watch, ticket, .. } => [12, watch.0, u64::from(*ticket)],
        };
        self.sent += 1;
        let keys = [keys[0], keys[1], keys[2], u64::from(self.log.epoch)];
        let mut chance = Chance::at(self.scenario.seed, &keys);
        let fault = self.draw(&mut chance, &effect);
        let request = Box::new(Request {
            replica,
            life: self.replicas[replica].life,
            effect,
            fault,
            intent,
            draw: chance.draw(),
            zombie: false,
        });
        if fault == Some(Fault::SentLate) {
            let wait = Span::from_micros(chance.below(9_000_000));
            self.later(self.now + wait, Item::Send(request));
        } else {
            self.send(request);
        }
    }

    pub(super) fn draw(&mut self, chance: &mut Chance, effect: &Effect) -> Option<Fault> {
        if self.quiet {
            return None;
        }
        let mut drawn = u16::try_from(chance.below(10_000)).unwrap_or(u16::MAX);
        for (rate, fault) in self.scenario.rates.0.iter().zip(Fault::ALL) {
            if drawn < *rate {
                let applies = match fault {
                    Fault::SentLate => matches!(effect, Effect::Execute { .. } | Effect::Undo { .. }),
                    // The kernel has nobody in between who sends again.
                    Fault::Duplicated => {
                        !self.world.kind().is_local() && matches!(effect, Effect::Execute { .. } | Effect::Undo { .. })
                    }
                    Fault::LyingAct => matches!(effect, Effect::Execute { .. } | Effect::Undo { .. }),
                    Fault::LyingLook => matches!(effect, Effect::Observe { .. }),
                    _ => true,
                };
                if applies {
                    self.counts.add(fault);
                    return Some(fault);
                }
                return None;
            }
            drawn -= rate;
        }
        None
    }

    /// A driver takes a request up.
    pub(super) fn send(&mut self, mut request: Box<Request>) {
        let replica = request.replica;
        if self.replicas[replica].life != request.life {
            return;
        }
        if self.waits(replica) {
            let until = self.replicas[replica].paused_until;
            self.later(until, Item::Send(request));
            return;
        }
        request.zombie = self.replicas[replica].epoch != self.log.epoch;
        if let Some((at, frame)) = &request.intent {
            let durable = *at < self.log.durable
                && self
                    .log
                    .frames
                    .get(*at)
                    .is_some_and(|entry| Arc::ptr_eq(&entry.frame, frame));
            if !durable && !request.zombie {
                let what = format!("{} leaves before its frame is durable", words(&request.effect));
                self.fail(Invariant::DurableIntent, what);
                return;
            }
        }
        let in_doubt = || Failure::new(FailureKind::TimedOut, "no answer from the system\u{1b}[0m");
        if let Effect::Execute { send_by, .. } = &request.effect
            && self.replicas[replica].clock.read(self.now) > *send_by
            && !is(Mutant::SendByIgnored)
        {
            let late = Failure::new(FailureKind::TimedOut, "it waited too long for its driver");
            self.answer(&request, Err(late), false);
            return;
        }
        let kind = match request.fault {
            Some(Fault::Denied) => Some(FailureKind::Denied),
            Some(Fault::Unavailable) => Some(FailureKind::Unavailable),
            Some(Fault::Conflict) => Some(FailureKind::Conflict),
            Some(Fault::Full) => Some(FailureKind::Full),
            Some(Fault::Invalid) => Some(FailureKind::Invalid),
            _ => None,
        };
        if let Some(kind) = kind {
            self.answer(&request, Err(Failure::new(kind, "the system says no\u{7}")), false);
            return;
        }
        let mut chance = Chance::new(request.draw);
        let transit_max = self.world.kind().transit_max().as_micros();
        let usual = match self.world.kind() {
            WorldKind::Kernel | WorldKind::Limiter | WorldKind::Machine(_) => 10 + chance.below(30),
            WorldKind::Api => 1_000 + chance.below(60_000),
            WorldKind::Cloud => 5_000 + chance.below(150_000),
        };
        let late = Span::from_micros(chance.below(transit_max));
        let (arrives, answers) = match request.fault {
            Some(Fault::RequestLost) => return,
            Some(Fault::InDoubt) => {
                self.answer(&request, Err(in_doubt()), true);
                return;
            }
            Some(Fault::LyingAct) => {
                excuse(&request.effect, &mut self.excused);
                self.answer(&request, Ok(()), false);
                return;
            }
            Some(Fault::InDoubtLanded) => {
                self.answer(&request, Err(in_doubt()), true);
                (Span::from_micros(usual), false)
            }
            Some(Fault::InDoubtLate) => {
                self.answer(&request, Err(in_doubt()), true);
                (late, false)
            }
            Some(Fault::Reordered) => (late, true),
            Some(Fault::Duplicated) => {
                let again = Item::Arrive {
                    request: request.clone(),
                    answers: false,
                };
                self.later(self.now + late, again);
                (Span::from_micros(usual), true)
            }
            Some(Fault::ReplyLost) => (Span::from_micros(usual), false),
            _ => (Span::from_micros(usual), true),
        };
        self.later(self.now + arrives, Item::Arrive { request, answers });
    }

    /// A driver answers without the world having been asked.
    pub(super) fn answer(&mut self, request: &Request, result: Result<(), Failure>, in_doubt: bool) {
        if let Some(input) = unasked(&request.effect, result, in_doubt) {
            self.reply(request, input, Span::from_millis(1));
        }
    }

    pub(super) fn reply(&mut self, request: &Request, input: Input, after: Span) {
        let item = Item::Reply {
            replica: request.replica,
            life: request.life,
            input: Box::new(input),
        };
        self.later(self.now + after, item);
    }

    /// A request has reached the world.
    pub(super) fn arrive(&mut self, request: &Request, answers: bool) {
        let mut chance = Chance::new(request.draw ^ self.steps);
        let lag = Span::from_micros(chance.below(self.world.kind().lag_max().as_micros()));
        let lies = request.fault == Some(Fault::LyingLook);
        if lies {
            excuse(&request.effect, &mut self.excused);
        }
        let asks = matches!(&request.effect, Effect::Observe { traffic: true, .. });
        let arrival = Arrival {
            now: self.now,
            lag,
            lies,
            facts: match asks.then_some(self.scenario.traffic_varies) {
                None => Facts::default(),
                Some(false) => told(Ok(LITTLE)),
                Some(true) => told_of_traffic(&mut Chance::at(request.draw, &[0])),
            },
            healthy: self.healthy,
            // As hostile as it can be.
            says: "31 \u{1b}[2J%",
        };
        let Landing { input, created } = land(&request.effect, &mut self.world, &mut self.vault, arrival);
        match &input {
            Input::Executed { outcome, .. } => {
                self.say(|| format!("{} lands: {outcome:?}", words(&request.effect)));
            }
            Input::Undone { .. } => self.say(|| format!("{} lands", words(&request.effect))),
            _ => {}
        }
        if let Effect::Execute { transaction, .. } = &request.effect
            && request.zombie
        {
            self.excused.insert(*transaction);
        }
        if let Some(transaction) = created {
            self.judge();
            if self.model.has_ended(transaction) && !self.excused.contains(&transaction) {
                let what = format!("an act of {transaction} lands after it has ended");
                self.fail(Invariant::EndIsClean, what);
            }
            if chance.percent(u64::from(self.scenario.adversary_percent)) && !self.quiet {
                let after = Span::from_micros(chance.below(20_000_000));
                self.later(self.now + after, Item::Adversary(transaction, 0));
            }
        }
        if let Some(damage) = self.world.damage.pop() {
            self.fail(Invariant::NoDamage, damage);
        }
        if !answers {
            return;
        }
        let after = match request.fault {
            Some(Fault::ReplyLate) => Span::from_micros(chance.below(20_000_000)),
            _ => Span::from_micros(5 + chance.below(200)),
        };
        if request.fault == Some(Fault::ReplyTwice) {
            self.reply(request, input.clone(), after + after);
        }
        self.reply(request, input, after);
    }
}

/// A share of the traffic that nobody misses.
const LITTLE: TrafficShare = TrafficShare {
    flows: 1,
    flows_total: 1_000,
    bytes: None,
    bytes_total: None,
};

/// What is known of the traffic that an act would stop: a little of it in most cases, and much, or nothing, in others.
fn told_of_traffic(chance: &mut Chance) -> Facts {
    let flows = |flows, flows_total| TrafficShare {
        flows,
        flows_total,
        ..LITTLE
    };
    let bytes = |bytes| TrafficShare {
        bytes: Some(bytes),
        bytes_total: Some(1_000_000),
        ..LITTLE
    };
    match chance.below(16) {
        0 => told(Ok(flows(500, 1_000))),
        // As much as is allowed, and a little more than that.
        1 => told(Ok(flows(200, 1_000))),
        2 => told(Ok(flows(2_001, 10_000))),
        // Shares are told in whole basis points.
        8 => told(Ok(flows(2_001, 10_004))),
        3 => told(Ok(bytes(900_000))),
        // Of so few, one says nothing, and none says that nobody misses it.
        4 => told(Ok(flows(1, 3))),
        5 => told(Ok(flows(0, 3))),
        6 => told(Err("the table cannot be read\u{1b}[2J".into())),
        7 => Facts::default(),
        _ => told(Ok(LITTLE)),
    }
}

fn told(value: Result<TrafficShare, Box<str>>) -> Facts {
    let traffic = Fact {
        value,
        source: "simulated".into(),
        age: Span::ZERO,
    };
    Facts { traffic: Some(traffic) }
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Observe { transaction, .. } => format!("the look of {transaction}"),
        Effect::Execute { transaction, .. } => format!("the act of {transaction}"),
        Effect::Undo { transaction, .. } => format!("the undo of {transaction}"),
        Effect::Notify(notice) => notice.id.to_string(),
        Effect::Collect { evidence, .. } => format!("the collection of {evidence}"),
        Effect::ReadHealth { watch, .. } => format!("the reading of {watch}"),
    }
}
