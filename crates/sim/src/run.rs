//! One run: processes, disk, network, drivers and people on a queue of things to come.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use staunch_engine::mutant::{Mutant, is};
use staunch_engine::sweep::{Reading, compare};
use staunch_engine::{Engine, EngineState};
use staunch_model::{
    ActionKind, Command, ContentHash, Effect, Endpoint, Event, EvidenceId, Fact, Facts, Failure, FailureKind, Frame,
    IncidentId, Input, InstallationId, Match, MatchedStep, Operator, Outcome, Owner, Presence, ReleaseScope, Sealed,
    Severity, Span, StateKind, Timestamp, TrafficShare, TransactionId,
};

use crate::chance::Chance;
use crate::check::{Invariant, Model, Violation};
use crate::clock::Clock;
use crate::fault::{Counts, Fault};
use crate::scenario::{FOREIGN, Happening, Order, Scenario, Tamper, When, key, place};
use crate::trace::Trace;
use crate::world::{CAPACITY, World, WorldKind};

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The first invariant that did not hold.
    pub violation: Option<Violation>,
    /// Faults that there were.
    pub faults: Counts,
    /// Transactions that were planned.
    pub transactions: u64,
    /// Frames that became durable.
    pub frames: u64,
    /// Things that happened: inputs, arrivals, syncs.
    pub steps: u64,
    /// The hash of the last state, for comparing runs.
    pub state: ContentHash,
    /// The run in lines, if they were asked for.
    pub trace: String,
}

/// Plays `scenario`.
#[must_use]
pub fn run(scenario: &Scenario) -> Report {
    play(scenario, false)
}

/// Plays `scenario` and writes down what happens.
#[must_use]
pub fn run_traced(scenario: &Scenario) -> Report {
    play(scenario, true)
}

fn play(scenario: &Scenario, traced: bool) -> Report {
    let mut sim = Sim::new(scenario, traced);
    // A panic of the engine is a finding like any other; the simulator's own would be a mistake here.
    let result = catch_unwind(AssertUnwindSafe(|| sim.play()));
    if let Err(panic) = result {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("something that is not text");
        sim.fail(Invariant::NoPanic, what.to_owned());
    }
    let state = sim
        .leader()
        .map(|at| sim.replicas[at].engine.state().hash())
        .unwrap_or_default();
    if let Some(violation) = &sim.violation {
        let what = format!("VIOLATED {violation}");
        sim.trace.line(sim.now.since(START), || what);
    }
    Report {
        violation: sim.violation,
        faults: sim.counts,
        transactions: sim.model.planned,
        frames: sim.log.durable as u64,
        steps: sim.steps,
        state,
        trace: sim.trace.into_text(),
    }
}

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const INSTALLATION: InstallationId = InstallationId([7; 8]);

/// How long a leader may be silent before another process takes over.
const LEAD: Span = Span::from_secs(10);

/// The most that may happen in one run; more is a run that does not end.
const STEPS_MAX: u64 = 400_000;

struct Entry {
    now: Timestamp,
    epoch: u32,
    frame: Arc<Frame>,
}

#[derive(Default)]
struct Log {
    frames: Vec<Entry>,
    /// How many of them are durable.
    durable: usize,
    epoch: u32,
    snapshot: Option<(usize, Vec<u8>)>,
}

/// A frame that is decided, and what waits for it to be durable.
struct Held {
    now: Timestamp,
    frame: Arc<Frame>,
    effects: Vec<Effect>,
    acknowledges: bool,
    /// Its place in the journal, once it is there.
    at: usize,
}

struct Replica {
    engine: Engine,
    up: bool,
    epoch: u32,
    life: u32,
    clock: Clock,
    group: Vec<Held>,
    syncing: Vec<Held>,
    paused_until: Timestamp,
    paused_since: Timestamp,
    /// It ends once more after so many frames.
    ends_after: Option<u8>,
}

enum Item {
    Happens(usize),
    Start {
        replica: usize,
        again_after: u8,
    },
    TakeOver(usize),
    Synced {
        replica: usize,
        life: u32,
    },
    Send(Request),
    Arrive {
        request: Request,
        answers: bool,
    },
    Reply {
        replica: usize,
        life: u32,
        input: Input,
    },
    Swept {
        replica: usize,
        life: u32,
        reading: Reading,
    },
    Enforce,
    Room,
    Adversary(TransactionId, u8),
}

/// An effect on its way.
#[derive(Clone)]
struct Request {
    replica: usize,
    life: u32,
    effect: Effect,
    fault: Option<Fault>,
    /// Its frame and the place of that in the journal; `None` for a read.
    intent: Option<(usize, Arc<Frame>)>,
    draw: u64,
    /// It was sent by a process that had been replaced.
    zombie: bool,
}

