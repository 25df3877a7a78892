//! A small world around the real engine in which everything that may happen next is an action: one process, its journal,
//! a remote enforcement point, and the requests and replies between them.
//!
//! Time stands still but for the action that goes on to the engine's next deadline (and one that goes on by a second).
//! A request that was sent lands strictly before the longest time in flight has passed, or never.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use stateright::{Model, Property};
use staunch_engine::Engine;
use staunch_engine::mutant::{Mutant, is};
use staunch_model::{
    Change, Command, Effect, Endpoint, Event, Facts, Failure, FailureKind, Frame, Input, InstallationId, Match,
    MatchedStep, NoticeLevel, Observation, Operator, Outcome, Owner, Presence, Record, ReleaseScope, Severity, Span,
    StateKind, Target, Timestamp, Transaction, TransactionId,
};
use staunch_sim::scenario::place;
use staunch_sim::world::WorldKind;

/// When everything begins.
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
/// How far [`Action::Wait`] goes: within the longest time in flight.
const WAIT: Span = Span::from_secs(1);
/// The longest time in flight.
const IN_FLIGHT_MAX: Span = WorldKind::Api.in_flight_max();
/// The longest that anything is waited for: what is due later never comes.
const PATIENCE: Span = Span::from_hours(24);
/// Effects that a transaction may need: what needs more is tried without an end.
const TICKET_MAX: u32 = 40;

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// The process ends without a word and starts again.
    pub(crate) crashes: u8,
    /// A request or a reply is lost.
    pub(crate) losses: u8,
    /// A request or a reply comes twice.
    pub(crate) duplicates: u8,
    /// A driver reports a failure.
    pub(crate) errors: u8,
    /// A request, a reply or the disk takes longer than its deadline.
    pub(crate) delays: u8,
    /// Time goes on a little while something is under way.
    pub(crate) waits: u8,
    /// An operator releases everything.
    pub(crate) releases: u8,
    /// Somebody else puts something at a free target.
    pub(crate) intruders: u8,
    /// From then on the enforcement point refuses every undo.
    pub(crate) refusals: u8,
}

/// What is checked: the events that come, and the faults on the way.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// The targets that each event is about. The first one comes at the beginning, the others whenever they like.
    pub(crate) events: Vec<Vec<u8>>,
    /// The faults.
    pub(crate) faults: Faults,
    /// Frames that may wait to be synced. With that many, the process waits for its disk.
    pub(crate) tail_max: usize,
    /// A fault put in on purpose.
    pub(crate) mutant: Option<Mutant>,
}

/// A frame that is written and not synced.
#[derive(Clone, Debug)]
struct Written {
    /// What a start finds when this frame has survived: replayed, not decided.
    replayed: Arc<Engine>,
    /// What leaves once it is durable.
    effects: Vec<Effect>,
}

/// Something asked of the enforcement point.
#[derive(Clone, Debug)]
struct Request {
    effect: Effect,
    /// When the driver sent it; `None` while it waits for its driver.
    sent: Option<Timestamp>,
    /// Whether somebody waits for the reply.
    answers: bool,
    /// Whether time goes on regardless.
    slow: bool,
}

/// An answer on its way to the engine.
#[derive(Clone, Debug)]
struct Reply {
    input: Input,
    slow: bool,
}

/// What is at a target.
#[derive(Clone, Debug, Default)]
struct Place {
    owner: Option<Owner>,
    version: u64,
}

/// Where everything stands.
#[derive(Clone, Debug)]
pub(crate) struct World {
    engine: Arc<Engine>,
    /// What a start finds when nothing of the tail has survived.
    durable: Arc<Engine>,
    tail: Vec<Written>,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    places: BTreeMap<Target, Place>,
    now: Timestamp,
    /// Events that have come.
    events: usize,
    left: Faults,
    undo_refused: bool,
    /// Transactions that people were told of by a page.
    paged: BTreeSet<TransactionId>,
    /// What a step has done that no step may do.
    broken: BTreeSet<&'static str>,
}

