//! The lanes of a picture, from top to bottom, with what is in each.

use staunch_model::Timestamp;
use staunch_server::dto::{EvidenceRow, TransactionRow};

use crate::commands::incident::timeline::{Entry, Lane, Timeline};

const BARS_MAX: usize = 12;
const SYSTEMS_MAX: usize = 8;

/// A lane of the picture.
pub(super) struct Strip<'a> {
    pub(super) title: String,
    pub(super) lane: Lane,
    /// The source that it is the lane of, if it is one's.
    pub(super) system: Option<&'a str>,
    pub(super) entries: Vec<&'a Entry>,
    pub(super) bars: Vec<Bar>,
    /// Bars that there was no room for.
    pub(super) bars_left_out: usize,
}

/// Something that lasted.
pub(super) struct Bar {
    pub(super) text: String,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// Whether it came to its end, and not only to where it is to end.
    pub(super) is_over: bool,
    /// Whether it is what was asked for.
    pub(super) is_good: bool,
}

pub(super) fn strips<'a>(timeline: &'a Timeline<'_>) -> Vec<Strip<'a>> {
    let has = |system: &str, lane: Lane| {
        let mut entries = timeline.entries.iter();
        entries.any(|it| it.lane == lane && it.system.as_deref() == Some(system))
    };
    let strip = |title: &str, lane| Strip {
        title: title.to_owned(),
        lane,
        system: None,
        entries: Vec::new(),
        bars: Vec::new(),
        bars_left_out: 0,
    };
    let mut strips: Vec<Strip<'a>> = timeline
        .clocks
        .iter()
        .filter(|clock| has(&clock.system, Lane::Event))
        .take(SYSTEMS_MAX)
        .map(|clock| Strip {
            system: Some(&clock.system),
            ..strip(&clock.system, Lane::Event)
        })
        .collect();
    strips.push(strip("other sources", Lane::Event));
    let logs = timeline.clocks.iter().filter(|clock| has(&clock.system, Lane::Log));
    strips.extend(logs.map(|clock| {
        let title = match clock.system.as_str() {
            "log" => "log".to_owned(),
            system => format!("{system} log"),
        };
        Strip {
            system: Some(&clock.system),
            ..strip(&title, Lane::Log)
        }
    }));
    for (title, lane) in [
        ("in evidence", Lane::Found),
        ("decisions", Lane::Incident),
        ("evidence", Lane::Evidence),
        ("acts", Lane::Transaction),
        ("notices", Lane::Notice),
        ("people", Lane::Person),
    ] {
        strips.push(strip(title, lane));
    }
    for entry in &timeline.entries {
        let is_of = |strip: &Strip<'_>| strip.lane == entry.lane && strip.system == entry.system.as_deref();
        // The last one of a lane is for all the others.
        let at = strips.iter().position(is_of);
        if let Some(at) = at.or_else(|| strips.iter().rposition(|it| it.lane == entry.lane)) {
            strips[at].entries.push(entry);
        }
    }
    for strip in &mut strips {
        strip.entries.sort_by_key(|entry| entry.number);
        let bars: Vec<Bar> = match strip.lane {
            Lane::Evidence => timeline.detail.evidence.iter().map(preserving).collect(),
            Lane::Transaction => timeline.detail.transactions.iter().filter_map(holding).collect(),
            _ => Vec::new(),
        };
        strip.bars_left_out = bars.len().saturating_sub(BARS_MAX);
        strip.bars = bars;
        strip.bars.truncate(BARS_MAX);
    }
    strips.retain(|it| !it.entries.is_empty() || !it.bars.is_empty());
    strips
}

/// Evidence from when it was asked for.
fn preserving(it: &EvidenceRow) -> Bar {
    let (to, became) = match (it.sealed_at, it.missed_at) {
        (Some(at), None) => (at, "sealed"),
        (Some(at), Some(_)) => (at, "sealed late"),
        (None, Some(at)) => (at, "MISSED"),
        (None, None) => (it.deadline, "awaited"),
    };
    Bar {
        text: format!("{} {} {became}", it.id, it.kind),
        from: it.asked,
        to,
        is_over: it.sealed_at.is_some() || it.missed_at.is_some(),
        is_good: it.sealed_at.is_some() && it.missed_at.is_none(),
    }
}

/// Containment from when it was in force.
fn holding(it: &TransactionRow) -> Option<Bar> {
    let from = it.in_force_at?;
    let (to, until) = match (it.released_at, it.lease_until) {
        (Some(at), _) => (at, "lifted"),
        (None, Some(at)) => (at, "to lease end"),
        (None, None) => (from, "in force"),
    };
    Some(Bar {
        text: format!("{} {} {until}", it.id, it.kind),
        from,
        to: to.max(from),
        is_over: it.released_at.is_some(),
        is_good: true,
    })
}
