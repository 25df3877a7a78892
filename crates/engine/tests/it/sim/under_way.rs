//! What is under way: effects on their way to the world, what it does with them, and its replies.

use std::collections::VecDeque;

use staunch_model::{Effect, Facts, Failure, FailureKind, HealthReading, Input, Outcome, Timestamp};

use super::{Fault, Sim, Verb};
use crate::build;

pub(super) enum Message {
    /// A request on its way to the world.
    Request { effect: Effect, fault: Fault, life: u32 },
    /// A reply on its way to the process of this life.
    Reply { input: Box<Input>, life: u32 },
}

impl Sim {
    /// Hands an effect of the frame that was just made durable to the world.
    pub(super) fn dispatch(&mut self, effect: Effect) {
        if let Effect::Execute { transaction, key, .. } | Effect::Undo { transaction, key, .. } = &effect {
            self.keys.push((*transaction, *key));
        }
        let verb = match &effect {
            Effect::Observe { .. } => Verb::Observe,
            Effect::Execute {
                transaction, target, ..
            } => {
                self.acts.push((self.now, *transaction, target.clone()));
                Verb::Execute
            }
            Effect::Undo {
                transaction, target, ..
            } => {
                self.undos.push((self.now, *transaction, target.clone()));
                Verb::Undo
            }
            Effect::Notify(_) => Verb::Notify,
            Effect::Collect { .. } => Verb::Collect,
            Effect::ReadHealth { .. } => Verb::Health,
        };
        let fault = self
            .faults
            .get_mut(&verb)
            .and_then(VecDeque::pop_front)
            .unwrap_or_else(|| self.draw_fault());
        let arrival = match fault {
            Fault::RequestLost => return,
            Fault::LandsLate(span) => {
                let doubt = Outcome::InDoubt(Failure::new(FailureKind::TimedOut, "no answer from the driver"));
                let reply = match &effect {
                    Effect::Execute {
                        transaction, ticket, ..
                    } => Some(Input::Executed {
                        transaction: *transaction,
                        ticket: *ticket,
                        outcome: doubt,
                    }),
                    Effect::Undo {
                        transaction, ticket, ..
                    } => Some(Input::Undone {
                        transaction: *transaction,
                        ticket: *ticket,
                        outcome: doubt,
                    }),
                    Effect::Observe { .. } | Effect::Notify(_) | Effect::Collect { .. } | Effect::ReadHealth { .. } => {
                        None
                    }
                };
                if let Some(reply) = reply {
                    self.send(
                        self.now + self.latency,
                        Message::Reply {
                            input: reply.into(),
                            life: self.life,
                        },
                    );
                }
                self.now + span
            }
            Fault::Slow(span) => self.now + span,
            Fault::LandsTwice(span) => {
                let duplicate = Message::Request {
                    effect: effect.clone(),
                    fault: Fault::ReplyLost,
                    life: self.life,
                };
                self.send(self.now + span, duplicate);
                self.now + self.latency
            }
            _ => self.now + self.latency,
        };
        self.send(
            arrival,
            Message::Request {
                effect,
                fault,
                life: self.life,
            },
        );
    }