/// What may happen next. Requests and replies are told by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The next event comes.
    Event,
    /// All written frames are synced, and what waits for that leaves.
    Sync,
    /// A driver sends an act that waits for it.
    Send(usize),
    /// A request reaches the enforcement point.
    Land(usize),
    /// A request that was sent never arrives.
    Lose(usize),
    /// A request is sent twice by somebody in between.
    Duplicate(usize),
    /// A request takes longer than its deadline.
    Delay(usize),
    /// A driver reports that nothing happened.
    Refuse(usize),
    /// A driver gives up waiting for a request that stays under way.
    Doubt(usize),
    /// A reply reaches the engine.
    Reply(usize),
    /// A reply is lost.
    LoseReply(usize),
    /// A reply comes a second time, whenever it likes.
    DuplicateReply(usize),
    /// A reply takes longer than its deadline.
    DelayReply(usize),
    /// Time goes on to the engine's next deadline.
    Time,
    /// Time goes on a little.
    Wait,
    /// The process ends, so many written frames have survived, and it starts again.
    Crash(usize),
    /// An operator releases everything.
    Release,
    /// Somebody else puts something at a target.
    Intrude(u8),
    /// From here on, every undo is refused.
    RefuseUndo,
}

pub(crate) const DURABLE_INTENT: &str = "nothing acts without a durable intent";
pub(crate) const END_IS_CLEAN: &str = "an end leaves nothing in place or under way";
pub(crate) const END_IS_VERIFIED: &str = "an end was seen";
pub(crate) const FORCE_IS_VERIFIED: &str = "in force was seen";
pub(crate) const IN_FORCE_IS_THERE: &str = "in force is in place";
pub(crate) const REPLY_IS_NEWEST: &str = "stale replies change nothing";
pub(crate) const REPLAY_EQUALS_LIVE: &str = "replay gives what is live";
pub(crate) const ONE_PLACE: &str = "an object is at its transaction's target only";
pub(crate) const ONE_ACTS: &str = "one transaction acts at a target, twice at the most";
pub(crate) const NO_DAMAGE: &str = "nothing of others is touched";
pub(crate) const STUCK_IS_TOLD: &str = "people are told of what is stuck";
pub(crate) const BOUNDED: &str = "nothing is tried without an end";
pub(crate) const ENDS: &str = "everything comes to rest";

/// What happens at least once, so that the rest is not true of nothing.
pub(crate) const KINDS_OF_ENDS: [&str; 4] = [IN_FORCE, ROLLED_BACK, STUCK, FORGOTTEN];
const IN_FORCE: &str = "something is in force";
const ROLLED_BACK: &str = "something is rolled back";
const STUCK: &str = "something is stuck";
const FORGOTTEN: &str = "something is lifted and forgotten";

