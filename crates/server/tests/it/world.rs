//! The outside of a test: a source, a driver, a clock, and a journal that can be held up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;
use staunch_model::{
    ActionKind, ContentHash, Description, Endpoint, EventKind, EventView, Explanation, Failure, FailureKind,
    FieldValue, Frame, Mode, Modes, NothingKnown, NotifyStep, Observation, OnFailure, Outcome, Owner, Permissions,
    Phase, Playbook, PlaybookGuards, Presence, Program, RawFields, RiskClass, Severity, Span, Step, SystemName, Target,
    Timestamp, TransactionId, UndoClass,
};
use staunch_ports::journal::NewFrame;
use staunch_ports::{
    Action, AppendError, Clock, Durability, Epoch, ExecuteRequest, Follower, Journal, Lsn, Malformed, NotRead, Owned,
    OwnedTarget, Purpose, ReadError, Sighting, Source, StoredFrame, Tail, UndoRequest,
};
use staunch_store::MemoryJournal;

/// A clock that moves on by a microsecond each time it is read, and otherwise when it is told.
pub(crate) struct ManualClock(AtomicU64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicU64::new(Self::START.as_micros()))
    }
}

impl ManualClock {
    pub(crate) const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    pub(crate) fn advance(&self, span: Span) {
        self.0.fetch_add(span.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn passed(&self) -> Span {
        self.now().since(Self::START)
    }
}

/// Holds up every append while it is closed.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    /// Appends that may pass although it is closed.
    passes: u32,
    /// Appends that have come to a closed gate.
    arrived: u32,
}

impl Gate {
    pub(crate) fn close(&self) {
        *self.state.lock().expect("no test panics in here") = GateState {
            closed: true,
            ..GateState::default()
        };
    }

    pub(crate) fn open(&self) {
        self.state.lock().expect("no test panics in here").closed = false;
        self.changed.notify_all();
    }

    /// Lets one append pass.
    pub(crate) fn let_one_pass(&self) {
        self.state.lock().expect("no test panics in here").passes += 1;
        self.changed.notify_all();
    }

    /// Waits until `count` appends have come to the closed gate.
    pub(crate) fn wait_for_arrivals(&self, count: u32) {
        let state = self.state.lock().expect("no test panics in here");
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, super::PATIENCE, |state| state.arrived < count)
            .expect("no test panics in here");
        assert!(!timeout.timed_out(), "{} appends of {count} have come", state.arrived);
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("no test panics in here");
        if !state.closed {
            return;
        }
        state.arrived += 1;
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| state.closed && state.passes == 0)
            .expect("no test panics in here");
        state.passes = state.passes.saturating_sub(1);
    }
}

/// A journal behind a gate.
pub(crate) struct Gated {
    pub(crate) inner: MemoryJournal,
    pub(crate) gate: Arc<Gate>,
}

impl Journal for Gated {
    fn append(
        &mut self,
        epoch: Epoch,
        expected: Lsn,
        purpose: Purpose,
        frames: &[NewFrame<'_>],
    ) -> Result<Lsn, AppendError> {
        self.gate.pass();
        self.inner.append(epoch, expected, purpose, frames)
    }

    fn read(&self, from: Lsn, visit: &mut dyn FnMut(StoredFrame)) -> Result<(), ReadError> {
        self.inner.read(from, visit)
    }

    fn tail(&self) -> Tail {
        self.inner.tail()
    }

    fn open_epoch(&mut self) -> Result<Epoch, AppendError> {
        self.inner.open_epoch()
    }

    fn payload_bytes_max(&self) -> usize {
        self.inner.payload_bytes_max()
    }

    fn batch_bytes_max(&self) -> u64 {
        self.inner.batch_bytes_max()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.inner.has_room(bytes)
    }

    fn put_snapshot(&mut self, lsn: Lsn, state: &[u8]) -> Result<(), AppendError> {
        self.inner.put_snapshot(lsn, state)
    }

    fn newest_snapshot(&self) -> Result<Option<(Lsn, Vec<u8>)>, ReadError> {
        self.inner.newest_snapshot()
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }
}

/// A follower that takes no frame while its gate is closed.
pub(crate) struct Slow {
    pub(crate) inner: Box<dyn Follower>,
    pub(crate) gate: Arc<Gate>,
}

impl Follower for Slow {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) {
        self.gate.pass();
        self.inner.follow(lsn, now, frame);
    }

