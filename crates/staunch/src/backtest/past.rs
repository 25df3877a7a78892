//! Takes the past through the lanes: files of events merged by the time of their events, or a journal.
//!
//! Never holds more than the events of one piece of each file that is open, and opens a file only when its time comes;
//! what can be read only once is open from the beginning.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use staunch_engine::{Engine, limits};
use staunch_model::{
    Command, Event, EventContext, EventKind, EventView, GuardName, Input, Match, Policy, Printable, Surroundings,
    Timestamp,
};
use staunch_ports::{Lsn, Malformed, Sighting, Source};
use staunch_store::ReadOnlyJournal;

use super::book::Book;
use super::files::{EventFile, Utf16};
use super::lane::Lane;
use super::listing::Skipped;
use crate::commands::each_frame;
use crate::exit::{Exit, Fault};
use crate::progress::Progress;

/// Malformed events that are named; further ones are only counted.
const NAMED_MAX: usize = 5;

/// What was read.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Read {
    /// Events that could be read, whatever they are about.
    pub(crate) events: u64,
    /// Of those, alerts: nothing else can match.
    pub(crate) alerts: u64,
    /// Of those, sample and test findings.
    pub(crate) samples: u64,
    /// Alerts without a time that can be read.
    pub(crate) without_time: u64,
    /// Events that were held back for their age, because their input runs backwards in time.
    pub(crate) late: u64,
    /// Elements that are not events by the format or the configuration.
    pub(crate) ignored: u64,
    /// Elements that could not be read.
    pub(crate) malformed: u64,
    /// The first of them, safe to show.
    pub(crate) malformed_first: Vec<String>,
    /// The earliest and the latest time of an event.
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// What was read from.
    pub(crate) inputs: Vec<InputRead>,
    /// What is in the named directories and is no file of events.
    pub(crate) skipped: Skipped,
    /// Links in these directories that lead nowhere, safe to show.
    pub(crate) absent: Vec<String>,
    /// Frames of a journal.
    pub(crate) frames: u64,
    /// Commands of operators in a journal, but for answers to questions. They name transactions that are others here,
    /// so they are not given again.
    pub(crate) commands_left_out: u64,
    /// Recorded answers of the world for which there was no room.
    pub(crate) answers_left_out: u64,
}

/// A file or journal, and how it was read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InputRead {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) events: u64,
    /// Of those, how many were held back for their age, because it runs backwards in time.
    pub(crate) late: u64,
    /// Why it ends earlier than it should.
    pub(crate) torn: Option<String>,
}

impl Read {
    fn see(&mut self, view: &EventView<'_>) {
        self.events += 1;
        self.alerts += u64::from(view.kind == EventKind::Alert);
        self.samples += u64::from(view.kind == EventKind::Sample);
        self.without_time += u64::from(view.kind == EventKind::Alert && view.time.is_none());
        if let Some(time) = view.time {
            self.from = Some(self.from.map_or(time, |from| from.min(time)));
            self.to = Some(self.to.map_or(time, |to| to.max(time)));
        }
    }

    fn spoil(&mut self, at: &str, malformed: &Malformed) {
        self.malformed += 1;
        if self.malformed_first.len() < NAMED_MAX {
            let what = format!("{at}: {} ({})", malformed.what, malformed.hint);
            self.malformed_first.push(Printable(&what).to_string());
        }
    }
}

/// An event that matched in one of the lanes, with what it matched in each.
struct Matched {
    at: Timestamp,
    /// Its input in [`Read::inputs`].
    input: usize,
    /// Whether a later event came before it in this input.
    is_behind: bool,
    event: Arc<Event>,
    matches: Vec<Vec<Match>>,
    /// What is known around it, when anything may be.
    context: Option<Arc<EventContext>>,
}

/// A file on its way.
struct Stream {
    /// Its place in [`Read::inputs`].
    input: usize,
    path: PathBuf,
    source: Arc<dyn Source>,
    /// The time of its first event.
    begins: Timestamp,
    /// Open while it is read, and before when it can be read only once.
    file: Option<EventFile>,
    waiting: VecDeque<Matched>,
    /// Elements of it that were read so far, whatever they are.
    elements: usize,
    /// The latest time of its events so far.
    time: Timestamp,
}

/// A file of events, and who decodes it.
pub(crate) type Sourced = (PathBuf, Arc<dyn Source>);

