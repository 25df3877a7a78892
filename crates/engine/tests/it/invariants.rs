//! What must hold after every step of every test. The model here is kept as simple as it can be, so that it cannot
//! be wrong in the same way as the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use staunch_engine::{Engine, EngineState};
use staunch_model::{
    Cause, Change, ContentHash, Effect, Frame, Mode, Record, Span, StateKind, Target, Timestamp, Transaction,
    TransactionId,
};

use crate::world::World;

/// One act that counts against the budgets.
#[derive(Clone, Debug)]
struct Act {
    at: Timestamp,
    playbook: ContentHash,
    group: Option<IpNet>,
}

#[derive(Default)]
pub(crate) struct Invariants {
    /// The engine that only replays.
    replica: Engine,
    /// The engine that decides everything a second time, and never crashes.
    twin: Engine,
    acts: Vec<Act>,
    executed: BTreeSet<TransactionId>,
    /// Whether what is undone of each is undone because its lease has ended.
    at_lease_end: BTreeMap<TransactionId, bool>,
    /// Labels that a test has put into the world by hand.
    pub(crate) planted: BTreeSet<TransactionId>,
    /// Compare whole states only after every so many steps; 0 compares every time.
    pub(crate) compare_every: u64,
    steps: u64,
}

impl Invariants {
    pub(crate) fn after_step(
        &mut self,
        clock: Timestamp,
        effects: &[Effect],
        frame: &Frame,
        now: Timestamp,
        engine: &Engine,
    ) {
        let state = engine.state();
        self.steps += 1;

        let step = self.twin.step(&frame.input, clock);
        assert_eq!(step.records, frame.records, "deciding twice gives the same records");
        assert_eq!(step.effects, effects, "and the same effects");

        self.effects_are_intended(effects, frame);
        self.acts_are_allowed(frame, now, state);
        self.replica
            .replay(frame, now)
            .expect("a decided frame can be replayed");
        if self.compare_every == 0 || self.steps.is_multiple_of(self.compare_every) {
            assert_eq!(self.replica.state(), state, "replay equals live, indexes included");
            assert_eq!(self.replica.state().hash(), state.hash(), "replay has the hash of live");
            let decoded = EngineState::decode(&state.encode()).expect("a snapshot can be read back");
            assert_eq!(&decoded, state, "a snapshot equals live, indexes included");
        }

        // Both go through every transaction, which takes long in the tests with hundreds of them.
        if self.compare_every < 20 || self.steps.is_multiple_of(self.compare_every / 2) {
            occupancy(state);
            counts(state);
            nothing_hangs(state, now);
        }
    }

    /// No act and no undo without its record in the frame that is made durable before.
    fn effects_are_intended(&mut self, effects: &[Effect], frame: &Frame) {
        let mut intents = BTreeSet::new();
        for record in &frame.records {
            match record {
                Record::Transaction { transaction, change } => {
                    match change {
                        Change::RollbackStarted { .. } => self.at_lease_end.insert(*transaction, false),
                        Change::ReleaseStarted { cause, .. } => {
                            self.at_lease_end.insert(*transaction, **cause == Cause::LeaseEnded)
                        }
                        _ => None,
                    };
                    let (verb, dispatch) = match change {
                        Change::ExecuteIntended { dispatch, .. } | Change::RenewStarted { dispatch, .. } => {
                            ("execute", dispatch)
                        }
                        Change::RollbackStarted { dispatch, .. }
                        | Change::ReleaseStarted { dispatch, .. }
                        | Change::ProbedPresent(dispatch)
                        | Change::Resent(dispatch) => ("undo", dispatch),
                        _ => continue,
                    };
                    assert!(
                        intents.insert((verb, *transaction, dispatch.ticket)),
                        "a ticket is given out once"
                    );
                }
                Record::OrphanAdopted {
                    transaction, dispatch, ..
                } => {
                    self.at_lease_end.insert(*transaction, false);
                    intents.insert(("undo", *transaction, dispatch.ticket));
                }
                _ => {}
            }
        }
        for effect in effects {
            let intent = match effect {
                Effect::Execute {
                    transaction, ticket, ..
                } => ("execute", *transaction, *ticket),
                Effect::Undo {
                    transaction, ticket, ..
                } => ("undo", *transaction, *ticket),
                Effect::Observe { .. } | Effect::Notify(_) | Effect::Collect { .. } | Effect::ReadHealth { .. } => {
                    continue;
                }
            };
            if let Effect::Undo {
                transaction,
                lease_ended,
                ..
            } = effect
            {
                assert_eq!(*lease_ended, self.at_lease_end[transaction], "{effect:?}");
            }
            assert!(!effect.is_read());
            assert!(intents.contains(&intent), "{effect:?} has no durable intent");
        }
    }