    fn position(&self) -> Lsn {
        self.inner.position()
    }

    fn flush(&mut self) {
        self.inner.flush();
    }

    fn catch_up(&mut self, until: Lsn) {
        self.inner.catch_up(until);
    }

    fn look_after(&mut self) {
        self.inner.look_after();
    }
}

/// What is blocked, and how the driver behaves.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) blocked: Mutex<BTreeMap<Target, TransactionId>>,
    pub(crate) acts_fail: AtomicBool,
    pub(crate) sweeps_fail: AtomicBool,
}

impl World {
    pub(crate) fn is_blocked(&self, ip: &str) -> bool {
        let target = Target::Address(ip.parse().expect("an address"));
        self.blocked
            .lock()
            .expect("no test panics in here")
            .contains_key(&target)
    }
}

/// The driver of a [`World`].
pub(crate) struct MapAction(pub(crate) Arc<World>);

impl MapAction {
    fn blocked(&self) -> std::sync::MutexGuard<'_, BTreeMap<Target, TransactionId>> {
        self.0.blocked.lock().expect("no test panics in here")
    }
}

impl Action for MapAction {
    fn describe(&self) -> Description {
        Description {
            kind: ActionKind::BlockIp,
            driver: "map".into(),
            risk: RiskClass::Low,
            undo: UndoClass::Owned,
            cuts_established: true,
            in_flight_max: Span::from_millis(10),
            d3fend: "D3-ITF".into(),
            permissions: Permissions {
                act: "none".into(),
                check: "none".into(),
                undo: "none".into(),
            },
            local: true,
        }
    }

    fn observe(&mut self, targets: &[Target]) -> Vec<Result<Observation, Failure>> {
        let blocked = self.blocked();
        let seen = |target: &Target| {
            let presence = match blocked.get(target) {
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
        targets.iter().map(seen).collect()
    }

    fn execute(&mut self, requests: &[ExecuteRequest]) -> Vec<Outcome> {
        let act = |request: &ExecuteRequest| {
            if self.0.acts_fail.load(Ordering::SeqCst) {
                return Outcome::DidNotHappen(Failure::new(FailureKind::Denied, "not permitted"));
            }
            self.blocked().insert(request.target.clone(), request.transaction);
            Outcome::Landed
        };
        requests.iter().map(act).collect()
    }

    fn undo(&mut self, requests: &[UndoRequest]) -> Vec<Outcome> {
        let undo = |request: &UndoRequest| {
            self.blocked()
                .retain(|target, label| *target != request.target || *label != request.transaction);
            Outcome::Landed
        };
        requests.iter().map(undo).collect()
    }

    fn owned(&mut self) -> Result<Owned, Failure> {
        if self.0.sweeps_fail.load(Ordering::SeqCst) {
            return Err(Failure::new(FailureKind::Unavailable, "the map is gone"));
        }
        let owned = |(target, label): (&Target, &TransactionId)| OwnedTarget {
            transaction: *label,
            target: target.clone(),
        };
        Ok(Owned {
            targets: self.blocked().iter().map(owned).collect(),
            enforcing: true,
            unread: Vec::new(),
        })
    }
}

/// A source of lines: `{"rule": "brute", "ip": "203.0.113.7"}`, `sample`, `ignore`. A body that begins with `!` is
/// malformed as a whole.
pub(crate) struct TestSource;

struct Line<'a>(&'a [u8]);

impl RawFields for Line<'_> {
    fn field(&self, _: &[Box<str>]) -> Option<FieldValue<'_>> {
        None
    }
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

