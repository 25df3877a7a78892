//! Kills, stops, starves and disturbs the real server under load, round after round, and checks after each what it
//! left.
//!
//! `cargo xtask torture` runs it. It is no ordinary test: how long it runs is an argument, and its rounds come from a
//! seed. The clock of the machine is never set; the servers have one of their own.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person at the terminal is the purpose"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use staunch_netlink::nftables::Nft;
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::clock::Clock;
use crate::harness::{DEADLINE, elements, in_namespace, wait_until};
use crate::kind::{KINDS, Kind};
use crate::life::Life;
use crate::load::{Random, release_everything};
use crate::report::Row;

mod clock;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod harness;
mod kind;
mod life;
#[path = "../it/load.rs"]
mod load;
mod report;
mod rounds;
mod volume;

/// A run that has found so much ends.
const VIOLATIONS_MAX: usize = 5;
/// Rounds on one data directory, so that a journal grows old but is not always the oldest.
const ROUNDS_PER_LIFE: u32 = 40;
/// The disk is exchanged beyond this, so that it fills up only when somebody fills it.
const USED_PERCENT_MAX: u64 = 55;
/// Every so many rounds the whole journal is decided again; that reads all of it.
const REPLAY_EVERY: u32 = 4;
/// How far the clock of a server is set from that of the machine, in seconds: beyond the end of every lease.
const CLOCK_SHIFT_MAX: u64 = 3 * 3_600;

struct Options {
    kills: u32,
    seconds: u64,
    seed: u64,
    json: bool,
}

fn options() -> Result<Options, String> {
    let (mut kills, mut seconds, mut seed, mut json) = (None, None, None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or(format!("{name} needs a number"))?;
            value
                .parse::<u64>()
                .map_err(|_| format!("{name} {value}: not a number"))
        };
        match name.as_str() {
            "--kills" => kills = Some(number()?),
            "--seconds" => seconds = Some(number()?),
            "--seed" => seed = Some(number()?),
            "--json" => json = true,
            _ => return Err(format!("there is no option {name:?}")),
        }
    }
    let seed = match seed {
        Some(seed) => seed,
        None => SystemClock.now().as_micros(),
    };
    Ok(Options {
        seconds: seconds.unwrap_or(if kills.is_some() { u64::MAX } else { 60 }),
        kills: u32::try_from(kills.unwrap_or(u64::MAX)).unwrap_or(u32::MAX),
        seed,
        json,
    })
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("error: {wrong}\nusage: cargo xtask torture [--kills N] [--seconds N] [--seed S] [--json]");
            return ExitCode::from(2);
        }
    };
    let mut clean = None;
    in_namespace("torture", || {
        let none: Option<&str> = None;
        // What this thread and its children mount nobody else sees, and it goes away with them.
        let private = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none));
        match private {
            Ok(()) => clean = Some(Torture::new(&options).run(&options)),
            Err(error) => eprintln!("error: no mount namespace: {error}"),
        }
    });
    match clean {
        Some(true) => ExitCode::SUCCESS,
        Some(false) => ExitCode::FAILURE,
        None => {
            eprintln!("error: nothing was run");
            ExitCode::FAILURE
        }
    }
}

struct Torture {
    random: Random,
    rows: BTreeMap<Kind, Row>,
    kills: u32,
    acknowledged: usize,
    lives: u32,
    disk: &'static str,
    clock: Clock,
    violations: Vec<String>,
}

