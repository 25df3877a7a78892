//! `staunch incident timeline`: what happened, what was decided and done, and what people were told and said, in one
//! order.
//!
//! The order is the journal's, never that of clocks: events stand where they were received. What logs and sealed
//! evidence say is put between that by its time.

mod axis;
mod entry;
mod further;
mod guards;
mod html;
pub(super) mod measures;
mod picture;
mod sheet;
mod text;
pub(in crate::commands) mod waits;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use staunch_connectors::logs::Same;
use staunch_model::{Printable, Record, Span, StateKind, Timestamp};
use staunch_server::dto::{IncidentAnswer, IncidentDetail, IncidentRow, TimelineEntry};

pub(super) use self::entry::Basis;
use self::entry::{Also, Entry, JOINED, Lane};
use self::further::{Further, LogRead, Window};
use self::guards::guards_of;
use self::measures::{Clock, Measures, clocks, measures};
use self::sheet::csv;
use self::text::text;
use crate::cli::{FurtherArgs, TimelineFormat};
use crate::commands::evidence::parts::MissedParts;
use crate::commands::evidence::reading::Reading;
use crate::exit::{Exit, Fault};
use crate::files::cannot_write;
use crate::output::{Output, json, print, say_wrapped, warn_wrapped};

#[derive(Debug, Serialize)]
struct Timeline<'a> {
    incident: &'a IncidentRow,
    measures: Measures,
    /// How far the clocks of its sources are off, as far as that can be seen.
    clocks: Vec<Clock>,
    /// Of when logs and evidence are in it, when they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<Window>,
    /// What became of each log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<LogRead>,
    /// What of evidence is not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<String>,
    /// What is not known, because evidence could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// What was missed of sealed evidence.
    #[serde(flatten)]
    missed: &'a MissedParts,
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

/// How a timeline is to be shown.
pub(super) struct Shown<'a> {
    pub(super) format: TimelineFormat,
    pub(super) reverse: bool,
    /// The file it is to be in, which is not there.
    pub(super) file: Option<&'a Path>,
    /// A picture for the page.
    pub(super) causes: Option<&'a str>,
    /// What else is asked for.
    pub(super) further: &'a FurtherArgs,
    /// The vault, or why there is none to look into.
    pub(super) vault: Result<&'a Reading, String>,
    pub(super) beside: &'a Beside,
}

/// What is known of an incident beside its own record.
#[derive(Debug, Default)]
pub(in crate::commands) struct Beside {
    /// What was missed of its evidence.
    pub(in crate::commands) missed: MissedParts,
    /// Other incidents, whose evidence its acts may have waited for.
    pub(in crate::commands) others: Vec<IncidentDetail>,
}

/// Shows the timeline of `answer`, or writes it into a file.
///
/// # Errors
/// When none of the logs can be read, or stdout or the file cannot be written.
pub(super) fn show(answer: &IncidentAnswer, shown: Shown<'_>) -> Result<(), Fault> {
    let Shown { format, file, .. } = shown;
    let further = further::read(&answer.detail, shown.further, shown.vault)?;
    let mut timeline = timeline(&answer.detail, further, shown.beside);
    if shown.reverse {
        timeline.entries.reverse();
    }
    let LeftOut { events, entries } = timeline.left_out;
    if events + entries > 0 {
        let id = timeline.incident.id;
        let line = format!(
            "{events} events and {entries} entries are not shown; `staunch replay --incident {id}` has them all"
        );
        warn_wrapped(&line);
    }
    // Text that is looked at has these lines itself.
    if format != TimelineFormat::Text || file.is_some() {
        timeline.told().iter().for_each(|line| warn_wrapped(line));
    }
    let text = match format {
        TimelineFormat::Text if file.is_some() => text(&Output::plain(), &timeline),
        TimelineFormat::Text => text(&Output::new(false), &timeline),
        TimelineFormat::Json => json(&timeline)?,
        TimelineFormat::Csv => csv(&timeline.entries)?,
        TimelineFormat::Html => html::page(&timeline, shown.causes),
    };
    match file {
        Some(file) => write_new(file, &text, "the timeline"),
        None => print(&text),
    }
}

/// How long things took in `detail`, in words: the name of each measure, how long, and from what to what.
pub(super) fn measures_of(detail: &IncidentDetail) -> Vec<[String; 3]> {
    let named = measures(detail).named();
    let each = named.iter().map(|it| {
        let (took, meaning) = match (it.took_us, it.why_none) {
            (Some(us), _) => (short(us), it.meaning),
            (None, Some(why)) => ("-".to_owned(), why),
            (None, None) => ("not known".to_owned(), it.meaning),
        };
        [it.name.to_owned(), took, meaning.to_owned()]
    });
    each.collect()
}

/// The timeline of `answer` as JSON and as a page.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn files(detail: &IncidentDetail, beside: &Beside) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let timeline = timeline(detail, Further::default(), beside);
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
        // What evidence says is in it.
        .mode(0o600)
        .open(file)
        .map_err(|error| {
            let fault = cannot_write(&format!("cannot make {shown}"), &error);
            match fault.exit {
                Exit::NotFound => fault.hint("name a file in a folder that is there"),
                Exit::Failed => fault.hint("name a file that is not there"),
                _ => fault,
            }
        })?;
    if let Err(error) = made.write_all(text.as_bytes()) {
        // Half of it is of no use, and would be in the way of the next try.
        let left = fs::remove_file(file).err().map_or_else(String::new, |error| {
            format!("; what was written is left in it, because it cannot be removed: {error}")
        });
        return Err(cannot_write(&format!("cannot write {shown}{left}"), &error));
    }
    say_wrapped(&format!("{what} is in {shown}"));
    Ok(())
}