/// Lines that it reads of one body.
pub(crate) const EVENTS_MAX: usize = 30_000;

impl Source for TestSource {
    fn name(&self) -> &str {
        "test"
    }

    fn read(&self, body: &[u8], visit: &mut dyn FnMut(usize, Sighting<'_>)) -> Result<(), NotRead> {
        let malformed = |offset, what: &str| Malformed {
            offset,
            what: what.to_owned(),
            hint: "mend it".to_owned(),
        };
        if body.first() == Some(&b'!') {
            return Err(NotRead::Malformed(malformed(0, "not lines")));
        }
        let mut offset = 0;
        for (index, line) in body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .enumerate()
        {
            let kind = if line == b"sample" {
                EventKind::Sample
            } else {
                EventKind::Alert
            };
            let parsed: Option<Value> = serde_json::from_slice(line).ok();
            match &parsed {
                _ if line == b"ignore" => visit(index, Sighting::Ignored("asked for")),
                None if kind == EventKind::Alert => {
                    visit(index, Sighting::Malformed(malformed(offset, "not JSON\u{1b}")));
                }
                _ => {
                    let text = |key: &str| parsed.as_ref().and_then(|it| it.get(key)?.as_str()).unwrap_or("");
                    let view = EventView {
                        system: "test",
                        kind,
                        id: None,
                        time: Some(ManualClock::START),
                        severity: Severity::High,
                        signature: text("rule"),
                        category: "",
                        source: Endpoint {
                            ip: text("ip").parse::<IpAddr>().ok(),
                            port: None,
                        },
                        destination: Endpoint::default(),
                        user: None,
                        host: None,
                        raw: &Line(line),
                        around: &NothingKnown,
                    };
                    visit(index, Sighting::Event(&view));
                }
            }
            offset += line.len() + 1;
            if index + 1 == EVENTS_MAX && offset < body.len() {
                return Err(NotRead::TooMany(malformed(offset, "too many lines")));
            }
        }
        Ok(())
    }

    fn explain(&self, _: &[u8]) -> Option<String> {
        Some("it says so".to_owned())
    }
}

/// `brute` acts by itself; `careful` asks.
pub(crate) fn playbooks() -> Vec<Arc<Playbook>> {
    let playbook = |name: &str, low| {
        Arc::new(Playbook {
            name: name.into(),
            summary: format!("Answers {name}.").into(),
            hash: ContentHash::of(name.as_bytes()),
            attack: vec!["T1110".into()],
            deduplicate: Span::from_mins(10),
            context: Vec::new(),
            guards: PlaybookGuards::default(),
            preserve: Vec::new(),
            steps: vec![Step {
                phase: Phase::Contain,
                action: ActionKind::BlockIp,
                target: "event.source.ip".into(),
                lease: Span::from_hours(1),
            }],
            notify: vec![NotifyStep {
                when: vec![staunch_model::IncidentOutcome::Contained],
            }],
            modes: Modes {
                low,
                medium: low,
                high: low,
            },
            on_failure: OnFailure::default(),
        })
    };
    vec![playbook("brute", Mode::Enforce), playbook("careful", Mode::Approve)]
}

/// Each playbook is triggered by its name as the rule.
pub(crate) fn programs() -> Vec<Program> {
    let program = |playbook: Arc<Playbook>| {
        let name = playbook.name.clone();
        Program {
            playbook,
            systems: vec![SystemName::from("test")],
            when: Arc::new(move |view| view.signature == &*name),
            needles: None,
            incident: Arc::new(|view| view.source.ip.map(|ip| ip.to_string())),
            preserve: Vec::new(),
            targets: vec![Arc::new(|view| view.source.ip.map(Target::Address))],
            explain: Arc::new(|_| Explanation::default()),
        }
    };
    playbooks().into_iter().map(program).collect()
}
