//! A drill under way on a running Staunch, within the scope that its configuration declares.
//!
//! Never posts an event whose plan touches anything but an address of the scope, never ends the fault of another drill,
//! and leaves neither a fault of its own nor a containment behind, also when it is interrupted, or when the answer to
//! its order was lost: the record says then whose order it was, by the mark in the reason of this run. Only where the
//! record cannot be asked may a fault go on, until its time is over.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde_json::{Value, json};
use staunch_model::{DrillFault, DrillId, IncidentId, Printable, Span};
use staunch_server::dto::{
    Commands, DrillRequest, DrillStopRequest, DrillStopped, DrillView, EventPlan, Ruling, Taken, path,
};
use staunch_store::index::CommandRow;

use super::score::{Alert, Expected, Notes};
use crate::client::{Client, percent_encoded};
use crate::exit::{Exit, Fault};
use crate::output::now;

/// How long anything may take before it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the fault lasts by itself when nobody ends it.
const FAULT_LASTS: Span = Span::from_mins(2);

/// How many addresses of the scope are looked at for two that can be used.
const ADDRESSES_TRIED_MAX: usize = 64;

/// How a drill is played on a running Staunch.
pub(crate) struct LiveScenario {
    /// What goes wrong.
    pub(crate) fault: DrillFault,
    /// What must be true, besides what is expected of [all](LIVE_ALWAYS).
    pub(crate) expects: &'static [Expected],
    /// Plays it.
    pub(crate) play: fn(&mut Running) -> Result<(), Fault>,
}

/// What every live drill expects besides its own.
pub(crate) const LIVE_ALWAYS: [Expected; 3] = [
    Expected {
        name: "contains-again",
        what: "with the fault gone, another address is contained, verified",
    },
    Expected {
        name: "lets-go",
        what: "what was contained is released, and verified gone",
    },
    Expected {
        name: "clean",
        what: "at the end the fault is over and nothing of the drill is held",
    },
];

/// The scope of the running Staunch, and what goes wrong there at present.
///
/// # Errors
/// When it declares none.
pub(crate) fn scope_and_fault(client: &Client) -> Result<DrillView, Fault> {
    client.get(path::DRILL, &json!({})).map_err(|fault| match fault.exit {
        Exit::NotFound => Fault::new(Exit::Refused, "the running Staunch declares no scope for drills")
            .hint("say under [drill] in its configuration which addresses, that nobody has, drills may use"),
        _ => fault,
    })
}

/// What a drill is to use of a running Staunch.
pub(crate) struct Wanted {
    /// The event, as its source sends it.
    pub(crate) event: Value,
    /// That source.
    pub(crate) source: String,
    /// The address to begin with, if one was named.
    pub(crate) address: Option<IpAddr>,
    /// What the record says of why its commands were given: no other run of a drill says the same.
    pub(crate) reason: String,
}

/// A drill under way.
pub(crate) struct Running {
    client: Client,
    wanted: Wanted,
    /// The attacked address, and the one that comes when the fault is over.
    pub(crate) addresses: [IpAddr; 2],
    pub(crate) notes: Notes,
    /// What this drill has ordered, and what goes on as far as it knows.
    ordered: Option<DrillId>,
    /// Whether its order got no answer from which it could tell what became of it.
    in_doubt: bool,
    begun: staunch_model::Timestamp,
    /// The incidents of its events.
    incidents: Vec<IncidentId>,
    interrupted: Arc<AtomicBool>,
}

