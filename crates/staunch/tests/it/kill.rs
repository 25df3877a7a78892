//! Two hundred times SIGKILL, spread over the lives of four servers: nothing that was acknowledged is lost, and nothing
//! is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use staunch_server::dto::Status;

use crate::harness::{Home, Server, elements, in_namespace, pause, start_and_kill, wait_until};
use crate::load::{CONFIG, Load, PLAYBOOK, Random, handled, release_all, release_everything, settle};

/// Draws the delays, of the four servers with the number of the server added. A failing run is repeated with the seed
/// that it prints.
const SEED: u64 = 0x5eed_2026_1120;

/// When a server is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// While it starts on a journal that a kill under load has left: while it reads, replays or takes up what was under
    /// way. Killed in a row, so that what one start has taken up the next finds half done.
    Start,
    /// Within 60 ms of the load's beginning, when what the start took up may still be under way.
    Early,
    /// Up to a second into the load, so that snapshots are written, segments end and sweeps run.
    Deep,
    /// While everything is being released.
    Release,
}

/// How often each is tried on one of four servers, which run at the same time: fifty kills.
const KILLS: [(Phase, u32); 4] = [
    (Phase::Start, 17),
    (Phase::Early, 18),
    (Phase::Deep, 6),
    (Phase::Release, 9),
];

/// At least so many of a phase must have hit it, of those that can miss.
const HITS_MIN: usize = 2;

#[test]
fn fifty_kills_anywhere_lose_nothing_and_leave_nothing() {
    kill_fifty_times("kill::fifty_kills_anywhere_lose_nothing_and_leave_nothing", SEED);
}

#[test]
fn fifty_more_kills_lose_nothing_and_leave_nothing() {
    kill_fifty_times("kill::fifty_more_kills_lose_nothing_and_leave_nothing", SEED + 1);
}

#[test]
fn the_third_fifty_kills_lose_nothing_and_leave_nothing() {
    kill_fifty_times("kill::the_third_fifty_kills_lose_nothing_and_leave_nothing", SEED + 2);
}

#[test]
fn the_last_fifty_kills_lose_nothing_and_leave_nothing() {
    kill_fifty_times("kill::the_last_fifty_kills_lose_nothing_and_leave_nothing", SEED + 3);
}

#[expect(clippy::print_stdout, reason = "a test that fails is repeated with what it prints")]
fn kill_fifty_times(test: &str, seed: u64) {
    in_namespace(test, || {
        let home = Home::new(CONFIG);
        home.playbook("load.yaml", PLAYBOOK);
        let mut life = Life {
            load: Load::new(),
            random: Random(seed),
            hits: BTreeMap::new(),
            start: Duration::from_millis(100),
        };
        // So that segments end between the kills.
        life.load.pad(8 << 10);
        let mut acknowledged = Vec::new();
        let (mut total, mut with_work) = (0, 0);
        let begun = Instant::now();
        let plan = life.plan();
        for (round, phase) in (0..).zip(&plan) {
            if *phase == Phase::Start {
                life.kill_at_start(&home);
                continue;
            }
            let said = home.log().len();
            let starting = Instant::now();
            let server = home.serve();
            life.start = starting.elapsed();
            with_work += usize::from(!home.log()[said..].contains("open=0"));
            check(&home, &server, &acknowledged, (round, seed));
            if round % 25 == 0 {
                prove(&home, round);
            }
            release_everything(&server);
            acknowledged = match phase {
                Phase::Release => life.kill_in_release(server),
                _ => life.kill_under_load(server, *phase),
            };
            total += acknowledged.len();
        }
        let rounds = u32::try_from(plan.len()).expect("fifty");
        let server = home.serve();
        check(&home, &server, &acknowledged, (rounds, seed));
        release_everything(&server);
        wait_until("the last release", || elements().is_empty());
        prove(&home, rounds);
        let (snapshots, segments) = (files(&home.data(), "snap"), files(&home.data(), "seg"));
        println!(
            "{rounds} kills in {:?}, seed {seed:#x}: hits {:?}; {total} acknowledged events, {with_work} starts with \
             work to take up, {snapshots} snapshots, {segments} segments",
            begun.elapsed(),
            life.hits
        );
        // Without a load the test would prove nothing, and without hits not what it says.
        assert!(total > 250, "only {total} events were acknowledged");
        assert!(with_work > 10, "only {with_work} starts had work to take up");
        for (phase, _) in KILLS {
            let hits = life.hits.get(&phase).copied().unwrap_or_default();
            assert!(hits >= HITS_MIN, "only {hits} kills hit {phase:?}");
        }
        assert!(
            snapshots > 0 && segments > 1,
            "{snapshots} snapshots, {segments} segments"
        );
    });
}

