//! A drill under way on a stage of its own: what scripts do, look at and note.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use staunch_model::Printable;
use staunch_netlink::nftables::{Nft, NftError};

use super::score::{Alert, Expected, Notes};
use crate::misbehave::{CAN_MISBEHAVE, Misbehaviour};
use crate::stage::{OTHERS, Server, Setup, Stage, within};

/// How long anything may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(12);

/// The address that the second half of every drill is played with.
const NEXT: Ipv4Addr = OTHERS[1];

/// An address that is never touched on this stage.
pub(crate) const PROTECTED: Ipv4Addr = OTHERS[2];

/// The category of alerts that the stage's playbook blocks for ten minutes.
pub(crate) const ATTACK: &str = "Web Application Attack";
/// The category of alerts that the stage's playbook blocks for two seconds.
pub(crate) const SHORT: &str = "Demo Short Lease";

/// The program as drills play with it.
const DRILL: Setup = Setup {
    log_level: "warn",
    configuration: "format = \"json\"\n\n\
                    [limits]\nsweep_interval = \"1s\"\n\n\
                    [journal]\nsegment_bytes = 8388608\nreserve_bytes = 131072\n\n\
                    [[never_touch.networks]]\nnetwork = \"203.0.113.43\"\nreason = \"the payment provider of this drill\"\n",
    playbooks: Vec::new(),
};

/// What every drill on a stage expects besides its own.
pub(crate) const ALWAYS: [Expected; 5] = [
    Expected {
        name: "contains-again",
        what: "with the fault gone, the next attacker's packets are dropped",
    },
    Expected {
        name: "lets-go",
        what: "a release is verified in the kernel, and the address gets in",
    },
    Expected {
        name: "spares-traffic",
        what: "the load balancer is served during the fault and after it",
    },
    Expected {
        name: "clean",
        what: "at the end nothing is in the kernel and nothing is stuck",
    },
    Expected {
        name: "record",
        what: "the journal proves, and deciding it anew comes to the same",
    },
];

/// A drill under way.
pub(crate) struct Game {
    pub(crate) stage: Stage,
    pub(crate) server: Server,
    pub(crate) notes: Notes,
    /// Whether the fault is left out.
    control: bool,
    /// Lines of the log from before the drill.
    log_before: usize,
}

impl Game {
    /// Builds the stage in the namespace of this thread.
    pub(crate) fn begin(control: bool) -> Result<Self> {
        let stage = Stage::build()?;
        let server = Server::start(&DRILL)?;
        if !within(Duration::from_secs(4), || server.knows_traffic()) {
            bail!("the kernel's flows do not tell who carries the traffic on the stage");
        }
        Ok(Self {
            stage,
            log_before: server.log().len(),
            server,
            notes: Notes::default(),
            control,
        })
    }

    /// Whether the fault is to be made at all.
    pub(crate) const fn with_fault(&self) -> bool {
        !self.control
    }

    /// Has the driver or the feed misbehave.
    pub(crate) fn misbehave(&self, how: Misbehaviour) -> Result<()> {
        self.order(how.name())
    }

    /// Gives an order, if the fault is to be made.
    pub(crate) fn order(&self, order: &str) -> Result<()> {
        if self.control { Ok(()) } else { self.server.order(order) }
    }

    /// Ends the fault.
    pub(crate) fn all_well(&self) -> Result<()> {
        self.server.order("")
    }

    pub(crate) fn hold(&mut self, name: &'static str, held: bool, seen: impl AsRef<str>) {
        self.notes.hold(name, held, seen);
    }

    /// Waits until `condition` holds.
    pub(crate) fn wait(&self, condition: impl FnMut() -> bool) -> bool {
        within(PATIENCE, condition)
    }

    /// The newest transaction about `address`; nothing when there is none.
    pub(crate) fn transaction(&self, address: Ipv4Addr) -> Result<Value> {
        let path = format!("/v1/transactions?limit=1&target={address}");
        Ok(self.server.get(&path)?["transactions"][0].clone())
    }

    /// Waits until the newest transaction about `address` is in one of `states`; what it is then, or after waiting in
    /// vain.
    pub(crate) fn ends(&self, address: Ipv4Addr, states: &[&str]) -> Result<Value> {
        let mut newest = Ok(Value::Null);
        self.wait(|| {
            newest = self.transaction(address);
            newest
                .as_ref()
                .is_ok_and(|it| it["state"].as_str().is_some_and(|state| states.contains(&state)))
        });
        newest
    }

    /// True when the program says that `address` is blocked.
    pub(crate) fn is_claimed(&self, address: Ipv4Addr) -> Result<bool> {
        let address = address.to_string();
        let mut all = self.server.containments()?.into_iter();
        Ok(all.any(|it| it["target"] == address && it["state"] == "in-force" && it["drift"] != "missing"))
    }

    /// Milliseconds from sending an alert about `address` to its first dropped packet.
    pub(crate) fn contain(&self, address: Ipv4Addr) -> Result<Option<f64>> {
        let server = &self.server;
        self.stage
            .time_to_drop(address, || server.post_alert(address, ATTACK).map(drop))
    }

