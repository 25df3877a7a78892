//! What the numbers in a run stand for: targets, what is found out about them, and the keys of events.
//!
//! Never depends on the seed: a number means the same in every run of a world.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::LazyLock;

use staunch_model::{Aim, Found, Process, Target, TargetFacts};

use crate::world::WorldKind;

/// Addresses that events are about.
pub const PLACES: u8 = 14;

/// The numbers of further addresses, which some events are about: internal ones, and those of IPv6.
pub(super) const FURTHER: Range<u8> = PLACES..PLACES + 7;

/// The target with this number in a world of this kind. Of the addresses, neighbours share a /24.
#[must_use]
pub fn place(world: WorldKind, number: u8) -> Target {
    let aim = match world {
        WorldKind::Kernel | WorldKind::Limiter | WorldKind::Api | WorldKind::Cloud => Aim::Address,
        WorldKind::Machine(kind) => kind.aims_at(),
    };
    match aim {
        Aim::Address => Target::Address(address(number)),
        Aim::Process => Target::Process(process(number)),
        Aim::Account => ACCOUNTS[usize::from(number)].clone(),
        Aim::Host => HOSTS[usize::from(number)].clone(),
        Aim::Domain => DOMAINS[usize::from(number)].clone(),
        Aim::Job => JOBS[usize::from(number)].clone(),
    }
}

/// What stands for each number, made once.
type Each<T> = LazyLock<Vec<T>>;

static ACCOUNTS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("account:user-{number}"))));
static HOSTS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("host:host-{number}"))));
static DOMAINS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("domain:{number}.example"))));
static JOBS: Each<Target> = LazyLock::new(|| each(|number| named(&format!("job:lock-door:{number}"))));

fn each<T>(make: impl FnMut(u8) -> T) -> Vec<T> {
    (0..=u8::MAX).map(make).collect()
}

fn named(text: &str) -> Target {
    text.parse().expect("it is a name")
}

/// The process with this number. The last of [`PLACES`] could not be told from others; the two before it are protected.
#[must_use]
pub fn process(number: u8) -> Process {
    let pid = 4_000 + u32::from(number);
    if number == PLACES - 1 {
        return Process::unidentified(pid);
    }
    Process {
        pid,
        started: 153_452,
        boot: 7,
    }
}

/// What is found out about the target with this number, as hostile as it can be. Of the last of [`PLACES`], and of
/// those after it, nothing can be told.
#[must_use]
pub fn found(world: WorldKind, number: u8) -> Found {
    static FILES: Each<Box<str>> =
        LazyLock::new(|| each(|number| format!("/tmp/x\u{1b}[2J{number} of user 33").into()));
    let target = place(world, number);
    let facts = if number + 1 < PLACES {
        Ok(TargetFacts {
            what: FILES[usize::from(number)].clone(),
            protected: (number + 3 >= PLACES).then(|| "the way in \u{1b}[1m".into()),
        })
    } else {
        Err("it has ended \u{1b}[1m".into())
    };
    Found { target, facts }
}

/// The address with this number. Of [`PLACES`] the last two are protected by all policies, and of those after them the
/// last; three of these share a /48.
#[must_use]
pub fn address(number: u8) -> IpAddr {
    let text = match number {
        14 => [10, 1, 2, 3],
        15 => [169, 254, 7, 7],
        16 => return [0xfd00, 1, 0, 0, 0, 0, 0, 1].into(),
        17 => return [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into(),
        18 => return [0x2001, 0xdb8, 1, 2, 0, 0, 0, 2].into(),
        19 => return [0x2001, 0xdb8, 1, 0xffff, 0, 0, 0, 3].into(),
        20 => return [0x2001, 0xdb8, 2, 0, 0, 0, 0, 4].into(),
        12 => [198, 51, 100, 7],
        13 => [198, 51, 100, 8],
        number if number % 3 == 0 => [192, 0, 2, number],
        number => [203, 0, 113, number],
    };
    text.into()
}

/// The label of somebody else's object, as hostile as it can be.
pub const FOREIGN: &str = "fail2ban\u{1b}[2J\u{7}\r\n\u{202e}";

/// The keys of events, hostile ones among them.
#[must_use]
pub fn key(number: u8) -> Box<str> {
    static KEYS: Each<Box<str>> = LazyLock::new(|| {
        each(|number| {
            if number.is_multiple_of(5) {
                format!("key-{number}\u{1b}[31m\n<script>").into()
            } else {
                format!("key-{number}").into()
            }
        })
    });
    KEYS[usize::from(number)].clone()
}
