//! What the findings of the drift sweep mean: what vanished is rolled back, and what no transaction holds is removed.
//!
//! Never touches what carries no label of ours.

use staunch_model::{Cause, NoticeLevel, Record, StateKind, SweepFindings, TransactionId};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::turn::{Turn, list};

impl Turn<'_> {
    /// The drift sweep has compared the world with the state.
    pub(crate) fn on_swept(&mut self, findings: &SweepFindings) {
        if !findings.swept.is_empty() {
            self.put(Record::SweepDone {
                kinds: findings.swept.clone(),
            });
        }
        for (kind, failure) in &findings.failed {
            let known = self.state.sweep_failed.contains_key(kind);
            self.put(Record::SweepFailed {
                kind: *kind,
                failure: failure.clone(),
            });
            if !known {
                let text = format!("containments of {kind} cannot be verified: {failure}");
                self.notice(NoticeLevel::Page, None, None, &text);
            }
        }
        let mut vanished = Vec::new();
        for (id, found) in findings.vanished.iter().filter(|_| !is(Mutant::SweepBlind)) {
            let Some(it) = self
                .state
                .transactions
                .get(id)
                .filter(|it| it.state.kind() == StateKind::InForce)
            else {
                continue;
            };
            let it = it.clone();
            vanished.push(format!("{} ({}: {found})", it.target, it.id));
            self.roll_back(&it, Cause::Vanished { found: found.clone() });
        }
        if !vanished.is_empty() && !is(Mutant::VanishedSilently) {
            let text = format!(
                "{} containment(s) in force were removed or replaced by somebody else: {}",
                vanished.len(),
                list(&vanished)
            );
            self.notice(NoticeLevel::Page, None, None, &text);
        }
        let mut orphans = Vec::new();
        for (label, kind, target) in findings.orphans.iter().filter(|_| !is(Mutant::OrphansLeft)) {
            if self.state.holder_of(*kind, target).is_some() {
                continue;
            }
            let transaction = TransactionId(self.state.last_transaction + 1);
            let deadline = self.now + self.in_flight_max(*kind) + limits::ACT_DEADLINE_MARGIN;
            let dispatch = staunch_model::Dispatch { ticket: 1, deadline };
            orphans.push(format!("{target} ({label})"));
            self.put(Record::OrphanAdopted {
                transaction,
                label: *label,
                kind: *kind,
                target: target.clone(),
                dispatch,
            });
        }
        if !orphans.is_empty() {
            let text = format!(
                "{} object(s) of ours without a transaction were found and are being removed: {}",
                orphans.len(),
                list(&orphans)
            );
            self.notice(NoticeLevel::Warning, None, None, &text);
        }
    }
}