impl Running {
    /// Looks at the running Staunch: its scope, and what it would do about the event. Changes nothing.
    ///
    /// # Errors
    /// When it has no scope, or would not act on the event by itself, or on something outside of the scope.
    pub(crate) fn look(client: Client, wanted: Wanted) -> Result<Self, Fault> {
        let view = scope_and_fault(&client)?;
        if let Some(fault) = &view.fault {
            let what = format!("a drill is under way already: {fault}");
            let hint = "wait for its end; or end it with `staunch drill stop`, when it was left behind";
            return Err(Fault::new(Exit::Busy, what).hint(hint));
        }
        let scope: Vec<IpNet> = view.scope.iter().filter_map(|it| it.parse().ok()).collect();
        let mut running = Self {
            addresses: [[0, 0, 0, 0].into(); 2],
            notes: Notes::default(),
            ordered: None,
            in_doubt: false,
            begun: now(),
            incidents: Vec::new(),
            interrupted: Arc::default(),
            client,
            wanted,
        };
        running.addresses = running.choose(&scope)?;
        Ok(running)
    }

    /// Two addresses of `scope` that nothing holds and for which the plan is as it must be, beginning with the one that
    /// was named.
    fn choose(&self, scope: &[IpNet]) -> Result<[IpAddr; 2], Fault> {
        let held = self.held()?;
        let free = |it: &IpAddr| !held.iter().any(|(_, target)| *target == it.to_string());
        if let Some(named) = self.wanted.address {
            let what = if !scope.iter().any(|it| it.contains(&named)) {
                Some("is outside of the scope of drills")
            } else if !free(&named) {
                Some("is contained already")
            } else {
                None
            };
            if let Some(what) = what {
                let names: Vec<String> = scope.iter().map(ToString::to_string).collect();
                return Err(Fault::new(Exit::Refused, format!("{named} {what}"))
                    .hint(format!("name a free address of {}", names.join(", "))));
            }
        }
        let others = scope.iter().flat_map(IpNet::hosts).filter(free);
        let others = others.filter(|it| Some(*it) != self.wanted.address);
        let mut chosen = Vec::new();
        let mut refused = None;
        for address in self.wanted.address.into_iter().chain(others).take(ADDRESSES_TRIED_MAX) {
            match self.hold_plan(address) {
                Ok(()) => chosen.push(address),
                Err(fault) if Some(address) == self.wanted.address => return Err(fault),
                // An address of an earlier drill may be in an incident still.
                Err(fault) => refused = Some(fault),
            }
            if let [first, second] = chosen[..] {
                return Ok([first, second]);
            }
        }
        Err(refused.unwrap_or_else(|| {
            Fault::new(
                Exit::Refused,
                "the scope of drills has no two addresses that nothing holds",
            )
            .hint("release what is in force there, or declare more addresses")
        }))
    }

    /// Makes sure that the event about `address` would have that address contained, by itself, and nothing else
    /// touched.
    fn hold_plan(&self, address: IpAddr) -> Result<(), Fault> {
        let at = format!("{}{}", path::PLAN, percent_encoded(&self.wanted.source));
        let plan: EventPlan = self.client.post(&at, &self.event(address))?;
        let steps: Vec<_> = plan.plan.responses.iter().flat_map(|it| &it.steps).collect();
        let what = if steps.is_empty() {
            "no playbook would act on the event".to_owned()
        } else if let Some(step) = steps.iter().find(|it| it.target != Some(address.to_string())) {
            let target = step.target.as_deref().unwrap_or("nothing");
            format!("the event would have {} touched, not {address}", Printable(target))
        } else if let Some(step) = steps.iter().find(|it| it.ruling != Ruling::Act) {
            let why = step.why.as_deref().unwrap_or("its mode says so");
            format!(
                "Staunch would not act on the event by itself ({}): {}",
                step.ruling.name(),
                Printable(why)
            )
        } else {
            return Ok(());
        };
        Err(Fault::new(Exit::Refused, what)
            .hint("give an event that it would act on with --event; `staunch plan FILE` shows what it would do"))
    }

    /// Where it is, for people.
    pub(crate) fn describe(&self) -> String {
        format!("{} and {}", self.addresses[0], self.addresses[1])
    }

    /// What tells the drill that somebody has interrupted it.
    pub(crate) fn until(&mut self, interrupted: Arc<AtomicBool>) {
        self.interrupted = interrupted;
    }

