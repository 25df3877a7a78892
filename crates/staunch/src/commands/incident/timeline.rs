//! `staunch incident timeline`: what happened, what was decided and done, and what people were told and said, in one order.
//!
//! The order is the journal's, never that of clocks: events stand where they were received.

use serde::Serialize;
use staunch_model::{Printable, Record, Span, Timestamp, TransactionId};
use staunch_server::dto::{EvidenceRow, IncidentAnswer, IncidentRow, TimelineEntry, TransactionRow};

use super::state_of;
use crate::cli::TimelineFormat;
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, day_and_time, print, say, wrap};

/// The columns before the text of an entry.
const INDENT: usize = 37;

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

/// One entry. Its text is safe to show.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Entry {
    /// When, by the clock of this installation.
    at: Timestamp,
    /// Since the first entry, in microseconds.
    elapsed_us: u64,
    /// The frame of the journal that says so.
    lsn: u64,
    lane: Lane,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionId>,
    /// When it happened by the clock of its source, for events that say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_time: Option<Timestamp>,
    what: String,
}

/// How long things took, in microseconds.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Measures {
    /// From the first event, by its source's clock, until it was received. Zero when that clock is ahead.
    event_to_received_us: Option<u64>,
    /// From receiving the first event until the last of the evidence was sealed; nothing while some is neither sealed nor missed.
    received_to_preserved_us: Option<u64>,
    /// From receiving the first event until the first containment was verified.
    received_to_contained_us: Option<u64>,
    /// From then until the last containment was lifted, once none is left.
    contained_to_lifted_us: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Timeline<'a> {
    incident: &'a IncidentRow,
    measures: Measures,
    entries: Vec<Entry>,
    /// What was left out because the index keeps no more of it.
    left_out: LeftOut,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct LeftOut {
    events: u64,
    entries: u64,
}

/// Shows the timeline of `answer`.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn show(answer: &IncidentAnswer, format: TimelineFormat, reverse: bool) -> Result<(), Fault> {
    let mut timeline = timeline(answer);
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
    match format {
        TimelineFormat::Text => print(&text(&Output::new(false), &timeline)),
        TimelineFormat::Json => Output::new(true).show(&timeline, |_| String::new()),
        TimelineFormat::Csv => print(&csv(&timeline.entries)?),
    }
}

fn timeline(answer: &IncidentAnswer) -> Timeline<'_> {
    let detail = &answer.detail;
    let mut entries: Vec<Entry> = Vec::new();
    let mut add = |at, lsn, lane, transaction, source_time, what: String| {
        entries.push(Entry {
            at,
            elapsed_us: 0,
            lsn,
            lane,
            transaction,
            source_time,
            what,
        });
    };
    for event in &detail.events {
        let what = format!("{} {}: {}", event.system, event.severity, event.signature);
        add(
            event.received,
            event.lsn,
            Lane::Event,
            None,
            event.time,
            Printable(&what).to_string(),
        );
    }
    for command in &detail.commands {
        add(command.at, command.lsn, Lane::Person, None, None, command.words());
    }
    for entry in &detail.timeline {
        let (lane, what) = meaning(entry);
        add(entry.at, entry.lsn, lane, entry.transaction, None, what);
    }
    // The input of a frame comes before what was made of it, which stays in order.
    entries.sort_by_key(|entry| (entry.lsn, !matches!(entry.lane, Lane::Event | Lane::Person)));
    let begin = entries.iter().map(|entry| entry.at).min();
    for entry in &mut entries {
        entry.elapsed_us = begin.map_or(0, |begin| entry.at.since(begin).as_micros());
    }
    Timeline {
        incident: &detail.incident,
        measures: measures(answer),
        entries,
        left_out: LeftOut {
            events: detail.incident.events.saturating_sub(detail.events.len() as u64),
            entries: detail.timeline_count.saturating_sub(detail.timeline.len() as u64),
        },
    }
}

