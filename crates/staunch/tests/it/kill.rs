//! Two hundred times SIGKILL, spread over the life of a server: nothing that was acknowledged is lost, and nothing is
//! left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use staunch_model::StateKind;
use staunch_server::dto::{CommandReply, Containments, Status, TransactionRow, Transactions};
use ureq::Agent;

use crate::harness::{
    DEADLINE, Home, Server, brute_force_from, elements, in_namespace, pause, post, start_and_kill, wait_until,
};

const CLIENTS: usize = 4;

/// Draws the delays. A failing run is repeated with the seed that it prints.
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

/// How often each is tried: two hundred kills.
const KILLS: [(Phase, u32); 4] = [
    (Phase::Start, 70),
    (Phase::Early, 70),
    (Phase::Deep, 24),
    (Phase::Release, 36),
];

/// At least so many of a phase must have hit it, of those that can miss.
const HITS_MIN: usize = 5;

/// The time-out is short because an act that was cut off by a kill is settled only after it.
const CONFIG: &str = "mode = \"enforce\"\n\
    [journal]\nsegment_bytes = 8388608\nreserve_bytes = 131072\nsnapshot_every = 150\n\
    [playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[nftables]\ntimeout = \"200ms\"\n\
    [limits]\nactions_in_flight_max = 1024\nacts_per_hour_max = 1000000\nacts_per_action_hour_max = 1000000\n\
    acts_per_group_hour_max = 1000000\nbreaker_failures = 1000000\nsweep_interval = \"1s\"\n";

const PLAYBOOK: &str = "playbook: load\nsummary: Block what comes.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 1s\n\
    context: [never-touch]\nguards: { acts_per_hour_max: 100000 }\n\
    contain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

#[test]
fn two_hundred_kills_anywhere_lose_nothing_and_leave_nothing() {
    in_namespace("kill::two_hundred_kills_anywhere", || {
        let home = Home::new(CONFIG);
        home.playbook("load.yaml", PLAYBOOK);
        let mut life = Life {
            alert: brute_force_from("ADDRESS"),
            next: Arc::new(AtomicU32::new(0)),
            random: Random(SEED),
            hits: BTreeMap::new(),
            start: Duration::from_millis(100),
        };
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
            check(&home, &server, &acknowledged, round);
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
        let rounds = u32::try_from(plan.len()).expect("two hundred");
        let server = home.serve();
        check(&home, &server, &acknowledged, rounds);
        release_everything(&server);
        wait_until("the last release", || elements().is_empty());
        prove(&home, rounds);
        let (snapshots, segments) = (files(&home.data(), "snap"), files(&home.data(), "seg"));
        println!(
            "{rounds} kills in {:?}, seed {SEED:#x}: hits {:?}; {total} acknowledged events, {with_work} starts with \
             work to take up, {snapshots} snapshots, {segments} segments",
            begun.elapsed(),
            life.hits
        );
        // Without a load the test would prove nothing, and without hits not what it says.
        assert!(total > 1_000, "only {total} events were acknowledged");
        assert!(with_work > 50, "only {with_work} starts had work to take up");
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
    alert: String,
    next: Arc<AtomicU32>,
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

    fn within(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from((to - from).as_micros()).expect("it is short");
        from + Duration::from_micros(self.random.below(span.max(1)))
    }

    fn hit(&mut self, phase: Phase, hit: bool) {
        *self.hits.entry(phase).or_default() += usize::from(hit);
    }

    /// Starts a server and kills it before it is done with that, more often than not.
    fn kill_at_start(&mut self, home: &Home) {
        let delay = self.within(Duration::ZERO, self.start);
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
            self.within(Duration::from_millis(200), Duration::from_secs(1))
        } else {
            self.within(Duration::ZERO, Duration::from_millis(60))
        };
        let mut swept = false;
        let acknowledged = self.load(&server.url.clone(), |_| {
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
        let acknowledged = self.load(&server.url, |taken| {
            wait_until("a load to release", || taken.load(Ordering::Relaxed) >= wanted);
        });
        wait_until("it to be in force", || elements().len() >= wanted);
        let had = elements().len();
        // Half of the kills come at any moment, the other half when the first elements have gone: on a fast machine the
        // rest of a release takes less than a millisecond.
        let delay = self.within(Duration::ZERO, Duration::from_millis(40));
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

    /// Sends fresh attackers from several clients while `work` runs, which is told how many were acknowledged. Returns
    /// their addresses.
    fn load(&self, url: &str, work: impl FnOnce(&AtomicUsize)) -> Vec<String> {
        let begin = Barrier::new(CLIENTS + 1);
        let over = AtomicBool::new(false);
        let count = AtomicUsize::new(0);
        let acknowledged = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let agent: Agent = Agent::config_builder()
                        .http_status_as_error(false)
                        .timeout_global(Some(DEADLINE))
                        .build()
                        .new_agent();
                    begin.wait();
                    while !over.load(Ordering::Relaxed) {
                        let number = self.next.fetch_add(1, Ordering::Relaxed);
                        let address = format!(
                            "100.{}.{}.{}",
                            64 + (number >> 16) % 64,
                            (number >> 8) & 0xff,
                            number & 0xff
                        );
                        match post(&agent, url, &self.alert.replace("ADDRESS", &address)) {
                            Ok((202, answer)) => {
                                assert_eq!(answer["matched"], 1, "{answer}");
                                acknowledged.lock().expect("no client panics").push(address);
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok((429 | 503, _)) => {}
                            Ok((status, answer)) => panic!("{status}: {answer}"),
                            Err(_) => return,
                        }
                    }
                });
            }
            begin.wait();
            work(&count);
            over.store(true, Ordering::Relaxed);
        });
        acknowledged.into_inner().expect("no client panics")
    }
}