impl Model for Machine {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        put_in(self.mutant);
        let engine = Arc::new(Engine::new());
        let mut world = World {
            durable: engine.clone(),
            engine,
            tail: Vec::new(),
            requests: Vec::new(),
            replies: Vec::new(),
            places: (0..)
                .zip(self.targets())
                .map(|(_, at)| (place(WorldKind::Api, at), Place::default()))
                .collect(),
            now: START,
            events: 0,
            left: self.faults,
            undo_refused: false,
            paged: BTreeSet::new(),
            broken: BTreeSet::new(),
        };
        world.turn(started());
        world.turn(Input::Policy(Arc::new(self.policy())));
        world.sync();
        world.event(self);
        world.tidy();
        vec![world]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if !world.broken.is_empty() || world.is_at_rest(self) {
            return;
        }
        let left = &world.left;
        if !world.tail.is_empty() {
            actions.push(Action::Sync);
        }
        for (at, request) in world.requests.iter().enumerate() {
            world.actions_of(at, request, actions);
        }
        if world.tail.len() < self.tail_max {
            for (at, reply) in world.replies.iter().enumerate() {
                actions.push(Action::Reply(at));
                if !reply.slow {
                    actions.extend((left.losses > 0).then_some(Action::LoseReply(at)));
                    actions.extend((left.duplicates > 0).then_some(Action::DuplicateReply(at)));
                    actions.extend((left.delays > 0).then_some(Action::DelayReply(at)));
                }
            }
            if world.events < self.events.len() {
                actions.push(Action::Event);
            }
            if left.releases > 0 && world.is_anything_alive() {
                actions.push(Action::Release);
            }
            if world.next_time().is_some() {
                actions.push(Action::Time);
            }
        }
        let due = world.engine.state().next_deadline();
        let nothing_due = due.is_none_or(|at| at > world.now + WAIT);
        if left.waits > 0 && nothing_due && world.may_pass(world.now + WAIT) && !world.requests.is_empty() {
            actions.push(Action::Wait);
        }
        if left.crashes > 0 {
            actions.extend((0..=world.tail.len()).map(Action::Crash));
        }
        if left.intruders > 0 {
            let free = self
                .targets()
                .into_iter()
                .filter(|at| world.places[&place(WorldKind::Api, *at)].owner.is_none());
            actions.extend(free.map(Action::Intrude));
        }
        if left.refusals > 0 && world.is_anything_alive() {
            actions.push(Action::RefuseUndo);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        put_in(self.mutant);
        let mut world = last.clone();
        match action {
            Action::Event => world.event(self),
            Action::Sync => world.sync(),
            Action::Send(at) => world.send(at),
            Action::Land(at) => world.land(at),
            Action::Lose(at) => {
                world.left.losses -= 1;
                world.requests.remove(at);
            }
            Action::Duplicate(at) => {
                world.left.duplicates -= 1;
                let mut again = world.requests[at].clone();
                again.answers = false;
                world.requests.push(again);
            }
            Action::Delay(at) => {
                world.left.delays -= 1;
                world.requests[at].slow = true;
            }
            Action::Refuse(at) => {
                world.left.errors -= 1;
                let request = world.requests.remove(at);
                world.answer(&request, Outcome::DidNotHappen(failure(FailureKind::Unavailable)));
            }
            Action::Doubt(at) => {
                world.left.errors -= 1;
                world.requests[at].answers = false;
                let request = world.requests[at].clone();
                world.answer(&request, Outcome::InDoubt(failure(FailureKind::TimedOut)));
            }
            Action::Reply(at) => {
                let reply = world.replies.remove(at);
                world.turn(reply.input);
            }
            Action::LoseReply(at) => {
                world.left.losses -= 1;
                world.replies.remove(at);
            }
            Action::DuplicateReply(at) => {
                world.left.duplicates -= 1;
                let mut again = world.replies[at].clone();
                again.slow = true;
                world.replies.push(again);
            }
            Action::DelayReply(at) => {
                world.left.delays -= 1;
                world.replies[at].slow = true;
            }
            Action::Time => {
                world.left.delays -= u8::from(!world.tail.is_empty());
                world.now = world.next_time()?;
                world.turn(Input::Tick);
            }
            Action::Wait => {
                world.left.waits -= 1;
                world.now = world.now + WAIT;
            }
            Action::Crash(kept) => world.crash(kept),
            Action::Release => {
                world.left.releases -= 1;
                let by = Operator {
                    name: "ann".into(),
                    from: "".into(),
                    reason: "".into(),
                };
                let command = Command::Release(ReleaseScope::All);
                world.turn(Input::Operator { by, command });
            }
            Action::Intrude(at) => {
                world.left.intruders -= 1;
                world.put(place(WorldKind::Api, at), Some(Owner::Foreign("theirs".into())));
            }
            Action::RefuseUndo => {
                world.left.refusals -= 1;
                world.undo_refused = true;
            }
        }
        world.tidy();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(DURABLE_INTENT, |_, world: &World| world.intents_are_durable()),
            Property::always(END_IS_CLEAN, |_, world: &World| world.ends_are_clean()),
            Property::always(END_IS_VERIFIED, |_, world: &World| {
                !world.broken.contains(END_IS_VERIFIED)
            }),
            Property::always(FORCE_IS_VERIFIED, |_, world: &World| {
                !world.broken.contains(FORCE_IS_VERIFIED)
            }),
            Property::always(IN_FORCE_IS_THERE, |_, world: &World| world.in_force_is_there()),
            Property::always(REPLY_IS_NEWEST, |_, world: &World| {
                !world.broken.contains(REPLY_IS_NEWEST)
            }),
            Property::always(REPLAY_EQUALS_LIVE, |_, world: &World| world.replay_equals_live()),
            Property::always(ONE_PLACE, |_, world: &World| world.objects_are_in_their_place()),
            Property::always(ONE_ACTS, |_, world: &World| world.one_acts()),
            Property::always(NO_DAMAGE, |_, world: &World| !world.broken.contains(NO_DAMAGE)),
            Property::always(STUCK_IS_TOLD, |_, world: &World| world.stuck_is_told()),
            Property::always(BOUNDED, |_, world: &World| {
                world.transactions().all(|it| it.ticket <= TICKET_MAX)
            }),
            // Each action sends, settles or uses up something, so no path goes round in circles without more and more
            // tickets: with the property before, a path that nothing follows is the only way to end.
            Property::always(ENDS, |machine: &Self, world: &World| {
                let mut next = Vec::new();
                machine.actions(world, &mut next);
                !next.is_empty() || !world.broken.is_empty() || world.is_at_rest(machine)
            }),
            Property::sometimes(IN_FORCE, |_, world: &World| world.is_any(StateKind::InForce)),
            Property::sometimes(ROLLED_BACK, |_, world: &World| world.is_any(StateKind::RolledBack)),
            Property::sometimes(STUCK, |_, world: &World| world.is_any(StateKind::Stuck)),
            Property::sometimes(FORGOTTEN, |_, world: &World| {
                world.transactions().next().is_none() && world.engine.state().last_transaction > 0
            }),
        ]
    }
}

