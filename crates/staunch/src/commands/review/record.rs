//! What the journal holds of one incident, and what it leaves open.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use staunch_model::{
    Cause, Change, Event, IncidentId, Input, InstallationId, Policy, Record, Span, StateKind, Timestamp, TransactionId,
    WatchId,
};
use staunch_ports::Lsn;
use staunch_server::dto::{IncidentDetail, TransactionRow};
use staunch_store::ReadOnlyJournal;
use staunch_store::index::{IncidentFilter, Index, IndexError, IndexReader, TransactionFilter};

use crate::commands::evidence::parts::MissedParts;
use crate::commands::incident::timeline::{Beside, waits};
use crate::commands::{each_frame, open_fault};
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::wiring;

/// Events that are kept for the test.
const EVENTS_MAX: usize = 100;

/// How long after the end of a lease its target counts as one that comes back: what a lease that grows has by default.
const COMES_BACK_WITHIN: Span = Span::from_hours(7 * 24);

/// Transactions of one target that are looked at, the newest first.
const RETURNS_LOOKED_AT_MAX: usize = 20;

/// The bytes of all of them.
const EVENT_BYTES_MAX: usize = 256 << 10;

pub(super) struct Recorded {
    pub(super) detail: IncidentDetail,
    /// Its first events, as they came.
    pub(super) events: Vec<Arc<Event>>,
    /// What held when it was opened, with the mode that a person had set by then.
    pub(super) policy: Option<Arc<Policy>>,
    /// The frames that hold its events, all of them.
    pub(super) frames: BTreeSet<Lsn>,
    /// Targets of it that were contained again after a lease of theirs had ended.
    pub(super) returns: Vec<Return>,
    /// What health signals said to its watches, in order.
    pub(super) readings: Vec<Reading>,
    /// What was missed of its evidence, and incidents whose evidence its acts may have waited for.
    pub(super) beside: Beside,
    installation: InstallationId,
}

/// What a health signal said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) at: Timestamp,
    pub(super) signal: Box<str>,
    /// `None` when it could not be read.
    pub(super) healthy: Option<bool>,
}

/// A target whose lease ended, and which was contained again.
#[derive(Clone, Debug)]
pub(super) struct Return {
    pub(super) target: String,
    /// The step's position in the playbook.
    pub(super) step: u16,
    /// The transaction whose lease ended, when, and the frame that says so.
    pub(super) ended: (TransactionId, Timestamp, u64),
    /// The one that was planned after it, when, and the frame that says so.
    pub(super) again: (TransactionId, Timestamp, u64),
}

