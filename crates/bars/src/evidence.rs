//! Time from an alert until the volatile facts of the host are sealed in the vault, so that containment is not held up.
//!
//! The host has at least 300 processes and 300 connections. Each alert names one of them and an address; the playbook
//! keeps everything volatile but packets. The floor reads of each process what the kernel says of it, one file after
//! the other, and writes and syncs it as one file.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use staunch_ports::Clock;
use staunch_ports::clock::SystemClock;

use crate::report::{Row, quantile};
use crate::server::{Server, in_namespace, post};

const PROCESSES: usize = 300;
/// Connections of the host, each with a socket at both ends.
const CONNECTIONS: usize = 300;
const ROUNDS: usize = 30;
const BAR_MS: f64 = 250.0;

/// Evidence of one round; the stream tells of each when it is sealed.
const KINDS: usize = 8;

const PLAYBOOK: &str = r#"playbook: bench-evidence
summary: Keep what is volatile, and block.
trigger:
  sources: [falco]
  when: event.severity >= high
  incident: 'event.raw.output_fields["fd.sip"]'
guards: { acts_per_hour_max: 100000 }
preserve:
  - network
  - flows: { target: 'event.raw.output_fields["fd.sip"]' }
  - sockets
  - process: { target: 'event.raw.output_fields["proc.pid"]' }
  - processes
  - logins
  - modules
  - ruleset
contain:
  - block-ip: { target: 'event.raw.output_fields["fd.sip"]', lease: 1h }
mode: { low: enforce, medium: enforce, high: enforce }
"#;

/// Not on a disk that every host has: an immutable file cannot be removed by who cannot set attributes.
const CONFIGURATION: &str = "[evidence]\nimmutable = false\n[processes]\nenabled = true\n";

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    in_namespace(run)
}

fn run() -> Result<Vec<Row>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    // What never answers, and is not protected as addresses of this host are.
    let others: Vec<Ipv4Addr> = (1..).take(ROUNDS).map(|last| Ipv4Addr::new(198, 18, 0, last)).collect();
    let processes = Processes::start(PROCESSES)?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| text(&error))?;
    let address = listener.local_addr().map_err(|error| text(&error))?;
    let connected = || Ok((TcpStream::connect(address)?, listener.accept()?));
    let connections: std::io::Result<Vec<_>> = (0..CONNECTIONS).map(|_| connected()).collect();
    let _connections = connections.map_err(|error| text(&error))?;
    let server = Server::start_playing("nftables", PLAYBOOK, CONFIGURATION)?;
    let mut connection = server.connect()?;
    let mut stream = Told::open(&server)?;
    let (mut sealed, mut contained, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for (other, process) in others.iter().zip(&processes.0) {
        let body = alert(process.id(), *other);
        let begun = Instant::now();
        let (code, said) = post(&mut connection, "/v1/events/falco", body.as_bytes())?;
        if code != 202 {
            return Err(format!(
                "the server answered {code}: {}",
                String::from_utf8_lossy(&said)
            ));
        }
        let (last_sealed, in_force) = stream.round(begun)?;
        sealed.push(last_sealed);
        contained.push(in_force);
        floor.push(read_and_sync()?);
    }
    let running = processes_here()?;
    if running < PROCESSES {
        return Err(format!("the host has {running} processes, fewer than {PROCESSES}"));
    }
    let (sealed50, sealed_max) = (quantile(&mut sealed, 0.5), quantile(&mut sealed, 1.0));
    let (contained50, contained_max) = (quantile(&mut contained, 0.5), quantile(&mut contained, 1.0));
    let floor50 = quantile(&mut floor, 0.5);
    Ok(vec![
        Row {
            what: "alert to facts sealed",
            figure: format!("{sealed50:.0} ms"),
            floor: format!("{floor50:.1} ms"),
            bar: format!("< {BAR_MS:.0} ms ({:.1}x the floor)", sealed50 / floor50),
            reached: sealed50 < BAR_MS,
            numbers: vec![("median_ms", sealed50), ("floor_median_ms", floor50)],
        },
        Row {
            what: "the same, slowest",
            figure: format!("{sealed_max:.0} ms"),
            floor: format!("{floor50:.1} ms"),
            bar: format!("< {BAR_MS:.0} ms, {running} processes"),
            reached: sealed_max < BAR_MS,
            numbers: vec![("max_ms", sealed_max)],
        },
        Row {
            what: "alert to block, evidence",
            figure: format!("{contained50:.0} ms"),
            floor: format!("{floor50:.1} ms"),
            bar: format!("< {BAR_MS:.0} ms (slowest {contained_max:.0} ms)"),
            reached: contained_max < BAR_MS,
            numbers: vec![("median_ms", contained50), ("max_ms", contained_max)],
        },
    ])
}

