//! The state as it was, frame by frame: what happened, what became true, and how each affected transaction stood then.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use serde_json::{Value, json};
use staunch_engine::{Engine, EngineState, advance};
use staunch_model::{Await, Change, IncidentId, Input, Printable, Record, StateKind, Transaction, TransactionId};
use staunch_store::ReadOnlyJournal;

use super::{Step, each, no_incident};
use crate::exit::{Exit, Fault};
use crate::output::{Output, Tone, json_line, print_on, wrap};
use crate::words;

/// Columns before the words of a frame.
const INDENT: usize = 8;

pub(super) fn run(journal: &ReadOnlyJournal, output: &Output, incident: Option<IncidentId>) -> Result<Exit, Fault> {
    let concerned = match incident {
        Some(id) => Some(Concerned::find(journal, id)?),
        None => None,
    };
    let mut engine = Engine::new();
    each(journal, &mut |step| {
        // What does not fit this build is shown as the state of its transaction.
        let _ = engine.replay(&step.frame, step.now);
        let records: Vec<&Record> = step
            .frame
            .records
            .iter()
            .filter(|record| concerned.as_ref().is_none_or(|it| it.is_in(record)))
            .collect();
        if concerned
            .as_ref()
            .is_some_and(|it| records.is_empty() && !it.is_input(&step.frame.input))
        {
            return Ok(ControlFlow::Continue(()));
        }
        print_on(&if output.json {
            line_json(step, &records, engine.state())?
        } else {
            text(output, step, &records, engine.state())
        })
    })?;
    Ok(Exit::Ok)
}

/// One incident and the transactions that it planned or joined.
struct Concerned {
    incident: IncidentId,
    transactions: BTreeSet<TransactionId>,
}

