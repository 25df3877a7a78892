//! `staunch demo`: the whole of Staunch in 20 seconds, on a stage that nobody else can see.
//!
//! Nothing is faked but what the text names as misbehaving. Every claim that is printed is checked, most by sending
//! packets; one false claim makes the demo fail.

/// Prints a line. A reader that has gone, as in `staunch demo | head`, ends nothing.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod rehearsal;
mod stage;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use staunch_ports::Clock;

pub(crate) use rehearsal::Rehearsal;
use stage::{ATTACKER, BALANCER, OTHERS, SERVER, Stage, within};

/// How the name of the demo's directory begins. A driver misbehaves on demand only below such a one.
pub(crate) const DEMO_PREFIX: &str = "staunch-demo-";

/// The recorded alert; see `demo/SOURCE.md`.
const ALERT: &str = include_str!("demo/alert.json");

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

/// Runs the demo. Must be called while the process has one thread only.
///
/// # Errors
/// When the stage cannot be built or a claim is false.
pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    tell!("Staunch demo: three hosts in network namespaces; nothing outside is touched.\n");
    enter_stage()?;
    let mut play = Play::begin()?;
    play.block()?;
    play.join()?;
    play.refuse()?;
    play.lie()?;
    play.kill()?;
    play.lease()?;
    let false_claims = play.false_claims;
    let claims = play.claims;
    drop(play);
    tell!(
        "\n{} of {claims} claims checked and true, in {:.1} s.",
        claims - false_claims,
        begun.elapsed().as_secs_f64()
    );
    if false_claims > 0 {
        bail!("{false_claims} claim(s) turned out false; they are marked with a cross above");
    }
    tell!("The journal, the index and the namespaces of this demo are gone now.");
    tell!("Next: `staunch serve --help`, or docs/guide/getting-started.md.");
    Ok(())
}

/// Leaves the machine's network for a namespace of our own; as another user than root in a user namespace.
fn enter_stage() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        match staunch_netlink::namespace::enter_new_net() {
            Ok(()) => return Ok(()),
            // Root without the capability, as in a container: a user namespace may still be allowed.
            Err(error) => tracing::debug!(%error, "no namespace as root"),
        }
    }
    staunch_netlink::namespace::enter_user_and_net().context(
        "this kernel does not let this user make network namespaces, which is where the demo plays\n\
         hint: run it as root (`sudo target/release/staunch demo`), or allow user namespaces as named above",
    )
}

/// A play under way.
struct Play {
    stage: Stage,
    server: Server,
    claims: usize,
    false_claims: usize,
}

impl Play {
    fn begin() -> Result<Self> {
        let stage = Stage::build()?;
        let server = Server::start()?;
        tell!("  web server     {SERVER}, protected by `staunch serve` with a real journal");
        tell!("  load balancer  {BALANCER}, carries the traffic");
        tell!("  attacker       {ATTACKER}, and a few more addresses");
        let mut play = Self {
            stage,
            server,
            claims: 0,
            false_claims: 0,
        };
        // Staunch reads the flows every second; it shall have seen the balancer before the first alert.
        let known = within(Duration::from_secs(4), || play.server.knows_traffic());
        play.claim(
            known,
            "Staunch has read from the kernel's flows who carries the traffic",
        );
        let both = play.stage.gets_in(ATTACKER)? && play.stage.balancer_is_served();
        play.claim(
            both,
            "before anything happens, attacker and load balancer both reach the web server",
        );
        Ok(play)
    }

    fn block(&mut self) -> Result<()> {
        scene(1, "An attack is blocked in the kernel");
        say("Suricata's alert of a real attack on a web server is posted, with the time set to now.");
        let mut answer = Value::Null;
        let server = &self.server;
        let took = self.stage.time_to_drop(ATTACKER, || {
            answer = server.post_alert(ATTACKER, "Web Application Attack")?;
            Ok(())
        })?;
        match took {
            Some(ms) => self.claim(
                true,
                &format!("first dropped packet {ms:.2} ms after the alert was sent"),
            ),
            None => self.claim(false, "packets of the attacker are dropped"),
        }
        let in_force = self.server.wait_for_state(ATTACKER, "in-force")?;
        self.claim(
            in_force,
            "Staunch has read the block back from the kernel: in force, for 10 minutes",
        );
        let closed = !self.stage.gets_in(ATTACKER)?;
        self.claim(closed, "a new connection of the attacker does not get in");
        let served = self.stage.balancer_is_served();
        self.claim(served, "the load balancer's traffic goes on");
        Ok(())
    }

    fn join(&mut self) -> Result<()> {
        scene(2, "The same alert again");
        let before = self.server.containments()?.len();
        let answer = self.server.post_alert(ATTACKER, "Web Application Attack")?;
        let incident = answer["incidents"][0].as_str().unwrap_or("none").to_owned();
        let after = self.server.containments()?.len();
        let text = format!("it joined {incident}: still {after} containment, nothing was done twice");
        self.claim(before == after && after == 1 && incident == "INC-1", &text);
        Ok(())
    }

    fn refuse(&mut self) -> Result<()> {
        scene(3, "A false alert about the load balancer");
        say("The same alert, with the load balancer's address in it.");
        let answer = self.server.post_alert(BALANCER, "Web Application Attack")?;
        let incident = answer["incidents"][0].as_str().unwrap_or_default().to_owned();
        let transaction = self.server.wait_for_transaction(&incident, "refused")?;
        let why = transaction["reason"].as_str().unwrap_or_default().to_owned();
        let refused = transaction["state"] == "refused" && why.contains("% of the traffic");
        self.claim(refused, &format!("refused, {why}"));
        let served = self.stage.balancer_is_served();
        self.claim(served, "the load balancer's traffic goes on");
        Ok(())
    }

