//! What is known of the targets that only those who look can tell: processes, accounts, hosts and domains. And the
//! guard that keeps those alone that must never be touched.
//!
//! Never asks anybody: what was said when an event came is an input. Fails closed: a target of which nothing is known
//! is not touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use staunch_model::text::boxed;
use staunch_model::{Found, GuardName, GuardResult, Printable, Record, Target, TargetFacts, Unit, Verdict};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;
use crate::turn::Turn;

/// What is known of targets, those that are still to be judged among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundTargets(BTreeMap<Target, Result<TargetFacts, Box<str>>>);

impl FoundTargets {
    /// What is known of `target`, or why it could not be told.
    #[must_use]
    pub fn get(&self, target: &Target) -> Option<&Result<TargetFacts, Box<str>>> {
        self.0.get(target)
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

    /// Whether `found` is more than what is known.
    #[must_use]
    pub fn is_news(&self, found: &Found) -> bool {
        self.get(&found.target).is_none_or(|facts| *facts != found.facts)
    }
}

/// Enters `found`. When there is no room, what nothing is planned for or in force at is dropped first.
pub(crate) fn enter(state: &mut EngineState, found: &Found) {
    if state.found.0.len() >= limits::TARGETS_FOUND_MAX && !state.found.0.contains_key(&found.target) {
        let (index, transactions) = (&state.index, &state.transactions);
        let concerns = |target: &Target| {
            let mut kinds = target.aim().kinds();
            kinds.any(|kind| index.holder_of(kind, target, transactions).is_some())
        };
        state.found.0.retain(|target, _| concerns(target));
        // What is left out is not known, so that nothing is done to it.
        if state.found.0.len() >= limits::TARGETS_FOUND_MAX {
            return;
        }
    }
    state.found.0.insert(found.target.clone(), found.facts.clone());
}

impl Turn<'_> {
    pub(crate) fn on_found(&mut self, found: &Found) {
        if self.state.found.is_news(found) {
            self.put(Record::Found(found.clone()));
        }
    }
}

/// Why `target` is not to be touched; `None` when it may be, as far as is known here.
pub(crate) fn refusal(state: &EngineState, target: &Target) -> Option<String> {
    why_not(target, state.found.get(target))
}

fn why_not(target: &Target, known: Option<&Result<TargetFacts, Box<str>>>) -> Option<String> {
    match known {
        Some(Err(why)) => Some(match target {
            Target::Process(_) => format!("{target} cannot be told from others: {}", Printable(why)),
            _ => format!("{target} is not touched: {}", Printable(why)),
        }),
        Some(Ok(TargetFacts {
            what,
            protected: Some(why),
        })) => Some(format!(
            "{target} ({}) is never touched: {}",
            Printable(what),
            Printable(why)
        )),
        Some(Ok(_)) if target.is_identified() => None,
        Some(Ok(_)) | None => Some(format!(
            "nothing is known of {target}, and what is not known is not touched"
        )),
    }
}

/// The guard of [`GuardName::NeverTouch`] for a target that is no address, by what was `found` or else by what the
/// state knows.
pub(crate) fn never_touch(state: &EngineState, target: &Target, found: Option<&Found>) -> GuardResult {
    let known = found.map(|it| &it.facts).or_else(|| state.found.get(target));
    let refused = why_not(target, known).filter(|_| !is(Mutant::NeverTouchIgnored) && !is(Mutant::NeverTouchAfter));
    let passed = || match known {
        Some(Ok(TargetFacts { what, .. })) => boxed(format_args!("{target} ({}) is not protected", Printable(what))),
        _ => boxed(format_args!("{target} is not protected")),
    };
    GuardResult {
        guard: GuardName::NeverTouch,
        verdict: if refused.is_some() {
            Verdict::Refused
        } else {
            Verdict::Passed
        },
        measured: Some(refused.is_some().into()),
        limit: Some(0),
        unit: Unit::Count,
        why: refused.map_or_else(passed, Into::into),
    }
}

#[cfg(test)]
mod tests {
    use staunch_model::{ActionKind, IncidentId, Process, TransactionId};

    use super::*;
    use crate::apply::new_transaction;

    const fn process(pid: u32) -> Target {
        Target::Process(Process {
            pid,
            started: 7,
            boot: 1,
        })
    }

    /// Plans something for the process.
    fn hold(state: &mut EngineState, pid: u32) {
        let id = TransactionId(pid.into());
        let it = new_transaction(id, id, IncidentId(1), ActionKind::FreezeProcess, process(pid));
        state.index.enter(&it, &state.transactions);
        state.transactions.insert(id, it);
    }

    #[test]
    fn what_something_is_planned_for_is_remembered_when_room_is_needed() {
        let found = |pid| Found {
            target: process(pid),
            facts: Err("it has ended".into()),
        };
        let mut state = EngineState::default();
        hold(&mut state, 1);
        let max = u32::try_from(limits::TARGETS_FOUND_MAX).expect("it is small");
        for pid in 1..=max {
            enter(&mut state, &found(pid));
        }
        assert_eq!(state.found.len(), limits::TARGETS_FOUND_MAX);
        enter(&mut state, &found(max + 1));
        assert_eq!(state.found.len(), 2, "nothing is planned for the others");
        assert!(state.found.get(&found(1).target).is_some());
        assert!(state.found.get(&found(max + 1).target).is_some());
    }

    #[test]
    fn what_there_is_no_room_for_is_not_known() {
        let mut state = EngineState::default();
        let max = u32::try_from(limits::TARGETS_FOUND_MAX).expect("it is small");
        for pid in 1..=max + 1 {
            hold(&mut state, pid);
            let facts = Err("it has ended".into());
            let target = process(pid);
            enter(&mut state, &Found { target, facts });
        }
        assert_eq!(state.found.len(), limits::TARGETS_FOUND_MAX);
        assert!(refusal(&state, &process(max + 1)).is_some(), "so it is not touched");
    }
}
