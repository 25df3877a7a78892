//! Preserves evidence: asks collectors for what the engine wants kept, and seals what they read in the vault.
//!
//! Never decides what is kept or how long containment waits for it. The threads are started before the runtime, so that
//! they can look into what a sandbox keeps from everybody else. What is in memory is read in the order in which it is
//! asked for, by two threads: one reads while the disk of the other syncs. What takes its time, such as packets and
//! files, has threads of its own and holds nothing else up.
//!
//! A try that failed leaves its record when no other follows it, so that a piece has one record, however often it was
//! tried.

mod held;
mod sink;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use staunch_model::{
    ClockOffset, CollectorIdentity, ContentHash, EvidenceId, EvidenceKind, EvidenceSource, Failure, FailureKind, Input,
    InstallationId, Sealed, Sha256Hash, Span, Timestamp, Tlp, TransactionId,
};
use staunch_ports::{Clock, CollectRequest, Collector, Collects, Vault};

use crate::telemetry::VaultMeter;
use held::{Held, HeldTries};
use sink::VaultSink;

/// Requests that may wait for one thread: each incident asks for a dozen at the most.
const WAITING_MAX: usize = 256;

/// How long what is in memory may still be read when containment waits no longer.
const LATE: Duration = Duration::from_millis(500);

/// Tells how far the machine's clock is off; `None` when nobody knows.
pub type ClockOffsetFn = Arc<dyn Fn() -> Option<ClockOffset> + Send + Sync>;

/// What the organisation says of evidence, in its manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// How confidential it is, in words of the organisation.
    pub classification: Option<Box<str>>,
    /// Who may be shown it.
    pub tlp: Option<Tlp>,
    /// How long it is to be kept, from when it was taken. Nothing is deleted after it.
    pub keep: Option<Span>,
}

/// What evidence is taken with.
pub struct PreserveParts {
    /// Those that take it, at most one for each kind.
    pub collectors: Vec<Box<dyn Collector>>,
    /// Where it is kept.
    pub vault: Arc<dyn Vault>,
    /// Who is told how the vault does.
    pub meter: Arc<VaultMeter>,
    /// The machine that it is taken from.
    pub source: EvidenceSource,
    /// What the organisation says of all that is taken.
    pub labels: Labels,
    /// The version of the program.
    pub version: Box<str>,
    /// The SHA-256 of the program, once it is known.
    pub build: Arc<OnceLock<Sha256Hash>>,
    /// What every collector works with, such as the kernel.
    pub tools: Vec<Box<str>>,
    /// How far the machine's clock is off, where somebody can tell.
    pub clock_offset: ClockOffsetFn,
    /// The machine's clock.
    pub clock: Arc<dyn Clock>,
    /// The time since this machine was started.
    pub since_boot: fn() -> Span,
}

/// What the engine wants kept.
#[derive(Clone, Debug)]
pub(crate) struct CollectOrder {
    pub(crate) kind: EvidenceKind,
    /// The transaction that waits for it, when it is asked for.
    pub(crate) transaction: Option<TransactionId>,
    pub(crate) request: CollectRequest,
    /// Until when containment waits for it.
    pub(crate) deadline: Timestamp,
    pub(crate) playbook: Box<str>,
    pub(crate) playbook_hash: ContentHash,
}

/// What a thread is to do.
enum Job {
    /// Take evidence, which containment waits for until then.
    Take(Instant, Box<CollectOrder>),
    /// Keep the record of a try that no other follows.
    Keep(Box<Held>),
}

/// The way to the threads that take evidence. They end when nobody can ask them any more.
pub struct Preserver {
    lanes: Vec<(Lane, Sender<Job>)>,
    home: Arc<Home>,
}

/// Where the threads tell what they have done.
#[derive(Default)]
struct Home {
    connected: OnceLock<Connected>,
    held: HeldTries,
}

struct Connected {
    outcomes: Sender<Input>,
    installation: InstallationId,
}