struct Sim<'a> {
    scenario: &'a Scenario,
    now: Timestamp,
    world: World,
    vault: BTreeSet<EvidenceId>,
    log: Log,
    replicas: Vec<Replica>,
    queue: BTreeMap<(Timestamp, u64), Item>,
    queued: u64,
    sent: u64,
    steps: u64,
    model: Model,
    counts: Counts,
    trace: Trace,
    /// Faults have stopped.
    quiet: bool,
    violation: Option<Violation>,
    slow_until: Timestamp,
    full_until: Timestamp,
    fail_sync: bool,
    acknowledged: Vec<Arc<Frame>>,
    /// Transactions about which a driver lied, or which a replaced process acted for.
    excused: BTreeSet<TransactionId>,
    /// Which of the scenario's cuts is next.
    next_cut: usize,
    /// What the last process knew when it ended, and after how many frames, if nothing of it was lost.
    last_known: Option<(usize, Engine)>,
}

impl<'a> Sim<'a> {
    fn new(scenario: &'a Scenario, traced: bool) -> Self {
        let replica = |at: u8| Replica {
            engine: Engine::new(),
            up: false,
            epoch: 0,
            life: 0,
            // Clocks of machines differ by less than the margins of the engine.
            clock: Clock::new(i64::from(at) * 40_000, Timestamp::EPOCH, START),
            group: Vec::new(),
            syncing: Vec::new(),
            paused_until: Timestamp::EPOCH,
            paused_since: Timestamp::EPOCH,
            ends_after: None,
        };
        Self {
            scenario,
            now: START,
            world: World::new(scenario.world),
            vault: BTreeSet::new(),
            log: Log::default(),
            replicas: (0..scenario.replicas.max(1)).map(replica).collect(),
            queue: BTreeMap::new(),
            queued: 0,
            sent: 0,
            steps: 0,
            model: Model::default(),
            counts: Counts::default(),
            trace: Trace::new(traced),
            quiet: false,
            violation: None,
            slow_until: Timestamp::EPOCH,
            full_until: Timestamp::EPOCH,
            fail_sync: false,
            acknowledged: Vec::new(),
            excused: BTreeSet::new(),
            next_cut: 0,
            last_known: None,
        }
    }

    // ---- the course of a run ----

    fn play(&mut self) {
        self.start(0, 0);
        let mut last = START;
        for (at, (span, _)) in self.scenario.happenings.iter().enumerate() {
            last = last.max(START + *span);
            self.later(START + *span, Item::Happens(at));
        }
        self.run_until(last + Span::from_secs(45));
        self.calm_down();
        self.run_for(Span::from_mins(12));
        self.settle_drift();
        self.check_in_force();
        self.release_all();
        self.settle_drift();
        // What was stuck has been released once more, now that nothing goes wrong.
        self.release_all();
        self.run_for(Span::from_hours(3));
        self.check_ended();
        self.check_replay();
    }

    /// Faults stop and everything is mended.
    fn calm_down(&mut self) {
        self.say(|| "-- faults stop --".to_owned());
        self.quiet = true;
        self.world.enforcing = true;
        self.world.capacity_max = CAPACITY;
        self.full_until = Timestamp::EPOCH;
        self.slow_until = Timestamp::EPOCH;
        self.fail_sync = false;
        for replica in &mut self.replicas {
            replica.ends_after = None;
        }
    }

    /// Two sweeps, each with time for what follows from it.
    fn settle_drift(&mut self) {
        for _ in 0..2 {
            self.sweep();
            self.run_for(Span::from_mins(2));
        }
    }

    fn release_all(&mut self) {
        for _ in 0..3 {
            self.command(Command::Release(ReleaseScope::All));
            self.run_for(Span::from_mins(2));
        }
    }

    fn run_for(&mut self, span: Span) {
        self.run_until(self.now + span);
    }

    fn run_until(&mut self, end: Timestamp) {
        while self.violation.is_none() {
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = self.next_tick();
            let (at, replica) = match (queued, due) {
                (Some(queued), Some((due, replica))) if due < queued => (due, Some(replica)),
                (Some(queued), _) => (queued, None),
                (None, Some((due, replica))) => (due, Some(replica)),
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
            match replica {
                Some(replica) => self.input(replica, Input::Tick, false),
                None => {
                    if let Some((_, item)) = self.queue.pop_first() {
                        self.handle(item);
                    }
                }
            }
        }
        self.now = self.now.max(end);
        self.world.at(self.now);
    }

    /// When the engine of a process looks at something by itself, and which one's does so first.
    fn next_tick(&self) -> Option<(Timestamp, usize)> {
        let tick = |(at, it): (usize, &Replica)| {
            if !it.up {
                return None;
            }
            let due = it.engine.state().next_deadline()?;
            Some((it.clock.when(due, self.now).max(it.paused_until), at))
        };
        self.replicas.iter().enumerate().filter_map(tick).min()
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Happens(at) => {
                let happening = &self.scenario.happenings[at].1;
                self.happen(happening);
            }
            Item::Start { replica, again_after } => self.start(replica, again_after),
            Item::TakeOver(replica) => {
                if !self.replicas[replica].up {
                    self.start(replica, 0);
                }
            }
            Item::Synced { replica, life } => {
                if self.replicas[replica].life == life {
                    if self.waits(replica) {
                        let until = self.replicas[replica].paused_until;
                        self.later(until, Item::Synced { replica, life });
                    } else {
                        self.synced(replica);
                    }
                }
            }
            Item::Send(request) => self.send(request),
            Item::Arrive { request, answers } => self.arrive(&request, answers),
            Item::Reply { replica, life, input } => {
                if self.replicas[replica].life != life {
                    return;
                }
                if self.waits(replica) {
                    let until = self.replicas[replica].paused_until;
                    self.later(until, Item::Reply { replica, life, input });
                } else {
                    self.input(replica, input, false);
                }
            }
            Item::Swept { replica, life, reading } => {
                if self.replicas[replica].life == life && !self.waits(replica) {
                    let findings = compare(self.replicas[replica].engine.state(), &[reading]);
                    self.input(replica, Input::Swept(findings), false);
                }
            }
            Item::Enforce => self.world.enforcing = true,
            Item::Room => self.world.capacity_max = CAPACITY,
            Item::Adversary(label, place) => self.adversary(label, place),
        }
    }

