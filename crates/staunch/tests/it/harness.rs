//! Starts the real binary in the network namespace of the test's thread, and looks at what it does from outside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde::de::DeserializeOwned;
use serde_json::Value;
use staunch_netlink::namespace::run_in_new_net;
use staunch_netlink::nftables::{Element, Nft, NftError};
use staunch_ports::Clock as _;
use staunch_ports::clock::SystemClock;
use staunch_server::dto::{Containment, Containments, Taken};
use tempfile::TempDir;
use ureq::Agent;

/// The binary under test.
pub(crate) const STAUNCH: &str = env!("CARGO_BIN_EXE_staunch");

/// How long anything may take here. Tests wait for what they expect, so only a failing one takes this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A configuration with small segments, so that a start writes 16 MiB and not 128.
pub(crate) const SMALL: &str = "mode = \"enforce\"\n[journal]\nsegment_bytes = 8388608\nreserve_bytes = 131072\n";

const BRUTE_FORCE: &str = include_str!("../../../../playbooks/brute-force-block.yaml");
const EXPLOIT: &str = include_str!("../../../../playbooks/exploit-attempt-block.yaml");

/// A built-in playbook for a namespace without traffic, where a share would be unknown and a person be asked.
pub(crate) fn for_silence(playbook: &str) -> String {
    let adjusted = playbook.replace("traffic_share_max: 5%", "traffic_share_max: 5%, flows_min: 0");
    assert_ne!(adjusted, playbook, "the playbook limits the share of traffic");
    adjusted
}

/// Runs `work` in a network namespace of its own, or skips the test `name` where there can be none.
pub(crate) fn in_namespace(name: &str, work: impl FnOnce() + Send) {
    let ran = run_in_new_net(
        || match Nft::open("staunch", DEADLINE).and_then(|mut nft| nft.table_present()) {
            Ok(_) => {
                work();
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        },
    );
    match ran {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => staunch_testkit::skip(name, &reason),
        Err(error) => staunch_testkit::skip(name, &error.to_string()),
    }
}

/// Does `work` with a directory on a disk of its own that has no room for one more byte, in a namespace for `name`.
/// What fills it is `filler`.
pub(crate) fn on_a_full_disk(name: &str, work: impl FnOnce(&Path) + Send) {
    if !geteuid().is_root() {
        staunch_testkit::skip(name, "mounting a small file system needs root");
        return;
    }
    in_namespace(name, || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        disk_of_its_own(dir.path(), MsFlags::empty(), "size=8k,mode=700");
        // Names take no room on it, and bytes take what there is.
        drop(fs::write(dir.path().join("filler"), [1; 8192]));
        work(dir.path());
        umount(dir.path()).expect("root may");
    });
}

/// Gives this thread a mount namespace: what it mounts, nobody else sees, and it goes away with it.
pub(crate) fn mounts_of_its_own() -> nix::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
}

/// Puts a disk at `place` that only this thread sees, and what it starts. `options` are those of tmpfs(5).
pub(crate) fn disk_of_its_own(place: &Path, flags: MsFlags, options: &str) {
    mounts_of_its_own().expect("root may");
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options)).expect("root may");
}

