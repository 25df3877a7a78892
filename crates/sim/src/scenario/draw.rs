//! Which run a seed means.
//!
//! Never asks anything but the seed: the same seed is the same run. What most runs are without is in `besides`.

use staunch_model::{ActionKind, Aim, Mode, Span};

use super::grounds::Grounds;
use super::places::PLACES;
use super::policies::{PLAYBOOKS, known};
use super::{Dated, Happening, Order, Scenario, Tamper, besides};
use crate::chance::Chance;
use crate::fault::{Fault, Rates};
use crate::world::{ON_A_MACHINE, WorldKind};

impl Scenario {
    /// Draws a run from `seed`: about twenty transactions, and everything that can go wrong with them.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut chance = Chance::at(seed, &[0]);
        let chance = &mut chance;
        let world = chance.pick(&[WorldKind::Kernel, WorldKind::Kernel, WorldKind::Api, WorldKind::Cloud]);
        let world = if world == WorldKind::Kernel && is_on_a_machine(seed) {
            // Of a draw of its own, so that it changes nothing else; most of them freeze.
            let kind = Chance::at(seed, &[10]).below(8);
            let kind = ON_A_MACHINE.get(usize::try_from(kind).expect("small"));
            WorldKind::Machine(kind.copied().unwrap_or(ActionKind::FreezeProcess))
        } else if world == WorldKind::Kernel && is_limited(seed) {
            WorldKind::Limiter
        } else {
            world
        };
        let grounds = grounds(seed, world);
        let mut policy = || known(world, grounds, u8::try_from(chance.below(8)).expect("small"));
        let policies = vec![policy(), policy()];
        let replicas = if chance.percent(20) {
            2 + u8::from(chance.percent(30))
        } else {
            1
        };
        let sync_us = chance.pick(&[0, 0, 0, 100, 2_000, 40_000]);
        let adversary_percent = match world {
            WorldKind::Cloud => 20,
            WorldKind::Kernel | WorldKind::Limiter | WorldKind::Api | WorldKind::Machine(_) => 0,
        };
        let mut happenings = Vec::with_capacity(48);
        let mut at = Span::ZERO;
        for _ in 0..18 + chance.below(8) {
            at = at
                + Span::from_micros(match chance.below(10) {
                    0..=3 => chance.below(2_000),
                    4..=6 => chance.below(300_000),
                    7 | 8 => chance.below(8_000_000),
                    _ => chance.below(45_000_000),
                });
            happenings.push((at, happening(chance)));
        }
        more_events(seed, at, &mut happenings);
        besides::add(seed, at, &mut happenings);
        happenings.sort_by_key(|(at, _)| *at);
        Self {
            seed,
            world,
            replicas,
            rates: rates(chance),
            adversary_percent,
            sync: Span::from_micros(sync_us),
            raw_clock: replicas == 1 && chance.percent(5),
            sweep_takes: sweep_takes(seed),
            traffic_varies: grounds == Grounds::Traffic,
            asks_feeds: grounds == Grounds::Feeds,
            policies,
            cuts: Vec::new(),
            happenings,
        }
    }
}

/// In one of four runs in a kernel, which acts on what the machine has of its own instead of blocking addresses. Drawn
/// by itself, so that it changes nothing about the other runs.
fn is_on_a_machine(seed: u64) -> bool {
    Chance::at(seed, &[8]).percent(25)
}

/// Whether addresses are limited in what would be blocked in the kernel otherwise. Drawn by itself, as that.
fn is_limited(seed: u64) -> bool {
    Chance::at(seed, &[40]).percent(15)
}

/// In one of four runs that block addresses or limit them, acts are judged by what they would stop; and in one of ten
/// of the others by their risk. Drawn by itself, as that.
fn grounds(seed: u64, world: WorldKind) -> Grounds {
    let mut chance = Chance::at(seed, &[41]);
    if chance.percent(25) && world.action().aims_at() == Aim::Address {
        Grounds::Traffic
    } else if chance.percent(10) {
        chance.pick(&[Grounds::MediumRisk, Grounds::HighRisk])
    } else if besides::has_feeds(seed) {
        Grounds::Feeds
    } else if besides::has_further_addresses(seed) && world.action().aims_at() == Aim::Address {
        Grounds::Internal
    } else {
        Grounds::Usual
    }
}

