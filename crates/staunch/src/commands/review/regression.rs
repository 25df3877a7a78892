//! A test of the playbook, made of the incident's own events and of what is recorded of them.
//!
//! The test is run when it is written. What the simulator does not repeat, because it depended on something that no
//! test can say, is taken out and becomes a question; it is never bent until it passes.

mod claims;
mod pare;
mod sides;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use staunch_model::{
    Command, Fact, FailureKind, GuardName, Printable, Record, ReleaseScope, Span, Target, Timestamp, TrafficShare,
    TransactionId,
};
use staunch_playbook::{SNIPPETS_FILE, compile_source};
use staunch_server::dto::TransactionRow;

use self::pare::{Draft, Played};
use super::folder::Folder;
use super::page::quoted;
use super::record::Recorded;
use crate::commands::test;
use crate::config::Config;
use crate::exit::{Exit, Fault};
use crate::playbooks::Texts;
use crate::wiring;

/// Targets that no test can name and that are asked about.
const UNTESTABLE_MAX: usize = 10;

/// A test that was written.
pub(super) struct Kept {
    /// Expectations in it.
    pub(super) claims: usize,
    /// Its name in the folder.
    file: String,
    text: String,
    /// The name of the playbook's file beside it, without the ending.
    stem: String,
    snippets: Option<String>,
}

/// Writes the test, a copy of its playbook and of what that has from snippets; nothing when there is no test.
///
/// # Errors
/// When a file cannot be written, or the configuration is wrong.
pub(super) fn write(
    folder: &mut Folder,
    recorded: &Recorded,
    config: &Config,
    questions: &mut Vec<String>,
    hints: &mut Vec<String>,
) -> Result<Option<Kept>, Fault> {
    let name = &recorded.detail.incident.playbook;
    let Some((text, snippets)) = playbook(recorded, config) else {
        questions.push(format!(
            "Which text had the playbook {name}? No configured one has the recorded hash, so there is no test."
        ));
        return Ok(None);
    };
    let Some(events) = events(recorded) else {
        questions.push("What were the events? They are no text, so there is no test.".to_owned());
        return Ok(None);
    };
    let safe = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let taken = SNIPPETS_FILE.strip_suffix(".yaml") == Some(name);
    let stem = if safe && !taken && !name.is_empty() {
        name
    } else {
        "playbook"
    };
    let file = format!("tests/{stem}.review-{}.test.yaml", recorded.id());
    folder.write(&format!("tests/{stem}.yaml"), text.as_bytes())?;
    if let Some(snippets) = &snippets {
        folder.write(&format!("tests/{SNIPPETS_FILE}"), snippets.as_bytes())?;
    }
    for it in recorded
        .detail
        .transactions
        .iter()
        .filter(|it| testable(it).is_none())
        .take(UNTESTABLE_MAX)
    {
        questions.push(format!(
            "How is {} of {} to be tested? A test cannot name its target.",
            it.kind,
            Printable(&it.target)
        ));
    }
    if let Some(otherwise) = sides::read_otherwise(&recorded.events, &wiring::event_sources(config)?) {
        let is_first = otherwise.number == 1;
        otherwise.ask(questions, hints);
        if is_first {
            return Ok(None);
        }
    }
    let draft = |until| Draft {
        head: head(recorded, stem, &events, until),
        claims: claims::claims(recorded, until),
    };
    let play = |text: &str| {
        folder.write(&file, text.as_bytes())?;
        let report = test::report(&[folder.path(&file)], config)?;
        let mut tests = report.files.iter().flat_map(|it| &it.tests);
        Ok(match tests.next().filter(|_| report.mistakes == 0) {
            None => Played::Unreadable,
            Some(it) if it.passed => Played::Passed,
            Some(it) => match &it.violation {
                Some(violation) => Played::Violated(violation.clone()),
                None => Played::Differs(it.differences.iter().map(|it| it.line).collect()),
            },
        })
    };
    let Some(kept) = pare::pare(recovered_at(recorded), draft, play, questions)? else {
        folder.remove(&file)?;
        return Ok(None);
    };
    Ok(Some(Kept {
        claims: kept.claims.len(),
        text: kept.text(),
        file,
        stem: stem.to_owned(),
        snippets,
    }))
}

