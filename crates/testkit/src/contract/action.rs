//! What every driver of an action is held to, whatever it drives and whatever it acts on.
//!
//! The suite judges by what the driver answers and by what a witness beside the driver sees. Never names a driver.

use std::time::{Duration, Instant};

use staunch_model::{
    EffectKey, FailureKind, InstallationId, Observation, Outcome, Owner, Presence, Span, Target, TransactionId,
};
use staunch_ports::{Action, ExecuteRequest, UndoRequest};

mod act;
mod batch;
mod hold;
mod sweep;
mod undo;

/// How long a containment holds that is not to end during a check.
const HOLD: Span = Span::from_hours(1);

/// The world a driver acts on, and hands to change it behind the driver's back.
pub trait ActionWorld {
    /// A driver of `installation`. All drivers of a world see the same objects.
    fn driver(&self, installation: InstallationId) -> Box<dyn Action>;

    /// The label of what is at `target`, as seen by a witness that is not the driver.
    fn label(&self, target: Target) -> Option<String>;

    /// Puts somebody else's object at `target`, without an end.
    fn put(&self, target: Target, label: &str);

    /// Removes what is at `target`, whosever it is.
    fn remove(&self, target: Target);

    /// Removes everything, down to the enforcement point itself.
    fn flush(&self);

    /// Breaks the enforcement, so that objects in place achieve nothing.
    fn break_enforcement(&self);

    /// Mends what [`ActionWorld::break_enforcement`] broke.
    fn restore_enforcement(&self);

    /// Lets time pass until `done`, for `span` and a reasonable margin at the most. Returns whether it was done.
    ///
    /// By default that is real time, with 20 seconds to spare where the enforcement point counts down, and 200 ms where
    /// nothing is to happen.
    fn wait(&self, span: Span, done: &mut dyn FnMut() -> bool) -> bool {
        let spare = if self.counts_down() {
            Duration::from_secs(20)
        } else {
            Duration::from_millis(200)
        };
        let deadline = Instant::now() + span.to_std() + spare;
        while Instant::now() < deadline {
            if done() {
                return true;
            }
            std::thread::yield_now();
        }
        done()
    }

    /// Which families of targets it has: the suite runs once for each.
    fn families(&self) -> &'static [Family] {
        &[Family::V4, Family::V6]
    }

    /// The `number`th target of `family`, always the same one. Nothing is in place there at first.
    fn target(&self, family: Family, number: u16) -> Target {
        family.address(number)
    }

    /// Whether the enforcement point ends a containment by itself when its hold is over. Otherwise it stays, whatever
    /// the hold.
    fn counts_down(&self) -> bool {
        true
    }

    /// Whether each object is enforced by itself. Otherwise there is one enforcement point for all, which
    /// [`ActionWorld::flush`] removes and an act makes again.
    fn enforces_each(&self) -> bool {
        false
    }

    /// Whether an act ends its target, so that it can neither be done again there nor be broken. Nothing brings it
    /// back.
    fn is_final(&self) -> bool {
        false
    }

    /// How many targets of a family there are, when not any number. Where there is one only, checks that compare it
    /// with others do without those; all that they say of the one holds.
    fn targets_max(&self) -> Option<u16> {
        None
    }

    /// How many requests there are in each of the batches of a check: no more than there are targets.
    fn batch_sizes(&self) -> &'static [u16] {
        &[1, 2, 1_000, 2_500]
    }

    /// A label for `target` that looks like one of the installation `a0a0a0a0a0a0a0a0`, but that no program of ours
    /// writes like this.
    fn lookalike(&self, _target: Target) -> String {
        "staunch:a0a0a0a0a0a0a0a0:TX-05".to_owned()
    }
}

/// Runs the whole suite. `make` returns a world in which nothing is in place, and enforcement works.
///
/// # Panics
/// When a driver breaks the contract.
pub fn action(make: impl Fn() -> Box<dyn ActionWorld>) {
    for family in make().families().iter().copied() {
        let check = |check: fn(&mut Scene)| check(&mut Scene::new(make(), family));
        check(act::describing_is_static_and_complete);
        check(act::observing_only_reads);
        check(act::executing_lands_and_is_seen);
        check(act::executing_twice_is_executing_once);
        check(act::what_came_in_between_is_a_conflict_and_untouched);
        check(act::another_installation_is_foreign);
        check(act::another_transaction_is_a_conflict);
        if !make().is_final() {
            check(act::an_object_removed_behind_our_back_is_seen_and_can_come_back);
            check(act::enforcement_is_reported_and_made_again);
            check(act::after_everything_is_flushed_executing_works);
            check(undo::executing_after_undoing_works);
        }
        check(undo::undoing_removes_ours);
        check(undo::undoing_twice_or_without_executing_lands);
        check(undo::undoing_leaves_what_is_not_of_the_transaction);
        check(undo::undoing_after_a_flush_lands);
        check(hold::a_hold_ends_by_itself);
        check(hold::a_renewal_moves_the_end);
        check(hold::a_renewal_needs_an_object_of_ours);
        check(hold::a_hold_out_of_bounds_is_refused);
        check(hold::an_act_again_gets_its_whole_hold);
        check(batch::an_empty_batch_has_no_answers);
        check(batch::every_request_has_its_answer_in_order);
        check(batch::one_target_twice_in_a_batch);
        check(sweep::owned_lists_exactly_ours);
    }
}

