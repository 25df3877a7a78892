//! One trace for each transaction, from the event to the moment at which it is known what became of it, made of durable
//! frames.
//!
//! Reads what is durable on a thread of its own, so that nobody under attack waits for it, and hands finished spans to
//! another. Never waits for a receiver: what finds no room is dropped and counted. Ids come from the
//! installation and the transaction, so that a release weeks later, and after restarts, is in the trace of its
//! transaction.

mod send;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use staunch_connectors::otlp::{Attribute, Span, SpanId, TraceId, Value};
use staunch_engine::EngineState;
use staunch_model::{
    ActionKind, Change, ContentHash, Event, Frame, IncidentId, InstallationId, Record, StateKind, Timestamp,
    TransactionId,
};
use staunch_ports::{Follower, Lsn};

use crate::passed_over;

pub(crate) use send::{Outbox, Sending};

/// Transactions and incidents that are followed at the same time. What is beyond is not traced; 50 acts are in flight
/// at the most, and others wait for a person.
const FOLLOWED_MAX: usize = 4_096;

/// Spans of one transaction, and how often it may be tried again until they are left out.
const SPANS_MAX: usize = 64;

/// Makes traces of what happens, and has them sent.
pub(crate) struct Tracer {
    /// The directory of the journal, for what it was too slow for.
    journal: PathBuf,
    /// The last frame taken.
    position: Lsn,
    fold: Fold,
    outbox: Outbox,
}

impl Tracer {
    /// A tracer of what comes after `position` in the journal that is in the directory `journal`. `playbooks` are the
    /// names of those in force at the start; `before` is told what was contained then.
    pub(crate) fn new(
        journal: PathBuf,
        position: Lsn,
        installation: InstallationId,
        playbooks: BTreeMap<ContentHash, Box<str>>,
        before: Arc<OnceLock<Actions>>,
        outbox: Outbox,
    ) -> Self {
        let fold = Fold {
            installation,
            playbooks,
            in_force: Actions::new(),
            before,
            origins: BTreeMap::new(),
            open: BTreeMap::new(),
            left_out: 0,
        };
        Self {
            journal,
            position,
            fold,
            outbox,
        }
    }

    fn take(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) {
        for spans in self.fold.take(lsn, now, frame) {
            self.outbox.put(spans);
        }
        self.outbox.lose(std::mem::take(&mut self.fold.left_out));
        self.position = lsn;
    }
}

impl Follower for Tracer {
    fn name(&self) -> &'static str {
        "tracer"
    }

    fn follow(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) {
        self.take(lsn, now, frame);
    }

    fn position(&self) -> Lsn {
        self.position
    }

    fn catch_up(&mut self, until: Lsn) {
        let (dir, from) = (self.journal.clone(), self.position.next());
        let read = passed_over::read(&dir, from..until, &mut |lsn, now, frame| self.take(lsn, now, frame));
        if let Err(why) = read {
            tracing::warn!(%why, "the traces of what is under way are lost");
            // What is known of transactions under way may be wrong.
            let lost = self.fold.open.values().map(|it| it.spans.len() as u64 + 1).sum();
            self.outbox.lose(lost);
            self.fold.open.clear();
            // What has ended meanwhile is not known.
            self.fold.in_force.clear();
            self.position = Lsn(until.0.saturating_sub(1));
        }
    }
}

/// What transactions do, by their ids.
pub(crate) type Actions = BTreeMap<TransactionId, ActionKind>;

/// What everything does that `state` contains.
pub(crate) fn contained(state: &EngineState) -> Actions {
    state.containments().map(|it| (it.id, it.kind)).collect()
}

/// What frames have told so far.
struct Fold {
    installation: InstallationId,
    playbooks: BTreeMap<ContentHash, Box<str>>,
    /// The incidents whose transactions may still be planned.
    origins: BTreeMap<IncidentId, Origin>,
    open: BTreeMap<TransactionId, Open>,
    /// Of what has come into force since the start, and is.
    in_force: Actions,
    /// Of what was in force at the start.
    before: Arc<OnceLock<Actions>>,
    /// Spans for which there was no room.
    left_out: u64,
}

/// Where an incident comes from.
#[derive(Clone, Default)]
struct Origin {
    playbook: Option<ContentHash>,
    event: Option<Arc<Event>>,
}

/// A transaction under way.
struct Open {
    /// When its event was received, or it was planned; `None` for one whose first part was told before.
    begun: Option<Timestamp>,
    phase: &'static str,
    since: Timestamp,
    /// What it does, where that is known.
    action: Option<ActionKind>,
    about: Vec<Attribute>,
    spans: Vec<Span>,
}

