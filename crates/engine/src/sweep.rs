//! The drift sweep: compares what drivers read with what the engine believes.

use std::collections::BTreeSet;

use staunch_model::{ActionKind, Failure, StateKind, SweepFindings, Target, Timestamp, TransactionId};

use crate::mutant::{Mutant, is};
use crate::state::EngineState;

/// What one driver read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The kind of action.
    pub kind: ActionKind,
    /// When the reading began. What changed since is left to the next sweep.
    pub begun: Timestamp,
    /// The objects that carry our label, and whether the enforcement point acts on them.
    pub found: Result<(Vec<(TransactionId, Target)>, bool), Failure>,
    /// Targets that could not be looked at, and why. What is in force there is neither verified nor vanished.
    pub unread: Vec<(Target, Failure)>,
}

/// Compares `readings` with `state`. Pure; the findings are the input of the next turn.
#[must_use]
pub fn compare(state: &EngineState, readings: &[Reading]) -> SweepFindings {
    let mut findings = SweepFindings::default();
    for reading in readings {
        let (objects, enforcing) = match &reading.found {
            Ok(found) => found,
            Err(failure) => {
                findings.failed.push((reading.kind, failure.clone()));
                continue;
            }
        };
        match reading.unread.as_slice() {
            [] => findings.swept.push(reading.kind),
            // What is verified is told of a kind as a whole.
            [(target, why), others @ ..] => {
                let more = match others.len() {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                };
                let what = format!("{target} cannot be looked at{more}: {why}");
                findings.failed.push((reading.kind, Failure::new(why.kind, &what)));
            }
        }
        let unread: BTreeSet<&Target> = reading.unread.iter().map(|(target, _)| target).collect();
        // A sorted list, because it is made anew for each sweep. Of several objects at one target the last one counts.
        let mut objects: Vec<(&Target, TransactionId)> =
            objects.iter().map(|(label, target)| (target, *label)).collect();
        objects.reverse();
        objects.sort_by_key(|(target, _)| *target);
        objects.dedup_by_key(|(target, _)| *target);
        let label_at = |target: &Target| {
            let at = objects.binary_search_by_key(&target, |(target, _)| *target);
            at.ok().map(|at| objects[at].1)
        };
        let settled = |at: Option<Timestamp>| at.is_some_and(|at| at < reading.begun);
        for it in state.transactions.values() {
            let is_newer = !settled(it.verified_at) && !is(Mutant::VanishedTooSoon);
            if it.kind != reading.kind || it.state.kind() != StateKind::InForce || is_newer {
                continue;
            }
            let found = match label_at(&it.target) {
                Some(label) if label != it.label() => Some(format!("an object of {label} is in place")),
                Some(_) if !enforcing => Some("it is in place, but the rules that enforce it are not".to_owned()),
                Some(_) => None,
                None if unread.contains(&it.target) && !is(Mutant::UnreadIsGone) => None,
                None => Some("nothing of ours is in place".to_owned()),
            };
            if let Some(found) = found {
                findings.vanished.push((it.id, found.into()));
            }
        }
        for (target, label) in &objects {
            let owner = state.holder_of(reading.kind, target);
            let ended = state
                .transactions
                .get(label)
                .map(|it| it.deadline)
                .max(state.lifted.ended(*label));
            let recent = ended.is_some() && !settled(ended) && !is(Mutant::LiftedIsOrphan);
            if owner.is_none() && !recent {
                findings.orphans.push((*label, reading.kind, (*target).clone()));
            }
        }
    }
    findings
}
