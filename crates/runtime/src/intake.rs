//! Intake: from the bytes of a request to events in the engine, and the answer that the sender may rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;
use staunch_engine::triage::{Triage, Triaged};
use staunch_model::{
    Event, EventContext, EventKind, EventView, IncidentId, Known, Match, Program, Surroundings, Target, Timestamp,
    TransactionId, TriggerReport,
};
use staunch_ports::{InletReading, InletTally, Knowledge, Malformed, NotRead, Reputations, Sighting, Source, Targets};
use thiserror::Error;

use crate::archive::{Archiver, Batch};
use crate::handle::{Busy, Handle, Submission};
use crate::identify::Identifier;
use crate::plan::{Knows, Plan, plan};

/// Malformed events that an answer lists; further ones are only counted.
const MALFORMED_LISTED_MAX: usize = 100;

/// What was taken of a body. The sender may forget the events that it counts as accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Events that were read. Those that matched are durable; the others are known to match nothing.
    pub accepted: usize,
    /// Of those, events that matched a playbook.
    pub matched: usize,
    /// Of those, sample and test findings, which are never acted on.
    pub samples: usize,
    /// Playbooks whose trigger held for one of the events that has nothing to tell its incident by: nothing follows.
    pub without_key: usize,
    /// Playbooks that matched one event beyond the most that one event may start: nothing follows from these.
    pub beyond_limit: usize,
    /// Elements that are not events by the format or the configuration.
    pub ignored: usize,
    /// Elements that could not be read.
    pub malformed: usize,
    /// The first 100 of them.
    pub errors: Vec<ElementError>,
    /// The incidents that the matched events opened or joined, each once.
    pub incidents: Vec<IncidentId>,
}

impl Taken {
    /// Counts an element that cannot be read, and lists it while there is room.
    fn malformed(&mut self, index: usize, malformed: Malformed) {
        let Malformed { offset, what, hint } = malformed;
        self.malformed += 1;
        if self.errors.len() < MALFORMED_LISTED_MAX {
            self.errors.push(ElementError {
                index,
                offset,
                what,
                hint,
            });
        }
    }
}

/// An element that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ElementError {
    /// Its position in the body, from 0.
    pub index: usize,
    /// The byte of the body where reading failed, from 0.
    pub offset: usize,
    /// What is wrong, safe to show.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// Why a body was not taken. Nothing of it was kept, so the sender should send it again where that can help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// There is no such source.
    #[error("there is no source {0}")]
    NoSource(String),
    /// The body as a whole cannot be read.
    #[error("{}", .0.what)]
    Malformed(Malformed),
    /// It holds more elements than are taken at once.
    #[error("{}", .0.what)]
    TooMany(Malformed),
    /// It cannot be taken at present.
    #[error("{0}")]
    Busy(#[from] Busy),
}

/// The plan for one event, with how the event was understood.
#[derive(Clone, Debug, Serialize)]
pub struct EventPlan {
    /// The event, as triggers see it.
    pub event: Understood,
    /// What is known around it; `None` when nothing is kept that could know of it.
    pub context: Option<EventContext>,
    /// How each playbook takes it, matched or not.
    pub triggers: Vec<TriggerReport>,
    /// What would be done; without responses when nothing matched.
    pub plan: Plan,
    /// How many further events there were, which were not planned.
    pub others: u64,
}

/// How an event was understood.
#[derive(Clone, Debug, Serialize)]
pub struct Understood {
    /// The system it came from.
    pub system: String,
    /// What it is about.
    pub kind: EventKind,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// How bad it is.
    pub severity: staunch_model::Severity,
    /// The rule that fired, safe to show.
    pub signature: String,
    /// The attacking side.
    pub source: staunch_model::Endpoint,
    /// The attacked side.
    pub destination: staunch_model::Endpoint,
    /// Why that side was taken as the attacking one, or none was.
    pub because: Option<String>,
}

/// The intake of a running Staunch. Shared by all connections.
pub struct Intake {
    sources: BTreeMap<String, Arc<dyn Source>>,
    triage: RwLock<Arc<Triage>>,
    archive: Option<Archiver>,
    reputations: Option<Arc<dyn Reputations>>,
    targets: Option<Arc<dyn Targets>>,
    knowledge: RwLock<Option<Arc<dyn Knowledge>>>,
    handle: Handle,
    inlets: Mutex<Vec<Arc<InletTally>>>,
}

/// What a body is to who sends it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// What is sent again when it is not taken: nothing of it is taken when it holds too many elements.
    Request,
    /// Lines that are sent one by one when nothing of them can be read, or when they hold too many elements. What is
    /// malformed is counted then.
    Lines,
    /// What cannot be sent in parts: of too many elements the first are taken, and the others counted as malformed.
    Line,
}

