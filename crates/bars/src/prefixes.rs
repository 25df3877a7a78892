//! Longest-prefix look-ups among 100,000 networks, and how long putting such a list in force holds the engine up.

use std::collections::HashSet;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use staunch_engine::Engine;
use staunch_engine::lists::{List, changes};
use staunch_model::{Input, ListedNetwork, Prefixes, Timestamp};

use crate::report::Row;

const NETWORKS: usize = 100_000;
const LOOK_UPS: usize = 2_000_000;

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let mut seed = 7;
    Ok(vec![
        look_up("longest prefix, IPv4", &mut seed, v4),
        look_up("longest prefix, IPv6", &mut seed, v6),
        in_force(&mut seed)?,
    ])
}

/// A number from a sequence without chance.
fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 32
}

/// As feeds have them: 60 % addresses, 25 % /24, the rest from /16 to /28.
fn v4(seed: &mut u64) -> IpNet {
    let bits = match next(seed) % 100 {
        0..=59 => 32,
        60..=84 => 24,
        _ => 16 + next(seed) % 13,
    };
    let ip = u32::try_from(next(seed)).expect("32 bits");
    IpNet::new(IpAddr::from(ip.to_be_bytes()), u8::try_from(bits).expect("small")).expect("a network")
}

/// 60 % /64, 25 % /48, the rest from /29 to /56, in what is given out to networks of the world.
fn v6(seed: &mut u64) -> IpNet {
    let bits = match next(seed) % 100 {
        0..=59 => 64,
        60..=84 => 48,
        _ => 29 + next(seed) % 28,
    };
    let top = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00][(next(seed) % 6) as usize] + next(seed) % 16;
    let ip = (u128::from(top) << 112) | (u128::from(next(seed)) << 80) | (u128::from(next(seed)) << 48);
    IpNet::new(IpAddr::from(ip.to_be_bytes()), u8::try_from(bits).expect("small")).expect("a network")
}

/// Half of the addresses are in a network, and each look-up waits for the one before.
#[allow(clippy::cast_precision_loss)]
fn look_up(what: &'static str, seed: &mut u64, make: fn(&mut u64) -> IpNet) -> Row {
    let networks: Vec<IpNet> = (0..NETWORKS).map(|_| make(seed)).collect();
    let asked: Vec<IpAddr> = (0..65_536)
        .map(|at| {
            if at % 2 == 0 {
                networks[usize::try_from(next(seed)).expect("32 bits") % NETWORKS].addr()
            } else {
                make(seed).addr()
            }
        })
        .collect();
    let set = Prefixes::new(&networks);
    let exact: HashSet<IpAddr> = networks.iter().map(IpNet::addr).collect();
    let nanos = each(&asked, |ip| set.longest_match(ip).unwrap_or_default());
    let floor = each(&asked, |ip| usize::from(exact.contains(&ip)));
    Row {
        what,
        figure: format!("{nanos:.0} ns"),
        floor: format!("{floor:.0} ns exact"),
        bar: "< 100 ns at 100,000".into(),
        reached: nanos < 100.0,
        numbers: vec![("nanoseconds", nanos), ("floor_nanoseconds", floor)],
    }
}

/// Nanoseconds of one look-up whose address depends on the answer before: the best of five rounds.
#[allow(clippy::cast_precision_loss)]
fn each(asked: &[IpAddr], look: impl Fn(IpAddr) -> usize) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let begun = Instant::now();
        let mut at = 0_usize;
        for _ in 0..LOOK_UPS {
            at = at.wrapping_mul(31).wrapping_add(1 + look(asked[at % asked.len()]));
        }
        black_box(at);
        best = best.min(begun.elapsed().as_nanos() as f64 / LOOK_UPS as f64);
    }
    best
}

/// A list of 100,000 networks comes into force part by part; events are taken between the parts. The queue of 4,096
/// bridges 200 ms at 20,000 events a second, and a turn may take a quarter of that.
fn in_force(seed: &mut u64) -> Result<Row, String> {
    let networks = (1..).take(NETWORKS).map(|line| ListedNetwork {
        network: v4(seed),
        line,
        reason: None,
    });
    let list = List::new("listed", networks);
    let mut engine = Engine::new();
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let begun = Instant::now();
    let mut longest = 0.0_f64;
    for part in changes("list", None, Some(&list)) {
        let begun = Instant::now();
        engine.step(&Input::Listed(part.into()), now);
        longest = longest.max(begun.elapsed().as_secs_f64() * 1e3);
    }
    let all = begun.elapsed().as_secs_f64() * 1e3;
    if engine.state().lists.get("list") != Some(&list) {
        return Err("the list is not in force".into());
    }
    Ok(Row {
        what: "a list of 100,000 taken up",
        figure: format!("{longest:.1} ms a turn"),
        floor: format!("{all:.0} ms in all"),
        bar: "< 50 ms a turn".into(),
        reached: longest < 50.0,
        numbers: vec![("longest_milliseconds", longest), ("milliseconds", all)],
    })
}
