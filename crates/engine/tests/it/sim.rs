//! The harness: a virtual clock, messages under way, faults, an operator, crashes; every step is checked.

use std::collections::{BTreeMap, VecDeque};

use staunch_engine::sweep::{Reading, compare};
use staunch_engine::transaction::{after, name};
use staunch_engine::{Engine, EngineState};
use staunch_model::{
    ActionKind, Cause, Change, Command, Effect, EffectKey, Facts, Failure, FailureKind, Frame, HealthReading, Incident,
    IncidentId, Input, InstallationId, Judgement, Mode, Notice, NoticeLevel, Operator, Outcome, Owner, Policy, Record,
    RefusalReason, ReleaseScope, Span, State, StateKind, Target, Timestamp, Transaction, TransactionId,
};

use crate::build::{self, START};
use crate::chance::Chance;
use crate::invariants::Invariants;
use crate::world::World;

/// What is done to the effects of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    Observe,
    Execute,
    Undo,
    Notify,
    Collect,
    Health,
}

/// What goes wrong with one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The request never arrives and nobody answers.
    RequestLost,
    /// It is carried out, and nobody answers.
    ReplyLost,
    /// It is carried out at once and answered after this time.
    ReplyLate(Span),
    /// The driver gives up at once, in doubt; the request lands after this time.
    LandsLate(Span),
    /// The driver gives up at once, in doubt; the request never lands.
    InDoubt,
    /// The driver is in doubt although it landed.
    InDoubtLanded,
    /// The driver is sure that it did not happen.
    Fails(FailureKind),
    /// The driver says it landed and does nothing.
    Lies,
    /// It is carried out and answered, and carried out once more after this time.
    LandsTwice(Span),
    /// The reply comes twice.
    RepliesTwice,
    /// It takes this long to get there.
    Slow(Span),
}

enum Message {
    /// A request on its way to the world.
    Request { effect: Effect, fault: Fault, life: u32 },
    /// A reply on its way to the process of this life.
    Reply { input: Box<Input>, life: u32 },
}

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
    pub(crate) vault: std::collections::BTreeSet<staunch_model::EvidenceId>,
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

