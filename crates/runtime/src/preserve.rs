//! Preserves evidence: asks collectors for what the engine wants kept, and seals what they read in the vault.
//!
//! Never decides what is kept or how long containment waits for it. The threads are started before the runtime, so that they
//! can look into what a sandbox keeps from everybody else. What is in memory is read in the order in which it is asked for, by
//! two threads: one reads while the disk of the other syncs. What takes its time, such as packets and files, has threads of its
//! own and holds nothing else up.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use staunch_model::custody::CUSTODY_SCHEMA_VERSION;
use staunch_model::{
    Authority, ClockOffset, CollectedArtefact, CollectionRecord, CollectorIdentity, ContentHash, EvidenceId,
    EvidenceKind, EvidenceSource, Failure, FailureKind, Handling, HandlingAction, Input, InstallationId, ManifestDraft,
    MissedArtefact, Sealed, Sha256Hash, Span, Taken, Timestamp,
};
use staunch_ports::{About, Clock, CollectRequest, Collector, Collects, Deposit, Sink, Vault};

/// Requests that may wait for one thread: each incident asks for a dozen at the most.
const WAITING_MAX: usize = 256;

/// How long what is in memory may still be read when containment waits no longer.
const LATE: Duration = Duration::from_millis(500);

/// The most artefacts of one collection, so that its record has a bound.
const ARTEFACTS_MAX: usize = 10_000;

/// Tells how far the machine's clock is off; `None` when nobody knows.
pub type ClockOffsetFn = Arc<dyn Fn() -> Option<ClockOffset> + Send + Sync>;

/// What evidence is taken with.
pub struct PreserveParts {
    /// Those that take it, at most one for each kind.
    pub collectors: Vec<Box<dyn Collector>>,
    /// Where it is kept.
    pub vault: Arc<dyn Vault>,
    /// The machine that it is taken from.
    pub source: EvidenceSource,
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
    pub(crate) request: CollectRequest,
    pub(crate) playbook: Box<str>,
    pub(crate) playbook_hash: ContentHash,
}

/// The way to the threads that take evidence. They end when nobody can ask them any more.
pub struct Preserver {
    lanes: Vec<(Lane, Sender<(Instant, CollectOrder)>)>,
    home: Arc<Home>,
}