/// Whose entry it is, and its words.
fn meaning(entry: &TimelineEntry) -> (Lane, String) {
    let record = serde_json::from_value(entry.detail.clone());
    if let Ok(Record::NoticeQueued(notice)) = record {
        return (Lane::Notice, notice.words());
    }
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
    (lane, Printable(&entry.what).to_string())
}

fn measures(answer: &IncidentAnswer) -> Measures {
    let detail = &answer.detail;
    let first = detail.events.first();
    let between = |from: Option<Timestamp>, to: Option<Timestamp>| Some(to?.since(from?).as_micros());
    let received = first.map(|event| event.received);
    let contained = detail.transactions.iter().filter_map(|it| it.in_force_at).min();
    let awaited = |it: &&EvidenceRow| it.sealed_at.is_none() && it.missed_at.is_none();
    let sealed = detail.evidence.iter().filter_map(|it| it.sealed_at).max();
    let preserved = sealed.filter(|_| !detail.evidence.iter().any(|it| awaited(&it)));
    let ever: Vec<&TransactionRow> = detail
        .transactions
        .iter()
        .filter(|it| it.in_force_at.is_some())
        .collect();
    let lifted = ever.iter().map(|it| it.released_at).collect::<Option<Vec<_>>>();
    Measures {
        event_to_received_us: between(first.and_then(|event| event.time), received),
        received_to_preserved_us: between(received, preserved),
        received_to_contained_us: between(received, contained),
        contained_to_lifted_us: between(contained, lifted.and_then(|all| all.into_iter().max())),
    }
}

fn text(output: &Output, timeline: &Timeline<'_>) -> String {
    let it = timeline.incident;
    let title = format!("{}  {}  {}", it.id, state_of(it), Printable(&it.key));
    let mut text = format!("{}  {}\n", output.paint(Tone::Strong, &title), Printable(&it.playbook));
    let measures = &timeline.measures;
    for (label, us) in [
        ("happened, then received", measures.event_to_received_us),
        ("received, then preserved", measures.received_to_preserved_us),
        ("received, then contained", measures.received_to_contained_us),
        ("contained, then lifted", measures.contained_to_lifted_us),
    ] {
        let took = us.map_or_else(|| "-".to_owned(), short);
        text.push_str(&format!("  {label:<26}{took}\n"));
    }
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
        let lane = output.paint(tone, &format!("{lane:<9}"));
        let whose = entry.transaction.map_or_else(String::new, |id| format!("{id} "));
        let said = entry.source_time.map_or_else(String::new, |time| {
            let shown = match day_and_time(time) {
                (date, time) if date == day => time,
                _ => time.to_string(),
            };
            format!(" (by its clock {shown})")
        });
        let what = wrap(&format!("{whose}{}{said}", entry.what), INDENT);
        text.push_str(&format!("  {time:<12}  {elapsed:>9}  {lane} {what}\n"));
    }
    text
}

/// A length of time in at most nine characters: `350us`, `6.1ms`, `2.35s`, `1h2m`.
fn short(us: u64) -> String {
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
    let heading = ["at", "elapsed_us", "lsn", "lane", "transaction", "source_time", "what"];
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
            at: "2026-11-25T14:00:00Z".parse().expect("a time"),
            elapsed_us: 0,
            lsn: 7,
            lane: Lane::Event,
            transaction: None,
            source_time: None,
            what: what.to_owned(),
        };
        let text = csv(&[entry("=HYPERLINK(\"x\")"), entry("a, \"b\"\nc")]).expect("CSV");
        let expect = "at,elapsed_us,lsn,lane,transaction,source_time,what\n\
                      2026-11-25T14:00:00.000Z,0,7,event,,,\"'=HYPERLINK(\"\"x\"\")\"\n\
                      2026-11-25T14:00:00.000Z,0,7,event,,,\"a, \"\"b\"\"\nc\"\n";
        assert_eq!(text, expect);
    }
}