    fn waits(&self, replica: usize) -> bool {
        self.replicas[replica].paused_until > self.now
    }

    // ---- what happens outside ----

    fn happen(&mut self, happening: &Happening) {
        if self.quiet {
            return;
        }
        self.say(|| format!("{happening:?}"));
        match happening {
            Happening::Event {
                playbook,
                key: number,
                targets,
                age,
                copies,
            } => {
                if *copies > 1 {
                    self.counts.add(Fault::Storm);
                }
                for copy in 0..*copies {
                    // Some of a storm are nearly the same.
                    let number = if copy % 4 == 3 { number.wrapping_add(1) } else { *number };
                    self.event(*playbook, number, targets, *age);
                }
            }
            Happening::Command(order) => {
                let command = self.command_of(*order);
                self.command(command);
            }
            Happening::Crash { outage, again_after } => {
                if let Some(leader) = self.leader() {
                    self.counts.add(Fault::Crash);
                    self.crash(leader, *outage, *again_after);
                }
            }
            Happening::Pause(span) => {
                if let Some(leader) = self.leader() {
                    self.counts.add(Fault::Paused);
                    self.replicas[leader].paused_since = self.now;
                    self.replicas[leader].paused_until = self.now + *span;
                    self.call_others(leader);
                }
            }
            Happening::Sweep => self.sweep(),
            Happening::Tamper(tamper) => {
                self.counts.add(Fault::Tampered);
                match tamper {
                    Tamper::Remove(number) => self.world.tamper(place(*number), None, self.now),
                    Tamper::Replace(number) => {
                        let theirs = Some(Owner::Foreign(FOREIGN.into()));
                        self.world.tamper(place(*number), theirs, self.now);
                    }
                    Tamper::Flush => self.world.flush(self.now),
                }
            }
            Happening::SetClock(us) => {
                if let Some(leader) = self.leader() {
                    self.counts
                        .add(if *us > 0 { Fault::ClockForward } else { Fault::ClockBack });
                    // Between processes, clocks differ by less than the margins; that is what a lease needs.
                    let us = if self.replicas.len() > 1 { *us % 150_000 } else { *us };
                    let clock = &mut self.replicas[leader].clock;
                    clock.ahead_us = clock.ahead_us.saturating_add(us);
                }
            }
            Happening::DiskFull(span) => {
                self.counts.add(Fault::DiskFull);
                self.full_until = self.now + *span;
            }
            Happening::FailSync => self.fail_sync = true,
            Happening::SlowSync(span) => {
                self.counts.add(Fault::SyncSlow);
                self.slow_until = self.now + *span;
            }
            Happening::Policy(which) => {
                if let Some(leader) = self.leader() {
                    let policy = &self.scenario.policies[usize::from(*which) % self.scenario.policies.len()];
                    if self.replicas[leader].engine.state().policy.as_ref() != Some(policy) {
                        self.input(leader, Input::Policy(policy.clone()), false);
                    }
                }
            }
            Happening::Unenforced(span) => {
                self.counts.add(Fault::Unenforced);
                self.world.enforcing = false;
                self.later(self.now + *span, Item::Enforce);
            }
            Happening::Crowded(room, span) => {
                self.counts.add(Fault::Crowded);
                self.world.capacity_max = u64::from(*room);
                self.later(self.now + *span, Item::Room);
            }
        }
    }

    fn event(&mut self, playbook: u8, number: u8, targets: &[Option<u8>], age: Span) {
        let Some(leader) = self.leader().filter(|_| self.now >= self.full_until) else {
            return;
        };
        let policy = &self.scenario.policies[0];
        let state = self.replicas[leader].engine.state();
        let policy = state.policy.as_ref().unwrap_or(policy).clone();
        let playbook = &policy.playbooks[usize::from(playbook) % policy.playbooks.len()];
        let received = self.replicas[leader].clock.machine(self.now);
        let event = Event {
            system: "simulated".into(),
            id: None,
            time: Some(received - age),
            received,
            severity: Severity::High,
            signature: "SIM\u{1b}[0m".into(),
            category: "".into(),
            source: Endpoint::default(),
            destination: Endpoint::default(),
            user: None,
            host: None,
            raw: b"{}".as_slice().into(),
        };
        let step = |(at, number): (usize, &Option<u8>)| MatchedStep {
            step: u16::try_from(at).unwrap_or(u16::MAX),
            target: number.map(place),
        };
        let matched = Match {
            playbook: playbook.hash,
            key: key(number).into(),
            preserve: targets
                .iter()
                .enumerate()
                .map(step)
                .take(playbook.preserve.len())
                .collect(),
            steps: targets.iter().enumerate().map(step).collect(),
        };
        let input = Input::Event {
            event: Arc::new(event),
            matches: vec![matched],
        };
        self.input(leader, input, true);
    }

