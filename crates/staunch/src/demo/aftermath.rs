//! The scenes that follow one incident to its end: evidence before containment, what happened, what it teaches, and
//! back to normal.
//!
//! What is shown of an incident is what the commands answer that an operator has; nothing is told from memory.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use staunch_model::Printable;

use super::case::Case;
use super::{Play, say, scene};
use crate::exit::Exit;
use crate::stage::within;

/// The columns of a line of the demo.
const COLUMNS: usize = 80;

impl Play {
    /// Preserves, then contains.
    pub(super) fn keep(&mut self) -> Result<Case> {
        scene(7, "A process calls an attacker: evidence first, then it is stopped");
        let mut case = Case::begin(&self.stage, self.freezes)?;
        let (pid, called) = (case.beacon.pid(), case.beacon.called);
        say(&format!(
            "Process {pid} of the web server calls {called} fifty times a second; an alert in Falco's format names both."
        ));
        let heard = case.beacon.is_heard();
        self.claim(heard, "before anything happens, the attacker hears it");
        let (status, answer) = self.server.post("/v1/events/falco", &case.alert()?)?;
        answer["incidents"][0]
            .as_str()
            .with_context(|| format!("the alert was answered with {status}: {answer}"))?
            .clone_into(&mut case.incident);
        let incident = &case.incident;
        // By the index, which is asked next and follows the journal a moment later.
        let mut detail = Value::Null;
        let contained = within(Duration::from_secs(8), || {
            detail = self
                .server
                .get(&format!("/v1/incidents/{incident}"))
                .unwrap_or_default();
            detail["incident"]["outcome"] == "contained"
        });
        let acts = list(&detail["transactions"]).iter();
        let first = acts.filter_map(|it| it["in_force_at"].as_str()).min();
        let before = |kind: &str| {
            let mut sealed = list(&detail["evidence"]).iter();
            sealed.any(|it| it["kind"] == kind && it["sealed_at"].is_string() && it["sealed_at"].as_str() < first)
        };
        let kept = contained && before("flows") && before("sockets");
        self.claim(kept, "its flows and sockets were sealed before anything was done");
        if !contained {
            list(&detail["transactions"]).iter().for_each(|it| say(&how_it_is(it)));
        }
        // A block alone silences it, too.
        let silent = contained && case.beacon.is_silent();
        if case.freezes() {
            self.claim(
                silent,
                "then the address was blocked and the process frozen: the attacker hears nothing",
            );
        } else {
            self.claim(silent, "then the address was blocked: the attacker hears nothing");
            say(
                "(The process was not frozen: for that groups of cgroup v2 have to be made, and processes to have the \
                 numbers that sensors report, which they have not in a PID namespace of its own.)",
            );
        }
        self.prove(&case)?;
        Ok(case)
    }

