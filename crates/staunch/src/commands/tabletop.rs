//! `staunch drill tabletop`: a team walks through a response, and what it decides is written down.
//!
//! Never acts and asks no server: the plan is made with an engine of its own, as for `staunch plan --local`.

pub(super) mod minutes;
mod walk;

use std::io::{self, BufRead, Read as _, Write as _};
use std::path::{Path, PathBuf};

use staunch_model::{Printable, Timestamp};
use staunch_server::dto::{EventPlan, Response};

use super::plan::say_left_out;
use crate::cli::TabletopArgs;
use crate::config::{self, Config, nearest};
use crate::exit::{Exit, Fault};
use crate::files::{cannot_write, folder_must_be_there};
use crate::output::{Output, Tone, counted, now, print, say, wrap};
use crate::playbooks::Texts;
use crate::{whole, wiring};
use minutes::{Choice, Decision, Minutes};
use walk::{Phase, phases};

/// The most bytes of one answer.
const ANSWER_BYTES_MAX: u64 = 2_000;

pub(super) fn run(args: &TabletopArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    let begun = now();
    let path = args.minutes.clone().unwrap_or_else(|| default_path(begun));
    if path.exists() {
        let what = format!("{} is there already", Printable(&path.display().to_string()));
        return Err(Fault::new(Exit::Usage, what).hint("name another file with --minutes"));
    }
    folder_must_be_there(&path, "name a file in a folder that is there with --minutes")?;
    let texts = texts(args, &config);
    let plan = plan(args, &config, &texts)?;
    say_left_out(&plan);
    let response = choose(args, &plan, || names(&texts, &config))?;
    let output = Output::new(false);
    print(&introduction(&output, &plan, response))?;
    let mut minutes = Minutes::new(begun, &plan, response);
    walk(
        &output,
        &phases(response, config.limits.sweep_interval),
        &mut io::stdin().lock(),
        &mut minutes,
    )?;
    write(&path, &minutes.text(now()))?;
    say(&format!(
        "{}, {}; the minutes are in {}",
        counted(minutes.decisions.len() as u64, "decision"),
        counted(minutes.questions().count() as u64, "open question"),
        path.display()
    ));
    Ok(Exit::Ok)
}

/// Where the minutes are written when no file is named.
fn default_path(at: Timestamp) -> PathBuf {
    let time: String = at
        .to_string()
        .chars()
        .take(19)
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("tabletop-{time}Z.md").into()
}

/// The playbooks that the event is matched with.
fn texts(args: &TabletopArgs, config: &Config) -> Texts {
    match args.playbook.as_deref().map(Path::new).filter(|path| path.is_file()) {
        Some(file) => Texts::of_paths(&[file.to_owned()]),
        None => Texts::configured(config),
    }
}

/// What the playbooks in `texts` are called, sorted.
fn names(texts: &Texts, config: &Config) -> Vec<String> {
    let compiled = texts.compile(&wiring::check_context(config)).compiled;
    let mut names: Vec<String> = compiled.iter().map(|it| it.program.playbook.name.to_string()).collect();
    names.sort();
    names
}

fn plan(args: &TabletopArgs, config: &Config, texts: &Texts) -> Result<EventPlan, Fault> {
    let body = match &args.event {
        Some(file) => super::plan::read_event(file)?,
        None => crate::drill::sample_event()?.to_string().into_bytes(),
    };
    super::plan::plan_locally(config, texts, &args.source, &body)
}

/// The response to walk through; `known` has the names of the playbooks that there are.
fn choose<'p>(
    args: &TabletopArgs,
    plan: &'p EventPlan,
    known: impl FnOnce() -> Vec<String>,
) -> Result<&'p Response, Fault> {
    let named = args.playbook.as_deref().filter(|name| !Path::new(name).is_file());
    let mut responses = plan.plan.responses.iter();
    let found = match named {
        Some(name) => responses.find(|it| it.playbook == name),
        None => responses.next(),
    };
    found.ok_or_else(|| {
        if let Some(name) = named {
            let known = known();
            if !known.iter().any(|it| it == name) {
                return no_such(name, &known);
            }
        }
        let matching: Vec<&str> = plan.plan.responses.iter().map(|it| it.playbook.as_str()).collect();
        let what = match named {
            Some(name) => format!("the event does not match the playbook {}", Printable(name)),
            None => "the event matches no playbook: there is nothing to walk through".to_owned(),
        };
        let hint = if matching.is_empty() {
            "give another event with --event; `staunch plan --local FILE` says why it does not match".to_owned()
        } else {
            format!("it matches {}", matching.join(", "))
        };
        Fault::new(Exit::NotFound, what).hint(hint)
    })
}

