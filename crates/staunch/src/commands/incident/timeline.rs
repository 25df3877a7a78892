//! `staunch incident timeline`: what happened, what was decided and done, and what people were told and said, in one order.
//!
//! The order is the journal's, never that of clocks: events stand where they were received.

mod axis;
mod html;
pub(super) mod measures;
mod picture;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;
use staunch_model::{Change, Printable, Record, Span, Timestamp, TransactionId};
use staunch_server::dto::{IncidentAnswer, IncidentDetail, IncidentRow, TimelineEntry};

use self::measures::{Clock, Measures, clocks, measures};
use super::state_of;
use crate::cli::TimelineFormat;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, day_and_time, json, print, say, wrap};

/// The columns before the text of an entry.
const INDENT: usize = 38;

/// Who an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lane {
    /// What a source said.
    Event,
    /// What was concluded.
    Incident,
    /// What was preserved, and what could not be.
    Evidence,
    /// What was done, and what was found of it.
    Transaction,
    /// What people were told.
    Notice,
    /// What people said.
    Person,
}

impl Lane {
    const fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Incident => "incident",
            Self::Evidence => "evidence",
            Self::Transaction => "transaction",
            Self::Notice => "notice",
            Self::Person => "person",
        }
    }
}

/// Where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Basis {
    /// A source, a driver, a collector or a person said so.
    Observed,
    /// Staunch concluded or decided it from what was observed.
    Inferred,
}

impl Basis {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Observed => "observed",
            Self::Inferred => "inferred",
        }
    }

    pub(super) const fn mark(self) -> char {
        match self {
            Self::Observed => ' ',
            Self::Inferred => '~',
        }
    }

    /// What `record` rests on.
    const fn of(record: &Record) -> Self {
        match record {
            Record::EvidenceSealed { .. } | Record::EvidencePostponed { .. } | Record::OrphanAdopted { .. } => {
                Self::Observed
            }
            _ => Self::Inferred,
        }
    }

    #[rustfmt::skip]
    const fn of_change(change: &Change) -> Self {
        use Change as C;
        match change {
            C::Approved { .. }
            | C::Postponed { .. } | C::Landed(_) | C::Unproved { .. } | C::PostCheckPassed { .. }
            | C::RenewCheckStarted { .. } | C::Renewed { .. } | C::RenewFailed(_)
            | C::UndoLanded { .. } | C::Lifted(_) | C::ProbedAbsent | C::ProbedPresent(_) | C::ReleaseVerified
            | C::StaleReply { .. } => Self::Observed,
            C::PreCheckStarted(_) | C::Refused { .. } | C::WouldExecute { .. } | C::ApprovalRequested { .. }
            | C::ExecuteIntended { .. } | C::Resent(_) | C::RollbackStarted { .. } | C::GaveUp(_)
            | C::ReleaseStarted { .. } | C::RenewStarted { .. } | C::Joined(_) | C::LetGo(_) => Self::Inferred,
        }
    }
}

/// One entry. Its text is safe to show.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    /// Its place in the order of the journal, from one on.
    #[serde(skip)]
    number: usize,
    /// When, by the clock of this installation.
    at: Timestamp,
    /// Since the first entry, in microseconds.
    elapsed_us: u64,
    /// The frame of the journal that says so.
    lsn: u64,
    lane: Lane,
    basis: Basis,
    /// The source that said so, for events. Safe to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionId>,
    /// When it happened by the clock of its source, for events that say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_time: Option<Timestamp>,
    what: String,
}

#[derive(Debug, Serialize)]
struct Timeline<'a> {
    incident: &'a IncidentRow,
    measures: Measures,
    /// How far the clocks of its sources are off, as far as that can be seen.
    clocks: Vec<Clock>,
    entries: Vec<Entry>,
    /// What was left out because the index keeps no more of it.
    left_out: LeftOut,
    /// What all of it was made of.
    #[serde(skip)]
    detail: &'a IncidentDetail,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct LeftOut {
    events: u64,
    entries: u64,
}

/// Shows the timeline of `answer`, or writes it into a file that is not there. `causes` is a picture for the page.
///
/// # Errors
/// When stdout or the file cannot be written.
pub(super) fn show(
    answer: &IncidentAnswer,
    causes: Option<&str>,
    format: TimelineFormat,
    reverse: bool,
    file: Option<&Path>,
) -> Result<(), Fault> {
    let mut timeline = timeline(&answer.detail);
    if reverse {
        timeline.entries.reverse();
    }
    let LeftOut { events, entries } = timeline.left_out;
    if events + entries > 0 {
        let id = timeline.incident.id;
        say(&format!(
            "{events} events and {entries} entries are not shown; `staunch replay --incident {id}` has them all"
        ));
    }
    let shown = match format {
        TimelineFormat::Text if file.is_some() => text(&Output::plain(), &timeline),
        TimelineFormat::Text => text(&Output::new(false), &timeline),
        TimelineFormat::Json => json(&timeline)?,
        TimelineFormat::Csv => csv(&timeline.entries)?,
        TimelineFormat::Html => html::page(&timeline, causes),
    };
    match file {
        Some(file) => write_new(file, &shown, "the timeline"),
        None => print(&shown),
    }
}