/// How many files under `dir` have `what` in their name.
fn files(dir: &Path, what: &str) -> usize {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), what),
            _ => usize::from(entry.file_name().to_string_lossy().contains(what)),
        })
        .sum()
}

/// What the rounds share.
struct Life {
    load: Load,
    random: Random,
    /// How many kills have hit each phase.
    hits: BTreeMap<Phase, usize>,
    /// How long the last start took.
    start: Duration,
}

impl Life {
    /// The phases of all kills in a random order. The first leaves a journal behind.
    fn plan(&mut self) -> Vec<Phase> {
        let mut plan: Vec<Phase> = KILLS
            .iter()
            .flat_map(|(phase, count)| std::iter::repeat_n(*phase, *count as usize))
            .collect();
        for at in (1..plan.len()).rev() {
            let with = usize::try_from(self.random.below(at as u64 + 1)).expect("it is below a length");
            plan.swap(at, with);
        }
        if let Some(at) = plan.iter().position(|phase| *phase == Phase::Early) {
            plan.swap(0, at);
        }
        plan
    }

    fn hit(&mut self, phase: Phase, hit: bool) {
        *self.hits.entry(phase).or_default() += usize::from(hit);
    }

    /// Starts a server and kills it before it is done with that, more often than not.
    fn kill_at_start(&mut self, home: &Home) {
        let delay = self.random.within(Duration::ZERO, self.start);
        let said = home.log().len();
        let listened = start_and_kill(home, delay);
        let log = home.log();
        // Killed before it has read its configuration it has done nothing yet.
        self.hit(Phase::Start, log[said..].contains("configuration read") && !listened);
    }

    /// Kills a server under load. Returns the addresses that it acknowledged.
    fn kill_under_load(&mut self, server: Server, phase: Phase) -> Vec<String> {
        let deep = phase == Phase::Deep;
        let delay = if deep {
            self.random.within(Duration::from_millis(200), Duration::from_secs(1))
        } else {
            self.random.within(Duration::ZERO, Duration::from_millis(60))
        };
        let mut swept = false;
        let acknowledged = self.load.run(&server.url.clone(), |_| {
            pause(delay);
            swept = deep && server.get::<Status>("/v1/status").counts.sweeps > 0;
            server.kill();
        });
        self.hit(phase, !deep || (swept && !acknowledged.is_empty()));
        acknowledged
    }

    /// Fills a server, lets everything be released, and kills it meanwhile.
    fn kill_in_release(&mut self, server: Server) -> Vec<String> {
        let wanted = 100 + usize::try_from(self.random.below(200)).expect("it is small");
        let acknowledged = self.load.run(&server.url, |taken| {
            wait_until("a load to release", || {
                taken.acknowledged.load(Ordering::Relaxed) >= wanted
            });
        });
        wait_until("it to be in force", || elements().len() >= wanted);
        let had = elements().len();
        // Half of the kills come at any moment, the other half when the first elements have gone: on a fast machine the
        // rest of a release takes less than a millisecond.
        let delay = self.random.within(Duration::ZERO, Duration::from_millis(40));
        let waits = self.random.below(2) == 0;
        let (url, answered) = (server.url.clone(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| answered.store(release_all(&url).is_ok(), Ordering::Relaxed));
            if waits {
                wait_until("the release to begin", || elements().len() < had);
            } else {
                pause(delay);
            }
            server.kill();
        });
        self.hit(Phase::Release, elements().len() < had || answered.into_inner());
        acknowledged
    }
}

/// Waits until the server has recovered, and finds everything as it must be.
fn check(home: &Home, server: &Server, acknowledged: &[String], (round, seed): (u32, u64)) {
    let found = settle(server, &BTreeSet::new()).and_then(|()| handled(server, acknowledged));
    if let Err(wrong) = found {
        panic!("round {round}, seed {seed:#x}: {wrong}\n{}", home.log());
    }
}

fn prove(home: &Home, round: u32) {
    let verify = home.run(&["journal", "verify"]);
    assert!(verify.status.success(), "round {round}: {verify:?}");
}