    /// Releases what holds `address`. Milliseconds until that was verified; nothing when it was not.
    pub(crate) fn release(&self, address: Ipv4Addr) -> Result<Option<f64>> {
        let id = self.transaction(address)?["id"].clone();
        let begun = Instant::now();
        let request = json!({ "scope": { "transaction": id }, "reason": "the drill is over" });
        let (status, answer) = self.server.post("/v1/release", &request)?;
        if status != 200 {
            bail!("a release was answered with {status}: {answer}");
        }
        let released = self.ends(address, &["released"])?["state"] == "released";
        Ok(released.then(|| begun.elapsed().as_secs_f64() * 1e3))
    }

    /// The addresses that are in the set of the kernel.
    pub(crate) fn in_kernel(&self) -> Result<Vec<IpAddr>> {
        let mut kernel = Nft::open("staunch", Duration::from_secs(2))?;
        match kernel.list_elements() {
            Ok(elements) => Ok(elements.into_iter().map(|it| it.address).collect()),
            Err(NftError::Missing { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks whether the load balancer is served.
    pub(crate) fn look_at_traffic(&mut self, when: &str) {
        let served = self.stage.balancer_is_served();
        let seen = if served {
            "served each time it was looked at".to_owned()
        } else {
            format!("not served {when}")
        };
        self.hold("spares-traffic", served, seen);
    }

    /// What people were told since the drill began: pages and warnings that a notifier took, and what else is in the
    /// log.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        let lines = self.server.log();
        let told = lines.iter().skip(self.log_before).filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            // A notice to people has a number; other lines are for whoever reads the log.
            let level = match (line["level"].as_str()?, line["notice"].is_string()) {
                ("ERROR", true) => "page",
                ("WARN", true) => "warning",
                ("ERROR", false) => "error in the log",
                ("WARN", false) => "line in the log",
                _ => return None,
            };
            let text = line["message"].as_str().filter(|text| *text != CAN_MISBEHAVE)?;
            Some(Alert {
                level: level.to_owned(),
                text: Printable(text).to_string(),
            })
        });
        told.collect()
    }

    /// Waits until a page with `word` in it has gone out, and notes that under `name`.
    pub(crate) fn page(&mut self, name: &'static str, word: &str) {
        let is_it = |it: &Alert| it.level == "page" && it.text.contains(word);
        self.wait(|| self.alerts().iter().any(is_it));
        match self.alerts().into_iter().find(is_it) {
            Some(page) => self.hold(name, true, page.text),
            None => self.hold(name, false, format!("no page with \"{word}\" in it")),
        }
    }

    /// The directory of the journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.server.journal()
    }

    /// The second half of every drill: with the fault gone, everything works, and nothing is left.
    pub(crate) fn recover(&mut self) -> Result<()> {
        self.look_at_traffic("during the fault");
        self.all_well()?;
        let took = self.contain(NEXT)?;
        let state = self.ends(NEXT, &["in-force"])?["state"].clone();
        let closed = !self.stage.gets_in(NEXT)?;
        self.notes.time("alert to first dropped packet, after the fault", took);
        let seen = format!(
            "state {}, and it {}",
            state.as_str().unwrap_or("none"),
            if closed { "does not get in" } else { "gets in" }
        );
        self.hold("contains-again", took.is_some() && state == "in-force" && closed, seen);
        let took = self.release(NEXT)?;
        let open = self.stage.gets_in(NEXT)?;
        self.notes.time("release to verified gone", took);
        let seen = format!(
            "{}, and it {}",
            if took.is_some() { "verified" } else { "not verified" },
            if open { "gets in" } else { "does not get in" }
        );
        self.hold("lets-go", took.is_some() && open, seen);
        self.look_at_traffic("after the fault");
        self.leave_nothing()
    }

    fn leave_nothing(&mut self) -> Result<()> {
        let listed = self.server.get("/v1/transactions?limit=1000")?;
        let all = listed["transactions"].as_array().cloned().unwrap_or_default();
        self.notes.guards_of(&all);
        let request = json!({ "scope": "all", "reason": "the drill is over" });
        self.server.post("/v1/release", &request)?;
        let gone = self.wait(|| self.in_kernel().is_ok_and(|it| it.is_empty()));
        let stuck = self.server.get("/v1/status")?["stuck"].as_u64();
        let seen = format!(
            "{} in the kernel, {} stuck",
            self.in_kernel()?.len(),
            stuck.map_or_else(|| "?".to_owned(), |it| it.to_string())
        );
        self.hold("clean", gone && stuck == Some(0), seen);
        self.notes.alerts = self.alerts();
        self.server.stop()?;
        let (proved, said) = self.server.run(&["journal", "verify"])?;
        let (same, differs) = self.server.run(&["replay", "--verify"])?;
        let seen = match (proved, same) {
            (true, true) => "both".to_owned(),
            (false, _) => format!("`journal verify` says: {said}"),
            (true, false) => format!("`replay --verify` says: {differs}"),
        };
        self.hold("record", proved && same, seen);
        Ok(())
    }
}