impl Intake {
    /// An intake for `sources` that runs `programs`.
    #[must_use]
    pub fn new(sources: Vec<Arc<dyn Source>>, programs: Vec<Program>, handle: Handle) -> Self {
        let sources = sources
            .into_iter()
            .map(|source| (source.name().to_owned(), source))
            .collect();
        Self {
            sources,
            triage: RwLock::new(Arc::new(Triage::new(programs))),
            archive: None,
            reputations: None,
            targets: None,
            knowledge: RwLock::default(),
            handle,
            inlets: Mutex::default(),
        }
    }

    /// The same intake, which hands alerts that match nothing to `archive`. Nothing else can ever match.
    #[must_use]
    pub fn with_archive(self, archive: Option<Archiver>) -> Self {
        Self { archive, ..self }
    }

    /// The same intake, which has `reputations` say what is known of the targets of what matches.
    #[must_use]
    pub fn with_reputations(self, reputations: Option<Arc<dyn Reputations>>) -> Self {
        Self { reputations, ..self }
    }

    /// The same intake, which has `targets` tell what the targets are that events name and that are no addresses.
    #[must_use]
    pub fn with_targets(self, targets: Option<Arc<dyn Targets>>) -> Self {
        Self { targets, ..self }
    }

    /// The same intake, which has `knowledge` say what is known around events.
    #[must_use]
    pub fn with_knowledge(self, knowledge: Option<Arc<dyn Knowledge>>) -> Self {
        self.set_knowledge(knowledge);
        self
    }

    /// Whether taking a body may wait for a service, or for the machine to tell its processes: for a bounded time, and
    /// not on a thread that others need.
    #[must_use]
    pub fn may_wait(&self) -> bool {
        self.targets.is_some() || self.reputations.as_ref().is_some_and(|it| it.may_wait())
    }

    /// Has `knowledge` say what is known around events from here on.
    pub fn set_knowledge(&self, knowledge: Option<Arc<dyn Knowledge>>) {
        *self.knowledge.write().unwrap_or_else(PoisonError::into_inner) = knowledge;
    }

    /// What is known around events at the moment; `None` when nothing is kept that could know of them.
    fn around(&self) -> Option<Arc<dyn Surroundings>> {
        let knowledge = self.knowledge.read().unwrap_or_else(PoisonError::into_inner);
        knowledge.as_ref().map(|it| it.current())
    }

    /// What feeds and services say of the targets of `events`, each once.
    fn known(&self, events: &[(Arc<Event>, Vec<Match>)], now: Timestamp) -> Vec<Known> {
        let Some(reputations) = &self.reputations else {
            return Vec::new();
        };
        let steps = events.iter().flat_map(|(_, matches)| matches).flat_map(|it| &it.steps);
        let targets = steps.filter_map(|step| step.target.clone());
        let targets: BTreeSet<Target> = targets.filter(|it| it.address().is_some()).collect();
        let targets: Vec<Target> = targets.into_iter().collect();
        let standings = reputations.standings(&targets, now);
        let known = targets.into_iter().zip(standings);
        known.map(|(target, standing)| Known { target, standing }).collect()
    }

    /// Whether somebody tells targets that are no addresses.
    #[must_use]
    pub fn tells_targets(&self) -> bool {
        self.targets.is_some()
    }

    /// Has it said what the target of `transaction` is, when it is no address, before anybody goes on with it: since
    /// its event a process may have come to run something that is protected. Blocks.
    ///
    /// # Errors
    /// [`Busy`].
    pub fn look_again(&self, transaction: TransactionId) -> Result<(), Busy> {
        let Some(targets) = &self.targets else {
            return Ok(());
        };
        let target = self.handle.query(move |state| {
            let it = state.transactions.get(&transaction)?;
            Some(it.target.clone())
        })?;
        match target.filter(|it| it.address().is_none() && it.is_identified()) {
            Some(target) => self.handle.tell_found(targets.look_again(&target)),
            None => Ok(()),
        }
    }

    /// The names of the sources.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// An inlet brings events here, whose numbers are told from now on.
    pub fn add_inlet(&self, tally: Arc<InletTally>) {
        self.inlets.lock().unwrap_or_else(PoisonError::into_inner).push(tally);
    }

    /// How each inlet stands.
    #[must_use]
    pub fn inlets(&self) -> Vec<InletReading> {
        let inlets = self.inlets.lock().unwrap_or_else(PoisonError::into_inner);
        inlets.iter().map(|tally| tally.reading()).collect()
    }

