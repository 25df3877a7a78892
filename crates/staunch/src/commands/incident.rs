//! `staunch incident`

mod graph;
mod sealed;
pub(super) mod timeline;
mod trends;

use std::path::Path;

use serde::Serialize;
use serde_json::json;
use staunch_model::{IncidentId, IncidentStatus, Judgement, Printable, Timestamp, Verdict};
use staunch_server::dto::{
    EvidenceRow, IncidentAnswer, IncidentDetail, IncidentQuery, IncidentRow, Incidents, Protected, TransactionRow, path,
};

use self::timeline::{Beside, Shown, waits};
use super::evidence::lines;
use super::evidence::parts::MissedParts;
use super::evidence::reading::{Reading, looked_into};
use super::status::exempted_text;
use crate::cli::{GraphFormat, IncidentCommand, IncidentState, ReadingArgs, ServerArgs, TimelineFormat};
use crate::client::{Client, Patience};
use crate::exit::{Exit, Fault};
use crate::files::must_be_there;
use crate::output::{Output, Tone, clock, now, relative, say, warn_wrapped, wrap};

pub(super) fn run(command: &IncidentCommand) -> Result<Exit, Fault> {
    match command {
        IncidentCommand::List {
            status,
            outcome,
            playbook,
            limit,
            show,
        } => {
            let client = Client::new(&show.server, Patience::USUAL)?;
            let status = status.map(|status| match status {
                IncidentState::Open => IncidentStatus::Open,
                IncidentState::Closed => IncidentStatus::Closed,
            });
            let query = IncidentQuery {
                status,
                outcome: *outcome,
                playbook: playbook.clone(),
                limit: Some(*limit),
                ..Default::default()
            };
            let found: Incidents = client.get(path::INCIDENTS, &query)?;
            Output::new(show.json).show(&found, |output| list_text(output, &found))?;
        }
        IncidentCommand::Timeline {
            id,
            reverse,
            format,
            json,
            output,
            reading,
            further,
            server,
        } => {
            let format = if *json { TimelineFormat::Json } else { *format };
            let client = Client::new(server, Patience::USUAL)?;
            let found: IncidentAnswer = client.get(&format!("{}/{id}", path::INCIDENTS), &json!({}))?;
            // What is named is to be there, whether it is looked into or not.
            let hint = "--identity names a file of `age-keygen` that nobody else may read";
            must_be_there(reading.identity.as_slice(), hint)?;
            let needs_vault = format == TimelineFormat::Html || further.evidence || reading.vault.is_some();
            let vault = if needs_vault {
                opened(reading, server, *id, "for the timeline")?
            } else {
                Err(String::new())
            };
            let vault = vault.as_ref().map_err(Clone::clone);
            let beside = Beside {
                missed: missed(reading.vault.as_deref(), server, &found.detail),
                others: others(&client, &found.detail)?,
            };
            let causes = (format == TimelineFormat::Html).then(|| graph::picture(&found.detail, vault.clone()));
            let shown = Shown {
                format,
                reverse: *reverse,
                file: output.as_deref(),
                causes: causes.as_deref(),
                further,
                vault,
                beside: &beside,
            };
            timeline::show(&found, shown)?;
        }
        IncidentCommand::Graph {
            id,
            format,
            json,
            output,
            nodes,
            reading,
            server,
        } => {
            let format = if *json { GraphFormat::Json } else { *format };
            let client = Client::new(server, Patience::USUAL)?;
            let found: IncidentAnswer = client.get(&format!("{}/{id}", path::INCIDENTS), &json!({}))?;
            let vault = opened(reading, server, *id, "for the causal graph")?;
            let vault = vault.as_ref().map_err(Clone::clone);
            graph::show(&found.detail, vault, usize::from(*nodes), format, output.as_deref())?;
        }
        IncidentCommand::Trends { days, by, limit, show } => {
            let client = Client::new(&show.server, Patience::USUAL)?;
            trends::show(&client, *days, *by, *limit, show.json)?;
        }
        IncidentCommand::Show { id, show } => {
            let client = Client::new(&show.server, Patience::USUAL)?;
            let found: IncidentAnswer = client.get(&format!("{}/{id}", path::INCIDENTS), &json!({}))?;
            let missed = missed(None, &show.server, &found.detail);
            let shown = Known { found, missed };
            if let Some(why) = &shown.missed.unknown {
                let line = format!("what was missed of sealed evidence is not known: {why}");
                warn_wrapped(&line);
            }
            Output::new(show.json).show(&shown, |output| show_text(output, &shown, now()))?;
        }
    }
    Ok(Exit::Ok)
}