/// Asks for everything to be released, until that affects nothing more.
fn release_everything(server: &Server) {
    loop {
        let reply = release_all(&server.url).expect("it is taken");
        assert_eq!(reply.refused, None);
        if reply.affected.is_empty() {
            return;
        }
    }
}

fn release_all(url: &str) -> Result<CommandReply, ureq::Error> {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .build()
        .new_agent();
    let body = json!({ "scope": "all", "reason": "the next round" });
    agent
        .post(format!("{url}/v1/release"))
        .send_json(body)?
        .body_mut()
        .read_json()
}

/// The newest transaction of each target, as far back as all `targets` are found.
fn newest_by_target(server: &Server, targets: &[String]) -> BTreeMap<String, TransactionRow> {
    // The index follows the journal a little behind.
    wait_until("the index", || {
        server.get::<Transactions>("/v1/transactions?limit=1").index.lag == Some(0)
    });
    let mut found = BTreeMap::new();
    let mut before = String::new();
    while !targets.iter().all(|target| found.contains_key(target)) {
        let page: Transactions = server.get(&format!("/v1/transactions?limit=1000{before}"));
        for row in page.transactions {
            found.entry(row.target.clone()).or_insert(row);
        }
        match page.next {
            Some(id) => before = format!("&before={id}"),
            None => break,
        }
    }
    found
}

/// Waits until the server has recovered, and finds everything as it must be.
fn check(home: &Home, server: &Server, acknowledged: &[String], round: u32) {
    let mut seen = String::new();
    let status: Status = server.get("/v1/status");
    let begun = Instant::now();
    loop {
        let found: Containments = server.get("/v1/containments");
        let in_force: BTreeMap<String, String> = found
            .containments
            .iter()
            .filter(|it| it.state == StateKind::InForce)
            .map(|it| {
                (
                    it.target.clone(),
                    format!("staunch:{}:{}", status.installation, it.transaction),
                )
            })
            .collect();
        let kernel: BTreeMap<String, String> = elements()
            .into_iter()
            .map(|it| (it.address.to_string(), it.comment.unwrap_or_default()))
            .collect();
        let settled = in_force.len() == found.containments.len();
        let swept = server.get::<Status>("/v1/status").counts.sweeps > 0;
        if settled && swept && in_force == kernel {
            break;
        }
        if begun.elapsed() > DEADLINE {
            let open: Vec<_> = found
                .containments
                .iter()
                .filter(|it| it.state != StateKind::InForce)
                .collect();
            seen = format!("open: {open:?}\nin force: {in_force:?}\nin the kernel: {kernel:?}");
            break;
        }
        pause(Duration::from_millis(5));
    }
    assert!(
        seen.is_empty(),
        "round {round}, seed {SEED:#x}: not settled\n{seen}\n{}",
        home.log()
    );
    let mut missing = BTreeSet::new();
    // What was still waiting for its turn above holds nothing yet, and comes into force now.
    let under_way = |it: &TransactionRow| it.state != StateKind::InForce && !it.state.is_terminal();
    let mut newest = newest_by_target(server, acknowledged);
    while begun.elapsed() < DEADLINE && acknowledged.iter().filter_map(|it| newest.get(it)).any(under_way) {
        pause(Duration::from_millis(20));
        newest = newest_by_target(server, acknowledged);
    }
    for address in acknowledged {
        match newest.get(address) {
            None => drop(missing.insert(address.clone())),
            Some(it) => {
                assert!(
                    it.state == StateKind::InForce || it.state.is_terminal(),
                    "round {round}: {it:?}"
                );
                assert_ne!(it.state, StateKind::Stuck, "round {round}: {it:?}");
                assert!(it.incident.0 > 0, "round {round}: {it:?}");
            }
        }
    }
    assert!(
        missing.is_empty(),
        "round {round}, seed {SEED:#x}: acknowledged and lost: {missing:?}\n{}",
        home.log()
    );
}

fn prove(home: &Home, round: u32) {
    let verify = home.run(&["journal", "verify"]);
    assert!(verify.status.success(), "round {round}: {verify:?}");
}

/// Xorshift64: good enough to spread delays.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