    fn command_of(&self, order: Order) -> Command {
        let state = self.leader().map(|at| self.replicas[at].engine.state());
        let modulo = |last: u64, which: u64| 1 + which % last.max(1);
        let transaction = |which| TransactionId(modulo(state.map_or(0, |it| it.last_transaction), which));
        match order {
            Order::Release(which) => Command::Release(ReleaseScope::Transaction(transaction(which))),
            Order::ReleaseIncident(which) => Command::Release(ReleaseScope::Incident(IncidentId(modulo(
                state.map_or(0, |it| it.last_incident),
                which,
            )))),
            Order::ReleaseAll => Command::Release(ReleaseScope::All),
            Order::Renew(which, lease) => Command::Renew {
                transaction: transaction(which),
                lease,
                shorten: which % 2 == 0,
            },
            Order::Approve(which) => Command::Approve(self.awaiting(which).unwrap_or_else(|| transaction(which))),
            Order::Deny(which) => Command::Deny(self.awaiting(which).unwrap_or_else(|| transaction(which))),
            Order::Mode(mode) => Command::SetMode(mode),
        }
    }

    /// One of the transactions that wait for a person.
    fn awaiting(&self, which: u64) -> Option<TransactionId> {
        let state = self.replicas[self.leader()?].engine.state();
        let waiting = state
            .transactions
            .values()
            .filter(|it| it.state.kind() == StateKind::AwaitingApproval);
        let waiting: Vec<_> = waiting.map(|it| it.id).collect();
        let at = which.checked_rem(waiting.len() as u64)?;
        waiting.get(usize::try_from(at).ok()?).copied()
    }

    fn command(&mut self, command: Command) {
        if let Some(leader) = self.leader() {
            let by = Operator {
                name: "ann".into(),
                from: "192.0.2.9".into(),
                reason: "because\u{7}".into(),
            };
            self.input(leader, Input::Operator { by, command }, false);
        }
    }

    fn sweep(&mut self) {
        if let Some(leader) = self.leader() {
            let begun = self.replicas[leader].clock.read(self.now);
            let reading = Reading {
                kind: ActionKind::BlockIp,
                begun,
                found: Ok((self.world.owned().collect(), self.world.enforcing)),
            };
            let item = Item::Swept {
                replica: leader,
                life: self.replicas[leader].life,
                reading,
            };
            self.later(self.now + Span::from_millis(3), item);
        }
    }

    fn adversary(&mut self, label: TransactionId, _: u8) {
        let place = self
            .world
            .owned()
            .find(|(owner, _)| *owner == label)
            .map(|(_, target)| target);
        if let (Some(target), false) = (place, self.quiet) {
            self.counts.add(Fault::Tampered);
            self.say(|| format!("the adversary removes what {label} put in place"));
            self.world.tamper(target, None, self.now);
        }
    }

    // ---- processes ----

    /// The process that leads, unless it stands still.
    fn leader(&self) -> Option<usize> {
        self.replicas
            .iter()
            .position(|it| it.up && it.epoch == self.log.epoch && it.paused_until <= self.now)
    }

    /// Others take over when a leader has been silent for long enough.
    fn call_others(&mut self, silent: usize) {
        for other in 0..self.replicas.len() {
            if other != silent {
                let at = self.now + LEAD + Span::from_millis(other as u64);
                self.later(at, Item::TakeOver(other));
            }
        }
    }

    fn crash(&mut self, replica: usize, outage: Span, again_after: u8) {
        let it = &mut self.replicas[replica];
        it.up = false;
        it.life += 1;
        it.ends_after = None;
        let engine = std::mem::take(&mut it.engine);
        let undecided = !it.group.is_empty();
        it.group.clear();
        it.syncing.clear();
        let life = it.life;
        let leads = it.epoch == self.log.epoch;
        self.say(|| format!("P{replica} ends"));
        if leads {
            let lost = self.lose_tail(replica, life);
            self.last_known = (!undecided && !lost).then_some((self.log.frames.len(), engine));
        }
        let at = self.now + outage;
        self.later(at, Item::Start { replica, again_after });
        self.call_others(replica);
    }

    /// What was written but not synced is there, or not, or in part. Returns true when some of it is lost.
    fn lose_tail(&mut self, replica: usize, life: u32) -> bool {
        let unsynced = self.log.frames.len() - self.log.durable;
        if unsynced == 0 {
            return false;
        }
        let keys = [1, replica as u64, u64::from(life), self.log.frames.len() as u64];
        let mut chance = Chance::at(self.scenario.seed, &keys);
        let kept = usize::try_from(chance.below(unsynced as u64 + 1)).expect("small");
        // A frame that is torn or has a flipped bit does not verify, so it and what follows is cut.
        self.counts.add(match (kept == unsynced, chance.percent(50)) {
            (true, _) => Fault::TailKept,
            (false, true) => Fault::TailTorn,
            (false, false) => Fault::TailLost,
        });
        self.log.frames.truncate(self.log.durable + kept);
        self.say(|| format!("of {unsynced} frames that were not synced, {kept} are there"));
        self.make_durable();
        kept < unsynced
    }