/// An incident with what the vault of this machine knows of it.
#[derive(Serialize)]
struct Known {
    #[serde(flatten)]
    found: IncidentAnswer,
    #[serde(flatten)]
    missed: MissedParts,
}

/// What was missed of the sealed evidence of an incident.
fn missed(named: Option<&Path>, server: &ServerArgs, detail: &IncidentDetail) -> MissedParts {
    // What is on this machine need not be of the installation that was asked.
    if named.is_none() && server.url.is_some() && detail.evidence.iter().any(|it| it.sealed_at.is_some()) {
        return MissedParts::unknown("evidence is not read when a server is named");
    }
    MissedParts::of(named, &server.data, detail.incident.id, &detail.evidence)
}

/// The incidents whose evidence the acts of `detail` may have waited for.
///
/// # Errors
/// When the server does not answer.
fn others(client: &Client, detail: &IncidentDetail) -> Result<Vec<IncidentDetail>, Fault> {
    let Some(since) = waits::since(detail) else {
        return Ok(Vec::new());
    };
    let query = IncidentQuery {
        since: Some(since),
        before: Some(IncidentId(detail.incident.id.0.saturating_add(BEHIND_MAX))),
        ..Default::default()
    };
    let found: Incidents = client.get(path::INCIDENTS, &query)?;
    let mut others = Vec::new();
    for id in waits::candidates(detail, &found.incidents) {
        let other: IncidentAnswer = client.get(&format!("{}/{id}", path::INCIDENTS), &json!({}))?;
        others.push(other.detail);
    }
    Ok(others)
}

/// How many incidents later one may have begun that was opened at the same time.
const BEHIND_MAX: u64 = 50;

/// The evidence of an incident; or why there is none to look into.
fn opened(
    args: &ReadingArgs,
    server: &ServerArgs,
    id: IncidentId,
    what_for: &'static str,
) -> Result<Result<Reading, String>, Fault> {
    // What is on this machine need not be of the installation that was asked.
    if args.vault.is_none() && server.url.is_some() {
        let why = "evidence is not read when a server is named; `--vault` names it, or a copy";
        return Ok(Err(why.to_owned()));
    }
    let folder = match &args.vault {
        Some(named) => named.clone(),
        None => super::load(&server.data)?.evidence_dir(),
    };
    // One that is named is to be there.
    if args.vault.is_none()
        && let Err(why) = looked_into(&folder)
    {
        return Ok(Err(why));
    }
    Reading::open(args, &server.data, id, what_for).map(Ok)
}

/// The timeline of an incident as files, with their names: for programs, and for people.
///
/// # Errors
/// When the server does not answer, or does not know it.
pub(super) fn timeline_files(id: IncidentId, server: &ServerArgs) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let client = Client::new(server, Patience::USUAL)?;
    let found: IncidentAnswer = client.get(&format!("{}/{id}", path::INCIDENTS), &json!({}))?;
    let beside = Beside {
        missed: missed(None, server, &found.detail),
        others: others(&client, &found.detail)?,
    };
    timeline::files(&found.detail, &beside)
}

/// The same of an incident that is at hand.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn timeline_of(detail: &IncidentDetail, beside: &Beside) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    timeline::files(detail, beside)
}

/// How long things took in `detail`: the name of each measure, how long, and from what to what.
pub(super) fn measures_of(detail: &IncidentDetail) -> Vec<[String; 3]> {
    timeline::measures_of(detail)
}

fn list_text(output: &Output, found: &Incidents) -> String {
    if found.incidents.is_empty() {
        say("no incident");
        return String::new();
    }
    let at = now();
    let rows: Vec<Vec<String>> = found
        .incidents
        .iter()
        .map(|it| {
            vec![
                it.id.to_string(),
                it.standing(),
                relative(it.opened, at),
                it.events.to_string(),
                format!("{} {}", it.key, it.playbook),
            ]
        })
        .collect();
    if found.next.is_some() {
        say("there are older ones; raise --limit to see them");
    }
    output.table(&["id", "outcome", "opened", "events", "key and playbook"], &rows)
}