/// The timeline of `answer` as JSON and as a page.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn files(detail: &IncidentDetail) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let timeline = timeline(detail);
    let json = json(&timeline)?;
    Ok(vec![
        ("timeline.json".to_owned(), json.into_bytes()),
        ("timeline.html".to_owned(), html::page(&timeline, None).into_bytes()),
    ])
}

/// Writes `what` into a file that is not there.
pub(super) fn write_new(file: &Path, text: &str, what: &str) -> Result<(), Fault> {
    let shown = file.display().to_string();
    let shown = Printable(&shown);
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(|error| {
            Fault::doing(Exit::Failed, format!("cannot make {shown}"), &error).hint("name a file that is not there")
        })?;
    made.write_all(text.as_bytes())
        .map_err(|error| Fault::doing(Exit::Failed, format!("cannot write {shown}"), &error))?;
    say(&format!("{what} is in {shown}"));
    Ok(())
}

fn timeline(detail: &IncidentDetail) -> Timeline<'_> {
    let mut entries: Vec<Entry> = Vec::new();
    let add = |entries: &mut Vec<Entry>, at, lsn, (lane, basis, what): (Lane, Basis, String)| {
        entries.push(Entry {
            number: 0,
            at,
            elapsed_us: 0,
            lsn,
            lane,
            basis,
            system: None,
            transaction: None,
            source_time: None,
            what,
        });
        entries.len() - 1
    };
    for command in &detail.commands {
        add(
            &mut entries,
            command.at,
            command.lsn,
            (Lane::Person, Basis::Observed, command.words()),
        );
    }
    for entry in &detail.timeline {
        let at = add(&mut entries, entry.at, entry.lsn, meaning(entry));
        entries[at].transaction = entry.transaction;
    }
    for event in &detail.events {
        let what = format!("{} {}: {}", event.system, event.severity, event.signature);
        let what = Printable(&what).to_string();
        let at = add(
            &mut entries,
            event.received,
            event.lsn,
            (Lane::Event, Basis::Observed, what),
        );
        entries[at].system = Some(Printable(&event.system).to_string());
        entries[at].source_time = event.time;
    }
    // The input of a frame comes before what was made of it, which stays in order.
    entries.sort_by_key(|entry| (entry.lsn, !matches!(entry.lane, Lane::Event | Lane::Person)));
    let begin = entries.iter().map(|entry| entry.at).min();
    for (at, entry) in entries.iter_mut().enumerate() {
        entry.number = at + 1;
        entry.elapsed_us = begin.map_or(0, |begin| entry.at.since(begin).as_micros());
    }
    Timeline {
        incident: &detail.incident,
        measures: measures(detail),
        clocks: clocks(&detail.events),
        entries,
        left_out: LeftOut {
            events: detail.incident.events.saturating_sub(detail.events.len() as u64),
            entries: detail.timeline_count.saturating_sub(detail.timeline.len() as u64),
        },
        detail,
    }
}

/// Whose entry it is, where it is known from, and its words.
fn meaning(entry: &TimelineEntry) -> (Lane, Basis, String) {
    let record = serde_json::from_value(entry.detail.clone());
    if let Ok(Record::NoticeQueued(notice)) = record {
        return (Lane::Notice, Basis::Inferred, notice.words());
    }
    // Of a transaction, the detail is the change itself.
    let basis = match (&record, serde_json::from_value(entry.detail.clone())) {
        (Ok(record), _) => Basis::of(record),
        (Err(_), Ok(change)) => Basis::of_change(&change),
        (Err(_), Err(_)) => Basis::Inferred,
    };
    let lane = match (entry.transaction, record) {
        (Some(_), _) => Lane::Transaction,
        (
            None,
            Ok(
                Record::EvidencePlanned { .. }
                | Record::EvidencePostponed { .. }
                | Record::EvidenceSealed { .. }
                | Record::EvidenceMissed { .. },
            ),
        ) => Lane::Evidence,
        (None, _) => Lane::Incident,
    };
    (lane, basis, Printable(&entry.what).to_string())
}

