//! `staunch source`

use std::sync::Arc;

use serde::Serialize;
use staunch_engine::triage::Triage;
use staunch_model::{
    Endpoint, EventContext, EventKind, EventView, Printable, Severity, Surroundings, Timestamp, TriggerReport,
};
use staunch_ports::{Malformed, Sighting, Source};

use super::plan::{endpoint, read_event};
use super::trigger;
use crate::cli::{SourceCommand, SourceTestArgs};
use crate::config;
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::feeds::Feeds;
use crate::output::{Output, Tone, now, say, say_wrapped, wrap};
use crate::playbooks::Texts;
use crate::wiring;

/// Lines that are named in a sentence.
const LINES_NAMED_MAX: usize = 20;

pub(super) fn run(command: &SourceCommand) -> Result<Exit, Fault> {
    match command {
        SourceCommand::Test(args) => test(args),
    }
}

/// What was understood of a body.
#[derive(Debug, Serialize)]
struct Tested {
    source: String,
    /// Elements of the body.
    elements: usize,
    /// Of those, what could not be read.
    malformed: usize,
    /// The first of them, as many as were asked for.
    shown: Vec<Element>,
    /// Each that could not be read, whether it is among those shown or not; and why reading ended there, where it did.
    mistakes: Vec<Mistake>,
}

/// What could not be read.
#[derive(Debug, Serialize)]
struct Mistake {
    /// Which element it is, from 0; `None` when it is the body as a whole.
    index: Option<usize>,
    #[serde(flatten)]
    place: Place,
}

/// Why something could not be read, and where.
#[derive(Debug, Serialize)]
struct Place {
    /// The line of the body, from 1.
    line: usize,
    #[serde(flatten)]
    why: Malformed,
}

impl Place {
    fn of(lines: &Lines, why: Malformed) -> Self {
        Self {
            line: lines.line_of(why.offset),
            why,
        }
    }

    /// What is wrong and where; not escaped.
    fn words(&self) -> String {
        format!("{} (line {}, byte {})", self.why.what, self.line, self.why.offset)
    }
}

/// Where the lines of a body end. The body is looked through once, however many mistakes are placed.
#[derive(Debug)]
struct Lines {
    /// The bytes that are line ends, in order.
    ends: Vec<usize>,
}

impl Lines {
    fn of(body: &[u8]) -> Self {
        let bytes = body.iter().enumerate();
        let ends = bytes.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).collect();
        Self { ends }
    }

    /// The line, from 1, that the byte at `offset` is in: a line end is in the line that it ends.
    fn line_of(&self, offset: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < offset)
    }
}

#[derive(Debug, Serialize)]
struct Element {
    index: usize,
    #[serde(flatten)]
    sighting: Told,
}

