//! The program on the stage: a real `staunch serve` as a child process, and what is asked of it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use staunch_ports::Clock;

use super::STAGE_PREFIX;
use super::hosts::{BALANCER, SERVER, within};

/// The recorded alert; see `SOURCE.md` beside it.
pub(crate) const ALERT: &str = include_str!("../demo/alert.json");

/// How long a server that starts may say nothing. Under an emulator a start takes more than ten seconds.
const SILENT_MAX: Duration = Duration::from_secs(60);

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

/// How the program is set up.
pub(crate) struct Setup {
    /// The least important line of its log.
    pub(crate) log_level: &'static str,
    /// What else its configuration says, from within the section `[log]` on.
    pub(crate) configuration: &'static str,
    /// More playbooks, by the names of their files.
    pub(crate) playbooks: Vec<(&'static str, String)>,
}

/// The real program as a child process.
pub(crate) struct Server {
    directory: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
    agent: ureq::Agent,
    /// The lines of its log so far.
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Server {
    pub(crate) fn start(setup: &Setup) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix(STAGE_PREFIX).tempdir()?;
        let playbooks = directory.path().join("playbooks");
        std::fs::create_dir(&playbooks)?;
        for (name, text) in PLAYBOOKS {
            std::fs::write(playbooks.join(name), text)?;
        }
        for (name, text) in &setup.playbooks {
            std::fs::write(playbooks.join(name), text)?;
        }
        let configuration = configuration(directory.path(), setup);
        std::fs::write(directory.path().join("staunch.toml"), configuration)?;
        let log = Log::default();
        let (child, address) = spawn(directory.path(), &log)?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(5)))
            .build();
        Ok(Self {
            directory,
            child,
            address,
            agent: config.into(),
            log,
        })
    }

    pub(crate) fn kill(&mut self) -> Result<()> {
        // `Child::kill` sends SIGKILL.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        (self.child, self.address) = spawn(self.directory.path(), &self.log)?;
        Ok(())
    }

    /// Tells the driver what to do next.
    pub(crate) fn order(&self, order: &str) -> Result<()> {
        // Never half an order.
        let file = tempfile::NamedTempFile::new_in(self.directory.path())?;
        std::fs::write(file.path(), order)?;
        file.persist(orders(self.directory.path()))?;
        Ok(())
    }

    /// Posts the recorded alert with the present time, `source` as the attacking side, and `category`.
    pub(crate) fn post_alert(&self, source: Ipv4Addr, category: &str) -> Result<Value> {
        let (status, answer) = self.try_alert(source, category)?;
        if status != 202 {
            bail!("the alert was answered with {status}: {answer}");
        }
        Ok(answer)
    }

    /// As [`Server::post_alert`], with the status and the answer whatever they are.
    pub(crate) fn try_alert(&self, source: Ipv4Addr, category: &str) -> Result<(u16, Value)> {
        let alert = alert_of(source, category)?;
        self.post("/v1/events/suricata", &alert)
    }

    /// Posts `body`: the status and the answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let url = format!("http://{}{path}", self.address);
        let mut response = self.agent.post(url).send(body.to_string())?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string()?;
        Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
    }

    /// The lines of its log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A file of the stage.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.path().join("data/journal")
    }

    /// Stops it as a system does, and waits for its end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id())?);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM)?;
        let mut ended = false;
        within(Duration::from_secs(10), || {
            ended = self.child.try_wait().is_ok_and(|status| status.is_some());
            ended
        });
        if !ended {
            bail!("`staunch serve` did not stop");
        }
        Ok(())
    }

    /// Runs a command on its data, and returns whether it worked and what it said.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<(bool, String)> {
        let output = self.output(arguments)?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Runs a command on its data, and returns its exit code; `None` when a signal ended it.
    pub(crate) fn exit_code(&self, arguments: &[&str]) -> Result<Option<i32>> {
        Ok(self.output(arguments)?.status.code())
    }

    /// Runs a command on its data with `--json`, and returns its answer.
    ///
    /// # Errors
    /// When it fails, or its answer is no JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.output(&[arguments, &["--json"]].concat())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`staunch {}` failed: {}", arguments.join(" "), said.trim_end());
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`staunch {}` did not answer with JSON", arguments.join(" ")))
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(std::env::current_exe()?)
            .args(arguments)
            .arg("--config")
            .arg(self.directory.path().join("staunch.toml"))
            .stdin(Stdio::null())
            .output()?;
        Ok(output)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let mut response = self.agent.get(format!("http://{}{path}", self.address)).call()?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    pub(crate) fn containments(&self) -> Result<Vec<Value>> {
        Ok(self.get("/v1/containments")?["containments"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// True when the share of the balancer's traffic is known.
    pub(crate) fn knows_traffic(&self) -> bool {
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
    pub(crate) fn wait_for_state(&self, target: Ipv4Addr, state: &str) -> Result<bool> {
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
    pub(crate) fn wait_for_transaction(&self, incident: &str, state: &str) -> Result<Value> {
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

/// The recorded alert with the present time, `source` as the attacking side, and `category`.
fn alert_of(source: Ipv4Addr, category: &str) -> Result<Value> {
    let mut alert: Value = serde_json::from_str(ALERT)?;
    alert["timestamp"] = json!(staunch_ports::clock::SystemClock.now().to_string());
    alert["src_ip"] = json!(source);
    alert["flow"]["src_ip"] = json!(source);
    alert["alert"]["category"] = json!(category);
    Ok(alert)
}

fn orders(directory: &Path) -> PathBuf {
    directory.join("orders")
}

fn configuration(directory: &Path, setup: &Setup) -> String {
    let (level, more) = (setup.log_level, setup.configuration);
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

# What is immutable would be left behind.
[evidence]
immutable = false

[log]
level = "{level}"
{more}"#
    )
}

/// Starts `staunch serve` in this namespace and waits until it listens.
fn spawn(directory: &Path, log: &Log) -> Result<(Child, SocketAddr)> {
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
    for (stream, log) in [
        (Box::new(out) as Box<dyn std::io::Read + Send>, None),
        (Box::new(err), Some(log.clone())),
    ] {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if let Some(log) = &log {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
                }
                // Nobody listens any more once it is ready; reading on keeps the pipe from filling up.
                let _ = sender.send(line);
            }
        });
    }
    drop(sender);
    let mut said = String::new();
    let why = loop {
        let line = match lines.recv_timeout(SILENT_MAX) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => break format!("it said nothing for {} s", SILENT_MAX.as_secs()),
            Err(mpsc::RecvTimeoutError::Disconnected) => break "it ended".to_owned(),
        };
        if let Some((_, rest)) = line.split_once("http://") {
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                .unwrap_or(rest.len());
            return Ok((child, rest[..end].trim_end_matches(['.', ':']).parse()?));
        }
        said.push_str(&line);
        said.push('\n');
    };
    let _ = child.kill();
    let _ = child.wait();
    bail!("`staunch serve` did not start: {why}\n{said}")
}