    fn start(&mut self, replica: usize, again_after: u8) {
        if self.replicas[replica].up {
            return;
        }
        let led = |it: &Replica| {
            let silent = it.paused_until > self.now && self.now.since(it.paused_since) >= LEAD;
            it.up && it.epoch == self.log.epoch && !silent
        };
        if self.replicas.iter().any(led) {
            let at = self.now + LEAD;
            self.later(at, Item::TakeOver(replica));
            return;
        }
        // A writer that has been silent too long has its open batch cut off by the new epoch.
        if self.log.durable < self.log.frames.len() {
            self.lose_tail(replica, u32::MAX);
        }
        self.log.epoch += 1;
        self.say(|| format!("P{replica} starts"));
        for frame in &self.acknowledged {
            if !self.log.frames.iter().any(|it| Arc::ptr_eq(&it.frame, frame)) {
                self.fail(
                    Invariant::AcknowledgedKept,
                    "an acknowledged event is not in the journal".to_owned(),
                );
                return;
            }
        }
        let engine = self.recover(replica);
        if let Some((frames, known)) = self.last_known.take()
            && frames == self.log.frames.len()
            && !same(engine.state(), known.state())
        {
            self.fail(
                Invariant::ReplayEqualsLive,
                "the recovered state is not the one that was live".to_owned(),
            );
            return;
        }
        let it = &mut self.replicas[replica];
        it.clock = Clock::new(it.clock.ahead_us, engine.state().now, self.now);
        it.engine = engine;
        it.up = true;
        it.epoch = self.log.epoch;
        it.paused_until = Timestamp::EPOCH;
        it.ends_after = (again_after > 0 && !self.quiet).then_some(again_after);
        let policy = &self.scenario.policies[0];
        if it.engine.state().policy.is_none() {
            self.input(replica, Input::Policy(policy.clone()), false);
        }
        if self.replicas[replica].up {
            let started = Input::Started {
                installation: INSTALLATION,
                build: "simulated".into(),
            };
            self.input(replica, started, false);
        }
    }

    fn recover(&mut self, replica: usize) -> Engine {
        let (from, mut engine) = match &self.log.snapshot {
            Some((at, bytes)) if *at <= self.log.frames.len() => match Engine::from_snapshot(bytes) {
                Ok(engine) => (*at, engine),
                Err(_) => (0, Engine::new()),
            },
            _ => (0, Engine::new()),
        };
        let again = is(Mutant::RecoveryDecidesAgain);
        for entry in &self.log.frames[if again { 0 } else { from }..] {
            if again {
                let now = self.replicas[replica].clock.read(self.now);
                engine.step(&entry.frame.input, now);
            } else if let Err(error) = engine.replay(&entry.frame, entry.now) {
                let what = format!("a frame does not fit: {error}");
                self.violate(Invariant::ReplayEqualsLive, what);
                break;
            }
        }
        engine
    }

    /// One turn of a process, and what waits for it to be durable.
    fn input(&mut self, replica: usize, input: Input, acknowledges: bool) {
        let it = &mut self.replicas[replica];
        if !it.up {
            return;
        }
        let now = it.clock.read(self.now);
        let step = it.engine.step(&input, now);
        if matches!(input, Input::Tick) && step.records.is_empty() {
            return;
        }
        let frame = Arc::new(Frame {
            input,
            records: step.records,
        });
        let early = is(Mutant::EffectBeforeSync);
        let (at_once, effects): (Vec<Effect>, Vec<Effect>) =
            step.effects.into_iter().partition(|effect| early || effect.is_read());
        it.group.push(Held {
            now: step.now,
            frame: frame.clone(),
            effects,
            acknowledges,
            at: usize::MAX,
        });
        if is(Mutant::ReplyBeforeSync) && acknowledges {
            self.acknowledged.push(frame.clone());
        }
        for effect in at_once {
            let intent = (!effect.is_read()).then(|| (usize::MAX, frame.clone()));
            self.dispatch(replica, effect, intent);
        }
        if self.replicas[replica].syncing.is_empty() {
            self.append(replica);
        }
    }

