//! `staunch backtest`

mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use staunch_engine::lists::changes;
use staunch_model::{Mode, Policy, Printable};
use staunch_ports::{Knowledge as _, Source};
use staunch_store::ReadOnlyJournal;

use super::journal::open_fault;
use crate::backtest::lane::{Approvals, Lane};
use crate::backtest::listing::{listing, named_twice};
use crate::backtest::report::{Assumptions, Report, Side, compare};
use crate::backtest::{html, past, text};
use crate::cli::{ApprovalRule, BacktestArgs, FailOn};
use crate::config::{self, Config};
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::files::{folder_must_be_there, must_be_there};
use crate::output::{Output, now};
use crate::playbooks::Texts;
use crate::{lists, wiring};

/// The form of the report: it grows, and a number changes when a meaning does.
const FORMAT: u32 = 1;

/// The source of events whose file does not tell it.
const USUAL_SOURCE: &str = "suricata";

pub(super) fn run(args: &BacktestArgs) -> Result<Exit, Fault> {
    let config = config::load(args.config.config.as_deref())?.config;
    let found = listing(&args.events).map_err(|error| Fault::doing(Exit::Failed, "cannot list the events", &error))?;
    if let Some(file) = &args.html {
        folder_must_be_there(file, "name a file in a folder that is there with --html")?;
        page::check(file)?;
    }
    let mode: Mode = args.mode.into();
    let approvals = match args.approvals {
        ApprovalRule::Grant => Approvals::Grant,
        ApprovalRule::Lapse => Approvals::Lapse,
    };
    let lane = |programs| Lane::new(programs, config.nftables.elements_max.into(), approvals);
    let (new_name, new) = playbooks(&config, args.playbooks.as_deref())?;
    let policy = wiring::policy(&config, &new, &[], &wiring::check_context(&config).drivers);
    let policy = Policy {
        mode_max: mode,
        ..policy
    };
    let mut lanes = vec![lane(Some(new.into_iter().map(|it| it.program).collect()))];
    let mut old_name = None;
    if args.against.is_some() || args.playbooks.is_some() || args.journal.is_some() {
        // Without a word about it, a journal is compared with what was matched then.
        let (name, programs) = match (&args.against, &args.journal) {
            (None, Some(_)) => ("the playbooks of the record".to_owned(), None),
            (against, _) => {
                let (name, old) = playbooks(&config, against.as_deref())?;
                (name, Some(old.into_iter().map(|it| it.program).collect()))
            }
        };
        old_name = Some(name);
        lanes.push(lane(programs));
    }
    if old_name.is_none() {
        check_fail_on(&args.fail_on)?;
    }
    let sources = wiring::event_sources_here(&config)?;
    let read = match &args.journal {
        Some(dir) => {
            must_be_there(
                std::slice::from_ref(dir),
                "name a data directory such as /var/lib/staunch, or a copy of one",
            )?;
            let dir = journal_dir(dir);
            let journal = ReadOnlyJournal::open(&dir).map_err(|error| open_fault(&error))?;
            let name = Printable(&dir.display().to_string()).to_string();
            let adapt = |_: usize, recorded: &Policy| Policy {
                mode_max: mode,
                ..recorded.clone()
            };
            past::journal(&journal, &name, &sources, &mut lanes, &adapt, None)?
        }
        None => {
            let lists = lists::read(&config)?;
            let lists = lists.iter().flat_map(|(path, list)| changes(path, None, Some(list)));
            let lists: Vec<_> = lists.map(Arc::new).collect();
            let table = Arc::new(config.context.table());
            lanes.iter_mut().for_each(|lane| lane.begin_with(&lists, &table));
            let context = Context::start(&config, None)?;
            let known = (!config.context.is_empty()).then(|| context.current());
            if let Some(twice) = named_twice(&found.files) {
                let shown = twice.display().to_string();
                let name = if shown == "-" { "stdin" } else { &shown };
                let what = format!("{} is given twice, and can be read only once", Printable(name));
                return Err(Fault::new(Exit::Usage, what).hint("name stdin, and each pipe, once with --events"));
            }
            let files = with_sources(&found.files, args.source.as_deref(), &sources)?;
            let mut read = past::files(&files, &mut lanes, &|_| policy.clone(), now(), known.as_deref())?;
            (read.skipped, read.absent) = (found.skipped, found.absent);
            read
        }
    };
    let mut report = Report {
        format: FORMAT,
        build: wiring::build().into(),
        assumptions: Assumptions {
            mode,
            mode_configured: config.mode,
            approvals: match approvals {
                Approvals::Grant => "who is asked says yes at once",
                Approvals::Lapse => "who is asked does not answer",
            },
            notes: notes(args, &config, mode, &read),
        },
        read,
        new: Side::new(new_name, &lanes[0].tally),
        old: old_name.map(|name| Side::new(name, &lanes[1].tally)),
        comparison: lanes.get(1).map(|old| compare(&old.tally, &lanes[0].tally)),
        failed_on: Vec::new(),
    };
    report.failed_on = args
        .fail_on
        .iter()
        .filter(|it| holds(**it, &report))
        .map(|it| it.name().to_owned())
        .collect();
    if let Some(file) = &args.html {
        page::write(file, &html::page(&report))?;
    }
    Output::new(args.json).show(&report, |output| text::text(output, &report))?;
    if report.read.events == 0 && report.read.ignored == 0 && report.read.malformed > 0 {
        let what = format!("none of the {} elements can be read", report.read.malformed);
        return Err(Fault::new(Exit::Usage, what).hint("name the system that they come from with --source"));
    }
    Ok(if report.failed_on.is_empty() {
        Exit::Ok
    } else {
        Exit::Differs
    })
}