    /// Plays `live`, without its fault when `control` says so.
    pub(super) fn play(&mut self, live: &LiveScenario, control: bool) -> Result<(), Fault> {
        if !control {
            let request = DrillRequest {
                fault: live.fault,
                lasts: FAULT_LASTS,
                reason: self.wanted.reason.clone(),
            };
            let ordered = self.client.post::<DrillView>(path::DRILL, &request);
            // Of an order that was answered with an error nothing begins; these may be no answer at all.
            let unheard = |it: &Fault| matches!(it.exit, Exit::Unreachable | Exit::Busy | Exit::Failed);
            self.in_doubt = ordered.as_ref().is_err_and(unheard);
            self.ordered = ordered?.drill;
            if self.ordered.is_none() {
                self.client
                    .post::<DrillStopped>(path::DRILL_STOP, &DrillStopRequest::default())?;
                let what =
                    "the server gives its drills no ids, so it is of an earlier version; what was ordered has ended";
                return Err(Fault::new(Exit::Failed, what).hint("start the server again with this version"));
            }
        }
        (live.play)(self)?;
        self.all_well()?;
        let second = self.addresses[1];
        let (ended, took) = self.contain(second, &["in-force"])?;
        let contained = ended["state"] == "in-force";
        self.notes.time(
            "alert to verified in force, after the fault",
            took.filter(|_| contained),
        );
        let state = ended["state"].as_str().unwrap_or("no transaction");
        self.notes.hold("contains-again", contained, state);
        Ok(())
    }

    /// Finds out what became of an order that got no answer. What is not on record by now stays in
    /// doubt: the engine may be slow.
    fn find_order(&mut self) -> Result<(), Fault> {
        if !self.in_doubt {
            return Ok(());
        }
        let mut found = None;
        self.wait(|| {
            let newest: Commands = self.client.get(path::COMMANDS, &json!({ "limit": 100 }))?;
            let is_it = |it: &&CommandRow| it.reason == self.wanted.reason && it.command.get("drill").is_some();
            found = newest.commands.iter().find(is_it).map(|it| DrillId(it.lsn));
            Ok(found.is_some() || newest.index.lag == Some(0))
        })?;
        self.in_doubt = found.is_none();
        self.ordered = found;
        Ok(())
    }

    /// Ends the fault, if this drill has ordered one that has not ended.
    pub(super) fn all_well(&mut self) -> Result<(), Fault> {
        if self.ordered.is_none() {
            return Ok(());
        }
        let request = DrillStopRequest {
            drill: self.ordered,
            reason: Some(self.wanted.reason.clone()),
        };
        self.client.post::<DrillStopped>(path::DRILL_STOP, &request)?;
        self.ordered = None;
        Ok(())
    }

    /// Posts the event about `address`, and waits until its newest transaction is in one of `states`. What it is then,
    /// or after waiting in vain, and how many milliseconds that took.
    pub(super) fn contain(&mut self, address: IpAddr, states: &[&str]) -> Result<(Value, Option<f64>), Fault> {
        let begun = Instant::now();
        let at = format!("{}{}", path::EVENTS, percent_encoded(&self.wanted.source));
        let taken: Taken = self.client.post(&at, &self.event(address))?;
        self.incidents.extend(&taken.incidents);
        if taken.matched == 0 {
            return Err(Fault::new(
                Exit::Failed,
                "the event matched no playbook when it was posted",
            ));
        }
        let ended = self.ends(address, states)?;
        let reached = ended["state"].as_str().is_some_and(|it| states.contains(&it));
        Ok((ended, reached.then(|| begun.elapsed().as_secs_f64() * 1e3)))
    }

