//! Evidence on its way from a collector into the vault, and containment that waits for it.

use std::ops::ControlFlow;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use staunch_model::{
    Authority, ClockOffset, CollectionRecord, EvidenceId, EvidenceKind, EvidenceOptions, EvidenceSource, Failure,
    FailureKind, HandlingAction, IncidentId, MatchedStep, PreserveStep, Sha256Hash, Span, StateKind, Taken, Tlp,
    TransactionId,
};
use staunch_ports::clock::SystemClock;
use staunch_ports::{About, CollectRequest, Collected, Collector, Collects, Sink, Vault};
use staunch_runtime::meter::EvidenceResult;
use staunch_runtime::telemetry::VaultMeter;
use staunch_runtime::{Handle, Labels, PreserveParts, Preserver, Runtime, Submission};
use staunch_testkit::vault::MemoryVault;

use crate::journal::GatedJournal;
use crate::world::World;
use crate::{LIMIT, event, playbook, start_with, wait_for};

/// How long ago the machine was started, by the runtime of these tests.
const SINCE_BOOT: Span = Span::from_secs(1);

/// Takes what the test hands over, as many artefacts as there are texts.
struct Handed(EvidenceKind, Receiver<Result<Vec<&'static str>, Failure>>);

fn about(name: &str) -> About {
    About {
        name: name.into(),
        media_type: "text/plain",
        locator: "/test".into(),
        method: "read".into(),
        modified: None,
    }
}

impl Collector for Handed {
    fn describe(&self) -> Collects {
        Collects {
            name: "test/handed",
            kind: self.0,
            needs: &[],
            changes: &["nothing but the time"],
            takes_max: Span::from_secs(60),
        }
    }

    fn tools(&self) -> Vec<Box<str>> {
        vec!["a hand".into()]
    }

    fn observe(&mut self, _: &CollectRequest) -> Result<(), Failure> {
        Ok(())
    }

    fn execute(&mut self, _: &CollectRequest, sink: &mut dyn Sink) -> Result<Collected, Failure> {
        let failed = |error: std::io::Error| Failure::new(FailureKind::Unavailable, &error.to_string());
        let handed = self.1.recv().expect("the test hands over").inspect_err(|failure| {
            sink.missed(about("0.txt"), failure.clone());
        })?;
        for (at, text) in handed.into_iter().enumerate() {
            sink.begin(about(&format!("{at}.txt"))).map_err(failed)?;
            match sink.write_all(text.as_bytes()) {
                Ok(()) => sink.end().map_err(failed)?,
                Err(error) => sink.missed(
                    about(&format!("{at}.txt")),
                    Failure::new(FailureKind::Full, &error.to_string()),
                ),
            }
        }
        Ok(Collected {
            changes: vec!["one more line in a log".into()],
        })
    }

    fn undo(&mut self, _: EvidenceId) -> Result<(), Failure> {
        Ok(())
    }
}

struct Bench {
    runtime: Runtime,
    handle: Handle,
    vault: MemoryVault,
    meter: Arc<VaultMeter>,
    flows: Sender<Result<Vec<&'static str>, Failure>>,
    files: Sender<Result<Vec<&'static str>, Failure>>,
}

/// A runtime whose playbook asks for flows, which a block destroys, and files, which it does not.
fn bench(deadline: Span, vault: MemoryVault) -> Bench {
    bench_with(EvidenceKind::Files, deadline, vault)
}

/// As [`bench`], with `other` for the files.
fn bench_with(other: EvidenceKind, deadline: Span, vault: MemoryVault) -> Bench {
    let (flows, handed_flows) = bounded(8);
    let (files, handed_files) = bounded(8);
    let meter = Arc::<VaultMeter>::default();
    let preserver = Preserver::start(PreserveParts {
        meter: meter.clone(),
        collectors: vec![
            Box::new(Handed(EvidenceKind::Flows, handed_flows)),
            Box::new(Handed(other, handed_files)),
        ],
        vault: Arc::new(vault.clone()),
        labels: Labels {
            classification: Some("internal".into()),
            tlp: Some(Tlp::AmberStrict),
            keep: Some(Span::from_hours(24)),
        },
        build: Arc::new(Sha256Hash::of(b"the program").into()),
        tools: vec!["Linux 6.18".into()],
        clock_offset: Arc::new(|| Some(offset())),
        source: EvidenceSource {
            kind: "host".into(),
            host: "web-1".into(),
            boot_id: None,
            machine_id: None,
            provider: None,
            account: None,
            region: None,
            resource: None,
        },
        version: "test".into(),
        clock: Arc::new(SystemClock),
        since_boot: || SINCE_BOOT,
    })
    .expect("threads");
    let mut asks = playbook();
    asks.preserve = [EvidenceKind::Flows, other]
        .map(|evidence| PreserveStep {
            evidence,
            target: "event.source.ip".into(),
            options: Box::new(EvidenceOptions {
                bytes_max: Some(10),
                ..EvidenceOptions::default()
            }),
            deadline,
        })
        .to_vec();
    let runtime = start_with(&GatedJournal::default(), &World::default(), asks, Some(preserver));
    let handle = runtime.handle();
    Bench {
        runtime,
        handle,
        vault,
        meter,
        flows,
        files,
    }
}

fn attack(handle: &Handle) {
    let ip = "198.51.100.1".parse().expect("an address");
    let (happened, mut matches) = event(ip);
    matches[0].preserve = (0..2)
        .map(|step| MatchedStep {
            step,
            target: Some(staunch_model::Target::Address(ip)).filter(|_| step == 0),
        })
        .collect();
    let (sender, receiver) = bounded(1);
    handle
        .submit(Submission {
            known: Vec::new(),
            found: Vec::new(),
            contexts: Vec::new(),
            events: vec![(happened, matches)],
            reply: Box::new(move |result| sender.send(result).expect("the test waits")),
        })
        .expect("the queue has room");
    receiver.recv_timeout(LIMIT).expect("an answer").expect("taken");
}

fn records(vault: &MemoryVault) -> Vec<CollectionRecord> {
    let mut found = Vec::new();
    vault
        .records(IncidentId(1), &mut |it| {
            found.push(it.record);
            ControlFlow::Continue(())
        })
        .expect("it lists");
    found
}

fn offset() -> ClockOffset {
    ClockOffset {
        offset_us: -1_500,
        error_max_us: Some(700),
        told_by: "a test".into(),
    }
}

/// Waits until the evidence is sealed, or missed.
fn wait_for_evidence(handle: &Handle, id: u64, sealed: bool) {
    let begun = std::time::Instant::now();
    loop {
        let done = handle
            .query(move |state| {
                let it = state.evidence.get(&EvidenceId(id));
                it.is_some_and(|it| {
                    if sealed {
                        it.sealed.is_some()
                    } else {
                        it.missed.is_some()
                    }
                })
            })
            .expect("it runs");
        if done {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "EV-{id}");
        std::thread::yield_now();
    }
}

#[test]
fn an_act_waits_for_what_it_could_destroy_and_for_nothing_else() {
    let bench = bench(Span::from_secs(60), MemoryVault::new(1 << 20));
    attack(&bench.handle);
    wait_for(&bench.handle, 1, StateKind::Planned);
    bench.flows.send(Ok(vec!["flow 1", "flow 2"])).expect("it is awaited");
    // Nobody has handed over files.
    wait_for(&bench.handle, 1, StateKind::InForce);
    let sealed = bench
        .handle
        .query(|state| state.evidence[&EvidenceId(1)].sealed)
        .expect("it runs")
        .expect("it is sealed");
    assert_eq!((sealed.bytes, sealed.artefacts), (12, 2));
    let [record]: [CollectionRecord; 1] = records(&bench.vault).try_into().expect("one record");
    assert_eq!(staunch_model::ContentHash::from(record.hash()), sealed.hash);
    assert_eq!(&*record.artefacts[1].name, "1.txt");
    let expect = ["nothing but the time", "one more line in a log"];
    assert!(record.changes_caused.iter().map(|it| &**it).eq(expect));
    bench.files.send(Ok(vec!["a file"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 2, true);
    bench.runtime.stop().expect("it stops cleanly");
}

#[test]
fn what_is_in_memory_is_taken_two_at_a_time() {
    let bench = bench_with(EvidenceKind::Sockets, Span::from_secs(60), MemoryVault::new(1 << 20));
    attack(&bench.handle);
    bench.files.send(Ok(vec!["a socket"])).expect("it is awaited");
    // Nobody has handed over flows, which were asked for first.
    wait_for_evidence(&bench.handle, 2, true);
    bench.flows.send(Ok(vec!["flow"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 1, true);
    wait_for(&bench.handle, 1, StateKind::InForce);
    bench.runtime.stop().expect("it stops cleanly");
}

#[test]
fn every_artefact_has_its_custody() {
    let bench = bench(Span::from_secs(60), MemoryVault::new(1 << 20));
    attack(&bench.handle);
    bench
        .flows
        .send(Ok(vec!["flow", "more than ten bytes"]))
        .expect("it is awaited");
    wait_for(&bench.handle, 1, StateKind::InForce);
    let mut manifests = Vec::new();
    bench
        .vault
        .manifests(IncidentId(1), &mut |it| {
            manifests.push(it.manifest);
            ControlFlow::Continue(())
        })
        .expect("it lists");
    assert_eq!(manifests.len(), 2);
    assert!(matches!(manifests[0].taken, Taken::Stored { size: 4, .. }));
    assert!(
        matches!(&manifests[1].taken, Taken::Missed(why) if why.kind == FailureKind::Full),
        "what is longer than its bound is refused with a record"
    );
    let custody = &manifests[0].custody;
    assert_eq!((custody.evidence, custody.kind), (EvidenceId(1), EvidenceKind::Flows));
    assert_eq!(
        custody.transaction,
        Some(TransactionId(1)),
        "the block waits for the flows"
    );
    assert_eq!(
        (&*custody.source.host, &*custody.collector.name),
        ("web-1", "test/handed")
    );
    assert_eq!(custody.collector.build, Some(Sha256Hash::of(b"the program")));
    assert!(
        custody
            .collector
            .tools
            .iter()
            .map(|it| &**it)
            .eq(["Linux 6.18", "a hand"])
    );
    assert_eq!(custody.clock_offset, Some(offset()));
    assert_eq!(custody.volatility, EvidenceKind::Flows.volatility());
    let asked_about = about("0.txt");
    assert_eq!(
        (&custody.name, &custody.method, &custody.locator),
        (&asked_about.name, &asked_about.method, &asked_about.locator)
    );
    assert_eq!(custody.collected_at_monotonic, SINCE_BOOT);
    assert_eq!(
        custody.changes_caused,
        ["nothing but the time".into()] as [Box<str>; 1],
        "what each collection of its kind changes"
    );
    let [handling] = custody.handling.as_slice() else {
        panic!("one hand took it: {:?}", custody.handling);
    };
    assert_eq!(
        (handling.at, &*handling.actor, handling.action, &*handling.reason),
        (
            custody.collected_at,
            "staunch@web-1",
            HandlingAction::Collect,
            "preserved while containment waited for it"
        )
    );
    assert_eq!(
        (custody.classification.as_deref(), custody.tlp, custody.keep_until),
        (
            Some("internal"),
            Some(Tlp::AmberStrict),
            Some(custody.collected_at + Span::from_hours(24))
        )
    );
    let [record] = records(&bench.vault).try_into().expect("one record");
    let record: CollectionRecord = record;
    assert_eq!(record.is_late(), Some(false), "{record:?}");
    assert!(
        matches!(&custody.authority, Authority::Playbook { name, hash } if **name == *"test" && *hash == playbook().hash)
    );
    // The act is in force by now, and waited for the flows alone.
    bench.files.send(Ok(vec!["a file"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 2, true);
    assert_eq!(
        reasons(&bench.vault, 2),
        ["preserved; no act of its incident waited for it"]
    );
    bench.runtime.stop().expect("it stops cleanly");
}

#[test]
fn what_cannot_be_taken_is_on_record_and_containment_goes_on() {
    let bench = bench(Span::from_secs(60), MemoryVault::new(1 << 20));
    attack(&bench.handle);
    let denied = Failure::new(FailureKind::Denied, "CAP_NET_ADMIN is missing");
    bench.flows.send(Err(denied.clone())).expect("it is awaited");
    wait_for(&bench.handle, 1, StateKind::InForce);
    wait_for_evidence(&bench.handle, 1, false);
    let [record]: [CollectionRecord; 1] = records(&bench.vault).try_into().expect("one record");
    assert_eq!(record.failure, Some(denied));
    bench.files.send(Ok(vec!["a file"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 2, true);
    bench.runtime.stop().expect("it stops cleanly");
}

#[test]
fn a_vault_that_fails_seals_nothing() {
    let vault = MemoryVault::new(1 << 20);
    vault.set_failing(Some(Failure::new(FailureKind::Full, "the disk is full")));
    let bench = bench(Span::from_secs(60), vault);
    attack(&bench.handle);
    bench.flows.send(Ok(vec!["flow"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 1, false);
    wait_for(&bench.handle, 1, StateKind::InForce);
    let why = bench
        .handle
        .query(|state| state.evidence[&EvidenceId(1)].missed.clone())
        .expect("it runs")
        .expect("it was missed");
    assert_eq!(why.kind, FailureKind::Full);
    assert_eq!(bench.meter.reading().missed, 1);
    bench.files.send(Ok(vec!["a file"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 2, false);
    let reading = bench.meter.reading().clone();
    assert_eq!(
        (reading.missed, reading.failure.as_deref()),
        (2, Some("the disk is full"))
    );
    bench.runtime.stop().expect("it stops cleanly");
}

#[test]
fn late_evidence_is_kept_and_its_lateness_is_on_record() {
    let bench = bench(Span::from_millis(200), MemoryVault::new(1 << 20));
    attack(&bench.handle);
    // Nobody hands over flows before their deadline.
    wait_for(&bench.handle, 1, StateKind::InForce);
    wait_for_evidence(&bench.handle, 1, false);
    bench.flows.send(Ok(vec!["flow"])).expect("it is awaited");
    bench.files.send(Ok(vec!["a file"])).expect("it is awaited");
    wait_for_evidence(&bench.handle, 1, true);
    let missed = bench
        .handle
        .query(|state| state.evidence[&EvidenceId(1)].missed.clone())
        .expect("it runs")
        .expect("it was missed");
    assert_eq!(missed.kind, FailureKind::TimedOut);
    wait_for_evidence(&bench.handle, 2, true);
    let record = records(&bench.vault)
        .into_iter()
        .find(|it| it.evidence == EvidenceId(1))
        .expect("it was sealed");
    assert_eq!(record.is_late(), Some(true), "{record:?}");
    let reasons = reasons(&bench.vault, 1);
    let expected = format!(
        "preserved late: containment waited for it until {} and no longer",
        record.deadline.expect("it says so")
    );
    assert_eq!(reasons, [expected]);
    bench.runtime.stop().expect("it stops cleanly");
}

/// Why each artefact of a piece was taken, by its manifest.
fn reasons(vault: &MemoryVault, id: u64) -> Vec<String> {
    let mut found = Vec::new();
    vault
        .manifests(IncidentId(1), &mut |it| {
            let custody = &it.manifest.custody;
            if custody.evidence == EvidenceId(id) {
                found.extend(custody.handling.iter().map(|it| it.reason.to_string()));
            }
            ControlFlow::Continue(())
        })
        .expect("it lists");
    found
}

/// How many manifests there are of a piece.
fn manifests_of(vault: &MemoryVault, id: u64) -> usize {
    let mut found = 0;
    vault
        .manifests(IncidentId(1), &mut |it| {
            found += usize::from(it.manifest.custody.evidence == EvidenceId(id));
            ControlFlow::Continue(())
        })
        .expect("it lists");
    found
}

#[test]
fn what_is_tried_up_to_its_deadline_leaves_one_record() {
    let bench = bench(Span::from_secs(3), MemoryVault::new(1 << 20));
    bench.files.send(Ok(vec!["a file"])).expect("it is awaited");
    for _ in 0..7 {
        let away = Failure::new(FailureKind::Unavailable, "nobody is there");
        bench.flows.send(Err(away)).expect("there is room");
    }
    attack(&bench.handle);
    wait_for_evidence(&bench.handle, 1, false);
    wait_for_evidence(&bench.handle, 2, true);
    let tries = bench
        .handle
        .query(|state| state.evidence[&EvidenceId(1)].attempts)
        .expect("it runs");
    assert!(tries > 1, "{tries}");
    let of_flows = || {
        let mut all = records(&bench.vault);
        all.retain(|it| it.evidence == EvidenceId(1));
        all
    };
    let begun = std::time::Instant::now();
    while of_flows().is_empty() {
        assert!(begun.elapsed() < LIMIT, "no record of why it was missed");
        std::thread::yield_now();
    }
    let [record]: [CollectionRecord; 1] = of_flows().try_into().expect("one record");
    let told = format!("nobody is there (tried {tries} times)");
    assert_eq!(record.failure.map(|it| it.what), Some(told.into()));
    assert!(record.missed[0].manifest.is_some());
    assert_eq!(manifests_of(&bench.vault, 1), 1);
    assert_eq!(bench.meter.reading().missed, 0, "it is no fault of the vault");
    bench.runtime.stop().expect("it stops cleanly");
}

#[test]
fn what_failed_first_leaves_no_record_beside_what_was_sealed() {
    let bench = bench(Span::from_secs(60), MemoryVault::new(1 << 20));
    attack(&bench.handle);
    let away = Failure::new(FailureKind::Unavailable, "nobody is there");
    bench.flows.send(Err(away.clone())).expect("it is awaited");
    bench.flows.send(Ok(vec!["flow"])).expect("there is room");
    wait_for_evidence(&bench.handle, 1, true);
    let [record]: [CollectionRecord; 1] = records(&bench.vault).try_into().expect("one record");
    assert_eq!((record.failure, record.artefacts.len()), (None, 1));
    // What is not tried again is recorded at once, with the tries before it.
    bench.files.send(Err(away)).expect("it is awaited");
    let denied = Failure::new(FailureKind::Denied, "it may not");
    bench.files.send(Err(denied)).expect("there is room");
    wait_for_evidence(&bench.handle, 2, false);
    let mut all = records(&bench.vault);
    all.retain(|it| it.evidence == EvidenceId(2));
    let [record]: [CollectionRecord; 1] = all.try_into().expect("one record");
    assert_eq!(
        record.failure.map(|it| it.what),
        Some("it may not (tried 2 times)".into())
    );
    assert_eq!(manifests_of(&bench.vault, 2), 1);
    let count = |kind: EvidenceKind, result| {
        let kind = kind.name();
        let labels = EvidenceResult { kind, result };
        bench.meter.artefacts.get_or_create(&labels).get()
    };
    let counts = [EvidenceKind::Flows, EvidenceKind::Files].map(|kind| (count(kind, "sealed"), count(kind, "missed")));
    assert_eq!(counts, [(1, 0), (0, 1)], "two tries have missed one artefact");
    bench.runtime.stop().expect("it stops cleanly");
}
