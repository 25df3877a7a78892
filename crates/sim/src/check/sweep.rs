//! What the drift sweep may make of a reading: nothing of what came into force, or has ended, since that began.
//!
//! Never judges what follows from a finding: see `changes.rs`.

use staunch_model::{Span, StateKind, SweepFindings, Timestamp};

use super::{Found, Invariant, Model, fail};

/// The engine remembers for so long when something ended that it has forgotten otherwise.
const REMEMBERED: Span = Span::from_mins(1);

impl Model {
    /// What the engine finds at `now` in a reading that began at `begun`.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn swept(&self, findings: &SweepFindings, begun: Timestamp, now: Timestamp) -> Found {
        for (id, _) in &findings.vanished {
            let it = self.transactions.get(id);
            if it.is_some_and(|it| it.kind == StateKind::InForce && it.since >= begun) {
                let what = format!("{id} counts as vanished by a reading that began before it was in force");
                return fail(Invariant::ForceIsVerified, what);
            }
        }
        if now.since(begun) > REMEMBERED {
            return Ok(());
        }
        for (label, _, target) in &findings.orphans {
            let it = self.transactions.get(label);
            if it.is_some_and(|it| it.kind.is_terminal() && it.since >= begun) {
                let what =
                    format!("what {label} has lifted at {target} counts as nobody's by a reading from before that");
                return fail(Invariant::EndIsVerified, what);
            }
        }
        Ok(())
    }
}