    /// Writes what is decided, and begins to sync it.
    fn append(&mut self, replica: usize) {
        if self.replicas[replica].group.is_empty() {
            return;
        }
        if self.replicas[replica].epoch != self.log.epoch && !is(Mutant::FencingIgnored) {
            self.say(|| format!("P{replica} has been replaced, and ends"));
            self.crash(replica, Span::from_secs(1), 0);
            return;
        }
        let it = &mut self.replicas[replica];
        let mut group = std::mem::take(&mut it.group);
        let epoch = it.epoch;
        let mut ends = false;
        for held in &mut group {
            held.at = self.log.frames.len();
            let at = self.now.since(START);
            self.trace.frame(at, replica, held.at, &held.frame);
            self.log.frames.push(Entry {
                now: held.now,
                epoch,
                frame: held.frame.clone(),
            });
            if let Some(left) = &mut self.replicas[replica].ends_after {
                *left = left.saturating_sub(1);
                ends |= *left == 0;
            }
        }
        self.replicas[replica].syncing = group;
        if ends {
            self.counts.add(Fault::CrashInRecovery);
            self.crash(replica, Span::from_millis(5), 0);
            return;
        }
        if self.cuts(When::Written, replica) {
            return;
        }
        if self.fail_sync && !self.quiet {
            self.fail_sync = false;
            self.counts.add(Fault::SyncFailed);
            self.crash(replica, Span::from_millis(10), 0);
            return;
        }
        let slow = self.now < self.slow_until;
        let sync = if slow {
            Span::from_millis(700)
        } else {
            self.scenario.sync
        };
        if sync == Span::ZERO || self.quiet {
            self.synced(replica);
        } else {
            let life = self.replicas[replica].life;
            self.later(self.now + sync, Item::Synced { replica, life });
        }
    }

    fn synced(&mut self, replica: usize) {
        if self.replicas[replica].epoch == self.log.epoch || is(Mutant::FencingIgnored) {
            self.make_durable();
        }
        if self.cuts(When::Synced, replica) {
            return;
        }
        let synced = std::mem::take(&mut self.replicas[replica].syncing);
        for held in synced {
            let there = self
                .log
                .frames
                .get(held.at)
                .is_some_and(|entry| Arc::ptr_eq(&entry.frame, &held.frame));
            if !there {
                // Another process has taken over while this one stood still.
                self.crash(replica, Span::from_secs(1), 0);
                return;
            }
            if held.acknowledges && !is(Mutant::ReplyBeforeSync) {
                self.acknowledged.push(held.frame.clone());
            }
            for effect in held.effects {
                self.dispatch(replica, effect, Some((held.at, held.frame.clone())));
            }
        }
        if !self.replicas[replica].up {
            return;
        }
        if self.cuts(When::Sent, replica) {
            return;
        }
        self.maybe_snapshot(replica);
        if self.replicas[replica].syncing.is_empty() {
            self.append(replica);
        }
    }

    /// Ends the process when the scenario says so.
    fn cuts(&mut self, when: When, replica: usize) -> bool {
        let cut = self.scenario.cuts.get(self.next_cut).copied();
        let Some(cut) = cut.filter(|it| it.when == when && self.log.frames.len() >= it.frames) else {
            return false;
        };
        self.next_cut += 1;
        self.counts.add(Fault::Crash);
        self.crash(replica, cut.outage, 0);
        true
    }

    /// Every frame that is written is durable from here on, and is held against the model.
    fn make_durable(&mut self) {
        while self.log.durable < self.log.frames.len() && self.violation.is_none() {
            let entry = &self.log.frames[self.log.durable];
            let before = self
                .log
                .durable
                .checked_sub(1)
                .map_or(0, |at| self.log.frames[at].epoch);
            self.log.durable += 1;
            if entry.epoch < before {
                self.fail(
                    Invariant::OneLeader,
                    "a process that had been replaced wrote to the journal".to_owned(),
                );
                return;
            }
            if let Err((invariant, what)) = self.model.frame(&entry.frame, entry.now) {
                self.fail(invariant, what);
            }
        }
    }

    fn maybe_snapshot(&mut self, replica: usize) {
        let it = &self.replicas[replica];
        let whole = it.group.is_empty() && self.log.durable == self.log.frames.len();
        if whole && self.log.frames.len() % 64 == 40 {
            self.log.snapshot = Some((self.log.frames.len(), it.engine.state().encode()));
        }
    }

    // ---- effects on their way ----

