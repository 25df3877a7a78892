//! `staunch run`: the server of `serve`, and events from stdin.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use staunch_engine::EngineState;
use staunch_model::{ActionKind, IncidentId, Printable, StateKind, Timestamp, TransactionId};
use staunch_ports::InletTally;
use staunch_runtime::{Busy, Handle};
use tokio::sync::oneshot;

use super::serve;
use crate::cli::RunArgs;
use crate::exit::{Exit, Fault};
use crate::inlets::{Sum, Summed};
use crate::output::{Output, Tone, relative, wrap};
use crate::wiring::inlets::Inlets;

/// How long what is under way may take when the input has ended. The deadlines of its states are shorter, but for a
/// driver that does not answer and is looked at again.
pub(super) const SETTLE_DEADLINE: Duration = Duration::from_secs(30);

/// How often it is looked at whether everything has settled.
pub(super) const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// Containments that the summary lists.
const LISTED_MAX: usize = 20;

pub(super) fn run(args: &RunArgs) -> Result<Exit, Fault> {
    serve::serve(&args.serve, Some(Input::new(args)))
}

/// What is piped into this process.
pub(super) struct Input {
    source: String,
    stay: bool,
    json: bool,
    sum: Summed,
    /// The last transaction before the first line.
    before: TransactionId,
    tally: Option<Arc<InletTally>>,
    end: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Input {
    fn new(args: &RunArgs) -> Self {
        Self {
            source: args.source.clone(),
            stay: args.stay,
            json: args.json,
            sum: Summed::default(),
            before: TransactionId(0),
            tally: None,
            end: None,
        }
    }

    /// Whether serving goes on when it has ended.
    pub(super) const fn stays(&self) -> bool {
        self.stay
    }

    /// The source that reads it is one of `known`.
    pub(super) fn check<'a>(&self, known: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        let known: Vec<&str> = known.collect();
        if known.contains(&self.source.as_str()) {
            return Ok(());
        }
        let what = format!("there is no source {}", Printable(&self.source));
        Err(Fault::new(Exit::Usage, what).hint(format!("name one of {} with --source", known.join(", "))))
    }

    /// Begins to read.
    pub(super) fn start(&mut self, inlets: &mut Inlets, handle: &Handle) -> Result<(), Fault> {
        let last = handle.query(|state| state.last_transaction);
        self.before = TransactionId(last.map_err(|error| Fault::of(Exit::Failed, &error))?);
        let (ended, end) = oneshot::channel();
        // Nobody waits for it any more when the server has ended.
        let done = Box::new(move |end| drop(ended.send(end)));
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let stdin = stdin.map_err(|error| Fault::doing(Exit::Failed, "cannot read stdin", &error))?;
        self.tally = Some(inlets.stdin(&self.source, stdin, self.sum.clone(), done)?);
        self.end = Some(end);
        Ok(())
    }

    /// The last transaction before the first line.
    pub(super) const fn before(&self) -> TransactionId {
        self.before
    }

    /// Its end, once.
    pub(super) fn end(&mut self) -> Option<oneshot::Receiver<io::Result<()>>> {
        self.end.take()
    }

    /// Prints what has come of it.
    pub(super) fn tell(&self, handle: &Handle) -> Result<(), Fault> {
        let before = self.before;
        let mut sum = self.sum.read();
        sum.too_long = self.tally.as_ref().map_or(0, |tally| tally.reading().dropped);
        // Without its engine nobody can say what is contained; how it ended is told beside this.
        let outcome = handle
            .query(move |state| Outcome::of(state, before))
            .unwrap_or_default();
        let summary = Summary {
            source: &self.source,
            sum,
            outcome,
        };
        Output::new(self.json).show(&summary, |output| summary.text(output, handle.now()))?;
        if sum.accepted + sum.ignored + sum.samples > 0 || sum.malformed + sum.too_long == 0 {
            return Ok(());
        }
        let what = format!(
            "no line of the input could be read as an event of {}",
            Printable(&self.source)
        );
        Err(Fault::new(Exit::Failed, what)
            .hint("`staunch source test` says of a file what is wrong with it; --source names another system"))
    }
}

/// How many transactions since `before` are on their way to something else without a person. Those that were there
/// before the input are not waited for; what came over HTTP or by another inlet meanwhile is.
pub(super) fn unsettled(handle: &Handle, before: TransactionId) -> Result<u64, Busy> {
    handle.query(move |state| unsettled_since(state, before))
}

fn unsettled_since(state: &EngineState, before: TransactionId) -> u64 {
    let mut standing = state.index.standing.iter();
    if standing.all(|(_, kind, _)| is_settled(kind)) {
        return 0;
    }
    let since = state.transactions.up_from(&TransactionId(before.0 + 1));
    since.filter(|(_, it)| !is_settled(it.state.kind())).count() as u64
}

