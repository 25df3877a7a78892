//! What some runs have besides: each with draws of its own, so that it changes nothing about the runs without it.
//!
//! Never draws what all runs have: `draw` does.

use staunch_engine::limits::{EXEMPTION_MAX, TRUST_MAX};
use staunch_model::Span;

use super::draw::{event, number};
use super::places::FURTHER;
use super::policies::RECOVERS;
use super::{Dated, Happening, Order, Said};
use crate::chance::Chance;

type Happenings = Vec<(Span, Happening)>;

/// Something that some runs have besides.
struct Besides {
    /// Tells its draws from those for other purposes; see [`Chance::at`]. A new one is chosen so that the kept seeds
    /// are the runs that they were.
    key: u64,
    /// In how many of a hundred runs.
    percent: u64,
    /// Adds it to a run whose other happenings end at a time.
    draw: fn(&mut Chance, Span, &mut Happenings),
}

const ALL: [Besides; 9] = [
    some(1, 25, exemptions),
    some(2, 25, lists),
    some(11, 25, recoveries),
    some(42, 12, odd_times),
    some(43, 12, long_pause),
    some(44, 12, neighbours),
    some(45, 12, vain_sweeps),
    FURTHER_ADDRESSES,
    FEEDS,
];

const FURTHER_ADDRESSES: Besides = some(291, 15, further_addresses);
const FEEDS: Besides = some(300, 15, feeds);

impl Besides {
    fn is_in(&self, seed: u64) -> bool {
        Chance::at(seed, &[self.key]).percent(self.percent)
    }
}

const fn some(key: u64, percent: u64, draw: fn(&mut Chance, Span, &mut Happenings)) -> Besides {
    Besides { key, percent, draw }
}

/// Whether the run of `seed` has events about internal addresses and those of IPv6.
pub(super) fn has_further_addresses(seed: u64) -> bool {
    FURTHER_ADDRESSES.is_in(seed)
}

/// Whether feeds say something in the run of `seed`.
pub(super) fn has_feeds(seed: u64) -> bool {
    FEEDS.is_in(seed)
}

/// Adds to `happenings`, which end at `end`, what the run of `seed` has besides.
pub(super) fn add(seed: u64, end: Span, happenings: &mut Happenings) {
    for it in ALL {
        let mut chance = Chance::at(seed, &[it.key]);
        if chance.percent(it.percent) {
            (it.draw)(&mut chance, end, happenings);
        }
    }
}

/// Longer than anything may be protected or trusted for.
const TOO_LONG: Span = Span::from_hours(20 * 366 * 24);

const _: () = assert!(TOO_LONG.as_micros() > EXEMPTION_MAX.as_micros() && TOO_LONG.as_micros() > TRUST_MAX.as_micros());

/// People protect targets and trust what they release.
fn exemptions(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    for _ in 0..1 + chance.below(4) {
        let lasts =
            Span::from_micros(chance.pick(&[2_000, 3_000_000, 60_000_000, 7_200_000_000, TOO_LONG.as_micros()]));
        let order = match chance.below(8) {
            0..=3 => Order::Protect(number(chance), lasts),
            4 => Order::Unprotect(number(chance)),
            _ => Order::ReleaseTrusting(chance.below(20), lasts),
        };
        happenings.push((
            Span::from_micros(chance.below(1 + end.as_micros())),
            Happening::Command(order),
        ));
    }
}

/// A file lists protected targets, and others later.
fn lists(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    for _ in 0..1 + chance.below(3) {
        let places = (0..chance.below(4)).map(|_| number(chance)).collect();
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        happenings.push((at, Happening::List(places)));
    }
}

/// There are incidents that are watched and recovered from, and the business is not always well.
fn recoveries(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    for _ in 0..1 + chance.below(3) {
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        let incident = Happening::Event {
            playbook: RECOVERS,
            key: number(chance),
            targets: (0..3).map(|_| Some(number(chance))).collect(),
            dated: Dated::Ago(Span::from_micros(chance.below(2_000_000))),
            copies: 1,
        };
        happenings.push((at, incident));
        // The incident has a number that nobody knows beforehand: several are tried.
        for _ in 0..2 + chance.below(6) {
            let after = Span::from_micros(chance.below(60_000_000));
            let which = chance.below(20);
            let order = if chance.percent(10) {
                Order::StopRecovery(which)
            } else {
                Order::Recover(which)
            };
            happenings.push((at + after, Happening::Command(order)));
        }
    }
    for _ in 0..1 + chance.below(4) {
        let at = Span::from_micros(chance.below(1 + end.as_micros() + 30_000_000));
        let healthy = (!chance.percent(25)).then_some(false);
        let lasts = Span::from_micros(chance.pick(&[500_000, 4_000_000, 30_000_000]));
        happenings.push((at, Happening::Health(healthy, lasts)));
    }
}

