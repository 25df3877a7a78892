//! Kills, stops, starves and disturbs the real server under load, round after round, and checks after each what it left.
//!
//! `cargo xtask torture` runs it. It is no ordinary test: how long it runs is an argument, and its rounds come from a
//! seed. The clock of the machine is never set; the servers have one of their own.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to the person at the terminal is the purpose"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::json;
use staunch_netlink::nftables::{NewElement, Nft};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;

use crate::clock::Clock;
use crate::harness::{DEADLINE, Home, Server, elements, in_namespace, pause, start_and_kill, wait_until};
use crate::load::{CONFIG, Load, PLAYBOOK, Random, Taken, handled, release_all, release_everything, settle};
use crate::volume::Volume;

mod clock;
#[path = "../it/harness.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod harness;
#[path = "../it/load.rs"]
mod load;
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

/// What befalls a server in a round. Each ends with SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Killed while it starts, reads, recovers.
    Start,
    /// Killed when what the start took up may still be under way.
    Early,
    /// Killed up to a second into the load.
    Load,
    /// Killed while everything is being released.
    Release,
    /// Killed while a snapshot is being written.
    Snapshot,
    /// Stopped for a while and continued under load.
    Stop,
    /// Its wall clock is set hours ahead or back under load.
    Clock,
    /// Somebody else takes all room of the disk; killed, started and made to release on the full disk.
    Full,
    /// The file system meets an error under load and turns read-only.
    Broken,
    /// Started on a file system that is mounted read-only.
    ReadOnly,
    /// Killed while all writes hang.
    Frozen,
    /// Somebody else empties the sets.
    Flushed,
    /// Somebody else removes one element.
    Deleted,
    /// Somebody else adds elements, also of attackers yet to come.
    Foreign,
}

/// Each kind, and how often it is drawn.
const KINDS: [(Kind, u64); 14] = [
    (Kind::Start, 8),
    (Kind::Early, 6),
    (Kind::Load, 4),
    (Kind::Release, 4),
    (Kind::Snapshot, 3),
    (Kind::Stop, 2),
    (Kind::Clock, 2),
    (Kind::Full, 2),
    (Kind::Broken, 2),
    (Kind::ReadOnly, 1),
    (Kind::Frozen, 2),
    (Kind::Flushed, 2),
    (Kind::Deleted, 2),
    (Kind::Foreign, 2),
];

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

/// One data directory on one disk.
struct Life {
    // Unmounted before the directory is removed.
    volume: Volume,
    home: Home,
    load: Load,
    /// Every address whose event was acknowledged.
    acknowledged: Vec<String>,
    /// The first of them that no start has been asked about.
    unchecked: usize,
    rounds: u32,
    start: Duration,
}

impl Life {
    fn new(clock: &Clock) -> Self {
        let home = Home::new(CONFIG).with_environment(clock.environment());
        home.playbook("load.yaml", PLAYBOOK);
        let volume = Volume::new(&home.data(), &home.path("disk.img")).unwrap_or_else(|error| panic!("{error}"));
        Self {
            volume,
            home,
            load: Load::new(),
            acknowledged: Vec::new(),
            unchecked: 0,
            rounds: 0,
            start: Duration::from_millis(100),
        }
    }

    /// Starts a server and checks everything that must hold after a start.
    fn checked_start(&mut self) -> Server {
        let starting = Instant::now();
        let server = self.home.serve();
        self.start = starting.elapsed();
        must(settle(&server, &BTreeSet::new()));
        must(handled(&server, &self.acknowledged[self.unchecked..]));
        self.unchecked = self.acknowledged.len();
        self.prove("verify", &["journal", "verify"]);
        server
    }

    fn prove(&self, what: &str, arguments: &[&str]) {
        let output = self.home.run(arguments);
        assert!(output.status.success(), "{what}: {output:?}");
    }

    fn load(&mut self, server: &Server, work: impl FnOnce(&Volume, &Taken)) {
        let volume = &self.volume;
        let mut taken = self.load.run(&server.url, |taken| work(volume, taken));
        self.acknowledged.append(&mut taken);
    }
}

fn must(result: Result<(), String>) {
    if let Err(wrong) = result {
        panic!("{wrong}");
    }
}