/// There is no playbook `name`, and `known` are.
fn no_such(name: &str, known: &[String]) -> Fault {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = match nearest(name, &known) {
        _ if known.is_empty() => "there is none: name the file of one".to_owned(),
        Some(near) => format!("did you mean {near}?"),
        None => format!("known: {}", known.join(", ")),
    };
    Fault::new(Exit::NotFound, format!("there is no playbook {}", Printable(name))).hint(hint)
}

fn introduction(output: &Output, plan: &EventPlan, response: &Response) -> String {
    let event = &plan.event;
    let mut text = format!(
        "{}\n  {}\n\n",
        output.paint(Tone::Strong, &format!("tabletop: {}", Printable(&response.playbook))),
        wrap(&Printable(&response.summary).to_string(), 2)
    );
    let kind = format!("{:?}", event.kind).to_lowercase();
    let lines = [
        (
            "event",
            format!("{} {kind}, severity {}", Printable(&event.system), event.severity),
        ),
        ("", Printable(&event.signature).to_string()),
        ("attacker", super::plan::endpoint(event.source)),
        ("attacked", super::plan::endpoint(event.destination)),
        ("incident", format!("for {}", Printable(&response.key))),
    ];
    for (label, value) in lines {
        let label = output.paint(Tone::Faint, &format!("{label:<10}"));
        text.push_str(&format!("{label}{}\n", wrap(&value, 10)));
    }
    text.push_str("\nNothing is done. For each phase say what the team decides:\n");
    text.push_str("  go, stop or ask, and then why;  after that, who says so.\n");
    text
}

/// Shows each of `phases` and takes a decision, until one stops the response or nobody answers any more.
fn walk(output: &Output, phases: &[Phase], answers: &mut impl BufRead, minutes: &mut Minutes) -> Result<(), Fault> {
    for (at, phase) in phases.iter().enumerate() {
        print(&format!("\n{}", phase.text(output)))?;
        let Some((choice, words)) = decision(answers)? else {
            say("nobody answers: the rest is left undecided");
            minutes.left = phases[at..].iter().map(Phase::title).collect();
            return Ok(());
        };
        let before = minutes.decisions.last().map(|it| it.by.clone());
        let by = ask(
            answers,
            &match &before {
                Some(name) => format!("who says so? [{}] ", Printable(name)),
                None => "who says so? ".to_owned(),
            },
        )?;
        let by = by.filter(|it| !it.is_empty()).or(before);
        minutes.decisions.push(Decision {
            phase: phase.title(),
            choice,
            words,
            by: by.unwrap_or_else(|| "not said".to_owned()),
            at: now(),
        });
        if choice == Choice::Stop {
            minutes.left = phases[at + 1..].iter().map(Phase::title).collect();
            say("stopped here");
            return Ok(());
        }
    }
    Ok(())
}

/// A decision and the words with it; nothing at the end of the answers.
fn decision(answers: &mut impl BufRead) -> Result<Option<(Choice, String)>, Fault> {
    loop {
        let Some(answer) = ask(answers, "decision (go, stop, ask) and why? ")? else {
            return Ok(None);
        };
        let (word, words) = answer.split_once([' ', ':', ',']).unwrap_or((&answer, ""));
        match Choice::of_word(word) {
            Some(choice) => return Ok(Some((choice, words.trim().to_owned()))),
            None => say("begin with go, stop or ask"),
        }
    }
}

/// An answer to `question`, without the spaces around it; nothing at the end of the answers.
fn ask(answers: &mut impl BufRead, question: &str) -> Result<Option<String>, Fault> {
    // Nobody can be told that stderr is gone.
    let _ = write!(io::stderr().lock(), "{question}");
    let mut line = Vec::new();
    let failed = |error: &io::Error| Fault::doing(Exit::Failed, "cannot read an answer", error);
    let read = answers
        .by_ref()
        .take(ANSWER_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(|error| failed(&error))?;
    // What is too long is cut, and its rest is no answer to the next question.
    if read as u64 == ANSWER_BYTES_MAX && !line.ends_with(b"\n") {
        answers.skip_until(b'\n').map_err(|error| failed(&error))?;
    }
    Ok((read > 0).then(|| String::from_utf8_lossy(&line).trim().to_owned()))
}

/// Writes the minutes into a file that is not there yet.
fn write(path: &Path, text: &str) -> Result<(), Fault> {
    whole::make(path, text, whole::FOR_ALL).map_err(|error| {
        let what = format!("cannot write the minutes {}", Printable(&path.display().to_string()));
        // They are all that the team has: better on the terminal than nowhere.
        let _ = print(text);
        cannot_write(&what, &error).hint("they are above; name another file with --minutes")
    })
}