/// There are events whose clock is ahead, or that have no time.
fn odd_times(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    for _ in 0..1 + chance.below(3) {
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        let mut event = event(chance);
        if let Happening::Event { dated, .. } = &mut event {
            *dated = match chance.below(4) {
                0 => Dated::Never,
                // Shortly before too much, and shortly after that.
                1 => Dated::Ahead(Span::from_secs(299)),
                2 => Dated::Ahead(Span::from_secs(301)),
                _ => Dated::Ahead(Span::from_hours(24)),
            };
        }
        happenings.push((at, event));
    }
}

/// Much of an hour passes at once.
fn long_pause(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    let at = Span::from_micros(chance.below(1 + end.as_micros()));
    // Nearly an hour, too: the window of budgets ends with it.
    let minutes = i64::try_from(if chance.percent(40) { 59 } else { 35 + chance.below(20) }).expect("small");
    happenings.push((at, Happening::SetClock(minutes * 60_000_000)));
}

/// People protect neighbours together, and one of them for another time besides.
fn neighbours(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    for _ in 0..1 + chance.below(2) {
        let number = number(chance);
        let lasts = |chance: &mut Chance| Span::from_micros(chance.pick(&[200_000, 3_000_000, 60_000_000]));
        let orders = [
            Order::ProtectAround(number, lasts(chance)),
            Order::Protect(number, lasts(chance)),
        ];
        for order in orders {
            let at = Span::from_micros(chance.below(1 + end.as_micros()));
            happenings.push((at, Happening::Command(order)));
        }
    }
}

/// Some sweeps cannot read the world.
fn vain_sweeps(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    for _ in 0..1 + chance.below(4) {
        let at = Span::from_micros(chance.below(1 + end.as_micros()));
        happenings.push((at, Happening::SweepInVain));
    }
}

/// Feeds say this and that of places, and the table that makes a risk of it is replaced.
fn feeds(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    let mut at = |chance: &mut Chance, happening| {
        // Most of it soon, so that events find it.
        let until = if chance.percent(60) {
            1_000_000
        } else {
            1 + end.as_micros()
        };
        happenings.push((Span::from_micros(chance.below(until)), happening));
    };
    for _ in 0..8 + chance.below(12) {
        let number = number(chance);
        let said = match chance.below(6) {
            0 => Said::Unknown,
            1 => Said::Unnamed,
            _ => Said::Named(
                u16::try_from(chance.pick(&[300, 400, 401, 800, 801, 1_000])).expect("small"),
                Span::from_micros(chance.pick(&[30_000, 2_000_000, 60_000_000, 7_200_000_000])),
            ),
        };
        at(chance, Happening::Said(number, said));
    }
    for _ in 0..chance.below(3) {
        let is_usual = chance.percent(40);
        at(chance, Happening::RiskTable(is_usual));
    }
    for _ in 0..3 {
        let which = chance.below(20);
        at(chance, Happening::Command(Order::Approve(which)));
    }
}

/// There are events about internal addresses and those of IPv6, and people and files protect some of them.
fn further_addresses(chance: &mut Chance, end: Span, happenings: &mut Happenings) {
    let number = |chance: &mut Chance| FURTHER.start + u8::try_from(chance.below(FURTHER.len() as u64)).expect("small");
    let any = |chance: &mut Chance| Span::from_micros(chance.below(1 + end.as_micros()));
    for _ in 0..2 + chance.below(5) {
        let mut event = event(chance);
        if let Happening::Event { targets, .. } = &mut event {
            for target in targets.iter_mut().flatten() {
                *target = number(chance);
            }
        }
        happenings.push((any(chance), event));
    }
    for _ in 0..chance.below(4) {
        let happening = match chance.below(4) {
            0 => Happening::List(vec![number(chance)]),
            1 => Happening::Command(Order::ProtectAround(number(chance), Span::from_secs(60))),
            2 => Happening::Command(Order::Protect(number(chance), Span::from_secs(3))),
            _ => Happening::Command(Order::Approve(chance.below(20))),
        };
        happenings.push((any(chance), happening));
    }
}
