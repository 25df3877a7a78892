//! One process in a scripted world: what happens, and what goes wrong with which request, is written down beforehand.
//!
//! Draws nothing. It shares the world, the model and the invariants with the seeded runs; only the course is another
//! one: a clock that jumps from one thing to the next, and a journal that is synced at once.

mod end;
mod outside;
mod plan;
mod process;
mod requests;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use staunch_engine::Engine;
use staunch_engine::sweep::{Reading, compare};
use staunch_model::{Effect, EvidenceId, Frame, Input, Span, Target, Timestamp, TransactionId};

pub use self::plan::{Ask, Fault, Happening, Mishap, Point, Setting};
pub use self::seen::{Known, Moment, Seen};
use crate::check::{Invariant, Model, Violation};
use crate::world::World;

/// The most that may happen in one run; more is a run that does not end.
const STEPS_MAX: u64 = 2_000_000;

/// How long a sweep reads.
const SWEEP: Span = Span::from_millis(3);

/// A run that is under way.
pub struct Script {
    setting: Setting,
    now: Timestamp,
    world: World,
    engine: Engine,
    up: bool,
    life: u32,
    log: Vec<(Timestamp, Arc<Frame>)>,
    model: Model,
    queue: BTreeMap<(Timestamp, u64), Item>,
    queued: u64,
    steps: u64,
    waiting: Vec<Happening>,
    known: BTreeMap<TransactionId, Known>,
    vault: BTreeSet<EvidenceId>,
    excused: BTreeSet<TransactionId>,
    sweeps: bool,
    history: Vec<Moment>,
    misfits: Vec<String>,
    /// Of each fault of the setting, whether a request has met it.
    met: Vec<bool>,
    violation: Option<Violation>,
    /// What health signals say; those that are not here are healthy.
    signals: BTreeMap<Box<str>, Option<bool>>,
}

enum Item {
    Happens(Happening),
    Start,
    Sweep,
    Swept {
        life: u32,
        reading: Reading,
    },
    Arrive {
        life: u32,
        effect: Effect,
        mishap: Option<Mishap>,
    },
    Reply {
        life: u32,
        input: Input,
    },
}

impl Script {
    /// A run at its start: the policy is pinned, and nothing has happened.
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        let mut script = Self {
            now: setting.start,
            world: World::new(setting.world),
            engine: Engine::new(),
            up: false,
            life: 0,
            log: Vec::new(),
            model: Model::default(),
            queue: BTreeMap::new(),
            queued: 0,
            steps: 0,
            waiting: Vec::new(),
            known: BTreeMap::new(),
            vault: BTreeSet::new(),
            excused: BTreeSet::new(),
            sweeps: true,
            history: Vec::new(),
            misfits: Vec::new(),
            violation: None,
            signals: BTreeMap::new(),
            met: vec![false; setting.faults.len()],
            setting,
        };
        script.later(script.now, Item::Start);
        let interval = script.setting.policy.limits.sweep_interval;
        script.later(script.now + interval, Item::Sweep);
        script
    }

    /// Has something happen at a time since the start.
    pub fn plan(&mut self, at: Span, happening: Happening) {
        self.later(self.setting.start + at, Item::Happens(happening));
    }

    /// Lets time pass until `at` since the start, that moment included. A panic of the engine is a violation.
    pub fn run_until(&mut self, at: Span) {
        let end = self.setting.start + at;
        self.guarded(|script| script.advance(end));
    }

    /// Ends the run: faults stop, everything is mended and released, and what must hold in the end is checked.
    pub fn finish(&mut self) {
        self.guarded(Self::wind_up);
    }

    /// The invariant that did not hold.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What operators asked of targets where there is no transaction.
    #[must_use]
    pub fn misfits(&self) -> &[String] {
        &self.misfits
    }

    /// The places, among those of the setting, of the faults that no request has met so far.
    pub fn unmet_faults(&self) -> impl Iterator<Item = usize> {
        self.met.iter().enumerate().filter(|(_, met)| !**met).map(|(at, _)| at)
    }

    /// Everything that was seen so far, in its order.
    #[must_use]
    pub fn history(&self) -> &[Moment] {
        &self.history
    }

    /// The newest transaction at `target`.
    #[must_use]
    pub fn newest(&self, target: &Target) -> Option<&Known> {
        self.known.values().rev().find(|it| it.target == *target)
    }

    /// The step that a transaction is for.
    #[must_use]
    pub fn step_of(&self, transaction: TransactionId) -> Option<u16> {
        self.known.get(&transaction).map(|it| it.step)
    }

    /// What is in place.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    fn guarded(&mut self, run: impl FnOnce(&mut Self)) {
        // A panic of the engine is a finding like any other.
        let result = catch_unwind(AssertUnwindSafe(|| run(self)));
        if let Err(panic) = result {
            let what = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("something that is not text");
            self.fail(Invariant::NoPanic, what.to_owned());
        }
    }

    fn advance(&mut self, end: Timestamp) {
        while self.violation.is_none() {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = self.engine.state().next_deadline().filter(|_| self.up);
            let (at, ticks) = match (queued, due) {
                (Some(queued), Some(due)) if due < queued => (due, true),
                (Some(queued), _) => (queued, false),
                (None, Some(due)) => (due, true),
                (None, None) => break,
            };
            if at > end {
                break;
            }
            self.now = self.now.max(at);
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.fail(Invariant::EverythingEnds, format!("{STEPS_MAX} steps were not enough"));
                return;
            }
            self.world.at(self.now);
            if ticks {
                self.input(Input::Tick);
            } else if let Some((_, item)) = self.queue.pop_first() {
                self.handle(item);
            }
        }
        self.now = self.now.max(end);
        self.world.at(self.now);
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Happens(happening) => self.happen(happening),
            Item::Start => self.start(),
            Item::Sweep => {
                if !self.sweeps {
                    return;
                }
                let interval = self.setting.policy.limits.sweep_interval;
                self.later(self.now + interval, Item::Sweep);
                let policy = Arc::clone(&self.setting.policy);
                for kind in policy.drivers.iter().map(|driver| driver.kind) {
                    let owned = self.world.owned().filter(|(_, (of, _))| *of == kind);
                    let reading = Reading {
                        kind,
                        begun: self.now,
                        found: Ok((
                            owned.map(|(label, (_, target))| (label, target)).collect(),
                            self.world.enforcing,
                        )),
                        unread: Vec::new(),
                    };
                    let life = self.life;
                    self.later(self.now + SWEEP, Item::Swept { life, reading });
                }
            }
            Item::Swept { life, reading } => {
                if self.up && self.life == life {
                    let readings = [reading];
                    let findings = compare(self.engine.state(), &readings);
                    if let Err((invariant, what)) = self.model.swept(&findings, &readings[0], self.now) {
                        self.fail(invariant, what);
                    }
                    self.input(Input::Swept(findings));
                }
            }
            Item::Arrive { life, effect, mishap } => self.arrive(life, &effect, mishap),
            Item::Reply { life, input } => {
                if self.up && self.life == life {
                    self.input(input);
                }
            }
        }
    }

    fn later(&mut self, at: Timestamp, item: Item) {
        self.queued += 1;
        self.queue.insert((at, self.queued), item);
    }

    fn fail(&mut self, invariant: Invariant, what: String) {
        let at = self.now.since(self.setting.start);
        self.violation.get_or_insert(Violation { invariant, what, at });
    }
}
