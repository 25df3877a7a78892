//! The real program, started in the network namespace of the calling thread.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use staunch_netlink::link::Links;
use staunch_netlink::namespace::enter_new_net;

use crate::report::Row;

pub(crate) const PLAYBOOK: &str = r#"playbook: bench-block
summary: Block every source of an alert, for an hour.
trigger:
  sources: [suricata]
  when: event.signature.contains("brute force")
  incident: event.source.ip
  deduplicate: 10m
guards: { acts_per_hour_max: 100000 }
contain:
  - block-ip: { target: event.source.ip, lease: 1h }
mode: { low: enforce, medium: enforce, high: enforce }
"#;

/// The program that is measured: the one that was built beside this one.
pub(crate) fn program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let program = own.with_file_name("staunch");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "there is no {}: `cargo xtask bench` builds it, as does `cargo build --release`",
        program.display()
    ))
}

/// Measures on a thread in a network namespace of its own, in which nothing but the loopback interface is up.
pub(crate) fn in_namespace(measure: fn() -> Result<Vec<Row>, String>) -> Result<Vec<Row>, String> {
    let measured = std::thread::spawn(move || {
        enter_namespace()?;
        measure()
    });
    measured
        .join()
        .map_err(|_| "the measuring thread panicked".to_owned())?
}

/// Moves the calling thread into a network namespace of its own, in which nothing but the loopback interface is up.
pub(crate) fn enter_namespace() -> Result<(), String> {
    enter_new_net().map_err(|error| error.to_string())?;
    Links::open(Duration::from_secs(2))
        .and_then(|mut links| links.set_up("lo"))
        .map_err(|error| error.to_string())
}

