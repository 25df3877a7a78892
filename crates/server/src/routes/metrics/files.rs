//! The files that are read again when they change: what is never touched, and what assets and accounts are.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use staunch_model::{Span, Timestamp};
use staunch_runtime::telemetry::Telemetry;

use super::number;
use crate::view;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabel {
    list: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ContextLabel {
    kind: String,
    file: String,
}

/// How the files stand that list what is never touched.
pub(super) fn lists(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
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
pub(super) fn context(registry: &mut Registry, telemetry: &Telemetry, now: Timestamp) {
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