/// The expectations of `kept`, as they are written, that do not hold for its playbook with the text `playbook`.
///
/// # Errors
/// When a file cannot be written, or the configuration is wrong.
pub(super) fn unmet(kept: &Kept, playbook: &str, config: &Config) -> Result<Vec<String>, Fault> {
    let name = Path::new(&kept.file).file_name().unwrap_or_default();
    unmet_in(
        name.as_ref(),
        &kept.text,
        &kept.stem,
        playbook,
        kept.snippets.as_deref(),
        config,
    )
}

/// As [`unmet`], of the test file `name` with the text `test`, for a playbook in the file `<stem>.yaml`.
///
/// # Errors
/// When a file cannot be written, or the configuration is wrong.
pub(super) fn unmet_in(
    name: &Path,
    test: &str,
    stem: &str,
    playbook: &str,
    snippets: Option<&str>,
    config: &Config,
) -> Result<Vec<String>, Fault> {
    let failed = |error: std::io::Error| Fault::doing(Exit::Failed, "cannot write a test to be tried", &error);
    let dir = tempfile::tempdir().map_err(failed)?;
    let file = dir.path().join(name);
    fs::write(dir.path().join(format!("{stem}.yaml")), playbook).map_err(failed)?;
    fs::write(&file, test).map_err(failed)?;
    if let Some(snippets) = snippets {
        fs::write(dir.path().join(SNIPPETS_FILE), snippets).map_err(failed)?;
    }
    let report = test::report(&[file], config)?;
    if report.mistakes > 0 || report.passed + report.failed == 0 {
        return Ok(vec!["the test cannot be run with it".to_owned()]);
    }
    let lines: Vec<&str> = test.lines().collect();
    let tests = report.files.iter().flat_map(|it| &it.tests);
    let mut unmet: Vec<usize> = tests.flat_map(|it| &it.differences).map(|it| it.line).collect();
    unmet.sort_unstable();
    unmet.dedup();
    let written = |line: usize| {
        let line = line
            .checked_sub(1)
            .and_then(|at| lines.get(at))
            .copied()
            .unwrap_or_default();
        line.trim().trim_start_matches("- ").to_owned()
    };
    Ok(unmet.into_iter().map(written).collect())
}

/// The text of the recorded playbook with that of the snippets beside it, if it uses some, when the configuration has
/// it.
fn playbook(recorded: &Recorded, config: &Config) -> Option<(String, Option<String>)> {
    let texts = Texts::configured(config);
    let context = wiring::check_context(config);
    texts.sources().find_map(|source| {
        let compiled = compile_source(source, &context).ok()?;
        if compiled.program.playbook.hash != recorded.detail.incident.playbook_hash {
            return None;
        }
        let used = source.snippets.filter(|_| !compiled.snippets.is_empty());
        Some((source.text.to_owned(), used.map(|it| it.source().1.to_owned())))
    })
}

/// The events as the test file has them.
fn events(recorded: &Recorded) -> Option<String> {
    let mut text = String::from("events:\n");
    for (at, event) in recorded.events.iter().enumerate() {
        let raw = std::str::from_utf8(&event.raw).ok()?;
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "  event{}:\n    source: {}\n    json: {}\n",
            at + 1,
            quoted(&event.system.to_string()),
            quoted(raw)
        );
    }
    (!recorded.events.is_empty()).then_some(text)
}

/// When a person first recovered.
fn recovered_at(recorded: &Recorded) -> Option<Timestamp> {
    let commands = recorded.detail.commands.iter().filter(|it| it.refused.is_none());
    let mut recovers =
        commands.filter(|it| matches!(serde_json::from_value(it.command.clone()), Ok(Command::Recover(_))));
    recovers.next().map(|it| it.at)
}

/// All but the expectations. What happened from `until` on is left out.
fn head(recorded: &Recorded, stem: &str, events: &str, until: Option<Timestamp>) -> String {
    let id = recorded.id();
    let mut text = format!(
        "# What {id} was, as a test: its events, and what is recorded of them. Written by `staunch review`.\n\
         playbook: {stem}.yaml\n{events}\ntests:\n  - name: what is recorded of {id}\n    start: {}\n",
        start(recorded)
    );
    text.push_str(&context(recorded));
    let world = world(recorded);
    if !world.is_empty() {
        let _ = writeln!(text, "    world: {{ {} }}", world.join(", "));
    }
    let faults = faults(recorded);
    if !faults.is_empty() {
        let _ = writeln!(text, "    faults: [{}]", faults.join(", "));
    }
    text.push_str("    events:\n");
    let told = recorded.events.iter().enumerate();
    for (at, event) in told.filter(|(_, it)| until.is_none_or(|until| it.received < until)) {
        let _ = writeln!(
            text,
            "      - {{ at: {}ms, event: event{} }}",
            offset(recorded, event.received),
            at + 1
        );
    }
    let happens = happens(recorded, until);
    if !happens.is_empty() {
        text.push_str("    happens:\n");
        happens.iter().for_each(|it| {
            let _ = writeln!(text, "      - {it}");
        });
    }
    text.push_str("    expect:\n");
    text
}

