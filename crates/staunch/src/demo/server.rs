//! The program under demonstration: a real `staunch serve` as a child process, and what the demo asks of it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use staunch_ports::Clock;

use super::DEMO_PREFIX;
use super::stage::{BALANCER, SERVER, within};

/// The recorded alert; see `SOURCE.md`.
const ALERT: &str = include_str!("alert.json");

/// Blocks what the recorded alert names, for a few seconds only when the signature says so.
const PLAYBOOKS: [(&str, &str); 2] = [
    (
        "demo-block.yaml",
        r#"playbook: demo-block
summary: Block a source of web attacks, for ten minutes.
trigger:
  sources: [suricata]
  when: event.severity >= high && event.category == "Web Application Attack"
  incident: event.source.ip
  deduplicate: 10m
context: [never-touch, traffic-share]
guards: { impact: { traffic_share_max: 5%, flows_min: 8 } } # the stage has eight connections
contain:
  - block-ip: { target: event.source.ip, lease: 10m }
notify:
  - page: { when: outcome != contained }
mode: { low: enforce, medium: approve, high: observe }
"#,
    ),
    (
        "demo-short-lease.yaml",
        r#"playbook: demo-short-lease
summary: Block a source of scans, for two seconds, so that the end of a lease can be watched.
trigger:
  sources: [suricata]
  when: event.category == "Demo Short Lease"
  incident: event.source.ip
contain:
  - block-ip: { target: event.source.ip, lease: 2s }
mode: { low: enforce, medium: approve, high: observe }
"#,
    ),
];

/// The real program as a child process.
pub(super) struct Server {
    directory: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Server {
    pub(super) fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix(DEMO_PREFIX).tempdir()?;
        let playbooks = directory.path().join("playbooks");
        std::fs::create_dir(&playbooks)?;
        for (name, text) in PLAYBOOKS {
            std::fs::write(playbooks.join(name), text)?;
        }
        std::fs::write(directory.path().join("staunch.toml"), configuration(directory.path()))?;
        let (child, address) = spawn(directory.path())?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .build();
        Ok(Self {
            directory,
            child,
            address,
            agent: config.into(),
        })
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        // `Child::kill` sends SIGKILL.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        (self.child, self.address) = spawn(self.directory.path())?;
        Ok(())
    }

    /// Tells the driver what to do next.
    pub(super) fn order(&self, order: &str) -> Result<()> {
        Ok(std::fs::write(orders(self.directory.path()), order)?)
    }

    /// Posts the recorded alert with the present time, `source` as the attacking side, and `category`.
    pub(super) fn post_alert(&self, source: Ipv4Addr, category: &str) -> Result<Value> {
        let mut alert: Value = serde_json::from_str(ALERT)?;
        alert["timestamp"] = json!(staunch_ports::clock::SystemClock.now().to_string());
        alert["src_ip"] = json!(source);
        alert["flow"]["src_ip"] = json!(source);
        alert["alert"]["category"] = json!(category);
        let url = format!("http://{}/v1/events/suricata", self.address);
        let mut response = self.agent.post(url).send(alert.to_string())?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string()?;
        if status != 202 {
            bail!("the alert was answered with {status}: {body}");
        }
        Ok(serde_json::from_str(&body)?)
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        let mut response = self.agent.get(format!("http://{}{path}", self.address)).call()?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    pub(super) fn containments(&self) -> Result<Vec<Value>> {
        Ok(self.get("/v1/containments")?["containments"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// True when the share of the balancer's traffic is known.
    pub(super) fn knows_traffic(&self) -> bool {
        let mut alert: Value = serde_json::from_str(ALERT).unwrap_or_default();
        alert["src_ip"] = json!(BALANCER);
        alert["flow"]["src_ip"] = json!(BALANCER);
        let url = format!("http://{}/v1/plan/suricata", self.address);
        let answer = self
            .agent
            .post(url)
            .send(alert.to_string())
            .and_then(|mut it| it.body_mut().read_to_string());
        let plan: Value = answer
            .ok()
            .and_then(|body| serde_json::from_str(&body).ok())
            .unwrap_or_default();
        let share = &plan["plan"]["responses"][0]["steps"][0]["judgement"]["facts"]["traffic"]["value"]["Ok"];
        share["flows"].as_u64().is_some_and(|flows| flows >= 8)
    }

    /// Waits until the containment of `target` is in `state`.
    pub(super) fn wait_for_state(&self, target: Ipv4Addr, state: &str) -> Result<bool> {
        let target = target.to_string();
        let mut error = None;
        let reached = within(Duration::from_secs(8), || match self.containments() {
            Ok(all) => all.iter().any(|it| it["target"] == target && it["state"] == state),
            Err(why) => {
                error = Some(why);
                false
            }
        });
        match error {
            Some(why) if !reached => Err(why),
            _ => Ok(reached),
        }
    }

    /// Waits until the first transaction of `incident` is in `state`, and returns it as it is then.
    pub(super) fn wait_for_transaction(&self, incident: &str, state: &str) -> Result<Value> {
        let mut transaction = Value::Null;
        within(Duration::from_secs(8), || {
            let Ok(detail) = self.get(&format!("/v1/incidents/{incident}")) else {
                return false;
            };
            transaction = detail["transactions"][0].clone();
            transaction["state"] == state
        });
        Ok(transaction)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn orders(directory: &Path) -> PathBuf {
    directory.join("orders")
}

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"data_dir = "{directory}/data"
mode = "enforce"

[playbooks]
dirs = ["{directory}/playbooks"]
built_in = false

[traffic]
refresh = "500ms"

[sources.suricata]
home_networks = ["{SERVER}/32"]

[log]
level = "error"
"#
    )
}

/// Starts `staunch serve` in this namespace and waits until it listens.
fn spawn(directory: &Path) -> Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "serve",
            "--allow-unauthenticated-loopback",
            "--listen",
            "127.0.0.1:0",
            "--config",
        ])
        .arg(directory.join("staunch.toml"))
        .arg("--rehearse")
        .arg(orders(directory))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start `staunch serve`")?;
    let (sender, lines) = mpsc::channel();
    let out = child.stdout.take().ok_or_else(|| anyhow!("no standard output"))?;
    let err = child.stderr.take().ok_or_else(|| anyhow!("no standard error"))?;
    for stream in [Box::new(out) as Box<dyn std::io::Read + Send>, Box::new(err)] {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Nobody listens any more once it is ready; reading on keeps the pipe from filling up.
                let _ = sender.send(line);
            }
        });
    }
    drop(sender);
    let mut said = String::new();
    while let Ok(line) = lines.recv_timeout(Duration::from_secs(10)) {
        if let Some((_, rest)) = line.split_once("http://") {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                .unwrap_or(rest.len());
            return Ok((child, rest[..end].trim_end_matches(['.', ':']).parse()?));
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = child.kill();
    let _ = child.wait();
    bail!("`staunch serve` did not start:\n{said}")
}
