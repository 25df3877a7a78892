//! Two hundred times SIGKILL under load: nothing that was acknowledged is lost, and nothing is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;
use staunch_model::StateKind;
use staunch_server::dto::{CommandReply, Containments, Status, Transactions};
use ureq::Agent;

use crate::harness::{DEADLINE, Home, Server, brute_force_from, elements, in_namespace, post, wait_until};

const ROUNDS: u32 = 200;
const CLIENTS: usize = 4;

/// The kill comes this long after the load begins, at the most.
const KILL_WITHIN_US: u64 = 60_000;

/// Draws the delays. A failing run is repeated with the seed that it prints.
const SEED: u64 = 0x5eed_2026_1120;

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
fn two_hundred_kills_under_load_lose_nothing_and_leave_nothing() {
    in_namespace("kill::two_hundred_kills_under_load", || {
        let home = Home::new(CONFIG);
        home.playbook("load.yaml", PLAYBOOK);
        let alert = brute_force_from("ADDRESS");
        let next = Arc::new(AtomicU32::new(0));
        let mut random = Random(SEED);
        let mut acknowledged = Vec::new();
        let mut total = 0;
        let begun = Instant::now();
        for round in 0..ROUNDS {
            let server = home.serve();
            check(&home, &server, &acknowledged, round);
            if round % 25 == 0 {
                prove(&home, round);
            }
            let reply: CommandReply = release_all(&server);
            assert_eq!(reply.refused, None, "round {round}");
            let delay = Duration::from_micros(random.below(KILL_WITHIN_US));
            acknowledged = load_and_kill(server, &alert, &next, delay);
            total += acknowledged.len();
        }
        let server = home.serve();
        check(&home, &server, &acknowledged, ROUNDS);
        release_all(&server);
        wait_until("the last release", || elements().is_empty());
        prove(&home, ROUNDS);
        // Without a load the test would prove nothing.
        assert!(total > 200, "only {total} events were acknowledged in {ROUNDS} rounds");
        println!(
            "{ROUNDS} kills, {total} acknowledged events, {:?}, seed {SEED:#x}",
            begun.elapsed()
        );
    });
}

/// Sends fresh attackers from several clients, kills the server `delay` after they have begun, and returns the addresses
/// that were acknowledged.
fn load_and_kill(server: Server, alert: &str, next: &Arc<AtomicU32>, delay: Duration) -> Vec<String> {
    let begin = Barrier::new(CLIENTS + 1);
    let over = AtomicBool::new(false);
    let acknowledged = Mutex::new(Vec::new());
    let url = server.url.clone();
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
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let address = format!(
                        "100.{}.{}.{}",
                        64 + (number >> 16) % 64,
                        (number >> 8) & 0xff,
                        number & 0xff
                    );
                    match post(&agent, &url, &alert.replace("ADDRESS", &address)) {
                        Ok((202, answer)) => {
                            assert_eq!(answer["matched"], 1, "{answer}");
                            acknowledged.lock().expect("no client panics").push(address);
                        }
                        Ok((429 | 503, _)) => {}
                        Ok((status, answer)) => panic!("{status}: {answer}"),
                        Err(_) => return,
                    }
                }
            });
        }
        begin.wait();
        // The random moment is the point of the test. Nobody ever sends.
        let (_sender, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(delay);
        server.kill();
        over.store(true, Ordering::Relaxed);
    });
    acknowledged.into_inner().expect("no client panics")
}

fn release_all(server: &Server) -> CommandReply {
    let agent: Agent = Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .build()
        .new_agent();
    let body = json!({ "scope": "all", "reason": "the next round" });
    let mut answer = agent
        .post(format!("{}/v1/release", server.url))
        .send_json(body)
        .expect("it is taken");
    answer.body_mut().read_json().expect("it is what the API says")
}

/// Waits until the server has recovered, and finds everything as it must be.
fn check(home: &Home, server: &Server, acknowledged: &[String], round: u32) {
    let mut seen = String::new();
    let status: Status = server.get("/v1/status");
    let begun = Instant::now();
    let (_sender, never) = mpsc::channel::<()>();
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
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
    assert!(
        seen.is_empty(),
        "round {round}, seed {SEED:#x}: not settled\n{seen}\n{}",
        home.log()
    );
    let mut missing = BTreeSet::new();
    for address in acknowledged {
        let found: Transactions = server.get(&format!("/v1/transactions?target={address}"));
        match found.transactions.first() {
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