/// The names in `dir`, sorted.
pub(crate) fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("it is there");
    let mut names: Vec<String> = entries
        .map(|it| it.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

/// A directory with a configuration and the data of one installation.
pub(crate) struct Home {
    dir: TempDir,
    /// What its servers are started with besides.
    environment: Vec<(&'static str, OsString)>,
}

impl Home {
    /// A home whose configuration is `config`.
    pub(crate) fn new(config: &str) -> Self {
        let home = Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            environment: Vec::new(),
        };
        home.configure(config);
        home
    }

    /// The same, with servers that are started with `environment` besides.
    pub(crate) fn with_environment(mut self, environment: Vec<(&'static str, OsString)>) -> Self {
        self.environment = environment;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn configure(&self, config: &str) {
        let mut playbooks = "";
        if !config.is_empty() && !config.contains("[playbooks]") {
            self.playbook("brute-force-block.yaml", &for_silence(BRUTE_FORCE));
            self.playbook("exploit-attempt-block.yaml", &for_silence(EXPLOIT));
            playbooks = "[playbooks]\nbuilt_in = false\ndirs = [\"playbooks\"]\n";
        }
        // Cgroups are those of the machine: tests would lift what others have frozen.
        let mut processes = String::new();
        if !config.is_empty() && !config.contains("[processes]") {
            processes = format!("[processes]\nbelow = \"{}\"\n", self.path("no-cgroups").display());
        }
        // So are its resolvers.
        if !config.is_empty() && !config.contains("[domains]") {
            let control = self.path("no-resolver");
            processes.push_str(&format!("[domains]\ncontrol = \"{}\"\n", control.display()));
        }
        // Top-level keys come first in TOML.
        fs::write(
            self.config(),
            format!("data_dir = \"data\"\n{config}{playbooks}{processes}"),
        )
        .expect("it is our directory");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("staunch.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a playbook into the directory `playbooks`.
    pub(crate) fn playbook(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path("playbooks")).expect("it is our directory");
        fs::write(self.path("playbooks").join(file), text).expect("it is our directory");
    }

    /// Runs a command on this installation, without a server.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        staunch(arguments)
            .env("STAUNCH_CONFIG", self.config())
            .output()
            .expect("the binary starts")
    }

    /// Starts a server.
    pub(crate) fn serve(&self) -> Server {
        self.try_serve(&["--allow-unauthenticated-loopback"])
            .unwrap_or_else(|failed| panic!("it did not start: {failed:?}"))
    }

    /// Starts a server with `arguments`; its end when it did not come to listening.
    pub(crate) fn try_serve(&self, arguments: &[&str]) -> Result<Server, Output> {
        self.try_serve_by(staunch(&[]), arguments)
    }

    /// The same, with the beginning of a command that runs the program with what follows.
    pub(crate) fn try_serve_by(&self, mut command: Command, arguments: &[&str]) -> Result<Server, Output> {
        let errors = File::options()
            .create(true)
            .append(true)
            .open(self.path("stderr"))
            .expect("it is our directory");
        command.arg("serve");
        if !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = command
            .arg("--config")
            .arg(self.config())
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("it was piped");
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = String::new();
            let read = BufReader::new(stdout).read_line(&mut text);
            drop(sender.send(read.map(|_| text)));
        });
        let line = line
            .recv_timeout(DEADLINE)
            .expect("it says something or ends")
            .expect("its output can be read");
        match line.trim().strip_prefix("listening on ") {
            Some(url) => {
                let agent = Agent::config_builder()
                    .http_status_as_error(false)
                    .proxy(None)
                    .timeout_global(Some(DEADLINE));
                Ok(Server {
                    child,
                    url: url.to_owned(),
                    agent: agent.build().new_agent(),
                    config: self.config(),
                })
            }
            None => {
                let mut output = child.wait_with_output().expect("it has ended");
                output.stderr = fs::read(self.path("stderr")).expect("it is our file");
                Err(output)
            }
        }
    }

    /// What servers have said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }
}

/// Starts a server of `home` and kills it after `delay`. True when it came to listening.
pub(crate) fn start_and_kill(home: &Home, delay: Duration) -> bool {
    let errors = File::options()
        .create(true)
        .append(true)
        .open(home.path("stderr"))
        .expect("it is our directory");
    let mut child = staunch(&["serve", "--listen", "127.0.0.1:0", "--allow-unauthenticated-loopback"])
        .arg("--config")
        .arg(home.config())
        .envs(home.environment.iter().cloned())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .expect("the binary starts");
    pause(delay);
    child.kill().expect("it runs");
    let output = child.wait_with_output().expect("it has ended");
    String::from_utf8_lossy(&output.stdout).contains("listening on ")
}

/// Lets `time` pass: for a random moment, or between two looks. Nothing is claimed of how long something takes.
pub(crate) fn pause(time: Duration) {
    // Nobody ever sends.
    let (_sender, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

/// A command without anything from the environment of the test.
pub(crate) fn staunch(arguments: &[&str]) -> Command {
    let mut command = Command::new(STAUNCH);
    command.args(arguments);
    without_environment(command)
}

/// The program by way of `setpriv` (Debian: util-linux), which takes `options` away from it first; `None` where that is
/// not installed, or this is not root.
pub(crate) fn staunch_with_less(test: &str, options: &[&str]) -> Option<Command> {
    let is_there = Command::new("setpriv").arg("--version").output().is_ok();
    if !is_there || !geteuid().is_root() {
        staunch_testkit::skip(test, "to take rights away needs root and setpriv (Debian: util-linux)");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(options).arg(STAUNCH);
    Some(without_environment(command))
}

fn without_environment(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    for name in ["STAUNCH_CONFIG", "STAUNCH_URL", "STAUNCH_TOKEN", "STAUNCH_CA"] {
        command.env_remove(name);
    }
    command
}

/// A running server. It is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    agent: Agent,
    config: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Runs a command against it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = staunch(arguments);
        command
            .env("STAUNCH_URL", &self.url)
            .env("STAUNCH_CONFIG", &self.config);
        command.output().expect("the binary starts")
    }

    /// Runs a command that must work, and returns what it says.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "staunch {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it writes UTF-8")
    }

    /// Runs a command that must work, with `--json`.
    pub(crate) fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> T {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_str(&self.ok(&arguments)).expect("it writes JSON")
    }

    /// Posts `body` to the source `suricata`: the status, and the answer when it was taken.
    pub(crate) fn post(&self, body: &str) -> Result<(u16, Value), ureq::Error> {
        post(&self.agent, &self.url, body)
    }

    /// Posts events of `source` that must be taken.
    #[allow(dead_code, reason = "the torture sends events of one source only")]
    pub(crate) fn take_from(&self, source: &str, body: &str) -> Taken {
        let (status, answer) = post_to(&self.agent, &self.url, source, body).expect("it answers");
        assert_eq!(status, 202, "{answer}");
        serde_json::from_value(answer).expect("it is what the API says")
    }

    /// Asks the API.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let mut answer = self
            .agent
            .get(format!("{}{path}", self.url))
            .call()
            .expect("it answers");
        let text = answer.body_mut().read_to_string().expect("the answer can be read");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Posts events that must be taken.
    pub(crate) fn take(&self, body: &str) -> Taken {
        let (status, answer) = self.post(body).expect("it answers");
        assert_eq!(status, 202, "{answer}");
        serde_json::from_value(answer).expect("it is what the API says")
    }

    pub(crate) fn containments(&self) -> Vec<Containment> {
        self.json::<Containments>(&["containment", "list"]).containments
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        kill(pid, signal).expect("it runs");
    }

    /// Kills it at once.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Waits for its end and returns its exit code.
    pub(crate) fn wait(mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the server to end", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

/// Posts `body` to the source `suricata` of the server at `url`.
pub(crate) fn post(agent: &Agent, url: &str, body: &str) -> Result<(u16, Value), ureq::Error> {
    post_to(agent, url, "suricata", body)
}

fn post_to(agent: &Agent, url: &str, source: &str, body: &str) -> Result<(u16, Value), ureq::Error> {
    let mut answer = agent.post(format!("{url}/v1/events/{source}")).send(body)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// Waits until `holds`.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        pause(Duration::from_millis(10));
    }
}

/// The elements of the table that carry a label of Staunch; none when there is no table.
pub(crate) fn elements() -> Vec<Element> {
    match Nft::open("staunch", DEADLINE).expect("this thread may").list_elements() {
        Ok(elements) => elements,
        Err(NftError::Missing { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

/// The element of `address`.
pub(crate) fn element(address: &str) -> Option<Element> {
    let address: IpAddr = address.parse().expect("an address");
    match Nft::open("staunch", DEADLINE)
        .expect("this thread may")
        .get_element(address)
    {
        Ok(element) => element,
        Err(NftError::Missing { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// A recorded alert of an exploit attempt, as if it had happened now and come from `address`.
pub(crate) fn exploit_from(address: &str) -> String {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/tests/data/suricata-eve/eve-http.jsonl");
    let text = fs::read_to_string(recorded).expect("the fixtures are there");
    let line = text
        .lines()
        .find(|line| line.contains("JAWS Webserver"))
        .expect("it is among them");
    let mut event: Value = serde_json::from_str(line).expect("it is JSON");
    event["timestamp"] = SystemClock.now().to_string().into();
    // The record names both sides of the packet and both of the flow. The attacked side is an address at home.
    for side in [&["src_ip"][..], &["flow", "src_ip"]] {
        *side.iter().fold(&mut event, |value, key| &mut value[key]) = address.into();
    }
    for side in [&["dest_ip"][..], &["flow", "dest_ip"]] {
        *side.iter().fold(&mut event, |value, key| &mut value[key]) = "10.0.0.80".into();
    }
    event.to_string()
}

/// The recorded alert with the words of a brute-force rule.
pub(crate) fn brute_force_from(address: &str) -> String {
    let mut event: Value = serde_json::from_str(&exploit_from(address)).expect("it is JSON");
    event["alert"]["signature"] = "ET SCAN SSH Brute Force Attempt".into();
    event["alert"]["category"] = "Detection of a Network Scan".into();
    event.to_string()
}

/// A process that ends with the test, also where it stands still.
#[allow(dead_code, reason = "the torture has processes of its own")]
pub(crate) struct Ended(pub(crate) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a command wrote to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command wrote to stdout.
#[allow(dead_code, reason = "the torture reads what servers say only")]
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it writes UTF-8")
}
