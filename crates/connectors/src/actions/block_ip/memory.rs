//! Blocks addresses in a world that exists in memory only: for demonstrations, measurements and tests.
//!
//! # Expected flow
//! As the nftables driver, which it stands in for, word by word: the same contract suite holds both.
//!
//! # Guarantees
//! Nothing outside of this process is ever touched.
//!
//! # Assumptions
//! Every driver of one [`MemoryWorld`] sees the same objects, as two programs on one machine would.
//!
//! # Caveats
//! No packet is dropped. The world can be told to misbehave, see [`Fault`].
//!
//! # Errors
//! `Conflict`, `Full` and `Invalid` as the real one; whatever a [`Fault`] says.

mod world;

use std::net::IpAddr;
use std::time::Duration;

use staunch_model::{
    ActionKind, Capacity, Description, Failure, FailureKind, InstallationId, Observation, Outcome, Owner, Presence,
    Target,
};
use staunch_ports::{Action, ExecuteRequest, Owned, OwnedTarget, UndoRequest};

use super::super::{Label, hold};
use super::{HOLD_TOLERANCE, address_of, conflict, description};
pub use world::{Fault, MemoryWorld, Verb};
use world::{Object, World};

/// The driver: one installation's view of a [`MemoryWorld`].
#[derive(Debug)]
pub struct MemoryBlockIp {
    world: MemoryWorld,
    installation: InstallationId,
    /// What the newest look said about the rules: broken ones are repaired by the next act.
    seen_broken: bool,
}

impl MemoryBlockIp {
    /// A driver of `installation` in `world`.
    #[must_use]
    pub fn new(world: MemoryWorld, installation: InstallationId) -> Self {
        Self {
            world,
            installation,
            seen_broken: false,
        }
    }

    fn look(&self, world: &World, target: &Target) -> Observation {
        let address = address_of(target);
        let presence = world
            .objects
            .get(&address)
            .map_or(Presence::Absent, |object| Presence::Present {
                owner: Label::owner(Some(&object.label), self.installation),
                expires_in: object.ends.map(|it| it.since(world.now())),
            });
        Observation {
            presence,
            enforcing: world.enforcing,
            version: world.version,
            capacity: Some(Capacity {
                used: world.used(address),
                max: world.max,
            }),
            stopped_packets: world.objects.get(&address).map(|it| it.stopped_packets),
        }
    }

    fn execute_one(&self, world: &mut World, request: &ExecuteRequest) -> Outcome {
        let (target, address) = (&request.target, address_of(&request.target));
        if let Some(refused) = hold::refused("block", target, request.hold) {
            return Outcome::DidNotHappen(refused);
        }
        let ends = world.now() + request.hold;
        let Some(object) = world.objects.get(&address) else {
            if request.renewal {
                return Outcome::DidNotHappen(conflict(
                    ActionKind::BlockIp,
                    target,
                    "nothing is in place to be renewed",
                ));
            }
            if world.used(address) >= world.max {
                let what = format!("cannot block {target}: the set is full");
                return Outcome::DidNotHappen(Failure::new(FailureKind::Full, &what));
            }
            let label = Label {
                installation: self.installation,
                transaction: request.transaction,
            }
            .to_string();
            world.put(
                address,
                Object {
                    label: label.into(),
                    ends: Some(ends),
                    stopped_packets: 0,
                },
            );
            return Outcome::Landed;
        };
        let found = match Label::owner(Some(&object.label), self.installation) {
            Owner::Ours(it) if it == request.transaction => {
                let ends_early = object.ends.is_none_or(|it| it + HOLD_TOLERANCE < ends);
                if request.renewal || ends_early {
                    world.set_end(address, ends);
                }
                return Outcome::Landed;
            }
            Owner::Ours(it) => format!("an element of {it} is in place"),
            Owner::Foreign(label) => format!("somebody else's element is in place ({label})"),
        };
        Outcome::DidNotHappen(conflict(ActionKind::BlockIp, target, &found))
    }

    fn undo_one(&self, world: &mut World, request: &UndoRequest) -> Outcome {
        let address = address_of(&request.target);
        let label = Label {
            installation: self.installation,
            transaction: request.transaction,
        }
        .to_string();
        if world.objects.get(&address).is_some_and(|it| *it.label == *label) {
            world.remove(address);
        }
        Outcome::Landed
    }
}

impl Action for MemoryBlockIp {
    fn describe(&self) -> Description {
        description(ActionKind::BlockIp, "memory", Duration::from_secs(1), "nothing")
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        let seen = self.world.attend(Verb::Observe, |world, fault| match fault {
            Some(fault) => vec![Err(fault.failure()); targets.len()],
            None => targets.iter().map(|it| Ok(self.look(world, it))).collect(),
        });
        if let Some(Ok(first)) = seen.first() {
            self.seen_broken = !first.enforcing;
        }
        seen
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let world = self.world.clone();
        world.attend(Verb::Execute, |world, fault| {
            let acts = requests.iter().any(|it| !it.renewal);
            if fault.is_none_or(|it| it.is_carried_out()) && acts && (self.seen_broken || world.is_missing) {
                world.set_enforcing(true);
                self.seen_broken = false;
            }
            let outcomes = requests.iter().map(|request| match fault {
                Some(fault) => fault.answer(|| self.execute_one(world, request)),
                None => self.execute_one(world, request),
            });
            outcomes.collect()
        })
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        self.world.attend(Verb::Undo, |world, fault| {
            let outcomes = requests.iter().map(|request| match fault {
                Some(fault) => fault.answer(|| self.undo_one(world, request)),
                None => self.undo_one(world, request),
            });
            outcomes.collect()
        })
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        self.world.attend(Verb::Owned, |world, fault| {
            if let Some(fault) = fault {
                return Err(fault.failure());
            }
            let owned =
                |(address, object): (&IpAddr, &Object)| match Label::owner(Some(&object.label), self.installation) {
                    Owner::Ours(transaction) => Some(OwnedTarget {
                        transaction,
                        target: Target::Address(*address),
                    }),
                    Owner::Foreign(_) => None,
                };
            Ok(Owned {
                targets: world.objects.iter().filter_map(owned).collect(),
                enforcing: world.enforcing,
                unread: Vec::new(),
            })
        })
    }
}
