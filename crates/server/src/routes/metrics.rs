//! `GET /metrics`: how Staunch stands and what it has done, in the text format of Prometheus (version 0.0.4). Never
//! changes anything, and never names an address that an event has.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use staunch_engine::EngineState;
use staunch_model::{Mode, Span, Timestamp};
use staunch_ports::InletReading;
use staunch_runtime::telemetry::{Counts, Telemetry};
use staunch_store::index::IndexReader;

use super::queries::unverified_one_by_one;
use crate::app::{App, Shared};
use crate::problem::Failed;
use crate::view::{self, Totals};

/// The content type of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabel {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabel {
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabel {
    list: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ContextLabel {
    kind: String,
    file: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FeedLabel {
    feed: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnchorLabel {
    anchor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InletLabel {
    kind: String,
    inlet: String,
    source: String,
}

/// What is true at the moment, as opposed to what has been counted.
struct Standing {
    totals: Totals,
    mode: Mode,
    breaker_open: bool,
    notices_pending: u64,
    exemptions: u64,
    swept_at: Option<Timestamp>,
    now: Timestamp,
}

impl Standing {
    fn of(state: &EngineState, now: Timestamp) -> Self {
        Self {
            totals: view::totals(state, now),
            mode: state.mode_max(),
            breaker_open: state.breaker_open.is_some(),
            notices_pending: state.notices.len() as u64,
            exemptions: state.exemptions.holding_at(now).count() as u64,
            swept_at: state.swept_at.values().min().copied(),
            now,
        }
    }
}

/// Everything, for Prometheus to scrape.
pub(crate) async fn metrics(State(app): State<Shared>) -> Result<Response, Failed> {
    let now = app.service.handle.now();
    let standing = app.ask(move |state| Standing::of(state, now.max(state.now))).await?;
    let unverified = match standing.totals.unverified {
        Some(count) => count,
        None => unverified_one_by_one(&app, now).await?,
    };
    // An index that fails is no reason to say nothing of the rest.
    let position = app.look_up(IndexReader::position).await.ok();
    let lag = position.and_then(|position| app.index_view(position).lag);
    let mut registry = Registry::with_prefix("staunch");
    let telemetry = app.service.handle.telemetry();
    counted(&mut registry, telemetry);
    lists(&mut registry, telemetry, now);
    context(&mut registry, telemetry, now);
    feeds(&mut registry, telemetry, app.service.handle.machine_now());
    lookups(&mut registry, telemetry);
    vault(&mut registry, telemetry);
    copies(&mut registry, telemetry, app.service.handle.machine_now());
    inlets(&mut registry, app.service.intake.inlets());
    standing_now(&mut registry, &app, &standing, unverified, lag);
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|_| Failed::no_answer())?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// What only grows.
fn counted(registry: &mut Registry, telemetry: &Telemetry) {
    let Counts {
        events_accepted,
        events_matched,
        events_malformed,
        events_sample,
        events_turned_away,
        events_archived,
        events_archive_dropped,
        frames,
        commits,
        effects,
        sweeps,
        follower_gaps,
        spans_sent,
        spans_lost,
    } = telemetry.counts();
    let counters = [
        ("events_accepted", "Events that could be read", events_accepted),
        (
            "events_matched",
            "Of those, events that matched a playbook",
            events_matched,
        ),
        ("events_malformed", "Events that could not be read", events_malformed),
        (
            "events_sample",
            "Sample and test findings, which are never acted on",
            events_sample,
        ),
        (
            "events_turned_away",
            "Events refused with 429, 503, or 413 because they were too many at once, which their sender must send again",
            events_turned_away,
        ),
        (
            "events_archived",
            "Events that matched nothing and were archived",
            events_archived,
        ),
        (
            "events_archive_dropped",
            "Events that matched nothing and that the archive had no room or time for",
            events_archive_dropped,
        ),
        ("journal_frames", "Frames made durable", frames),
        ("journal_commits", "Syncs of the journal for them", commits),
        ("driver_effects", "Requests carried out by drivers", effects),
        ("sweeps", "Drift sweeps", sweeps),
        (
            "follower_gaps",
            "Frames that the index had to fetch from the journal",
            follower_gaps,
        ),
        ("spans_sent", "Spans that the receiver of traces has taken", spans_sent),
        (
            "spans_lost",
            "Spans that were dropped because the receiver was away, too slow, or refused them",
            spans_lost,
        ),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let meter = &telemetry.meter;
    registry.register(
        "transactions",
        "Transactions, by action and by what became of them",
        meter.transactions.clone(),
    );
    registry.register(
        "refusals",
        "Refused acts, by guard or other reason",
        meter.refusals.clone(),
    );
    registry.register("rollbacks", "Rollbacks begun, by cause", meter.rollbacks.clone());
    registry.register(
        "evidence",
        "Evidence that was asked for, by kind and by what became of it; what comes late is both missed and sealed",
        meter.evidence.clone(),
    );
    registry.register_with_unit(
        "evidence_sealed",
        "Evidence that was sealed, before compression",
        Unit::Bytes,
        meter.evidence_bytes.clone(),
    );
    registry.register_with_unit(
        "phase",
        "Time that transactions spend in each phase; contain is from the plan to the verified act, without people, preserve from the request for evidence until it is sealed",
        Unit::Seconds,
        meter.phases.clone(),
    );
}

fn standing_now(registry: &mut Registry, app: &App, standing: &Standing, unverified: u64, lag: Option<u64>) {
    let handle = &app.service.handle;
    let totals = &standing.totals;
    let states = Family::<StateLabel, Gauge>::default();
    for (state, count) in [
        ("in-force", totals.in_force),
        ("under-way", totals.under_way),
        ("awaiting-approval", totals.awaiting_approval),
        ("stuck", totals.stuck),
    ] {
        states.get_or_create(&StateLabel { state }).set(number(count));
    }
    registry.register(
        "containments",
        "Transactions that hold, do or await something, by state",
        states,
    );
    let mode = Family::<ModeLabel, Gauge>::default();
    for each in [Mode::Observe, Mode::Approve, Mode::Enforce] {
        let label = ModeLabel { mode: each.name() };
        mode.get_or_create(&label).set(i64::from(each == standing.mode));
    }
    registry.register("mode", "1 for the mode in force, 0 for the others", mode);
    let build = Family::<BuildLabel, Gauge>::default();
    let version = app.service.version.to_string();
    build.get_or_create(&BuildLabel { version }).set(1);
    registry.register("build_info", "1, with the version of the program", build);
    let lost = handle.journal_lost().is_some();
    let mut gauges = vec![
        (
            "containments_unverified",
            "Of those in force, not verified of late",
            unverified,
        ),
        ("incidents_open", "Incidents that are open", totals.incidents_open),
        (
            "notices_pending",
            "Messages to people that were not taken yet",
            standing.notices_pending,
        ),
        (
            "protections",
            "Networks that people have exempted from containment",
            standing.exemptions,
        ),
        (
            "breaker_open",
            "1 while the circuit breaker demotes everything to observing",
            u64::from(standing.breaker_open),
        ),
        (
            "queue_depth",
            "Events that wait to be taken up",
            handle.queue_depth() as u64,
        ),
        (
            "queue_capacity",
            "Events that may wait; further ones are refused",
            handle.queue_capacity() as u64,
        ),
        (
            "journal_lost",
            "1 when the journal's files are not where the next start looks for them",
            u64::from(lost),
        ),
        (
            "former_elements",
            "What other installations have left in force",
            handle.former().len() as u64,
        ),
    ];
    if let Some(lag) = lag {
        gauges.push(("index_lag_frames", "Frames that the index is behind the journal", lag));
    }
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(number(value)));
    }
    let seconds = |time: Timestamp| time.as_micros() as f64 / 1e6;
    registry.register_with_unit(
        "start_time",
        "When the server started, since the epoch",
        Unit::Seconds,
        ConstGauge::new(seconds(app.started)),
    );
    // Before the first sweep, since when there could have been one.
    let swept = standing.swept_at.unwrap_or(app.started);
    registry.register_with_unit(
        "sweep_age",
        "How long ago everything in force was last compared with the world; before that, the age of the server",
        Unit::Seconds,
        ConstGauge::new(standing.now.since(swept).as_micros() as f64 / 1e6),
    );
}

/// What is told of files that are read again when they change, each by its label.
struct Files<L> {
    refused: Family<L, Gauge>,
    refusals: Family<L, Counter>,
    age: Family<L, Gauge<f64, AtomicU64>>,
}

impl<L: EncodeLabelSet + Clone + Debug + Eq + Hash + Send + Sync + 'static> Files<L> {
    fn new() -> Self {
        Self {
            refused: Family::default(),
            refusals: Family::default(),
            age: Family::default(),
        }
    }

    /// Tells of one, which was read so long ago.
    fn tell(&self, label: &L, is_refused: bool, refusals: u64, age: Span) {
        self.refused.get_or_create(label).set(i64::from(is_refused));
        self.refusals.get_or_create(label).inc_by(refusals);
        self.age.get_or_create(label).set(age.as_micros() as f64 / 1e6);
    }

    /// Enters them under names that begin with `of`.
    fn register(self, registry: &mut Registry, of: &str) {
        let help = "1 while the file as it is now is refused, and what it said before is in force";
        registry.register(format!("{of}_refused"), help, self.refused);
        registry.register(format!("{of}_refusals"), "How often a file was refused", self.refusals);
        let help = "How long ago what is in force of a file was read";
        registry.register_with_unit(format!("{of}_age"), help, Unit::Seconds, self.age);
    }
}

/// How the files stand that list what is never touched.
fn lists(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
    let networks = Family::<ListLabel, Gauge>::default();
    let files = Files::new();
    for it in view::lists(telemetry) {
        let label = ListLabel { list: it.path };
        networks.get_or_create(&label).set(number(it.networks));
        files.tell(&label, it.refused.is_some(), it.refusals, now.since(it.read_at));
    }
    let help = "Networks that a file lists as never touched";
    registry.register("list_networks", help, networks);
    files.register(registry, "list");
}

/// How the files stand that say what assets and accounts are.
fn context(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
    let entries = Family::<ContextLabel, Gauge>::default();
    let files = Files::new();
    for it in view::context(telemetry) {
        let label = ContextLabel {
            kind: it.kind,
            file: it.path,
        };
        entries.get_or_create(&label).set(number(it.entries));
        files.tell(&label, it.refused.is_some(), it.refusals, now.since(it.read_at));
    }
    let help = "What a file of assets or of accounts names";
    registry.register("context_entries", help, entries);
    files.register(registry, "context");
}

/// How the feeds stand.
fn feeds(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
    let networks = Family::<FeedLabel, Gauge>::default();
    let failed = Family::<FeedLabel, Gauge>::default();
    let stale = Family::<FeedLabel, Gauge>::default();
    let age = Family::<FeedLabel, Gauge<f64, AtomicU64>>::default();
    for it in view::feeds(telemetry) {
        let label = FeedLabel { feed: it.name };
        networks.get_or_create(&label).set(number(it.networks));
        failed.get_or_create(&label).set(i64::from(it.failed.is_some()));
        let is_stale = it.expires.is_none_or(|expires| now >= expires);
        stale.get_or_create(&label).set(i64::from(is_stale));
        if let Some(as_of) = it.as_of {
            let seconds = now.since(as_of).as_micros() as f64 / 1e6;
            age.get_or_create(&label).set(seconds);
        }
    }
    registry.register("feed_networks", "Networks that a feed names", networks);
    let help = "1 while the feed as it is now cannot be used";
    registry.register("feed_failed", help, failed);
    let help = "1 when what was read last is too old to count, or nothing was read";
    registry.register("feed_stale", help, stale);
    let help = "How long ago what counts of a feed was made or fetched";
    registry.register_with_unit("feed_age", help, Unit::Seconds, age);
}

/// What services answer about addresses.
fn lookups(registry: &mut Registry, telemetry: &Telemetry) {
    let Some(meter) = telemetry.lookups.get() else { return };
    let help = "Questions to services about addresses, by what became of them";
    registry.register("lookups", help, meter.results.clone());
    let help = "Questions whose answers were in the cache";
    registry.register("lookup_cache_hits", help, meter.hits.clone());
    let help = "Questions whose answers were not";
    registry.register("lookup_cache_misses", help, meter.misses.clone());
    let help = "Time that services take to answer";
    registry.register_with_unit("lookup", help, Unit::Seconds, meter.seconds.clone());
    let help =
        "Time until it was known what all look-ups say of the addresses of a body, those in the cache among them";
    registry.register_with_unit("lookup_wait", help, Unit::Seconds, meter.waits.clone());
}

/// The vault of evidence.
fn vault(registry: &mut Registry, telemetry: &Telemetry) {
    let Some(meter) = telemetry.vault.get() else { return };
    let reading = meter.reading();
    let help = "1 while there is no vault, or it has not taken the last piece of evidence";
    registry.register("vault_failed", help, ConstGauge::new(i64::from(reading.is_failing())));
    let help = "Pieces of evidence that were missed because of the vault";
    registry.register("vault_missed", help, ConstCounter::new(reading.missed_total));
}

/// The places that evidence, and what proves it, is brought to.
fn copies(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
    let Some(meter) = telemetry.copies.get() else { return };
    let seconds = |at: Timestamp| now.since(at).as_micros() as f64 / 1e6;
    let failed = Family::<AnchorLabel, Gauge>::default();
    let failures = Family::<AnchorLabel, Counter>::default();
    let age = Family::<AnchorLabel, Gauge<f64, AtomicU64>>::default();
    for (name, it) in meter.anchors().iter() {
        let label = AnchorLabel {
            anchor: name.to_string(),
        };
        failed.get_or_create(&label).set(i64::from(it.is_failing));
        failures.get_or_create(&label).inc_by(it.failures);
        if let Some(at) = it.at {
            age.get_or_create(&label).set(seconds(at));
        }
    }
    registry.register("anchor_failed", "1 while the last attempt to anchor has failed", failed);
    registry.register("anchor_failures", "Attempts to anchor that have failed", failures);
    let help = "How long ago a checkpoint was last brought to an anchor";
    registry.register_with_unit("anchor_age", help, Unit::Seconds, age);
    let Some(bucket) = *meter.bucket() else { return };
    // What is not known is left out, and not told as none.
    if let Some(waiting) = bucket.waiting {
        let help = "Artefacts, manifests and records that are not in the bucket of evidence";
        registry.register("bucket_waiting", help, ConstGauge::new(number(waiting)));
    }
    let help = "1 while the last attempt to send evidence to its bucket has failed";
    registry.register("bucket_failed", help, ConstGauge::new(i64::from(bucket.is_failing)));
    let help = "Attempts to send evidence to its bucket that have failed";
    registry.register("bucket_failures", help, ConstCounter::new(bucket.failures));
}

/// What has come of the ways in which events come without being posted. Those of the same words are told together.
fn inlets(registry: &mut Registry, readings: Vec<InletReading>) {
    type Count = fn(&InletReading) -> u64;
    type Trouble = fn(&InletReading) -> Option<&str>;
    let labels: Vec<(InletLabel, InletReading)> = readings
        .into_iter()
        .map(|it| {
            let label = InletLabel {
                kind: it.kind.clone(),
                inlet: it.follows.clone(),
                source: it.source.clone(),
            };
            (label, it)
        })
        .collect();
    let counters: [(&str, &str, Count); 5] = [
        ("inlet_lines", "Lines of a followed source that were taken", |it| {
            it.lines
        }),
        (
            "inlet_malformed",
            "What came of a followed source and could not be read",
            |it| it.malformed,
        ),
        (
            "inlet_lost",
            "What was lost of a followed source: too fast, too long, gone before it was read, or from somebody who may not send",
            |it| it.dropped,
        ),
        (
            "inlet_passed_over",
            "What came of a followed source and is left out because the configuration says so",
            |it| it.passed_over,
        ),
        (
            "inlet_failures",
            "How often a followed source could not be read any more",
            |it| it.failures,
        ),
    ];
    for (name, help, count) in counters {
        let family = Family::<InletLabel, Counter>::default();
        for (label, reading) in &labels {
            family.get_or_create(label).inc_by(count(reading));
        }
        registry.register(name, help, family);
    }
    let gauges: [(&str, &str, Trouble); 2] = [
        ("inlet_failing", "1 while a followed source cannot be read", |it| {
            it.failing.as_deref()
        }),
        (
            "inlet_waiting",
            "1 while what was read of a followed source cannot be taken",
            |it| it.waiting.as_deref(),
        ),
    ];
    for (name, help, trouble) in gauges {
        let family = Family::<InletLabel, Gauge>::default();
        for (label, reading) in &labels {
            let gauge = family.get_or_create(label);
            gauge.set(gauge.get().max(i64::from(trouble(reading).is_some())));
        }
        registry.register(name, help, family);
    }
}

/// A gauge is signed.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
