//! What the journal holds of one incident, and what it leaves open.

use std::ops::ControlFlow;
use std::sync::Arc;

use staunch_model::{Event, IncidentId, Input, InstallationId, Policy, Record, StateKind};
use staunch_server::dto::IncidentDetail;
use staunch_store::ReadOnlyJournal;
use staunch_store::index::Index;

use crate::commands::{each_frame, open_fault};
use crate::config::Config;
use crate::exit::{Exit, Fault};

/// Events that are kept for the test.
const EVENTS_MAX: usize = 100;

/// The bytes of all of them.
const EVENT_BYTES_MAX: usize = 256 << 10;

pub(super) struct Recorded {
    pub(super) detail: IncidentDetail,
    /// Its first events, as they came.
    pub(super) events: Vec<Arc<Event>>,
    /// What held when it was opened.
    pub(super) policy: Option<Arc<Policy>>,
    installation: InstallationId,
}

/// Reads the journal of `config` for `id`. A running server is not held up: the index that this makes is its own.
///
/// # Errors
/// When the journal cannot be read, or holds no such incident.
pub(super) fn read(config: &Config, id: IncidentId) -> Result<Recorded, Fault> {
    let dir = config.journal_dir();
    let journal = ReadOnlyJournal::open(&dir).map_err(|error| open_fault(&error))?;
    let mut policy = None;
    let mut held = None;
    let mut installation = InstallationId::default();
    let mut events: Vec<Arc<Event>> = Vec::new();
    let mut bytes = 0;
    each_frame(&journal, &mut |step| {
        match &step.frame.input {
            Input::Policy(it) => policy = Some(Arc::clone(it)),
            Input::Started { installation: it, .. } => installation = *it,
            _ => {}
        }
        for record in &step.frame.records {
            let is_first = matches!(record, Record::IncidentOpened { incident, .. } if *incident == id);
            let is_further = matches!(record, Record::EventJoined { incident } if *incident == id);
            if is_first {
                held.clone_from(&policy);
            }
            if let (true, Some((event, _))) = (is_first || is_further, step.frame.input.event()) {
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
    let detail = index
        .reader()
        .incident(id)
        .map_err(|error| failed("cannot ask the index of the journal", &error))?;
    let Some(detail) = detail else {
        return Err(Fault::new(Exit::NotFound, format!("there is no {id} in the journal"))
            .hint("`staunch incident list` shows those that there are; --data-dir names another data directory"));
    };
    Ok(Recorded {
        detail,
        events,
        policy: held,
        installation,
    })
}

impl Recorded {
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
                all.push(format!(
                    "What would {} ({}) have shown? It was missed at {at}: {why}.",
                    it.id, it.kind
                ));
            }
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