/// What holds up only its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Memory,
    Packets,
    Disk,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Memory, Self::Packets, Self::Disk];

    const fn of(kind: EvidenceKind) -> Self {
        match kind {
            EvidenceKind::Capture => Self::Packets,
            EvidenceKind::Files | EvidenceKind::Journal => Self::Disk,
            _ => Self::Memory,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Memory => "evidence",
            Self::Packets => "packets",
            Self::Disk => "files",
        }
    }

    /// How many orders are carried out at a time. More than two would take a small host's processors from its business.
    const fn threads(self) -> usize {
        match self {
            Self::Memory => 2,
            Self::Packets | Self::Disk => 1,
        }
    }
}

/// All but the collectors.
struct Common {
    vault: Arc<dyn Vault>,
    meter: Arc<VaultMeter>,
    source: EvidenceSource,
    labels: Labels,
    version: Box<str>,
    build: Arc<OnceLock<Sha256Hash>>,
    tools: Vec<Box<str>>,
    clock_offset: ClockOffsetFn,
    clock: Arc<dyn Clock>,
    since_boot: fn() -> Span,
    home: Arc<Home>,
}

impl Preserver {
    /// Starts the threads.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(parts: PreserveParts) -> io::Result<Self> {
        let home = Arc::new(Home::default());
        let common = Arc::new(Common {
            vault: parts.vault,
            meter: parts.meter,
            source: parts.source,
            labels: parts.labels,
            version: parts.version,
            build: parts.build,
            tools: parts.tools,
            clock_offset: parts.clock_offset,
            clock: parts.clock,
            since_boot: parts.since_boot,
            home: home.clone(),
        });
        let mut collectors = parts.collectors;
        let mut lanes = Vec::new();
        for lane in Lane::ALL {
            let (mine, others): (Vec<_>, _) = collectors
                .into_iter()
                .partition(|it| Lane::of(it.describe().kind) == lane);
            collectors = others;
            let mine: Arc<[Shared]> = mine.into_iter().map(Shared::new).collect();
            let (sender, orders) = bounded(WAITING_MAX);
            for _ in 0..lane.threads() {
                let (mine, common, orders) = (mine.clone(), common.clone(), orders.clone());
                std::thread::Builder::new()
                    .name(lane.name().into())
                    .spawn(move || work(&mine, &common, &orders))?;
            }
            lanes.push((lane, sender));
        }
        Ok(Self { lanes, home })
    }

    /// One that takes nothing, and says so.
    pub(crate) fn nobody() -> Self {
        Self {
            lanes: Vec::new(),
            home: Arc::default(),
        }
    }

    /// Where answers go from now on.
    pub(crate) fn connect(&self, outcomes: Sender<Input>, installation: InstallationId) {
        let connected = Connected { outcomes, installation };
        // It is connected once: a runtime takes it with its parts.
        drop(self.home.connected.set(connected));
    }

    /// Asks for evidence. Never waits.
    pub(crate) fn ask(&self, order: CollectOrder) {
        let evidence = order.request.evidence;
        let Some(sender) = self.lane(order.kind) else {
            let failure = Failure::new(FailureKind::Invalid, "nothing is preserved on this installation");
            self.home.tell(evidence, Err(failure));
            return;
        };
        let until = Instant::now() + order.request.time_left.to_std();
        let failure = match sender.try_send(Job::Take(until, Box::new(order))) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => Failure::new(
                FailureKind::Unavailable,
                "more evidence is asked for than can be taken at a time",
            ),
            Err(TrySendError::Disconnected(_)) => {
                Failure::new(FailureKind::Unavailable, "the thread that takes evidence has ended")
            }
        };
        self.home.tell(evidence, Err(failure));
    }

    /// No other try follows: the last one's record is kept. Never waits.
    pub(crate) fn settle(&self, evidence: EvidenceId) {
        let Some(held) = self.home.held.take(evidence) else {
            return;
        };
        let sent = self
            .lane(held.kind())
            .is_some_and(|sender| sender.try_send(Job::Keep(Box::new(held))).is_ok());
        if !sent {
            tracing::warn!(%evidence, "the vault has no record of why it was missed, which the journal has: its thread is busy");
        }
    }

    fn lane(&self, kind: EvidenceKind) -> Option<&Sender<Job>> {
        let lane = Lane::of(kind);
        self.lanes.iter().find(|(it, _)| *it == lane).map(|(_, sender)| sender)
    }
}