const fn is_settled(kind: StateKind) -> bool {
    match kind {
        StateKind::Planned
        | StateKind::PreChecking
        | StateKind::Executing
        | StateKind::PostChecking
        | StateKind::Releasing
        | StateKind::RollingBack
        | StateKind::Settling => false,
        StateKind::Refused
        | StateKind::AwaitingApproval
        | StateKind::InForce
        | StateKind::Released
        | StateKind::RolledBack
        | StateKind::Stuck
        | StateKind::WouldExecute => true,
    }
}

/// What has come of an input.
#[derive(Serialize)]
struct Summary<'a> {
    source: &'a str,
    #[serde(flatten)]
    sum: Sum,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What has become of the transactions since the first line.
#[derive(Default, Serialize)]
struct Outcome {
    /// How many are in each state.
    transactions: BTreeMap<String, u64>,
    /// The first of those in force.
    contained: Vec<Contained>,
}

#[derive(Serialize)]
struct Contained {
    id: TransactionId,
    incident: IncidentId,
    action: ActionKind,
    target: String,
    lease_until: Option<Timestamp>,
}

impl Outcome {
    fn of(state: &EngineState, before: TransactionId) -> Self {
        let mut outcome = Self::default();
        for (id, it) in state.transactions.up_from(&TransactionId(before.0 + 1)) {
            let kind = it.state.kind();
            *outcome.transactions.entry(kind.to_string()).or_default() += 1;
            if kind == StateKind::InForce && outcome.contained.len() < LISTED_MAX {
                outcome.contained.push(Contained {
                    id: *id,
                    incident: it.incident,
                    action: it.kind,
                    target: it.target.to_string(),
                    lease_until: it.lease_until,
                });
            }
        }
        outcome
    }
}

impl Summary<'_> {
    fn text(&self, output: &Output, now: Timestamp) -> String {
        let mut text = String::new();
        let mut line = |label: &str, value: &str| {
            text.push_str(&output.paint(Tone::Faint, &format!("{label:<13}")));
            text.push_str(&wrap(value, 13));
            text.push('\n');
        };
        let it = &self.sum;
        let events = format!(
            "{} accepted, {} matched, {} malformed, {} ignored, {} samples",
            it.accepted, it.matched, it.malformed, it.ignored, it.samples
        );
        line("events", &events);
        if it.too_long > 0 {
            line(
                "",
                &format!("{} lines were longer than any event and were passed over", it.too_long),
            );
        }
        if it.without_sequel > 0 {
            let what = format!(
                "{} matches lead to nothing: `staunch source test` shows why",
                it.without_sequel
            );
            line("", &what);
        }
        let others = self.outcome.transactions.iter();
        let others: Vec<String> = others.map(|(state, count)| format!("{count} {state}")).collect();
        let transactions = if others.is_empty() {
            "none".to_owned()
        } else {
            others.join(", ")
        };
        line("transactions", &transactions);
        for (at, it) in self.outcome.contained.iter().enumerate() {
            let until = it
                .lease_until
                .map_or_else(String::new, |at| format!(", until {}", relative(at, now)));
            let what = format!("{} by {} of {}{until}", it.target, it.id, it.incident);
            line(if at == 0 { "contained" } else { "" }, &what);
        }
        let in_force = self
            .outcome
            .transactions
            .get(StateKind::InForce.name())
            .copied()
            .unwrap_or(0);
        let more = in_force.saturating_sub(self.outcome.contained.len() as u64);
        if more > 0 {
            line("", &format!("and {more} more"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::{Await, Extras, Mode, Span, State, Target, Transaction};

    use super::*;

    fn transaction(id: u64, state: State) -> Transaction {
        Transaction {
            id: TransactionId(id),
            incident: IncidentId(id),
            step: 0,
            kind: ActionKind::BlockIp,
            target: Target::Address([203, 0, 113, 1].into()),
            lease: Span::from_micros(1),
            state,
            awaits: Await::Reply,
            deadline: Timestamp::from_micros(1),
            ticket: 0,
            executions: 0,
            attempts: 0,
            undone: false,
            mode: Mode::Enforce,
            in_flight_until: None,
            lease_until: None,
            verified_at: None,
            completed: 0,
            held: true,
            extras: Extras::default(),
        }
    }

    #[test]
    fn what_was_under_way_before_the_input_is_not_waited_for() {
        let mut state = EngineState::default();
        let all = [
            State::Executing,
            State::InForce,
            State::PostChecking,
            State::AwaitingApproval,
            State::Planned,
        ];
        for (id, it) in (1..).zip(all) {
            let it = transaction(id, it);
            state.index.standing.set(it.kind, it.state.kind(), 1);
            state.transactions.insert(it.id, it);
        }
        for (before, expect) in [(0, 3), (1, 2), (3, 1), (4, 1), (5, 0)] {
            assert_eq!(
                unsettled_since(&state, TransactionId(before)),
                expect,
                "after TX-{before}"
            );
        }
        assert_eq!(unsettled_since(&EngineState::default(), TransactionId(0)), 0);
    }
}