/// Where the threads tell what they have done.
#[derive(Default)]
struct Home(OnceLock<Connected>);

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
    source: EvidenceSource,
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
            source: parts.source,
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
        drop(self.home.0.set(connected));
    }

    /// Asks for evidence. Never waits.
    pub(crate) fn ask(&self, order: CollectOrder) {
        let lane = Lane::of(order.kind);
        let evidence = order.request.evidence;
        let sender = self.lanes.iter().find(|(it, _)| *it == lane).map(|(_, sender)| sender);
        let Some(sender) = sender else {
            let failure = Failure::new(FailureKind::Invalid, "nothing is preserved on this installation");
            self.home.tell(evidence, Err(failure));
            return;
        };
        let until = Instant::now() + order.request.time_left.to_std();
        let failure = match sender.try_send((until, order)) {
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
}

impl Home {
    fn tell(&self, evidence: EvidenceId, result: Result<Sealed, Failure>) {
        if let Some(connected) = self.0.get() {
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

fn work(collectors: &[Shared], common: &Common, orders: &Receiver<(Instant, CollectOrder)>) {
    for (until, mut order) in orders {
        let shared = collectors.iter().find(|it| it.about.kind == order.kind);
        // No panic leaves a collection: it is caught below.
        let collector = shared.map(|it| it.collector.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        let is_late = now >= until;
        // Containment waits until the deadline; what is taken after it is evidence all the same, and its lateness is on record.
        let takes = shared.map_or(Span::ZERO, |it| it.about.takes_max).to_std();
        let lane = Lane::of(order.kind);
        let given_up = until.max(now + takes);
        // What is in memory is asked to end in time, so that what was read by then is sealed before it is destroyed, and so that
        // one that takes long holds the others up no longer than containment.
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
                let taken = AssertUnwindSafe(|| collect(collector.as_mut(), common, &order, given_up));
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

fn collect(
    collector: &mut dyn Collector,
    common: &Common,
    order: &CollectOrder,
    until: Instant,
) -> Result<Sealed, Failure> {
    let about = collector.describe();
    let mut sink = VaultSink {
        common,
        order,
        until,
        started_at: common.clock.now(),
        identity: CollectorIdentity {
            name: about.name.into(),
            version: common.version.clone(),
            build: common.build.get().copied(),
            host: common.source.host.clone(),
            tools: common.tools.iter().cloned().chain(collector.tools()).collect(),
        },
        about,
        open: None,
        artefacts: Vec::new(),
        missed: Vec::new(),
        trouble: None,
    };
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

/// Seals in the vault what one collection reads.
struct VaultSink<'c> {
    common: &'c Common,
    order: &'c CollectOrder,
    until: Instant,
    started_at: Timestamp,
    identity: CollectorIdentity,
    about: Collects,
    open: Option<Open>,
    artefacts: Vec<CollectedArtefact>,
    missed: Vec<MissedArtefact>,
    /// What the vault said when it failed first.
    trouble: Option<Failure>,
}

/// The artefact that is being written.
struct Open {
    about: About,
    deposit: Box<dyn Deposit>,
    begun_at: Timestamp,
    begun_at_monotonic: Span,
}

impl VaultSink<'_> {
    fn draft(&self, about: About, at: Timestamp, monotonic: Span) -> ManifestDraft {
        let request = &self.order.request;
        ManifestDraft {
            installation: self.installation(),
            evidence: request.evidence,
            incident: request.incident,
            transaction: None,
            kind: self.order.kind,
            target: request.target.clone(),
            name: about.name,
            media_type: about.media_type.into(),
            source: self.common.source.clone(),
            volatility: self.order.kind.volatility(),
            collected_at: at,
            collected_at_monotonic: monotonic,
            clock_offset: (self.common.clock_offset)(),
            collector: self.identity.clone(),
            authority: Authority::Playbook {
                name: self.order.playbook.clone(),
                hash: self.order.playbook_hash,
            },
            method: about.method,
            locator: about.locator,
            modified: about.modified,
            handling: vec![Handling {
                at,
                actor: format!("staunch@{}", self.common.source.host).into(),
                action: HandlingAction::Collect,
                reason: "preserved before containment".into(),
                from: None,
                to: None,
            }],
            changes_caused: self.about.changes.iter().map(|it| Box::from(*it)).collect(),
            classification: None,
            tlp: None,
            keep_until: None,
        }
    }

    fn installation(&self) -> InstallationId {
        let connected = self.common.home.0.get();
        connected.map_or_else(InstallationId::default, |it| it.installation)
    }

    fn check_time(&self) -> io::Result<()> {
        if Instant::now() < self.until {
            Ok(())
        } else {
            let what = "it took longer than this evidence may take";
            Err(io::Error::new(io::ErrorKind::TimedOut, what))
        }
    }

    /// Drops what is open, which could not be taken because of `failure`.
    fn give_up(&mut self, failure: &Failure) {
        if let Some(open) = self.open.take() {
            self.missed(open.about, failure.clone());
        }
    }

    /// Keeps what the collection came to.
    fn seal(mut self, changes: Vec<Box<str>>, failure: Option<Failure>) -> Result<Sealed, Failure> {
        if self.open.is_some() {
            self.give_up(&Failure::new(FailureKind::Interrupted, "it was begun and not ended"));
        }
        let nothing = self.artefacts.is_empty();
        let mut failure = failure.or_else(|| self.trouble.take());
        if nothing && failure.is_none() {
            failure = self.missed.first().map(|it| it.failure.clone());
        }
        let request = &self.order.request;
        let bytes = self.artefacts.iter().map(|it| it.size).sum();
        let artefacts = u32::try_from(self.artefacts.len()).unwrap_or(u32::MAX);
        let record = CollectionRecord {
            schema_version: CUSTODY_SCHEMA_VERSION,
            installation: self.installation(),
            evidence: request.evidence,
            incident: request.incident,
            kind: self.order.kind,
            target: request.target.clone(),
            collector: self.identity,
            started_at: self.started_at,
            ended_at: self.common.clock.now(),
            artefacts: self.artefacts,
            missed: self.missed,
            failure: failure.clone(),
            changes_caused: self
                .about
                .changes
                .iter()
                .map(|it| Box::from(*it))
                .chain(changes)
                .collect(),
        };
        // That it could not be taken is evidence, too.
        let hash = self.common.vault.put_record(&record)?;
        match failure {
            // What was sealed before counts only when the rest is known to be missing, not when it is about to be tried again.
            Some(failure) => Err(failure),
            None => Ok(Sealed {
                hash: hash.into(),
                bytes,
                artefacts,
            }),
        }
    }

    fn note(&mut self, failure: Failure) -> io::Error {
        let kind = match failure.kind {
            FailureKind::Full => io::ErrorKind::StorageFull,
            FailureKind::Denied => io::ErrorKind::PermissionDenied,
            FailureKind::TimedOut => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        let error = io::Error::new(kind, failure.to_string());
        self.trouble.get_or_insert(failure);
        error
    }
}

impl Write for VaultSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_time()?;
        match &mut self.open {
            Some(open) => open.deposit.write(bytes),
            None => Err(io::Error::other("no artefact was begun")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for VaultSink<'_> {
    fn begin(&mut self, about: About) -> io::Result<()> {
        self.check_time()?;
        if self.open.is_some() {
            return Err(io::Error::other("the artefact before has not ended"));
        }
        if self.artefacts.len() + self.missed.len() >= ARTEFACTS_MAX {
            let what = format!("a collection has at most {ARTEFACTS_MAX} artefacts");
            return Err(self.note(Failure::new(FailureKind::Full, &what)));
        }
        let deposit = match self.common.vault.begin(self.order.request.options.bytes_max) {
            Ok(deposit) => deposit,
            Err(failure) => return Err(self.note(failure)),
        };
        self.open = Some(Open {
            about,
            deposit,
            begun_at: self.common.clock.now(),
            begun_at_monotonic: (self.common.since_boot)(),
        });
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.check_time()?;
        let Some(open) = self.open.take() else {
            return Err(io::Error::other("no artefact was begun"));
        };
        let name = open.about.name.clone();
        let draft = self.draft(open.about, open.begun_at, open.begun_at_monotonic);
        let sealed = match open.deposit.seal(draft) {
            Ok(sealed) => sealed,
            Err(failure) => return Err(self.note(failure)),
        };
        if let Taken::Stored { size, sha256, .. } = sealed.manifest.taken {
            self.artefacts.push(CollectedArtefact {
                name,
                sequence: sealed.manifest.sequence,
                manifest: sealed.hash,
                sha256,
                size,
            });
        }
        Ok(())
    }

    fn missed(&mut self, about: About, failure: Failure) {
        self.open = None;
        if self.artefacts.len() + self.missed.len() >= ARTEFACTS_MAX {
            return;
        }
        let (name, locator) = (about.name.clone(), about.locator.clone());
        let draft = self.draft(about, self.common.clock.now(), (self.common.since_boot)());
        let manifest = match self.common.vault.put_missed(draft, failure.clone()) {
            Ok(sealed) => Some(sealed.hash),
            Err(trouble) => {
                self.trouble.get_or_insert(trouble);
                None
            }
        };
        self.missed.push(MissedArtefact {
            name,
            locator,
            manifest,
            failure,
        });
    }
}