/// The playbooks in `dir`, and nothing besides; without one those of the configuration.
fn playbooks(config: &Config, dir: Option<&Path>) -> Result<(String, Vec<staunch_playbook::Compiled>), Fault> {
    let (name, texts) = match dir {
        Some(dir) => {
            must_be_there(&[dir.to_owned()], "give a directory of *.yaml files")?;
            let name = format!("the playbooks in {}", Printable(&dir.display().to_string()));
            (name, Texts::of_paths(&[dir.to_owned()]))
        }
        None => ("the configured playbooks".to_owned(), Texts::configured(config)),
    };
    let outcome = texts.compile(&wiring::check_context(config));
    texts.tell_briefly(&outcome.diagnostics);
    if !outcome.usable {
        return Err(
            Fault::new(Exit::Usage, format!("{name} cannot be used")).hint("`staunch check` shows all mistakes")
        );
    }
    if outcome.compiled.is_empty() {
        return Err(Fault::new(Exit::Usage, format!("{name}: there is none")).hint("give a directory of *.yaml files"));
    }
    Ok((name, outcome.compiled))
}

/// What `--fail-on` cannot know without something to compare with.
fn check_fail_on(conditions: &[FailOn]) -> Result<(), Fault> {
    let needs = conditions
        .iter()
        .find(|it| matches!(it, FailOn::NewlyContained | FailOn::NewlySpared));
    match needs {
        None => Ok(()),
        Some(it) => Err(Fault::new(
            Exit::Usage,
            format!("--fail-on {} needs two sets of playbooks", it.name()),
        )
        .hint("name the new ones with --playbooks, or the old ones with --against")),
    }
}

fn holds(condition: FailOn, report: &Report) -> bool {
    let compared = |count: fn(&crate::backtest::report::Comparison) -> u64| report.comparison.as_ref().map_or(0, count);
    let new = &report.new;
    match condition {
        FailOn::NewlyContained => compared(|it| it.newly_contained.count) > 0,
        FailOn::NewlySpared => compared(|it| it.newly_spared.count) > 0,
        FailOn::GuardTrip => new.refused_by_guards() > 0,
        FailOn::Breaker => new.breaker_opened > 0,
        FailOn::NeverMatched => !new.never_matched.is_empty(),
        FailOn::Malformed => {
            let read = &report.read;
            read.malformed > 0 || !read.absent.is_empty() || read.inputs.iter().any(|it| it.torn.is_some())
        }
    }
}

/// A data directory means the journal in it.
fn journal_dir(dir: &Path) -> PathBuf {
    let inside = dir.join("journal");
    if inside.is_dir() { inside } else { dir.to_owned() }
}

/// Each of `files` with the source that decodes it: the named one, else the one that its name tells.
fn with_sources(
    files: &[PathBuf],
    named: Option<&str>,
    sources: &[Arc<dyn Source>],
) -> Result<Vec<past::Sourced>, Fault> {
    if files.is_empty() {
        return Err(Fault::new(Exit::NotFound, "there is no file of events").hint(
            "files of events in a directory end in .ndjson, .jsonl or .json, or the same with .gz or .zst behind; rotated \
             ones have a number before that, as eve.json.2.gz",
        ));
    }
    let by_name = |name: &str| sources.iter().find(|source| source.name() == name).cloned();
    let mut found = Vec::new();
    for file in files {
        let name = match named {
            Some(name) => name,
            None => source_of_name(file, sources).unwrap_or(USUAL_SOURCE),
        };
        let source = by_name(name).ok_or_else(|| {
            let known: Vec<&str> = sources.iter().map(|source| source.name()).collect();
            Fault::new(Exit::NotFound, format!("there is no source {}", Printable(name)))
                .hint(format!("known: {}", known.join(", ")))
        })?;
        found.push((file.clone(), source));
    }
    Ok(found)
}

/// The source that the name of an archive file begins with, as in `falco-20261125T140000.000000Z.ndjson.zst`.
pub(super) fn source_of_name<'a>(file: &Path, sources: &'a [Arc<dyn Source>]) -> Option<&'a str> {
    let name = file.file_name()?.to_str()?;
    let dated =
        |rest: &str| rest.len() > 9 && rest.as_bytes()[8] == b'T' && rest.bytes().take(8).all(|it| it.is_ascii_digit());
    sources
        .iter()
        .map(|source| source.name())
        .filter(|source| {
            let rest = name.strip_prefix(source).and_then(|rest| rest.strip_prefix('-'));
            rest.is_some_and(dated)
        })
        .max_by_key(|source| source.len())
}

fn notes(args: &BacktestArgs, config: &Config, mode: Mode, read: &past::Read) -> Vec<String> {
    let mut notes = Vec::new();
    if config.mode != mode {
        notes.push(format!(
            "the configuration says mode {}: --mode tries another one",
            config.mode
        ));
    }
    if args.journal.is_some() {
        notes.push(
            "limits, protected networks, the context guard and what was known around events are those of the record"
                .to_owned(),
        );
        notes.push("a journal holds the events that matched then, and no others: an archive has those".to_owned());
        if read.commands_left_out > 0 {
            notes.push(format!(
                "{} commands of operators were not given again",
                read.commands_left_out
            ));
        }
        if read.answers_left_out > 0 {
            let count = read.answers_left_out;
            notes.push(format!(
                "{count} recorded answers of the world had no room: an ideal world gave them"
            ));
        }
    } else {
        notes.push(
            "limits and protected networks are those of the configuration; this machine was not looked at".to_owned(),
        );
        if !config.context.is_empty() {
            notes.push("what is known around events is what the configured files say at present".to_owned());
        }
        notes.push("shares of traffic are unknown: only a journal has them".to_owned());
    }
    notes
}