    /// Waits until the newest transaction about `address` is in one of `states`; what it is then, or after waiting in
    /// vain.
    pub(super) fn ends(&self, address: IpAddr, states: &[&str]) -> Result<Value, Fault> {
        let mut newest = Value::Null;
        self.wait(|| {
            newest = self.transaction(address)?;
            Ok(newest["state"].as_str().is_some_and(|it| states.contains(&it)))
        })?;
        Ok(newest)
    }

    /// Waits until `holds`, or for as long as is patient; breaks off when the drill is interrupted.
    fn wait(&self, mut holds: impl FnMut() -> Result<bool, Fault>) -> Result<bool, Fault> {
        let begun = Instant::now();
        loop {
            if holds()? {
                return Ok(true);
            }
            if begun.elapsed() > PATIENCE {
                return Ok(false);
            }
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Fault::new(Exit::Failed, "the drill was interrupted"));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn transaction(&self, address: IpAddr) -> Result<Value, Fault> {
        let query = json!({ "limit": 1, "target": address });
        let found: Value = self.client.get(path::TRANSACTIONS, &query)?;
        Ok(found["transactions"][0].clone())
    }

    /// The incident of `transaction`, with its timeline.
    pub(super) fn incident(&self, transaction: &Value) -> Result<Value, Fault> {
        let id = transaction["incident"].as_str().unwrap_or_default();
        self.client.get(&format!("{}/{id}", path::INCIDENTS), &json!({}))
    }

    /// Says no to `transaction`, which waits for a person.
    pub(super) fn deny(&self, transaction: &Value) -> Result<(), Fault> {
        let request = json!({ "transaction": transaction["id"], "reason": self.wanted.reason });
        self.client.command(path::DENY, &request).map(drop)
    }

    /// True when the program says that `address` is blocked.
    pub(super) fn is_claimed(&self, address: IpAddr) -> Result<bool, Fault> {
        let all: Value = self.client.get(path::CONTAINMENTS, &json!({}))?;
        let mut all = all["containments"].as_array().into_iter().flatten();
        Ok(all.any(|it| it["target"] == address.to_string() && it["state"] == "in-force"))
    }

    /// Everything that is held or waits, as transaction and target.
    fn held(&self) -> Result<Vec<(Value, String)>, Fault> {
        let (held, asked): (Value, Value) = (
            self.client.get(path::CONTAINMENTS, &json!({}))?,
            self.client.get(path::APPROVALS, &json!({}))?,
        );
        let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        let all = list(&held, "containments").into_iter().chain(list(&asked, "approvals"));
        Ok(all
            .map(|it| {
                (
                    it["transaction"].clone(),
                    it["target"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect())
    }

    /// Ends the fault, releases what the drill has contained, and notes what was told and judged. Goes on after a fault
    /// of its own, and returns the first.
    pub(super) fn leave(&mut self) -> Result<(), Fault> {
        // From here on nobody interrupts.
        self.interrupted = Arc::default();
        let well = self.find_order().and_then(|()| self.all_well());
        let released = self.release();
        let gone = well.and(released);
        let noted = self.note_all();
        gone.and(noted)
    }

    fn release(&mut self) -> Result<(), Fault> {
        // An answer that is lost keeps nothing from being released.
        let held = self.left().unwrap_or_default();
        let begun = Instant::now();
        let release = |scope: Value| -> bool {
            let request = json!({ "scope": scope, "reason": self.wanted.reason });
            // It may have ended by itself meanwhile; whether all is gone is looked at next.
            match self.client.command(path::RELEASE, &request) {
                Ok(_) => true,
                Err(fault) => {
                    tracing::debug!(why = fault.render(false, false), "not released by command");
                    fault.exit == Exit::Refused
                }
            }
        };
        for incident in &self.incidents {
            release(json!({ "incident": incident }));
        }
        let mut asked = BTreeSet::new();
        let mut unknown = None;
        let gone = self.wait(|| {
            let left = match self.left() {
                Ok(left) => left,
                Err(fault) => {
                    unknown = Some(fault);
                    return Ok(false);
                }
            };
            unknown = None;
            // Also of an event whose answer was lost, so that its incident is not known.
            for transaction in &left {
                if !asked.contains(transaction) && release(json!({ "transaction": transaction })) {
                    asked.insert(transaction.clone());
                }
            }
            Ok(left.is_empty())
        })?;
        if let Some(fault) = unknown {
            return Err(fault);
        }
        let took = (gone && !held.is_empty()).then(|| begun.elapsed().as_secs_f64() * 1e3);
        self.notes.time("release to verified gone", took);
        let second = self.transaction(self.addresses[1])?;
        let state = second["state"].as_str().unwrap_or("no transaction").to_owned();
        self.notes.hold("lets-go", gone && state == "released", state);
        let view: DrillView = self.client.get(path::DRILL, &json!({}))?;
        let left = self.left()?.len();
        let (over, fault) = self.fault_at_the_end(&view);
        self.notes
            .hold("clean", over && left == 0, format!("{fault}, {left} held"));
        Ok(())
    }

    /// What is about the addresses of this drill and has not ended, also when it is only planned yet.
    fn left(&self) -> Result<BTreeSet<String>, Fault> {
        let ours: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let held = self.held()?.into_iter().filter(|(_, target)| ours.contains(target));
        let mut left: BTreeSet<String> = held.filter_map(|(id, _)| id.as_str().map(str::to_owned)).collect();
        for address in self.addresses {
            let newest = self.transaction(address)?;
            let waits = ["planned", "pre-checking"];
            if newest["state"].as_str().is_some_and(|it| waits.contains(&it)) {
                left.extend(newest["id"].as_str().map(str::to_owned));
            }
        }
        Ok(left)
    }

    /// Whether no fault of this drill is under way, as `view` shows it, and in words.
    fn fault_at_the_end(&self, view: &DrillView) -> (bool, String) {
        let (Some(drill), Some(fault)) = (view.drill, view.fault) else {
            return (true, "fault over".to_owned());
        };
        if self.ordered == Some(drill) {
            (false, format!("fault {fault} of {drill}"))
        } else if self.in_doubt {
            let whose = format!("{drill} is under way, and may be of this drill, whose order got no answer");
            (
                false,
                format!("fault {fault}: {whose}; `staunch drill stop {drill}` ends it"),
            )
        } else {
            (true, format!("fault over ({drill} is of another drill)"))
        }
    }

    fn note_all(&mut self) -> Result<(), Fault> {
        for address in self.addresses {
            let query = json!({ "limit": 100, "target": address });
            let found: Value = self.client.get(path::TRANSACTIONS, &query)?;
            let all = found["transactions"].as_array().cloned().unwrap_or_default();
            let since = |it: &Value| {
                let at = it["created"].as_str().and_then(|at| at.parse().ok());
                at.is_some_and(|at: staunch_model::Timestamp| at >= self.begun)
            };
            self.notes.guards_of(&all.into_iter().filter(since).collect::<Vec<_>>());
        }
        let found: Value = self.client.get(path::NOTICES, &json!({ "limit": 100 }))?;
        let all = found["notices"].as_array().cloned().unwrap_or_default();
        for notice in all.iter().rev() {
            let text = notice["text"].as_str().unwrap_or_default();
            if self.addresses.iter().any(|it| text.contains(&it.to_string())) {
                let level = notice["level"].as_str().unwrap_or_default();
                self.notes.alerts.push(Alert {
                    level: Printable(level).to_string(),
                    text: Printable(text).to_string(),
                });
            }
        }
        Ok(())
    }

    /// The event with the present time and `address` as its attacking side.
    fn event(&self, address: IpAddr) -> Value {
        let mut event = self.wanted.event.clone();
        event["timestamp"] = json!(now().to_string());
        event["src_ip"] = json!(address);
        if event["flow"]["src_ip"].is_string() {
            event["flow"]["src_ip"] = json!(address);
        }
        event
    }
}
