//! A random walk: whole days of incidents from one seed, with faults, crashes, tampering and operators. Every step is
//! checked by [`crate::invariants`], and every run must come to a clean end. A seed that fails is printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use staunch_model::{Command, IncidentId, Mode, Owner, ReleaseScope, Span, TransactionId};

use crate::build::{self, playbook, policy, protection, target};
use crate::chance::Chance;
use crate::sim::Sim;

/// Runs in all. `STAUNCH_SEEDS=100000` runs more, for a night.
const SEEDS: u64 = 1_200;

const ADDRESSES: [&str; 7] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.3",
    "203.0.114.4",
    "198.51.100.5",
    "10.0.0.6",
    "2001:db8::7",
];

const PLAYBOOKS: [&str; 6] = ["enforce", "enforce", "other", "approve", "observe", "keep"];

/// A quarter of all runs, so that the test runner spreads them over the cores.
fn quarter(which: u64) {
    let seeds = std::env::var("STAUNCH_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(SEEDS);
    (0..seeds).filter(|seed| seed % 4 == which).for_each(run);
}

#[test]
fn whole_days_of_trouble_end_clean_0() {
    quarter(0);
}

#[test]
fn whole_days_of_trouble_end_clean_1() {
    quarter(1);
}

#[test]
fn whole_days_of_trouble_end_clean_2() {
    quarter(2);
}

#[test]
fn whole_days_of_trouble_end_clean_3() {
    quarter(3);
}

/// Seeds that found a mistake once.
#[test]
fn seeds_that_once_failed() {
    {
        let seed = 4_225;
        run(seed);
    }
}

fn run(seed: u64) {
    let result = catch_unwind(AssertUnwindSafe(|| walk(seed)));
    if let Err(panic) = result {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        panic!("seed {seed}: {}", text.unwrap_or("a panic"));
    }
}

fn walk(seed: u64) {
    let mut chance = Chance::new(seed);
    let is_remote = chance.percent(50);
    let random_policy = |chance: &mut Chance| {
        let mode = if chance.percent(85) {
            Mode::Enforce
        } else {
            chance.pick(&[Mode::Approve, Mode::Observe])
        };
        let in_flight = 1 + chance.below(4) as u32;
        let per_hour = chance.pick(&[3, 8, 500]);
        let (breaker, protects, lease) = (
            chance.pick(&[2, 5, 1_000]),
            chance.percent(20),
            chance.pick(&[1, 10, 60]),
        );
        policy(|it| {
            if is_remote {
                build::remote(it);
            }
            it.mode_max = mode;
            it.limits.actions_in_flight_max = in_flight;
            it.limits.acts_per_hour_max = per_hour;
            it.limits.acts_per_group_hour_max = per_hour.min(20);
            it.limits.breaker_failures = breaker;
            if protects {
                it.never_touch.push(protection("203.0.113.0/24", "protected since"));
            }
            let changed = playbook("enforce", |it| {
                it.steps.iter_mut().for_each(|it| it.lease = Span::from_mins(lease));
            });
            it.playbooks[0] = Arc::new(staunch_model::Playbook {
                hash: hash_of(&changed),
                ..changed
            });
        })
    };
    let first = random_policy(&mut chance);
    let mut sim = Sim::new(first);
    sim.invariants.compare_every = 7;
    sim.world.versioned = chance.percent(70);
    let percent = chance.pick(&[0, 5, 20, 50]);
    sim.trouble = Some((Chance::new(seed ^ 0xfeed), percent));

    for _ in 0..10 + chance.below(25) {
        let transaction = TransactionId(1 + chance.below(sim.transactions().max(1)));
        match chance.below(24) {
            0..=7 => event(&mut sim, &mut chance),
            8 | 9 => sim.run(Span::from_millis(chance.below(10))),
            10 => sim.run(Span::from_millis(chance.below(5_000))),
            11 => sim.run(Span::from_secs(chance.below(400))),
            12 => sim.run(Span::from_mins(chance.below(70))),
            13 => drop(sim.command(Command::Release(ReleaseScope::Transaction(transaction)))),
            14 => drop(sim.command(Command::Release(ReleaseScope::Incident(IncidentId(
                1 + chance.below(8),
            ))))),
            15 => {
                let lease = Span::from_millis(chance.below(3_600_000));
                let shorten = chance.below(2) == 0;
                drop(sim.command(Command::Renew {
                    transaction,
                    lease,
                    shorten,
                }));
            }
            16 => drop(sim.command(Command::Approve(transaction))),
            17 => drop(sim.command(Command::Deny(transaction))),
            18 => {
                let outage = Span::from_millis(chance.pick(&[0, 1, 500, 20_000, 7_200_000]));
                sim.crash(outage);
            }
            19 => sim.sweep(),
            20 => tamper(&mut sim, &mut chance),
            21 => sim.policy(random_policy(&mut chance)),
            22 => match chance.below(4) {
                0 => drop(sim.release_all()),
                1 => sim.sweep_fails(),
                2 => sim.set_mode(chance.pick(&[Mode::Observe, Mode::Approve, Mode::Enforce])),
                _ => sim.clock_behind = Span::from_millis(chance.below(2_000)),
            },
            _ => drop(sim.command(Command::Approve(TransactionId(sim.transactions())))),
        }
    }
    sim.ends_clean();
}

fn hash_of(playbook: &staunch_model::Playbook) -> staunch_model::ContentHash {
    build::hash(&format!("{} {}", playbook.name, playbook.steps[0].lease))
}

fn event(sim: &mut Sim, chance: &mut Chance) {
    let count = 1 + chance.below(2);
    let matches = (0..count).map(|_| {
        let name = chance.pick(&PLAYBOOKS);
        let targets: Vec<&str> = (0..1 + chance.below(3))
            .map(|_| {
                if chance.percent(5) {
                    "-"
                } else {
                    chance.pick(&ADDRESSES)
                }
            })
            .collect();
        let mut matched = build::matched(name, targets[0], &targets);
        if name == "enforce" {
            matched.playbook = sim.state().policy.as_ref().unwrap().playbooks[0].hash;
        }
        matched
    });
    let matches = matches.collect();
    let event = build::event(Some(sim.now)).into();
    sim.input(staunch_model::Input::Event { event, matches });
}

fn tamper(sim: &mut Sim, chance: &mut Chance) {
    let place = target(chance.pick(&ADDRESSES));
    match chance.below(4) {
        0 => sim.world.tamper(place, None),
        1 => sim.world.tamper(place, Some(Owner::Foreign("fail2ban".into()))),
        2 => sim.world.enforcing = !sim.world.enforcing,
        _ => sim.world.capacity_max = chance.pick(&[0, 2, 65_536]),
    }
}
