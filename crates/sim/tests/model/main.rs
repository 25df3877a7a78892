//! Every state that the real engine can reach, within bounds, whatever order things happen in.
//!
//! A build with debug assertions checks the smaller bounds; `cargo xtask model` checks all of them.
#![allow(clippy::print_stdout, reason = "the table is the result")]

mod machine;

use std::collections::BTreeSet;
use std::time::Instant;

use machine::{Faults, Machine};
use stateright::{Checker, Model};

const NONE: Faults = Faults {
    crashes: 0,
    losses: 0,
    duplicates: 0,
    errors: 0,
    delays: 0,
    waits: 0,
    releases: 0,
    intruders: 0,
    refusals: 0,
};
const CRASH: Faults = Faults { crashes: 1, ..NONE };
const TWO_CRASHES: Faults = Faults { crashes: 2, ..NONE };

/// Bounds, what they are called, and the states that there are at the least.
struct Bounds {
    name: &'static str,
    /// The targets of each event.
    events: &'static [&'static [u8]],
    faults: Faults,
    states_min: usize,
    /// Only without debug assertions.
    large: bool,
}

const ONE: &[&[u8]] = &[&[0]];
const TWO_TARGETS: &[&[u8]] = &[&[0, 1]];
const SAME_TARGET: &[&[u8]] = &[&[0], &[0]];

#[rustfmt::skip]
const ALL: &[Bounds] = &[
    Bounds { name: "one, 1 crash", events: ONE, faults: CRASH, states_min: 100, large: false },
    Bounds { name: "one, 1 error", events: ONE, faults: Faults { errors: 1, ..NONE }, states_min: 100, large: false },
    Bounds { name: "one, undo refused", events: ONE, faults: Faults { refusals: 1, ..NONE }, states_min: 60, large: false },
    Bounds { name: "two targets", events: TWO_TARGETS, faults: NONE, states_min: 50, large: false },
    Bounds { name: "same target", events: SAME_TARGET, faults: NONE, states_min: 50, large: false },
    Bounds { name: "same target, 1 release", events: SAME_TARGET, faults: Faults { releases: 1, ..NONE }, states_min: 100, large: false },
    Bounds { name: "one, 1 crash, 1 loss, 1 duplicate", events: ONE, faults: Faults { losses: 1, duplicates: 1, ..CRASH }, states_min: 4_000, large: true },
    Bounds { name: "one, 1 crash, 1 loss, 1 duplicate, 1 error", events: ONE, faults: Faults { losses: 1, duplicates: 1, errors: 1, ..CRASH }, states_min: 40_000, large: true },
    Bounds { name: "one, 1 crash, 1 error, 1 release", events: ONE, faults: Faults { errors: 1, releases: 1, ..CRASH }, states_min: 6_000, large: true },
    Bounds { name: "one, 1 crash, 1 error, 1 delay", events: ONE, faults: Faults { errors: 1, delays: 1, ..CRASH }, states_min: 12_000, large: true },
    Bounds { name: "one, 1 crash, 1 duplicate, 1 delay", events: ONE, faults: Faults { duplicates: 1, delays: 1, ..CRASH }, states_min: 10_000, large: true },
    Bounds { name: "one, 1 crash, 1 error, 1 release, 1 wait", events: ONE, faults: Faults { errors: 1, releases: 1, waits: 1, ..CRASH }, states_min: 15_000, large: true },
    Bounds { name: "one, 1 crash, 1 error, 1 intruder", events: ONE, faults: Faults { errors: 1, intruders: 1, ..CRASH }, states_min: 2_000, large: true },
    Bounds { name: "one, 1 crash, 2 releases, undo refused", events: ONE, faults: Faults { releases: 2, refusals: 1, ..CRASH }, states_min: 8_000, large: true },
    Bounds { name: "one, 1 release, undo refused", events: ONE, faults: Faults { releases: 1, refusals: 1, ..NONE }, states_min: 100, large: true },
    Bounds { name: "one, 2 crashes", events: ONE, faults: TWO_CRASHES, states_min: 400, large: true },
    Bounds { name: "one, 2 crashes, 1 error", events: ONE, faults: Faults { errors: 1, ..TWO_CRASHES }, states_min: 4_000, large: true },
    Bounds { name: "one, 2 crashes, 1 loss", events: ONE, faults: Faults { losses: 1, ..TWO_CRASHES }, states_min: 3_000, large: true },
    Bounds { name: "two targets, 1 crash", events: TWO_TARGETS, faults: CRASH, states_min: 3_000, large: true },
    Bounds { name: "two targets, 1 loss, 1 release", events: TWO_TARGETS, faults: Faults { losses: 1, releases: 1, ..NONE }, states_min: 5_000, large: true },
    Bounds { name: "two targets, 1 error", events: TWO_TARGETS, faults: Faults { errors: 1, ..NONE }, states_min: 2_000, large: true },
    Bounds { name: "two targets, 1 crash, 1 error", events: TWO_TARGETS, faults: Faults { errors: 1, ..CRASH }, states_min: 40_000, large: true },
    Bounds { name: "two targets, 2 crashes", events: TWO_TARGETS, faults: TWO_CRASHES, states_min: 40_000, large: true },
    Bounds { name: "same target, 1 crash", events: SAME_TARGET, faults: CRASH, states_min: 500, large: true },
    Bounds { name: "same target, 1 error, 1 release", events: SAME_TARGET, faults: Faults { errors: 1, releases: 1, ..NONE }, states_min: 5_000, large: true },
    Bounds { name: "same target, 1 crash, 1 release", events: SAME_TARGET, faults: Faults { releases: 1, ..CRASH }, states_min: 5_000, large: true },
    Bounds { name: "same target, 2 crashes, 1 release", events: SAME_TARGET, faults: Faults { releases: 1, ..TWO_CRASHES }, states_min: 20_000, large: true },
    Bounds { name: "same target, 2 crashes", events: SAME_TARGET, faults: TWO_CRASHES, states_min: 2_500, large: true },
];