    /// The evidence of it, for somebody with a copy and a key.
    fn prove(&mut self, case: &Case) -> Result<()> {
        let incident = case.incident.as_str();
        let archive = self.server.path("evidence.tar.zst");
        let name = archive.display().to_string();
        // Until all of it is in the log, an export says what it would leave out.
        let exported = within(Duration::from_secs(8), || {
            let export = ["evidence", "export", incident, "--output", &name];
            self.server.run(&export).is_ok_and(|(worked, _)| worked)
        });
        let copy = self.server.path("copy.tar.zst");
        std::fs::copy(&archive, &copy).context("the archive of the evidence")?;
        let copied = copy.display().to_string();
        let (_, key) = self.server.run(&["evidence", "key"])?;
        let verify = ["evidence", "verify", &copied, "--key", key.trim()];
        let proved = self.server.exit_code(&verify)? == Some(0);
        self.claim(
            exported && proved,
            "a copy of one archive verifies with the public key and nothing else",
        );
        let mut bytes = std::fs::read(&copy)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&copy, bytes)?;
        let found = self.server.exit_code(&verify)? == Some(i32::from(Exit::Corrupt.code()));
        self.claim(found, "with one bit of it changed, it does not");
        Ok(())
    }

    /// The timeline of what was contained, and what led to what.
    pub(super) fn look_back(&mut self, case: &Case) -> Result<()> {
        scene(8, "What happened, in one order");
        let incident = case.incident.as_str();
        let timeline = self.server.json(&["incident", "timeline", incident])?;
        let entries = list(&timeline["entries"]);
        let marks = [
            ("event", ""),
            ("evidence", "sealed: flows"),
            ("evidence", "sealed: sockets"),
            ("transaction", "verified: in force"),
        ];
        let shown: Vec<&Value> = entries
            .iter()
            .filter(|it| marks.iter().any(|mark| is(it, *mark)))
            .collect();
        say(&format!(
            "Of {} entries of `staunch incident timeline {incident}` those that matter most:",
            entries.len()
        ));
        let detail = self.server.get(&format!("/v1/incidents/{incident}"))?;
        shown.iter().for_each(|it| tell!("{}", line(it, &detail)));
        let lanes: Vec<&str> = shown.iter().filter_map(|it| it["lane"].as_str()).collect();
        let times: Vec<i64> = shown.iter().filter_map(|it| it["elapsed_us"].as_i64()).collect();
        let acts = vec!["transaction"; case.acts.len()];
        let expected = [vec!["event", "evidence", "evidence"], acts].concat();
        self.claim(
            lanes == expected && times.is_sorted(),
            "the record has them in this order: alert, evidence, containment",
        );
        let took = |measure: &str| timeline["measures"][measure].as_u64();
        let (known, contained) = (took("received_to_known_us"), took("received_to_contained_us"));
        let measured = known.zip(contained);
        let (known, contained) = measured.unwrap_or_default();
        self.claim(
            measured.is_some(),
            &format!(
                "all evidence sealed after {}, contained after {}",
                ms(known),
                ms(contained)
            ),
        );
        self.find_the_cause(case)
    }

    /// The graph of it, made of what was sealed.
    fn find_the_cause(&mut self, case: &Case) -> Result<()> {
        let vault = self.server.path("data/evidence").display().to_string();
        let graph = self
            .server
            .json(&["incident", "graph", &case.incident, "--vault", &vault])?;
        let (pid, called) = (case.beacon.pid().to_string(), case.beacon.called.ip().to_string());
        let label = |id: &Value| {
            let mut nodes = list(&graph["nodes"]).iter();
            let node = nodes.find(|it| it["id"] == *id);
            node.and_then(|it| it["label"].as_str()).unwrap_or_default()
        };
        let ends_of = |from: &Value, what: &str| -> Vec<Value> {
            let edges = list(&graph["edges"]).iter();
            let edges = edges.filter(|it| it["from"] == *from && it["what"] == what);
            edges.map(|it| it["to"].clone()).collect()
        };
        let cause = &graph["first_cause"];
        let connections = ends_of(cause, "holds");
        let mut reached = connections.iter().flat_map(|it| ends_of(it, "connected to"));
        let address = reached.find(|it| label(it) == called).unwrap_or_default();
        let mut acts = ends_of(&address, "contained by").into_iter();
        let is_found = label(cause).starts_with(&format!("{pid} ")) && acts.any(|it| label(&it).contains("block-ip"));
        self.claim(
            is_found,
            &format!("`staunch incident graph`: process {pid} held a connection to {called}, which is blocked now"),
        );
        Ok(())
    }

    /// The review of it.
    pub(super) fn learn(&mut self, case: &Case) -> Result<()> {
        let incident = case.incident.as_str();
        scene(9, "What it teaches, as something that runs");
        let folder = self.server.path("review");
        let name = folder.display().to_string();
        let written = self.server.json(&["review", incident, "--output", &name])?;
        let files = list(&written["files"]);
        let has = |part: &str| files.iter().any(|it| it.as_str().is_some_and(|it| it.contains(part)));
        let expectations = written["expectations"].as_u64().unwrap_or_default();
        self.claim(
            has("report.md") && has("sigma/") && expectations > 0,
            &format!(
                "`staunch review {incident}` wrote {} files: a report with the facts filled in, a test of the playbook with \
                 {expectations} expectations, a Sigma rule; open questions: {}",
                files.len(),
                list(&written["questions"]).len(),
            ),
        );
        let checked = self.server.json(&["review", "check", &name])?;
        let checks = list(&checked["checks"]);
        let ran = |part: &str| {
            checks
                .iter()
                .any(|it| it["passed"] == true && it["what"].as_str().is_some_and(|it| it.contains(part)))
        };
        self.claim(
            checked["passed"] == true && ran(".test.yaml") && ran("sigma/"),
            "`staunch review check`: the test passes, and the rule finds the alert",
        );
        Ok(())
    }

    /// Back to normal, in the order of the playbook.
    pub(super) fn recover(&mut self, case: &Case) -> Result<()> {
        scene(10, "Back to normal, in a chosen order");
        if case.freezes() {
            say("The playbook says: first the process, then the block, each when the one before is gone.");
        }
        let incident = case.incident.as_str();
        let reason = "it was a test of our red team";
        let (recovered, said) = self
            .server
            .run(&["recover", incident, "--yes", "--wait", "--reason", reason])?;
        if !recovered {
            say(said.trim_end());
        }
        // The index follows the journal a moment later.
        let mut timeline = Value::Null;
        within(Duration::from_secs(8), || {
            timeline = self
                .server
                .json(&["incident", "timeline", incident])
                .unwrap_or_default();
            timeline["measures"]["contained_to_lifted_us"].is_u64()
        });
        let marks = [
            ("incident", "recovery started"),
            ("transaction", "release started"),
            ("transaction", "nothing of ours is left"),
            ("incident", "recovered"),
        ];
        let entries = list(&timeline["entries"]).iter();
        let shown: Vec<&Value> = entries.filter(|it| marks.iter().any(|mark| is(it, *mark))).collect();
        let detail = self.server.get(&format!("/v1/incidents/{incident}"))?;
        shown.iter().for_each(|it| tell!("{}", line(it, &detail)));
        let steps = |kind: &str| -> Vec<usize> {
            let id = transaction(&detail, kind);
            let of = |it: &(usize, &&Value)| it.1["transaction"].as_str() == Some(&id);
            shown.iter().enumerate().filter(of).map(|it| it.0).collect()
        };
        let mut kinds = case.acts.iter().enumerate();
        let in_order = shown.len() == 2 + 2 * case.acts.len()
            && kinds.all(|(place, kind)| steps(kind) == [2 * place + 1, 2 * place + 2]);
        let order = if case.freezes() {
            "the freeze was lifted and read back as gone before the block was touched"
        } else {
            "the block was lifted, and read back as gone"
        };
        self.claim(recovered && in_order, order);
        let heard = case.beacon.is_heard();
        let in_force = self.server.containments()?;
        let is_its = |it: &Value| it["incident"] == incident;
        self.claim(
            heard && !in_force.iter().any(is_its),
            "the process goes on where it stood and is heard again: all was undone",
        );
        Ok(())
    }
}