/// Whom the first event names, as far as it names anybody.
fn sides_of(it: &IncidentRow) -> Option<String> {
    match (it.source.as_deref(), it.destination.as_deref()) {
        (Some(from), Some(to)) => Some(format!("from {} to {}", Printable(from), Printable(to))),
        (Some(from), None) => Some(format!("from {}", Printable(from))),
        (None, Some(to)) => Some(format!("against {}", Printable(to))),
        (None, None) => None,
    }
}

/// How the contain phase of an incident turned out, and whether what contained it hurt.
pub(super) fn outcome_of(it: &IncidentRow) -> String {
    it.outcome_words()
}

fn show_text(output: &Output, shown: &Known, at: Timestamp) -> String {
    let answer = &shown.found;
    let detail = &answer.detail;
    let it = &detail.incident;
    let mut text = String::new();
    let title = format!("{}  {}", it.id, it.standing());
    text.push_str(&format!(
        "{}  {}\n",
        output.paint(Tone::Strong, &title),
        Printable(&it.key)
    ));
    let mut line = |label: &str, value: String| {
        let label = format!("{label:<10}");
        text.push_str(&format!(
            "  {}{}\n",
            output.paint(Tone::Faint, &label),
            wrap(&value, 12)
        ));
    };
    line("playbook", Printable(&it.playbook).to_string());
    line(
        "event",
        format!(
            "{} {}: {}",
            Printable(&it.system),
            it.severity,
            Printable(&it.signature)
        ),
    );
    let sides = match (it.source.as_deref(), it.destination.as_deref()) {
        (Some(from), Some(to)) => Some(format!("{} -> {}", Printable(from), Printable(to))),
        _ => sides_of(it),
    };
    if let Some(sides) = sides {
        line("attack", sides);
    }
    line(
        "opened",
        format!("{} ({})", clock(it.opened, at), relative(it.opened, at)),
    );
    if let Some(closed) = it.closed {
        line("closed", format!("{} ({})", clock(closed, at), relative(closed, at)));
    }
    line("events", it.events.to_string());
    if let Some(until) = answer.absorbs_until {
        line(
            "further",
            format!(
                "until {} ({}) further events of it are counted here, and nothing follows from them; the next one after \
                 that opens a new incident",
                clock(until, at),
                relative(until, at)
            ),
        );
    }
    for exempted in &answer.exempted {
        let why = exempted_text(exempted, at);
        line(
            "exempted",
            format!("{why}; while it is, events are noted, and nothing is contained there"),
        );
    }
    if !detail.evidence.is_empty() {
        text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "Evidence")));
        for evidence in &detail.evidence {
            text.push_str(&evidence_text(output, evidence, &shown.missed));
        }
    }
    for transaction in &detail.transactions {
        text.push('\n');
        let protected = answer.protected.iter().find(|it| it.transaction == transaction.id);
        text.push_str(&transaction_text(output, transaction, protected, at));
    }
    if !detail.commands.is_empty() {
        text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "Commands")));
        for command in &detail.commands {
            text.push_str(&dated(command.at, at, &command.words()));
        }
    }
    if !detail.events.is_empty() {
        text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "Events")));
        for event in &detail.events {
            let what = format!(
                "{} {}: {}",
                Printable(&event.system),
                event.severity,
                Printable(&event.signature)
            );
            text.push_str(&dated(event.time.unwrap_or(event.received), at, &what));
        }
        if it.events > detail.events.len() as u64 {
            text.push_str(&format!("  and {} more\n", it.events - detail.events.len() as u64));
        }
    }
    text.push_str(&format!("\n{}\n", output.paint(Tone::Strong, "Timeline")));
    for entry in &detail.timeline {
        let whose = entry.transaction.map_or_else(String::new, |id| format!("{id} "));
        text.push_str(&dated(entry.at, at, &format!("{whose}{}", Printable(&entry.what))));
    }
    if detail.timeline_count > detail.timeline.len() as u64 {
        text.push_str(&format!(
            "  and {} more entries\n",
            detail.timeline_count - detail.timeline.len() as u64
        ));
    }
    text
}