/// What a change means for its transaction's trace.
enum Next {
    Begins(&'static str),
    Ends(StateKind),
}

impl Fold {
    /// Takes a durable frame, and returns the traces that have ended with it.
    fn take(&mut self, lsn: Lsn, now: Timestamp, frame: &Frame) -> Vec<Vec<Span>> {
        let event = frame.input.event().map(|(event, _)| event);
        let mut ended = Vec::new();
        for (at, record) in frame.records.iter().enumerate() {
            let place = Place { lsn, at, now };
            match record {
                Record::PolicyPinned(policy) => {
                    let names = policy.playbooks.iter().map(|it| (it.hash, it.name.clone()));
                    self.playbooks.extend(names);
                }
                Record::IncidentOpened { incident, playbook, .. } => {
                    let playbook = Some(*playbook);
                    self.note(*incident, event, |it| it.playbook = playbook);
                }
                Record::EventJoined { incident } => self.note(*incident, event, |_| {}),
                Record::IncidentForgotten { incident } => drop(self.origins.remove(incident)),
                Record::TransactionPlanned { .. } => self.plan(record, now),
                Record::Transaction { transaction, change } => {
                    ended.extend(self.change(*transaction, change, place));
                }
                _ => {}
            }
        }
        ended
    }

    fn note(&mut self, incident: IncidentId, event: Option<&Arc<Event>>, change: impl FnOnce(&mut Origin)) {
        if self.origins.len() >= FOLLOWED_MAX {
            // The oldest have planned what they will.
            self.origins.pop_first();
        }
        let origin = self.origins.entry(incident).or_default();
        // Without its bytes, which may be a megabyte: incidents are followed for days.
        origin.event = event.map(|it| {
            Event {
                raw: Arc::default(),
                ..(**it).clone()
            }
            .into()
        });
        change(origin);
    }

    fn plan(&mut self, record: &Record, now: Timestamp) {
        let Record::TransactionPlanned {
            transaction,
            incident,
            kind,
            target,
            lease,
            ..
        } = record
        else {
            return;
        };
        if self.open.len() >= FOLLOWED_MAX {
            self.left_out += 1;
            return;
        }
        let origin = self.origins.get(incident).cloned().unwrap_or_default();
        let mut about = vec![
            text("staunch.transaction", transaction.to_string()),
            text("staunch.incident", incident.to_string()),
            about_action(*kind),
            text("staunch.target", target.to_string()),
            text("staunch.lease", lease.to_string()),
        ];
        if let Some(name) = origin.playbook.and_then(|hash| self.playbooks.get(&hash)) {
            about.push(text("staunch.playbook", &**name));
        }
        let mut begun = now;
        if let Some(event) = &origin.event {
            begun = event.received.min(now);
            about.push(text("staunch.event.system", &*event.system.0));
            about.push(text("staunch.event.signature", &*event.signature));
            about.extend(event.id.iter().map(|id| text("staunch.event.id", &**id)));
            let addresses = [
                ("source.address", event.source.ip),
                ("destination.address", event.destination.ip),
            ];
            let known = addresses.into_iter().filter_map(|(name, ip)| Some((name, ip?)));
            about.extend(known.map(|(name, ip)| text(name, ip.to_string())));
        }
        let open = Open {
            begun: Some(begun),
            phase: "triage",
            since: begun,
            action: Some(*kind),
            about,
            spans: Vec::new(),
        };
        self.open.insert(*transaction, open);
        self.begin(
            *transaction,
            "wait",
            Place {
                lsn: Lsn(0),
                at: 0,
                now,
            },
        );
    }

    /// Ends the present phase of a transaction that is followed, and begins the next.
    fn begin(&mut self, id: TransactionId, phase: &'static str, place: Place) {
        let ids = Ids::of(self.installation, id);
        if let Some(it) = self.open.get_mut(&id) {
            self.left_out += it.end_phase(&ids, place, None);
            it.phase = phase;
            it.since = place.now;
        }
    }

    /// What a transaction does that was in force at the start.
    fn was_in_force(&self, id: TransactionId) -> Option<ActionKind> {
        self.before.get()?.get(&id).copied()
    }

    fn change(&mut self, id: TransactionId, change: &Change, place: Place) -> Option<Vec<Span>> {
        let next = next(change)?;
        if !self.open.contains_key(&id) {
            // It is in force, or from before this process: what it does next is a part of its trace all the same.
            let Next::Begins(phase) = next else { return None };
            if !matches!(change, Change::RollbackStarted { .. } | Change::ReleaseStarted { .. }) {
                return None;
            }
            let action = self.in_force.remove(&id).or_else(|| self.was_in_force(id));
            if self.open.len() >= FOLLOWED_MAX {
                self.left_out += 1;
                return None;
            }
            let mut about = vec![text("staunch.transaction", id.to_string())];
            about.extend(action.map(about_action));
            about.extend(cause(change));
            let open = Open {
                begun: None,
                phase,
                since: place.now,
                action,
                about,
                spans: Vec::new(),
            };
            self.open.insert(id, open);
            return None;
        }
        match next {
            Next::Begins(phase) => {
                self.begin(id, phase, place);
                if let Some(it) = self.open.get_mut(&id) {
                    it.about.extend(cause(change));
                }
                None
            }
            Next::Ends(result) => {
                let mut it = self.open.remove(&id)?;
                if it.action.is_none() {
                    // One that began with the start is followed before what was in force then is told.
                    it.action = self.was_in_force(id);
                    it.about.extend(it.action.map(about_action));
                }
                if let (Some(action), StateKind::InForce) = (it.action, result) {
                    self.in_force.insert(id, action);
                }
                let ids = Ids::of(self.installation, id);
                let (spans, left_out) = it.end(&ids, place, change, result);
                self.left_out += left_out;
                Some(spans)
            }
        }
    }
}

/// Where and when something was recorded.
#[derive(Clone, Copy)]
struct Place {
    lsn: Lsn,
    at: usize,
    now: Timestamp,
}

/// The ids of the trace of one transaction.
struct Ids {
    trace: TraceId,
    root: SpanId,
}

impl Ids {
    fn of(installation: InstallationId, id: TransactionId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("staunch 2026-11-26 trace of a transaction");
        hasher.update(&installation.0);
        hasher.update(&id.0.to_le_bytes());
        let mut bytes = [0; 24];
        hasher.finalize_xof().fill(&mut bytes);
        let (mut trace, mut root) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&bytes[..16]);
        root.copy_from_slice(&bytes[16..]);
        Self { trace, root }
    }