/// Why evidence was missed, for each kind of which nothing was sealed in time; and how long it took where all of it
/// came after that.
fn faults(recorded: &Recorded) -> Vec<String> {
    let rows = || recorded.detail.evidence.iter();
    let mut faults: BTreeMap<&str, String> = BTreeMap::new();
    for entry in &recorded.detail.timeline {
        let Ok(Record::EvidenceMissed { evidence, failure }) = serde_json::from_value(entry.detail.clone()) else {
            continue;
        };
        let kind = rows().find(|it| it.id == evidence).map(|it| it.kind);
        let all_missed = |kind| rows().filter(|it| it.kind == kind).all(|it| it.missed_at.is_some());
        if let Some(kind) = kind.filter(|kind| all_missed(*kind)) {
            let pieces = rows().filter(|it| it.kind == kind);
            let late: Option<Vec<Span>> = pieces.map(|it| Some(it.sealed_at?.since(it.asked))).collect();
            if let Some(longest) = late.and_then(|it| it.into_iter().max()) {
                let ms = longest.as_micros().div_ceil(1_000);
                faults.insert(kind.name(), format!("reply-late, for: {ms}ms"));
                continue;
            }
            let fault = match failure.kind {
                FailureKind::Denied => "denied",
                FailureKind::Unavailable => "throttled",
                FailureKind::Conflict => "conflict",
                FailureKind::Full => "full",
                FailureKind::Invalid => "invalid",
                FailureKind::TimedOut | FailureKind::Interrupted | FailureKind::Gone => "request-lost",
            };
            faults.insert(kind.name(), fault.to_owned());
        }
    }
    let all = faults.into_iter();
    all.map(|(kind, fault)| format!("{{ at: preserve, evidence: {kind}, kind: {fault}, times: always }}"))
        .collect()
}

/// How the enforcement point and the health signals were at the start.
fn world(recorded: &Recorded) -> Vec<String> {
    let mut world = Vec::new();
    let risks = recorded.detail.transactions.iter().find_map(|it| it.judgement.as_ref());
    if let Some(judgement) = risks {
        world.push(format!("risk: {}", format!("{:?}", judgement.risk).to_lowercase()));
    }
    let mut first: BTreeMap<&str, Option<bool>> = BTreeMap::new();
    for it in &recorded.readings {
        first.entry(&it.signal).or_insert(it.healthy);
    }
    let others = first.iter().filter(|(_, healthy)| **healthy != Some(true));
    let others: Vec<String> = others.map(|(signal, healthy)| says(signal, *healthy)).collect();
    if !others.is_empty() {
        world.push(format!("signals: {{ {} }}", others.join(", ")));
    }
    world
}

fn says(signal: &str, healthy: Option<bool>) -> String {
    let word = match healthy {
        Some(true) => "healthy",
        Some(false) => "unhealthy",
        None => "unreadable",
    };
    format!("{}: {word}", quoted(signal))
}

fn start(recorded: &Recorded) -> Timestamp {
    recorded
        .events
        .first()
        .map_or(recorded.detail.incident.opened, |it| it.received)
}

fn offset(recorded: &Recorded, at: Timestamp) -> u64 {
    at.as_micros().saturating_sub(start(recorded).as_micros()) / 1_000
}