/// Reads the journal of `config` for `id`. A running server is not held up: the index that this makes is its own.
///
/// # Errors
/// When the journal cannot be read, or holds no such incident.
pub(super) fn read(config: &Config, id: IncidentId) -> Result<Recorded, Fault> {
    let dir = config.journal_dir();
    let journal = ReadOnlyJournal::open(&dir).map_err(|error| open_fault(&error))?;
    let mut policy: Option<Arc<Policy>> = None;
    let mut mode_set = None;
    let mut held = None;
    let mut installation = InstallationId::default();
    let mut events: Vec<Arc<Event>> = Vec::new();
    let mut bytes = 0;
    let mut frames = BTreeSet::new();
    let mut watches: BTreeMap<WatchId, Box<str>> = BTreeMap::new();
    let mut readings = Vec::new();
    each_frame(&journal, &mut |step| {
        match &step.frame.input {
            Input::Policy(it) => {
                // A mode in the configuration holds from when it is changed there.
                if policy.as_ref().is_some_and(|before| before.mode_max != it.mode_max) {
                    mode_set = None;
                }
                policy = Some(Arc::clone(it));
            }
            Input::Started { installation: it, .. } => installation = *it,
            _ => {}
        }
        for record in &step.frame.records {
            match record {
                Record::ModeSet { mode } => mode_set = Some(*mode),
                Record::WatchPlanned {
                    watch, incident, plan, ..
                } if *incident == id => {
                    watches.insert(*watch, plan.signal.clone());
                }
                Record::WatchRead { watch, result, .. } => readings.extend(watches.get(watch).map(|signal| Reading {
                    at: step.now,
                    signal: signal.clone(),
                    healthy: result.as_ref().ok().map(|it| it.healthy),
                })),
                _ => {}
            }
            let is_first = matches!(record, Record::IncidentOpened { incident, .. } if *incident == id);
            let is_further = matches!(record, Record::EventJoined { incident } if *incident == id);
            if is_first {
                held = policy.as_ref().map(|it| {
                    Arc::new(Policy {
                        mode_max: mode_set.unwrap_or(it.mode_max),
                        ..(**it).clone()
                    })
                });
            }
            if let (true, Some((event, _))) = (is_first || is_further, step.frame.input.event()) {
                frames.insert(step.lsn);
                bytes += event.raw.len();
                if events.len() < EVENTS_MAX && bytes <= EVENT_BYTES_MAX {
                    events.push(Arc::clone(event));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let failed = |what: &str, error: &dyn std::error::Error| Fault::doing(Exit::Failed, what, error);
    let own = tempfile::tempdir().map_err(|error| failed("cannot make a directory for an index", &error))?;
    let index = Index::open(&own.path().join("index.sqlite"), &dir)
        .map_err(|error| failed("cannot make an index of the journal", &error))?;
    let reader = index.reader();
    let unanswered = |error: IndexError| failed("cannot ask the index of the journal", &error);
    let Some(detail) = reader.incident(id).map_err(unanswered)? else {
        return Err(Fault::new(Exit::NotFound, format!("there is no {id} in the journal"))
            .hint("`staunch incident list` shows those that there are; --data-dir names another data directory"));
    };
    let returns = returns(&reader, &detail).map_err(unanswered)?;
    let beside = Beside {
        missed: missed(config, &detail),
        others: others(&reader, &detail).map_err(unanswered)?,
    };
    Ok(Recorded {
        detail,
        events,
        policy: held,
        frames,
        returns,
        readings,
        beside,
        installation,
    })
}

/// What was missed of the evidence of `detail`, by the vault of the configuration.
fn missed(config: &Config, detail: &IncidentDetail) -> MissedParts {
    let folder = config.evidence_dir();
    if detail.evidence.iter().all(|it| it.sealed_at.is_none()) {
        return MissedParts::default();
    }
    match folder.join(wiring::VAULT).metadata() {
        Ok(_) => MissedParts::in_folder(&folder, detail.incident.id, &detail.evidence),
        Err(error) => MissedParts::unknown(&format!("cannot look into {}: {error}", folder.display())),
    }
}

/// The incidents whose evidence the acts of `detail` may have waited for.
fn others(reader: &IndexReader, detail: &IncidentDetail) -> Result<Vec<IncidentDetail>, IndexError> {
    let Some(since) = waits::since(detail) else {
        return Ok(Vec::new());
    };
    let filter = IncidentFilter {
        since: Some(since),
        ..IncidentFilter::default()
    };
    let mut others = Vec::new();
    for id in waits::candidates(detail, &reader.incidents(&filter)?) {
        others.extend(reader.incident(id)?);
    }
    Ok(others)
}

/// The targets of `detail` that were contained again, here or before or after, within the window after a lease had
/// ended.
fn returns(reader: &IndexReader, detail: &IncidentDetail) -> Result<Vec<Return>, IndexError> {
    let mut found: Vec<Return> = Vec::new();
    for own in detail
        .transactions
        .iter()
        .filter(|it| it.incident == detail.incident.id)
    {
        let filter = TransactionFilter {
            target: Some(own.target.clone()),
            ..TransactionFilter::default()
        };
        let mut same = Vec::new();
        for it in reader.transactions(&filter)?.into_iter().take(RETURNS_LOOKED_AT_MAX) {
            let other = match it.incident == detail.incident.id {
                true => None,
                false => reader.incident(it.incident)?,
            };
            let of = other.as_ref().unwrap_or(detail);
            if it.kind == own.kind && it.step == own.step && of.incident.playbook == detail.incident.playbook {
                // What no frame plans is no reason that can be named.
                same.extend(Leased::of(&it, of));
            }
        }
        same.sort_by_key(|it| it.planned.0);
        for pair in same.windows(2) {
            let [before, after] = pair else { continue };
            let Some((ended, at, frame)) = before.ended else {
                continue;
            };
            let concerns = before.incident == detail.incident.id || after.incident == detail.incident.id;
            let known = found.iter().any(|it| it.again.0 == after.planned.0);
            if concerns && !known && after.planned.1.since(at) <= COMES_BACK_WITHIN {
                found.push(Return {
                    target: own.target.clone(),
                    step: own.step,
                    ended: (ended, at, frame),
                    again: after.planned,
                });
            }
        }
    }
    Ok(found)
}

/// A transaction with the frames that say when it was planned and when its lease ended.
struct Leased {
    incident: IncidentId,
    planned: (TransactionId, Timestamp, u64),
    ended: Option<(TransactionId, Timestamp, u64)>,
}

impl Leased {
    fn of(it: &TransactionRow, detail: &IncidentDetail) -> Option<Self> {
        let entries = detail.timeline.iter().filter(|entry| entry.transaction == Some(it.id));
        let mut planned = None;
        let mut ended = None;
        for entry in entries {
            // Of a transaction, the index has what changed; of all else, the record.
            match serde_json::from_value(entry.detail.clone()) {
                Ok(Change::ReleaseStarted { cause, .. }) if *cause == Cause::LeaseEnded => {
                    ended = Some((it.id, entry.at, entry.lsn));
                }
                Ok(_) => {}
                Err(_) => {
                    let record = serde_json::from_value(entry.detail.clone());
                    if let Ok(Record::TransactionPlanned { .. }) = record {
                        planned = Some(entry.lsn);
                    }
                }
            }
        }
        Some(Self {
            incident: it.incident,
            planned: (it.id, it.created, planned?),
            ended,
        })
    }
}

impl Recorded {
    /// One of which nothing else is recorded.
    #[cfg(test)]
    pub(super) fn of(detail: IncidentDetail) -> Self {
        Self {
            detail,
            events: Vec::new(),
            policy: None,
            frames: BTreeSet::new(),
            returns: Vec::new(),
            readings: Vec::new(),
            beside: Beside::default(),
            installation: InstallationId::default(),
        }
    }

    pub(super) const fn id(&self) -> IncidentId {
        self.detail.incident.id
    }

    /// A UUID that is the same for the same incident of the same installation: version 8 of RFC 9562, of a BLAKE3 hash.
    pub(super) fn uuid(&self) -> String {
        let name = format!("staunch review {} {}", self.installation, self.id());
        let hash = blake3::hash(name.as_bytes());
        let mut it = [0; 16];
        it.copy_from_slice(&hash.as_bytes()[..16]);
        it[6] = it[6] & 0x0f | 0x80;
        it[8] = it[8] & 0x3f | 0x80;
        let hex: String = it.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }

    /// What the record raises and does not answer. Texts are as they came.
    pub(super) fn questions(&self) -> Vec<String> {
        let detail = &self.detail;
        let mut all = Vec::new();
        if detail.incident.closed.is_none() {
            all.push("What is still to come? The incident is open.".to_owned());
        }
        for (number, event) in detail.events.iter().enumerate() {
            let number = number + 1;
            match event.time {
                None => all.push(format!(
                    "When did event {number} of {} happen? Its time could not be read.",
                    event.system
                )),
                Some(time) if time > event.received => all.push(format!(
                    "Why is the clock of {} ahead? Event {number} says {time} and was received at {}.",
                    event.system, event.received
                )),
                Some(_) => {}
            }
        }
        for it in &detail.evidence {
            if let Some(at) = it.missed_at {
                let why = it.why.as_deref().unwrap_or("no reason is recorded");
                let of = format!("{} ({})", it.id, it.kind);
                all.push(match it.sealed_at {
                    Some(sealed) => format!(
                        "What of {of} would have been different in time? Containment went on without it at {at}, and \
                         it was sealed at {sealed}."
                    ),
                    None => format!("What would {of} have shown? It was missed at {at}: {why}."),
                });
            }
        }
        for it in &self.beside.missed.all {
            all.push(format!(
                "What would {} of {} have shown? It was missed: {}.",
                it.name, it.evidence, it.why
            ));
        }
        if let Some(why) = &self.beside.missed.unknown {
            all.push(format!(
                "Was a part of the sealed evidence missed? It is not known: {why}."
            ));
        }
        for it in &detail.transactions {
            let why = it.reason.as_deref().unwrap_or("no reason is recorded");
            let of = format!("{} ({} {})", it.id, it.kind, it.target);
            match it.state {
                StateKind::Refused => all.push(format!("Should {of} have been refused? {why}.")),
                StateKind::Stuck => all.push(format!("Was {of} undone by hand? It is stuck: {why}.")),
                StateKind::RolledBack => all.push(format!("Why was {of} rolled back? {why}.")),
                StateKind::AwaitingApproval => all.push(format!("Who is to decide {of}? It waits for a person.")),
                _ => {}
            }
        }
        for entry in &detail.timeline {
            if let Ok(Record::StepWithoutTarget { .. }) = serde_json::from_value(entry.detail.clone()) {
                all.push(format!("Why did the event name no target? {}.", entry.what));
            }
        }
        for it in &detail.commands {
            if let Some(why) = &it.refused {
                all.push(format!(
                    "Was what {} asked for done otherwise? It was refused: {why}.",
                    it.by
                ));
            }
        }
        if detail.incident.events > self.events.len() as u64 {
            all.push(format!(
                "Do the events after the first {} change the picture? There are {}; the test has no more.",
                self.events.len(),
                detail.incident.events
            ));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_transaction_that_no_frame_plans_is_no_reason() {
        let noon = "2026-11-25T12:00:00Z";
        let detail = json!({
            "incident": {"id": "INC-7", "playbook": "p", "playbook_hash": "00".repeat(32), "key": "k", "status": "open",
                "opened": noon, "closed": null, "outcome": null, "events": 1, "system": "suricata", "signature": "x",
                "severity": "high", "source": null, "destination": null},
            "transactions": [{"id": "TX-1", "incident": "INC-7", "step": 0, "kind": "block-ip", "target": "203.0.113.9",
                "state": "in-force", "reason": null, "mode": "enforce", "lease": "10m", "lease_until": null, "created": noon,
                "updated": noon, "in_force_at": noon, "released_at": null, "approved_by": null, "approval_expires": null,
                "judgement": null}],
            "commands": [], "evidence": [], "events": [], "timeline": [], "timeline_count": 0,
        });
        let detail: IncidentDetail = serde_json::from_value(detail).expect("it is a detail");
        assert!(Leased::of(&detail.transactions[0], &detail).is_none());
    }
}
