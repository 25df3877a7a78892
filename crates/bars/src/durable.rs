//! Durable transactions a second with an empty driver, 64 in flight, against one fdatasync.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};
use staunch_model::{
    ActionKind, Change, Description, Endpoint, Event, Failure, Frame, InstallationId, Limits, Match, MatchedStep, Mode,
    Modes, Observation, Outcome, Owner, Permissions, Phase, Playbook, PlaybookGuards, Policy, Presence, Record,
    RiskClass, Severity, Span, Step, Target, Timestamp, TransactionId, UndoClass,
};
use staunch_ports::clock::SystemClock;
use staunch_ports::{Action, Clock, ExecuteRequest, Follower, Lsn, Owned, UndoRequest};
use staunch_runtime::{Busy, EventReply, Parts, Runtime, Settings, Submission};
use staunch_store::{JournalOptions, SegmentJournal};

use crate::report::{Row, quantile};

const IN_FLIGHT: usize = 64;
const TRANSACTIONS: u32 = 60_000;

/// A driver that keeps a map and nothing else.
#[derive(Default)]
pub(crate) struct EmptyDriver(BTreeMap<Target, TransactionId>);

impl Action for EmptyDriver {
    fn describe(&self) -> Description {
        let nothing: Box<str> = "nothing".into();
        Description {
            kind: ActionKind::BlockIp,
            driver: "empty".into(),
            risk: RiskClass::Low,
            undo: UndoClass::Owned,
            cuts_established: true,
            in_flight_max: Span::from_millis(100),
            d3fend: "D3-ITF".into(),
            permissions: Permissions {
                act: nothing.clone(),
                check: nothing.clone(),
                undo: nothing,
            },
            local: true,
        }
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        let look = |target: &Target| {
            let presence = match self.0.get(target) {
                Some(label) => Presence::Present {
                    owner: Owner::Ours(*label),
                    expires_in: None,
                },
                None => Presence::Absent,
            };
            Ok(Observation {
                presence,
                enforcing: true,
                version: 1,
                capacity: None,
                stopped_packets: None,
            })
        };
        targets.iter().map(look).collect()
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let act = |request: &ExecuteRequest| {
            self.0.insert(request.target.clone(), request.transaction);
            Outcome::Landed
        };
        requests.iter().map(act).collect()
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let act = |request: &UndoRequest| {
            self.0.remove(&request.target);
            Outcome::Landed
        };
        requests.iter().map(act).collect()
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        let own = |(target, transaction): (&Target, &TransactionId)| staunch_ports::OwnedTarget {
            transaction: *transaction,
            target: target.clone(),
        };
        Ok(Owned {
            targets: self.0.iter().map(own).collect(),
            enforcing: true,
            unread: Vec::new(),
        })
    }
}

/// Limits that never stand in the way of a measurement.
pub(crate) fn wide_limits() -> Limits {
    Limits {
        actions_in_flight_max: 1_024,
        acts_per_action_hour_max: u32::MAX,
        acts_per_group_hour_max: u32::MAX,
        acts_per_hour_max: u32::MAX,
        sweep_interval: Span::from_hours(1),
        ..staunch_engine::limits::DEFAULT
    }
}

/// A playbook that blocks the source of every event.
pub(crate) fn playbook() -> Playbook {
    Playbook {
        name: "bench".into(),
        summary: "blocks every source".into(),
        hash: staunch_model::ContentHash::of(b"bench"),
        attack: Vec::new(),
        deduplicate: Span::from_mins(10),
        context: Vec::new(),
        guards: PlaybookGuards {
            acts_per_hour_max: u32::MAX,
            ..PlaybookGuards::default()
        },
        preserve: Vec::new(),
        steps: vec![Step {
            phase: Phase::Contain,
            action: ActionKind::BlockIp,
            target: "event.source.ip".into(),
            lease: Span::from_hours(1),
        }],
        notify: Vec::new(),
        modes: Modes {
            low: Mode::Enforce,
            medium: Mode::Enforce,
            high: Mode::Enforce,
        },
        on_failure: staunch_model::OnFailure::Rollback,
    }
}

/// The policy with [`playbook`] in force.
pub(crate) fn policy() -> Policy {
    Policy {
        limits: wide_limits(),
        never_touch: Vec::new(),
        mode_max: Mode::Enforce,
        playbooks: vec![Arc::new(playbook())],
        drivers: Vec::new(),
    }
}

/// An event from address number `n`, and its match.
pub(crate) fn event(n: u32, now: Timestamp) -> (Arc<Event>, Vec<Match>) {
    let ip = IpAddr::V4(Ipv4Addr::from(0x2c00_0000 + n));
    let event = Event {
        system: "suricata".into(),
        id: None,
        time: Some(now),
        received: now,
        severity: Severity::High,
        signature: "ET SCAN SSH brute force".into(),
        category: "Attempted Information Leak".into(),
        source: Endpoint {
            ip: Some(ip),
            port: Some(4_444),
        },
        destination: Endpoint::default(),
        user: None,
        host: None,
        raw: vec![b'x'; 1_200].into(),
    };
    let steps = vec![MatchedStep {
        step: 0,
        target: Some(Target::Address(ip)),
    }];
    let matched = Match {
        playbook: playbook().hash,
        key: ip.to_string().into(),
        preserve: Vec::new(),
        steps,
    };
    (Arc::new(event), vec![matched])
}

/// Tells when transactions have come into force: durably, as everything a follower is given.
struct Watch {
    position: Lsn,
    in_force: Sender<u64>,
}