    fn lie(&mut self) -> Result<()> {
        scene(4, "A driver that lies");
        say("For this scene the driver reports success and does nothing.");
        self.server.order(rehearsal::LIE)?;
        let answer = self.server.post_alert(OTHERS[0], "Web Application Attack")?;
        let incident = answer["incidents"][0].as_str().unwrap_or_default().to_owned();
        let transaction = self.server.wait_for_transaction(&incident, "rolled-back")?;
        self.server.order("")?;
        let why = transaction["reason"].as_str().unwrap_or_default().to_owned();
        let caught = transaction["state"] == "rolled-back" && why.contains("post-check");
        self.claim(caught, &format!("caught and rolled back: {why}"));
        let listed = self
            .server
            .containments()?
            .iter()
            .any(|it| it["target"] == OTHERS[0].to_string());
        let open = self.stage.gets_in(OTHERS[0])?;
        self.claim(
            !listed && open,
            "Staunch does not claim a block, and the address does get in: it says what is",
        );
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        scene(5, "kill -9 in the middle of an action");
        say("For this scene the driver blocks the address and never answers. Then Staunch is killed.");
        self.server.order(rehearsal::STALL)?;
        self.server.post_alert(OTHERS[1], "Web Application Attack")?;
        let executing = self.server.wait_for_state(OTHERS[1], "executing")?;
        let blocked = {
            let stage = &self.stage;
            within(Duration::from_secs(2), || {
                stage.gets_in(OTHERS[1]).is_ok_and(|gets_in| !gets_in)
            })
        };
        self.server.order("")?;
        self.server.kill()?;
        self.claim(
            executing && blocked,
            "killed while the block was in the kernel and its outcome unknown",
        );
        let begun = Instant::now();
        self.server.restart()?;
        let in_force = self.server.wait_for_state(OTHERS[1], "in-force")?;
        let text = format!(
            "restarted: it asked the kernel instead of guessing, and found the block in force ({:.0} ms)",
            begun.elapsed().as_secs_f64() * 1e3
        );
        self.claim(in_force, &text);
        let first = self.server.wait_for_state(ATTACKER, "in-force")?;
        let closed = !self.stage.gets_in(ATTACKER)? && !self.stage.gets_in(OTHERS[1])?;
        self.claim(
            first && closed,
            "the block of scene 1 is still in force, and neither address gets in",
        );
        Ok(())
    }

    fn lease(&mut self) -> Result<()> {
        scene(6, "A lease runs out");
        let answer = self.server.post_alert(OTHERS[2], "Demo Short Lease")?;
        let incident = answer["incidents"][0].as_str().unwrap_or_default().to_owned();
        let in_force = self.server.wait_for_state(OTHERS[2], "in-force")?;
        let closed = !self.stage.gets_in(OTHERS[2])?;
        self.claim(in_force && closed, "blocked for two seconds");
        let transaction = self.server.wait_for_transaction(&incident, "released")?;
        let open = self.stage.gets_in(OTHERS[2])?;
        self.claim(
            transaction["state"] == "released" && open,
            "two seconds later: released, verified, and it gets in again",
        );
        let closed = !self.stage.gets_in(ATTACKER)?;
        self.claim(closed, "the attacker of scene 1 still does not");
        Ok(())
    }

    fn claim(&mut self, holds: bool, text: &str) {
        self.claims += 1;
        self.false_claims += usize::from(!holds);
        let mark = if holds { "\u{2713}" } else { "\u{2717} FALSE:" };
        tell!("{}", wrapped(&format!("  {mark} {text}"), 4));
    }
}

fn scene(number: u32, title: &str) {
    tell!("\n{number}. {title}");
}

fn say(text: &str) {
    tell!("{}", wrapped(&format!("  {text}"), 2));
}

/// `text` in lines of at most 80 columns, the later ones indented by `indent`.
fn wrapped(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (position, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if column + 1 + width > 80 && column > indent {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if position > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

/// The real program as a child process.
struct Server {
    directory: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Server {
    fn start() -> Result<Self> {
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

    fn kill(&mut self) -> Result<()> {
        // `Child::kill` sends SIGKILL.
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        (self.child, self.address) = spawn(self.directory.path())?;
        Ok(())
    }

    /// Tells the driver what to do next.
    fn order(&self, order: &str) -> Result<()> {
        Ok(std::fs::write(orders(self.directory.path()), order)?)
    }

    /// Posts the recorded alert with the present time, `source` as the attacking side, and `category`.
    fn post_alert(&self, source: Ipv4Addr, category: &str) -> Result<Value> {
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

    fn get(&self, path: &str) -> Result<Value> {
        let mut response = self.agent.get(format!("http://{}{path}", self.address)).call()?;
        Ok(serde_json::from_str(&response.body_mut().read_to_string()?)?)
    }

    fn containments(&self) -> Result<Vec<Value>> {
        Ok(self.get("/v1/containments")?["containments"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// True when the share of the balancer's traffic is known.
    fn knows_traffic(&self) -> bool {
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
    fn wait_for_state(&self, target: Ipv4Addr, state: &str) -> Result<bool> {
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
    fn wait_for_transaction(&self, incident: &str, state: &str) -> Result<Value> {
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
