//! One run: processes, disk, network, drivers and people on a queue of things to come.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use staunch_engine::mutant::{Mutant, is};
use staunch_engine::sweep::{Reading, compare};
use staunch_engine::{Engine, EngineState};
use staunch_model::{
    Command, ContentHash, Effect, Endpoint, Event, EvidenceId, Fact, Facts, Failure, FailureKind, Frame, IncidentId,
    Input, InstallationId, Match, MatchedStep, Operator, Owner, ReleaseScope, Severity, Span, Standing, StateKind,
    Timestamp, TrafficShare, TransactionId,
};

use crate::chance::Chance;
use crate::check::{Invariant, Model, Violation};
use crate::clock::Clock;
use crate::fault::{Counts, Fault};
use crate::scenario::{
    ACTS_AT_ONCE, Dated, FOREIGN, Happening, Order, PRESERVES, Said, Scenario, Tamper, When, address, found, key,
    place, risk_table,
};
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
    /// The last state of who leads.
    end: Engine,
    /// The run in lines, if they were asked for.
    pub trace: String,
}

impl Report {
    /// The hash of the last state, for comparing runs.
    #[must_use]
    pub fn state(&self) -> ContentHash {
        self.end.state().hash()
    }
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
        // What was wrong before it comes first. Finding that may panic too.
        let found = catch_unwind(AssertUnwindSafe(|| sim.fail(Invariant::NoPanic, what.to_owned())));
        if found.is_err() {
            sim.violate(Invariant::NoPanic, what.to_owned(), sim.now);
        }
    }
    let end = sim.leader().map(|at| std::mem::take(&mut sim.replicas[at].engine));
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
        end: end.unwrap_or_default(),
        trace: sim.trace.into_text(),
    }
}

pub(crate) mod end;
mod journey;
mod outside;
mod process;

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
    /// The true time at which it became durable.
    durable_at: Timestamp,
}

#[derive(Default)]
struct Log {
    frames: Vec<Entry>,
    /// How many of them are durable.
    durable: usize,
    epoch: u32,
    /// What a process knew at some time.
    snapshot: Option<Snapshot>,
}

/// What a process knew after so many frames.
struct Snapshot {
    frames: usize,
    engine: Engine,
    /// It has been made bytes and read from them. That is done when it is needed, since most never are, and only once:
    /// the same bytes could only give the same.
    is_read: bool,
}

impl Snapshot {
    /// What reading it gives; `None` when that fails.
    fn read(&mut self) -> Option<Engine> {
        if !self.is_read {
            self.engine = Engine::from_snapshot(&self.engine.state().encode()).ok()?;
            self.is_read = true;
        }
        Some(self.engine.clone())
    }
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

impl Replica {
    /// It leads at `now`, by what the others can know: it writes as the newest, and has not been silent for too long.
    fn leads(&self, epoch: u32, now: Timestamp) -> bool {
        let silent = self.paused_until > now && now.since(self.paused_since) >= LEAD;
        self.up && self.epoch == epoch && !silent
    }
}

enum Item {
    Happens(usize),
    Start {
        replica: usize,
        again_after: u8,
    },
    Synced {
        replica: usize,
        life: u32,
    },
    Send(Box<Request>),
    Arrive {
        request: Box<Request>,
        answers: bool,
    },
    Reply {
        replica: usize,
        life: u32,
        input: Box<Input>,
    },
    Swept {
        replica: usize,
        life: u32,
        reading: Box<Reading>,
        /// The rest has still to be read.
        half: bool,
    },
    Command(Box<Command>),
    Enforce,
    Room,
    /// Health signals are healthy again.
    Healthy,
    Adversary(TransactionId, u8),
}

/// A place in the queue: by time, and of several at the same time in the order in which they were put there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: Timestamp,
    order: u64,
}

/// Something to come.
struct Queued {
    place: Place,
    item: Item,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for Queued {}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What comes first is the greatest, as the heap wants it. No two have the same place.
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        other.place.cmp(&self.place)
    }
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
    queue: BinaryHeap<Queued>,
    /// Processes that ask whether they may lead, and when: many times an hour, nearly always in vain.
    contenders: Vec<(Place, usize)>,
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
    /// Whether health signals are healthy; `None` where they cannot be read.
    healthy: Option<bool>,
    /// What feeds say of places; of others, that none names them.
    feeds: BTreeMap<u8, Standing>,
    acknowledged: Vec<Arc<Frame>>,
    /// Transactions about which a driver lied, or which a replaced process acted for.
    excused: BTreeSet<TransactionId>,
    /// Which of the scenario's cuts is next.
    next_cut: usize,
    /// What the last process knew when it ended, and after how many frames, if nothing of it was lost.
    last_known: Option<(usize, Engine)>,
    /// How many durable frames have been held against the model.
    judged: usize,
    /// What so many frames of the journal give when they are applied to nothing. It goes on where it was left: applying
    /// the same frames again could only give the same.
    folded: (usize, Engine),
}

