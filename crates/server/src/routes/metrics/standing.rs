//! What is true at the moment, as opposed to what has been counted.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};
use staunch_engine::EngineState;
use staunch_model::{Mode, Timestamp};

use super::number;
use crate::app::App;
use crate::view::{self, Totals};

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

/// What is true at the moment, as opposed to what has been counted.
pub(super) struct Standing {
    pub(super) totals: Totals,
    mode: Mode,
    breaker_open: bool,
    notices_pending: u64,
    exemptions: u64,
    swept_at: Option<Timestamp>,
    now: Timestamp,
}

impl Standing {
    pub(super) fn of(state: &EngineState, now: Timestamp) -> Self {
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

pub(super) fn standing_now(registry: &mut Registry, app: &App, standing: &Standing, unverified: u64, lag: Option<u64>) {
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
            "journal_full",
            "1 while events are refused because the journal has no room",
            u64::from(handle.journal_full().is_some()),
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
