//! How dangerous an incident is, by what feeds said of its target and by the table, and when a person is asked first.
//!
//! Never reads what the engine makes of it. That it takes up what was said, and the table, is asked for here too.

use std::collections::BTreeMap;
use std::sync::Arc;

use staunch_model::{
    Context, Facts, Frame, Input, Known, Mode, Playbook, Policy, Risk, RiskClass, RiskRow, RiskTable, Score, Span,
    Standing, Target, Timestamp, TransactionId, WhenUnknown,
};

use super::look::share_told;
use super::networks::is_internal;
use super::{Case, Found, Invariant, Model, Tx, fail};

/// How long it counts that no feed names a target.
const UNNAMED_FOR: Span = Span::from_hours(1);

/// What feeds said of targets, and the table that makes a risk of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Feeds {
    table: Option<Arc<RiskTable>>,
    said: BTreeMap<Target, (Standing, Timestamp)>,
}

impl Feeds {
    pub(super) fn pinned(&mut self, table: &Arc<RiskTable>) {
        self.table = Some(table.clone());
    }

    pub(super) fn said(&mut self, known: &Known, now: Timestamp) {
        self.said.insert(known.target.clone(), (known.standing.clone(), now));
    }

    /// What `frame` brings of feeds, or of the table, is taken up by its records.
    pub(super) fn heard(&self, frame: &Frame) -> Found {
        let is_taken_up = match &frame.input {
            Input::Known(known) => self
                .said
                .get(&known.target)
                .is_some_and(|(it, _)| *it == known.standing),
            Input::Risk(table) => self.table.as_ref() == Some(table),
            _ => true,
        };
        if is_taken_up {
            return Ok(());
        }
        fail(Invariant::Approval, "what feeds say, or the table, is passed over")
    }

    /// How bad feeds say that `target` is; `None` when that is not known, or counts no longer.
    fn score(&self, target: &Target, now: Timestamp) -> Option<Score> {
        let (standing, at) = self.said.get(target)?;
        match standing {
            Ok(Some(it)) => (it.expires > now).then_some(it.score),
            Ok(None) => (*at + UNNAMED_FOR >= now).then_some(Score::from_thousandths(0)),
            Err(_) => None,
        }
    }

    fn risk(&self, target: &Target, playbook: &Playbook, now: Timestamp) -> Risk {
        let usual = RiskTable::default();
        let table = self.table.as_deref().unwrap_or(&usual);
        let score = self.score(target, now);
        let is_inside = target.address().is_some_and(is_internal);
        let first = table.rows.iter().find(|row| holds(row, is_inside, score, playbook));
        first.map_or(table.otherwise, |row| row.risk)
    }
}

/// Whether everything holds that `row` names.
fn holds(row: &RiskRow, is_inside: bool, score: Option<Score>, playbook: &Playbook) -> bool {
    if row.internal.is_some_and(|it| it != is_inside) {
        return false;
    }
    if row.score_above.is_some_and(|least| score.is_none_or(|it| it <= least)) {
        return false;
    }
    if row.score_below.is_some_and(|most| score.is_none_or(|it| it >= most)) {
        return false;
    }
    let answers = |technique: &str| {
        let mut all = playbook.attack.iter();
        all.any(|it| **it == *technique || it.starts_with(&format!("{technique}.")))
    };
    row.attack.is_empty() || row.attack.iter().any(|it| answers(it))
}

impl Model {
    /// Whether the playbook of `it` asks for more danger than there is.
    pub(super) fn is_below_risk_min(&self, it: &Tx, playbook: &Playbook, now: Timestamp) -> bool {
        let least = playbook.context.iter().find_map(|it| match it {
            Context::RiskMin(least) => Some(*least),
            _ => None,
        });
        least.is_some_and(|least| self.feeds.risk(&it.target, playbook, now) < least)
    }

    /// The mode under which `it` acts.
    pub(super) fn mode_of(&self, it: &Tx, case: &Case, policy: &Policy) -> Mode {
        let mode_max = self.mode_set.unwrap_or(policy.mode_max);
        let driver = policy.drivers.iter().find(|driver| Some(driver.kind) == it.action);
        let mut risk = driver.map_or(RiskClass::High, |driver| driver.risk);
        if it.target.address().is_some_and(is_internal) {
            risk = risk.max(RiskClass::Medium);
        }
        let playbook = self.playbooks.get(&case.playbook);
        playbook.map_or(Mode::Observe, |it| it.modes.of(risk)).min(mode_max)
    }

    /// A person is asked about `id` only when its mode says so, when there is too little risk, or when something is not
    /// known without which its playbook asks.
    pub(super) fn is_asked_for_a_reason(&self, frame: &Frame, id: TransactionId, it: &Tx, now: Timestamp) -> Found {
        let (Some(case), Some(policy)) = (self.incidents.get(&it.incident), &self.policy) else {
            return Ok(());
        };
        let Some(playbook) = self.playbooks.get(&case.playbook) else {
            return Ok(());
        };
        // What the rows about the surroundings ask for is not worked out here.
        let is_by_mode = self.mode_of(it, case, policy) == Mode::Approve;
        if is_by_mode || self.has_context_rows || self.is_below_risk_min(it, playbook, now) {
            return Ok(());
        }
        let facts = match &frame.input {
            Input::Observed { facts, .. } => facts,
            _ => &Facts::default(),
        };
        let is_undated = self.dated(id, case).is_none();
        let is_unknown = is_undated || (it.target.address().is_some() && is_share_unknown(playbook, facts));
        if is_unknown && playbook.guards.when_unknown == WhenUnknown::Ask {
            return Ok(());
        }
        fail(Invariant::Approval, format!("a person is asked about {id} for nothing"))
    }
}

/// Whether `playbook` has a limit for the traffic that stops, and nobody knows how much that is.
fn is_share_unknown(playbook: &Playbook, facts: &Facts) -> bool {
    playbook.guards.traffic_share_max_bp.is_some() && share_told(playbook, facts).is_none()
}