impl<'a> Sim<'a> {
    fn new(scenario: &'a Scenario, traced: bool) -> Self {
        let replica = |at: u8| Replica {
            engine: Engine::new(),
            up: false,
            epoch: 0,
            life: 0,
            // Clocks of machines differ by less than the margins of the engine.
            clock: Clock::new(i64::from(at) * 40_000, scenario.raw_clock, Timestamp::EPOCH, START),
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
            queue: BinaryHeap::with_capacity(64),
            contenders: Vec::new(),
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
            healthy: Some(true),
            feeds: BTreeMap::new(),
            acknowledged: Vec::new(),
            excused: BTreeSet::new(),
            next_cut: 0,
            last_known: None,
            judged: 0,
            folded: (0, Engine::new()),
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
        self.healthy = Some(true);
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
            let tick = self.next_tick();
            let queued = self.queue.peek().map(|it| it.place);
            self.ask_in_vain(tick.map(|(at, _)| at), queued, end);
            let contender = self.contenders.iter().min().copied();
            let first = queued.into_iter().chain(contender.map(|(place, _)| place)).min();
            let at = match (first, tick) {
                (Some(first), Some((due, _))) => first.at.min(due),
                (Some(first), None) => first.at,
                (None, Some((due, _))) => due,
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
            match (first, tick) {
                (Some(first), Some((due, replica))) if due < first.at => self.input(replica, Input::Tick, false),
                (None, Some((_, replica))) => self.input(replica, Input::Tick, false),
                _ => match contender {
                    Some((place, replica)) if first == Some(place) => {
                        self.contenders.retain(|(other, _)| *other != place);
                        self.start(replica, 0);
                    }
                    _ => {
                        if let Some(Queued { item, .. }) = self.queue.pop() {
                            self.handle(item);
                        }
                    }
                },
            }
        }
        self.now = self.now.max(end);
        self.world.at(self.now);
    }

    /// Lets contenders ask until something else comes, when the answer is that somebody leads whenever they do: that
    /// changes nothing but when they ask again. Each time is a step like any other.
    fn ask_in_vain(&mut self, tick: Option<Timestamp>, queued: Option<Place>, end: Timestamp) {
        let leads = |it: &Replica| it.leads(self.log.epoch, self.now) && it.paused_until <= self.now;
        if self.contenders.is_empty() || !self.replicas.iter().any(leads) {
            return;
        }
        let last = tick.map_or(end, |due| due.min(end));
        let comes_first = |place: Place| place.at <= last && queued.is_none_or(|queued| place < queued);
        // Whoever asks again does so after what is in the queue for the same time.
        let last_again = queued.map_or(last, |queued| last.min(queued.at - Span::from_micros(1)));
        let times = |place: Place| {
            let again = place.at.max(self.now) + LEAD;
            let further = (again <= last_again).then(|| 1 + last_again.since(again).as_micros() / LEAD.as_micros());
            1 + further.unwrap_or(0)
        };
        let waits = |(place, replica): &(Place, usize)| !self.replicas[*replica].up && comes_first(*place);
        let mut asking: Vec<(Timestamp, u64, Place, usize)> = Vec::new();
        for (place, replica) in self.contenders.iter().filter(|it| waits(it)) {
            let times = times(*place);
            let asked = place.at.max(self.now) + LEAD.times(times - 1);
            asking.push((asked, times, *place, *replica));
        }
        let steps: u64 = asking.iter().map(|(_, times, ..)| times).sum();
        if steps == 0 || self.steps + steps > STEPS_MAX {
            return;
        }
        // Of two that ask at the same time, the one that has asked less often began later, and so asks before the
        // other.
        asking.sort_unstable();
        let mut still: Vec<_> = self.contenders.iter().copied().filter(|it| !waits(it)).collect();
        self.steps += steps;
        self.queued += steps;
        for (at, (asked, _, _, replica)) in asking.iter().enumerate() {
            let order = self.queued - (asking.len() - 1 - at) as u64;
            let again = Place {
                at: *asked + LEAD,
                order,
            };
            still.push((again, *replica));
            self.now = self.now.max(*asked);
        }
        self.contenders = still;
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
                    self.input(replica, *input, false);
                }
            }
            Item::Swept {
                replica,
                life,
                mut reading,
                half,
            } => {
                if self.replicas[replica].life == life && !self.waits(replica) {
                    if half {
                        self.read_rest(&mut reading);
                    }
                    self.swept(replica, *reading);
                }
            }
            Item::Command(command) => self.command(*command),
            Item::Enforce => self.world.enforcing = true,
            Item::Healthy => self.healthy = Some(true),
            Item::Room => self.world.capacity_max = CAPACITY,
            Item::Adversary(label, place) => self.adversary(label, place),
        }
    }

    fn waits(&self, replica: usize) -> bool {
        self.replicas[replica].paused_until > self.now
    }

    // ---- small things ----

    fn later(&mut self, at: Timestamp, item: Item) {
        let place = self.place(at);
        self.queue.push(Queued { place, item });
    }

    /// `replica` asks at `at` whether it may lead.
    fn contend_later(&mut self, at: Timestamp, replica: usize) {
        let place = self.place(at);
        self.contenders.push((place, replica));
    }

    fn place(&mut self, at: Timestamp) -> Place {
        self.queued += 1;
        Place { at, order: self.queued }
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        self.trace.line(self.now.since(START), what);
    }

    /// Something is wrong at present, unless something was before.
    fn fail(&mut self, invariant: Invariant, what: String) {
        self.catch_up();
        self.violate(invariant, what, self.now);
    }

    /// Something was wrong at the true time `at`. What was found first counts.
    fn violate(&mut self, invariant: Invariant, what: String, at: Timestamp) {
        let at = at.since(START);
        self.violation.get_or_insert(Violation { invariant, what, at });
    }
}
