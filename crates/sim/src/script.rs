//! One process in a scripted world: what happens, and what goes wrong with which request, is written down beforehand.
//!
//! Draws nothing. It shares the world, the model and the invariants with the seeded runs; only the course is another one:
//! a clock that jumps from one thing to the next, and a journal that is synced at once.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use staunch_engine::Engine;
use staunch_engine::sweep::{Reading, compare};
use staunch_engine::transaction::after;
use staunch_model::{
    ActionKind, Cause, Command, ContextTable, Effect, Event, EventContext, EvidenceId, Fact, Facts, Failure,
    FailureKind, Found, Frame, IncidentId, Input, InstallationId, Match, Mode, ObservePurpose, Operator, Owner, Policy,
    Record, ReleaseScope, Span, State, Target, Timestamp, TrafficShare, TransactionId,
};

use crate::check::{Invariant, Model, Violation};
use crate::request::{Arrival, Landing, excuse, land, unasked};
use crate::run::end::{disagreement, same};
use crate::world::{CAPACITY, World, WorldKind};

/// Where in the life of a transaction something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The look before the act.
    PreCheck,
    /// The act.
    Execute,
    /// The look after it.
    PostCheck,
    /// The act that moves the end of a containment in force.
    Renew,
    /// The undo.
    Undo,
    /// The look after an undo.
    Probe,
    /// Telling people.
    Notify,
}

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The driver says so, and nothing was done.
    Fails(FailureKind),
    /// It never arrives, and nobody answers.
    RequestLost,
    /// It is carried out, and nobody answers.
    ReplyLost,
    /// The driver gives up without knowing; it was not carried out.
    InDoubt,
    /// The driver gives up without knowing; it was carried out.
    InDoubtLanded,
    /// The driver says that it was carried out, or the opposite of what it sees.
    Lies,
    /// The process ends after the request has left, for so long.
    Crash(Span),
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// With which request.
    pub at: Point,
    /// Where; `None` for every target.
    pub of: Option<Target>,
    /// What.
    pub mishap: Mishap,
    /// How many requests meet it; `None` for all of them.
    pub times: Option<u32>,
}

/// What an operator asks for, of the newest transaction at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Approve it.
    Approve(Target),
    /// Deny it.
    Deny(Target),
    /// Release it.
    Release(Target),
    /// Renew it for so long.
    Renew(Target, Span),
    /// Release everything.
    ReleaseAll,
    /// Start the recovery of its incident.
    Recover(Target),
    /// Stop that recovery.
    StopRecovery(Target),
    /// Set the mode.
    Mode(Mode),
}

/// Something that happens from outside.
#[derive(Clone, Debug)]
pub enum Happening {
    /// An event that matched.
    Event {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
    },
    /// The same, and what was known around it.
    EventInContext {
        /// The event.
        event: Arc<Event>,
        /// What it matched.
        matches: Vec<Match>,
        /// What was known.
        context: Arc<EventContext>,
    },
    /// The table of the context guard.
    ContextTable(Arc<ContextTable>),
    /// What a process is that the events after it name.
    Found(Found),
    /// An operator asks for something.
    Ask(Ask),
    /// Somebody else puts something at a target, or with `None` removes what is there.
    Tamper(Target, Option<Box<str>>),
    /// Somebody else removes everything.
    Flush,
    /// The rules that act on what is in place are there, or not.
    Enforcing(bool),
    /// There is room for so many objects.
    Room(u64),
    /// A health signal is healthy or not from now on; with `None` it cannot be read.
    Signal(Box<str>, Option<bool>),
    /// The process ends without a word, and starts again after so long.
    Crash(Span),
}

/// What a run starts with.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The kind of enforcement point.
    pub world: WorldKind,
    /// When it starts.
    pub start: Timestamp,
    /// The share of the traffic of each target, in basis points; `None` when it is unknown.
    pub shares: BTreeMap<Target, Option<u64>>,
    /// The share of all other targets.
    pub share_of_others: Option<u64>,
    /// What goes wrong. Of several that fit a request, the first happens.
    pub faults: Vec<Fault>,
}

/// Something that was seen during a run.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When, since the start.
    pub at: Span,
    /// What.
    pub what: Seen,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A frame became durable.
    Frame(Arc<Frame>),
    /// A request left, and what is to go wrong with it.
    Sent(Effect, Option<Mishap>),
    /// The process ended.
    Ended,
    /// The process started again.
    Started,
    /// Somebody else touched the world.
    Touched(String),
}