impl Follower for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn follow(&mut self, lsn: Lsn, _: Timestamp, frame: &Frame) {
        self.position = lsn;
        for record in &frame.records {
            if let Record::Transaction {
                transaction,
                change: Change::PostCheckPassed { .. },
            } = record
            {
                self.in_force.send(transaction.0).expect("the measurement waits");
            }
        }
    }

    fn position(&self) -> Lsn {
        self.position
    }

    fn catch_up(&mut self, _: Lsn) {
        unreachable!("the follower is quicker than the journal");
    }
}

pub(crate) fn measure() -> Result<Vec<Row>, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut syncs = fdatasync_floor(directory.path())?;
    let floor_ms = quantile(&mut syncs, 0.5);
    let (rate, mut latencies) = run(&directory.path().join("many"), IN_FLIGHT, TRANSACTIONS)?;
    let (p50, p99) = (quantile(&mut latencies, 0.5), quantile(&mut latencies, 0.99));
    let (_, mut alone) = run(&directory.path().join("alone"), 1, 2_000)?;
    let (alone50, alone99) = (quantile(&mut alone, 0.5), quantile(&mut alone, 0.99));
    Ok(vec![
        Row {
            what: "durable transactions, 64",
            figure: format!("{rate:.0}/s"),
            floor: format!("{:.0} sync/s", 1e3 / floor_ms),
            bar: ">= 20000/s".into(),
            reached: rate >= 20_000.0,
            numbers: vec![("per_second", rate)],
        },
        Row {
            what: "  p50, p99 with 64",
            figure: format!("{p50:.2}, {p99:.2} ms"),
            floor: format!("{floor_ms:.3} ms"),
            bar: format!("p50 < 3x ({:.1}x)", p50 / floor_ms),
            reached: p50 < 3.0 * floor_ms,
            numbers: vec![("p50_ms", p50), ("p99_ms", p99), ("sync_p50_ms", floor_ms)],
        },
        Row {
            what: "  p50, p99 with 1",
            figure: format!("{alone50:.2}, {alone99:.2} ms"),
            floor: format!("{floor_ms:.3} ms"),
            bar: format!("p50 < 3x ({:.1}x)", alone50 / floor_ms),
            reached: alone50 < 3.0 * floor_ms,
            numbers: vec![("p50_ms", alone50), ("p99_ms", alone99), ("sync_p50_ms", floor_ms)],
        },
    ])
}

/// Transactions a second and milliseconds of each, with `in_flight` at the same time: from the submission of the event
/// to the durable record that its containment was verified.
fn run(journal: &std::path::Path, in_flight: usize, transactions: u32) -> Result<(f64, Vec<f64>), String> {
    let journal = SegmentJournal::open(journal, JournalOptions::default()).map_err(|error| error.to_string())?;
    let (in_force, done) = unbounded();
    let parts = Parts {
        journal: Box::new(journal),
        actions: vec![Box::new(EmptyDriver::default())],
        traffic: None,
        notifiers: Vec::new(),
        preserver: None,
        signals: staunch_runtime::HealthSignals::default(),
        followers: vec![Box::new(Watch {
            position: Lsn(0),
            in_force,
        })],
        log: None,
        clock: Arc::new(SystemClock),
        lost: Vec::new(),
        released_before: None,
        installation: InstallationId::default(),
        build: "bench".into(),
    };
    let runtime = Runtime::start(parts, Settings::default(), policy()).map_err(|error| error.to_string())?;
    let handle = runtime.handle();
    let mut begun_at = Vec::with_capacity(transactions as usize);
    let mut latencies = Vec::with_capacity(transactions as usize);
    let begun = Instant::now();
    while latencies.len() < transactions as usize {
        while begun_at.len() - latencies.len() < in_flight && begun_at.len() < transactions as usize {
            let number = u32::try_from(begun_at.len()).map_err(|error| error.to_string())?;
            begun_at.push(Instant::now());
            let reply =
                Box::new(|result: Result<Vec<EventReply>, Busy>| drop(result.expect("the queue is long enough")));
            let submission = Submission {
                known: Vec::new(),
                found: Vec::new(),
                contexts: Vec::new(),
                events: vec![event(number, SystemClock.now())],
                reply,
            };
            handle.submit(submission).map_err(|error| error.to_string())?;
        }
        // Transactions are numbered from 1 in the order of their events.
        let transaction = done
            .recv_timeout(Duration::from_secs(10))
            .map_err(|error| error.to_string())?;
        let at = usize::try_from(transaction).map_err(|error| error.to_string())? - 1;
        latencies.push(begun_at[at].elapsed().as_secs_f64() * 1e3);
    }
    let rate = f64::from(transactions) / begun.elapsed().as_secs_f64();
    drop(handle);
    runtime.stop().map_err(|error| error.to_string())?;
    Ok((rate, latencies))
}

/// Milliseconds of one fdatasync after 512 bytes into zero-filled space.
fn fdatasync_floor(directory: &std::path::Path) -> Result<Vec<f64>, String> {
    let file = std::fs::File::create(directory.join("floor")).map_err(|error| error.to_string())?;
    file.write_all_at(&vec![0; 8 << 20], 0)
        .map_err(|error| error.to_string())?;
    file.sync_all().map_err(|error| error.to_string())?;
    let mut times = Vec::new();
    for n in 0..2_000 {
        let begun = Instant::now();
        file.write_all_at(&[1; 512], n * 512)
            .map_err(|error| error.to_string())?;
        file.sync_data().map_err(|error| error.to_string())?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