/// What an element turned out to be.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "lowercase")]
enum Told {
    Event(Box<Understood>),
    Ignored { reason: &'static str },
    Malformed(Place),
}

/// An event as triggers see it, safe to show, and how each playbook takes it.
#[derive(Debug, Serialize)]
struct Understood {
    system: String,
    kind: EventKind,
    time: Option<Timestamp>,
    severity: Severity,
    signature: String,
    category: String,
    id: Option<String>,
    user: Option<String>,
    host: Option<String>,
    source: Endpoint,
    destination: Endpoint,
    because: Option<String>,
    context: Option<EventContext>,
    triggers: Vec<TriggerReport>,
}

impl Understood {
    fn of(view: &EventView<'_>, source: &dyn Source, triage: &Triage, around: Option<&dyn Surroundings>) -> Self {
        let view = &EventView {
            around: around.unwrap_or(view.around),
            ..*view
        };
        let shown = |text: &str| Printable(text).to_string();
        Self {
            system: view.system.to_owned(),
            kind: view.kind,
            time: view.time,
            severity: view.severity,
            signature: shown(view.signature),
            category: shown(view.category),
            id: view.id.map(shown),
            user: view.user.map(shown),
            host: view.host.map(shown),
            source: view.source,
            destination: view.destination,
            because: source.explain(view.raw.bytes()),
            context: around.map(|_| EventContext::of(view, [])),
            triggers: triage.reports(view),
        }
    }
}

fn test(args: &SourceTestArgs) -> Result<Exit, Fault> {
    let body = read_event(&args.events)?;
    let config = config::load(args.config.config.as_deref())?.config;
    let source = find(wiring::event_sources_here(&config)?, &args.source)?;
    let texts = Texts::configured(&config);
    let outcome = texts.compile(&wiring::check_context(&config));
    texts.tell_briefly(&outcome.diagnostics);
    if !outcome.usable {
        return Err(Fault::new(Exit::Usage, "the playbooks cannot be used").hint("`staunch check` shows all mistakes"));
    }
    let triage = Triage::new(outcome.compiled.into_iter().map(|it| it.program).collect());
    let feeds = Feeds::start(&config, now());
    let context = Context::start(&config, feeds)?;
    let around = context.knowledge(&config).map(|it| it.current());
    let mut tested = Tested {
        source: source.name().to_owned(),
        elements: 0,
        malformed: 0,
        shown: Vec::new(),
        mistakes: Vec::new(),
    };
    let lines = Lines::of(&body);
    let read = source.read(&body, &mut |index, sighting| {
        tested.elements += 1;
        if let Sighting::Malformed(why) = &sighting {
            tested.malformed += 1;
            tested.mistakes.push(Mistake {
                index: Some(index),
                place: Place::of(&lines, why.clone()),
            });
        }
        if tested.shown.len() < args.max {
            let sighting = match sighting {
                Sighting::Event(view) => {
                    Told::Event(Box::new(Understood::of(view, &*source, &triage, around.as_deref())))
                }
                Sighting::Ignored(reason) => Told::Ignored { reason },
                Sighting::Malformed(why) => Told::Malformed(Place::of(&lines, why)),
            };
            tested.shown.push(Element { index, sighting });
        }
    });
    if let Err(why) = read {
        let place = Place::of(&lines, why.malformed());
        // What was read before it is told.
        if tested.elements == 0 {
            return Err(Fault::new(Exit::Usage, place.words()).hint(place.why.hint));
        }
        tested.mistakes.push(Mistake { index: None, place });
    }
    if tested.elements == 0 {
        return Err(Fault::new(Exit::Usage, "there is no event in it").hint("give events as their source sends them"));
    }
    Output::new(args.json).show(&tested, |output| text(output, &tested))?;
    let left = tested.elements - tested.shown.len();
    if left > 0 {
        say(&format!("{left} more are not shown; --max shows more"));
    }
    if let Some(ended) = tested.mistakes.iter().find(|it| it.index.is_none()) {
        let Place { line, why } = &ended.place;
        let text = format!("nothing is read from line {line} on: {}", why.what);
        say_wrapped(&text);
    }
    if tested.malformed > 0 {
        let lines = tested.mistakes.iter().filter(|it| it.index.is_some());
        let lines: Vec<String> = lines
            .map(|it| it.place.line.to_string())
            .take(LINES_NAMED_MAX)
            .collect();
        let more = if tested.malformed > lines.len() {
            " and more"
        } else {
            ""
        };
        let noun = if tested.malformed == 1 { "line" } else { "lines" };
        let text = format!(
            "{} of {} could not be read: {noun} {}{more}",
            tested.malformed,
            tested.elements,
            lines.join(", ")
        );
        say_wrapped(&text);
    }
    if !tested.mistakes.is_empty() {
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

fn find(sources: Vec<Arc<dyn Source>>, name: &str) -> Result<Arc<dyn Source>, Fault> {
    let known: Vec<String> = sources.iter().map(|it| it.name().to_owned()).collect();
    sources.into_iter().find(|it| it.name() == name).ok_or_else(|| {
        let what = format!("there is no source {}", Printable(name));
        Fault::new(Exit::NotFound, what).hint(format!("known: {}", known.join(", ")))
    })
}

fn text(output: &Output, tested: &Tested) -> String {
    let mut text = String::new();
    for element in &tested.shown {
        if !text.is_empty() {
            text.push('\n');
        }
        let title = format!("{}.", element.index + 1);
        text.push_str(&format!("{}\n", output.paint(Tone::Strong, &title)));
        match &element.sighting {
            Told::Event(event) => text.push_str(&event_text(output, event)),
            Told::Ignored { reason } => text.push_str(&line(output, "ignored", reason)),
            Told::Malformed(it) => {
                text.push_str(&line(output, "malformed", &Printable(&it.words()).to_string()));
                text.push_str(&line(output, "hint", &Printable(&it.why.hint).to_string()));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn line(output: &Output, label: &str, value: &str) -> String {
    format!(
        "{}{}\n",
        output.paint(Tone::Faint, &format!("{label:<11}")),
        wrap(value, 11)
    )
}

fn event_text(output: &Output, event: &Understood) -> String {
    let kind = format!("{:?}", event.kind).to_lowercase();
    let when = event
        .time
        .map_or_else(|| "at an unknown time".to_owned(), |time| time.to_string());
    let mut text = line(
        output,
        "event",
        &format!(
            "{} {kind}, severity {}, {when}",
            Printable(&event.system),
            event.severity
        ),
    );
    let fields = [
        ("signature", Some(&event.signature)),
        ("category", Some(&event.category)),
        ("id", event.id.as_ref()),
        ("user", event.user.as_ref()),
        ("host", event.host.as_ref()),
    ];
    for (label, value) in fields {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            text.push_str(&line(output, label, value));
        }
    }
    text.push_str(&line(output, "attacker", &endpoint(event.source)));
    text.push_str(&line(output, "attacked", &endpoint(event.destination)));
    if let Some(because) = &event.because {
        text.push_str(&line(output, "because", &Printable(because).to_string()));
    }
    let known = event.context.iter().flat_map(EventContext::lines);
    for (at, known) in known.enumerate() {
        text.push_str(&line(output, if at == 0 { "known" } else { "" }, &known));
    }
    text.push('\n');
    let mut reports: Vec<&TriggerReport> = event.triggers.iter().collect();
    reports.sort_by_key(|it| it.outcome);
    text + &trigger::text(output, &reports, event.kind, &event.system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_the_line_that_counting_finds() {
        for body in [&b""[..], b"\n", b"a\nbc\n\nd", b"\n\na\r\n"] {
            let lines = Lines::of(body);
            for offset in 0..body.len() + 3 {
                let before = body.get(..offset).unwrap_or(body);
                let counted = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(lines.line_of(offset), counted, "byte {offset} of {body:?}");
            }
        }
    }
}