#[derive(Default)]
struct Row {
    rounds: u32,
    /// Rounds in which it was seen to have done what it is for.
    hits: u32,
    kills: u32,
    acknowledged: usize,
    violations: u32,
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

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        self.random
            .within(Duration::from_millis(from), Duration::from_millis(to))
    }

    fn kill(&mut self, server: Server) {
        self.kills += 1;
        server.kill();
    }

    /// One round. True when what it is for was seen to happen.
    fn round(&mut self, life: &mut Life, kind: Kind) -> bool {
        match kind {
            Kind::Start => {
                let delay = self.random.within(Duration::ZERO, life.start);
                self.kills += 1;
                return !start_and_kill(&life.home, delay);
            }
            Kind::ReadOnly => {
                life.volume.read_only(true);
                let started = life.home.try_serve(&["--allow-unauthenticated-loopback"]);
                let refused = started.is_err();
                // It may be killed only before the file system changes again.
                drop(started);
                life.volume.read_only(false);
                return refused;
            }
            _ => {}
        }
        let server = life.checked_start();
        if life.rounds.is_multiple_of(REPLAY_EVERY) {
            life.prove("replay", &["replay", "--verify"]);
        }
        // Sometimes the next server finds what this one has in force.
        if self.random.below(4) > 0 {
            release_everything(&server);
        }
        match kind {
            Kind::Early => {
                let delay = self.millis(0, 60);
                life.load(&server, |_, _| {
                    pause(delay);
                    self.kill_in(&server);
                });
                true
            }
            Kind::Snapshot => {
                let file = life.home.data().join("journal/snapshot.tmp");
                let mut hit = false;
                life.load(&server, |_, _| {
                    let begun = Instant::now();
                    while !hit && begun.elapsed() < Duration::from_secs(2) {
                        hit = file.exists();
                        std::thread::yield_now();
                    }
                    self.kill_in(&server);
                });
                hit
            }
            Kind::Release => self.in_release(life, server),
            Kind::Stop => {
                let (before, stopped, after) = (self.millis(0, 200), self.millis(50, 1_500), self.millis(0, 200));
                life.load(&server, |_, _| {
                    pause(before);
                    server.signal(Signal::SIGSTOP);
                    pause(stopped);
                    server.signal(Signal::SIGCONT);
                    pause(after);
                });
                must(settle(&server, &BTreeSet::new()));
                life.load(&server, |_, _| self.kill_in(&server));
                true
            }
            Kind::Clock => {
                let (before, after) = (self.millis(0, 200), self.millis(0, 1_200));
                let ahead = i64::try_from(self.random.below(2 * CLOCK_SHIFT_MAX)).expect("some hours");
                let shift = ahead - i64::try_from(CLOCK_SHIFT_MAX).expect("some hours");
                life.load(&server, |_, _| {
                    pause(before);
                    self.clock.set(shift);
                    pause(after);
                });
                must(settle(&server, &BTreeSet::new()));
                life.load(&server, |_, _| self.kill_in(&server));
                drop(server);
                // The next start finds a journal whose times may be ahead of its clock.
                self.clock.set(0);
                true
            }
            Kind::Full => self.on_a_full_disk(life, server),
            Kind::Broken => {
                let (before, after) = (self.millis(20, 300), self.millis(0, 500));
                let mut refused = false;
                life.load(&server, |volume, taken| {
                    pause(before);
                    volume.break_it();
                    pause(after);
                    refused = taken.refused.load(Ordering::Relaxed) > 0;
                    self.kill_in(&server);
                });
                drop(server);
                must(life.volume.mend());
                refused
            }
            Kind::Frozen => {
                let (before, after) = (self.millis(0, 300), self.millis(0, 300));
                life.load(&server, |volume, _| {
                    pause(before);
                    let frozen = volume.freeze();
                    pause(after);
                    // It does not end while a write of it hangs.
                    self.kill_in(&server);
                    pause(after);
                    drop(frozen);
                });
                true
            }
            Kind::Flushed | Kind::Deleted | Kind::Foreign => self.beside_somebody_else(life, server, kind),
            Kind::Start | Kind::ReadOnly | Kind::Load => {
                let delay = self.millis(200, 1_000);
                life.load(&server, |_, _| {
                    pause(delay);
                    self.kill_in(&server);
                });
                true
            }
        }
    }

    /// Sends the signal; the end is awaited when the server is dropped.
    fn kill_in(&mut self, server: &Server) {
        self.kills += 1;
        server.signal(Signal::SIGKILL);
    }

    fn in_release(&mut self, life: &mut Life, server: Server) -> bool {
        let wanted = 30 + usize::try_from(self.random.below(200)).expect("it is small");
        life.load(&server, |_, taken| {
            wait_until("a load to release", || {
                taken.acknowledged.load(Ordering::Relaxed) >= wanted
            });
        });
        wait_until("it to be in force", || elements().len() >= wanted);
        let had = elements().len();
        let delay = self.millis(0, 15);
        let (url, answered) = (server.url.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| answered.store(release_all(&url).is_ok(), Ordering::Relaxed));
            pause(delay);
            self.kill(server);
        });
        let left = elements().len();
        left > 0 && (left < had || answered.into_inner())
    }

    /// Somebody else takes all room: events are refused in the end, the server is killed, and the next one, on the disk
    /// that is still full, releases everything.
    fn on_a_full_disk(&mut self, life: &mut Life, server: Server) -> bool {
        life.load.pad(256 << 10);
        let filler = life.volume.fill();
        let delay = self.millis(0, 200);
        let mut full = false;
        life.load(&server, |_, taken| {
            let begun = Instant::now();
            while !full && begun.elapsed() < Duration::from_secs(4) {
                full = taken.refused.load(Ordering::Relaxed) > 0;
                pause(Duration::from_millis(5));
            }
            pause(delay);
            self.kill_in(&server);
        });
        life.load.pad(0);
        drop(server);
        // It need not come up without room; when it does, it must be able to release.
        if let Ok(server) = life.home.try_serve(&["--allow-unauthenticated-loopback"]) {
            must(settle(&server, &BTreeSet::new()));
            release_everything(&server);
            wait_until("the release on a full disk", || elements().is_empty());
            self.kill(server);
        }
        drop(filler);
        full
    }

    fn beside_somebody_else(&mut self, life: &mut Life, server: Server, kind: Kind) -> bool {
        let (delay, ahead) = (
            self.millis(50, 300),
            u32::try_from(self.random.below(60)).expect("small"),
        );
        let pick = self.random.below(u64::MAX);
        let strangers: Vec<IpAddr> = [
            "192.0.2.1".to_owned(),
            life.load.address(ahead),
            life.load.address(ahead + 7),
        ]
        .iter()
        .map(|it| it.parse().expect("an address"))
        .collect();
        let mut done: Vec<IpAddr> = Vec::new();
        life.load(&server, |_, _| {
            let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
            if kind == Kind::Foreign {
                for address in &strangers {
                    let element = NewElement {
                        address: *address,
                        timeout: Duration::from_secs(3_600),
                        comment: "somebody else's",
                    };
                    // Another one may have it already.
                    if nft.get_element(*address).is_ok_and(|it| it.is_none()) && nft.add_elements(&[element]).is_ok() {
                        done.push(*address);
                    }
                }
                pause(delay);
                return;
            }
            pause(delay);
            let mut addresses: Vec<IpAddr> = elements().iter().map(|it| it.address).collect();
            if kind == Kind::Deleted && !addresses.is_empty() {
                let at = usize::try_from(pick % addresses.len() as u64).expect("below a length");
                addresses = vec![addresses[at]];
            }
            let removed = nft.delete_present(&addresses).unwrap_or_default();
            done = addresses
                .into_iter()
                .zip(removed)
                .filter(|(_, was)| *was)
                .map(|(it, _)| it)
                .collect();
        });
        let others: BTreeSet<IpAddr> = if kind == Kind::Foreign {
            done.iter().copied().collect()
        } else {
            BTreeSet::new()
        };
        must(settle(&server, &others));
        let mut nft = Nft::open("staunch", DEADLINE).expect("this thread may");
        for address in &others {
            let found = nft.get_element(*address).expect("it can be read");
            let kept = found.is_some_and(|it| it.has_comment("somebody else's"));
            assert!(kept, "the element of somebody else for {address} was touched");
        }
        release_everything(&server);
        for address in &others {
            let found = nft.get_element(*address).expect("it can be read");
            assert!(
                found.is_some(),
                "the element of somebody else for {address} was removed"
            );
        }
        drop(nft.delete_present(&others.iter().copied().collect::<Vec<_>>()));
        let hit = !done.is_empty();
        self.kill(server);
        hit
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

    fn report(&self, options: &Options, took: Duration) {
        let seconds = took.as_secs();
        if options.json {
            let kinds: BTreeMap<String, _> = self
                .rows
                .iter()
                .map(|(kind, row)| {
                    let row = json!({ "rounds": row.rounds, "hits": row.hits, "kills": row.kills,
                        "acknowledged": row.acknowledged, "violations": row.violations });
                    (format!("{kind:?}").to_lowercase(), row)
                })
                .collect();
            println!(
                "{}",
                json!({ "seed": options.seed, "seconds": seconds, "disk": self.disk, "lives": self.lives,
                    "kills": self.kills, "acknowledged": self.acknowledged, "violations": self.violations,
                    "kinds": kinds })
            );
            return;
        }
        println!("| Kind | Rounds | Hits | Kills | Acknowledged | Violations |\n|---|---|---|---|---|---|");
        for (kind, row) in &self.rows {
            let Row {
                rounds,
                hits,
                kills,
                acknowledged,
                violations,
            } = row;
            println!(
                "| {} | {rounds} | {hits} | {kills} | {acknowledged} | {violations} |",
                format!("{kind:?}").to_lowercase()
            );
        }
        println!(
            "\nseed {}, {seconds} s, {}, {} data directories: {} kills, {} acknowledged events, {} violations",
            options.seed,
            self.disk,
            self.lives,
            self.kills,
            self.acknowledged,
            self.violations.len()
        );
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