/// Which targets a check uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 addresses.
    V4,
    /// IPv6 addresses.
    V6,
    /// Processes of this machine.
    Processes,
    /// Domains.
    Domains,
    /// Accounts of this machine.
    Accounts,
    /// Hosts.
    Hosts,
    /// What jobs are about.
    Jobs,
}

impl Family {
    /// The `number`th address, in the networks for documentation and benchmarks.
    ///
    /// # Panics
    /// When it is no family of addresses.
    #[must_use]
    pub fn address(self, number: u16) -> Target {
        let [high, low] = number.to_be_bytes();
        Target::Address(match self {
            Self::V4 => [198, 18, high, low].into(),
            Self::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, number].into(),
            Self::Processes | Self::Domains | Self::Accounts | Self::Hosts | Self::Jobs => {
                panic!("a world without addresses says which targets it has")
            }
        })
    }
}

/// A world with drivers of two installations.
struct Scene {
    world: Box<dyn ActionWorld>,
    family: Family,
    /// The driver under test.
    ours: Box<dyn Action>,
    /// Another installation's.
    theirs: Box<dyn Action>,
}

impl Scene {
    fn new(world: Box<dyn ActionWorld>, family: Family) -> Self {
        let ours = world.driver(InstallationId([0xa0; 8]));
        let theirs = world.driver(InstallationId([0xb0; 8]));
        Self {
            world,
            family,
            ours,
            theirs,
        }
    }

    fn target(&self, number: u16) -> Target {
        self.world.target(self.family, number)
    }

    /// A target beside the first; `None` where there is one only.
    fn other(&self, number: u16) -> Option<Target> {
        assert!(number > 1, "it would be the first");
        let there_is = self.world.targets_max().is_none_or(|max| number <= max);
        there_is.then(|| self.target(number))
    }

    fn see(&mut self, target: Target) -> Observation {
        let mut seen = self.ours.observe(&[target]);
        assert_eq!(seen.len(), 1, "one answer for one target");
        seen.remove(0).expect("the target can be read")
    }

    fn presence(&mut self, target: Target) -> Presence {
        self.see(target).presence
    }

    fn owner(&mut self, target: Target) -> Option<Owner> {
        match self.presence(target) {
            Presence::Absent => None,
            Presence::Present { owner, .. } => Some(owner),
        }
    }

    fn expires_in(&mut self, target: Target) -> Option<Span> {
        match self.presence(target) {
            Presence::Absent => None,
            Presence::Present { expires_in, .. } => expires_in,
        }
    }

    /// Executes one request of `transaction`, conditional on what is seen first.
    fn execute(&mut self, transaction: u64, target: Target) -> Outcome {
        let version = self.see(target.clone()).version;
        self.request(ExecuteRequest {
            version,
            ..execute(transaction, target)
        })
    }

    fn request(&mut self, request: ExecuteRequest) -> Outcome {
        let mut outcomes = self.ours.execute(&[request]);
        assert_eq!(outcomes.len(), 1, "one answer for one request");
        outcomes.remove(0)
    }

    fn undo(&mut self, transaction: u64, target: Target) -> Outcome {
        let mut outcomes = self.ours.undo(&[undo(transaction, target)]);
        assert_eq!(outcomes.len(), 1, "one answer for one request");
        outcomes.remove(0)
    }
}

fn key(transaction: u64) -> EffectKey {
    let mut key = EffectKey::default();
    key.0[..8].copy_from_slice(&transaction.to_le_bytes());
    key
}

fn execute(transaction: u64, target: Target) -> ExecuteRequest {
    let transaction_id = TransactionId(transaction);
    ExecuteRequest {
        transaction: transaction_id,
        key: key(transaction),
        target,
        version: 0,
        hold: HOLD,
        renewal: false,
    }
}

fn undo(transaction: u64, target: Target) -> UndoRequest {
    UndoRequest {
        transaction: TransactionId(transaction),
        key: key(transaction),
        target,
        lease_ended: false,
    }
}

fn ours(transaction: u64) -> Option<Owner> {
    Some(Owner::Ours(TransactionId(transaction)))
}

#[track_caller]
fn assert_refused(outcome: &Outcome, kind: FailureKind) {
    match outcome {
        Outcome::DidNotHappen(failure) if failure.kind == kind => {}
        other => panic!("expected a refusal as {kind:?}, got {other:?}"),
    }
}
