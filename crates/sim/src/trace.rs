//! A run as lines that a person can read.

use std::fmt::{self, Write as _};

use staunch_model::text::clip;
use staunch_model::{Frame, Input, Record, Span};

/// The lines of a run; nothing is kept, and nothing is written, unless it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Trace(Option<String>);

/// The longest line of a trace, in bytes.
const LINE_MAX: usize = 220;

impl Trace {
    pub(crate) const fn new(kept: bool) -> Self {
        Self(if kept { Some(String::new()) } else { None })
    }

    /// Whether lines are kept.
    pub(crate) const fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line about what happened at `at`.
    pub(crate) fn line(&mut self, at: Span, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.0 {
            push(text, at, &what());
        }
    }

    /// Adds what a process decided.
    pub(crate) fn frame(&mut self, at: Span, replica: usize, lsn: usize, frame: &Frame) {
        let Some(text) = &mut self.0 else { return };
        push(text, at, &format!("P{replica} #{lsn} <- {}", Words(&frame.input)));
        for record in &frame.records {
            push(text, at, &format!("        = {}", record_words(record)));
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.0.unwrap_or_default()
    }
}

fn push(text: &mut String, at: Span, what: &str) {
    let seconds = at.as_micros() / 1_000_000;
    let micros = at.as_micros() % 1_000_000;
    let what = staunch_model::Printable(what).to_string();
    let _ = writeln!(text, "{seconds:>6}.{micros:06} {}", clip(&what, LINE_MAX));
}

struct Words<'a>(&'a Input);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Input::Started { .. } => f.write_str("started"),
            Input::Policy(_) => f.write_str("policy"),
            Input::Event { matches, .. } | Input::EventInContext { matches, .. } => match matches.first() {
                Some(matched) => {
                    let targets: Vec<String> = matched
                        .steps
                        .iter()
                        .map(|step| step.target.clone().map_or_else(|| "-".to_owned(), |it| it.to_string()))
                        .collect();
                    write!(f, "event {} [{}]", matched.key, targets.join(", "))
                }
                None => f.write_str("event without a match"),
            },
            Input::Observed {
                transaction,
                ticket,
                result,
                ..
            } => match result {
                Ok(seen) => write!(
                    f,
                    "{transaction}/{ticket} seen: {:?}, enforcing {}",
                    seen.presence, seen.enforcing
                ),
                Err(failure) => write!(f, "{transaction}/{ticket} not seen: {failure}"),
            },
            Input::Executed {
                transaction,
                ticket,
                outcome,
            } => write!(f, "{transaction}/{ticket} act: {outcome:?}"),
            Input::Undone {
                transaction,
                ticket,
                outcome,
            } => write!(f, "{transaction}/{ticket} undo: {outcome:?}"),
            Input::Notified { notice, result } => {
                write!(f, "{notice} {}", if result.is_ok() { "taken" } else { "not taken" })
            }
            Input::Swept(found) => write!(
                f,
                "sweep: {} vanished, {} orphans",
                found.vanished.len(),
                found.orphans.len()
            ),
            Input::Operator { command, .. } => write!(f, "operator: {command:?}"),
            Input::Tick => f.write_str("time"),
            Input::Listed(change) => {
                let (added, removed) = (change.added.len(), change.removed.len());
                write!(f, "list {}: {added} added, {removed} removed", change.list)
            }
            Input::ContextTable(_) => f.write_str("context guard"),
            Input::Risk(_) => f.write_str("table of risks"),
            Input::Known(known) => write!(f, "known: {:?}", known.target),
            Input::Found(found) => write!(f, "found: {}", found.target),
            Input::Trouble(what) => write!(f, "trouble: {what}"),
            Input::HealthRead {
                watch, ticket, result, ..
            } => match result {
                Ok(reading) if reading.healthy => write!(f, "{watch}/{ticket} healthy"),
                Ok(_) => write!(f, "{watch}/{ticket} unhealthy"),
                Err(failure) => write!(f, "{watch}/{ticket} not read: {failure}"),
            },
            Input::Collected { evidence, result } => {
                write!(f, "{evidence} {}", if result.is_ok() { "stored" } else { "not stored" })
            }
        }
    }
}

fn record_words(record: &Record) -> String {
    match record {
        Record::Transaction { transaction, change } => {
            format!("{transaction} {}", staunch_engine::transaction::name(change))
        }
        Record::PolicyPinned(_) => "policy pinned".to_owned(),
        Record::NoticeQueued(notice) => format!("{} {:?}: {}", notice.id, notice.level, notice.text),
        other => format!("{other:?}"),
    }
}