/// What was known and configured.
fn context(recorded: &Recorded) -> String {
    let mut text = String::from("    context:\n");
    let mut traffic: BTreeMap<String, String> = BTreeMap::new();
    let mut protected = Vec::new();
    for it in &recorded.detail.transactions {
        let (Some(judgement), Ok(ip)) = (&it.judgement, it.target.parse::<IpAddr>()) else {
            continue;
        };
        if let Some(share) = &judgement.facts.traffic {
            traffic.insert(it.target.clone(), share_of(share));
        }
        if judgement
            .refusal()
            .is_some_and(|guard| guard.guard == GuardName::NeverTouch)
        {
            protected.push(IpNet::from(ip).to_string());
        }
    }
    if let Some(policy) = &recorded.policy {
        let _ = writeln!(text, "      mode: {}", policy.mode_max);
        let _ = writeln!(
            text,
            "      approval_expiry: {}ms",
            policy.limits.approval_expiry.as_micros() / 1_000
        );
    }
    if !traffic.is_empty() {
        let shares: Vec<String> = traffic
            .iter()
            .map(|(ip, share)| format!("{}: {share}", quoted(ip)))
            .collect();
        let _ = writeln!(text, "      traffic: {{ {} }}", shares.join(", "));
    }
    if !protected.is_empty() {
        let all: Vec<String> = protected.iter().map(|it| quoted(it)).collect();
        let _ = writeln!(text, "      never_touch: [{}]", all.join(", "));
    }
    if text.lines().count() == 1 {
        return String::new();
    }
    text
}

fn share_of(share: &Fact<TrafficShare>) -> String {
    match &share.value {
        Ok(it) => {
            let points = it.basis_points();
            format!("{}.{:02}%", points / 100, points % 100)
        }
        Err(_) => "unknown".to_owned(),
    }
}

/// What people did and health signals said, as far as a test can say it, by time.
fn happens(recorded: &Recorded, until: Option<Timestamp>) -> Vec<String> {
    let rows = &recorded.detail.transactions;
    let target = |id: TransactionId| rows.iter().find(|it| it.id == id).and_then(testable);
    // Who recovers in a test names a target of the incident.
    let any = || rows.iter().find_map(testable);
    let mut all: Vec<(u64, String)> = signals(recorded);
    for it in recorded.detail.commands.iter().filter(|it| it.refused.is_none()) {
        let Ok(command) = serde_json::from_value::<Command>(it.command.clone()) else {
            continue;
        };
        let mut how_long = String::new();
        let (verb, targets): (_, Vec<String>) = match command {
            Command::Renew { transaction, lease, .. } => {
                how_long = format!(" for {lease}");
                ("renew", target(transaction).into_iter().collect())
            }
            Command::Approve(id) => ("approve", target(id).into_iter().collect()),
            Command::Deny(id) => ("deny", target(id).into_iter().collect()),
            Command::Release(ReleaseScope::Transaction(id)) => ("release", target(id).into_iter().collect()),
            Command::Release(_) => ("release", it.affected.iter().filter_map(|id| target(*id)).collect()),
            Command::Recover(_) => ("recover", any().into_iter().collect()),
            Command::StopRecovery(_) => ("stop recovery of", any().into_iter().collect()),
            _ => continue,
        };
        let at = offset(recorded, it.at);
        let operator = |target: &String| format!("operator: {}", quoted(&format!("{verb} {target}{how_long}")));
        all.extend(targets.iter().map(|target| (at, operator(target))));
    }
    all.sort_by_key(|(at, _)| *at);
    all.into_iter()
        .filter(|(at, _)| until.is_none_or(|until| *at < offset(recorded, until)))
        .map(|(at, what)| format!("{{ at: {at}ms, {what} }}"))
        .collect()
}

/// When health signals began to say something else: halfway between two readings, because nobody knows it better.
fn signals(recorded: &Recorded) -> Vec<(u64, String)> {
    let mut last: BTreeMap<&str, (u64, Option<bool>)> = BTreeMap::new();
    let mut all = Vec::new();
    for it in &recorded.readings {
        let at = offset(recorded, it.at);
        if let Some((before, said)) = last.insert(&it.signal, (at, it.healthy))
            && said != it.healthy
        {
            let signal = format!("signals: {{ {} }}", says(&it.signal, it.healthy));
            all.push((before + at.saturating_sub(before) / 2, signal));
        }
    }
    all
}

/// The target of `it` as tests name it, a process by its number alone; nothing for those that a test cannot name.
fn testable(it: &TransactionRow) -> Option<String> {
    let text = match it.target.parse().ok()? {
        Target::Address(ip) => return Some(ip.to_string()),
        Target::Process(process) => return Some(format!("pid:{}", process.pid)),
        other => other.to_string(),
    };
    // What people do is written in words, which blanks are between.
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '/');
    text.chars().all(is_word).then_some(text)
}
