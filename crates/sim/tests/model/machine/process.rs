//! The process: its turns, its journal and its end.
//!
//! Never lets time pass.

use std::sync::Arc;

use staunch_engine::Engine;
use staunch_engine::mutant::{Mutant, is};
use staunch_model::{
    Change, Effect, Endpoint, Event, Frame, Input, InstallationId, Match, MatchedStep, NoticeLevel, Owner, Presence,
    Record, Severity, TransactionId,
};
use staunch_sim::scenario::place;
use staunch_sim::world::WorldKind;

use super::holds::{END_IS_VERIFIED, FORCE_IS_VERIFIED, REPLAY_EQUALS_LIVE, REPLY_IS_NEWEST};
use super::{Machine, Request, World, Written};

impl World {
    /// One turn of the engine, written to the journal. What only reads leaves at once.
    pub(super) fn turn(&mut self, input: Input) {
        let stale = self.is_stale(&input);
        let mut engine = (*self.engine).clone();
        let step = engine.step(&input, self.now);
        self.engine = Arc::new(engine);
        if stale && !step.records.iter().all(is_stale_reply) {
            self.broken.insert(REPLY_IS_NEWEST);
        }
        for record in &step.records {
            let Record::Transaction { transaction, change } = record else {
                continue;
            };
            let seen = seen_by(&input, *transaction);
            let ours = Some(Some(Owner::Ours(*transaction)));
            match change {
                Change::PostCheckPassed { .. } if seen != ours => drop(self.broken.insert(FORCE_IS_VERIFIED)),
                Change::ReleaseVerified | Change::ProbedAbsent if seen.is_none() || seen == ours => {
                    self.broken.insert(END_IS_VERIFIED);
                }
                _ => {}
            }
        }
        if step.records.is_empty() && step.effects.is_empty() {
            return;
        }
        let frame = Frame {
            input,
            records: step.records,
        };
        let mut replayed = (**self.newest_frame()).clone();
        if replayed.replay(&frame, step.now).is_err() {
            self.broken.insert(REPLAY_EQUALS_LIVE);
        }
        let early = |it: &Effect| it.is_read() || is(Mutant::EffectBeforeSync);
        let (now, later): (Vec<_>, Vec<_>) = step.effects.into_iter().partition(early);
        self.tail.push(Written {
            replayed: Arc::new(replayed),
            effects: later,
        });
        now.into_iter().for_each(|effect| self.dispatch(effect));
    }

    /// What a start finds when everything written has survived.
    pub(super) fn newest_frame(&self) -> &Arc<Engine> {
        self.tail.last().map_or(&self.durable, |it| &it.replayed)
    }

    pub(super) fn sync(&mut self) {
        self.durable = self.newest_frame().clone();
        let written = std::mem::take(&mut self.tail);
        for effect in written.into_iter().flat_map(|it| it.effects) {
            self.dispatch(effect);
        }
    }

    /// An effect leaves the process: for its driver, and from there to the enforcement point or to people.
    fn dispatch(&mut self, effect: Effect) {
        if let Effect::Notify(notice) = &effect {
            if notice.level == NoticeLevel::Page {
                self.paged.extend(notice.transaction);
            }
            let (notice, result) = (notice.id, Ok(()));
            self.turn(Input::Notified { notice, result });
            return;
        }
        let waits = matches!(effect, Effect::Execute { .. });
        self.requests.push(Request {
            effect,
            sent: (!waits).then_some(self.now),
            answers: true,
            slow: false,
        });
    }

    /// The process ends and starts again: `kept` frames of the tail have survived, what was sent stays under way, and
    /// nobody waits for replies any more.
    pub(super) fn crash(&mut self, kept: usize) {
        self.left.crashes -= 1;
        if let Some(last) = kept.checked_sub(1) {
            self.durable = self.tail[last].replayed.clone();
        }
        self.tail.clear();
        self.replies.clear();
        self.requests
            .retain(|it| it.sent.is_some() && !matches!(it.effect, Effect::Observe { .. }));
        for request in &mut self.requests {
            request.answers = false;
            request.slow = false;
        }
        self.engine = self.durable.clone();
        self.turn(started());
    }

    pub(super) fn event(&mut self, machine: &Machine) {
        let targets = &machine.events[self.events];
        let playbook = &machine.policy().playbooks[self.events];
        self.events += 1;
        let steps = (0..).zip(targets).map(|(step, at)| MatchedStep {
            step,
            target: Some(place(WorldKind::Api, *at)),
        });
        let matched = Match {
            playbook: playbook.hash,
            key: "key".into(),
            preserve: Vec::new(),
            steps: steps.collect(),
        };
        let event = Event {
            system: "simulated".into(),
            id: None,
            time: None,
            received: self.now,
            severity: Severity::High,
            signature: "".into(),
            category: "".into(),
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: b"{}".as_slice().into(),
        };
        self.turn(Input::Event {
            event: Arc::new(event),
            matches: vec![matched],
        });
    }

    fn is_stale(&self, input: &Input) -> bool {
        let (Input::Observed {
            transaction, ticket, ..
        }
        | Input::Executed {
            transaction, ticket, ..
        }
        | Input::Undone {
            transaction, ticket, ..
        }) = input
        else {
            return false;
        };
        let it = self.engine.state().transactions.get(transaction);
        it.is_some_and(|it| it.ticket != *ticket)
    }
}

/// What `input` says is at the target of `id`; the outer `None` when it does not say.
fn seen_by(input: &Input, id: TransactionId) -> Option<Option<Owner>> {
    match input {
        Input::Observed {
            transaction,
            result: Ok(seen),
            ..
        } if *transaction == id => Some(match &seen.presence {
            Presence::Absent => None,
            Presence::Present { owner, .. } => Some(owner.clone()),
        }),
        _ => None,
    }
}

fn is_stale_reply(record: &Record) -> bool {
    matches!(
        record,
        Record::Transaction {
            change: Change::StaleReply { .. },
            ..
        }
    )
}

pub(super) fn started() -> Input {
    Input::Started {
        installation: InstallationId([1; 8]),
        build: "model".into(),
    }
}
