//! What is known of targets, and the guard that makes a risk of it.
//!
//! Never asks a feed: what feeds said when an event came is an input, and holds until it expires.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use staunch_model::{
    Context, GuardName, GuardResult, Known, Printable, Record, RiskTable, Score, Standing, StateKind, Target,
    Timestamp, TransactionId, Unit, Verdict,
};

use crate::guard::{Question, is_internal};
use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;
use crate::turn::Turn;

/// What is known of targets, those that are still to be judged among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTargets(BTreeMap<Target, Said>);

/// What was said of a target, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    standing: Standing,
    at: Timestamp,
}

impl KnownTargets {
    /// What is known of `target`.
    #[must_use]
    pub fn get(&self, target: &Target) -> Option<&Standing> {
        self.0.get(target).map(|said| &said.standing)
    }

    /// Whether `known` is more than what is known at `now`. That nothing is known grows old, so it is said again.
    #[must_use]
    pub fn is_news(&self, known: &Known, now: Timestamp) -> bool {
        self.0
            .get(&known.target)
            .is_none_or(|said| said.standing != known.standing || now.since(said.at) > limits::UNNAMED_SAID_AGAIN)
    }

    /// How many targets something is known of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Enters `known`. When there is no room, what nobody will judge any more is dropped first.
pub(crate) fn enter(state: &mut EngineState, known: &Known, now: Timestamp) {
    if state.known.len() >= limits::KNOWN_TARGETS_MAX && !state.known.0.contains_key(&known.target) {
        let (transactions, index) = (&state.transactions, &state.index);
        let is_open = |id: TransactionId| {
            let kind = transactions.get(&id).map(|it| it.state.kind());
            let open = [StateKind::Planned, StateKind::PreChecking, StateKind::AwaitingApproval];
            kind.is_some_and(|kind| open.contains(&kind))
        };
        let waits = |target: &Target| {
            let kinds = target.aim().kinds();
            let mut holders = kinds.filter_map(|kind| index.holder_of(kind, target, transactions));
            holders.any(is_open)
        };
        state.known.0.retain(|target, _| waits(target));
        // What is left out is unknown, and shown as such.
        if state.known.len() >= limits::KNOWN_TARGETS_MAX {
            return;
        }
    }
    let said = Said {
        standing: known.standing.clone(),
        at: now,
    };
    state.known.0.insert(known.target.clone(), said);
}

impl Turn<'_> {
    pub(crate) fn on_known(&mut self, known: &Known) {
        let is_said = is(Mutant::SaidPassedOver) && self.state.known.get(&known.target).is_some();
        if !is_said && self.state.known.is_news(known, self.now) {
            self.put(Record::Known(Box::new(known.clone())));
        }
    }

    pub(crate) fn on_risk(&mut self, table: &Arc<RiskTable>) {
        self.put(Record::RiskTablePinned(table.clone()));
    }
}

/// How dangerous the incident is, by which row of the table, and whether that is less than the playbook asks for;
/// `None` when neither a table is pinned nor the playbook asks.
pub(crate) fn guard(state: &EngineState, question: &Question, now: Timestamp) -> Option<GuardResult> {
    let least = question.playbook.context.iter().find_map(|it| match it {
        Context::RiskMin(least) => Some(*least),
        _ => None,
    });
    let usual;
    let table = match (&state.risk_table, least) {
        (Some(table), _) => &**table,
        (None, Some(_)) => {
            usual = RiskTable::default();
            &usual
        }
        (None, None) => return None,
    };
    let said = state.known.0.get(&question.target);
    let (score, said) = match (&question.standing, said) {
        (None, Some(Said { standing: Ok(None), at })) if now.since(*at) > limits::UNNAMED_FOR => {
            let age = now.since(*at);
            (
                None,
                format!("the score is unknown: that no feed names it was said {age} ago"),
            )
        }
        (standing, said) => score(standing.as_ref().or(said.map(|it| &it.standing)), now),
    };
    let is_internal = question.target.address().is_some_and(is_internal) && !is(Mutant::InternalRowsIgnored);
    let table = &rows_of(table);
    let (risk, row) = table.decide(is_internal, score, &question.playbook.attack);
    let by = match row.and_then(|at| Some((at + 1, table.rows.get(at)?))) {
        Some((number, row)) => format!("by row {number} of the table ({})", Printable(&row.name)),
        None => "because no row of the table holds".to_owned(),
    };
    let (verdict, asked) = match least {
        Some(least) if (risk < least && !is(Mutant::RiskMinIgnored)) || is(Mutant::RiskAlwaysAsks) => {
            (Verdict::Ask, format!("; below {least} a person is asked"))
        }
        Some(least) => (Verdict::Passed, format!("; at least {least} is asked for")),
        None => (Verdict::Passed, String::new()),
    };
    Some(GuardResult {
        guard: GuardName::Risk,
        verdict,
        measured: score.map(|score| score.thousandths().into()),
        limit: None,
        unit: Unit::Thousandths,
        why: format!("the risk is {risk}, {by}: {said}{asked}").into(),
    })
}

/// The table by which the risk is judged.
fn rows_of(table: &RiskTable) -> Cow<'_, RiskTable> {
    let mut rows = Cow::Borrowed(table);
    if is(Mutant::RowsBackwards) {
        rows.to_mut().rows.reverse();
    }
    rows
}

/// The score, and where it comes from. Safe to show.
fn score(standing: Option<&Standing>, now: Timestamp) -> (Option<Score>, String) {
    match standing {
        None => (None, "the score is unknown: nobody was asked".to_owned()),
        Some(Err(why)) => (None, format!("the score is unknown: {}", Printable(why))),
        Some(Ok(None)) => (Some(Score::default()), "no feed names it".to_owned()),
        Some(Ok(Some(it))) if !it.counts_at(now) && !is(Mutant::SaidOutlived) => {
            let feed = Printable(&it.feed);
            (
                None,
                format!("the score is unknown: what {feed} said of it has expired"),
            )
        }
        Some(Ok(Some(it))) => {
            let (feed, network) = (Printable(&it.feed), it.network);
            let label = match &*it.label {
                "" => String::new(),
                label => format!(" as {}", Printable(label)),
            };
            let text = format!(
                "score {} by \"{feed}\", which names {network}{label}, {} % sure, {} ago",
                it.score,
                it.confidence,
                it.age(now)
            );
            (Some(it.score), text)
        }
    }
}