    /// Budgets, never-touch networks and modes, worked out anew from the records.
    fn acts_are_allowed(&mut self, frame: &Frame, now: Timestamp, state: &EngineState) {
        let before = self.replica.state();
        for record in &frame.records {
            let Record::Transaction {
                transaction,
                change: Change::ExecuteIntended { judgement, .. },
            } = record
            else {
                continue;
            };
            let it = &state
                .transactions
                .get(transaction)
                .or_else(|| before.transactions.get(transaction))
                .unwrap();
            let policy = before.policy.as_ref().unwrap();
            match &it.target {
                Target::Address(ip) => {
                    for network in policy
                        .never_touch
                        .iter()
                        .map(|it| it.network)
                        .chain(["127.0.0.0/8".parse().unwrap()])
                    {
                        assert!(!network.contains(ip), "{ip} is in {network}, which is never touched");
                    }
                }
                _ => {
                    let known = before.found.get(&it.target).expect("it is known");
                    let facts = known.as_ref().expect("it is told from others");
                    assert_eq!(facts.protected, None, "{} is never touched", it.target);
                }
            }
            assert!(before.breaker_open.is_none(), "nothing acts while the breaker is open");
            assert_ne!(
                before.mode_max(),
                Mode::Observe,
                "nothing acts while everything only observes"
            );
            if let Some(judgement) = judgement {
                assert_ne!(judgement.mode, Mode::Observe);
                assert!(
                    judgement.mode == Mode::Enforce || it.approved_by().is_some(),
                    "a person must have approved"
                );
                assert!(judgement.refusal().is_none());
            }
            if !self.executed.insert(*transaction) {
                continue;
            }
            let playbook = before
                .incidents
                .get(&it.incident)
                .or_else(|| state.incidents.get(&it.incident))
                .unwrap();
            let act = Act {
                at: now,
                playbook: *playbook.playbook,
                group: it.target.address().map(group),
            };
            self.acts.push(act.clone());
            self.acts.retain(|other| other.at + Span::from_hours(1) > now);
            let count = |same: &dyn Fn(&Act) -> bool| self.acts.iter().filter(|other| same(other)).count() as u32;
            let limits = before.limits();
            assert!(count(&|_| true) <= limits.acts_per_hour_max.min(limits.acts_per_action_hour_max));
            assert!(count(&|other| other.group == act.group) <= limits.acts_per_group_hour_max);
            let max = before.playbooks[&act.playbook].guards.acts_per_hour_max;
            assert!(count(&|other| other.playbook == act.playbook) <= max);
        }
        let in_flight = |state: &EngineState| {
            state
                .transactions
                .values()
                .filter(|it| it.state.kind().is_in_flight())
                .count() as u32
        };
        assert_eq!(in_flight(state), state.index.in_flight);
        assert!(in_flight(state) <= state.limits().actions_in_flight_max.max(in_flight(before)));
    }

    /// Whatever carries a label of ours belongs to a transaction that has not ended: nothing lands behind our back.
    pub(crate) fn after_arrival(&self, world: &World, state: &EngineState) {
        for (label, target) in world.owned().filter(|(label, _)| !self.planted.contains(label)) {
            let it = state.transactions.get(&label);
            let lives = it.is_some_and(|it| !it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck);
            assert!(lives, "{target:?} holds an object of {label}, which has ended");
        }
    }
}

/// At most one transaction acts on a target, and at most one waits for it.
fn occupancy(state: &EngineState) {
    let mut places: BTreeMap<_, Vec<&Transaction>> = BTreeMap::new();
    for it in state.transactions.values() {
        if !it.state.kind().is_terminal() || it.state.kind() == StateKind::Stuck {
            places.entry((it.kind, it.target.clone())).or_default().push(it);
        }
    }
    for ((_, target), transactions) in places {
        let acting = transactions
            .iter()
            .filter(|it| it.state.kind() != StateKind::Planned)
            .count();
        assert!(acting <= 1, "{acting} transactions act on {target}");
        assert!(
            transactions.len() <= 2,
            "{} transactions want {target}",
            transactions.len()
        );
    }
}

/// What is counted as it changes is what is there.
fn counts(state: &EngineState) {
    let mut standing = BTreeMap::new();
    for it in state.transactions.values() {
        let kind = it.state.kind();
        if !kind.is_terminal() || kind == StateKind::Stuck {
            *standing.entry((it.kind, kind)).or_insert(0) += 1;
        }
    }
    let counted: BTreeMap<_, _> = state
        .index
        .standing
        .iter()
        .map(|(kind, state, count)| ((kind, state), count))
        .collect();
    assert_eq!(counted, standing);
    let open = state
        .incidents
        .values()
        .filter(|it| it.status == staunch_model::IncidentStatus::Open)
        .count();
    assert_eq!(state.index.incidents_open, open as u64);
}

/// Whatever has not ended has a time at which the engine looks at it again by itself, and that time lies ahead.
fn nothing_hangs(state: &EngineState, now: Timestamp) {
    for it in state.transactions.values() {
        assert!(
            it.incident.0 == 0 || state.incidents.contains_key(&it.incident),
            "{} has lost its {}",
            it.id,
            it.incident
        );
        if !it.state.kind().is_terminal() {
            assert!(
                it.deadline > now,
                "{} is {} and was due at {}",
                it.id,
                it.state.kind(),
                it.deadline
            );
            let subject = staunch_engine::state::Subject::Transaction(it.id);
            assert!(state.index.deadlines.contains(&(it.deadline, subject)));
        }
    }
    assert!(
        state.next_deadline().is_none_or(|at| at > now),
        "something due was left over"
    );
    for (id, pending) in &state.notices {
        let subject = staunch_engine::state::Subject::Notice(*id);
        assert!(
            pending
                .retry_at
                .is_none_or(|at| state.index.deadlines.contains(&(at, subject)))
        );
    }
}

fn group(ip: IpAddr) -> IpNet {
    IpNet::new(ip, if ip.is_ipv4() { 24 } else { 48 }).unwrap().trunc()
}