/// Takes the events of `files` through `lanes`, each of which holds the `policy` of its position. Events later than
/// `latest` count as without a time of their own for the order, so that one wrong clock does not carry everything with
/// it. What is `known` is asked by their triggers and by the context guard.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn files(
    files: &[Sourced],
    lanes: &mut [Lane],
    policy: &dyn Fn(usize) -> Policy,
    latest: Timestamp,
    known: Option<&dyn Surroundings>,
) -> Result<Read, Fault> {
    let latest = latest + limits::EVENT_SKEW_MAX;
    let mut read = Read::default();
    let mut closed = Vec::new();
    for (path, source) in files {
        let name = match path.to_str() {
            Some("-") => "stdin".to_owned(),
            _ => Printable(&path.display().to_string()).to_string(),
        };
        let (begins, file) = begins(path, source.as_ref(), latest).map_err(|error| unreadable(path, &error))?;
        closed.push(Stream {
            input: read.inputs.len(),
            path: path.clone(),
            source: source.clone(),
            begins,
            file,
            waiting: VecDeque::new(),
            elements: 0,
            time: Timestamp::EPOCH,
        });
        read.inputs.push(InputRead {
            name,
            source: source.name().to_owned(),
            events: 0,
            late: 0,
            torn: None,
        });
    }
    // The next one last. Those of the same time keep their order.
    closed.reverse();
    closed.sort_by_key(|stream| std::cmp::Reverse(stream.begins));
    let mut pass = Pass {
        read,
        progress: Progress::start(),
        latest,
        is_pinned: false,
        known,
    };
    let mut open: Vec<Stream> = Vec::new();
    loop {
        for stream in &mut open {
            pass.fill(stream, lanes)?;
        }
        open.retain(|stream| !stream.waiting.is_empty());
        let heads = open.iter().enumerate();
        let next = heads
            .filter_map(|(at, stream)| Some((stream.waiting.front()?.at, at)))
            .min();
        match (closed.last(), next) {
            (Some(stream), next) if next.is_none_or(|(at, _)| stream.begins <= at) => {
                let mut stream = closed.pop().expect("there is a last one");
                if stream.file.is_none() {
                    let file = EventFile::open(&stream.path).map_err(|error| unreadable(&stream.path, &error))?;
                    stream.file = Some(file);
                }
                stream.time = stream.begins;
                open.push(stream);
            }
            (_, Some((_, at))) => {
                if let Some(matched) = open[at].waiting.pop_front() {
                    pass.deliver(matched, lanes, policy);
                }
            }
            (None, None) => break,
            (Some(_), None) => unreachable!("a closed stream is opened when nothing else waits"),
        }
    }
    // Without an event that matches, the policy was never needed; its names and limits are.
    if !pass.is_pinned {
        let at = pass.read.from.unwrap_or(Timestamp::EPOCH);
        let pinning = lanes.iter_mut().enumerate();
        pinning.for_each(|(position, lane)| lane.pin(policy(position), None, at));
    }
    Ok(pass.read)
}

struct Pass<'k> {
    read: Read,
    progress: Progress,
    latest: Timestamp,
    is_pinned: bool,
    known: Option<&'k dyn Surroundings>,
}

