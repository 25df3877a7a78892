//! Measures how long it takes to read the volatile facts of this host, with at least 300 processes running, into a sink
//! that keeps nothing: `cargo run --release -p staunch-connectors --example volatile -- [ROUNDS]`.
//!
//! The bar is 250 ms for all of them one after the other, so that containment is not held up.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use staunch_connectors::evidence::{HostOptions, host};
use staunch_model::{Aim, EvidenceId, EvidenceKind, EvidenceOptions, Failure, IncidentId, Process, Span, Target};
use staunch_ports::{About, CollectRequest, Sink};

const PROCESSES: usize = 300;
const BAR: Duration = Duration::from_millis(250);

/// Counts what it is given.
#[derive(Default)]
struct Null {
    bytes: u64,
    missed: Vec<String>,
}

impl Write for Null {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Null {
    fn begin(&mut self, _: About) -> io::Result<()> {
        Ok(())
    }
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn missed(&mut self, about: About, failure: Failure) {
        self.missed.push(format!("{}: {failure}", about.name));
    }
}

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(20, |it| it.parse().unwrap());
    let mut children: Vec<Child> = (0..PROCESSES)
        .map(|_| {
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut parent = Command::new("sh")
        .args(["-c", "cat; :"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = identify(parent.id());
    let mut collectors = host(HostOptions::new([0; 32]));
    collectors.retain(|it| it.describe().kind.volatility() == 2 && it.describe().kind != EvidenceKind::Capture);
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); collectors.len() + 1];
    let mut work = vec![Duration::ZERO; collectors.len() + 1];
    let mut sizes = vec![0; collectors.len() + 1];
    for _ in 0..rounds {
        let begun = Instant::now();
        for (at, collector) in collectors.iter_mut().enumerate() {
            let kind = collector.describe().kind;
            let request = CollectRequest {
                evidence: EvidenceId(1),
                incident: IncidentId(1),
                target: kind.aims_at().map(|aim| match aim {
                    Aim::Process => Target::Process(process),
                    _ => Target::Address([127, 0, 0, 1].into()),
                }),
                options: EvidenceOptions::default(),
                time_left: Span::from_secs(10),
            };
            let mut sink = Null::default();
            let (one, worked) = (Instant::now(), processor());
            let taken = collector.execute(&request, &mut sink);
            times[at].push(one.elapsed());
            work[at] += processor() - worked;
            sizes[at] = sink.bytes;
            if taken.is_err() || !sink.missed.is_empty() {
                println!("{kind}: {taken:?} {:?}", sink.missed);
            }
        }
        times[collectors.len()].push(begun.elapsed());
    }
    for child in children.iter_mut().chain([&mut parent]) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let names = collectors
        .iter()
        .map(|it| it.describe().kind.name())
        .chain(["together"]);
    sizes[collectors.len()] = sizes.iter().sum();
    work[collectors.len()] = work.iter().sum();
    println!(
        "{:<10} {:>10} {:>10} {:>10} {:>10}",
        "kind", "median ms", "worst ms", "cpu ms", "bytes"
    );
    for (((name, times), work), bytes) in names.zip(&mut times).zip(&work).zip(&sizes) {
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        let ms = |it: Duration| it.as_secs_f64() * 1_000.0;
        let work = *work / u32::try_from(rounds).unwrap();
        println!(
            "{name:<10} {:>10.1} {:>10.1} {:>10.1} {bytes:>10}",
            ms(median),
            ms(worst),
            ms(work)
        );
    }
    let median = times[collectors.len()][rounds / 2];
    println!("bar of {BAR:?} {}", if median <= BAR { "reached" } else { "missed" });
}

/// The time of the processor that this thread has had, which does not depend on what else runs.
fn processor() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let micros = |it: TimeVal| u64::try_from(it.num_microseconds()).unwrap();
    Duration::from_micros(micros(usage.user_time()) + micros(usage.system_time()))
}

fn identify(pid: u32) -> Process {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    Process {
        pid,
        started: rest.split_whitespace().nth(19).unwrap().parse().unwrap(),
        boot: u32::from_str_radix(&boot[..8], 16).unwrap(),
    }
}