pub(crate) const OPERATOR: &str = "ann";

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

    // ---- what happens outside ----

    pub(crate) fn start(&mut self) {
        self.input(Input::Started {
            installation: InstallationId([7; 8]),
            build: "test".into(),
        });
    }

    /// An event of `playbook` about `ip`, which is also its key.
    pub(crate) fn event(&mut self, playbook: &str, ip: &str) {
        self.event_about(playbook, ip, &[ip]);
    }

    /// An event with several steps.
    pub(crate) fn event_about(&mut self, playbook: &str, key: &str, targets: &[&str]) {
        let event = build::event(Some(self.now)).into();
        self.input(Input::Event {
            event,
            matches: vec![build::matched(playbook, key, targets)],
        });
    }

    /// An event of this time by the source's clock.
    pub(crate) fn event_at(&mut self, playbook: &str, ip: &str, time: Option<Timestamp>) {
        let matches = vec![build::matched(playbook, ip, &[ip])];
        self.input(Input::Event {
            event: staunch_model::Event {
                received: self.now,
                ..build::event(time)
            }
            .into(),
            matches,
        });
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<Vec<TransactionId>, String> {
        let by = Operator {
            name: OPERATOR.into(),
            from: "192.0.2.9".into(),
            reason: "test".into(),
        };
        let frames = self.frames.len();
        self.input(Input::Operator { by, command });
        let reply = self.frames[frames..]
            .iter()
            .flat_map(|(_, frame)| &frame.records)
            .find_map(|record| match record {
                Record::CommandDone { affected } => Some(Ok(affected.clone())),
                Record::CommandRefused { why } => Some(Err(why.to_string())),
                _ => None,
            });
        reply.expect("every command is answered in its frame")
    }

    pub(crate) fn release(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Release(ReleaseScope::Transaction(TransactionId(id))))
    }

    pub(crate) fn release_incident(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Release(ReleaseScope::Incident(IncidentId(id))))
    }

    pub(crate) fn release_all(&mut self) -> Vec<TransactionId> {
        self.command(Command::Release(ReleaseScope::All)).unwrap()
    }

    pub(crate) fn renew(&mut self, id: u64, lease: Span) -> Result<Vec<TransactionId>, String> {
        self.set_lease(id, lease, false)
    }

    /// Renews, and lets the lease end earlier than it would.
    pub(crate) fn shorten(&mut self, id: u64, lease: Span) -> Result<Vec<TransactionId>, String> {
        self.set_lease(id, lease, true)
    }

    fn set_lease(&mut self, id: u64, lease: Span, shorten: bool) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Renew {
            transaction: TransactionId(id),
            lease,
            shorten,
        })
    }

    pub(crate) fn approve(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Approve(TransactionId(id)))
    }

    pub(crate) fn deny(&mut self, id: u64) -> Result<Vec<TransactionId>, String> {
        self.command(Command::Deny(TransactionId(id)))
    }

    pub(crate) fn set_mode(&mut self, mode: Mode) {
        assert_eq!(self.command(Command::SetMode(mode)), Ok(Vec::new()));
    }

    pub(crate) fn policy(&mut self, policy: Policy) {
        self.input(Input::Policy(policy.into()));
    }

    /// The drift sweep reads the world and reports.
    pub(crate) fn sweep(&mut self) {
        self.world.at(self.now);
        let reading = Reading {
            kind: ActionKind::BlockIp,
            begun: self.now,
            found: Ok((self.world.owned().collect(), self.world.enforcing)),
        };
        let findings = compare(self.state(), &[reading]);
        self.input(Input::Swept(findings));
    }

    pub(crate) fn sweep_fails(&mut self) {
        let found = Err(Failure::new(FailureKind::Unavailable, "netlink is busy"));
        let reading = Reading {
            kind: ActionKind::BlockIp,
            begun: self.now,
            found,
        };
        let findings = compare(self.state(), &[reading]);
        self.input(Input::Swept(findings));
    }

    /// The next effects of this kind meet these faults, in order.
    pub(crate) fn faults(&mut self, verb: Verb, faults: &[Fault]) {
        self.faults.entry(verb).or_default().extend(faults);
    }

    pub(crate) fn no_more_faults(&mut self) {
        self.faults.clear();
        self.trouble = None;
        self.clock_behind = Span::ZERO;
        self.world.enforcing = true;
        self.world.capacity_max = 65_536;
        self.world.hold_cut = Span::ZERO;
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

    // ---- time ----

    pub(crate) fn run(&mut self, span: Span) {
        let end = self.now + span;
        while let Some(at) = self.next_time().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            if self
                .messages
                .first_key_value()
                .is_some_and(|((at, _), _)| *at <= self.now)
            {
                self.deliver();
            } else {
                self.input(Input::Tick);
            }
        }
        self.now = self.now.max(end);
        self.world.at(self.now);
    }

    /// Runs until nothing is under way that a reply or a retry could move: at most `n` messages and ticks.
    pub(crate) fn run_until(&mut self, what: &str, limit: Span, holds: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            let at = self.next_time().filter(|at| *at <= end);
            let at = at.unwrap_or_else(|| panic!("not within {limit}: {what}\n{}", self.story()));
            self.now = self.now.max(at);
            if self
                .messages
                .first_key_value()
                .is_some_and(|((at, _), _)| *at <= self.now)
            {
                self.deliver();
            } else {
                self.input(Input::Tick);
            }
        }
    }

    pub(crate) fn run_until_kind(&mut self, id: u64, kind: StateKind) {
        let limit = Span::from_hours(2);
        self.run_until(&format!("TX-{id} {kind}"), limit, |sim| sim.kind(id) == Some(kind));
    }

    fn next_time(&self) -> Option<Timestamp> {
        let message = self.messages.first_key_value().map(|((at, _), _)| *at);
        let due = self.state().next_deadline().map(|at| at + self.clock_behind);
        message.into_iter().chain(due).min()
    }

    fn deliver(&mut self) {
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

    // ---- one step ----

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

    /// Hands an effect of the frame that was just made durable to the world.
    fn dispatch(&mut self, effect: Effect) {
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

    fn draw_fault(&mut self) -> Fault {
        let in_flight_max = self.in_flight_max.as_micros();
        let Some((chance, percent)) = &mut self.trouble else {
            return Fault::None;
        };
        if !chance.percent(*percent) {
            return Fault::None;
        }
        let kinds = [
            FailureKind::Denied,
            FailureKind::Unavailable,
            FailureKind::Conflict,
            FailureKind::Full,
            FailureKind::Invalid,
            FailureKind::TimedOut,
        ];
        let late = Span::from_micros(chance.below(in_flight_max));
        match chance.below(10) {
            0 => Fault::RequestLost,
            1 => Fault::ReplyLost,
            2 => Fault::ReplyLate(Span::from_millis(chance.below(20_000))),
            3 => Fault::LandsLate(late),
            4 => Fault::InDoubt,
            5 => Fault::InDoubtLanded,
            6 => Fault::Fails(chance.pick(&kinds)),
            7 => Fault::RepliesTwice,
            8 => Fault::LandsTwice(late),
            _ => Fault::Slow(late),
        }
    }

    fn send(&mut self, at: Timestamp, message: Message) {
        self.sent += 1;
        self.messages.insert((at, self.sent), message);
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

    // ---- what a test asks ----

    /// The states of `id` in the order in which it was in them, like `planned > pre-checking > refused`.
    pub(crate) fn path(&self, id: u64) -> String {
        let life = self.lives.get(&TransactionId(id)).map_or(&[][..], Vec::as_slice);
        life.iter()
            .map(|state| state.kind().name())
            .collect::<Vec<_>>()
            .join(" > ")
    }

    /// The state `id` is in, or was in last.
    pub(crate) fn last(&self, id: u64) -> &State {
        self.lives[&TransactionId(id)].last().unwrap()
    }

    pub(crate) fn kind(&self, id: u64) -> Option<StateKind> {
        self.lives
            .get(&TransactionId(id))
            .map(|life| life.last().unwrap().kind())
    }

    pub(crate) fn transactions(&self) -> u64 {
        self.lives.len() as u64
    }

    pub(crate) fn transaction(&self, id: u64) -> &Transaction {
        &self.state().transactions[&TransactionId(id)]
    }

    pub(crate) fn incident(&self, id: u64) -> &Incident {
        &self.state().incidents[&IncidentId(id)]
    }

    /// Why `id` was refused, with the guard's name.
    pub(crate) fn refusal(&self, id: u64) -> String {
        match self.last(id) {
            State::Refused(reason) => match &**reason {
                RefusalReason::Guard { guard, why } => format!("{guard}: {why}"),
                other => format!("{other:?}"),
            },
            other => panic!("TX-{id} is {}\n{}", other.kind(), self.story()),
        }
    }

    /// Why `id` is being lifted or undone, or was.
    pub(crate) fn cause(&self, id: u64) -> Cause {
        match self.last(id) {
            State::Releasing(cause)
            | State::Released(cause)
            | State::RollingBack(cause)
            | State::Settling(cause)
            | State::RolledBack(cause) => (**cause).clone(),
            other => panic!("TX-{id} is {}\n{}", other.kind(), self.story()),
        }
    }

    /// The newest judgement of `id`.
    pub(crate) fn judgement(&self, id: u64) -> Judgement {
        let of = |record: &Record| {
            let Record::Transaction {
                transaction: TransactionId(of),
                change,
            } = record
            else {
                return None;
            };
            match change {
                _ if *of != id => None,
                Change::Refused {
                    judgement: Some(it), ..
                }
                | Change::WouldExecute { judgement: it }
                | Change::ApprovalRequested { judgement: it, .. }
                | Change::ExecuteIntended {
                    judgement: Some(it), ..
                } => Some((**it).clone()),
                _ => None,
            }
        };
        self.records()
            .filter_map(of)
            .last()
            .unwrap_or_else(|| panic!("TX-{id} was not judged\n{}", self.story()))
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.frames.iter().flat_map(|(_, frame)| &frame.records)
    }

    /// How often `id` took a change of this name.
    pub(crate) fn changes(&self, id: u64, change: &str) -> usize {
        self.records()
            .filter(|it| {
                matches!(it, Record::Transaction { transaction, change: it } if transaction.0 == id && name(it) == change)
            })
            .count()
    }

    /// What people were told at this level.
    pub(crate) fn told(&self, level: NoticeLevel) -> Vec<&str> {
        self.told
            .iter()
            .filter(|it| it.level == level)
            .map(|it| &*it.text)
            .collect()
    }

    /// True when an element of `id` is in place.
    pub(crate) fn is_in_place(&self, id: u64) -> bool {
        self.world.holds(TransactionId(id))
    }

    pub(crate) fn is_blocked(&self, ip: &str) -> bool {
        self.world.elements.contains_key(&build::target(ip))
    }

    pub(crate) fn foreign(&mut self, ip: &str) {
        self.world
            .tamper(build::target(ip), Some(Owner::Foreign("fail2ban".into())));
    }

    pub(crate) fn vanish(&mut self, ip: &str) {
        self.world.tamper(build::target(ip), None);
    }

    #[track_caller]
    pub(crate) fn expect_path(&self, id: u64, path: &str) {
        assert_eq!(self.path(id), path, "TX-{id}\n{}", self.story());
    }

    /// Faults stop, time goes on, and a person releases what is stuck: everything must come to a clean end.
    pub(crate) fn ends_clean(&mut self) {
        self.no_more_faults();
        self.run(Span::from_hours(2));
        if !self.state().transactions.is_empty() {
            self.release_all();
        }
        self.run(Span::from_hours(72));
        let state = self.engine.state();
        assert!(
            state.transactions.is_empty(),
            "transactions are left: {:?}\n{}",
            state.transactions,
            self.story()
        );
        assert!(
            state.incidents.is_empty(),
            "incidents are left: {:?}\n{}",
            state.incidents,
            self.story()
        );
        assert!(
            state.notices.is_empty(),
            "notices are left: {:?}\n{}",
            state.notices,
            self.story()
        );
        assert!(state.index.deadlines.is_empty() && state.index.queue.is_empty());
        assert!(state.index.by_target.is_empty() && state.index.next_by_target.is_empty());
        assert!(state.index.by_key.is_empty());
        assert_eq!(
            self.world.owned().count(),
            0,
            "something of ours is left\n{}",
            self.story()
        );
        for (id, life) in &self.lives {
            assert!(
                life.last().unwrap().kind().is_terminal(),
                "{id} has not ended\n{}",
                self.story()
            );
        }
    }

    /// Everything that happened, for the message of a failed test.
    pub(crate) fn story(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for (now, frame) in self.frames.iter().rev().take(60).rev() {
            let input = format!("{:?}", frame.input);
            let _ = writeln!(text, "{now} {}", staunch_model::text::clip(&input, 240));
            for record in &frame.records {
                let record = format!("{record:?}");
                let _ = writeln!(text, "    {}", staunch_model::text::clip(&record, 240));
            }
        }
        text
    }
}
