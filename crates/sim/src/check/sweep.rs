//! What the drift sweep may make of a reading: nothing of what came into force, or has ended, since that began.
//!
//! Never judges what follows from a finding: see `changes.rs`.

use staunch_engine::sweep::Reading;
use staunch_model::{Span, StateKind, SweepFindings, Timestamp};

use super::{Found, Invariant, Model, Tx, fail};

/// The engine remembers for so long when something ended that it has forgotten otherwise.
const REMEMBERED: Span = Span::from_mins(1);

impl Model {
    /// What the engine finds at `now` in `reading`.
    ///
    /// # Errors
    /// The invariant that is broken, and how.
    pub fn swept(&self, findings: &SweepFindings, reading: &Reading, now: Timestamp) -> Found {
        let begun = reading.begun;
        if !reading.unread.is_empty() && findings.swept.contains(&reading.kind) {
            let what = format!("{} counts as verified, and a part of it was not read", reading.kind);
            return fail(Invariant::ForceIsVerified, what);
        }
        for (id, _) in &findings.vanished {
            let it = self.transactions.get(id);
            let is_unread = |it: &Tx| reading.unread.iter().any(|(target, _)| *target == it.target);
            if it.is_some_and(is_unread) {
                let what = format!("{id} counts as vanished, and could not be looked at");
                return fail(Invariant::ForceIsVerified, what);
            }
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