impl Home {
    fn tell(&self, evidence: EvidenceId, result: Result<Sealed, Failure>) {
        if let Some(connected) = self.connected.get() {
            // Without a loop nobody waits for it.
            drop(connected.outcomes.send(Input::Collected { evidence, result }));
        }
    }
}

/// A collector that takes one collection at a time, for whichever thread of its lane has the order.
struct Shared {
    about: Collects,
    collector: Mutex<Box<dyn Collector>>,
}

impl Shared {
    fn new(collector: Box<dyn Collector>) -> Self {
        Self {
            about: collector.describe(),
            collector: Mutex::new(collector),
        }
    }
}

fn work(collectors: &[Shared], common: &Common, jobs: &Receiver<Job>) {
    for job in jobs {
        let (until, mut order) = match job {
            Job::Take(until, order) => (until, order),
            Job::Keep(held) => {
                held.keep(common);
                continue;
            }
        };
        let shared = collectors.iter().find(|it| it.about.kind == order.kind);
        // No panic leaves a collection: it is caught below.
        let collector = shared.map(|it| it.collector.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let is_late = now >= until;
        // Containment waits until the deadline; what is taken after it is evidence all the same, and its lateness is on
        // record.
        let takes = shared.map_or(Span::ZERO, |it| it.about.takes_max).to_std();
        let lane = Lane::of(order.kind);
        let given_up = until.max(now + takes);
        // What is in memory is asked to end in time, so that what was read by then is sealed before it is destroyed,
        // and so that one that takes long holds the others up no longer than containment.
        let asked_for = match lane {
            Lane::Memory => until.max(now + LATE),
            Lane::Packets | Lane::Disk => given_up,
        };
        let left = asked_for.saturating_duration_since(now);
        order.request.time_left = Span::from_micros(u64::try_from(left.as_micros()).unwrap_or(u64::MAX));
        let evidence = order.request.evidence;
        let result = match collector {
            None => Err(Failure::new(
                FailureKind::Invalid,
                "nothing on this machine takes such evidence",
            )),
            // The packets that it was about have passed, and others wait for theirs.
            Some(_) if is_late && lane == Lane::Packets => Err(Failure::new(
                FailureKind::TimedOut,
                "other packets were captured until its deadline",
            )),
            Some(mut collector) => {
                let times = Times {
                    waited: until,
                    given_up,
                };
                let taken = AssertUnwindSafe(|| collect(collector.as_mut(), common, &order, times));
                // Collectors keep nothing between two collections but what a filter or a connection needs.
                catch_unwind(taken).unwrap_or_else(|_| {
                    tracing::error!(%evidence, kind = %order.kind, "a collector panicked; it goes on with what comes next");
                    Err(Failure::new(FailureKind::Invalid, "the collector of this evidence has a defect"))
                })
            }
        };
        if let Err(failure) = &result {
            tracing::warn!(%evidence, kind = %order.kind, %failure, "evidence not taken");
        }
        common.home.tell(evidence, result);
    }
}

/// How much time a collection has.
#[derive(Clone, Copy)]
struct Times {
    /// Until when containment waits for it.
    waited: Instant,
    /// Until when it may go on.
    given_up: Instant,
}

fn collect(
    collector: &mut dyn Collector,
    common: &Common,
    order: &CollectOrder,
    times: Times,
) -> Result<Sealed, Failure> {
    let about = collector.describe();
    let identity = CollectorIdentity {
        name: about.name.into(),
        version: common.version.clone(),
        build: common.build.get().copied(),
        host: common.source.host.clone(),
        tools: common.tools.iter().cloned().chain(collector.tools()).collect(),
    };
    let mut sink = VaultSink::new(common, order, times, identity, about);
    let request = &order.request;
    let done = collector
        .observe(request)
        .and_then(|()| collector.execute(request, &mut sink));
    if let Err(failure) = &done {
        sink.give_up(failure);
        if let Err(left) = collector.undo(request.evidence) {
            tracing::warn!(evidence = %request.evidence, failure = %left, "a collection that was cut off has left something");
        }
    }
    let (changes, failure) = match done {
        Ok(collected) => (collected.changes, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    sink.seal(changes, failure)
}
