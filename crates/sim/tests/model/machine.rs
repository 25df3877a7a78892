//! A small world around the real engine in which everything that may happen next is an action: one process, its
//! journal, a remote enforcement point, and the requests and replies between them.
//!
//! Time stands still but for the action that goes on to the engine's next deadline (and one that goes on by a second).
//! A request that was sent lands strictly before the longest time in flight has passed, or never.

mod bytes;
mod holds;
mod process;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stateright::{Model, Property};
use staunch_engine::Engine;
use staunch_engine::mutant::Mutant;
use staunch_model::{
    Command, Effect, FailureKind, Input, Operator, Outcome, Owner, ReleaseScope, Span, Target, Timestamp, TransactionId,
};
use staunch_sim::scenario::place;
use staunch_sim::world::WorldKind;

pub(crate) use self::holds::KINDS_OF_ENDS;
#[cfg(feature = "mutants")]
pub(crate) use self::holds::{
    DURABLE_INTENT, END_IS_CLEAN, END_IS_VERIFIED, ENDS, FORCE_IS_VERIFIED, IN_FORCE_IS_THERE, NO_DAMAGE, ONE_ACTS,
    REPLY_IS_NEWEST, STUCK_IS_TOLD,
};
use self::process::started;
use self::requests::failure;

/// When everything begins.
const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// How far [`Action::Wait`] goes: within the longest time in flight.
const WAIT: Span = Span::from_secs(1);

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
        holds::properties()
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

/// Puts `mutant` into the thread at hand: the checker has threads of its own.
fn put_in(mutant: Option<Mutant>) {
    #[cfg(feature = "mutants")]
    staunch_engine::mutant::set(mutant);
    #[cfg(not(feature = "mutants"))]
    assert_eq!(mutant, None, "needs the feature `mutants`");
}
