//! What only grows.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use staunch_runtime::telemetry::{Counts, Telemetry};

/// What only grows.
pub(super) fn counted(registry: &mut Registry, telemetry: &Telemetry) {
    let Counts {
        events_accepted,
        events_matched,
        events_malformed,
        events_sample,
        events_turned_away,
        requests_unproved,
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
            "requests_unproved",
            "Requests with events refused with 401: their sender has no token, a wrong one, or a signature that is not good",
            requests_unproved,
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