fn timeline<'a>(detail: &'a IncidentDetail, further: Further, beside: &'a Beside) -> Timeline<'a> {
    let mut entries = of_journal(detail, beside);
    let begin = entries.iter().map(|entry| entry.at).min();
    let mut clocks = clocks(&detail.events);
    let (found, tells) = further.into_entries(&mut entries, &mut clocks);
    let mut entries = in_order(entries, found);
    for (at, entry) in entries.iter_mut().enumerate() {
        entry.number = at + 1;
        entry.elapsed_us = begin.map_or(0, |begin| difference(entry.at, begin));
    }
    Timeline {
        incident: &detail.incident,
        measures: measures(detail),
        clocks,
        window: tells.window,
        logs: tells.logs,
        hidden: tells.hidden,
        missing: tells.missing,
        missed: &beside.missed,
        entries,
        left_out: LeftOut {
            events: detail.incident.events.saturating_sub(detail.events.len() as u64),
            entries: detail.timeline_count.saturating_sub(detail.timeline.len() as u64),
        },
        detail,
    }
}

/// What the journal has, in its order.
fn of_journal(detail: &IncidentDetail, beside: &Beside) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for command in &detail.commands {
        entries.push(Entry {
            lsn: Some(command.lsn),
            ..Entry::new(command.at, (Lane::Person, Basis::Observed, command.words()))
        });
    }
    let mut begun = BTreeSet::new();
    for it in &detail.timeline {
        let of = |meaning| Entry {
            lsn: Some(it.lsn),
            transaction: it.transaction,
            ..Entry::new(it.at, meaning)
        };
        let waits = |id, began| waits::words(detail, &beside.others, id, began);
        let inferred = |words: Option<String>| words.map(|words| of((Lane::Transaction, Basis::Inferred, words)));
        let begins = serde_json::from_value(it.detail.clone()).is_ok_and(|it| waits::begins(&it));
        if let Some(id) = it.transaction.filter(|id| begins && begun.insert(*id)) {
            entries.extend(inferred(waits(id, Some(it.at))));
        }
        let mut entry = of(meaning(it));
        if it.transaction.is_some() {
            entry.guards = guards_of(&it.detail);
        }
        let record = serde_json::from_value(it.detail.clone());
        if let Ok(Record::EvidenceSealed { evidence, .. }) = record
            && let Some(missed) = beside.missed.words(evidence)
        {
            entry.what.push_str(&format!("; {missed}"));
        }
        entries.push(entry);
        if let Ok(Record::TransactionPlanned { transaction: id, .. }) = record
            && detail
                .transactions
                .iter()
                .any(|it| it.id == id && it.state == StateKind::Planned)
        {
            entries.extend(inferred(waits(id, None)));
        }
    }
    for event in &detail.events {
        let what = format!("{} {}: {}", event.system, event.severity, event.signature);
        let what = Printable(&what).to_string();
        let side = |text: &Option<String>| text.as_ref().and_then(|it| it.parse().ok());
        entries.push(Entry {
            lsn: Some(event.lsn),
            system: Some(Printable(&event.system).to_string()),
            source_time: event.time,
            same: Some(Same::event(
                &event.signature,
                side(&event.source),
                side(&event.destination),
            )),
            ..Entry::new(event.received, (Lane::Event, Basis::Observed, what))
        });
    }
    // The input of a frame comes before what was made of it, which stays in order.
    entries.sort_by_key(|entry| (entry.lsn, !matches!(entry.lane, Lane::Event | Lane::Person)));
    entries
}

/// The entries of the journal as they stand, and `found`, which is in the order of time, between them: each before the
/// first entry of the journal that is later.
fn in_order(journal: Vec<Entry>, found: Vec<Entry>) -> Vec<Entry> {
    let mut all = Vec::with_capacity(journal.len() + found.len());
    let mut found = found.into_iter().peekable();
    for entry in journal {
        while let Some(earlier) = found.next_if(|it| it.at < entry.at) {
            all.push(earlier);
        }
        all.push(entry);
    }
    all.extend(found);
    all
}

/// `later` less `earlier`, in microseconds.
fn difference(later: Timestamp, earlier: Timestamp) -> i64 {
    let us = i128::from(later.as_micros()) - i128::from(earlier.as_micros());
    i64::try_from(us).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
}

impl Timeline<'_> {
    /// What is to be told of the logs and of what is missing, a line each. Safe to show.
    fn told(&self) -> Vec<String> {
        let logs = self.logs.iter().map(LogRead::words);
        let logs = logs.chain(self.hidden.iter().cloned());
        let missed = self
            .missed
            .unknown
            .iter()
            .map(|it| format!("what was missed of sealed evidence: {it}"));
        let missing = self.missing.iter().cloned().chain(missed);
        logs.chain(missing.map(|it| format!("not known: {it}"))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_what_evidence_says_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("timeline.html");
        write_new(&file, "words", "it").expect("it is written");
        let mode = fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let fault = write_new(&file, "others", "it").expect_err("it is there already");
        assert!(fault.advice().is_some_and(|it| it.contains("not there")), "{fault:?}");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), "words");
        // Every write to it fails as on a full disk.
        let full = Path::new("/dev/full");
        let error = fs::write(full, "x").expect_err("it is full");
        let fault = cannot_write("cannot write it", &error);
        assert!(fault.exit == Exit::Busy && fault.advice().is_some(), "{fault:?}");
    }

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
}