fn text(output: &Output, timeline: &Timeline<'_>) -> String {
    let it = timeline.incident;
    let title = format!("{}  {}  {}", it.id, state_of(it), Printable(&it.key));
    let mut text = format!("{}  {}\n", output.paint(Tone::Strong, &title), Printable(&it.playbook));
    for measure in timeline.measures.named() {
        let took = measure.took_us.map_or_else(|| "-".to_owned(), short);
        text.push_str(&format!("  {:<26}{took}\n", measure.label));
    }
    for clock in &timeline.clocks {
        let off = match clock.offset_and_delay_us {
            Some(us) => format!(
                "{} later than by its clock: offset and delay, median of {}",
                signed(us),
                clock.events
            ),
            None => "its events do not say when they happened".to_owned(),
        };
        text.push_str(&format!("  {:<24}  {}\n", clock.system, wrap(&off, 28)));
    }
    text.push_str(&format!(
        "  {} concluded or decided by Staunch; all else was observed\n",
        Basis::Inferred.mark()
    ));
    let mut day = String::new();
    for entry in &timeline.entries {
        let (date, time) = day_and_time(entry.at);
        if day != date {
            day = date;
            let heading = output.paint(Tone::Strong, &format!("{day} (UTC)"));
            text.push_str(&format!("\n{heading}\n"));
        }
        let elapsed = format!("+{}", short(entry.elapsed_us));
        let (tone, lane) = match entry.lane {
            Lane::Event => (Tone::Warning, "event"),
            Lane::Incident => (Tone::Plain, "incident"),
            Lane::Evidence => (Tone::Plain, "evidence"),
            Lane::Transaction => (Tone::Good, "act"),
            Lane::Notice => (Tone::Plain, "notice"),
            Lane::Person => (Tone::Strong, "person"),
        };
        let lane = output.paint(tone, &format!("{lane:<8}"));
        let mark = entry.basis.mark();
        let what = wrap(&entry.sentence(&day), INDENT);
        text.push_str(&format!("  {time:<12}  {elapsed:>9}  {lane} {mark} {what}\n"));
    }
    text
}

impl Entry {
    /// All that is said of it under the heading of a `day`.
    fn sentence(&self, day: &str) -> String {
        let whose = self.transaction.map_or_else(String::new, |id| format!("{id} "));
        let said = self.source_time.map_or_else(String::new, |time| {
            let shown = match day_and_time(time) {
                (date, time) if date == day => time,
                _ => time.to_string(),
            };
            format!(" (by its clock {shown})")
        });
        format!("{whose}{}{said}", self.what)
    }
}

/// A difference, with its sign.
fn signed(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "+" };
    format!("{sign}{}", short(us.unsigned_abs()))
}

/// A length of time in at most nine characters: `350us`, `6.1ms`, `2.35s`, `1h2m`.
pub(super) fn short(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..100_000 => format!("{}.{}ms", us / 1_000, us % 1_000 / 100),
        100_000..1_000_000 => format!("{}ms", us / 1_000),
        1_000_000..60_000_000 => format!("{}.{:02}s", us / 1_000_000, us % 1_000_000 / 10_000),
        _ => Span::from_secs(us / 1_000_000).to_string(),
    }
}

fn csv(entries: &[Entry]) -> Result<String, Fault> {
    let failed = |error: &dyn std::error::Error| Fault::doing(Exit::Failed, "cannot write the timeline as CSV", error);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let heading = [
        "at",
        "elapsed_us",
        "lsn",
        "lane",
        "transaction",
        "source_time",
        "what",
        "basis",
        "system",
    ];
    writer.write_record(heading).map_err(|error| failed(&error))?;
    for it in entries {
        let row = [
            it.at.to_string(),
            it.elapsed_us.to_string(),
            it.lsn.to_string(),
            it.lane.name().to_owned(),
            it.transaction.map_or_else(String::new, |id| id.to_string()),
            it.source_time.map_or_else(String::new, |time| time.to_string()),
            no_formula(&it.what),
            it.basis.name().to_owned(),
            no_formula(it.system.as_deref().unwrap_or_default()),
        ];
        writer.write_record(row).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text that no spreadsheet takes for a formula, as OWASP advises against CSV injection: the words of an attacker may
/// begin with `=`.
fn no_formula(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_short() {
        let lengths = [
            (0, "0us"),
            (999, "999us"),
            (6_149, "6.1ms"),
            (129_643, "129ms"),
            (1_999_999, "1.99s"),
            (59_999_999, "59.99s"),
            (3_720_000_000, "1h2m"),
        ];
        for (us, text) in lengths {
            assert_eq!(short(us), text);
        }
    }

    #[test]
    fn words_of_others_are_no_formulas_and_no_further_rows() {
        let entry = |what: &str| Entry {
            number: 1,
            at: "2026-11-25T14:00:00Z".parse().expect("a time"),
            elapsed_us: 0,
            lsn: 7,
            lane: Lane::Event,
            basis: Basis::Observed,
            system: Some("falco".to_owned()),
            transaction: None,
            source_time: None,
            what: what.to_owned(),
        };
        let text = csv(&[entry("=HYPERLINK(\"x\")"), entry("a, \"b\"\nc")]).expect("CSV");
        let expect = "at,elapsed_us,lsn,lane,transaction,source_time,what,basis,system\n\
                      2026-11-25T14:00:00.000Z,0,7,event,,,\"'=HYPERLINK(\"\"x\"\")\",observed,falco\n\
                      2026-11-25T14:00:00.000Z,0,7,event,,,\"a, \"\"b\"\"\nc\",observed,falco\n";
        assert_eq!(text, expect);
    }
}
