//! A load of attackers, and what must hold of a server that has been through something.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use staunch_model::StateKind;
use staunch_server::dto::{CommandReply, Containments, Status, TransactionRow, Transactions};
use ureq::Agent;

use crate::harness::{DEADLINE, Server, brute_force_from, elements, pause, post, wait_until};

const CLIENTS: usize = 4;

/// The time-out is short because an act that was cut off by a kill is settled only after it.
pub(crate) const CONFIG: &str = "mode = \"enforce\"\n\
    [journal]\nsegment_bytes = 8388608\nreserve_bytes = 131072\nsnapshot_every = 150\n\
    [playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n[nftables]\ntimeout = \"200ms\"\n\
    [limits]\nactions_in_flight_max = 1024\nacts_per_hour_max = 1000000\nacts_per_action_hour_max = 1000000\n\
    acts_per_group_hour_max = 1000000\nbreaker_failures = 1000000\nsweep_interval = \"1s\"\n";

/// Contains whatever the load sends.
pub(crate) const PLAYBOOK: &str = "playbook: load\nsummary: Block what comes.\ntrigger:\n  sources: [suricata]\n  \
    when: event.signature.contains(\"Brute Force\")\n  incident: event.source.ip\n  deduplicate: 1s\n\
    context: [never-touch]\nguards: { acts_per_hour_max: 100000 }\n\
    contain:\n  - block-ip: { target: event.source.ip, lease: 1h }\n\
    mode: { low: enforce, medium: approve, high: observe }\n";

/// Sends attackers, each from an address of its own.
pub(crate) struct Load {
    alert: String,
    next: AtomicU32,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self {
            alert: brute_force_from("ADDRESS"),
            next: AtomicU32::new(0),
        }
    }

    /// The address of the attacker that is `ahead` of the next one.
    pub(crate) fn address(&self, ahead: u32) -> String {
        address(self.next.load(Ordering::Relaxed) + ahead)
    }

    /// Makes every event so many bytes longer, until it is called again.
    pub(crate) fn pad(&mut self, bytes: usize) {
        self.alert = brute_force_from("ADDRESS");
        if bytes > 0 {
            let padding = format!("{{\"padding\":\"{}\",", "x".repeat(bytes));
            self.alert = self.alert.replacen('{', &padding, 1);
        }
    }

    /// Sends fresh attackers from several clients while `work` runs, which is told how many were acknowledged. Returns
    /// their addresses.
    pub(crate) fn run(&self, url: &str, work: impl FnOnce(&Taken)) -> Vec<String> {
        let begin = Barrier::new(CLIENTS + 1);
        let over = AtomicBool::new(false);
        let taken = Taken::default();
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
                        let address = address(self.next.fetch_add(1, Ordering::Relaxed));
                        match post(&agent, url, &self.alert.replace("ADDRESS", &address)) {
                            Ok((202, answer)) => {
                                assert_eq!(answer["matched"], 1, "{answer}");
                                acknowledged.lock().expect("no client panics").push(address);
                                taken.acknowledged.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok((429 | 503, _)) => {
                                taken.refused.fetch_add(1, Ordering::Relaxed);
                                pause(Duration::from_millis(1));
                            }
                            Ok((status, answer)) => panic!("{status}: {answer}"),
                            Err(_) => return,
                        }
                    }
                });
            }
            begin.wait();
            let _ends = Ends(&over);
            work(&taken);
        });
        acknowledged.into_inner().expect("no client panics")
    }
}

/// How many events of a load were acknowledged, and how many refused.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) acknowledged: AtomicUsize,
    pub(crate) refused: AtomicUsize,
}

/// Ends a load, also when what ran meanwhile has panicked.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn address(number: u32) -> String {
    format!(
        "100.{}.{}.{}",
        64 + (number >> 16) % 64,
        (number >> 8) & 0xff,
        number & 0xff
    )
}

/// Asks for everything to be released, until that affects nothing more.
pub(crate) fn release_everything(server: &Server) {
    loop {
        let reply = release_all(&server.url).expect("it is taken");
        assert_eq!(reply.refused, None);
        if reply.affected.is_empty() {
            return;
        }
    }
}

/// Asks for everything to be released, once.
pub(crate) fn release_all(url: &str) -> Result<CommandReply, ureq::Error> {
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
pub(crate) fn newest_by_target(server: &Server, targets: &[String]) -> BTreeMap<String, TransactionRow> {
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

/// Waits until the server has recovered and swept, every transaction is in force or has ended, and the kernel holds
/// just what is in force. Elements of `others`, which somebody else has added, do not count as long as they are not
/// ours.
pub(crate) fn settle(server: &Server, others: &BTreeSet<IpAddr>) -> Result<(), String> {
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
            .map(|it| (it.address, it.comment.unwrap_or_default()))
            .filter(|(address, comment)| comment.starts_with("staunch:") || !others.contains(address))
            .map(|(address, comment)| (address.to_string(), comment))
            .collect();
        let settled = in_force.len() == found.containments.len();
        let swept = server.get::<Status>("/v1/status").counts.sweeps > 0;
        if settled && swept && in_force == kernel {
            return Ok(());
        }
        if begun.elapsed() > DEADLINE {
            let open: Vec<_> = found
                .containments
                .iter()
                .filter(|it| it.state != StateKind::InForce)
                .collect();
            return Err(format!(
                "not settled; swept: {swept}\nopen: {open:?}\nin force: {in_force:?}\nin the kernel: {kernel:?}"
            ));
        }
        pause(Duration::from_millis(5));
    }
}

/// Tells whether each of the acknowledged events is in the journal and has come to an end or is in force.
pub(crate) fn handled(server: &Server, acknowledged: &[String]) -> Result<(), String> {
    // What was still waiting for its turn when the world was settled holds nothing yet, and comes into force now.
    let begun = Instant::now();
    let under_way = |it: &TransactionRow| it.state != StateKind::InForce && !it.state.is_terminal();
    let mut newest = newest_by_target(server, acknowledged);
    while begun.elapsed() < DEADLINE && acknowledged.iter().filter_map(|it| newest.get(it)).any(under_way) {
        pause(Duration::from_millis(20));
        newest = newest_by_target(server, acknowledged);
    }
    let mut missing = BTreeSet::new();
    for address in acknowledged {
        match newest.get(address) {
            None => drop(missing.insert(address)),
            Some(it) => {
                let ended = it.state == StateKind::InForce || it.state.is_terminal();
                if !ended || it.state == StateKind::Stuck || it.incident.0 == 0 {
                    return Err(format!("not handled: {it:?}"));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("acknowledged and lost: {missing:?}"))
}

/// Xorshift64: good enough to spread delays.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// A time from `from` on, before `to`.
    pub(crate) fn within(&mut self, from: Duration, to: Duration) -> Duration {
        let span = u64::try_from((to - from).as_micros()).expect("it is short");
        from + Duration::from_micros(self.below(span.max(1)))
    }
}