impl Bounds {
    fn machine(&self) -> Machine {
        Machine {
            events: self.events.iter().map(|targets| targets.to_vec()).collect(),
            faults: self.faults,
            tail_max: 2,
            mutant: None,
        }
    }
}

#[test]
fn no_order_of_things_within_the_bounds_breaks_a_property() {
    let large = !cfg!(debug_assertions);
    let begun = Instant::now();
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    println!(
        "{:<42} {:>8} {:>8} {:>6} {:>8}",
        "bounds", "states", "steps", "depth", "seconds"
    );
    for bounds in ALL.iter().filter(|it| large || !it.large) {
        let since = Instant::now();
        let checker = bounds.machine().checker().threads(2).spawn_bfs().join();
        let states = checker.unique_state_count();
        println!(
            "{:<42} {states:>8} {:>8} {:>6} {:>8.1}",
            bounds.name,
            checker.state_count(),
            checker.max_depth(),
            since.elapsed().as_secs_f64()
        );
        for (name, path) in checker.discoveries() {
            if checker.model().property(name).expectation.discovery_is_failure() {
                wrong.push(format!("{}: {name}: {:?}", bounds.name, path.into_actions()));
            } else {
                met.insert(name);
            }
        }
        if states < bounds.states_min {
            wrong.push(format!("{}: {states} states are too few to be all", bounds.name));
        }
    }
    for property in machine::KINDS_OF_ENDS {
        if !met.contains(property) {
            wrong.push(format!("{property}: never within any bounds"));
        }
    }
    println!("{:.1} seconds in all", begun.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(feature = "mutants")]
mod mutants {
    use std::collections::BTreeSet;

    use stateright::{Checker, HasDiscoveries, Model};
    use staunch_engine::mutant::Mutant;

    use super::machine::{
        DURABLE_INTENT, END_IS_CLEAN, END_IS_VERIFIED, ENDS, FORCE_IS_VERIFIED, IN_FORCE_IS_THERE, NO_DAMAGE, ONE_ACTS,
        REPLY_IS_NEWEST, STUCK_IS_TOLD,
    };
    use super::{Bounds, CRASH, Faults, NONE, ONE, SAME_TARGET};

    const DOUBT: Faults = Faults { errors: 1, ..NONE };
    const DOUBT_AND_RELEASE: Faults = Faults { releases: 1, ..DOUBT };

    /// Each fault, the property that has to find it, and bounds within which it is found.
    #[rustfmt::skip]
    const NAMED: &[(Mutant, &str, &[&[u8]], Faults)] = &[
        (Mutant::EffectBeforeSync, DURABLE_INTENT, ONE, CRASH),
        (Mutant::InDoubtIsFailure, END_IS_CLEAN, ONE, DOUBT),
        (Mutant::NoSettle, END_IS_CLEAN, ONE, DOUBT_AND_RELEASE),
        (Mutant::SettleTooShort, END_IS_CLEAN, ONE, DOUBT_AND_RELEASE),
        (Mutant::SettleFromIntent, END_IS_CLEAN, ONE, Faults { releases: 1, delays: 1, ..NONE }),
        (Mutant::RecoverySkipsSettling, END_IS_CLEAN, ONE, Faults { crashes: 1, ..DOUBT_AND_RELEASE }),
        (Mutant::SendByIgnored, END_IS_CLEAN, ONE, Faults { releases: 1, delays: 1, ..NONE }),
        (Mutant::NoProbe, END_IS_VERIFIED, ONE, DOUBT_AND_RELEASE),
        (Mutant::UndoBelieved, END_IS_VERIFIED, ONE, NONE),
        (Mutant::ActBelieved, FORCE_IS_VERIFIED, ONE, NONE),
        (Mutant::ForeignAccepted, FORCE_IS_VERIFIED, ONE, Faults { errors: 1, intruders: 1, ..NONE }),
        (Mutant::ForeignAccepted, IN_FORCE_IS_THERE, ONE, Faults { errors: 1, intruders: 1, ..NONE }),
        (Mutant::StaleRepliesTaken, REPLY_IS_NEWEST, ONE, Faults { duplicates: 1, losses: 1, ..NONE }),
        (Mutant::ActIgnoresOwner, NO_DAMAGE, ONE, Faults { intruders: 1, ..NONE }),
        (Mutant::UndoIgnoresOwner, NO_DAMAGE, ONE, Faults { errors: 1, intruders: 1, ..NONE }),
        (Mutant::TargetShared, ONE_ACTS, SAME_TARGET, Faults { releases: 1, ..DOUBT }),
        (Mutant::ExecuteForEver, ONE_ACTS, ONE, Faults { errors: 2, ..NONE }),
        (Mutant::WaitsForEver, ENDS, ONE, Faults { losses: 1, ..NONE }),
        (Mutant::LeaseForgotten, ENDS, ONE, CRASH),
        (Mutant::StuckSilently, STUCK_IS_TOLD, ONE, Faults { refusals: 1, ..NONE }),
    ];

    #[test]
    fn every_fault_put_in_is_found_by_the_property_named_for_it() {
        let mut wrong = Vec::new();
        println!("{:<24} {:<52} {:>8} {:>6}", "mutant", "found by", "states", "steps");
        for (mutant, named, events, faults) in NAMED {
            let bounds = Bounds {
                name: "",
                events,
                faults: *faults,
                states_min: 0,
                large: false,
            };
            let mut machine = bounds.machine();
            machine.mutant = Some(*mutant);
            // One thread, so that the path is a shortest one.
            let checker = machine
                .checker()
                .threads(1)
                .finish_when(HasDiscoveries::AnyOf(BTreeSet::from([*named])))
                .spawn_bfs()
                .join();
            let states = checker.unique_state_count();
            let discoveries = checker.discoveries();
            match discoveries.get(named) {
                Some(path) => {
                    let steps = path.clone().into_actions();
                    println!(
                        "{:<24} {named:<52} {states:>8} {:>6}",
                        format!("{mutant:?}"),
                        steps.len()
                    );
                }
                None => {
                    let others: Vec<_> = discoveries.keys().collect();
                    wrong.push(format!(
                        "{mutant:?}: not found by \"{named}\" in {states} states, but {others:?}"
                    ));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