/// A line about a piece of evidence.
fn evidence_text(output: &Output, it: &EvidenceRow, missed: &MissedParts) -> String {
    let of = it
        .target
        .as_ref()
        .map_or_else(String::new, |target| format!(" of {}", Printable(target)));
    let (tone, became) = match (it.sealed_at, it.missed_at, &it.why) {
        (Some(at), None, _) => {
            let (count, bytes) = (it.artefacts.unwrap_or(0), it.bytes.unwrap_or(0));
            let artefacts = if count == 1 { "artefact" } else { "artefacts" };
            let what = format!(
                "sealed after {}, {count} {artefacts} of {bytes} bytes",
                at.since(it.asked)
            );
            (Tone::Good, what)
        }
        (Some(at), Some(_), _) => (
            Tone::Warning,
            format!(
                "sealed after {}, which was too late for containment to wait",
                at.since(it.asked)
            ),
        ),
        (None, Some(_), why) => {
            let why = why.as_deref().unwrap_or("nobody says why");
            (Tone::Bad, format!("MISSED: {}", Printable(why)))
        }
        (None, None, _) => (Tone::Warning, format!("awaited until {}", it.deadline)),
    };
    let missed = missed.words(it.id).filter(|_| it.sealed_at.is_some());
    let tone = if missed.is_some() { Tone::Warning } else { tone };
    let missed = missed.map_or_else(String::new, |words| format!("; {words}"));
    let line = lines(&format!("{}  {}{of}: {became}{missed}", it.id, it.kind), 8);
    format!("  {}\n", output.paint(tone, &line))
}

/// A line of a list that begins with the time.
fn dated(when: Timestamp, now: Timestamp, what: &str) -> String {
    let when = clock(when, now);
    let indent = when.chars().count() + 4;
    format!("  {when}  {}\n", wrap(what, indent))
}

fn transaction_text(output: &Output, it: &TransactionRow, protected: Option<&Protected>, at: Timestamp) -> String {
    let title = format!("{}  {} {}", it.id, it.kind, Printable(&it.target));
    let mut text = format!("{}  {}\n", output.paint(Tone::Strong, &title), it.state);
    let mut line = |label: &str, value: String| {
        let label = format!("{label:<10}");
        text.push_str(&format!(
            "  {}{}\n",
            output.paint(Tone::Faint, &label),
            wrap(&value, 12)
        ));
    };
    if let Some(reason) = &it.reason {
        line("because", Printable(reason).to_string());
    }
    if let Some(by) = protected {
        let why = format!(
            "NOW: {} is never touched ({}); `staunch release {}` lifts it",
            by.network,
            Printable(&by.reason),
            it.id
        );
        line("PROTECTED", why);
    }
    if let Some(mode) = it.mode {
        let by = it
            .approved_by
            .as_ref()
            .map_or_else(String::new, |by| format!(", approved by {}", Printable(by)));
        line("mode", format!("{mode}{by}"));
    }
    if let Some(since) = it.in_force_at {
        line(
            "in force",
            format!("since {} ({})", clock(since, at), relative(since, at)),
        );
    }
    match (it.released_at, it.lease_until) {
        (Some(lifted), _) => line("lifted", format!("{} ({})", clock(lifted, at), relative(lifted, at))),
        (None, Some(until)) => line("until", format!("{} ({})", clock(until, at), relative(until, at))),
        (None, None) => {}
    }
    if let Some(judgement) = &it.judgement {
        text.push_str(&guards_text(output, judgement));
    }
    text
}

/// Every guard with its verdict and its numbers.
pub(super) fn guards_text(output: &Output, judgement: &Judgement) -> String {
    let mut text = String::new();
    for guard in &judgement.guards {
        let (tone, verdict) = match guard.verdict {
            Verdict::Passed => (Tone::Good, "passed"),
            Verdict::Unknown => (Tone::Warning, "unknown"),
            Verdict::Ask => (Tone::Warning, "ask"),
            Verdict::ObserveOnly => (Tone::Warning, "observe"),
            Verdict::Refused => (Tone::Bad, "REFUSED"),
        };
        let verdict = output.paint(tone, &format!("{verdict:<8}"));
        let why = wrap(&Printable(&guard.why).to_string(), 30);
        text.push_str(&format!("    {:<16}  {verdict}{why}\n", guard.guard));
    }
    text
}
