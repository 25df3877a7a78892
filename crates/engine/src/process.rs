//! What is known of the processes that events name, and the guard that keeps those alone that must never be touched.
//!
//! Never asks the machine: what it said when an event came is an input. Fails closed: a process of which nothing is known is
//! not touched.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use staunch_model::text::boxed;
use staunch_model::{
    ActionKind, GuardName, GuardResult, Printable, Process, ProcessFacts, ProcessFound, Record, Target,
};
use staunch_model::{Unit, Verdict};

use crate::limits;
use crate::mutant::{Mutant, is};
use crate::state::EngineState;
use crate::turn::Turn;

/// What is known of processes, those that are still to be judged among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundProcesses(BTreeMap<Process, Result<ProcessFacts, Box<str>>>);

impl FoundProcesses {
    /// What is known of `process`, or why it could not be told.
    #[must_use]
    pub fn get(&self, process: Process) -> Option<&Result<ProcessFacts, Box<str>>> {
        self.0.get(&process)
    }

    /// How many processes something is known of.
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
    pub fn is_news(&self, found: &ProcessFound) -> bool {
        self.get(found.process).is_none_or(|facts| *facts != found.facts)
    }
}

/// Enters `found`. When there is no room, what nothing is planned for or in force at is dropped first.
pub(crate) fn enter(state: &mut EngineState, found: &ProcessFound) {
    if state.processes.0.len() >= limits::PROCESSES_FOUND_MAX && !state.processes.0.contains_key(&found.process) {
        let index = &state.index;
        let concerns = |process: &Process| {
            let target = Target::Process(*process);
            ActionKind::ALL
                .iter()
                .any(|kind| index.by_target.contains_key(&(*kind, target)))
        };
        state.processes.0.retain(|process, _| concerns(process));
        // What is left out is not known, so that nothing is done to it.
        if state.processes.0.len() >= limits::PROCESSES_FOUND_MAX {
            return;
        }
    }
    state.processes.0.insert(found.process, found.facts.clone());
}

impl Turn<'_> {
    pub(crate) fn on_process_found(&mut self, found: &ProcessFound) {
        if self.state.processes.is_news(found) {
            self.put(Record::ProcessFound(found.clone()));
        }
    }
}

/// Why `process` is not to be touched; `None` when it may be.
pub(crate) fn refusal(state: &EngineState, process: Process) -> Option<String> {
    why_not(process, state.processes.get(process))
}

fn why_not(process: Process, known: Option<&Result<ProcessFacts, Box<str>>>) -> Option<String> {
    match known {
        Some(Err(why)) => Some(format!("{process} cannot be told from others: {}", Printable(why))),
        Some(Ok(ProcessFacts {
            program,
            protected: Some(why),
            ..
        })) => Some(format!(
            "{process} ({}) is never touched: {}",
            Printable(program),
            Printable(why)
        )),
        Some(Ok(_)) if process.is_identified() => None,
        Some(Ok(_)) | None => Some(format!(
            "nothing is known of {process}, and what is not known is not touched"
        )),
    }
}

/// The guard of [`GuardName::NeverTouch`] for a process, by what was `found` or else by what the state knows.
pub(crate) fn never_touch(state: &EngineState, process: Process, found: Option<&ProcessFound>) -> GuardResult {
    let known = found.map(|it| &it.facts).or_else(|| state.processes.get(process));
    let refused = why_not(process, known).filter(|_| !is(Mutant::NeverTouchIgnored) && !is(Mutant::NeverTouchAfter));
    let passed = || match known {
        Some(Ok(ProcessFacts { program, uid, .. })) => boxed(format_args!(
            "{process} ({} of user {uid}) is not protected",
            Printable(program)
        )),
        _ => boxed(format_args!("{process} is not protected")),
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
    use staunch_model::TransactionId;

    use super::*;

    #[test]
    fn what_something_is_planned_for_is_remembered_when_room_is_needed() {
        let found = |pid| ProcessFound {
            process: Process {
                pid,
                started: 7,
                boot: 1,
            },
            facts: Err("it has ended".into()),
        };
        let mut state = EngineState::default();
        let place = (ActionKind::FreezeProcess, Target::Process(found(1).process));
        state.index.by_target.insert(place, TransactionId(1));
        let max = u32::try_from(limits::PROCESSES_FOUND_MAX).expect("it is small");
        for pid in 1..=max {
            enter(&mut state, &found(pid));
        }
        assert_eq!(state.processes.len(), limits::PROCESSES_FOUND_MAX);
        enter(&mut state, &found(max + 1));
        assert_eq!(state.processes.len(), 2, "nothing is planned for the others");
        assert!(state.processes.get(found(1).process).is_some());
        assert!(state.processes.get(found(max + 1).process).is_some());
    }

    #[test]
    fn what_there_is_no_room_for_is_not_known() {
        let process = |pid| Process {
            pid,
            started: 7,
            boot: 1,
        };
        let mut state = EngineState::default();
        let max = u32::try_from(limits::PROCESSES_FOUND_MAX).expect("it is small");
        for pid in 1..=max + 1 {
            let place = (ActionKind::FreezeProcess, Target::Process(process(pid)));
            state.index.by_target.insert(place, TransactionId(pid.into()));
            let facts = Err("it has ended".into());
            let process = process(pid);
            enter(&mut state, &ProcessFound { process, facts });
        }
        assert_eq!(state.processes.len(), limits::PROCESSES_FOUND_MAX);
        assert!(refusal(&state, process(max + 1)).is_some(), "so it is not touched");
    }
}
