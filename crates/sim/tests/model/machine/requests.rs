//! The way to the enforcement point, the enforcement point, and how long things may take.
//!
//! Never tells the engine anything but by a reply.

use staunch_engine::mutant::{Mutant, is};
use staunch_model::{
    Effect, Facts, Failure, FailureKind, Input, Observation, Outcome, Owner, Presence, Span, Target, Timestamp,
};
use staunch_sim::world::WorldKind;

use super::holds::NO_DAMAGE;
use super::{Action, Place, Reply, Request, World};

/// The longest time in flight.
const IN_FLIGHT_MAX: Span = WorldKind::Api.in_flight_max();

/// The longest that anything is waited for: what is due later never comes.
const PATIENCE: Span = Span::from_hours(24);

impl World {
    pub(super) fn actions_of(&self, at: usize, request: &Request, actions: &mut Vec<Action>) {
        let left = &self.left;
        let looks = matches!(request.effect, Effect::Observe { .. });
        actions.push(if request.sent.is_some() {
            Action::Land(at)
        } else {
            Action::Send(at)
        });
        if request.sent.is_some() {
            actions.extend((left.losses > 0).then_some(Action::Lose(at)));
            let again = left.duplicates > 0 && request.answers && !looks;
            actions.extend(again.then_some(Action::Duplicate(at)));
        }
        if request.answers {
            let slow = left.delays > 0 && !request.slow;
            actions.extend(slow.then_some(Action::Delay(at)));
            actions.extend((left.errors > 0).then_some(Action::Refuse(at)));
            let doubted = left.errors > 0 && request.sent.is_some() && !looks;
            actions.extend(doubted.then_some(Action::Doubt(at)));
        }
    }

    pub(super) fn send(&mut self, at: usize) {
        let request = &mut self.requests[at];
        if let Effect::Execute { send_by, .. } = request.effect
            && self.now > send_by
            && !is(Mutant::SendByIgnored)
        {
            let request = self.requests.remove(at);
            self.answer(&request, Outcome::DidNotHappen(failure(FailureKind::TimedOut)));
            return;
        }
        request.sent = Some(self.now);
    }

    pub(super) fn land(&mut self, at: usize) {
        let request = self.requests.remove(at);
        let outcome = match &request.effect {
            Effect::Execute {
                transaction,
                target,
                version,
                ..
            } => {
                let ours = Owner::Ours(*transaction);
                let there = self.places[target].clone();
                match there.owner {
                    Some(owner) if owner == ours => Outcome::Landed,
                    Some(Owner::Foreign(_)) if is(Mutant::ActIgnoresOwner) => {
                        self.broken.insert(NO_DAMAGE);
                        Outcome::Landed
                    }
                    None if *version == there.version => {
                        self.put(target.clone(), Some(ours));
                        Outcome::Landed
                    }
                    _ => Outcome::DidNotHappen(failure(FailureKind::Conflict)),
                }
            }
            Effect::Undo { .. } if self.undo_refused => Outcome::DidNotHappen(failure(FailureKind::Denied)),
            Effect::Undo { label, target, .. } => {
                let owner = self.places[target].owner.clone();
                let ours = owner == Some(Owner::Ours(*label));
                if ours || (owner.is_some() && is(Mutant::UndoIgnoresOwner)) {
                    self.put(target.clone(), None);
                    if !ours {
                        self.broken.insert(NO_DAMAGE);
                    }
                }
                Outcome::Landed
            }
            _ => Outcome::Landed,
        };
        if request.answers {
            self.answer(&request, outcome);
        }
    }

    pub(super) fn put(&mut self, target: Target, owner: Option<Owner>) {
        let there = self.places.entry(target).or_default();
        *there = Place {
            owner,
            version: there.version + 1,
        };
    }

    /// A driver answers. For a look that worked, with what is there.
    pub(super) fn answer(&mut self, request: &Request, outcome: Outcome) {
        let input = match &request.effect {
            Effect::Observe {
                transaction,
                ticket,
                target,
                ..
            } => Input::Observed {
                transaction: *transaction,
                ticket: *ticket,
                result: match outcome {
                    Outcome::Landed => Ok(self.look(target)),
                    Outcome::DidNotHappen(failure) | Outcome::InDoubt(failure) => Err(failure),
                },
                facts: Facts::default(),
            },
            Effect::Execute {
                transaction, ticket, ..
            } => Input::Executed {
                transaction: *transaction,
                ticket: *ticket,
                outcome,
            },
            Effect::Undo {
                transaction, ticket, ..
            } => Input::Undone {
                transaction: *transaction,
                ticket: *ticket,
                outcome,
            },
            Effect::Notify(_) | Effect::Collect { .. } | Effect::ReadHealth { .. } => return,
        };
        let slow = request.slow;
        self.replies.push(Reply { input, slow });
    }

    fn look(&self, target: &Target) -> Observation {
        let there = &self.places[target];
        Observation {
            presence: match &there.owner {
                None => Presence::Absent,
                Some(owner) => Presence::Present {
                    owner: owner.clone(),
                    expires_in: None,
                },
            },
            enforcing: true,
            version: there.version,
            capacity: None,
            stopped_packets: None,
        }
    }

    /// True when everything that was sent may still be under way at `time`.
    pub(super) fn may_pass(&self, time: Timestamp) -> bool {
        let sent = |it: &Request| it.sent.filter(|_| !matches!(it.effect, Effect::Observe { .. }));
        self.requests
            .iter()
            .filter_map(sent)
            .all(|at| time < at + IN_FLIGHT_MAX)
    }

    /// The engine's next deadline, when time may go on to it: nobody waits for anything that is not slow.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let waits = self.requests.iter().any(|it| it.answers && !it.slow) || self.replies.iter().any(|it| !it.slow);
        let disk = self.tail.is_empty() || self.left.delays > 0;
        let next = self.engine.state().next_deadline()?.max(self.now);
        let ever = next <= self.now + PATIENCE;
        (self.is_anything_alive() && ever && !waits && disk && self.may_pass(next)).then_some(next)
    }
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "a fault of the model")
}