impl Pass<'_> {
    /// Reads `stream` until something matches, or to its end.
    fn fill(&mut self, stream: &mut Stream, lanes: &mut [Lane]) -> Result<(), Fault> {
        while stream.waiting.is_empty()
            && let Some(file) = &mut stream.file
        {
            let piece = file.next().map_err(|error| unreadable(&stream.path, &error))?;
            let Some(piece) = piece else {
                let input = &mut self.read.inputs[stream.input];
                input.torn = file.torn.as_deref().map(|why| Printable(why).to_string());
                self.read.malformed += file.too_long;
                stream.file = None;
                break;
            };
            let Self {
                read, latest, known, ..
            } = self;
            let Stream {
                waiting,
                time,
                source,
                input,
                elements,
                ..
            } = stream;
            let (before, mut in_piece) = (read.events, 0);
            let result = source.read(piece, &mut |index, sighting| {
                in_piece = index + 1;
                match sighting {
                    Sighting::Event(view) => {
                        read.see(view);
                        if let Some(at) = view.time.filter(|at| *at <= *latest) {
                            *time = at.max(*time);
                        }
                        let found = matched(view, *time, lanes, *known);
                        waiting.extend(found.map(|it| Matched { input: *input, ..it }));
                    }
                    Sighting::Ignored(_) => read.ignored += 1,
                    Sighting::Malformed(malformed) => {
                        let at = format!("{}, element {}", read.inputs[*input].name, *elements + index + 1);
                        read.spoil(&at, &malformed);
                    }
                }
            });
            *elements += in_piece;
            if let Err(not) = result {
                let at = format!("{}, after element {elements}", read.inputs[*input].name);
                read.spoil(&at, &not.malformed());
            }
            self.read.inputs[*input].events += self.read.events - before;
            let (events, name) = (self.read.events, &self.read.inputs[*input].name);
            self.progress.tell(|| format!("{events} events read, in {name}"));
        }
        Ok(())
    }

    fn deliver(&mut self, matched: Matched, lanes: &mut [Lane], policy: &dyn Fn(usize) -> Policy) {
        if !std::mem::replace(&mut self.is_pinned, true) {
            let pinning = lanes.iter_mut().enumerate();
            pinning.for_each(|(position, lane)| lane.pin(policy(position), None, matched.at));
        }
        let mut is_late = false;
        for (lane, matches) in lanes.iter_mut().zip(matched.matches) {
            if !matches.is_empty() {
                let context = matched.context.as_ref();
                let before = lane.tally.held_back_by(GuardName::Freshness);
                lane.take(&matched.event, matches, context, None, matched.at);
                is_late |= matched.is_behind && lane.tally.held_back_by(GuardName::Freshness) > before;
            }
        }
        self.read.late += u64::from(is_late);
        self.read.inputs[matched.input].late += u64::from(is_late);
    }
}

/// `view` with what it matches in each of `lanes`; `None` when it matches nothing in any.
fn matched(
    view: &EventView<'_>,
    at: Timestamp,
    lanes: &mut [Lane],
    known: Option<&dyn Surroundings>,
) -> Option<Matched> {
    if view.kind != EventKind::Alert {
        return None;
    }
    let view = &EventView {
        around: known.unwrap_or(view.around),
        ..*view
    };
    let mut found: Option<Vec<Vec<Match>>> = None;
    let count = lanes.len();
    for (position, lane) in lanes.iter_mut().enumerate() {
        let matches = lane.sort(view);
        if !matches.is_empty() {
            found.get_or_insert_with(|| vec![Vec::new(); count])[position] = matches;
        }
    }
    found.map(|matches| {
        let steps = matches.iter().flatten().flat_map(|it| &it.steps);
        let addresses = steps.filter_map(|step| step.target.as_ref()?.address());
        Matched {
            at,
            input: 0,
            is_behind: view.time.is_some_and(|time| time < at),
            event: Arc::new(keep(view, at)),
            context: known.map(|_| Arc::new(EventContext::of(view, addresses))),
            matches,
        }
    })
}

/// `view` as the engine takes it, without its bytes: the engine does not look at them.
fn keep(view: &EventView<'_>, received: Timestamp) -> Event {
    struct NoBytes;
    impl staunch_model::RawFields for NoBytes {
        fn field(&self, _: &[Box<str>]) -> Option<staunch_model::FieldValue<'_>> {
            None
        }
        fn bytes(&self) -> &[u8] {
            b""
        }
    }
    Event::keep(&EventView { raw: &NoBytes, ..*view }, received)
}