/// A running `staunch serve`; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(driver: &str) -> Result<Self, String> {
        Self::start_with(driver, "")
    }

    /// The same, with more in its configuration.
    pub(crate) fn start_with(driver: &str, more: &str) -> Result<Self, String> {
        Self::start_playing(driver, PLAYBOOK, more)
    }

    /// The same, with `playbook` alone.
    pub(crate) fn start_playing(driver: &str, playbook: &str, more: &str) -> Result<Self, String> {
        Self::start_program(&program()?, driver, playbook, more)
    }

    /// The same, with `program` in place of the one that was built beside this one.
    pub(crate) fn start_program(program: &Path, driver: &str, playbook: &str, more: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let playbooks = directory.path().join("playbooks");
        std::fs::create_dir(&playbooks).map_err(|error| error.to_string())?;
        std::fs::write(playbooks.join("bench.yaml"), playbook).map_err(|error| error.to_string())?;
        let config = directory.path().join("staunch.toml");
        std::fs::write(&config, configuration(directory.path()) + more).map_err(|error| error.to_string())?;
        let mut child = Command::new(program)
            .args([
                "serve",
                "--allow-unauthenticated-loopback",
                "--listen",
                "127.0.0.1:0",
                "--driver",
                driver,
            ])
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let address = ready(&mut child)?;
        Ok(Self {
            child,
            address,
            _directory: directory,
        })
    }

    /// Resident memory of the process, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64, String> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).map_err(|error| error.to_string())?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: u64 = line
            .trim()
            .trim_end_matches("kB")
            .trim()
            .parse()
            .map_err(|_| "bad VmRSS".to_owned())?;
        Ok(kib * 1024)
    }

    /// Posts `body` as Suricata's and returns the status line's code.
    pub(crate) fn post(&self, connection: &mut TcpStream, body: &[u8]) -> Result<u16, String> {
        let code = post(connection, "/v1/events/suricata", body)?.0;
        if code == 202 {
            Ok(code)
        } else {
            Err(format!("the server answered {code}"))
        }
    }

    /// The number at `pointer` of the status.
    pub(crate) fn status(&self, pointer: &str) -> Result<u64, String> {
        let mut connection = self.connect()?;
        let request = format!(
            "GET /v1/status HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        connection
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).map_err(|error| error.to_string())?;
        let at = answer.windows(4).position(|it| it == b"\r\n\r\n").ok_or("no head")?;
        let value: serde_json::Value =
            serde_json::from_slice(&answer[at + 4..]).map_err(|error| format!("status: {error}"))?;
        value
            .pointer(pointer)
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| format!("no {pointer} in {value}"))
    }

    pub(crate) fn connect(&self) -> Result<TcpStream, String> {
        let connection = TcpStream::connect(self.address).map_err(|error| error.to_string())?;
        connection.set_nodelay(true).map_err(|error| error.to_string())?;
        connection
            .set_read_timeout(Some(Duration::from_secs(30)))
            .map_err(|error| error.to_string())?;
        Ok(connection)
    }

    /// Waits until `pointer` of the status is `count`.
    pub(crate) fn wait_for(&self, pointer: &str, count: u64, limit: Duration) -> Result<Instant, String> {
        let begun = Instant::now();
        loop {
            let seen = self.status(pointer)?;
            if seen >= count {
                return Ok(Instant::now());
            }
            if begun.elapsed() > limit {
                return Err(format!("{pointer} is {seen}, not {count}, after {limit:?}"));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"data_dir = "{directory}/data"
mode = "enforce"
[playbooks]
dirs = ["{directory}/playbooks"]
built_in = false
[limits]
acts_per_action_hour_max = 1000000
acts_per_group_hour_max = 1000000
acts_per_hour_max = 1000000
[nftables]
elements_max = 200000
[log]
level = "warn"
"#
    )
}

/// The address in the line that says that it is listening.
fn ready(child: &mut Child) -> Result<SocketAddr, String> {
    let out = child.stdout.take().ok_or("no standard output")?;
    let err = child.stderr.take().ok_or("no standard error")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    for stream in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
    }
    drop(sender);
    let mut said = String::new();
    while let Ok(line) = receiver.recv_timeout(Duration::from_secs(30)) {
        if let Some(at) = line.find("http://") {
            let rest = &line[at + 7..];
            let end = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')
                .unwrap_or(rest.len());
            // The reader threads go on, so that the program never blocks on a full pipe.
            return rest[..end].parse().map_err(|_| format!("no address in {line:?}"));
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(format!("the server did not start: {said}"))
}

/// One request on a connection that stays open; returns code and body.
pub(crate) fn post(connection: &mut TcpStream, path: &str, body: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    connection.write_all(&request).map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let n = connection.read(&mut chunk).map_err(|error| error.to_string())?;
        if n == 0 {
            return Err("the server closed the connection".into());
        }
        answer.extend_from_slice(&chunk[..n]);
        let Some(head) = answer.windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0);
        if answer.len() >= head + 4 + length {
            let code = text
                .split(' ')
                .nth(1)
                .and_then(|code| code.parse().ok())
                .ok_or("no status")?;
            return Ok((code, answer[head + 4..].to_vec()));
        }
    }
}

/// An inbound Suricata alert from `source`, 1.2 KB, with the present time.
pub(crate) fn alert(source: Ipv4Addr) -> String {
    use staunch_ports::Clock;
    let now = staunch_ports::clock::SystemClock.now();
    format!(
        concat!(
            r#"{{"timestamp":"{}","flow_id":2250716750493417,"event_type":"alert","src_ip":"{}","src_port":49241,"#,
            r#""dest_ip":"10.99.0.1","dest_port":22,"proto":"TCP","direction":"to_server","app_proto":"ssh","#,
            r#""alert":{{"action":"allowed","gid":1,"signature_id":2001219,"rev":20,"#,
            r#""signature":"ET SCAN SSH brute force","category":"Attempted Information Leak","severity":1}},"#,
            r#""flow":{{"pkts_toserver":6,"pkts_toclient":5,"bytes_toserver":2800,"bytes_toclient":1900,"#,
            r#""src_ip":"{}","dest_ip":"10.99.0.1","src_port":49241,"dest_port":22}},"payload_printable":"{}"}}"#
        ),
        now,
        source,
        source,
        "x".repeat(600)
    )
}