    pub(super) fn deliver(&mut self) {
        let Some((_, message)) = self.messages.pop_first() else {
            return;
        };
        self.world.at(self.now);
        match message {
            Message::Reply { input, life } if life == self.life => self.input(*input),
            Message::Reply { .. } => {}
            Message::Request { effect, fault, life } => {
                let reply = self.carry_out(effect, fault);
                self.invariants.after_arrival(&self.world, self.engine.state());
                let Some(reply) = reply else { return };
                let after = match fault {
                    Fault::ReplyLate(span) => span,
                    _ => self.latency,
                };
                if fault == Fault::RepliesTwice {
                    self.send(
                        self.now + after + after,
                        Message::Reply {
                            input: reply.clone().into(),
                            life,
                        },
                    );
                }
                self.send(
                    self.now + after,
                    Message::Reply {
                        input: reply.into(),
                        life,
                    },
                );
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, fault: Fault) -> Option<Input> {
        let in_doubt = |what: &str| Outcome::InDoubt(Failure::new(FailureKind::TimedOut, what));
        let acts = !matches!(fault, Fault::Fails(_) | Fault::Lies | Fault::InDoubt);
        let outcome = |outcome: Outcome| match fault {
            Fault::Fails(kind) => Outcome::DidNotHappen(Failure::new(kind, "the driver says no")),
            Fault::Lies => Outcome::Landed,
            Fault::InDoubt | Fault::InDoubtLanded => in_doubt("the connection was reset"),
            _ => outcome,
        };
        let reply = match effect {
            Effect::Observe {
                transaction,
                ticket,
                target,
                traffic,
                ..
            } => {
                let result = match fault {
                    Fault::Fails(kind) => Err(Failure::new(kind, "the driver cannot look")),
                    Fault::InDoubt | Fault::InDoubtLanded => Err(Failure::new(FailureKind::TimedOut, "no answer")),
                    _ => Ok(self.world.observe(&target, self.now)),
                };
                let facts = if traffic { self.facts.clone() } else { Facts::default() };
                Input::Observed {
                    transaction,
                    ticket,
                    result,
                    facts,
                }
            }
            Effect::Execute {
                transaction,
                ticket,
                target,
                version,
                hold,
                renewal,
                ..
            } => {
                let done = if acts {
                    self.world
                        .execute(transaction, target, version, hold, renewal, self.now)
                } else {
                    Outcome::Landed
                };
                Input::Executed {
                    transaction,
                    ticket,
                    outcome: outcome(done),
                }
            }
            Effect::Undo {
                label,
                transaction,
                ticket,
                target,
                ..
            } => {
                let done = if acts {
                    self.world.undo(label, target)
                } else {
                    Outcome::Landed
                };
                Input::Undone {
                    transaction,
                    ticket,
                    outcome: outcome(done),
                }
            }
            Effect::Collect { evidence, target, .. } => {
                let result = match fault {
                    Fault::Fails(kind) => Err(Failure::new(kind, "the collector says no")),
                    Fault::InDoubt | Fault::InDoubtLanded => Err(Failure::new(FailureKind::TimedOut, "no answer")),
                    _ => {
                        self.vault.insert(evidence);
                        Ok(staunch_model::Sealed {
                            hash: build::hash(&format!("{target:?}")),
                            bytes: 17,
                            artefacts: 1,
                        })
                    }
                };
                Input::Collected { evidence, result }
            }
            Effect::ReadHealth {
                incident,
                watch,
                ticket,
                ..
            } => {
                let since = self.health.iter().rev().find(|(from, _)| *from <= self.now);
                let result = match (fault, since.map_or(Some(true), |(_, healthy)| *healthy)) {
                    (Fault::Fails(kind), _) => Err(Failure::new(kind, "nobody answers")),
                    (Fault::InDoubt | Fault::InDoubtLanded, _) | (_, None) => {
                        Err(Failure::new(FailureKind::Unavailable, "nobody answers"))
                    }
                    (_, Some(healthy)) => Ok(HealthReading::new(healthy, if healthy { "0.1 %" } else { "31 %" })),
                };
                Input::HealthRead {
                    incident,
                    watch,
                    ticket,
                    result,
                }
            }
            Effect::Notify(notice) => {
                let result = match fault {
                    Fault::Fails(kind) => Err(Failure::new(kind, "nobody listens")),
                    _ => {
                        self.told.push(notice.clone());
                        Ok(())
                    }
                };
                Input::Notified {
                    notice: notice.id,
                    result,
                }
            }
        };
        (!matches!(fault, Fault::ReplyLost | Fault::LandsLate(_))).then_some(reply)
    }

    fn send(&mut self, at: Timestamp, message: Message) {
        self.sent += 1;
        self.messages.insert((at, self.sent), message);
    }
}