/// The time of the first event in the file at `path`, as far as its first piece tells. What can be read only once, such
/// as a pipe, comes with it, to be read on.
fn begins(path: &Path, source: &dyn Source, latest: Timestamp) -> std::io::Result<(Timestamp, Option<EventFile>)> {
    let mut file = EventFile::open(path)?;
    let mut first = None;
    if let Some(piece) = file.peek()? {
        // What is malformed is counted when the file is read.
        let _ = source.read(piece, &mut |_, sighting| {
            if let Sighting::Event(view) = sighting {
                first = first.or(view.time.filter(|at| *at <= latest));
            }
        });
    }
    let begins = first.unwrap_or(Timestamp::EPOCH);
    Ok((begins, (!file.can_be_read_again).then_some(file)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    let is_utf_16 = error.get_ref().is_some_and(|it| it.is::<Utf16>());
    let exit = match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::PermissionDenied => Exit::Denied,
        _ if is_utf_16 => Exit::Usage,
        _ => Exit::Failed,
    };
    let shown = path.display().to_string();
    let hint = if is_utf_16 {
        "text in UTF-16: convert it with iconv, as in `iconv -f UTF-16 -t UTF-8`"
    } else {
        "give files of events as their source sends them: JSON, an array or one a line; plain, or compressed with gzip or \
         zstd"
    };
    Fault::doing(exit, format!("cannot read the events in {}", Printable(&shown)), error).hint(hint)
}

/// Takes the inputs recorded in `journal` through `lanes`. `adapt` makes the policy that holds in the lane of a
/// position out of each recorded one. Of the events only those in the frames `only` are taken, if they are named.
///
/// # Errors
/// When the journal cannot be read.
pub(crate) fn journal(
    journal: &ReadOnlyJournal,
    name: &str,
    sources: &[Arc<dyn Source>],
    lanes: &mut [Lane],
    adapt: &dyn Fn(usize, &Policy) -> Policy,
    only: Option<&BTreeSet<Lsn>>,
) -> Result<Read, Fault> {
    let mut book = Book::default();
    let mut engine = Engine::new();
    each_frame(journal, &mut |step| {
        book.take_down(&engine, step);
        // What does not fit this build is left out, as in a recovery.
        let _ = engine.replay(&step.frame, step.now);
        Ok(ControlFlow::Continue(()))
    })?;
    drop(engine);
    let mut read = Read {
        inputs: vec![InputRead {
            name: name.to_owned(),
            source: "as recorded".into(),
            events: 0,
            late: 0,
            torn: None,
        }],
        answers_left_out: book.left_out,
        ..Read::default()
    };
    each_frame(journal, &mut |step| {
        read.frames += 1;
        match &step.frame.input {
            Input::Policy(policy) => {
                let pinning = lanes.iter_mut().enumerate();
                pinning.for_each(|(position, lane)| lane.pin(adapt(position, policy), Some(&book), step.now));
            }
            input @ (Input::Risk(_) | Input::Known(_) | Input::Found(_) | Input::ContextTable(_)) => {
                let taking = lanes.iter_mut();
                taking.for_each(|lane| lane.know(input, Some(&book), step.now));
            }
            Input::Listed(change) => {
                let listing = lanes.iter_mut();
                listing.for_each(|lane| lane.list(change, Some(&book), step.now));
            }
            Input::Event { .. } | Input::EventInContext { .. } => {
                if only.is_some_and(|only| !only.contains(&step.lsn)) {
                    return Ok(ControlFlow::Continue(()));
                }
                let Some((event, matches)) = step.frame.input.event() else {
                    return Ok(ControlFlow::Continue(()));
                };
                let context = match &step.frame.input {
                    Input::EventInContext { context, .. } => Some(context),
                    _ => None,
                };
                let Some(source) = sources.iter().find(|source| source.name() == &*event.system.0) else {
                    let malformed = Malformed {
                        offset: 0,
                        what: format!("there is no source {}", event.system),
                        hint: "name a configuration that has it".into(),
                    };
                    read.spoil(name, &malformed);
                    return Ok(ControlFlow::Continue(()));
                };
                let mut again: Option<Matched> = None;
                let mut is_read = false;
                let result = source.read(&event.raw, &mut |_, sighting| match sighting {
                    Sighting::Event(view) if !is_read => {
                        is_read = true;
                        read.see(view);
                        let view = match context {
                            // What was known when it came, and not what is known today.
                            Some(known) => EventView {
                                around: &**known,
                                ..*view
                            },
                            None => *view,
                        };
                        again = matched(&view, step.now, lanes, None);
                    }
                    Sighting::Event(_) | Sighting::Ignored(_) => {}
                    Sighting::Malformed(malformed) => read.spoil(name, &malformed),
                });
                if let Err(not) = result {
                    read.spoil(name, &not.malformed());
                }
                let mut found = again.map_or_else(|| vec![Vec::new(); lanes.len()], |it| it.matches);
                for (lane, again) in lanes.iter_mut().zip(&mut found) {
                    if lane.is_recorded() {
                        *again = matches.to_vec();
                    }
                    if !again.is_empty() {
                        lane.take(event, std::mem::take(again), context, Some(&book), step.now);
                    }
                }
            }
            Input::Swept(_) => {
                let gone = book.vanished(step.lsn);
                lanes
                    .iter_mut()
                    .for_each(|lane| lane.vanish(gone, Some(&book), step.now));
            }
            Input::Operator { command, .. } => {
                // What was said to questions is in the book.
                let said = matches!(command, Command::Approve(_) | Command::Deny(_));
                read.commands_left_out += u64::from(!said);
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    read.inputs[0].events = read.events;
    Ok(read)
}