    /// The id of the span that ended at `place`.
    fn part(&self, place: Place, phase: &str) -> SpanId {
        let mut hasher = blake3::Hasher::new_derive_key("staunch 2026-11-26 span of a transaction");
        hasher.update(&self.trace);
        hasher.update(&place.lsn.0.to_le_bytes());
        hasher.update(&(place.at as u64).to_le_bytes());
        hasher.update(phase.as_bytes());
        let mut id = [0; 8];
        hasher.finalize_xof().fill(&mut id);
        id
    }
}

impl Open {
    /// Makes a span of the present phase. Returns how many spans found no room.
    fn end_phase(&mut self, ids: &Ids, place: Place, failed: Option<Box<str>>) -> u64 {
        if self.spans.len() >= SPANS_MAX {
            return 1;
        }
        self.spans.push(Span {
            trace: ids.trace,
            id: ids.part(place, self.phase),
            parent: Some(ids.root),
            name: self.phase,
            start: self.since,
            end: place.now,
            attributes: Vec::new(),
            failed,
        });
        0
    }

    /// All spans, with how many found no room.
    fn end(mut self, ids: &Ids, place: Place, change: &Change, result: StateKind) -> (Vec<Span>, u64) {
        let failed = match change {
            Change::GaveUp(why) => Some(why.to_string()),
            _ if result == StateKind::RolledBack => Some("it failed and was undone".to_owned()),
            _ => None,
        };
        let failed: Option<Box<str>> = failed.map(Into::into);
        let named = self.action.map_or(result.name(), |it| it.result(result));
        self.about.push(text("staunch.result", named));
        if let Change::Refused { reason, .. } = change {
            self.about.push(text("staunch.refused.reason", reason.name()));
            self.about.push(text("staunch.refused.why", reason.to_string()));
        }
        if failed.is_some() {
            self.about.push(text("error.type", result.name()));
        }
        let left_out = self.end_phase(ids, place, failed.clone());
        match self.begun {
            Some(begun) => self.spans.push(Span {
                trace: ids.trace,
                id: ids.root,
                parent: None,
                name: "contain",
                start: begun,
                end: place.now,
                attributes: self.about,
                failed,
            }),
            // The root was told when it came into force.
            None => {
                for span in &mut self.spans {
                    span.attributes.clone_from(&self.about);
                }
            }
        }
        (self.spans, left_out)
    }
}

fn next(change: &Change) -> Option<Next> {
    Some(match change {
        Change::PreCheckStarted(_) => Next::Begins("pre-check"),
        Change::ApprovalRequested { .. } => Next::Begins("approval"),
        Change::Approved { .. } => Next::Begins("wait"),
        Change::ExecuteIntended { .. } => Next::Begins("execute"),
        Change::Landed(_) | Change::Unproved { .. } => Next::Begins("post-check"),
        Change::RollbackStarted { .. } => Next::Begins("rollback"),
        Change::ReleaseStarted { .. } => Next::Begins("release"),
        Change::PostCheckPassed { .. } => Next::Ends(StateKind::InForce),
        Change::Refused { .. } => Next::Ends(StateKind::Refused),
        Change::WouldExecute { .. } => Next::Ends(StateKind::WouldExecute),
        Change::ProbedAbsent => Next::Ends(StateKind::RolledBack),
        Change::ReleaseVerified => Next::Ends(StateKind::Released),
        Change::GaveUp(_) => Next::Ends(StateKind::Stuck),
        _ => return None,
    })
}

/// Why something is undone or lifted.
fn cause(change: &Change) -> Vec<Attribute> {
    match change {
        Change::RollbackStarted { cause, .. } | Change::ReleaseStarted { cause, .. } => vec![
            text("staunch.cause", cause.name()),
            text("staunch.cause.why", cause.to_string()),
        ],
        Change::Approved { by } => vec![text("staunch.approved_by", &**by)],
        _ => Vec::new(),
    }
}

fn about_action(action: ActionKind) -> Attribute {
    text("staunch.action", action.name())
}

fn text(name: &'static str, value: impl Into<Box<str>>) -> Attribute {
    Attribute(name, Value::Text(value.into()))
}

#[cfg(test)]
mod tests;