    fn dispatch(&mut self, replica: usize, effect: Effect, intent: Option<(usize, Arc<Frame>)>) {
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
        };
        self.sent += 1;
        let keys = [keys[0], keys[1], keys[2], u64::from(self.log.epoch)];
        let mut chance = Chance::at(self.scenario.seed, &keys);
        let fault = self.draw(&mut chance, &effect);
        let request = Request {
            replica,
            life: self.replicas[replica].life,
            effect,
            fault,
            intent,
            draw: chance.draw(),
            zombie: false,
        };
        if fault == Some(Fault::SentLate) {
            let wait = Span::from_micros(chance.below(9_000_000));
            self.later(self.now + wait, Item::Send(request));
        } else {
            self.send(request);
        }
    }

    fn draw(&mut self, chance: &mut Chance, effect: &Effect) -> Option<Fault> {
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
                        self.world.kind() != WorldKind::Kernel
                            && matches!(effect, Effect::Execute { .. } | Effect::Undo { .. })
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
    fn send(&mut self, mut request: Request) {
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
            WorldKind::Kernel => 10 + chance.below(30),
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
                self.excuse(&request.effect);
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

    fn excuse(&mut self, effect: &Effect) {
        match effect {
            Effect::Observe { transaction, .. } | Effect::Execute { transaction, .. } => {
                self.excused.insert(*transaction);
            }
            Effect::Undo { transaction, label, .. } => {
                self.excused.insert(*transaction);
                self.excused.insert(*label);
            }
            Effect::Notify(_) | Effect::Collect { .. } => {}
        }
    }

    /// A driver answers without the world having been asked.
    fn answer(&mut self, request: &Request, result: Result<(), Failure>, in_doubt: bool) {
        let outcome = |result: Result<(), Failure>| match result {
            Ok(()) => Outcome::Landed,
            Err(failure) if in_doubt => Outcome::InDoubt(failure),
            Err(failure) => Outcome::DidNotHappen(failure),
        };
        let input = match &request.effect {
            Effect::Observe {
                transaction, ticket, ..
            } => match result {
                Ok(()) => return,
                Err(failure) => Input::Observed {
                    transaction: *transaction,
                    ticket: *ticket,
                    result: Err(failure),
                    facts: Facts::default(),
                },
            },
            Effect::Execute {
                transaction, ticket, ..
            } => Input::Executed {
                transaction: *transaction,
                ticket: *ticket,
                outcome: outcome(result),
            },
            Effect::Undo {
                transaction, ticket, ..
            } => Input::Undone {
                transaction: *transaction,
                ticket: *ticket,
                outcome: outcome(result),
            },
            Effect::Notify(notice) => Input::Notified {
                notice: notice.id,
                result,
            },
            Effect::Collect { evidence, .. } => match result {
                Ok(()) => return,
                Err(failure) => Input::Collected {
                    evidence: *evidence,
                    result: Err(failure),
                },
            },
        };
        self.reply(request, input, Span::from_millis(1));
    }

    fn reply(&mut self, request: &Request, input: Input, after: Span) {
        let item = Item::Reply {
            replica: request.replica,
            life: request.life,
            input,
        };
        self.later(self.now + after, item);
    }

    /// A request has reached the world.
    fn arrive(&mut self, request: &Request, answers: bool) {
        let mut chance = Chance::new(request.draw ^ self.steps);
        let lag = Span::from_micros(chance.below(self.world.kind().lag_max().as_micros()));
        let input = match &request.effect {
            Effect::Observe {
                transaction,
                ticket,
                target,
                traffic,
                ..
            } => {
                let mut seen = self.world.observe(*target, self.now);
                if request.fault == Some(Fault::LyingLook) {
                    self.excuse(&request.effect);
                    seen.presence = match seen.presence {
                        Presence::Absent => Presence::Present {
                            owner: Owner::Ours(*transaction),
                            expires_in: None,
                        },
                        Presence::Present { .. } => Presence::Absent,
                    };
                }
                Input::Observed {
                    transaction: *transaction,
                    ticket: *ticket,
                    result: Ok(seen),
                    facts: if *traffic { traffic_share() } else { Facts::default() },
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
                let before = self
                    .world
                    .get(*target)
                    .is_some_and(|it| it.owner == Owner::Ours(*transaction));
                let outcome = self
                    .world
                    .execute(*transaction, *target, *version, *hold, *renewal, self.now, lag);
                self.say(|| format!("{} lands: {outcome:?}", words(&request.effect)));
                if request.zombie {
                    self.excused.insert(*transaction);
                }
                let created = outcome == Outcome::Landed && !before;
                if created && self.model.has_ended(*transaction) && !self.excused.contains(transaction) {
                    let what = format!("an act of {transaction} lands after it has ended");
                    self.fail(Invariant::EndIsClean, what);
                }
                if created && chance.percent(u64::from(self.scenario.adversary_percent)) && !self.quiet {
                    let after = Span::from_micros(chance.below(20_000_000));
                    self.later(self.now + after, Item::Adversary(*transaction, 0));
                }
                Input::Executed {
                    transaction: *transaction,
                    ticket: *ticket,
                    outcome,
                }
            }
            Effect::Undo {
                label,
                transaction,
                ticket,
                target,
                ..
            } => {
                let outcome = self.world.undo(*label, *target, self.now, lag);
                self.say(|| format!("{} lands", words(&request.effect)));
                Input::Undone {
                    transaction: *transaction,
                    ticket: *ticket,
                    outcome,
                }
            }
            Effect::Notify(notice) => Input::Notified {
                notice: notice.id,
                result: Ok(()),
            },
            Effect::Collect { evidence, target, .. } => {
                self.vault.insert(*evidence);
                let sealed = Sealed {
                    hash: ContentHash::of(target.to_string().as_bytes()),
                    bytes: 64,
                };
                Input::Collected {
                    evidence: *evidence,
                    result: Ok(sealed),
                }
            }
        };
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

    // ---- what must hold in the end ----

    /// Faults have stopped and sweeps have run: the state and the world agree.
    fn check_in_force(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let Some(leader) = self.leader() else {
            self.fail(Invariant::EverythingEnds, "nobody leads".to_owned());
            return;
        };
        let now = self.replicas[leader].clock.read(self.now);
        let state = self.replicas[leader].engine.state();
        let found = disagreement(state, &self.world)
            .or_else(|| self.model.overdue(now).err())
            .or_else(|| self.model.all_or_nothing().err())
            .or_else(|| self.unsealed(state));
        if let Some((invariant, what)) = found {
            self.fail(invariant, what);
        }
    }

    /// What counts as sealed is in the vault.
    fn unsealed(&self, state: &EngineState) -> Option<(Invariant, String)> {
        let lost = state
            .evidence
            .values()
            .find(|it| it.sealed.is_some() && !self.vault.contains(&it.id))?;
        Some((
            Invariant::EvidenceFirst,
            format!("{} counts as sealed and is not stored", lost.id),
        ))
    }

    fn check_ended(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let Some(leader) = self.leader() else { return };
        let state = self.replicas[leader].engine.state();
        let left = if let Some(it) = state.transactions.values().next() {
            Some(format!("{} is {} for ever", it.id, it.state.kind()))
        } else if let Some(it) = state.incidents.values().next() {
            Some(format!("{} is kept for ever", it.id))
        } else if let Some(it) = state.notices.keys().next() {
            Some(format!("{it} is tried for ever"))
        } else if let Some(it) = state.evidence.keys().next() {
            Some(format!("{it} is kept for ever"))
        } else {
            let index = &state.index;
            let empty = index.deadlines.is_empty() && index.queue.is_empty() && index.by_target.is_empty();
            (!empty).then(|| "the indexes hold something of nothing".to_owned())
        };
        let object = self.world.owned().next();
        if let Some(what) = left {
            self.fail(Invariant::EverythingEnds, what);
        } else if let Some((label, target)) = object {
            self.fail(
                Invariant::EndIsClean,
                format!("an object of {label} is left at {target}"),
            );
        }
    }

    /// Applying the journal gives the state that is live, and deciding it again gives the journal.
    fn check_replay(&mut self) {
        if self.violation.is_some() {
            return;
        }
        let Some(leader) = self.leader() else { return };
        let mut replayed = Engine::new();
        for entry in &self.log.frames {
            if let Err(error) = replayed.replay(&entry.frame, entry.now) {
                self.violate(Invariant::ReplayEqualsLive, format!("a frame does not fit: {error}"));
                return;
            }
        }
        if !same(replayed.state(), self.replicas[leader].engine.state()) {
            self.fail(
                Invariant::ReplayEqualsLive,
                "the journal does not give the state that is live".to_owned(),
            );
            return;
        }
        // Deciding takes longer than applying, so not every run pays for it.
        if self.scenario.seed % 8 == 0 {
            let mut decided = Engine::new();
            for (at, entry) in self.log.frames.iter().enumerate() {
                if decided.step(&entry.frame.input, entry.now).records != entry.frame.records {
                    self.violate(
                        Invariant::ReplayEqualsLive,
                        format!("frame {at} is decided differently"),
                    );
                    return;
                }
            }
        }
    }

    // ---- small things ----

    fn later(&mut self, at: Timestamp, item: Item) {
        self.queued += 1;
        self.queue.insert((at, self.queued), item);
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        self.trace.line(self.now.since(START), what);
    }

    fn fail(&mut self, invariant: Invariant, what: String) {
        self.violate(invariant, what);
    }

    fn violate(&mut self, invariant: Invariant, what: String) {
        let at = self.now.since(START);
        self.violation.get_or_insert(Violation { invariant, what, at });
    }
}

/// What is known of every target: that it has little of the traffic.
fn traffic_share() -> Facts {
    let share = TrafficShare {
        flows: 1,
        flows_total: 1_000,
        bytes: None,
        bytes_total: None,
    };
    Facts {
        traffic: Some(Fact {
            value: Ok(share),
            source: "simulated".into(),
            age: Span::ZERO,
        }),
    }
}

/// True when two states differ at most in the newest time that they were asked at, which leaves no record.
pub(crate) fn same(one: &EngineState, other: &EngineState) -> bool {
    let mut one = one.clone();
    one.now = other.now;
    one == *other
}

/// Where the state and the world differ.
pub(crate) fn disagreement(state: &EngineState, world: &World) -> Option<(Invariant, String)> {
    for it in state
        .transactions
        .values()
        .filter(|it| it.state.kind() == StateKind::InForce)
    {
        let there = world
            .get(it.target)
            .is_some_and(|element| element.owner == Owner::Ours(it.label));
        if !there {
            let what = format!("{} is in force by the state, and not in the world", it.id);
            return Some((Invariant::InForceIsThere, what));
        }
    }
    for (label, target) in world.owned() {
        let holder = state.index.by_target.get(&(ActionKind::BlockIp, target));
        let lives = holder
            .and_then(|id| state.transactions.get(id))
            .is_some_and(|it| it.label == label);
        if !lives {
            let what = format!("an object of {label} is at {target}, and nothing owns it");
            return Some((Invariant::EndIsClean, what));
        }
    }
    None
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Observe { transaction, .. } => format!("the look of {transaction}"),
        Effect::Execute { transaction, .. } => format!("the act of {transaction}"),
        Effect::Undo { transaction, .. } => format!("the undo of {transaction}"),
        Effect::Notify(notice) => notice.id.to_string(),
        Effect::Collect { evidence, .. } => format!("the collection of {evidence}"),
    }
}