/// Whether an entry of a timeline is in the lane, and has these words.
fn is(entry: &Value, (lane, words): (&str, &str)) -> bool {
    entry["lane"] == lane && entry["what"].as_str().is_some_and(|it| it.contains(words))
}

/// An entry of a timeline in one line, with what a transaction of the incident `detail` does.
fn line(entry: &Value, detail: &Value) -> String {
    let after = ms(entry["elapsed_us"].as_u64().unwrap_or_default());
    let lane = match entry["lane"].as_str().unwrap_or_default() {
        "transaction" => "act",
        lane => lane,
    };
    let mut acts = list(&detail["transactions"]).iter();
    let act = acts.find(|it| it["id"] == entry["transaction"]);
    let whose = act.and_then(|it| it["kind"].as_str());
    let whose = whose.map_or_else(String::new, |kind| format!("{kind} "));
    let what = entry["what"].as_str().unwrap_or_default();
    // The end of a lease has no room.
    let what = what.split_once(" until ").map_or(what, |it| it.0);
    cut(&format!("    {after:>9}  {lane:<8}  {whose}{what}"))
}

/// `text` in one line of the demo.
fn cut(text: &str) -> String {
    if text.chars().count() <= COLUMNS {
        return text.to_owned();
    }
    let kept: String = text.chars().take(COLUMNS - 1).collect();
    format!("{}\u{2026}", kept.trim_end())
}

/// A length of time.
#[expect(clippy::cast_precision_loss, reason = "it is shown")]
fn ms(us: u64) -> String {
    format!("{:.1} ms", us as f64 / 1e3)
}

/// The name of the transaction of an incident that is of this kind.
fn transaction(detail: &Value, kind: &str) -> String {
    let mut all = list(&detail["transactions"]).iter();
    let found = all.find(|it| it["kind"] == kind);
    found.and_then(|it| it["id"].as_str()).unwrap_or("none").to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How an act that should be in force stands.
fn how_it_is(transaction: &Value) -> String {
    let part = |name: &str| transaction[name].as_str().unwrap_or_default();
    let reason = match part("reason") {
        "" => String::new(),
        why => format!(": {}", Printable(why)),
    };
    format!("({} is {}{reason})", part("kind"), part("state"))
}
