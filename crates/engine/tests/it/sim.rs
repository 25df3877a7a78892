//! The harness: a virtual clock, messages under way, faults, an operator, crashes; every step is checked.

mod asked;
mod fault;
mod operator;
mod outside;
mod time;
mod under_way;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use staunch_engine::transaction::after;
use staunch_engine::{Engine, EngineState};
use staunch_model::{
    Cause, Effect, EffectKey, EvidenceId, Facts, Frame, Input, Notice, Policy, Record, Span, State, Target, Timestamp,
    TransactionId,
};

pub(crate) use self::fault::{Fault, Verb};
pub(crate) use self::operator::OPERATOR;
use self::under_way::Message;
use crate::build::{self, START};
use crate::chance::Chance;
use crate::invariants::Invariants;
use crate::world::World;

/// Where a run is cut: after so many frames, with their effects sent or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) frames: usize,
    pub(crate) dispatched: bool,
    pub(crate) outage: Span,
}

pub(crate) struct Sim {
    pub(crate) engine: Engine,
    pub(crate) now: Timestamp,
    /// How far the engine's clock is behind.
    pub(crate) clock_behind: Span,
    pub(crate) world: World,
    pub(crate) facts: Facts,
    /// What was made durable.
    pub(crate) frames: Vec<(Timestamp, Frame)>,
    /// What people were told.
    pub(crate) told: Vec<Notice>,
    /// Execute effects that were handed out, renewals included.
    pub(crate) acts: Vec<(Timestamp, TransactionId, Target)>,
    pub(crate) undos: Vec<(Timestamp, TransactionId, Target)>,
    /// The idempotency keys of acts and undos, in the order in which they were handed out.
    pub(crate) keys: Vec<(TransactionId, EffectKey)>,
    /// Evidence that was stored.
    pub(crate) vault: BTreeSet<EvidenceId>,
    /// Whether the health signals are healthy, from when on; `None` where they cannot be read. Before all of them, they
    /// are.
    pub(crate) health: Vec<(Timestamp, Option<bool>)>,
    pub(crate) cut: Option<Cut>,
    /// Faults of this many percent of the effects, drawn from here.
    pub(crate) trouble: Option<(Chance, u64)>,
    pub(crate) latency: Span,
    pub(crate) invariants: Invariants,
    /// The longest that a request may be under way.
    pub(crate) in_flight_max: Span,
    faults: BTreeMap<Verb, VecDeque<Fault>>,
    messages: BTreeMap<(Timestamp, u64), Message>,
    sent: u64,
    life: u32,
    /// The states that each transaction has been in, by the records alone.
    lives: BTreeMap<TransactionId, Vec<State>>,
}

impl Sim {
    /// A world in which `policy` holds and nothing has happened.
    pub(crate) fn new(policy: Policy) -> Self {
        let mut sim = Self::before_start();
        sim.in_flight_max = policy.drivers.first().map_or(Span::ZERO, |driver| driver.in_flight_max);
        sim.start();
        sim.input(Input::Policy(policy.into()));
        sim
    }

    /// The usual policy.
    pub(crate) fn usual() -> Self {
        Self::new(build::policy(|_| {}))
    }

    /// The usual policy with a remote driver.
    pub(crate) fn remote() -> Self {
        Self::new(build::policy(build::remote))
    }

    fn before_start() -> Self {
        Self {
            engine: Engine::new(),
            now: START,
            clock_behind: Span::ZERO,
            world: World::default(),
            facts: build::traffic(1),
            frames: Vec::new(),
            told: Vec::new(),
            acts: Vec::new(),
            undos: Vec::new(),
            keys: Vec::new(),
            vault: Default::default(),
            health: Vec::new(),
            cut: None,
            trouble: None,
            latency: Span::from_millis(1),
            invariants: Invariants::default(),
            in_flight_max: Span::ZERO,
            faults: BTreeMap::new(),
            messages: BTreeMap::new(),
            sent: 0,
            life: 0,
            lives: BTreeMap::new(),
        }
    }

    pub(crate) fn state(&self) -> &EngineState {
        self.engine.state()
    }

    /// The process ends and starts again on what is durable. Requests on their way arrive; replies are lost.
    pub(crate) fn crash(&mut self, outage: Span) {
        self.restart_on(self.frames.len(), outage);
        self.start();
    }

    /// The process ends and starts again at once, and the clock was set forward: what is under way comes as it would
    /// have.
    pub(crate) fn crash_and_set_clock(&mut self, forward: Span) {
        let under_way = std::mem::take(&mut self.messages);
        let later = under_way
            .into_iter()
            .map(|((at, order), it)| ((at + forward, order), it));
        self.messages = later.collect();
        self.crash(forward);
    }

    fn restart_on(&mut self, frames: usize, outage: Span) {
        self.frames.truncate(frames);
        let mut engine = Engine::new();
        for (now, frame) in &self.frames {
            engine.replay(frame, *now).unwrap();
        }
        assert_eq!(
            engine.state(),
            self.engine.state(),
            "what was durable is what was known"
        );
        self.engine = engine;
        self.life += 1;
        let end = self.now + outage;
        while let Some(((at, _), _)) = self.messages.first_key_value().filter(|((at, _), _)| *at <= end) {
            self.now = *at;
            self.deliver();
        }
        self.now = end;
        self.world.at(end);
    }

    pub(crate) fn input(&mut self, input: Input) {
        let clock = self.now - self.clock_behind;
        let step = self.engine.step(&input, clock);
        let frame = Frame {
            input,
            records: step.records,
        };
        self.follow(&frame);
        self.invariants
            .after_step(clock, &step.effects, &frame, step.now, &self.engine);
        self.evidence_comes_first(&step.effects);
        self.frames.push((step.now, frame));
        let cut = self.cut.filter(|cut| cut.frames == self.frames.len());
        if cut.is_none_or(|cut| cut.dispatched) {
            step.effects.into_iter().for_each(|effect| self.dispatch(effect));
        }
        if let Some(cut) = cut {
            self.cut = None;
            self.restart_on(cut.frames, cut.outage);
            self.start();
        }
    }

    /// Nothing is touched before the evidence of its incident is stored or missed, deadline and all.
    fn evidence_comes_first(&self, effects: &[Effect]) {
        for effect in effects {
            let Effect::Execute { transaction, .. } = effect else {
                continue;
            };
            let incident = &self.state().transactions[transaction].incident;
            for id in &self.state().incidents[incident].evidence {
                let it = &self.state().evidence[id];
                assert!(
                    it.missed.is_some() || self.vault.contains(id),
                    "{transaction} acts before {id} is stored\n{}",
                    self.story()
                );
            }
        }
    }

    /// Follows the states by the records alone.
    fn follow(&mut self, frame: &Frame) {
        for record in &frame.records {
            match record {
                Record::TransactionPlanned { transaction, .. } => {
                    self.lives.insert(*transaction, vec![State::Planned]);
                }
                Record::OrphanAdopted { transaction, .. } => {
                    self.lives
                        .insert(*transaction, vec![State::Releasing(Box::new(Cause::Orphan))]);
                }
                Record::Transaction { transaction, change } => {
                    let life = self.lives.get_mut(transaction).unwrap();
                    let next = after(life.last().unwrap(), change).unwrap();
                    if next != *life.last().unwrap() {
                        life.push(next);
                    }
                }
                _ => {}
            }
        }
    }
}