impl Concerned {
    /// Looks through the whole journal, because what an incident joins has a history before that.
    fn find(journal: &ReadOnlyJournal, incident: IncidentId) -> Result<Self, Fault> {
        let mut found = Self {
            incident,
            transactions: BTreeSet::new(),
        };
        let (mut is_known, mut last) = (false, None);
        each(journal, &mut |step| {
            for record in &step.frame.records {
                match record {
                    Record::IncidentOpened { incident, .. } => {
                        is_known |= *incident == found.incident;
                        last = last.max(Some(*incident));
                    }
                    Record::TransactionPlanned {
                        transaction, incident, ..
                    }
                    | Record::Transaction {
                        transaction,
                        change: Change::Joined(incident),
                    } if *incident == found.incident => {
                        found.transactions.insert(*transaction);
                    }
                    _ => {}
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if is_known {
            Ok(found)
        } else {
            Err(no_incident(incident, last))
        }
    }

    fn is_in(&self, record: &Record) -> bool {
        match record {
            Record::IncidentOpened { incident, .. }
            | Record::EventJoined { incident }
            | Record::StepWithoutTarget { incident, .. }
            | Record::OutcomeReached { incident, .. }
            | Record::IncidentClosed { incident, .. }
            | Record::IncidentForgotten { incident } => *incident == self.incident,
            Record::TransactionPlanned { transaction, .. }
            | Record::CameBack { transaction, .. }
            | Record::Transaction { transaction, .. }
            | Record::OrphanAdopted { transaction, .. } => self.transactions.contains(transaction),
            Record::NoticeQueued(notice) => {
                notice.incident == Some(self.incident)
                    || notice.transaction.is_some_and(|it| self.transactions.contains(&it))
            }
            Record::CommandDone { affected } => affected.iter().any(|it| self.transactions.contains(it)),
            _ => false,
        }
    }

    fn is_input(&self, input: &Input) -> bool {
        match input {
            Input::Observed { transaction, .. }
            | Input::Executed { transaction, .. }
            | Input::Undone { transaction, .. } => self.transactions.contains(transaction),
            _ => false,
        }
    }
}

fn text(output: &Output, step: &Step, records: &[&Record], state: &EngineState) -> String {
    let head = format!("{:>6}  {}  ", step.lsn, step.now);
    let input = Printable(&words::input(&step.frame.input)).to_string();
    let mut text = format!(
        "{}{}\n",
        output.paint(Tone::Faint, &head),
        wrap_after(&input, head.chars().count())
    );
    for record in records {
        let line = Printable(&words::record(record)).to_string();
        text.push_str(&format!("{:INDENT$}{}\n", "", wrap(&line, INDENT)));
    }
    for id in affected(records) {
        let line = Printable(&standing(state, id)).to_string();
        let line = format!("{:INDENT$}=> {}", "", wrap(&line, INDENT + 3));
        text.push_str(&format!("{}\n", output.paint(Tone::Strong, &line)));
    }
    text
}

/// `text` wrapped for a line that has `column` columns already; further lines are indented as records are.
fn wrap_after(text: &str, column: usize) -> String {
    let wrapped = wrap(text, column);
    wrapped.replace(&format!("\n{}", " ".repeat(column)), &format!("\n{:INDENT$}", ""))
}

fn line_json(step: &Step, records: &[&Record], state: &EngineState) -> Result<String, Fault> {
    let failed =
        |error: &serde_json::Error| Fault::doing(Exit::Failed, format!("cannot show frame {}", step.lsn), error);
    let transactions: Vec<Value> = affected(records)
        .into_iter()
        .map(|id| json!({ "id": id, "words": standing(state, id), "transaction": state.transactions.get(&id) }))
        .collect();
    let said: Vec<String> = records.iter().map(|record| words::record(record)).collect();
    json_line(&json!({
        "lsn": step.lsn.0, "now": step.now, "now_us": step.now.as_micros(),
        "words": { "input": words::input(&step.frame.input), "records": said },
        "input": serde_json::to_value(&step.frame.input).map_err(|error| failed(&error))?,
        "records": serde_json::to_value(records).map_err(|error| failed(&error))?,
        "transactions": transactions,
    }))
}

/// The transactions that `records` are about, each once.
fn affected(records: &[&Record]) -> BTreeSet<TransactionId> {
    records
        .iter()
        .filter_map(|record| match record {
            Record::TransactionPlanned { transaction, .. }
            | Record::CameBack { transaction, .. }
            | Record::Transaction { transaction, .. }
            | Record::OrphanAdopted { transaction, .. } => Some(*transaction),
            _ => None,
        })
        .collect()
}

fn standing(state: &EngineState, id: TransactionId) -> String {
    match (state.transactions.get(&id), state.quarantined.get(&id)) {
        (_, Some(why)) => format!("{id} cannot be followed by this build: {why}"),
        (Some(it), None) => format!("{id} {}", state_words(it)),
        (None, None) => format!("{id} is no longer kept in memory"),
    }
}

/// How `it` stands: its state, what it is aimed at, for whom, and what comes next.
pub(super) fn state_words(it: &Transaction) -> String {
    let kind = it.state.kind();
    let mut text = format!("{kind}: {} {} for {}", it.kind, it.target, it.incident);
    for incident in it.joined() {
        text.push_str(&format!(" and {incident}"));
    }
    let next = match (kind, it.awaits) {
        _ if kind.is_terminal() => advance::reason(it).map(|reason| format!("because {reason}")),
        (StateKind::InForce, _) => it.lease_until.map(|until| match it.renewing() {
            Some(longer) => format!("until {until}, being renewed until {longer}"),
            None => format!("until {until}"),
        }),
        (StateKind::Planned, _) => Some(format!("waits for its turn until {}", it.deadline)),
        (StateKind::AwaitingApproval, _) => Some(format!("a person is asked until {}", it.deadline)),
        (_, Await::Reply) => Some(format!("an answer is awaited until {}", it.deadline)),
        (_, Await::Timer) => Some(format!("goes on at {}", it.deadline)),
    };
    if let Some(next) = next {
        text.push_str(&format!(", {next}"));
    }
    text
}
