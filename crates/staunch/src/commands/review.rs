//! `staunch review`: what people and tests can learn from an incident, as a folder.
//!
//! Says nothing that the record does not hold: what is not recorded is a question, and what the simulator does not
//! repeat is no expectation of the test. Never asks a server, and changes nothing but the folder.

mod archive;
mod changes;
mod check;
mod folder;
mod narrow;
mod page;
mod record;
mod regression;
mod report;
mod sigma;

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use staunch_model::{Event, IncidentId};
use staunch_playbook::{Looked, compile_source};
use staunch_ports::Sighting;

use crate::cli::{ReviewArgs, ReviewCommand};
use crate::commands::evidence::parts::MissedParts;
use crate::config::Config;
use crate::exit::{Exit, Fault, escaped};
use crate::files::must_be_there;
use crate::output::{Output, wrap};
use crate::playbooks::Texts;
use crate::wiring;
use changes::Suggested;
use folder::Folder;
use narrow::{Narrowed, narrowed};
use record::Recorded;

/// The file of the first event, for `review check`.
const FIRST_EVENT: &str = "event.json";

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    incident: IncidentId,
    folder: String,
    files: Vec<String>,
    /// Expectations of the test.
    expectations: usize,
    sigma: Option<SigmaWritten>,
    /// Changes that the record gives a reason for.
    changes: Vec<Suggested>,
    questions: Vec<String>,
    /// What to do so that a review says more.
    hints: Vec<String>,
    /// What was missed of sealed evidence.
    #[serde(flatten)]
    missed: MissedParts,
}

#[derive(Debug, Serialize)]
struct SigmaWritten {
    /// Archived events that it was tried on, and those of them that it matches.
    tried: u64,
    matched: u64,
    /// Archived lines that are no JSON.
    unread: u64,
}

/// What is in the folder, for people.
const README: &str = "README.md";

/// What to do when the archive that is named is not there.
const ARCHIVE_HINT: &str = "name the directory that events are archived in, or leave out --archive";

pub(super) fn run(args: &ReviewArgs) -> Result<Exit, Fault> {
    if let Some(ReviewCommand::Check(args)) = &args.command {
        return check::run(args);
    }
    let Some(id) = args.id else {
        return Err(Fault::new(Exit::Usage, "no incident is named").hint("name one, such as INC-17"));
    };
    let config = super::load_existing(&args.data)?;
    must_be_there(args.archive.as_slice(), ARCHIVE_HINT)?;
    let recorded = record::read(&config, id)?;
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("review-{id}")));
    let mut folder = Folder::make(&path, args.force)?;
    let mut questions = recorded.questions();
    let mut hints = Vec::new();
    let kept = regression::write(&mut folder, &recorded, &config, &mut questions, &mut hints)?;
    let archive = args.archive.clone().unwrap_or_else(|| config.archive_dir());
    let sigma = write_sigma(&mut folder, &recorded, &config, &archive, &mut questions)?;
    let changes = changes::write(&mut folder, &recorded, &config, &archive, kept.as_ref(), &mut questions)?;
    let blocks = report::blocks(&recorded, &changes, &questions)?;
    let title = format!("{id}: post-incident report");
    folder.write("report.md", page::markdown(&title, &blocks).as_bytes())?;
    folder.write("report.html", page::html(&title, &blocks).as_bytes())?;
    for (name, bytes) in super::incident::timeline_of(&recorded.detail, &recorded.beside)? {
        folder.write(&name, &bytes)?;
    }
    let list = [page::Block::List(questions.clone())];
    folder.write(
        "questions.md",
        page::markdown(&format!("{id}: open questions"), &list).as_bytes(),
    )?;
    folder.write_list(id, README)?;
    folder.write(README, report::readme(id, &folder.files).as_bytes())?;
    let written = Written {
        incident: id,
        folder: path.display().to_string(),
        files: folder.finish()?,
        expectations: kept.map_or(0, |it| it.claims),
        sigma,
        changes,
        questions,
        hints,
        missed: recorded.beside.missed.clone(),
    };
    Output::new(args.json).show(&written, |_| text(&written))?;
    Ok(Exit::Ok)
}

