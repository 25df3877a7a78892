//! How an incident stands, in words: what its acts say together.
//!
//! Never more than that: the outcome in the journal is that of the worst act, whatever else is in force.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use staunch_model::{IncidentOutcome, IncidentStatus, StateKind};

use super::IncidentRow;

/// How many acts of an incident stand how. What a recovery does on its way is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Acts {
    /// Being decided, carried out, undone or lifted.
    pub under_way: u64,
    /// In force.
    pub in_force: u64,
    /// Were in force, and are lifted.
    pub lifted: u64,
    /// A person must decide.
    pub awaiting_approval: u64,
    /// Observe mode: nothing was done.
    pub would_execute: u64,
    /// A guard or a person said no.
    pub refused: u64,
    /// Failed, and undone.
    pub rolled_back: u64,
    /// A person must look at it.
    pub stuck: u64,
}

impl Acts {
    pub(in crate::index) const fn add(&mut self, state: StateKind) {
        let count = match state {
            StateKind::Planned
            | StateKind::PreChecking
            | StateKind::Executing
            | StateKind::PostChecking
            | StateKind::Releasing
            | StateKind::RollingBack
            | StateKind::Settling => &mut self.under_way,
            StateKind::InForce => &mut self.in_force,
            StateKind::Released => &mut self.lifted,
            StateKind::AwaitingApproval => &mut self.awaiting_approval,
            StateKind::WouldExecute => &mut self.would_execute,
            StateKind::Refused => &mut self.refused,
            StateKind::RolledBack => &mut self.rolled_back,
            StateKind::Stuck => &mut self.stuck,
        };
        *count += 1;
    }

    const fn total(&self) -> u64 {
        self.under_way
            + self.in_force
            + self.lifted
            + self.awaiting_approval
            + self.would_execute
            + self.refused
            + self.rolled_back
            + self.stuck
    }

    /// Those that do not contain, the worst first: `1 of 3 acts stuck, 1 refused`.
    fn others(&self) -> String {
        let counts = [
            (self.stuck, "stuck"),
            (self.rolled_back, "rolled back"),
            (self.refused, "refused"),
            (self.awaiting_approval, "awaiting approval"),
            (self.would_execute, "only observed"),
        ];
        let mut of = format!(" of {} acts", self.total());
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let words = counts.map(|(count, word)| format!("{count}{} {word}", std::mem::take(&mut of)));
        words.collect::<Vec<_>>().join(", ")
    }
}

impl IncidentRow {
    /// How its contain phase turned out, and whether what contained it hurt.
    #[must_use]
    pub fn outcome_words(&self) -> String {
        let acts = &self.acts;
        let has_acted = acts.in_force + acts.lifted > 0;
        let outcome = match self.outcome {
            None if acts.in_force > 0 => format!("deciding, {} of {} acts in force", acts.in_force, acts.total()),
            None => "deciding".to_owned(),
            Some(outcome) if outcome != IncidentOutcome::Contained && has_acted => match &*acts.others() {
                "" => outcome.name().to_owned(),
                others => format!("contained in part: {others}"),
            },
            Some(outcome) => outcome.name().to_owned(),
        };
        if self.lifted_because_hurt {
            return format!("{outcome}, then lifted because it hurt");
        }
        outcome
    }

    /// How it stands: what was contained is not any more once all of that is lifted, or it is closed.
    #[must_use]
    pub fn standing(&self) -> String {
        let acts = &self.acts;
        let is_closed = self.status == IncidentStatus::Closed;
        let is_lifted = acts.lifted > 0 && acts.in_force + acts.under_way == 0;
        let outcome = self.outcome_words();
        if self.recovered && acts.stuck == 0 && (is_lifted || is_closed) {
            return if is_closed {
                "recovered, closed".to_owned()
            } else {
                "recovered".to_owned()
            };
        }
        let has_contained = outcome.starts_with("contained");
        match (has_contained, is_closed) {
            (true, true) => format!("was {outcome}"),
            (true, false) if is_lifted && !self.lifted_because_hurt => format!("was {outcome}"),
            (_, false) => outcome,
            (false, true) => format!("{outcome}, closed"),
        }
    }
}