/// Processes that sleep until they are dropped.
struct Processes(Vec<Child>);

impl Processes {
    fn start(count: usize) -> Result<Self, String> {
        let mut all = Self(Vec::new());
        for _ in 0..count {
            let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn();
            all.0
                .push(child.map_err(|error| format!("cannot start sleep: {error}"))?);
        }
        Ok(all)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the server says as it happens.
struct Told(std::io::Lines<BufReader<TcpStream>>);

impl Told {
    fn open(server: &Server) -> Result<Self, String> {
        let mut connection = server.connect()?;
        let request = format!("GET /v1/stream?after=0 HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        connection
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        Ok(Self(BufReader::new(connection).lines()))
    }

    /// Milliseconds from `begun` until everything is sealed, and until what was planned is in force.
    fn round(&mut self, begun: Instant) -> Result<(f64, f64), String> {
        let (mut sealed, mut last_sealed, mut in_force) = (0, None, None);
        while sealed < KINDS || in_force.is_none() {
            let line = self
                .0
                .next()
                .ok_or("the stream has ended")?
                .map_err(|error| error.to_string())?;
            let Some(entry) = line.strip_prefix("data:") else {
                continue;
            };
            let entry: serde_json::Value = serde_json::from_str(entry).map_err(|error| error.to_string())?;
            let what = entry["what"].as_str().unwrap_or_default();
            let now = begun.elapsed().as_secs_f64() * 1e3;
            if what.contains("missed") || what.contains("refused") {
                return Err(what.to_owned());
            }
            if what.contains("sealed") {
                sealed += 1;
                last_sealed = Some(now);
            }
            if what.contains("in force") {
                in_force = Some(now);
            }
        }
        last_sealed.zip(in_force).ok_or_else(|| "nothing was sealed".to_owned())
    }
}

/// An alert of Falco about the process `pid` that talks to `other`.
fn alert(pid: u32, other: Ipv4Addr) -> String {
    serde_json::json!({
        "hostname": std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end(),
        "priority": "Critical",
        "rule": "Outbound connection",
        "source": "syscall",
        "time": SystemClock.now().to_string(),
        "output": "something calls home",
        "output_fields": { "proc.pid": pid, "proc.name": "sleep", "fd.sip": other.to_string() }
    })
    .to_string()
}

fn numbers() -> Result<Vec<u32>, String> {
    let entries = std::fs::read_dir("/proc").map_err(|error| error.to_string())?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(names.collect())
}

fn processes_here() -> Result<usize, String> {
    Ok(numbers()?.len())
}

/// Milliseconds that reading of each process its six files, and one synced file of all, take.
fn read_and_sync() -> Result<f64, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let mut all = Vec::new();
    for pid in numbers()? {
        for name in ["stat", "status", "cmdline", "environ", "cgroup", "maps"] {
            // A process may end meanwhile.
            all.extend(std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default());
        }
    }
    let mut file = File::create(directory.path().join("facts")).map_err(|error| error.to_string())?;
    file.write_all(&all)
        .and_then(|()| file.sync_all())
        .map_err(|error| error.to_string())?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