fn text(written: &Written) -> String {
    let shown = escaped(&written.folder);
    let mut text = format!("{}: {} files in {shown}\n", written.incident, written.files.len());
    text.push_str(&format!("  test       {} expectations\n", written.expectations));
    text.push_str(&match &written.sigma {
        Some(it) => format!("  sigma      matches {} of {} archived events\n", it.matched, it.tried),
        None => "  sigma      no draft: see the questions\n".to_owned(),
    });
    text.push_str(&format!("  changes    {} suggested\n", written.changes.len()));
    text.push_str(&format!("  questions  {}\n", written.questions.len()));
    for hint in &written.hints {
        text.push_str(&format!("  hint       {}\n", wrap(&escaped(hint), 13)));
    }
    let next = format!("run `staunch review check {shown}`, then write what only people know into report.md");
    text.push_str(&format!("  next       {}\n", wrap(&next, 13)));
    text
}

/// The draft of a rule that matches the first event, narrowed while it matches archived ones.
fn write_sigma(
    folder: &mut Folder,
    recorded: &Recorded,
    config: &Config,
    archive: &Path,
    questions: &mut Vec<String>,
) -> Result<Option<SigmaWritten>, Fault> {
    let Some(first) = recorded.events.first() else {
        return Ok(None);
    };
    folder.write(FIRST_EVENT, &first.raw)?;
    let Ok(raw) = serde_json::from_slice::<Value>(&first.raw) else {
        questions
            .push("What tells the first event from others? It is no JSON, so no Sigma rule was drafted.".to_owned());
        return Ok(None);
    };
    let drafted = sigma::of_trigger(looked(recorded, config, first)?.unwrap_or_default(), &raw);
    let candidates = sigma::candidates(&drafted, first, &raw);
    let Some(Narrowed { draft, tried, passing }) = narrowed(&drafted, &candidates, archive, first)? else {
        questions.push(
            "What tells the first event from others? No field of it holds what the trigger looked at, nor anything else \
             that a rule can say, so no Sigma rule was drafted."
                .to_owned(),
        );
        return Ok(None);
    };
    if !passing.is_empty() {
        questions.push(format!(
            "Will the Sigma rule match another event? Only what is likely to be of this one event leaves out all archived \
             ones: {}.",
            passing.join(", ")
        ));
    }
    let said = match tried.tried {
        0 => "It was tried on no archived event, because there is none.".to_owned(),
        _ => format!(
            "It matches {} of {} archived events that matched no playbook.",
            tried.matched, tried.tried
        ),
    };
    for clause in &draft.left_out {
        questions.push(format!(
            "How would a Sigma rule say this? The trigger asked for it too, and the draft does not: {clause}"
        ));
    }
    if tried.matched > 0 {
        questions.push(format!(
            "Are the {} archived events that the Sigma rule matches benign? No further field that was tried tells them from \
             the first event.",
            tried.matched
        ));
    }
    if tried.unread > 0 {
        questions.push(format!(
            "What are the {} archived lines that are no JSON? The Sigma rule could not be tried on them.",
            tried.unread
        ));
    }
    if let Some(why) = &tried.ended_early {
        questions.push(format!("What else is in the archive? {why}"));
    }
    let title = format!("{}: {}", recorded.id(), first.signature);
    let rule = draft.rule(&title, recorded, first, &said);
    folder.write(&format!("sigma/{}.yml", recorded.id()), rule.as_bytes())?;
    Ok(Some(SigmaWritten {
        tried: tried.tried,
        matched: tried.matched,
        unread: tried.unread,
    }))
}

/// What the trigger looked at in the first event; `None` when the playbook is not the recorded one any more, or the
/// event is read by no source.
fn looked(recorded: &Recorded, config: &Config, first: &Event) -> Result<Option<Looked>, Fault> {
    let texts = Texts::configured(config);
    let context = wiring::check_context(config);
    let playbook = texts.sources().find_map(|source| {
        let compiled = compile_source(source, &context).ok()?;
        (compiled.program.playbook.hash == recorded.detail.incident.playbook_hash).then_some(compiled)
    });
    let sources = wiring::event_sources(config)?;
    let source = sources.iter().find(|it| it.name() == &*first.system.0);
    let mut looked = None;
    if let (Some(playbook), Some(source)) = (playbook, source) {
        let read = source.read(&first.raw, &mut |_, sighting| {
            if let (Sighting::Event(view), true) = (sighting, looked.is_none()) {
                looked = Some(playbook.looked.at(view));
            }
        });
        // What cannot be read to its end was recorded nevertheless, and its first event may have been seen.
        drop(read);
    }
    Ok(looked)
}