/// In one of eight runs, sweeps take their time. Drawn by itself, as that, and by a key that leaves the kept seeds the
/// runs that they were.
fn sweep_takes(seed: u64) -> Span {
    let mut chance = Chance::at(seed, &[46]);
    if !chance.percent(12) {
        return Span::ZERO;
    }
    Span::from_micros(chance.pick(&[150_000, 2_000_000, 20_000_000]))
}

/// Further events among what happens, so that there are about twenty transactions. Drawn by themselves, so that they
/// change nothing about what else a seed means.
fn more_events(seed: u64, end: Span, happenings: &mut Vec<(Span, Happening)>) {
    let mut chance = Chance::at(seed, &[9]);
    for _ in 0..5 + chance.below(5) {
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        happenings.push((at, event(&mut chance)));
    }
}

/// Rates of faults: a few classes at a time, so that each meets calm company too.
fn rates(chance: &mut Chance) -> Rates {
    let mut rates = Rates::NONE;
    let level = chance.pick(&[0, 100, 300, 1_000, 3_000]);
    let classes = 1 + chance.below(8);
    for _ in 0..classes {
        let class = usize::try_from(chance.below(Fault::OF_EFFECTS as u64)).expect("small");
        let rate = level / classes + chance.below(1 + level / 4);
        rates.0[class] = u16::try_from(rate).unwrap_or(u16::MAX);
    }
    rates
}

fn happening(chance: &mut Chance) -> Happening {
    match chance.below(100) {
        0..=54 => event(chance),
        55..=66 => Happening::Command(order(chance)),
        67..=72 => Happening::Crash {
            outage: Span::from_micros(chance.pick(&[0, 1_000, 400_000, 15_000_000])),
            again_after: if chance.percent(30) {
                u8::try_from(1 + chance.below(4)).expect("small")
            } else {
                0
            },
        },
        73..=76 => Happening::Pause(Span::from_micros(
            chance.pick(&[50_000, 3_000_000, 12_000_000, 30_000_000]),
        )),
        77..=83 => Happening::Sweep,
        84..=87 => Happening::Tamper(match chance.below(5) {
            0 => Tamper::Flush,
            1 | 2 => Tamper::Replace(number(chance)),
            _ => Tamper::Remove(number(chance)),
        }),
        88 | 89 => {
            let span = i64::try_from(chance.pick(&[300_000_u64, 90_000_000, 5_000_000_000])).expect("small");
            Happening::SetClock(if chance.percent(50) { span } else { -span })
        }
        90 => Happening::DiskFull(Span::from_micros(chance.below(5_000_000))),
        91 => Happening::FailSync,
        92 | 93 => Happening::SlowSync(Span::from_micros(chance.below(3_000_000))),
        94 | 95 => Happening::Policy(u8::try_from(chance.below(2)).expect("small")),
        96 | 97 => Happening::Unenforced(Span::from_micros(chance.below(20_000_000))),
        _ => Happening::Crowded(
            u8::try_from(chance.below(4)).expect("small"),
            Span::from_micros(chance.below(20_000_000)),
        ),
    }
}

pub(super) fn number(chance: &mut Chance) -> u8 {
    u8::try_from(chance.below(u64::from(PLACES))).expect("small")
}

pub(super) fn event(chance: &mut Chance) -> Happening {
    let targets = (0..1 + chance.below(3))
        .map(|_| (!chance.percent(4)).then(|| number(chance)))
        .collect();
    Happening::Event {
        playbook: u8::try_from(chance.below(u64::from(PLAYBOOKS))).expect("small"),
        key: number(chance),
        targets,
        dated: Dated::Ago(match chance.below(30) {
            0 => Span::from_mins(16),
            1 => Span::from_mins(14),
            _ => Span::from_micros(chance.below(2_000_000)),
        }),
        copies: if chance.percent(8) { 12 } else { 1 },
    }
}

fn order(chance: &mut Chance) -> Order {
    let which = chance.below(20);
    match chance.below(16) {
        0..=2 => Order::Release(which),
        3 => Order::ReleaseIncident(which),
        4 => Order::ReleaseAll,
        5 | 6 => Order::Renew(
            which,
            Span::from_micros(chance.pick(&[1_000_000, 7_200_000_000, 400_000_000_000])),
        ),
        7..=10 => Order::Approve(which),
        11 | 12 => Order::ApproveLate(which),
        13 => Order::Deny(which),
        _ => Order::Mode(chance.pick(&[Mode::Observe, Mode::Approve, Mode::Enforce, Mode::Enforce])),
    }
}
