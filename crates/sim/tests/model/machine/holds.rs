//! What holds in every state, and what is met in some.
//!
//! Never changes a state.

use std::collections::BTreeMap;

use stateright::{Model as _, Property};
use staunch_model::{Effect, Owner, StateKind, Target, Transaction, TransactionId};

use super::{Machine, Request, World};

/// Effects that a transaction may need: what needs more is tried without an end.
const TICKET_MAX: u32 = 40;

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

/// What always holds, and what happens at least once.
pub(super) fn properties() -> Vec<Property<Machine>> {
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
        Property::always(ENDS, |machine: &Machine, world: &World| {
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

impl World {
    fn is_any(&self, kind: StateKind) -> bool {
        self.transactions().any(|it| it.state.kind() == kind)
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
            .all(|it| self.places[&it.target].owner == Some(Owner::Ours(it.label())))
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

    fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.engine.state().transactions.values()
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

    pub(super) fn is_anything_alive(&self) -> bool {
        self.transactions().any(|it| !it.state.kind().is_terminal())
    }

    /// Nothing happens any more: everything has ended or is left to a person, and nothing is under way.
    pub(super) fn is_at_rest(&self, machine: &Machine) -> bool {
        !self.is_anything_alive()
            && self.tail.is_empty()
            && self.requests.is_empty()
            && self.replies.is_empty()
            && (self.events == machine.events.len())
    }
}