/// A transaction as it was last seen.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its id.
    pub id: TransactionId,
    /// Its incident.
    pub incident: IncidentId,
    /// The step of the playbook.
    pub step: u16,
    /// What it is aimed at.
    pub target: Target,
    /// Its state.
    pub state: State,
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

/// The most that may happen in one run; more is a run that does not end.
const STEPS_MAX: u64 = 2_000_000;

/// Flows in all, so that a share in basis points is a number of flows.
const FLOWS: u64 = 10_000;

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
    violation: Option<Violation>,
    /// What health signals say; those that are not here are healthy.
    signals: BTreeMap<Box<str>, Option<bool>>,
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

    // ---- the course of a run ----

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
                    };
                    let life = self.life;
                    self.later(self.now + SWEEP, Item::Swept { life, reading });
                }
            }
            Item::Swept { life, reading } => {
                if self.up && self.life == life {
                    let findings = compare(self.engine.state(), &[reading]);
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

    /// The kinds of action that may be in force at `target`.
    fn kinds_at(&self, target: &Target) -> Vec<ActionKind> {
        let drivers = self.setting.policy.drivers.iter().map(|driver| driver.kind);
        drivers.filter(|kind| kind.aims_at() == target.aim()).collect()
    }

    /// Whose what is in place at `target` is; ours before that of others.
    #[must_use]
    pub fn owner(&self, target: &Target) -> Option<&Owner> {
        let owners = self.kinds_at(target).into_iter();
        let owners = owners.filter_map(|kind| self.world.get(&(kind, target.clone())).map(|it| &it.owner));
        owners.min_by_key(|owner| !matches!(owner, Owner::Ours(_)))
    }

    fn happen(&mut self, happening: Happening) {
        // Senders and operators try again when nobody answers.
        if !self.up
            && matches!(
                happening,
                Happening::Event { .. }
                    | Happening::EventInContext { .. }
                    | Happening::ContextTable(_)
                    | Happening::Found(_)
                    | Happening::Ask(_)
            )
        {
            self.waiting.push(happening);
            return;
        }
        match happening {
            Happening::Event { event, matches } => self.input(Input::Event { event, matches }),
            Happening::EventInContext {
                event,
                matches,
                context,
            } => self.input(Input::of_event(event, matches, Some(context))),
            Happening::ContextTable(table) => self.input(Input::ContextTable(table)),
            Happening::Found(found) => self.input(Input::Found(found)),
            Happening::Ask(ask) => self.ask(&ask),
            Happening::Tamper(target, label) => {
                let what = match &label {
                    Some(_) => format!("puts something of theirs at {target}"),
                    None => format!("removes what is at {target}"),
                };
                let owner = label.map(Owner::Foreign);
                for kind in self.kinds_at(&target) {
                    self.world.tamper((kind, target.clone()), owner.clone(), self.now);
                }
                self.see(Seen::Touched(what));
            }
            Happening::Flush => {
                self.world.flush(self.now);
                self.see(Seen::Touched("removes everything".to_owned()));
            }
            Happening::Enforcing(enforcing) => {
                self.world.enforcing = enforcing;
                let what = if enforcing {
                    "restores the rules"
                } else {
                    "removes the rules"
                };
                self.see(Seen::Touched(what.to_owned()));
            }
            Happening::Room(room) => {
                self.world.capacity_max = room;
                self.see(Seen::Touched(format!("leaves room for {room} objects")));
            }
            Happening::Signal(signal, healthy) => {
                let says = match healthy {
                    Some(true) => "is healthy",
                    Some(false) => "is not healthy",
                    None => "cannot be read",
                };
                self.see(Seen::Touched(format!("sees to it that {signal} {says}")));
                self.signals.insert(signal, healthy);
            }
            Happening::Crash(outage) => self.crash(outage),
        }
    }

    fn ask(&mut self, ask: &Ask) {
        let Some(command) = self.command(ask) else {
            return;
        };
        let by = Operator {
            name: "an operator".into(),
            from: "the test".into(),
            reason: "".into(),
        };
        self.input(Input::Operator { by, command });
    }

    /// What `ask` means now; `None` where it means nothing, which is a misfit.
    fn command(&mut self, ask: &Ask) -> Option<Command> {
        let target = match ask {
            Ask::ReleaseAll => return Some(Command::Release(ReleaseScope::All)),
            Ask::Mode(mode) => return Some(Command::SetMode(*mode)),
            Ask::Approve(target)
            | Ask::Deny(target)
            | Ask::Release(target)
            | Ask::Renew(target, _)
            | Ask::Recover(target)
            | Ask::StopRecovery(target) => target,
        };
        let Some((id, incident)) = self.newest(target).map(|it| (it.id, it.incident)) else {
            self.misfits.push(format!(
                "an operator asks for something at {target}, and no transaction has been there"
            ));
            return None;
        };
        Some(match ask {
            Ask::Approve(_) => Command::Approve(id),
            Ask::Deny(_) => Command::Deny(id),
            Ask::Renew(_, lease) => Command::Renew {
                transaction: id,
                lease: *lease,
                shorten: false,
            },
            Ask::Recover(_) => Command::Recover(incident),
            Ask::StopRecovery(_) => Command::StopRecovery(incident),
            Ask::Release(_) | Ask::ReleaseAll | Ask::Mode(_) => Command::Release(ReleaseScope::Transaction(id)),
        })
    }

    // ---- the process ----

    fn start(&mut self) {
        if self.up {
            return;
        }
        let mut engine = Engine::new();
        for (now, frame) in &self.log {
            if let Err(error) = engine.replay(frame, *now) {
                self.fail(Invariant::ReplayEqualsLive, format!("a frame does not fit: {error}"));
                return;
            }
        }
        if !same(&mut engine, &self.engine) {
            let what = "the recovered state is not the one that was live".to_owned();
            self.fail(Invariant::ReplayEqualsLive, what);
            return;
        }
        self.engine = engine;
        self.up = true;
        if self.log.is_empty() {
            let policy = self.setting.policy.clone();
            self.input(Input::Policy(policy));
        } else {
            self.see(Seen::Started);
        }
        self.input(Input::Started {
            installation: InstallationId([7; 8]),
            build: "simulated".into(),
        });
        for happening in std::mem::take(&mut self.waiting) {
            self.happen(happening);
        }
    }

    fn crash(&mut self, outage: Span) {
        if self.up {
            self.up = false;
            self.life += 1;
            self.see(Seen::Ended);
            self.later(self.now + outage, Item::Start);
        }
    }

    /// One turn. Its frame is durable at once, and then its effects leave.
    fn input(&mut self, input: Input) {
        let step = self.engine.step(&input, self.now);
        if matches!(input, Input::Tick) && step.records.is_empty() {
            return;
        }
        let frame = Arc::new(Frame {
            input,
            records: step.records,
        });
        self.log.push((step.now, frame.clone()));
        if let Err((invariant, what)) = self.model.frame(&frame, step.now) {
            self.fail(invariant, what);
        }
        self.learn(&frame);
        self.see(Seen::Frame(frame));
        for effect in step.effects {
            self.send(effect);
        }
    }

    /// Keeps what became of the transactions of `frame`, by its records: the engine forgets what has ended at once.
    fn learn(&mut self, frame: &Frame) {
        for record in &frame.records {
            match record {
                Record::TransactionPlanned {
                    transaction,
                    incident,
                    step,
                    target,
                    ..
                } => {
                    let known = Known {
                        id: *transaction,
                        incident: *incident,
                        step: *step,
                        target: target.clone(),
                        state: State::Planned,
                    };
                    self.known.insert(*transaction, known);
                }
                Record::OrphanAdopted {
                    transaction, target, ..
                } => {
                    let known = Known {
                        id: *transaction,
                        incident: IncidentId(0),
                        step: 0,
                        target: target.clone(),
                        state: State::Releasing(Box::new(Cause::Orphan)),
                    };
                    self.known.insert(*transaction, known);
                }
                Record::Transaction { transaction, change } => {
                    let known = self.known.get_mut(transaction);
                    let next = known.as_ref().map(|it| after(&it.state, change));
                    match (known, next) {
                        (Some(known), Some(Ok(next))) => known.state = next,
                        (_, Some(Err(error))) => self.fail(Invariant::NoPanic, error.to_string()),
                        (_, _) => {}
                    }
                }
                _ => {}
            }
        }
    }

    // ---- effects ----

    fn send(&mut self, effect: Effect) {
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
            Effect::Collect { .. } | Effect::ReadHealth { .. } => return None,
        };
        let fits = |it: &&mut Fault| it.at == at && (it.of.is_none() || it.of == target) && it.times != Some(0);
        let fault = self.setting.faults.iter_mut().find(fits)?;
        if let Some(left) = &mut fault.times {
            *left -= 1;
        }
        Some(fault.mishap)
    }

    /// A driver answers without the world having been asked.
    fn answer(&mut self, effect: &Effect, result: Result<(), Failure>, in_doubt: bool) {
        if let Some(input) = unasked(effect, result, in_doubt) {
            self.reply(input);
        }
    }

    fn reply(&mut self, input: Input) {
        let life = self.life;
        self.later(self.now + REPLY, Item::Reply { life, input });
    }

    /// A request has reached the world. It does so even when the process that sent it has ended.
    fn arrive(&mut self, life: u32, effect: &Effect, mishap: Option<Mishap>) {
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
            self.reply(input);
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

    // ---- what must hold in the end ----

    fn wind_up(&mut self) {
        self.setting.faults.clear();
        self.signals.clear();
        self.world.enforcing = true;
        self.world.capacity_max = CAPACITY;
        self.advance(self.now + Span::from_mins(12));
        let state = self.engine.state();
        let found = disagreement(state, &self.world)
            .or_else(|| self.model.overdue(self.now).err())
            .or_else(|| self.model.all_or_nothing().err())
            .or_else(|| {
                let stored = |id| self.vault.contains(id);
                let mut evidence = state.evidence.values();
                let lost = evidence.find(|it| it.sealed.is_some() && !stored(&it.id))?;
                let what = format!("{} counts as sealed and is not stored", lost.id);
                Some((Invariant::EvidenceFirst, what))
            });
        if let Some((invariant, what)) = found {
            self.fail(invariant, what);
        }
        for _ in 0..6 {
            self.happen(Happening::Ask(Ask::ReleaseAll));
            self.advance(self.now + Span::from_mins(2));
        }
        self.sweeps = false;
        let playbooks = &self.setting.policy.playbooks;
        let absorbs = playbooks.iter().map(|it| it.deduplicate).max().unwrap_or(Span::ZERO);
        self.advance(self.now + absorbs + Span::from_hours(3));
        self.check_ended();
        self.check_replay();
    }

    fn check_ended(&mut self) {
        let state = self.engine.state();
        let left = if !self.up {
            Some("the process never came back".to_owned())
        } else if let Some(it) = state.transactions.values().next() {
            Some(format!("{} is {} for ever", it.id, it.state.kind()))
        } else if let Some(it) = state.incidents.values().next() {
            Some(format!("{} is kept for ever", it.id))
        } else {
            state.notices.keys().next().map(|it| format!("{it} is tried for ever"))
        };
        let object = self.world.owned().next();
        if let Some(what) = left {
            self.fail(Invariant::EverythingEnds, what);
        } else if let Some((label, (_, target))) = object {
            let what = format!("an object of {label} is left at {target}");
            self.fail(Invariant::EndIsClean, what);
        }
    }

    /// Applying the journal gives the state that is live, and deciding it again gives the journal.
    fn check_replay(&mut self) {
        let (mut replayed, mut decided) = (Engine::new(), Engine::new());
        for (at, (now, frame)) in self.log.iter().enumerate() {
            let found = if let Err(error) = replayed.replay(frame, *now) {
                Some(format!("a frame does not fit: {error}"))
            } else if decided.step(&frame.input, *now).records != frame.records {
                Some(format!("frame {at} is decided differently"))
            } else {
                None
            };
            if let Some(what) = found {
                self.fail(Invariant::ReplayEqualsLive, what);
                return;
            }
        }
        if !same(&mut replayed, &self.engine) {
            let what = "the journal does not give the state that is live".to_owned();
            self.fail(Invariant::ReplayEqualsLive, what);
        }
    }

    // ---- small things ----

    fn later(&mut self, at: Timestamp, item: Item) {
        self.queued += 1;
        self.queue.insert((at, self.queued), item);
    }

    fn see(&mut self, what: Seen) {
        let at = self.now.since(self.setting.start);
        self.history.push(Moment { at, what });
    }

    fn fail(&mut self, invariant: Invariant, what: String) {
        let at = self.now.since(self.setting.start);
        self.violation.get_or_insert(Violation { invariant, what, at });
    }
}

/// How long an answer takes.
const REPLY: Span = Span::from_micros(10);

/// How long a request takes.
const fn transit(world: WorldKind) -> Span {
    match world {
        WorldKind::Kernel | WorldKind::Machine(_) => Span::from_micros(20),
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
    }
}