    /// Replaces the programs. Bodies that are being read keep the old ones. Pin the policy that holds the playbooks
    /// first: a match of a playbook that the engine does not know is dropped.
    pub fn set_programs(&self, programs: Vec<Program>) {
        *self.triage.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Triage::new(programs));
    }

    /// The body that `source` is to read when a request has these headers; `None` when it is `body` itself. Names are
    /// in small letters.
    pub fn with_headers(
        &self,
        source: &str,
        headers: &mut dyn Iterator<Item = (&str, &str)>,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        self.sources.get(source)?.with_headers(headers, body)
    }

    /// Takes `body` from `source`. `reply` is called at most once: when everything that matched is durable, or with
    /// the reason why nothing was taken.
    pub fn take(&self, source: &str, body: &[u8], reply: TakenReplier) {
        self.take_whole(source, body, Whole::Request, reply);
    }

    /// As [`Intake::take`], for who sends the parts of `body` one by one when nothing in it can be read or it holds too
    /// many elements: what is malformed is counted then, and not here.
    pub fn take_together(&self, source: &str, body: &[u8], reply: TakenReplier) {
        self.take_whole(source, body, Whole::Lines, reply);
    }

    /// As [`Intake::take`], for who cannot send `body` in parts: of one with too many elements, the first are taken,
    /// and one malformed one tells of the others.
    pub fn take_line(&self, source: &str, body: &[u8], reply: TakenReplier) {
        self.take_whole(source, body, Whole::Line, reply);
    }

    fn take_whole(&self, source: &str, body: &[u8], whole: Whole, reply: TakenReplier) {
        let mut taken = Taken::default();
        let mut events = Vec::new();
        let mut identifier = Identifier::new(self.targets.as_deref());
        let received = self.handle.machine_now();
        let mut contexts = Vec::new();
        let triage = self.triage();
        let around = self.around();
        let mut unmatched = self.archive.as_ref().map(Archiver::batch);
        let read = self.read(source, body, |index, sighting| match sighting {
            Sighting::Event(view) => {
                taken.accepted += 1;
                let view = &in_context(view, around.as_deref());
                match triage.sort(view) {
                    Triaged::Matched(found) => {
                        taken.without_key += found.without_key;
                        taken.beyond_limit += found.beyond_limit;
                        if !found.matches.is_empty() {
                            let mut matches = found.matches;
                            identifier.identify(view, &mut matches);
                            taken.matched += 1;
                            if around.is_some() {
                                contexts.push(Arc::new(context_of(view, &matches)));
                            }
                            events.push((Arc::new(Event::keep(view, received)), matches));
                        } else if let Some(unmatched) = &mut unmatched {
                            unmatched.add(view.raw.bytes());
                        }
                    }
                    Triaged::NotAnAlert(EventKind::Sample) => taken.samples += 1,
                    Triaged::Unmatched => {
                        if let Some(unmatched) = &mut unmatched {
                            unmatched.add(view.raw.bytes());
                        }
                    }
                    Triaged::NotAnAlert(_) => {}
                }
            }
            Sighting::Ignored(_) => taken.ignored += 1,
            Sighting::Malformed(malformed) => taken.malformed(index, malformed),
        });
        let telemetry = self.handle.telemetry();
        match (read, whole) {
            (Ok(()), _) => {}
            (Err(IntakeError::TooMany(it)), Whole::Line) => {
                taken.malformed(taken.accepted + taken.ignored + taken.malformed, it);
            }
            (Err(error), _) => {
                // Of lines, none was turned away: they are sent once more at once.
                if whole == Whole::Request && matches!(error, IntakeError::TooMany(_)) {
                    telemetry.events_turned_away.add(taken.accepted as u64);
                }
                reply(Err(error));
                return;
            }
        }
        let is_unreadable = taken.accepted + taken.ignored == 0;
        let malformed = if is_unreadable && whole == Whole::Lines {
            0
        } else {
            taken.malformed as u64
        };
        let (accepted, matched, samples) = (taken.accepted as u64, taken.matched as u64, taken.samples as u64);
        if events.is_empty() {
            telemetry.events_malformed.add(malformed);
            telemetry.events_sample.add(samples);
            telemetry.events_accepted.add(accepted);
            self.archive(source, unmatched);
            reply(Ok(taken));
            return;
        }
        // The reply is needed on both ways out of `submit`, and only one of them calls it.
        let slot = Arc::new(Mutex::new(Some((taken, reply))));
        let take_slot = |slot: &Mutex<Option<_>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        let durable = slot.clone();
        let counters = self.handle.clone();
        let submission = Submission {
            known: self.known(&events, received),
            found: identifier.found(),
            events,
            contexts,
            reply: Box::new(move |result: Result<Vec<crate::EventReply>, Busy>| {
                let Some((mut taken, reply)): Option<(Taken, TakenReplier)> = take_slot(&durable) else {
                    return;
                };
                reply(result.map_err(IntakeError::Busy).map(|replies| {
                    // What is turned away comes again, and is counted then.
                    counters.telemetry().events_malformed.add(malformed);
                    counters.telemetry().events_sample.add(samples);
                    counters.telemetry().events_accepted.add(accepted);
                    counters.telemetry().events_matched.add(matched);
                    taken.incidents = replies.into_iter().flat_map(|reply| reply.incidents).collect();
                    taken.incidents.sort_unstable();
                    taken.incidents.dedup();
                    taken
                }));
            }),
        };
        // What is turned away is sent again, and archived then.
        match self.handle.submit(submission) {
            Ok(()) => self.archive(source, unmatched),
            Err(busy) => {
                telemetry.events_turned_away.add(accepted);
                if let Some((_, reply)) = take_slot(&slot) {
                    reply(Err(IntakeError::Busy(busy)));
                }
            }
        }
    }

    /// The plan for the first event of `body`. Looks at the world and changes nothing. Blocks.
    ///
    /// # Errors
    /// [`IntakeError`], also when there is no event in `body`.
    pub fn plan(&self, source: &str, body: &[u8]) -> Result<EventPlan, IntakeError> {
        let mut found: Option<Result<EventPlan, IntakeError>> = None;
        let mut others = 0;
        let because = self.sources.get(source).and_then(|source| source.explain(body));
        let triage = self.triage();
        let read = self.read(source, body, |_, sighting| {
            if found.is_some() {
                others += u64::from(matches!(sighting, Sighting::Event(_)));
                return;
            }
            found = match sighting {
                Sighting::Event(view) => Some(self.plan_one(view, &triage, because.clone())),
                Sighting::Malformed(malformed) => Some(Err(IntakeError::Malformed(malformed))),
                Sighting::Ignored(_) => None,
            };
        });
        match read {
            // The first event is among those that were read.
            Ok(()) | Err(IntakeError::TooMany(_)) => {}
            Err(error) => return Err(error),
        }
        let found = found.map(|made| made.map(|plan| EventPlan { others, ..plan }));
        found.unwrap_or_else(|| {
            Err(IntakeError::Malformed(Malformed {
                offset: 0,
                what: "there is no event in it".into(),
                hint: "give one event of the named source as JSON".into(),
            }))
        })
    }

    fn plan_one(
        &self,
        view: &EventView<'_>,
        triage: &Triage,
        because: Option<String>,
    ) -> Result<EventPlan, IntakeError> {
        let around = self.around();
        let view = &in_context(view, around.as_deref());
        let mut matches = triage.matches(view);
        let mut identifier = Identifier::new(self.targets.as_deref());
        identifier.identify(view, &mut matches);
        let found = identifier.found();
        let context = around.is_some().then(|| context_of(view, &matches));
        let knows = Knows {
            reputations: self.reputations.as_deref(),
            context: context.as_ref(),
            found: &found,
        };
        let plan = plan(&self.handle, &knows, view, matches)?;
        let event = Understood {
            system: view.system.to_owned(),
            kind: view.kind,
            time: view.time,
            severity: view.severity,
            signature: staunch_model::Printable(view.signature).to_string(),
            source: view.source,
            destination: view.destination,
            because,
        };
        let triggers = triage.reports(view);
        Ok(EventPlan {
            event,
            context,
            triggers,
            plan,
            others: 0,
        })
    }

    fn read(&self, source: &str, body: &[u8], mut visit: impl FnMut(usize, Sighting<'_>)) -> Result<(), IntakeError> {
        let source = self
            .sources
            .get(source)
            .ok_or_else(|| IntakeError::NoSource(staunch_model::Printable(source).to_string()))?;
        source.read(body, &mut visit).map_err(|not| match not {
            NotRead::Malformed(it) => IntakeError::Malformed(it),
            NotRead::TooMany(it) => IntakeError::TooMany(it),
        })
    }

    fn archive(&self, source: &str, unmatched: Option<Batch>) {
        if let Some((archive, unmatched)) = self.archive.as_ref().zip(unmatched) {
            archive.offer(source, unmatched);
        }
    }

    fn triage(&self) -> Arc<Triage> {
        self.triage.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `view` with what is known around it.
fn in_context<'v>(view: &EventView<'v>, around: Option<&'v dyn Surroundings>) -> EventView<'v> {
    EventView {
        around: around.unwrap_or(view.around),
        ..*view
    }
}

/// What is known around `view` and of the targets of what it matches, as it is kept.
fn context_of(view: &EventView<'_>, matches: &[Match]) -> EventContext {
    let steps = matches.iter().flat_map(|it| &it.steps);
    EventContext::of(view, steps.filter_map(|step| step.target.as_ref()?.address()))
}

/// Called with what became of a body; dropped uncalled when the engine dies before it is known.
pub type TakenReplier = Box<dyn FnOnce(Result<Taken, IntakeError>) + Send>;