impl Machine {
    fn targets(&self) -> BTreeSet<u8> {
        self.events.iter().flatten().copied().collect()
    }

    fn policy(&self) -> staunch_model::Policy {
        let mut policy = staunch_sim::scenario::policy(WorldKind::Api, 0);
        policy.never_touch.clear();
        // What is counted over minutes is left out, because states are compared without the time of day.
        policy.limits.breaker_failures = u32::MAX;
        policy.playbooks.truncate(2);
        for playbook in &mut policy.playbooks {
            let mut quiet = (**playbook).clone();
            quiet.notify.clear();
            quiet.context.clear();
            quiet.guards.traffic_share_max_bp = None;
            quiet.guards.when_unknown = staunch_model::WhenUnknown::Pass;
            *playbook = Arc::new(quiet);
        }
        policy
    }
}

impl World {
    // ---- the process ----

    /// One turn of the engine, written to the journal. What only reads leaves at once.
    fn turn(&mut self, input: Input) {
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
    fn newest_frame(&self) -> &Arc<Engine> {
        self.tail.last().map_or(&self.durable, |it| &it.replayed)
    }

    fn sync(&mut self) {
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
    fn crash(&mut self, kept: usize) {
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

    fn event(&mut self, machine: &Machine) {
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

    // ---- the way to the enforcement point, and the enforcement point ----

    fn actions_of(&self, at: usize, request: &Request, actions: &mut Vec<Action>) {
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

    fn send(&mut self, at: usize) {
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

    fn land(&mut self, at: usize) {
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

    fn put(&mut self, target: Target, owner: Option<Owner>) {
        let there = self.places.entry(target).or_default();
        *there = Place {
            owner,
            version: there.version + 1,
        };
    }

    /// A driver answers. For a look that worked, with what is there.
    fn answer(&mut self, request: &Request, outcome: Outcome) {
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

    // ---- time ----

    /// True when everything that was sent may still be under way at `time`.
    fn may_pass(&self, time: Timestamp) -> bool {
        let sent = |it: &Request| it.sent.filter(|_| !matches!(it.effect, Effect::Observe { .. }));
        self.requests
            .iter()
            .filter_map(sent)
            .all(|at| time < at + IN_FLIGHT_MAX)
    }

    /// The engine's next deadline, when time may go on to it: nobody waits for anything that is not slow.
    fn next_time(&self) -> Option<Timestamp> {
        let waits = self.requests.iter().any(|it| it.answers && !it.slow) || self.replies.iter().any(|it| !it.slow);
        let disk = self.tail.is_empty() || self.left.delays > 0;
        let next = self.engine.state().next_deadline()?.max(self.now);
        let ever = next <= self.now + PATIENCE;
        (self.is_anything_alive() && ever && !waits && disk && self.may_pass(next)).then_some(next)
    }

    // ---- what holds ----

    fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.engine.state().transactions.values()
    }

    fn is_any(&self, kind: StateKind) -> bool {
        self.transactions().any(|it| it.state.kind() == kind)
    }

    fn is_anything_alive(&self) -> bool {
        self.transactions().any(|it| !it.state.kind().is_terminal())
    }

    /// Nothing happens any more: everything has ended or is left to a person, and nothing is under way.
    fn is_at_rest(&self, machine: &Machine) -> bool {
        !self.is_anything_alive()
            && self.tail.is_empty()
            && self.requests.is_empty()
            && self.replies.is_empty()
            && (self.events == machine.events.len())
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

    fn intents_are_durable(&self) -> bool {
        let durable = |id: &TransactionId, ticket: u32| {
            let it = self.durable.state().transactions.get(id);
            // What is forgotten has ended, so that its intent was durable.
            let forgotten = it.is_none() && id.0 <= self.durable.state().last_transaction;
            forgotten || it.is_some_and(|it| it.executions > 0 && it.ticket >= ticket)
        };
        let asked = self.requests.iter().all(|request| match &request.effect {
            Effect::Execute {
                transaction, ticket, ..
            }
            | Effect::Undo {
                transaction, ticket, ..
            } => durable(transaction, *ticket),
            _ => true,
        });
        asked && self.objects().all(|(label, _)| durable(&label, 0))
    }

    fn objects(&self) -> impl Iterator<Item = (TransactionId, Target)> {
        self.places.iter().filter_map(|(target, there)| match there.owner {
            Some(Owner::Ours(label)) => Some((label, target.clone())),
            _ => None,
        })
    }

    fn has_ended(&self, id: TransactionId) -> bool {
        let kind = self.engine.state().transactions.get(&id).map(|it| it.state.kind());
        kind.is_none_or(|kind| kind.is_terminal() && kind != StateKind::Stuck)
    }

    fn ends_are_clean(&self) -> bool {
        let acts = |it: &Request| match it.effect {
            Effect::Execute {
                transaction, send_by, ..
            } if it.sent.is_some() || self.now <= send_by => Some(transaction),
            _ => None,
        };
        let mut may_land = self.requests.iter().filter_map(acts);
        !may_land.any(|id| self.has_ended(id)) && !self.objects().any(|(label, _)| self.has_ended(label))
    }

    fn in_force_is_there(&self) -> bool {
        self.transactions()
            .filter(|it| it.state.kind() == StateKind::InForce)
            .all(|it| self.places[&it.target].owner == Some(Owner::Ours(it.label)))
    }

    fn replay_equals_live(&self) -> bool {
        if self.broken.contains(REPLAY_EQUALS_LIVE) {
            return false;
        }
        // A turn without a record leaves no trace but its time.
        let live = self.engine.state();
        let mut replayed = self.newest_frame().state().clone();
        replayed.now = live.now;
        replayed == *live
    }

    fn objects_are_in_their_place(&self) -> bool {
        self.objects().all(|(label, target)| {
            let it = self.durable.state().transactions.get(&label);
            it.is_none_or(|it| it.target == target)
        })
    }

    fn one_acts(&self) -> bool {
        let mut acting: BTreeMap<Target, u32> = BTreeMap::new();
        for it in self.transactions() {
            if it.executions > 0 && !self.has_ended(it.id) {
                *acting.entry(it.target.clone()).or_default() += 1;
            }
        }
        acting.values().all(|count| *count == 1) && self.transactions().all(|it| it.executions <= 2)
    }

    fn stuck_is_told(&self) -> bool {
        let state = self.engine.state();
        let queued = |id| state.notices.values().any(|it| it.notice.transaction == Some(id));
        self.transactions()
            .filter(|it| it.state.kind() == StateKind::Stuck)
            .all(|it| queued(it.id) || self.paged.contains(&it.id))
    }

    // ---- telling states apart ----

    /// Puts what has no order into one.
    fn tidy(&mut self) {
        let now = self.now;
        self.requests.sort_by_cached_key(|it| it.bytes(now));
        self.replies.sort_by_cached_key(Reply::bytes);
    }

    /// Everything that the future depends on, with times from now on.
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1_024);
        add(&mut out, &(self.events, self.undo_refused, &self.paged, &self.broken));
        let left = &self.left;
        out.extend([left.crashes, left.losses, left.duplicates, left.errors, left.delays]);
        out.extend([left.waits, left.releases, left.intruders, left.refusals]);
        for there in self.places.values() {
            add(&mut out, &(&there.owner, there.version));
        }
        add(&mut out, &(self.requests.len(), self.replies.len(), self.tail.len()));
        for request in &self.requests {
            out.extend(request.bytes(self.now));
        }
        for reply in &self.replies {
            out.extend(reply.bytes());
        }
        self.engine_bytes(&self.engine, &mut out);
        self.engine_bytes(&self.durable, &mut out);
        for written in &self.tail {
            add(&mut out, &written.effects.len());
            for effect in &written.effects {
                add(&mut out, &effect_bytes(effect, self.now));
            }
            self.engine_bytes(&written.replayed, &mut out);
        }
        out
    }

    fn engine_bytes(&self, engine: &Engine, out: &mut Vec<u8>) {
        let state = engine.state();
        add(
            out,
            &(state.transactions.len(), state.incidents.len(), state.notices.len()),
        );
        let since = |time: Timestamp| ahead(time, self.now);
        for it in state.transactions.values() {
            let ended = it.state.kind().is_terminal();
            // What lies further back than the margin counts as well as settled.
            let in_flight = it.in_flight_until.map(|until| since(until).max(-1_000_000));
            let mut rest = it.clone();
            rest.deadline = Timestamp::EPOCH;
            rest.in_flight_until = None;
            rest.lease_until = None;
            rest.renewing = None;
            rest.verified_at = None;
            add(out, &rest);
            add(out, &(!ended).then(|| since(it.deadline)));
            add(
                out,
                &(
                    in_flight,
                    it.lease_until.filter(|_| !ended).map(since),
                    it.verified_at.is_some(),
                ),
            );
        }
        for it in state.incidents.values() {
            add(
                out,
                &(it.status, it.outcome, &it.transactions, &it.joined_steps, it.next_step),
            );
        }
        for it in state.notices.values() {
            add(out, &(it.notice.transaction, it.attempts, it.retry_at.map(since)));
        }
    }
}

impl Request {
    fn bytes(&self, now: Timestamp) -> Vec<u8> {
        let mut out = effect_bytes(&self.effect, now);
        let sent = self.sent.filter(|_| !matches!(self.effect, Effect::Observe { .. }));
        add(
            &mut out,
            &(
                self.sent.is_some(),
                sent.map(|at| ahead(at, now)),
                self.answers,
                self.slow,
            ),
        );
        out
    }
}

impl Reply {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        add(&mut out, &(&self.input, self.slow));
        out
    }
}

impl Hash for World {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.bytes());
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

fn effect_bytes(effect: &Effect, now: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    match effect {
        Effect::Observe {
            transaction,
            ticket,
            target,
            ..
        } => add(&mut out, &(0_u8, transaction, ticket, target)),
        Effect::Execute {
            transaction,
            ticket,
            target,
            version,
            send_by,
            ..
        } => add(
            &mut out,
            &(1_u8, transaction, ticket, target, version, ahead(*send_by, now)),
        ),
        Effect::Undo {
            transaction,
            ticket,
            target,
            label,
            ..
        } => add(&mut out, &(2_u8, transaction, ticket, target, label)),
        Effect::Notify(notice) => add(&mut out, &(3_u8, notice)),
        Effect::Collect { evidence, .. } => add(&mut out, &(4_u8, evidence)),
        Effect::ReadHealth { watch, ticket, .. } => add(&mut out, &(5_u8, watch, ticket)),
    }
    out
}

fn add(out: &mut Vec<u8>, what: &impl serde::Serialize) {
    *out = postcard::to_extend(what, std::mem::take(out)).expect("everything can be encoded");
}

/// How far `time` lies ahead of `now`, in microseconds.
fn ahead(time: Timestamp, now: Timestamp) -> i64 {
    let micros = |it: Timestamp| i64::try_from(it.as_micros()).expect("within the calendar");
    micros(time) - micros(now)
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

fn started() -> Input {
    Input::Started {
        installation: InstallationId([1; 8]),
        build: "model".into(),
    }
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "a fault of the model")
}

/// Puts `mutant` into the thread at hand: the checker has threads of its own.
fn put_in(mutant: Option<Mutant>) {
    #[cfg(feature = "mutants")]
    staunch_engine::mutant::set(mutant);
    #[cfg(not(feature = "mutants"))]
    assert_eq!(mutant, None, "needs the feature `mutants`");
}