impl Torture {
    fn new(options: &Options) -> Self {
        Self {
            // Xorshift does nothing with zero, and little with few bits.
            random: Random((options.seed ^ 0x5eed_2026_1120).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            rows: BTreeMap::new(),
            kills: 0,
            acknowledged: 0,
            lives: 0,
            disk: "",
            clock: working_clock(),
            violations: Vec::new(),
        }
    }

    /// Runs rounds until there are enough. True when nothing was violated.
    fn run(mut self, options: &Options) -> bool {
        let begun = Instant::now();
        eprintln!("seed {}", options.seed);
        let mut life: Option<Life> = None;
        let mut first = self.first_round();
        let mut round = 0;
        while self.kills < options.kills
            && begun.elapsed().as_secs() < options.seconds
            && self.violations.len() < VIOLATIONS_MAX
        {
            let old = life.take_if(|it| it.rounds >= ROUNDS_PER_LIFE || it.volume.used_percent() > USED_PERCENT_MAX);
            if let Some(old) = old {
                self.finish(old, options, round);
            }
            let mut it = life.take().unwrap_or_else(|| {
                self.lives += 1;
                clear();
                Life::new(&self.clock)
            });
            self.disk = it.volume.kind();
            round += 1;
            let kind = first.pop().unwrap_or_else(|| self.draw());
            let kind = if it.volume.is_real() || !matches!(kind, Kind::Broken | Kind::Frozen) {
                kind
            } else {
                Kind::Load
            };
            let (had, kills) = (it.acknowledged.len(), self.kills);
            let ran = catch_unwind(AssertUnwindSafe(|| self.round(&mut it, kind)));
            it.rounds += 1;
            let row = self.rows.entry(kind).or_default();
            row.rounds += 1;
            row.kills += self.kills - kills;
            row.acknowledged += it.acknowledged.len() - had;
            self.acknowledged += it.acknowledged.len() - had;
            match ran {
                Ok(hit) => {
                    row.hits += u32::from(hit);
                    life = Some(it);
                }
                Err(panic) => {
                    row.violations += 1;
                    self.violated(&it, options, &format!("round {round} ({kind:?})"), &said(&*panic));
                }
            }
            if round % 10 == 0 {
                eprintln!(
                    "{:>5} s: {round} rounds, {} kills, {} acknowledged, {} violations",
                    begun.elapsed().as_secs(),
                    self.kills,
                    self.acknowledged,
                    self.violations.len()
                );
            }
        }
        if let Some(last) = life {
            self.finish(last, options, round);
        }
        self.report(options, begun.elapsed());
        self.violations.is_empty()
    }

    /// Every kind once, in a random order, after something that leaves a journal behind.
    fn first_round(&mut self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = KINDS.iter().map(|(kind, _)| *kind).collect();
        for at in (1..kinds.len()).rev() {
            kinds.swap(
                at,
                usize::try_from(self.random.below(at as u64 + 1)).expect("it is below a length"),
            );
        }
        kinds.push(Kind::Load);
        kinds
    }

    fn draw(&mut self) -> Kind {
        let mut at = self.random.below(KINDS.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in KINDS {
            if at < weight {
                return kind;
            }
            at -= weight;
        }
        Kind::Load
    }

    /// The end of a life: every event of it is asked for once more, and nothing may be left.
    fn finish(&mut self, mut life: Life, options: &Options, round: u32) {
        life.unchecked = 0;
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let server = life.checked_start();
            release_everything(&server);
            wait_until("the last release", || elements().is_empty());
            self.kill(server);
            life.prove("verify", &["journal", "verify"]);
            life.prove("replay", &["replay", "--verify"]);
        }));
        if let Err(panic) = ended {
            self.violated(
                &life,
                options,
                &format!("the end of a life after round {round}"),
                &said(&*panic),
            );
        }
    }

    fn violated(&mut self, life: &Life, options: &Options, place: &str, wrong: &str) {
        let kept = keep(&life.home.path("."), options.seed, self.violations.len());
        let log = life.home.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        eprintln!(
            "VIOLATION in {place}, seed {}: {wrong}\nlast lines of the server:\n{tail}\nkept: {}",
            options.seed,
            kept.display()
        );
        self.violations.push(format!("{place}: {wrong}"));
    }
}

/// A clock that was seen to be another than that of the machine.
fn working_clock() -> Clock {
    let clock = Clock::new().unwrap_or_else(|error| panic!("no clock for the servers: {error}"));
    clock.set(5_000);
    let seen = clock.seen();
    assert!(
        seen.as_ref().is_ok_and(|it| (4_998..=5_002).contains(it)),
        "the clock of a process cannot be set: {seen:?}"
    );
    clock.set(0);
    clock
}

/// Removes everything from the table, of whoever it is: a new life begins with nothing.
fn clear() {
    let addresses: Vec<IpAddr> = elements().iter().map(|it| it.address).collect();
    if !addresses.is_empty() {
        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        drop(nft.delete_present(&addresses));
    }
}

/// Copies `home` to where it stays.
fn keep(home: &Path, seed: u64, number: usize) -> PathBuf {
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("torture-{seed}-{number}"));
    drop(std::fs::remove_dir_all(&kept));
    let copied = Command::new("cp")
        .args(["-a", "--sparse=always"])
        .arg(home)
        .arg(&kept)
        .status();
    if !copied.is_ok_and(|it| it.success()) {
        eprintln!("note: not everything could be copied to {}", kept.display());
    }
    kept
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()))
        .unwrap_or_else(|| "a thread panicked; see above".to_owned())
}
